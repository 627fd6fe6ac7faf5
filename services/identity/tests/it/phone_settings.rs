//! Another phone for a person by two operators: one names it and another one the same, neither is
//! she, her phone so far is told, and whoever signs in by it meanwhile ends it.

use identity::commands::FAILURES_PER_HOUR_MAX;
use identity::commands::operator::create_first_operator;
use identity::commands::phone_settings;
use identity::domain::name::PersonName;
use identity::domain::two_operators::{AGREE_SECONDS, Asked, Step};
use identity::store::phone_settings as store;
use kit::Tx;
use kit::access::Caller;
use kit::graphql::GlobalId;
use kit::testing::overtaken;
use kit::types::MemberId;
use serde_json::{Value, json};

use crate::erasures::erase;
use crate::races::interleaved;
use crate::rosters::settle;
use crate::second_factor_life::{a_week_passes, second_operator};
use crate::world::{OPERATOR_PHONE, World, codes, number_of_phone, phone};

pub(crate) const NEW: &str = "13600000000";
const OTHER_PHONE: &str = "13900009998";
const STATES: &str = "SELECT state AS name FROM phone_setting ORDER BY asked_at, state";

/// Another operator than the world's own, who counts at once.
pub(crate) async fn other_operator(world: &World) -> Caller {
    let (ctx, vault) = (&world.identity.ctx, &world.identity.vault);
    let (number, name) = (phone(OTHER_PHONE), PersonName::parse("李四光").unwrap());
    let made = create_first_operator(ctx, vault, &number, &name, Some("there are two")).await;
    world.as_member(made.unwrap())
}

/// One operator names a phone for her.
pub(crate) async fn name_phone(
    world: &World,
    by: &Caller,
    member: MemberId,
    number: &str,
) -> Value {
    let input = json!({ "memberId": GlobalId::of_uuid("Member", member.0), "phone": number });
    let selection = "setting { memberId state expiresAt }";
    world.mutate(by, "setPhone", selection, input).await
}

/// Both operators do; what the second one is answered, or the first one where that refuses.
pub(crate) async fn set_phone(world: &World, member: MemberId, number: &str) -> Value {
    let asked = name_phone(world, &world.as_operator(), member, number).await;
    if !codes(&asked).is_empty() {
        return asked;
    }
    assert_eq!(asked["setting"]["state"], "ASKED", "{asked}");
    name_phone(world, &other_operator(world).await, member, number).await
}

/// A member, and both operators.
async fn three() -> (World, MemberId, [Caller; 2]) {
    let (world, member) = crate::consents::member().await;
    let both = [world.as_operator(), other_operator(&world).await];
    (world, member, both)
}

async fn keeps_its_promises(world: &World) {
    let all = identity::verify::INVARIANTS.iter();
    for invariant in all.filter(|it| it.id != "identity.notices_are_swept") {
        assert_eq!(world.broken(invariant.id).await, 0, "{}", invariant.id);
    }
}

/// One operator changes nothing, however often she asks; a second one who names the same phone
/// does, and one who names another is told. What waits is a keyed hash, and gone with it.
#[tokio::test]
async fn two_operators_set_a_phone() {
    let (world, member, [one, two]) = three().await;
    let old = world.sign_in(&number_of_phone(1)).await;
    world.advance(61);
    let asked = name_phone(&world, &one, member, NEW).await;
    assert_eq!(asked["setting"]["state"], "ASKED", "{asked}");
    world.advance(10);
    let again = name_phone(&world, &one, member, NEW).await;
    assert_eq!(again, asked, "one operator is one, however often");
    let id = GlobalId::of_uuid("Member", member.0);
    let input = json!({ "memberId": id, "phone": "13600000001" });
    let told = world.answered(&two, "setPhone", &input).await;
    let expected = [
        "PHONE_PENDING",
        "另一名运维人员为该会员登记的是另一号码，请核对，或待其失效后再办。",
        "Another operator has named another phone; please check it, or wait until that is over.",
    ];
    assert_eq!(told, expected);
    assert_eq!(world.events_of("LoginWithdrawn").await.len(), 0);
    keeps_its_promises(&world).await;

    let done = name_phone(&world, &two, member, NEW).await;
    assert_eq!(done["setting"]["state"], "DONE", "{done}");
    assert_eq!(done["setting"]["expiresAt"], Value::Null);
    assert_eq!(world.events_of("LoginWithdrawn").await.len(), 1);
    assert_eq!(world.sign_in(NEW).await.member, member);
    assert_eq!(old.member, member);
    let again = name_phone(&world, &two, member, NEW).await;
    assert_eq!(codes(&again), ["PHONE_UNCHANGED"]);
    let kept = "SELECT count(*) AS count FROM phone_setting WHERE blind IS NOT NULL";
    assert_eq!(world.count(kept).await, 0);
    let by = "SELECT act AS name FROM audit
        WHERE act IN ('ask_phone_setting', 'set_phone') ORDER BY id";
    assert_eq!(world.names(by).await, ["ask_phone_setting", "set_phone"]);
    keeps_its_promises(&world).await;
}

