//! What a taken-over account, or one operator with two of them, comes to: resets that end when they
//! are not needed, second operators who are none, and people who are told of what becomes of their
//! second factor.

use identity::commands::operator::create_first_operator;
use identity::domain::name::PersonName;
use identity::domain::second_factor::step_of;
use kit::access::Caller;
use kit::graphql::{GlobalId, Language};
use kit::types::MemberId;
use serde_json::{Value, json};

use crate::erasures::erase;
use crate::second_factor::{Holder, confirm, enrol, holder, keeps_its_promises, show};
use crate::second_factor_life::{a_week_passes, reset, second_operator};
use crate::world::{World, codes, name, number_of_phone, phone};

const STATES: &str = "SELECT state AS name FROM second_factor_reset ORDER BY asked_at";

/// A person with a second factor, and its world.
async fn person_with_factor(world: &World) -> (MemberId, Holder) {
    let union = world.organisation("GRASSROOTS", "别的工会").await;
    let member = world.person(&union, 2).await;
    (member, holder(world, &number_of_phone(2)).await)
}

/// Somebody whom the operator has just made an operator.
async fn accomplice(world: &World) -> MemberId {
    let union = world.organisation("GRASSROOTS", "基层工会").await;
    let member = world.person(&union, 1).await;
    let root = GlobalId::of_uuid("Organisation", world.root_id().0).to_string();
    let _ = world.grant(member, &root, "OPERATOR").await;
    member
}

fn state(answer: &Value) -> &str {
    answer["reset"]["state"].as_str().unwrap()
}

/// Whoever shows her factor, replaces it or takes it away needs no reset: what one operator asked
/// for is over, and the next one is the first again.
#[tokio::test]
async fn who_has_her_factor_ends_its_reset() {
    let world = World::new().await;
    let second = second_operator(&world).await;
    let (member, holder) = person_with_factor(&world).await;
    let (one, two) = (world.as_operator(), world.as_member(second));
    assert_eq!(state(&reset(&world, &one, member).await), "ASKED");
    world.advance(30);
    let shown = show(&world, &holder.plain(), &holder.code(&world)).await;
    assert_eq!(codes(&shown), [""; 0]);
    assert_eq!(world.names(STATES).await, ["expired"]);

    assert_eq!(state(&reset(&world, &two, member).await), "ASKED");
    let (_, secret) = enrol(&world, &holder.caller).await;
    let code = secret
        .unwrap()
        .code(step_of(world.identity.ctx.clock.now()));
    let confirmed = confirm(&world, &holder.caller, &code).await;
    assert_eq!(codes(&confirmed), [""; 0]);
    assert_eq!(world.names(STATES).await, ["expired"; 2]);

    world.advance(1);
    assert_eq!(state(&reset(&world, &one, member).await), "ASKED");
    let remove = "mutation { removeSecondFactor { memberId userErrors { code } } }";
    let removed = world.run(&holder.caller, remove, json!({})).await;
    assert_eq!(codes(&removed), [""; 0]);
    assert_eq!(world.names(STATES).await, ["expired"; 3]);
    let none = reset(&world, &two, member).await;
    assert_eq!(codes(&none), ["SECOND_FACTOR_ABSENT"]);
    let voided = "SELECT count(*) AS count FROM audit WHERE act = 'void_second_factor_reset'";
    assert_eq!(world.count(voided).await, 3);
    keeps_its_promises(&world).await;
}

/// A wrong code proves nothing: the reset waits on.
#[tokio::test]
async fn a_wrong_code_ends_no_reset() {
    let world = World::new().await;
    let second = second_operator(&world).await;
    let (member, holder) = person_with_factor(&world).await;
    let asked = reset(&world, &world.as_operator(), member).await;
    assert_eq!(state(&asked), "ASKED");
    // The code of this step was taken when she confirmed.
    let used = show(&world, &holder.plain(), &holder.code(&world)).await;
    assert_eq!(codes(&used), ["SECOND_FACTOR_USED"]);
    assert_eq!(world.names(STATES).await, ["asked"]);
    let done = reset(&world, &world.as_member(second), member).await;
    assert_eq!(state(&done), "DONE");
}

/// One operator who makes a second account an operator is still one, until others had a week to see
/// it; nor does his word count before.
#[tokio::test]
async fn one_operator_with_two_accounts_is_one() {
    let world = World::new().await;
    let (member, _) = person_with_factor(&world).await;
    let second = world.as_member(accomplice(&world).await);
    let input = json!({ "memberId": GlobalId::of_uuid("Member", member.0) });
    for _ in 0..2 {
        let told = world.answered(&second, "resetSecondFactor", &input).await;
        assert_eq!(
            told,
            [
                "OPERATOR_TOO_NEW",
                "担任运维满七天后才能办理此事。",
                "Who does this must have been an operator for seven days before.",
            ]
        );
        let asked = reset(&world, &world.as_operator(), member).await;
        assert_eq!(state(&asked), "ASKED");
    }
    assert_eq!(world.names(STATES).await, ["asked"]);
    a_week_passes(&world).await;
    assert_eq!(state(&reset(&world, &second, member).await), "DONE");
}

