//! What is read: the owner first, so that what is another's is not found.

use chrono::{DateTime, NaiveDate, Utc};
use kit::access::{self, Caller, Member, Role};
use kit::graphql::{Page, foreign_cursor};
use kit::types::{MemberId, OrderId, OrganisationId};
use kit::{Db, Error, Result, Tx};
use sea_orm::FromQueryResult;
use uuid::Uuid;

use crate::domain::{Line, Order, Payment, Refund};
use crate::store::{
    self, LINE, LineRow, ORDER, OrderRow, PAYMENT, PERSONS, PaymentRow, REFUND, RefundRow,
};

#[derive(FromQueryResult)]
struct StateRow {
    state: String,
}

/// The state of an order, for one that waits for it.
///
/// # Errors
/// When the database fails.
pub async fn order_state(db: &Db, id: OrderId) -> Result<Option<String>> {
    let row = db
        .one::<StateRow>("SELECT state FROM orders WHERE id = $1", [id.0.into()])
        .await?;
    Ok(row.map(|row| row.state))
}

/// The state of a day's comparison, for one that waits for it.
///
/// # Errors
/// When the database fails.
pub async fn reconciliation_state(db: &Db, date: NaiveDate) -> Result<Option<String>> {
    let sql = "SELECT state FROM reconciliation WHERE date = $1";
    Ok(db
        .one::<StateRow>(sql, [date.into()])
        .await?
        .map(|row| row.state))
}

/// An order of the caller's, or any for an operator; `None` when there is none to be seen.
///
/// # Errors
/// Unauthenticated.
pub async fn order(tx: &Tx, caller: &Caller, id: OrderId) -> Result<Option<Order>> {
    let member = access::member(tx, caller).await?;
    let sql = format!(
        "{PERSONS} SELECT {ORDER} FROM orders o JOIN person p ON o.member = p.id WHERE o.id = $2"
    );
    let row = tx
        .one::<OrderRow>(&sql, [member.id.0.into(), id.0.into()])
        .await?;
    if let Some(row) = row {
        return row.order().map(Some);
    }
    if !is_operator(tx, caller).await? {
        return Ok(None);
    }
    let sql = format!("SELECT {ORDER} FROM orders o WHERE o.id = $1");
    tx.one::<OrderRow>(&sql, [id.0.into()])
        .await?
        .map(OrderRow::order)
        .transpose()
}

/// [`order`] as one of many things that a request names: who asks without a token, or for
/// another's while identity is not heard of, does not see it, and sees the rest.
///
/// # Errors
/// When the database fails.
pub async fn order_seen(tx: &Tx, caller: &Caller, id: OrderId) -> Result<Option<Order>> {
    match order(tx, caller, id).await {
        Err(Error::Unauthenticated(_) | Error::Unavailable(_)) => Ok(None),
        other => other,
    }
}

async fn is_operator(tx: &Tx, caller: &Caller) -> Result<bool> {
    match access::operator(tx, caller).await {
        Ok(_) => Ok(true),
        Err(Error::Forbidden(_)) => Ok(false),
        Err(error) => Err(error),
    }
}

/// A page of a member's orders, newest first; none for everybody but herself and operators.
///
/// # Errors
/// Unauthenticated.
pub async fn orders(
    tx: &Tx,
    caller: &Caller,
    of: Option<MemberId>,
    page: &Page,
) -> Result<Vec<Order>> {
    let member = access::member(tx, caller).await?;
    let of = of.unwrap_or(member.id);
    if of != member.id && !is_same(tx, member, of).await? {
        match is_operator(tx, caller).await {
            Ok(true) => {}
            Ok(false) | Err(Error::Unavailable(_)) => return Ok(Vec::new()),
            Err(error) => return Err(error),
        }
    }
    let (direction, sign) = page.newest_first();
    let sql = format!(
        "{PERSONS} SELECT {ORDER} FROM orders o JOIN person p ON o.member = p.id
         WHERE ($2::timestamptz IS NULL OR (o.created_at, o.id) {sign} ($2, $3))
         ORDER BY o.created_at {direction}, o.id {direction} LIMIT $4"
    );
    let from = page
        .from
        .as_ref()
        .map(kit::graphql::Cursor::to_at::<Uuid>)
        .transpose()?;
    let values = [
        of.0.into(),
        from.map(|(at, _)| at).into(),
        from.map(|(_, id)| id).into(),
        page.limit().into(),
    ];
    let rows = tx.all::<OrderRow>(&sql, values).await?;
    rows.into_iter().map(OrderRow::order).collect()
}

