//! The provider's notifications: believed on their raw bytes, opened, checked against what we
//! know, and taken in once, however often and in whatever order they come.
//!
//! What does not verify leaves no row: whoever reaches the address could fill the disk with it.

use axum::http::HeaderMap;
use kit::due::NewDue;
use kit::types::Union;
use kit::{Result, Tx};
use sha2::{Digest, Sha256};

use super::refunding::{Progress, learn};
use super::settle::{Booked, Learnt, Paid, is_trade_no, receive};
use crate::domain::Refund;
use crate::store::{self, DiscrepancyKind, NewDiscrepancy, Notice};
use crate::wechat::{RefundNotice, RefundStatus, Transaction, Unopened};
use crate::{Billing, due, wechat};

/// The longest text of a notification that is kept, in characters.
const TEXT_CHARS_MAX: usize = 64;
const PAYMENT_EVENT: &str = "TRANSACTION.SUCCESS";
const REFUND_EVENTS: &str = "REFUND.";

/// What the provider is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Received {
    /// Taken in; it need not come again.
    Accepted,
    /// It is not the provider's, or not about us.
    Unbelieved(&'static str),
    /// It is the provider's and does not fit; the provider is being asked.
    Doubtful(&'static str),
}

/// A notification that verified and was opened, as it is kept, and what was sealed in it.
struct Opened {
    notice: Notice,
    plain: Vec<u8>,
}

fn short(text: &str) -> String {
    text.chars().take(TEXT_CHARS_MAX).collect()
}

/// Believes and opens the bytes, or says why not.
fn open(
    billing: &Billing,
    headers: &HeaderMap,
    body: &[u8],
) -> std::result::Result<Opened, &'static str> {
    let now = billing.ctx.clock.now().timestamp();
    let opened = wechat::open(billing.wechat.merchant(), headers, body, now).map_err(refused)?;
    let notice = Notice {
        body_hash: Sha256::digest(body).to_vec(),
        notice_id: short(&opened.id),
        event_type: short(&opened.event_type),
        ..Notice::default()
    };
    Ok(Opened {
        notice,
        plain: opened.plain,
    })
}

/// Counts one that is not opened; what the provider is told of it.
fn refused(why: Unopened) -> &'static str {
    match why {
        Unopened::Untrusted(why) => {
            metrics::counter!("bashu_wechat_untrusted_total", "reason" => why.label()).increment(1);
            tracing::warn!(reason = why.label(), "a notification is not believed");
            "SIGN_ERROR"
        }
        Unopened::Malformed => "PARAM_ERROR",
        Unopened::Sealed => {
            metrics::counter!("bashu_wechat_untrusted_total", "reason" => "sealed").increment(1);
            tracing::error!("a signed notification does not open");
            "DECRYPT_ERROR"
        }
    }
}

/// A payment was made, says the provider.
///
/// # Errors
/// When the database fails: the provider sends it again.
pub async fn payment_notified(
    billing: &Billing,
    headers: &HeaderMap,
    body: &[u8],
) -> Result<Received> {
    let Opened { notice, plain } = match open(billing, headers, body) {
        Ok(opened) => opened,
        Err(code) => return Ok(Received::Unbelieved(code)),
    };
    if notice.event_type != PAYMENT_EVENT {
        return Ok(Received::Unbelieved("PARAM_ERROR"));
    }
    let Ok(transaction) = serde_json::from_slice::<Transaction>(&plain) else {
        return Ok(Received::Unbelieved("PARAM_ERROR"));
    };
    let Some(paid) = Paid::of(&transaction) else {
        return Ok(Received::Unbelieved("PARAM_ERROR"));
    };
    let notice = Notice {
        out_trade_no: Some(short(&paid.out_trade_no)),
        transaction_id: Some(short(&paid.transaction_id)),
        fen: Some(paid.total),
        currency: Some(short(&paid.currency)),
        ..notice
    };
    let merchant = billing.wechat.merchant();
    let ours = merchant.is_ours(&transaction.mchid, &transaction.appid);
    let union = billing.ctx.union;
    let received = billing
        .ctx
        .db
        .tx("payment_notified", async |tx| {
            if ours {
                take_in(tx, union, &notice, &paid).await
            } else {
                other_merchant(tx, &notice, &paid).await
            }
        })
        .await?;
    Ok(received)
}

async fn take_in(tx: &Tx, union: Union, notice: &Notice, paid: &Paid) -> Result<Received> {
    let (outcome, received) = match receive(tx, union, paid, Learnt::Notification).await? {
        Booked::Paid => ("paid", Received::Accepted),
        Booked::Known => ("known", Received::Accepted),
        Booked::GoesBack => ("goes_back", Received::Accepted),
        Booked::Asked => ("asked", Received::Accepted),
        Booked::Doubtful => ("doubtful", Received::Doubtful("ORDER_DOES_NOT_FIT")),
    };
    store::record_notice(tx, notice, outcome).await?;
    Ok(received)
}

