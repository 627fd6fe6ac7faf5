//! What members are told of: each thing once, in both languages, to whom it concerns and to nobody
//! else, and not for ever. By SMS: `notices_sms`.

use chrono::NaiveDate;
use identity::commands::notices::notice_id;
use identity::consumers::notices::Notices;
use identity::domain::notice::{EXPIRING_DAYS, Kind, NOTICE_DAYS};
use kit::access::Caller;
use kit::consumer::Handler;
use kit::event::Record;
use kit::graphql::{GlobalId, Language};
use kit::types::{EntitlementId, MemberId};
use prost::{Message, Name};
use proto::billing::{Order, OrderPaid, RefundDone};
use proto::passes::pass_changed::State;
use proto::passes::{PassChanged, ProductChanged};
use serde_json::{Value, json};
use uuid::Uuid;

use crate::consents::member;
use crate::credentials::{PASS, apply, granted};
use crate::rosters::{commit, compared, csv, line, officer_of, settle};
use crate::world::{OPERATOR_PHONE, World, codes, member_of};

const NOTICES: &str = "{ me { unreadNotices notices(first: 50) {
    nodes { id kind text aboutId createdAt readAt } } } }";
const PRODUCT: Uuid = Uuid::from_u128(0x70);
const ORDER: Uuid = Uuid::from_u128(0x71);

fn record<M: Message + Name>(world: &World, message: &M, version: i64) -> Record {
    Record {
        topic: "passes.v1".to_owned(),
        partition: 0,
        offset: 0,
        epoch: 1,
        pseq: 1,
        id: Uuid::from_u128(1),
        kind: M::full_name(),
        key: Vec::new(),
        version,
        must_understand: false,
        at: world.identity.ctx.clock.now(),
        traceparent: None,
        payload: message.encode_to_vec(),
    }
}

async fn hear(world: &World, records: &[Record]) {
    assert!(records.iter().all(|it| Notices.handles(&it.kind)));
    let db = &world.identity.ctx.db;
    db.tx("hear", async |tx| Notices.apply(tx, records).await)
        .await
        .unwrap();
}

pub(crate) fn pass(member: MemberId, id: u64, state: State, version: i64) -> PassChanged {
    let day = |date: &str| date.parse::<NaiveDate>().unwrap().to_string();
    let has_days = matches!(state, State::Active | State::Voided | State::Frozen);
    PassChanged {
        id,
        version,
        product_id: PRODUCT.as_bytes().to_vec(),
        product_version: 1,
        member_id: member.0.as_bytes().to_vec(),
        order_id: ORDER.as_bytes().to_vec(),
        line_id: ORDER.as_bytes().to_vec(),
        state: state.into(),
        start: if has_days {
            day("2026-04-01")
        } else {
            String::new()
        },
        end: if has_days {
            day("2027-04-01")
        } else {
            String::new()
        },
        activate_by: 0,
        renews: 0,
    }
}

/// A member hears that a pass of hers was voided; the notice's id.
pub(crate) async fn voided(world: &World, member: MemberId, id: u64) -> Uuid {
    hear(
        world,
        &[record(world, &pass(member, id, State::Voided, 3), 3)],
    )
    .await;
    notice_id(Kind::Cancelled, &EntitlementId(id).to_string())
}

fn order(world: &World, member: MemberId) -> Order {
    Order {
        id: ORDER.as_bytes().to_vec(),
        version: 2,
        union: 50,
        number: "B50-20260401-000123-7".to_owned(),
        member_id: member.0.as_bytes().to_vec(),
        total_fen: 20_000,
        paid_fen: 20_000,
        paid_at: world.identity.ctx.clock.now().timestamp_millis(),
        seller: "passes".to_owned(),
        ..Order::default()
    }
}

fn paid(world: &World, member: MemberId) -> OrderPaid {
    OrderPaid {
        order: Some(order(world, member)),
    }
}

pub(crate) fn refunded(world: &World, member: MemberId, fen: i64) -> RefundDone {
    RefundDone {
        order: Some(order(world, member)),
        return_id: Uuid::from_u128(0x72).as_bytes().to_vec(),
        line_id: Uuid::from_u128(0x73).as_bytes().to_vec(),
        fen,
    }
}

pub(crate) async fn hear_refund(world: &World, event: &RefundDone) -> Uuid {
    hear(world, &[record(world, event, 3)]).await;
    let about = format!("{}/{}", Uuid::from_u128(0x72), Uuid::from_u128(0x73));
    notice_id(Kind::Refunded, &about)
}