async fn is_same(tx: &Tx, member: Member, other: MemberId) -> Result<bool> {
    #[derive(FromQueryResult)]
    struct Row {
        found: bool,
    }
    let sql = format!("{PERSONS} SELECT EXISTS (SELECT 1 FROM person WHERE id = $2) AS found");
    let row = tx
        .one::<Row>(&sql, [member.id.0.into(), other.0.into()])
        .await?;
    Ok(row.is_some_and(|row| row.found))
}

/// The lines of orders, those of each in their order.
///
/// # Errors
/// When the database fails.
pub async fn lines(db: &Db, orders: Vec<Uuid>) -> Result<Vec<(OrderId, Line)>> {
    let sql = format!(
        "SELECT {LINE} FROM order_line l WHERE l.order_id = ANY ($1) ORDER BY l.order_id, l.ordinal"
    );
    let rows = db.all::<LineRow>(&sql, [orders.into()]).await?;
    rows.into_iter().map(LineRow::line).collect()
}

/// Of each order the payment that succeeded, or else the last that was begun.
///
/// # Errors
/// When the database fails.
pub async fn last_payments(db: &Db, orders: Vec<Uuid>) -> Result<Vec<Payment>> {
    let sql = format!(
        "SELECT DISTINCT ON (p.order_id) {PAYMENT} FROM payment p WHERE p.order_id = ANY ($1)
         ORDER BY p.order_id, p.state = 'succeeded' DESC, p.created_at DESC, p.id DESC"
    );
    let rows = db.all::<PaymentRow>(&sql, [orders.into()]).await?;
    rows.into_iter().map(PaymentRow::payment).collect()
}

/// The refunds of orders, oldest first.
///
/// # Errors
/// When the database fails.
pub async fn refunds(db: &Db, orders: Vec<Uuid>) -> Result<Vec<(OrderId, Refund)>> {
    let sql = format!(
        "SELECT {REFUND} FROM refund r WHERE r.order_id = ANY ($1) ORDER BY r.requested_at, r.id"
    );
    let rows = db.all::<RefundRow>(&sql, [orders.into()]).await?;
    let refunds = rows.into_iter().map(RefundRow::refund);
    refunds
        .filter_map(|refund| match refund {
            Ok(refund) => refund.order.map(|order| Ok((order, refund))),
            Err(error) => Some(Err(error)),
        })
        .collect()
}

/// The order with this number, for its payer and for operators.
///
/// # Errors
/// Unauthenticated.
pub async fn order_of_number(tx: &Tx, caller: &Caller, number: &str) -> Result<Option<Order>> {
    match store::order_of_number(tx, number).await? {
        Some(id) => order(tx, caller, id).await,
        None => access::member(tx, caller).await.map(|_| None),
    }
}

/// A day's comparison with the provider's bill.
#[derive(Clone, Debug, FromQueryResult)]
pub struct ReconciliationRow {
    pub date: NaiveDate,
    pub state: String,
    pub runs: i32,
    pub bill_sha1: Option<String>,
    pub rows: i32,
    pub matched: i32,
    pub differences: i32,
    pub paid_fen: i64,
    pub refunded_fen: i64,
    pub fee_fen: i64,
    pub ran_at: Option<DateTime<Utc>>,
}

/// Something that was not as it should be.
#[derive(Clone, Debug, FromQueryResult)]
pub struct DiscrepancyRow {
    pub id: Uuid,
    pub kind: String,
    pub subject: String,
    pub order_id: Option<Uuid>,
    pub ours_fen: Option<i64>,
    pub theirs_fen: Option<i64>,
    pub detail: String,
    /// The refund that is stuck.
    pub refund: Option<Uuid>,
    pub state: String,
    pub explanation: Option<String>,
    pub found_at: DateTime<Utc>,
}

const RECONCILIATION: &str = "date, state, runs, bill_sha1, rows, matched, differences, paid_fen,
    refunded_fen, fee_fen, ran_at";
const DISCREPANCY: &str = "id, kind, subject, order_id, ours_fen, theirs_fen, detail,
    CASE WHEN kind = 'refund_stuck' THEN
      (SELECT r.id FROM refund r WHERE r.id = subject::uuid) END AS refund,
    state, explanation, found_at";
/// Differences of one day that are listed, at most.
const DIFFERENCES_MAX: i64 = 500;

