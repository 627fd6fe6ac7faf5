//! The audit chain of a database that was restored into another cluster.

use chrono::TimeDelta;
use kit::audit::seal::restored;
use kit::audit::{LAG_SECONDS_MAX, oldest_unsealed};

use crate::audit::{act, database, privileged, seal_all, sealed, violated, walked};

/// The numbers that transactions had where the rows were written, far from those they have here.
const ELSEWHERE: [&str; 2] = [
    "UPDATE audit SET xid = '4000000000000'",
    "UPDATE audit_sealer SET s1 = '4000000000001:4000000000001:', s2 = NULL",
];

/// The sealer takes what comes for sealed long ago, and the guard with it, until the chain is told
/// that its database was restored. Then nothing is lacking, and nothing is sealed twice.
#[tokio::test]
async fn a_chain_goes_on_in_another_cluster() {
    let test = database().await;
    let (ctx, owner) = (&test.ctx, test.owner().await);
    act(ctx, "sealed").await;
    seal_all(ctx).await;
    act(ctx, "left").await;
    for sql in ELSEWHERE {
        owner.execute(sql, []).await.unwrap();
    }
    act(ctx, "after").await;
    seal_all(ctx).await;
    assert_eq!(sealed(ctx).await, ["sealed"], "the numbers mislead it");
    ctx.clock.advance(TimeDelta::seconds(LAG_SECONDS_MAX + 1));
    privileged(ctx).await.unwrap();

    restored(ctx).await.unwrap();
    assert_eq!(sealed(ctx).await, ["sealed", "left", "after", "it"]);
    assert_eq!(oldest_unsealed(&ctx.db).await.unwrap(), None);
    restored(ctx).await.unwrap();
    act(ctx, "later").await;
    assert!(oldest_unsealed(&ctx.db).await.unwrap().is_some());
    ctx.clock.advance(TimeDelta::seconds(LAG_SECONDS_MAX + 1));
    privileged(ctx).await.unwrap_err();
    seal_all(ctx).await;
    privileged(ctx).await.unwrap();
    seal_all(ctx).await;
    let all = ["sealed", "left", "after", "it", "later", "it"];
    assert_eq!(sealed(ctx).await, all);
    assert_eq!(walked(ctx).await.broken, None);
    assert!(violated(ctx).await.is_empty());
}
