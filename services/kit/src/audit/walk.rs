//! Walks a service's chain and says where it first is not what it was: a row that was changed,
//! taken out or put between others, a seal that is another, an end that was cut off, and, against
//! the heads that others heard of, a chain that was written anew as a whole.
//!
//! From its first row a chain of years takes long. One that is walked since the last head that
//! others witnessed is compared with every head before, but rows before are not hashed, and
//! [`Walked::unseen`] says how many those are.

use std::collections::BTreeMap;

use chrono::{DateTime, TimeDelta, Utc};
use sea_orm::FromQueryResult;
use uuid::Uuid;

use super::chain::{COLUMNS, Entry, Hash, Head};
use super::guard::LAG_SECONDS_MAX;
use crate::graphql::Language;
use crate::{Db, Result};

/// The act by which a restored database goes on.
pub(crate) const RESTORED: &str = "restored";
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
    /// Rows at the beginning that were not looked at: whether they are what they were is not known.
    pub unseen: i64,
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

/// Walks the whole chain. `heads` were known before it begins, from wherever; `progress` hears how
/// many positions are behind after each page.
///
/// # Errors
/// When the database fails.
pub async fn walk(db: &Db, heads: &[Head], progress: impl FnMut(i64)) -> Result<Walked> {
    from(db, Head::EMPTY, &published(heads), progress).await
}

/// Walks the chain since the last of the heads that others `witnessed` and that it still reaches;
/// the whole one when nobody has. The seals at all heads are compared, those of before too.
///
/// # Errors
/// When the database fails.
pub async fn walk_since(
    db: &Db,
    (witnessed, remembered): (&[Head], &[Head]),
    progress: impl FnMut(i64),
) -> Result<Walked> {
    let last = last_reached(db, witnessed).await?;
    let mut heads = published(witnessed);
    for head in remembered {
        heads.entry(head.position).or_default().push(head.hash);
    }
    let before = heads.range(..=last.position);
    let before: Vec<(i64, Hash)> = before
        .flat_map(|(position, said)| said.iter().map(move |hash| (*position, *hash)))
        .collect();
    match contradiction(db, &before).await? {
        None => from(db, last, &heads, progress).await,
        Some(broken) => {
            let agrees = |(position, _): &&(i64, Hash)| *position < broken.position;
            let agreed = before.iter().rev().find(agrees);
            let head = agreed.map_or(Head::EMPTY, |(position, hash)| Head {
                position: *position,
                hash: *hash,
            });
            Ok(Walked {
                unseen: head.position,
                head,
                broken: Some(broken),
            })
        }
    }
}

/// When this database was last said to be restored to an earlier instant (`bashu restored`), and
/// the position at which the chain went on then; `None` when it never was.
///
/// # Errors
/// When the database fails.
pub async fn restored(db: &Db) -> Result<Option<Restored>> {
    let sql = "SELECT a.at, c.position FROM audit a LEFT JOIN audit_seal c ON c.audit = a.id
               WHERE a.act = $1 AND a.member IS NULL ORDER BY a.id DESC LIMIT 1";
    db.one(sql, [RESTORED.into()]).await
}

/// When a chain went on after its database had gone back in time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromQueryResult)]
pub struct Restored {
    pub at: DateTime<Utc>,
    /// Of the row that says so; `None` while it is not sealed.
    pub position: Option<i64>,
}

fn published(heads: &[Head]) -> BTreeMap<i64, Vec<Hash>> {
    let mut published: BTreeMap<i64, Vec<Hash>> = BTreeMap::new();
    for head in heads {
        published.entry(head.position).or_default().push(head.hash);
    }
    published
}

/// The last of these heads at which a seal stands, whatever that says.
async fn last_reached(db: &Db, heads: &[Head]) -> Result<Head> {
    #[derive(FromQueryResult)]
    struct Row {
        position: i64,
    }
    let positions: Vec<i64> = heads.iter().map(|head| head.position).collect();
    let sql = "SELECT c.position FROM audit_seal c WHERE c.position = ANY ($1)
               ORDER BY c.position DESC LIMIT 1";
    let row: Option<Row> = db.one(sql, [positions.into()]).await?;
    let last = row.and_then(|row| heads.iter().find(|head| head.position == row.position));
    Ok(last.copied().unwrap_or(Head::EMPTY))
}

/// The first of these heads that the chain contradicts, or has no seal for.
async fn contradiction(db: &Db, heads: &[(i64, Hash)]) -> Result<Option<Broken>> {
    #[derive(FromQueryResult)]
    struct Row {
        position: i64,
        audit: Option<i64>,
    }
    let positions: Vec<i64> = heads.iter().map(|(position, _)| *position).collect();
    let hashes: Vec<Vec<u8>> = heads.iter().map(|(_, hash)| hash.to_vec()).collect();
    let sql = "SELECT t.position, c.audit
               FROM UNNEST($1::bigint[], $2::bytea[]) AS t (position, hash)
               LEFT JOIN audit_seal c ON c.position = t.position
               WHERE c.hash IS DISTINCT FROM t.hash ORDER BY t.position LIMIT 1";
    let row: Option<Row> = db.one(sql, [positions.into(), hashes.into()]).await?;
    Ok(row.map(|row| Broken {
        position: row.position,
        audit: row.audit,
        fault: match row.audit {
            Some(_) => Fault::HeadDiffers,
            None => Fault::SealMissing,
        },
    }))
}

async fn from(
    db: &Db,
    start: Head,
    published: &BTreeMap<i64, Vec<Hash>>,
    mut progress: impl FnMut(i64),
) -> Result<Walked> {
    let (mut head, unseen) = (start, start.position);
    loop {
        let page = page(db, head.position).await?;
        let is_last = page.len() < usize::try_from(PAGE_ROWS).unwrap_or(usize::MAX);
        for seal in page {
            let audit = Some(seal.audit);
            let position = head.position + 1;
            match step(head, seal, published) {
                Ok(next) => head = next,
                Err(fault) => {
                    let audit = audit.filter(|_| fault != Fault::SealMissing);
                    let broken = Some(Broken {
                        position,
                        audit,
                        fault,
                    });
                    return Ok(Walked {
                        unseen,
                        head,
                        broken,
                    });
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
    Ok(Walked {
        unseen,
        head,
        broken,
    })
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
