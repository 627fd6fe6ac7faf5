//! A pass is given back while gates at two venues try to admit it.
//!
//! passes freezes it, admission counts its uses, billing pays back what the terms leave: three
//! services that share only events. Whatever the interleaving, each scan is before the freeze and
//! counted, or after it and denied, and the money is what the count leaves. A quarter of the
//! passes are forced to be given back first and a quarter to be scanned first, so that either
//! order is there in each run; the others race, and what became of them is printed.

use anyhow::{Context, Result, ensure};
use bashu::client::text;
use bashu::journey::gate::Gate;
use futures::future::try_join_all;
use kit::types::Union;
use serde_json::{Value, json};
use tokio::sync::Barrier;

use crate::running::{RunningWorld, arrival};
use crate::shared::{Claim, Shared};
use crate::stage::{Bought, Stage, key};

/// Passes in each union.
const PASSES: usize = 20;
const MEMBERS: usize = 4;
const FIRST_MEMBER: usize = 50;
/// One at each venue.
const GATES_PER_MEMBER: usize = 2;
/// Entries that a pass has; fewer than its gates try.
const ENTRIES: usize = 8;
/// Scans of one pass at one gate, at most, until it is denied.
const SCANS_MAX: usize = 6;
const PRICE_FEN: i64 = 9_999;
/// What is kept of a used pass by the terms that take one back.
const FEE_PERCENT: i64 = 25;

const GIVE_BACK: &str = "mutation ($input: RequestPassRefundInput!) { requestPassRefund(input: \
    $input) { pass { state } userErrors { code message } } }";
const PASS: &str = "query ($id: ID!) { pass(id: $id) { state usesCount refund { state uses \
    amount { amountFen } fee { amountFen } } } }";
const ORDER: &str = "query ($id: ID!) { order(id: $id) { state paid { amountFen } refunded \
    { amountFen } refunds { state amount { amountFen } } } }";

/// How a pass and its gates begin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Opening {
    /// The gates first see it when the refund is settled.
    RefundFirst,
    /// Each gate has admitted it before the refund is asked for.
    ScansFirst,
    /// All at once.
    Together,
    /// The gates begin with the answer to the request, while admission may not know of it.
    Answered,
}

const OPENINGS: [Opening; 4] = [
    Opening::RefundFirst,
    Opening::ScansFirst,
    Opening::Together,
    Opening::Answered,
];

/// What its terms say of a used pass.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Terms {
    /// It is taken back, less a fee.
    Fee,
    /// It is not taken back.
    UnusedOnly,
}

/// How it ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    /// All of the price went back, and nobody entered.
    Whole,
    /// The price less the fee went back, for a pass that was used.
    LessFee,
    /// Refused at the request: passes had heard of a use.
    RefusedAtOnce,
    /// Refused by admission's count; the holder has the pass again.
    RefusedByCount,
}

/// A pass of the play and all that its gates admitted, by redemption.
#[derive(Debug)]
struct Played {
    opening: Opening,
    terms: Terms,
    end: End,
    bought: Bought,
    admitted: Vec<String>,
}

#[tokio::test]
async fn a_refund_racing_scans_has_one_order_in_all_services() -> Result<()> {
    Claim::new()?.prove(race_in_both_unions).await
}

async fn race_in_both_unions(Shared { world, .. }: &Shared) -> Result<()> {
    let (chongqing, sichuan) =
        tokio::try_join!(play(world, Union::Chongqing), play(world, Union::Sichuan))?;
    for one in chongqing.iter().chain(&sichuan) {
        let (opening, terms, end) = (one.opening, one.terms, one.end);
        println!(
            "{opening:?} {terms:?}: {end:?}, {} admitted",
            one.admitted.len()
        );
    }
    for union in [&chongqing, &sichuan] {
        for end in [End::Whole, End::LessFee] {
            ensure!(
                union.iter().any(|one| one.end == end),
                "no pass ended {end:?}"
            );
        }
        let refused = |one: &Played| matches!(one.end, End::RefusedAtOnce | End::RefusedByCount);
        ensure!(union.iter().any(refused), "no refund was refused");
    }
    Ok(())
}

