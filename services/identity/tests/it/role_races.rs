//! Decisions on one proposal at once, in two processes; and what they would do without its lock.

use identity::commands::role_proposals::{confirm_role, withdraw_role_proposal};
use identity::domain::proposal::Proposal;
use identity::domain::role::Origin;
use identity::store::role_proposals as store;
use identity::store::roles;
use kit::Tx;
use kit::graphql::GlobalId;
use serde_json::Value;
use uuid::Uuid;

use crate::races::interleaved;
use crate::role_proposals::{BY_TWO, Stage};
use crate::world::held;

const LIVE: &str = "SELECT count(*) AS count FROM role
    WHERE role = 'approver' AND withdrawn_at IS NULL";

fn proposal(id: &Value) -> Uuid {
    GlobalId::uuid(id.as_str().unwrap(), "RoleProposal").unwrap()
}

/// Confirmed by one and taken back by another at once: one of both happens, and the role is held
/// just when the proposal says so.
#[tokio::test]
async fn a_proposal_is_confirmed_or_taken_back() {
    let stage = Stage::new().await;
    let world = &stage.world;
    let other = world.test.process().await;
    for _ in 0..12 {
        let id = proposal(&stage.proposed().await);
        world.seal().await;
        let (confirmed, back) = tokio::join!(
            confirm_role(&world.identity.ctx, &stage.two, id),
            withdraw_role_proposal(&other, &stage.one, id),
        );
        assert_ne!(confirmed.is_ok(), back.is_ok(), "{confirmed:?} {back:?}");
        let live = i64::from(confirmed.is_ok());
        assert_eq!(world.count(LIVE).await, live);
        assert_eq!(world.broken(BY_TWO).await, 0);
        if let Ok(held) = confirmed {
            let db = &world.identity.ctx.db;
            let gone = async |tx: &Tx| roles::withdraw(tx, held.clone()).await;
            db.tx("again", gone).await.unwrap();
        }
    }
}

/// Two operators who propose the same at once make one proposal, and two who confirm it one role.
#[tokio::test]
async fn one_proposal_and_one_role_come_of_two_at_once() {
    let stage = Stage::new().await;
    let world = &stage.world;
    let third = world.person(&stage.union, 3).await;
    let root = GlobalId::of_uuid("Organisation", world.root_id().0).to_string();
    let _ = world.grant(third, &root, "OPERATOR").await;
    let third = world.as_member(third);
    let (one, two) = tokio::join!(stage.proposed(), stage.proposed());
    assert_eq!(one, two);
    let (id, other) = (proposal(&one), world.test.process().await);
    world.seal().await;
    let (two, three) = tokio::join!(
        confirm_role(&world.identity.ctx, &stage.two, id),
        confirm_role(&other, &third, id),
    );
    assert_ne!(two.is_ok(), three.is_ok(), "one person confirms");
    assert_eq!(world.count(LIVE).await, 1);
    assert_eq!(world.broken(BY_TWO).await, 0);
}

/// Without the proposal's row locked both find it open: it is confirmed, taken back, and the role
/// is held although nobody stands behind it any more. The promise sees it.
#[tokio::test]
async fn without_its_lock_a_proposal_would_be_confirmed_and_taken_back() {
    let stage = Stage::new().await;
    let world = &stage.world;
    let id = proposal(&stage.proposed().await);
    let second = match stage.two.who {
        kit::access::Who::Member { member, .. } => member,
        kit::access::Who::Anonymous => panic!("signed in"),
    };
    let read = async |tx: &Tx| Ok(store::load(tx, id).await?.unwrap());
    let write = async |tx: &Tx, seen: Proposal, which: u128| {
        if which == 1 {
            let back = seen.withdraw(world.operator, tx.now())?.unwrap();
            return store::save(tx, &back).await;
        }
        let confirmed = seen.confirm(second, tx.now())?.unwrap();
        store::save(tx, &confirmed).await?;
        let role = roles::Held {
            ends_at: Some(seen.grant.ends_at),
            ..held(tx, seen.grant.of, Origin::Two(id))
        };
        roles::insert(tx, &role).await
    };
    interleaved(world, read, write).await.unwrap();
    assert_eq!(world.count(LIVE).await, 1);
    assert_eq!(world.broken(BY_TWO).await, 1);
}
