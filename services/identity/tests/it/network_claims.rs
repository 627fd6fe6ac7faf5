//! A lost phone of who was verified by 网号: claimed without any number, told apart by the service of
//! the state alone, and confirmed by her name.

use identity::domain::phone_recovery::NETWORK_CLAIM_MINUTES;
use kit::access::Caller;
use kit::graphql::Language;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::phone_recoveries::{HOUR_SECONDS, Lost, NEW, code, global};
use crate::world::{codes, name, number_of_phone};

const WAITING: &str = "SELECT count(*) AS count FROM network_claim";

impl Lost {
    /// A 网证 of whom the service knows by this name.
    async fn token(&self, at: u32) -> Value {
        let told = self.parties.tell("people", json!({ "name": name(at) }));
        told.await["token"].clone()
    }

    /// A member who is verified by 网号.
    async fn by_network(test: &str) -> Self {
        let lost = Self::start(test).await;
        let input = json!({ "networkToken": lost.token(1).await,
            "idempotencyKey": Uuid::from_u128(1) });
        let begun = lost
            .world
            .mutate(&lost.herself, "verifyIdentity", "", input);
        assert_eq!(codes(&begun.await), [""; 0]);
        lost.work().await;
        let held = "SELECT count(*) AS count FROM network_identity";
        assert_eq!(lost.world.count(held).await, 1);
        lost
    }

    async fn claim_by(&self, new: &str, at: u32, token: &Value) -> Value {
        let code = code(&self.world, new).await;
        let nobody = Caller::anonymous(Language::En);
        let input = json!({ "phone": new, "code": code, "name": name(at),
            "networkToken": token });
        let run = self
            .world
            .mutate(&nobody, "recoverAccount", "expiresAt", input);
        run.await
    }

    async fn named(&self, by: &Caller, act: &str, at: u32) -> Value {
        let input = json!({ "memberId": global(self.member), "phone": NEW, "name": name(at) });
        self.world.mutate(by, act, "", input).await
    }
}

/// What she has shown is kept until the service has answered, and sealed; then it is a recovery as
/// any other, which two others confirm and approve by her name.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_network_identity_recovers_a_phone() {
    let lost = Lost::by_network("network").await;
    let claimed = lost.claim_by(NEW, 1, &lost.token(1).await).await;
    assert_eq!(codes(&claimed), [""; 0], "{claimed}");
    assert_eq!(lost.world.count(WAITING).await, 1);
    assert_eq!(lost.state().await, "", "nobody's yet");
    lost.promises().await;
    lost.work().await;
    assert_eq!(lost.world.count(WAITING).await, 0);
    assert_eq!(lost.state().await, "claimed");
    lost.promises().await;

    let operator = lost.world.as_operator();
    let other = lost.named(&lost.officer, "confirmPhoneRecovery", 2).await;
    assert_eq!(codes(&other), ["PERSON_NOT_MATCHED"]);
    let confirmed = lost.named(&lost.officer, "confirmPhoneRecovery", 1).await;
    assert_eq!(codes(&confirmed), [""; 0], "{confirmed}");
    let approved = lost.named(&operator, "approvePhoneRecovery", 1).await;
    assert_eq!(codes(&approved), [""; 0], "{approved}");
    lost.advance(72 * HOUR_SECONDS);
    lost.work().await;
    assert_eq!(lost.state().await, "done");
    assert!(lost.signs_in(NEW).await && !lost.signs_in(&number_of_phone(1)).await);
    lost.promises().await;
}

/// A 网号 that is nobody's here, one whose holder has another name, and one whose person is
/// registered under another are answered alike, and come to nothing.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_network_claim_is_one_answer() {
    let lost = Lost::by_network("network-answers").await;
    let mut answers = Vec::new();
    for (new, at, of) in [
        ("13700002221", 1, 1),
        ("13700002222", 70, 70),
        ("13700002223", 2, 1),
    ] {
        let token = lost.token(of).await;
        answers.push(lost.claim_by(new, at, &token).await);
    }
    assert_eq!(codes(&answers[0]), [""; 0], "{}", answers[0]);
    assert!(answers.iter().all(|one| *one == answers[0]), "{answers:?}");
    lost.work().await;
    assert_eq!(lost.world.count(WAITING).await, 0);
    let all = "SELECT count(*) AS count FROM phone_recovery";
    assert_eq!(lost.world.count(all).await, 1);
    let said = "SELECT act AS name FROM audit
        WHERE act IN ('recovery_verified', 'recovery_not_verified') ORDER BY act";
    let expected = [
        "recovery_not_verified",
        "recovery_not_verified",
        "recovery_verified",
    ];
    assert_eq!(lost.world.names(said).await, expected);
    lost.promises().await;
}

/// A claim by document is not confirmed by a name, which many know; and what is neither the one nor
/// the other, or both, is none.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_name_confirms_no_claim_by_document() {
    let lost = Lost::by_network("network-name").await;
    lost.claimed().await;
    let refused = lost.named(&lost.officer, "confirmPhoneRecovery", 1).await;
    assert_eq!(codes(&refused), ["PERSON_NOT_MATCHED"]);
    let bare = json!({ "memberId": global(lost.member), "phone": NEW });
    let refused = lost
        .world
        .mutate(&lost.officer, "confirmPhoneRecovery", "", bare);
    assert_eq!(codes(&refused.await), ["DOCUMENT_INVALID"]);
    let short = lost.claim_by("13700002221", 1, &json!("short")).await;
    assert_eq!(codes(&short), ["NETWORK_TOKEN_INVALID"]);
    assert_eq!(lost.state().await, "claimed");
    lost.promises().await;
}

/// What the service does not answer in time is over.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_not_answered_is_over() {
    let lost = Lost::by_network("network-over").await;
    let claimed = lost.claim_by(NEW, 1, &lost.token(1).await).await;
    assert_eq!(codes(&claimed), [""; 0], "{claimed}");
    lost.advance(NETWORK_CLAIM_MINUTES * 60);
    lost.work().await;
    assert_eq!(lost.world.count(WAITING).await, 0);
    assert_eq!(lost.state().await, "");
    lost.promises().await;
}
