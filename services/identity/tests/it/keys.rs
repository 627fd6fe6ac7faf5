//! Signing keys: rotation, publication, and who believes what when.

use credential::keyset::{Issuer, SignedKeySet, TestIssuer, Update, update};
use identity::commands::keys::{init_root, list, maintain, publish, read_root, revoke, rotate};
use identity::domain::keys::{Purpose, State};
use identity::rest;
use kit::replica::{Keys, Roots};
use kit::token;
use kit::types::Union;

use crate::world::World;

fn keys(world: &World) -> Keys {
    Keys::new(
        Union::Chongqing,
        Roots::from([(Issuer::Chongqing, world.root.verifying_key())]),
    )
}

async fn kids(world: &World) -> Vec<String> {
    let set = rest::key_set(&world.identity.ctx).await.unwrap();
    let keys = set["keys"].as_array().unwrap();
    keys.iter()
        .map(|key| key["kid"].as_str().unwrap().to_owned())
        .collect()
}

/// A new access key is announced for an hour, then signs; the old one's tokens count until they
/// end, and the old key is dead an hour later.
#[tokio::test]
async fn access_keys_rotate_with_an_overlap() {
    let world = World::new().await;
    let ctx = &world.identity.ctx;
    let held = keys(&world);
    let believes = |session: identity::commands::logins::Session| {
        let (held, now) = (&held, ctx.clock.now());
        async move {
            held.load(&ctx.db).await.unwrap();
            token::verify(&session.access.token, ctx.union, held.access(), now).is_ok()
        }
    };
    let phone = crate::world::OPERATOR_PHONE;
    let old = world.sign_in(phone).await;
    rotate(ctx, &world.identity.vault, Purpose::Access)
        .await
        .unwrap();
    assert_eq!(kids(&world).await, ["1002"], "not published yet");
    publish(ctx, &world.root).await.unwrap();
    assert_eq!(kids(&world).await, ["1002", "1003"]);
    world.advance(3_599);
    let last_of_old = world.sign_in(phone).await;
    world.advance(60);
    let first_of_new = world.sign_in(phone).await;
    assert!(!believes(old).await, "ten minutes are over");
    assert!(believes(last_of_old.clone()).await);
    assert!(believes(first_of_new.clone()).await);
    let header = |session: &identity::commands::logins::Session| {
        session.access.token.split('.').next().unwrap().to_owned()
    };
    assert_ne!(header(&last_of_old), header(&first_of_new));
    world.advance(3_600);
    assert_eq!(kids(&world).await, ["1003"]);
    publish(ctx, &world.root).await.unwrap();
    let states: Vec<State> = list(ctx)
        .await
        .unwrap()
        .iter()
        .map(|key| key.state)
        .collect();
    assert_eq!(states, [State::Active, State::Retired, State::Active]);
}

/// A revoked key's tokens are dead as soon as the key set says so.
#[tokio::test]
async fn a_revoked_key_is_dead_at_once() {
    let world = World::new().await;
    let ctx = &world.identity.ctx;
    let session = world.sign_in(crate::world::OPERATOR_PHONE).await;
    let held = keys(&world);
    held.load(&ctx.db).await.unwrap();
    let now = ctx.clock.now();
    assert!(token::verify(&session.access.token, ctx.union, held.access(), now).is_ok());
    revoke(ctx, 2, "leaked").await.unwrap();
    publish(ctx, &world.root).await.unwrap();
    held.load(&ctx.db).await.unwrap();
    assert!(token::verify(&session.access.token, ctx.union, held.access(), now).is_err());
    assert_eq!(kids(&world).await, [""; 0]);
}

/// Every published set follows from the one before, is signed by the root and by nobody else,
/// and is said once: publishing again without a change says nothing.
#[tokio::test]
async fn key_sets_follow_each_other() {
    let world = World::new().await;
    let ctx = &world.identity.ctx;
    assert_eq!(publish(ctx, &world.root).await.unwrap(), 1);
    for purpose in [Purpose::Entry, Purpose::Access, Purpose::Entry] {
        rotate(ctx, &world.identity.vault, purpose).await.unwrap();
        publish(ctx, &world.root).await.unwrap();
        world.advance(86_400 * 3);
        publish(ctx, &world.root).await.unwrap();
    }
    let mut held = None;
    let events = world.events_of("KeySetPublished").await;
    assert!(events.len() >= 4);
    for (at, event) in events.iter().enumerate() {
        let said: proto::identity::KeySetPublished = event.decode();
        assert_eq!(said.version, i64::try_from(at + 1).unwrap());
        let signed = SignedKeySet {
            bytes: said.key_set.clone(),
            root_signature: said.root_signature.try_into().unwrap(),
        };
        let other = ed25519_dalek::SigningKey::from_bytes(&[1; 32]).verifying_key();
        assert!(signed.verify(&other, TestIssuer::Refuse).is_err());
        let set = signed
            .verify(&world.root.verifying_key(), TestIssuer::Refuse)
            .unwrap();
        match update(held.as_ref(), set).unwrap() {
            Update::Replace(set) => held = Some(set),
            Update::Keep => panic!("version {} repeats", at + 1),
        }
    }
}

/// Where the root is at hand, keys are made and published by themselves, a quarter after the
/// other, with no moment without a key that signs.
#[tokio::test]
async fn keys_are_kept_fresh_where_the_root_is_at_hand() {
    let world = World::new().await;
    let (ctx, vault) = (&world.identity.ctx, &world.identity.vault);
    for _ in 0..200 {
        maintain(ctx, vault, &world.root).await.unwrap();
        world.advance(86_400);
        let signing = ctx
            .db
            .tx("signs", async |tx| {
                identity::signing::access_key(ctx.union, tx, vault).await?;
                identity::signing::entry_key(ctx.union, tx, vault)
                    .await
                    .map(|_| ())
            })
            .await;
        signing.unwrap();
    }
    let made = list(ctx).await.unwrap();
    assert!(
        (6..=8).contains(&made.len()),
        "{} keys in 200 days",
        made.len()
    );
}

/// The root's file is made once and read back; it is nobody else's to read.
#[test]
fn the_root_is_a_file() {
    let folder = std::path::PathBuf::from(env!("CARGO_TARGET_TMPDIR"));
    let path = folder.join(format!("root-{}", std::process::id()));
    let _ = std::fs::remove_file(&path);
    let ids = kit::Ids::seeded(3);
    let public = init_root(&path, &ids).unwrap();
    assert_eq!(read_root(&path).unwrap().verifying_key(), public);
    assert!(
        init_root(&path, &ids).is_err(),
        "a root is never overwritten"
    );
    let mode = std::os::unix::fs::PermissionsExt::mode(&path.metadata().unwrap().permissions());
    assert_eq!(mode & 0o777, 0o600);
    std::fs::remove_file(&path).unwrap();
}

/// The private halves are sealed: the row alone signs nothing, and one moved to another number
/// is noticed.
#[tokio::test]
async fn private_halves_are_sealed() {
    let world = World::new().await;
    let ctx = &world.identity.ctx;
    let swap = "UPDATE signing_key k SET private = o.private FROM signing_key o
                WHERE k.number = 3 - o.number";
    ctx.db.execute(swap, []).await.unwrap();
    let signed_in = futures::FutureExt::catch_unwind(std::panic::AssertUnwindSafe(
        world.sign_in(crate::world::OPERATOR_PHONE),
    ));
    assert!(signed_in.await.is_err());
}
