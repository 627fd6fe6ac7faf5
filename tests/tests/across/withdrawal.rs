//! What is taken back is refused everywhere within seconds: a login that ended buys nothing more, a
//! role that was withdrawn does nothing more, although their tokens live on for minutes. And what
//! `bashu demo` finds it does not make again.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use bashu::client::{Client, text};
use bashu::demo::{member_phone, office_phone, persona};
use kit::types::Union;
use serde_json::{Value, json};

use crate::running::{RunningWorld, arrival};
use crate::shared::{Claim, Shared};
use crate::stage::{Stage, key};

/// How long what was taken back may still work, from the answer that it is.
const STILL_VALID_MAX: Duration = Duration::from_secs(5);
const POLL: Duration = Duration::from_millis(50);
/// A member whom nothing else here acts for.
const MEMBER: u32 = 80;

const LOGOUT: &str = "mutation { logout { loginId userErrors { code message } } }";
const BUY: &str = "mutation ($input: BuyPassInput!) { buyPass(input: $input) { pass { id } \
    userErrors { code message } } }";
const ROLES: &str = "query { me { id roles { id role organisation { id } } } }";
const GRANT: &str = "mutation ($input: GrantRoleInput!) { grantRole(input: $input) \
    { role { id } userErrors { code message } } }";
const WITHDRAW: &str = "mutation ($input: WithdrawRoleInput!) { withdrawRole(input: $input) \
    { role { id } userErrors { code message } } }";
const CREATE_GATE: &str = "mutation ($input: CreateGateInput!) { createGate(input: $input) \
    { gate { id } userErrors { code message } } }";

#[tokio::test]
async fn what_is_taken_back_is_refused_everywhere_within_seconds() -> Result<()> {
    Claim::new()?.prove(take_back_in_both_unions).await
}

async fn take_back_in_both_unions(Shared { world, .. }: &Shared) -> Result<()> {
    for union in Union::ALL {
        let stage = Stage::new(&world.places, union, "back").await?;
        a_login_that_ended_buys_nothing(&stage).await?;
        a_withdrawn_role_does_nothing(&stage).await?;
    }
    the_demonstration_is_made_once(world)
}

async fn a_login_that_ended_buys_nothing(stage: &Stage<'_>) -> Result<()> {
    let product = stage.product(&described()).await?;
    let phone = member_phone(stage.union, MEMBER);
    let member = persona::by_code(stage.world, stage.union, &phone)
        .await?
        .client;
    let attempt = async || {
        let input = json!({ "productId": product, "idempotencyKey": key() });
        member.send(BUY, json!({ "input": input })).await
    };
    ensure!(done(&attempt().await, "buyPass"), "she cannot buy at all");
    member.run(LOGOUT, json!({})).await?;
    refused("buyPass", &attempt).await
}

async fn a_withdrawn_role_does_nothing(stage: &Stage<'_>) -> Result<()> {
    let phone = office_phone(stage.union, "VENUE_MANAGER");
    let manager = persona::again(stage.world, stage.union, &phone)
        .await?
        .client;
    let venue = stage.first_venue();
    let attempt = async || {
        let (key, name) = (key(), "unwanted");
        let input = json!({ "venueId": venue, "name": name, "idempotencyKey": key });
        manager.send(CREATE_GATE, json!({ "input": input })).await
    };
    let first = attempt().await;
    ensure!(
        done(&first, "createGate"),
        "the manager cannot act at all: {first:?}"
    );
    let (member, held) = roles_of(&manager).await?;
    for role in &held {
        let input = json!({ "roleId": role["id"] });
        stage
            .operator()
            .run(WITHDRAW, json!({ "input": input }))
            .await?;
    }
    refused("createGate", &attempt).await?;
    // What is given again works again, for this proof and for the next.
    for role in &held {
        let (organisation, role) = (&role["organisation"]["id"], &role["role"]);
        let input = json!({ "memberId": member, "organisationId": organisation, "role": role });
        stage
            .operator()
            .run(GRANT, json!({ "input": input }))
            .await?;
    }
    arrival("the manager acts again", async || {
        Ok(done(&attempt().await, "createGate").then_some(()))
    })
    .await
}

/// Who she is, and the roles that she holds.
async fn roles_of(manager: &Client) -> Result<(String, Vec<Value>)> {
    let mine = manager.send(ROLES, json!({})).await?;
    let held = mine["me"]["roles"].as_array().cloned().unwrap_or_default();
    ensure!(!held.is_empty(), "the manager holds no role: {mine}");
    Ok((text(&mine, "/me/id")?, held))
}

/// Nothing about it ends or runs out.
fn described() -> Value {
    json!({ "nameZh": "试用", "nameEn": "For this test", "priceFen": 100, "rules": {} })
}

/// Whether a mutation did what it was asked to.
fn done(answer: &Result<Value>, mutation: &str) -> bool {
    answer.as_ref().is_ok_and(|data| {
        let payload = &data[mutation];
        payload.is_object() && payload["userErrors"].as_array().is_none_or(Vec::is_empty)
    })
}

/// Asks until it is refused, which must be soon.
async fn refused(mutation: &str, attempt: &impl AsyncFn() -> Result<Value>) -> Result<()> {
    let began = Instant::now();
    while done(&attempt().await, mutation) {
        ensure!(
            began.elapsed() < STILL_VALID_MAX,
            "{mutation} still works {:?} after it was taken back",
            began.elapsed()
        );
        tokio::time::sleep(POLL).await;
    }
    println!("{mutation} was refused after {:?}", began.elapsed());
    Ok(())
}

/// A second `bashu demo`, which is not told the ports, finds everything and adds nothing.
fn the_demonstration_is_made_once(world: &RunningWorld) -> Result<()> {
    let folder = world.servers.folder.display().to_string();
    let members = crate::running::MEMBERS.to_string();
    let arguments = ["--json", "demo", "--folder", &folder, "--members", &members];
    let (well, said) = world.servers.bashu(None, &arguments)?;
    ensure!(well, "{said}");
    let story: Value = serde_json::from_str(&said)?;
    let steps = story["steps"].as_array().cloned().unwrap_or_default();
    ensure!(steps.len() == 2, "a step of each union: {said}");
    for step in steps {
        let said = text(&step, "/text")?;
        ensure!(said.contains(" 0 members added"), "{said}");
    }
    Ok(())
}
