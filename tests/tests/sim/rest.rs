//! Coming to rest: every loop is stepped until nothing moves, and time goes on until everything
//! that waited for it has ended.

use anyhow::{Context, Result, ensure};
use chrono::TimeDelta;
use kit::bus::MemoryOptions;
use kit::relay::Status;
use sea_orm::FromQueryResult;

use crate::loops::{self, CONSUMERS};
use crate::world::{Service, World};

/// Rounds within which everything must stand still at one instant.
const ROUNDS_MAX: usize = 400;
/// Steps of one loop in one round.
const STEPS_MAX: usize = 200;
/// How time goes on after the faults have ended, in seconds: what is told again in minutes first,
/// then what waits for hours.
const HEALING_SECONDS: [i64; 12] = [
    10, 125, 125, 310, 310, 600, 900, 900, 1_800, 3_700, 3_700, 14_400,
];

impl World<'_> {
    /// Steps every loop until nothing moves at this instant.
    ///
    /// # Errors
    /// When it does not come to rest.
    pub(crate) async fn settle(&mut self) -> Result<()> {
        let mut last = String::new();
        for _ in 0..ROUNDS_MAX {
            let mut moved = 0;
            for service in Service::ALL {
                moved += match self.loops.relay(service).await {
                    Ok(count) => count,
                    Err(error) => {
                        last = format!("{service:?}'s relay: {error}");
                        1
                    }
                };
                let status = self.loops.relay_status(service);
                ensure!(
                    !matches!(status, Status::Refused(_)),
                    "{service:?}: {status:?}"
                );
            }
            for consumer in 0..CONSUMERS {
                moved += self.drain_consumer(consumer, &mut last).await;
            }
            for service in Service::ALL {
                moved += self.drain_due(service, &mut last).await;
            }
            while self
                .sandbox
                .step_one()
                .await
                .map_err(|e| anyhow::anyhow!("{e}"))?
                > 0
            {
                moved += 1;
            }
            if moved == 0 && self.loops.are_quiet() {
                return Ok(());
            }
        }
        anyhow::bail!("nothing comes to rest: {last}")
    }

    async fn drain_consumer(&mut self, consumer: usize, last: &mut String) -> usize {
        let mut moved = 0;
        for _ in 0..STEPS_MAX {
            match self.loops.consumer(consumer).await {
                Ok(0) => break,
                Ok(count) => moved += count,
                Err(error) => {
                    *last = format!("consumer {consumer}: {error}");
                    return moved + 1;
                }
            }
        }
        moved
    }

    async fn drain_due(&mut self, service: Service, last: &mut String) -> usize {
        let mut moved = 0;
        for _ in 0..STEPS_MAX {
            let stepped = match self.may_be_due(service).await {
                Ok(false) => break,
                Ok(true) => loops::due(&self.union, service).await,
                Err(error) => Err(error),
            };
            match stepped {
                Ok(0) => break,
                Ok(count) => moved += count,
                Err(error) => {
                    *last = format!("due work of {service:?}: {error}");
                    return moved + 1;
                }
            }
        }
        moved
    }

    /// Whether any row's time has come, claimed or not. Mostly none has, and to look costs a third
    /// of a claim that finds nothing.
    async fn may_be_due(&self, service: Service) -> kit::Result<bool> {
        #[derive(FromQueryResult)]
        struct Row {
            any: bool,
        }
        let sql = "SELECT EXISTS (SELECT FROM due WHERE run_at <= $1) AS any";
        let row: Option<Row> = self.ctx(service).db.one(sql, [self.now().into()]).await?;
        Ok(row.is_none_or(|row| row.any))
    }

    /// Ends every fault, and lets time go on until what waited has ended.
    ///
    /// # Errors
    /// When it does not come to rest.
    pub(crate) async fn heal(&mut self) -> Result<()> {
        self.memory.behave(MemoryOptions::calm(self.partitions));
        self.bus.faults().clear();
        Service::ALL
            .iter()
            .for_each(|service| self.faults(*service).clear());
        self.loops.bury_zombies();
        for seconds in HEALING_SECONDS {
            self.heartbeat().await.context("a heartbeat")?;
            self.settle().await?;
            self.advance(TimeDelta::seconds(seconds));
        }
        self.heartbeat().await.context("a heartbeat")?;
        self.settle().await
    }
}
