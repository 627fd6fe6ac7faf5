//! Redemptions: written a batch at a time, read one at a time or by index.

mod insert;

use chrono::{DateTime, NaiveDate, Utc};
use credential::rules::{Decision, Direction, Explanation, Hints, Reason, Remaining};
use kit::types::{EntitlementId, GateId, MemberId, VenueId};
use kit::{Error, Result, Tx};
use sea_orm::FromQueryResult;
use uuid::Uuid;

use crate::domain::redemption::{Limits, Origin, Redemption, Void};
use crate::domain::scan::ScanId;

pub use insert::insert;

/// The columns of a redemption, for `SELECT`.
pub(crate) const COLUMNS: &str = "r.id, r.version, r.venue, r.gate, r.enrolment, r.seq, \
    r.token_hash, r.entitlement, r.gen AS generation, r.scope, r.direction, r.persons, \
    r.decision, r.reason, r.at, r.device_at, r.scanned_on, r.counted_on, r.inside_delta, \
    r.payable, r.shift, r.remaining_today, r.remaining_venue, r.remaining_total, \
    r.hint_document, r.hint_photo, r.next_try_at, r.explained_used, r.explained_limit, \
    r.explained_end, r.rules_version, r.limit_day_here, r.limit_day, r.limit_here, \
    r.limit_total, r.persons_allowed, r.overrides, r.override_by, r.override_reason, \
    r.voided_at, r.voided_by, r.void_reason";

#[derive(Clone, Debug, FromQueryResult)]
pub(crate) struct Row {
    id: Uuid,
    version: i64,
    venue: Uuid,
    gate: Uuid,
    enrolment: Option<i32>,
    seq: Option<i64>,
    token_hash: Option<Vec<u8>>,
    entitlement: Option<i64>,
    generation: i16,
    scope: i64,
    direction: String,
    persons: i32,
    decision: String,
    reason: Option<String>,
    at: DateTime<Utc>,
    device_at: Option<DateTime<Utc>>,
    scanned_on: NaiveDate,
    counted_on: NaiveDate,
    inside_delta: i32,
    payable: bool,
    shift: Option<Uuid>,
    remaining_today: Option<i32>,
    remaining_venue: Option<i32>,
    remaining_total: Option<i32>,
    hint_document: bool,
    hint_photo: bool,
    next_try_at: Option<DateTime<Utc>>,
    explained_used: Option<i32>,
    explained_limit: Option<i32>,
    explained_end: Option<DateTime<Utc>>,
    rules_version: Option<i64>,
    limit_day_here: Option<i32>,
    limit_day: Option<i32>,
    limit_here: Option<i32>,
    limit_total: Option<i32>,
    persons_allowed: Option<i32>,
    overrides: Option<Uuid>,
    override_by: Option<Uuid>,
    override_reason: Option<String>,
    voided_at: Option<DateTime<Utc>>,
    voided_by: Option<Uuid>,
    void_reason: Option<String>,
}

impl TryFrom<Row> for Redemption {
    type Error = Error;

    fn try_from(row: Row) -> Result<Self> {
        let broken = || Error::internal(format!("the row of redemption {} is broken", row.id));
        Ok(Self {
            id: row.id,
            version: row.version,
            venue: VenueId(row.venue),
            gate: GateId(row.gate),
            origin: origin(&row).ok_or_else(broken)?,
            entitlement: row.entitlement.map(EntitlementId::from_i64),
            generation: u8::try_from(row.generation).map_err(|_| broken())?,
            scope: u32::try_from(row.scope).map_err(|_| broken())?,
            direction: match row.direction.as_str() {
                "exit" => Direction::Exit,
                _ => Direction::Entry,
            },
            persons: u16::try_from(row.persons).map_err(|_| broken())?,
            decision: decision(&row).ok_or_else(broken)?,
            at: row.at,
            device_at: row.device_at,
            scanned_on: row.scanned_on,
            counted_on: row.counted_on,
            inside_delta: row.inside_delta,
            payable: row.payable,
            shift: row.shift,
            limits: Limits {
                rules_version: row.rules_version,
                persons: row
                    .persons_allowed
                    .and_then(|persons| u16::try_from(persons).ok()),
                day_here: number(row.limit_day_here),
                day: number(row.limit_day),
                here: number(row.limit_here),
                total: number(row.limit_total),
            },
            void: match (row.voided_at, row.voided_by, row.void_reason) {
                (Some(at), Some(by), Some(reason)) => Some(Void {
                    at,
                    by: MemberId(by),
                    reason,
                }),
                _ => None,
            },
        })
    }
}