/// Operators, and the auditors (经审) of the union itself.
///
/// # Errors
/// Unauthenticated, forbidden, or unavailable when identity is not heard of.
pub async fn may_see_books(tx: &Tx, caller: &Caller) -> Result<()> {
    #[derive(FromQueryResult)]
    struct Row {
        id: Uuid,
    }
    if is_operator(tx, caller).await? {
        return Ok(());
    }
    let sql = "SELECT id FROM replica_organisation
               WHERE cardinality(path) = 1 AND NOT partner ORDER BY id LIMIT 1";
    let root = tx
        .one::<Row>(sql, [])
        .await?
        .ok_or(Error::Forbidden("operators only"))?;
    access::office(tx, caller, &[Role::Auditor], OrganisationId(root.id))
        .await
        .map(|_| ())
}

/// A page of days, newest first.
///
/// # Errors
/// As [`may_see_books`].
pub async fn reconciliations(
    tx: &Tx,
    caller: &Caller,
    page: &Page,
) -> Result<Vec<ReconciliationRow>> {
    may_see_books(tx, caller).await?;
    let from = match &page.from {
        None => None,
        Some(cursor) => {
            let [date] = cursor.parts().ok_or_else(foreign_cursor)?;
            Some(date.parse::<NaiveDate>().map_err(|_| foreign_cursor())?)
        }
    };
    let (direction, sign) = page.newest_first();
    let sql = format!(
        "SELECT {RECONCILIATION} FROM reconciliation
         WHERE ($1::date IS NULL OR date {sign} $1) ORDER BY date {direction} LIMIT $2"
    );
    tx.all(&sql, [from.into(), page.limit().into()]).await
}

/// One day.
///
/// # Errors
/// When the database fails.
pub async fn reconciliation(tx: &Tx, date: NaiveDate) -> Result<Option<ReconciliationRow>> {
    let sql = format!("SELECT {RECONCILIATION} FROM reconciliation WHERE date = $1");
    tx.one(&sql, [date.into()]).await
}

/// The differences of a day.
///
/// # Errors
/// When the database fails.
pub async fn differences(tx: &Tx, date: NaiveDate) -> Result<Vec<DiscrepancyRow>> {
    let sql = format!(
        "SELECT {DISCREPANCY} FROM discrepancy WHERE bill_date = $1
         ORDER BY state DESC, found_at, id LIMIT $2"
    );
    tx.all(&sql, [date.into(), DIFFERENCES_MAX.into()]).await
}

/// A page of what somebody must look at, newest first.
///
/// # Errors
/// As [`may_see_books`].
pub async fn discrepancies(tx: &Tx, caller: &Caller, page: &Page) -> Result<Vec<DiscrepancyRow>> {
    may_see_books(tx, caller).await?;
    let from = page
        .from
        .as_ref()
        .map(kit::graphql::Cursor::to_at::<Uuid>)
        .transpose()?;
    let (direction, sign) = page.newest_first();
    let sql = format!(
        "SELECT {DISCREPANCY} FROM discrepancy
         WHERE state = 'open' AND ($1::timestamptz IS NULL OR (found_at, id) {sign} ($1, $2))
         ORDER BY found_at {direction}, id {direction} LIMIT $3"
    );
    let values = [
        from.map(|(at, _)| at).into(),
        from.map(|(_, id)| id).into(),
        page.limit().into(),
    ];
    tx.all(&sql, values).await
}

/// A discrepancy.
///
/// # Errors
/// When the database fails.
pub async fn discrepancy(tx: &Tx, id: Uuid) -> Result<Option<DiscrepancyRow>> {
    let sql = format!("SELECT {DISCREPANCY} FROM discrepancy WHERE id = $1");
    tx.one(&sql, [id.into()]).await
}

/// An account and what moved on it.
#[derive(Clone, Debug, FromQueryResult)]
pub struct AccountRow {
    pub code: String,
    pub kind: String,
    pub zh: String,
    pub en: String,
    pub debit_fen: i64,
    pub credit_fen: i64,
}

/// Every account.
///
/// # Errors
/// As [`may_see_books`].
pub async fn accounts(tx: &Tx, caller: &Caller) -> Result<Vec<AccountRow>> {
    may_see_books(tx, caller).await?;
    tx.all(
        "SELECT code, kind, zh, en, debit_fen, credit_fen FROM account_balance ORDER BY code",
        [],
    )
    .await
}
