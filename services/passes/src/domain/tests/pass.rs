//! The transitions of a pass, each legal and illegal one.

use super::*;
use crate::error::Refusal;

#[test]
fn a_sale_has_its_window_its_stock_and_its_limit() {
    let now = at("2026-04-01");
    let terms = Terms {
        sale_from: Some(at("2026-04-01")),
        sale_until: Some(at("2026-05-01")),
        ..terms()
    };
    let product = product();
    let offer = Offer {
        product: &product,
        terms: &terms,
    };
    let sell = |stock: &mut Stock, buyer: &mut Buyer, now| {
        offer
            .sell(stock, buyer, None, (new_pass(now), now))
            .map(|pass| pass.state)
    };
    let early = now - TimeDelta::microseconds(1);
    assert_eq!(
        sell(&mut stock(1), &mut buyer(), early),
        Err(Refusal::SaleNotOpen)
    );
    assert_eq!(
        sell(&mut stock(1), &mut buyer(), at("2026-05-01")),
        Err(Refusal::SaleOver)
    );
    let (mut one, mut hers) = (stock(1), buyer());
    assert_eq!(
        sell(&mut one, &mut hers, now),
        Ok(State::AwaitingPayment(Hold::Held))
    );
    assert_eq!((one.held, hers.bought), (1, 1));
    assert_eq!(sell(&mut one, &mut buyer(), now), Err(Refusal::SoldOut));
    assert_eq!(
        sell(&mut stock(9), &mut hers, now),
        Err(Refusal::MemberLimitReached)
    );
    assert_eq!((one.held, hers.bought), (1, 1), "a refusal counts nothing");
    let stopped = product.stop().unwrap();
    let offer = Offer {
        product: &stopped,
        terms: &terms,
    };
    let refused = offer.sell(&mut stock(1), &mut buyer(), None, (new_pass(now), now));
    assert_eq!(refused.unwrap_err(), Refusal::NotOnSale);
}

#[test]
fn a_pass_begins_by_payment_by_its_holder_or_by_time() {
    let now = at("2023-01-01");
    let window = |pass: &Pass| pass.window().map(|window| (window.start(), window.end()));
    assert_eq!(
        window(&paid(&terms(), now)),
        Some((date("2023-01-01"), date("2024-01-01")))
    );
    let auto = within(Span::Months(3), AfterDeadline::Auto);
    let ready = paid(&auto, now);
    assert_eq!(ready.activate_by(), Some(date("2023-04-01")));
    assert_eq!(
        ready.entitlement(),
        None,
        "nothing is granted before it begins"
    );
    let chosen = ready
        .clone()
        .activate(at("2023-02-15"), &auto)
        .unwrap()
        .pass;
    assert_eq!(
        window(&chosen),
        Some((date("2023-02-15"), date("2024-02-15")))
    );
    assert_eq!(
        chosen.clone().activate(now, &auto),
        Err(Refusal::AlreadyActive)
    );
    // The published terms of Jurong: activated too late, it began when the time was over.
    let late = ready
        .clone()
        .activate(at("2023-06-01"), &auto)
        .unwrap()
        .pass;
    assert_eq!(
        window(&late),
        Some((date("2023-04-01"), date("2024-04-01")))
    );
    assert!(
        !ready
            .clone()
            .activation_over(at("2023-03-31"), &auto)
            .changed
    );
    let alone = ready.activation_over(at("2023-04-01"), &auto).pass;
    assert_eq!(
        window(&alone),
        Some((date("2023-04-01"), date("2024-04-01")))
    );
    assert!(!alone.activation_over(at("2023-04-02"), &auto).changed);
}

#[test]
fn a_pass_nobody_activates_is_forfeited_or_refunded_as_its_terms_say() {
    let now = at("2026-04-01");
    let forfeit = within(Span::Days(90), AfterDeadline::Forfeit);
    let over = paid(&forfeit, now)
        .activation_over(at("2026-06-30"), &forfeit)
        .pass;
    assert_eq!(over.activate_by(), Some(date("2026-06-30")));
    assert_eq!(
        over.clone().activate(now, &forfeit),
        Err(Refusal::ActivationOver)
    );
    assert_eq!(
        over.request_refund(now, &forfeit, 0).unwrap_err(),
        Refusal::PassEnded,
        "what is forfeited is not given back"
    );
    let refund = within(Span::Days(90), AfterDeadline::Refund);
    let change = paid(&refund, now).activation_over(at("2026-06-30"), &refund);
    assert!(change.effects.contains(&Effect::LineReturned));
    let RefundState::Returned { back, fee, uses } = change.pass.refund().unwrap().state else {
        panic!("not returned: {:?}", change.pass)
    };
    assert_eq!((back.get(), fee.get(), uses), (20_000, 0, 0));
}

