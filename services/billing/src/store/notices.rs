//! Notifications that verified, and what somebody must look at.

use chrono::NaiveDate;
use kit::types::OrderId;
use kit::{Error, Result, Tx};
use sea_orm::FromQueryResult;
use uuid::Uuid;

/// The essentials of a notification; never who paid.
#[derive(Clone, Debug, Default)]
pub struct Notice {
    /// SHA-256 of the body as it came.
    pub body_hash: Vec<u8>,
    pub notice_id: String,
    pub event_type: String,
    pub out_trade_no: Option<String>,
    pub transaction_id: Option<String>,
    pub out_refund_no: Option<String>,
    pub fen: Option<i64>,
    pub currency: Option<String>,
}

/// Writes a notification down, or counts that the same bytes came again.
///
/// # Errors
/// When the database fails.
pub async fn record_notice(tx: &Tx, notice: &Notice, outcome: &str) -> Result<()> {
    tx.execute(
        "INSERT INTO notice AS n (body_hash, notice_id, event_type, out_trade_no, transaction_id,
           out_refund_no, fen, currency, outcome, first_at, last_at)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $10)
         ON CONFLICT (body_hash) DO UPDATE SET times = n.times + 1, last_at = EXCLUDED.last_at,
           outcome = EXCLUDED.outcome",
        [
            notice.body_hash.clone().into(),
            notice.notice_id.clone().into(),
            notice.event_type.clone().into(),
            notice.out_trade_no.clone().into(),
            notice.transaction_id.clone().into(),
            notice.out_refund_no.clone().into(),
            notice.fen.into(),
            notice.currency.clone().into(),
            outcome.into(),
            tx.now().into(),
        ],
    )
    .await?;
    Ok(())
}

/// What can be wrong between the provider and us.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DiscrepancyKind {
    AmountDiffers,
    CurrencyDiffers,
    MerchantDiffers,
    UnknownOrder,
    MissingHere,
    MissingThere,
    StateDiffers,
    RefundStuck,
    /// The provider told of a refund otherwise than we know it.
    RefundNoticeDiffers,
    TransactionReused,
    /// A row of a bill that could not be read.
    BillRowUnreadable,
    BillSummaryDiffers,
    /// A file that is no bill, or has more unreadable rows than are listed.
    BillUnreadable,
    FeeDiffers,
}

impl DiscrepancyKind {
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::AmountDiffers => "amount_differs",
            Self::CurrencyDiffers => "currency_differs",
            Self::MerchantDiffers => "merchant_differs",
            Self::UnknownOrder => "unknown_order",
            Self::MissingHere => "missing_here",
            Self::MissingThere => "missing_there",
            Self::StateDiffers => "state_differs",
            Self::RefundStuck => "refund_stuck",
            Self::RefundNoticeDiffers => "refund_notice_differs",
            Self::TransactionReused => "transaction_reused",
            Self::BillRowUnreadable => "bill_row_unreadable",
            Self::BillSummaryDiffers => "bill_summary_differs",
            Self::BillUnreadable => "bill_unreadable",
            Self::FeeDiffers => "fee_differs",
        }
    }
}

/// Something to look at.
#[derive(Clone, Debug)]
pub struct NewDiscrepancy {
    pub kind: DiscrepancyKind,
    /// With the kind, what it is about: once.
    pub subject: String,
    pub bill_date: Option<NaiveDate>,
    pub order: Option<OrderId>,
    pub ours_fen: Option<i64>,
    pub theirs_fen: Option<i64>,
    pub detail: String,
}

