//! The sale of one pass to one member: is it on sale to her now, is one left, may she have it.
//! The same function decides a single purchase and each of a lane's batch.

use chrono::{DateTime, TimeDelta, Utc};
use credential::dates::DateRange;
use kit::types::{EntitlementId, MemberId, OrderId, shanghai_date};
use uuid::Uuid;

use super::pass::{Hold, Life, Pass, State, Usable};
use super::product::{Product, ProductState};
use super::terms::Terms;
use crate::error::Refusal;

/// What is on sale: a product and its published terms.
#[derive(Clone, Copy, Debug)]
pub struct Offer<'a> {
    pub product: &'a Product,
    pub terms: &'a Terms,
}

/// What is left of a product, all versions together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stock {
    /// `None` without limit.
    pub limit: Option<u32>,
    /// Awaiting payment.
    pub held: u64,
    /// Paid for, whatever became of it.
    pub sold: u64,
}

impl Stock {
    /// How many can still be bought.
    pub fn left(&self) -> Option<u64> {
        self.limit
            .map(|limit| u64::from(limit).saturating_sub(self.held + self.sold))
    }
}

/// What the buyer has of this product, renewals apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Buyer {
    pub member: MemberId,
    pub bought: u32,
    /// Whether she is a member of a union today, as far as is known here.
    pub is_member: bool,
}

/// The pass that is to be continued, and whether another one continues it already.
#[derive(Clone, Debug)]
pub struct Renewal {
    pub pass: Pass,
    pub renewed: bool,
}

/// The ids of what is to be made, and when it is to be closed unless it is paid.
#[derive(Clone, Copy, Debug)]
pub struct NewPass {
    pub id: EntitlementId,
    pub order: OrderId,
    pub line: Uuid,
    pub close_at: DateTime<Utc>,
}

impl Offer<'_> {
    /// Sells one: counts it against the stock and the buyer's limit, and makes the pass that
    /// awaits payment. On a refusal nothing is counted.
    ///
    /// # Errors
    /// Why she cannot have it.
    pub fn sell(
        &self,
        stock: &mut Stock,
        buyer: &mut Buyer,
        renewal: Option<&Renewal>,
        (new, now): (NewPass, DateTime<Utc>),
    ) -> Result<Pass, Refusal> {
        let current = self.open(now)?;
        if !buyer.is_member {
            return Err(Refusal::NotAMember);
        }
        if let Some(renewal) = renewal {
            self.renewable(renewal, now)?;
        } else if self
            .terms
            .member_limit
            .is_some_and(|limit| buyer.bought >= limit)
        {
            return Err(Refusal::MemberLimitReached);
        }
        if stock.left() == Some(0) {
            return Err(Refusal::SoldOut);
        }
        stock.held += 1;
        if renewal.is_none() {
            buyer.bought += 1;
        }
        Ok(Pass {
            id: new.id,
            version: 1,
            product: self.product.id,
            product_version: current,
            scope: self.product.scope,
            member: buyer.member,
            order: new.order,
            line: new.line,
            price: self.terms.price,
            renews: renewal.map(|renewal| renewal.pass.id),
            bought_at: now,
            close_at: new.close_at,
            state: State::AwaitingPayment(Hold::Held),
            refused: None,
            generation: 0,
        })
    }

    /// The version on sale now.
    fn open(&self, now: DateTime<Utc>) -> Result<u32, Refusal> {
        let ProductState::OnSale { current } = self.product.state else {
            return Err(Refusal::NotOnSale);
        };
        if self.terms.sale_from.is_some_and(|from| now < from) {
            return Err(Refusal::SaleNotOpen);
        }
        if self.terms.sale_until.is_some_and(|until| now >= until) {
            return Err(Refusal::SaleOver);
        }
        Ok(current)
    }

    fn renewable(&self, renewal: &Renewal, now: DateTime<Utc>) -> Result<(), Refusal> {
        let days = self.terms.renewal_days.ok_or(Refusal::NotRenewable)?;
        if renewal.pass.product != self.product.id {
            return Err(Refusal::NotRenewable);
        }
        let window = renewal.pass.running().ok_or(Refusal::NotRenewable)?;
        if now < window.until() - TimeDelta::days(i64::from(days)) {
            return Err(Refusal::RenewalTooEarly);
        }
        if renewal.renewed {
            Err(Refusal::AlreadyRenewed)
        } else {
            Ok(())
        }
    }
}

impl Pass {
    /// The window of a pass that a renewal can continue: one that is or was in use to its end.
    fn running(&self) -> Option<DateRange> {
        match &self.state {
            State::Paid {
                life: Life::Usable(Usable::Active { window }),
                ..
            }
            | State::Paid {
                life: Life::Frozen { window, .. },
                ..
            } => Some(*window),
            State::AwaitingPayment(_) | State::Lapsed | State::Paid { .. } => None,
        }
    }

    /// Where the pass that renews this one begins when it is paid at `paid`: at this one's end
    /// while that is still to come, else `None`: anew, as a first purchase does.
    pub fn continued_from(&self, paid: DateTime<Utc>) -> Option<chrono::NaiveDate> {
        self.running()
            .map(DateRange::end)
            .filter(|end| *end > shanghai_date(paid))
    }
}
