//! Redemptions: written a batch at a time, read one at a time or by index.

use chrono::{DateTime, NaiveDate, Utc};
use credential::rules::{Decision, Direction, Explanation, Hints, Reason, Remaining};
use kit::types::{EntitlementId, GateId, MemberId, VenueId};
use kit::{Error, Result, Tx};
use sea_orm::FromQueryResult;
use uuid::Uuid;

use crate::domain::redemption::{Limits, Origin, Redemption, Void};
use crate::domain::scan::ScanId;

/// The columns of a redemption, for `SELECT`.
pub(crate) const COLUMNS: &str = "r.id, r.version, r.venue, r.gate, r.enrolment, r.seq, \
    r.token_hash, r.entitlement, r.gen AS generation, r.scope, r.direction, r.persons, \
    r.decision, r.reason, r.at, r.device_at, r.scanned_on, r.counted_on, r.inside_delta, \
    r.payable, r.shift, r.remaining_today, r.remaining_venue, r.remaining_total, \
    r.hint_document, r.hint_photo, r.next_try_at, r.explained_used, r.explained_limit, \
    r.explained_end, r.rules_version, r.limit_day_here, r.limit_day, r.limit_here, \
    r.limit_total, r.overrides, r.override_by, r.override_reason, r.voided_at, r.voided_by, \
    r.void_reason";

/// No number: what stands for null in an array.
const NONE: i32 = -1;
const NO_INSTANT: i64 = i64::MIN;

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

/// Adds the redemptions of one venue and one instant, all of version 1.
pub(crate) async fn insert(tx: &Tx, venue: VenueId, all: &[&Redemption]) -> Result<()> {
    let Some(first) = all.first() else {
        return Ok(());
    };
    let (at, scanned_on) = (first.at, first.scanned_on);
    let c = Columns::of(all);
    tx.execute(
        INSERT,
        [
            c.id.into(),
            c.gate.into(),
            c.enrolment.into(),
            c.seq.into(),
            c.token_hash.into(),
            c.entitlement.into(),
            c.has_entitlement.into(),
            c.generation.into(),
            c.scope.into(),
            c.direction.into(),
            c.persons.into(),
            c.decision.into(),
            c.reason.into(),
            c.device_at.into(),
            c.counted_on.into(),
            c.inside_delta.into(),
            c.payable.into(),
            c.shift.into(),
            c.remaining_today.into(),
            c.remaining_venue.into(),
            c.remaining_total.into(),
            c.hint_document.into(),
            c.hint_photo.into(),
            c.next_try_at.into(),
            c.explained_used.into(),
            c.explained_limit.into(),
            c.explained_end.into(),
            c.rules_version.into(),
            c.limit_day_here.into(),
            c.limit_day.into(),
            c.limit_here.into(),
            c.limit_total.into(),
            c.overridden.into(),
            c.overrides.into(),
            c.override_by.into(),
            c.override_reason.into(),
            venue.uuid().into(),
            at.into(),
            scanned_on.into(),
            Uuid::nil().into(),
        ],
    )
    .await?;
    Ok(())
}

const INSERT: &str = "
INSERT INTO redemption (id, version, venue, gate, enrolment, seq, token_hash, entitlement, gen,
  scope, direction, persons, decision, reason, at, device_at, scanned_on, counted_on,
  inside_delta, payable, shift, remaining_today, remaining_venue, remaining_total, hint_document,
  hint_photo, next_try_at, explained_used, explained_limit, explained_end, rules_version,
  limit_day_here, limit_day, limit_here, limit_total, overridden, overrides, override_by,
  override_reason)
