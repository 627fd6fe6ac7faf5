//! Rows of `notice`, `notice_told` and `notice_preference`.

use std::collections::BTreeSet;

use chrono::{DateTime, NaiveDate, Utc};
use kit::types::{EntitlementId, MemberId, OrderId, OrganisationId};
use kit::{Result, Tx};
use sea_orm::FromQueryResult;
use serde_json::{Value, json};
use uuid::Uuid;

use super::broken;
use crate::domain::notice::{Kind, Names, Notice, RightStep};
use crate::domain::role::Role;
use crate::domain::search::ShowPurpose;
use crate::domain::second_factor::Change;
use crate::domain::subject;

/// Notices removed in one sweep, at most.
const SWEEP_ROWS_MAX: i64 = 5_000;

/// A notice for a member.
#[derive(Clone, Debug)]
pub struct NewNotice {
    /// Follows from what it tells of.
    pub id: Uuid,
    pub member: MemberId,
    pub notice: Notice,
    /// Whether it is news, so that an SMS may tell of it too.
    pub sms: bool,
}

/// What became of the SMS of a notice.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sms {
    /// None is sent of its kind, or it was old when it came.
    None,
    Planned,
    HandedOver {
        at: DateTime<Utc>,
    },
    Skipped,
}

/// A notice as it is kept.
#[derive(Clone, Debug)]
pub struct Kept {
    pub id: Uuid,
    pub member: MemberId,
    pub notice: Notice,
    pub created_at: DateTime<Utc>,
    pub read_at: Option<DateTime<Utc>>,
    pub sms: Sms,
}

#[derive(FromQueryResult)]
pub(crate) struct Row {
    id: Uuid,
    member: Uuid,
    kind: String,
    params: Value,
    created_at: DateTime<Utc>,
    read_at: Option<DateTime<Utc>>,
    sms: String,
    sms_at: Option<DateTime<Utc>>,
}

pub(crate) const COLUMNS: &str = "id, member, kind, params, created_at, read_at, sms, sms_at";

impl Row {
    pub(crate) fn read(self) -> Result<Kept> {
        let wrong = || broken("notice");
        let kind = Kind::parse(&self.kind).ok_or_else(wrong)?;
        let sms = match (self.sms.as_str(), self.sms_at) {
            ("none", None) => Sms::None,
            ("planned", None) => Sms::Planned,
            ("skipped", None) => Sms::Skipped,
            ("handed_over", Some(at)) => Sms::HandedOver { at },
            _ => return Err(wrong()),
        };
        Ok(Kept {
            id: self.id,
            member: MemberId(self.member),
            notice: notice(kind, &self.params).ok_or_else(wrong)?,
            created_at: self.created_at,
            read_at: self.read_at,
            sms,
        })
    }
}

/// What is kept of a notice beside its kind.
fn params(notice: &Notice) -> Value {
    match notice {
        Notice::Bought { order, number, fen } | Notice::Refunded { order, number, fen } => {
            json!({ "order": order.0, "number": number, "fen": fen })
        }
        Notice::Activated {
            pass,
            product,
            start,
            end,
        } => json!({ "pass": pass.to_i64(), "product": product, "start": date(start),
            "end": date(end) }),
        Notice::Expiring { pass, product, end } => {
            json!({ "pass": pass.to_i64(), "product": product, "end": date(end) })
        }
        Notice::Cancelled { pass, product } => {
            json!({ "pass": pass.to_i64(), "product": product })
        }
        Notice::OnRoster {
            organisation,
            joined,
        } => json!({ "organisation": organisation.0, "joined": joined }),
        Notice::RoleGranted { organisation, role } => {
            json!({ "organisation": organisation.0, "role": role.as_str() })
        }
        Notice::NewLogin { login, at } => json!({ "login": login, "at": at.timestamp_millis() }),
        Notice::LoginLinked { login, kind, at } => {
            json!({ "login": login, "kind": kind.as_str(), "at": at.timestamp_millis() })
        }
        Notice::SecondFactorChanged { change, at } => {
            json!({ "change": change.as_str(), "at": at.timestamp_millis() })
        }
        Notice::ExportReady { export } => json!({ "export": export }),
        Notice::ErasureHeld { member } => json!({ "member": member.0 }),
        Notice::RenderingReady { rendering } => json!({ "rendering": rendering }),
        Notice::PhoneChanged { at } => json!({ "at": at.timestamp_millis() }),
        Notice::RightUsed { step, at } => {
            json!({ "step": step.as_str(), "at": at.timestamp_millis() })
        }
        Notice::RecordsChanged { merged, at } => {
            json!({ "merged": merged, "at": at.timestamp_millis() })
        }
        Notice::Unmasked {
            organisation,
            purpose,
            at,
        } => json!({ "organisation": organisation.0, "purpose": purpose.as_str(),
            "at": at.timestamp_millis() }),
        Notice::PhoneToBeChanged { at } => json!({ "at": at.timestamp_millis(), "to_be": true }),
        Notice::PhoneToBeSet { at } => json!({ "at": at.timestamp_millis(), "to_be_set": true }),
    }
}

