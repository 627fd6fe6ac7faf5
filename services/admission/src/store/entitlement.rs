//! Entitlements as other services grant them. Every writer locks the rows it needs at once and in
//! the order of their ids, before any other row, so that scans and events never wait in a circle.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use credential::rules::VenueId;
use credential::token::Minute;
use kit::types::{EntitlementId, OrderId, Union};
use kit::{Error, Result, Tx};
use sea_orm::FromQueryResult;
use uuid::Uuid;

use super::Hold;
use crate::domain::entitlement::{Entitlement, Grant, Granted, Reserved, State};

const COLUMNS: &str = "id, epoch, version, home, scope, state, valid_from, valid_until, \
    gen AS generation, persons, document_check, rules_version, freeze_version, order_id, \
    first_used_at, blocked, block_version, reservations";

#[derive(Clone, Debug, FromQueryResult)]
struct Row {
    id: i64,
    epoch: i64,
    version: i64,
    home: i16,
    scope: i64,
    state: String,
    valid_from: i32,
    valid_until: i32,
    generation: i16,
    persons: i32,
    document_check: bool,
    rules_version: i64,
    freeze_version: i64,
    order_id: Option<Uuid>,
    first_used_at: Option<DateTime<Utc>>,
    blocked: bool,
    block_version: i64,
    reservations: Vec<u8>,
}

impl TryFrom<Row> for Entitlement {
    type Error = Error;

    fn try_from(row: Row) -> Result<Self> {
        let id = EntitlementId::from_i64(row.id);
        let broken = || Error::internal(format!("the row of entitlement {id} is broken"));
        let minute = |value: i32| {
            u32::try_from(value)
                .ok()
                .and_then(Minute::new)
                .ok_or_else(broken)
        };
        let granted = |state: State| -> Result<Grant> {
            Ok(Grant::Granted(Granted {
                epoch: row.epoch,
                version: row.version,
                state,
                valid_from: minute(row.valid_from)?,
                valid_until: minute(row.valid_until)?,
                generation: u8::try_from(row.generation).map_err(|_| broken())?,
                persons: u16::try_from(row.persons).map_err(|_| broken())?,
                document_check: row.document_check,
                rules_version: row.rules_version,
                freeze_version: row.freeze_version,
                order: row.order_id.map(OrderId),
                reservations: reservations(&row.reservations).ok_or_else(broken)?,
            }))
        };
        let grant = match (row.state.as_str(), row.blocked) {
            ("unseen", false) => Grant::Unseen,
            ("unseen", true) => Grant::Blocked,
            ("active", _) => granted(State::Active)?,
            ("frozen", _) => granted(State::Frozen)?,
            ("revoked", _) => granted(State::Revoked)?,
            _ => return Err(broken()),
        };
        Ok(Self {
            id,
            home: Union::from_code(row.home.into()).ok_or_else(broken)?,
            scope: u32::try_from(row.scope).map_err(|_| broken())?,
            grant,
            first_used_at: row.first_used_at,
            block_version: row.block_version,
        })
    }
}

/// One that a batch needs, with what is to be kept of it when it is not known.
pub(crate) type Wanted = BTreeMap<EntitlementId, (Union, u32)>;

/// Locks all of them in the order of their ids, and first makes a row of each that is not known.
pub(crate) async fn lock_or_insert(
    tx: &Tx,
    wanted: &Wanted,
) -> Result<BTreeMap<EntitlementId, Entitlement>> {
    hold(tx, wanted, Hold::Made)
        .await?
        .ok_or_else(|| Error::internal("a row that was made is not there"))
}

