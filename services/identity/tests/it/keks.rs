//! Key-encrypting keys (KEK): one follows another while people read and write, is not dropped as
//! long as it is needed, and no process starts without one that is. Who else may see the vault.

use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use identity::commands::keks::{self, Rewrapped};
use identity::store::people::{self, NewPersonRow, PersonRow};
use identity::store::phone_recoveries::{self, PhoneRow};
use identity::vault::guarded::GUARDED_TABLES;
use identity::vault::{Cell, Vault};
use identity::{Identity, Settings};
use kit::replica::Roots;
use kit::types::MemberId;
use kit::{Ctx, Error, Result, Tx};
use serde_json::json;
use uuid::Uuid;

use crate::world::{World, name, number_of_phone, settings};

/// The KEK of [`settings`], and the one that follows it.
const OLD: u8 = 1;
const NEW: u8 = 9;
/// More than two batches.
const PEOPLE: usize = 2_300;

/// A service whose KEK is `kek`, and which opens what `others` have sealed.
fn configured(kek: u8, others: &[u8]) -> Settings {
    let key = |byte: &u8| STANDARD.encode([*byte; 32]).into();
    Settings {
        kek: key(&kek),
        other_keks: others.iter().map(key).collect(),
        ..settings("http://127.0.0.1:9")
    }
}

/// A process with these keys, which has not started yet.
fn process(world: &World, settings: Settings) -> Identity {
    Identity::new(world.test.ctx.clone(), settings, Roots::new(), 1).unwrap()
}

/// A world whose processes have all started with the new KEK and know the old one, by which
/// everything is sealed that was there before.
async fn following() -> (World, Vec<MemberId>) {
    let mut world = World::new().await;
    let people = many(&world).await;
    world.identity = process(&world, configured(NEW, &[OLD]));
    world.identity.open().await.unwrap();
    world.schema = identity::schema(&world.identity, kit::graphql::Mode::Development);
    (world, people)
}

/// People in the vault, past everything else.
async fn many(world: &World) -> Vec<MemberId> {
    let vault = &world.identity.vault;
    let ctx = &world.identity.ctx;
    let inserted = ctx
        .db
        .tx("many", async |tx| {
            let rows: Result<Vec<NewPersonRow>> = (0..PEOPLE).map(|_| sealed(tx, vault)).collect();
            let rows = rows?;
            people::insert(tx, &rows).await?;
            Ok(rows.iter().map(|row| MemberId(row.person.member)).collect())
        })
        .await;
    inserted.unwrap()
}

