//! A member asks to be forgotten. Nothing is done before her grace is over, which is days and a
//! row of the union's own; so she reads until when she can think better of it, by when it is done,
//! and what stays; and then she takes it back, which leaves her as she was for the next play.
//! Somebody else is forgotten in view: for her wish alone the owner of the tables makes the grace
//! none.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use chrono::{DateTime, Utc};
use kit::types::{Union, shanghai_date};
use kit::{Clock, Ids};
use serde_json::{Value, json};

use super::trail;
use crate::client::text;
use crate::demo::{FORGOTTEN, LEAVER, member_phone, persona};
use crate::dev::World;
use crate::documents::Document;
use crate::registry;
use crate::say::Say;
use crate::stack::Stack;

/// The grace that a migration gives, in hours.
const GRACE_HOURS: i32 = 168;
/// How long all services may take to forget somebody.
const FORGOTTEN_TIMEOUT: Duration = Duration::from_secs(60);
const POLL: Duration = Duration::from_millis(500);

const ERASE: &str = "mutation ($input: EraseMeInput!) { eraseMe(input: $input) { erasure { state \
    askedAt graceUntil deadline notes holds { kind count text } } userErrors { code message } } }";
const READ: &str = "query { me { erasure { state graceUntil deadline notes holds { text } } } }";
const RECALL: &str = "mutation { recallErasure { erasure { state } userErrors { code message } } }";

/// What is sent from here.
pub(super) const DOCUMENTS: [Document; 3] = [
    ("eraseMe", ERASE),
    ("erasure", READ),
    ("recallErasure", RECALL),
];

/// Plays it with somebody of the demonstration who does nothing else.
///
/// # Errors
/// When a step does not answer what it must.
pub(super) async fn play(world: &World, union: Union, say: &Say) -> Result<()> {
    let member = persona::again(world, union, &member_phone(union, LEAVER)).await?;
    let member = member.client;
    let began = Instant::now();
    // She has no second factor, and in a development world who has none does without.
    let input = wished();
    let asked = member.run(ERASE, json!({ "input": input })).await?;
    let again = member.run(ERASE, json!({ "input": input })).await?;
    ensure!(asked == again, "the same wish is another one: {again}");
    let wish = &asked["erasure"];
    ensure!(wish["state"] == "ASKED", "the wish is not taken: {wish}");
    let [grace, deadline] = ["/graceUntil", "/deadline"].map(|name| day(wish, name));
    let (grace, deadline) = (grace?, deadline?);
    let told = format!(
        "{} 可撤回至 / can be taken back until {grace}, 最迟 / done by {deadline}",
        text(wish, "/state")?
    );
    say.answer("eraseMe", began.elapsed(), &told);
    let today = shanghai_date(Clock::System.now()).to_string();
    ensure!(
        today < grace && grace <= deadline,
        "no time to think: {wish}"
    );

    let began = Instant::now();
    let read = member.in_english().send(READ, json!({})).await?;
    let (zh, en) = (text(wish, "/notes")?, text(&read, "/me/erasure/notes")?);
    say.answer("me.erasure", began.elapsed(), &format!("{zh} / {en}"));

    let began = Instant::now();
    let recalled = member.run(RECALL, json!({})).await?;
    let state = text(&recalled, "/erasure/state")?;
    ensure!(state == "RECALLED", "the wish stands: {recalled}");
    say.answer("recallErasure", began.elapsed(), &state);
    Ok(())
}

/// Plays that somebody is forgotten: when no service had anything to keep her for, the record says
/// that her key is destroyed, and she is signed in no more. Whoever is added with her number later
/// is another member.
///
/// # Errors
/// When a step does not answer what it must, or she is there still after a while.
pub(super) async fn forgotten(world: &World, union: Union, say: &Say) -> Result<()> {
    // By a code: no token of the last play is hers who was added since.
    let member = persona::by_code(world, union, &member_phone(union, FORGOTTEN)).await?;
    let member = member.client;
    let (began, since) = (Instant::now(), Clock::System.now().to_rfc3339());
    grace(world, union, 0).await?;
    let asked = member.run(ERASE, json!({ "input": wished() })).await;
    // Whatever became of it: everybody else has her days to think.
    grace(world, union, GRACE_HOURS).await?;
    let asked = asked?;
    let state = text(&asked, "/erasure/state")?;
    ensure!(state == "ASKED", "the wish is not taken: {asked}");
    say.answer("eraseMe", began.elapsed(), &state);

    let search = [
        "audit",
        "search",
        "--act",
        "erase_person",
        "--since",
        &since,
    ];
    let done = loop {
        let rows = trail::asked(world, union, &search).await?;
        if let Some(row) = rows.as_array().context("a list of rows")?.first() {
            break row.clone();
        }
        ensure!(began.elapsed() < FORGOTTEN_TIMEOUT, "she is there still");
        tokio::time::sleep(POLL).await;
    };
    ensure!(
        member.send(READ, json!({})).await.is_err(),
        "who was forgotten is signed in still"
    );
    let told = format!(
        "密钥已销毁 / her key is destroyed: {} {}",
        text(&done, "/service")?,
        text(&done, "/at")?
    );
    say.answer("erase_person", began.elapsed(), &told);
    Ok(())
}

/// How long people of a union can think better of it from now on, in hours; as the owner of the
/// tables, since nobody changes that who is served.
async fn grace(world: &World, union: Union, hours: i32) -> Result<()> {
    let stack = Stack::of(world.config(union)?);
    let ctx = stack.owner(registry::named(identity::NAME)?).await?;
    ctx.db
        .tx("set_grace", async |tx| {
            identity::store::person_rights::set_grace(tx, "erasure", hours).await
        })
        .await?;
    Ok(())
}

/// A wish of its own.
fn wished() -> Value {
    json!({ "idempotencyKey": Ids::random().uuid(Clock::System.now()) })
}

/// The day in Shanghai of an instant.
fn day(wish: &Value, name: &str) -> Result<String> {
    let at: DateTime<Utc> = text(wish, name)?.parse()?;
    Ok(shanghai_date(at).to_string())
}
