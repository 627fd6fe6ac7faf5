//! A union's officer fetches a list of those of her people who hold annual passes: passes says who,
//! identity writes their names into a file, which comes once, at an address of its own. She holds a
//! pass herself, so that somebody stands on it.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use kit::types::Union;
use kit::{Clock, Ids};
use serde_json::{Value, json};

use super::{authenticator, purchase, roster};
use crate::client::{Client, only_field, text};
use crate::demo::office_at;
use crate::dev::{World, write_private_bytes};
use crate::documents::Document;
use crate::say::Say;

/// How long passes and identity may take to make the file.
const READY_TIMEOUT: Duration = Duration::from_secs(60);
const POLL: Duration = Duration::from_millis(100);

const HELD: &str = "query { me { passes(first: 5) { nodes { state } } } }";
const ASK: &str = "mutation ($input: RequestPassHolderListInput!) { requestPassHolderList(input: \
    $input) { fileId userErrors { code message } } }";
const FILES: &str = "query { me { renderedFiles { id state } } }";
const FETCH: &str = "mutation ($input: DownloadRenderedFileInput!) { downloadRenderedFile(input: \
    $input) { download { path } userErrors { code message } } }";

/// What is sent from here.
pub(super) const DOCUMENTS: [Document; 4] = [
    ("heldPasses", HELD),
    ("requestPassHolderList", ASK),
    ("renderedFiles", FILES),
    ("downloadRenderedFile", FETCH),
];

/// Plays it. Whoever has asked as often as a day allows is told so and asks no more.
///
/// # Errors
/// When a step does not answer what it must.
pub(super) async fn play(world: &World, union: Union, say: &Say) -> Result<()> {
    let phone = office_at(union, "OFFICER", roster::HOME);
    let officer = authenticator::signed_in(world, union, &phone, say).await?;
    hold_a_pass(world, &officer).await?;
    let began = Instant::now();
    let asked = ask(&officer).await?;
    if asked["userErrors"][0]["code"] == "TOO_MANY_LISTS" {
        say.step("requestPassHolderList  今日已满 / no more today");
        return Ok(());
    }
    let file = text(&asked, "/fileId")?;
    ready(&officer, &file).await?;
    say.answer("requestPassHolderList", began.elapsed(), "READY");

    let began = Instant::now();
    let input = json!({ "input": { "fileId": file } });
    let address = officer.run(FETCH, input).await?;
    let path = text(&address, "/download/path")?;
    let url = format!("http://{}{path}", world.config(union)?.listen.rest());
    let answer = reqwest::get(&url).await?.error_for_status()?;
    let bytes = answer.bytes().await?;
    let again = reqwest::get(&url).await?.status().as_u16();
    ensure!(again == 404, "the list was given out twice: {again}");
    let kept = world.downloads(union)?;
    write_private_bytes(&kept.join(format!("{phone}-pass-holders.xlsx")), &bytes)?;
    let told = format!("{} bytes, 地址只用一次 / once", bytes.len());
    say.answer("downloadRenderedFile", began.elapsed(), &told);
    Ok(())
}

/// Buys her a pass, unless she has one that opens.
async fn hold_a_pass(world: &World, officer: &Client) -> Result<()> {
    let held = officer.send(HELD, json!({})).await?;
    let mut passes = held["me"]["passes"]["nodes"]
        .as_array()
        .into_iter()
        .flatten();
    if passes.any(|pass| pass["state"] == "ACTIVE") {
        return Ok(());
    }
    let product = purchase::choose(officer).await?;
    let pass = purchase::buy(officer, &text(&product, "/id")?).await?;
    let code_url = purchase::pay(officer, &text(&pass, "/order/id")?).await?;
    purchase::pay_as_payer(world, &code_url).await?;
    let _ready = purchase::wait_for_code(officer, &text(&pass, "/id")?).await?;
    Ok(())
}

async fn ask(officer: &Client) -> Result<Value> {
    let own = officer.send(roster::OWN_ROLES, json!({})).await?;
    let mut roles = own["me"]["roles"].as_array().into_iter().flatten();
    let office = roles.find(|held| held["role"] == "OFFICER");
    let office = office.with_context(|| format!("she holds no office: {own}"))?;
    let input = json!({
        "organisationId": office["organisation"]["id"], "purpose": "OUTING",
        "idempotencyKey": Ids::random().uuid(Clock::System.now()),
    });
    only_field(officer.send(ASK, json!({ "input": input })).await?)
}

/// Waits until identity has heard of the file and made it.
async fn ready(officer: &Client, file: &str) -> Result<()> {
    let began = Instant::now();
    loop {
        let data = officer.send(FILES, json!({})).await?;
        let mut files = data["me"]["renderedFiles"].as_array().into_iter().flatten();
        let state = files.find(|it| it["id"] == file).map(|it| &it["state"]);
        match state.and_then(Value::as_str) {
            Some("READY") => return Ok(()),
            other => ensure!(
                began.elapsed() < READY_TIMEOUT && other != Some("REFUSED"),
                "the list is {other:?}"
            ),
        }
        tokio::time::sleep(POLL).await;
    }
}