fn number(value: Option<i32>) -> Option<u32> {
    value.and_then(|value| u32::try_from(value).ok())
}

fn origin(row: &Row) -> Option<Origin> {
    match (row.enrolment, row.seq, &row.token_hash) {
        (Some(enrolment), Some(seq), Some(hash)) => Some(Origin::Scan {
            id: ScanId {
                gate: GateId(row.gate),
                enrolment,
                seq,
            },
            token_hash: hash.as_slice().try_into().ok()?,
        }),
        _ => Some(Origin::Override {
            of: row.overrides,
            by: MemberId(row.override_by?),
            reason: row.override_reason.clone()?,
        }),
    }
}

fn decision(row: &Row) -> Option<Decision> {
    let reason = || Reason::from_code(row.reason.as_deref()?);
    match row.decision.as_str() {
        "admit" => Some(Decision::Admit {
            remaining: Remaining {
                today: number(row.remaining_today),
                venue: number(row.remaining_venue),
                total: number(row.remaining_total),
            },
            hints: Hints {
                document_check: row.hint_document,
                photo: row.hint_photo,
            },
            counted_on: row.counted_on,
        }),
        "deny" => Some(Decision::Deny {
            reason: reason()?,
            next_try_at: row.next_try_at,
            explanation: Explanation {
                decided_at: row.at,
                used: number(row.explained_used),
                limit: number(row.explained_limit),
                ended_at: row.explained_end,
            },
        }),
        "ask" => Some(Decision::Ask { reason: reason()? }),
        _ => None,
    }
}

/// The direction as it is stored.
pub(crate) const fn direction_text(direction: Direction) -> &'static str {
    match direction {
        Direction::Entry => "entry",
        Direction::Exit => "exit",
    }
}

/// The decision as it is stored.
pub(crate) const fn decision_text(decision: &Decision) -> &'static str {
    match decision {
        Decision::Admit { .. } => "admit",
        Decision::Deny { .. } => "deny",
        Decision::Ask { .. } => "ask",
    }
}

/// The redemptions of these scans that were made before.
pub(crate) async fn of_scans(tx: &Tx, scans: &[ScanId]) -> Result<Vec<Redemption>> {
    let gates: Vec<Uuid> = scans.iter().map(|scan| scan.gate.uuid()).collect();
    let enrolments: Vec<i32> = scans.iter().map(|scan| scan.enrolment).collect();
    let seqs: Vec<i64> = scans.iter().map(|scan| scan.seq).collect();
    let sql = format!(
        "SELECT {COLUMNS} FROM UNNEST($1::uuid[], $2::int[], $3::bigint[]) AS t (g, e, s)
         JOIN redemption r ON r.gate = t.g AND r.enrolment = t.e AND r.seq = t.s"
    );
    let rows: Vec<Row> = tx
        .all(&sql, [gates.into(), enrolments.into(), seqs.into()])
        .await?;
    rows.into_iter().map(Redemption::try_from).collect()
}

/// The redemption; `NotFound` when absent. It is read without a lock: its entitlement's lock and
/// its venue's are what a change of it must hold.
pub async fn load(tx: &Tx, id: Uuid) -> Result<Redemption> {
    let sql = format!("SELECT {COLUMNS} FROM redemption r WHERE r.id = $1");
    tx.one::<Row>(&sql, [id.into()])
        .await?
        .ok_or(Error::NotFound)?
        .try_into()
}

