//! Two databases, a topic and a consumer of its own; made for one run and cleared away after it.

use anyhow::{Context, Result};
use kit::bus::{Bus, KafkaOptions};
use kit::consumer::Handler;
use kit::db::DbOptions;
use kit::event::{NewEvent, Record};
use kit::migrate::{self, KIT, Migration};
use kit::{Clock, Ctx, Db, Ids, Tx};
use rdkafka::ClientConfig;
use rdkafka::admin::{AdminClient, AdminOptions};
use rdkafka::client::DefaultClientContext;
use sea_orm::{ConnectionTrait as _, FromQueryResult, TransactionTrait as _};
use uuid::Uuid;

use super::PAYLOAD_BYTES;
use crate::world::Bench;

pub(super) const WRITER: &str = "bench_relay_out";
const READER: &str = "bench_relay_in";
pub(super) const TOPIC: &str = "bench_relay_out.v1";
const KIND: &str = "bench.relay.v1.ThingChanged";
/// As many as in production.
pub(super) const PARTITIONS: i32 = 12;
/// Connections of each side: as many as a service has.
const CONNECTIONS: u32 = 16;
/// Aggregates whose versions make up the backlog, and so the largest number of equal keys.
const THINGS: u32 = 20_000;
/// Events of one transaction while the backlog is laid.
const FILL_EVENTS: u32 = 1_000;
/// Rows of one read of the relay's cursor.
const FETCH_ROWS: usize = 500;

/// One row for each effect. Nothing keeps an event from leaving two, so that a second effect is
/// seen; `at` is the order in which they happened.
const EFFECTS: &[Migration] = &[Migration {
    name: "effects",
    sql: "CREATE TABLE effect (at bigint GENERATED ALWAYS AS IDENTITY, part int NOT NULL,
            pseq bigint NOT NULL, thing uuid NOT NULL, version bigint NOT NULL,
            payload bytea NOT NULL)",
}];

/// A writer and a reader with a topic between them.
pub(super) struct Stage {
    pub(super) writer: Ctx,
    pub(super) reader: Ctx,
    pub(super) bus: Bus,
    /// The reader's database, for who wants to listen there.
    pub(super) reader_url: String,
    brokers: String,
    prefix: String,
}

impl Stage {
    pub(super) async fn make(bench: &Bench, name: &str) -> Result<Self> {
        let config = bench.config();
        for database in [WRITER, READER] {
            sql(
                bench,
                &format!("DROP DATABASE IF EXISTS {database} WITH (FORCE)"),
            )
            .await?;
            sql(
                bench,
                &format!("CREATE DATABASE {database} OWNER bashu_owner"),
            )
            .await?;
            let options = config
                .postgres
                .owner_options(database)
                .context("the world's configuration names no owner")?;
            let owner = Db::connect(options, Clock::System, Ids::random()).await?;
            migrate::run(&owner, &[KIT, EFFECTS].concat()).await?;
            owner.pool().clone().close().await?;
        }
        let prefix = format!("bench-{}-{name}.", std::process::id());
        let options = KafkaOptions {
            brokers: config.kafka.brokers.clone(),
            prefix: prefix.clone(),
            partitions: PARTITIONS,
            replication: 1,
            instance: None,
        };
        let (writer, reader) = (
            config.postgres.options(WRITER),
            config.postgres.options(READER),
        );
        let reader_url = reader.url.clone();
        Ok(Self {
            writer: Ctx::new(config.union, WRITER, open(writer).await?),
            reader: Ctx::new(config.union, READER, open(reader).await?),
            bus: Bus::kafka(options),
            reader_url,
            brokers: config.kafka.brokers.clone(),
            prefix,
        })
    }

    /// Lays a backlog: version after version of each thing, by kit's own way into the outbox.
    pub(super) async fn fill(&self, events: u32) -> Result<()> {
        let mut next = 0;
        while next < events {
            let until = (next + FILL_EVENTS).min(events);
            // Each event has bytes of its own: equal ones would compress to nothing on their way.
            let mut laid = vec![0_u8; PAYLOAD_BYTES * usize::try_from(until - next)?];
            self.writer.ids.fill(&mut laid);
            let laid = laid.as_slice();
            self.writer
                .db
                .tx("fill", async |tx| {
                    for (number, payload) in (next..until).zip(laid.chunks(PAYLOAD_BYTES)) {
                        let version = i64::from(number / THINGS) + 1;
                        tx.emit(event(number % THINGS, version, payload));
                    }
                    Ok(())
                })
                .await?;
            next = until;
        }
        Ok(())
    }

    /// Seconds that it takes to read the whole backlog as the relay does, and do nothing with it.
    pub(super) async fn read_backlog(&self) -> Result<f64> {
        let started = std::time::Instant::now();
        let tx = self.writer.db.pool().begin().await?;
        tx.execute_unprepared(
            "DECLARE all_of_it NO SCROLL CURSOR FOR
             SELECT id, event_id, kind, key, version, must_understand, payload, occurred_at,
               traceparent FROM outbox ORDER BY id",
        )
        .await?;
        loop {
            let fetch = format!("FETCH {FETCH_ROWS} FROM all_of_it");
            let fetch = sea_orm::Statement::from_string(sea_orm::DbBackend::Postgres, fetch);
            if OutboxRow::find_by_statement(fetch).all(&tx).await?.len() < FETCH_ROWS {
                break;
            }
        }
        tx.rollback().await?;
        Ok(started.elapsed().as_secs_f64())
    }

