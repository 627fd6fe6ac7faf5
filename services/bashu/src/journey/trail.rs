//! An auditor reads the trail: in the graph the books, whose two sides are one sum and whose open
//! differences she sees; at the machine the record of who did what, which is walked from its first
//! row, and in which what was done in these journeys is found.

use std::time::Instant;

use anyhow::{Context, Result, ensure};
use chrono::{DateTime, Utc};
use kit::types::Union;
use serde_json::{Value, json};

use crate::client::text;
use crate::demo::{office_at, persona};
use crate::dev::{World, command};
use crate::documents::Document;
use crate::say::Say;

/// What must stand in the record after the journeys.
const ACTS: [&str; 4] = [
    "commit_roster",
    "give_consent",
    "withdraw_consent",
    "erase_me",
];
/// Digits of a hash that are shown.
const HASH_SHOWN: usize = 17;

const BOOKS: &str = "query { ledgerAccounts { code name debits { fen } credits { fen } } \
    reconciliations(first: 3) { nodes { date state } } discrepancies(first: 5) { nodes { kind \
    explained } } }";

/// What is sent from here.
pub(super) const DOCUMENTS: [Document; 1] = [("books", BOOKS)];

/// Plays it; the journeys began at `since`.
///
/// # Errors
/// When the books do not balance, the record is not whole, or something is missing in it.
pub(super) async fn play(
    world: &World,
    union: Union,
    since: DateTime<Utc>,
    say: &Say,
) -> Result<()> {
    books(world, union, say).await?;
    whole(world, union, say).await?;
    let since = since.to_rfc3339();
    for act in ACTS {
        found(world, union, (act, &since), say).await?;
    }
    Ok(())
}

async fn books(world: &World, union: Union, say: &Say) -> Result<()> {
    let phone = office_at(union, "AUDITOR", "root");
    let auditor = persona::again(world, union, &phone).await?.client;
    let began = Instant::now();
    let data = auditor.send(BOOKS, json!({})).await?;
    let accounts = data["ledgerAccounts"].as_array();
    let accounts = accounts.context("she sees no accounts")?;
    let (mut debits, mut credits) = (0, 0);
    for account in accounts {
        debits += text(account, "/debits/fen")?.parse::<i128>()?;
        credits += text(account, "/credits/fen")?.parse::<i128>()?;
    }
    ensure!(
        debits == credits && debits > 0,
        "the books do not balance: {data}"
    );
    let open = data["discrepancies"]["nodes"]
        .as_array()
        .map_or(0, Vec::len);
    let days = data["reconciliations"]["nodes"]
        .as_array()
        .map_or(0, Vec::len);
    let told = format!(
        "{} 个科目 / accounts, 借贷各 / both sides {debits} 分 fen, 已对账 {days} 天 / days \
         compared, 差异 / differences {open}",
        accounts.len()
    );
    say.answer("ledgerAccounts, discrepancies", began.elapsed(), &told);
    Ok(())
}

/// `bashu audit verify --whole`: every service's chain.
async fn whole(world: &World, union: Union, say: &Say) -> Result<()> {
    let began = Instant::now();
    let chains = asked(world, union, &["audit", "verify", "--whole"]).await?;
    let chains = chains.as_array().context("a list of chains")?;
    let mut told = Vec::new();
    for chain in chains {
        ensure!(chain["broken"].is_null(), "the record is broken: {chain}");
        let hash = text(chain, "/hash")?;
        let shown: String = hash.chars().take(HASH_SHOWN).collect();
        let service = text(chain, "/service")?;
        told.push(format!("{service} {} {shown} …", chain["position"]));
    }
    ensure!(!told.is_empty(), "no chain was walked");
    let told = format!("完好 / sound: {}", told.join("; "));
    say.answer("bashu audit verify", began.elapsed(), &told);
    Ok(())
}

/// `bashu audit search`: one act, by whom, and its place in the chain.
async fn found(world: &World, union: Union, (act, since): (&str, &str), say: &Say) -> Result<()> {
    let began = Instant::now();
    let asked_for = ["audit", "search", "--act", act, "--since", since];
    let rows = asked(world, union, &asked_for).await?;
    let rows = rows.as_array().context("a list of rows")?;
    let newest = rows.first().with_context(|| format!("{act} left no row"))?;
    let place = match newest["position"].as_i64() {
        Some(position) => format!("位置 / position {position}"),
        None => "未封存 / not sealed yet".to_owned(),
    };
    let told = format!(
        "{act}: {} 条 / rows; {} {} by {}, {place}",
        rows.len(),
        text(newest, "/service")?,
        text(newest, "/at")?,
        text(newest, "/member")?
    );
    say.answer("bashu audit search", began.elapsed(), &told);
    Ok(())
}

/// What a command says to a program.
pub(super) async fn asked(world: &World, union: Union, arguments: &[&str]) -> Result<Value> {
    let said = command(world.own_program())
        .args(["--json", "--by", "auditor"])
        .args(arguments)
        .env("BASHU_CONFIG", world.config_path(union))
        .output()
        .await?;
    let errors = String::from_utf8_lossy(&said.stderr);
    ensure!(
        said.status.success(),
        "bashu {}: {errors}",
        arguments.join(" ")
    );
    Ok(serde_json::from_slice(&said.stdout)?)
}
