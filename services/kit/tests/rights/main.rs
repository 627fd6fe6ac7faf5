//! Who may do what, by identity's replica: a withdrawal bites, an older event changes nothing,
//! and no key counts that the root did not sign.

#![expect(clippy::unwrap_used, reason = "what helps a test may fail it")]

mod consents;
mod ends;
mod step_up;

use chrono::{DateTime, TimeDelta, TimeZone, Utc};
use credential::keyset::{Algorithm, Issuer, Key, KeyId, KeySet, KeyState, Purpose};
use ed25519_dalek::SigningKey;
use kit::access::{self, Caller, Role, seed};
use kit::consumer::Handler;
use kit::event::Record;
use kit::graphql::Language;
use kit::migrate::{KIT, REPLICA};
use kit::replica::{Keys, Replica, Roots, WITHDRAWN_SECONDS};
use kit::testing::{self, TestDb};
use kit::token::{CLOCK_SKEW_SECONDS_MAX, LIFE_SECONDS_MAX};
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
    Replica::new(roots())
}

fn roots() -> Roots {
    Roots::from([
        (Issuer::Chongqing, root().verifying_key()),
        (Issuer::Sichuan, other_root().verifying_key()),
    ])
}

fn other_root() -> SigningKey {
    SigningKey::from_bytes(&[6; 32])
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
        ends_at: 0,
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
    let keys = published(2, vec![key(1, 1, KeyState::Revoked)], &root());
    assert!(replica().monotone(&keys), "a revoked key waits");
}

