//! Rows of `export`, `export_part` and `export_address`. What a part says is stored sealed only.

use std::collections::BTreeSet;

use chrono::{DateTime, Utc};
use kit::person::Kept;
use kit::types::{LoginId, MemberId};
use kit::{Result, Tx};
use sea_orm::FromQueryResult;
use uuid::Uuid;

use super::addresses::{self, Of};
use super::broken;
use super::people::Blind;
use crate::domain::export::{Export, Format, State};

#[derive(Debug, FromQueryResult)]
pub(crate) struct Row {
    id: Uuid,
    version: i64,
    member: Uuid,
    state: String,
    asked_at: DateTime<Utc>,
    deadline: DateTime<Utc>,
    ready_at: Option<DateTime<Utc>>,
    expires_at: Option<DateTime<Utc>>,
}

pub(crate) const COLUMNS: &str =
    "id, version, member, state, asked_at, deadline, ready_at, expires_at";

impl Row {
    pub(crate) fn read(self) -> Result<Export> {
        let state = match (self.state.as_str(), self.ready_at.zip(self.expires_at)) {
            ("gathering", None) => State::Gathering,
            ("ready", Some((at, expires_at))) => State::Ready { at, expires_at },
            ("expired", Some((at, expires_at))) => State::Expired { at, expires_at },
            _ => return Err(broken("export")),
        };
        Ok(Export {
            id: self.id,
            version: self.version,
            member: MemberId(self.member),
            state,
            asked_at: self.asked_at,
            deadline: self.deadline,
        })
    }
}

/// One export, locked to be changed.
///
/// # Errors
/// When the database fails.
pub async fn lock(tx: &Tx, id: Uuid) -> Result<Option<Export>> {
    let sql = format!("SELECT {COLUMNS} FROM export WHERE id = $1 FOR UPDATE");
    let row = tx.one::<Row>(&sql, [id.into()]).await?;
    row.map(Row::read).transpose()
}

/// The newest export of a person.
///
/// # Errors
/// When the database fails.
pub async fn newest(tx: &Tx, member: MemberId) -> Result<Option<Export>> {
    let sql = format!(
        "SELECT {COLUMNS} FROM export WHERE member = $1 ORDER BY asked_at DESC, id DESC LIMIT 1"
    );
    let row = tx.one::<Row>(&sql, [member.0.into()]).await?;
    row.map(Row::read).transpose()
}

/// Whether a copy of a person's data is being gathered.
///
/// # Errors
/// When the database fails.
pub async fn is_gathering(tx: &Tx, member: MemberId) -> Result<bool> {
    #[derive(FromQueryResult)]
    struct Row {
        found: bool,
    }
    let row = tx
        .one::<Row>(
            "SELECT EXISTS (SELECT 1 FROM export
               WHERE member = $1 AND state = 'gathering') AS found",
            [member.0.into()],
        )
        .await?;
    Ok(row.is_some_and(|row| row.found))
}

/// Removes the copies that a person has asked for since, with what they hold; their ids.
///
/// # Errors
/// When the database fails.
pub async fn remove_since(tx: &Tx, member: MemberId, since: DateTime<Utc>) -> Result<Vec<Uuid>> {
    #[derive(FromQueryResult)]
    struct Id {
        id: Uuid,
    }
    let sql = "DELETE FROM export WHERE member = $1 AND asked_at >= $2 RETURNING id";
    let rows = tx.all::<Id>(sql, [member.0.into(), since.into()]).await?;
    Ok(rows.into_iter().map(|row| row.id).collect())
}

/// Writes it.
///
/// # Errors
/// When the database fails.
pub async fn save(tx: &Tx, it: &Export) -> Result<()> {
    let (state, ready) = match it.state {
        State::Gathering => ("gathering", None),
        State::Ready { at, expires_at } => ("ready", Some((at, expires_at))),
        State::Expired { at, expires_at } => ("expired", Some((at, expires_at))),
    };
    tx.execute(
        "INSERT INTO export
           (id, version, member, state, asked_at, deadline, ready_at, expires_at)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8)
         ON CONFLICT (id) DO UPDATE SET version = EXCLUDED.version, state = EXCLUDED.state,
           ready_at = EXCLUDED.ready_at, expires_at = EXCLUDED.expires_at",
        [
            it.id.into(),
            it.version.into(),
            it.member.0.into(),
            state.into(),
            it.asked_at.into(),
            it.deadline.into(),
            ready.map(|(at, _)| at).into(),
            ready.map(|(_, expires_at)| expires_at).into(),
        ],
    )
    .await?;
    Ok(())
}

