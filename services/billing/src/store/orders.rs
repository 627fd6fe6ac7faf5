//! Orders, their lines and the shares of the lines.

use std::collections::HashMap;

use chrono::{DateTime, Utc};
use kit::types::{MemberId, OrderId, OrganisationId};
use kit::{Error, Result, Tx};
use sea_orm::FromQueryResult;
use uuid::Uuid;

use super::{PERSONS, amount, broken};
use crate::domain::{CloseReason, Line, Order, OrderState, Payer, Source};

#[derive(Clone, Debug, FromQueryResult)]
pub(crate) struct OrderRow {
    id: Uuid,
    version: i64,
    number: String,
    member: Option<Uuid>,
    organisation: Option<Uuid>,
    seller: String,
    revision: i64,
    content_hash: Vec<u8>,
    total_fen: i64,
    returned_fen: i64,
    refunded_fen: i64,
    state: String,
    closing: Option<String>,
    refused: Option<String>,
    created_at: DateTime<Utc>,
    close_at: DateTime<Utc>,
    paid_at: Option<DateTime<Utc>>,
    closed_at: Option<DateTime<Utc>>,
}

/// Every column of an order, for `FROM orders o`.
pub(crate) const ORDER: &str = "o.id, o.version, o.number, o.member, o.organisation, o.seller,
    o.revision, o.content_hash, o.total_fen, o.returned_fen, o.refunded_fen, o.state, o.closing,
    o.refused, o.created_at, o.close_at, o.paid_at, o.closed_at";

impl OrderRow {
    pub(crate) fn order(self) -> Result<Order> {
        let closing = match self.closing.as_deref() {
            None => None,
            Some(text) => {
                Some(CloseReason::parse(text).ok_or_else(|| broken("an order's closing"))?)
            }
        };
        let state = match (self.state.as_str(), self.paid_at, self.closed_at, closing) {
            ("open", None, None, closing) => OrderState::Open { closing },
            ("paid", Some(at), None, _) => OrderState::Paid { at },
            ("closed", paid_at, Some(at), Some(reason)) => OrderState::Closed {
                at,
                reason,
                paid_at,
            },
            _ => return Err(broken("an order's state")),
        };
        let payer = match (self.member, self.organisation) {
            (Some(id), None) => Payer::Member(MemberId(id)),
            (None, Some(id)) => Payer::Organisation(OrganisationId(id)),
            _ => return Err(broken("an order's payer")),
        };
        Ok(Order {
            id: OrderId(self.id),
            version: self.version,
            number: self
                .number
                .parse()
                .map_err(|_| broken("an order's number"))?,
            payer,
            seller: self.seller,
            revision: self.revision,
            content_hash: self.content_hash,
            total: amount(self.total_fen)?,
            state,
            refused: self.refused,
            returned: amount(self.returned_fen)?,
            refunded: amount(self.refunded_fen)?,
            created_at: self.created_at,
            close_at: self.close_at,
        })
    }
}

/// The order, locked until the transaction ends; `None` when it has not arrived here.
///
/// # Errors
/// When the database fails.
pub async fn lock_order(tx: &Tx, id: OrderId) -> Result<Option<Order>> {
    let sql = format!("SELECT {ORDER} FROM orders o WHERE o.id = $1 FOR UPDATE");
    tx.one::<OrderRow>(&sql, [id.0.into()])
        .await?
        .map(OrderRow::order)
        .transpose()
}

/// Some orders after `after` in the order of their ids, locked.
///
/// # Errors
/// When the database fails.
pub async fn lock_orders_after(tx: &Tx, after: Option<Uuid>, rows: i64) -> Result<Vec<Order>> {
    let sql =
        format!("SELECT {ORDER} FROM orders o WHERE o.id > $1 ORDER BY o.id LIMIT $2 FOR UPDATE");
    let after = after.unwrap_or_default();
    let rows = tx
        .all::<OrderRow>(&sql, [after.into(), rows.into()])
        .await?;
    rows.into_iter().map(OrderRow::order).collect()
}

/// The id of the order with this number.
///
/// # Errors
/// When the database fails.
pub async fn order_of_number(tx: &Tx, number: &str) -> Result<Option<OrderId>> {
    #[derive(FromQueryResult)]
    struct Row {
        id: Uuid,
    }
    let row = tx
        .one::<Row>("SELECT id FROM orders WHERE number = $1", [number.into()])
        .await?;
    Ok(row.map(|row| OrderId(row.id)))
}

/// Whether the order has arrived here and is this member's to pay, or that of someone merged
/// into her.
///
/// # Errors
/// When the database fails.
pub async fn visible(db: &kit::Db, id: OrderId, member: MemberId) -> Result<bool> {
    #[derive(FromQueryResult)]
    struct Row {
        found: bool,
    }
    let sql = format!(
        "{PERSONS} SELECT EXISTS (SELECT 1 FROM orders o JOIN person p ON o.member = p.id
           WHERE o.id = $2) AS found"
    );
    let row = db.one::<Row>(&sql, [member.0.into(), id.0.into()]).await?;
    Ok(row.is_some_and(|row| row.found))
}

