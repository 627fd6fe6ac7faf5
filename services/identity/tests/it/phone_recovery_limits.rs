//! Who claims the record of another, or asks for codes to phones of others: how much of that there
//! is, and that it keeps nobody from what is hers.

use chrono::TimeDelta;
use identity::domain::code::CODES_PER_DAY_MAX;
use identity::domain::phone_recovery::{
    RECOVERIES_PER_ADDRESS_HOUR_MAX, RECOVERIES_PER_DOCUMENT_DAY_MAX, RECOVERY_CODES_PER_HOUR_MAX,
};
use identity::store::limits::Counter;
use kit::Tx;
use kit::access::Caller;
use kit::graphql::Language;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::phone_recoveries::{HOUR_SECONDS, Lost, global};
use crate::rosters::officer_of;
use crate::world::{OPERATOR_PHONE, codes, name, number, number_of_phone};

/// Whoever knows her document bars nobody by it: claims of it count for each address apart, and
/// hers takes the place of what nobody has confirmed. Once somebody has seen her, none does.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn claims_of_others_bar_nobody() {
    let lost = Lost::start("barred").await;
    let hers = number(1);
    let mut foreign = String::new();
    for at in 0..=RECOVERIES_PER_DOCUMENT_DAY_MAX {
        foreign = format!("1370000{:04}", 4_000 + at);
        let claimed = lost
            .recover_from("192.0.2.1", &foreign, (1, hers.as_str()))
            .await;
        let is_over = at == RECOVERIES_PER_DOCUMENT_DAY_MAX;
        assert_eq!(codes(&claimed).is_empty(), !is_over, "{at}: {claimed}");
        lost.work().await;
        lost.advance(61);
    }
    lost.claimed().await;
    let open = "SELECT count(*) AS count FROM phone_recovery WHERE ended_at IS NULL";
    assert_eq!(lost.world.count(open).await, 1);
    let other = lost.confirm_as(&lost.officer, &foreign, &hers).await;
    assert_eq!(codes(&other), ["PERSON_NOT_MATCHED"]);
    let confirmed = lost.confirm(&lost.officer).await;
    assert_eq!(codes(&confirmed), [""; 0], "{confirmed}");
    lost.advance(61);
    let claimed = lost
        .recover_from("192.0.2.2", &foreign, (1, hers.as_str()))
        .await;
    assert_eq!(codes(&claimed), [""; 0], "{claimed}");
    assert_eq!(lost.state().await, "confirmed");
    lost.promises().await;
}

/// Claims are counted by document and by address, whether or not there is anybody.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn claims_are_counted_alike() {
    let lost = Lost::start("counted").await;
    let of_document = usize::try_from(RECOVERIES_PER_DOCUMENT_DAY_MAX).unwrap();
    let from_address = usize::try_from(RECOVERIES_PER_ADDRESS_HOUR_MAX).unwrap();
    let mut next = 0;
    let mut claim = async |document: String| {
        next += 1;
        lost.recover(&format!("1370000{:04}", 3_000 + next), 1, &document)
            .await
    };
    for document in [number(70), number(1)] {
        for _ in 0..of_document {
            assert_eq!(codes(&claim(document.clone()).await), [""; 0]);
        }
        let over = claim(document).await;
        assert_eq!(codes(&over), ["TOO_MANY_RECOVERIES"], "{over}");
    }
    for at in 2 * (of_document + 1)..from_address {
        let at = 80 + u32::try_from(at).unwrap();
        assert_eq!(codes(&claim(number(at)).await), [""; 0]);
    }
    let over = claim(number(99)).await;
    assert_eq!(codes(&over), ["TOO_MANY_RECOVERIES"], "{over}");
    lost.advance(HOUR_SECONDS);
    assert_eq!(codes(&claim(number(99)).await), [""; 0]);
}

/// However many phones and addresses there are, a union has no more than so many codes sent in an
/// hour; whose the phone is makes no difference, and none is sent beyond.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn codes_are_counted_for_the_whole_union() {
    let lost = Lost::start("codes-of-all").await;
    let db = &lost.world.test.ctx.db;
    let before = async |tx: &Tx| {
        let of_union = Counter {
            scope: "recovery_code_hour",
            subject: b"union",
            window: TimeDelta::hours(1),
        };
        of_union.add(tx, RECOVERY_CODES_PER_HOUR_MAX - 1).await
    };
    let counted = db.tx("codes_before", before).await.unwrap();
    assert_eq!(counted, RECOVERY_CODES_PER_HOUR_MAX - 1);
    let ask = async |at: u32, phone: &str| {
        let mut nobody = Caller::anonymous(Language::En);
        nobody.client = format!("192.0.2.{at}");
        let input = json!({ "phone": phone });
        let asked = lost
            .world
            .mutate(&nobody, "requestRecoveryCode", "expiresAt", input);
        asked.await
    };
    let last = ask(1, "13700006001").await;
    assert_eq!(codes(&last), [""; 0], "{last}");
    let kept = "SELECT count(*) AS count FROM recovery_phone";
    assert_eq!(lost.world.count(kept).await, 1);
    for (at, phone) in [(2, "13700006002"), (3, OPERATOR_PHONE)] {
        let over = ask(at, phone).await;
        assert_eq!(codes(&over), ["TOO_MANY_CODES"], "{over}");
    }
    assert_eq!(lost.world.count(kept).await, 1);
    lost.advance(HOUR_SECONDS);
    let next = ask(4, "13700006002").await;
    assert_eq!(codes(&next), [""; 0], "{next}");
}

