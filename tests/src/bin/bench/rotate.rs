//! `keys.rotate_rate`: one key-encrypting key follows another, by the function behind `bashu keys
//! rewrap`, in a database made for this, while people are read and others added without a pause.
//! Nothing of that may fail, and afterwards the new key alone must open everybody.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Instant;

use anyhow::{Context, Result, ensure};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use identity::commands::keks;
use identity::store::people::{self, NewPersonRow, PersonRow};
use identity::vault::{Cell, Vault, VaultKeys};
use kit::db::DbOptions;
use kit::types::MemberId;
use kit::{Clock, Ctx, Db, Ids, Tx, migrate};
use secrecy::SecretString;
use tokio::task::JoinSet;
use uuid::Uuid;

use crate::figure::{Better, Figure};
use crate::world::Bench;

/// People in a second that are asked for.
const RATE_MIN: f64 = 5_000.0;
const DATABASE: &str = "bench_keys";
/// Whose data keys are sealed anew.
const PEOPLE: u32 = 50_000;
/// People added in one transaction before it begins.
const FILL_PEOPLE: u32 = 1_000;
/// As many as a service has.
const CONNECTIONS: u32 = 16;
/// Tasks that read people meanwhile, beside one that adds them.
const READERS: usize = 2;
const NAME: &str = "欧阳晓晓";

/// The part `keys`.
///
/// # Errors
/// When the database refuses, or the rotation does.
pub(crate) async fn run(bench: &Bench) -> Result<Vec<Figure>> {
    let ctx = stage(bench).await?;
    let figure = measure(bench, &ctx).await;
    ctx.db.pool().clone().close().await?;
    drop_database(bench).await?;
    Ok(vec![figure?])
}

async fn drop_database(bench: &Bench) -> Result<()> {
    let drop = format!("DROP DATABASE IF EXISTS {DATABASE} WITH (FORCE)");
    bench.superuser().sql("postgres", &[&drop]).await
}

async fn stage(bench: &Bench) -> Result<Ctx> {
    drop_database(bench).await?;
    let create = format!("CREATE DATABASE {DATABASE} OWNER bashu_owner");
    bench.superuser().sql("postgres", &[&create]).await?;
    let config = bench.config();
    let owner = config
        .postgres
        .owner_options(DATABASE)
        .context("the world's configuration names no owner")?;
    let owner = Db::connect(owner, Clock::System, Ids::random()).await?;
    migrate::run(&owner, &identity::ALL_MIGRATIONS.concat()).await?;
    owner.pool().clone().close().await?;
    let options = DbOptions {
        connections_max: CONNECTIONS,
        ..config.postgres.options(DATABASE)
    };
    let db = Db::connect(options, Clock::System, Ids::random()).await?;
    Ok(Ctx::new(config.union, identity::NAME, db))
}

/// A vault with this KEK, which opens what the others have sealed; the keys beside it are fixed.
fn vault(kek: u8, others: &[u8]) -> Result<Vault> {
    let key = |byte: u8| -> SecretString { STANDARD.encode([byte; 32]).into() };
    let others: Vec<SecretString> = others.iter().map(|byte| key(*byte)).collect();
    Ok(Vault::new(VaultKeys {
        kek: &key(kek),
        other_keks: &others,
        blind_index_key: &key(101),
        code_key: &key(102),
        idtag_key: &key(103),
    })?)
}

async fn measure(bench: &Bench, ctx: &Ctx) -> Result<Figure> {
    let old = vault(1, &[])?;
    keks::check(ctx, &old).await?;
    let mut people = Vec::new();
    while people.len() < usize::try_from(PEOPLE)? {
        people.extend(add(ctx, &old, FILL_PEOPLE).await?);
    }
    // As the server does by itself after a while.
    let analyze = ["VACUUM ANALYZE person"];
    bench.superuser().sql(DATABASE, &analyze).await?;
    let new = vault(2, &[1])?;
    keks::check(ctx, &new).await?;
    let load = Load::start(ctx, &new, people.clone());
    let began = Instant::now();
    let done = keks::rewrap(ctx, &new, &|_| ()).await;
    let seconds = began.elapsed().as_secs_f64();
    let told = load.stop().await?;
    let done = done?;
    let alone = vault(2, &[])?;
    keks::check(ctx, &alone).await?;
    let mut lost = 0;
    for member in &people {
        if !is_read(ctx, &alone, *member).await {
            lost += 1;
        }
    }
    ensure!(!done.dropped.is_empty(), "no key was dropped");
    let count = f64::from(u32::try_from(done.cells)?);
    Ok(Figure::new(
        "keys.rotate_rate",
        count / seconds,
        "people/s",
        Better::Higher,
    )
    .floor(RATE_MIN)
    .holds(told.failed == 0, format!("{} requests failed", told.failed))
    .holds(lost == 0, format!("{lost} people do not open any more"))
    .note(format!(
        "{count:.0} data keys in {seconds:.1} s; meanwhile {} people were read and {} \
                 added, {} of it in vain",
        told.read, told.added, told.failed
    )))
}

