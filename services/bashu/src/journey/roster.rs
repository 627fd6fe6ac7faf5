//! A union's officer imports a roster as her office sends it: a table in an old encoding with rows
//! that are wrong. She is told what is wrong with each and how it is put right, fetches those rows
//! alone, sends back those that she could repair, looks at the difference and makes it true with
//! her second factor. Then the same people come from a workbook, as a list for an outing.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Result, anyhow, bail, ensure};
use encoding_rs::GBK;
use identity::roster::{self, Column, SheetRow, table::Cell};
use kit::types::Union;
use kit::{Clock, Ids};
use rust_xlsxwriter::Workbook;
use serde_json::{Value, json};

use super::authenticator;
use crate::client::{Client, text};
use crate::demo::{known_by, office_at};
use crate::dev::{World, write_private_bytes};
use crate::documents::Document;
use crate::say::Say;

/// Whose roster it is, by the demonstration's name of it.
pub(super) const HOME: &str = "hospital";
/// The number of the first person on it, and how many stand there.
pub const FIRST: u32 = 910_001;
pub const PEOPLE: u32 = 6;
/// Of those, whose rows need another look, and who among them cannot be put right today: the
/// phone that lacks a digit is nowhere at hand.
const BAD: i64 = 3;
const LEFT_OUT: u32 = 5;
/// The row of the file in which the first person stands.
const FIRST_ROW: u32 = 2;
/// How long a file may take to be read and compared.
const READY_TIMEOUT: Duration = Duration::from_secs(30);
const POLL: Duration = Duration::from_millis(50);

pub(super) const OWN_ROLES: &str = "query { me { roles { role organisation { id name } } } }";
const BEGIN: &str = "mutation ($input: ImportRosterInput!) { importRoster(input: $input) \
    { rosterImport { id } upload { path bytesMax } userErrors { code message } } }";
const CORRECT: &str = "mutation ($input: CorrectRosterInput!) { correctRoster(input: $input) \
    { upload { path } userErrors { code message } } }";
const DOWNLOAD: &str = "mutation ($input: DownloadBadRowsInput!) { downloadBadRows(input: $input) \
    { download { path } userErrors { code message } } }";
const COMMIT: &str = "mutation ($input: CommitRosterInput!) { commitRoster(input: $input) \
    { rosterImport { state } userErrors { code message } } }";
const PROGRESS: &str = "query ($id: ID!) { rosterImport(id: $id) { state comparedCount rowCount \
    newCount changedCount unchangedCount leavingCount badCount ignoredColumns problem { code \
    message } } }";
const DIFFERENCE: &str = "query ($id: ID!, $change: RosterChange) { rosterImport(id: $id) \
    { difference(first: 20, change: $change) { nodes { row change findings { code message \
    repair } } } } }";

/// What is sent from here.
pub(super) const DOCUMENTS: [Document; 7] = [
    ("ownRoles", OWN_ROLES),
    ("importRoster", BEGIN),
    ("correctRoster", CORRECT),
    ("downloadBadRows", DOWNLOAD),
    ("commitRoster", COMMIT),
    ("rosterProgress", PROGRESS),
    ("rosterDifference", DIFFERENCE),
];

/// An officer at her desk, and the listener that takes and gives her files.
struct Desk<'a> {
    officer: Client,
    files: String,
    /// Where she keeps what she fetched.
    kept: PathBuf,
    union: Union,
    say: &'a Say,
}