/// A member hears that she has paid.
pub(crate) async fn hear_paid(world: &World, member: MemberId) {
    hear(world, &[record(world, &paid(world, member), 2)]).await;
}

fn named(version: i64, name_zh: &str) -> ProductChanged {
    ProductChanged {
        version,
        product_id: PRODUCT.as_bytes().to_vec(),
        scope: 7,
        name_zh: name_zh.to_owned(),
        name_en: "Bashu pass".to_owned(),
        ..ProductChanged::default()
    }
}

async fn told(world: &World, who: &Caller) -> Vec<Value> {
    let me = world.run(who, NOTICES, json!({})).await;
    me["notices"]["nodes"].as_array().unwrap().clone()
}

async fn kinds(world: &World, who: &Caller) -> Vec<String> {
    let all = told(world, who).await;
    let kind = |it: &Value| it["kind"].as_str().unwrap().to_owned();
    let mut kinds: Vec<String> = all.iter().map(kind).collect();
    kinds.sort();
    kinds
}

/// A purchase from the payment to the refund: each step is told once, however often and in which
/// order its events come, with the name that the pass has by then; nothing of it to another.
#[tokio::test]
async fn each_step_of_a_purchase_is_told_once() {
    let (world, member) = member().await;
    let who = world.as_member(member);
    let steps = [
        record(&world, &pass(member, PASS, State::AwaitingPayment, 1), 1),
        record(&world, &paid(&world, member), 2),
        record(&world, &pass(member, PASS, State::Ready, 2), 2),
        record(&world, &pass(member, PASS, State::Active, 3), 3),
        record(&world, &pass(member, PASS, State::Frozen, 4), 4),
        record(&world, &pass(member, PASS, State::Active, 5), 5),
        record(&world, &pass(member, PASS, State::Voided, 6), 6),
        record(&world, &refunded(&world, member, 20_000), 3),
    ];
    hear(&world, &steps).await;
    for step in steps.iter().rev() {
        hear(&world, std::slice::from_ref(step)).await;
    }
    let all = ["ACTIVATED", "BOUGHT", "CANCELLED", "REFUNDED"];
    assert_eq!(kinds(&world, &who).await, all);
    let text = async |kind: &str, language| {
        let who = Caller {
            language,
            ..who.clone()
        };
        let all = told(&world, &who).await;
        let found = all.iter().find(|it| it["kind"] == kind).unwrap();
        found["text"].as_str().unwrap().to_owned()
    };
    let paid = text("BOUGHT", Language::Zh).await;
    assert_eq!(paid, "订单 B50-20260401-000123-7 已支付 200.00 元。");
    let early = text("ACTIVATED", Language::En).await;
    assert_eq!(
        early,
        "Your annual pass is active from 2026-04-01 to 2027-03-31."
    );
    // Its name comes later, and an older one never replaces a newer one.
    for (version, name) in [(2, "巴蜀年票"), (1, "旧名")] {
        hear(&world, &[record(&world, &named(version, name), version)]).await;
    }
    let later = text("ACTIVATED", Language::Zh).await;
    assert_eq!(
        later,
        "您的巴蜀年票已激活，自 2026-04-01 起可用，至 2027-03-31 止。"
    );
    let about = told(&world, &who).await;
    let about = |kind: &str| about.iter().find(|it| it["kind"] == kind).unwrap()["aboutId"].clone();
    assert_eq!(about("BOUGHT"), json!(GlobalId::of_uuid("Order", ORDER)));
    let id = GlobalId::of_entitlement("Pass", EntitlementId(PASS));
    assert_eq!(about("CANCELLED"), json!(id));
    assert_eq!(kinds(&world, &world.as_operator()).await, ["ROLE_GRANTED"]);
}

/// What an organisation pays, what gives nothing back and what lies long behind is told to nobody,
/// nor is anything told to who is not there.
#[tokio::test]
async fn what_concerns_nobody_is_not_told() {
    let (world, member) = member().await;
    let mut of_union = paid(&world, member);
    if let Some(order) = of_union.order.as_mut() {
        order.organisation_id = std::mem::take(&mut order.member_id);
    }
    let mut old = paid(&world, member);
    if let Some(order) = old.order.as_mut() {
        order.paid_at -= NOTICE_DAYS * 86_400_000;
    }
    let nobody = pass(MemberId(Uuid::from_u128(9)), PASS, State::Voided, 2);
    hear(
        &world,
        &[
            record(&world, &of_union, 2),
            record(&world, &old, 2),
            record(&world, &refunded(&world, member, 0), 3),
            record(&world, &nobody, 2),
        ],
    )
    .await;
    assert_eq!(
        world
            .count("SELECT count(*) AS count FROM notice WHERE kind <> 'role_granted'")
            .await,
        0
    );
}

