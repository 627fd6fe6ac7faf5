//! What may be done with a person's data: while she consents to the text that is in force, and
//! not a moment longer than identity can be heard.

use chrono::{DateTime, TimeDelta, Utc};
use kit::access::{self, Role, seed};
use kit::consent::{self, Consented};
use kit::consumer::Handler;
use kit::event::Record;
use kit::types::{EntitlementId, MemberId, Processing};
use kit::{Ctx, Error, Result, testing};
use prost::Message;
use proto::identity as event;
use sea_orm::FromQueryResult;
use uuid::Uuid;

use crate::{PERSON, apply, database, record, replica, seeded};

const SMS: Processing = Processing::NoticeSms;
const VISITS: Processing = Processing::VisitsToVenues;
const CONSENT: Uuid = Uuid::from_u128(70);
const PASS: EntitlementId = EntitlementId(0x8000_0000_0000_0007);

fn text(version: i32, effective_from: DateTime<Utc>) -> Record {
    let message = event::ConsentTextPublished {
        purpose: SMS.purpose().to_owned(),
        recipient: SMS.recipient().to_owned(),
        version,
        effective_from: effective_from.timestamp_millis(),
    };
    record(&message, Uuid::from_u128(71), 1)
}

fn said(version: i64, text_version: i32, given: bool) -> Record {
    let message = event::ConsentChanged {
        id: CONSENT.as_bytes().to_vec(),
        version,
        member_id: PERSON.as_bytes().to_vec(),
        purpose: SMS.purpose().to_owned(),
        recipient: SMS.recipient().to_owned(),
        text_version,
        given,
    };
    record(&message, CONSENT, version)
}

fn said_of_pass(version: i64, given: bool) -> Record {
    let message = event::EntitlementConsentChanged {
        entitlement_id: PASS.0,
        version,
        purpose: VISITS.purpose().to_owned(),
        recipient: VISITS.recipient().to_owned(),
        text_version: 1,
        given,
    };
    record(&message, CONSENT, version)
}

async fn consents(ctx: &Ctx, processing: Processing) -> Result<Option<Consented>> {
    let person = MemberId(PERSON);
    ctx.db
        .tx("consents", async |tx| {
            consent::consents(tx, person, processing).await
        })
        .await
}

async fn consented(ctx: &Ctx) -> Option<i64> {
    consents(ctx, SMS).await.unwrap().map(|it| it.version)
}

/// A consent counts from its event on, to the text in force, until it is withdrawn; what is said
/// again or comes late gives nothing back, and one purpose says nothing of another.
#[tokio::test]
async fn a_consent_counts_while_it_is_given_to_the_text_in_force() {
    let test = database().await;
    let ctx = &test.ctx;
    seeded(ctx, Role::Officer).await;
    let now = ctx.clock.now();
    apply(ctx, said(1, 1, true)).await.unwrap();
    assert_eq!(consented(ctx).await, None, "no text is known");
    apply(ctx, text(1, now)).await.unwrap();
    assert_eq!(consented(ctx).await, Some(1));
    assert_eq!(consents(ctx, VISITS).await.unwrap(), None);

    // A text that is announced asks anew from its own instant on.
    let tomorrow = now + TimeDelta::days(1);
    apply(ctx, text(2, tomorrow)).await.unwrap();
    assert_eq!(consented(ctx).await, Some(1));
    ctx.clock.advance(TimeDelta::days(1));
    ctx.db.tx("heartbeat", seed::heartbeat).await.unwrap();
    assert_eq!(consented(ctx).await, None, "to a text that is gone");
    apply(ctx, said(2, 2, true)).await.unwrap();
    assert_eq!(consented(ctx).await, Some(2));

    apply(ctx, said(3, 2, false)).await.unwrap();
    assert_eq!(consented(ctx).await, None);
    for old in [said(1, 1, true), said(2, 2, true), text(1, now)] {
        apply(ctx, old).await.unwrap();
        assert_eq!(consented(ctx).await, None, "an older word gives it back");
    }
}