/// What was done beside the rotation.
struct Told {
    read: u64,
    added: u64,
    failed: u64,
}

#[derive(Default)]
struct Counts {
    over: AtomicBool,
    read: AtomicU64,
    added: AtomicU64,
    failed: AtomicU64,
}

/// People who are read and added without a pause.
struct Load {
    counts: Arc<Counts>,
    tasks: JoinSet<()>,
}

impl Load {
    fn start(ctx: &Ctx, vault: &Vault, people: Vec<MemberId>) -> Self {
        let counts = Arc::<Counts>::default();
        let people: Arc<[MemberId]> = people.into();
        let mut tasks = JoinSet::new();
        for reader in 0..READERS {
            let (counts, people) = (Arc::clone(&counts), Arc::clone(&people));
            let (ctx, vault) = (ctx.clone(), vault.clone());
            tasks.spawn(async move {
                // Each begins elsewhere.
                let from = people.len() / READERS * reader;
                for member in people.iter().cycle().skip(from) {
                    if counts.over.load(Ordering::Relaxed) {
                        break;
                    }
                    let read = is_read(&ctx, &vault, *member).await;
                    let count = if read { &counts.read } else { &counts.failed };
                    count.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
        let (writing, ctx, vault) = (Arc::clone(&counts), ctx.clone(), vault.clone());
        tasks.spawn(async move {
            while !writing.over.load(Ordering::Relaxed) {
                let added = add(&ctx, &vault, 1).await.is_ok();
                let count = if added {
                    &writing.added
                } else {
                    &writing.failed
                };
                count.fetch_add(1, Ordering::Relaxed);
            }
        });
        Self { counts, tasks }
    }

    async fn stop(mut self) -> Result<Told> {
        self.counts.over.store(true, Ordering::Relaxed);
        while let Some(ended) = self.tasks.join_next().await {
            ended?;
        }
        let of = |count: &AtomicU64| count.load(Ordering::Relaxed);
        Ok(Told {
            read: of(&self.counts.read),
            added: of(&self.counts.added),
            failed: of(&self.counts.failed),
        })
    }
}

const fn name_cell(member: Uuid) -> Cell {
    Cell::new("person", "name", member)
}

async fn add(ctx: &Ctx, vault: &Vault, people: u32) -> kit::Result<Vec<MemberId>> {
    ctx.db
        .tx("add_people", async |tx| {
            let rows = (0..people).map(|_| sealed(tx, vault));
            let rows: Vec<NewPersonRow> = rows.collect::<kit::Result<_>>()?;
            people::insert(tx, &rows).await?;
            Ok(rows.iter().map(|row| MemberId(row.person.member)).collect())
        })
        .await
}

fn sealed(tx: &Tx, vault: &Vault) -> kit::Result<NewPersonRow> {
    let member = tx.uuid();
    let (key, data_key) = vault.new_data_key(tx.ids(), member)?;
    let name = key.seal(tx.ids(), name_cell(member), NAME.as_bytes())?;
    Ok(NewPersonRow {
        person: PersonRow {
            member,
            data_key,
            name,
        },
        document: None,
        phone: None,
        terms: Vec::new(),
    })
}

async fn is_read(ctx: &Ctx, vault: &Vault, member: MemberId) -> bool {
    let row = ctx
        .db
        .read("read_person", async |tx| people::active(tx, member).await)
        .await;
    let Ok(Some(row)) = row else { return false };
    let name = vault
        .data_key(row.member, &row.data_key)
        .and_then(|key| key.open_text(name_cell(row.member), &row.name));
    name.is_ok_and(|name| name.as_str() == NAME)
}
