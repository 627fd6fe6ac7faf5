//! Who may buy, and whose code is issued again.

use super::*;
use crate::error::Refusal;

#[test]
fn a_code_is_issued_again_while_gates_know_the_pass() {
    let (now, terms) = (at("2026-04-01"), terms());
    let active = paid(&terms, now);
    let again = active.clone().reissue(0).unwrap();
    assert!(again.changed && again.effects.is_empty());
    assert_eq!(
        (again.pass.generation, again.pass.version),
        (1, active.version + 1)
    );
    let frozen = again.pass.freeze("copied".to_owned()).unwrap().pass;
    assert_eq!(frozen.reissue(1).unwrap().pass.generation, 2);
    let often = active.clone().reissue(REISSUES_PER_DAY_MAX);
    assert_eq!(often.unwrap_err(), Refusal::ReissuedTooOften);
    let last = Pass {
        generation: u8::MAX,
        ..active.clone()
    };
    assert_eq!(last.reissue(0).unwrap_err(), Refusal::ReissuesExhausted);
    let going = active.request_refund(now, &terms, 0).unwrap().pass;
    assert_eq!(going.reissue(0).unwrap_err(), Refusal::RefundInProgress);
    let unpaid = bought(&terms, now).reissue(0);
    assert_eq!(unpaid.unwrap_err(), Refusal::AwaitingPayment);
}

#[test]
fn only_members_are_sold_to() {
    let (now, terms) = (at("2026-04-01"), terms());
    let (product, mut stock) = (product(), stock(1));
    let offer = Offer {
        product: &product,
        terms: &terms,
    };
    let mut stranger = Buyer {
        is_member: false,
        ..buyer()
    };
    let refused = offer.sell(&mut stock, &mut stranger, None, (new_pass(now), now));
    assert_eq!(refused.unwrap_err(), Refusal::NotAMember);
    assert_eq!((stock.held, stranger.bought), (0, 0), "nothing is counted");
}
