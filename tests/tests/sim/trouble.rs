//! Trouble that the provider and the log make under a seed, and how much of it really happened:
//! what was only told to happen has shown nothing.

use anyhow::{Result, bail};
use rand::Rng;
use sea_orm::FromQueryResult;
use serde_json::{Value, json};

use crate::play::Play;
use crate::world::Service;

const NOTICES: &str = "/sandbox/notifications";

impl Play<'_> {
    pub(crate) async fn upset_the_provider(&mut self) -> Result<()> {
        let times = self.random.random_range(1..3);
        let delay_ms = self.random.random_range(1_000..60_000);
        let forgeries = [
            "bad_signature",
            "wrong_amount",
            "unknown_order",
            "stale_timestamp",
        ];
        let forgery = forgeries[self.random.random_range(0..forgeries.len())];
        let answers = [
            "bad_signature",
            "stale_timestamp",
            "signtest",
            "lose",
            "lose",
            "system_error",
            "frequency_limited",
        ];
        let answer = answers[self.random.random_range(0..answers.len())];
        let (path, told): (_, Value) = match self.random.random_range(0..8) {
            0 => (
                NOTICES,
                json!({ "next": 1, "action": "lose", "times": times }),
            ),
            1 => (
                NOTICES,
                json!({ "next": 1, "action": "repeat", "times": times }),
            ),
            2 => (
                NOTICES,
                json!({ "next": 1, "action": "replay", "times": times }),
            ),
            3 => (
                NOTICES,
                json!({ "next": 1, "action": "delay", "delay_ms": delay_ms }),
            ),
            4 => (
                NOTICES,
                json!({ "next": 1, "action": "forge", "forgery": forgery }),
            ),
            _ => (
                "/sandbox/answers",
                json!({ "next": times, "fault": answer }),
            ),
        };
        let (status, _) = self.world.control(path, told.clone()).await?;
        if status >= 300 {
            bail!("the provider was told {told} and answered {status}");
        }
        self.say(format!("the provider will {told}"));
        let what = told["action"].as_str().or(told["fault"].as_str());
        let door = if path == NOTICES { "notice" } else { "answer" };
        self.spoils += told["fault"].as_str().map_or(0, |_| times);
        self.count(&format!("{door} {}", what.unwrap_or_default()));
        Ok(())
    }

    /// What the log and the provider have done of what they were told, so far.
    ///
    /// # Errors
    /// When the provider does not answer.
    pub(crate) async fn count_misbehaviour(&mut self) -> Result<()> {
        let log = self.world.memory.misbehaved();
        for (what, times) in [
            ("records kept back", log.delayed),
            ("records again", log.again),
            ("acknowledgement lost", log.lost_acks),
        ] {
            self.count_times(what, times);
        }
        let left = self.world.forget_answers().await?;
        self.count_times("answer spoiled", self.spoils.saturating_sub(left));
        Ok(())
    }

    /// How often a lane decided several purchases in one transaction.
    ///
    /// # Errors
    /// When the database fails.
    pub(crate) async fn count_batches(&mut self) -> Result<()> {
        #[derive(FromQueryResult)]
        struct Row {
            count: i64,
        }
        let sql = "SELECT count(*) AS count FROM (SELECT xid FROM audit WHERE act = 'buy_pass'
                   GROUP BY xid HAVING count(*) > 1) AS batches";
        let rows: Vec<Row> = self.world.judged(Service::Passes, sql).await?;
        for row in rows {
            self.count_times("several in one batch", u64::try_from(row.count)?);
        }
        Ok(())
    }

    /// How the provider's notifications were answered.
    ///
    /// # Errors
    /// When the provider does not answer.
    pub(crate) async fn count_notifications(&mut self) -> Result<()> {
        let notices = self.world.provider_notifications().await?;
        for attempts in notices.iter().filter_map(|one| one["attempts"].as_array()) {
            self.count_times(
                "notification tried again",
                attempts.len().saturating_sub(1) as u64,
            );
            for attempt in attempts {
                match attempt["http_status"].as_u64() {
                    Some(200..300) => self.count("notification believed"),
                    Some(_) => self.count("notification refused"),
                    None => self.count("notification lost"),
                }
            }
        }
        Ok(())
    }
}
