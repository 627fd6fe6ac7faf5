//! Rows of `rendering` and `rendering_address`, and what is asked of those they name.

use std::collections::{BTreeSet, HashMap};

use chrono::{DateTime, Utc};
use kit::types::{LoginId, MemberId, OrganisationId};
use kit::{Result, Tx};
use sea_orm::FromQueryResult;
use serde_json::{Value, json};
use uuid::Uuid;

use super::addresses::{self, Of};
use super::broken;
use super::people::{Blind, PersonRow};
use crate::domain::rendering::{
    Content, Problem, Purpose, Rendering, Row as Line, State, Template,
};

#[derive(Debug, FromQueryResult)]
pub(crate) struct Row {
    id: Uuid,
    version: i64,
    service: String,
    template: String,
    purpose: Option<String>,
    about: Uuid,
    asker: Uuid,
    organisation: Uuid,
    title: String,
    state: String,
    problem: Option<String>,
    content: Option<Value>,
    asked_at: DateTime<Utc>,
    expires_at: DateTime<Utc>,
}

pub(crate) const COLUMNS: &str = "id, version, service, template, purpose, about, asker, \
    organisation, title, state, problem, content, asked_at, expires_at";

impl Row {
    pub(crate) fn read(self) -> Result<Rendering> {
        let wrong = || broken("rendering");
        let state = match (self.state.as_str(), &self.problem, &self.content) {
            ("ready", None, Some(content)) => State::Ready(content_of(content).ok_or_else(wrong)?),
            ("refused", Some(problem), None) => {
                State::Refused(Problem::parse(problem).ok_or_else(wrong)?)
            }
            ("fetched", None, None) => State::Fetched,
            ("expired", None, None) => State::Expired,
            _ => return Err(wrong()),
        };
        let purpose = self.purpose.as_deref();
        let purpose = purpose.map(|it| Purpose::parse(it).ok_or_else(wrong));
        Ok(Rendering {
            id: self.id,
            version: self.version,
            service: self.service,
            template: Template::parse(&self.template).ok_or_else(wrong)?,
            purpose: purpose.transpose()?,
            about: self.about,
            asker: MemberId(self.asker),
            organisation: OrganisationId(self.organisation),
            title: self.title,
            state,
            asked_at: self.asked_at,
            expires_at: self.expires_at,
        })
    }
}

fn content_of(value: &Value) -> Option<Content> {
    let texts = |value: &Value| {
        let texts = value.as_array()?.iter();
        texts
            .map(|it| it.as_str().map(str::to_owned))
            .collect::<Option<Vec<String>>>()
    };
    let line = |value: &Value| {
        Some(Line {
            member: value.get("member")?.as_str()?.parse().ok()?,
            cells: texts(value.get("cells")?)?,
        })
    };
    let rows = value.get("rows")?.as_array()?.iter();
    Some(Content {
        columns: texts(value.get("columns")?)?,
        rows: rows.map(line).collect::<Option<Vec<Line>>>()?,
    })
}

fn stored(content: &Content) -> Value {
    let line = |row: &Line| json!({ "member": row.member, "cells": row.cells });
    let rows: Vec<Value> = content.rows.iter().map(line).collect();
    json!({ "columns": content.columns, "rows": rows })
}

/// Adds a file, unless it is known; whether it was added.
///
/// # Errors
/// When the database fails.
pub async fn insert(tx: &Tx, it: &Rendering) -> Result<bool> {
    let (state, problem, content) = columns(&it.state);
    let rows = tx
        .execute(
            "INSERT INTO rendering (id, version, service, template, about, asker, organisation,
               title, state, problem, content, asked_at, expires_at, purpose)
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11::text::jsonb, $12, $13, $14)
             ON CONFLICT (id) DO NOTHING",
            [
                it.id.into(),
                it.version.into(),
                it.service.clone().into(),
                it.template.as_str().into(),
                it.about.into(),
                it.asker.0.into(),
                it.organisation.0.into(),
                it.title.clone().into(),
                state.into(),
                problem.into(),
                content.into(),
                it.asked_at.into(),
                it.expires_at.into(),
                it.purpose.map(Purpose::as_str).into(),
            ],
        )
        .await?;
    Ok(rows > 0)
}

