//! Rows of `member_merge`, and what a merge changes of the two records.

use chrono::{DateTime, Utc};
use kit::types::MemberId;
use kit::{Error, Result, Tx};
use sea_orm::FromQueryResult;
use uuid::Uuid;

use super::people::{MEMBERSHIP_COLUMNS, MembershipRow};
use crate::domain::membership::Membership;
use crate::domain::merge::Pair;

/// A member's state, with her version.
#[derive(Clone, Debug, FromQueryResult)]
pub struct MemberRow {
    pub id: Uuid,
    pub version: i64,
    pub state: String,
    pub merged_into: Option<Uuid>,
}

impl MemberRow {
    pub fn is_active(&self) -> bool {
        self.state == "active"
    }
}

/// These members, locked to be changed, in the order of their ids: whoever else merges one of
/// them, or grants her something, waits.
///
/// # Errors
/// When the database fails.
pub async fn lock_members(tx: &Tx, pair: Pair) -> Result<Vec<MemberRow>> {
    tx.all(
        "SELECT id, version, state, merged_into FROM member WHERE id IN ($1, $2)
         ORDER BY id FOR UPDATE",
        [pair.survivor.0.into(), pair.merged.0.into()],
    )
    .await
}

/// Who somebody is by now: the record that this one was merged into, or itself. Both are locked, in
/// one order.
///
/// # Errors
/// Unavailable while the record is merged or split; when the database fails.
pub async fn lock_who_is(tx: &Tx, member: MemberId) -> Result<MemberId> {
    let rows = tx
        .all::<MemberRow>(
            "SELECT id, version, state, merged_into FROM member
             WHERE id = $1 OR id = (SELECT merged_into FROM member WHERE id = $1)
             ORDER BY id FOR UPDATE",
            [member.0.into()],
        )
        .await?;
    let own = rows.iter().find(|row| row.id == member.0);
    let who = own.and_then(|row| row.merged_into).unwrap_or(member.0);
    if own.is_some() && !rows.iter().any(|row| row.id == who) {
        return Err(Error::Unavailable("the record is merged or split now"));
    }
    Ok(MemberId(who))
}

/// The organisations that either of two records is or was in, in the order of their ids. Nothing is
/// locked.
///
/// # Errors
/// When the database fails.
pub async fn places(tx: &Tx, pair: Pair) -> Result<Vec<Uuid>> {
    #[derive(FromQueryResult)]
    struct Row {
        organisation: Uuid,
    }
    let rows = tx
        .all::<Row>(
            "SELECT DISTINCT organisation FROM membership WHERE member IN ($1, $2)
             ORDER BY organisation",
            [pair.survivor.0.into(), pair.merged.0.into()],
        )
        .await?;
    Ok(rows.into_iter().map(|row| row.organisation).collect())
}

/// Whether somebody was merged into this member.
///
/// # Errors
/// When the database fails.
pub async fn has_merged(tx: &Tx, member: MemberId) -> Result<bool> {
    found(
        tx,
        "SELECT EXISTS (SELECT 1 FROM member WHERE merged_into = $1) AS found",
        member,
    )
    .await
}

/// Whether a merge of one of these members, into another or of another into her, waits for its
/// second operator.
///
/// # Errors
/// When the database fails.
pub async fn waits(tx: &Tx, members: &[Uuid]) -> Result<bool> {
    #[derive(FromQueryResult)]
    struct Row {
        found: bool,
    }
    let row = tx
        .one::<Row>(
            "SELECT EXISTS (SELECT 1 FROM member_merge WHERE state = 'asked' AND expires_at > $2
               AND (survivor = ANY ($1) OR merged = ANY ($1))) AS found",
            [members.to_vec().into(), tx.now().into()],
        )
        .await?;
    Ok(row.is_some_and(|row| row.found))
}

/// When the last of the merges into this member that were done after `since` was.
///
/// # Errors
/// When the database fails.
pub async fn last_since(
    tx: &Tx,
    survivor: MemberId,
    since: DateTime<Utc>,
) -> Result<Option<DateTime<Utc>>> {
    #[derive(FromQueryResult)]
    struct Row {
        done_at: Option<DateTime<Utc>>,
    }
    let row = tx
        .one::<Row>(
            "SELECT max(done_at) AS done_at FROM member_merge
             WHERE survivor = $1 AND state = 'done' AND done_at > $2",
            [survivor.0.into(), since.into()],
        )
        .await?;
    Ok(row.and_then(|row| row.done_at))
}