/// Reads all of them in the order of their ids; `None` when one is not known. A row is made before
/// any is locked, so that whoever finds one lacking begins anew in another transaction.
pub(crate) async fn hold(
    tx: &Tx,
    wanted: &Wanted,
    hold: Hold,
) -> Result<Option<BTreeMap<EntitlementId, Entitlement>>> {
    if wanted.is_empty() {
        return Ok(Some(BTreeMap::new()));
    }
    match hold {
        Hold::Known => {}
        Hold::Made | Hold::Loose => make(tx, wanted).await?,
    }
    let ids = wanted.keys().map(|id| id.to_i64()).collect();
    let found = read(tx, ids, hold).await?;
    Ok((found.len() == wanted.len()).then_some(found))
}

async fn make(tx: &Tx, wanted: &Wanted) -> Result<()> {
    let mut rows: Vec<(i64, i16, i64)> = wanted
        .iter()
        .map(|(id, (home, scope))| (id.to_i64(), i16::from(home.code()), i64::from(*scope)))
        .collect();
    rows.sort_unstable();
    let ids: Vec<i64> = rows.iter().map(|row| row.0).collect();
    let homes: Vec<i16> = rows.iter().map(|row| row.1).collect();
    let scopes: Vec<i64> = rows.iter().map(|row| row.2).collect();
    tx.execute(
        "INSERT INTO entitlement (id, home, scope)
         SELECT i, h, s FROM UNNEST($1::bigint[], $2::smallint[], $3::bigint[]) AS t (i, h, s)
         WHERE NOT EXISTS (SELECT 1 FROM entitlement e WHERE e.id = t.i) ORDER BY i
         ON CONFLICT (id) DO NOTHING",
        [ids.into(), homes.into(), scopes.into()],
    )
    .await?;
    Ok(())
}

/// Locks those that are known of these, in the order of their ids.
pub(crate) async fn lock(
    tx: &Tx,
    ids: &[EntitlementId],
) -> Result<BTreeMap<EntitlementId, Entitlement>> {
    read(tx, ids.iter().map(|id| id.to_i64()).collect(), Hold::Known).await
}

async fn read(tx: &Tx, ids: Vec<i64>, hold: Hold) -> Result<BTreeMap<EntitlementId, Entitlement>> {
    let sql = format!(
        "SELECT {COLUMNS} FROM entitlement WHERE id = ANY ($1) ORDER BY id {}",
        hold.lock()
    );
    let rows: Vec<Row> = tx.all(&sql, [ids.into()]).await?;
    rows.into_iter()
        .map(|row| Entitlement::try_from(row).map(|one| (one.id, one)))
        .collect()
}

/// Writes changed ones back; their rows are locked.
pub(crate) async fn save(tx: &Tx, all: &[&Entitlement]) -> Result<()> {
    if all.is_empty() {
        return Ok(());
    }
    let mut sorted = all.to_vec();
    sorted.sort_by_key(|one| one.id.to_i64());
    let columns = Columns::of(&sorted);
    tx.execute(
        "UPDATE entitlement e SET epoch = t.epoch, version = t.version, home = t.home,
           scope = t.scope, state = t.state, valid_from = t.valid_from,
           valid_until = t.valid_until, gen = t.gen,
           persons = t.persons, document_check = t.document_check,
           rules_version = t.rules_version, freeze_version = t.freeze_version,
           order_id = NULLIF(t.order_id, $16),
           first_used_at = CASE WHEN t.first_used_ms >= 0
             THEN 'epoch'::timestamptz + t.first_used_ms * interval '1 microsecond' END,
           blocked = t.blocked, block_version = t.block_version,
           reservations = t.reservations
         FROM UNNEST($1::bigint[], $2::bigint[], $3::bigint[], $4::bigint[], $5::text[],
           $6::int[], $7::int[], $8::smallint[], $9::int[], $10::bool[], $11::bigint[],
           $12::bigint[], $13::uuid[], $14::bigint[], $15::bool[], $17::bigint[],
           $18::smallint[], $19::bytea[])
           AS t (id, epoch, version, scope, state, valid_from, valid_until, gen, persons,
             document_check, rules_version, freeze_version, order_id, first_used_ms, blocked,
             block_version, home, reservations)
         WHERE e.id = t.id",
        [
            columns.id.into(),
            columns.epoch.into(),
            columns.version.into(),
            columns.scope.into(),
            columns.state.into(),
            columns.valid_from.into(),
            columns.valid_until.into(),
            columns.generation.into(),
            columns.persons.into(),
            columns.document_check.into(),
            columns.rules_version.into(),
            columns.freeze_version.into(),
            columns.order.into(),
            columns.first_used.into(),
            columns.blocked.into(),
            Uuid::nil().into(),
            columns.block_version.into(),
            columns.home.into(),
            columns.reservations.into(),
        ],
    )
    .await?;
    Ok(())
}

