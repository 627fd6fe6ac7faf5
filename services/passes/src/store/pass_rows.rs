//! A pass as a row, with the last request for its refund beside it.

use chrono::{DateTime, NaiveDate, Utc};
use credential::dates::DateRange;
use kit::types::{EntitlementId, Fen, MemberId, OrderId};
use kit::{Error, Result};
use sea_orm::FromQueryResult;
use uuid::Uuid;

use crate::domain::{
    Cause, Freeze, Hold, Life, Pass, ProductId, Refund, RefundState, State, Usable,
};
use crate::error::Refusal;

/// What [`PassRow`] reads, of `pass p LEFT JOIN refund r`.
pub const COLUMNS: &str = "p.id, p.version, p.product, p.product_version, p.scope, p.member, \
    p.order_id, p.line_id, p.price_fen, p.renews, p.bought_at, p.close_at, p.state, p.hold, \
    p.paid_at, p.activate_by, p.start_date, p.end_date, p.reason, p.generation, \
    r.ordinal AS r_ordinal, \
    r.cause AS r_cause, r.requested_at AS r_requested_at, r.state AS r_state, \
    r.freeze_version AS r_freeze_version, r.answered AS r_answered, r.uses AS r_uses, \
    r.fee_fen AS r_fee_fen, r.refund_fen AS r_refund_fen, r.refusal AS r_refusal";

#[derive(Clone, Debug, FromQueryResult)]
pub struct PassRow {
    id: i64,
    version: i64,
    product: Uuid,
    product_version: i32,
    scope: i32,
    member: Uuid,
    order_id: Uuid,
    line_id: Uuid,
    price_fen: i64,
    renews: Option<i64>,
    bought_at: DateTime<Utc>,
    close_at: DateTime<Utc>,
    state: String,
    hold: Option<String>,
    paid_at: Option<DateTime<Utc>>,
    activate_by: Option<NaiveDate>,
    start_date: Option<NaiveDate>,
    end_date: Option<NaiveDate>,
    reason: Option<String>,
    generation: i16,
    r_ordinal: Option<i32>,
    r_cause: Option<String>,
    r_requested_at: Option<DateTime<Utc>>,
    r_state: Option<String>,
    r_freeze_version: Option<i64>,
    r_answered: Option<bool>,
    r_uses: Option<i32>,
    r_fee_fen: Option<i64>,
    r_refund_fen: Option<i64>,
    r_refusal: Option<String>,
}

fn broken(what: &'static str) -> Error {
    Error::internal(format!("a pass row is inconsistent: {what}"))
}

fn number(value: i32) -> Result<u32> {
    u32::try_from(value).map_err(|_| broken("a negative number"))
}

fn fen(value: Option<i64>) -> Result<Fen> {
    value
        .and_then(|fen| Fen::new(fen).ok())
        .ok_or_else(|| broken("an amount"))
}

impl PassRow {
    /// The pass.
    ///
    /// # Errors
    /// When the row is inconsistent.
    pub fn pass(self) -> Result<Pass> {
        let refund = self.refund()?;
        let refused = refund
            .clone()
            .filter(|refund| matches!(refund.state, RefundState::Refused { .. }));
        Ok(Pass {
            id: EntitlementId::from_i64(self.id),
            version: self.version,
            product: ProductId(self.product),
            product_version: number(self.product_version)?,
            scope: number(self.scope)?,
            member: MemberId(self.member),
            order: OrderId(self.order_id),
            line: self.line_id,
            price: fen(Some(self.price_fen))?,
            renews: self.renews.map(EntitlementId::from_i64),
            bought_at: self.bought_at,
            close_at: self.close_at,
            state: self.domain_state(refund)?,
            refused,
            generation: u8::try_from(self.generation).map_err(|_| broken("a generation"))?,
        })
    }

    fn domain_state(&self, refund: Option<Refund>) -> Result<State> {
        match (self.state.as_str(), self.paid_at) {
            ("awaiting_payment", None) => Ok(State::AwaitingPayment(self.held()?)),
            ("lapsed", None) => Ok(State::Lapsed),
            (_, Some(at)) => Ok(State::Paid {
                at,
                life: self.life(refund)?,
            }),
            _ => Err(broken("state and payment")),
        }
    }

    fn held(&self) -> Result<Hold> {
        match self.hold.as_deref() {
            Some("held") => Ok(Hold::Held),
            Some("lapsed") => Ok(Hold::Lapsed),
            Some("refused") => Ok(Hold::Refused),
            _ => Err(broken("a hold")),
        }
    }

    fn life(&self, refund: Option<Refund>) -> Result<Life> {
        let reason = || self.reason.clone().ok_or_else(|| broken("no reason"));
        let window = || self.window().ok_or_else(|| broken("no window"));
        let asked = || refund.clone().ok_or_else(|| broken("no refund"));
        Ok(match self.state.as_str() {
            "ready" | "active" => Life::Usable(self.usable()?),
            "frozen" => Life::Frozen {
                window: window()?,
                reason: reason()?,
            },
            "refunding"
                if refund
                    .as_ref()
                    .is_some_and(|one| one.cause == Cause::Voided) =>
            {
                Life::Voiding {
                    window: window()?,
                    reason: reason()?,
                    refund: asked()?,
                }
            }
            "refunding" => Life::Refunding {
                usable: self.usable()?,
                refund: asked()?,
            },
            "refunded" => Life::Refunded {
                usable: self.usable()?,
                refund: asked()?,
            },
            "voided" => Life::Voided {
                window: self.window(),
                reason: reason()?,
                refund: refund.filter(|refund| refund.cause == Cause::Voided),
            },
            "forfeited" => Life::Forfeited {
                activate_by: self.activate_by.ok_or_else(|| broken("no deadline"))?,
            },
            _ => return Err(broken("a state")),
        })
    }