/// Who names another phone corrects herself: only the later one can be confirmed.
#[tokio::test]
async fn an_operator_corrects_herself() {
    let (world, member, [one, two]) = three().await;
    name_phone(&world, &one, member, NEW).await;
    world.advance(1);
    let asked = name_phone(&world, &one, member, "13600000001").await;
    assert_eq!(asked["setting"]["state"], "ASKED", "{asked}");
    assert_eq!(world.names(STATES).await, ["expired", "asked"]);
    let first = name_phone(&world, &two, member, NEW).await;
    assert_eq!(codes(&first), ["PHONE_PENDING"]);
    let done = name_phone(&world, &two, member, "13600000001").await;
    assert_eq!(done["setting"]["state"], "DONE", "{done}");
    keeps_its_promises(&world).await;
}

/// Whoever signs in as her, or signs out everywhere, has a way in still: what one operator asked
/// for is over, and the next one is the first again.
#[tokio::test]
async fn who_has_her_phone_ends_it() {
    let (world, member, [one, two]) = three().await;
    name_phone(&world, &one, member, NEW).await;
    let session = world.sign_in(&number_of_phone(1)).await;
    assert_eq!(world.names(STATES).await, ["expired"]);
    world.advance(61);
    let asked = name_phone(&world, &two, member, NEW).await;
    assert_eq!(asked["setting"]["state"], "ASKED", "{asked}");
    let caller = crate::logins::caller(&session);
    let input = json!({ "keepThisDevice": false });
    let out = world.mutate(&caller, "signOutEverywhere", "", input).await;
    assert_eq!(codes(&out), [""; 0], "{out}");
    assert_eq!(world.names(STATES).await, ["expired", "expired"]);
    let timers = "SELECT count(*) AS count FROM due WHERE kind = 'phone_setting'";
    assert_eq!(world.count(timers).await, 0);
    let asked = name_phone(&world, &one, member, NEW).await;
    assert_eq!(asked["setting"]["state"], "ASKED", "{asked}");
    keeps_its_promises(&world).await;
}

/// What nobody confirms within a day is over by its timer, and confirmed by nobody after it.
#[tokio::test]
async fn what_nobody_confirms_is_over() {
    let (world, member, [one, two]) = three().await;
    name_phone(&world, &one, member, NEW).await;
    world.advance(AGREE_SECONDS);
    let late = name_phone(&world, &two, member, NEW).await;
    assert_eq!(late["setting"]["state"], "ASKED", "{late}");
    assert_eq!(world.names(STATES).await, ["expired", "asked"]);
    world.advance(AGREE_SECONDS);
    settle(&world).await;
    assert_eq!(world.names(STATES).await, ["expired", "expired"]);
    keeps_its_promises(&world).await;
}

/// Nobody sets her own, nobody makes himself a second operator for it, a phone of somebody else's
/// is refused to the first one already, and one operator's word takes no wish back.
#[tokio::test]
async fn who_may_not_is_refused() {
    let world = World::new().await;
    let second = second_operator(&world).await;
    let union = world.organisation("GRASSROOTS", "别的工会").await;
    let member = world.person(&union, 2).await;
    let (one, two) = (world.as_operator(), world.as_member(second));
    let own = name_phone(&world, &one, world.operator, NEW).await;
    assert_eq!(codes(&own), ["PHONE_OF_OWN"]);
    let theirs = name_phone(&world, &one, member, OPERATOR_PHONE).await;
    assert_eq!(codes(&theirs), ["PERSON_NOT_MATCHED"]);
    assert_eq!(world.names(STATES).await, [""; 0]);
    let later = "UPDATE role SET granted_at = granted_at + interval '7 days'";
    world.test.ctx.db.execute(later, []).await.unwrap();
    let new = name_phone(&world, &two, member, NEW).await;
    assert_eq!(codes(&new), ["OPERATOR_TOO_NEW"]);
    a_week_passes(&world).await;
    let who = world.as_member(member);
    let wish = erase(&world, &who, None, 1).await;
    assert_eq!(codes(&wish), [""; 0], "{wish}");
    let asked = name_phone(&world, &one, member, NEW).await;
    assert_eq!(asked["setting"]["state"], "ASKED", "{asked}");
    let open = "SELECT count(*) AS count FROM erasure WHERE ended_at IS NULL";
    assert_eq!(world.count(open).await, 1);
    let done = name_phone(&world, &two, member, NEW).await;
    assert_eq!(done["setting"]["state"], "DONE", "{done}");
    assert_eq!(world.count(open).await, 0);
    keeps_its_promises(&world).await;
}