/// How many merges into this member were done after `since`.
///
/// # Errors
/// When the database fails.
pub async fn done_since(tx: &Tx, survivor: MemberId, since: DateTime<Utc>) -> Result<i64> {
    #[derive(FromQueryResult)]
    struct Row {
        count: i64,
    }
    let row = tx
        .one::<Row>(
            "SELECT count(*) AS count FROM member_merge
             WHERE survivor = $1 AND state = 'done' AND done_at > $2",
            [survivor.0.into(), since.into()],
        )
        .await?;
    Ok(row.map_or(0, |row| row.count))
}

/// Whether this member holds any role.
///
/// # Errors
/// When the database fails.
pub async fn holds_role(tx: &Tx, member: MemberId) -> Result<bool> {
    found(
        tx,
        "SELECT EXISTS (SELECT 1 FROM role WHERE member = $1 AND withdrawn_at IS NULL) AS found",
        member,
    )
    .await
}

async fn found(tx: &Tx, sql: &str, member: MemberId) -> Result<bool> {
    #[derive(FromQueryResult)]
    struct Row {
        found: bool,
    }
    let row = tx.one::<Row>(sql, [member.0.into()]).await?;
    Ok(row.is_some_and(|row| row.found))
}

/// A merge that waits or is done.
#[derive(Clone, Debug, FromQueryResult)]
pub struct MergeRow {
    pub id: Uuid,
    pub survivor: Uuid,
    pub asked_by: Uuid,
    pub expires_at: DateTime<Utc>,
    pub done_at: Option<DateTime<Utc>>,
    pub documents: Vec<Uuid>,
    pub methods: Vec<Uuid>,
    pub memberships: Vec<Uuid>,
}

/// The merge of this record into another one that waits or is done. Nothing is locked: the two
/// members are.
///
/// # Errors
/// When the database fails.
pub async fn open(tx: &Tx, merged: MemberId) -> Result<Option<MergeRow>> {
    tx.one(
        "SELECT id, survivor, asked_by, expires_at, done_at, documents, methods, memberships
         FROM member_merge WHERE merged = $1 AND state IN ('asked', 'done')",
        [merged.0.into()],
    )
    .await
}

/// Adds a merge that waits.
///
/// # Errors
/// When the database fails, or against `member_merge_one_open`.
pub async fn insert(
    tx: &Tx,
    id: Uuid,
    pair: Pair,
    (by, expires_at): (MemberId, DateTime<Utc>),
) -> Result<()> {
    tx.execute(
        "INSERT INTO member_merge (id, survivor, merged, state, asked_by, asked_at, expires_at)
         VALUES ($1, $2, $3, 'asked', $4, $5, $6)",
        [
            id.into(),
            pair.survivor.0.into(),
            pair.merged.0.into(),
            by.0.into(),
            tx.now().into(),
            expires_at.into(),
        ],
    )
    .await?;
    Ok(())
}

/// What went over with a merge.
#[derive(Clone, Debug, Default)]
pub struct Moved {
    pub documents: Vec<Uuid>,
    pub methods: Vec<Uuid>,
    pub memberships: Vec<Uuid>,
}

/// Writes that a second operator asked for a merge too, and what went over.
///
/// # Errors
/// When the database fails, or against `member_merge_by_two`.
pub async fn finish(tx: &Tx, id: Uuid, by: MemberId, moved: Moved) -> Result<()> {
    tx.execute(
        "UPDATE member_merge SET state = 'done', done_by = $2, done_at = $3, documents = $4,
           methods = $5, memberships = $6 WHERE id = $1",
        [
            id.into(),
            by.0.into(),
            tx.now().into(),
            moved.documents.into(),
            moved.methods.into(),
            moved.memberships.into(),
        ],
    )
    .await?;
    Ok(())
}

/// Ends a merge that nobody else asked for in time; how many that were.
///
/// # Errors
/// When the database fails.
pub async fn expire(tx: &Tx, id: Uuid) -> Result<u64> {
    tx.execute(
        "UPDATE member_merge SET state = 'expired'
         WHERE id = $1 AND state = 'asked' AND expires_at <= $2",
        [id.into(), tx.now().into()],
    )
    .await
}

/// Writes that a merge was undone.
///
/// # Errors
/// When the database fails.
pub async fn undo(tx: &Tx, id: Uuid, by: MemberId) -> Result<()> {
    tx.execute(
        "UPDATE member_merge SET state = 'undone', undone_by = $2, undone_at = $3 WHERE id = $1",
        [id.into(), by.0.into(), tx.now().into()],
    )
    .await?;
    Ok(())
}

