//! Rows of `holder_list_count`, and who of an organisation holds passes.

use chrono::NaiveDate;
use credential::dates::DateRange;
use kit::types::{EntitlementId, MemberId, OrganisationId};
use kit::{Error, Result, Tx};
use sea_orm::FromQueryResult;
use uuid::Uuid;

use crate::domain::{Holder, Usable};

/// Counts a list of an officer's day, and forgets her days before; how many it makes. The second
/// of two at once waits for the first.
///
/// # Errors
/// When the database fails.
pub async fn count_list(tx: &Tx, asker: MemberId, today: NaiveDate) -> Result<i32> {
    #[derive(FromQueryResult)]
    struct Row {
        asked: i32,
    }
    tx.execute(
        "DELETE FROM holder_list_count WHERE asker = $1 AND day < $2",
        [asker.0.into(), today.into()],
    )
    .await?;
    let row = tx
        .one::<Row>(
            "INSERT INTO holder_list_count AS c (asker, day, asked) VALUES ($1, $2, 1)
             ON CONFLICT (asker, day) DO UPDATE SET asked = c.asked + 1 RETURNING asked",
            [asker.0.into(), today.into()],
        )
        .await?;
    row.map(|row| row.asked)
        .ok_or_else(|| Error::internal("a count without its row"))
}

/// Those in an organisation or below it today who hold passes that open doors or will, by the name
/// of the pass; so many at most.
///
/// # Errors
/// When the database fails, or a row is inconsistent.
pub async fn holders_in(
    tx: &Tx,
    organisation: OrganisationId,
    today: NaiveDate,
    rows_max: i64,
) -> Result<Vec<Holder>> {
    #[derive(FromQueryResult)]
    struct Row {
        id: i64,
        member: Uuid,
        name_zh: String,
        name_en: String,
        activate_by: Option<NaiveDate>,
        start_date: Option<NaiveDate>,
        end_date: Option<NaiveDate>,
    }
    let rows = tx
        .all::<Row>(
            "WITH RECURSIVE person (id) AS (
               SELECT s.member FROM replica_organisation o
               JOIN replica_membership s ON s.organisation = o.id
               WHERE $1 = ANY (o.path) AND s.state IN ('full', 'retained') AND s.since <= $2
                 AND (s.until IS NULL OR s.until > $2)
               UNION SELECT r.id FROM person JOIN replica_member r ON r.merged_into = person.id)
             SELECT p.id, p.member, v.name_zh, v.name_en, p.activate_by, p.start_date, p.end_date
             FROM pass p JOIN product_version v
               ON v.product = p.product AND v.number = p.product_version
             WHERE p.member IN (SELECT id FROM person)
               AND (p.state = 'ready' OR (p.state = 'active' AND p.end_date > $2))
               AND NOT EXISTS (SELECT 1 FROM replica_erasure e
                 WHERE e.member = p.member AND e.state = 'erased')
             ORDER BY v.name_zh, p.id LIMIT $3",
            [organisation.0.into(), today.into(), rows_max.into()],
        )
        .await?;
    let holder = |row: Row| {
        let window = row.start_date.zip(row.end_date);
        let window = window.and_then(|(start, end)| DateRange::new(start, end));
        let usable = match (window, row.activate_by) {
            (Some(window), _) => Usable::Active { window },
            (None, Some(activate_by)) => Usable::Ready { activate_by },
            (None, None) => return Err(Error::internal("a pass has neither window nor deadline")),
        };
        Ok(Holder {
            member: MemberId(row.member),
            pass: EntitlementId::from_i64(row.id),
            product: (row.name_zh, row.name_en),
            usable,
        })
    };
    rows.into_iter().map(holder).collect()
}
