//! Orders and their timelines.

use async_graphql::{ComplexObject, Context, Enum, ID, Object, Result, SimpleObject};
use chrono::{DateTime, Utc};
use kit::graphql::{Connection, Cursor, GlobalId, Money, Page, to_graphql};
use kit::types::{EntitlementId, MemberId};

use super::loader::{LinesOf, PaymentOf, RefundsOf, load};
use super::member::{Member, Organisation};
use super::payments::Payment;
use super::refunds::Refund;
use super::{graph, scope};
use crate::domain::{self, OrderNumber, Payer};
use crate::{queries, store};

/// The state of an order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Enum)]
pub enum OrderState {
    /// It waits to be paid.
    Open,
    /// It waits for the provider to say that nothing comes any longer.
    Closing,
    /// The money is here.
    Paid,
    /// It ended unpaid, or was given back as a whole.
    Closed,
}

/// Why an order ended or is ending.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Enum)]
#[graphql(remote = "domain::CloseReason")]
pub enum OrderCloseReason {
    /// Nobody paid in time.
    Expired,
    /// The payer did not want it any longer.
    Cancelled,
    /// The seller no longer held what it was for.
    HoldLapsed,
    /// The seller could not give what was sold.
    Refused,
}

/// A promise to pay.
#[derive(Debug, SimpleObject)]
#[graphql(complex)]
pub struct Order {
    #[graphql(skip)]
    pub(crate) order: domain::Order,
    /// The order's id.
    pub id: ID,
    /// 受理号: what people quote.
    pub number: String,
    /// What it waits for, or how it ended.
    pub state: OrderState,
    /// Why it ended or is ending unpaid.
    pub close_reason: Option<OrderCloseReason>,
    /// What there is to pay.
    pub total: Money,
    /// What has been paid for it.
    pub paid: Money,
    /// What of it has gone back.
    pub refunded: Money,
    /// When it was taken in.
    pub created_at: DateTime<Utc>,
    /// When it is closed if nobody has paid.
    pub close_at: DateTime<Utc>,
    /// When it was paid.
    pub paid_at: Option<DateTime<Utc>>,
    /// When it ended.
    pub closed_at: Option<DateTime<Utc>>,
}

impl From<domain::Order> for Order {
    fn from(order: domain::Order) -> Self {
        let (state, close_reason, closed_at) = match &order.state {
            domain::OrderState::Open { closing: None } => (OrderState::Open, None, None),
            domain::OrderState::Open {
                closing: Some(reason),
            } => (OrderState::Closing, Some(*reason), None),
            domain::OrderState::Paid { .. } => (OrderState::Paid, None, None),
            domain::OrderState::Closed { at, reason, .. } => {
                (OrderState::Closed, Some(*reason), Some(*at))
            }
        };
        Self {
            id: GlobalId::of_uuid("Order", order.id.0),
            number: order.number.to_string(),
            state,
            close_reason: close_reason.map(Into::into),
            total: order.total.into(),
            paid: order.paid().into(),
            refunded: order.refunded.into(),
            created_at: order.created_at,
            close_at: order.close_at,
            paid_at: order.paid_at(),
            closed_at,
            order,
        }
    }
}

/// One person, one thing, one price.
#[derive(Debug, SimpleObject)]
pub struct OrderLine {
    /// The line's id.
    pub id: ID,
    /// Whom it is for.
    pub member: Member,
    /// What it is, in the caller's language.
    pub title: String,
    /// What it costs.
    pub price: Money,
    /// What of it has gone back or is on its way.
    pub returned: Money,
    /// The pass it is for.
    pub pass: Option<Pass>,
}

/// An annual pass; its home is passes.
#[derive(Debug, SimpleObject)]
#[graphql(unresolvable)]
pub struct Pass {
    /// The pass's id.
    pub id: ID,
}

/// Something that happened to an order.
#[derive(Debug, SimpleObject)]
pub struct OrderStep {
    /// When it happened.
    pub at: DateTime<Utc>,
    /// For programs.
    pub code: &'static str,
    /// What happened, in the caller's language.
    pub what: &'static str,
    /// How much money it was about.
    pub amount: Option<Money>,
}

#[ComplexObject]
impl Order {
    /// Who pays, when it is a member.
    async fn member(&self) -> Option<Member> {
        match self.order.payer {
            Payer::Member(id) => Some(id.into()),
            Payer::Organisation(_) => None,
        }
    }

    /// Who pays, when it is an organisation.
    async fn organisation(&self) -> Option<Organisation> {
        match self.order.payer {
            Payer::Organisation(id) => Some(Organisation {
                id: GlobalId::of_uuid("Organisation", id.0),
            }),
            Payer::Member(_) => None,
        }
    }

    /// What it is for.
    #[graphql(complexity = "10 * child_complexity")]
    async fn lines(&self, ctx: &Context<'_>) -> Result<Vec<OrderLine>> {
        let (_, caller) = scope(ctx)?;
        let found = graph(caller, load(ctx, LinesOf(self.order.id)).await)?;
        let lines = found.unwrap_or_default();
        let line = |line: domain::Line| OrderLine {
            id: GlobalId::of_uuid("OrderLine", line.id),
            member: line.member.into(),
            title: caller
                .language
                .choose(&line.title_zh, &line.title_en)
                .to_owned(),
            price: line.price.into(),
            returned: line.returned.into(),
            pass: (line.item == "pass").then(|| Pass {
                id: GlobalId::of_entitlement("Pass", EntitlementId::from_i64(line.entitlement)),
            }),
        };
        Ok(lines.into_iter().map(line).collect())
    }