/// Gives the survivor what was verified of the other record, and writes what that was.
///
/// # Errors
/// When the database fails.
pub async fn move_verified(tx: &Tx, merge: Uuid, pair: Pair) -> Result<()> {
    for sql in [
        "WITH moved AS (UPDATE verification SET member = $2
           WHERE member = $3 AND state = 'matched' RETURNING id)
         UPDATE member_merge SET verifications = ARRAY (SELECT id FROM moved ORDER BY id)
         WHERE id = $1",
        "WITH moved AS (UPDATE network_identity SET member = $2
           WHERE member = $3 RETURNING blind)
         UPDATE member_merge SET networks = ARRAY (SELECT blind FROM moved ORDER BY blind)
         WHERE id = $1",
    ] {
        let values = [merge.into(), pair.survivor.0.into(), pair.merged.0.into()];
        tx.execute(sql, values).await?;
    }
    Ok(())
}

/// Gives back what was verified of the record that a merge took, as far as the survivor has it.
///
/// # Errors
/// When the database fails.
pub async fn return_verified(tx: &Tx, merge: Uuid) -> Result<()> {
    for sql in [
        "UPDATE verification v SET member = g.merged FROM member_merge g
         WHERE g.id = $1 AND v.id = ANY (g.verifications) AND v.member = g.survivor",
        "UPDATE network_identity n SET member = g.merged FROM member_merge g
         WHERE g.id = $1 AND n.blind = ANY (g.networks) AND n.member = g.survivor",
    ] {
        tx.execute(sql, [merge.into()]).await?;
    }
    Ok(())
}

/// Makes a record a name of another one, or a record of its own again, in a new version.
///
/// # Errors
/// When the database fails.
pub async fn save_member(
    tx: &Tx,
    member: MemberId,
    version: i64,
    into: Option<MemberId>,
) -> Result<()> {
    let state = if into.is_some() { "merged" } else { "active" };
    tx.execute(
        "UPDATE member SET version = $2, state = $3, merged_into = $4 WHERE id = $1",
        [
            member.0.into(),
            version.into(),
            state.into(),
            into.map(|it| it.0).into(),
        ],
    )
    .await?;
    Ok(())
}

/// All memberships of a person, locked.
///
/// # Errors
/// When the database fails.
pub async fn memberships(tx: &Tx, member: MemberId) -> Result<Vec<Membership>> {
    let sql = format!(
        "SELECT {MEMBERSHIP_COLUMNS} FROM membership WHERE member = $1 ORDER BY id FOR UPDATE"
    );
    let rows = tx.all::<MembershipRow>(&sql, [member.0.into()]).await?;
    rows.into_iter().map(MembershipRow::read).collect()
}

/// Gives a membership in its new version to another record.
///
/// # Errors
/// When the database fails, or against `membership_open_unique`.
pub async fn move_membership(tx: &Tx, membership: &Membership) -> Result<()> {
    tx.execute(
        "UPDATE membership SET member = $2, version = $3 WHERE id = $1",
        [
            membership.id.into(),
            membership.member.0.into(),
            membership.version.into(),
        ],
    )
    .await?;
    Ok(())
}

/// A sealed cell of a person: the number of a document, or what she signs in by.
#[derive(Clone, Debug, FromQueryResult)]
pub struct SealedRow {
    pub id: Uuid,
    /// Of a document its number, of a way to sign in its name.
    pub kind: String,
    pub sealed: Vec<u8>,
}

/// Where a sealed cell is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    Document,
    LoginMethod,
}

impl Place {
    /// The table and the column of the cell.
    pub const fn names(self) -> (&'static str, &'static str) {
        match self {
            Self::Document => ("document", "number"),
            Self::LoginMethod => ("login_method", "subject"),
        }
    }
}

/// The sealed cells of a person, locked.
///
/// # Errors
/// When the database fails.
pub async fn sealed(tx: &Tx, place: Place, member: MemberId) -> Result<Vec<SealedRow>> {
    let (table, column) = place.names();
    let sql = format!(
        "SELECT id, kind::text AS kind, {column} AS sealed FROM {table} WHERE member = $1
         ORDER BY created_at, id FOR UPDATE"
    );
    tx.all(&sql, [member.0.into()]).await
}

/// Gives a cell, sealed anew, to another record.
///
/// # Errors
/// When the database fails, or against `login_method_one_phone`.
pub async fn give(tx: &Tx, place: Place, (id, to): (Uuid, MemberId), bytes: Vec<u8>) -> Result<()> {
    let (table, column) = place.names();
    let sql = format!("UPDATE {table} SET member = $2, {column} = $3 WHERE id = $1");
    tx.execute(&sql, [id.into(), to.0.into(), bytes.into()])
        .await?;
    Ok(())
}
