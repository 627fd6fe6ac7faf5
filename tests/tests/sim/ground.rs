//! The databases that one seed after the other is played in, and how they are emptied between two.
//! Grounds share nothing: seeds are played beside each other, each on a ground of its own.

use std::path::{Path, PathBuf};

use anyhow::Result;
use kit::bus::Defect;
use kit::db::DbOptions;
use kit::testing::TestDb;
use kit::types::Union;
use kit::{Clock, Ctx, Db, Ids};
use sea_orm::{ConnectionTrait, FromQueryResult};
use tokio::sync::{Semaphore, SemaphorePermit};

use crate::world::Service;

/// Connections of a service's commands, jobs and consumers, at most: they take turns, and each
/// connection has to read and plan every statement once.
const CONNECTIONS_MAX: u32 = 4;
/// Connections of a relay, beside the one of its lock, at most: one may be in the middle of a tick.
const RELAY_CONNECTIONS_MAX: u32 = 2;
/// Connections of who looks whether promises hold, at most: one question after the other.
const JUDGE_CONNECTIONS_MAX: u32 = 1;
/// Grounds at the same time, however many tests there are: each has some forty connections, and
/// the server of the databases has two hundred.
const GROUNDS_MAX: usize = 4;
static GROUNDS: Semaphore = Semaphore::const_new(GROUNDS_MAX);

/// What a ground's databases do differently from those that people's money is in.
const SETTINGS: [&str; 2] = [
    // No story lets the server of the databases die, only our process: what was committed is there
    // for every later reader whether it has reached the disk or not, so nobody waits for the disk.
    "synchronous_commit = off",
    // A seed is short: nearly every plan would be made for one use.
    "plan_cache_mode = force_generic_plan",
];

/// Tables that migrations fill, and whose rows are never many.
const KEPT: &str = "'migration', 'account', 'outbox_relay', 'audit_sealer', 'consent_text', \
    'person_right'";
/// Of those, what a seed begins with anew: texts that nobody was told of yet, and a grace that is
/// over within a story.
const RENEWED: [(&str, &str); 2] = [
    (
        "consent_text",
        "UPDATE consent_text SET announced_at = NULL",
    ),
    (
        "person_right",
        "UPDATE person_right SET grace_hours = 1 WHERE grace_hours > 0",
    ),
];

/// Databases that one seed after the other is played in.
pub(crate) struct Ground {
    _databases: Vec<TestDb>,
    /// The same databases with every right, to empty them.
    admins: Vec<Db>,
    pub(crate) services: Vec<Ctx>,
    /// The same services for their relays. The lock of a relay takes its connection with it, one
    /// for each seed: from here, so that the commands keep those that know their statements.
    pub(crate) relays: Vec<Ctx>,
    /// The same services for who looks whether promises hold: those statements stay known too.
    pub(crate) judges: Vec<Ctx>,
    pub(crate) clock: Clock,
    pub(crate) keys: PathBuf,
    /// Given back when the databases are gone.
    _room: Room,
}

impl Ground {
    pub(crate) async fn new() -> Result<Self> {
        Self::within(room(1).await?).await
    }

    /// A ground for which there is room.
    pub(crate) async fn within(room: Room) -> Result<Self> {
        let migrations = [
            identity::ALL_MIGRATIONS,
            passes::ALL_MIGRATIONS,
            billing::ALL_MIGRATIONS,
            admission::ALL_MIGRATIONS,
        ];
        let keys = Path::new(env!("CARGO_TARGET_TMPDIR")).join("sim-sandbox-keys");
        sandbox::provision(&keys).map_err(|error| anyhow::anyhow!("{error}"))?;
        let mut ground = Self {
            _databases: Vec::new(),
            admins: Vec::new(),
            services: Vec::new(),
            relays: Vec::new(),
            judges: Vec::new(),
            clock: Clock::manual(kit::testing::start()),
            keys,
            _room: room,
        };
        for (service, migrations) in Service::ALL.into_iter().zip(migrations) {
            let database = kit::testing::db(service.name(), migrations).await;
            ground.add(service, database).await?;
        }
        Ok(ground)
    }

