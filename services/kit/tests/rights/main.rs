//! Who may do what, by identity's replica: a withdrawal bites, an older event changes nothing,
//! and no key counts that the root did not sign.

#![expect(clippy::unwrap_used, reason = "what helps a test may fail it")]

use chrono::{TimeDelta, TimeZone, Utc};
use credential::keyset::{Algorithm, Issuer, Key, KeyId, KeySet, KeyState, Purpose};
use ed25519_dalek::SigningKey;
use kit::access::{self, Caller, Role, seed};
use kit::consumer::Handler;
use kit::event::Record;
use kit::graphql::Language;
use kit::migrate::{KIT, REPLICA};
use kit::replica::{Keys, Replica, Roots};
use kit::testing::{self, TestDb};
use kit::types::{LoginId, MemberId, OrganisationId, Union};
use kit::{Ctx, Error, Result};
use prost::{Message, Name};
use proto::identity as event;
use uuid::Uuid;

const ROOT: Uuid = Uuid::from_u128(1);
const DISTRICT: Uuid = Uuid::from_u128(2);
const SHOP: Uuid = Uuid::from_u128(3);
const PERSON: Uuid = Uuid::from_u128(10);
const LOGIN: Uuid = Uuid::from_u128(20);

async fn database() -> TestDb {
    testing::db("rights", &[KIT, REPLICA]).await
}

fn caller() -> Caller {
    Caller::member(MemberId(PERSON), LoginId(LOGIN), Language::Zh)
}

fn record<M: Message + Name>(message: &M, key: Uuid, version: i64) -> Record {
    Record {
        topic: "identity.v1".to_owned(),
        partition: 0,
        offset: 0,
        epoch: 1,
        pseq: 1,
        id: Uuid::from_u128(99),
        kind: M::full_name(),
        key: key.as_bytes().to_vec(),
        version,
        must_understand: false,
        at: testing::start(),
        traceparent: None,
        payload: message.encode_to_vec(),
    }
}

fn replica() -> Replica {
    Replica::new(Roots::from([(Issuer::Chongqing, root().verifying_key())]))
}

fn root() -> SigningKey {
    SigningKey::from_bytes(&[7; 32])
}

async fn apply(ctx: &Ctx, record: Record) -> Result<()> {
    let records = [record];
    ctx.db
        .tx("apply", async |tx| replica().apply(tx, &records).await)
        .await
}

/// A tree of three levels, a role at the middle one, and identity heard of now.
async fn seeded(ctx: &Ctx, role: Role) {
    ctx.db
        .tx("seed", async |tx| {
            seed::heartbeat(tx).await?;
            seed::organisation(tx, ROOT, &[]).await?;
            seed::organisation(tx, DISTRICT, &[ROOT]).await?;
            seed::organisation(tx, SHOP, &[ROOT, DISTRICT]).await?;
            seed::role(tx, PERSON, DISTRICT, role).await
        })
        .await
        .unwrap();
}

async fn officer(ctx: &Ctx, organisation: Uuid) -> Result<access::Officer> {
    ctx.db
        .tx("officer", async |tx| {
            access::officer(tx, &caller(), OrganisationId(organisation)).await
        })
        .await
}

/// A role holds below its organisation and nowhere else, and only as the role it is.
#[tokio::test]
async fn an_office_reaches_down_and_not_up() {
    let test = database().await;
    seeded(&test.ctx, Role::Officer).await;
    assert!(officer(&test.ctx, DISTRICT).await.is_ok());
    assert!(officer(&test.ctx, SHOP).await.is_ok());
    assert!(matches!(
        officer(&test.ctx, ROOT).await,
        Err(Error::Forbidden(_))
    ));
    assert!(matches!(
        officer(&test.ctx, Uuid::from_u128(77)).await,
        Err(Error::Forbidden(_))
    ));
    let approver = test
        .ctx
        .db
        .tx("approver", async |tx| {
            access::approver(tx, &caller(), OrganisationId(SHOP)).await
        })
        .await;
    assert!(matches!(approver, Err(Error::Forbidden(_))));
}

/// A withdrawn role, a withdrawn login and an erased person each end the right at once.
#[tokio::test]
async fn a_withdrawal_bites() {
    let test = database().await;
    seeded(&test.ctx, Role::Officer).await;
    let role = event::RoleChanged {
        id: Uuid::from_u128(50).as_bytes().to_vec(),
        version: 1,
        member_id: PERSON.as_bytes().to_vec(),
        organisation_id: ROOT.as_bytes().to_vec(),
        role: event::role_changed::Role::Officer.into(),
        withdrawn: false,
    };
    apply(&test.ctx, record(&role, Uuid::from_u128(50), 1))
        .await
        .unwrap();
    assert!(officer(&test.ctx, ROOT).await.is_ok());
    let gone = event::RoleChanged {
        version: 2,
        withdrawn: true,
        ..role.clone()
    };
    apply(&test.ctx, record(&gone, Uuid::from_u128(50), 2))
        .await
        .unwrap();
    assert!(officer(&test.ctx, ROOT).await.is_err());
    // The older event, sent again, gives nothing back.
    apply(&test.ctx, record(&role, Uuid::from_u128(50), 1))
        .await
        .unwrap();
    assert!(officer(&test.ctx, ROOT).await.is_err());

    let out = event::LoginWithdrawn {
        id: LOGIN.as_bytes().to_vec(),
        member_id: PERSON.as_bytes().to_vec(),
        withdrawn_at: test.ctx.clock.now().timestamp_millis(),
    };
    assert!(officer(&test.ctx, SHOP).await.is_ok());
    apply(&test.ctx, record(&out, LOGIN, 1)).await.unwrap();
    assert!(matches!(
        officer(&test.ctx, SHOP).await,
        Err(Error::Unauthenticated(_))
    ));
    assert!(replica().monotone(&record(&out, LOGIN, 1)));
    assert!(replica().monotone(&record(&gone, LOGIN, 1)));
    assert!(!replica().monotone(&record(&role, LOGIN, 1)));
}

