//! A member asks to be forgotten. Nothing is done before her grace is over, which is days and a
//! row of the union's own; so she reads until when she can think better of it, by when it is done,
//! and what stays; and then she takes it back, which leaves her as she was for the next play.

use std::time::Instant;

use anyhow::{Result, ensure};
use chrono::{DateTime, Utc};
use kit::types::{Union, shanghai_date};
use kit::{Clock, Ids};
use serde_json::{Value, json};

use crate::client::text;
use crate::demo::{LEAVER, member_phone, persona};
use crate::dev::World;
use crate::documents::Document;
use crate::say::Say;

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
    let input = json!({ "idempotencyKey": Ids::random().uuid(Clock::System.now()) });
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

/// The day in Shanghai of an instant.
fn day(wish: &Value, name: &str) -> Result<String> {
    let at: DateTime<Utc> = text(wish, name)?.parse()?;
    Ok(shanghai_date(at).to_string())
}