    /// The payment that succeeded, or else the last that was begun.
    async fn payment(&self, ctx: &Context<'_>) -> Result<Option<Payment>> {
        let (_, caller) = scope(ctx)?;
        let payment = graph(caller, load(ctx, PaymentOf(self.order.id)).await)?;
        Ok(payment.map(Into::into))
    }

    /// What went back, is on its way, or is to go, oldest first.
    async fn refunds(&self, ctx: &Context<'_>) -> Result<Vec<Refund>> {
        let (_, caller) = scope(ctx)?;
        let refunds = graph(caller, load(ctx, RefundsOf(self.order.id)).await)?;
        Ok(refunds
            .unwrap_or_default()
            .into_iter()
            .map(Into::into)
            .collect())
    }

    /// What happened to it, oldest first.
    #[graphql(complexity = "10 * child_complexity")]
    async fn timeline(&self, ctx: &Context<'_>) -> Result<Vec<OrderStep>> {
        let (billing, caller) = scope(ctx)?;
        let steps = store::steps(&billing.ctx.db, self.order.id)
            .await
            .map_err(|error| to_graphql(error, caller.language))?;
        let step = |(at, step, fen): (_, domain::Step, Option<kit::types::Fen>)| {
            let (zh, en) = step.texts();
            OrderStep {
                at,
                code: step.code(),
                what: caller.language.choose(zh, en),
                amount: fen.map(Into::into),
            }
        };
        Ok(steps.into_iter().map(step).collect())
    }
}

/// Reads of orders.
#[derive(Debug, Default)]
pub struct OrderQuery;

#[Object]
impl OrderQuery {
    /// An order of the caller's; operators see every one.
    async fn order(&self, ctx: &Context<'_>, id: ID) -> Result<Option<Order>> {
        let (_, caller) = scope(ctx)?;
        graph(caller, find(ctx, &id).await)
    }

    /// The caller's orders, newest first.
    #[graphql(complexity = "first.or(last).unwrap_or(1).clamp(1, 100) as usize * child_complexity")]
    #[expect(clippy::too_many_arguments, reason = "the four of a connection")]
    async fn my_orders(
        &self,
        ctx: &Context<'_>,
        first: Option<i32>,
        after: Option<String>,
        last: Option<i32>,
        before: Option<String>,
    ) -> Result<Connection<Order>> {
        page_of(ctx, None, (first, after, last, before)).await
    }

    /// The order with this 受理号, with its timeline; for its payer and for operators.
    async fn order_timeline(&self, ctx: &Context<'_>, number: String) -> Result<Option<Order>> {
        let Ok(number) = number.parse::<OrderNumber>() else {
            return Ok(None);
        };
        let (billing, caller) = scope(ctx)?;
        let order = graph(
            caller,
            billing
                .ctx
                .db
                .read("order_timeline", async |tx| {
                    queries::order_of_number(tx, caller, number.as_str()).await
                })
                .await,
        )?;
        Ok(order.map(Into::into))
    }

    #[graphql(entity)]
    async fn find_order_by_id(&self, ctx: &Context<'_>, id: ID) -> Result<Option<Order>> {
        let (billing, caller) = scope(ctx)?;
        let Ok(id) = GlobalId::uuid(&id, "Order") else {
            return Ok(None);
        };
        let work = async |tx: &kit::Tx| queries::order_seen(tx, caller, id.into()).await;
        let order = graph(caller, billing.ctx.db.read("order", work).await)?;
        Ok(order.map(Into::into))
    }
}

/// The order, if the caller may see it.
async fn find(ctx: &Context<'_>, id: &ID) -> kit::Result<Option<Order>> {
    let Ok(id) = GlobalId::uuid(id, "Order") else {
        return Ok(None);
    };
    let (billing, caller) = scope(ctx).map_err(|_| kit::Error::internal("no caller"))?;
    let work = async |tx: &kit::Tx| queries::order(tx, caller, id.into()).await;
    Ok(billing.ctx.db.read("order", work).await?.map(Into::into))
}

pub(crate) type PageArguments = (Option<i32>, Option<String>, Option<i32>, Option<String>);

/// A page of a member's orders, or of the caller's own.
pub(crate) async fn page_of(
    ctx: &Context<'_>,
    of: Option<MemberId>,
    (first, after, last, before): PageArguments,
) -> Result<Connection<Order>> {
    let (billing, caller) = scope(ctx)?;
    let page = Page::new(first, after.as_deref(), last, before.as_deref())
        .map_err(|error| to_graphql(error, caller.language))?;
    let orders = graph(
        caller,
        billing
            .ctx
            .db
            .read("orders", async |tx| {
                queries::orders(tx, caller, of, &page).await
            })
            .await,
    )?;
    let cursor = |order: &domain::Order| Cursor::at(order.created_at, order.id.0);
    Ok(page.connection(orders, cursor, Into::into))
}
