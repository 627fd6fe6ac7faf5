//! Negative controls of signing in and of rosters: what two requests at once would do without the
//! lock or the constraint that holds each promise. The promises themselves are tested with the
//! logins and with the rosters.

use identity::domain::code::Code;
use identity::domain::membership::{Membership, Standing};
use identity::store::logins::{self, LoginRow};
use identity::store::organisations::Lock;
use identity::store::people::{self, Blind};
use identity::store::roster_people;
use kit::types::{LoginId, shanghai_date};
use kit::{Error, Result, Tx};
use uuid::Uuid;

use crate::world::{OPERATOR_PHONE, World, organisation_of, phone};

/// Runs `read` in two transactions before `write` in either: the order that a lock forbids.
pub(crate) async fn interleaved<T>(
    world: &World,
    read: impl AsyncFn(&Tx) -> Result<T>,
    write: impl AsyncFn(&Tx, T, u128) -> Result<()>,
) -> Result<()> {
    let other = world.test.process().await;
    let db = &world.identity.ctx.db;
    db.tx("first", async |first| {
        let seen = read(first).await?;
        let second = async |second: &Tx| {
            let seen = read(second).await?;
            write(second, seen, 2).await
        };
        other.db.tx("second", second).await?;
        write(first, seen, 1).await
    })
    .await
}

/// The id of the code that the operator's phone was sent.
pub(crate) async fn code_id(world: &World) -> Uuid {
    let caller = kit::access::Caller::anonymous(kit::graphql::Language::En);
    let (ctx, vault) = (&world.identity.ctx, &world.identity.vault);
    let number = phone(OPERATOR_PHONE);
    identity::commands::codes::request_login_code(ctx, vault, &caller, &number, 1_000)
        .await
        .unwrap();
    let blind = vault.blind_phone(&number);
    let row = ctx
        .db
        .tx("code", async |tx| logins::lock_code(tx, &blind).await);
    row.await.unwrap().unwrap().id
}

fn login_row(tx: &Tx, id: u128, world: &World) -> LoginRow {
    LoginRow {
        id: Uuid::from_u128(id),
        member: world.operator.0,
        created_at: tx.now(),
        used_at: tx.now(),
        expires_at: tx.now(),
        withdrawn_at: None,
        stepped_up_at: None,
        device: None,
        network: None,
        by_phone: true,
    }
}

/// Without the row's lock two wrong guesses at once count as one, and a code can be guessed at
/// for ever.
#[tokio::test]
async fn without_its_lock_two_guesses_would_count_as_one() {
    let world = World::new().await;
    let id = code_id(&world).await;
    let read = async |tx: &Tx| logins::code(tx, id).await;
    let write = async |tx: &Tx, row: Option<logins::CodeRow>, _| {
        let mut row = row.unwrap();
        row.wrong += 1;
        logins::save_code(tx, &row).await
    };
    interleaved(&world, read, write).await.unwrap();
    let wrong = "SELECT wrong::bigint AS count FROM login_code";
    assert_eq!(world.count(wrong).await, 1);
}

/// Without the row's lock one code that comes twice at once opens two logins.
#[tokio::test]
async fn without_its_lock_one_code_would_open_two_logins() {
    let world = World::new().await;
    let id = code_id(&world).await;
    let read = async |tx: &Tx| logins::code(tx, id).await;
    let write = async |tx: &Tx, row: Option<logins::CodeRow>, which| {
        let mut row = row.unwrap();
        assert!(matches!(row.code(), Code::Open { .. }));
        row.used_at = Some(tx.now());
        logins::save_code(tx, &row).await?;
        logins::insert_login(tx, &login_row(tx, which, &world)).await
    };
    interleaved(&world, read, write).await.unwrap();
    assert_eq!(world.count("SELECT count(*) AS count FROM login").await, 2);
}

const REFRESH: Blind = [9; 32];

/// A refresh token used twice at once without the login's lock.
async fn refresh_without_lock(world: &World) -> Result<()> {
    let db = &world.identity.ctx.db;
    db.tx("login", async |tx| {
        logins::insert_login(tx, &login_row(tx, 7, world)).await?;
        logins::insert_refresh(tx, &REFRESH, Uuid::from_u128(7)).await
    })
    .await?;
    let read = async |tx: &Tx| logins::refresh(tx, &REFRESH).await;
    let write = async |tx: &Tx, row: Option<logins::RefreshRow>, which: u128| {
        let row = row.unwrap();
        assert_eq!(row.used_at, None);
        logins::use_refresh(tx, &REFRESH).await?;
        let next = [u8::try_from(which).unwrap(); 32];
        logins::insert_refresh(tx, &next, row.login).await
    };
    interleaved(world, read, write).await
}

const UNUSED: &str = "SELECT count(*) AS count FROM refresh_token WHERE used_at IS NULL";

/// Should the lock ever be lost, the constraint still lets one of two uses through at most.
#[tokio::test]
async fn without_its_lock_a_second_use_meets_the_constraint() {
    let world = World::new().await;
    let error: Error = refresh_without_lock(&world).await.unwrap_err();
    let constraint = error.constraint();
    assert_eq!(constraint.as_deref(), Some("refresh_token_one_unused"));
    assert_eq!(world.count(UNUSED).await, 1);
}

/// Without both, thief and owner each hold a token that works.
#[tokio::test]
async fn without_lock_and_constraint_a_token_would_be_used_twice() {
    let world = World::new().await;
    let owner = world.test.owner().await;
    owner
        .execute("DROP INDEX refresh_token_one_unused", [])
        .await
        .unwrap();
    refresh_without_lock(&world).await.unwrap();
    assert_eq!(world.count(UNUSED).await, 2);
    let db = &world.identity.ctx.db;
    let login = db.tx("login", async |tx| {
        logins::lock_login(tx, LoginId(Uuid::from_u128(7))).await
    });
    assert_eq!(login.await.unwrap().unwrap().withdrawn_at, None);
}

/// Without the organisation's lock two rosters at once find the same memberships, so neither is
/// outdated by the other: both are made true, and the second undoes the first unseen.
#[tokio::test]
async fn without_its_lock_no_roster_would_be_outdated() {
    let world = World::new().await;
    let union = world.organisation("GRASSROOTS", "基层工会").await;
    let other = world.organisation("GRASSROOTS", "别的工会").await;
    let mut strangers = Vec::new();
    for at in 1..=2 {
        strangers.push(world.person(&other, at).await);
    }
    let organisation = organisation_of(&union);
    let read = async |tx: &Tx| {
        let open = roster_people::open_memberships(tx, organisation, Lock::Share).await?;
        Ok(open.len())
    };
    let write = async |tx: &Tx, seen: usize, which: u128| {
        assert_eq!(seen, 0, "what the difference was made against");
        let joins = Membership {
            id: Uuid::from_u128(which),
            version: 1,
            member: strangers[usize::try_from(which).unwrap() - 1],
            organisation,
            standing: Standing::Full,
            since: shanghai_date(tx.now()),
            created_at: tx.now(),
        };
        people::insert_memberships(tx, &[joins]).await
    };
    interleaved(&world, read, write).await.unwrap();
    let open = "SELECT count(*) AS count FROM membership m JOIN organisation o
                ON o.id = m.organisation WHERE o.name = '基层工会'";
    assert_eq!(world.count(open).await, 2);
}
