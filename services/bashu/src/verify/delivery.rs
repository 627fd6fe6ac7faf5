//! That every event reached every consumer: each relay has published all, and each consumer has
//! applied, parked or skipped exactly as many records of each partition as the relay numbered.

use std::collections::BTreeMap;

use anyhow::Result;
use kit::Ctx;
use sea_orm::FromQueryResult;

use super::Violation;
use crate::output::Text;

pub(super) const ID: &str = "cross.delivered";

pub(super) fn text() -> Text {
    Text::new(
        "每个事件都已发布，并被每个消费者处理",
        "every event is published and every consumer is past it",
    )
}

#[derive(FromQueryResult)]
struct Relay {
    epoch: i64,
    pseqs: Vec<i64>,
}

#[derive(FromQueryResult)]
struct Reading {
    consumer: String,
    topic: String,
    part: i32,
    epoch: i64,
    last_pseq: i64,
}

/// # Errors
/// When a database fails.
pub(super) async fn look(databases: &[Ctx]) -> Result<Vec<Violation>> {
    let mut found = Vec::new();
    let mut relays = BTreeMap::new();
    for ctx in databases {
        if let Some(at) = kit::relay::oldest_unpublished(ctx).await? {
            let problem = format!("an event of {} is not published", at.to_rfc3339());
            found.push(Violation {
                subject: ctx.topic(),
                problem,
            });
        }
        if let Some(relay) = relay(ctx).await? {
            relays.insert(ctx.topic(), relay);
        }
    }
    for ctx in databases {
        let readings: Vec<Reading> = ctx
            .db
            .all(
                "SELECT consumer, topic, part, epoch, last_pseq FROM watermark",
                [],
            )
            .await?;
        for reading in readings {
            if let Some(relay) = relays.get(&reading.topic) {
                found.extend(behind(ctx.service, &reading, relay));
            }
        }
    }
    Ok(found)
}

async fn relay(ctx: &Ctx) -> Result<Option<Relay>> {
    Ok(ctx
        .db
        .one("SELECT epoch, pseqs FROM outbox_relay WHERE shard = 0", [])
        .await?)
}

fn behind(service: &str, reading: &Reading, relay: &Relay) -> Option<Violation> {
    let sent = usize::try_from(reading.part)
        .ok()
        .and_then(|part| relay.pseqs.get(part))?;
    // A partition nothing was ever sent to may not have been looked at yet.
    let applied = reading.last_pseq.max(0);
    let epoch = if *sent == 0 {
        relay.epoch
    } else {
        reading.epoch
    };
    if applied == *sent && epoch == relay.epoch {
        return None;
    }
    let Reading {
        consumer,
        topic,
        part,
        ..
    } = reading;
    // Where the relay stands is left out: it goes on, and who stands still would look another
    // one at each look.
    let where_to = if epoch == relay.epoch && applied > *sent {
        "beyond what the relay ever sent"
    } else {
        "and the relay has sent more"
    };
    Some(Violation {
        subject: format!("{service}/{consumer} ← {topic}/{part}"),
        problem: format!(
            "the consumer stands at number {applied} of epoch {}, {where_to}",
            reading.epoch
        ),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reading(epoch: i64, last_pseq: i64) -> Reading {
        Reading {
            consumer: "replica".to_owned(),
            topic: "identity.v1".to_owned(),
            part: 0,
            epoch,
            last_pseq,
        }
    }

    /// A consumer is level with the relay in number and epoch, or it is not.
    #[test]
    fn a_consumer_is_level_or_behind() {
        let is_behind = |sent, reading: &Reading| {
            behind(
                "passes",
                reading,
                &Relay {
                    epoch: 2,
                    pseqs: vec![sent],
                },
            )
            .is_some()
        };
        assert!(!is_behind(7, &reading(2, 7)));
        assert!(is_behind(7, &reading(2, 6)));
        assert!(is_behind(7, &reading(1, 7)), "of an older epoch");
        assert!(is_behind(6, &reading(2, 7)), "ahead of what was ever sent");
        assert!(
            !is_behind(0, &reading(0, -1)),
            "nothing was sent, nothing was read"
        );
    }

    /// One that stands still is the same violation however far the relay has gone on, else a later
    /// look would take it for news; one that moves is another.
    #[test]
    fn who_stands_still_is_known_again() {
        let look = |sent, applied| {
            let pseqs = vec![sent];
            behind("passes", &reading(2, applied), &Relay { epoch: 2, pseqs })
        };
        assert_eq!(look(7, 6), look(8, 6));
        assert_ne!(look(7, 5), look(7, 6));
    }
}
