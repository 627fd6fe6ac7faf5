//! The evaluator: rules and facts in, a decision out, the same on every machine.
//!
//! # Which reason is told
//! What was shown at the gate is judged first: clock, lease, a superseded, stale or misplaced
//! code, another person's document, the entitlement's standing. The first that fails is the
//! answer, since a code that is not believed must not reveal how the entitlement was used.
//! An exit is judged by presence alone: nobody is kept inside for an expired pass.
//! Then every rule is tried, and of those that fail the *closest* is told, the one that keeps the
//! person out longest: first those that no waiting mends, then the one whose own next time is
//! latest; ties go to the order in `next.rs`. A full house, which empties at no known time, is
//! told only when nothing else fails.
//!
//! # Where nobody stands
//! Whom every rule lets in, and whose document or photo must still be looked at, is asked about at
//! an unattended gate: a reader there finds the document the holder's, or staff elsewhere look.
//!
//! # When to try again
//! `next_try_at` is the earliest later instant at which, with these uses and a code fresh then,
//! every rule would be met; `None` when waiting alone does not help.
//!
//! # The grace after midnight
//! Within the rules' grace after midnight, whoever could have entered in the last moment of the
//! day before is admitted, and the use is counted on that day (`counted_on`). So a pass that ended
//! at midnight, or a blackout that began then, does not turn away the end of a queue, and no
//! limit is exceeded by it.

use chrono::{DateTime, NaiveDate, TimeDelta, Utc};

use super::next::{self, Question, Verdict, Wait};
use super::{
    Direction, DocumentReading, EVALUATOR_VERSION, EntitlementFacts, Form, History, Mode, Presence,
    Presented, Reason, Rules, RulesError, Scan, Standing, VenueFacts,
};
use crate::dates::{date_of, start_of_day};

/// What the gate does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Decision {
    Admit {
        /// What is left after this admission.
        remaining: Remaining,
        hints: Hints,
        /// The Shanghai date on which the use counts: today's, or yesterday's in the grace.
        counted_on: NaiveDate,
    },
    Deny {
        reason: Reason,
        /// See the module: `None` when waiting alone does not help.
        next_try_at: Option<DateTime<Utc>>,
        explanation: Explanation,
    },
    /// A person, or the server, must decide.
    Ask { reason: Reason },
}

impl Decision {
    /// A denial that has nothing to explain, such as one by [`crate::token::ParseError::reason`].
    pub const fn deny(reason: Reason, now: DateTime<Utc>) -> Self {
        Self::Deny {
            reason,
            next_try_at: None,
            explanation: Explanation::bare(now),
        }
    }

    /// The reason, unless it admits.
    pub const fn reason(&self) -> Option<Reason> {
        match self {
            Self::Admit { .. } => None,
            Self::Deny { reason, .. } | Self::Ask { reason } => Some(*reason),
        }
    }
}

impl RulesError {
    /// What a gate answers that cannot read the rules: it asks.
    pub const fn decision(self) -> Decision {
        let reason = match self {
            Self::UnknownForm | Self::EvaluatorTooOld => Reason::EvaluatorTooOld,
            Self::Malformed | Self::TooLarge => Reason::Internal,
        };
        Decision::Ask { reason }
    }
}

/// How many persons may still enter after an admission; `None` without a limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Remaining {
    /// At this venue on this day.
    pub today: Option<u32>,
    /// At this venue.
    pub venue: Option<u32>,
    /// In this province and over all, whichever is less.
    pub total: Option<u32>,
}

/// What staff should look at before the person walks on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Hints {
    pub document_check: bool,
    pub photo: bool,
}

/// The figures behind a denial, for its text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Explanation {
    pub decided_at: DateTime<Utc>,
    /// Of the limit that was met, in persons.
    pub used: Option<u32>,
    pub limit: Option<u32>,
    /// When the entitlement, or the code, ended.
    pub ended_at: Option<DateTime<Utc>>,
}

impl Explanation {
    pub(super) const fn bare(decided_at: DateTime<Utc>) -> Self {
        Self {
            decided_at,
            used: None,
            limit: None,
            ended_at: None,
        }
    }
}

/// Decides one scan. Pure: the same arguments give the same decision for ever. `now` is the
/// instant of the scan; `history` must be counted for it (see [`History`]).
#[expect(
    clippy::too_many_arguments,
    reason = "the six inputs of a decision, each of its own type"
)]
pub fn decide(
    rules: &Rules,
    entitlement: &EntitlementFacts,
    history: &History,
    venue: &VenueFacts,
    now: DateTime<Utc>,
    scan: &Scan,
) -> Decision {
    if rules.evaluator_least > EVALUATOR_VERSION {
        return Decision::Ask {
            reason: Reason::EvaluatorTooOld,
        };
    }
    let question = Question {
        rules,
        entitlement,
        history,
        venue,
        now,
        scan,
    };
    match scan.direction {
        Direction::Entry => shown(&question).unwrap_or_else(|| enter(&question)),
        Direction::Exit => leave(&question),
    }
}

fn enter(question: &Question<'_>) -> Decision {
    let today = date_of(question.now);
    let verdict = next::verdict(question, question.now, today);
    let failures = match verdict {
        Verdict::Internal => {
            return Decision::Ask {
                reason: Reason::Internal,
            };
        }
        Verdict::Met => return admit(question, today),
        Verdict::Failed(failures) => failures,
    };
    if let Some((at, yesterday)) = grace(question, today)
        && matches!(next::verdict(question, at, yesterday), Verdict::Met)
    {
        return admit(question, yesterday);
    }
    let closest = next::closest(&failures);
    let next_try_at = next::next_try_at(question, failures);
    Decision::Deny {
        reason: closest.reason,
        next_try_at,
        explanation: closest.explanation,
    }
}

