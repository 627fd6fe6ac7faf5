//! An order: a promise to pay, from its request to its end. Only billing ends one.

use chrono::{DateTime, Utc};
use kit::types::{Fen, MemberId, OrderId, OrganisationId};
use uuid::Uuid;

use super::number::OrderNumber;

/// Who pays.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Payer {
    Member(MemberId),
    Organisation(OrganisationId),
}

/// Why an order ends without having been paid for, or is given back as a whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum CloseReason {
    /// Nobody paid in time.
    Expired,
    /// The payer did not want it any longer.
    Cancelled,
    /// The seller no longer holds what it is for.
    HoldLapsed,
    /// The seller cannot give what was sold.
    Refused,
}

impl CloseReason {
    pub const ALL: [Self; 4] = [
        Self::Expired,
        Self::Cancelled,
        Self::HoldLapsed,
        Self::Refused,
    ];

    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Expired => "expired",
            Self::Cancelled => "cancelled",
            Self::HoldLapsed => "hold_lapsed",
            Self::Refused => "refused",
        }
    }

    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|reason| reason.as_str() == text)
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum OrderState {
    /// Can be paid, unless it is being closed.
    Open {
        closing: Option<CloseReason>,
    },
    Paid {
        at: DateTime<Utc>,
    },
    /// Ended. It was paid before when it was given back as a whole.
    Closed {
        at: DateTime<Utc>,
        reason: CloseReason,
        paid_at: Option<DateTime<Utc>>,
    },
}

/// An order as it stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Order {
    pub id: OrderId,
    pub version: i64,
    pub number: OrderNumber,
    pub payer: Payer,
    /// The selling service.
    pub seller: String,
    pub revision: i64,
    /// Binds the lines: what was asked for is what is paid.
    pub content_hash: Vec<u8>,
    pub total: Fen,
    pub state: OrderState,
    /// Why the seller cannot give what was sold.
    pub refused: Option<String>,
    /// Returns taken on.
    pub returned: Fen,
    /// Returns whose money has gone back.
    pub refunded: Fen,
    pub created_at: DateTime<Utc>,
    pub close_at: DateTime<Utc>,
}

/// A source that money comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Source {
    /// 个人自付
    SelfPaid,
    /// 会费
    Dues,
    /// 工会经费
    UnionFunds,
    /// 单位行政
    Employer,
}

impl Source {
    pub const ALL: [Self; 4] = [Self::SelfPaid, Self::Dues, Self::UnionFunds, Self::Employer];

    pub const fn as_str(self) -> &'static str {
        match self {
            Self::SelfPaid => "self",
            Self::Dues => "dues",
            Self::UnionFunds => "union_funds",
            Self::Employer => "employer",
        }
    }

    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|source| source.as_str() == text)
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ShareState {
    Open,
    Paid,
    Released,
}

impl ShareState {
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::Paid => "paid",
            Self::Released => "released",
        }
    }

    pub fn parse(text: &str) -> Option<Self> {
        [Self::Open, Self::Paid, Self::Released]
            .into_iter()
            .find(|one| one.as_str() == text)
    }
}

/// A part of a line's price: who pays it, from what, by when.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Share {
    pub ordinal: i32,
    pub source: Source,
    pub payer: Payer,
    pub fen: Fen,
    pub pay_by: DateTime<Utc>,
    pub state: ShareState,
    pub returned: Fen,
}

/// One person, one thing, one price.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line {
    pub id: Uuid,
    pub member: MemberId,
    pub item: String,
    pub product: Uuid,
    pub entitlement: i64,
    pub title_zh: String,
    pub title_en: String,
    pub price: Fen,
    pub returned: Fen,
}

/// The order ended before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AlreadyEnded;

/// More would go back than was paid and not yet returned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Overdrawn;

/// What money that came in is to the order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Received {
    /// It pays the order.
    ForOrder(Order),
    /// The order is paid or closed: it goes back in full.
    Late(Order),
}

impl Order {
    /// What has been paid and kept or given back; zero while nothing came.
    pub fn paid(&self) -> Fen {
        match &self.state {
            OrderState::Paid { .. }
            | OrderState::Closed {
                paid_at: Some(_), ..
            } => self.total,
            OrderState::Open { .. } | OrderState::Closed { paid_at: None, .. } => Fen::ZERO,
        }
    }

    pub fn paid_at(&self) -> Option<DateTime<Utc>> {
        match &self.state {
            OrderState::Paid { at } => Some(*at),
            OrderState::Closed { paid_at, .. } => *paid_at,
            OrderState::Open { .. } => None,
        }
    }

    fn become_state(self, state: OrderState) -> Self {
        Self {
            state,
            version: self.version + 1,
            ..self
        }
    }