#[derive(Default)]
struct Columns {
    id: Vec<i64>,
    epoch: Vec<i64>,
    version: Vec<i64>,
    scope: Vec<i64>,
    state: Vec<String>,
    valid_from: Vec<i32>,
    valid_until: Vec<i32>,
    generation: Vec<i16>,
    persons: Vec<i32>,
    document_check: Vec<bool>,
    rules_version: Vec<i64>,
    freeze_version: Vec<i64>,
    order: Vec<Uuid>,
    first_used: Vec<i64>,
    blocked: Vec<bool>,
    block_version: Vec<i64>,
    home: Vec<i16>,
    reservations: Vec<Vec<u8>>,
}

impl Columns {
    fn of(all: &[&Entitlement]) -> Self {
        let mut columns = Self::default();
        for one in all {
            let word = match &one.grant {
                Grant::Granted(word) => Some(word),
                Grant::Unseen | Grant::Blocked => None,
            };
            let state = word.map_or("unseen", |word| match word.state {
                State::Active => "active",
                State::Frozen => "frozen",
                State::Revoked => "revoked",
            });
            let minute = |minute: Minute| i32::try_from(minute.get()).unwrap_or(i32::MAX);
            columns.id.push(one.id.to_i64());
            columns.epoch.push(word.map_or(0, |word| word.epoch));
            columns.version.push(word.map_or(0, |word| word.version));
            columns.scope.push(one.scope.into());
            columns.state.push(state.to_owned());
            columns
                .valid_from
                .push(word.map_or(0, |word| minute(word.valid_from)));
            columns
                .valid_until
                .push(word.map_or(0, |word| minute(word.valid_until)));
            columns
                .generation
                .push(word.map_or(0, |word| word.generation.into()));
            columns
                .persons
                .push(word.map_or(1, |word| word.persons.into()));
            columns
                .document_check
                .push(word.is_some_and(|word| word.document_check));
            columns
                .rules_version
                .push(word.map_or(0, |word| word.rules_version));
            columns
                .freeze_version
                .push(word.map_or(0, |word| word.freeze_version));
            let order = word.and_then(|word| word.order).map(|order| order.uuid());
            columns.order.push(order.unwrap_or_default());
            columns
                .first_used
                .push(one.first_used_at.map_or(-1, |at| at.timestamp_micros()));
            columns.blocked.push(one.grant == Grant::Blocked);
            columns.block_version.push(one.block_version);
            columns.home.push(i16::from(one.home.code()));
            let reserved = word.map_or(&[][..], |word| &word.reservations);
            columns.reservations.push(reservation_bytes(reserved));
        }
        columns
    }
}

/// A reservation's bytes: venue, first minute, first minute after it.
const RESERVATION_BYTES: usize = 24;

fn reservation_bytes(reserved: &[Reserved]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(reserved.len() * RESERVATION_BYTES);
    for one in reserved {
        bytes.extend_from_slice(&one.venue.0);
        bytes.extend_from_slice(&one.from.get().to_be_bytes());
        bytes.extend_from_slice(&one.until.get().to_be_bytes());
    }
    bytes
}

