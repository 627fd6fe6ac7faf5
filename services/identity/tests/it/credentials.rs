//! Minting: for the holder and for nobody else. At a desk: `desk`.

use credential::token;
use identity::consumers::Entitlements;
use kit::consumer::Handler;
use kit::event::Record;
use kit::graphql::GlobalId;
use kit::types::{EntitlementId, MemberId};
use prost::Message;
use proto::admission::EntitlementBlocked;
use proto::v1::{Entitlement, EntitlementChanged, entitlement};
use serde_json::{Value, json};

use crate::world::World;

pub(crate) const PASS: u64 = 0x0102_0304_0506_0708;
pub(crate) const CHANGED: &str = "bashu.v1.EntitlementChanged";
pub(crate) const BLOCKED: &str = "bashu.admission.v1.EntitlementBlocked";

fn record(topic: &str, kind: &str, version: i64, payload: Vec<u8>) -> Record {
    Record {
        topic: topic.to_owned(),
        partition: 0,
        offset: 0,
        epoch: 1,
        pseq: 1,
        id: uuid::Uuid::from_u128(1),
        kind: kind.to_owned(),
        key: PASS.to_be_bytes().to_vec(),
        version,
        must_understand: false,
        at: kit::testing::start(),
        traceparent: None,
        payload,
    }
}

pub(crate) fn granted(world: &World, member: MemberId, version: i64) -> Entitlement {
    let now = token::Minute::floor(world.identity.ctx.clock.now())
        .unwrap()
        .get();
    Entitlement {
        id: PASS,
        version,
        union: 50,
        kind: entitlement::Kind::Pass.into(),
        state: entitlement::State::Active.into(),
        scope: 7,
        member_id: member.0.as_bytes().to_vec(),
        valid_from: now - 60,
        valid_until: now + 365 * 24 * 60,
        r#gen: 1,
        document_check: false,
        persons: 1,
        rules_version: 1,
        ..Entitlement::default()
    }
}

pub(crate) async fn apply(world: &World, entitlement: Entitlement) {
    let version = entitlement.version;
    let payload = EntitlementChanged {
        entitlement: Some(entitlement),
    }
    .encode_to_vec();
    let record = record("passes.v1", CHANGED, version, payload);
    handle(world, record).await;
}

/// What admission says of a pass without a grant, or, cleared, of one whose grant came after all.
pub(crate) fn blocked(version: i64, cleared: bool) -> EntitlementBlocked {
    EntitlementBlocked {
        entitlement_id: PASS,
        version,
        scope: 7,
        first_used_at: 0,
        cleared,
    }
}

async fn block(world: &World, version: i64, cleared: bool) {
    let payload = blocked(version, cleared).encode_to_vec();
    let record = record("admission.v1", BLOCKED, version, payload);
    handle(world, record).await;
}

async fn handle(world: &World, record: Record) {
    assert!(Entitlements.handles(&record.kind));
    let records = [record];
    world
        .test
        .ctx
        .db
        .tx("apply", async |tx| Entitlements.apply(tx, &records).await)
        .await
        .unwrap();
}

pub(crate) async fn credential(world: &World, member: MemberId) -> Value {
    let query = "query($r: [_Any!]!) { _entities(representations: $r) { ... on Pass {
        credential { text qrSvg validFrom validUntil documentCheck pass { id } } } } }";
    let id = GlobalId::of_entitlement("Pass", EntitlementId(PASS)).to_string();
    let representations = json!({ "r": [{ "__typename": "Pass", "id": id }] });
    let mut entities = world
        .run(&world.as_member(member), query, representations)
        .await;
    entities[0]["credential"].take()
}

pub(crate) struct Holder {
    pub(crate) world: World,
    pub(crate) partner: String,
    pub(crate) member: MemberId,
    pub(crate) other: MemberId,
    pub(crate) staff: MemberId,
}

pub(crate) async fn holder() -> Holder {
    holder_in(World::new().await).await
}

pub(crate) async fn holder_in(world: World) -> Holder {
    let union = world.organisation("GRASSROOTS", "基层工会").await;
    let partner = world.organisation("PARTNER", "某某文旅公司").await;
    let member = world.person(&union, 1).await;
    let other = world.person(&union, 2).await;
    let staff = world.person(&partner, 3).await;
    let _ = world.grant(staff, &partner, "VENUE_STAFF").await;
    Holder {
        world,
        partner,
        member,
        other,
        staff,
    }
}