/// The order that is kept under an id, as far as a request that comes again is compared.
#[derive(Clone, Debug, FromQueryResult)]
pub struct Seen {
    pub id: Uuid,
    pub revision: i64,
    pub content_hash: Vec<u8>,
}

/// Which of these orders have arrived before.
///
/// # Errors
/// When the database fails.
pub async fn seen(tx: &Tx, ids: Vec<Uuid>) -> Result<HashMap<Uuid, Seen>> {
    let sql = "SELECT id, revision, content_hash FROM orders WHERE id = ANY ($1)";
    let rows = tx.all::<Seen>(sql, [ids.into()]).await?;
    Ok(rows.into_iter().map(|row| (row.id, row)).collect())
}

/// The next running numbers.
///
/// # Errors
/// When the database fails.
pub async fn next_serials(tx: &Tx, count: usize) -> Result<Vec<u64>> {
    #[derive(FromQueryResult)]
    struct Row {
        serial: i64,
    }
    let count = i64::try_from(count).unwrap_or(i64::MAX);
    let sql = "SELECT nextval('order_number') AS serial FROM generate_series(1, $1)";
    let rows = tx.all::<Row>(sql, [count.into()]).await?;
    rows.into_iter()
        .map(|row| u64::try_from(row.serial).map_err(|_| broken("a serial")))
        .collect()
}

/// An order with its lines, each paid by one share.
#[derive(Clone, Debug)]
pub struct NewOrder {
    pub order: Order,
    pub lines: Vec<Line>,
    pub source: Source,
}

/// Writes orders with their lines and shares, three statements for all.
///
/// # Errors
/// When the database fails or a line is another order's.
pub async fn insert_orders(tx: &Tx, new: &[NewOrder]) -> Result<()> {
    if new.is_empty() {
        return Ok(());
    }
    insert_heads(tx, new).await?;
    insert_lines(tx, new).await?;
    insert_shares(tx, new).await
}

async fn insert_heads(tx: &Tx, new: &[NewOrder]) -> Result<()> {
    let orders = || new.iter().map(|one| &one.order);
    let nil = |payer: fn(&Payer) -> Option<Uuid>| -> Vec<Uuid> {
        orders()
            .map(|order| payer(&order.payer).unwrap_or_default())
            .collect()
    };
    tx.execute(
        "INSERT INTO orders (id, version, number, member, organisation, seller, revision,
           content_hash, total_fen, state, created_at, close_at)
         SELECT i, 1, n, NULLIF(m, $11), NULLIF(o, $11), s, r, h, t, 'open', $10, c
         FROM UNNEST($1::uuid[], $2::text[], $3::uuid[], $4::uuid[], $5::text[], $6::bigint[],
           $7::bytea[], $8::bigint[], $9::timestamptz[]) AS u (i, n, m, o, s, r, h, t, c)",
        [
            orders().map(|order| order.id.0).collect::<Vec<_>>().into(),
            orders()
                .map(|order| order.number.to_string())
                .collect::<Vec<_>>()
                .into(),
            nil(member_of).into(),
            nil(organisation_of).into(),
            orders()
                .map(|order| order.seller.clone())
                .collect::<Vec<_>>()
                .into(),
            orders()
                .map(|order| order.revision)
                .collect::<Vec<_>>()
                .into(),
            orders()
                .map(|order| order.content_hash.clone())
                .collect::<Vec<_>>()
                .into(),
            orders()
                .map(|order| order.total.get())
                .collect::<Vec<_>>()
                .into(),
            orders()
                .map(|order| order.close_at)
                .collect::<Vec<_>>()
                .into(),
            tx.now().into(),
            Uuid::nil().into(),
        ],
    )
    .await?;
    Ok(())
}

fn member_of(payer: &Payer) -> Option<Uuid> {
    match payer {
        Payer::Member(id) => Some(id.0),
        Payer::Organisation(_) => None,
    }
}

fn organisation_of(payer: &Payer) -> Option<Uuid> {
    match payer {
        Payer::Organisation(id) => Some(id.0),
        Payer::Member(_) => None,
    }
}