SELECT t.id, 1, $37, t.gate, NULLIF(t.enrolment, -1), NULLIF(t.seq, -1),
  NULLIF(t.token_hash, ''::bytea), CASE WHEN t.has_entitlement THEN t.entitlement END, t.gen,
  t.scope, t.direction, t.persons, t.decision, NULLIF(t.reason, ''), $38,
  'epoch'::timestamptz + NULLIF(t.device_at, -9223372036854775808) * interval '1 microsecond',
  $39, t.counted_on, t.inside_delta, t.payable, NULLIF(t.shift, $40),
  NULLIF(t.remaining_today, -1), NULLIF(t.remaining_venue, -1), NULLIF(t.remaining_total, -1),
  t.hint_document, t.hint_photo,
  'epoch'::timestamptz + NULLIF(t.next_try_at, -9223372036854775808) * interval '1 microsecond',
  NULLIF(t.explained_used, -1), NULLIF(t.explained_limit, -1),
  'epoch'::timestamptz + NULLIF(t.explained_end, -9223372036854775808) * interval '1 microsecond',
  NULLIF(t.rules_version, -1), NULLIF(t.limit_day_here, -1), NULLIF(t.limit_day, -1),
  NULLIF(t.limit_here, -1), NULLIF(t.limit_total, -1), t.overridden, NULLIF(t.overrides, $40),
  NULLIF(t.override_by, $40), NULLIF(t.override_reason, '')
FROM UNNEST($1::uuid[], $2::uuid[], $3::int[], $4::bigint[], $5::bytea[], $6::bigint[],
  $7::bool[], $8::smallint[], $9::bigint[], $10::text[], $11::int[], $12::text[], $13::text[],
  $14::bigint[], $15::date[], $16::int[], $17::bool[], $18::uuid[], $19::int[], $20::int[],
  $21::int[], $22::bool[], $23::bool[], $24::bigint[], $25::int[], $26::int[], $27::bigint[],
  $28::bigint[], $29::int[], $30::int[], $31::int[], $32::int[], $33::bool[], $34::uuid[],
  $35::uuid[], $36::text[])
  AS t (id, gate, enrolment, seq, token_hash, entitlement, has_entitlement, gen, scope, direction,
    persons, decision, reason, device_at, counted_on, inside_delta, payable, shift,
    remaining_today, remaining_venue, remaining_total, hint_document, hint_photo, next_try_at,
    explained_used, explained_limit, explained_end, rules_version, limit_day_here, limit_day,
    limit_here, limit_total, overridden, overrides, override_by, override_reason)";

#[derive(Default)]
struct Columns {
    id: Vec<Uuid>,
    gate: Vec<Uuid>,
    enrolment: Vec<i32>,
    seq: Vec<i64>,
    token_hash: Vec<Vec<u8>>,
    entitlement: Vec<i64>,
    has_entitlement: Vec<bool>,
    generation: Vec<i16>,
    scope: Vec<i64>,
    direction: Vec<String>,
    persons: Vec<i32>,
    decision: Vec<String>,
    reason: Vec<String>,
    device_at: Vec<i64>,
    counted_on: Vec<NaiveDate>,
    inside_delta: Vec<i32>,
    payable: Vec<bool>,
    shift: Vec<Uuid>,
    remaining_today: Vec<i32>,
    remaining_venue: Vec<i32>,
    remaining_total: Vec<i32>,
    hint_document: Vec<bool>,
    hint_photo: Vec<bool>,
    next_try_at: Vec<i64>,
    explained_used: Vec<i32>,
    explained_limit: Vec<i32>,
    explained_end: Vec<i64>,
    rules_version: Vec<i64>,
    limit_day_here: Vec<i32>,
    limit_day: Vec<i32>,
    limit_here: Vec<i32>,
    limit_total: Vec<i32>,
    overridden: Vec<bool>,
    overrides: Vec<Uuid>,
    override_by: Vec<Uuid>,
    override_reason: Vec<String>,
}

/// A count as the tables keep it: one beyond 31 bits is as good as that.
fn int(value: Option<u32>) -> i32 {
    value.map_or(NONE, |value| i32::try_from(value).unwrap_or(i32::MAX))
}

fn micros(at: Option<DateTime<Utc>>) -> i64 {
    at.map_or(NO_INSTANT, |at| at.timestamp_micros())
}

