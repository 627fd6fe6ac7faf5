//! More negative controls: what two processes at once would do to organisations, operators,
//! counts and rosters without the lock that holds each promise. Reading, deciding and writing are
//! the service's own functions; only the lock is left out. The promises themselves are tested
//! with what they are about.

use identity::Identity;
use identity::commands::operator::create_first_operator;
use identity::domain::name::PersonName;
use identity::domain::organisation::{Kind, NewOrganisation, Organisation};
use identity::domain::role::{Of, Origin, Role};
use identity::domain::roster::{Bad, State};
use identity::domain::{code, organisation};
use identity::publish;
use identity::store::limits::Counter;
use identity::store::organisations::{self, Lock};
use identity::store::roles;
use identity::store::roster_people::RosterMembers;
use identity::store::rosters::{self, Address, AddressPurpose, Kept};
use identity::store::{codes, roster_rows};
use kit::types::{LoginId, MemberId, OrganisationId, Union, shanghai_date};
use kit::{Error, Tx};
use sea_orm::FromQueryResult;
use serde_json::Value;
use uuid::Uuid;

use crate::races::{code_id, interleaved};
use crate::rosters::{compared, csv, line, officer_of};
use crate::world::{OPERATOR_PHONE, World, organisation_of, phone, settings};

const OPERATORS: &str = "SELECT count(*) AS count FROM role
    WHERE role = 'operator' AND withdrawn_at IS NULL";

fn operates(member: MemberId) -> Of {
    Of {
        member,
        organisation: organisation::root_id(Union::Chongqing),
        role: Role::Operator,
    }
}

fn held(tx: &Tx, member: MemberId) -> roles::Held {
    crate::world::held(tx, operates(member), Origin::Machine)
}

/// Without the root's lock two operators who withdraw each other at once each find that one
/// stays, and none does.
#[tokio::test]
async fn without_its_lock_the_last_operator_would_go() {
    let world = World::new().await;
    let union = world.organisation("GRASSROOTS", "基层工会").await;
    let second = world.person(&union, 1).await;
    let db = &world.identity.ctx.db;
    let grant = db.tx("grant", async |tx| {
        roles::insert(tx, &held(tx, second)).await
    });
    grant.await.unwrap();
    let read = async |tx: &Tx| roles::operators(tx).await;
    let write = async |tx: &Tx, operators: i64, which: u128| {
        assert_eq!(operators, 2);
        let member = [world.operator, second][usize::try_from(which).unwrap() - 1];
        let role = roles::held(tx, operates(member)).await?;
        roles::withdraw(tx, role.unwrap()).await.map(|_| ())
    };
    interleaved(&world, read, write).await.unwrap();
    assert_eq!(world.count(OPERATORS).await, 0);
}

/// Two first operators made at once by two processes: one is, the other one is told so.
#[tokio::test]
async fn there_is_one_first_operator_of_two_at_once() {
    let test = kit::testing::db("identity", identity::ALL_MIGRATIONS).await;
    let other = test.process().await;
    let roots = || kit::replica::Roots::from([]);
    let first = Identity::new(test.ctx.clone(), settings("http://127.0.0.1:9"), roots(), 2);
    let first = first.unwrap();
    first.open().await.unwrap();
    let make = async |ctx: &kit::Ctx, number: &str, name: &str| {
        let name = PersonName::parse(name).unwrap();
        create_first_operator(ctx, &first.vault, &phone(number), &name, None).await
    };
    let (one, two) = tokio::join!(
        make(&test.ctx, OPERATOR_PHONE, "运维一"),
        make(&other, "13900000002", "运维二"),
    );
    let code = |made: &kit::Result<MemberId>| match made {
        Ok(_) => "",
        Err(Error::Refused(why)) => why.code,
        Err(error) => panic!("{error:?}"),
    };
    let mut told = [code(&one), code(&two)];
    told.sort_unstable();
    assert_eq!(told, ["", "OPERATOR_EXISTS"]);
    #[derive(FromQueryResult)]
    struct Row {
        count: i64,
    }
    let left = test.ctx.db.one::<Row>(OPERATORS, []).await.unwrap();
    assert_eq!(left.unwrap().count, 1);
}

/// Without the root's lock both find that there is none yet, and both are made.
#[tokio::test]
async fn without_its_lock_there_would_be_two_first_operators() {
    let world = World::new().await;
    let union = world.organisation("GRASSROOTS", "基层工会").await;
    let people = [world.person(&union, 1).await, world.person(&union, 2).await];
    let nobody = "UPDATE role SET withdrawn_at = granted_at";
    world.test.owner().await.execute(nobody, []).await.unwrap();
    let read = async |tx: &Tx| roles::operators(tx).await;
    let write = async |tx: &Tx, operators: i64, which: u128| {
        assert_eq!(operators, 0);
        let member = people[usize::try_from(which).unwrap() - 1];
        roles::insert(tx, &held(tx, member)).await
    };
    interleaved(&world, read, write).await.unwrap();
    assert_eq!(world.count(OPERATORS).await, 2);
}