/// A part of what a service has, sealed.
#[derive(Clone, Debug, FromQueryResult)]
pub struct Part {
    pub id: Uuid,
    pub export: Uuid,
    pub service: String,
    pub version: i64,
    pub part: i32,
    pub parts: i32,
    pub sealed: Vec<u8>,
}

/// Keeps a part, unless it or one of a later answer is there. Parts of an earlier answer of the
/// same service go.
///
/// # Errors
/// When the database fails.
pub async fn put_part(tx: &Tx, part: &Part) -> Result<()> {
    tx.execute(
        "DELETE FROM export_part WHERE export = $1 AND service = $2 AND version < $3",
        [
            part.export.into(),
            part.service.clone().into(),
            part.version.into(),
        ],
    )
    .await?;
    tx.execute(
        "INSERT INTO export_part (id, export, service, version, part, parts, sealed)
         SELECT $1, $2, $3, $4, $5, $6, $7 WHERE NOT EXISTS (SELECT 1 FROM export_part n
           WHERE n.export = $2 AND n.service = $3 AND n.version > $4)
         ON CONFLICT (export, service, version, part) DO NOTHING",
        [
            part.id.into(),
            part.export.into(),
            part.service.clone().into(),
            part.version.into(),
            part.part.into(),
            part.parts.into(),
            part.sealed.clone().into(),
        ],
    )
    .await?;
    Ok(())
}

/// The services of which every part is there.
///
/// # Errors
/// When the database fails.
pub async fn complete(tx: &Tx, export: Uuid) -> Result<BTreeSet<String>> {
    #[derive(FromQueryResult)]
    struct Row {
        service: String,
    }
    let rows = tx
        .all::<Row>(
            "SELECT DISTINCT service FROM export_part WHERE export = $1
             GROUP BY service, version HAVING count(*) = min(parts)",
            [export.into()],
        )
        .await?;
    Ok(rows.into_iter().map(|row| row.service).collect())
}

/// All parts, by service and place.
///
/// # Errors
/// When the database fails.
pub async fn parts(tx: &Tx, export: Uuid) -> Result<Vec<Part>> {
    tx.all(
        "SELECT id, export, service, version, part, parts, sealed FROM export_part
         WHERE export = $1 ORDER BY service, version, part",
        [export.into()],
    )
    .await
}

/// Forgets what an export held; its row stays.
///
/// # Errors
/// When the database fails.
pub async fn forget(tx: &Tx, export: Uuid) -> Result<()> {
    for sql in [
        "DELETE FROM export_part WHERE export = $1",
        "DELETE FROM export_address WHERE export = $1",
    ] {
        tx.execute(sql, [export.into()]).await?;
    }
    Ok(())
}

/// An address, bound to one export and to who asked for it.
#[derive(Clone, Debug)]
pub struct Address {
    pub hash: Blind,
    pub export: Uuid,
    pub member: MemberId,
    pub login: LoginId,
    pub format: Format,
    pub expires_at: DateTime<Utc>,
}

/// Adds an address; those of the same export that nobody used count no more.
///
/// # Errors
/// When the database fails.
pub async fn insert_address(tx: &Tx, address: &Address) -> Result<()> {
    let same = vec![("export", address.export.into())];
    let more = vec![
        ("member", address.member.0.into()),
        ("login", address.login.0.into()),
        ("format", address.format.as_str().into()),
        ("expires_at", address.expires_at.into()),
    ];
    addresses::insert(tx, Of::Copy, &address.hash, (same, more)).await
}

/// Uses an address up: see [`addresses::use_up`].
///
/// # Errors
/// When the database fails.
pub async fn use_address(tx: &Tx, hash: &Blind) -> Result<Option<Address>> {
    #[derive(FromQueryResult)]
    struct Found {
        export: Uuid,
        member: Uuid,
        login: Uuid,
        format: String,
        expires_at: DateTime<Utc>,
    }
    let columns = "export, member, login, format, expires_at";
    let row = addresses::use_up::<Found>(tx, Of::Copy, hash, columns).await?;
    let Some(row) = row else { return Ok(None) };
    Ok(Some(Address {
        hash: *hash,
        export: row.export,
        member: MemberId(row.member),
        login: LoginId(row.login),
        format: Format::parse(&row.format).ok_or_else(|| broken("address"))?,
        expires_at: row.expires_at,
    }))
}