/// Plays it.
///
/// # Errors
/// When a step does not answer what it must.
pub(super) async fn play(world: &World, union: Union, say: &Say) -> Result<()> {
    let phone = office_at(union, "OFFICER", HOME);
    let desk = Desk {
        officer: authenticator::signed_in(world, union, &phone, say).await?,
        files: format!("http://{}", world.config(union)?.listen.rest()),
        kept: world
            .downloads(union)?
            .join(format!("{phone}-bad-rows.xlsx")),
        union,
        say,
    };
    let own = desk.officer.send(OWN_ROLES, json!({})).await?;
    let mut roles = own["me"]["roles"].as_array().into_iter().flatten();
    let office = roles.find(|held| held["role"] == "OFFICER");
    let office = office.ok_or_else(|| anyhow!("she holds no office: {own}"))?;
    let home = text(office, "/organisation/id")?;
    say.step(&format!(
        "me.roles  {}",
        text(office, "/organisation/name")?
    ));

    let id = desk
        .sent("GBK csv", (&home, "MEMBERSHIP"), &messy(union)?)
        .await?;
    let seen = desk.compared("csv", &id).await?;
    ensure!(seen["badCount"] == BAD, "other rows are wrong: {seen}");
    let ignored = &seen["ignoredColumns"];
    say.step(&format!(
        "未读取的列 / columns that were not read: {ignored}"
    ));
    desk.wrong_rows(&id).await?;
    desk.corrected(&id).await?;
    let seen = desk.compared("xlsx", &id).await?;
    ensure!(
        seen["badCount"] == 1,
        "what was repaired is still wrong: {seen}"
    );
    desk.committed(&id, &seen).await?;

    let id = desk
        .sent("xlsx", (&home, "LIST"), &for_an_outing(union)?)
        .await?;
    let seen = desk.compared("xlsx", &id).await?;
    let found = json!([PEOPLE - 1, 0]);
    let counts = json!([seen["unchangedCount"], seen["badCount"]]);
    ensure!(counts == found, "not all of the outing were found: {seen}");
    desk.committed(&id, &seen).await
}

