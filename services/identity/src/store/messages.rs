//! Rows of `sms_message`.

use chrono::{DateTime, Utc};
use kit::types::MemberId;
use kit::{Result, Tx};
use sea_orm::FromQueryResult;
use serde_json::{Value, json};
use uuid::Uuid;

use super::broken;
use crate::domain::merge::Pair;
use crate::domain::message::{Content, Message, Purpose, Skipped, State, Template};

/// Messages removed in one sweep, at most.
const SWEEP_ROWS_MAX: i64 = 5_000;

#[derive(FromQueryResult)]
struct Row {
    id: Uuid,
    service: String,
    template: String,
    about: Uuid,
    member: Uuid,
    purpose: String,
    content: Value,
    asked_at: DateTime<Utc>,
    valid_until: DateTime<Utc>,
    state: String,
    handed_over_at: Option<DateTime<Utc>>,
    why: Option<String>,
}

impl Row {
    fn read(self) -> Result<Message> {
        let wrong = || broken("message");
        let state = match (self.state.as_str(), self.handed_over_at, &self.why) {
            ("planned", None, None) => State::Planned,
            ("handed_over", Some(at), None) => State::HandedOver { at },
            ("skipped", None, Some(why)) => State::Skipped(Skipped::parse(why).ok_or_else(wrong)?),
            _ => return Err(wrong()),
        };
        let template = Template::parse(&self.template).ok_or_else(wrong)?;
        let values = self.content.as_array().ok_or_else(wrong)?;
        let values: Option<Vec<String>> = values
            .iter()
            .map(|it| it.as_str().map(str::to_owned))
            .collect();
        let content = values.and_then(|values| Content::read(template, &values));
        Ok(Message {
            id: self.id,
            service: self.service,
            about: self.about,
            member: MemberId(self.member),
            purpose: Purpose::parse(&self.purpose).ok_or_else(wrong)?,
            content: content.ok_or_else(wrong)?,
            asked_at: self.asked_at,
            valid_until: self.valid_until,
            state,
        })
    }
}

/// Adds a message that is not known, to a person who is there; whether it was added. It is kept
/// under the id that it was asked for: to whom that leads is found out when it goes.
///
/// # Errors
/// When the database fails.
pub async fn insert(tx: &Tx, it: &Message) -> Result<bool> {
    let rows = tx
        .execute(
            "INSERT INTO sms_message (id, service, template, about, member, purpose, content,
               asked_at, valid_until, state)
             SELECT $1, $2, $3, $4, m.id, $6, $7::text::jsonb, $8, $9, 'planned'
             FROM member m LEFT JOIN member s ON s.id = m.merged_into
             WHERE m.id = $5 AND COALESCE(s.state, m.state) = 'active'
             -- Whoever forgets her is waited for, and then she is not there.
             FOR KEY SHARE OF m
             ON CONFLICT (id) DO NOTHING",
            [
                it.id.into(),
                it.service.clone().into(),
                it.content.template().as_str().into(),
                it.about.into(),
                it.member.0.into(),
                it.purpose.as_str().into(),
                json!(it.content.values()).to_string().into(),
                it.asked_at.into(),
                it.valid_until.into(),
            ],
        )
        .await?;
    Ok(rows > 0)
}

/// Whom a message is for: who she is by now, where her record was merged. Nothing is locked.
///
/// # Errors
/// When the database fails.
pub async fn member_of(tx: &Tx, id: Uuid) -> Result<Option<MemberId>> {
    #[derive(FromQueryResult)]
    struct Found {
        member: Uuid,
    }
    let sql = "SELECT COALESCE(m.merged_into, m.id) AS member
               FROM sms_message s JOIN member m ON m.id = s.member WHERE s.id = $1";
    let row = tx.one::<Found>(sql, [id.into()]).await?;
    Ok(row.map(|row| MemberId(row.member)))
}

/// One message, locked to be changed.
///
/// # Errors
/// When the database fails.
pub async fn lock(tx: &Tx, id: Uuid) -> Result<Option<Message>> {
    let row = tx
        .one::<Row>(
            "SELECT id, service, template, about, member, purpose, content, asked_at,
               valid_until, state, handed_over_at, why
             FROM sms_message WHERE id = $1 FOR UPDATE",
            [id.into()],
        )
        .await?;
    row.map(Row::read).transpose()
}

/// Writes what became of a message.
///
/// # Errors
/// When the database fails.
pub async fn save(tx: &Tx, it: &Message) -> Result<()> {
    let (state, at, why) = match it.state {
        State::Planned => ("planned", None, None),
        State::HandedOver { at } => ("handed_over", Some(at), None),
        State::Skipped(why) => ("skipped", None, Some(why.as_str())),
    };
    tx.execute(
        "UPDATE sms_message SET state = $2, handed_over_at = $3, why = $4, valid_until = $5
         WHERE id = $1",
        [
            it.id.into(),
            state.into(),
            at.into(),
            why.into(),
            it.valid_until.into(),
        ],
    )
    .await?;
    Ok(())
}

/// Removes what two people were sent, or not sent, while they were one record: it was decided by
/// what the one of them agreed to, and went to her. What has not gone yet goes to whom it is for.
///
/// # Errors
/// When the database fails.
pub async fn forget_since(tx: &Tx, pair: Pair, since: DateTime<Utc>) -> Result<u64> {
    tx.execute(
        "DELETE FROM sms_message WHERE member IN ($1, $2) AND state <> 'planned'
           AND (asked_at > $3 OR handed_over_at > $3)",
        [pair.survivor.0.into(), pair.merged.0.into(), since.into()],
    )
    .await
}

/// Removes messages whose time ended before `before`, some thousand at a time; how many. One that
/// is asked for again is too late.
///
/// # Errors
/// When the database fails.
pub async fn sweep(tx: &Tx, before: DateTime<Utc>) -> Result<u64> {
    tx.execute(
        "DELETE FROM sms_message WHERE id = ANY (ARRAY(
           SELECT id FROM sms_message WHERE valid_until < $1 ORDER BY valid_until, id LIMIT $2))",
        [before.into(), SWEEP_ROWS_MAX.into()],
    )
    .await
}
