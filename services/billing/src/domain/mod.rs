//! Orders and their money, decided purely: values and time in, new state or a refusal out.
//!
//! Nothing here knows a database, a provider or a clock.

mod ledger;
mod number;
mod order;
mod payment;
mod reconcile;
mod refund;
mod step;

pub use ledger::{Account, Transfer, fee, receipt_booked, refund_done, refund_owed};
pub use number::{NumberError, OrderNumber};
pub use order::{
    AlreadyEnded, CloseReason, Line, Order, OrderState, Overdrawn, Payer, Received, Share,
    ShareState, Source, request_total, spread,
};
pub use payment::{
    Method, PAYMENT_MINUTES_MAX, Payment, PaymentState, next_query, next_refund_query,
};
pub use reconcile::{BillEntry, BillKind, Difference, DifferenceKind, OwnEntry, Settled, compare};
pub use refund::{Refund, RefundCause, RefundState, out_refund_no};
pub use step::Step;
