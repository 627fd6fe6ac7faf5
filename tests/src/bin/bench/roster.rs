//! `roster.import_s` and `roster.import_mb`: an officer uploads an xlsx file of as many rows as one
//! may have, half of them people who are known already, and can look at the difference. From the
//! first byte sent until it is there: unpacked, read, every row judged, sealed, and compared with
//! who is known. The memory is what the services hold at most beyond what they held at rest,
//! by looks at it and by the kernel's own mark.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, ensure};
use identity::roster::ROWS_MAX;
use kit::graphql::GlobalId;
use rust_xlsxwriter::Workbook;
use sea_orm::FromQueryResult;
use serde_json::json;
use uuid::Uuid;

use crate::figure::{Better, Figure};
use crate::observe::quiet;
use crate::people::{self, Opened, Person};
use crate::process::{hwm_mb, rss_mb};
use crate::signing::{Caller, Keys};
use crate::world::Bench;

const SECONDS_MAX: f64 = 3.0;
const MB_MAX: f64 = 200.0;
/// Rosters; the time is the middle one's, the memory the most of all.
const RUNS: usize = 3;
/// How long one may take.
const RUN_TIME_MAX: Duration = Duration::from_secs(120);
/// How often its state is asked for, and the memory looked at.
const POLL: Duration = Duration::from_millis(20);
const IMPORT: &str = "mutation ($input: ImportRosterInput!) { importRoster(input: $input) \
    { rosterImport { id } upload { path } userErrors { code message } } }";
/// The weights of GB 11643, for the check digit.
const WEIGHTS: [u32; 17] = [7, 9, 10, 5, 8, 4, 2, 1, 6, 3, 7, 9, 10, 5, 8, 4, 2];

/// Who uploads.
struct Officer {
    token: String,
    organisation: Uuid,
}

/// The part `roster`.
///
/// # Errors
/// When a roster is refused, or a row of it is not read well.
pub(crate) async fn run(bench: &Bench) -> Result<Vec<Figure>> {
    let keys = &bench.prepared().await?.keys;
    let opened = people::open(bench).await?;
    let known = people::all(&opened, ROWS_MAX / 2).await?;
    let officer = officer(&opened, keys).await?;
    let file = tokio::task::spawn_blocking({
        let known = known.clone();
        move || workbook(&known)
    })
    .await??;
    quiet(bench).await?;
    let pid = services(bench)?;
    let (idle, before) = (rss_mb(pid), hwm_mb(pid));
    let (mut seconds, mut peak) = (Vec::with_capacity(RUNS), idle);
    for _ in 0..RUNS {
        let (took, held) = import(bench, (keys, &opened), &officer, file.clone()).await?;
        seconds.push(took);
        peak = peak.max(held);
        quiet(bench).await?;
    }
    // What stood between two looks the kernel knows: its mark rose by these rosters alone.
    let mark = hwm_mb(pid);
    if mark > before {
        peak = peak.max(mark);
    }
    seconds.sort_by(f64::total_cmp);
    let each: Vec<String> = seconds.iter().map(|took| format!("{took:.2}")).collect();
    let said = format!(
        "{ROWS_MAX} rows in {} KB, {} of them of known people; {RUNS} rosters: {} s",
        file.len() / 1_000,
        known.len(),
        each.join(", ")
    );
    Ok(vec![
        Figure::new("roster.import_s", seconds[RUNS / 2], "s", Better::Lower)
            .floor(SECONDS_MAX)
            .note(said),
        Figure::new("roster.import_mb", peak - idle, "MB", Better::Lower)
            .floor(MB_MAX)
            .note(format!(
                "{idle:.0} MB at rest before the first, {peak:.0} MB at most"
            )),
    ])
}

fn services(bench: &Bench) -> Result<u32> {
    let mut each = bench.processes().iter();
    let services = each.find(|one| one.name == "services");
    Ok(services.context("the services do not run")?.pid)
}

#[derive(FromQueryResult)]
struct Office {
    member: Uuid,
    organisation: Uuid,
}

/// An officer of a grassroots union.
async fn officer(opened: &Opened, keys: &Keys) -> Result<Officer> {
    let office: Option<Office> = opened
        .db
        .one(
            "SELECT r.member, r.organisation FROM role r
             JOIN organisation o ON o.id = r.organisation
             WHERE r.role = 'officer' AND r.withdrawn_at IS NULL AND o.kind = 'grassroots'
             ORDER BY r.granted_at, r.id LIMIT 1",
            [],
        )
        .await?;
    let office = office.context("no officer of a grassroots union")?;
    Ok(Officer {
        token: keys.token(office.member)?,
        organisation: office.organisation,
    })
}