async fn play(world: &RunningWorld, union: Union) -> Result<Vec<Played>> {
    let stage = Stage::new(&world.places, union, "race").await?;
    let products = [
        (Terms::Fee, stage.product(&described(Terms::Fee)).await?),
        (
            Terms::UnusedOnly,
            stage.product(&described(Terms::UnusedOnly)).await?,
        ),
    ];
    let mut gates = stage.gates(MEMBERS * GATES_PER_MEMBER).await?;
    let mut buyers = Vec::new();
    for number in FIRST_MEMBER..FIRST_MEMBER + MEMBERS {
        buyers.push(stage.member(u32::try_from(number)?).await?);
    }
    // Members act beside each other, each with gates at both venues.
    let lanes = buyers.iter().zip(gates.chunks_mut(GATES_PER_MEMBER));
    let played = try_join_all(lanes.enumerate().map(async |(lane, (buyer, gates))| {
        let mut played = Vec::new();
        for at in (lane..PASSES).step_by(MEMBERS) {
            // Each opening meets each terms.
            let (opening, (terms, product)) =
                (OPENINGS[at / 2 % OPENINGS.len()], &products[at % 2]);
            let bought = stage.buy(buyer, product).await?;
            let pass = bought.pass.clone();
            let raced = race(bought, opening, *terms, gates).await;
            played.push(raced.with_context(|| format!("{opening:?} {terms:?} {pass}"))?);
        }
        anyhow::Ok(played)
    }));
    let played: Vec<Played> = played.await?.into_iter().flatten().collect();
    agree(&stage, &played).await?;
    Ok(played)
}

fn described(terms: Terms) -> Value {
    let used = json!({ "days": 30, "feePercent": FEE_PERCENT, "unusedOnly": false });
    let unused = json!({ "days": 7, "feePercent": 0, "unusedOnly": true });
    let (name, ladder) = match terms {
        Terms::Fee => ("less a fee", vec![unused, used]),
        Terms::UnusedOnly => ("unused only", vec![unused]),
    };
    json!({
        "nameZh": format!("退票 {name}"),
        "nameEn": format!("Given back, {name}"),
        "priceFen": PRICE_FEN,
        "activation": { "mode": "AUTO", "within": { "unit": "DAYS", "count": 90 } },
        "refundLadder": ladder,
        "rules": { "total": ENTRIES },
    })
}

/// One pass, its refund and its gates; what the refund came to is checked against the scans.
async fn race(
    bought: Bought,
    opening: Opening,
    terms: Terms,
    gates: &mut [Gate],
) -> Result<Played> {
    let mut admitted = Vec::new();
    if opening == Opening::ScansFirst {
        for gate in gates.iter_mut() {
            let (redemption, denial) = scan(gate, &bought).await?;
            admitted.push(redemption.with_context(|| format!("denied: {denial:?}"))?);
        }
    }
    let start = Barrier::new(gates.len() + 1);
    let refund = async {
        if matches!(opening, Opening::Together | Opening::ScansFirst) {
            start.wait().await;
        }
        let answer = give_back(&bought).await?;
        if opening == Opening::RefundFirst {
            settled(&bought).await?;
        }
        if matches!(opening, Opening::Answered | Opening::RefundFirst) {
            start.wait().await;
        }
        anyhow::Ok(answer)
    };
    let scans = try_join_all(gates.iter_mut().map(async |gate| {
        start.wait().await;
        scan_until_denied(gate, &bought).await
    }));
    let (refused, scanned) = tokio::try_join!(refund, scans)?;
    admitted.extend(scanned.into_iter().flatten());
    let pass = settled(&bought).await?;
    let end = judge(&pass, terms, refused.as_deref(), admitted.len())?;
    match end {
        End::Whole | End::LessFee => {
            for gate in gates.iter_mut() {
                let (entered, _) = scan(gate, &bought).await?;
                ensure!(entered.is_none(), "admitted after the refund: {pass}");
            }
        }
        End::RefusedAtOnce | End::RefusedByCount => {
            // It is its holder's again: it opens doors while it has entries left.
            let again = arrival("the pass opens doors again", async || {
                let (entered, denial) = scan(&mut gates[0], &bought).await?;
                let over = denial.as_deref() == Some("USED_UP");
                Ok((entered.is_some() || over).then_some(entered))
            });
            admitted.extend(again.await?);
        }
    }
    Ok(Played {
        opening,
        terms,
        end,
        bought,
        admitted,
    })
}

/// Asks for the refund; the code of its refusal, if it is refused at once.
async fn give_back(bought: &Bought) -> Result<Option<String>> {
    let input = json!({ "passId": bought.pass, "idempotencyKey": key() });
    let data = bought
        .holder
        .send(GIVE_BACK, json!({ "input": input }))
        .await?;
    Ok(text(&data, "/requestPassRefund/userErrors/0/code").ok())
}

/// The pass once nothing about its refund is under way.
async fn settled(bought: &Bought) -> Result<Value> {
    arrival("the refund is settled", async || {
        let data = bought
            .holder
            .send(PASS, json!({ "id": bought.pass }))
            .await?;
        let under_way = data["pass"]["state"] == "REFUNDING";
        Ok((!under_way).then(|| data["pass"].clone()))
    })
    .await
}