/// What a person signs in by or is reached at, sealed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ways {
    SignIn,
    /// The phones that she had lately.
    Former,
    /// The phone that she asks for.
    Changing,
}

impl Ways {
    pub const ALL: [Self; 3] = [Self::SignIn, Self::Former, Self::Changing];

    const fn sql(self) -> &'static str {
        match self {
            Self::SignIn => {
                "SELECT id, kind, subject AS sealed, created_at AS at FROM login_method
                 WHERE member = $1 ORDER BY created_at, id"
            }
            Self::Former => {
                "SELECT id, 'phone' AS kind, subject AS sealed, until AS at FROM former_phone
                 WHERE member = $1 ORDER BY until, id"
            }
            Self::Changing => {
                "SELECT id, 'phone' AS kind, phone AS sealed, expires_at AS at FROM phone_change
                 WHERE member = $1"
            }
        }
    }
}

/// One of them.
#[derive(Clone, Debug, FromQueryResult)]
pub struct WayRow {
    pub id: Uuid,
    /// `phone`, or which other party it is.
    pub kind: String,
    /// Under the data key of the record that has it.
    pub sealed: Vec<u8>,
    /// When it was linked; of a phone that she had or asks for, until when it counts.
    pub at: DateTime<Utc>,
}

/// What a record has of these.
///
/// # Errors
/// When the database fails.
pub async fn ways(tx: &Tx, ways: Ways, member: MemberId) -> Result<Vec<WayRow>> {
    tx.all(ways.sql(), [member.0.into()]).await
}