fn date(date: &NaiveDate) -> String {
    date.to_string()
}

/// A notice of its kind and what was kept; `None` when something is missing.
fn notice(kind: Kind, params: &Value) -> Option<Notice> {
    let text = |name: &str| params.get(name)?.as_str();
    let id = |name: &str| text(name)?.parse::<Uuid>().ok();
    let number = |name: &str| params.get(name)?.as_i64();
    let day = |name: &str| text(name)?.parse::<NaiveDate>().ok();
    let instant = || DateTime::from_timestamp_millis(number("at")?);
    let pass = || number("pass").map(EntitlementId::from_i64);
    let organisation = || id("organisation").map(OrganisationId);
    Some(match kind {
        Kind::Bought => Notice::Bought {
            order: OrderId(id("order")?),
            number: text("number")?.to_owned(),
            fen: number("fen")?,
        },
        Kind::Refunded => Notice::Refunded {
            order: OrderId(id("order")?),
            number: text("number")?.to_owned(),
            fen: number("fen")?,
        },
        Kind::Activated => Notice::Activated {
            pass: pass()?,
            product: id("product")?,
            start: day("start")?,
            end: day("end")?,
        },
        Kind::Expiring => Notice::Expiring {
            pass: pass()?,
            product: id("product"),
            end: day("end")?,
        },
        Kind::Cancelled => Notice::Cancelled {
            pass: pass()?,
            product: id("product")?,
        },
        Kind::OnRoster => Notice::OnRoster {
            organisation: organisation()?,
            joined: params.get("joined")?.as_bool()?,
        },
        Kind::RoleGranted => Notice::RoleGranted {
            organisation: organisation()?,
            role: Role::parse(text("role")?)?,
        },
        Kind::NewLogin => Notice::NewLogin {
            login: id("login")?,
            at: instant()?,
        },
        Kind::LoginLinked => Notice::LoginLinked {
            login: id("login")?,
            kind: subject::Kind::parse(text("kind")?)?,
            at: instant()?,
        },
        Kind::SecondFactorChanged => Notice::SecondFactorChanged {
            change: Change::parse(text("change")?)?,
            at: instant()?,
        },
        Kind::ExportReady => Notice::ExportReady {
            export: id("export")?,
        },
        Kind::ErasureHeld => Notice::ErasureHeld {
            member: MemberId(id("member")?),
        },
        Kind::RenderingReady => Notice::RenderingReady {
            rendering: id("rendering")?,
        },
        Kind::PhoneChanged => another_phone(params, instant()?),
        Kind::RightUsed => right_used(text("step")?, instant()?)?,
        Kind::RecordsChanged => records_changed(params, instant()?)?,
        Kind::Unmasked => unmasked(organisation()?, text("purpose")?, instant()?)?,
    })
}

fn another_phone(params: &Value, at: DateTime<Utc>) -> Notice {
    match (params.get("to_be"), params.get("to_be_set")) {
        (Some(_), _) => Notice::PhoneToBeChanged { at },
        (None, Some(_)) => Notice::PhoneToBeSet { at },
        (None, None) => Notice::PhoneChanged { at },
    }
}

fn right_used(step: &str, at: DateTime<Utc>) -> Option<Notice> {
    let step = RightStep::parse(step)?;
    Some(Notice::RightUsed { step, at })
}

fn records_changed(params: &Value, at: DateTime<Utc>) -> Option<Notice> {
    let merged = params.get("merged")?.as_bool()?;
    Some(Notice::RecordsChanged { merged, at })
}

fn unmasked(organisation: OrganisationId, purpose: &str, at: DateTime<Utc>) -> Option<Notice> {
    Some(Notice::Unmasked {
        organisation,
        purpose: ShowPurpose::parse(purpose)?,
        at,
    })
}

