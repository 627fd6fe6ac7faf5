//! A union's officer asks passes for a list of those of her people who hold passes, identity makes
//! it, and she fetches it, once: three processes that share only events and a token.

use anyhow::{Context, Result, ensure};
use bashu::client::{Client, text};
use bashu::demo::{office_phone, persona};
use kit::config::Config;
use kit::types::Union;
use serde_json::{Value, json};

use crate::running::{RunningWorld, arrival};
use crate::shared::{Claim, Shared};
use crate::stage::{Stage, key};

const ROLES: &str = "query { me { roles { role organisation { id } } } }";
const ASK: &str = "mutation ($input: RequestPassHolderListInput!) { \
    requestPassHolderList(input: $input) { fileId userErrors { code message } } }";
const FILES: &str = "query { me { renderedFiles { id state } } }";
const DOWNLOAD: &str = "mutation ($input: DownloadRenderedFileInput!) { \
    downloadRenderedFile(input: $input) { download { path } userErrors { code message } } }";

#[tokio::test]
async fn an_officer_fetches_the_list_that_she_asked_for() -> Result<()> {
    Claim::new()?.prove(fetch_in_both_unions).await
}

async fn fetch_in_both_unions(Shared { world, .. }: &Shared) -> Result<()> {
    for union in Union::ALL {
        let stage = Stage::new(&world.places, union, "lists").await?;
        let phone = office_phone(union, "OFFICER");
        let officer = persona::again(&world.places, union, &phone).await?.client;
        let officer = officer.patient();
        // She is of the union herself, so that somebody is on the list.
        let terms = json!({ "nameZh": "名单", "nameEn": "Listed", "priceFen": 100, "rules": {} });
        let product = stage.product(&terms).await?;
        let _bought = stage.buy(&officer, &product).await?;
        let file = ask(&officer).await?;
        arrival("the file is ready", async || {
            let state = state(&officer, &file).await?;
            ensure!(state.as_deref() != Some("REFUSED"), "identity refuses it");
            Ok((state.as_deref() == Some("READY")).then_some(()))
        })
        .await?;
        fetch(world, union, (&officer, &file)).await?;
        let last = state(&officer, &file).await?;
        ensure!(last.as_deref() == Some("FETCHED"), "it is {last:?}");
    }
    Ok(())
}

async fn ask(officer: &Client) -> Result<String> {
    let mine = officer.send(ROLES, json!({})).await?;
    let roles = mine["me"]["roles"].as_array().cloned().unwrap_or_default();
    let held = roles.iter().find(|role| role["role"] == "OFFICER");
    let held = held.with_context(|| format!("she is no officer: {mine}"))?;
    let input = json!({
        "organisationId": held["organisation"]["id"], "purpose": "OUTING",
        "idempotencyKey": key(),
    });
    let asked = officer.run(ASK, json!({ "input": input })).await?;
    text(&asked, "/fileId")
}

/// How far the file has come; `None` while identity has not heard of it.
async fn state(officer: &Client, file: &str) -> Result<Option<String>> {
    let data = officer.send(FILES, json!({})).await?;
    let files = data["me"]["renderedFiles"].as_array();
    let found = files.and_then(|all| all.iter().find(|it| it["id"] == file));
    Ok(found.and_then(|it| it["state"].as_str().map(str::to_owned)))
}

/// The workbook comes, and a second time it does not.
async fn fetch(world: &RunningWorld, union: Union, (officer, file): (&Client, &str)) -> Result<()> {
    let input = json!({ "fileId": file });
    let given: Value = officer.run(DOWNLOAD, json!({ "input": input })).await?;
    let path = text(&given, "/download/path")?;
    let written = std::fs::read_to_string(world.servers.config(&union.to_string()))?;
    let address = Config::from(Some(&written), [])?.listen.rest();
    let url = format!("http://{address}{path}");
    let first = reqwest::get(&url).await?.error_for_status()?;
    let bytes = first.bytes().await?;
    ensure!(bytes.starts_with(b"PK"), "it is no workbook");
    let again = reqwest::get(&url).await?.status();
    ensure!(again.as_u16() == 404, "the second time it answers {again}");
    Ok(())
}
