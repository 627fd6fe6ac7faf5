//! The desk: everything a batch of scans at some venues is decided on, loaded and locked before,
//! and changed in memory with each admission, so that the next scan of the same batch sees it,
//! at whichever venue.
//!
//! It asks `credential::rules::decide`, the same code that runs at gates, and adds only what a
//! server alone knows: who is inside, what is unseen, and how much of a budget is left.

use std::collections::BTreeMap;
use std::sync::Arc;

use chrono::{DateTime, NaiveDate, Utc};
use credential::rules::{
    DayUses, Decision, Direction, Form, History, Mode, Presence, Presented, Reason, Rules,
    RulesError, Scan, VenueFacts, decide,
};
use credential::token::Token;
use kit::types::{EntitlementId, Union, VenueId, shanghai_date};

use super::entitlement::{Entitlement, Grant};
use super::redemption::Limits;
use super::scan::Attempt;

/// See the module.
#[derive(Clone, Debug)]
pub struct Desk {
    pub now: DateTime<Utc>,
    /// The union whose venues they are: only its own products' rules are in the book.
    pub union: Union,
    pub places: BTreeMap<VenueId, Place>,
    pub accounts: BTreeMap<EntitlementId, Account>,
    pub rules: RuleBook,
    /// People that each scope may still admit on a signature alone this hour.
    pub budgets: BTreeMap<u32, u32>,
}

/// One venue.
#[derive(Clone, Debug)]
pub struct Place {
    pub facts: VenueFacts,
    /// People inside at once, at most.
    pub capacity: Option<u32>,
    /// People inside today, where exits are scanned.
    pub inside: u32,
}

/// Where at a venue somebody is scanned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Door {
    /// What a credential's home gate means: 1 to 255.
    pub number: u8,
    /// Nobody stands there.
    pub unattended: bool,
}

/// One entitlement: its entries that count, everywhere and at each venue.
#[derive(Clone, Debug)]
pub struct Account {
    pub entitlement: Entitlement,
    pub everywhere: Uses,
    pub here: BTreeMap<VenueId, Visits>,
}

/// Persons let in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Uses {
    pub today: u32,
    pub yesterday: u32,
    pub total: u32,
}

