//! Activation: the day a pass begins, chosen by its holder or by the end of the time to choose.

use chrono::{DateTime, NaiveDate, Utc};
use kit::types::shanghai_date;

use super::pass::{Change, Life, Pass, State, Usable};
use super::refund::Cause;
use super::terms::{Activation, AfterDeadline, Terms};
use crate::error::Refusal;

impl Pass {
    /// Begins today, at its holder's wish. When the time to activate is over and the product
    /// begins by itself then, it began then.
    ///
    /// # Errors
    /// When it waits for something else, or its time is over.
    pub fn activate(self, now: DateTime<Utc>, terms: &Terms) -> Result<Change, Refusal> {
        let (at, activate_by) = self.ready()?;
        let today = shanghai_date(now);
        if today < activate_by {
            return self.begin(at, today, terms);
        }
        match terms.activation {
            Activation::Within {
                then: AfterDeadline::Auto,
                ..
            }
            | Activation::AtPayment => self.begin(at, activate_by, terms),
            Activation::Within {
                then: AfterDeadline::Forfeit | AfterDeadline::Refund,
                ..
            } => Err(Refusal::ActivationOver),
        }
    }

    pub(super) fn ready(&self) -> Result<(DateTime<Utc>, NaiveDate), Refusal> {
        match &self.state {
            State::AwaitingPayment(_) => Err(Refusal::AwaitingPayment),
            State::Lapsed => Err(Refusal::PassEnded),
            State::Paid { at, life } => match life {
                Life::Usable(Usable::Ready { activate_by }) => Ok((*at, *activate_by)),
                Life::Usable(Usable::Active { .. }) => Err(Refusal::AlreadyActive),
                Life::Frozen { .. } => Err(Refusal::PassFrozen),
                Life::Refunding { .. } | Life::Voiding { .. } => Err(Refusal::RefundInProgress),
                Life::Forfeited { .. } => Err(Refusal::ActivationOver),
                Life::Refunded { .. } | Life::Voided { .. } => Err(Refusal::PassEnded),
            },
        }
    }

    fn begin(
        self,
        paid_at: DateTime<Utc>,
        day: NaiveDate,
        terms: &Terms,
    ) -> Result<Change, Refusal> {
        let window = terms.window(day).ok_or(Refusal::ActivationOver)?;
        Ok(self.live(paid_at, Life::Usable(Usable::Active { window }), Vec::new()))
    }

    /// The last day on which its holder can activate it, where it is forfeited after that and she
    /// still can.
    pub fn forfeited_after(&self, now: DateTime<Utc>, terms: &Terms) -> Option<NaiveDate> {
        let Ok((_, activate_by)) = self.ready() else {
            return None;
        };
        let last = activate_by.pred_opt()?;
        (terms.forfeits() && shanghai_date(now) <= last).then_some(last)
    }

    /// Whether its holder may be told to activate it although there is nothing left to activate:
    /// the time of the reminder has come, and she activated it since, gave it back, or it ended.
    pub fn reminded_in_vain(&self, now: DateTime<Utc>, terms: &Terms) -> bool {
        if self.ready().is_ok() {
            return false;
        }
        let Some(paid) = self.paid_at() else {
            return false;
        };
        let Some(activate_by) = terms.activate_by(paid) else {
            return false;
        };
        let reminder = terms.activation_reminder(activate_by, paid);
        // After its last day nobody is reminded anyhow.
        reminder.is_some_and(|at| at <= now) && shanghai_date(now) < activate_by
    }

    /// The time to activate is over: what the product says happens.
    pub fn activation_over(self, now: DateTime<Utc>, terms: &Terms) -> Change {
        let Ok((at, activate_by)) = self.ready() else {
            return Change::none(self);
        };
        if shanghai_date(now) < activate_by {
            return Change::none(self);
        }
        match terms.activation {
            Activation::AtPayment
            | Activation::Within {
                then: AfterDeadline::Auto,
                ..
            } => {
                let same = self.clone();
                self.begin(at, activate_by, terms)
                    .unwrap_or(Change::none(same))
            }
            Activation::Within {
                then: AfterDeadline::Forfeit,
                ..
            } => self.live(at, Life::Forfeited { activate_by }, Vec::new()),
            Activation::Within {
                then: AfterDeadline::Refund,
                ..
            } => self.give_back_unused(at, activate_by, (Cause::NotActivated, now)),
        }
    }
}
