//! Redemptions written a batch at a time, by one statement over arrays.

use chrono::{DateTime, NaiveDate, Utc};
use credential::rules::{Decision, Hints, Reason, Remaining};
use kit::Tx;
use kit::tx::Write;
use uuid::Uuid;

use super::{decision_text, direction_text};
use crate::domain::redemption::{Origin, Redemption};

/// No number: what stands for null in an array.
const NONE: i32 = -1;
const NO_INSTANT: i64 = i64::MIN;

/// Adds the redemptions of one venue and one instant, all of version 1.
pub fn insert(tx: &Tx, all: &[&Redemption]) {
    let Some(first) = all.first() else {
        return;
    };
    let (at, scanned_on) = (first.at, first.scanned_on);
    let c = Columns::of(all);
    tx.at_end(Write::new(
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
            c.venue.into(),
            at.into(),
            scanned_on.into(),
            Uuid::nil().into(),
            c.persons_allowed.into(),
        ],
    ));
}

const INSERT: &str = "
INSERT INTO redemption (id, version, venue, gate, enrolment, seq, token_hash, entitlement, gen,
  scope, direction, persons, decision, reason, at, device_at, scanned_on, counted_on,
  inside_delta, payable, shift, remaining_today, remaining_venue, remaining_total, hint_document,
  hint_photo, next_try_at, explained_used, explained_limit, explained_end, rules_version,
  limit_day_here, limit_day, limit_here, limit_total, overridden, overrides, override_by,
  override_reason, persons_allowed)
SELECT t.id, 1, t.venue, t.gate, NULLIF(t.enrolment, -1), NULLIF(t.seq, -1),
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
  NULLIF(t.override_by, $40), NULLIF(t.override_reason, ''),
  NULLIF(t.persons_allowed, -1)
FROM UNNEST($1::uuid[], $2::uuid[], $3::int[], $4::bigint[], $5::bytea[], $6::bigint[],
  $7::bool[], $8::smallint[], $9::bigint[], $10::text[], $11::int[], $12::text[], $13::text[],
  $14::bigint[], $15::date[], $16::int[], $17::bool[], $18::uuid[], $19::int[], $20::int[],
  $21::int[], $22::bool[], $23::bool[], $24::bigint[], $25::int[], $26::int[], $27::bigint[],
  $28::bigint[], $29::int[], $30::int[], $31::int[], $32::int[], $33::bool[], $34::uuid[],
  $35::uuid[], $36::text[], $37::uuid[], $41::int[])
  AS t (id, gate, enrolment, seq, token_hash, entitlement, has_entitlement, gen, scope, direction,
    persons, decision, reason, device_at, counted_on, inside_delta, payable, shift,
    remaining_today, remaining_venue, remaining_total, hint_document, hint_photo, next_try_at,
    explained_used, explained_limit, explained_end, rules_version, limit_day_here, limit_day,
    limit_here, limit_total, overridden, overrides, override_by, override_reason, venue,
    persons_allowed)";

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
    venue: Vec<Uuid>,
    persons_allowed: Vec<i32>,
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
            columns
                .persons_allowed
                .push(int(one.limits.persons.map(u32::from)));
        }
        columns
    }

    fn push_fact(&mut self, one: &Redemption) {
        self.id.push(one.id);
        self.venue.push(one.venue.uuid());
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
