//! A visit that must be reserved: the operator opens a day, the member reserves it, and the gate
//! that turned her away lets her in. Two services that share one event, through both doors.

use anyhow::{Result, ensure};
use bashu::client::text;
use bashu::journey::gate::Gate;
use kit::Clock;
use kit::types::{Union, shanghai_date};
use serde_json::{Value, json};

use crate::running::arrival;
use crate::shared::{Claim, Shared};
use crate::stage::{Bought, Stage, key};

/// Of members that no other proof of this world signs in.
const MEMBERS: [u32; 2] = [75, 76];
/// Days that are opened, so that a proof at midnight is one too.
const DAYS: u32 = 3;

const OPEN: &str = "mutation ($input: OpenVisitDaysInput!, $from: Date!) { openVisitDays(input: \
    $input) { venue { visitDays(from: $from, first: 1) { left } } userErrors { code message } } }";
const RESERVE: &str = "mutation ($input: VisitInput!) { reserveVisit(input: $input) { pass \
    { reservations { date venue { name } } } userErrors { code message } } }";

#[tokio::test]
async fn only_who_reserved_is_let_in() -> Result<()> {
    Claim::new()?
        .prove(async |Shared { world, .. }| {
            for union in [Union::Chongqing, Union::Sichuan] {
                reserve_and_enter(&Stage::new(&world.places, union, "visit").await?).await?;
            }
            Ok(())
        })
        .await
}

/// Two members want the one place that a day has.
async fn reserve_and_enter(stage: &Stage<'_>) -> Result<()> {
    let product = stage
        .product(&json!({
            "nameZh": "预约年票",
            "nameEn": "A pass by reservation",
            "priceFen": 100,
            "rules": { "reservationRequired": true },
        }))
        .await?;
    let mut gates = stage.gates(2).await?;
    let mut passes = Vec::new();
    for number in MEMBERS {
        let holder = stage.member(number).await?;
        passes.push(stage.buy(&holder, &product).await?);
    }
    for pass in &passes {
        let denied = scan(&mut gates[0], pass).await?;
        ensure!(denied == "NO_RESERVATION", "{denied}");
    }
    let today = shanghai_date(Clock::System.now());
    let venue = stage.first_venue();
    let input = json!({
        "venueId": venue, "first": today, "days": DAYS, "places": 1, "idempotencyKey": key(),
    });
    let variables = json!({ "input": input, "from": today });
    let opened = stage.operator().run(OPEN, variables).await?;
    ensure!(opened["venue"]["visitDays"][0]["left"] == 1, "{opened}");
    let mut answers = Vec::new();
    for pass in &passes {
        let input = json!({
            "passId": pass.pass, "venueId": venue, "date": today, "idempotencyKey": key(),
        });
        let data = pass.holder.send(RESERVE, json!({ "input": input })).await?;
        answers.push(text(&data, "/reserveVisit/userErrors/0/code").unwrap_or_default());
    }
    ensure!(answers == ["", "NO_PLACES_LEFT"], "{answers:?}");
    arrival("the gate hears of the visit", async || {
        let decided = scan(&mut gates[0], &passes[0]).await?;
        Ok((decided == "ADMIT").then_some(()))
    })
    .await?;
    let elsewhere = scan(&mut gates[1], &passes[0]).await?;
    ensure!(
        elsewhere == "NO_RESERVATION",
        "at the other venue: {elsewhere}"
    );
    let unlucky = scan(&mut gates[0], &passes[1]).await?;
    ensure!(unlucky == "NO_RESERVATION", "without a place: {unlucky}");
    Ok(())
}

/// The reason of a denial, or the decision.
async fn scan(gate: &mut Gate, bought: &Bought) -> Result<String> {
    let scan_id = gate.next_scan_id()?;
    let answer: Value = gate.scan(&scan_id, &bought.code).await?;
    text(&answer, "/reason").or_else(|_| text(&answer, "/decision"))
}
