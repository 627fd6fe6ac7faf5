//! Rows of `member`, `person`, `document`, `login_method` and `membership`. Many people are
//! written by one statement per table, arrays sorted by what is unique in them.

use std::collections::HashMap;

use chrono::{DateTime, NaiveDate, Utc};
use kit::types::{MemberId, OrganisationId};
use kit::{Result, Tx};
use sea_orm::FromQueryResult;
use uuid::Uuid;

use super::{broken, search};
use crate::domain::membership::{Membership, Standing};
use crate::domain::search::SEARCH_VERSION;

/// Thirty-two bytes that a number is found by.
pub type Blind = [u8; 32];

/// A person as the vault keeps her.
#[derive(Clone, Debug, FromQueryResult)]
pub struct PersonRow {
    pub member: Uuid,
    pub data_key: Vec<u8>,
    pub name: Vec<u8>,
}

/// A person to be added.
#[derive(Clone, Debug)]
pub struct NewPersonRow {
    pub person: PersonRow,
    pub document: Option<NewDocumentRow>,
    pub phone: Option<NewPhoneRow>,
    /// What she is found by, see `store::search`.
    pub terms: Vec<i64>,
}

/// A document to be added, its number sealed.
#[derive(Clone, Debug)]
pub struct NewDocumentRow {
    pub id: Uuid,
    pub kind: u8,
    pub number: Vec<u8>,
    pub blind: Blind,
}

/// A phone to be added, its digits sealed.
#[derive(Clone, Debug)]
pub struct NewPhoneRow {
    pub id: Uuid,
    pub member: Uuid,
    pub subject: Vec<u8>,
    pub blind: Blind,
}

/// A person's document, its number sealed.
#[derive(Clone, Debug, FromQueryResult)]
pub struct DocumentRow {
    pub id: Uuid,
    pub kind: i16,
    pub number: Vec<u8>,
}

/// A person's phone, its digits sealed.
#[derive(Clone, Debug, FromQueryResult)]
pub struct PhoneRow {
    pub id: Uuid,
    pub member: Uuid,
    pub subject: Vec<u8>,
}

#[derive(FromQueryResult)]
struct FoundPerson {
    blind: Vec<u8>,
    member: Uuid,
    data_key: Vec<u8>,
    name: Vec<u8>,
}

/// The active persons with these documents.
///
/// # Errors
/// When the database fails.
pub async fn by_documents(tx: &Tx, blinds: &[Blind]) -> Result<HashMap<Blind, PersonRow>> {
    found(tx, blinds, "").await
}

/// [`by_documents`], locked so that they stay active: what is decided of them, and whoever forgets
/// one of them, wait for each other.
///
/// # Errors
/// When the database fails.
pub async fn keep_by_documents(tx: &Tx, blinds: &[Blind]) -> Result<HashMap<Blind, PersonRow>> {
    found(tx, blinds, "ORDER BY m.id FOR SHARE OF m").await
}

async fn found(tx: &Tx, blinds: &[Blind], lock: &str) -> Result<HashMap<Blind, PersonRow>> {
    let sql = format!(
        "SELECT d.blind, p.member, p.data_key, p.name
         FROM document d JOIN person p ON p.member = d.member
         JOIN member m ON m.id = d.member
         WHERE d.blind = ANY ($1) AND m.state = 'active' {lock}"
    );
    let rows = tx
        .all::<FoundPerson>(&sql, [vectors(blinds).into()])
        .await?;
    rows.into_iter()
        .map(|row| {
            let FoundPerson {
                blind,
                member,
                data_key,
                name,
            } = row;
            Ok((
                key(&blind)?,
                PersonRow {
                    member,
                    data_key,
                    name,
                },
            ))
        })
        .collect()
}

#[derive(FromQueryResult)]
struct FoundPhone {
    blind: Vec<u8>,
    member: Uuid,
}

