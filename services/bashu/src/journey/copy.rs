//! A member fetches all that is kept of her: asked of every service, and given as a file at an
//! address that works once. A copy that is still good is not asked for again.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use kit::types::Union;
use kit::{Clock, Ids};
use serde_json::{Value, json};

use crate::client::{Client, text};
use crate::demo::{LEAVER, known_by, persona};
use crate::dev::{World, write_private};
use crate::documents::Document;
use crate::say::Say;

/// How long all services may take to answer.
const READY_TIMEOUT: Duration = Duration::from_secs(60);
const POLL: Duration = Duration::from_millis(100);

const COPY: &str = "query { me { dataExport { id state missingServices expiresAt } } }";
const ASK: &str = "mutation ($input: ExportMyDataInput!) { exportMyData(input: $input) { export \
    { id state } userErrors { code message } } }";
const FETCH: &str = "mutation ($input: DownloadMyDataInput!) { downloadMyData(input: $input) \
    { download { path } userErrors { code message } } }";

/// What is sent from here.
pub(super) const DOCUMENTS: [Document; 3] = [
    ("dataExport", COPY),
    ("exportMyData", ASK),
    ("downloadMyData", FETCH),
];

/// Plays it with somebody of the demonstration who does little else.
///
/// # Errors
/// When a step does not answer what it must.
pub(super) async fn play(world: &World, union: Union, say: &Say) -> Result<()> {
    let [name, phone, number] = known_by(union, LEAVER);
    let member = persona::again(world, union, &phone).await?.client;
    let began = Instant::now();
    let copy = ready(&member).await?;
    let told = format!("{} {}", text(&copy, "/state")?, text(&copy, "/expiresAt")?);
    say.answer("exportMyData", began.elapsed(), &told);

    let began = Instant::now();
    let input = json!({ "exportId": copy["id"], "format": "JSON" });
    let address = member.run(FETCH, json!({ "input": input })).await?;
    let path = text(&address, "/download/path")?;
    let url = format!("http://{}{path}", world.config(union)?.listen.rest());
    let file = reqwest::get(&url).await?.error_for_status()?.text().await?;
    let again = reqwest::get(&url).await?.status().as_u16();
    ensure!(again == 404, "her copy was given out twice: {again}");
    let has = |text: &String| file.contains(text.as_str());
    ensure!(
        [&name, &number].into_iter().all(has),
        "her copy does not say who she is"
    );
    let folder = world.downloads(union)?;
    write_private(&folder.join(format!("{phone}-my-data.json")), &file)?;
    let told = format!("{} bytes, 地址只用一次 / once", file.len());
    say.answer("downloadMyData", began.elapsed(), &told);
    Ok(())
}

/// Her copy, once every service has answered.
async fn ready(member: &Client) -> Result<Value> {
    let began = Instant::now();
    let mut copy = newest(member).await?;
    if copy.is_null() || copy["state"] == "EXPIRED" {
        let input = json!({ "idempotencyKey": Ids::random().uuid(Clock::System.now()) });
        member.run(ASK, json!({ "input": input })).await?;
        copy = newest(member).await?;
    }
    while copy["state"] != "READY" {
        let late = began.elapsed() > READY_TIMEOUT;
        ensure!(!late, "who has not answered: {copy}");
        tokio::time::sleep(POLL).await;
        copy = newest(member).await?;
    }
    Ok(copy)
}

async fn newest(member: &Client) -> Result<Value> {
    let data = member.send(COPY, json!({})).await?;
    Ok(data["me"]["dataExport"].clone())
}
