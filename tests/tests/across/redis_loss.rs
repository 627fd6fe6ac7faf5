//! `FLUSHALL` under load loses nothing.
//!
//! While members buy and gates scan, each union's Redis is emptied three times, each time when a
//! certain answer has come. What was answered stays: each purchase is a pass that is paid, each
//! admission is on record once. Signing in works, or is refused with the code that says so. Only
//! the counts of the limits begin anew, and they do begin.

use std::collections::BTreeSet;

use anyhow::{Context, Result, ensure};
use bashu::client::{Client, text};
use bashu::journey::gate::Gate;
use futures::future::try_join_all;
use kit::types::Union;
use serde_json::{Value, json};
use tokio::sync::watch;

use crate::running::RunningWorld;
use crate::server::OwnRedis;
use crate::shared::{Claim, Shared};
use crate::stage::{Bought, Stage};

/// In each union; two unions make 60 purchases and 240 scans.
const BUYERS: usize = 5;
/// Members whom no other proof signs in: a phone gets one code in a minute.
const FIRST_BUYER: usize = 60;
/// Who signs in after the first loss; others after the next ones.
const FIRST_LOGIN: u32 = 70;
const PURCHASES_PER_BUYER: usize = 6;
const SCANS_PER_PASS: usize = 4;
/// Purchases and scans that a union has answered when its Redis is emptied.
const FLUSH_AFTER: [usize; 3] = [25, 75, 125];
const ANSWERS: usize = BUYERS * PURCHASES_PER_BUYER * (1 + SCANS_PER_PASS);
/// More than the gateway lets one address ask in a minute about signing in.
const LOGIN_FIELDS: usize = 200;

const MINE: &str = "query { myPasses(first: 100) { nodes { id state order { id state } } } }";
const REQUEST_CODE: &str = "mutation { requestLoginCode(input: { phone: \"no phone\" }) \
    { userErrors { code } } }";

/// A pass, its scans and the redemption that each of them made.
#[derive(Debug)]
struct Used {
    bought: Bought,
    scans: Vec<(Value, String)>,
}

/// How signing in went right after a loss.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Login {
    Done,
    /// `UNAVAILABLE`: it does not pass uncounted.
    Closed,
}

#[tokio::test]
async fn flushall_under_load_loses_nothing() -> Result<()> {
    Claim::new()?.prove(lose_in_both_unions).await
}

async fn lose_in_both_unions(Shared { world, redis }: &Shared) -> Result<()> {
    let logins = tokio::try_join!(
        play(world, Union::Chongqing, &redis[0]),
        play(world, Union::Sichuan, &redis[1])
    )?;
    println!("signing in after each loss: {logins:?}");
    // Who comes next begins with no counts of this one.
    redis.iter().try_for_each(OwnRedis::flush_all)
}

async fn play(world: &RunningWorld, union: Union, redis: &OwnRedis) -> Result<Vec<Login>> {
    let stage = Stage::new(&world.places, union, "loss").await?;
    let product = stage.product(&described()).await?;
    let mut gates = stage.gates(BUYERS).await?;
    let mut buyers = Vec::new();
    for number in FIRST_BUYER..FIRST_BUYER + BUYERS {
        buyers.push(stage.member(u32::try_from(number)?).await?);
    }
    let answers = watch::Sender::new(0);
    let load = try_join_all(buyers.iter().zip(&mut gates).map(async |(buyer, gate)| {
        let mut used = Vec::new();
        for _ in 0..PURCHASES_PER_BUYER {
            used.push(buy_and_use(&stage, (buyer, &product), gate, &answers).await?);
        }
        anyhow::Ok(used)
    }));
    let losses = lose(&stage, redis, answers.subscribe());
    let (used, logins) = tokio::try_join!(load, losses)?;
    ensure!(*answers.borrow() == ANSWERS, "not everything was answered");
    for (buyer, used) in buyers.iter().zip(&used) {
        all_there(buyer, used).await?;
    }
    admitted_once(&stage, &gates, &used).await?;
    limits_are_back(world, union, redis).await?;
    Ok(logins)
}

/// Nothing about it ends or runs out.
fn described() -> Value {
    json!({
        "nameZh": "每日每时",
        "nameEn": "Any day, any hour",
        "priceFen": 4_200,
        "rules": {},
    })
}