/// The holder gets a code that a gate believes, with the keys that were published, of at most
/// thirty-five days and with her document's tag.
#[tokio::test]
async fn a_holder_gets_a_code_that_a_gate_believes() {
    let Holder { world, member, .. } = holder().await;
    apply(&world, granted(&world, member, 1)).await;
    let shown = credential(&world, member).await;
    let text = shown["text"].as_str().unwrap();
    assert_eq!(text.len(), token::TEXT_CHARS);
    assert!(shown["qrSvg"].as_str().unwrap().contains("<svg"));
    let code = qrcode::QrCode::with_error_correction_level(text, qrcode::EcLevel::M).unwrap();
    assert_eq!(code.version(), qrcode::Version::Normal(6));

    let ctx = &world.identity.ctx;
    world.identity.keys.load(&ctx.db).await.unwrap();
    let set = world
        .identity
        .keys
        .of(identity::signing::issuer(ctx.union))
        .unwrap();
    let token = token::parse(text)
        .unwrap()
        .verify(&set, ctx.clock.now())
        .unwrap();
    let claims = token.claims();
    assert_eq!(
        (claims.entitlement_id, claims.scope, claims.generation),
        (PASS, 7, 1)
    );
    assert_eq!(
        token.valid_until() - token.valid_from(),
        chrono::TimeDelta::days(35)
    );
    assert!(claims.holder.document().is_some());
    let again = credential(&world, member).await;
    assert_eq!(
        again["text"], shown["text"],
        "the same minute says the same"
    );
    let rows = world
        .count("SELECT count(*) AS count FROM entitlement")
        .await;
    assert_eq!(rows, 1, "minting stores nothing");
}

/// Nobody rotates the keys for forty days after they were due. What is shown ends ever earlier, and
/// a gate believes each code to its last minute; a new key makes them long again.
#[tokio::test]
async fn a_late_operator_makes_short_codes_and_no_false_ones() {
    use identity::commands::keys::{publish, rotate};
    use identity::domain::keys::Purpose;
    let Holder { world, member, .. } = holder().await;
    apply(&world, granted(&world, member, 1)).await;
    let ctx = &world.identity.ctx;
    let days_shown = async || -> i64 {
        let shown = credential(&world, member).await;
        let Some(text) = shown["text"].as_str() else {
            return 0;
        };
        world.identity.keys.load(&ctx.db).await.unwrap();
        let issuer = identity::signing::issuer(ctx.union);
        let set = world.identity.keys.of(issuer).unwrap();
        let until = shown["validUntil"].as_str().unwrap();
        let until: chrono::DateTime<chrono::Utc> = until.parse().unwrap();
        let last_minute = until - chrono::TimeDelta::minutes(1);
        let read = token::parse(text).unwrap().verify(&set, last_minute);
        assert!(
            read.is_ok(),
            "shown until {until}, and a gate answers {read:?}"
        );
        (until - ctx.clock.now()).num_days()
    };
    world.advance(90 * 86_400);
    assert_eq!(days_shown().await, 35, "the next key is due");
    world.advance(20 * 86_400);
    assert_eq!(days_shown().await, 18);
    world.advance(17 * 86_400);
    assert_eq!(days_shown().await, 1);
    rotate(ctx, &world.identity.vault, Purpose::Entry)
        .await
        .unwrap();
    publish(ctx, &world.root).await.unwrap();
    world.advance(3 * 86_400);
    assert_eq!(days_shown().await, 35, "forty days late");
}

/// To everybody else the credential is as absent as that of a pass that does not exist.
#[tokio::test]
async fn nobody_else_gets_one() {
    let Holder {
        world,
        member,
        other,
        ..
    } = holder().await;
    assert_eq!(credential(&world, member).await, Value::Null);
    apply(&world, granted(&world, member, 1)).await;
    for stranger in [other, world.operator, MemberId(uuid::Uuid::from_u128(3))] {
        assert_eq!(credential(&world, stranger).await, Value::Null);
    }
    assert_ne!(credential(&world, member).await, Value::Null);
}