impl Desk<'_> {
    /// Begins a roster and puts its file where it is told to; the roster's id. The address works
    /// once.
    async fn sent(&self, kind: &str, of: (&str, &str), file: &[u8]) -> Result<Value> {
        let began = Instant::now();
        let mut input = json!({ "organisationId": of.0, "purpose": of.1 });
        if of.1 == "MEMBERSHIP" {
            // It names some of her union, so that nobody leaves by it.
            input["isComplete"] = json!(false);
        }
        let begun = self.officer.run(BEGIN, json!({ "input": input })).await?;
        let path = text(&begun, "/upload/path")?;
        self.put(&path, file).await?;
        let again = self.answered(&path, file).await?;
        ensure!(again == 404, "the address took a second file: {again}");
        let told = format!("{kind}, {} bytes, 地址只用一次 / once", file.len());
        self.say.answer("importRoster, PUT", began.elapsed(), &told);
        Ok(begun["rosterImport"]["id"].clone())
    }

    async fn answered(&self, path: &str, file: &[u8]) -> Result<u16> {
        let request = reqwest::Client::new().put(format!("{}{path}", self.files));
        Ok(request.body(file.to_vec()).send().await?.status().as_u16())
    }

    async fn put(&self, path: &str, file: &[u8]) -> Result<()> {
        let status = self.answered(path, file).await?;
        ensure!(status == 202, "the file was not taken: {status}");
        Ok(())
    }

    /// The roster once it was compared; each step of the way is told.
    async fn compared(&self, kind: &str, id: &Value) -> Result<Value> {
        let began = Instant::now();
        let mut steps: Vec<String> = Vec::new();
        loop {
            let data = self.officer.send(PROGRESS, json!({ "id": id })).await?;
            let seen = &data["rosterImport"];
            let (done, all) = (&seen["comparedCount"], &seen["rowCount"]);
            let state = text(seen, "/state")?;
            let step = format!("{state} {done}/{all}");
            if steps.last() != Some(&step) {
                steps.push(step);
            }
            ensure!(seen["problem"].is_null(), "the {kind} was refused: {seen}");
            match state.as_str() {
                "READY" => {
                    let way = steps.join(" → ");
                    self.say.answer("rosterImport", began.elapsed(), &way);
                    return Ok(seen.clone());
                }
                "READING" | "MATCHING" => {}
                _ => bail!("the {kind} came to {seen}"),
            }
            ensure!(began.elapsed() < READY_TIMEOUT, "never compared: {seen}");
            tokio::time::sleep(POLL).await;
        }
    }

    /// What is wrong with each row, as she reads it and as her colleague would.
    async fn wrong_rows(&self, id: &Value) -> Result<()> {
        let began = Instant::now();
        let variables = json!({ "id": id, "change": "BAD" });
        let zh = self.officer.send(DIFFERENCE, variables.clone()).await?;
        let english = self.officer.in_english();
        let en = english.send(DIFFERENCE, variables).await?;
        let [zh, en] = [zh, en].map(|data| nodes(&data));
        ensure!(zh.len() == en.len(), "the languages have other rows");
        let mut lines = Vec::new();
        for (row, other) in zh.iter().zip(&en) {
            let (finding, other) = (&row["findings"][0], &other["findings"][0]);
            let repair = finding["repair"].as_str().unwrap_or("-");
            lines.push(format!(
                "第 {} 行 / row: {} {} / {} 建议 / repair: {repair}",
                row["row"],
                text(finding, "/code")?,
                text(finding, "/message")?,
                text(other, "/message")?,
            ));
        }
        let repairs = zh
            .iter()
            .filter(|row| row["findings"][0]["repair"].is_string());
        ensure!(
            repairs.count() > 0,
            "no row says what should stand there: {zh:?}"
        );
        let told = format!("{} 行有误 / rows are wrong", lines.len());
        self.say
            .answer("rosterImport.difference", began.elapsed(), &told);
        lines.iter().for_each(|line| self.say.step(line));
        Ok(())
    }

    /// Fetches the rows that are wrong, and sends back those that she could put right.
    async fn corrected(&self, id: &Value) -> Result<()> {
        let began = Instant::now();
        let input = json!({ "input": { "rosterImportId": id } });
        let address = self.officer.run(DOWNLOAD, input.clone()).await?;
        let url = format!("{}{}", self.files, text(&address, "/download/path")?);
        let file = reqwest::get(&url)
            .await?
            .error_for_status()?
            .bytes()
            .await?;
        write_private_bytes(&self.kept, &file)?;
        let again = reqwest::get(&url).await?.status().as_u16();
        ensure!(again == 404, "the rows were given out twice: {again}");
        let bad = roster::read(&file).map_err(|problem| anyhow!("unreadable: {problem:?}"))?;
        let count = bad.rows.len();
        ensure!(i64::try_from(count)? == BAD, "{count} rows came");
        let mut repaired = Vec::new();
        for row in &bad.rows {
            repaired.extend(repair(self.union, row)?);
        }
        let header = ["行号", "姓名", "证件类型", "证件号码", "手机号"];
        let book = workbook("待更正", &header, &repaired)?;
        let address = self.officer.run(CORRECT, input).await?;
        self.put(&text(&address, "/upload/path")?, &book).await?;
        let told = format!(
            "{count} 行取回，{} 行改好后重传 / rows fetched, {} repaired and sent",
            repaired.len(),
            repaired.len()
        );
        self.say
            .answer("downloadBadRows, correctRoster", began.elapsed(), &told);
        Ok(())
    }

    /// Looks at the difference once more and makes it true.
    async fn committed(&self, id: &Value, seen: &Value) -> Result<()> {
        let began = Instant::now();
        let input = json!({
            "rosterImportId": id,
            "leaveOutBadRows": seen["badCount"] != 0,
            "idempotencyKey": Ids::random().uuid(Clock::System.now()),
        });
        let done = self.officer.run(COMMIT, json!({ "input": input })).await?;
        let again = self.officer.run(COMMIT, json!({ "input": input })).await?;
        ensure!(
            done == again,
            "the same commit was answered otherwise: {again}"
        );
        let told = format!(
            "{}: 新增 / new {}, 变更 / changed {}, 不变 / unchanged {}, 退出 / leaving {}, \
             略去 / left out {}",
            text(&done, "/rosterImport/state")?,
            seen["newCount"],
            seen["changedCount"],
            seen["unchangedCount"],
            seen["leavingCount"],
            seen["badCount"],
        );
        self.say.answer("commitRoster", began.elapsed(), &told);
        Ok(())
    }
}

fn nodes(data: &Value) -> Vec<Value> {
    let nodes = data["rosterImport"]["difference"]["nodes"].as_array();
    nodes.cloned().unwrap_or_default()
}

/// The table as an old program writes it: names of columns of its own, one more than is asked for,
/// and half of its rows typed by hand.
fn messy(union: Union) -> Result<Vec<u8>> {
    let mut table = String::from("会员姓名,证件种类,身份证号码,手机号码,部门\r\n");
    for at in 0..PEOPLE {
        let [name, number, phone] = as_typed(at, known_by(union, FIRST + at));
        table += &format!("{name},身份证,{number},{phone},门诊部\r\n");
    }
    let (bytes, _, is_lossy) = GBK.encode(&table);
    ensure!(!is_lossy, "GBK lacks a character of the table");
    Ok(bytes.into_owned())
}