/// Whether a denial was overridden before.
pub async fn is_overridden(tx: &Tx, id: Uuid) -> Result<bool> {
    #[derive(FromQueryResult)]
    struct Found {
        found: bool,
    }
    let row = tx
        .one::<Found>(
            "SELECT EXISTS (SELECT 1 FROM redemption WHERE overrides = $1) AS found",
            [id.into()],
        )
        .await?;
    Ok(row.is_some_and(|row| row.found))
}

/// Whether staff looked the entitlement up and let it in at the venue since then; a void took
/// nobody in.
pub async fn looked_up_since(
    tx: &Tx,
    venue: VenueId,
    pass: EntitlementId,
    since: DateTime<Utc>,
) -> Result<bool> {
    #[derive(FromQueryResult)]
    struct Found {
        found: bool,
    }
    let row = tx
        .one::<Found>(
            "SELECT EXISTS (SELECT 1 FROM redemption WHERE venue = $1 AND at > $3 AND overridden
               AND entitlement = $2 AND overrides IS NULL AND voided_at IS NULL) AS found",
            [venue.uuid().into(), pass.to_i64().into(), since.into()],
        )
        .await?;
    Ok(row.is_some_and(|row| row.found))
}

/// How often a supervisor has let in by hand at the venue since then, voided ones included.
pub(crate) async fn overrides_since(
    tx: &Tx,
    venue: VenueId,
    by: MemberId,
    since: DateTime<Utc>,
) -> Result<i64> {
    #[derive(FromQueryResult)]
    struct Made {
        made: i64,
    }
    let row = tx
        .one::<Made>(
            "SELECT count(*) AS made FROM redemption
             WHERE venue = $1 AND at > $3 AND overridden AND override_by = $2",
            [venue.uuid().into(), by.uuid().into(), since.into()],
        )
        .await?;
    Ok(row.map_or(0, |row| row.made))
}

/// Writes back what a later version changed: the void, the pay and the number inside.
pub async fn save(tx: &Tx, one: &Redemption) -> Result<()> {
    let void = one.void.as_ref();
    tx.execute(
        "UPDATE redemption SET version = $2, payable = $3, inside_delta = $4, voided_at = $5,
           voided_by = $6, void_reason = $7
         WHERE id = $1 AND version = $2 - 1",
        [
            one.id.into(),
            one.version.into(),
            one.payable.into(),
            one.inside_delta.into(),
            void.map(|void| void.at).into(),
            void.map(|void| void.by.uuid()).into(),
            void.map(|void| void.reason.clone()).into(),
        ],
    )
    .await
    .and_then(|rows| match rows {
        1 => Ok(()),
        _ => Err(Error::internal("a redemption changed under its locks")),
    })
}

/// Admissions with an entitlement, in the order of time; only under its lock.
pub(crate) async fn of_entitlement(
    tx: &Tx,
    id: EntitlementId,
    rows_max: i64,
) -> Result<Vec<Redemption>> {
    let sql = format!(
        "SELECT {COLUMNS} FROM redemption r WHERE r.entitlement = $1 AND r.decision = 'admit'
         ORDER BY r.at DESC, r.id DESC LIMIT $2"
    );
    let rows: Vec<Row> = tx.all(&sql, [id.to_i64().into(), rows_max.into()]).await?;
    rows.into_iter().map(Redemption::try_from).collect()
}

/// Admissions after an id, locked so that nothing older can be said after them.
pub(crate) async fn after(tx: &Tx, after: Uuid, rows_max: i64) -> Result<Vec<Redemption>> {
    let sql = format!(
        "SELECT {COLUMNS} FROM redemption r WHERE r.id > $1 AND r.decision = 'admit'
         ORDER BY r.id LIMIT $2 FOR UPDATE"
    );
    let rows: Vec<Row> = tx.all(&sql, [after.into(), rows_max.into()]).await?;
    rows.into_iter().map(Redemption::try_from).collect()
}
