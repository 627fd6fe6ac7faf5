//! Terms, the transitions of a pass, and whole lives of one.

mod code;
mod forgotten;
mod life;
mod pass;
mod terms;

use chrono::{DateTime, NaiveDate, TimeDelta, Utc};
use credential::dates::Span;
use credential::rules::Rules;
use kit::types::{EntitlementId, Fen, MemberId, OrderId, day_start};
use uuid::Uuid;

use super::*;

pub(super) fn terms() -> Terms {
    Terms {
        names: Names {
            name_zh: "巴蜀职工年票".to_owned(),
            name_en: "Bashu Workers' Annual Pass".to_owned(),
            description_zh: String::new(),
            description_en: String::new(),
        },
        price: Fen::new(20_000).unwrap(),
        sale_from: None,
        sale_until: None,
        sale_limit: Some(1_000),
        member_limit: Some(1),
        activation: Activation::AtPayment,
        start_delay_days: 0,
        duration: Span::Months(12),
        ladder: Ladder(vec![step(7, 0, true)]),
        renewal_days: Some(60),
        rules: Rules::unlimited(),
    }
}

pub(super) const fn step(days: u32, fee_percent: u32, unused_only: bool) -> RefundStep {
    RefundStep {
        days,
        fee_percent,
        unused_only,
    }
}

pub(super) fn at(text: &str) -> DateTime<Utc> {
    day_start(text.parse().unwrap()) + TimeDelta::hours(10)
}

pub(super) fn date(text: &str) -> NaiveDate {
    text.parse().unwrap()
}

pub(super) fn product() -> Product {
    Product::new(ProductId(Uuid::from_u128(1)), 7)
        .publish()
        .unwrap()
}

pub(super) fn stock(limit: u32) -> Stock {
    Stock {
        limit: Some(limit),
        held: 0,
        sold: 0,
    }
}

pub(super) fn buyer() -> Buyer {
    Buyer {
        member: MemberId(Uuid::from_u128(2)),
        bought: 0,
        is_member: true,
    }
}

pub(super) fn new_pass(now: DateTime<Utc>) -> NewPass {
    NewPass {
        id: EntitlementId(3),
        order: OrderId(Uuid::from_u128(4)),
        line: Uuid::from_u128(5),
        close_at: now + TimeDelta::minutes(15),
    }
}

pub(super) fn bought(terms: &Terms, now: DateTime<Utc>) -> Pass {
    let product = product();
    let offer = Offer {
        product: &product,
        terms,
    };
    offer
        .sell(&mut stock(1), &mut buyer(), None, (new_pass(now), now))
        .unwrap()
}

pub(super) fn order(pass: &Pass, state: OrderState) -> Order {
    Order {
        id: pass.order,
        state,
        total: pass.price,
        refunded: Fen::ZERO,
        returns_done: Vec::new(),
    }
}

pub(super) fn payment(terms: &Terms) -> Payment<'_> {
    Payment {
        terms,
        continues_at: None,
        erased: false,
    }
}

pub(super) fn paid(terms: &Terms, now: DateTime<Utc>) -> Pass {
    let pass = bought(terms, now);
    let told = order(&pass, OrderState::Paid { at: now });
    pass.follow(&told, &payment(terms)).unwrap().pass
}

pub(super) fn within(span: Span, then: AfterDeadline) -> Terms {
    Terms {
        activation: Activation::Within { span, then },
        ..terms()
    }
}
