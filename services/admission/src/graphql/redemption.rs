//! Scans and what they were answered, as the graph shows them.

use async_graphql::{Context, Enum, ID, Object, Result, SimpleObject};
use chrono::{DateTime, Utc};
use credential::rules::{self, Decision, Direction, DocumentReading, Reason};
use kit::graphql::{Date, GlobalId, Language};

use super::stub::{Member, Pass};
use super::venue::{Gate, Venue};
use super::{language, loader};
use crate::domain::redemption::{Origin, Redemption as RedemptionState};

/// What the gate does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Enum)]
pub(super) enum ScanDecision {
    /// Open.
    Admit,
    /// Stay closed, and say why.
    Deny,
    /// A person must decide.
    Ask,
}

impl From<&Decision> for ScanDecision {
    fn from(decision: &Decision) -> Self {
        match decision {
            Decision::Admit { .. } => Self::Admit,
            Decision::Deny { .. } => Self::Deny,
            Decision::Ask { .. } => Self::Ask,
        }
    }
}

/// Which way the person goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Enum)]
pub(super) enum ScanDirection {
    /// In.
    Entry,
    /// Out.
    Exit,
}

impl From<ScanDirection> for Direction {
    fn from(direction: ScanDirection) -> Self {
        match direction {
            ScanDirection::Entry => Self::Entry,
            ScanDirection::Exit => Self::Exit,
        }
    }
}

impl From<Direction> for ScanDirection {
    fn from(direction: Direction) -> Self {
        match direction {
            Direction::Entry => Self::Entry,
            Direction::Exit => Self::Exit,
        }
    }
}

/// What a document reader or staff found.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Enum)]
pub(super) enum ScanDocument {
    /// Nobody looked.
    NotChecked,
    /// The document is the holder's.
    Matches,
    /// The document is another person's.
    Differs,
}

impl From<ScanDocument> for DocumentReading {
    fn from(document: ScanDocument) -> Self {
        match document {
            ScanDocument::NotChecked => Self::NotRead,
            ScanDocument::Matches => Self::Same,
            ScanDocument::Differs => Self::Other,
        }
    }
}

/// Why the gate does not simply open.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Enum)]
#[graphql(remote = "Reason")]
pub(super) enum ScanReason {
    /// Not one of our codes.
    BadFormat,
    /// A code of a later format.
    UnknownVersion,
    /// Signed with a key that is not known, not valid now or not for this.
    UnknownKey,
    /// Not signed by the key it names.
    BadSignature,
    /// A code gone by: a screenshot, or a token past its own end.
    StaleCode,
    /// Withdrawn for good.
    Revoked,
    /// A newer code was issued instead.
    Superseded,
    /// Held back for a time.
    Frozen,
    /// Its time has not begun.
    NotYetValid,
    /// Its time is over.
    Expired,
    /// A date on which the product does not admit.
    Blackout,
    /// The product does not open this venue.
    WrongVenue,
    /// The code admits at another gate of the venue.
    WrongGate,
    /// The reservation is for another time.
    WrongSlot,
    /// A reservation is needed.
    NoReservation,
    /// The venue is full.
    VenueFull,
    /// The day's limit is used.
    UsedToday,
    /// The venue's limit is used.
    UsedHere,
    /// The product's limit, over all or over the province, is used.
    UsedUp,
    /// The holder is inside already.
    AlreadyInside,
    /// Nobody went in.
    NotInside,
    /// The document is another person's.
    IdMismatch,
    /// More persons than may still enter.
    TooManyPersons,
    /// It is not paid for.
    Unpaid,
    /// Offline, and outside the lease's time or number.
    OutsideLease,
    /// The gate's clock cannot be relied on.
    ClockUntrusted,
    /// The venue does not take part at present.
    VenueSuspended,
    /// Outside the venue's opening hours.
    VenueClosed,
    /// Nobody answers for this entitlement.
    UnknownEntitlement,
    /// Too many were admitted on their signature alone this hour.
    BudgetExhausted,
    /// The rules need a newer evaluator.
    EvaluatorTooOld,
    /// The holder must be looked at, and nobody stands at the gate.
    Unattended,
    /// A fault of ours.
    Internal,
}

/// How many persons may still enter; null without a limit.
#[derive(Clone, Copy, Debug, SimpleObject)]
pub(super) struct ScanRemaining {
    /// At this venue today.
    today: Option<u32>,
    /// At this venue.
    venue: Option<u32>,
    /// Over all.
    total: Option<u32>,
}

/// What staff should look at before the person walks on.
#[derive(Clone, Copy, Debug, SimpleObject)]
pub(super) struct ScanHints {
    /// The holder's document.
    document_check: bool,
    /// The holder's photo.
    photo: bool,
}

/// What a scan is answered, apart from its record.
#[derive(Clone, Debug)]
pub(super) struct Answer {
    pub(super) decision: ScanDecision,
    pub(super) reason: Option<ScanReason>,
    pub(super) explanation: String,
    pub(super) remaining: Option<ScanRemaining>,
    pub(super) hints: Option<ScanHints>,
    pub(super) next_try_at: Option<DateTime<Utc>>,
}

impl Answer {
    pub(super) fn of(one: &RedemptionState, language: Language) -> Self {
        let decision = &one.decision;
        let (remaining, hints, next_try_at) = match decision {
            Decision::Admit {
                remaining, hints, ..
            } => {
                let left = ScanRemaining {
                    today: remaining.today,
                    venue: remaining.venue,
                    total: remaining.total,
                };
                let look = ScanHints {
                    document_check: hints.document_check,
                    photo: hints.photo,
                };
                (Some(left), Some(look), None)
            }
            Decision::Deny { next_try_at, .. } => (None, None, *next_try_at),
            Decision::Ask { .. } => (None, None, None),
        };
        Self {
            decision: decision.into(),
            reason: decision.reason().map(ScanReason::from),
            explanation: explanation(one, language),
            remaining,
            hints,
            next_try_at,
        }
    }
}

