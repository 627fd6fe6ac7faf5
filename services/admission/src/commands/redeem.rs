//! The scan of a credential at a gate. Every scan of a gate that is known and in service gets a
//! decision, which is stored with its number for ever: the same number again is answered the
//! same, and with another code, direction or party it is refused and raises an
//! alarm.
//!
//! What needs no state (who asks, what the code says, whether its signature holds) is looked at
//! outside the lane, as many scans at once as there are cores; what needs state is decided in the
//! lane, a batch in one transaction. The lane serves all venues: with one for each, a batch would
//! hold what two or three gates send, and cost as many statements as a full one.

use std::collections::{BTreeMap, BTreeSet};
use std::num::NonZeroU16;

use chrono::{DateTime, TimeDelta, Utc};
use credential::rules::{Decision, Direction, DocumentReading, Reason};
use credential::token::{self, Token, VerifyError};
use kit::access::Caller;
use kit::audit::AuditRow;
use kit::due::NewDue;
use kit::lane::Lane;
use kit::types::{EntitlementId, Union, VenueId, shanghai_date};
use kit::{Ctx, Error, Ids, Result, Tx};
use sha2::{Digest, Sha256};

use crate::domain::desk::Outcome;
use crate::domain::entitlement::GRANT_MINUTES_MAX;
use crate::domain::redemption::{Origin, Redemption};
use crate::domain::scan::{Attempt, ScanId};
use crate::error::Refusal;
use crate::gates::Asserted;
use crate::store::Hold;
use crate::store::alarm::Alarm;
use crate::store::desk::{Figures, GateState, Left, Opened};
use crate::store::entitlement::Wanted;
use crate::{Admission, publish, store};

/// The due work that asks for the grant of an entitlement that was used without one.
pub(crate) const UNSEEN_CHECK: &str = "unseen_check";

/// The one lane of a process, for all its venues.
pub type Scans = Lane<(), Attempt, Redemption>;

/// What a gate sends.
#[derive(Clone, Debug)]
pub struct Scanned {
    pub id: ScanId,
    /// Exactly what the scanner read.
    pub text: String,
    pub direction: Direction,
    pub persons: NonZeroU16,
    pub document: DocumentReading,
    /// The device's own clock.
    pub device_at: DateTime<Utc>,
    /// Where the device believes to stand.
    pub venue: Option<VenueId>,
}

/// The lane that decides scans.
pub fn lane(ctx: &Ctx) -> Scans {
    let ctx = ctx.clone();
    Lane::new("redeem", move |_, attempts| {
        let ctx = ctx.clone();
        async move { redeem_batch(&ctx, attempts).await }
    })
}

/// Decides one scan.
///
/// # Errors
/// A refusal when the gate is not who it says, not in service or of another venue, and when the
/// scan's number was used for another scan; `Overloaded` when the lane's queue is full.
pub async fn redeem(service: &Admission, caller: &Caller, scanned: Scanned) -> Result<Redemption> {
    let assertion = caller.gate_assertion.as_deref();
    let asserted = service.gates.verify(&service.ctx, assertion).await?;
    check_gate(&asserted, &scanned)?;
    let attempt = Attempt {
        id: scanned.id,
        venue: asserted.venue,
        token_hash: Sha256::digest(&scanned.text).into(),
        shown: shown(service, &scanned.text).await?,
        direction: scanned.direction,
        persons: scanned.persons,
        document: scanned.document,
        device_at: scanned.device_at,
    };
    service.lane.run((), attempt).await
}

fn check_gate(asserted: &Asserted, scanned: &Scanned) -> Result<()> {
    let id = scanned.id;
    if (id.gate, id.enrolment) != (asserted.gate, asserted.enrolment) {
        return Err(Refusal::GateMismatch.into());
    }
    if scanned.venue.is_some_and(|venue| venue != asserted.venue) {
        return Err(Refusal::GateOfAnotherVenue.into());
    }
    Ok(())
}

/// The credential in a text, if a key that we know signed it; else the reason to deny.
async fn shown(service: &Admission, text: &str) -> Result<std::result::Result<Token, Reason>> {
    let signed = match token::parse(text) {
        Ok(signed) => signed,
        Err(error) => return Ok(Err(error.reason())),
    };
    let Some(issuer) = signed.kid().issuer() else {
        return Ok(Err(Reason::UnknownKey));
    };
    let now = service.ctx.clock.now();
    let verify = || match service.keys.of(issuer) {
        Some(keys) => signed.verify(&keys, now),
        None => Err(VerifyError::UnknownKey),
    };
    let verified = match verify() {
        // Its key may have come a moment ago. The set is read again, but not for each bad code.
        Err(VerifyError::UnknownKey) if service.reload.allows(now) => {
            service.keys.load(&service.ctx.db).await?;
            verify()
        }
        other => other,
    };
    Ok(verified.map_err(VerifyError::reason))
}