/// Whose phones these are; that of a record that was merged is who she is now.
///
/// # Errors
/// When the database fails.
pub async fn by_phones(tx: &Tx, blinds: &[Blind]) -> Result<HashMap<Blind, Uuid>> {
    let rows = tx
        .all::<FoundPhone>(
            "SELECT l.blind, COALESCE(m.merged_into, m.id) AS member
             FROM login_method l JOIN member m ON m.id = l.member WHERE l.blind = ANY ($1)",
            [vectors(blinds).into()],
        )
        .await?;
    rows.into_iter()
        .map(|row| Ok((key(&row.blind)?, row.member)))
        .collect()
}

/// Those of these members who have a phone.
///
/// # Errors
/// When the database fails.
pub async fn with_phone(tx: &Tx, members: &[Uuid]) -> Result<Vec<Uuid>> {
    #[derive(FromQueryResult)]
    struct Row {
        member: Uuid,
    }
    let rows = tx
        .all::<Row>(
            "SELECT member FROM login_method WHERE kind = 'phone' AND member = ANY ($1)",
            [members.to_vec().into()],
        )
        .await?;
    Ok(rows.into_iter().map(|row| row.member).collect())
}

/// Adds people who are not there yet.
///
/// # Errors
/// When the database fails, or against `document_blind_unique` and `login_method_blind_unique`.
pub async fn insert(tx: &Tx, people: &[NewPersonRow]) -> Result<()> {
    if people.is_empty() {
        return Ok(());
    }
    let ids: Vec<Uuid> = people.iter().map(|new| new.person.member).collect();
    let data_keys: Vec<Vec<u8>> = people
        .iter()
        .map(|new| new.person.data_key.clone())
        .collect();
    let names: Vec<Vec<u8>> = people.iter().map(|new| new.person.name.clone()).collect();
    tx.execute(
        "INSERT INTO member (id, version, state, created_at)
         SELECT i, 1, 'active', $2 FROM UNNEST($1::uuid[]) AS t (i)",
        [ids.clone().into(), tx.now().into()],
    )
    .await?;
    tx.execute(
        "INSERT INTO person (member, data_key, name, search_version)
         SELECT m, k, n, $4 FROM UNNEST($1::uuid[], $2::bytea[], $3::bytea[]) AS t (m, k, n)",
        [
            ids.into(),
            data_keys.into(),
            names.into(),
            SEARCH_VERSION.into(),
        ],
    )
    .await?;
    let terms = people.iter().map(|new| (new.person.member, &new.terms));
    search::insert(tx, terms).await?;
    insert_documents(tx, people).await?;
    let phones: Vec<NewPhoneRow> = people.iter().filter_map(|new| new.phone.clone()).collect();
    insert_phones(tx, phones).await
}

async fn insert_documents(tx: &Tx, people: &[NewPersonRow]) -> Result<()> {
    let mut rows: Vec<(Uuid, &NewDocumentRow)> = people
        .iter()
        .filter_map(|new| new.document.as_ref().map(|row| (new.person.member, row)))
        .collect();
    rows.sort_by_key(|(_, row)| row.blind);
    tx.execute(
        "INSERT INTO document (id, member, kind, number, blind, created_at)
         SELECT i, m, k, n, b, $6
         FROM UNNEST($1::uuid[], $2::uuid[], $3::smallint[], $4::bytea[], $5::bytea[])
           AS t (i, m, k, n, b)",
        [
            rows.iter()
                .map(|(_, row)| row.id)
                .collect::<Vec<_>>()
                .into(),
            rows.iter()
                .map(|(member, _)| *member)
                .collect::<Vec<_>>()
                .into(),
            rows.iter()
                .map(|(_, row)| i16::from(row.kind))
                .collect::<Vec<_>>()
                .into(),
            rows.iter()
                .map(|(_, row)| row.number.clone())
                .collect::<Vec<_>>()
                .into(),
            rows.iter()
                .map(|(_, row)| row.blind.to_vec())
                .collect::<Vec<_>>()
                .into(),
            tx.now().into(),
        ],
    )
    .await?;
    Ok(())
}