/// A file as an office would write it: those who are known, then those who are not.
fn workbook(known: &[Person]) -> Result<Vec<u8>> {
    let mut workbook = Workbook::new();
    let sheet = workbook.add_worksheet();
    for (column, heading) in (0..).zip(["姓名", "证件类型", "证件号码", "手机号"]) {
        sheet.write_string(0, column, heading)?;
    }
    let strangers = (0..ROWS_MAX - known.len()).map(stranger);
    for (row, person) in (1..).zip(known.iter().cloned().chain(strangers)) {
        sheet.write_string(row, 0, &person.name)?;
        sheet.write_string(row, 1, "居民身份证")?;
        sheet.write_string(row, 2, &person.number)?;
        sheet.write_string(row, 3, &person.phone)?;
    }
    Ok(workbook.save_to_buffer()?)
}

/// Somebody who does not exist: the address code was never given to a district, and nobody of the
/// demonstration is that old.
fn stranger(at: usize) -> Person {
    let body = format!("50019919{:02}0101{:03}", 30 + at / 1_000, at % 1_000);
    let sum: u32 = body
        .bytes()
        .zip(WEIGHTS)
        .map(|(digit, weight)| u32::from(digit - b'0') * weight)
        .sum();
    let check = char::from(b"10X98765432"[usize::try_from(sum % 11).unwrap_or_default()]);
    Person {
        name: "欧阳晓晓".to_owned(),
        number: format!("{body}{check}"),
        phone: format!("1990000{at:04}"),
    }
}

#[derive(FromQueryResult)]
struct Progress {
    state: String,
    rows: i64,
    bad: i64,
}

/// One roster: how many seconds it took, and what the services held at most meanwhile, in MB.
async fn import(
    bench: &Bench,
    (keys, opened): (&Keys, &Opened),
    officer: &Officer,
    file: Vec<u8>,
) -> Result<(f64, f64)> {
    let organisation = GlobalId::of_uuid("Organisation", officer.organisation);
    let input = json!({ "organisationId": organisation.as_str(), "purpose": "MEMBERSHIP" });
    let caller = Caller {
        token: Some(&officer.token),
        gate: None,
    };
    let asked = (IMPORT, json!({ "input": input }));
    let begun = keys.ask(bench, ("identity", caller), asked).await?;
    let text = |pointer: &str| {
        let value = begun.pointer(pointer).and_then(serde_json::Value::as_str);
        value
            .map(str::to_owned)
            .ok_or_else(|| anyhow!("no {pointer}: {begun}"))
    };
    let id = GlobalId::uuid(&text("/rosterImport/id")?, "RosterImport")?;
    let address = format!(
        "http://{}{}",
        bench.config().listen.rest(),
        text("/upload/path")?
    );
    let pid = services(bench)?;
    let began = Instant::now();
    let answer = reqwest::Client::new()
        .put(address)
        .body(file)
        .send()
        .await?;
    ensure!(answer.status().is_success(), "upload: {}", answer.status());
    let mut peak = rss_mb(pid);
    loop {
        let progress = progress(opened, id).await?;
        peak = peak.max(rss_mb(pid));
        if progress.state == "ready" {
            let wanted = i64::try_from(ROWS_MAX)?;
            ensure!(progress.rows >= wanted, "{} rows", progress.rows);
            ensure!(progress.bad == 0, "{} rows are bad", progress.bad);
            return Ok((began.elapsed().as_secs_f64(), peak));
        }
        ensure!(
            matches!(progress.state.as_str(), "awaiting" | "reading" | "matching"),
            "the roster has {}",
            progress.state
        );
        ensure!(
            began.elapsed() < RUN_TIME_MAX,
            "it is still {}",
            progress.state
        );
        tokio::time::sleep(POLL).await;
    }
}

async fn progress(opened: &Opened, id: Uuid) -> Result<Progress> {
    let found: Option<Progress> = opened
        .db
        .one(
            "SELECT r.state, count(w.place) AS rows, count(w.place) FILTER (WHERE w.change = 'bad')
               AS bad
             FROM roster r LEFT JOIN roster_row w ON w.roster = r.id
             WHERE r.id = $1 GROUP BY r.id",
            [id.into()],
        )
        .await?;
    found.context("the roster has gone")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Strangers are as many as are asked for, each with a number of her own.
    #[test]
    fn strangers_are_different_people() {
        let numbers: std::collections::BTreeSet<String> =
            (0..ROWS_MAX).map(|at| stranger(at).number).collect();
        assert_eq!(numbers.len(), ROWS_MAX);
        assert_eq!(stranger(0).number.len(), 18);
    }
}
