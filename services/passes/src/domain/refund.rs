//! Giving a pass back. What was never activated goes back at once. An active pass is frozen
//! first: admission counts its uses and says until when a gate that is offline may still let it
//! in; only then the terms it was sold under decide what is refunded. So a refund and a scan have
//! one order: the scan is before the freeze and counted, or after it and denied.

use chrono::{DateTime, NaiveDate, TimeDelta, Utc};
use credential::dates::DateRange;
use kit::types::{Fen, shanghai_date};
use uuid::Uuid;

use super::pass::{Change, Effect, Life, Pass, State, Timer, Usable};
use super::terms::{Terms, fee_of};
use crate::error::Refusal;

/// How long admission may take to answer a freeze before somebody is alarmed, in hours: a lease
/// lasts four at most, and what it brings needs some time.
pub const FREEZE_ANSWER_HOURS_MAX: i64 = 8;
/// How long after an alarm admission is asked again, in hours, and the next alarm raised.
pub const FREEZE_REMINDER_HOURS: i64 = 1;
/// What a gate that comes back from a lease needs to deliver its scans, in minutes.
pub const LEASE_MARGIN_MINUTES: i64 = 10;
/// How long billing may take before it is told again, in hours.
pub const BILLING_REMINDER_HOURS: i64 = 24;

/// One request to give a pass back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refund {
    /// Counts the requests of one pass, from one.
    pub ordinal: u32,
    pub cause: Cause,
    pub requested_at: DateTime<Utc>,
    pub state: RefundState,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Cause {
    Holder,
    /// Nobody activated it in time, and its terms give the money back.
    NotActivated,
    Voided,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RefundState {
    /// Frozen until the uses are known.
    Counting {
        freeze: Freeze,
    },
    /// Billing was told what goes back.
    Returned {
        uses: u32,
        fee: Fen,
        back: Fen,
    },
    Done {
        uses: u32,
        fee: Fen,
        back: Fen,
    },
    /// The count left nothing to refund: the pass is its holder's again.
    Refused {
        uses: u32,
        why: Refusal,
    },
}

impl RefundState {
    /// All of it goes back, whatever was used.
    pub(super) const fn full(price: Fen, uses: u32) -> Self {
        Self::Returned {
            uses,
            fee: Fen::ZERO,
            back: price,
        }
    }
}

/// What admission answers on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Freeze {
    pub version: i64,
    /// The uses it counted, while a lease is still open.
    pub counted: Option<u32>,
}

/// What ends when the uses are counted.
enum Counted {
    GivenBack(Usable),
    Voided(DateRange, String),
}

impl Counted {
    fn life(self, refund: Refund) -> Life {
        match self {
            Self::GivenBack(usable) => Life::Refunding { usable, refund },
            Self::Voided(window, reason) => Life::Voiding {
                window,
                reason,
                refund,
            },
        }
    }
}

impl Refund {
    /// What billing knows the return by: the same request of the same line, the same id.
    pub fn return_id(&self, line: Uuid) -> Uuid {
        Uuid::new_v5(&line, format!("return/{}", self.ordinal).as_bytes())
    }
}

impl Pass {
    pub(super) fn next_refund(&self) -> u32 {
        self.refund().map_or(1, |refund| refund.ordinal + 1)
    }

    /// The holder gives it back. `uses` are those known here: enough to refuse at once, not enough
    /// to agree.
    ///
    /// # Errors
    /// When it is not the holder's to give, or its terms refund nothing now.
    pub fn request_refund(
        self,
        now: DateTime<Utc>,
        terms: &Terms,
        uses: u32,
    ) -> Result<Change, Refusal> {
        let (at, usable) = self.givable()?;
        refundable(at, now, terms, uses)?;
        let Usable::Active { window } = usable else {
            let Usable::Ready { activate_by } = usable else {
                return Err(Refusal::NotActive);
            };
            return Ok(self.return_ready(at, activate_by, now, terms));
        };
        let freeze = Freeze {
            version: self.version + 1,
            counted: None,
        };
        let refund = Refund {
            ordinal: self.next_refund(),
            cause: Cause::Holder,
            requested_at: now,
            state: RefundState::Counting { freeze },
        };
        let deadline = now + TimeDelta::hours(FREEZE_ANSWER_HOURS_MAX);
        let life = Life::Refunding {
            usable: Usable::Active { window },
            refund,
        };
        Ok(self.live(at, life, vec![Effect::Plan(Timer::Refund, deadline)]))
    }