/// Read ones are counted no more; another's stay as they are, whoever names them.
#[tokio::test]
async fn notices_are_marked_as_read_by_their_reader() {
    let (world, member) = member().await;
    let who = world.as_member(member);
    for id in 1..=3 {
        voided(&world, member, id).await;
    }
    let unread = async || {
        world.run(&who, "{ me { unreadNotices } }", json!({})).await["unreadNotices"].clone()
    };
    assert_eq!(unread().await, 3);
    let one = told(&world, &who).await[0]["id"].clone();
    let mark = async |caller: &Caller, input: Value| {
        let answer = world
            .mutate(caller, "markNoticesRead", "unreadNotices", input)
            .await;
        assert_eq!(codes(&answer), [""; 0], "{answer}");
        answer["unreadNotices"].clone()
    };
    assert_eq!(
        mark(&world.as_operator(), json!({ "noticeIds": [one] })).await,
        1
    );
    assert_eq!(unread().await, 3, "another's");
    assert_eq!(mark(&who, json!({ "noticeIds": [one] })).await, 2);
    let first = told(&world, &who).await;
    let first = first.iter().find(|it| it["id"] == one).unwrap();
    assert_ne!(first["readAt"], Value::Null);
    assert_eq!(mark(&who, json!({})).await, 0);
    let audited = format!(
        "SELECT count(*) AS count FROM audit
        WHERE act = 'mark_notices_read' AND member = '{member}'"
    );
    assert_eq!(world.count(&audited).await, 2);
    let many: Vec<String> = (0..101).map(|_| one.as_str().unwrap().to_owned()).collect();
    let input = json!({ "noticeIds": many });
    let [code, zh, en] = world.answered(&who, "markNoticesRead", &input).await;
    assert_eq!(code, "BAD_INPUT");
    assert!(
        zh.contains("最多 100") && en.contains("at most 100"),
        "{zh} {en}"
    );
}

/// Another device that signs in is told to the one before, the first of all to nobody; a role to
/// who gets it.
#[tokio::test]
async fn a_new_login_and_a_new_role_are_told() {
    let world = World::new().await;
    let union = world.organisation("GRASSROOTS", "基层工会").await;
    let first = world.sign_in(OPERATOR_PHONE).await;
    let who = crate::logins::caller(&first);
    assert_eq!(kinds(&world, &who).await, ["ROLE_GRANTED"]);
    world.advance(61);
    let second = world.sign_in(OPERATOR_PHONE).await;
    assert_eq!(kinds(&world, &who).await, ["NEW_LOGIN", "ROLE_GRANTED"]);
    let all = told(&world, &who).await;
    assert_eq!(
        all[0]["aboutId"],
        json!(GlobalId::of_uuid("Login", second.login.0))
    );
    let text = all[0]["text"].as_str().unwrap();
    assert!(text.contains("2026-04-01 10:01"), "{text}");

    let member = world.person(&union, 1).await;
    let _ = world.grant(member, &union, "OFFICER").await;
    let again = world.grant(member, &union, "OFFICER").await;
    assert!(!again.is_empty());
    let all = told(&world, &world.as_member(member)).await;
    assert_eq!(all.len(), 1);
    assert_eq!(all[0]["text"], "You hold a new role in 基层工会: officer.");
}