/// Nobody is kept inside: an exit is refused only when nobody went in.
fn leave(question: &Question<'_>) -> Decision {
    let outside = question.history.presence == Presence::Outside;
    if question.venue.tracks_exits && outside {
        return Decision::deny(Reason::NotInside, question.now);
    }
    Decision::Admit {
        remaining: next::remaining(question, date_of(question.now), 0),
        hints: Hints {
            document_check: false,
            photo: false,
        },
        counted_on: date_of(question.now),
    }
}

fn admit(question: &Question<'_>, counted_on: NaiveDate) -> Decision {
    let asked = match question.scan.presented {
        Presented::Token { token, .. } => token.claims().flags.document_check,
        Presented::LookedUp => false,
    };
    let read = question.scan.document == DocumentReading::Same;
    let hints = Hints {
        document_check: (question.rules.document_check || asked) && !read,
        photo: question.rules.photo_check,
    };
    // A hint keeps nobody out where nobody reads it.
    if question.scan.unattended && (hints.document_check || hints.photo) {
        return Decision::Ask {
            reason: Reason::Unattended,
        };
    }
    let persons = u32::from(question.scan.persons.get());
    Decision::Admit {
        remaining: next::remaining(question, counted_on, persons),
        hints,
        counted_on,
    }
}

/// The last moment of the day before, while its grace lasts.
fn grace(question: &Question<'_>, today: NaiveDate) -> Option<(DateTime<Utc>, NaiveDate)> {
    let midnight = start_of_day(today);
    let grace = TimeDelta::minutes(i64::from(question.rules.grace_minutes));
    let late = question.now.signed_duration_since(midnight);
    (late < grace).then_some((midnight - TimeDelta::nanoseconds(1), today.pred_opt()?))
}

/// Judges what was shown, before any rule.
fn shown(question: &Question<'_>) -> Option<Decision> {
    let Question { now, scan, .. } = question;
    if !scan.clock_trusted {
        return Some(Decision::Ask {
            reason: Reason::ClockUntrusted,
        });
    }
    if !within_lease(scan, *now) {
        return Some(Decision::deny(Reason::OutsideLease, *now));
    }
    if let Presented::Token { token, form } = scan.presented {
        let claims = token.claims();
        if claims.generation < question.entitlement.generation {
            return Some(Decision::deny(Reason::Superseded, *now));
        }
        if form == Form::Stale || claims.flags.rotating_required && form == Form::Static {
            return Some(Decision::deny(Reason::StaleCode, *now));
        }
        if claims.home_gate != 0 && claims.home_gate != scan.gate {
            return Some(Decision::deny(Reason::WrongGate, *now));
        }
    }
    if scan.document == DocumentReading::Other {
        return Some(Decision::deny(Reason::IdMismatch, *now));
    }
    standing(question).or_else(|| ended_code(question))
}

fn within_lease(scan: &Scan, now: DateTime<Utc>) -> bool {
    match scan.mode {
        Mode::Online => true,
        Mode::Lease {
            from,
            until,
            persons_left,
        } => from <= now && now < until && u32::from(scan.persons.get()) <= persons_left,
    }
}

fn standing(question: &Question<'_>) -> Option<Decision> {
    let persons = u32::from(question.scan.persons.get());
    let reason = match question.entitlement.standing {
        Standing::Granted => return None,
        Standing::Unseen { budget_left } if persons <= budget_left => return None,
        Standing::Unseen { .. } => {
            return Some(Decision::Ask {
                reason: Reason::BudgetExhausted,
            });
        }
        Standing::Unpaid => Reason::Unpaid,
        Standing::Frozen => Reason::Frozen,
        Standing::Revoked => Reason::Revoked,
        Standing::Unknown => Reason::UnknownEntitlement,
    };
    Some(Decision::deny(reason, question.now))
}

/// A token past its own end, or before its own start, while the entitlement is valid: the phone
/// must fetch a new one. Where the entitlement is not valid either, the rules say so.
fn ended_code(question: &Question<'_>) -> Option<Decision> {
    let Presented::Token { token, .. } = question.scan.presented else {
        return None;
    };
    let grace_at = grace(question, date_of(question.now)).map(|(at, _)| at);
    let valid = |from, until| {
        let holds = |at: DateTime<Utc>| from <= at && at < until;
        holds(question.now) || grace_at.is_some_and(holds)
    };
    let entitled = valid(question.entitlement.from, question.entitlement.until);
    if !entitled || valid(token.valid_from(), token.valid_until()) {
        return None;
    }
    let ended_at = (token.valid_until() <= question.now).then(|| token.valid_until());
    Some(Decision::Deny {
        reason: Reason::StaleCode,
        next_try_at: None,
        explanation: Explanation {
            ended_at,
            ..Explanation::bare(question.now)
        },
    })
}

/// The rank of a failure among others: the greatest is told.
pub(super) fn rank(wait: Wait) -> (u8, Option<DateTime<Utc>>) {
    match wait {
        Wait::Never => (2, None),
        Wait::Until(at) => (1, Some(at)),
        Wait::Unknown => (0, None),
    }
}
