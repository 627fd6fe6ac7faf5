//! The stock of a product and what each member has of it. The stock's row is the lock of a sale:
//! whoever counts takes it first.

use std::collections::{BTreeMap, BTreeSet};

use chrono::NaiveDate;
use kit::types::MemberId;
use kit::{Error, Result, Tx};
use sea_orm::FromQueryResult;
use uuid::Uuid;

use crate::domain::{ProductId, Stock};

#[derive(FromQueryResult)]
struct StockRow {
    sale_limit: Option<i64>,
    held: i64,
    sold: i64,
}

/// Makes the stock row of a new product.
///
/// # Errors
/// When the database fails.
pub async fn create_stock(tx: &Tx, product: ProductId) -> Result<()> {
    tx.execute(
        "INSERT INTO product_stock (product) VALUES ($1)",
        [product.0.into()],
    )
    .await?;
    Ok(())
}

/// The stock of a product, locked.
///
/// # Errors
/// Not found, when there is no such product.
pub async fn lock_stock(tx: &Tx, product: ProductId) -> Result<Stock> {
    let row = tx
        .one::<StockRow>(
            "SELECT sale_limit, held, sold FROM product_stock WHERE product = $1 FOR UPDATE",
            [product.0.into()],
        )
        .await?
        .ok_or(Error::NotFound)?;
    let broken = |_| Error::internal("a stock row is inconsistent");
    Ok(Stock {
        limit: row
            .sale_limit
            .map(u32::try_from)
            .transpose()
            .map_err(broken)?,
        held: u64::try_from(row.held).map_err(broken)?,
        sold: u64::try_from(row.sold).map_err(broken)?,
    })
}

/// Sets the limit of all versions together; `stock_within_limit` refuses one below what is gone.
///
/// # Errors
/// When the constraint says no.
pub async fn set_sale_limit(tx: &Tx, product: ProductId, limit: Option<u32>) -> Result<()> {
    tx.execute(
        "UPDATE product_stock SET sale_limit = $2 WHERE product = $1",
        [product.0.into(), limit.map(i64::from).into()],
    )
    .await?;
    Ok(())
}

/// Holds so many more. It adds to what is there, so that the constraint carries the limit even
/// where nobody held the lock.
///
/// # Errors
/// When `stock_within_limit` says no.
pub async fn add_held(tx: &Tx, product: ProductId, count: usize) -> Result<()> {
    let count = i64::try_from(count).map_err(|_| Error::internal("too many are held"))?;
    tx.execute(
        "UPDATE product_stock SET held = held + $2 WHERE product = $1",
        [product.0.into(), count.into()],
    )
    .await?;
    Ok(())
}

/// What is moved in the stock of a product: from held to sold, and from held back.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Moved {
    pub sold: i64,
    pub back: i64,
}

/// Moves stock, product by product in the order of their ids.
///
/// # Errors
/// When a constraint says no, or the database fails.
pub async fn move_stock(tx: &Tx, moves: &BTreeMap<ProductId, Moved>) -> Result<()> {
    for (product, moved) in moves {
        tx.execute(
            "UPDATE product_stock SET held = held - $2 - $3, sold = sold + $2 WHERE product = $1",
            [product.0.into(), moved.sold.into(), moved.back.into()],
        )
        .await?;
    }
    Ok(())
}

