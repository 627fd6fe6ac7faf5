//! A pass as its holder sees it.

use async_graphql::{Context, Enum, ID, Object, Result, SimpleObject};
use chrono::{DateTime, NaiveDate, Utc};
use credential::rules::{Decision, Province, Reason};
use kit::graphql::{Connection, Date, GlobalId, Language, Money, Page};
use kit::types::{Fen, day_start, shanghai_date};

use super::product::PassProduct;
use super::stub::{Member, Order, Venue};
use super::visits::PassReservation;
use super::{caller, language, rows, service};
use crate::domain::{Life, Pass as DomainPass, RefundState, State, Today, Usable};
use crate::queries::{UseView, VenueView, cursor_of_use, cursor_of_venue};

/// One person's annual pass.
#[derive(Clone, Debug)]
pub(super) struct Pass(pub(super) DomainPass);

/// Where a pass is between purchase and end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Enum)]
pub(super) enum PassState {
    /// Its order is open.
    AwaitingPayment,
    /// Paid, not activated.
    Ready,
    /// Opens doors on the days of its window.
    Active,
    /// Its window is over.
    Expired,
    /// An operator froze it.
    Frozen,
    /// Given back, or to be voided with its price back: its uses are counted, or the money is on
    /// its way.
    Refunding,
    /// The money has gone back.
    Refunded,
    /// An operator ended it.
    Voided,
    /// Its order was closed unpaid.
    Lapsed,
    /// Not activated in time.
    Forfeited,
}

/// Where the refund of a pass is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Enum)]
pub(super) enum PassRefundState {
    /// The pass is frozen and its uses are counted.
    Counting,
    /// The money is on its way.
    Returned,
    /// The money has gone back.
    Done,
    /// Refused after the count; the pass can be used again.
    Refused,
}

/// A request to give a pass back.
#[derive(Clone, Debug, SimpleObject)]
pub(super) struct PassRefund {
    /// Where it is.
    state: PassRefundState,
    /// When it was asked for.
    requested_at: DateTime<Utc>,
    /// The count of its uses is overdue: somebody was alarmed, and nothing is paid before it.
    overdue: bool,
    /// The entries that were counted; null while they are.
    uses: Option<u32>,
    /// What is kept; null while it is not known, or when refused.
    fee: Option<Money>,
    /// What goes back; null while it is not known, or when refused.
    amount: Option<Money>,
    /// Why it was refused, in the language of the request.
    reason: Option<String>,
}

/// One use of a pass at a gate.
#[derive(Clone, Copy, Debug, SimpleObject)]
pub(super) struct PassUse {
    /// Where.
    venue: Venue,
    /// When.
    at: DateTime<Utc>,
    /// The Shanghai date it counts on.
    date: Date,
    /// Whether it was an entry; else an exit.
    entry: bool,
    /// How many persons.
    persons: i32,
    /// Whether the venue took it back: it does not count.
    voided: bool,
}

impl From<UseView> for PassUse {
    fn from(one: UseView) -> Self {
        Self {
            venue: Venue(one.venue),
            at: one.at,
            date: one.date.into(),
            entry: one.entry,
            persons: one.persons,
            voided: one.voided,
        }
    }
}

/// What a gate of a venue would answer now. Who is inside and how full it is, only the gate
/// knows.
#[derive(Clone, Debug, SimpleObject)]
pub(super) struct PassVenueToday {
    /// The venue.
    venue: Venue,
    /// Whether the gate would open.
    admits: bool,
    /// The code of the reason when it would not, as gates answer it.
    reason: Option<String>,
    /// A sentence in the language of the request.
    message: String,
    /// The earliest time at which it would open; null when waiting alone does not help.
    next_try_at: Option<DateTime<Utc>>,
    /// Entries left there today after one more; null without limit or when it would not open.
    remaining_today: Option<u32>,
    /// Entries left there in all after one more.
    remaining_here: Option<u32>,
    /// Entries left in all after one more.
    remaining_total: Option<u32>,
}

/// A union's province.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Enum)]
pub(super) enum PassProvince {
    /// 重庆
    Chongqing,
    /// 四川
    Sichuan,
}

impl From<PassProvince> for Province {
    fn from(province: PassProvince) -> Self {
        match province {
            PassProvince::Chongqing => Self::Chongqing,
            PassProvince::Sichuan => Self::Sichuan,
        }
    }
}