/// Adds phones to people who have none.
///
/// # Errors
/// When the database fails, or against `login_method_blind_unique`.
pub async fn insert_phones(tx: &Tx, mut rows: Vec<NewPhoneRow>) -> Result<()> {
    if rows.is_empty() {
        return Ok(());
    }
    rows.sort_by_key(|row| row.blind);
    tx.execute(
        "INSERT INTO login_method (id, member, kind, subject, blind, created_at)
         SELECT i, m, 'phone', s, b, $5
         FROM UNNEST($1::uuid[], $2::uuid[], $3::bytea[], $4::bytea[]) AS t (i, m, s, b)",
        [
            rows.iter().map(|row| row.id).collect::<Vec<_>>().into(),
            rows.iter().map(|row| row.member).collect::<Vec<_>>().into(),
            rows.iter()
                .map(|row| row.subject.clone())
                .collect::<Vec<_>>()
                .into(),
            rows.iter()
                .map(|row| row.blind.to_vec())
                .collect::<Vec<_>>()
                .into(),
            tx.now().into(),
        ],
    )
    .await?;
    Ok(())
}

/// An active person, locked so that she stays so.
///
/// # Errors
/// When the database fails.
pub async fn active(tx: &Tx, member: MemberId) -> Result<Option<PersonRow>> {
    tx.one(
        "SELECT p.member, p.data_key, p.name FROM person p JOIN member m ON m.id = p.member
         WHERE m.id = $1 AND m.state = 'active' FOR SHARE OF m",
        [member.0.into()],
    )
    .await
}

/// A person as the vault keeps her, whatever her state; nothing is locked.
///
/// # Errors
/// When the database fails.
pub async fn kept(tx: &Tx, member: MemberId) -> Result<Option<PersonRow>> {
    tx.one(
        "SELECT member, data_key, name FROM person WHERE member = $1",
        [member.0.into()],
    )
    .await
}

/// The active person who signs in with this phone, locked with it: her phone is not changed before
/// what follows from it is done, so that the change ends that too. The person comes first, as where
/// her phone is changed: see [`super::consents::lock_member`].
///
/// # Errors
/// When the database fails.
pub async fn by_phone(tx: &Tx, blind: &Blind) -> Result<Option<(PersonRow, PhoneRow)>> {
    #[derive(FromQueryResult)]
    struct Row {
        id: Uuid,
        member: Uuid,
        subject: Vec<u8>,
        data_key: Vec<u8>,
        name: Vec<u8>,
    }
    let row = tx
        .one::<Row>(
            "SELECT l.id, l.member, l.subject, p.data_key, p.name
             FROM login_method l JOIN person p ON p.member = l.member
             JOIN member m ON m.id = l.member
             WHERE l.blind = $1 AND m.state = 'active' FOR SHARE OF m, l",
            [blind.to_vec().into()],
        )
        .await?;
    Ok(row.map(|row| {
        let Row {
            id,
            member,
            subject,
            data_key,
            name,
        } = row;
        (
            PersonRow {
                member,
                data_key,
                name,
            },
            PhoneRow {
                id,
                member,
                subject,
            },
        )
    }))
}

/// A person's documents, the most telling first.
///
/// # Errors
/// When the database fails.
pub async fn documents(tx: &Tx, member: MemberId) -> Result<Vec<DocumentRow>> {
    tx.all(
        "SELECT id, kind, number FROM document WHERE member = $1 ORDER BY kind, created_at, id",
        [member.0.into()],
    )
    .await
}

/// A person's phone.
///
/// # Errors
/// When the database fails.
pub async fn phone(tx: &Tx, member: MemberId) -> Result<Option<PhoneRow>> {
    tx.one(
        "SELECT id, member, subject FROM login_method WHERE member = $1 AND kind = 'phone'",
        [member.0.into()],
    )
    .await
}

