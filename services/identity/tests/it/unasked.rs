//! Negative controls of consents: what would be processed without the lock that each promise rests
//! on. Reading and writing are the service's own functions; only the lock is left out.

use identity::domain::consent::{Consent, Text, Word};
use identity::store::consents::{self, HolderRow};
use identity::store::entitlements::{self, Described};
use identity::store::notices::{self, Sms};
use identity::{commands, publish};
use kit::consent;
use kit::types::{EntitlementId, LoginId, MemberId, Processing};
use kit::{Result, Tx};
use sea_orm::FromQueryResult;
use uuid::Uuid;

use crate::consents::{give, member, withdraw};
use crate::credentials::{PASS, apply, granted};
use crate::notices::voided;

const SMS: Processing = Processing::NoticeSms;
const VISITS: Processing = Processing::VisitsToVenues;

#[derive(FromQueryResult)]
struct Count {
    count: i64,
}

/// While a notice's SMS is decided on, its reader's consent cannot change.
#[tokio::test]
async fn a_consent_stays_while_an_sms_is_decided_on() {
    let (world, member) = member().await;
    let who = world.as_member(member);
    give(&world, &who, "NOTICE_SMS", 1).await;
    let other = world.test.process().await;
    let free = "SELECT count(*) AS count FROM
        (SELECT id FROM consent FOR UPDATE SKIP LOCKED) free";
    let free = async || {
        other
            .db
            .one::<Count>(free, [])
            .await
            .unwrap()
            .unwrap()
            .count
    };
    let decide = async |tx: &Tx| {
        let allowed = consent::consents(tx, member, SMS).await?;
        assert!(allowed.is_some());
        assert_eq!(free().await, 0, "it could be withdrawn meanwhile");
        Ok(())
    };
    world.identity.ctx.db.tx("decide", decide).await.unwrap();
    assert_eq!(free().await, 1);
}

/// Without that an SMS is handed over long after the withdrawal was answered, and `bashu verify`
/// says so.
#[tokio::test]
async fn without_its_lock_an_sms_would_go_after_the_withdrawal() {
    let (world, member) = member().await;
    let who = world.as_member(member);
    give(&world, &who, "NOTICE_SMS", 1).await;
    let id = voided(&world, member, PASS).await;
    let db = &world.identity.ctx.db;
    let unguarded = async |tx: &Tx| {
        let sql = "SELECT count(*) AS count FROM consent WHERE given";
        let allowed = tx.one::<Count>(sql, []).await?.unwrap().count == 1;
        withdraw(&world, &who, "NOTICE_SMS", 2).await;
        assert!(allowed, "decided by what is not true any more");
        // As late as a slow machine makes it.
        let at = tx.now() + chrono::TimeDelta::seconds(61);
        notices::set_sms(tx, id, Sms::HandedOver { at }).await
    };
    db.tx("unguarded", unguarded).await.unwrap();
    assert_eq!(world.broken("identity.sms_with_consent").await, 1);
}

fn holder(member: MemberId) -> [(EntitlementId, MemberId); 1] {
    [(EntitlementId(PASS), member)]
}

/// Who hears of an entitlement keeps its holder from saying anything until its consumer is done.
#[tokio::test]
async fn a_holder_says_nothing_while_an_entitlement_arrives() {
    let (world, member) = member().await;
    let other = world.test.process().await;
    let free = format!(
        "SELECT count(*) AS count FROM
           (SELECT id FROM member WHERE id = '{member}' FOR UPDATE SKIP LOCKED) free"
    );
    let free = async || {
        other
            .db
            .one::<Count>(&free, [])
            .await
            .unwrap()
            .unwrap()
            .count
    };
    let hear = async |tx: &Tx| {
        let said = consents::of_holders(tx, &holder(member)).await?;
        assert!(said.is_empty());
        assert_eq!(free().await, 0, "she could withdraw meanwhile");
        Ok(())
    };
    world.identity.ctx.db.tx("hear", hear).await.unwrap();
    assert_eq!(free().await, 1);
}

/// What the holders said, without the lock.
async fn unlocked(tx: &Tx, member: MemberId) -> Result<Vec<HolderRow>> {
    let said = consents::of_member(tx, member).await?;
    let row = |consent: Consent| HolderRow {
        entitlement: EntitlementId(PASS),
        consent,
    };
    Ok(said.into_iter().map(row).collect())
}

