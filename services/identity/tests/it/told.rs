//! What protects a person is told to her: which of her rights somebody used in her name, by SMS to
//! every phone that was hers lately, whatever she agreed to; who made her records one or two; and
//! who put her into a union.

use identity::store::former_phones::FORMER_PHONE_DAYS;
use kit::access::Caller;
use kit::graphql::{GlobalId, Language};
use kit::types::MemberId;
use serde_json::{Value, json};

use crate::erasures::erase;
use crate::exports::export;
use crate::merges::cast;
use crate::notices_sms::{Provider, reachable};
use crate::people::with;
use crate::phone_settings::{name_phone, other_operator};
use crate::rosters::{officer_of, settle};
use crate::world::{World, codes, number_of_phone, person};

const NEW: &str = "13700001111";
const DAY_SECONDS: i64 = 86_400;

/// Both operators name the phone; the one before is told of the first one's word already.
async fn set_phone(world: &World, member: MemberId, (provider, seen): (&Provider, &mut usize)) {
    let asked = name_phone(world, &world.as_operator(), member, NEW).await;
    assert_eq!(asked["setting"]["state"], "ASKED", "{asked}");
    let told = warned(world, provider, seen).await;
    assert_eq!(told, both("前可能由运维更换登录手机号")[1..]);
    let set = name_phone(world, &other_operator(world).await, member, NEW).await;
    assert_eq!(set["setting"]["state"], "DONE", "{set}");
}

async fn recall(world: &World, who: &Caller) {
    let query = "mutation { recallErasure { userErrors { code } } }";
    let recalled = world.run(who, query, json!({})).await;
    assert_eq!(codes(&recalled), [""; 0], "{recalled}");
}

/// The phones that were warned since the last time, with of what, in their order.
async fn warned(world: &World, provider: &Provider, seen: &mut usize) -> Vec<(String, String)> {
    settle(world).await;
    let sent = provider.sent().await;
    let text = |it: &Value, at: &str| it.pointer(at).unwrap().as_str().unwrap().to_owned();
    let mut new = Vec::new();
    for it in &sent[*seen..] {
        assert_eq!(it["template"], "account_alert", "{it}");
        assert!(!text(it, "/params/time").is_empty());
        let english = text(it, "/params/what_en");
        assert!(english.is_ascii() && english.contains(' '), "{english}");
        new.push((text(it, "/phone"), text(it, "/params/what")));
    }
    *seen = sent.len();
    new.sort();
    new
}

fn both(what: &str) -> Vec<(String, String)> {
    [NEW.to_owned(), number_of_phone(1)]
        .map(|phone| (phone, what.to_owned()))
        .to_vec()
}

/// Whoever has another phone put in place and then uses her rights is not the only one who is told:
/// the phone before is too, for thirty days, although she never agreed to any SMS.
#[tokio::test]
async fn a_thief_is_not_the_only_one_who_is_told() {
    let (world, member, provider) = reachable().await;
    let (who, mut seen) = (world.as_member(member), 0);
    set_phone(&world, member, (&provider, &mut seen)).await;
    let told = warned(&world, &provider, &mut seen).await;
    assert_eq!(told, both("更换了登录手机号"));

    let asked = erase(&world, &who, None, 1).await;
    assert_eq!(codes(&asked), [""; 0], "{asked}");
    let again = erase(&world, &who, None, 1).await;
    assert_eq!(codes(&again), [""; 0], "{again}");
    let told = warned(&world, &provider, &mut seen).await;
    assert_eq!(told, both("申请了注销"), "once for one wish");
    recall(&world, &who).await;
    let told = warned(&world, &provider, &mut seen).await;
    assert_eq!(told, both("撤回了注销申请"));
    let asked = export(&world, &who, 2).await;
    assert_eq!(codes(&asked), [""; 0], "{asked}");
    let told = warned(&world, &provider, &mut seen).await;
    assert_eq!(told, both("申请了个人信息副本"));
    assert_eq!(world.broken("identity.sms_with_consent").await, 0);

    world.advance(FORMER_PHONE_DAYS * DAY_SECONDS + 1);
    settle(&world).await;
    let kept = "SELECT count(*) AS count FROM former_phone";
    assert_eq!(world.count(kept).await, 0);
    let asked = erase(&world, &who, None, 3).await;
    assert_eq!(codes(&asked), [""; 0], "{asked}");
    let told = warned(&world, &provider, &mut seen).await;
    assert_eq!(told, both("申请了注销")[..1]);
}

