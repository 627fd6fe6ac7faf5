//! Money came: what it is for, and what becomes of it. It is booked once for each transaction of
//! the provider, whoever tells of it and however often.
//!
//! A notification that does not fit what we know is never believed over a question to the
//! provider: it is noted, and the provider is asked.

use chrono::{DateTime, Utc};
use kit::audit::AuditRow;
use kit::due::{After, NewDue};
use kit::types::{Fen, Union};
use kit::{Error, Result, Tx};
use uuid::Uuid;

use super::{Held, refund};
use crate::domain::{
    Payment, PaymentState, Received, RefundCause, Step, next_query, receipt_booked,
};
use crate::store::{self, DiscrepancyKind, NewDiscrepancy, NewReceipt, ReceiptKind};
use crate::wechat::{Failure, Transaction};
use crate::{Billing, due};

/// The only currency there is here.
const CURRENCY: &str = "CNY";

/// A payment the provider says was made.
#[derive(Clone, Debug)]
pub(crate) struct Paid {
    pub(crate) transaction_id: String,
    pub(crate) out_trade_no: String,
    /// In the smallest unit of `currency`.
    pub(crate) total: i64,
    pub(crate) currency: String,
    pub(crate) paid_at: DateTime<Utc>,
}

impl Paid {
    /// What a transaction says, when it was paid.
    pub(crate) fn of(transaction: &Transaction) -> Option<Self> {
        if !transaction.trade_state.is_paid() {
            return None;
        }
        let amount = transaction.amount.as_ref()?;
        Some(Self {
            transaction_id: transaction.transaction_id.clone()?,
            out_trade_no: transaction.out_trade_no.clone(),
            total: amount.total,
            currency: amount.currency.clone(),
            paid_at: transaction.paid_at()?,
        })
    }
}

/// Who told of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Learnt {
    Notification,
    Query,
    /// A query that the daily bill gave cause to.
    Bill,
}

impl Learnt {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Notification => "notification",
            Self::Query => "query",
            Self::Bill => "bill",
        }
    }
}

/// What became of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Booked {
    /// It paid its order.
    Paid,
    /// It was booked before.
    Known,
    /// It goes back: it came late, was another amount, or nobody knows what it was for.
    GoesBack,
    /// The provider is asked before it is booked.
    Asked,
    /// It does not fit what we know: the provider is asked.
    Doubtful,
}

/// Books what came. Locks the order before everything else of it.
pub(crate) async fn receive(tx: &Tx, union: Union, paid: &Paid, learnt: Learnt) -> Result<Booked> {
    let Some(payment) = store::payment_by_number(tx, &paid.out_trade_no).await? else {
        return unknown(tx, paid, learnt).await;
    };
    let held = Held::lock(tx, payment.order)
        .await?
        .ok_or(Error::NotFound)?;
    let payment = store::lock_payment(tx, payment.id).await?;
    if let Some(known) = store::receipt(tx, &paid.transaction_id).await? {
        let same = known.out_trade_no == paid.out_trade_no && known.fen == paid.total;
        if same && paid.currency == CURRENCY {
            return Ok(Booked::Known);
        }
        let kind = DiscrepancyKind::TransactionReused;
        discrepancy(tx, kind, paid, Some(&payment), paid.transaction_id.clone()).await?;
        return Ok(Booked::Doubtful);
    }
    if paid.total != payment.amount.get() || paid.currency != CURRENCY {
        return differs(tx, held, payment, paid, learnt).await;
    }
    accept(tx, union, (held, payment), paid, learnt).await
}

async fn accept(
    tx: &Tx,
    union: Union,
    (mut held, payment): (Held, Payment),
    paid: &Paid,
    learnt: Learnt,
) -> Result<Booked> {
    if payment.amount != held.order.total {
        // An order of several payers is paid when its last share is: there is none yet.
        return Err(Error::internal("a payment of a part of its order"));
    }
    let order = match held.order.clone().receive(paid.paid_at) {
        Received::ForOrder(order) => order,
        Received::Late(_) if learnt == Learnt::Notification => {
            // Money that is to go back at once is asked for first.
            tx.plan(NewDue::new(due::INVESTIGATE, &paid.out_trade_no, tx.now()));
            return Ok(Booked::Asked);
        }
        Received::Late(_) => return late(tx, &held, payment, paid, learnt).await,
    };
    held.save(tx, order).await?;
    held.mark_shares(tx).await?;
    write_receipt(tx, Some(&payment), paid, ReceiptKind::Order, learnt).await?;
    let fen = payment.amount;
    let state = PaymentState::Succeeded;
    store::save_payment(
        tx,
        &Payment {
            state,
            ..payment.clone()
        },
    )
    .await?;
    store::book_transfers(
        tx,
        &receipt_booked(&paid.transaction_id, fen, Some(held.order.id), true),
    )
    .await?;
    match learnt {
        Learnt::Notification => {}
        Learnt::Query => held.step(tx, Step::FoundByQuery, None).await?,
        Learnt::Bill => held.step(tx, Step::FoundByBill, None).await?,
    }
    held.step(tx, Step::Paid, Some(fen)).await?;
    held.emit_state(tx, union).await?;
    kit::due::cancel(tx, due::QUERY, &payment.id.to_string()).await?;
    // By another payment of the same order no more money should come. One is open at a time.
    if !payment.state.is_open()
        && let Some(other) = store::lock_open_payment(tx, held.order.id).await?
    {
        tx.plan(NewDue::new(due::EXPIRE, other.id, tx.now()).ordinal(1));
    }
    super::ends::after_payment(tx, union, &mut held).await?;
    Ok(Booked::Paid)
}