/// Who joins by a roster is told, and who stands on a list; whose membership goes on is not told
/// each month, and none hears of another.
#[tokio::test]
async fn a_roster_tells_those_it_concerns() {
    let world = World::new().await;
    let (union, officer) = officer_of(&world, "基层工会", 100).await;
    let file = || csv(&[line(100), line(1)]);
    let id = compared(&world, &officer, (&union, "MEMBERSHIP"), file()).await;
    let done = commit(&world, &officer, &id, 1).await;
    assert_eq!(codes(&done), [""; 0], "{done}");
    let id = compared(&world, &officer, (&union, "LIST"), file()).await;
    let done = commit(&world, &officer, &id, 2).await;
    assert_eq!(codes(&done), [""; 0], "{done}");
    assert_eq!(kinds(&world, &officer).await, ["ON_ROSTER", "ROLE_GRANTED"]);
    let joined = "SELECT count(*) AS count FROM notice WHERE kind = 'on_roster'
        AND (params->>'joined')::boolean";
    assert_eq!(world.count(joined).await, 1);
    let query = "query($id: ID!) { organisation(id: $id) { memberships(first: 9) {
        nodes { member { id } } } } }";
    let all = world
        .run(&world.as_operator(), query, json!({ "id": union }))
        .await;
    let nodes = all["memberships"]["nodes"].as_array().unwrap();
    let member = nodes
        .iter()
        .map(|it| member_of(&it["member"]["id"]))
        .find(|it| *it != member_of(&officer_id(&officer)))
        .unwrap();
    let seen = told(&world, &world.as_member(member)).await;
    let texts: Vec<&str> = seen.iter().map(|it| it["text"].as_str().unwrap()).collect();
    assert_eq!(texts.len(), 2, "{texts:?}");
    assert!(
        texts.contains(&"基层工会 has registered you as a member. If that is wrong, ask there.")
    );
    assert!(texts.iter().all(|text| !text.contains("员")), "{texts:?}");
}

fn officer_id(officer: &Caller) -> Value {
    let kit::access::Who::Member { member, .. } = officer.who else {
        panic!("an officer is signed in")
    };
    json!(GlobalId::of_uuid("Member", member.0))
}

/// The holder of a pass is reminded a month before it ends, once, and only of one that still opens
/// doors by then.
#[tokio::test]
async fn a_pass_that_ends_is_told_of_in_time() {
    let (world, member) = member().await;
    let who = world.as_member(member);
    let mut right = granted(&world, member, 1);
    // The window of the pass, in minutes as credentials count.
    let minute = |day: &str| {
        let at = kit::types::day_start(day.parse().unwrap());
        credential::token::Minute::floor(at).unwrap().get()
    };
    (right.valid_from, right.valid_until) = (minute("2026-04-01"), minute("2027-04-01"));
    apply(&world, right.clone()).await;
    apply(&world, {
        let mut frozen = right.clone();
        frozen.id += 1;
        frozen.state = proto::v1::entitlement::State::Frozen.into();
        frozen
    })
    .await;
    for id in [PASS, PASS + 1] {
        hear(
            &world,
            &[record(&world, &pass(member, id, State::Active, 1), 1)],
        )
        .await;
    }
    settle(&world).await;
    assert_eq!(kinds(&world, &who).await, ["ACTIVATED", "ACTIVATED"]);
    let begins = 365 - EXPIRING_DAYS;
    world.advance(begins * 86_400 - 7_200);
    settle(&world).await;
    let expiring = "SELECT count(*) AS count FROM notice WHERE kind = 'expiring'";
    assert_eq!(world.count(expiring).await, 0, "before its day");
    world.advance(7_200);
    settle(&world).await;
    assert_eq!(world.count(expiring).await, 1);
    let last = told(&world, &who).await[0].clone();
    assert_eq!(
        last["text"],
        "The last day of your annual pass is 2027-03-31."
    );
    // Said again, it is planned again, and told no second time.
    hear(
        &world,
        &[record(&world, &pass(member, PASS, State::Active, 2), 2)],
    )
    .await;
    world.advance(7_200);
    settle(&world).await;
    assert_eq!(world.count(expiring).await, 1);
}

/// Notices go after their time, read or not, and what is said again later is not told again.
#[tokio::test]
async fn notices_go_and_do_not_come_back() {
    let (world, member) = member().await;
    let who = world.as_member(member);
    let gone = voided(&world, member, 1).await;
    world.advance((NOTICE_DAYS - 1) * 86_400);
    let stays = voided(&world, member, 2).await;
    settle(&world).await;
    assert_eq!(world.broken("identity.notices_are_swept").await, 0);
    let left = async || {
        let sql = "SELECT count(*) AS count FROM notice WHERE kind = 'cancelled'";
        world.count(sql).await
    };
    assert_eq!(left().await, 2);
    world.advance(2 * 86_400);
    settle(&world).await;
    assert_eq!(left().await, 1);
    assert_eq!(voided(&world, member, 1).await, gone);
    assert_eq!(voided(&world, member, 2).await, stays);
    assert_eq!(left().await, 1, "told a second time");
    assert_eq!(
        told(&world, &who).await[0]["id"],
        json!(GlobalId::of_uuid("Notice", stays))
    );
    // Where nothing sweeps, `bashu verify` says so.
    world.advance((NOTICE_DAYS + 1) * 86_400);
    assert_eq!(world.broken("identity.notices_are_swept").await, 1);
}