/// Those who know an entitlement and not its holder are told by entitlement.
#[tokio::test]
async fn a_holder_consents_without_being_known() {
    let test = database().await;
    let ctx = &test.ctx;
    seeded(ctx, Role::Officer).await;
    let text = event::ConsentTextPublished {
        purpose: VISITS.purpose().to_owned(),
        recipient: VISITS.recipient().to_owned(),
        version: 1,
        effective_from: 0,
    };
    apply(ctx, record(&text, CONSENT, 1)).await.unwrap();
    let among = [EntitlementId(6), PASS];
    let held = async || {
        let read = async |tx: &kit::Tx| consent::holders_consent(tx, &among, VISITS).await;
        ctx.db.tx("holders", read).await.unwrap()
    };
    assert!(held().await.is_empty());
    apply(ctx, said_of_pass(1, true)).await.unwrap();
    assert_eq!(held().await.into_iter().collect::<Vec<_>>(), [PASS]);
    apply(ctx, said_of_pass(2, false)).await.unwrap();
    apply(ctx, said_of_pass(1, true)).await.unwrap();
    assert!(held().await.is_empty());
}

/// While identity cannot be heard, nobody knows whether a consent was withdrawn: after a minute it
/// allows nothing, and what asks is told to come again.
#[tokio::test]
async fn a_consent_is_worth_nothing_while_identity_is_silent() {
    let test = database().await;
    let ctx = &test.ctx;
    seeded(ctx, Role::Officer).await;
    apply(ctx, text(1, ctx.clock.now())).await.unwrap();
    apply(ctx, said(1, 1, true)).await.unwrap();
    ctx.clock
        .advance(TimeDelta::seconds(access::FRESH_SECONDS - 1));
    assert_eq!(consented(ctx).await, Some(1));
    ctx.clock.advance(TimeDelta::seconds(2));
    assert!(matches!(
        consents(ctx, SMS).await,
        Err(Error::Unavailable(_))
    ));
    ctx.db.tx("heartbeat", seed::heartbeat).await.unwrap();
    assert_eq!(consented(ctx).await, Some(1));
}

/// A withdrawal and a new text pass a held key; what gives a right waits behind it.
#[test]
fn a_withdrawal_waits_behind_nothing() {
    let start = testing::start();
    let only_ends = |record: Record| replica().monotone(&record);
    assert!(only_ends(said(2, 1, false)) && only_ends(said_of_pass(2, false)));
    assert!(only_ends(text(2, start)));
    assert!(!only_ends(said(1, 1, true)) && !only_ends(said_of_pass(1, true)));
}

/// A word without a purpose is no word: it is parked, and the rest goes on.
#[tokio::test]
async fn a_consent_to_nothing_is_refused_for_good() {
    let test = database().await;
    let mut nameless = said(1, 1, true);
    let message = event::ConsentChanged {
        purpose: String::new(),
        ..nameless.decode().unwrap()
    };
    nameless.payload = message.encode_to_vec();
    assert!(matches!(
        apply(&test.ctx, nameless).await,
        Err(Error::Permanent(_))
    ));
}

#[derive(FromQueryResult)]
struct Free {
    count: i64,
}

/// How many consents another process could change at this moment.
const FREE: &str = "SELECT count(*) AS count FROM
    (SELECT id FROM replica_consent FOR UPDATE SKIP LOCKED) free";

/// Who processes keeps the consent locked until she is done: a withdrawal comes before or after.
/// Without the lock it comes in between, and what was read is processed after it all the same.
#[tokio::test]
async fn a_withdrawal_waits_for_who_has_read() {
    let test = database().await;
    let ctx = &test.ctx;
    let other = test.process().await;
    seeded(ctx, Role::Officer).await;
    apply(ctx, text(1, ctx.clock.now())).await.unwrap();
    apply(ctx, said(1, 1, true)).await.unwrap();
    let free = async || other.db.one::<Free>(FREE, []).await.unwrap().unwrap().count;
    assert_eq!(free().await, 1);
    ctx.db
        .tx("process", async |tx| {
            let allowed = consent::consents(tx, MemberId(PERSON), SMS).await?;
            assert!(allowed.is_some());
            assert_eq!(free().await, 0, "it could be withdrawn meanwhile");
            Ok(())
        })
        .await
        .unwrap();
    assert_eq!(free().await, 1);

    // The guard off: the same question without its lock.
    #[derive(FromQueryResult)]
    struct Given {
        given: bool,
    }
    let unlocked = "SELECT given FROM replica_consent WHERE member = $1";
    ctx.db
        .tx("process", async |tx| {
            let read = tx.one::<Given>(unlocked, [PERSON.into()]).await?.unwrap();
            apply(&other, said(2, 1, false)).await?;
            assert!(read.given, "processed by what is not true any more");
            let now = tx.one::<Given>(unlocked, [PERSON.into()]).await?.unwrap();
            assert!(!now.given);
            Ok(())
        })
        .await
        .unwrap();
}
