//! Somebody wishes to be forgotten, and is, by every service of her union and within seconds of the
//! last day of her grace: she signs in no more, where she has been is gone, and what venues are
//! paid by stays. The other union, to which the person of the same place belongs, hears of nothing.

use anyhow::{Context, Result, ensure};
use bashu::client::text;
use kit::types::Union;
use serde_json::json;
use tests::administrator;

use crate::running::{RunningWorld, arrival};
use crate::shared::{Claim, Shared};
use crate::stage::{Stage, key};

/// A member whom nothing else here acts for, and who is not the last of her organisation: by that
/// one the demonstration tells whether all are there.
const MEMBER: u32 = 85;
/// The grace that a migration gives, in hours.
const GRACE_HOURS: u32 = 168;

const ERASE: &str = "mutation ($input: EraseMeInput!) { eraseMe(input: $input) { erasure { state } \
    userErrors { code message } } }";
const USES: &str = "query ($id: ID!) { pass(id: $id) { usesCount } }";
const ME: &str = "query { me { id } }";
/// Services that have forgotten whoever was forgotten, those whom the journeys forgot among them.
const APPLIED: &str = "SELECT count(*) FROM erasure_applied JOIN erasure USING (member)
    WHERE state = 'erased'";
/// Those who keep something of a person beside identity.
const SERVICES: u64 = 3;
const ERASED: &str = "SELECT count(*) FROM erasure WHERE state = 'erased'";
const VISITS: &str = "SELECT count(*) FROM replica_use u JOIN pass p ON p.id = u.pass
    JOIN replica_erasure e ON e.member = p.member WHERE e.state = 'erased'";

#[tokio::test]
async fn who_is_forgotten_is_so_in_her_union_and_in_no_other() -> Result<()> {
    Claim::new()?.prove(forgotten_in_one_union).await
}

async fn forgotten_in_one_union(Shared { world, .. }: &Shared) -> Result<()> {
    let here = Stage::new(&world.places, Union::Chongqing, "forgotten").await?;
    let there = Stage::new(&world.places, Union::Sichuan, "forgotten").await?;
    let (member, other) = (here.member(MEMBER).await?, there.member(MEMBER).await?);
    let terms = json!({ "nameZh": "试用", "nameEn": "For her", "priceFen": 100, "rules": {} });
    let product = here.product(&terms).await?;
    let bought = here.buy(&member, &product).await?;
    let mut gates = here.gates(1).await?;
    let gate = gates.first_mut().context("a gate")?;
    let scan_id = gate.next_scan_id()?;
    let entered = gate.scan(&scan_id, &bought.code).await?;
    ensure!(
        entered["decision"] == "ADMIT",
        "she is not let in: {entered}"
    );
    arrival("her visit", async || {
        let data = member.send(USES, json!({ "id": bought.pass })).await?;
        Ok((data["pass"]["usesCount"] == 1).then_some(()))
    })
    .await?;

    let admitted = here.admissions().await?;
    let before = number(world, "50_identity", APPLIED)?;
    let elsewhere = number(world, "51_identity", ERASED)?;
    // Grace is a row, and her last day is today; so it is for nobody else but her.
    grace(world, 0)?;
    let erased = async {
        let input = json!({ "idempotencyKey": key() });
        let wish = member.run(ERASE, json!({ "input": input })).await?;
        ensure!(wish["erasure"]["state"] == "ASKED", "no wish: {wish}");
        arrival("every service has forgotten her", async || {
            let applied = number(world, "50_identity", APPLIED)?;
            Ok((applied == before + SERVICES).then_some(()))
        })
        .await
    }
    .await;
    grace(world, GRACE_HOURS)?;
    erased?;
    ensure!(
        member.send(ME, json!({})).await.is_err(),
        "she signs in still"
    );
    let visits = asked(world, "50_passes", VISITS)?;
    ensure!(visits == "0", "passes knows {visits} visits of hers");
    let after = here.admissions().await?;
    ensure!(after == admitted, "venues lost admissions: {after:?}");

    let now = number(world, "51_identity", ERASED)?;
    ensure!(now == elsewhere, "the other union forgot somebody");
    text(&other.send(ME, json!({})).await?, "/me/id")?;
    Ok(())
}

/// How long people of Chongqing can think better of it, in hours.
fn grace(world: &RunningWorld, hours: u32) -> Result<()> {
    let sql = format!("UPDATE person_right SET grace_hours = {hours} WHERE name = 'erasure'");
    asked(world, "50_identity", &sql).map(|_| ())
}

/// What a database of the world counts.
fn number(world: &RunningWorld, database: &str, sql: &str) -> Result<u64> {
    Ok(asked(world, database, sql)?.parse()?)
}

/// What a database of the world says to a question.
fn asked(world: &RunningWorld, database: &str, sql: &str) -> Result<String> {
    let databases = world.servers.databases();
    let name = databases.iter().find(|name| name.ends_with(database));
    let name = name.with_context(|| format!("there is no {database}"))?;
    let said = administrator("psql")?
        .args(["-d", name, "-XqAtc", sql])
        .output()?;
    let complaint = String::from_utf8_lossy(&said.stderr);
    ensure!(said.status.success(), "{sql}: {complaint}");
    Ok(String::from_utf8_lossy(&said.stdout).trim().to_owned())
}
