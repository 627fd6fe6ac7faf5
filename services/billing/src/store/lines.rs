//! The lines of orders, the shares that pay them, and what was said of orders too early.

use chrono::{DateTime, Utc};
use kit::types::{Fen, MemberId, OrderId, OrganisationId};
use kit::{Result, Tx};
use sea_orm::FromQueryResult;
use uuid::Uuid;

use super::{PERSONS, amount, broken};
use crate::domain::{Line, Payer, Share, ShareState, Source};

#[derive(FromQueryResult)]
pub(crate) struct LineRow {
    order_id: Uuid,
    id: Uuid,
    member: Uuid,
    item: String,
    product: Uuid,
    entitlement: i64,
    title_zh: String,
    title_en: String,
    price_fen: i64,
    returned_fen: i64,
}

/// Every column of a line, for `FROM order_line l`.
pub(crate) const LINE: &str = "l.order_id, l.id, l.member, l.item, l.product, l.entitlement,
    l.title_zh, l.title_en, l.price_fen, l.returned_fen";

impl LineRow {
    pub(crate) fn line(self) -> Result<(OrderId, Line)> {
        let line = Line {
            id: self.id,
            member: MemberId(self.member),
            item: self.item,
            product: self.product,
            entitlement: self.entitlement,
            title_zh: self.title_zh,
            title_en: self.title_en,
            price: amount(self.price_fen)?,
            returned: amount(self.returned_fen)?,
        };
        Ok((OrderId(self.order_id), line))
    }
}

/// The lines of an order, in their order.
///
/// # Errors
/// When the database fails.
pub async fn lines(tx: &Tx, order: OrderId) -> Result<Vec<Line>> {
    let sql = format!("SELECT {LINE} FROM order_line l WHERE l.order_id = $1 ORDER BY l.ordinal");
    let rows = tx.all::<LineRow>(&sql, [order.0.into()]).await?;
    rows.into_iter().map(|row| Ok(row.line()?.1)).collect()
}

#[derive(FromQueryResult)]
struct ShareRow {
    ordinal: i32,
    source: String,
    payer_member: Option<Uuid>,
    payer_organisation: Option<Uuid>,
    fen: i64,
    pay_by: DateTime<Utc>,
    state: String,
    returned_fen: i64,
}

/// The shares of a line.
///
/// # Errors
/// When the database fails.
pub async fn shares(tx: &Tx, line: Uuid) -> Result<Vec<Share>> {
    let rows = tx
        .all::<ShareRow>(
            "SELECT ordinal, source, payer_member, payer_organisation, fen, pay_by, state,
               returned_fen
             FROM line_share WHERE line = $1 ORDER BY ordinal FOR UPDATE",
            [line.into()],
        )
        .await?;
    rows.into_iter()
        .map(|row| {
            let payer = match (row.payer_member, row.payer_organisation) {
                (Some(id), None) => Payer::Member(MemberId(id)),
                (None, Some(id)) => Payer::Organisation(OrganisationId(id)),
                _ => return Err(broken("a share's payer")),
            };
            Ok(Share {
                ordinal: row.ordinal,
                source: Source::parse(&row.source).ok_or_else(|| broken("a share's source"))?,
                payer,
                fen: amount(row.fen)?,
                pay_by: row.pay_by,
                state: ShareState::parse(&row.state).ok_or_else(|| broken("a share's state"))?,
                returned: amount(row.returned_fen)?,
            })
        })
        .collect()
}

/// What of an order is open for this member, or someone merged into her, to pay.
///
/// # Errors
/// When the database fails.
pub async fn open_share(tx: &Tx, order: OrderId, member: MemberId) -> Result<Fen> {
    #[derive(FromQueryResult)]
    struct Row {
        fen: i64,
    }
    let sql = format!(
        "{PERSONS} SELECT COALESCE(sum(s.fen), 0)::bigint AS fen
         FROM order_line l JOIN line_share s ON s.line = l.id
         JOIN person p ON s.payer_member = p.id
         WHERE l.order_id = $2 AND s.state = 'open'"
    );
    let row = tx
        .one::<Row>(&sql, [member.0.into(), order.0.into()])
        .await?;
    amount(row.map_or(0, |row| row.fen))
}

/// Changes the state of an order's open shares.
///
/// # Errors
/// When the database fails.
pub async fn mark_shares(tx: &Tx, order: OrderId, state: ShareState) -> Result<()> {
    tx.execute(
        "UPDATE line_share s SET state = $2 FROM order_line l
         WHERE s.line = l.id AND l.order_id = $1 AND s.state = 'open'",
        [order.0.into(), state.as_str().into()],
    )
    .await?;
    Ok(())
}