/// Without that a withdrawal does not see the entitlement that is just arriving, which tells the
/// others that its holder consents: for ever.
#[tokio::test]
async fn without_its_lock_a_withdrawal_would_miss_what_arrives() {
    let (world, member) = member().await;
    let who = world.as_member(member);
    give(&world, &who, "VISITS_TO_VENUES", 1).await;
    let db = &world.identity.ctx.db;
    db.tx("arrives", async |tx| {
        entitlements::describe(tx, &[described(member)]).await?;
        let said = unlocked(tx, member).await?;
        withdraw(&world, &who, "VISITS_TO_VENUES", 2).await;
        for it in said {
            tx.emit(publish::entitlement_consent(it.entitlement, &it.consent));
        }
        Ok(())
    })
    .await
    .unwrap();
    let told = world.events_of("EntitlementConsentChanged").await;
    assert_eq!(told.len(), 1, "the withdrawal told of no pass");
    let said: proto::identity::EntitlementConsentChanged = told[0].decode();
    assert!(said.given, "and this is what is known of it");
}

fn described(member: MemberId) -> Described {
    use credential::token::{Kind, Minute};
    use identity::domain::mint::{Entitlement, State};
    Described {
        entitlement: Entitlement {
            id: EntitlementId(PASS),
            member,
            kind: Kind::Pass,
            state: State::Active,
            blocked: false,
            scope: 7,
            valid_from: Minute::new(1).unwrap(),
            valid_until: Minute::new(2).unwrap(),
            generation: 1,
            document_check: false,
            persons: 1,
        },
        union: 50,
        epoch: 1,
        version: 1,
    }
}

/// Two devices give and withdraw at once: one word comes after the other, and both are on record.
#[tokio::test]
async fn two_words_at_once_are_said_one_after_the_other() {
    use commands::consents::{Said, Saying, say};
    let (world, member) = member().await;
    apply(&world, granted(&world, member, 1)).await;
    let other = world.test.process().await;
    let who = world.as_member(member);
    give(&world, &who, "VISITS_TO_VENUES", 100).await;
    let said = |word, key| Said {
        processing: VISITS,
        word,
        key: Uuid::from_u128(key),
    };
    for round in 0..8 {
        let give = Saying::Give { text_version: 1 };
        let (one, two) = tokio::join!(
            say(
                &world.identity.ctx,
                &who,
                said(Saying::Withdraw, round * 2 + 1)
            ),
            say(&other, &who, said(give, round * 2 + 2)),
        );
        one.unwrap();
        two.unwrap();
    }
    assert_eq!(world.broken("identity.consents_have_history").await, 0);
    let db = &world.identity.ctx.db;
    let last = db
        .tx("last", async |tx| consents::lock(tx, member, VISITS).await)
        .await
        .unwrap()
        .unwrap();
    let told = world.events_of("EntitlementConsentChanged").await;
    let newest = told
        .iter()
        .map(|it| it.decode::<proto::identity::EntitlementConsentChanged>())
        .max_by_key(|it| it.version)
        .unwrap();
    assert_eq!(
        (newest.version, newest.given),
        (last.version, last.word == Word::Given)
    );
}

/// Without the member's lock two first words at once are two consents; the constraint lets one
/// through.
#[tokio::test]
async fn without_its_lock_a_first_word_meets_the_constraint() {
    let (world, member) = member().await;
    let read = async |tx: &Tx| {
        let texts = consents::texts(tx).await?;
        Ok(texts.into_iter().find(|it| it.processing == SMS).unwrap())
    };
    let write = async |tx: &Tx, text: Text, _| {
        let first = Consent {
            id: tx.uuid(),
            version: 1,
            member,
            processing: SMS,
            text_version: 1,
            word: Word::Given,
        };
        consents::save(tx, &first, &text, LoginId(Uuid::from_u128(99))).await
    };
    let error = crate::races::interleaved(&world, read, write).await;
    let constraint = error.unwrap_err().constraint();
    assert_eq!(constraint.as_deref(), Some("consent_once"));
}