/// Who signs in by the phone before is another person now, and hears nothing of its last owner.
#[tokio::test]
async fn a_phone_that_is_another_s_now_is_not_told() {
    let (world, member, provider) = reachable().await;
    let mut seen = 0;
    set_phone(&world, member, (&provider, &mut seen)).await;
    warned(&world, &provider, &mut seen).await;
    let union = world.organisation("GRASSROOTS", "别的工会").await;
    let next = with(person(2), "phone", number_of_phone(1).into());
    let input = json!({ "organisationId": union, "person": next });
    let operator = world.as_operator();
    let added = world.mutate(&operator, "addMembership", "membership { id }", input);
    assert_eq!(codes(&added.await), [""; 0]);
    let asked = erase(&world, &world.as_member(member), None, 1).await;
    assert_eq!(codes(&asked), [""; 0], "{asked}");
    let told = warned(&world, &provider, &mut seen).await;
    assert_eq!(told, both("申请了注销")[..1]);
}

/// Nobody turns such an SMS off, neither she nor who is signed in as her.
#[tokio::test]
async fn what_protects_is_not_turned_off() {
    let (world, member, _provider) = reachable().await;
    let who = world.as_member(member);
    for kind in ["RIGHT_USED", "PHONE_CHANGED"] {
        let input = json!({ "kind": kind, "sms": false });
        let told = world.answered(&who, "setNoticePreference", &input).await;
        let expected = [
            "NOTICE_SMS_STAYS",
            "这类短信关系账号安全，不能关闭。",
            "These SMS protect your account and cannot be turned off.",
        ];
        assert_eq!(told, expected);
    }
    let input = json!({ "kind": "UNMASKED", "sms": true });
    let [code, ..] = world.answered(&who, "setNoticePreference", &input).await;
    assert_eq!(code, "NOTICE_HAS_NO_SMS");
}

/// What was asked in her name she reads in both languages, with what to do.
#[tokio::test]
async fn she_reads_what_was_asked_in_her_name() {
    let (world, member) = crate::consents::member().await;
    let who = world.as_member(member);
    let asked = erase(&world, &who, None, 1).await;
    assert_eq!(codes(&asked), [""; 0], "{asked}");
    let query = "{ me { notices(first: 9) { nodes { kind text aboutId } } } }";
    for (language, said) in [
        (Language::Zh, "申请了注销。如非本人操作，请立即撤回注销申请"),
        (Language::En, "asked at 2026-04-01"),
    ] {
        let who = Caller {
            language,
            ..who.clone()
        };
        let seen = world.run(&who, query, json!({})).await;
        let told = seen["notices"]["nodes"].as_array().unwrap();
        assert_eq!(told.len(), 1, "{told:?}");
        assert_eq!(told[0]["kind"], "RIGHT_USED");
        assert!(told[0]["text"].as_str().unwrap().contains(said), "{told:?}");
        let about = GlobalId::of_uuid("Member", member.0);
        assert_eq!(told[0]["aboutId"], json!(about));
    }
}

/// A merge is told to who is one record now, and a split to both.
#[tokio::test]
async fn a_merge_and_a_split_are_told() {
    let cast = cast().await;
    let told = async || {
        let sql = "SELECT member::text || ' ' || (params->>'merged') AS name FROM notice
            WHERE kind = 'records_changed' ORDER BY created_at, name";
        cast.world.names(sql).await
    };
    cast.merge().await;
    let merged = format!("{} true", cast.survivor);
    assert_eq!(told().await, std::slice::from_ref(&merged));
    cast.world.advance(1);
    let split = cast.split(&cast.world.as_operator()).await;
    assert_eq!(codes(&split), [""; 0], "{split}");
    let mut parted = [cast.survivor, cast.merged].map(|it| format!("{it} false"));
    parted.sort();
    let [one, two] = parted;
    assert_eq!(told().await, [merged, one, two]);
}

/// Whoever is put into a union is told by which, once, one by one as by a list.
#[tokio::test]
async fn who_is_added_is_told() {
    let world = World::new().await;
    let (union, officer) = officer_of(&world, "基层工会", 100).await;
    let add = async |mutation: &str, what: &str, people: Value| {
        let mut input = json!({ "organisationId": union });
        input[what] = people;
        let added = world.mutate(&officer, mutation, "", input).await;
        assert_eq!(codes(&added), [""; 0], "{added}");
    };
    let told = async || {
        let sql = "SELECT params->>'joined' AS name FROM notice WHERE kind = 'on_roster'";
        world.names(sql).await
    };
    add("addMembership", "person", person(1)).await;
    assert_eq!(told().await, ["true"]);
    world.advance(1);
    add("addMemberships", "people", json!([person(1), person(2)])).await;
    assert_eq!(
        told().await,
        ["true", "true"],
        "who is there is told no more"
    );
}