/// Without the parent's lock two requests for one organisation both find none. The constraint
/// stops the second one; without that too there are two of one name.
#[tokio::test]
async fn without_its_guards_one_organisation_would_be_two() {
    let world = World::new().await;
    let root = world.root_id();
    let twice = async || {
        let read = async |tx: &Tx| {
            let parent = organisations::load(tx, root, Lock::Share).await?.unwrap();
            let there = organisations::named(tx, root, "渝中区总工会").await?;
            assert_eq!(there, None::<Organisation>);
            Ok(parent)
        };
        let write = async |tx: &Tx, parent: Organisation, _: u128| {
            let new = NewOrganisation {
                id: OrganisationId(tx.uuid()),
                kind: Kind::Territorial,
                name: "渝中区总工会".to_owned(),
                uscc: None,
                division: "500103".to_owned(),
                today: shanghai_date(tx.now()),
                now: tx.now(),
            };
            organisations::insert(tx, &parent.branch(None, new)?).await
        };
        interleaved(&world, read, write).await
    };
    let stopped = twice().await.unwrap_err().constraint();
    assert_eq!(stopped.as_deref(), Some("organisation_name_unique"));
    let named = "SELECT count(*) AS count FROM organisation WHERE name = '渝中区总工会'";
    let owner = world.test.owner().await;
    for sql in [
        "DELETE FROM organisation WHERE name = '渝中区总工会'",
        "DROP INDEX organisation_name_unique",
    ] {
        owner.execute(sql, []).await.unwrap();
    }
    twice().await.unwrap();
    assert_eq!(world.count(named).await, 2);
}

/// Without the phone's row locked two codes asked for at once are both sent, and count as one.
#[tokio::test]
async fn without_its_lock_codes_asked_for_at_once_would_be_two() {
    let world = World::new().await;
    let id = code_id(&world).await;
    world.advance(61);
    let read = async |tx: &Tx| codes::find(tx, id).await;
    let write = async |tx: &Tx, row: Option<codes::CodeRow>, _| {
        let mut row = row.unwrap();
        row.asked_at = code::ask(&row.asked_at, tx.now())?;
        row.created_at = tx.now();
        codes::save(tx, &row).await?;
        let job = kit::due::NewDue::new(identity::due::SMS_LOGIN_CODE, tx.uuid(), tx.now());
        tx.plan(job);
        Ok(())
    };
    interleaved(&world, read, write).await.unwrap();
    let asked = "SELECT cardinality(asked_at)::bigint AS count FROM login_code";
    assert_eq!(world.count(asked).await, 2);
    let sent = "SELECT count(*) AS count FROM due WHERE kind = 'sms_login_code'";
    assert_eq!(world.count(sent).await, 3);
}

/// A count is locked when it is asked for, before anything is looked up: this is what the limits on
/// codes of an address, look-ups of a desk and failures of an officer rest on. Without it two at
/// once both find one left.
#[tokio::test]
async fn without_its_lock_a_count_would_pass_its_limit() {
    let world = World::new().await;
    for (scope, limit) in [
        ("login_code_address", 7),
        ("desk_look_ups_hour", 60),
        ("person_not_matched", 10),
    ] {
        let counter = Counter {
            scope,
            subject: b"one who asks",
            window: chrono::TimeDelta::hours(1),
        };
        let db = &world.identity.ctx.db;
        let before = db.tx("before", async |tx| counter.add(tx, limit - 1).await);
        assert_eq!(before.await.unwrap(), limit - 1);
        let read = async |tx: &Tx| {
            let sql = "SELECT count FROM attempt WHERE scope = $1";
            Ok(tx
                .one::<Attempts>(sql, [scope.into()])
                .await?
                .unwrap()
                .count)
        };
        let write = async |tx: &Tx, count: i32, _| {
            assert!(count < limit, "one is left");
            counter.add(tx, 1).await.map(|_| ())
        };
        interleaved(&world, read, write).await.unwrap();
        let counted = format!("SELECT count::bigint FROM attempt WHERE scope = '{scope}'");
        assert_eq!(world.count(&counted).await, i64::from(limit) + 1);
    }
}

#[derive(FromQueryResult)]
struct Attempts {
    count: i32,
}

/// A roster's uuid.
fn roster_of(id: &Value) -> Uuid {
    kit::graphql::GlobalId::uuid(id.as_str().unwrap(), "RosterImport").unwrap()
}

