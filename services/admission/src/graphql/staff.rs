//! Shifts, figures and look-ups as the graph shows them.

use async_graphql::{Enum, ID, Object, SimpleObject};
use chrono::{DateTime, Utc};
use kit::graphql::{Date, GlobalId};
use kit::types::GateId;

use super::redemption::Redemption;
use super::stub::Pass;
use crate::commands::look_up::{Found, Use};
use crate::domain::entitlement::{Grant, State};
use crate::queries::Figure;
use crate::store::shift::Shift as ShiftRow;

/// Staff at work.
#[derive(Clone, Debug, SimpleObject)]
pub(super) struct Shift {
    /// Opaque.
    id: ID,
    /// The venue's id.
    venue_id: ID,
    /// The gate's id, when it is at one.
    gate_id: Option<ID>,
    /// When it began.
    opened_at: DateTime<Utc>,
    /// When it ends by itself.
    closes_at: DateTime<Utc>,
    /// When it ended.
    closed_at: Option<DateTime<Utc>>,
}

impl From<ShiftRow> for Shift {
    fn from(shift: ShiftRow) -> Self {
        Self {
            id: GlobalId::of_uuid("Shift", shift.id),
            venue_id: GlobalId::of_uuid("Venue", shift.venue.uuid()),
            gate_id: shift
                .gate
                .map(|gate: GateId| GlobalId::of_uuid("Gate", gate.uuid())),
            opened_at: shift.opened_at,
            closes_at: shift.closes_at,
            closed_at: shift.closed_at,
        }
    }
}

/// What happened at a gate in an hour.
#[derive(Clone, Debug, SimpleObject)]
pub(super) struct VenueFigure {
    /// The Shanghai date.
    day: Date,
    /// The hour, 0 to 23, Shanghai time.
    hour: i32,
    /// The gate's id.
    gate_id: ID,
    /// `entry`, `exit`, `override`, `void`, or `deny:` or `ask:` and the reason's code.
    what: String,
    /// How often.
    times: i64,
    /// How many persons.
    persons: i64,
}

impl From<Figure> for VenueFigure {
    fn from(figure: Figure) -> Self {
        Self {
            day: figure.day.into(),
            hour: figure.hour.into(),
            gate_id: GlobalId::of_uuid("Gate", figure.gate.uuid()),
            what: figure.what,
            times: figure.times,
            persons: figure.persons,
        }
    }
}

/// How a pass that staff looked up stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Enum)]
pub(super) enum LookedUpState {
    /// It was shown, and its granter has not spoken yet.
    Unconfirmed,
    /// Nobody answered for it in time.
    Blocked,
    /// It opens doors within its window.
    Active,
    /// It is held back for a time.
    Frozen,
    /// It was withdrawn for good.
    Revoked,
}

/// A pass that staff looked up: how it stands and its uses, never whose it is.
#[derive(Clone, Debug)]
pub(super) struct LookedUpPass(pub(super) Found);

/// A pass that staff looked up: how it stands and its uses, never whose it is.
#[Object]
impl LookedUpPass {
    /// The pass.
    async fn pass(&self) -> Pass {
        Pass::of(self.0.entitlement.id)
    }

    /// The number of the pass.
    async fn number(&self) -> String {
        self.0.entitlement.id.to_string()
    }

    /// How it stands.
    async fn state(&self) -> LookedUpState {
        match &self.0.entitlement.grant {
            Grant::Unseen => LookedUpState::Unconfirmed,
            Grant::Blocked => LookedUpState::Blocked,
            Grant::Granted(word) => match word.state {
                State::Active => LookedUpState::Active,
                State::Frozen => LookedUpState::Frozen,
                State::Revoked => LookedUpState::Revoked,
            },
        }
    }

    /// The instant from which it is valid.
    async fn valid_from(&self) -> Option<DateTime<Utc>> {
        match &self.0.entitlement.grant {
            Grant::Granted(word) => Some(word.valid_from.instant()),
            Grant::Unseen | Grant::Blocked => None,
        }
    }

    /// The first instant at which it is no longer valid.
    async fn valid_until(&self) -> Option<DateTime<Utc>> {
        match &self.0.entitlement.grant {
            Grant::Granted(word) => Some(word.valid_until.instant()),
            Grant::Unseen | Grant::Blocked => None,
        }
    }

    /// Whether its holder consents that uses at other companies' venues are among `uses`. Without
    /// that nobody can tell whether there are any.
    async fn shows_uses_elsewhere(&self) -> bool {
        self.0.elsewhere
    }

    /// Its newest uses, voided ones included, at most 20; those at other companies' venues only
    /// where its holder consents.
    #[graphql(complexity = "20 * child_complexity")]
    async fn uses(&self) -> Vec<Redemption> {
        let shown = |one: &Use| Redemption::seen(one.redemption.clone(), one.own);
        self.0.uses.iter().map(shown).collect()
    }
}
