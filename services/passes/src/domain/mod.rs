//! What passes decides, without any reading, writing or waiting: products and their terms, the
//! sale of one, and the life of a pass. Time, counts and rows come in as values; new values, and
//! what follows from them, go out.

mod activation;
mod custody;
mod forgotten;
mod holder_list;
mod order;
mod pass;
mod product;
pub mod refund;
mod reissue;
mod reservation;
mod sale;
pub mod terms;
#[cfg(test)]
mod tests;
mod venue;

pub use custody::VoidRefund;
pub use forgotten::HOLDER_FORGOTTEN;
pub use holder_list::{Holder, HolderList, LIST_ROWS_MAX, LISTS_PER_DAY_MAX, ListPurpose};
pub use order::{Contradiction, Order, OrderState, Payment};
pub use pass::{
    Change, Effect, Entitlement, EntitlementState, Hold, Life, Pass, ProductId, State, Timer,
    Usable,
};
pub use product::{Product, ProductState};
pub use refund::{
    BILLING_REMINDER_HOURS, Cause, FREEZE_REMINDER_HOURS, Freeze, Refund, RefundState,
};
pub use reissue::REISSUES_PER_DAY_MAX;
pub use reservation::{
    CANCEL_HOURS_BEFORE, CANCELLATIONS_PER_DAY_MAX, OPEN_RESERVATIONS_MAX, OPENED_DAYS_MAX,
    PLACES_MAX, Places, Reservation, Slot, Wanted,
};
pub use sale::{Buyer, NewPass, Offer, Renewal, Stock};
pub use terms::{Activation, AfterDeadline, Ladder, Names, RefundStep, Terms, TermsFault};
pub use venue::{Today, Venue, Visit};
