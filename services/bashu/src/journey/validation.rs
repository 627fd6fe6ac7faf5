//! Journey 3, its online half: a gate enrolled with its own key, staff on a shift, scans that are
//! admitted, denied and repeated, a look-up, an admission taken back, the day's figures.

use std::time::Instant;

use anyhow::{Result, ensure};
use kit::types::{Union, shanghai_date};
use kit::{Clock, Ids};
use serde_json::{Value, json};

use super::gate::Gate;
use super::purchase::Bought;
use crate::client::{Client, text};
use crate::demo::{office_phone, persona, venues};
use crate::dev::World;
use crate::documents::Document;
use crate::say::Say;

const OPEN_SHIFT: &str = "mutation ($input: OpenShiftInput!) { openShift(input: $input) { shift \
    { id closesAt } userErrors { code message } } }";
const CLOSE_SHIFT: &str = "mutation { closeShift { shift { id } userErrors { code message } } }";
pub(super) const LOOK_UP: &str = "mutation ($input: LookUpPassInput!) { lookUpPass(input: $input) \
    { passes { number state uses { id decision } } userErrors { code message } } }";
const VOID: &str = "mutation ($input: VoidRedemptionInput!) { voidRedemption(input: $input) \
    { redemption { id voided } userErrors { code message } } }";
const FIGURES: &str = "query ($venue: ID!, $from: Date!, $until: Date!) \
    { venueFigures(venueId: $venue, from: $from, until: $until) { what times persons } }";
const VENUE: &str = "query ($id: ID!) { venue(id: $id) { name occupancy passProducts(first: 5) \
    { nodes { name } } } }";

/// What is sent from here.
pub(super) const DOCUMENTS: [Document; 6] = [
    ("openShift", OPEN_SHIFT),
    ("closeShift", CLOSE_SHIFT),
    ("lookUpPass", LOOK_UP),
    ("voidRedemption", VOID),
    ("venueFigures", FIGURES),
    ("venue", VENUE),
];

/// A venue with an enrolled gate and its people.
#[derive(Debug)]
pub(crate) struct Venue {
    id: String,
    gate: Gate,
    manager: Client,
    staff: Client,
}

/// Makes and enrols the gate, and opens the shift of a member of staff.
///
/// # Errors
/// When the gateway refuses something.
pub(crate) async fn prepare(world: &World, union: Union, say: &Say) -> Result<Venue> {
    let manager = persona::again(world, union, &office_phone(union, "VENUE_MANAGER")).await?;
    let staff = persona::again(world, union, &office_phone(union, "VENUE_STAFF")).await?;
    let id = venues::id_of(&manager.client, venues::open_always(union)).await?;
    let gate = Gate::named(world, union, &manager.client, &id, "journey").await?;
    say.step("createGate, enrolGate  闸机已用自己的密钥注册 / enrolled with its own key");
    shift(&staff.client, &id, say).await?;
    Ok(Venue {
        id,
        gate,
        manager: manager.client,
        staff: staff.client,
    })
}

/// Plays it with the pass of journey 1.
///
/// # Errors
/// When a step does not answer what it must.
pub(crate) async fn play(venue: &mut Venue, bought: &Bought, say: &Say) -> Result<()> {
    let Venue {
        id,
        gate,
        manager,
        staff,
    } = venue;
    let first = admitted(gate, bought, say).await?;
    denied(gate, bought, &first, say).await?;
    repeated(gate, bought, &first.0, say).await?;
    looked_up(staff, id, bought, say).await?;
    shift(manager, id, say).await?;
    taken_back(manager, gate, bought, &first.1, say).await?;
    figures(staff, id, say).await?;
    for person in [staff, manager] {
        go_home(person).await?;
    }
    Ok(())
}

/// Ends the shift that is open.
///
/// # Errors
/// When the gateway refuses.
pub(super) async fn go_home(client: &Client) -> Result<()> {
    client.run(CLOSE_SHIFT, json!({})).await?;
    Ok(())
}

/// Begins to work at a venue.
///
/// # Errors
/// When the gateway refuses.
pub(super) async fn shift(client: &Client, venue: &str, say: &Say) -> Result<()> {
    // One left open by a play that was cut off ends first.
    go_home(client).await?;
    let began = Instant::now();
    let input = json!({ "venueId": venue });
    let opened = client.run(OPEN_SHIFT, json!({ "input": input })).await?;
    say.answer(
        "openShift",
        began.elapsed(),
        &text(&opened, "/shift/closesAt")?,
    );
    Ok(())
}

/// The first scan is admitted; its scan id and payload.
async fn admitted(gate: &mut Gate, bought: &Bought, say: &Say) -> Result<(Value, Value)> {
    let began = Instant::now();
    let scan_id = gate.next_scan_id()?;
    let payload = gate.scan(&scan_id, &bought.code).await?;
    ensure!(
        payload["decision"] == "ADMIT",
        "the gate did not admit: {payload}"
    );
    say.answer("redeem", began.elapsed(), &text(&payload, "/explanation")?);
    let total = bought.paid_at.elapsed().as_millis();
    say.step(&format!(
        "付款到入园 {total} ms / from payment to the open gate"
    ));
    Ok((scan_id, payload))
}