/// Name, number and phone as somebody typed them. What is merely written otherwise is read all the
/// same; three are wrong.
fn as_typed(at: u32, [name, phone, number]: [String; 3]) -> [String; 3] {
    match at {
        1 => {
            let (first, rest) = name.split_at(name.chars().next().map_or(0, char::len_utf8));
            [format!("{first}　{rest}"), number, phone]
        }
        2 => {
            let phone = format!("+86 {}-{}-{}", &phone[..3], &phone[3..7], &phone[7..]);
            [name, number, phone]
        }
        3 => [name, number.replace('0', "O"), phone],
        4 => {
            let eaten = format!("{}.{}E+17", &number[..1], &number[1..6]);
            [name, eaten, phone]
        }
        LEFT_OUT => [name, number, phone[..phone.len() - 1].to_owned()],
        _ => [name, number, phone],
    }
}

/// A row put right by the papers that she has before her; `None` where they do not help.
fn repair(union: Union, row: &SheetRow) -> Result<Option<Vec<String>>> {
    let cell = |column| match row.cell(column) {
        Some(Cell::Text(text)) => Ok(text.clone()),
        Some(Cell::Number(_) | Cell::Date(_) | Cell::Broken) | None => {
            Err(anyhow!("a row without its {column:?}"))
        }
    };
    let number = cell(Column::Row)?;
    let at = number.parse::<u32>()?.checked_sub(FIRST_ROW);
    let at = at.ok_or_else(|| anyhow!("there is no row {number}"))?;
    if at == LEFT_OUT {
        return Ok(None);
    }
    let [_, _, document] = known_by(union, FIRST + at);
    Ok(Some(vec![
        number,
        cell(Column::Name)?,
        "身份证".to_owned(),
        document,
        cell(Column::Phone)?,
    ]))
}

/// Those whose rows were right in the end, in a workbook.
fn for_an_outing(union: Union) -> Result<Vec<u8>> {
    let people = (0..PEOPLE).filter(|at| *at != LEFT_OUT);
    let rows: Vec<Vec<String>> = people
        .map(|at| {
            let [name, phone, number] = known_by(union, FIRST + at);
            vec![name, number, phone]
        })
        .collect();
    workbook("春游", &["姓名", "身份证号", "手机"], &rows)
}

fn workbook(name: &str, header: &[&str], rows: &[Vec<String>]) -> Result<Vec<u8>> {
    let mut workbook = Workbook::new();
    let sheet = workbook.add_worksheet();
    sheet.set_name(name)?;
    for (at, text) in (0..).zip(header) {
        sheet.write_string(0, at, *text)?;
    }
    for (row, cells) in (1..).zip(rows) {
        for (at, text) in (0..).zip(cells) {
            sheet.write_string(row, at, text.as_str())?;
        }
    }
    Ok(workbook.save_to_buffer()?)
}

#[cfg(test)]
mod tests {
    use chrono::NaiveDate;

    use super::*;

    /// The table is as wrong as the journey says and no more, whoever the people are.
    #[test]
    fn three_rows_of_the_messy_table_are_wrong() {
        let today = NaiveDate::from_ymd_opt(2026, 11, 30).unwrap();
        for union in Union::ALL {
            let table = roster::read(&messy(union).unwrap()).unwrap();
            let rows = roster::judge::judge(&table, today);
            let wrong: Vec<u32> = rows
                .iter()
                .filter(|row| row.person.is_err())
                .map(|row| row.row - FIRST_ROW)
                .collect();
            assert_eq!(wrong, [3, 4, LEFT_OUT]);
            assert_eq!(wrong.len(), usize::try_from(BAD).unwrap());
            let book = roster::read(&for_an_outing(union).unwrap()).unwrap();
            let people = roster::judge::judge(&book, today);
            assert_eq!(people.len(), usize::try_from(PEOPLE - 1).unwrap());
            assert!(people.iter().all(|row| row.person.is_ok()));
        }
    }
}
