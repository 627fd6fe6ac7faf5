//! Negative controls of signing in and of rosters: what two requests at once would do without the
//! lock or the constraint that holds each promise. The promises themselves are tested with the
//! logins and with the rosters; that a phone which is changed and a login underway wait for each
//! other is tested here, in both orders.

use identity::commands::logins::login;
use identity::commands::phone_settings::set_phone;
use identity::domain::code::{Code, Purpose};
use identity::domain::membership::{Membership, Standing};
use identity::domain::origin::Origin;
use identity::domain::subject::{Kind, Subject};
use identity::domain::two_operators::Step;
use identity::store::codes;
use identity::store::login_methods::{self, NewMethodRow};
use identity::store::logins::{self, LoginRow};
use identity::store::organisations::Lock;
use identity::store::people::{self, Blind};
use identity::store::roster_people;
use kit::access::Caller;
use kit::testing::overtaken;
use kit::types::{LoginId, MemberId, shanghai_date};
use kit::{Error, Result, Tx};
use uuid::Uuid;

use crate::phone_settings::{name_phone, other_operator};
use crate::world::{OPERATOR_PHONE, World, number_of_phone, organisation_of, phone};

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
    let caller = Caller::anonymous(kit::graphql::Language::En);
    let (ctx, vault) = (&world.identity.ctx, &world.identity.vault);
    let number = phone(OPERATOR_PHONE);
    identity::commands::codes::request_login_code(ctx, vault, &caller, &number, 1_000)
        .await
        .unwrap();
    let blind = vault.blind_phone(&number).unwrap();
    let row = ctx.db.tx("code", async |tx| {
        codes::lock(tx, Purpose::Login, &blind).await
    });
    row.await.unwrap().unwrap().id
}