async fn write_receipt(
    tx: &Tx,
    payment: Option<&Payment>,
    paid: &Paid,
    kind: ReceiptKind,
    learnt: Learnt,
) -> Result<()> {
    let fen = Fen::new(paid.total).map_err(|_| Error::internal("an amount of the provider's"))?;
    let receipt = NewReceipt {
        transaction_id: paid.transaction_id.clone(),
        out_trade_no: paid.out_trade_no.clone(),
        payment: payment.map(|one| one.id),
        order: payment.map(|one| one.order),
        kind,
        fen,
        learnt_by: learnt.as_str(),
        paid_at: paid.paid_at,
    };
    super::reconcile::moved(tx, paid.paid_at);
    let kind = kind.as_str();
    let learnt = serde_json::json!({ "kind": kind, "learnt_by": learnt.as_str() });
    tx.audit(AuditRow::system("book_receipt", &paid.transaction_id).detail(learnt));
    if store::insert_receipt(tx, &receipt).await? {
        Ok(())
    } else {
        // Written down by another order's command at the same instant.
        Err(Error::Unavailable("the transaction is being booked"))
    }
}

/// It came when the order was paid or closed: booked apart, and given back in full.
async fn late(
    tx: &Tx,
    held: &Held,
    payment: Payment,
    paid: &Paid,
    learnt: Learnt,
) -> Result<Booked> {
    write_receipt(tx, Some(&payment), paid, ReceiptKind::Late, learnt).await?;
    let (fen, order) = (payment.amount, Some(held.order.id));
    if payment.state != PaymentState::Succeeded {
        let state = PaymentState::Late;
        let payment = Payment {
            state,
            ..payment.clone()
        };
        store::save_payment(tx, &payment).await?;
    }
    store::book_transfers(tx, &receipt_booked(&paid.transaction_id, fen, order, false)).await?;
    held.step(tx, Step::LatePayment, Some(fen)).await?;
    kit::due::cancel(tx, due::QUERY, &payment.id.to_string()).await?;
    refund::give_back(tx, order, &paid.transaction_id, fen, RefundCause::Late).await?;
    Ok(Booked::GoesBack)
}

/// Another amount or currency than was asked for. Only the provider's own answer books it.
async fn differs(
    tx: &Tx,
    held: Held,
    payment: Payment,
    paid: &Paid,
    learnt: Learnt,
) -> Result<Booked> {
    let foreign = paid.currency != CURRENCY;
    let kind = if foreign {
        DiscrepancyKind::CurrencyDiffers
    } else {
        DiscrepancyKind::AmountDiffers
    };
    discrepancy(tx, kind, paid, Some(&payment), paid.out_trade_no.clone()).await?;
    if learnt == Learnt::Notification {
        tx.plan(NewDue::new(due::INVESTIGATE, &paid.out_trade_no, tx.now()));
        return Ok(Booked::Doubtful);
    }
    let fen = Fen::new(paid.total)
        .ok()
        .filter(|fen| !fen.is_zero() && !foreign);
    let code = kind.as_str().to_ascii_uppercase();
    let order = Some(held.order.id);
    if payment.state.is_open() {
        let state = PaymentState::Failed { code };
        store::save_payment(
            tx,
            &Payment {
                state,
                ..payment.clone()
            },
        )
        .await?;
    }
    held.step(tx, Step::AmountDiffers, fen).await?;
    kit::due::cancel(tx, due::QUERY, &payment.id.to_string()).await?;
    let Some(fen) = fen else {
        // It cannot be booked in fen: the discrepancy stays open for a person.
        return Ok(Booked::Doubtful);
    };
    write_receipt(tx, Some(&payment), paid, ReceiptKind::Mismatch, learnt).await?;
    store::book_transfers(tx, &receipt_booked(&paid.transaction_id, fen, order, false)).await?;
    refund::give_back(tx, order, &paid.transaction_id, fen, RefundCause::Mismatch).await?;
    Ok(Booked::GoesBack)
}