impl Columns {
    fn of(all: &[&Redemption]) -> Self {
        let mut columns = Self::default();
        for one in all {
            columns.push_fact(one);
            columns.push_origin(&one.origin);
            columns.push_decision(&one.decision);
            columns
                .rules_version
                .push(one.limits.rules_version.unwrap_or(-1));
            columns.limit_day_here.push(int(one.limits.day_here));
            columns.limit_day.push(int(one.limits.day));
            columns.limit_here.push(int(one.limits.here));
            columns.limit_total.push(int(one.limits.total));
        }
        columns
    }

    fn push_fact(&mut self, one: &Redemption) {
        self.id.push(one.id);
        self.gate.push(one.gate.uuid());
        self.entitlement
            .push(one.entitlement.map_or(0, |id| id.to_i64()));
        self.has_entitlement.push(one.entitlement.is_some());
        self.generation.push(one.generation.into());
        self.scope.push(one.scope.into());
        self.direction
            .push(direction_text(one.direction).to_owned());
        self.persons.push(one.persons.into());
        self.device_at.push(micros(one.device_at));
        self.counted_on.push(one.counted_on);
        self.inside_delta.push(one.inside_delta);
        self.payable.push(one.payable);
        self.shift.push(one.shift.unwrap_or_default());
    }

    fn push_origin(&mut self, origin: &Origin) {
        let (scan, hash, of, by, reason) = match origin {
            Origin::Scan { id, token_hash } => {
                (Some(*id), token_hash.to_vec(), None, None, String::new())
            }
            Origin::Override { of, by, reason } => {
                (None, Vec::new(), *of, Some(by.uuid()), reason.clone())
            }
        };
        self.enrolment.push(scan.map_or(NONE, |id| id.enrolment));
        self.seq.push(scan.map_or(-1, |id| id.seq));
        self.token_hash.push(hash);
        self.overridden.push(scan.is_none());
        self.overrides.push(of.unwrap_or_default());
        self.override_by.push(by.unwrap_or_default());
        self.override_reason.push(reason);
    }

    fn push_decision(&mut self, decision: &Decision) {
        let mut remaining = Remaining {
            today: None,
            venue: None,
            total: None,
        };
        let mut shown = Hints {
            document_check: false,
            photo: false,
        };
        let (mut next, mut used, mut limit, mut end) = (None, None, None, None);
        match decision {
            Decision::Admit {
                remaining: left,
                hints,
                ..
            } => (remaining, shown) = (*left, *hints),
            Decision::Deny {
                next_try_at,
                explanation,
                ..
            } => {
                (next, used) = (*next_try_at, explanation.used);
                (limit, end) = (explanation.limit, explanation.ended_at);
            }
            Decision::Ask { .. } => {}
        }
        self.decision.push(decision_text(decision).to_owned());
        self.reason
            .push(decision.reason().map_or("", Reason::code).to_owned());
        self.remaining_today.push(int(remaining.today));
        self.remaining_venue.push(int(remaining.venue));
        self.remaining_total.push(int(remaining.total));
        self.hint_document.push(shown.document_check);
        self.hint_photo.push(shown.photo);
        self.next_try_at.push(micros(next));
        self.explained_used.push(int(used));
        self.explained_limit.push(int(limit));
        self.explained_end.push(micros(end));
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
pub(crate) async fn load(tx: &Tx, id: Uuid) -> Result<Redemption> {
    let sql = format!("SELECT {COLUMNS} FROM redemption r WHERE r.id = $1");
    tx.one::<Row>(&sql, [id.into()])
        .await?
        .ok_or(Error::NotFound)?
        .try_into()
}

/// Whether a denial was overridden before.
pub(crate) async fn is_overridden(tx: &Tx, id: Uuid) -> Result<bool> {
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

/// Writes back what a later version changed: the void, the pay and the number inside.
pub(crate) async fn save(tx: &Tx, one: &Redemption) -> Result<()> {
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