    /// The full amount came in at `at`. What comes while the order is being closed still pays.
    pub fn receive(self, at: DateTime<Utc>) -> Received {
        match self.state {
            OrderState::Open { .. } => {
                Received::ForOrder(self.become_state(OrderState::Paid { at }))
            }
            OrderState::Paid { .. } | OrderState::Closed { .. } => Received::Late(self),
        }
    }

    /// It is to be closed: from now on nobody can begin to pay it. The first reason stays.
    ///
    /// # Errors
    /// When it ended before.
    pub fn begin_closing(self, reason: CloseReason) -> Result<Self, AlreadyEnded> {
        match self.state {
            OrderState::Open { closing: None } => Ok(self.become_state(OrderState::Open {
                closing: Some(reason),
            })),
            OrderState::Open { closing: Some(_) } => Ok(self),
            OrderState::Paid { .. } | OrderState::Closed { .. } => Err(AlreadyEnded),
        }
    }

    /// Nothing can be paid for it any longer: it ends.
    ///
    /// # Errors
    /// When it ended before.
    pub fn close(self, at: DateTime<Utc>) -> Result<Self, AlreadyEnded> {
        match self.state {
            OrderState::Open { closing } => {
                let reason = closing.unwrap_or(CloseReason::Expired);
                Ok(self.become_state(OrderState::Closed {
                    at,
                    reason,
                    paid_at: None,
                }))
            }
            OrderState::Paid { .. } | OrderState::Closed { .. } => Err(AlreadyEnded),
        }
    }

    /// A return of `fen` is taken on.
    ///
    /// # Errors
    /// When more would go back than was paid and not yet returned.
    pub fn take_back(self, fen: Fen) -> Result<Self, Overdrawn> {
        let returned = self.returned.add(fen).map_err(|_| Overdrawn)?;
        if returned > self.paid() {
            return Err(Overdrawn);
        }
        Ok(Self {
            returned,
            version: self.version + 1,
            ..self
        })
    }

    /// The money of a return has gone back.
    ///
    /// # Errors
    /// When that return was never taken on.
    pub fn gave_back(self, fen: Fen) -> Result<Self, Overdrawn> {
        let refunded = self.refunded.add(fen).map_err(|_| Overdrawn)?;
        if refunded > self.returned {
            return Err(Overdrawn);
        }
        Ok(Self {
            refunded,
            version: self.version + 1,
            ..self
        })
    }

    /// The seller cannot give what was sold; the first reason stays.
    #[must_use]
    pub fn refuse(self, reason: &str) -> Self {
        match self.refused {
            Some(_) => self,
            None => Self {
                refused: Some(reason.to_owned()),
                version: self.version + 1,
                ..self
            },
        }
    }

    /// A refused order whose money has all gone back ends; `None` while it does not.
    pub fn end_refused(self, at: DateTime<Utc>) -> Option<Self> {
        match self.state {
            OrderState::Paid { at: paid_at }
                if self.refused.is_some() && self.refunded == self.total =>
            {
                let reason = CloseReason::Refused;
                let state = OrderState::Closed {
                    at,
                    reason,
                    paid_at: Some(paid_at),
                };
                Some(self.become_state(state))
            }
            OrderState::Paid { .. } | OrderState::Open { .. } | OrderState::Closed { .. } => None,
        }
    }
}

/// The sum of the lines' prices.
///
/// # Errors
/// When it exceeds what an amount can be.
pub fn request_total(lines: &[Line]) -> Result<Fen, kit::types::FenError> {
    lines
        .iter()
        .try_fold(Fen::ZERO, |sum, line| sum.add(line.price))
}

/// Splits what goes back of a line over its shares, by what each still has, so that no source
/// gets back more than it gave.
pub fn spread(fen: Fen, shares: &[Share]) -> Vec<Fen> {
    let left: Vec<Fen> = shares
        .iter()
        .map(|share| share.fen.sub(share.returned).unwrap_or(Fen::ZERO))
        .collect();
    fen.split(&left)
}

#[cfg(test)]
mod tests {
    use kit::types::Union;
    use proptest::prelude::*;

    use super::*;

    fn fen(n: i64) -> Fen {
        Fen::new(n).unwrap()
    }

    fn at(seconds: i64) -> DateTime<Utc> {
        DateTime::from_timestamp(1_775_008_800 + seconds, 0).unwrap()
    }

    fn order(total: i64) -> Order {
        let date = chrono::NaiveDate::from_ymd_opt(2026, 4, 1).unwrap();
        Order {
            id: OrderId(Uuid::from_u128(1)),
            version: 1,
            number: OrderNumber::new(Union::Chongqing, date, 1),
            payer: Payer::Member(MemberId(Uuid::from_u128(2))),
            seller: "passes".to_owned(),
            revision: 1,
            content_hash: vec![0; 32],
            total: fen(total),
            state: OrderState::Open { closing: None },
            refused: None,
            returned: Fen::ZERO,
            refunded: Fen::ZERO,
            created_at: at(0),
            close_at: at(900),
        }
    }