/// An address that is looked at before it is used up takes two files, and the second one takes
/// the place of the first unseen.
#[tokio::test]
async fn without_its_guard_an_address_would_take_two_files() {
    let world = World::new().await;
    let (union, officer) = officer_of(&world, "基层工会", 100).await;
    let begun = crate::rosters::begin(&world, &officer, &union, "MEMBERSHIP").await;
    let roster = roster_of(&begun["rosterImport"]["id"]);
    let address = Address {
        hash: [5; 32],
        roster,
        officer: world.operator,
        login: LoginId(Uuid::from_u128(99)),
        purpose: AddressPurpose::Upload,
        expires_at: world.identity.ctx.clock.now() + chrono::TimeDelta::minutes(30),
    };
    let db = &world.identity.ctx.db;
    let made = world
        .identity
        .vault
        .new_data_key(&kit::Ids::seeded(9), roster);
    let (_, data_key) = made.unwrap();
    let insert = async |tx: &Tx| rosters::insert_address(tx, &address).await;
    db.tx("address", insert).await.unwrap();
    let unused = "SELECT count(*)::int AS count FROM roster_address WHERE used_at IS NULL";
    let read = async |tx: &Tx| Ok(tx.one::<Attempts>(unused, []).await?.unwrap().count);
    let write = async |tx: &Tx, unused: i32, which: u128| {
        assert_eq!(unused, 1, "the address is good still");
        let file = vec![u8::try_from(which).unwrap()];
        rosters::keep_file(tx, roster, data_key.clone(), file).await?;
        rosters::use_address(tx, &address.hash).await.map(|_| ())
    };
    interleaved(&world, read, write).await.unwrap();
    let kept = db.tx("file", async |tx| rosters::file(tx, roster).await);
    assert_eq!(
        kept.await.unwrap(),
        Some(vec![1]),
        "the second one's is gone"
    );
}

/// A roster that is ready, and nothing locked.
async fn loaded(tx: &Tx, id: Uuid) -> kit::Result<Kept> {
    Ok(rosters::load(tx, id).await?.unwrap())
}

/// Without the roster's row locked two commits at once both find it ready, and it happens twice.
#[tokio::test]
async fn without_its_lock_a_roster_would_happen_twice() {
    let world = World::new().await;
    let (union, officer) = officer_of(&world, "基层工会", 100).await;
    let file = csv(&[line(100), line(1)]);
    let id = compared(&world, &officer, (&union, "LIST"), file).await;
    let id = roster_of(&id);
    let read = async |tx: &Tx| loaded(tx, id).await;
    let write = async |tx: &Tx, kept: Kept, _| {
        let counts = roster_rows::counts(tx, id).await?;
        let committed = kept.roster.commit(Bad::of(counts.bad, true), tx.now())?;
        rosters::save(tx, &committed, None).await?;
        tx.emit(publish::roster_committed(&RosterMembers {
            id,
            organisation: organisation_of(&union),
            purpose: committed.purpose,
            committed_at: tx.now(),
            members: Vec::new(),
        }));
        Ok(())
    };
    interleaved(&world, read, write).await.unwrap();
    assert_eq!(world.events_of("RosterCommitted").await.len(), 2);
}

/// Without it two workers compare the same rows, and each failure counts twice.
#[tokio::test]
async fn without_its_lock_two_workers_would_count_twice() {
    let world = World::new().await;
    let (union, officer) = officer_of(&world, "基层工会", 100).await;
    let file = csv(&[line(100), line(1)]);
    let id = compared(&world, &officer, (&union, "MEMBERSHIP"), file).await;
    let id = roster_of(&id);
    let again = "UPDATE roster SET state = 'matching'";
    let db = &world.identity.ctx.db;
    assert_eq!(db.execute(again, []).await.unwrap(), 1);
    let compare_again = async |tx: &Tx| roster_rows::compare_again(tx, id).await;
    db.tx("pending", compare_again).await.unwrap();
    let counter = Counter {
        scope: "person_not_matched",
        subject: b"one who asks",
        window: chrono::TimeDelta::hours(1),
    };
    let read = async |tx: &Tx| Ok((loaded(tx, id).await?, roster_rows::counts(tx, id).await?));
    let write = async |tx: &Tx, (kept, counts): (Kept, roster_rows::Counts), _| {
        assert_eq!((kept.roster.state, counts.pending), (State::Matching, 2));
        let failed = i32::try_from(counts.pending).unwrap();
        counter.add(tx, failed).await.map(|_| ())
    };
    interleaved(&world, read, write).await.unwrap();
    let counted = "SELECT count::bigint FROM attempt WHERE subject = 'one who asks'";
    assert_eq!(world.count(counted).await, 4);
}
