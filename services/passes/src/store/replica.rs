//! What other services told: orders, venues and uses. An older version of a row never replaces a
//! newer one, whatever order they come in.

use chrono::{DateTime, NaiveDate, Utc};
use kit::types::{EntitlementId, OrderId};
use kit::{Error, Result, Tx};
use sea_orm::FromQueryResult;
use uuid::Uuid;

/// An order's state as it is kept.
#[derive(Clone, Debug)]
pub struct FreshOrder {
    pub id: OrderId,
    pub epoch: i64,
    pub version: i64,
    pub number: String,
    /// open, paid or closed.
    pub state: &'static str,
    pub total_fen: i64,
    pub refunded_fen: i64,
    pub paid_at: Option<DateTime<Utc>>,
}

/// Keeps what is newer than what is known; the orders of which it was. At most one version of
/// each order may be given.
///
/// # Errors
/// When the database fails.
pub async fn put_orders(tx: &Tx, orders: &[FreshOrder]) -> Result<Vec<OrderId>> {
    #[derive(FromQueryResult)]
    struct Row {
        id: Uuid,
    }
    let mut orders: Vec<&FreshOrder> = orders.iter().collect();
    orders.sort_by_key(|order| order.id);
    let longs =
        |read: fn(&FreshOrder) -> i64| -> Vec<i64> { orders.iter().map(|o| read(o)).collect() };
    let texts = |read: fn(&FreshOrder) -> String| -> Vec<String> {
        orders.iter().map(|o| read(o)).collect()
    };
    let rows = tx
        .all::<Row>(
            "INSERT INTO replica_order AS r
               (id, epoch, version, number, state, total_fen, refunded_fen, paid_at)
             SELECT id, epoch, version, number, state, total, refunded,
               NULLIF(paid_at, '')::timestamptz
             FROM UNNEST($1::uuid[], $2::bigint[], $3::bigint[], $4::text[], $5::text[],
                 $6::bigint[], $7::bigint[], $8::text[])
               AS t (id, epoch, version, number, state, total, refunded, paid_at)
             ON CONFLICT (id) DO UPDATE SET epoch = EXCLUDED.epoch, version = EXCLUDED.version,
               number = EXCLUDED.number, state = EXCLUDED.state, total_fen = EXCLUDED.total_fen,
               refunded_fen = EXCLUDED.refunded_fen, paid_at = EXCLUDED.paid_at
             WHERE (r.epoch, r.version) < (EXCLUDED.epoch, EXCLUDED.version)
             RETURNING id",
            [
                orders.iter().map(|o| o.id.0).collect::<Vec<Uuid>>().into(),
                longs(|o| o.epoch).into(),
                longs(|o| o.version).into(),
                texts(|o| o.number.clone()).into(),
                texts(|o| o.state.to_owned()).into(),
                longs(|o| o.total_fen).into(),
                longs(|o| o.refunded_fen).into(),
                texts(|o| o.paid_at.map(|at| at.to_rfc3339()).unwrap_or_default()).into(),
            ],
        )
        .await?;
    Ok(rows.into_iter().map(|row| OrderId(row.id)).collect())
}

/// A venue's state as it is kept.
#[derive(Clone, Debug)]
pub struct NewVenue {
    pub id: Uuid,
    pub epoch: i64,
    pub version: i64,
    pub province: i16,
    pub name_zh: String,
    pub name_en: String,
    pub division: String,
    pub tags: Vec<String>,
    pub opening_hours: String,
    pub suspended: bool,
    pub tracks_exits: bool,
}

/// Keeps venues.
///
/// # Errors
/// When the database fails.
pub async fn put_venues(tx: &Tx, venues: &[NewVenue]) -> Result<()> {
    for venue in venues {
        tx.execute(
            "INSERT INTO replica_venue AS r (id, epoch, version, province, name_zh, name_en,
               division, tags, opening_hours, suspended, tracks_exits)
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)
             ON CONFLICT (id) DO UPDATE SET epoch = EXCLUDED.epoch, version = EXCLUDED.version,
               province = EXCLUDED.province, name_zh = EXCLUDED.name_zh,
               name_en = EXCLUDED.name_en, division = EXCLUDED.division, tags = EXCLUDED.tags,
               opening_hours = EXCLUDED.opening_hours, suspended = EXCLUDED.suspended,
               tracks_exits = EXCLUDED.tracks_exits
             WHERE (r.epoch, r.version) < (EXCLUDED.epoch, EXCLUDED.version)",
            [
                venue.id.into(),
                venue.epoch.into(),
                venue.version.into(),
                venue.province.into(),
                venue.name_zh.clone().into(),
                venue.name_en.clone().into(),
                venue.division.clone().into(),
                venue.tags.clone().into(),
                venue.opening_hours.clone().into(),
                venue.suspended.into(),
                venue.tracks_exits.into(),
            ],
        )
        .await?;
    }
    Ok(())
}

/// A use as it is kept. A void is a later version of the same use.
#[derive(Clone, Debug)]
pub struct NewUse {
    pub id: Uuid,
    pub epoch: i64,
    pub version: i64,
    pub pass: EntitlementId,
    pub province: i16,
    pub venue: Uuid,
    pub entry: bool,
    pub at: DateTime<Utc>,
    pub date: NaiveDate,
    pub persons: i32,
    pub voided: bool,
    pub overridden: bool,
}