/// How many each of these members has bought, those merged into them counted with them.
///
/// # Errors
/// When the database fails.
pub async fn bought(
    tx: &Tx,
    product: ProductId,
    members: &[MemberId],
) -> Result<BTreeMap<MemberId, u32>> {
    #[derive(FromQueryResult)]
    struct Row {
        member: Uuid,
        bought: i64,
    }
    let mut ids: Vec<Uuid> = members.iter().map(|member| member.0).collect();
    ids.sort_unstable();
    ids.dedup();
    let rows = tx
        .all::<Row>(
            "WITH RECURSIVE person (member, id) AS (
               SELECT m, m FROM UNNEST($2::uuid[]) AS t (m)
               UNION SELECT person.member, r.id
               FROM person JOIN replica_member r ON r.merged_into = person.id)
             SELECT person.member, sum(s.bought)::bigint AS bought
             FROM person JOIN member_sale s ON s.product = $1 AND s.member = person.id
             GROUP BY person.member",
            [product.0.into(), ids.into()],
        )
        .await?;
    rows.into_iter()
        .map(|row| {
            let bought =
                u32::try_from(row.bought).map_err(|_| Error::internal("a count is negative"))?;
            Ok((MemberId(row.member), bought))
        })
        .collect()
}

/// Which of these members are members of a union on that date, as far as is known: those who
/// joined, or keep their membership in retirement. Those merged into them count for them.
///
/// # Errors
/// When the database fails.
pub async fn in_union(
    tx: &Tx,
    members: &[MemberId],
    today: NaiveDate,
) -> Result<BTreeSet<MemberId>> {
    #[derive(FromQueryResult)]
    struct Row {
        member: Uuid,
    }
    let ids: Vec<Uuid> = members.iter().map(|member| member.0).collect();
    let rows = tx
        .all::<Row>(
            "WITH RECURSIVE person (member, id) AS (
               SELECT m, m FROM UNNEST($1::uuid[]) AS t (m)
               UNION SELECT person.member, r.id
               FROM person JOIN replica_member r ON r.merged_into = person.id)
             SELECT DISTINCT person.member FROM person
             JOIN replica_membership r ON r.member = person.id
             WHERE r.state IN ('full', 'retained') AND r.since <= $2",
            [ids.into(), today.into()],
        )
        .await?;
    Ok(rows.into_iter().map(|row| MemberId(row.member)).collect())
}

/// Counts purchases of members, in the order of their ids, under the limit as it stands.
///
/// # Errors
/// When `member_sale_within_limit` says no.
pub async fn add_bought(
    tx: &Tx,
    product: ProductId,
    counts: &BTreeMap<MemberId, i32>,
    limit: Option<u32>,
) -> Result<()> {
    if counts.is_empty() {
        return Ok(());
    }
    let limit = limit
        .map(i32::try_from)
        .transpose()
        .map_err(|_| Error::internal("a limit is too large for its column"))?;
    tx.execute(
        "INSERT INTO member_sale AS s (product, member, bought, member_limit)
         SELECT $1, m, n, $4 FROM UNNEST($2::uuid[], $3::int[]) AS t (m, n) ORDER BY m
         ON CONFLICT (product, member) DO UPDATE
           SET bought = s.bought + EXCLUDED.bought, member_limit = EXCLUDED.member_limit",
        [
            product.0.into(),
            counts
                .keys()
                .map(|member| member.0)
                .collect::<Vec<Uuid>>()
                .into(),
            counts.values().copied().collect::<Vec<i32>>().into(),
            limit.into(),
        ],
    )
    .await?;
    Ok(())
}

/// Takes purchases of members back: their orders were closed.
///
/// # Errors
/// When `member_sale_count` says no.
pub async fn release_members(tx: &Tx, counts: &BTreeMap<(ProductId, MemberId), i32>) -> Result<()> {
    if counts.is_empty() {
        return Ok(());
    }
    tx.execute(
        "UPDATE member_sale s SET bought = s.bought - t.n
         FROM UNNEST($1::uuid[], $2::uuid[], $3::int[]) AS t (p, m, n)
         WHERE s.product = t.p AND s.member = t.m",
        [
            counts
                .keys()
                .map(|(product, _)| product.0)
                .collect::<Vec<Uuid>>()
                .into(),
            counts
                .keys()
                .map(|(_, member)| member.0)
                .collect::<Vec<Uuid>>()
                .into(),
            counts.values().copied().collect::<Vec<i32>>().into(),
        ],
    )
    .await?;
    Ok(())
}