/// Adds those that were never told, to members who are there; the ids of those that are new.
///
/// # Errors
/// When the database fails.
pub async fn insert(tx: &Tx, notices: &[NewNotice]) -> Result<BTreeSet<Uuid>> {
    #[derive(FromQueryResult)]
    struct Id {
        id: Uuid,
    }
    if notices.is_empty() {
        return Ok(BTreeSet::new());
    }
    // In one order, so that two writers never wait for each other.
    let mut notices: Vec<&NewNotice> = notices.iter().collect();
    notices.sort_by_key(|it| it.id);
    let ids: Vec<Uuid> = notices.iter().map(|it| it.id).collect();
    let members: Vec<Uuid> = notices.iter().map(|it| it.member.0).collect();
    let kind = |it: &&NewNotice| it.notice.kind().as_str().to_owned();
    let kinds: Vec<String> = notices.iter().map(kind).collect();
    let kept: Vec<String> = notices
        .iter()
        .map(|it| params(&it.notice).to_string())
        .collect();
    let sms = |it: &&NewNotice| {
        let state = if it.sms { "planned" } else { "none" };
        state.to_owned()
    };
    let sms: Vec<String> = notices.iter().map(sms).collect();
    let rows = tx
        .all::<Id>(
            "INSERT INTO notice (id, member, kind, params, created_at, sms)
             SELECT t.i, COALESCE(s.id, t.m), t.k, t.p::jsonb, $6, t.s
             FROM UNNEST($1::uuid[], $2::uuid[], $3::text[], $4::text[], $5::text[])
               AS t (i, m, k, p, s)
             JOIN member m ON m.id = t.m
             -- What others say of a record that was merged is told to who she is.
             LEFT JOIN member s ON s.id = m.merged_into
             WHERE COALESCE(s.state, m.state) = 'active'
               AND NOT EXISTS (SELECT 1 FROM notice_told d WHERE d.id = t.i)
             ORDER BY t.i
             -- Whoever forgets her is waited for, and then she is not there.
             FOR KEY SHARE OF m
             ON CONFLICT (id) DO NOTHING RETURNING id",
            [
                ids.into(),
                members.into(),
                kinds.into(),
                kept.into(),
                sms.into(),
                tx.now().into(),
            ],
        )
        .await?;
    Ok(rows.into_iter().map(|row| row.id).collect())
}

/// One notice, locked to be changed.
///
/// # Errors
/// When the database fails.
pub async fn lock(tx: &Tx, id: Uuid) -> Result<Option<Kept>> {
    let sql = format!("SELECT {COLUMNS} FROM notice WHERE id = $1 FOR UPDATE");
    let row = tx.one::<Row>(&sql, [id.into()]).await?;
    row.map(Row::read).transpose()
}

/// Writes what became of the SMS of a notice.
///
/// # Errors
/// When the database fails.
pub async fn set_sms(tx: &Tx, id: Uuid, sms: Sms) -> Result<()> {
    let (state, at) = match sms {
        Sms::None => ("none", None),
        Sms::Planned => ("planned", None),
        Sms::Skipped => ("skipped", None),
        Sms::HandedOver { at } => ("handed_over", Some(at)),
    };
    tx.execute(
        "UPDATE notice SET sms = $2, sms_at = $3 WHERE id = $1",
        [id.into(), state.into(), at.into()],
    )
    .await?;
    Ok(())
}

/// Marks a member's own notices as read, these or all; how many were not.
///
/// # Errors
/// When the database fails.
pub async fn mark_read(tx: &Tx, member: MemberId, ids: Option<&[Uuid]>) -> Result<u64> {
    tx.execute(
        "UPDATE notice SET read_at = $2
         WHERE member = $1 AND read_at IS NULL AND ($3 OR id = ANY ($4))",
        [
            member.0.into(),
            tx.now().into(),
            ids.is_none().into(),
            ids.unwrap_or_default().to_vec().into(),
        ],
    )
    .await
}

/// How many notices a member has not read.
///
/// # Errors
/// When the database fails.
pub async fn unread(tx: &Tx, member: MemberId) -> Result<i64> {
    #[derive(FromQueryResult)]
    struct Count {
        count: i64,
    }
    let sql = "SELECT count(*) AS count FROM notice WHERE member = $1 AND read_at IS NULL";
    let row = tx.one::<Count>(sql, [member.0.into()]).await?;
    row.map(|row| row.count).ok_or_else(|| broken("count"))
}

/// The kinds of which a member wants no SMS.
///
/// # Errors
/// When the database fails.
pub async fn without_sms(tx: &Tx, member: MemberId) -> Result<Vec<Kind>> {
    #[derive(FromQueryResult)]
    struct Preference {
        kind: String,
    }
    let sql = "SELECT kind FROM notice_preference WHERE member = $1 AND NOT sms";
    let rows = tx.all::<Preference>(sql, [member.0.into()]).await?;
    let kind = |row: Preference| Kind::parse(&row.kind).ok_or_else(|| broken("kind of notice"));
    rows.into_iter().map(kind).collect()
}

