//! Walks a service's chain from its first row, and says where it first is not what it was: a row
//! that was changed, taken out or put between others, a seal that is another, an end that was cut
//! off, and, against the heads that others heard of, a chain that was written anew as a whole.

use std::collections::BTreeMap;

use chrono::{DateTime, TimeDelta, Utc};
use sea_orm::FromQueryResult;
use uuid::Uuid;

use super::chain::{COLUMNS, Entry, Hash, Head};
use super::guard::LAG_SECONDS_MAX;
use crate::graphql::Language;
use crate::{Db, Result};

/// Rows read at once.
const PAGE_ROWS: i64 = 2_000;

/// What is wrong at a position.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// No seal stands there, though later ones do.
    SealMissing,
    /// The audit row that was sealed there is gone.
    RowMissing,
    /// The row, or the seal, is not what was sealed.
    HashDiffers,
    /// The chain says otherwise than a head that was published.
    HeadDiffers,
    /// A head was published further on than the chain reaches.
    CutShort,
    /// An audit row is older than it may be and not sealed.
    Unsealed,
}

impl Fault {
    /// Stable, for programs.
    pub const fn code(self) -> &'static str {
        match self {
            Self::SealMissing => "SEAL_MISSING",
            Self::RowMissing => "ROW_MISSING",
            Self::HashDiffers => "HASH_DIFFERS",
            Self::HeadDiffers => "HEAD_DIFFERS",
            Self::CutShort => "CUT_SHORT",
            Self::Unsealed => "UNSEALED",
        }
    }

    pub const fn message(self, language: Language) -> &'static str {
        match self {
            Self::SealMissing => language.choose(
                "此位置没有封存记录，其后却有",
                "no seal stands there, though later ones do",
            ),
            Self::RowMissing => language.choose(
                "曾在此封存的审计记录不见了",
                "the audit row that was sealed there is gone",
            ),
            Self::HashDiffers => language.choose(
                "审计记录或封存与当时不符",
                "the audit row or its seal is not what was sealed",
            ),
            Self::HeadDiffers => language.choose(
                "与已公布的链头不符，此处或之前被改写",
                "it is not the head that was published: written anew here or before",
            ),
            Self::CutShort => language.choose(
                "链在已公布的链头之前结束，尾部被截去",
                "the chain ends before a head that was published",
            ),
            Self::Unsealed => language.choose(
                "有审计记录超过时限仍未封存",
                "an audit row is older than it may be and not sealed",
            ),
        }
    }
}

/// The first position at which a chain is broken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Broken {
    pub position: i64,
    /// The audit row's id, where one is known.
    pub audit: Option<i64>,
    pub fault: Fault,
}

/// What a walk came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Walked {
    /// As far as all was well.
    pub head: Head,
    pub broken: Option<Broken>,
}

/// The heads that this database remembers to have published.
///
/// # Errors
/// When the database fails.
pub async fn heads(db: &Db) -> Result<Vec<Head>> {
    #[derive(FromQueryResult)]
    struct Row {
        position: i64,
        hash: Vec<u8>,
    }
    let sql = "SELECT h.position, h.hash FROM audit_head h ORDER BY h.position";
    let rows: Vec<Row> = db.all(sql, []).await?;
    let head = |row: Row| Head::of(row.position, &row.hash);
    Ok(rows.into_iter().filter_map(head).collect())
}

#[derive(FromQueryResult)]
struct Seal {
    position: i64,
    audit: i64,
    hash: Vec<u8>,
    id: Option<i64>,
    member: Option<Uuid>,
    login: Option<Uuid>,
    act: Option<String>,
    subject: Option<String>,
    detail: Option<String>,
    at: Option<DateTime<Utc>>,
}

impl Seal {
    /// The row that it seals; `None` when that is gone.
    fn entry(self) -> Option<Entry> {
        Some(Entry {
            id: self.id?,
            member: self.member,
            login: self.login,
            act: self.act?,
            subject: self.subject?,
            detail: self.detail?,
            at: self.at?,
        })
    }
}

/// Walks the chain. `heads` were known before it begins, from wherever; `progress` hears how many
/// positions are behind after each page.
///
/// # Errors
/// When the database fails.
pub async fn walk(db: &Db, heads: &[Head], mut progress: impl FnMut(i64)) -> Result<Walked> {
    let mut published: BTreeMap<i64, Vec<Hash>> = BTreeMap::new();
    for head in heads {
        published.entry(head.position).or_default().push(head.hash);
    }
    let mut head = Head::EMPTY;
    loop {
        let page = page(db, head.position).await?;
        let is_last = page.len() < usize::try_from(PAGE_ROWS).unwrap_or(usize::MAX);
        for seal in page {
            let audit = Some(seal.audit);
            let position = head.position + 1;
            match step(head, seal, &published) {
                Ok(next) => head = next,
                Err(fault) => {
                    let audit = audit.filter(|_| fault != Fault::SealMissing);
                    let broken = Some(Broken {
                        position,
                        audit,
                        fault,
                    });
                    return Ok(Walked { head, broken });
                }
            }
        }
        progress(head.position);
        if is_last {
            break;
        }
    }
    let further = published.last_key_value().map(|(position, _)| *position);
    let broken = match further {
        Some(further) if further > head.position => Some(Broken {
            position: head.position + 1,
            audit: None,
            fault: Fault::CutShort,
        }),
        Some(_) | None => unsealed(db).await?.map(|id| Broken {
            position: head.position + 1,
            audit: Some(id),
            fault: Fault::Unsealed,
        }),
    };
    Ok(Walked { head, broken })
}

/// The head after this seal, if it is what must stand there.
fn step(
    head: Head,
    seal: Seal,
    published: &BTreeMap<i64, Vec<Hash>>,
) -> std::result::Result<Head, Fault> {
    if seal.position != head.position + 1 {
        return Err(Fault::SealMissing);
    }
    let hash = seal.hash.clone();
    let entry = seal.entry().ok_or(Fault::RowMissing)?;
    let next = head.after(&entry);
    if hash != next.hash {
        return Err(Fault::HashDiffers);
    }
    let mut said = published.get(&next.position).into_iter().flatten();
    if said.any(|hash| *hash != next.hash) {
        return Err(Fault::HeadDiffers);
    }
    Ok(next)
}

async fn page(db: &Db, after: i64) -> Result<Vec<Seal>> {
    let sql = format!(
        "SELECT c.position, c.audit, c.hash, {COLUMNS}
         FROM audit_seal c LEFT JOIN audit a ON a.id = c.audit
         WHERE c.position > $1 ORDER BY c.position LIMIT $2"
    );
    db.all(&sql, [after.into(), PAGE_ROWS.into()]).await
}

/// The first row that is older than it may be and has no seal, whatever the sealer believes.
async fn unsealed(db: &Db) -> Result<Option<i64>> {
    #[derive(FromQueryResult)]
    struct Row {
        id: i64,
    }
    let before = db.clock().now() - TimeDelta::seconds(LAG_SECONDS_MAX);
    let row: Option<Row> = db
        .one(
            "SELECT a.id FROM audit a WHERE a.at < $1
               AND NOT EXISTS (SELECT 1 FROM audit_seal c WHERE c.audit = a.id)
             ORDER BY a.id LIMIT 1",
            [before.into()],
        )
        .await?;
    Ok(row.map(|row| row.id))
}