fn state_of(pass: &DomainPass, today: NaiveDate) -> PassState {
    match &pass.state {
        State::AwaitingPayment(_) => PassState::AwaitingPayment,
        State::Lapsed => PassState::Lapsed,
        State::Paid { life, .. } => match life {
            Life::Usable(Usable::Ready { .. }) => PassState::Ready,
            Life::Usable(Usable::Active { window }) if today >= window.end() => PassState::Expired,
            Life::Usable(Usable::Active { .. }) => PassState::Active,
            Life::Frozen { .. } => PassState::Frozen,
            Life::Refunding { .. } | Life::Voiding { .. } => PassState::Refunding,
            Life::Refunded { .. } => PassState::Refunded,
            Life::Voided { .. } => PassState::Voided,
            Life::Forfeited { .. } => PassState::Forfeited,
        },
    }
}

/// One person's annual pass.
#[Object]
impl Pass {
    /// The pass's id.
    async fn id(&self) -> ID {
        GlobalId::of_entitlement("Pass", self.0.id)
    }

    /// The number that staff can look it up by: sixteen hexadecimal digits.
    async fn number(&self) -> String {
        self.0.id.to_string()
    }

    /// Where it is between purchase and end.
    async fn state(&self, ctx: &Context<'_>) -> Result<PassState> {
        Ok(state_of(
            &self.0,
            shanghai_date(service(ctx)?.ctx.clock.now()),
        ))
    }

    /// The product, with the terms this pass was sold under.
    async fn product(&self, ctx: &Context<'_>) -> Result<PassProduct> {
        Ok(PassProduct(service(ctx)?.product_sold(&self.0).await?))
    }

    /// Its holder.
    async fn member(&self) -> Member {
        Member(self.0.member)
    }

    /// How often its code was issued again; codes of before open nothing.
    async fn generation(&self) -> u8 {
        self.0.generation
    }

    /// The order that pays for it.
    async fn order(&self) -> Order {
        Order::of(self.0.order)
    }

    /// What it cost.
    async fn price(&self) -> Money {
        self.0.price.into()
    }

    /// When it was bought.
    async fn bought_at(&self) -> DateTime<Utc> {
        self.0.bought_at
    }

    /// Until when its order can be paid; null when that is over.
    async fn pay_by(&self) -> Option<DateTime<Utc>> {
        matches!(self.0.state, State::AwaitingPayment(_)).then_some(self.0.close_at)
    }

    /// When it was paid.
    async fn paid_at(&self) -> Option<DateTime<Utc>> {
        self.0.paid_at()
    }

    /// When the time to activate it is over; null once it has begun, or when it needs none.
    async fn activate_by(&self) -> Option<DateTime<Utc>> {
        self.0.activate_by().map(day_start)
    }

    /// Its first day, a Shanghai date; null before it is activated.
    async fn start(&self) -> Option<Date> {
        self.0.window().map(|window| window.start().into())
    }

    /// The first Shanghai date after it.
    async fn end(&self) -> Option<Date> {
        self.0.window().map(|window| window.end().into())
    }

    /// Its last day, a Shanghai date.
    async fn last_day(&self) -> Option<Date> {
        self.0.window().map(|window| window.last().into())
    }

    /// The pass it continues.
    async fn renews(&self, ctx: &Context<'_>) -> Result<Option<Self>> {
        let Some(id) = self.0.renews else {
            return Ok(None);
        };
        Ok(service(ctx)?.pass(caller(ctx)?, id).await?.map(Self))
    }

    /// Why an operator froze or voided it.
    async fn reason(&self) -> Option<&str> {
        self.0.reason()
    }

    /// The last request to give it back.
    async fn refund(&self, ctx: &Context<'_>) -> Option<PassRefund> {
        let refund = self.0.refund()?;
        let now = service(ctx).ok()?.ctx.clock.now();
        let money = |fen: Fen| Some(Money::from(fen));
        let none = PassRefund {
            state: PassRefundState::Counting,
            requested_at: refund.requested_at,
            overdue: self.0.count_overdue(now),
            uses: None,
            fee: None,
            amount: None,
            reason: None,
        };
        Some(match refund.state {
            RefundState::Counting { .. } => none,
            RefundState::Returned { uses, fee, back } => PassRefund {
                state: PassRefundState::Returned,
                uses: Some(uses),
                fee: money(fee),
                amount: money(back),
                ..none
            },
            RefundState::Done { uses, fee, back } => PassRefund {
                state: PassRefundState::Done,
                uses: Some(uses),
                fee: money(fee),
                amount: money(back),
                ..none
            },
            RefundState::Refused { uses, why } => {
                let (zh, en) = why.texts();
                PassRefund {
                    state: PassRefundState::Refused,
                    uses: Some(uses),
                    reason: Some(language(ctx).choose(zh, en).to_owned()),
                    ..none
                }
            }
        })
    }

    /// How often it was used to enter.
    async fn uses_count(&self, ctx: &Context<'_>) -> Result<u32> {
        Ok(service(ctx)?.uses_counted(&self.0).await?)
    }