#[test]
fn a_renewal_begins_at_the_old_end_or_anew() {
    let (now, terms) = (at("2026-04-01"), terms());
    let old = paid(&terms, now);
    let product = product();
    let offer = Offer {
        product: &product,
        terms: &terms,
    };
    let renew = |renewed, when| {
        let renewal = Renewal {
            pass: old.clone(),
            renewed,
        };
        let new = (new_pass(when), when);
        offer.sell(
            &mut stock(5),
            &mut Buyer {
                bought: 1,
                ..buyer()
            },
            Some(&renewal),
            new,
        )
    };
    assert_eq!(
        renew(false, at("2027-01-30")).unwrap_err(),
        Refusal::RenewalTooEarly
    );
    assert_eq!(
        renew(true, at("2027-03-01")).unwrap_err(),
        Refusal::AlreadyRenewed
    );
    let next = renew(false, at("2027-03-01")).expect("a renewal is not counted as another one");
    assert_eq!(next.renews, Some(old.id));
    let told = order(
        &next,
        OrderState::Paid {
            at: at("2027-03-01"),
        },
    );
    for (when, start) in [("2027-03-01", "2027-04-01"), ("2027-04-01", "2027-04-01")] {
        let continues_at = old.continued_from(at(when));
        assert_eq!(continues_at.is_some(), when == "2027-03-01");
        let told = Order {
            state: OrderState::Paid { at: at(when) },
            ..told.clone()
        };
        let payment = Payment {
            continues_at,
            ..payment(&terms)
        };
        let pass = next.clone().follow(&told, &payment).unwrap().pass;
        assert_eq!(pass.window().unwrap().start(), date(start));
    }
    let lost = old
        .clone()
        .void("lent".to_owned(), VoidRefund::Nothing, now)
        .unwrap()
        .pass;
    assert_eq!(
        lost.continued_from(now),
        None,
        "nothing continues what was voided"
    );
}

#[test]
fn only_billing_ends_a_hold_and_the_stock_comes_back_once() {
    let (now, terms) = (at("2026-04-01"), terms());
    let held = bought(&terms, now);
    assert!(!held.clone().hold_over(now).changed, "not before its time");
    let late = now + TimeDelta::minutes(20);
    let lapsing = held.hold_over(late);
    assert_eq!(lapsing.effects, [Effect::HoldLapsed], "no stock comes back");
    let again = lapsing.pass.clone().hold_over(late);
    assert!(!again.changed && again.effects == [Effect::HoldLapsed]);
    // Billing may still say that it was paid in time.
    let told = order(&again.pass, OrderState::Paid { at: now });
    let kept = again.pass.clone().follow(&told, &payment(&terms)).unwrap();
    assert_eq!(kept.effects, [Effect::StockSold]);
    let closed = order(&again.pass, OrderState::Closed);
    let lapsed = again.pass.follow(&closed, &payment(&terms)).unwrap();
    assert_eq!(lapsed.effects, [Effect::StockBack]);
    let twice = lapsed.pass.follow(&closed, &payment(&terms)).unwrap();
    assert!(
        !twice.changed && twice.effects.is_empty(),
        "a close delivered twice"
    );
    let late_payment = twice.pass.follow(&told, &payment(&terms)).unwrap();
    assert!(!late_payment.changed);
    assert!(matches!(
        late_payment.effects[..],
        [Effect::FulfilmentRefused(_)]
    ));
    let contradiction = kept.pass.follow(&closed, &payment(&terms));
    assert_eq!(contradiction.unwrap_err(), Contradiction);
}