    /// What is wrong with the effects: each event must have left one, none twice, those of each
    /// thing and of each partition in their order and without a hole.
    pub(super) async fn wrongs(&self, events: u32) -> Result<Vec<String>> {
        let found: Found = self
            .reader
            .db
            .one(
                "WITH e AS (
                   SELECT part, pseq, thing, version,
                     lag(version, 1, 0::bigint) OVER (PARTITION BY thing ORDER BY at) AS before,
                     lag(pseq, 1, 0::bigint) OVER (PARTITION BY part ORDER BY at) AS beside
                   FROM effect)
                 SELECT count(*) AS effects, count(DISTINCT (thing, version)) AS events,
                   count(*) FILTER (WHERE version <> before + 1) AS disorder,
                   count(*) FILTER (WHERE pseq <> beside + 1) AS holes,
                   (SELECT count(*) FROM parked) AS parked FROM e",
                [],
            )
            .await?
            .context("a count without a row")?;
        let wanted = i64::from(events);
        let checks = [
            (
                found.effects == wanted,
                format!("{} effects of {wanted}", found.effects),
            ),
            (
                found.events == wanted,
                format!("{} different events", found.events),
            ),
            (
                found.disorder == 0,
                format!("{} out of order", found.disorder),
            ),
            (
                found.holes == 0,
                format!("{} numbers with a hole before", found.holes),
            ),
            (found.parked == 0, format!("{} parked", found.parked)),
        ];
        let wrong = checks.into_iter().filter(|(holds, _)| !holds);
        Ok(wrong.map(|(_, said)| said).collect())
    }

    /// Drops the databases and the topic.
    pub(super) async fn clear(self, bench: &Bench) -> Result<()> {
        let Self {
            writer,
            reader,
            brokers,
            prefix,
            ..
        } = self;
        writer.db.pool().clone().close().await?;
        reader.db.pool().clone().close().await?;
        let admin: AdminClient<DefaultClientContext> = ClientConfig::new()
            .set("bootstrap.servers", &brokers)
            .create()?;
        let topic = format!("{prefix}{TOPIC}");
        admin
            .delete_topics(&[topic.as_str()], &AdminOptions::new())
            .await?;
        for database in [WRITER, READER] {
            sql(
                bench,
                &format!("DROP DATABASE IF EXISTS {database} WITH (FORCE)"),
            )
            .await?;
        }
        Ok(())
    }
}

async fn open(options: DbOptions) -> Result<Db> {
    let options = DbOptions {
        connections_max: CONNECTIONS,
        ..options
    };
    Ok(Db::connect(options, Clock::System, Ids::random()).await?)
}

async fn sql(bench: &Bench, statement: &str) -> Result<()> {
    bench.superuser().sql("postgres", &[statement]).await
}

pub(super) fn event(thing: u32, version: i64, payload: &[u8]) -> NewEvent {
    NewEvent {
        kind: KIND,
        key: Uuid::from_u128(u128::from(thing) + (0x0196_f2b0 << 96))
            .as_bytes()
            .to_vec(),
        version,
        must_understand: false,
        payload: payload.to_vec(),
    }
}

/// A row as the relay reads it.
#[derive(FromQueryResult)]
#[expect(
    dead_code,
    reason = "they are read to be decoded, as the relay decodes them"
)]
struct OutboxRow {
    id: i64,
    event_id: Uuid,
    kind: String,
    key: Vec<u8>,
    version: i64,
    must_understand: bool,
    payload: Vec<u8>,
    occurred_at: chrono::DateTime<chrono::Utc>,
    traceparent: Option<String>,
}

#[derive(FromQueryResult)]
struct Found {
    effects: i64,
    events: i64,
    disorder: i64,
    holes: i64,
    parked: i64,
}

/// Writes a row for each event, a batch in one statement.
pub(super) struct Writing;

impl Handler for Writing {
    fn name(&self) -> &'static str {
        "writing"
    }

    fn topics(&self) -> &'static [&'static str] {
        &[TOPIC]
    }

    fn handles(&self, kind: &str) -> bool {
        kind == KIND
    }

    async fn apply(&self, tx: &Tx, records: &[Record]) -> kit::Result<()> {
        write(tx, records).await
    }
}

pub(super) async fn write(tx: &Tx, records: &[Record]) -> kit::Result<()> {
    let (mut parts, mut pseqs) = (Vec::new(), Vec::new());
    let (mut things, mut versions, mut payloads) = (Vec::new(), Vec::new(), Vec::new());
    for record in records {
        parts.push(record.partition);
        pseqs.push(record.pseq);
        things
            .push(Uuid::from_slice(&record.key).map_err(|_| kit::Error::permanent("not a thing"))?);
        versions.push(record.version);
        payloads.push(record.payload.clone());
    }
    tx.execute(
        "INSERT INTO effect (part, pseq, thing, version, payload)
         SELECT a, n, t, v, p
         FROM UNNEST($1::int[], $2::bigint[], $3::uuid[], $4::bigint[], $5::bytea[])
           WITH ORDINALITY AS e (a, n, t, v, p, o) ORDER BY o",
        [
            parts.into(),
            pseqs.into(),
            things.into(),
            versions.into(),
            payloads.into(),
        ],
    )
    .await?;
    Ok(())
}