    fn givable(&self) -> Result<(DateTime<Utc>, Usable), Refusal> {
        match &self.state {
            State::AwaitingPayment(_) => Err(Refusal::AwaitingPayment),
            State::Lapsed => Err(Refusal::PassEnded),
            State::Paid { at, life } => match life {
                Life::Usable(usable) => Ok((*at, *usable)),
                Life::Frozen { .. } => Err(Refusal::PassFrozen),
                Life::Refunding { .. } | Life::Voiding { .. } => Err(Refusal::RefundInProgress),
                Life::Refunded { .. } | Life::Voided { .. } | Life::Forfeited { .. } => {
                    Err(Refusal::PassEnded)
                }
            },
        }
    }

    fn return_ready(
        self,
        at: DateTime<Utc>,
        activate_by: NaiveDate,
        now: DateTime<Utc>,
        terms: &Terms,
    ) -> Change {
        let fee = terms
            .ladder
            .step(shanghai_date(at), shanghai_date(now), 0)
            .map_or(Fen::ZERO, |step| fee_of(self.price, step.fee_percent));
        let refund = Refund {
            ordinal: self.next_refund(),
            cause: Cause::Holder,
            requested_at: now,
            state: self.returned(0, fee),
        };
        self.hand_over(at, Usable::Ready { activate_by }, (refund, now))
    }

    /// All of a pass that was never activated goes back.
    pub(super) fn give_back_unused(
        self,
        at: DateTime<Utc>,
        activate_by: NaiveDate,
        (cause, now): (Cause, DateTime<Utc>),
    ) -> Change {
        let refund = Refund {
            ordinal: self.next_refund(),
            cause,
            requested_at: now,
            state: self.returned(0, Fen::ZERO),
        };
        self.hand_over(at, Usable::Ready { activate_by }, (refund, now))
    }

    fn returned(&self, uses: u32, fee: Fen) -> RefundState {
        let back = self.price.sub(fee).unwrap_or(Fen::ZERO);
        if back.is_zero() {
            RefundState::Done { uses, fee, back }
        } else {
            RefundState::Returned { uses, fee, back }
        }
    }

    /// Where there is money to go back billing is told, else it is done.
    fn hand_over(
        self,
        at: DateTime<Utc>,
        usable: Usable,
        (refund, now): (Refund, DateTime<Utc>),
    ) -> Change {
        match refund.state {
            RefundState::Done { .. } => {
                self.live(at, Life::Refunded { usable, refund }, Vec::new())
            }
            RefundState::Returned { .. }
            | RefundState::Counting { .. }
            | RefundState::Refused { .. } => {
                let reminder = now + TimeDelta::hours(BILLING_REMINDER_HOURS);
                let effects = vec![Effect::LineReturned, Effect::Plan(Timer::Refund, reminder)];
                self.live(at, Life::Refunding { usable, refund }, effects)
            }
        }
    }

    /// Admission has counted. While a lease that may still let it in is open the decision waits
    /// for its end.
    pub fn uses_counted(
        self,
        freeze_version: i64,
        (uses, leases_until): (u32, Option<DateTime<Utc>>),
        (now, terms): (DateTime<Utc>, &Terms),
    ) -> Change {
        let Some((at, counted, refund, freeze)) = self.counting() else {
            return Change::none(self);
        };
        if freeze.version != freeze_version {
            return Change::none(self);
        }
        let Some(until) = leases_until.filter(|until| *until > now) else {
            return self.settle(uses, now, terms);
        };
        if freeze.counted == Some(uses) {
            return Change::none(self);
        }
        let freeze = Freeze {
            counted: Some(uses),
            ..freeze
        };
        let refund = Refund {
            state: RefundState::Counting { freeze },
            ..refund
        };
        let end = until + TimeDelta::minutes(LEASE_MARGIN_MINUTES);
        let life = counted.life(refund);
        self.live(at, life, vec![Effect::Plan(Timer::Leases, end)])
    }

    /// The last lease is over: what was counted and what is known now decide. Nothing decides
    /// without admission's count: while it is silent its gates may not know of the freeze, and
    /// the pass would both go back and open doors.
    pub fn count_over(self, known: u32, now: DateTime<Utc>, terms: &Terms) -> Change {
        match self.counting().and_then(|(.., freeze)| freeze.counted) {
            Some(counted) => self.settle(counted.max(known), now, terms),
            None => Change::none(self),
        }
    }

    /// Admission has not answered the freeze, whether or not it should have by now.
    pub fn lacks_count(&self) -> bool {
        self.counting()
            .is_some_and(|(.., freeze)| freeze.counted.is_none())
    }

    /// Admission has not answered the freeze in time: somebody must look at it.
    pub fn count_overdue(&self, now: DateTime<Utc>) -> bool {
        let deadline = TimeDelta::hours(FREEZE_ANSWER_HOURS_MAX);
        self.lacks_count()
            && self
                .refund()
                .is_some_and(|refund| refund.requested_at + deadline <= now)
    }

