//! What a service does with what identity says of persons who wish to be forgotten: a later and
//! higher version is taken, of who was told of with another one before too; a lower one is not.

use kit::consumer::Handler;
use kit::event::Record;
use kit::migrate::{KIT, REPLICA};
use kit::person::{Hold, Keeper, Kept, Persons, barred};
use kit::testing;
use kit::types::MemberId;
use kit::{Ctx, Result, Tx};
use prost::{Message, Name};
use proto::identity::ErasureChanged;
use proto::identity::erasure_changed::State;
use sea_orm::FromQueryResult;
use uuid::Uuid;

use crate::world::thing;

/// A service that has nothing of anybody.
#[derive(Clone, Copy, Debug)]
struct Nothing;

impl Keeper for Nothing {
    async fn data(&self, _: &Tx, _: &[Uuid], _: i64) -> Result<Vec<Kept>> {
        Ok(Vec::new())
    }

    async fn holds(&self, _: &Tx, _: &[Uuid]) -> Result<Vec<Hold>> {
        Ok(Vec::new())
    }

    async fn forget(&self, _: &Tx, _: &[Uuid]) -> Result<()> {
        Ok(())
    }
}

const PERSONS: Persons<Nothing> = Persons {
    service: "beta",
    keeper: Nothing,
};

/// The service hears how the wish of `whose` stands, for each of `members`.
async fn hear(ctx: &Ctx, (whose, members): (u128, &[u128]), version: i64, state: State) {
    let bytes = |n: &u128| thing(*n).as_bytes().to_vec();
    let message = ErasureChanged {
        member_id: bytes(&whose),
        version,
        member_ids: members.iter().map(bytes).collect(),
        state: state.into(),
    };
    let record = Record {
        topic: "identity.v1".to_owned(),
        partition: 0,
        offset: 0,
        epoch: 1,
        pseq: 1,
        id: thing(99),
        kind: ErasureChanged::full_name(),
        key: bytes(&whose),
        version,
        must_understand: false,
        at: ctx.clock.now(),
        traceparent: None,
        payload: message.encode_to_vec(),
    };
    assert!(PERSONS.handles(&record.kind));
    let records = [record];
    let heard = ctx
        .db
        .tx("hear", async |tx| PERSONS.apply(tx, &records).await);
    heard.await.unwrap();
}

/// The versions that the service has answered to, in their order.
async fn answered(ctx: &Ctx) -> Vec<i64> {
    #[derive(FromQueryResult)]
    struct Row {
        version: i64,
    }
    let sql = "SELECT version FROM outbox WHERE kind = 'bashu.v1.PersonHeld' ORDER BY id";
    let rows = ctx.db.all::<Row>(sql, []).await.unwrap();
    rows.into_iter().map(|row| row.version).collect()
}

/// Whether nothing may be begun for this one.
async fn is_barred(ctx: &Ctx, member: u128) -> bool {
    let member = MemberId(thing(member));
    let barred = ctx.db.tx("begin", async |tx| barred(tx, &[member]).await);
    !barred.await.unwrap().is_empty()
}

/// The wish of one was told of both of her ids and has come far. Apart from her, the other one is
/// asked about when her version is above that; below it she would be passed over for ever.
#[tokio::test]
async fn who_was_told_with_another_is_asked_about_above_her_version() {
    let test = testing::db("beta", &[KIT, REPLICA]).await;
    let ctx = &test.ctx;
    hear(ctx, (1, &[1, 2]), 2, State::Closing).await;
    assert!(is_barred(ctx, 1).await && is_barred(ctx, 2).await);
    hear(ctx, (1, &[1, 2]), 7, State::Open).await;
    assert_eq!(answered(ctx).await, [2]);
    assert!(!is_barred(ctx, 1).await && !is_barred(ctx, 2).await);

    hear(ctx, (2, &[2]), 2, State::Closing).await;
    assert_eq!(answered(ctx).await, [2], "no news");
    assert!(!is_barred(ctx, 2).await);
    hear(ctx, (2, &[2]), 9, State::Closing).await;
    assert_eq!(answered(ctx).await, [2, 9]);
    assert!(is_barred(ctx, 2).await && !is_barred(ctx, 1).await);
}
