//! The desk of one venue: everything a batch of scans is decided on, loaded and locked before,
//! and changed in memory with each admission, so that the next scan of the same batch sees it.
//!
//! It asks `credential::rules::decide`, the same code that runs at gates, and adds only what a
//! server alone knows: who is inside, what is unseen, and how much of a budget is left.

use std::collections::BTreeMap;
use std::sync::Arc;

use chrono::{DateTime, NaiveDate, Utc};
use credential::rules::{
    Decision, Direction, Form, History, Mode, Presence, Presented, Reason, Rules, RulesError, Scan,
    VenueFacts, decide,
};
use credential::token::Token;
use kit::types::{EntitlementId, Union, shanghai_date};

use super::entitlement::{Entitlement, Grant};
use super::redemption::Limits;
use super::scan::Attempt;

/// See the module.
#[derive(Clone, Debug)]
pub struct Desk {
    pub now: DateTime<Utc>,
    /// The union whose venue it is: only its own products' rules are in the book.
    pub union: Union,
    pub venue: VenueFacts,
    /// People inside at once, at most.
    pub capacity: Option<u32>,
    /// People inside today, where exits are scanned.
    pub inside: u32,
    pub accounts: BTreeMap<EntitlementId, Account>,
    pub rules: RuleBook,
    /// People that each scope may still admit on a signature alone this hour.
    pub budgets: BTreeMap<u32, u32>,
}

/// One entitlement at this venue.
#[derive(Clone, Debug)]
pub struct Account {
    pub entitlement: Entitlement,
    pub history: History,
    /// Of its people, how many are inside today.
    pub inside: u32,
    /// Some came in on an earlier day and were not seen to leave.
    pub stayed: bool,
}

/// The entry rules a batch needs.
#[derive(Clone, Debug, Default)]
pub struct RuleBook {
    /// By scope and version.
    pub versions: BTreeMap<(u32, i64), Result<Arc<Rules>, RulesError>>,
    /// The newest version of each scope.
    pub newest: BTreeMap<u32, i64>,
}

/// What became of one scan.
#[derive(Clone, Debug)]
pub struct Outcome {
    pub decision: Decision,
    pub limits: Limits,
    /// The Shanghai date on which it counts.
    pub counted_on: NaiveDate,
    /// By how much it changes the number of people inside.
    pub inside_delta: i32,
    /// It was admitted on the signature alone.
    pub unseen: bool,
}

impl Desk {
    /// Decides one scan at the gate of this number, and remembers it.
    pub fn scan(&mut self, attempt: &Attempt, gate: u8) -> Outcome {
        let today = shanghai_date(self.now);
        let token = match attempt.shown {
            Ok(token) => token,
            Err(reason) => return Outcome::of(Decision::deny(reason, self.now), today),
        };
        let id = EntitlementId(token.claims().entitlement_id);
        let Some(mut account) = self.accounts.get(&id).cloned() else {
            // Only an issuer of no union gets here: its tokens verify nowhere in production.
            return Outcome::of(Decision::deny(Reason::UnknownKey, self.now), today);
        };
        if attempt.entitlement() != Some((id, account.entitlement.home, account.entitlement.scope))
        {
            // A proper key, but of an issuer or for a product that this entitlement is not of.
            return Outcome::of(Decision::deny(Reason::UnknownKey, self.now), today);
        }
        let outcome = self.judge(&mut account, attempt, token, gate);
        if matches!(outcome.decision, Decision::Admit { .. }) {
            self.inside = shifted(self.inside, outcome.inside_delta);
            self.accounts.insert(id, account);
        }
        outcome
    }