/// Decides scans in one transaction, in their order.
///
/// # Errors
/// When the database fails.
pub async fn redeem_batch(ctx: &Ctx, attempts: Vec<Attempt>) -> Result<Vec<Result<Redemption>>> {
    // Nearly always all entitlements are known. A row that is lacking is made before any is locked,
    // and so in a transaction that begins anew: the order of locks stays.
    let decided = match decided(ctx, &attempts, Hold::Known).await? {
        Some(decided) => decided,
        None => decided(ctx, &attempts, Hold::Made)
            .await?
            .ok_or_else(|| Error::internal("a row that was made is not there"))?,
    };
    decided.raised.iter().for_each(tell);
    Ok(decided.answers)
}

async fn decided(ctx: &Ctx, attempts: &[Attempt], hold: Hold) -> Result<Option<Decided>> {
    ctx.db
        .tx("redeem", async |tx| {
            match read(tx, ctx.union, attempts, hold).await? {
                Some(batch) => decide(batch, attempts).await.map(Some),
                None => Ok(None),
            }
        })
        .await
}

/// What became of a batch.
#[derive(Debug)]
pub struct Decided {
    pub answers: Vec<Result<Redemption>>,
    /// Alarms that were raised for the first time.
    raised: Vec<Alarm>,
}

/// Reads all that decides these scans; `None` when an entitlement is not known and no row of it is
/// to be made.
///
/// # Errors
/// When the database fails.
pub async fn read<'a>(
    tx: &'a Tx,
    union: Union,
    attempts: &[Attempt],
    hold: Hold,
) -> Result<Option<Batch<'a>>> {
    let wanted: Wanted = attempts
        .iter()
        .filter_map(|one| one.entitlement())
        .map(|(id, home, scope)| (id, (home, scope)))
        .collect();
    let gates = attempts.iter().map(|one| one.id.gate).collect();
    let venues = attempts.iter().map(|one| one.venue).collect();
    let Some(held) = store::desk::hold(tx, union, (&venues, &wanted), hold).await? else {
        return Ok(None);
    };
    let opened = store::desk::open(tx, union, (&gates, &venues), held).await?;
    let ids: Vec<ScanId> = attempts.iter().map(|one| one.id).collect();
    let before = store::redemption::of_scans(tx, &ids).await?;
    Ok(Some(Batch::new(tx, union, opened, before)))
}

/// Decides the scans that the batch was read for, and writes what came of it.
///
/// # Errors
/// When the database fails.
pub async fn decide(mut batch: Batch<'_>, attempts: &[Attempt]) -> Result<Decided> {
    for attempt in attempts {
        batch.decide(attempt).await?;
    }
    batch.write().await
}

/// An alarm that stands in the database alone alarms nobody. Told once it does stand there.
fn tell(alarm: &Alarm) {
    metrics::counter!("bashu_admission_scan_alarms_total").increment(1);
    tracing::warn!(
        venue = %alarm.venue.uuid(),
        gate = %alarm.gate.uuid(),
        code = %alarm.code,
        "a scan's number came again with another scan: look at the venue's alarms"
    );
}

/// A batch and all that decides it.
#[derive(Debug)]
pub struct Batch<'a> {
    tx: &'a Tx,
    union: Union,
    opened: Opened,
    /// What each scan number was answered, in this batch or before.
    answered: BTreeMap<ScanId, Redemption>,
    /// The numbers that are new.
    fresh: Vec<ScanId>,
    results: Vec<std::result::Result<ScanId, Refusal>>,
    unseen: BTreeSet<EntitlementId>,
    moved: BTreeSet<(VenueId, EntitlementId)>,
    /// Alarms that were raised for the first time.
    raised: Vec<Alarm>,
}

impl<'a> Batch<'a> {
    fn new(tx: &'a Tx, union: Union, opened: Opened, before: Vec<Redemption>) -> Self {
        let known = |one: Redemption| match &one.origin {
            Origin::Scan { id, .. } => Some((*id, one.clone())),
            Origin::Override { .. } => None,
        };
        Self {
            tx,
            union,
            opened,
            answered: before.into_iter().filter_map(known).collect(),
            fresh: Vec::new(),
            results: Vec::new(),
            unseen: BTreeSet::new(),
            moved: BTreeSet::new(),
            raised: Vec::new(),
        }
    }

    async fn decide(&mut self, attempt: &Attempt) -> Result<()> {
        let result = match self.gate(attempt) {
            Err(refusal) => Err(refusal),
            Ok(gate) => match self.answered.get(&attempt.id).cloned() {
                Some(before) => self.answer_again(attempt, &before).await?,
                None => {
                    self.answer(attempt, gate);
                    Ok(attempt.id)
                }
            },
        };
        self.results.push(result);
        Ok(())
    }

    /// The gate, if it is still in service under the key that signed for the scan.
    fn gate(&self, attempt: &Attempt) -> std::result::Result<GateState, Refusal> {
        let gate = self
            .opened
            .gates
            .get(&attempt.id.gate)
            .ok_or(Refusal::GateNotRecognised)?;
        if (gate.venue, gate.enrolment) != (attempt.venue, attempt.id.enrolment) {
            return Err(Refusal::GateNotRecognised);
        }
        if gate.disabled {
            return Err(Refusal::GateDisabled);
        }
        Ok(*gate)
    }

