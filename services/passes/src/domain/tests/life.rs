//! Whatever happens to a pass, in whatever order: what must hold over all of it.

use proptest::prelude::*;

use super::*;
use crate::error::Refusal;

/// Anything that can happen to a pass.
#[derive(Clone, Copy, Debug)]
enum Step {
    Paid,
    Closed,
    HoldOver,
    Activate,
    Refund,
    Counted(u32),
    CountOver(u32),
    MoneyBack,
    Freeze,
    Unfreeze,
    Void(bool),
    DeadlineOver,
    Reissue,
    Leave(u32),
    Forgotten(u32),
}

fn any_step() -> impl Strategy<Value = Step> {
    prop_oneof![
        3 => Just(Step::Paid),
        1 => Just(Step::Closed),
        1 => Just(Step::HoldOver),
        1 => Just(Step::Activate),
        2 => Just(Step::Refund),
        2 => (0..3u32).prop_map(Step::Counted),
        1 => (0..3u32).prop_map(Step::CountOver),
        2 => Just(Step::MoneyBack),
        1 => Just(Step::Freeze),
        1 => Just(Step::Unfreeze),
        1 => any::<bool>().prop_map(Step::Void),
        1 => Just(Step::DeadlineOver),
        1 => Just(Step::Reissue),
        1 => (0..3u32).prop_map(Step::Leave),
        1 => (0..3u32).prop_map(Step::Forgotten),
    ]
}

fn take(pass: Pass, step: Step, (now, terms): (DateTime<Utc>, &Terms)) -> Change {
    let same = pass.clone();
    let told = order(&pass, OrderState::Paid { at: now });
    let refused = |_: Refusal| Change::none(same.clone());
    match step {
        Step::Paid => pass.follow(&told, &payment(terms)).unwrap(),
        Step::Closed => {
            let closed = Order {
                state: OrderState::Closed,
                ..told
            };
            pass.follow(&closed, &payment(terms))
                .unwrap_or(Change::none(same))
        }
        Step::HoldOver => pass.hold_over(now + TimeDelta::hours(1)),
        Step::Activate => pass.activate(now, terms).unwrap_or_else(refused),
        Step::Refund => pass.request_refund(now, terms, 0).unwrap_or_else(refused),
        Step::Counted(uses) => {
            let version = pass.entitlement().map_or(0, |right| right.freeze_version);
            pass.uses_counted(version, (uses, None), (now, terms))
        }
        Step::CountOver(uses) => pass.count_over(uses, now, terms),
        Step::MoneyBack => {
            let returns_done = pass
                .refund()
                .map(|refund| refund.return_id(pass.line))
                .into_iter()
                .collect();
            let back = Order {
                returns_done,
                ..told
            };
            pass.follow(&back, &payment(terms)).unwrap()
        }
        Step::Freeze => pass.freeze("x".to_owned()).unwrap_or_else(refused),
        Step::Unfreeze => pass.unfreeze().unwrap_or_else(refused),
        Step::Void(full) => {
            let back = if full {
                VoidRefund::Full
            } else {
                VoidRefund::Nothing
            };
            pass.void("x".to_owned(), back, now).unwrap_or_else(refused)
        }
        Step::Reissue => pass.reissue(0).unwrap_or_else(refused),
        Step::Leave(uses) => pass.holder_leaves(now, terms, uses),
        Step::Forgotten(uses) => pass.holder_forgotten(now, terms, uses),
        Step::DeadlineOver => pass.activation_over(now + TimeDelta::days(400), terms),
    }
}

proptest! {
    /// Whatever happens in whatever order: stock leaves its hold at most once, what goes back and
    /// what is kept are the price, a version grows with each change, a right that was revoked
    /// never comes back, and what gates knew is not paid back before a count.
    /// ASVS V2.3.1.
    #[test]
    fn any_life_keeps_its_promises(
        steps in prop::collection::vec(any_step(), 1..24),
        mode in 0..4usize,
    ) {
        let now = at("2026-04-01");
        let terms = match mode {
            0 => terms(),
            1 => within(Span::Days(90), AfterDeadline::Auto),
            2 => within(Span::Months(3), AfterDeadline::Forfeit),
            _ => within(Span::Days(30), AfterDeadline::Refund),
        };
        let mut pass = bought(&terms, now);
        let (mut moved, mut revoked, mut counted) = (0, false, false);
        for step in steps {
            let (version, generation) = (pass.version, pass.generation);
            counted |= matches!(step, Step::Counted(_));
            let change = take(pass, step, (now, &terms));
            moved += change
                .effects
                .iter()
                .filter(|effect| matches!(effect, Effect::StockSold | Effect::StockBack))
                .count();
            prop_assert!(moved <= 1, "{step:?} moved the stock again");
            prop_assert_eq!(change.pass.version, version + i64::from(change.changed));
            let state = change.pass.entitlement().map(|right| right.state);
            prop_assert!(!revoked || state == Some(EntitlementState::Revoked), "{:?}", step);
            revoked |= state == Some(EntitlementState::Revoked);
            use RefundState::{Done, Returned};
            let asked = change.pass.refund().map(|refund| refund.state);
            if let Some(Returned { fee, back, .. } | Done { fee, back, .. }) = asked {
                prop_assert_eq!(fee.add(back).unwrap(), change.pass.price);
            }
            // What gates knew goes back, whole or in part, after their count alone.
            if change.effects.contains(&Effect::LineReturned) && change.pass.window().is_some() {
                prop_assert!(counted, "{step:?} pays back uncounted");
            }
            prop_assert!(change.pass.generation >= generation);
            if matches!(step, Step::Forgotten(_)) {
                let right = change.pass.entitlement().map(|right| right.state);
                prop_assert_ne!(right, Some(EntitlementState::Active));
                let ended = change.pass.clone().ends_with_holder();
                prop_assert!(!ended.changed, "nothing is left to end");
                let voided = change.pass.reason() == Some(HOLDER_FORGOTTEN);
                prop_assert!(!(change.changed && voided) || change.effects.is_empty());
            }
            let waits = matches!(change.pass.state, State::AwaitingPayment(_));
            prop_assert_eq!(waits, moved == 0);
            pass = change.pass;
        }
    }
}
