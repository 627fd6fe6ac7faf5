//! Rows of `search_term`: what people are found by who are looked for by name. Terms come in and
//! go out as keyed hashes alone.

use kit::types::OrganisationId;
use kit::{Result, Tx};
use sea_orm::FromQueryResult;
use uuid::Uuid;

use super::people::PersonRow;

/// Terms of which so many people are found at most are looked through by the term.
const FEW_MATCHES: i64 = 2_000;
/// Organisations with so many people at most, those below them included, are looked through by
/// their people.
const FEW_PEOPLE: i64 = 5_000;

/// Whether somebody of these is in the organisation `$1` or below it, for `m.member` or another
/// column in front. As a subquery with a limit it is asked for one person after the other: a plan
/// that reads all memberships first would be chosen for a name that many have.
const IN_SUBTREE: &str = "(SELECT true FROM membership m JOIN organisation o
    ON o.id = m.organisation
    WHERE m.until IS NULL AND o.path @> ARRAY[$1::uuid] AND m.member = ";

/// What one page of a search is read by.
#[derive(Clone, Copy, Debug)]
pub struct Wanted {
    /// This organisation and all below it.
    pub organisation: OrganisationId,
    pub term: i64,
    /// The last person of the page before.
    pub from: Option<Uuid>,
    /// From the end of the list.
    pub backwards: bool,
    pub limit: i64,
}

#[derive(FromQueryResult)]
struct Found {
    member: Uuid,
}

#[derive(FromQueryResult)]
struct Count {
    count: i64,
}

/// The people of one page, in the order of their ids, or against it when going backwards.
///
/// # Errors
/// When the database fails.
pub async fn page(tx: &Tx, wanted: Wanted) -> Result<Vec<Uuid>> {
    let many = is_above(
        tx,
        "SELECT count(*) AS count FROM
           (SELECT 1 FROM search_term WHERE term = $1 LIMIT $2) s",
        (wanted.term.into(), FEW_MATCHES),
    )
    .await?;
    let by_people = many
        && !is_above(
            tx,
            "SELECT count(*) AS count FROM
               (SELECT 1 FROM organisation o JOIN membership m ON m.organisation = o.id
                WHERE o.path @> ARRAY[$1::uuid] AND m.until IS NULL LIMIT $2) p",
            (wanted.organisation.0.into(), FEW_PEOPLE),
        )
        .await?;
    let (order, compare, end) = if wanted.backwards {
        ("DESC", "<", Uuid::max())
    } else {
        ("ASC", ">", Uuid::nil())
    };
    let sql = if by_people {
        format!(
            "SELECT DISTINCT p.member FROM organisation u JOIN membership p
               ON p.organisation = u.id
             WHERE u.path @> ARRAY[$1::uuid] AND p.until IS NULL AND p.member {compare} $3
               AND (SELECT true FROM search_term s
                    WHERE s.term = $2 AND s.member = p.member LIMIT 1)
             ORDER BY p.member {order} LIMIT $4"
        )
    } else {
        format!(
            "SELECT s.member FROM search_term s
             WHERE s.term = $2 AND s.member {compare} $3 AND {IN_SUBTREE} s.member LIMIT 1)
             ORDER BY s.member {order} LIMIT $4"
        )
    };
    let values = [
        wanted.organisation.0.into(),
        wanted.term.into(),
        wanted.from.unwrap_or(end).into(),
        wanted.limit.into(),
    ];
    let rows = tx.all::<Found>(&sql, values).await?;
    Ok(rows.into_iter().map(|row| row.member).collect())
}

async fn is_above(tx: &Tx, sql: &str, (of, few): (sea_orm::Value, i64)) -> Result<bool> {
    let row = tx.one::<Count>(sql, [of, (few + 1).into()]).await?;
    Ok(row.is_some_and(|row| row.count > few))
}

/// Those of these people who are in the organisation or below it, in the order of their ids.
///
/// # Errors
/// When the database fails.
pub async fn in_subtree(
    tx: &Tx,
    organisation: OrganisationId,
    people: &[Uuid],
) -> Result<Vec<Uuid>> {
    let sql = format!(
        "SELECT p.member FROM UNNEST($2::uuid[]) AS p (member)
         WHERE {IN_SUBTREE} p.member LIMIT 1) ORDER BY p.member"
    );
    let values = [organisation.0.into(), people.to_vec().into()];
    let rows = tx.all::<Found>(&sql, values).await?;
    Ok(rows.into_iter().map(|row| row.member).collect())
}

/// People whose terms were made by older rules or never, locked; those that somebody else holds
/// come later.
///
/// # Errors
/// When the database fails.
pub async fn outdated(tx: &Tx, version: i16, limit: i64) -> Result<Vec<PersonRow>> {
    tx.all(
        "SELECT member, data_key, name FROM person WHERE search_version < $1
         ORDER BY search_version, member LIMIT $2 FOR UPDATE SKIP LOCKED",
        [version.into(), limit.into()],
    )
    .await
}

/// Gives people these terms and no others.
///
/// # Errors
/// When the database fails.
pub async fn replace(tx: &Tx, version: i16, people: &[(Uuid, Vec<i64>)]) -> Result<()> {
    let members: Vec<Uuid> = people.iter().map(|(member, _)| *member).collect();
    tx.execute(
        "DELETE FROM search_term WHERE member = ANY ($1)",
        [members.clone().into()],
    )
    .await?;
    insert(tx, people.iter().map(|(member, terms)| (*member, terms))).await?;
    tx.execute(
        "UPDATE person SET search_version = $1 WHERE member = ANY ($2)",
        [version.into(), members.into()],
    )
    .await?;
    Ok(())
}

/// Adds the terms of people who have none.
///
/// # Errors
/// When the database fails.
pub async fn insert<'a>(tx: &Tx, people: impl Iterator<Item = (Uuid, &'a Vec<i64>)>) -> Result<()> {
    let mut rows: Vec<(i64, Uuid)> = people
        .flat_map(|(member, terms)| terms.iter().map(move |term| (*term, member)))
        .collect();
    if rows.is_empty() {
        return Ok(());
    }
    rows.sort_unstable();
    rows.dedup();
    let (terms, members): (Vec<i64>, Vec<Uuid>) = rows.into_iter().unzip();
    tx.execute(
        "INSERT INTO search_term (term, member) SELECT * FROM UNNEST($1::bigint[], $2::uuid[])",
        [terms.into(), members.into()],
    )
    .await?;
    Ok(())
}
