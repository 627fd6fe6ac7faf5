//! Migrations: plain SQL, forward only, all that are pending in one transaction, run by the owner
//! role under a lock, remembered with a checksum. Kit's own tables come first in every database.
//! One may take as long as it needs; one that waits for a table that is in use gives up as any
//! other statement does, so that what serves is not held up behind it.

use sea_orm::{ConnectionTrait, FromQueryResult, TransactionTrait};
use sha2::{Digest, Sha256};

use crate::db::statement;
use crate::{Db, Error, Result};

/// One file of a service's `migrations/`.
#[derive(Clone, Copy, Debug)]
pub struct Migration {
    /// The file's name without `.sql`; migrations run in the order of the list.
    pub name: &'static str,
    pub sql: &'static str,
}

/// Kit's own tables.
pub const KIT: &[Migration] = &[
    Migration {
        name: "kit_0001_chassis",
        sql: include_str!("../migrations/0001_chassis.sql"),
    },
    Migration {
        name: "kit_0003_once_room",
        sql: include_str!("../migrations/0003_once_room.sql"),
    },
    Migration {
        name: "kit_0004_audit_seal",
        sql: include_str!("../migrations/0004_audit_seal.sql"),
    },
];

/// Identity's replica: every service but identity runs it, which has the same names as views.
pub const REPLICA: &[Migration] = &[
    Migration {
        name: "kit_0002_replica",
        sql: include_str!("../migrations/0002_replica.sql"),
    },
    Migration {
        name: "kit_0005_consents",
        sql: include_str!("../migrations/0005_consents.sql"),
    },
    Migration {
        name: "kit_0006_persons",
        sql: include_str!("../migrations/0006_persons.sql"),
    },
    Migration {
        name: "kit_0007_role_ends",
        sql: include_str!("../migrations/0007_role_ends.sql"),
    },
];

/// The role that serves: it may read and write rows, never change tables.
pub const APPLICATION_ROLE: &str = "bashu_app";
/// Any number that no one else locks: "BASHU" in hexadecimal.
const LOCK_KEY: i64 = 0x42_41_53_48_55;

#[derive(FromQueryResult)]
struct Done {
    checksum: Vec<u8>,
}

/// Runs what has not been run yet; the names of what was. `db` must be the owner's.
///
/// # Errors
/// When a statement fails, or a migration that was run has been edited since.
pub async fn run(db: &Db, migrations: &[Migration]) -> Result<Vec<&'static str>> {
    let mut ran = Vec::new();
    let tx = db.pool().begin().await?;
    tx.execute_unprepared("SET LOCAL statement_timeout = 0")
        .await?;
    tx.execute_raw(statement(
        "SELECT pg_advisory_xact_lock($1)",
        [LOCK_KEY.into()],
    ))
    .await?;
    tx.execute_unprepared(
        "CREATE TABLE IF NOT EXISTS migration (
           name text PRIMARY KEY, checksum bytea NOT NULL,
           applied_at timestamptz NOT NULL DEFAULT now())",
    )
    .await?;
    for migration in migrations {
        let checksum = Sha256::digest(migration.sql).to_vec();
        let done = Done::find_by_statement(statement(
            "SELECT checksum FROM migration WHERE name = $1",
            [migration.name.into()],
        ))
        .one(&tx)
        .await?;
        match done {
            Some(done) if done.checksum == checksum => {}
            Some(_) => {
                return Err(Error::internal(format!(
                    "migration {} was edited after it had run",
                    migration.name
                )));
            }
            None => {
                tx.execute_unprepared(migration.sql).await?;
                tx.execute_raw(statement(
                    "INSERT INTO migration (name, checksum) VALUES ($1, $2)",
                    [migration.name.into(), checksum.into()],
                ))
                .await?;
                ran.push(migration.name);
            }
        }
    }
    tx.execute_unprepared(GRANTS).await?;
    tx.commit().await?;
    Ok(ran)
}

/// What a database has of these migrations.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Standing {
    /// Not run yet.
    pub pending: Vec<&'static str>,
    /// Changed after they had run.
    pub edited: Vec<&'static str>,
    /// Run by a newer program: this one does not know them.
    pub unknown: Vec<String>,
}

/// Compares without running anything; any role may ask.
///
/// # Errors
/// When the database fails.
pub async fn standing(db: &Db, migrations: &[Migration]) -> Result<Standing> {
    #[derive(FromQueryResult)]
    struct Ran {
        name: String,
        checksum: Vec<u8>,
    }
    #[derive(FromQueryResult)]
    struct Table {
        exists: bool,
    }
    let table: Option<Table> = db
        .one("SELECT to_regclass('migration') IS NOT NULL AS exists", [])
        .await?;
    let ran: Vec<Ran> = if table.is_some_and(|table| table.exists) {
        db.all("SELECT name, checksum FROM migration ORDER BY name", [])
            .await?
    } else {
        Vec::new()
    };
    let mut standing = Standing::default();
    for migration in migrations {
        match ran.iter().find(|ran| ran.name == migration.name) {
            None => standing.pending.push(migration.name),
            Some(ran) if ran.checksum == Sha256::digest(migration.sql).to_vec() => {}
            Some(_) => standing.edited.push(migration.name),
        }
    }
    let known = |name: &str| migrations.iter().any(|migration| migration.name == name);
    standing.unknown = ran
        .into_iter()
        .map(|ran| ran.name)
        .filter(|name| !known(name))
        .collect();
    Ok(standing)
}

/// What the application role may do; audit rows, their seals and heads can only be added and read.
/// Which number a row has and which transaction wrote it says the database alone: the sealer goes
/// by both, and a row with an old one would never be sealed nor missed.
pub(crate) const GRANTS: &str = "
DO $$ BEGIN
  IF EXISTS (SELECT 1 FROM pg_roles WHERE rolname = 'bashu_app') THEN
    GRANT USAGE ON SCHEMA public TO bashu_app;
    GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA public TO bashu_app;
    -- The relay empties the outbox so.
    GRANT TRUNCATE ON outbox_0, outbox_1, outbox_2, outbox_3 TO bashu_app;
    GRANT USAGE, SELECT ON ALL SEQUENCES IN SCHEMA public TO bashu_app;
    REVOKE UPDATE, DELETE, TRUNCATE ON audit, audit_seal, audit_head FROM bashu_app;
    REVOKE INSERT ON audit FROM bashu_app;
    GRANT INSERT (member, login, act, subject, detail, at) ON audit TO bashu_app;
    REVOKE INSERT, DELETE, TRUNCATE ON audit_sealer FROM bashu_app;
    REVOKE INSERT, UPDATE, DELETE, TRUNCATE ON migration FROM bashu_app;
  END IF;
END $$;";