async fn insert_lines(tx: &Tx, new: &[NewOrder]) -> Result<()> {
    let lines: Vec<(Uuid, i32, &Line)> = new
        .iter()
        .flat_map(|one| {
            one.lines
                .iter()
                .zip(0_i32..)
                .map(|(line, at)| (one.order.id.0, at, line))
        })
        .collect();
    let texts = |text: fn(&Line) -> &String| -> Vec<String> {
        lines
            .iter()
            .map(|(_, _, line)| text(line).clone())
            .collect()
    };
    tx.execute(
        "INSERT INTO order_line (order_id, ordinal, id, member, item, product, entitlement,
           title_zh, title_en, price_fen)
         SELECT * FROM UNNEST($1::uuid[], $2::int[], $3::uuid[], $4::uuid[], $5::text[],
           $6::uuid[], $7::bigint[], $8::text[], $9::text[], $10::bigint[])",
        [
            lines
                .iter()
                .map(|(order, _, _)| *order)
                .collect::<Vec<_>>()
                .into(),
            lines
                .iter()
                .map(|(_, at, _)| *at)
                .collect::<Vec<_>>()
                .into(),
            lines
                .iter()
                .map(|(_, _, line)| line.id)
                .collect::<Vec<_>>()
                .into(),
            lines
                .iter()
                .map(|(_, _, line)| line.member.0)
                .collect::<Vec<_>>()
                .into(),
            texts(|line| &line.item).into(),
            lines
                .iter()
                .map(|(_, _, line)| line.product)
                .collect::<Vec<_>>()
                .into(),
            lines
                .iter()
                .map(|(_, _, line)| line.entitlement)
                .collect::<Vec<_>>()
                .into(),
            texts(|line| &line.title_zh).into(),
            texts(|line| &line.title_en).into(),
            lines
                .iter()
                .map(|(_, _, line)| line.price.get())
                .collect::<Vec<_>>()
                .into(),
        ],
    )
    .await?;
    Ok(())
}

async fn insert_shares(tx: &Tx, new: &[NewOrder]) -> Result<()> {
    let shares: Vec<(&NewOrder, &Line)> = new
        .iter()
        .flat_map(|one| one.lines.iter().map(move |line| (one, line)))
        .collect();
    let nil = |payer: fn(&Payer) -> Option<Uuid>| -> Vec<Uuid> {
        shares
            .iter()
            .map(|(one, _)| payer(&one.order.payer).unwrap_or_default())
            .collect()
    };
    tx.execute(
        "INSERT INTO line_share (line, ordinal, source, payer_member, payer_organisation, fen,
           pay_by, state)
         SELECT l, 0, s, NULLIF(m, $7), NULLIF(o, $7), f, b, 'open'
         FROM UNNEST($1::uuid[], $2::text[], $3::uuid[], $4::uuid[], $5::bigint[],
           $6::timestamptz[]) AS u (l, s, m, o, f, b)",
        [
            shares
                .iter()
                .map(|(_, line)| line.id)
                .collect::<Vec<_>>()
                .into(),
            shares
                .iter()
                .map(|(one, _)| one.source.as_str().to_owned())
                .collect::<Vec<_>>()
                .into(),
            nil(member_of).into(),
            nil(organisation_of).into(),
            shares
                .iter()
                .map(|(_, line)| line.price.get())
                .collect::<Vec<_>>()
                .into(),
            shares
                .iter()
                .map(|(one, _)| one.order.close_at)
                .collect::<Vec<_>>()
                .into(),
            Uuid::nil().into(),
        ],
    )
    .await?;
    Ok(())
}

/// Writes an order's state over the version it was loaded with.
///
/// # Errors
/// When the row was changed meanwhile, or a constraint says no.
pub async fn save_order(tx: &Tx, order: &Order, was: i64) -> Result<()> {
    let (state, closing, closed_at) = match &order.state {
        OrderState::Open { closing } => ("open", *closing, None),
        OrderState::Paid { .. } => ("paid", None, None),
        OrderState::Closed { at, reason, .. } => ("closed", Some(*reason), Some(*at)),
    };
    let rows = tx
        .execute(
            "UPDATE orders SET version = $2, state = $3, closing = $4, closed_at = $5,
               paid_at = $6, paid_fen = $7, returned_fen = $8, refunded_fen = $9, refused = $10
             WHERE id = $1 AND version = $11",
            [
                order.id.0.into(),
                order.version.into(),
                state.into(),
                closing.map(CloseReason::as_str).into(),
                closed_at.into(),
                order.paid_at().into(),
                order.paid().get().into(),
                order.returned.get().into(),
                order.refunded.get().into(),
                order.refused.clone().into(),
                was.into(),
            ],
        )
        .await?;
    if rows == 1 {
        Ok(())
    } else {
        Err(Error::internal("an order changed while it was locked"))
    }
}

/// Whether the order is this member's, or that of someone merged into her.
///
/// # Errors
/// When the database fails.
pub async fn is_payer(tx: &Tx, id: OrderId, member: MemberId) -> Result<bool> {
    #[derive(FromQueryResult)]
    struct Row {
        found: bool,
    }
    let sql = format!(
        "{PERSONS} SELECT EXISTS (SELECT 1 FROM orders o JOIN person p ON o.member = p.id
           WHERE o.id = $2) AS found"
    );
    let row = tx.one::<Row>(&sql, [member.0.into(), id.0.into()]).await?;
    Ok(row.is_some_and(|row| row.found))
}