fn explanation(one: &RedemptionState, language: Language) -> String {
    let leaves = one.direction == Direction::Exit && one.is_admitted();
    if leaves {
        return language.choose("请慢走。", "Goodbye.").to_owned();
    }
    one.decision.text(match language {
        Language::Zh => rules::Language::Chinese,
        Language::En => rules::Language::English,
    })
}

/// A scan and what it was answered.
#[derive(Clone, Debug)]
pub(super) struct Redemption(RedemptionState, Seen);

/// How much of a redemption the caller may see.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Seen {
    /// She runs the venue, oversees all, or is the gate itself.
    Whole,
    /// It happened at another company's venue: when and where, not at which gate and why.
    Outside,
}

impl Redemption {
    /// For whom its venue concerns, as the command or query has made sure.
    pub(super) fn of(one: RedemptionState) -> Self {
        Self(one, Seen::Whole)
    }

    /// For staff of a company, of whose `own` venues it may be.
    pub(super) fn seen(one: RedemptionState, own: bool) -> Self {
        Self(one, if own { Seen::Whole } else { Seen::Outside })
    }

    fn is_whole(&self) -> bool {
        self.1 == Seen::Whole
    }
}

/// A scan of a credential and what it was answered, or a supervisor's override.
#[Object]
impl Redemption {
    /// Opaque.
    async fn id(&self) -> ID {
        GlobalId::of_uuid("Redemption", self.0.id)
    }

    /// What the gate did.
    async fn decision(&self) -> ScanDecision {
        (&self.0.decision).into()
    }

    /// Why it did not simply open; null when it did.
    async fn reason(&self) -> Option<ScanReason> {
        self.0.decision.reason().map(ScanReason::from)
    }

    /// The answer for people, in the language of `Accept-Language`.
    async fn explanation(&self, ctx: &Context<'_>) -> String {
        explanation(&self.0, language(ctx))
    }

    /// Which way the person went.
    async fn direction(&self) -> ScanDirection {
        self.0.direction.into()
    }

    /// How many persons.
    async fn persons(&self) -> u16 {
        self.0.persons
    }

    /// When, by the server's clock.
    async fn at(&self) -> DateTime<Utc> {
        self.0.at
    }

    /// When, by the device's own clock.
    async fn device_time(&self) -> Option<DateTime<Utc>> {
        self.0.device_at
    }

    /// The Shanghai date on which it counts.
    async fn counted_on(&self) -> Date {
        self.0.counted_on.into()
    }

    /// The pass; null when the code could not be read or believed.
    async fn pass(&self) -> Option<Pass> {
        self.0.entitlement.map(Pass::of)
    }

    /// The number of the pass, as staff type it.
    async fn pass_number(&self) -> Option<String> {
        self.0.entitlement.map(|id| id.to_string())
    }

    /// Where.
    #[graphql(complexity = "5 + child_complexity")]
    async fn venue(&self, ctx: &Context<'_>) -> Result<Option<Venue>> {
        Ok(loader::venue(ctx, self.0.venue.uuid())
            .await?
            .map(Venue::of))
    }

    /// At which gate; null at another company's venue.
    #[graphql(complexity = "5 + child_complexity")]
    async fn gate(&self, ctx: &Context<'_>) -> Result<Option<Gate>> {
        if !self.is_whole() {
            return Ok(None);
        }
        Ok(loader::gate(ctx, self.0.gate).await?.map(Gate))
    }

    /// Whether a supervisor let the person in against the rules.
    async fn overridden(&self) -> bool {
        self.0.is_overridden()
    }

    /// The shift that was open at its gate, or the supervisor's own; null when there was none, and
    /// at another company's venue.
    async fn shift_id(&self) -> Option<ID> {
        let shift = self.0.shift.filter(|_| self.is_whole());
        shift.map(|id| GlobalId::of_uuid("Shift", id))
    }

    /// The supervisor who let the person in; null at another company's venue.
    async fn overridden_by(&self) -> Option<Member> {
        match &self.0.origin {
            Origin::Override { by, .. } if self.is_whole() => Some(Member::of(*by)),
            Origin::Override { .. } | Origin::Scan { .. } => None,
        }
    }

    /// Why it was overridden; null at another company's venue.
    async fn override_reason(&self) -> Option<&str> {
        match &self.0.origin {
            Origin::Override { reason, .. } if self.is_whole() => Some(reason),
            Origin::Override { .. } | Origin::Scan { .. } => None,
        }
    }

    /// Whether it was taken back.
    async fn voided(&self) -> bool {
        self.0.void.is_some()
    }

    /// When it was taken back.
    async fn voided_at(&self) -> Option<DateTime<Utc>> {
        self.0.void.as_ref().map(|void| void.at)
    }

    /// Why it was taken back; null at another company's venue.
    async fn void_reason(&self) -> Option<&str> {
        let void = self.0.void.as_ref().filter(|_| self.is_whole());
        void.map(|void| void.reason.as_str())
    }

    /// The supervisor who took it back; null at another company's venue.
    async fn voided_by(&self) -> Option<Member> {
        let void = self.0.void.as_ref().filter(|_| self.is_whole());
        void.map(|void| Member::of(void.by))
    }

    /// False for a use whose grant never arrived: nobody is paid for it.
    async fn payable(&self) -> bool {
        self.0.payable
    }
}