fn reservations(bytes: &[u8]) -> Option<Vec<Reserved>> {
    let (all, []) = bytes.as_chunks::<RESERVATION_BYTES>() else {
        return None;
    };
    let minute = |bytes: &[u8]| Minute::new(u32::from_be_bytes(bytes.try_into().ok()?));
    all.iter()
        .map(|one| {
            Some(Reserved {
                venue: VenueId(one[..16].try_into().ok()?),
                from: minute(&one[16..20])?,
                until: minute(&one[20..])?,
            })
        })
        .collect()
}

/// Entries of each that count: admitted and not voided. Only under their locks.
pub(crate) async fn uses(tx: &Tx, ids: &[EntitlementId]) -> Result<BTreeMap<EntitlementId, u32>> {
    #[derive(FromQueryResult)]
    struct Uses {
        entitlement: i64,
        uses: i64,
    }
    let ids: Vec<i64> = ids.iter().map(|id| id.to_i64()).collect();
    let rows: Vec<Uses> = tx
        .all(
            "SELECT entitlement, count(*) AS uses FROM redemption
             WHERE entitlement = ANY ($1) AND decision = 'admit' AND direction = 'entry'
               AND voided_at IS NULL
             GROUP BY entitlement",
            [ids.into()],
        )
        .await?;
    Ok(rows
        .into_iter()
        .map(|row| {
            let uses = u32::try_from(row.uses).unwrap_or(u32::MAX);
            (EntitlementId::from_i64(row.entitlement), uses)
        })
        .collect())
}

/// Ids of an order's entitlements.
pub(crate) async fn ids_of_order(
    tx: &Tx,
    order: OrderId,
    rows_max: i64,
) -> Result<Vec<EntitlementId>> {
    #[derive(FromQueryResult)]
    struct Id {
        id: i64,
    }
    let rows: Vec<Id> = tx
        .all(
            "SELECT id FROM entitlement WHERE order_id = $1 ORDER BY id LIMIT $2",
            [order.uuid().into(), rows_max.into()],
        )
        .await?;
    Ok(rows
        .into_iter()
        .map(|row| EntitlementId::from_i64(row.id))
        .collect())
}

/// Ids of the entitlements of the order that people quote by this number.
pub(crate) async fn ids_of_order_number(
    tx: &Tx,
    number: &str,
    rows_max: i64,
) -> Result<Vec<EntitlementId>> {
    #[derive(FromQueryResult)]
    struct Id {
        id: i64,
    }
    let rows: Vec<Id> = tx
        .all(
            "SELECT e.id FROM order_number n JOIN entitlement e ON e.order_id = n.order_id
             WHERE n.number = $1 ORDER BY e.id LIMIT $2",
            [number.into(), rows_max.into()],
        )
        .await?;
    Ok(rows
        .into_iter()
        .map(|row| EntitlementId::from_i64(row.id))
        .collect())
}

/// Blocked or once blocked ones after an id, locked, for a resync.
pub(crate) async fn once_blocked_after(
    tx: &Tx,
    after: i64,
    rows_max: i64,
) -> Result<Vec<Entitlement>> {
    let sql = format!(
        "SELECT {COLUMNS} FROM entitlement WHERE id > $1 AND block_version > 0
         ORDER BY id LIMIT $2 FOR UPDATE"
    );
    let rows: Vec<Row> = tx.all(&sql, [after.into(), rows_max.into()]).await?;
    rows.into_iter().map(Entitlement::try_from).collect()
}

/// Frozen ones after an id, locked, for a resync.
pub(crate) async fn frozen_after(tx: &Tx, after: i64, rows_max: i64) -> Result<Vec<Entitlement>> {
    let sql = format!(
        "SELECT {COLUMNS} FROM entitlement
         WHERE id > $1 AND state = 'frozen' AND freeze_version > 0
         ORDER BY id LIMIT $2 FOR UPDATE"
    );
    let rows: Vec<Row> = tx.all(&sql, [after.into(), rows_max.into()]).await?;
    rows.into_iter().map(Entitlement::try_from).collect()
}