/// Writes it down once; an explained one that comes again is open again, save one that a person
/// has explained and of which nothing else is told now.
///
/// # Errors
/// When the database fails.
pub async fn note_discrepancy(tx: &Tx, new: &NewDiscrepancy) -> Result<()> {
    metrics::counter!("bashu_billing_discrepancies_total", "kind" => new.kind.as_str())
        .increment(1);
    tracing::error!(
        kind = new.kind.as_str(),
        subject = new.subject,
        "a discrepancy"
    );
    tx.execute(
        "INSERT INTO discrepancy (id, kind, subject, bill_date, order_id, ours_fen, theirs_fen,
           detail, found_at)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)
         ON CONFLICT (kind, subject) DO UPDATE SET state = 'open', explanation = NULL,
           explained_at = NULL, bill_date = COALESCE(EXCLUDED.bill_date, discrepancy.bill_date),
           ours_fen = EXCLUDED.ours_fen, theirs_fen = EXCLUDED.theirs_fen,
           detail = EXCLUDED.detail, by_hand = false
         WHERE NOT (discrepancy.by_hand
           AND (discrepancy.ours_fen, discrepancy.theirs_fen, discrepancy.detail)
             IS NOT DISTINCT FROM (EXCLUDED.ours_fen, EXCLUDED.theirs_fen, EXCLUDED.detail))",
        [
            tx.uuid().into(),
            new.kind.as_str().into(),
            new.subject.clone().into(),
            new.bill_date.into(),
            new.order.map(|order| order.0).into(),
            new.ours_fen.into(),
            new.theirs_fen.into(),
            new.detail.clone().into(),
            tx.now().into(),
        ],
    )
    .await?;
    Ok(())
}

/// Explains an open discrepancy; the rows it changed.
///
/// # Errors
/// When the database fails.
pub async fn explain(
    tx: &Tx,
    kind: DiscrepancyKind,
    subject: &str,
    explanation: &str,
) -> Result<u64> {
    tx.execute(
        "UPDATE discrepancy SET state = 'explained', explanation = $3, explained_at = $4
         WHERE kind = $1 AND subject = $2 AND state = 'open'",
        [
            kind.as_str().into(),
            subject.into(),
            explanation.into(),
            tx.now().into(),
        ],
    )
    .await
}

/// The state of a discrepancy.
///
/// # Errors
/// When the database fails.
pub async fn find_discrepancy(
    tx: &Tx,
    kind: DiscrepancyKind,
    subject: &str,
) -> Result<Option<String>> {
    #[derive(FromQueryResult)]
    struct Row {
        state: String,
    }
    let sql = "SELECT state FROM discrepancy WHERE kind = $1 AND subject = $2";
    let row = tx
        .one::<Row>(sql, [kind.as_str().into(), subject.into()])
        .await?;
    Ok(row.map(|row| row.state))
}

/// What somebody looks at.
#[derive(Clone, Debug, FromQueryResult)]
pub struct LookedAt {
    pub kind: String,
    pub subject: String,
    pub state: String,
}

/// A discrepancy, locked; where it is about a refund, lock that first.
///
/// # Errors
/// Not found.
pub async fn lock_discrepancy(tx: &Tx, id: Uuid) -> Result<LookedAt> {
    let sql = "SELECT kind, subject, state FROM discrepancy WHERE id = $1 FOR UPDATE";
    tx.one(sql, [id.into()]).await?.ok_or(Error::NotFound)
}

/// The refund that a discrepancy is about, not locked.
///
/// # Errors
/// When the database fails.
pub async fn refund_looked_at(tx: &Tx, id: Uuid) -> Result<Option<Uuid>> {
    #[derive(FromQueryResult)]
    struct Row {
        id: Uuid,
    }
    let sql = "SELECT r.id FROM discrepancy d JOIN refund r ON r.id::text = d.subject
               WHERE d.id = $1 AND d.kind = 'refund_stuck'";
    Ok(tx.one::<Row>(sql, [id.into()]).await?.map(|row| row.id))
}

/// Explains a locked discrepancy in somebody's own words.
///
/// # Errors
/// When the database fails.
pub async fn explain_by_hand(tx: &Tx, id: Uuid, explanation: &str) -> Result<()> {
    tx.execute(
        "UPDATE discrepancy SET state = 'explained', explanation = $2, explained_at = $3,
           by_hand = true
         WHERE id = $1",
        [id.into(), explanation.into(), tx.now().into()],
    )
    .await?;
    Ok(())
}
