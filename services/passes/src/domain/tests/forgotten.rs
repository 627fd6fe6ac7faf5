//! What becomes of the passes of who leaves, and of who was forgotten.

use super::*;

/// Who leaves is given back what her terms give back, and is never asked twice; who is forgotten
/// has nothing that opens a door, whatever she had.
#[test]
fn who_leaves_is_given_back_and_who_is_forgotten_has_nothing() {
    let now = at("2026-04-01");
    let terms = terms();
    let left = paid(&terms, now).holder_leaves(now, &terms, 0);
    assert!(left.changed && left.pass.lacks_count());
    let again = left.pass.clone().holder_leaves(now, &terms, 0);
    assert!(!again.changed);
    let used = paid(&terms, now).holder_leaves(now, &terms, 1);
    assert!(!used.changed);
    let ended = used.pass.holder_forgotten(now, &terms, 1);
    assert_eq!(ended.pass.reason(), Some(HOLDER_FORGOTTEN));
    let right = ended.pass.entitlement().unwrap();
    assert_eq!(right.state, EntitlementState::Revoked);
    assert!(ended.effects.is_empty(), "nothing goes back");
    assert!(!ended.pass.holder_forgotten(now, &terms, 1).changed, "once");
    let forfeiting = within(Span::Days(90), AfterDeadline::Forfeit);
    let waiting = paid(&forfeiting, now);
    let reminder = forfeiting.activation_reminder(waiting.activate_by().unwrap(), now);
    assert_eq!(reminder, Some(at("2026-06-23")));
    let last = waiting.forfeited_after(now, &forfeiting);
    assert_eq!(last, Some(date("2026-06-29")));
    let late = at("2026-04-08");
    let gone = waiting.holder_forgotten(late, &forfeiting, 0).pass;
    assert_eq!(gone.reason(), Some(HOLDER_FORGOTTEN));
    assert_eq!(gone.entitlement(), None);
    assert_eq!(gone.forfeited_after(now, &forfeiting), None);
    let auto = within(Span::Days(90), AfterDeadline::Auto);
    assert_eq!(auto.activation_reminder(date("2026-06-30"), now), None);
}

/// Where the price of what is never activated comes back, all of it does when she leaves before,
/// with a ladder or without; what has begun follows the ladder alone.
#[test]
fn what_waits_comes_back_whole_to_who_leaves() {
    let now = at("2026-04-01");
    let returning = within(Span::Days(90), AfterDeadline::Refund);
    let bare = Terms {
        ladder: Ladder(Vec::new()),
        ..returning.clone()
    };
    let costly = Terms {
        ladder: Ladder(vec![step(7, 30, false)]),
        ..returning
    };
    for terms in [&bare, &costly] {
        let left = paid(terms, now).holder_leaves(now, terms, 0);
        assert!(left.effects.contains(&Effect::LineReturned));
        let refund = left.pass.refund().unwrap();
        assert_eq!(refund.cause, Cause::NotActivated);
        assert_eq!(refund.state, RefundState::full(terms.price, 0));
        assert!(!left.pass.holder_leaves(now, terms, 0).changed, "once");
    }
    let active = paid(&bare, now).activate(now, &bare).unwrap().pass;
    assert!(!active.holder_leaves(now, &bare, 0).changed);
    let forfeiting = Terms {
        ladder: Ladder(Vec::new()),
        ..within(Span::Days(90), AfterDeadline::Forfeit)
    };
    let waiting = paid(&forfeiting, now);
    assert!(!waiting.holder_leaves(now, &forfeiting, 0).changed);
}

/// What an operator froze ends with its holder where its terms give nothing back any more, and
/// gates that knew it hear of that.
#[test]
fn what_is_frozen_ends_with_its_holder() {
    let (now, terms) = (at("2026-04-01"), terms());
    let frozen = paid(&terms, now).freeze("lost".to_owned()).unwrap().pass;
    assert!(!frozen.clone().holder_leaves(now, &terms, 0).changed);
    let ended = frozen.holder_forgotten(at("2026-04-08"), &terms, 0).pass;
    assert_eq!(ended.reason(), Some(HOLDER_FORGOTTEN));
    let right = ended.entitlement().unwrap();
    assert_eq!(right.state, EntitlementState::Revoked);
}

/// What the terms still give back when she is forgotten goes back after its count, frozen or not
/// and whatever a count said before; refused, it ends, and is not asked for without end.
#[test]
fn nothing_that_is_owed_ends_with_its_holder() {
    let (now, terms) = (at("2026-04-01"), terms());
    let active = paid(&terms, now);
    let frozen = active.clone().freeze("lost".to_owned()).unwrap().pass;
    let refused = active.clone().request_refund(now, &terms, 0).unwrap().pass;
    let version = refused.entitlement().unwrap().freeze_version;
    let refused = refused.uses_counted(version, (1, None), (now, &terms)).pass;
    assert!(refused.refused.is_some());
    for pass in [active, frozen, refused] {
        let leaving = pass.holder_forgotten(now, &terms, 0);
        let right = leaving.pass.entitlement().unwrap();
        assert_eq!(right.state, EntitlementState::Frozen);
        assert!(leaving.pass.lacks_count() && !leaving.pass.has_ended());
        let count = |uses| {
            let pass = leaving.pass.clone();
            pass.uses_counted(right.freeze_version, (uses, None), (now, &terms))
        };
        let back = count(0);
        assert!(back.effects.contains(&Effect::LineReturned));
        assert!(!back.pass.ends_with_holder().changed, "it is on its way");
        let kept = count(1).pass.ends_with_holder();
        assert_eq!(kept.pass.reason(), Some(HOLDER_FORGOTTEN));
        assert!(kept.effects.is_empty() && !kept.pass.ends_with_holder().changed);
    }
    let returning = within(Span::Days(90), AfterDeadline::Refund);
    let waiting = paid(&returning, now).holder_forgotten(now, &returning, 0);
    let refund = waiting.pass.refund().unwrap();
    assert_eq!(refund.state, RefundState::full(returning.price, 0));
}