fn columns(state: &State) -> (&'static str, Option<&'static str>, Option<String>) {
    match state {
        State::Ready(content) => ("ready", None, Some(stored(content).to_string())),
        State::Refused(problem) => ("refused", Some(problem.as_str()), None),
        State::Fetched => ("fetched", None, None),
        State::Expired => ("expired", None, None),
    }
}

/// Writes what can change of a file; its content goes when it is over.
///
/// # Errors
/// When the database fails.
pub async fn save(tx: &Tx, it: &Rendering) -> Result<()> {
    let (state, problem, content) = columns(&it.state);
    tx.execute(
        "UPDATE rendering SET version = $2, state = $3, problem = $4, content = $5::text::jsonb
         WHERE id = $1",
        [
            it.id.into(),
            it.version.into(),
            state.into(),
            problem.into(),
            content.into(),
        ],
    )
    .await?;
    Ok(())
}

/// One file, locked to be changed.
///
/// # Errors
/// When the database fails.
pub async fn lock(tx: &Tx, id: Uuid) -> Result<Option<Rendering>> {
    let sql = format!("SELECT {COLUMNS} FROM rendering WHERE id = $1 FOR UPDATE");
    let row = tx.one::<Row>(&sql, [id.into()]).await?;
    row.map(Row::read).transpose()
}

/// The newest files for a person, so many at most.
///
/// # Errors
/// When the database fails.
pub async fn newest_of(tx: &Tx, asker: MemberId, rows_max: i64) -> Result<Vec<Rendering>> {
    let sql = format!(
        "SELECT {COLUMNS} FROM rendering WHERE asker = $1 ORDER BY asked_at DESC, id LIMIT $2"
    );
    let rows = tx
        .all::<Row>(&sql, [asker.0.into(), rows_max.into()])
        .await?;
    rows.into_iter().map(Row::read).collect()
}

/// The files that wait for these people, locked to be changed.
///
/// # Errors
/// When the database fails.
pub async fn lock_waiting(tx: &Tx, askers: &[Uuid]) -> Result<Vec<Rendering>> {
    let sql = format!(
        "SELECT {COLUMNS} FROM rendering WHERE asker = ANY ($1) AND state = 'ready'
         ORDER BY id FOR UPDATE"
    );
    let rows = tx.all::<Row>(&sql, [askers.to_vec().into()]).await?;
    rows.into_iter().map(Row::read).collect()
}

/// Whether these are there: an active person, and an organisation that is open.
///
/// # Errors
/// When the database fails.
pub async fn are_known(tx: &Tx, asker: MemberId, organisation: OrganisationId) -> Result<bool> {
    found(
        tx,
        "SELECT EXISTS (SELECT 1 FROM member WHERE id = $1)
           AND EXISTS (SELECT 1 FROM organisation WHERE id = $2) AS found",
        [asker.0.into(), organisation.0.into()],
    )
    .await
}

/// Whether a person is an officer of an organisation or of one above it.
///
/// # Errors
/// When the database fails.
pub async fn is_officer(tx: &Tx, asker: MemberId, organisation: OrganisationId) -> Result<bool> {
    found(
        tx,
        "SELECT EXISTS (SELECT 1 FROM role r JOIN organisation o ON r.organisation = ANY (o.path)
           JOIN member m ON m.id = r.member AND m.state = 'active'
           WHERE r.member = $1 AND o.id = $2 AND r.role = 'officer'
             AND role_held(r.withdrawn_at, r.ends_at, $3)) AS found",
        [asker.0.into(), organisation.0.into(), tx.now().into()],
    )
    .await
}