/// One scan: the redemption it admitted, or why it was denied.
async fn scan(gate: &mut Gate, bought: &Bought) -> Result<(Option<String>, Option<String>)> {
    let scan_id = gate.next_scan_id()?;
    let answer = gate.scan(&scan_id, &bought.code).await?;
    if answer["decision"] == "ADMIT" {
        return Ok((Some(text(&answer, "/redemption/id")?), None));
    }
    let reason = text(&answer, "/reason")?;
    let known = ["FROZEN", "REVOKED", "USED_UP"].contains(&reason.as_str());
    ensure!(
        answer["decision"] == "DENY" && known,
        "a scan was answered {answer}"
    );
    Ok((None, Some(reason)))
}

async fn scan_until_denied(gate: &mut Gate, bought: &Bought) -> Result<Vec<String>> {
    let mut admitted = Vec::new();
    for _ in 0..SCANS_MAX {
        match scan(gate, bought).await? {
            (Some(redemption), _) => admitted.push(redemption),
            (None, _) => break,
        }
    }
    Ok(admitted)
}

/// What passes says of the refund fits what the gates admitted until it was settled, and the
/// terms.
fn judge(pass: &Value, terms: Terms, refused: Option<&str>, admitted: usize) -> Result<End> {
    if let Some(code) = refused {
        ensure!(code == "REFUND_USED", "the refund was refused as {code}");
        ensure!(
            terms == Terms::UnusedOnly && admitted > 0,
            "refused, and unused: {pass}"
        );
        ensure!(pass["state"] == "ACTIVE", "refused, and not active: {pass}");
        return Ok(End::RefusedAtOnce);
    }
    let uses = pass["refund"]["uses"].as_u64();
    let back = pass["refund"]["amount"]["amountFen"].as_i64();
    if pass["refund"]["state"] == "REFUSED" {
        // Gates may have admitted it again since it was given back to its holder.
        let counted = uses.is_some_and(|uses| uses > 0 && uses <= admitted as u64);
        ensure!(
            terms == Terms::UnusedOnly && counted,
            "refused, {admitted} admitted: {pass}"
        );
        ensure!(
            pass["state"] == "ACTIVE" && back.is_none(),
            "refused, and not active: {pass}"
        );
        return Ok(End::RefusedByCount);
    }
    ensure!(
        pass["state"] == "REFUNDED" && pass["refund"]["state"] == "DONE",
        "{pass}"
    );
    ensure!(
        uses == Some(admitted as u64),
        "{admitted} admitted, and refunded as {pass}"
    );
    ensure!(
        back == Some(due(admitted)),
        "{admitted} admitted, and refunded as {pass}"
    );
    ensure!(
        admitted == 0 || terms == Terms::Fee,
        "refunded, though used: {pass}"
    );
    Ok(if admitted == 0 {
        End::Whole
    } else {
        End::LessFee
    })
}

/// What goes back of a pass that is taken back: the fee is rounded half-up.
fn due(uses: usize) -> i64 {
    let fee = if uses == 0 {
        0
    } else {
        (PRICE_FEN * FEE_PERCENT + 50) / 100
    };
    PRICE_FEN - fee
}

/// At the end each service says the same: admission of who entered, passes of the uses it heard
/// of, billing of the money.
async fn agree(stage: &Stage<'_>, played: &[Played]) -> Result<()> {
    let admissions = stage.admissions().await?;
    let (mut due_fen, mut refunded_fen) = (0, 0);
    for one in played {
        let Bought {
            holder,
            pass,
            order,
            ..
        } = &one.bought;
        let mut admitted = one.admitted.clone();
        admitted.sort();
        let recorded = admissions.get(pass).cloned().unwrap_or_default();
        ensure!(admitted == recorded, "{one:?} is on record as {recorded:?}");
        ensure!(
            recorded.len() <= ENTRIES,
            "more entries than the pass has: {one:?}"
        );
        arrival("passes knows all uses", async || {
            let data = holder.send(PASS, json!({ "id": pass })).await?;
            let known = data["pass"]["usesCount"].as_u64();
            Ok((known == Some(recorded.len() as u64)).then_some(()))
        })
        .await?;
        let back = match one.end {
            End::Whole | End::LessFee => due(recorded.len()),
            End::RefusedAtOnce | End::RefusedByCount => 0,
        };
        let data = holder.send(ORDER, json!({ "id": order })).await?;
        let sum = data["order"]["refunded"]["amountFen"]
            .as_i64()
            .unwrap_or_default();
        let count = data["order"]["refunds"].as_array().map_or(0, Vec::len);
        ensure!(sum == back, "{one:?} is in billing as {data}");
        ensure!(
            count == usize::from(back > 0),
            "{one:?} is in billing as {data}"
        );
        due_fen += back;
        refunded_fen += sum;
    }
    ensure!(
        due_fen == refunded_fen,
        "{due_fen} fen were due, {refunded_fen} went back"
    );
    Ok(())
}
