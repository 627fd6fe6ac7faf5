//! People of the demonstration world as their own vault knows them: the parts that sign in and
//! that compare a roster need real phones and documents. Read with the world's own keys, once.

use anyhow::{Context, Result, ensure};
use identity::vault::{Cell, Vault};
use kit::{Clock, Db, Ids};
use sea_orm::FromQueryResult;
use uuid::Uuid;

use crate::world::Bench;

/// Somebody with a phone and a document.
#[derive(Clone, Debug)]
pub(crate) struct Person {
    pub(crate) name: String,
    pub(crate) number: String,
    pub(crate) phone: String,
}

/// Identity's database and the keys that open it.
pub(crate) struct Opened {
    pub(crate) vault: Vault,
    pub(crate) db: Db,
}

/// With the role that serves: nobody else sees a row of the vault.
///
/// # Errors
/// When the database is away, or the keys are wrong.
pub(crate) async fn open(bench: &Bench) -> Result<Opened> {
    let config = bench.config();
    let settings: identity::Settings = config.section(identity::NAME)?;
    let options = config.postgres.options(identity::NAME);
    Ok(Opened {
        vault: settings.vault()?,
        db: Db::connect(options, Clock::System, Ids::random()).await?,
    })
}

#[derive(FromQueryResult)]
struct Row {
    member: Uuid,
    data_key: Vec<u8>,
    name: Vec<u8>,
    document: Uuid,
    number: Vec<u8>,
    method: Uuid,
    phone: Vec<u8>,
}

/// Those who have a resident number and a phone, at most so many.
///
/// # Errors
/// When a row does not open, or there is nobody.
pub(crate) async fn all(opened: &Opened, people_max: usize) -> Result<Vec<Person>> {
    let rows: Vec<Row> = opened
        .db
        .all(
            "SELECT p.member, p.data_key, p.name, d.id AS document, d.number, l.id AS method,
               l.subject AS phone
             FROM person p JOIN document d ON d.member = p.member AND d.kind = 1
             JOIN login_method l ON l.member = p.member AND l.kind = 'phone'
             ORDER BY p.member LIMIT $1",
            [i64::try_from(people_max)?.into()],
        )
        .await?;
    ensure!(!rows.is_empty(), "nobody of the world has a phone");
    rows.iter().map(|row| person(&opened.vault, row)).collect()
}

fn person(vault: &Vault, row: &Row) -> Result<Person> {
    let key = vault
        .data_key(row.member, &row.data_key)
        .context("a data key does not open")?;
    let open = |table, column, id, sealed: &[u8]| -> Result<String> {
        Ok(key
            .open_text(Cell::new(table, column, id), sealed)?
            .to_string())
    };
    Ok(Person {
        name: open("person", "name", row.member, &row.name)?,
        number: open("document", "number", row.document, &row.number)?,
        phone: open("login_method", "subject", row.method, &row.phone)?,
    })
}