/// What goes back of a line, and how much of it from each share.
#[derive(Clone, Debug)]
pub struct ReturnLine {
    pub line: Uuid,
    pub fen: Fen,
    /// By the shares' ordinals.
    pub shares: Vec<(i32, Fen)>,
}

/// Takes a return off a line and its shares; `false` when the line has less left.
///
/// # Errors
/// When the database fails.
pub async fn return_line(tx: &Tx, back: &ReturnLine) -> Result<bool> {
    let rows = tx
        .execute(
            "UPDATE order_line SET returned_fen = returned_fen + $2
             WHERE id = $1 AND returned_fen + $2 <= price_fen",
            [back.line.into(), back.fen.get().into()],
        )
        .await?;
    for (ordinal, fen) in back.shares.iter().filter(|(_, fen)| !fen.is_zero()) {
        tx.execute(
            "UPDATE line_share SET returned_fen = returned_fen + $3
             WHERE line = $1 AND ordinal = $2",
            [back.line.into(), (*ordinal).into(), fen.get().into()],
        )
        .await?;
    }
    Ok(rows == 1)
}

/// Whether the line is this order's, and what of its price is left.
///
/// # Errors
/// When the database fails.
pub async fn line_return(tx: &Tx, order: OrderId, line: Uuid) -> Result<Option<Fen>> {
    #[derive(FromQueryResult)]
    struct Row {
        left: i64,
    }
    let row = tx
        .one::<Row>(
            "SELECT price_fen - returned_fen AS left FROM order_line
             WHERE id = $2 AND order_id = $1 FOR UPDATE",
            [order.0.into(), line.into()],
        )
        .await?;
    row.map(|row| amount(row.left)).transpose()
}

/// A return that came before its order, or before the order was paid.
#[derive(Clone, Debug, FromQueryResult)]
pub struct EarlyReturn {
    pub return_id: Uuid,
    pub order_id: Uuid,
    pub line_id: Uuid,
    pub refund_fen: i64,
    pub seller: String,
}

/// Keeps a return until its order has arrived and is paid.
///
/// # Errors
/// When the database fails.
pub async fn early_return(tx: &Tx, early: &EarlyReturn) -> Result<()> {
    tx.execute(
        "INSERT INTO early_return (return_id, order_id, line_id, refund_fen, seller)
         VALUES ($1, $2, $3, $4, $5) ON CONFLICT (return_id) DO NOTHING",
        [
            early.return_id.into(),
            early.order_id.into(),
            early.line_id.into(),
            early.refund_fen.into(),
            early.seller.clone().into(),
        ],
    )
    .await?;
    Ok(())
}

/// Takes out the returns that waited for this order.
///
/// # Errors
/// When the database fails.
pub async fn early_returns(tx: &Tx, order: OrderId) -> Result<Vec<EarlyReturn>> {
    tx.all(
        "DELETE FROM early_return WHERE order_id = $1
         RETURNING return_id, order_id, line_id, refund_fen, seller",
        [order.0.into()],
    )
    .await
}

/// An end that was said of an order before it arrived.
#[derive(Clone, Debug, FromQueryResult)]
pub struct EarlyEnd {
    pub order_id: Uuid,
    /// `hold_lapsed` or `refused`.
    pub kind: String,
    pub reason: String,
    pub seller: String,
}

/// Keeps the end until the order arrives.
///
/// # Errors
/// When the database fails.
pub async fn early_end(tx: &Tx, early: &EarlyEnd) -> Result<()> {
    tx.execute(
        "INSERT INTO early_end (order_id, kind, reason, seller) VALUES ($1, $2, $3, $4)
         ON CONFLICT (order_id, kind) DO NOTHING",
        [
            early.order_id.into(),
            early.kind.clone().into(),
            early.reason.clone().into(),
            early.seller.clone().into(),
        ],
    )
    .await?;
    Ok(())
}

/// Takes out the ends that waited for these orders.
///
/// # Errors
/// When the database fails.
pub async fn early_ends(tx: &Tx, orders: Vec<Uuid>) -> Result<Vec<EarlyEnd>> {
    tx.all(
        "DELETE FROM early_end WHERE order_id = ANY ($1)
         RETURNING order_id, kind, reason, seller",
        [orders.into()],
    )
    .await
}