    fn judge(
        &mut self,
        account: &mut Account,
        attempt: &Attempt,
        token: Token,
        gate: u8,
    ) -> Outcome {
        let today = shanghai_date(self.now);
        let (version, rules) = match self.rules_of(&account.entitlement, attempt.direction) {
            Ok(found) => found,
            Err(decision) => return Outcome::of(decision, today),
        };
        let scope = account.entitlement.scope;
        let budget = self.budgets.get(&scope).copied().unwrap_or(0);
        let facts = account.entitlement.facts(Some(&token), budget);
        let full = account.inside >= u32::from(facts.persons).max(1);
        let inside = match attempt.direction {
            Direction::Entry => full,
            Direction::Exit => account.inside > 0 || account.stayed,
        };
        account.history.presence = if inside {
            Presence::Inside
        } else {
            Presence::Outside
        };
        self.venue.vacancies = self
            .capacity
            .map(|capacity| capacity.saturating_sub(self.inside));
        let scan = Scan {
            direction: attempt.direction,
            persons: attempt.persons,
            presented: Presented::Token {
                token,
                form: Form::Static,
            },
            gate,
            mode: Mode::Online,
            // The server's own clock decides.
            clock_trusted: true,
            document: attempt.document,
        };
        let decision = decide(
            &rules,
            &facts,
            &account.history,
            &self.venue,
            self.now,
            &scan,
        );
        let Decision::Admit { counted_on, .. } = decision else {
            return Outcome {
                limits: limits(&rules, version, &self.venue),
                ..Outcome::of(decision, today)
            };
        };
        let persons = u32::from(attempt.persons.get());
        let inside_delta = self.enter_or_leave(account, attempt.direction, persons);
        let unseen =
            attempt.direction == Direction::Entry && account.entitlement.grant == Grant::Unseen;
        if attempt.direction == Direction::Entry {
            count(&mut account.history, counted_on == today, persons);
        }
        if unseen {
            self.budgets.insert(scope, budget.saturating_sub(persons));
            account.entitlement.first_used_at.get_or_insert(self.now);
        }
        let limits = limits(&rules, version, &self.venue);
        Outcome {
            decision,
            limits,
            counted_on,
            inside_delta,
            unseen,
        }
    }

    /// The rules that judge an entitlement, with their version. An exit is judged by none.
    fn rules_of(
        &self,
        entitlement: &Entitlement,
        direction: Direction,
    ) -> Result<(Option<i64>, Arc<Rules>), Decision> {
        if entitlement.home != self.union && direction == Direction::Entry {
            return Err(Decision::Ask {
                reason: Reason::UnknownEntitlement,
            });
        }
        let (version, missing) = match &entitlement.grant {
            Grant::Granted(word) => (Some(word.rules_version), Reason::Internal),
            Grant::Unseen | Grant::Blocked => (
                self.rules.newest.get(&entitlement.scope).copied(),
                Reason::UnknownEntitlement,
            ),
        };
        if direction == Direction::Exit {
            return Ok((version, Arc::new(Rules::unlimited())));
        }
        let found =
            version.and_then(|version| self.rules.versions.get(&(entitlement.scope, version)));
        match found {
            Some(Ok(rules)) => Ok((version, Arc::clone(rules))),
            Some(Err(error)) => Err(error.decision()),
            None => Err(Decision::Ask { reason: missing }),
        }
    }

    fn enter_or_leave(&self, account: &mut Account, direction: Direction, persons: u32) -> i32 {
        if !self.venue.tracks_exits {
            return 0;
        }
        let delta = match direction {
            Direction::Entry => i32::try_from(persons).unwrap_or(i32::MAX),
            Direction::Exit => -i32::try_from(persons.min(account.inside)).unwrap_or(i32::MAX),
        };
        account.inside = shifted(account.inside, delta);
        if direction == Direction::Exit {
            account.stayed = false;
        }
        delta
    }
}

impl Outcome {
    fn of(decision: Decision, counted_on: NaiveDate) -> Self {
        Self {
            decision,
            limits: Limits::default(),
            counted_on,
            inside_delta: 0,
            unseen: false,
        }
    }
}

fn shifted(count: u32, delta: i32) -> u32 {
    count.saturating_add_signed(delta)
}

fn count(history: &mut History, is_today: bool, persons: u32) {
    let add = |sum: &mut u32| *sum = sum.saturating_add(persons);
    let day = if is_today {
        &mut history.today
    } else {
        &mut history.yesterday
    };
    add(&mut day.here);
    add(&mut day.everywhere);
    add(&mut history.here);
    add(&mut history.province);
    add(&mut history.total);
}

fn limits(rules: &Rules, rules_version: Option<i64>, venue: &VenueFacts) -> Limits {
    let here = rules.limits_at(venue.id);
    let province = rules.province_totals.of(venue.province);
    Limits {
        rules_version,
        day_here: here.daily,
        day: rules.daily,
        here: here.total,
        total: match (rules.total, province) {
            (Some(total), Some(province)) => Some(total.min(province)),
            (total, province) => total.or(province),
        },
    }
}