async fn other_merchant(tx: &Tx, notice: &Notice, paid: &Paid) -> Result<Received> {
    let new = NewDiscrepancy {
        kind: DiscrepancyKind::MerchantDiffers,
        subject: short(&paid.out_trade_no),
        bill_date: None,
        order: None,
        ours_fen: None,
        theirs_fen: Some(paid.total),
        detail: short(&paid.transaction_id),
    };
    store::note_discrepancy(tx, &new).await?;
    if is_trade_no(&paid.out_trade_no) {
        tx.plan(NewDue::new(due::INVESTIGATE, &paid.out_trade_no, tx.now()));
    }
    store::record_notice(tx, notice, "merchant_differs").await?;
    Ok(Received::Doubtful("MCH_DOES_NOT_FIT"))
}

/// A refund came to an end, says the provider.
///
/// # Errors
/// When the database fails: the provider sends it again.
pub async fn refund_notified(
    billing: &Billing,
    headers: &HeaderMap,
    body: &[u8],
) -> Result<Received> {
    let Opened { notice, plain } = match open(billing, headers, body) {
        Ok(opened) => opened,
        Err(code) => return Ok(Received::Unbelieved(code)),
    };
    if !notice.event_type.starts_with(REFUND_EVENTS) {
        return Ok(Received::Unbelieved("PARAM_ERROR"));
    }
    let Ok(said) = serde_json::from_slice::<RefundNotice>(&plain) else {
        return Ok(Received::Unbelieved("PARAM_ERROR"));
    };
    let notice = Notice {
        out_trade_no: Some(short(&said.out_trade_no)),
        transaction_id: Some(short(&said.transaction_id)),
        out_refund_no: Some(short(&said.out_refund_no)),
        fen: Some(said.amount.refund),
        ..notice
    };
    let ours = said.mchid == billing.wechat.merchant().mchid;
    let union = billing.ctx.union;
    let received = billing
        .ctx
        .db
        .tx("refund_notified", async |tx| {
            refund(tx, union, ours, &notice, &said).await
        })
        .await?;
    Ok(received)
}

async fn refund(
    tx: &Tx,
    union: Union,
    ours: bool,
    notice: &Notice,
    said: &RefundNotice,
) -> Result<Received> {
    let found = store::refund_by_number(tx, &said.out_refund_no).await?;
    let known = found.as_ref().filter(|_| ours);
    let is_known = match known {
        Some(refund) if refund.transaction_id.as_deref() == Some(&said.transaction_id) => {
            let progress = Progress {
                out_refund_no: said.out_refund_no.clone(),
                refund_id: said.refund_id.clone(),
                status: said.refund_status,
                fen: said.amount.refund,
                accepted_at: None,
                done_at: said.success_time.map(|at| at.with_timezone(&chrono::Utc)),
            };
            learn(tx, union, refund.id, &progress).await?
        }
        Some(_) | None => false,
    };
    // One that was closed is asked for under another number by now, be it since we looked.
    let fits = is_known || (ours && is_closed_attempt(tx, said).await?);
    if fits {
        store::record_notice(tx, notice, "refund").await?;
        return Ok(Received::Accepted);
    }
    store::record_notice(tx, notice, "doubtful").await?;
    refund_differs(tx, found.as_ref(), ours, said).await?;
    Ok(Received::Doubtful("REFUND_DOES_NOT_FIT"))
}

/// The provider says of an attempt that it closed what was learnt before: that it is closed.
async fn is_closed_attempt(tx: &Tx, said: &RefundNotice) -> Result<bool> {
    if said.refund_status != RefundStatus::Closed {
        return Ok(false);
    }
    let about = (said.transaction_id.as_str(), said.amount.refund);
    store::is_closed_attempt(tx, &said.out_refund_no, about).await
}

/// The provider speaks of a refund otherwise than we know it, or of one that we do not know:
/// somebody is told, and where there is something to ask about the provider is asked.
async fn refund_differs(
    tx: &Tx,
    known: Option<&Refund>,
    ours: bool,
    said: &RefundNotice,
) -> Result<()> {
    let whose = if ours { "" } else { " of another merchant" };
    let new = NewDiscrepancy {
        kind: DiscrepancyKind::RefundNoticeDiffers,
        subject: short(&said.out_refund_no),
        bill_date: None,
        order: known.and_then(|refund| refund.order),
        ours_fen: known.map(|refund| refund.fen.get()),
        theirs_fen: Some(said.amount.refund),
        detail: format!("{:?} {}{whose}", said.refund_status, short(&said.refund_id)),
    };
    store::note_discrepancy(tx, &new).await?;
    if let Some(refund) = known {
        tx.plan(NewDue::new(due::REFUND_QUERY, refund.id, tx.now()));
    }
    Ok(())
}
