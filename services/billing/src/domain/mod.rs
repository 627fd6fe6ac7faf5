//! Orders and their money, decided purely: values and time in, new state or a refusal out.
//!
//! Nothing here knows a database, a provider or a clock.

mod ledger;
mod number;
mod order;
mod payer;
mod payment;
mod reconcile;
mod refund;
mod step;
mod total;

pub use ledger::{Account, Transfer, fee, fee_cause, receipt_booked, refund_done, refund_owed};
pub use number::{NumberError, OrderNumber};
pub use order::{
    AlreadyEnded, CloseReason, Line, Order, OrderState, Overdrawn, Payer, Received, Share,
    ShareState, Source, request_total, spread,
};
pub use payer::Openid;
pub use payment::{
    CallUp, Method, PAYMENT_MINUTES_MAX, Payment, PaymentState, next_query, next_refund_query,
};
pub use reconcile::{
    BillEntry, BillKind, Difference, DifferenceKind, OwnEntry, RowProblem, Settled, UnreadRow,
    compare,
};
pub use refund::{
    REFUND_ATTEMPTS_MAX, REFUND_PAUSE_SECONDS, Refund, RefundCause, RefundState, out_refund_no,
    refund_pause_seconds,
};
pub use step::Step;
pub use total::Total;
