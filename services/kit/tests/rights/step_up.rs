//! The second factor as commands ask for it: what a token said of it ends by itself.

use chrono::TimeDelta;
use kit::access::{self, Caller};
use kit::graphql::Language;
use kit::once::{self, Once, Request};
use kit::{Ctx, Error, Result};
use uuid::Uuid;

use crate::{caller, database};

async fn guarded(ctx: &Ctx, caller: &Caller) -> Result<access::SteppedUp> {
    let guard = async |tx: &kit::Tx| access::stepped_up(tx, caller);
    ctx.db.tx("guarded", guard).await
}

/// Only before the instant that the token says; nobody without a token, and nobody who has shown
/// none. The sentence is there in both languages.
#[tokio::test]
async fn a_second_factor_counts_until_its_end() {
    let test = database().await;
    let ctx = &test.ctx;
    let end = ctx.clock.now() + TimeDelta::seconds(600);
    let shown = caller().stepped_up(end);
    assert_eq!(guarded(ctx, &shown).await.unwrap().until, end);
    ctx.clock.advance(TimeDelta::seconds(599));
    assert!(guarded(ctx, &shown).await.is_ok());
    ctx.clock.advance(TimeDelta::seconds(1));
    for who in [&shown, &caller()] {
        let Err(Error::Refused(why)) = guarded(ctx, who).await else {
            panic!("{who:?} has shown nothing that counts");
        };
        assert_eq!(why.code, "STEP_UP_REQUIRED");
        assert_eq!(why.message(Language::Zh), "此操作需要先验证动态口令。");
        assert_eq!(
            why.message(Language::En),
            "Please show your second factor first."
        );
    }
    let nobody = Caller::anonymous(Language::En).stepped_up(end + TimeDelta::days(1));
    let answer = guarded(ctx, &nobody).await;
    assert!(matches!(answer, Err(Error::Unauthenticated(_))));
}

/// A key that was refused for it is as new when the same request comes again, the factor shown.
#[tokio::test]
async fn it_is_no_lasting_refusal() {
    let test = database().await;
    let ctx = &test.ctx;
    let request = Request {
        caller: Uuid::from_u128(1),
        key: Uuid::from_u128(2),
        hash: once::hash("guarded", &[]),
    };
    let command = async |caller: Caller| {
        ctx.db
            .tx("guarded", async |tx| {
                let found = once::begin(tx, &request).await?;
                assert_eq!(found, Once::First);
                access::stepped_up(tx, &caller)?;
                once::finish(tx, b"done")
            })
            .await
    };
    assert!(command(caller()).await.is_err());
    let end = ctx.clock.now() + TimeDelta::seconds(1);
    command(caller().stepped_up(end)).await.unwrap();
}