    #[test]
    fn money_pays_once_and_comes_back_when_late() {
        let Received::ForOrder(paid) = order(100).receive(at(5)) else {
            panic!("not paid")
        };
        assert_eq!((paid.paid(), paid.version), (fen(100), 2));
        assert!(matches!(paid.clone().receive(at(6)), Received::Late(same) if same == paid));
        assert_eq!(paid.close(at(7)), Err(AlreadyEnded));
        let closed = order(100).close(at(5)).unwrap();
        assert!(matches!(closed.receive(at(6)), Received::Late(_)));
    }

    #[test]
    fn what_comes_while_closing_still_pays_and_the_first_reason_stays() {
        let closing = order(1).begin_closing(CloseReason::Cancelled).unwrap();
        let again = closing.clone().begin_closing(CloseReason::Expired).unwrap();
        assert_eq!(again, closing);
        assert!(matches!(
            closing.clone().receive(at(1)),
            Received::ForOrder(_)
        ));
        let closed = closing.close(at(2)).unwrap();
        assert!(matches!(
            closed.state,
            OrderState::Closed {
                reason: CloseReason::Cancelled,
                ..
            }
        ));
    }

    #[test]
    fn a_refused_order_ends_when_all_its_money_is_back() {
        let Received::ForOrder(paid) = order(100).receive(at(5)) else {
            panic!("not paid")
        };
        let refused = paid.refuse("LAPSED").refuse("OTHER");
        assert_eq!(refused.refused.as_deref(), Some("LAPSED"));
        let taken = refused.take_back(fen(100)).unwrap();
        assert_eq!(taken.clone().end_refused(at(6)), None);
        let back = taken.gave_back(fen(100)).unwrap();
        let ended = back.end_refused(at(7)).unwrap();
        assert_eq!(ended.paid(), fen(100));
        assert!(matches!(
            ended.state,
            OrderState::Closed {
                reason: CloseReason::Refused,
                ..
            }
        ));
    }

    #[test]
    fn nothing_goes_back_that_was_not_paid() {
        assert_eq!(order(100).take_back(fen(1)), Err(Overdrawn));
        let Received::ForOrder(paid) = order(100).receive(at(5)) else {
            panic!("not paid")
        };
        assert_eq!(paid.clone().take_back(fen(101)), Err(Overdrawn));
        assert_eq!(paid.gave_back(fen(1)), Err(Overdrawn));
    }

    proptest! {
        /// Whatever returns are asked for, those taken on never exceed what was paid, and those
        /// done never exceed those taken on.
        #[test]
        fn refunds_stay_within_payments(
            total in 0_i64..1_000, asks in proptest::collection::vec(0_i64..400, 0..12)
        ) {
            let Received::ForOrder(mut order) = order(total).receive(at(1)) else {
                return Err(TestCaseError::fail("not paid"));
            };
            for ask in asks {
                match order.clone().take_back(fen(ask)) {
                    Ok(taken) => order = taken.gave_back(fen(ask)).unwrap(),
                    Err(Overdrawn) => prop_assert!(order.returned.get() + ask > total),
                }
                prop_assert!(order.refunded <= order.returned && order.returned <= order.paid());
            }
        }

        /// However often a line is returned in part, each source gets back what it gave and not
        /// a fen more.
        #[test]
        fn sources_get_back_what_they_gave(
            gave in proptest::collection::vec(0_i64..500, 1..5),
            parts in proptest::collection::vec(1_i64..200, 0..10)
        ) {
            let mut shares: Vec<Share> = gave.iter().zip(0..).map(|(&n, ordinal)| Share {
                ordinal,
                source: Source::SelfPaid,
                payer: Payer::Member(MemberId(Uuid::nil())),
                fen: fen(n),
                pay_by: at(0),
                state: ShareState::Paid,
                returned: Fen::ZERO,
            }).collect();
            let mut left: i64 = gave.iter().sum();
            for part in parts.into_iter().map(|part| part.min(left)).collect::<Vec<_>>() {
                let part = part.min(left);
                let split = spread(fen(part), &shares);
                prop_assert_eq!(split.iter().map(|one| one.get()).sum::<i64>(), part);
                for (share, back) in shares.iter_mut().zip(split) {
                    share.returned = share.returned.add(back).unwrap();
                    prop_assert!(share.returned <= share.fen);
                }
                left -= part;
            }
        }
    }
}