    fn counting(&self) -> Option<(DateTime<Utc>, Counted, Refund, Freeze)> {
        let State::Paid { at, life } = &self.state else {
            return None;
        };
        let (counted, refund) = match life {
            Life::Refunding { usable, refund } => (Counted::GivenBack(*usable), refund),
            Life::Voiding {
                window,
                reason,
                refund,
            } => (Counted::Voided(*window, reason.clone()), refund),
            Life::Usable(_)
            | Life::Frozen { .. }
            | Life::Refunded { .. }
            | Life::Voided { .. }
            | Life::Forfeited { .. } => return None,
        };
        match refund.state {
            RefundState::Counting { freeze } => Some((*at, counted, refund.clone(), freeze)),
            RefundState::Returned { .. }
            | RefundState::Done { .. }
            | RefundState::Refused { .. } => None,
        }
    }

    /// Voided with its price back: billing is told.
    pub(super) fn end_voided(
        self,
        at: DateTime<Utc>,
        (window, reason): (Option<DateRange>, String),
        (refund, now): (Refund, DateTime<Utc>),
    ) -> Change {
        let reminder = now + TimeDelta::hours(BILLING_REMINDER_HOURS);
        let effects = vec![Effect::LineReturned, Effect::Plan(Timer::Refund, reminder)];
        let life = Life::Voided {
            window,
            reason,
            refund: Some(refund),
        };
        self.live(at, life, effects)
    }

    fn settle(self, uses: u32, now: DateTime<Utc>, terms: &Terms) -> Change {
        let Some((at, counted, refund, _)) = self.counting() else {
            return Change::none(self);
        };
        let usable = match counted {
            Counted::GivenBack(usable) => usable,
            Counted::Voided(window, reason) => {
                let state = RefundState::full(self.price, uses);
                let refund = Refund { state, ..refund };
                return self.end_voided(at, (Some(window), reason), (refund, now));
            }
        };
        match refundable(at, refund.requested_at, terms, uses) {
            Ok(percent) => {
                let state = self.returned(uses, fee_of(self.price, percent));
                self.hand_over(at, usable, (Refund { state, ..refund }, now))
            }
            Err(why) => {
                let refused = Refund {
                    state: RefundState::Refused { uses, why },
                    ..refund
                };
                let change = self.live(at, Life::Usable(usable), Vec::new());
                Change {
                    pass: Pass {
                        refused: Some(refused),
                        ..change.pass
                    },
                    ..change
                }
            }
        }
    }

    /// Billing says which returns are paid back.
    pub(super) fn money_back(self, returns_done: &[Uuid]) -> Change {
        let line = self.line;
        let State::Paid { at, life } = &self.state else {
            return Change::none(self);
        };
        let at = *at;
        let done = |refund: &Refund| match refund.state {
            RefundState::Returned { uses, fee, back }
                if returns_done.contains(&refund.return_id(line)) =>
            {
                Some(Refund {
                    state: RefundState::Done { uses, fee, back },
                    ..refund.clone()
                })
            }
            RefundState::Returned { .. }
            | RefundState::Counting { .. }
            | RefundState::Done { .. }
            | RefundState::Refused { .. } => None,
        };
        let life = match life {
            Life::Refunding { usable, refund } => done(refund).map(|refund| Life::Refunded {
                usable: *usable,
                refund,
            }),
            Life::Voided {
                window,
                reason,
                refund: Some(refund),
            } => done(refund).map(|refund| Life::Voided {
                window: *window,
                reason: reason.clone(),
                refund: Some(refund),
            }),
            Life::Usable(_)
            | Life::Frozen { .. }
            | Life::Refunded { .. }
            | Life::Voiding { .. }
            | Life::Voided { refund: None, .. }
            | Life::Forfeited { .. } => None,
        };
        match life {
            Some(life) => self.live(at, life, Vec::new()),
            None => Change::none(self),
        }
    }

    /// Billing has not answered: it is told again.
    pub fn refund_overdue(&self) -> bool {
        self.refund()
            .is_some_and(|refund| matches!(refund.state, RefundState::Returned { .. }))
    }
}

/// The fee in percent of a refund asked for at `asked`.
fn refundable(
    paid: DateTime<Utc>,
    asked: DateTime<Utc>,
    terms: &Terms,
    uses: u32,
) -> Result<u32, Refusal> {
    let (paid, asked) = (shanghai_date(paid), shanghai_date(asked));
    let ladder = &terms.ladder;
    if let Some(step) = ladder.step(paid, asked, uses) {
        return Ok(step.fee_percent);
    }
    Err(if ladder.0.is_empty() {
        Refusal::NotRefundable
    } else if ladder.step(paid, asked, 0).is_some() {
        Refusal::RefundUsed
    } else {
        Refusal::RefundTooLate
    })
}