/// The second entry of the day is denied, with a reason and the next time.
async fn denied(gate: &mut Gate, bought: &Bought, first: &(Value, Value), say: &Say) -> Result<()> {
    let began = Instant::now();
    let scan_id = gate.next_scan_id()?;
    let payload = gate.scan(&scan_id, &bought.code).await?;
    ensure!(
        payload["decision"] == "DENY",
        "a second entry was not denied: {payload}"
    );
    ensure!(
        payload["reason"] != first.1["reason"],
        "a denial without a reason of its own"
    );
    ensure!(
        payload["nextTryAt"].is_string(),
        "a denial for the day that names no next time"
    );
    let told = format!(
        "{} {} next: {}",
        text(&payload, "/reason")?,
        text(&payload, "/explanation")?,
        text(&payload, "/nextTryAt")?
    );
    say.answer("redeem 再次 / again", began.elapsed(), &told);
    Ok(())
}

/// The first scan's answer was lost and is asked for again: the same answer, under a limit of
/// one a day. The same scan id with another code is refused.
async fn repeated(gate: &Gate, bought: &Bought, scan_id: &Value, say: &Say) -> Result<()> {
    let began = Instant::now();
    let payload = gate.scan(scan_id, &bought.code).await?;
    ensure!(
        payload["decision"] == "ADMIT",
        "a repeated scan got another answer: {payload}"
    );
    say.answer(
        "redeem 重发 / same scan id",
        began.elapsed(),
        "ADMIT, 同一答复 / the same answer",
    );
    let began = Instant::now();
    let other = gate.scan(scan_id, "CY1:OTHER").await?;
    ensure!(
        other["userErrors"][0]["code"] == "SCAN_ID_REUSED",
        "a scan id was used for another code: {other}"
    );
    let told = text(&other, "/userErrors/0/message")?;
    say.answer(
        "redeem 同号异码 / same id, other code",
        began.elapsed(),
        &told,
    );
    Ok(())
}

async fn looked_up(staff: &Client, venue: &str, bought: &Bought, say: &Say) -> Result<()> {
    let began = Instant::now();
    let input = json!({ "venueId": venue, "number": bought.pass_number });
    let found = staff.run(LOOK_UP, json!({ "input": input })).await?;
    let state = text(&found, "/passes/0/state")?;
    let uses = found["passes"][0]["uses"].as_array().map_or(0, Vec::len);
    ensure!(uses > 0, "the look-up shows no use: {found}");
    let told = format!("{} {state}, {uses} 次 / uses", bought.pass_number);
    say.answer("lookUpPass", began.elapsed(), &told);
    Ok(())
}

/// The supervisor takes the admission back with a reason: the entry is possible again.
async fn taken_back(
    manager: &Client,
    gate: &mut Gate,
    bought: &Bought,
    first: &Value,
    say: &Say,
) -> Result<()> {
    let began = Instant::now();
    let input = json!({
        "idempotencyKey": Ids::random().uuid(Clock::System.now()),
        "redemptionId": first["redemption"]["id"],
        "reason": "游客未入园即离开 / left before entering",
    });
    let voided = manager.run(VOID, json!({ "input": input })).await?;
    ensure!(
        voided["redemption"]["voided"] == true,
        "the admission stands: {voided}"
    );
    let scan_id = gate.next_scan_id()?;
    let payload = gate.scan(&scan_id, &bought.code).await?;
    ensure!(
        payload["decision"] == "ADMIT",
        "a voided entry still counts: {payload}"
    );
    say.answer(
        "voidRedemption, redeem",
        began.elapsed(),
        &text(&payload, "/explanation")?,
    );
    Ok(())
}

async fn figures(staff: &Client, venue: &str, say: &Say) -> Result<()> {
    let began = Instant::now();
    let today = shanghai_date(Clock::System.now());
    // Just after midnight a scan of a moment ago counts for the day before.
    let from = today.pred_opt().unwrap_or(today);
    let until = today.succ_opt().unwrap_or(today);
    let variables = json!({ "venue": venue, "from": from, "until": until });
    let data = staff.send(FIGURES, variables).await?;
    let rows = data["venueFigures"].as_array().cloned().unwrap_or_default();
    ensure!(!rows.is_empty(), "the day has no figures");
    let told: Vec<String> = rows
        .iter()
        .map(|row| format!("{} {}", row["what"], row["times"]))
        .collect();
    say.answer("venueFigures", began.elapsed(), &told.join(", "));
    let data = staff
        .in_english()
        .send(VENUE, json!({ "id": venue }))
        .await?;
    let products = data["venue"]["passProducts"]["nodes"]
        .as_array()
        .map_or(0, Vec::len);
    ensure!(products > 0, "the venue opens to no product: {data}");
    say.step(&format!(
        "venue  {}, {products} pass products open it (joined by the gateway)",
        text(&data, "/venue/name")?
    ));
    Ok(())
}