    /// Its uses, newest first.
    #[graphql(complexity = "rows(first, last) * child_complexity + 1")]
    #[expect(clippy::too_many_arguments, reason = "the four of a connection")]
    async fn usage(
        &self,
        ctx: &Context<'_>,
        first: Option<i32>,
        after: Option<String>,
        last: Option<i32>,
        before: Option<String>,
    ) -> Result<Connection<PassUse>> {
        let page = Page::new(first, after.as_deref(), last, before.as_deref())?;
        let uses = service(ctx)?.uses(&self.0, &page).await?;
        Ok(page.connection(uses, cursor_of_use, PassUse::from))
    }

    /// Its visits that are reserved for today and later, by date: at most ten.
    #[graphql(complexity = "10 * child_complexity + 1")]
    async fn reservations(&self, ctx: &Context<'_>) -> Result<Vec<PassReservation>> {
        let passes = service(ctx)?;
        let now = passes.ctx.clock.now();
        let reserved = passes.reserved(&self.0, shanghai_date(now)).await?;
        Ok(reserved
            .iter()
            .map(|one| PassReservation::of(one.slot, now))
            .collect())
    }

    /// Where it can be used now and how often: every venue it opens, by name, with what a gate
    /// would answer.
    #[graphql(complexity = "rows(first, last) * child_complexity + 1")]
    #[expect(
        clippy::too_many_arguments,
        reason = "a connection's four and its filter"
    )]
    async fn venues_today(
        &self,
        ctx: &Context<'_>,
        province: Option<PassProvince>,
        first: Option<i32>,
        after: Option<String>,
        last: Option<i32>,
        before: Option<String>,
    ) -> Result<Connection<PassVenueToday>> {
        let page = Page::new(first, after.as_deref(), last, before.as_deref())?;
        let passes = service(ctx)?;
        let terms = passes.terms_sold(&self.0).await?;
        let venues = passes
            .venues_of(&terms, province.map(Province::from), &page)
            .await?;
        let visits = passes.visits(&self.0).await?;
        let language = language(ctx);
        let now = passes.ctx.clock.now();
        // Yesterday's may still admit, in the grace after midnight.
        let today = shanghai_date(now);
        let yesterday = today.pred_opt().unwrap_or(today);
        let reserved = passes.reserved(&self.0, yesterday).await?;
        let answer = |view: VenueView| match self.0.entitlement() {
            Some(right) => {
                let today = Today {
                    right,
                    rules: &terms.rules,
                    visits: &visits,
                    reservations: &reserved,
                    now,
                };
                would_answer(&view, &today.at(&view.venue), language)
            }
            None => not_in_use(&view, &self.0, language),
        };
        Ok(page.connection(venues, cursor_of_venue, answer))
    }
}

fn would_answer(view: &VenueView, decision: &Decision, language: Language) -> PassVenueToday {
    let speech = match language {
        Language::Zh => credential::rules::Language::Chinese,
        Language::En => credential::rules::Language::English,
    };
    let none = PassVenueToday {
        venue: Venue(view.venue.id),
        admits: false,
        reason: decision.reason().map(|reason| reason.code().to_owned()),
        message: decision.text(speech),
        next_try_at: None,
        remaining_today: None,
        remaining_here: None,
        remaining_total: None,
    };
    match decision {
        Decision::Admit { remaining, .. } => PassVenueToday {
            admits: true,
            message: language.choose("可以入园。", "You can enter.").to_owned(),
            remaining_today: remaining.today,
            remaining_here: remaining.venue,
            remaining_total: remaining.total,
            ..none
        },
        Decision::Deny { next_try_at, .. } => PassVenueToday {
            next_try_at: *next_try_at,
            ..none
        },
        Decision::Ask { .. } => none,
    }
}

/// A pass that grants nothing yet, or never will.
fn not_in_use(view: &VenueView, pass: &DomainPass, language: Language) -> PassVenueToday {
    let (reason, zh, en) = match &pass.state {
        State::AwaitingPayment(_) => (Reason::Unpaid, "请先支付。", "Please pay first."),
        State::Paid {
            life: Life::Usable(_),
            ..
        } => (
            Reason::NotYetValid,
            "请先激活年票。",
            "Activate the pass first.",
        ),
        State::Lapsed | State::Paid { .. } => (
            Reason::Revoked,
            "这张年票已失效。",
            "This pass is no longer valid.",
        ),
    };
    PassVenueToday {
        venue: Venue(view.venue.id),
        admits: false,
        reason: Some(reason.code().to_owned()),
        message: language.choose(zh, en).to_owned(),
        next_try_at: None,
        remaining_today: None,
        remaining_here: None,
        remaining_total: None,
    }
}
