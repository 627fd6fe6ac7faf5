//! A role ends by the clock of who asks, whether or not identity has said so; a deputy approves.

use chrono::TimeDelta;
use kit::access::{self, Role, seed};
use kit::types::OrganisationId;
use kit::{Ctx, Error};
use proto::identity as event;
use uuid::Uuid;

use crate::{PERSON, ROOT, SHOP, apply, caller, database, officer, record, seeded};

/// A deputy approves as the chair does, and does nothing else.
#[tokio::test]
async fn a_deputy_approves() {
    let test = database().await;
    seeded(&test.ctx, Role::Deputy).await;
    let shop = OrganisationId(SHOP);
    let approves = async |tx: &kit::Tx| access::approver(tx, &caller(), shop).await;
    let approves = test.ctx.db.tx("approver", approves).await.unwrap();
    assert_eq!(approves.organisation, shop);
    assert!(matches!(
        officer(&test.ctx, SHOP).await,
        Err(Error::Forbidden(_))
    ));
}

/// What identity says of the person's role at the root.
async fn said(ctx: &Ctx, role: event::role_changed::Role, version: i64, ends_at: i64) {
    let id = Uuid::from_u128(50);
    let role = event::RoleChanged {
        id: id.as_bytes().to_vec(),
        version,
        member_id: PERSON.as_bytes().to_vec(),
        organisation_id: ROOT.as_bytes().to_vec(),
        role: role.into(),
        withdrawn: false,
        ends_at,
    };
    apply(ctx, record(&role, id, version)).await.unwrap();
}

/// A role with an end is over at that instant by the clock here: nothing has to arrive. A later
/// word of identity moves the end, an earlier one does not.
#[tokio::test]
async fn a_role_ends_on_time_although_nothing_arrives() {
    use event::role_changed::Role as Said;
    let test = database().await;
    let ctx = &test.ctx;
    seeded(ctx, Role::Auditor).await;
    let end = ctx.clock.now() + TimeDelta::hours(1);
    said(ctx, Said::Officer, 1, end.timestamp_millis()).await;
    ctx.clock.advance(TimeDelta::minutes(59));
    assert_eq!(rights_now(ctx).await, (false, true, 1));
    ctx.clock.advance(TimeDelta::minutes(1));
    assert_eq!(rights_now(ctx).await, (false, false, 0));
    said(ctx, Said::Officer, 1, 0).await;
    assert_eq!(rights_now(ctx).await, (false, false, 0), "said before");
    said(ctx, Said::Officer, 2, 0).await;
    assert_eq!(rights_now(ctx).await, (false, true, 1), "prolonged");
    let end = ctx.clock.now() + TimeDelta::hours(1);
    said(ctx, Said::Operator, 3, end.timestamp_millis()).await;
    assert_eq!(rights_now(ctx).await, (true, false, 0));
    ctx.clock.advance(TimeDelta::hours(1));
    assert_eq!(rights_now(ctx).await, (false, false, 0));
}

/// Whether the person operates, is an officer at the root, and of how many organisations, identity
/// having been heard of just now.
async fn rights_now(ctx: &Ctx) -> (bool, bool, usize) {
    ctx.db.tx("heartbeat", seed::heartbeat).await.unwrap();
    let operates = async |tx: &kit::Tx| access::operator(tx, &caller()).await;
    let operates = ctx.db.tx("operator", operates).await.is_ok();
    let all = async |tx: &kit::Tx| {
        let member = access::member(tx, &caller()).await?;
        access::organisations_with(tx, member, Role::Officer).await
    };
    let all = ctx.db.tx("held", all).await.unwrap().len();
    (operates, officer(ctx, ROOT).await.is_ok(), all)
}