#[test]
fn a_payment_for_who_is_forgotten_is_given_back() {
    let (now, terms) = (at("2026-04-01"), terms());
    let pass = bought(&terms, now);
    let told = order(&pass, OrderState::Paid { at: now });
    let refused = pass
        .follow(
            &told,
            &Payment {
                erased: true,
                ..payment(&terms)
            },
        )
        .unwrap();
    assert!(matches!(
        refused.effects[..],
        [Effect::FulfilmentRefused(_)]
    ));
    let back = Order {
        refunded: told.total,
        ..told
    };
    let lapsed = refused.pass.follow(&back, &payment(&terms)).unwrap();
    assert_eq!(lapsed.effects, [Effect::StockBack]);
    let closed = Order {
        state: OrderState::Closed,
        ..back
    };
    assert!(
        !lapsed
            .pass
            .follow(&closed, &payment(&terms))
            .unwrap()
            .changed
    );
}

/// Where nothing was paid, nothing has to go back before the stock does; and what no credential
/// could say is not given.
#[test]
fn what_cannot_be_given_is_refused() {
    let now = at("2026-04-01");
    let gift = Terms {
        price: Fen::ZERO,
        ..terms()
    };
    let pass = bought(&gift, now);
    let told = order(&pass, OrderState::Paid { at: now });
    let erased = Payment {
        erased: true,
        ..payment(&gift)
    };
    let lapsed = pass.follow(&told, &erased).unwrap();
    assert_eq!(lapsed.effects, [Effect::StockBack]);
    let again = lapsed.pass.follow(&told, &erased).unwrap();
    assert!(!again.changed && again.effects.is_empty());
    let pass = bought(&terms(), at("2055-06-01"));
    let late = OrderState::Paid {
        at: at("2055-06-01"),
    };
    let told = order(&pass, late);
    let refused = pass.follow(&told, &payment(&terms())).unwrap();
    assert_eq!(
        refused.effects,
        [Effect::FulfilmentRefused("BEYOND_THE_CALENDAR")]
    );
}

#[test]
fn a_refund_waits_for_the_count_and_for_leases() {
    let (now, terms) = (at("2026-04-01"), terms());
    let active = paid(&terms, now);
    let asked = active.clone().request_refund(now, &terms, 0).unwrap();
    let frozen = asked.pass.entitlement().unwrap();
    assert_eq!(frozen.state, EntitlementState::Frozen);
    assert_eq!(frozen.freeze_version, asked.pass.version);
    let twice = asked.pass.clone().request_refund(now, &terms, 0);
    assert_eq!(twice.unwrap_err(), Refusal::RefundInProgress);
    let version = frozen.freeze_version;
    let other = asked
        .pass
        .clone()
        .uses_counted(version - 1, (0, None), (now, &terms));
    assert!(
        !other.changed,
        "an answer to another freeze counts for nothing"
    );
    // Silence decides nothing, however long: admission may not know of the freeze.
    let late = now + TimeDelta::days(9);
    let silent = asked.pass.clone().count_over(0, late, &terms);
    assert!(!silent.changed && silent.pass.count_overdue(late));
    assert!(!silent.pass.count_overdue(now + TimeDelta::hours(7)));
    let lease = now + TimeDelta::hours(2);
    let waits = asked
        .pass
        .uses_counted(version, (0, Some(lease)), (now, &terms));
    assert!(waits.changed && matches!(waits.effects[..], [Effect::Plan(Timer::Leases, _)]));
    let same = waits
        .pass
        .clone()
        .uses_counted(version, (0, Some(lease)), (now, &terms));
    assert!(!same.changed);
    let settled = waits.pass.clone().count_over(0, lease, &terms);
    assert!(settled.effects.contains(&Effect::LineReturned));
    assert_eq!(
        settled.pass.entitlement().unwrap().state,
        EntitlementState::Frozen
    );
    let return_id = settled.pass.refund().unwrap().return_id(settled.pass.line);
    let told = Order {
        returns_done: vec![return_id],
        refunded: settled.pass.price,
        ..order(&settled.pass, OrderState::Paid { at: now })
    };
    let done = settled.pass.follow(&told, &payment(&terms)).unwrap();
    assert_eq!(
        done.pass.entitlement().unwrap().state,
        EntitlementState::Revoked
    );
    assert!(!done.pass.follow(&told, &payment(&terms)).unwrap().changed);
    // A scan under the lease came in meanwhile: it counts, and the pass is given back to her.
    let used = waits.pass.count_over(1, lease, &terms);
    assert_eq!(
        used.pass.entitlement().unwrap().state,
        EntitlementState::Active
    );
    assert_eq!(used.pass.entitlement().unwrap().freeze_version, 0);
    let RefundState::Refused { uses: 1, why } = used.pass.refund().unwrap().state else {
        panic!("not refused")
    };
    assert_eq!(why, Refusal::RefundUsed);
    let later = used.pass.request_refund(now, &terms, 0).unwrap().pass;
    assert_eq!(
        later.refund().unwrap().ordinal,
        2,
        "a later request is another one"
    );
}