/// Which of these entitlements are passes of ours: admission tells of all kinds. Of one whose
/// holder was forgotten nothing is heard any more.
///
/// # Errors
/// When the database fails.
pub async fn passes_known(tx: &Tx, ids: &[EntitlementId]) -> Result<Vec<EntitlementId>> {
    #[derive(FromQueryResult)]
    struct Row {
        id: i64,
    }
    let ids: Vec<i64> = ids.iter().map(|id| id.to_i64()).collect();
    // Who forgets a holder locks her passes: it came before this, or finds what is kept now.
    tx.execute(
        "SELECT id FROM pass WHERE id = ANY ($1) ORDER BY id FOR KEY SHARE",
        [ids.clone().into()],
    )
    .await?;
    let rows = tx
        .all::<Row>(
            "SELECT id FROM pass p WHERE id = ANY ($1) AND NOT EXISTS (SELECT 1
               FROM replica_erasure e WHERE e.member = p.member AND e.state = 'erased')",
            [ids.into()],
        )
        .await?;
    Ok(rows
        .into_iter()
        .map(|row| EntitlementId::from_i64(row.id))
        .collect())
}

/// Keeps uses; at most one version of each may be given.
///
/// # Errors
/// When the database fails.
pub async fn put_uses(tx: &Tx, uses: &[NewUse]) -> Result<()> {
    if uses.is_empty() {
        return Ok(());
    }
    let mut uses: Vec<&NewUse> = uses.iter().collect();
    uses.sort_by_key(|one| one.id);
    let longs =
        |read: fn(&NewUse) -> i64| -> Vec<i64> { uses.iter().map(|one| read(one)).collect() };
    let bools =
        |read: fn(&NewUse) -> bool| -> Vec<bool> { uses.iter().map(|one| read(one)).collect() };
    tx.execute(
        "INSERT INTO replica_use AS r
           (id, epoch, version, pass, province, venue, entry, at, date, persons, voided,
            overridden)
         SELECT id, epoch, version, pass, province::smallint, venue, entry, at::timestamptz,
           date::date, persons::int, voided, overridden
         FROM UNNEST($1::uuid[], $2::bigint[], $3::bigint[], $4::bigint[], $5::bigint[],
             $6::uuid[], $7::bool[], $8::text[], $9::text[], $10::bigint[], $11::bool[],
             $12::bool[])
           AS t (id, epoch, version, pass, province, venue, entry, at, date, persons, voided,
             overridden)
         ON CONFLICT (id) DO UPDATE SET epoch = EXCLUDED.epoch, version = EXCLUDED.version,
           voided = EXCLUDED.voided, at = EXCLUDED.at, date = EXCLUDED.date,
           persons = EXCLUDED.persons, venue = EXCLUDED.venue, province = EXCLUDED.province
         WHERE (r.epoch, r.version) < (EXCLUDED.epoch, EXCLUDED.version)",
        [
            uses.iter().map(|one| one.id).collect::<Vec<Uuid>>().into(),
            longs(|one| one.epoch).into(),
            longs(|one| one.version).into(),
            longs(|one| one.pass.to_i64()).into(),
            longs(|one| one.province.into()).into(),
            uses.iter()
                .map(|one| one.venue)
                .collect::<Vec<Uuid>>()
                .into(),
            bools(|one| one.entry).into(),
            uses.iter()
                .map(|one| one.at.to_rfc3339())
                .collect::<Vec<String>>()
                .into(),
            uses.iter()
                .map(|one| one.date.to_string())
                .collect::<Vec<String>>()
                .into(),
            longs(|one| one.persons.into()).into(),
            bools(|one| one.voided).into(),
            bools(|one| one.overridden).into(),
        ],
    )
    .await?;
    Ok(())
}

/// Entries with this pass that are known here and were not voided.
///
/// # Errors
/// When the database fails.
pub async fn uses_counted(tx: &Tx, pass: EntitlementId) -> Result<u32> {
    #[derive(FromQueryResult)]
    struct Row {
        uses: i64,
    }
    let row = tx
        .one::<Row>(
            "SELECT count(*) AS uses FROM replica_use WHERE pass = $1 AND entry AND NOT voided",
            [pass.to_i64().into()],
        )
        .await?;
    u32::try_from(row.map_or(0, |row| row.uses)).map_err(|_| Error::internal("too many uses"))
}

/// Which of these members were forgotten.
///
/// # Errors
/// When the database fails.
pub async fn erased(tx: &Tx, members: &[Uuid]) -> Result<Vec<Uuid>> {
    #[derive(FromQueryResult)]
    struct Row {
        id: Uuid,
    }
    let rows = tx
        .all::<Row>(
            "SELECT id FROM replica_member WHERE id = ANY ($1) AND state = 'erased'
             UNION SELECT member FROM replica_erasure
             WHERE member = ANY ($1) AND state = 'erased'",
            [members.to_vec().into()],
        )
        .await?;
    Ok(rows.into_iter().map(|row| row.id).collect())
}