/// Writes whether a member wants an SMS of a kind.
///
/// # Errors
/// When the database fails.
pub async fn set_preference(tx: &Tx, member: MemberId, kind: Kind, sms: bool) -> Result<()> {
    tx.execute(
        "INSERT INTO notice_preference (member, kind, sms) VALUES ($1, $2, $3)
         ON CONFLICT (member, kind) DO UPDATE SET sms = EXCLUDED.sms",
        [member.0.into(), kind.as_str().into(), sms.into()],
    )
    .await?;
    Ok(())
}

/// What the things in each of these notices are called, in their order.
///
/// # Errors
/// When the database fails.
pub async fn names(tx: &Tx, notices: &[Kept]) -> Result<Vec<Names>> {
    #[derive(FromQueryResult)]
    struct Named {
        id: Uuid,
        zh: String,
        en: Option<String>,
    }
    let mut ids: Vec<Uuid> = notices.iter().filter_map(|it| named(&it.notice)).collect();
    ids.sort_unstable();
    ids.dedup();
    let rows = tx
        .all::<Named>(
            "SELECT id, name_zh AS zh, name_en AS en FROM notice_product WHERE id = ANY ($1)
             UNION ALL
             SELECT id, name, NULL FROM organisation WHERE id = ANY ($1)",
            [ids.into()],
        )
        .await?;
    let of = |it: &Kept| {
        let found = named(&it.notice).and_then(|id| rows.iter().find(|row| row.id == id));
        match found {
            None => Names::default(),
            Some(Named { zh, en: None, .. }) => Names {
                organisation: Some(zh.clone()),
                ..Names::default()
            },
            Some(Named { zh, en, .. }) => Names {
                product_zh: Some(zh.clone()),
                product_en: en.clone(),
                organisation: None,
            },
        }
    };
    Ok(notices.iter().map(of).collect())
}

/// The product or organisation whose name a notice tells.
const fn named(notice: &Notice) -> Option<Uuid> {
    match notice {
        Notice::Activated { product, .. } | Notice::Cancelled { product, .. } => Some(*product),
        Notice::Expiring { product, .. } => *product,
        Notice::OnRoster { organisation, .. }
        | Notice::RoleGranted { organisation, .. }
        | Notice::Unmasked { organisation, .. } => Some(organisation.0),
        Notice::Bought { .. }
        | Notice::Refunded { .. }
        | Notice::NewLogin { .. }
        | Notice::LoginLinked { .. }
        | Notice::SecondFactorChanged { .. }
        | Notice::ExportReady { .. }
        | Notice::ErasureHeld { .. }
        | Notice::RenderingReady { .. }
        | Notice::PhoneChanged { .. }
        | Notice::PhoneToBeChanged { .. }
        | Notice::PhoneToBeSet { .. }
        | Notice::RightUsed { .. }
        | Notice::RecordsChanged { .. } => None,
    }
}

/// Removes what a member was told since then of purchases, passes and unions, which may be
/// another's, and remembers that it was told.
///
/// # Errors
/// When the database fails.
pub async fn forget_since(tx: &Tx, member: MemberId, since: DateTime<Utc>) -> Result<u64> {
    tx.execute(
        "WITH gone AS (DELETE FROM notice WHERE member = $1 AND created_at > $2
           AND kind IN ('bought', 'activated', 'expiring', 'cancelled', 'refunded', 'on_roster')
           RETURNING id)
         INSERT INTO notice_told (id) SELECT id FROM gone ON CONFLICT (id) DO NOTHING",
        [member.0.into(), since.into()],
    )
    .await
}

/// Removes notices older than `before`, some thousand at a time, and remembers that they were
/// told; how many.
///
/// # Errors
/// When the database fails.
pub async fn sweep(tx: &Tx, before: DateTime<Utc>) -> Result<u64> {
    tx.execute(
        "WITH gone AS (DELETE FROM notice WHERE id = ANY (ARRAY(
           SELECT id FROM notice WHERE created_at < $1 ORDER BY created_at, id LIMIT $2))
           RETURNING id)
         INSERT INTO notice_told (id) SELECT id FROM gone ON CONFLICT (id) DO NOTHING",
        [before.into(), SWEEP_ROWS_MAX.into()],
    )
    .await
}