/// An erased person and one merged into another are nobody, whatever token is shown, alone and in
/// a lane's batch; the word of it passes a held key.
#[tokio::test]
async fn who_was_erased_or_merged_is_nobody() {
    use event::member_changed::State;
    for state in [State::Erased, State::Merged] {
        let test = database().await;
        seeded(&test.ctx, Role::Officer).await;
        let changed = |state: State, version| {
            let change = event::MemberChanged {
                id: PERSON.as_bytes().to_vec(),
                version,
                state: state.into(),
                merged_into: Vec::new(),
            };
            record(&change, PERSON, version)
        };
        let other = Caller::member(
            MemberId(Uuid::from_u128(11)),
            LoginId(Uuid::from_u128(21)),
            Language::Zh,
        );
        let signed_in = async || {
            let read =
                async |tx: &kit::Tx| access::members(tx, &[&caller(), &other, &caller()]).await;
            let answers = test.ctx.db.tx("members", read).await.unwrap();
            answers.iter().map(Result::is_ok).collect::<Vec<bool>>()
        };
        let active = changed(State::Active, 2);
        assert!(!replica().monotone(&active), "an active person passes");
        apply(&test.ctx, active).await.unwrap();
        assert!(officer(&test.ctx, SHOP).await.is_ok());
        assert_eq!(signed_in().await, [true, true, true]);

        let gone = changed(state, 3);
        assert!(replica().monotone(&gone), "{state:?} waits");
        apply(&test.ctx, gone).await.unwrap();
        assert!(matches!(
            officer(&test.ctx, SHOP).await,
            Err(Error::Unauthenticated(_))
        ));
        assert_eq!(signed_in().await, [false, true, false], "{state:?}");
    }
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

async fn beat(ctx: &Ctx, partition: i32, at: DateTime<Utc>) {
    let message = event::Heartbeat {
        at: at.timestamp_millis(),
    };
    let mut beat = record(&message, ROOT, 1);
    beat.partition = partition;
    apply(ctx, beat).await.unwrap();
}

async fn is_silent(ctx: &Ctx) -> bool {
    matches!(officer(ctx, SHOP).await, Err(Error::Unavailable(_)))
}

/// A clock that ran ahead, there or here, does not speak for identity after it fell silent, and
/// the next sign of life puts it right.
#[tokio::test]
async fn a_heartbeat_from_the_future_proves_nothing() {
    let test = database().await;
    let ctx = &test.ctx;
    seeded(ctx, Role::Officer).await;
    let hour = TimeDelta::hours(1);
    beat(ctx, 0, ctx.clock.now() + hour).await;
    assert!(!is_silent(ctx).await);
    ctx.clock
        .advance(TimeDelta::seconds(access::FRESH_SECONDS + 1));
    assert!(is_silent(ctx).await, "an hour ahead, it speaks for an hour");
    beat(ctx, 0, ctx.clock.now()).await;
    assert!(!is_silent(ctx).await);
    let ahead = [(ctx.clock.now() + hour).into()];
    ctx.db
        .execute("UPDATE replica_heartbeat SET at = $1", ahead)
        .await
        .unwrap();
    assert!(is_silent(ctx).await, "our own clock had run ahead");
    beat(ctx, 0, ctx.clock.now()).await;
    assert!(!is_silent(ctx).await);
}

/// A partition that is read and was never heard of is silent, however loud the others are.
#[tokio::test]
async fn a_partition_never_heard_of_is_silent() {
    let test = database().await;
    let ctx = &test.ctx;
    seeded(ctx, Role::Officer).await;
    for (consumer, part) in [("replica", 0), ("other", 7), ("replica", 1)] {
        assert!(!is_silent(ctx).await, "before {consumer} reads {part}");
        ctx.db
            .execute(
                "INSERT INTO watermark (consumer, topic, part, epoch, next_offset, last_pseq)
                 VALUES ($1, 'identity.v1', $2, 0, 0, -1)",
                [consumer.into(), part.into()],
            )
            .await
            .unwrap();
    }
    assert!(is_silent(ctx).await);
    beat(ctx, 1, ctx.clock.now()).await;
    assert!(!is_silent(ctx).await);
}

/// A withdrawn login is remembered for as long as a token of it can live, and no longer: neither
/// does a resync bring it back.
#[tokio::test]
async fn a_withdrawn_login_is_forgotten_after_its_last_token() {
    let test = database().await;
    let ctx = &test.ctx;
    seeded(ctx, Role::Officer).await;
    let out = event::LoginWithdrawn {
        id: LOGIN.as_bytes().to_vec(),
        member_id: PERSON.as_bytes().to_vec(),
        withdrawn_at: ctx.clock.now().timestamp_millis(),
    };
    let is_out = async || matches!(officer(ctx, SHOP).await, Err(Error::Unauthenticated(_)));
    apply(ctx, record(&out, LOGIN, 1)).await.unwrap();
    const { assert!(WITHDRAWN_SECONDS > LIFE_SECONDS_MAX + CLOCK_SKEW_SECONDS_MAX) };
    ctx.clock.advance(TimeDelta::seconds(WITHDRAWN_SECONDS));
    beat(ctx, 0, ctx.clock.now()).await;
    assert!(is_out().await, "a token could still live");
    ctx.clock.advance(TimeDelta::seconds(1));
    beat(ctx, 0, ctx.clock.now()).await;
    assert!(!is_out().await, "it is never forgotten");
    apply(ctx, record(&out, LOGIN, 1)).await.unwrap();
    assert!(!is_out().await, "a resync brings it back");
}

fn key(number: u16, secret: u8, state: KeyState) -> Key {
    key_of(Issuer::Chongqing, number, secret, state)
}

fn key_of(issuer: Issuer, number: u16, secret: u8, state: KeyState) -> Key {
    Key {
        kid: KeyId::new(issuer, number).unwrap(),
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
    published_by(Issuer::Chongqing, version, keys, root)
}

fn published_by(issuer: Issuer, version: u64, keys: Vec<Key>, root: &SigningKey) -> Record {
    let signed = KeySet::new(version, issuer, keys).unwrap().sign(root);
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

/// One stored set that no root signed, or that is kept under another's name, gives no keys; those
/// of the other union go on, revocations included, and the next set takes the broken one's place.
#[tokio::test]
async fn a_broken_set_freezes_no_other() {
    let test = database().await;
    let ctx = &test.ctx;
    let keys = Keys::new(Union::Chongqing, roots());
    let theirs = |version, state| {
        let key = key_of(Issuer::Sichuan, 1, 9, state);
        published_by(Issuer::Sichuan, version, vec![key], &other_root())
    };
    let own = |version, state| published(version, vec![key(1, 1, state)], &root());
    apply(ctx, theirs(5, KeyState::Active)).await.unwrap();
    apply(ctx, own(1, KeyState::Active)).await.unwrap();
    keys.load(&ctx.db).await.unwrap();
    assert!(keys.of(Issuer::Sichuan).is_some() && keys.access().is_loaded());

    for broken in [
        "UPDATE replica_key_set SET bytes = set_byte(bytes, 9, 255) WHERE version = 5",
        "UPDATE replica_key_set SET signature = '' WHERE version = 5",
        "UPDATE replica_key_set s SET bytes = o.bytes, signature = o.signature
         FROM replica_key_set o WHERE s.version = 5 AND o.version = 1",
    ] {
        ctx.db.execute(broken, []).await.unwrap();
        keys.load(&ctx.db).await.unwrap();
        assert!(keys.of(Issuer::Sichuan).is_none(), "{broken}");
        assert!(keys.access().is_loaded(), "{broken}");
    }
    apply(ctx, own(2, KeyState::Revoked)).await.unwrap();
    keys.load(&ctx.db).await.unwrap();
    assert!(!keys.access().is_loaded(), "a revocation is not seen");

    apply(ctx, theirs(4, KeyState::Active)).await.unwrap();
    keys.load(&ctx.db).await.unwrap();
    assert!(keys.of(Issuer::Sichuan).is_none(), "an older set came back");
    apply(ctx, theirs(5, KeyState::Active)).await.unwrap();
    keys.load(&ctx.db).await.unwrap();
    assert_eq!(keys.of(Issuer::Sichuan).unwrap().version(), 5);
}