    async fn answer_again(
        &mut self,
        attempt: &Attempt,
        before: &Redemption,
    ) -> Result<std::result::Result<ScanId, Refusal>> {
        let same_code = matches!(&before.origin,
            Origin::Scan { token_hash, .. } if *token_hash == attempt.token_hash);
        let persons = attempt.persons.get();
        if same_code && (before.direction, before.persons) == (attempt.direction, persons) {
            return Ok(Ok(attempt.id));
        }
        let direction = store::redemption::direction_text(attempt.direction);
        let other = format!("{}/{direction}/{persons}", hex::encode(attempt.token_hash));
        let alarm = Alarm {
            // The same other scan again is the same alarm.
            id: Ids::derive(before.id, &other, 0),
            venue: before.venue,
            gate: before.gate,
            redemption: before.id,
            code: Refusal::ScanIdReused.code().to_owned(),
            at: self.tx.now(),
        };
        if store::alarm::add(self.tx, &alarm).await? {
            self.tx.audit(AuditRow::system("scan_alarm", alarm.id));
            self.tx.emit(publish::alarm(&alarm));
            self.raised.push(alarm);
        }
        Ok(Err(Refusal::ScanIdReused))
    }

    fn answer(&mut self, attempt: &Attempt, gate: GateState) {
        let outcome = self.opened.desk.scan(attempt, gate.door);
        let shown = attempt.entitlement();
        let claims = attempt.shown.as_ref().ok().map(|token| *token.claims());
        if let Some((id, _, _)) = shown {
            if outcome.unseen && self.unseen.insert(id) {
                let at = self.tx.now() + TimeDelta::minutes(GRANT_MINUTES_MAX);
                self.tx.plan(NewDue::new(UNSEEN_CHECK, id, at));
            }
            if outcome.inside_delta != 0 {
                self.moved.insert((attempt.venue, id));
            }
        }
        let Outcome {
            decision,
            limits,
            counted_on,
            inside_delta,
            ..
        } = outcome;
        let redemption = Redemption {
            id: self.tx.uuid(),
            version: 1,
            venue: attempt.venue,
            gate: attempt.id.gate,
            origin: Origin::Scan {
                id: attempt.id,
                token_hash: attempt.token_hash,
            },
            entitlement: shown.map(|(id, _, _)| id),
            generation: claims.map_or(0, |claims| claims.generation),
            scope: claims.map_or(0, |claims| claims.scope),
            direction: attempt.direction,
            persons: attempt.persons.get(),
            decision,
            at: self.tx.now(),
            device_at: Some(attempt.device_at),
            scanned_on: shanghai_date(self.tx.now()),
            counted_on,
            inside_delta,
            payable: matches!(decision, Decision::Admit { .. })
                && attempt.direction == Direction::Entry,
            shift: gate.shift,
            limits,
            void: None,
        };
        self.fresh.push(attempt.id);
        self.answered.insert(attempt.id, redemption);
    }

    async fn write(self) -> Result<Decided> {
        let new: Vec<&Redemption> = self
            .fresh
            .iter()
            .filter_map(|id| self.answered.get(id))
            .collect();
        let mut figures = Figures::new();
        for one in &new {
            count(&mut figures, one);
            if let Some(event) = publish::redemption(one, self.union) {
                self.tx.emit(event);
            }
        }
        store::redemption::insert(self.tx, &new);
        // One row for all: each scan is a row of its own already, which this one names.
        if let Some(first) = new.first() {
            let ids: Vec<String> = new.iter().map(|one| one.id.simple().to_string()).collect();
            let detail = serde_json::json!({ "redemptions": ids });
            self.tx
                .audit(AuditRow::system("redeem", first.id).detail(detail));
        }
        let unseen: Vec<EntitlementId> = self.unseen.into_iter().collect();
        let left = Left {
            desk: &self.opened.desk,
            counters: &self.opened.counters,
            figures: &figures,
            unseen: &unseen,
            moved: &self.moved,
        };
        store::desk::close(self.tx, &left).await?;
        let answer = |result: std::result::Result<ScanId, Refusal>| match result {
            Ok(id) => self
                .answered
                .get(&id)
                .cloned()
                .ok_or_else(|| Error::internal("a scan without an answer")),
            Err(refusal) => Err(refusal.into()),
        };
        Ok(Decided {
            answers: self.results.into_iter().map(answer).collect(),
            raised: self.raised,
        })
    }
}

/// Counts a redemption among its gate's figures.
pub(super) fn count(figures: &mut Figures, one: &Redemption) {
    let what = match one.decision {
        Decision::Admit { .. } if one.is_overridden() => "override".to_owned(),
        Decision::Admit { .. } => store::redemption::direction_text(one.direction).to_owned(),
        Decision::Deny { reason, .. } => format!("deny:{reason}"),
        Decision::Ask { reason } => format!("ask:{reason}"),
    };
    add(figures, one, what);
}

/// Counts something that became of a redemption.
pub(super) fn add(figures: &mut Figures, one: &Redemption, what: String) {
    let sum = figures.entry((one.venue, one.gate, what)).or_default();
    sum.0 += 1;
    sum.1 += i64::from(one.persons);
}