/// What one venue has seen of an entitlement.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Visits {
    pub uses: Uses,
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
    /// Decides one scan at this door, and remembers it.
    pub fn scan(&mut self, attempt: &Attempt, door: Door) -> Outcome {
        let today = shanghai_date(self.now);
        let token = match attempt.shown {
            Ok(token) => token,
            Err(reason) => return Outcome::of(Decision::deny(reason, self.now), today),
        };
        let id = EntitlementId(token.claims().entitlement_id);
        let found = (self.accounts.get(&id), self.places.get(&attempt.venue));
        let (Some(account), Some(place)) = found else {
            // Only an issuer of no union gets here: its tokens verify nowhere in production.
            return Outcome::of(Decision::deny(Reason::UnknownKey, self.now), today);
        };
        let entitlement = &account.entitlement;
        if attempt.entitlement() != Some((id, entitlement.home, entitlement.scope)) {
            // A proper key, but of an issuer or for a product that this entitlement is not of.
            return Outcome::of(Decision::deny(Reason::UnknownKey, self.now), today);
        }
        let visits = account.here.get(&attempt.venue).copied();
        let visits = visits.unwrap_or_default();
        let outcome = self.judge((account, &visits), place, attempt, (token, door));
        if let Decision::Admit { counted_on, .. } = outcome.decision {
            self.admitted(id, attempt, &outcome, counted_on == today);
        }
        outcome
    }

    fn judge(
        &self,
        (account, visits): (&Account, &Visits),
        place: &Place,
        attempt: &Attempt,
        (token, door): (Token, Door),
    ) -> Outcome {
        let today = shanghai_date(self.now);
        let (version, rules) = match self.rules_of(&account.entitlement, attempt.direction) {
            Ok(found) => found,
            Err(decision) => return Outcome::of(decision, today),
        };
        let scope = account.entitlement.scope;
        let budget = self.budgets.get(&scope).copied().unwrap_or(0);
        let facts = account.entitlement.facts(Some(&token), budget);
        let full = visits.inside >= u32::from(facts.persons).max(1);
        let inside = match attempt.direction {
            Direction::Entry => full,
            Direction::Exit => visits.inside > 0 || visits.stayed,
        };
        let presence = if inside {
            Presence::Inside
        } else {
            Presence::Outside
        };
        let mut venue = place.facts.clone();
        venue.vacancies = place
            .capacity
            .map(|capacity| capacity.saturating_sub(place.inside));
        let scan = Scan {
            direction: attempt.direction,
            persons: attempt.persons,
            presented: Presented::Token {
                token,
                form: Form::Static,
            },
            gate: door.number,
            unattended: door.unattended,
            mode: Mode::Online,
            // The server's own clock decides.
            clock_trusted: true,
            document: attempt.document,
        };
        let history = history(account, visits, presence);
        let decision = decide(&rules, &facts, &history, &venue, self.now, &scan);
        let limits = limits(&rules, (version, facts.persons), &venue);
        let Decision::Admit { counted_on, .. } = decision else {
            return Outcome {
                limits,
                ..Outcome::of(decision, today)
            };
        };
        let is_entry = attempt.direction == Direction::Entry;
        Outcome {
            decision,
            limits,
            counted_on,
            inside_delta: inside_delta(place, visits, attempt),
            unseen: is_entry && account.entitlement.grant == Grant::Unseen,
        }
    }

    /// Remembers an admission.
    fn admitted(
        &mut self,
        id: EntitlementId,
        attempt: &Attempt,
        outcome: &Outcome,
        is_today: bool,
    ) {
        let found = (
            self.accounts.get_mut(&id),
            self.places.get_mut(&attempt.venue),
        );
        let (Some(account), Some(place)) = found else {
            return;
        };
        place.inside = shifted(place.inside, outcome.inside_delta);
        let visits = account.here.entry(attempt.venue).or_default();
        if place.facts.tracks_exits {
            visits.inside = shifted(visits.inside, outcome.inside_delta);
            visits.stayed &= attempt.direction == Direction::Entry;
        }
        let persons = u32::from(attempt.persons.get());
        if attempt.direction == Direction::Entry {
            visits.uses.count(is_today, persons);
            account.everywhere.count(is_today, persons);
        }
        if outcome.unseen {
            let budget = self.budgets.entry(account.entitlement.scope).or_default();
            *budget = budget.saturating_sub(persons);
            account.entitlement.first_used_at.get_or_insert(self.now);
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
}

impl Account {
    /// One that has been nowhere.
    pub fn new(entitlement: Entitlement) -> Self {
        Self {
            entitlement,
            everywhere: Uses::default(),
            here: BTreeMap::new(),
        }
    }

    /// Takes in what one venue has counted; each venue once.
    pub fn visited(&mut self, venue: VenueId, uses: Uses) {
        self.here.entry(venue).or_default().uses = uses;
        let add = |sum: &mut u32, count: u32| *sum = sum.saturating_add(count);
        add(&mut self.everywhere.today, uses.today);
        add(&mut self.everywhere.yesterday, uses.yesterday);
        add(&mut self.everywhere.total, uses.total);
    }
}

impl Uses {
    fn count(&mut self, is_today: bool, persons: u32) {
        let day = if is_today {
            &mut self.today
        } else {
            &mut self.yesterday
        };
        *day = day.saturating_add(persons);
        self.total = self.total.saturating_add(persons);
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

/// By how much a scan that is admitted changes the number of people inside.
fn inside_delta(place: &Place, visits: &Visits, attempt: &Attempt) -> i32 {
    if !place.facts.tracks_exits {
        return 0;
    }
    let persons = u32::from(attempt.persons.get());
    match attempt.direction {
        Direction::Entry => i32::try_from(persons).unwrap_or(i32::MAX),
        Direction::Exit => -i32::try_from(persons.min(visits.inside)).unwrap_or(i32::MAX),
    }
}

/// An account as the rules of one venue look at it.
fn history(account: &Account, visits: &Visits, presence: Presence) -> History {
    let (here, everywhere) = (&visits.uses, &account.everywhere);
    History {
        today: DayUses {
            here: here.today,
            everywhere: everywhere.today,
        },
        yesterday: DayUses {
            here: here.yesterday,
            everywhere: everywhere.yesterday,
        },
        here: here.total,
        // Every venue of this union lies in its province.
        province: everywhere.total,
        total: everywhere.total,
        presence,
    }
}

fn limits(rules: &Rules, (version, persons): (Option<i64>, u16), venue: &VenueFacts) -> Limits {
    let here = rules.limits_at(venue.id);
    let province = rules.province_totals.of(venue.province);
    Limits {
        rules_version: version,
        persons: Some(persons),
        day_here: here.daily,
        day: rules.daily,
        here: here.total,
        total: match (rules.total, province) {
            (Some(total), Some(province)) => Some(total.min(province)),
            (total, province) => total.or(province),
        },
    }
}