/// Who asked and is no operator any more has asked for nothing.
#[tokio::test]
async fn a_former_operator_has_asked_for_nothing() {
    let world = World::new().await;
    let second = second_operator(&world).await;
    let (member, _) = person_with_factor(&world).await;
    let asked = reset(&world, &world.as_operator(), member).await;
    assert_eq!(state(&asked), "ASKED");
    let withdrawn = format!(
        "UPDATE role SET withdrawn_at = granted_at WHERE member = '{}'",
        world.operator
    );
    let db = &world.test.ctx.db;
    assert_eq!(db.execute(&withdrawn, []).await.unwrap(), 1);
    world.advance(1);
    let begun = reset(&world, &world.as_member(second), member).await;
    assert_eq!(state(&begun), "ASKED");
    assert_eq!(world.names(STATES).await, ["expired", "asked"]);
}

/// A fresh installation makes its second operator on the command line, who counts at once: also
/// one whom the first one has just made an operator.
#[tokio::test]
async fn the_command_line_makes_operators_who_count() {
    let world = World::new().await;
    let (member, _) = person_with_factor(&world).await;
    let second = accomplice(&world).await;
    let one = world.as_operator();
    assert_eq!(state(&reset(&world, &one, member).await), "ASKED");
    let two = world.as_member(second);
    let refused = reset(&world, &two, member).await;
    assert_eq!(codes(&refused), ["OPERATOR_TOO_NEW"]);
    let made = create_first_operator(
        &world.identity.ctx,
        &world.identity.vault,
        &phone(&number_of_phone(1)),
        &PersonName::parse(&name(1)).unwrap(),
        Some("a second one"),
    )
    .await;
    assert_eq!(made.unwrap(), second);
    assert_eq!(state(&reset(&world, &two, member).await), "DONE");
}

async fn notices(world: &World, who: &Caller) -> Value {
    let query = "{ me { notices(first: 50) { nodes { kind text aboutId } } } }";
    let seen = world.run(who, query, json!({})).await;
    seen["notices"]["nodes"].clone()
}

/// She is told of whatever becomes of her factor, in both languages and what to do; nobody else is.
#[tokio::test]
async fn she_is_told_what_becomes_of_her_factor() {
    let world = World::new().await;
    let second = second_operator(&world).await;
    let (member, holder) = person_with_factor(&world).await;
    world.advance(30);
    let (_, secret) = enrol(&world, &holder.caller).await;
    let code = secret
        .unwrap()
        .code(step_of(world.identity.ctx.clock.now()));
    let confirmed = confirm(&world, &holder.caller, &code).await;
    assert_eq!(codes(&confirmed), [""; 0]);
    for by in [world.operator, second] {
        world.advance(1);
        let asked = reset(&world, &world.as_member(by), member).await;
        assert_eq!(codes(&asked), [""; 0]);
    }
    let again = crate::second_factor::holder(&world, &number_of_phone(2)).await;
    world.advance(1);
    let remove = "mutation { removeSecondFactor { memberId userErrors { code } } }";
    let removed = world.run(&again.caller, remove, json!({})).await;
    assert_eq!(codes(&removed), [""; 0]);
    let told = format!(
        "SELECT params->>'change' AS name FROM notice
         WHERE kind = 'second_factor_changed' AND member = '{member}' ORDER BY created_at"
    );
    let changes = [
        "enrolled",
        "replaced",
        "reset_asked",
        "reset_done",
        "enrolled",
        "removed",
    ];
    assert_eq!(world.names(&told).await, changes);
    let all = "SELECT count(*) AS count FROM notice WHERE kind = 'second_factor_changed'";
    assert_eq!(world.count(all).await, 6);

    let me = world.as_member(member);
    let about = GlobalId::of_uuid("Member", member.0);
    let en = notices(&world, &me).await;
    let zh = Caller {
        language: Language::Zh,
        ..me
    };
    let zh = notices(&world, &zh).await;
    for (told, todo) in [(en, "sign out everywhere"), (zh, "请立即在所有设备退出")] {
        let told: Vec<&Value> = told
            .as_array()
            .unwrap()
            .iter()
            .filter(|it| it["kind"] == "SECOND_FACTOR_CHANGED")
            .collect();
        assert_eq!(told.len(), changes.len());
        for one in told {
            assert!(one["text"].as_str().unwrap().contains(todo), "{one}");
            assert_eq!(one["aboutId"], json!(about));
        }
    }
}

/// One operator alone does not become another one by a phone of his for her.
#[tokio::test]
async fn who_holds_a_role_gets_no_phone_by_one_operator() {
    let world = World::new().await;
    let second = accomplice(&world).await;
    let member = GlobalId::of_uuid("Member", second.0).to_string();
    let input = json!({ "memberId": member, "phone": "13600000000" });
    let operator = world.as_operator();
    let refused = world.mutate(&operator, "setPhone", "", input).await;
    assert_eq!(codes(&refused), ["FORBIDDEN"]);
    let done =
        "SELECT count(*) AS count FROM audit WHERE act IN ('ask_phone_setting', 'set_phone')";
    assert_eq!(world.count(done).await, 0);
}

/// Who has a second factor shows it to be forgotten: a code by SMS is not even looked at.
#[tokio::test]
async fn a_code_by_sms_erases_nobody_who_has_a_factor() {
    let world = World::new().await;
    let (_, holder) = person_with_factor(&world).await;
    let refused = erase(&world, &holder.plain(), Some("123456"), 5).await;
    assert_eq!(codes(&refused), ["STEP_UP_REQUIRED"]);
}