    async fn add(&mut self, service: Service, database: TestDb) -> Result<()> {
        let admin = database.superuser().await;
        for setting in SETTINGS {
            let sql = format!("ALTER DATABASE {} SET {setting}", database.name());
            admin.execute(&sql, []).await?;
        }
        // It was opened before that, on a clock of its own: nobody works with it.
        database.ctx.db.pool().clone().close().await?;
        let ids = Ids::seeded(0);
        let open = async |connections_max| {
            let url = database.url();
            let options = DbOptions {
                url,
                connections_max,
            };
            Db::connect(options, self.clock.clone(), ids.clone()).await
        };
        let ctx = Ctx::new(
            Union::Chongqing,
            service.name(),
            open(CONNECTIONS_MAX).await?,
        );
        // All but the connections is one: the clock, the ids, who is woken.
        let beside = async |connections_max| {
            let db = open(connections_max).await?;
            Ok::<_, kit::Error>(Ctx { db, ..ctx.clone() })
        };
        self.relays.push(beside(RELAY_CONNECTIONS_MAX).await?);
        self.judges.push(beside(JUDGE_CONNECTIONS_MAX).await?);
        self.services.push(ctx);
        self.admins.push(admin);
        self._databases.push(database);
        Ok(())
    }

    /// Switches a mistake on for everything that runs here, for good.
    pub(crate) fn switch_on(&self, defect: Defect) {
        for ctx in self.services.iter().chain(&self.relays) {
            ctx.db.faults().switch_on(defect);
        }
    }

    /// Empties every table and begins everything anew under a seed.
    pub(crate) async fn reset(&self, seed: u64) -> Result<()> {
        self.clock.set(kit::testing::start());
        for (at, admin) in self.admins.iter().enumerate() {
            admin
                .pool()
                .execute_unprepared(&emptying(admin).await?)
                .await?;
            let ids = &self.services[at].ids;
            ids.reseed(seed.wrapping_mul(16).wrapping_add(at as u64));
        }
        for ctx in self.services.iter().chain(&self.relays) {
            ctx.db.faults().clear();
            ctx.db.faults().watch(false);
            ctx.db.faults().take_passed();
        }
        Ok(())
    }
}

/// The right to so many grounds.
pub(crate) type Room = SemaphorePermit<'static>;

/// Waits until there is room for so many grounds, for all of them at once: who has one and waits
/// for another would wait for ever.
pub(crate) async fn room(grounds: u32) -> Result<Room> {
    Ok(GROUNDS.acquire_many(grounds).await?)
}

/// What empties a database: rows go one by one, which for a few hundred is quicker than making
/// ninety files anew.
async fn emptying(admin: &Db) -> Result<String> {
    #[derive(FromQueryResult)]
    struct Row {
        sql: String,
    }
    let rows: Vec<Row> = admin
        .all(
            &format!(
                "SELECT 'DELETE FROM ' || quote_ident(relname) AS sql FROM pg_class
                 WHERE relkind = 'r' AND relnamespace = 'public'::regnamespace
                   AND relname NOT IN ({KEPT})
                 UNION ALL
                 SELECT 'SELECT setval(''' || quote_ident(relname) || ''', 1, false)'
                 FROM pg_class WHERE relkind = 'S' AND relnamespace = 'public'::regnamespace"
            ),
            [],
        )
        .await?;
    let mut all: Vec<String> = rows.into_iter().map(|row| row.sql).collect();
    for (table, sql) in RENEWED {
        let there = "SELECT relname::text AS sql FROM pg_class WHERE relkind = 'r'
                       AND relnamespace = 'public'::regnamespace AND relname = $1";
        let there: Option<Row> = admin.one(there, [table.into()]).await?;
        all.extend(there.map(|_| sql.to_owned()));
    }
    Ok(format!(
        "SET LOCAL session_replication_role = replica; {};
         UPDATE outbox_relay SET epoch = 1, announced = false, tick = 0,
           s1 = pg_current_snapshot(), s2 = NULL, last_id = 0, pseqs = '{{}}', offsets = '{{}}';
         UPDATE audit_sealer SET s1 = pg_current_snapshot(), s2 = NULL, last_id = 0",
        all.join("; ")
    ))
}