/// Money, or talk of money, for an order we never placed.
async fn unknown(tx: &Tx, paid: &Paid, learnt: Learnt) -> Result<Booked> {
    if store::receipt(tx, &paid.transaction_id).await?.is_some() {
        return Ok(Booked::Known);
    }
    let kind = DiscrepancyKind::UnknownOrder;
    discrepancy(tx, kind, paid, None, paid.out_trade_no.clone()).await?;
    if learnt == Learnt::Notification {
        if is_trade_no(&paid.out_trade_no) {
            tx.plan(NewDue::new(due::INVESTIGATE, &paid.out_trade_no, tx.now()));
        }
        return Ok(Booked::Doubtful);
    }
    let fen = Fen::new(paid.total).ok().filter(|fen| !fen.is_zero());
    let Some(fen) = fen.filter(|_| paid.currency == CURRENCY) else {
        return Ok(Booked::Doubtful);
    };
    write_receipt(tx, None, paid, ReceiptKind::Unknown, learnt).await?;
    store::book_transfers(tx, &receipt_booked(&paid.transaction_id, fen, None, false)).await?;
    refund::give_back(tx, None, &paid.transaction_id, fen, RefundCause::Unknown).await?;
    Ok(Booked::GoesBack)
}

/// Whether it may stand in an address of the provider's.
pub(crate) fn is_trade_no(text: &str) -> bool {
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-');
    (6..=32).contains(&text.len()) && text.bytes().all(fits)
}

async fn discrepancy(
    tx: &Tx,
    kind: DiscrepancyKind,
    paid: &Paid,
    payment: Option<&Payment>,
    subject: String,
) -> Result<()> {
    let new = NewDiscrepancy {
        kind,
        subject,
        bill_date: None,
        order: payment.map(|one| one.order),
        ours_fen: payment.map(|one| one.amount.get()),
        theirs_fen: Some(paid.total),
        detail: format!("{} {}", paid.transaction_id, paid.currency),
    };
    store::note_discrepancy(tx, &new).await
}

/// Asks the provider about a payment of which nothing was heard.
///
/// # Errors
/// When the provider does not answer: the job is run again.
pub async fn query_payment(billing: &Billing, id: Uuid) -> Result<After> {
    let db = &billing.ctx.db;
    let payment = db
        .read("query_payment", async |tx| store::payment(tx, id).await)
        .await?;
    let Some(payment) = payment.filter(|one| one.state.is_open()) else {
        return Ok(After::Done);
    };
    let since = payment.silent_since();
    let again = After::At(next_query(since, billing.ctx.clock.now()));
    match billing.wechat.query(&payment.out_trade_no).await {
        Ok(transaction) => {
            let booked = billing.book(&transaction, Learnt::Query).await?;
            Ok(if booked.is_some() { After::Done } else { again })
        }
        Err(failure) if failure.code() == Some("ORDER_NOT_EXIST") => Ok(again),
        Err(failure) => Err(failure.into()),
    }
}

/// Asks the provider about an order that a notification spoke of and that did not fit.
///
/// # Errors
/// When the provider does not answer: the job is run again.
pub async fn investigate(billing: &Billing, out_trade_no: &str) -> Result<After> {
    let explanation = match billing.wechat.query(out_trade_no).await {
        Ok(transaction) => match billing.book(&transaction, Learnt::Query).await? {
            Some(Booked::Paid | Booked::Known) => {
                "asked: the provider says the amount that was asked for was paid"
            }
            // The discrepancy stays open: money came that should not have come so.
            Some(Booked::GoesBack | Booked::Asked | Booked::Doubtful) => return Ok(After::Done),
            None => "asked: the provider says nothing was paid",
        },
        Err(failure) if failure.code() == Some("ORDER_NOT_EXIST") => {
            "asked: the provider knows no such order"
        }
        Err(failure) => return Err(failure.into()),
    };
    billing
        .ctx
        .db
        .tx("explain", async |tx| {
            for kind in [
                DiscrepancyKind::AmountDiffers,
                DiscrepancyKind::CurrencyDiffers,
                DiscrepancyKind::UnknownOrder,
                DiscrepancyKind::MerchantDiffers,
            ] {
                store::explain(tx, kind, out_trade_no, explanation).await?;
            }
            Ok(())
        })
        .await?;
    Ok(After::Done)
}

impl Billing {
    /// Books what the provider says of an order when asked; `None` when nothing was paid.
    pub(crate) async fn book(
        &self,
        transaction: &Transaction,
        learnt: Learnt,
    ) -> Result<Option<Booked>> {
        let Some(paid) = Paid::of(transaction) else {
            if transaction.trade_state.is_paid() {
                return Err(Failure::Unreadable.into());
            }
            return Ok(None);
        };
        let union = self.ctx.union;
        let booked = self
            .ctx
            .db
            .tx("book_payment", async |tx| {
                receive(tx, union, &paid, learnt).await
            })
            .await?;
        Ok(Some(booked))
    }
}