pub(crate) fn login_row(tx: &Tx, id: u128, world: &World) -> LoginRow {
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
    let read = async |tx: &Tx| codes::find(tx, id).await;
    let write = async |tx: &Tx, row: Option<codes::CodeRow>, _| {
        let mut row = row.unwrap();
        row.wrong += 1;
        codes::save(tx, &row).await
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
    let read = async |tx: &Tx| codes::find(tx, id).await;
    let write = async |tx: &Tx, row: Option<codes::CodeRow>, which| {
        let mut row = row.unwrap();
        assert!(matches!(row.code(), Code::Open { .. }));
        row.used_at = Some(tx.now());
        codes::save(tx, &row).await?;
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

/// A person of whom somebody else has the phone, and what she is known by elsewhere.
struct Taken {
    world: World,
    member: MemberId,
    second: Caller,
    code: String,
    subject: Blind,
}

const NEW_PHONE: &str = "13600000000";
/// Logins that count, and ways to sign in that are not the new phone.
const LEFT: &str = "SELECT (SELECT count(*) FROM login WHERE withdrawn_at IS NULL)
    + (SELECT count(*) FROM login_method WHERE kind <> 'phone') AS count";

impl Taken {
    async fn new() -> Self {
        let world = World::new().await;
        let union = world.organisation("GRASSROOTS", "基层工会").await;
        let member = world.person(&union, 1).await;
        let caller = Caller::anonymous(kit::graphql::Language::En);
        let (ctx, vault) = (&world.identity.ctx, &world.identity.vault);
        let number = phone(&number_of_phone(1));
        identity::commands::codes::request_login_code(ctx, vault, &caller, &number, 1_000)
            .await
            .unwrap();
        let code = world.code(&number_of_phone(1)).await;
        let subject = Subject::new(Kind::Wechat, "wx50", "one").unwrap();
        let subject = vault.blind_subject(&subject).unwrap();
        let linked = ctx.db.tx("link", async |tx| {
            let row = NewMethodRow {
                id: tx.uuid(),
                member: member.0,
                kind: Kind::Wechat,
                subject: vec![0],
                blind: subject,
            };
            login_methods::insert(tx, row).await
        });
        linked.await.unwrap();
        let second = other_operator(&world).await;
        name_phone(&world, &world.as_operator(), member, NEW_PHONE).await;
        world.seal().await;
        Self {
            world,
            member,
            second,
            code,
            subject,
        }
    }

    /// What a second operator does for her, after the first one.
    async fn set_phone(&self, ctx: &kit::Ctx) -> Result<Step> {
        let (vault, by) = (&self.world.identity.vault, &self.second);
        set_phone(ctx, vault, by, self.member, phone(NEW_PHONE)).await
    }

    /// What the other one does meanwhile with a code that her old phone was sent.
    async fn login(&self, ctx: &kit::Ctx) -> Result<LoginId> {
        let mut identity = self.world.identity.clone();
        identity.ctx = ctx.clone();
        let (number, origin) = (phone(&number_of_phone(1)), Origin::default());
        let session = login(&identity, &number, &self.code, &origin).await?;
        Ok(session.login)
    }

    /// As he does with another party's word; whether it was somebody's.
    async fn login_by_word(&self, ctx: &kit::Ctx) -> Result<bool> {
        ctx.db
            .tx("outside_login", async |tx| {
                let found = login_methods::by_subject(tx, &self.subject).await?;
                if found.is_some() {
                    logins::insert_login(tx, &self.row(tx)).await?;
                }
                Ok(found.is_some())
            })
            .await
    }

    fn row(&self, tx: &Tx) -> LoginRow {
        LoginRow {
            member: self.member.0,
            expires_at: tx.now() + chrono::TimeDelta::days(1),
            ..login_row(tx, 8, &self.world)
        }
    }
}

/// A login that is underway when the phone is set is waited for. Where her own phone opens it, it
/// ends what was asked for, and the second operator is the first again; one that does not is ended.
#[tokio::test]
async fn a_login_before_the_change_is_waited_for() {
    let taken = Taken::new().await;
    let other = taken.world.test.process().await;
    let ctx = &taken.world.identity.ctx;
    let (login, changed) =
        overtaken(&taken.world.test, taken.login(ctx), taken.set_phone(&other)).await;
    login.unwrap();
    assert!(matches!(changed, Ok(Step::Begins { .. })), "{changed:?}");
    assert_eq!(taken.world.count(LEFT).await, 2, "she keeps her ways in");

    let taken = Taken::new().await;
    let other = taken.world.test.process().await;
    let ctx = &taken.world.identity.ctx;
    let by_word = taken.login_by_word(ctx);
    let (login, changed) = overtaken(&taken.world.test, by_word, taken.set_phone(&other)).await;
    assert!(login.unwrap());
    assert_eq!(changed.unwrap(), Step::Done);
    assert_eq!(taken.world.count(LEFT).await, 0);
}

/// One that comes while the phone is changed waits, and finds that it is hers no more.
#[tokio::test]
async fn a_login_after_the_change_finds_nobody() {
    let taken = Taken::new().await;
    let other = taken.world.test.process().await;
    let ctx = &taken.world.identity.ctx;
    let (changed, login) =
        overtaken(&taken.world.test, taken.set_phone(ctx), taken.login(&other)).await;
    assert_eq!(changed.unwrap(), Step::Done);
    let Err(Error::Refused(why)) = login else {
        panic!("{login:?}")
    };
    assert_eq!(why.code, "CODE_WRONG");
    assert_eq!(taken.world.count(LEFT).await, 0);

    let taken = Taken::new().await;
    let other = taken.world.test.process().await;
    let ctx = &taken.world.identity.ctx;
    let by_word = taken.login_by_word(&other);
    let (changed, login) = overtaken(&taken.world.test, taken.set_phone(ctx), by_word).await;
    assert_eq!(changed.unwrap(), Step::Done);
    assert!(!login.unwrap());
    assert_eq!(taken.world.count(LEFT).await, 0);
}

/// Without the locks the one who was underway stays in, and nobody ends his login.
#[tokio::test]
async fn without_its_lock_a_login_would_outlive_the_phone() {
    let taken = Taken::new().await;
    let other = taken.world.test.process().await;
    let underway = taken.world.identity.ctx.db.tx("login", async |tx| {
        // It looks as `by_phone` and `by_subject` do, and locks nothing.
        let seen = people::with_phone(tx, &[taken.member.0]).await?;
        assert_eq!(seen, [taken.member.0]);
        taken.set_phone(&other).await?;
        logins::insert_login(tx, &taken.row(tx)).await
    });
    underway.await.unwrap();
    assert_eq!(taken.world.count(LEFT).await, 1);
}