/// An erased person is nobody, whatever token is shown.
#[tokio::test]
async fn an_erased_person_is_nobody() {
    let test = database().await;
    seeded(&test.ctx, Role::Officer).await;
    let erased = event::MemberChanged {
        id: PERSON.as_bytes().to_vec(),
        version: 3,
        state: event::member_changed::State::Erased.into(),
        merged_into: Vec::new(),
    };
    apply(&test.ctx, record(&erased, PERSON, 3)).await.unwrap();
    assert!(matches!(
        officer(&test.ctx, SHOP).await,
        Err(Error::Unauthenticated(_))
    ));
}

/// What needs an office refuses a minute after identity was last heard of; a person's own acts
/// go on. The oldest partition counts.
#[tokio::test]
async fn an_office_needs_identitys_heartbeat() {
    let test = database().await;
    seeded(&test.ctx, Role::Officer).await;
    test.ctx
        .clock
        .advance(TimeDelta::seconds(access::FRESH_SECONDS + 1));
    assert!(matches!(
        officer(&test.ctx, SHOP).await,
        Err(Error::Unavailable(_))
    ));
    let member = test
        .ctx
        .db
        .tx("member", async |tx| access::member(tx, &caller()).await)
        .await
        .unwrap();
    assert_eq!(member.id, MemberId(PERSON));
    let beat = event::Heartbeat {
        at: test.ctx.clock.now().timestamp_millis(),
    };
    let mut other = record(&beat, ROOT, 1);
    other.partition = 1;
    apply(&test.ctx, other).await.unwrap();
    assert!(
        officer(&test.ctx, SHOP).await.is_err(),
        "partition 0 is still silent"
    );
    apply(&test.ctx, record(&beat, ROOT, 1)).await.unwrap();
    assert!(officer(&test.ctx, SHOP).await.is_ok());
}

fn key(number: u16, secret: u8, state: KeyState) -> Key {
    Key {
        kid: KeyId::new(Issuer::Chongqing, number).unwrap(),
        algorithm: Algorithm::Ed25519,
        public: SigningKey::from_bytes(&[secret; 32]).verifying_key(),
        purpose: Purpose::Access,
        not_before: Utc.with_ymd_and_hms(2026, 1, 1, 0, 0, 0).unwrap(),
        not_after: Utc.with_ymd_and_hms(2027, 1, 1, 0, 0, 0).unwrap(),
        scopes: std::collections::BTreeSet::new(),
        state,
    }
}

fn published(version: u64, keys: Vec<Key>, root: &SigningKey) -> Record {
    let signed = KeySet::new(version, Issuer::Chongqing, keys)
        .unwrap()
        .sign(root);
    let message = event::KeySetPublished {
        version: i64::try_from(version).unwrap(),
        key_set: signed.bytes,
        root_signature: signed.root_signature.to_vec(),
        union: 50,
    };
    record(&message, ROOT, i64::try_from(version).unwrap())
}

/// Only what the root signed is believed, an older set never replaces a newer one, a key id is
/// never given to another key, and a revoked key is dead at the next reading.
#[tokio::test]
async fn keys_are_the_roots_word() {
    let test = database().await;
    let ctx = &test.ctx;
    let keys = Keys::new(
        Union::Chongqing,
        Roots::from([(Issuer::Chongqing, root().verifying_key())]),
    );
    let stranger = SigningKey::from_bytes(&[8; 32]);
    let forged = apply(
        ctx,
        published(9, vec![key(1, 1, KeyState::Active)], &stranger),
    )
    .await;
    assert!(matches!(forged, Err(Error::Permanent(_))));
    keys.load(&ctx.db).await.unwrap();
    assert!(!keys.access().is_loaded());

    apply(
        ctx,
        published(2, vec![key(1, 1, KeyState::Active)], &root()),
    )
    .await
    .unwrap();
    keys.load(&ctx.db).await.unwrap();
    assert_eq!(keys.access().all()[0].kid, "1001");

    let reused = apply(
        ctx,
        published(3, vec![key(1, 2, KeyState::Active)], &root()),
    )
    .await;
    assert!(matches!(reused, Err(Error::Permanent(_))));
    let rotated = vec![key(1, 1, KeyState::Revoked), key(2, 2, KeyState::Active)];
    apply(ctx, published(3, rotated, &root())).await.unwrap();
    apply(
        ctx,
        published(2, vec![key(1, 1, KeyState::Active)], &root()),
    )
    .await
    .unwrap();
    keys.load(&ctx.db).await.unwrap();
    let kids: Vec<String> = keys
        .access()
        .all()
        .iter()
        .map(|key| key.kid.clone())
        .collect();
    assert_eq!(kids, ["1002"]);
    assert_eq!(keys.of(Issuer::Chongqing).unwrap().version(), 3);
}