#[test]
fn terms_decide_what_goes_back() {
    let now = at("2026-04-01");
    let strict = Terms {
        ladder: Ladder(vec![]),
        ..terms()
    };
    let refused =
        |pass: Pass, when, terms: &Terms, uses| pass.request_refund(when, terms, uses).unwrap_err();
    assert_eq!(
        refused(paid(&strict, now), now, &strict, 0),
        Refusal::NotRefundable
    );
    let terms = terms();
    assert_eq!(
        refused(paid(&terms, now), now, &terms, 1),
        Refusal::RefundUsed
    );
    assert_eq!(
        refused(paid(&terms, now), at("2026-04-08"), &terms, 0),
        Refusal::RefundTooLate
    );
    assert_eq!(
        refused(bought(&terms, now), now, &terms, 0),
        Refusal::AwaitingPayment
    );
    let gift = Terms {
        price: Fen::ZERO,
        ..within(Span::Days(9), AfterDeadline::Auto)
    };
    let given = paid(&gift, now).request_refund(now, &gift, 0).unwrap();
    assert!(
        !given.effects.contains(&Effect::LineReturned),
        "no money, nobody to tell"
    );
    assert!(matches!(
        given.pass.refund().unwrap().state,
        RefundState::Done { .. }
    ));
}

#[test]
fn operators_freeze_let_go_and_void() {
    let (now, terms) = (at("2026-04-01"), terms());
    let active = paid(&terms, now);
    let frozen = active.clone().freeze("lost".to_owned()).unwrap().pass;
    assert_eq!(
        frozen.entitlement().unwrap().state,
        EntitlementState::Frozen
    );
    assert_eq!(
        frozen.clone().request_refund(now, &terms, 0),
        Err(Refusal::PassFrozen)
    );
    assert_eq!(
        frozen.clone().freeze("x".to_owned()),
        Err(Refusal::PassFrozen)
    );
    let free = frozen.unfreeze().unwrap().pass;
    assert_eq!(free.window(), active.window());
    assert_eq!(free.clone().unfreeze(), Err(Refusal::NotFrozen));
    let voided = free
        .clone()
        .void("lent".to_owned(), VoidRefund::Full, now)
        .unwrap();
    assert!(!voided.effects.contains(&Effect::LineReturned));
    let right = voided.pass.entitlement().unwrap();
    assert_eq!(
        (right.state, right.freeze_version),
        (EntitlementState::Frozen, voided.pass.version)
    );
    let again = voided
        .pass
        .clone()
        .void("lent".to_owned(), VoidRefund::Full, now);
    assert_eq!(again.unwrap_err(), Refusal::RefundInProgress);
    let counted = voided
        .pass
        .uses_counted(right.freeze_version, (2, None), (now, &terms));
    assert!(counted.effects.contains(&Effect::LineReturned));
    assert_eq!(
        counted.pass.entitlement().unwrap().state,
        EntitlementState::Revoked
    );
    let back = counted.pass.refund().unwrap().state;
    assert_eq!(back, RefundState::full(terms.price, 2));
    let again = counted.pass.void("lent".to_owned(), VoidRefund::Full, now);
    assert_eq!(again.unwrap_err(), Refusal::PassEnded);
    let unpaid = bought(&terms, now).void("x".to_owned(), VoidRefund::Nothing, now);
    assert_eq!(unpaid.unwrap_err(), Refusal::AwaitingPayment);
}
