//! What is kept: rows in, domain values out. The one place, beside `queries`, that speaks to the
//! database; it decides nothing.

mod book;
mod lines;
mod notices;
mod orders;
mod payer_tokens;
mod payments;
mod person;
mod reconcile;
mod refunds;

pub use book::{book_transfers, booked_fees, first_steps, step, steps};
pub use lines::{
    EarlyEnd, EarlyReturn, ReturnLine, early_end, early_ends, early_return, early_returns,
    line_return, lines, mark_shares, open_share, return_line, shares,
};
pub use notices::{
    DiscrepancyKind, LookedAt, NewDiscrepancy, Notice, explain, explain_by_hand, find_discrepancy,
    lock_discrepancy, note_discrepancy, record_notice, refund_looked_at,
};
pub use orders::{
    NewOrder, Seen, insert_orders, is_payer, lock_order, lock_orders_after, next_serials,
    order_of_number, save_order, seen, visible,
};
pub use payer_tokens::use_payer_token;
pub use payments::{
    NewReceipt, Receipt, ReceiptKind, insert_payment, insert_receipt, lock_open_payment,
    lock_payment, payment, payment_by_number, receipt, receipt_for_order, save_payment,
    take_from_receipt,
};
pub use person::{data_of_person, forget_person, holds_of_person};
pub use reconcile::{
    Outcome, ask_reconciliation, close_differences, finish_reconciliation, is_day_planned,
    own_movements,
};
pub use refunds::{
    NewRefund, RefundLine, add_closed_attempt, date_refund, insert_refund, is_closed_attempt,
    lock_refund, refund, refund_by_number, refund_lines, save_refund,
};

pub(crate) use lines::{LINE, LineRow};
pub(crate) use orders::{ORDER, OrderRow};
pub(crate) use payments::{PAYMENT, PaymentRow};
pub(crate) use refunds::{REFUND, RefundRow};

/// The rows that say a person is the same one: the member and all merged into her.
pub(crate) const PERSONS: &str = "WITH RECURSIVE person (id) AS (
    SELECT $1::uuid UNION
    SELECT m.id FROM replica_member m JOIN person p ON m.merged_into = p.id)";

pub(crate) fn broken(what: &'static str) -> kit::Error {
    kit::Error::internal(format!("a row is inconsistent: {what}"))
}

pub(crate) fn amount(fen: i64) -> kit::Result<kit::types::Fen> {
    kit::types::Fen::new(fen).map_err(|_| broken("an amount"))
}