fn sealed(tx: &Tx, vault: &Vault) -> Result<NewPersonRow> {
    let member = tx.uuid();
    let (key, data_key) = vault.new_data_key(tx.ids(), member)?;
    let name = key.seal(tx.ids(), name_cell(member), name(1).as_bytes())?;
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

const fn name_cell(member: Uuid) -> Cell {
    Cell::new("person", "name", member)
}

async fn read(ctx: &Ctx, vault: &Vault, member: MemberId) -> Result<String> {
    let row = ctx
        .db
        .read("person", async |tx| people::active(tx, member).await)
        .await?
        .unwrap();
    let key = vault.data_key(row.member, &row.data_key)?;
    Ok(key.open_text(name_cell(row.member), &row.name)?.to_string())
}

async fn rewrap(identity: &Identity) -> Result<Rewrapped> {
    keks::rewrap(&identity.ctx, &identity.vault, &|_| ()).await
}

/// While a KEK is followed by another, nobody who reads or writes meets an error. Afterwards the
/// new one alone opens everything, the old one is nowhere, and the act is on record.
#[tokio::test]
async fn one_kek_follows_another_under_load() {
    let (world, people) = following().await;
    let union = world.organisation("GRASSROOTS", "基层工会").await;
    let (ctx, vault) = (&world.identity.ctx, &world.identity.vault);
    let (over, reads) = (AtomicBool::new(false), AtomicU32::new(0));
    let rotation = async {
        let done = rewrap(&world.identity).await;
        over.store(true, Ordering::Relaxed);
        done
    };
    let reading = async {
        for member in people.iter().cycle() {
            if over.load(Ordering::Relaxed) {
                break;
            }
            // Begun while the rotation goes on.
            assert_eq!(read(ctx, vault, *member).await.unwrap(), name(1));
            reads.fetch_add(1, Ordering::Relaxed);
        }
    };
    let writing = async {
        let mut added = Vec::new();
        while added.is_empty() || !over.load(Ordering::Relaxed) {
            let at = u32::try_from(added.len()).unwrap() + 1;
            added.push(world.person(&union, at).await);
        }
        added
    };
    let (done, (), added) = tokio::join!(rotation, reading, writing);
    let done = done.unwrap();
    // The operator and two signing keys beside the people.
    assert_eq!(done.cells, PEOPLE as u64 + 3);
    assert_eq!(done.dropped.len(), 1);
    assert!(reads.load(Ordering::Relaxed) > 0, "nobody read meanwhile");

    let alone = process(&world, configured(NEW, &[]));
    alone.open().await.unwrap();
    for member in people.iter().chain(&added) {
        assert!(read(ctx, &alone.vault, *member).await.is_ok());
    }
    let signs = async |tx: &Tx| {
        let key = identity::signing::access_key(ctx.union, tx, &alone.vault).await;
        key.map(|_| ())
    };
    ctx.db.tx("signs", signs).await.unwrap();
    let left = keks::standing(ctx, vault).await.unwrap().keks;
    assert_eq!(left.len(), 1);
    assert!(left[0].current && left[0].cells > PEOPLE as i64);
    let refused = process(&world, configured(OLD, &[])).open().await;
    assert!(refused.unwrap_err().to_string().contains("identity.kek"));
    let acts = "SELECT act || ' ' || (detail ->> 'cells') AS name FROM audit
                WHERE act = 'drop_kek'";
    assert_eq!(
        world.names(acts).await,
        [format!("drop_kek {}", PEOPLE + 3)]
    );
    assert_eq!(rewrap(&world.identity).await.unwrap(), Rewrapped::default());
}

/// A rotation that was killed after its first batch has done that batch, keeps the old KEK, and
/// goes on where it was when it is run again.
#[tokio::test]
async fn a_killed_rotation_goes_on() {
    let (world, people) = following().await;
    let (ctx, vault) = (&world.identity.ctx, &world.identity.vault);
    ctx.db.faults().crash_in("rewrap", "tx.committed", 0);
    assert!(rewrap(&world.identity).await.is_err());
    let batch = i64::from(keks::REWRAP_BATCH_ROWS_MAX);
    let between = keks::standing(ctx, vault).await.unwrap().keks;
    let cells_of = |current: bool| {
        let mut each = between.iter();
        each.find(|kek| kek.current == current).unwrap().cells
    };
    assert_eq!(cells_of(true), batch);
    assert_eq!(cells_of(false), PEOPLE as i64 + 3 - batch);
    for member in [people.first(), people.last()].into_iter().flatten() {
        assert!(read(ctx, vault, *member).await.is_ok());
    }
    let done = rewrap(&world.identity).await.unwrap();
    assert_eq!(i64::try_from(done.cells).unwrap(), cells_of(false));
    let after = keks::standing(ctx, vault).await.unwrap().keks;
    assert_eq!(after.len(), 1);
}

/// As long as anything is sealed by a KEK, no process starts without it, nor does a rotation
/// begin before the new one is in use.
#[tokio::test]
async fn a_key_in_use_is_needed() {
    let world = World::new().await;
    let early = process(&world, configured(NEW, &[OLD]));
    let error = rewrap(&early).await.unwrap_err().to_string();
    assert!(error.contains("no service has started"), "{error}");
    early.open().await.unwrap();
    for settings in [configured(NEW, &[]), configured(OLD, &[])] {
        let process = process(&world, settings);
        let refused = process.open().await.unwrap_err().to_string();
        assert!(refused.contains("identity.kek"), "{refused}");
        let error = rewrap(&process).await.unwrap_err().to_string();
        assert!(error.contains("identity.other_keks"), "{error}");
    }
    // Step by step in either order, as processes are restarted one after the other.
    process(&world, configured(OLD, &[NEW]))
        .open()
        .await
        .unwrap();
    process(&world, configured(NEW, &[OLD]))
        .open()
        .await
        .unwrap();
}

/// A person is written under the old KEK while that is being dropped: whichever comes first, a
/// row is never left that no key opens.
async fn written_while_dropped(world: &World) -> (Result<()>, Result<()>, Option<MemberId>) {
    let (new, old) = (&world.identity, process(world, configured(OLD, &[NEW])));
    let dropped = old.vault.kek().current();
    let (written, go) = (tokio::sync::Notify::new(), tokio::sync::Notify::new());
    let mut member = None;
    let writing = async {
        let result = old
            .ctx
            .db
            .tx("write", async |tx| {
                let row = sealed(tx, &old.vault)?;
                people::insert(tx, std::slice::from_ref(&row)).await?;
                written.notify_one();
                go.notified().await;
                Ok(row.person.member)
            })
            .await;
        result.map(|id| member = Some(MemberId(id)))
    };
    let dropping = async {
        written.notified().await;
        go.notify_one();
        keks::drop_kek(&new.ctx, &new.vault, dropped, 0).await
    };
    let (wrote, dropped) = tokio::join!(writing, dropping);
    (wrote, dropped, member)
}

#[tokio::test]
async fn a_key_in_use_is_not_dropped() {
    let (world, people) = following().await;
    let (ctx, vault) = (&world.identity.ctx, &world.identity.vault);
    let old = process(&world, configured(OLD, &[NEW]));
    let refused = keks::drop_kek(ctx, vault, old.vault.kek().current(), 0).await;
    assert!(
        keks::is_in_use(&refused.unwrap_err()),
        "it seals everything"
    );

    // All but one row that is being written, which the drop waits for and then finds.
    for place in identity::store::keks::Place::ALL {
        let anew = async |tx: &Tx| {
            let id = old.vault.kek().current();
            let mut rows =
                identity::store::keks::sealed_by(tx, place, id, (Uuid::nil(), 9_999)).await?;
            for row in &mut rows {
                row.sealed = vault
                    .kek()
                    .rewrap(tx.ids(), place.cell(row.row), &row.sealed)?;
            }
            identity::store::keks::save_sealed(tx, place, &rows).await
        };
        ctx.db.tx("anew", anew).await.unwrap();
    }
    let (wrote, dropped, member) = written_while_dropped(&world).await;
    wrote.unwrap();
    assert!(keks::is_in_use(&dropped.unwrap_err()));
    let known = [member.unwrap(), people[0]];
    for member in known {
        assert!(read(ctx, vault, member).await.is_ok());
    }
    assert_eq!(rewrap(&world.identity).await.unwrap().cells, 1);
    // A process that has not heard of it writes nothing under it any more.
    let late = async |tx: &Tx| {
        let row = sealed(tx, &old.vault)?;
        people::insert(tx, &[row]).await
    };
    let late: Result<()> = ctx.db.tx("late", late).await;
    assert!(keks::is_in_use(&late.unwrap_err()));
}

/// Without the reference of the row to its KEK the drop goes through beside the writer, and who
/// was written is lost to everybody who has the new key alone.
#[tokio::test]
async fn without_its_reference_a_person_would_be_lost() {
    let (world, _) = following().await;
    let unguarded = "ALTER TABLE person DROP CONSTRAINT person_kek_fkey";
    let owner = world.test.owner().await;
    owner.execute(unguarded, []).await.unwrap();
    for table in [
        "roster",
        "signing_key",
        "login_ticket",
        "oidc_request",
        "recovery_phone",
        "network_claim",
    ] {
        let unguarded = format!("ALTER TABLE {table} DROP CONSTRAINT {table}_kek_fkey");
        owner.execute(&unguarded, []).await.unwrap();
    }
    let (wrote, dropped, member) = written_while_dropped(&world).await;
    wrote.unwrap();
    dropped.unwrap();
    let alone = process(&world, configured(NEW, &[]));
    let ctx = &world.identity.ctx;
    keks::check(ctx, &alone.vault).await.unwrap();
    assert!(read(ctx, &alone.vault, member.unwrap()).await.is_err());
}

/// A phone that waits for its code is nobody's: the KEK itself seals it, and the next one after it.
#[tokio::test]
async fn a_phone_that_waits_for_its_code_follows() {
    let world = World::new().await;
    let (ctx, vault) = (&world.identity.ctx, &world.identity.vault);
    let cell = |code: Uuid| Cell::new("recovery_phone", "phone", code);
    let put = async |tx: &Tx| {
        let id = tx.uuid();
        let phone = vault.kek().seal(tx.ids(), cell(id), b"13700001111")?;
        let row = PhoneRow { id, phone };
        phone_recoveries::put_phone(tx, &[7; 32], row, tx.now()).await?;
        Ok(id)
    };
    let id: Uuid = ctx.db.tx("phone", put).await.unwrap();
    let both = process(&world, configured(NEW, &[OLD]));
    both.open().await.unwrap();
    let _done = rewrap(&both).await.unwrap();
    let alone = process(&world, configured(NEW, &[]));
    let find = async |tx: &Tx| phone_recoveries::phone_of_code(tx, id).await;
    let row = ctx.db.read("phone", find).await.unwrap().unwrap();
    let digits = alone.vault.kek().open_text(cell(id), &row.phone).unwrap();
    assert_eq!(digits.as_str(), "13700001111");
}

/// The tables of the vault are guarded: whoever is granted all tables, and their owner, sees no
/// row of them. Without the guard both would.
#[tokio::test]
async fn nobody_else_sees_the_vault() {
    let world = World::new().await;
    let union = world.organisation("GRASSROOTS", "基层工会").await;
    let _ = world.person(&union, 1).await;
    let _session = world.sign_in(&number_of_phone(1)).await;
    let guarded = "SELECT relname::text AS name FROM pg_class
                   WHERE relrowsecurity AND relforcerowsecurity ORDER BY relname";
    assert_eq!(world.names(guarded).await, GUARDED_TABLES);
    let (owner, superuser) = (world.test.owner().await, world.test.superuser().await);
    let grant = "GRANT SELECT ON ALL TABLES IN SCHEMA public TO pg_monitor";
    superuser.execute(grant, []).await.unwrap();
    let seen = async |role: &str, table: &str| {
        let count = async |tx: &Tx| {
            tx.execute(&format!("SET LOCAL ROLE {role}"), []).await?;
            rows_of(tx, table).await
        };
        superuser.tx("seen", count).await.unwrap()
    };
    for table in [
        "person",
        "document",
        "login_method",
        "signing_key",
        "login",
        "login_code",
        "attempt",
    ] {
        assert!(seen("bashu_app", table).await > 0, "{table}");
        for role in ["pg_monitor", "bashu_owner"] {
            assert_eq!(seen(role, table).await, 0, "{role} sees {table}");
        }
    }
    let open = "ALTER TABLE person DISABLE ROW LEVEL SECURITY";
    owner.execute(open, []).await.unwrap();
    for role in ["pg_monitor", "bashu_owner"] {
        assert!(seen(role, "person").await > 0, "{role}");
    }
    let me = world
        .run(&world.as_operator(), "{ me { name } }", json!({}))
        .await;
    assert_eq!(me["name"], crate::world::OPERATOR_NAME);
}

async fn rows_of(tx: &Tx, table: &str) -> Result<i64> {
    #[derive(sea_orm::FromQueryResult)]
    struct Row {
        count: i64,
    }
    let sql = format!("SELECT count(*) AS count FROM {table}");
    let row = tx.one::<Row>(&sql, []).await?;
    row.map(|row| row.count).ok_or(Error::NotFound)
}
