//! A member reads what she is asked to agree to, agrees that staff of other companies see where
//! she has been, and takes it back: another service, which asks nobody, shows it no more within
//! the minute that the law's reading gives it.

use std::time::{Duration, Instant};

use anyhow::{Result, anyhow, ensure};
use kit::types::Union;
use kit::{Clock, Ids};
use serde_json::{Value, json};

use super::purchase::Bought;
use super::validation;
use crate::client::{Client, text};
use crate::demo::{office_at, persona, venues};
use crate::dev::World;
use crate::documents::Document;
use crate::say::Say;

const PURPOSE: &str = "VISITS_TO_VENUES";
/// Within which a word of hers must count everywhere.
const EFFECTIVE_WITHIN: Duration = Duration::from_secs(60);
/// The first pause between two looks; each is twice as long as the one before, for staff may look
/// up thirty times in ten minutes.
const PAUSE: Duration = Duration::from_millis(250);

const CONSENTS: &str = "query { me { consents { purpose state text textVersion effectiveFrom \
    history(first: 5) { nodes { given at textVersion } } } } }";
const GIVE: &str = "mutation ($input: GiveConsentInput!) { giveConsent(input: $input) { consent \
    { state } userErrors { code message } } }";
const WITHDRAW: &str = "mutation ($input: WithdrawConsentInput!) { withdrawConsent(input: $input) \
    { consent { state } userErrors { code message } } }";

/// What is sent from here.
pub(super) const DOCUMENTS: [Document; 3] = [
    ("consents", CONSENTS),
    ("giveConsent", GIVE),
    ("withdrawConsent", WITHDRAW),
];

/// Somebody at work at another company's venue, with a pass before her.
struct Desk<'a> {
    staff: Client,
    venue: String,
    pass: &'a str,
}

/// Plays it with the member of journey 1, whose pass was used at one company's venue.
///
/// # Errors
/// When a step does not answer what it must.
pub(super) async fn play(world: &World, union: Union, bought: &Bought, say: &Say) -> Result<()> {
    let phone = office_at(union, "VENUE_STAFF", "museums");
    let staff = persona::again(world, union, &phone).await?.client;
    let venue = venues::id_of(&staff, venues::of_another_company(union)).await?;
    validation::shift(&staff, &venue, say).await?;
    let desk = Desk {
        staff,
        venue,
        pass: &bought.pass_number,
    };
    let member = &bought.member.client;
    let asked = read(member, say).await?;
    if asked["state"] == "GIVEN" {
        // A play that was cut off left it so.
        said(member, WITHDRAW, json!({ "purpose": PURPOSE })).await?;
    }
    desk.until(false).await?;
    say.step("lookUpPass  另一家公司看不到入园记录 / another company sees no visit");

    let began = Instant::now();
    let agreed = json!({ "purpose": PURPOSE, "textVersion": asked["textVersion"] });
    let state = said(member, GIVE, agreed).await?;
    let visits = desk.until(true).await?;
    let told = format!("{state}: {visits} 次入园可见 / visits are shown");
    say.answer("giveConsent → lookUpPass", began.elapsed(), &told);

    let began = Instant::now();
    let state = said(member, WITHDRAW, json!({ "purpose": PURPOSE })).await?;
    desk.until(false).await?;
    let told = format!("{state}: 另一服务已不再显示 / the other service shows none");
    say.answer("withdrawConsent → lookUpPass", began.elapsed(), &told);
    let after = read(member, say).await?;
    ensure!(
        after["state"] == "WITHDRAWN",
        "it is not withdrawn: {after}"
    );
    validation::go_home(&desk.staff).await
}

/// What she is asked to, in both languages, and all that she said to it.
async fn read(member: &Client, say: &Say) -> Result<Value> {
    let began = Instant::now();
    let zh = asked(&member.send(CONSENTS, json!({})).await?)?;
    let en = asked(&member.in_english().send(CONSENTS, json!({})).await?)?;
    let words = zh["history"]["nodes"].as_array().map_or(0, Vec::len);
    let told = format!(
        "{} v{} {} 次表态 / words; {} / {}",
        text(&zh, "/state")?,
        zh["textVersion"],
        words,
        text(&zh, "/text")?,
        text(&en, "/text")?
    );
    say.answer("me.consents", began.elapsed(), &told);
    Ok(zh)
}

fn asked(data: &Value) -> Result<Value> {
    let mut all = data["me"]["consents"].as_array().into_iter().flatten();
    let found = all.find(|consent| consent["purpose"] == PURPOSE);
    found
        .cloned()
        .ok_or_else(|| anyhow!("she is not asked for {PURPOSE}: {data}"))
}

/// Says it; what it is worth now.
async fn said(member: &Client, word: &str, mut input: Value) -> Result<String> {
    input["idempotencyKey"] = json!(Ids::random().uuid(Clock::System.now()));
    let payload = member.run(word, json!({ "input": input })).await?;
    text(&payload, "/consent/state")
}

impl Desk<'_> {
    /// Looks the pass up until visits are shown, or are not; how many are.
    async fn until(&self, shown: bool) -> Result<usize> {
        let (began, mut pause) = (Instant::now(), PAUSE);
        loop {
            let input = json!({ "venueId": self.venue, "number": self.pass });
            let input = json!({ "input": input });
            let found = self.staff.run(validation::LOOK_UP, input).await?;
            let visits = found["passes"][0]["uses"].as_array();
            let visits = visits.ok_or_else(|| anyhow!("the pass is not found: {found}"))?;
            if visits.is_empty() != shown {
                return Ok(visits.len());
            }
            ensure!(
                began.elapsed() + pause < EFFECTIVE_WITHIN,
                "her word does not count after {} s: {found}",
                began.elapsed().as_secs()
            );
            tokio::time::sleep(pause).await;
            pause *= 2;
        }
    }
}