/// Whoever names phones to learn whether somebody signs in by them is counted as for any look-up,
/// each stands in the trail, and after ten none is looked for any more, free or not.
#[tokio::test]
async fn phones_are_not_tried_out_unseen() {
    let (world, member, [one, two]) = three().await;
    let own = number_of_phone(1);
    let told = name_phone(&world, &one, member, &own).await;
    assert_eq!(codes(&told), ["PHONE_UNCHANGED"]);
    let seen = "SELECT count(*) AS count FROM audit WHERE act = 'set_phone_unchanged'";
    assert_eq!(world.count(seen).await, 1);
    for tried in 1..FAILURES_PER_HOUR_MAX {
        let told = name_phone(&world, &one, member, OTHER_PHONE).await;
        assert_eq!(codes(&told), ["PERSON_NOT_MATCHED"], "{tried}");
    }
    for number in [OTHER_PHONE, NEW] {
        let told = name_phone(&world, &one, member, number).await;
        assert_eq!(codes(&told), ["TOO_MANY_FAILURES"]);
    }
    let seen = format!(
        "SELECT count(*) AS count FROM audit
         WHERE act = 'set_phone_not_matched' AND subject = '{member}'"
    );
    assert_eq!(
        world.count(&seen).await,
        i64::from(FAILURES_PER_HOUR_MAX) - 1
    );
    assert_eq!(world.names(STATES).await, [""; 0]);
    let asked = name_phone(&world, &two, member, NEW).await;
    assert_eq!(asked["setting"]["state"], "ASKED", "another one may still");
    keeps_its_promises(&world).await;
}

/// Two operators name a phone at one moment: the one is the first and the other the second.
#[tokio::test]
async fn two_operators_at_once_are_one_after_the_other() {
    let (world, member, [one, two]) = three().await;
    world.seal().await;
    let other = world.test.process().await;
    let (ctx, vault) = (&world.identity.ctx, &world.identity.vault);
    let first = phone_settings::set_phone(ctx, vault, &one, member, phone(NEW));
    let second = phone_settings::set_phone(&other, vault, &two, member, phone(NEW));
    let (first, second) = overtaken(&world.test, first, second).await;
    assert!(matches!(first, Ok(Step::Begins { .. })), "{first:?}");
    assert_eq!(second.unwrap(), Step::Done);
    keeps_its_promises(&world).await;
}

fn asked(tx: &Tx, by: MemberId) -> Asked {
    Asked {
        by,
        at: tx.now(),
        expires_at: tx.now() + chrono::TimeDelta::days(1),
    }
}

fn id_of(caller: &Caller) -> MemberId {
    let kit::access::Who::Member { member, .. } = caller.who else {
        panic!("signed in")
    };
    member
}

/// Without her lock both find that none waits: the constraint stops the second one, and without
/// that too each waits for the other.
#[tokio::test]
async fn without_its_guards_two_phones_would_wait() {
    let (world, of, [one, two]) = three().await;
    let blind = world.identity.vault.blind_phone(&phone(NEW)).unwrap();
    let operators = [id_of(&one), id_of(&two)];
    let twice = async || {
        let read = async |tx: &Tx| Ok(store::lock(tx, of).await?.is_none());
        let write = async |tx: &Tx, none: bool, which: u128| {
            assert!(none);
            let by = operators[usize::try_from(which).unwrap() - 1];
            store::insert(tx, of, (tx.uuid(), asked(tx, by)), &blind).await
        };
        interleaved(&world, read, write).await
    };
    let stopped = twice().await.unwrap_err().constraint();
    assert_eq!(stopped.as_deref(), Some("phone_setting_one_asked"));
    let owner = world.test.owner().await;
    let db = &world.test.ctx.db;
    db.execute("DELETE FROM phone_setting", []).await.unwrap();
    owner
        .execute("DROP INDEX phone_setting_one_asked", [])
        .await
        .unwrap();
    twice().await.unwrap();
    let waiting = "SELECT count(*) AS count FROM phone_setting WHERE state = 'asked'";
    assert_eq!(world.count(waiting).await, 2);
}

/// The table itself knows that two are needed, and that neither is the person; without that
/// `bashu verify` says so.
#[tokio::test]
async fn one_operator_is_never_two() {
    let (world, of, [one, _]) = three().await;
    let one = id_of(&one);
    let blind = world.identity.vault.blind_phone(&phone(NEW)).unwrap();
    let write = async |by: MemberId, confirmed_by: MemberId| {
        let db = &world.identity.ctx.db;
        db.tx("setting", async |tx| {
            let id = tx.uuid();
            store::insert(tx, of, (id, asked(tx, by)), &blind).await?;
            store::finish(tx, id, confirmed_by).await
        })
        .await
    };
    for (by, confirmed_by, constraint) in [
        (one, one, "phone_setting_by_two"),
        (one, of, "phone_setting_of_another"),
        (of, one, "phone_setting_of_another"),
    ] {
        let stopped = write(by, confirmed_by).await.unwrap_err().constraint();
        assert_eq!(stopped.as_deref(), Some(constraint));
    }
    let owner = world.test.owner().await;
    for check in ["by_two", "of_another"] {
        let sql = format!("ALTER TABLE phone_setting DROP CONSTRAINT phone_setting_{check}");
        owner.execute(&sql, []).await.unwrap();
    }
    write(one, one).await.unwrap();
    assert_eq!(world.broken("identity.phones_set_by_two").await, 1);
}