pub(crate) const MEMBERSHIP_COLUMNS: &str =
    "id, version, member, organisation, state, since, until, created_at";

#[derive(Debug, FromQueryResult)]
pub(crate) struct MembershipRow {
    id: Uuid,
    version: i64,
    member: Uuid,
    organisation: Uuid,
    state: String,
    since: NaiveDate,
    until: Option<NaiveDate>,
    created_at: DateTime<Utc>,
}

impl MembershipRow {
    pub(crate) fn read(self) -> Result<Membership> {
        Ok(Membership {
            id: self.id,
            version: self.version,
            member: MemberId(self.member),
            organisation: OrganisationId(self.organisation),
            standing: Standing::parse(&self.state, self.until)
                .ok_or_else(|| broken("membership"))?,
            since: self.since,
            created_at: self.created_at,
        })
    }
}

/// The open memberships of these people in one organisation.
///
/// # Errors
/// When the database fails.
pub async fn open_memberships(
    tx: &Tx,
    organisation: OrganisationId,
    members: &[Uuid],
) -> Result<Vec<Membership>> {
    let sql = format!(
        "SELECT {MEMBERSHIP_COLUMNS} FROM membership
         WHERE organisation = $1 AND member = ANY ($2) AND until IS NULL"
    );
    let rows = tx
        .all::<MembershipRow>(&sql, [organisation.0.into(), members.to_vec().into()])
        .await?;
    rows.into_iter().map(MembershipRow::read).collect()
}

/// One membership, locked to be changed.
///
/// # Errors
/// When the database fails.
pub async fn membership(tx: &Tx, id: Uuid) -> Result<Option<Membership>> {
    let sql = format!("SELECT {MEMBERSHIP_COLUMNS} FROM membership WHERE id = $1 FOR UPDATE");
    tx.one::<MembershipRow>(&sql, [id.into()])
        .await?
        .map(MembershipRow::read)
        .transpose()
}

/// Adds memberships that are open.
///
/// # Errors
/// When the database fails, or against `membership_open_unique`.
pub async fn insert_memberships(tx: &Tx, rows: &[Membership]) -> Result<()> {
    if rows.is_empty() {
        return Ok(());
    }
    tx.execute(
        "INSERT INTO membership (id, version, member, organisation, state, since, created_at)
         SELECT i, 1, m, o, s, d, $6
         FROM UNNEST($1::uuid[], $2::uuid[], $3::uuid[], $4::text[], $5::date[])
           AS t (i, m, o, s, d)",
        [
            rows.iter().map(|row| row.id).collect::<Vec<_>>().into(),
            rows.iter()
                .map(|row| row.member.0)
                .collect::<Vec<_>>()
                .into(),
            rows.iter()
                .map(|row| row.organisation.0)
                .collect::<Vec<_>>()
                .into(),
            rows.iter()
                .map(|row| row.standing.as_str().to_owned())
                .collect::<Vec<_>>()
                .into(),
            rows.iter().map(|row| row.since).collect::<Vec<_>>().into(),
            tx.now().into(),
        ],
    )
    .await?;
    Ok(())
}

/// Writes what can change of a membership.
///
/// # Errors
/// When the database fails.
pub async fn save_membership(tx: &Tx, membership: &Membership) -> Result<()> {
    tx.execute(
        "UPDATE membership SET version = $2, state = $3, since = $4, until = $5 WHERE id = $1",
        [
            membership.id.into(),
            membership.version.into(),
            membership.standing.as_str().into(),
            membership.since.into(),
            membership.standing.until().into(),
        ],
    )
    .await?;
    Ok(())
}

fn vectors(blinds: &[Blind]) -> Vec<Vec<u8>> {
    blinds.iter().map(|blind| blind.to_vec()).collect()
}

fn key(bytes: &[u8]) -> Result<Blind> {
    Blind::try_from(bytes).map_err(|_| broken("keyed hash"))
}