/// Frozen, revoked, over or blocked: nothing is shown; what is thawed or cleared is shown again.
/// Older and repeated events change nothing.
#[tokio::test]
async fn what_was_taken_away_is_not_shown() {
    let Holder { world, member, .. } = holder().await;
    let state = |version, state: entitlement::State| Entitlement {
        state: state.into(),
        ..granted(&world, member, version)
    };
    apply(&world, state(1, entitlement::State::Active)).await;
    apply(&world, state(3, entitlement::State::Frozen)).await;
    apply(&world, state(2, entitlement::State::Active)).await;
    assert_eq!(
        credential(&world, member).await,
        Value::Null,
        "an older event came late"
    );
    apply(&world, state(4, entitlement::State::Active)).await;
    assert_ne!(credential(&world, member).await, Value::Null);
    block(&world, 1, false).await;
    assert_eq!(credential(&world, member).await, Value::Null);
    apply(&world, state(5, entitlement::State::Active)).await;
    assert_eq!(
        credential(&world, member).await,
        Value::Null,
        "a block stays"
    );
    block(&world, 2, true).await;
    block(&world, 1, false).await;
    assert_ne!(credential(&world, member).await, Value::Null);
    apply(&world, state(6, entitlement::State::Revoked)).await;
    apply(&world, state(6, entitlement::State::Revoked)).await;
    assert_eq!(credential(&world, member).await, Value::Null);
}

/// A backlog in one batch comes to what it would one by one: of each entitlement the newest counts,
/// in whatever order it stands, and a block beside it.
#[tokio::test]
async fn a_batch_comes_to_its_newest() {
    let Holder { world, member, .. } = holder().await;
    let changed = |version, state: entitlement::State| {
        let entitlement = Entitlement {
            state: state.into(),
            ..granted(&world, member, version)
        };
        let payload = EntitlementChanged {
            entitlement: Some(entitlement),
        };
        let payload = payload.encode_to_vec();
        record("passes.v1", CHANGED, version, payload)
    };
    let blocked = |version, cleared| {
        let payload = blocked(version, cleared).encode_to_vec();
        record("admission.v1", BLOCKED, version, payload)
    };
    let all = async |records: Vec<Record>| {
        let db = &world.test.ctx.db;
        let applied = db.tx("apply", async |tx| Entitlements.apply(tx, &records).await);
        applied.await.unwrap();
        credential(&world, member).await != Value::Null
    };
    let (active, frozen) = (entitlement::State::Active, entitlement::State::Frozen);
    assert!(!all(vec![]).await);
    assert!(
        all(vec![
            changed(1, frozen),
            changed(3, active),
            changed(2, frozen)
        ])
        .await
    );
    assert!(
        !all(vec![
            blocked(1, false),
            changed(5, active),
            changed(4, frozen)
        ])
        .await
    );
    assert!(
        !all(vec![
            blocked(2, true),
            changed(6, frozen),
            blocked(1, false)
        ])
        .await
    );
    assert!(
        all(vec![
            changed(7, active),
            changed(6, frozen),
            blocked(2, true)
        ])
        .await
    );
}

/// A block that comes before its grant waits for it.
#[tokio::test]
async fn a_block_may_come_first() {
    let Holder { world, member, .. } = holder().await;
    block(&world, 1, false).await;
    assert_eq!(credential(&world, member).await, Value::Null);
    apply(&world, granted(&world, member, 1)).await;
    assert_eq!(credential(&world, member).await, Value::Null);
    block(&world, 2, true).await;
    assert_ne!(credential(&world, member).await, Value::Null);
}

/// What takes away passes a held key; what gives does not.
#[tokio::test]
async fn taking_away_is_monotone() {
    let Holder { world, member, .. } = holder().await;
    for (state, monotone) in [
        (entitlement::State::Active, false),
        (entitlement::State::Frozen, true),
        (entitlement::State::Revoked, true),
    ] {
        let entitlement = Entitlement {
            state: state.into(),
            ..granted(&world, member, 1)
        };
        let payload = EntitlementChanged {
            entitlement: Some(entitlement),
        }
        .encode_to_vec();
        let record = record("passes.v1", CHANGED, 1, payload);
        assert_eq!(Entitlements.monotone(&record), monotone, "{state:?}");
    }
    let broken = record("passes.v1", CHANGED, 1, vec![0xFF]);
    let records = [broken];
    let db = &world.test.ctx.db;
    let result = db
        .tx("apply", async |tx| Entitlements.apply(tx, &records).await)
        .await;
    assert!(matches!(result, Err(kit::Error::Permanent(_))));
}