    fn window(&self) -> Option<DateRange> {
        DateRange::new(self.start_date?, self.end_date?)
    }

    fn usable(&self) -> Result<Usable> {
        match (self.window(), self.activate_by) {
            (Some(window), _) => Ok(Usable::Active { window }),
            (None, Some(activate_by)) => Ok(Usable::Ready { activate_by }),
            (None, None) => Err(broken("neither window nor deadline")),
        }
    }

    fn refund(&self) -> Result<Option<Refund>> {
        let (Some(ordinal), Some(cause), Some(requested_at), Some(state)) = (
            self.r_ordinal,
            self.r_cause.as_deref(),
            self.r_requested_at,
            self.r_state.as_deref(),
        ) else {
            return Ok(None);
        };
        let cause = match cause {
            "holder" => Cause::Holder,
            "not_activated" => Cause::NotActivated,
            "voided" => Cause::Voided,
            _ => return Err(broken("a cause")),
        };
        let uses = self.r_uses.map(number).transpose()?;
        let counted = uses.unwrap_or(0);
        let state = match state {
            "counting" => RefundState::Counting {
                freeze: Freeze {
                    version: self.r_freeze_version.ok_or_else(|| broken("no freeze"))?,
                    counted: uses.filter(|_| self.r_answered == Some(true)),
                },
            },
            "returned" => RefundState::Returned {
                uses: counted,
                fee: fen(self.r_fee_fen)?,
                back: fen(self.r_refund_fen)?,
            },
            "done" => RefundState::Done {
                uses: counted,
                fee: fen(self.r_fee_fen)?,
                back: fen(self.r_refund_fen)?,
            },
            "refused" => RefundState::Refused {
                uses: counted,
                why: self
                    .r_refusal
                    .as_deref()
                    .and_then(Refusal::from_code)
                    .ok_or_else(|| broken("a refusal"))?,
            },
            _ => return Err(broken("a refund's state")),
        };
        Ok(Some(Refund {
            ordinal: number(ordinal)?,
            cause,
            requested_at,
            state,
        }))
    }
}

/// The name of a pass's state, and of its hold.
pub(super) const fn state_names(state: &State) -> (&'static str, &'static str) {
    match state {
        State::AwaitingPayment(Hold::Held) => ("awaiting_payment", "held"),
        State::AwaitingPayment(Hold::Lapsed) => ("awaiting_payment", "lapsed"),
        State::AwaitingPayment(Hold::Refused) => ("awaiting_payment", "refused"),
        State::Lapsed => ("lapsed", ""),
        State::Paid { life, .. } => (
            match life {
                Life::Usable(Usable::Ready { .. }) => "ready",
                Life::Usable(Usable::Active { .. }) => "active",
                Life::Frozen { .. } => "frozen",
                Life::Refunding { .. } | Life::Voiding { .. } => "refunding",
                Life::Refunded { .. } => "refunded",
                Life::Voided { .. } => "voided",
                Life::Forfeited { .. } => "forfeited",
            },
            "",
        ),
    }
}

/// A refund's columns.
pub(super) struct RefundColumns {
    pub(super) pass: i64,
    pub(super) ordinal: i32,
    pub(super) return_id: Uuid,
    pub(super) requested_at: String,
    pub(super) cause: &'static str,
    pub(super) state: &'static str,
    pub(super) freeze_version: i64,
    pub(super) answered: bool,
    /// Negative for none, as the two amounts.
    pub(super) uses: i64,
    pub(super) fee_fen: i64,
    pub(super) refund_fen: i64,
    pub(super) refusal: &'static str,
}

impl RefundColumns {
    pub(super) fn of(pass: &Pass, refund: &Refund) -> Result<Self> {
        let cause = match refund.cause {
            Cause::Holder => "holder",
            Cause::NotActivated => "not_activated",
            Cause::Voided => "voided",
        };
        let none = Self {
            pass: pass.id.to_i64(),
            ordinal: i32::try_from(refund.ordinal).map_err(|_| broken("an ordinal"))?,
            return_id: refund.return_id(pass.line),
            requested_at: refund.requested_at.to_rfc3339(),
            cause,
            state: "",
            freeze_version: 0,
            answered: false,
            uses: -1,
            fee_fen: -1,
            refund_fen: -1,
            refusal: "",
        };
        Ok(match refund.state {
            RefundState::Counting { freeze } => Self {
                state: "counting",
                freeze_version: freeze.version,
                answered: freeze.counted.is_some(),
                uses: freeze.counted.map_or(-1, i64::from),
                ..none
            },
            RefundState::Returned { uses, fee, back } => Self {
                state: "returned",
                uses: uses.into(),
                fee_fen: fee.get(),
                refund_fen: back.get(),
                ..none
            },
            RefundState::Done { uses, fee, back } => Self {
                state: "done",
                uses: uses.into(),
                fee_fen: fee.get(),
                refund_fen: back.get(),
                ..none
            },
            RefundState::Refused { uses, why } => Self {
                state: "refused",
                uses: uses.into(),
                refusal: why.code(),
                ..none
            },
        })
    }
}