/// Whoever asks for codes to her phone, to recover a record from it or to make it his own, leaves
/// the code good that she signs in with and uses up none of hers; her phone is sent none of his.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn codes_of_others_leave_hers() {
    let lost = Lost::start("hers").await;
    let world = &lost.world;
    let nobody = Caller::anonymous(Language::En);
    let hers = number_of_phone(1);
    let ask = async |act: &str| {
        let input = json!({ "phone": hers });
        world.mutate(&nobody, act, "", input).await
    };
    lost.advance(61);
    let asked = ask("requestLoginCode").await;
    assert_eq!(codes(&asked), [""; 0], "{asked}");
    let right = world.code(&hers).await;
    lost.advance(1);
    let recovery = ask("requestRecoveryCode").await;
    assert_eq!(codes(&recovery), [""; 0], "{recovery}");
    let input = json!({ "phone": hers, "idempotencyKey": Uuid::from_u128(1) });
    let change = world.mutate(&lost.officer, "requestPhoneChange", "", input);
    let change = change.await;
    assert_eq!(codes(&change), [""; 0], "{change}");
    lost.work().await;
    assert_eq!(lost.sent(&hers, "recovery_code").await, 0);
    assert_eq!(lost.sent(&hers, "phone_change").await, 0);
    let guess = world.code(&hers).await;
    assert_ne!(guess, right, "another purpose, another code");
    let login = async |code: &str| {
        let input = json!({ "phone": hers, "code": code });
        let tried = world.mutate(&nobody, "login", "tokens { loginId }", input);
        tried.await
    };
    assert_eq!(codes(&login(&guess).await), ["CODE_WRONG"]);
    assert_eq!(codes(&login(&right).await), [""; 0]);
    for at in 1..=CODES_PER_DAY_MAX {
        lost.advance(900);
        let asked = ask("requestRecoveryCode").await;
        assert_eq!(codes(&asked).is_empty(), at < CODES_PER_DAY_MAX, "{at}");
    }
    let asked = ask("requestLoginCode").await;
    assert_eq!(codes(&asked), [""; 0], "{asked}");
    lost.work().await;
    assert_eq!(lost.sent(&hers, "login_code").await, 2);
    lost.promises().await;
}

impl Lost {
    async fn seen(&self, by: &Caller) -> Value {
        let query = "query($id: ID!) { node(id: $id) { ... on Member {
            id phoneRecovery { state } } } }";
        let of = json!({ "id": global(self.member) });
        let seen = self.world.run(by, query, of).await;
        assert_eq!(seen["id"], global(self.member), "{seen}");
        seen["phoneRecovery"].clone()
    }

    async fn stop(&self, by: &Caller) -> Value {
        let input = json!({ "memberId": global(self.member) });
        self.world.mutate(by, "stopPhoneRecovery", "", input).await
    }
}

/// An officer who has added her by a name and a phone sees her, but neither reads nor stops her
/// recovery, nor confirms it: as a second union, and as the first one too.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_name_and_a_phone_make_nobody_vouch_for_her() {
    let lost = Lost::start("by-name").await;
    // Whoever writes her down later is not the first.
    lost.advance(1);
    let (other, stranger) = officer_of(&lost.world, "别的工会", 100).await;
    let person = json!({ "name": name(1), "phone": number_of_phone(1) });
    let input = json!({ "organisationId": other, "person": person });
    let added = lost
        .world
        .mutate(&stranger, "addMembership", "membership { id }", input)
        .await;
    assert_eq!(codes(&added), [""; 0], "{added}");
    lost.claimed().await;
    for by in [&lost.herself, &lost.officer, &lost.second] {
        assert_eq!(lost.seen(by).await["state"], "CLAIMED");
    }
    assert_eq!(lost.seen(&stranger).await, Value::Null);
    assert_eq!(codes(&lost.stop(&stranger).await), ["MEMBER_NOT_FOUND"]);
    let by_name = "UPDATE membership SET ground = 'name' WHERE member = $1";
    let db = &lost.world.test.ctx.db;
    let of_her = [lost.member.0.into()];
    assert_eq!(db.execute(by_name, of_her).await.unwrap(), 2);
    assert_eq!(lost.seen(&lost.officer).await, Value::Null);
    assert_eq!(codes(&lost.stop(&lost.officer).await), ["MEMBER_NOT_FOUND"]);
    let confirmed = lost.confirm(&lost.officer).await;
    assert_eq!(codes(&confirmed), ["MEMBER_NOT_FOUND"]);
    assert_eq!(lost.state().await, "claimed");
    assert_eq!(codes(&lost.stop(&lost.second).await), [""; 0]);
    assert_eq!(lost.state().await, "stopped");
    lost.promises().await;
}