/// Whether one of these is a stranger to an organisation: neither in it or below it, now or ever,
/// nor on a roster that it has committed.
///
/// # Errors
/// When the database fails.
pub async fn has_strangers(
    tx: &Tx,
    organisation: OrganisationId,
    members: &[Uuid],
) -> Result<bool> {
    found(
        tx,
        "SELECT EXISTS (SELECT 1 FROM UNNEST($2::uuid[]) AS u (id)
           LEFT JOIN member k ON k.id = u.id
           CROSS JOIN LATERAL (SELECT COALESCE(k.merged_into, u.id) AS m) AS t
           WHERE NOT EXISTS (SELECT 1 FROM membership s JOIN organisation o
               ON o.id = s.organisation WHERE s.member = t.m AND $1 = ANY (o.path))
             AND NOT EXISTS (SELECT 1 FROM roster r JOIN roster_row w ON w.roster = r.id
               WHERE r.organisation = $1 AND r.state = 'committed' AND w.member IN (t.m, u.id)))
           AS found",
        [organisation.0.into(), members.to_vec().into()],
    )
    .await
}

/// Whom of these an organisation knows, so that a list of names may have them: who is in it or
/// below it now, by more than a name and a phone that somebody gave.
///
/// # Errors
/// When the database fails.
pub async fn known_to(
    tx: &Tx,
    organisation: OrganisationId,
    members: &[Uuid],
) -> Result<BTreeSet<Uuid>> {
    #[derive(FromQueryResult)]
    struct Row {
        id: Uuid,
    }
    let rows = tx
        .all::<Row>(
            "SELECT u.id FROM UNNEST($2::uuid[]) AS u (id) LEFT JOIN member k ON k.id = u.id
             WHERE EXISTS (SELECT 1 FROM membership s JOIN organisation o ON o.id = s.organisation
               WHERE s.member = COALESCE(k.merged_into, u.id) AND s.until IS NULL
                 AND s.ground <> 'name' AND $1 = ANY (o.path))",
            [organisation.0.into(), members.to_vec().into()],
        )
        .await?;
    Ok(rows.into_iter().map(|row| row.id).collect())
}

async fn found<const N: usize>(tx: &Tx, sql: &str, values: [sea_orm::Value; N]) -> Result<bool> {
    #[derive(FromQueryResult)]
    struct Found {
        found: bool,
    }
    let row = tx.one::<Found>(sql, values).await?;
    row.map(|row| row.found).ok_or_else(|| broken("answer"))
}

/// The sealed records of these people; who was forgotten has none.
///
/// # Errors
/// When the database fails.
pub async fn persons(tx: &Tx, members: &[Uuid]) -> Result<HashMap<Uuid, PersonRow>> {
    let rows = tx
        .all::<PersonRow>(
            "SELECT member, data_key, name FROM person WHERE member = ANY ($1)",
            [members.to_vec().into()],
        )
        .await?;
    Ok(rows.into_iter().map(|row| (row.member, row)).collect())
}

/// Adds an address of a file; those of the same that nobody used count no more.
///
/// # Errors
/// When the database fails.
pub async fn insert_address(
    tx: &Tx,
    (hash, rendering): (&Blind, Uuid),
    login: LoginId,
    expires_at: DateTime<Utc>,
) -> Result<()> {
    let same = vec![("rendering", rendering.into())];
    let more = vec![("login", login.0.into()), ("expires_at", expires_at.into())];
    addresses::insert(tx, Of::Rendering, hash, (same, more)).await
}

/// Uses an address up: its file and the login that asked for it. See [`addresses::use_up`].
///
/// # Errors
/// When the database fails.
pub async fn use_address(tx: &Tx, hash: &Blind) -> Result<Option<(Uuid, LoginId)>> {
    #[derive(FromQueryResult)]
    struct Found {
        rendering: Uuid,
        login: Uuid,
    }
    let row = addresses::use_up::<Found>(tx, Of::Rendering, hash, "rendering, login").await?;
    Ok(row.map(|row| (row.rendering, LoginId(row.login))))
}