/// Each kind of row that identity itself keeps of a person, in her own words: of others it names
/// nobody, as whoever proposed a role or asked for a merge. Her logins are not among them, nor what
/// she signs in by: a part of each is sealed. A test walks every column that names a person.
const OWN_ROWS: &str = "SELECT section, value FROM (
   SELECT 'membership' AS section, m.created_at AS at, jsonb_build_object(
       'organisation', o.name, 'state', m.state, 'since', m.since, 'until', m.until,
       'registered_at', m.created_at) AS value
   FROM membership m JOIN organisation o ON o.id = m.organisation
   WHERE m.member = ANY ($1)
   UNION ALL
   SELECT 'membership_review', v.created_at, jsonb_build_object('organisation', o.name,
       'reason', v.reason, 'since_before', v.since_before, 'until_before', v.until_before,
       'since_after', v.since_after, 'until_after', v.until_after,
       'corrected_at', v.created_at, 'closed_at', v.closed_at)
   FROM membership_review v JOIN membership m ON m.id = v.membership
   JOIN organisation o ON o.id = m.organisation WHERE m.member = ANY ($1)
   UNION ALL
   SELECT 'application', a.asked_at, jsonb_build_object('organisation', o.name,
       'state', a.state, 'is_transfer', a.leaves IS NOT NULL, 'asked_at', a.asked_at,
       'decided_at', a.decided_at)
   FROM membership_application a JOIN organisation o ON o.id = a.organisation
   WHERE a.member = ANY ($1)
   UNION ALL
   SELECT 'role', r.granted_at, jsonb_build_object('organisation', o.name,
       'role', r.role, 'granted_at', r.granted_at, 'ends_at', r.ends_at,
       'withdrawn_at', r.withdrawn_at)
   FROM role r JOIN organisation o ON o.id = r.organisation WHERE r.member = ANY ($1)
   UNION ALL
   SELECT 'role_proposal', p.created_at, jsonb_build_object('organisation', o.name,
       'role', p.role, 'ends_at', p.ends_at, 'state', p.state, 'proposed_at', p.created_at,
       'decided_at', p.decided_at, 'for_oneself', p.member = ANY ($1))
   FROM role_proposal p JOIN organisation o ON o.id = p.organisation
   WHERE p.member = ANY ($1) OR p.proposed_by = ANY ($1)
   UNION ALL
   SELECT 'verification', v.asked_at, jsonb_build_object('state', v.state,
       'source', v.source, 'asked_at', v.asked_at, 'answered_at', v.answered_at)
   FROM verification v WHERE v.member = ANY ($1)
   UNION ALL
   SELECT 'network_identity', n.since, jsonb_build_object('since', n.since)
   FROM network_identity n WHERE n.member = ANY ($1)
   UNION ALL
   SELECT 'phone_recovery', c.asked_at, jsonb_build_object('state', c.state,
       'asked_at', c.asked_at, 'confirmed_at', c.confirmed_at, 'approved_at', c.approved_at,
       'due_at', c.due_at, 'ended_at', c.ended_at)
   FROM phone_recovery c WHERE c.member = ANY ($1)
   UNION ALL
   SELECT 'phone_setting', e.asked_at, jsonb_build_object('state', e.state,
       'asked_at', e.asked_at, 'expires_at', e.expires_at)
   FROM phone_setting e WHERE e.member = ANY ($1)
   UNION ALL
   SELECT 'merge', g.asked_at, jsonb_build_object('state', g.state, 'asked_at', g.asked_at,
       'done_at', g.done_at, 'undone_at', g.undone_at)
   FROM member_merge g WHERE g.survivor = ANY ($1) OR g.merged = ANY ($1)
   UNION ALL
   SELECT 'consent', a.created_at, jsonb_build_object('purpose', c.purpose,
       'recipient', c.recipient, 'text_version', a.text_version, 'given', a.given,
       'at', a.created_at)
   FROM consent c JOIN consent_act a ON a.consent = c.id WHERE c.member = ANY ($1)
   UNION ALL
   SELECT 'second_factor', f.created_at, jsonb_build_object('created_at', f.created_at,
       'confirmed_at', f.confirmed_at, 'recovery_codes_left', (SELECT count(*)
         FROM recovery_code c WHERE c.member = f.member AND c.used_at IS NULL))
   FROM second_factor f WHERE f.member = ANY ($1)
   UNION ALL
   SELECT 'second_factor_reset', t.asked_at, jsonb_build_object('state', t.state,
       'asked_at', t.asked_at, 'expires_at', t.expires_at)
   FROM second_factor_reset t WHERE t.member = ANY ($1)
   UNION ALL
   SELECT 'erasure', e.asked_at, jsonb_build_object('state', e.state,
       'asked_at', e.asked_at, 'grace_until', e.grace_until, 'deadline', e.deadline,
       'ended_at', e.ended_at)
   FROM erasure e WHERE e.member = ANY ($1)
   UNION ALL
   SELECT 'data_copy', x.asked_at, jsonb_build_object('state', x.state,
       'asked_at', x.asked_at, 'deadline', x.deadline, 'ready_at', x.ready_at,
       'expires_at', x.expires_at)
   FROM export x WHERE x.member = ANY ($1)
   UNION ALL
   SELECT 'rendered_file', d.asked_at, jsonb_build_object('organisation', o.name,
       'template', d.template, 'title', d.title, 'state', d.state, 'asked_at', d.asked_at,
       'expires_at', d.expires_at)
   FROM rendering d JOIN organisation o ON o.id = d.organisation
   WHERE d.asker = ANY ($1)
   UNION ALL
   SELECT 'notice_preference', k.created_at, jsonb_build_object('kind', p.kind,
       'sms', p.sms)
   FROM notice_preference p JOIN member k ON k.id = p.member WHERE p.member = ANY ($1)
   UNION ALL
   SELECT 'notice', n.created_at, jsonb_build_object('kind', n.kind,
       'about', n.params, 'at', n.created_at, 'read_at', n.read_at)
   FROM notice n WHERE n.member = ANY ($1)
   UNION ALL
   SELECT 'message', s.asked_at, jsonb_build_object('template', s.template,
       'purpose', s.purpose, 'content', s.content, 'asked_at', s.asked_at,
       'state', s.state, 'sent_at', s.handed_over_at)
   FROM sms_message s WHERE s.member = ANY ($1)
   UNION ALL
   SELECT 'roster', r.created_at, jsonb_build_object('organisation', o.name,
       'purpose', r.purpose, 'committed_at', r.committed_at)
   FROM roster_row w JOIN roster r ON r.id = w.roster
   JOIN organisation o ON o.id = r.organisation
   WHERE w.member = ANY ($1) AND r.state = 'committed'
 ) AS kept ORDER BY at DESC, section LIMIT $2";

/// What identity itself keeps of a person beside her sealed record, the newest first.
///
/// # Errors
/// When the database fails.
pub async fn own_rows(tx: &Tx, members: &[Uuid], rows_max: i64) -> Result<Vec<Kept>> {
    tx.all(OWN_ROWS, [members.to_vec().into(), rows_max.into()])
        .await
}