async fn buy_and_use(
    stage: &Stage<'_>,
    (buyer, product): (&Client, &str),
    gate: &mut Gate,
    answers: &watch::Sender<usize>,
) -> Result<Used> {
    let bought = stage.buy(buyer, product).await?;
    answers.send_modify(|answers| *answers += 1);
    let mut scans = Vec::new();
    for _ in 0..SCANS_PER_PASS {
        let scan_id = gate.next_scan_id()?;
        let redemption = admitted(gate, &scan_id, &bought).await?;
        scans.push((scan_id, redemption));
        answers.send_modify(|answers| *answers += 1);
    }
    Ok(Used { bought, scans })
}

async fn admitted(gate: &Gate, scan_id: &Value, bought: &Bought) -> Result<String> {
    let answer = gate.scan(scan_id, &bought.code).await?;
    ensure!(
        answer["decision"] == "ADMIT",
        "a scan was answered {answer}"
    );
    text(&answer, "/redemption/id")
}

/// Empties Redis at each of its moments, and signs somebody in right after.
async fn lose(
    stage: &Stage<'_>,
    redis: &OwnRedis,
    mut answers: watch::Receiver<usize>,
) -> Result<Vec<Login>> {
    let mut logins = Vec::new();
    for (member, moment) in (FIRST_LOGIN..).zip(FLUSH_AFTER) {
        let seen = *answers.wait_for(|answers| *answers >= moment).await?;
        ensure!(seen < ANSWERS, "the load was over before the loss");
        ensure!(redis.keys()? > 0, "Redis holds nothing that could be lost");
        redis.flush_all()?;
        logins.push(match stage.member(member).await {
            Ok(_) => Login::Done,
            Err(error) if format!("{error:#}").contains("\"UNAVAILABLE\"") => Login::Closed,
            Err(error) => return Err(error).context("signing in after the loss"),
        });
    }
    Ok(logins)
}

/// Each purchase that was answered is there, and paid.
async fn all_there(buyer: &Client, used: &[Used]) -> Result<()> {
    let data = buyer.send(MINE, json!({})).await?;
    let mine = data["myPasses"]["nodes"]
        .as_array()
        .cloned()
        .unwrap_or_default();
    for Used { bought, .. } in used {
        let found: Vec<_> = mine
            .iter()
            .filter(|pass| pass["id"] == *bought.pass)
            .collect();
        let [pass] = found.as_slice() else {
            anyhow::bail!("{bought:?} is there {} times", found.len());
        };
        ensure!(pass["state"] == "ACTIVE", "{bought:?} is {pass}");
        ensure!(pass["order"]["id"] == *bought.order, "{bought:?} is {pass}");
        ensure!(pass["order"]["state"] == "PAID", "{bought:?} is {pass}");
    }
    Ok(())
}

/// Each admission is on record once, no other is, and a gate that asks again hears of the same.
async fn admitted_once(stage: &Stage<'_>, gates: &[Gate], used: &[Vec<Used>]) -> Result<()> {
    let recorded = stage.admissions().await?;
    for (gate, Used { bought, scans }) in gates
        .iter()
        .zip(used)
        .flat_map(|(gate, used)| used.iter().map(move |one| (gate, one)))
    {
        let answered: BTreeSet<&String> = scans.iter().map(|(_, redemption)| redemption).collect();
        ensure!(
            answered.len() == scans.len(),
            "two scans, one redemption: {scans:?}"
        );
        let recorded = recorded.get(&bought.pass).map_or(&[][..], Vec::as_slice);
        ensure!(
            recorded.iter().collect::<Vec<_>>() == answered.into_iter().collect::<Vec<_>>(),
            "{scans:?} are on record as {recorded:?}"
        );
        let (scan_id, redemption) = scans.last().context("a pass was not scanned")?;
        let again = admitted(gate, scan_id, bought).await?;
        ensure!(
            again == *redemption,
            "the same scan was admitted anew: {again}"
        );
    }
    Ok(())
}

/// What was emptied counts again: who asks too often is refused, and Redis knows it.
async fn limits_are_back(world: &RunningWorld, union: Union, redis: &OwnRedis) -> Result<()> {
    redis.flush_all()?;
    let anonymous = Client::new(&world.places.gateway(union))?;
    for asked in 0..LOGIN_FIELDS {
        if let Err(error) = anonymous.send(REQUEST_CODE, json!({})).await {
            let told = format!("{error:#}");
            ensure!(told.contains("\"RATE_LIMITED\""), "{told}");
            ensure!(asked > 0, "refused before anything was counted");
            ensure!(redis.keys()? > 0, "a limit that Redis knows nothing of");
            return Ok(());
        }
    }
    anyhow::bail!("{LOGIN_FIELDS} requests met no limit")
}
