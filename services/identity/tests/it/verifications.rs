//! Verifying who somebody is, against the stand-in of the service of the state: what matches, what
//! does not and says no more, what is asked again, and what is counted.

use identity::Settings;
use identity::commands::FAILURES_PER_HOUR_MAX;
use identity::domain::verification::{VERIFICATION_HOURS_MAX, VERIFICATIONS_PER_DAY_MAX};
use identity::due::Jobs;
use kit::access::Caller;
use kit::types::MemberId;
use sandbox::{Clock, ManualClock};
use serde_json::{Value, json};
use tokio::sync::Barrier;
use uuid::Uuid;

use crate::parties::Parties;
use crate::world::{HOUR_OVER, World, codes, name, number, settings};

/// A world with two members whom the service knows, and the service beside it.
struct Beside {
    world: World,
    parties: Parties,
    clock: ManualClock,
    one: MemberId,
    other: MemberId,
}

const SELECTION: &str = "verification { id state source documentType askedAt answeredAt }";

fn key() -> Uuid {
    static NEXT: std::sync::atomic::AtomicU64 = std::sync::atomic::AtomicU64::new(1);
    let next = NEXT.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
    Uuid::from_u128(u128::from(next))
}

fn document(at: u32, number: &str) -> Value {
    json!({ "name": name(at), "documentType": "RESIDENT_ID", "documentNumber": number })
}

impl Beside {
    async fn start(test: &str) -> Self {
        let clock = ManualClock::at(kit::testing::start().timestamp_millis());
        let folder = format!("verify-{test}");
        let parties = Parties::start(&folder, Clock::Manual(clock.clone())).await;
        let world = World::with(Settings {
            verification: Some(parties.verification()),
            ..settings(&parties.url)
        })
        .await;
        let union = world.organisation("GRASSROOTS", "基层工会").await;
        let (one, other) = (world.person(&union, 1).await, world.person(&union, 2).await);
        for at in [1, 2] {
            let known = json!({
                "document_type": "RESIDENT_ID", "number": number(at), "name": name(at),
            });
            parties.tell("people", known).await;
        }
        Self {
            world,
            parties,
            clock,
            one,
            other,
        }
    }

    fn advance(&self, seconds: i64) {
        self.world.advance(seconds);
        self.clock.advance_ms(seconds * 1_000);
    }

    async fn verify_by(&self, caller: &Caller, claim: &Value, key: Uuid) -> Value {
        let mut input = claim.clone();
        input["idempotencyKey"] = json!(key);
        let world = &self.world;
        world
            .mutate(caller, "verifyIdentity", SELECTION, input)
            .await
    }

    /// Begun, and asked until nothing is due.
    async fn verify(&self, member: MemberId, claim: &Value) -> Value {
        // The last one is the one that was asked for last.
        self.advance(1);
        let caller = self.world.as_member(member);
        let begun = self.verify_by(&caller, claim, key()).await;
        assert_eq!(codes(&begun), [""; 0], "{begun}");
        assert_eq!(begun["verification"]["state"], "ASKED");
        self.work().await;
        self.last(member).await
    }

    async fn work(&self) {
        let jobs = Jobs(self.world.identity.clone());
        while kit::due::step(&self.world.test.ctx, &jobs).await.unwrap() > 0 {}
    }

    async fn me(&self, member: MemberId, field: &str) -> Value {
        let query = format!("{{ me {{ {field} {{ id state source documentType answeredAt }} }} }}");
        let caller = self.world.as_member(member);
        let me = self.world.run(&caller, &query, json!({})).await;
        me[field].clone()
    }

    async fn last(&self, member: MemberId) -> Value {
        self.me(member, "lastVerification").await
    }

    /// How many questions the service was asked.
    async fn asked(&self) -> u64 {
        let known = json!({
            "document_type": "RESIDENT_ID", "number": number(1), "name": name(1),
        });
        self.parties.tell("people", known).await["asked"]
            .as_u64()
            .unwrap()
    }

    /// Every promise of the service.
    async fn promises(&self) {
        for invariant in identity::verify::INVARIANTS {
            let db = &self.world.test.ctx.db;
            let broken = kit::verify::check(db, invariant).await.unwrap();
            assert!(broken.is_empty(), "{}: {broken:?}", invariant.id);
        }
    }
}

/// Name and number belong together and are her own: she is verified, with time and source, and what
/// she said is gone.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_is_who_she_says_is_verified() {
    let beside = Beside::start("matches").await;
    assert_eq!(beside.me(beside.one, "verifiedIdentity").await, Value::Null);
    let last = beside.verify(beside.one, &document(1, &number(1))).await;
    assert_eq!(last["state"], "MATCHED", "{last}");
    assert_eq!(last["source"], "national");
    assert_eq!(last["documentType"], "RESIDENT_ID");
    let now = beside.world.identity.ctx.clock.now();
    let at: chrono::DateTime<chrono::Utc> = last["answeredAt"].as_str().unwrap().parse().unwrap();
    assert_eq!(at, now);
    assert_eq!(beside.me(beside.one, "verifiedIdentity").await, last);
    let kept = "SELECT count(*) AS count FROM verification WHERE claim IS NOT NULL";
    assert_eq!(beside.world.count(kept).await, 0);
    // One that does not match later takes nothing back.
    let wrong = beside.verify(beside.one, &document(2, &number(1))).await;
    assert_eq!(wrong["state"], "NOT_MATCHED");
    assert_eq!(
        beside.me(beside.one, "verifiedIdentity").await["id"],
        last["id"]
    );
    beside.promises().await;
}

/// A wrong name, a wrong number, another's papers, and papers of nobody are one answer, and each is
/// asked of the service once: nobody learns which was wrong, by the answer or by the work.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_does_not_match_is_one_answer() {
    let beside = Beside::start("wrong").await;
    let mut answers = Vec::new();
    for claim in [
        document(2, &number(1)),
        document(1, &number(2)),
        document(2, &number(2)),
        document(1, &number(7)),
        document(7, &number(7)),
    ] {
        let before = beside.asked().await;
        let mut last = beside.verify(beside.one, &claim).await;
        assert_eq!(beside.asked().await, before + 1, "asked once");
        last["id"] = Value::Null;
        last["answeredAt"] = Value::Null;
        answers.push(last);
    }
    assert_eq!(answers[0]["state"], "NOT_MATCHED");
    assert!(answers.iter().all(|one| *one == answers[0]), "{answers:?}");
    let details = "SELECT DISTINCT concat(act, detail::text) AS name FROM audit
        WHERE act LIKE 'identity_%verified'";
    assert_eq!(
        beside.world.names(details).await.len(),
        1,
        "nor by the audit"
    );
    beside.promises().await;
}

/// A passport that nobody has is hers once it is verified, and then nobody else's; a second
/// resident number of one person is none of hers.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_document_becomes_ones_own() {
    let beside = Beside::start("anew").await;
    let passport = |at: u32| {
        json!({
            "name": name(at), "documentType": "PASSPORT", "documentNumber": "E12345678",
        })
    };
    let known = json!({ "document_type": "PASSPORT", "number": "E12345678", "name": name(1) });
    beside.parties.tell("people", known).await;
    let first = beside.verify(beside.one, &passport(1)).await;
    assert_eq!(first["state"], "MATCHED", "{first}");
    let papers = format!(
        "SELECT count(*) AS count FROM document WHERE member = '{}'",
        beside.one.0
    );
    assert_eq!(beside.world.count(&papers).await, 2);
    let again = beside.verify(beside.one, &passport(1)).await;
    assert_eq!(again["state"], "MATCHED");
    assert_eq!(beside.world.count(&papers).await, 2, "it is one");
    // Now the service says that it is another's: here it is not.
    let known = json!({ "document_type": "PASSPORT", "number": "E12345678", "name": name(2) });
    beside.parties.tell("people", known).await;
    let stolen = beside.verify(beside.other, &passport(2)).await;
    assert_eq!(stolen["state"], "NOT_MATCHED", "{stolen}");
    let known = json!({
        "document_type": "RESIDENT_ID", "number": number(9), "name": name(1),
    });
    beside.parties.tell("people", known).await;
    let second = beside.verify(beside.one, &document(1, &number(9))).await;
    assert_eq!(second["state"], "NOT_MATCHED", "{second}");
}

/// A 网号 verifies without any number, which is then nowhere; it is one person's, and its token is
/// good once.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_network_identity_verifies_without_a_number() {
    let beside = Beside::start("network").await;
    let token = async |at: u32| {
        let told = beside
            .parties
            .tell("people", json!({ "name": name(at) }))
            .await;
        json!({ "networkToken": told["token"] })
    };
    let own = token(1).await;
    let first = beside.verify(beside.one, &own).await;
    assert_eq!(first["state"], "MATCHED", "{first}");
    assert_eq!(first["documentType"], Value::Null);
    let again = beside.verify(beside.one, &own).await;
    assert_eq!(again["state"], "NOT_MATCHED", "good once");
    let anew = beside.verify(beside.one, &token(1).await).await;
    assert_eq!(anew["state"], "MATCHED");
    let borrowed = beside.verify(beside.other, &token(1).await).await;
    assert_eq!(
        borrowed["state"], "NOT_MATCHED",
        "the holder has another name"
    );
    let held = "SELECT count(*) AS count FROM network_identity";
    assert_eq!(beside.world.count(held).await, 1);
    // Were both named alike, it would still be the first one's.
    let sql = format!(
        "UPDATE network_identity SET member = '{}' WHERE member = '{}'",
        beside.other.0, beside.one.0
    );
    beside.world.test.ctx.db.execute(&sql, []).await.unwrap();
    let taken = beside.verify(beside.one, &token(1).await).await;
    assert_eq!(taken["state"], "NOT_MATCHED");
}

/// A service that fails is asked again, ever more rarely, and answers when it is itself again;
/// after a day nobody waits any longer.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_service_that_fails_is_asked_again() {
    let beside = Beside::start("away").await;
    let fault = json!({ "next": 2, "code": "InternalError" });
    beside.parties.tell("people/faults", fault).await;
    let last = beside.verify(beside.one, &document(1, &number(1))).await;
    assert_eq!(last["state"], "ASKED");
    beside.promises().await;
    beside.work().await;
    assert_eq!(
        beside.last(beside.one).await["state"],
        "ASKED",
        "not at once"
    );
    beside.advance(3);
    beside.work().await;
    assert_eq!(beside.last(beside.one).await["state"], "ASKED");
    beside.advance(5);
    beside.work().await;
    assert_eq!(beside.last(beside.one).await["state"], "MATCHED");

    let fault = json!({ "next": 10_000, "code": "RequestLimitExceeded" });
    beside.parties.tell("people/faults", fault).await;
    let last = beside.verify(beside.one, &document(1, &number(1))).await;
    assert_eq!(last["state"], "ASKED");
    beside.advance(VERIFICATION_HOURS_MAX * 3_600);
    beside.work().await;
    let last = beside.last(beside.one).await;
    assert_eq!(last["state"], "UNANSWERED", "{last}");
    assert_eq!(
        beside.me(beside.one, "verifiedIdentity").await["state"],
        "MATCHED"
    );
    let kept = "SELECT count(*) AS count FROM verification WHERE claim IS NOT NULL";
    assert_eq!(beside.world.count(kept).await, 0);
    beside.promises().await;
}

/// The same key is one verification, and a second waits for the first.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_is_asked_at_a_time() {
    let beside = Beside::start("once").await;
    let caller = beside.world.as_member(beside.one);
    let (claim, once) = (document(1, &number(1)), key());
    let first = beside.verify_by(&caller, &claim, once).await;
    let again = beside.verify_by(&caller, &claim, once).await;
    assert_eq!(first["verification"]["id"], again["verification"]["id"]);
    let later = key();
    let second = beside.verify_by(&caller, &claim, later).await;
    assert_eq!(codes(&second), ["VERIFICATION_WAITS"]);
    let other = beside
        .verify_by(&caller, &document(2, &number(1)), once)
        .await;
    assert_eq!(codes(&other), ["IDEMPOTENCY_KEY_REUSED"]);
    beside.work().await;
    let second = beside.verify_by(&caller, &claim, later).await;
    assert_eq!(codes(&second), [""; 0], "it was recorded under no key");
    let both = [key(), key()].map(|key| {
        let (beside, claim) = (&beside, &claim);
        let caller = beside.world.as_member(beside.other);
        async move { beside.verify_by(&caller, claim, key).await }
    });
    let [one, two] = both;
    let (one, two) = tokio::join!(one, two);
    let mut said = [codes(&one), codes(&two)].concat();
    said.sort_unstable();
    assert_eq!(said, ["VERIFICATION_WAITS"]);
}

/// Adds a verification that is asked, as the program does, but for the lock of the count.
async fn begin_unlocked(beside: &Beside, looked: &Barrier) -> bool {
    let begun = beside.world.test.ctx.db.tx("unguarded", async |tx| {
        use identity::store::verifications as store;
        let waits = store::waits(tx, beside.one).await?;
        looked.wait().await;
        if waits {
            return Ok(false);
        }
        let new = store::NewVerification {
            id: tx.uuid(),
            member: beside.one,
            kind: None,
            claim: vec![1],
            source: "national",
            expires_at: tx.now(),
        };
        store::insert(tx, new).await?;
        Ok(true)
    });
    begun.await.unwrap_or_else(|error| {
        assert_eq!(
            error.constraint().as_deref(),
            Some("verification_one_asked")
        );
        false
    })
}

/// Without the lock two are asked at once: the index lets one through, and without it both.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_the_guard_two_are_asked() {
    let beside = Beside::start("race").await;
    let looked = Barrier::new(2);
    let (one, two) = tokio::join!(
        begin_unlocked(&beside, &looked),
        begin_unlocked(&beside, &looked)
    );
    assert!(one != two, "the index lets one through");
    let db = &beside.world.test.ctx.db;
    db.execute("DELETE FROM verification", []).await.unwrap();
    let owner = beside.world.test.owner().await;
    let drop = "DROP INDEX verification_one_asked";
    owner.execute(drop, []).await.unwrap();
    let (one, two) = tokio::join!(
        begin_unlocked(&beside, &looked),
        begin_unlocked(&beside, &looked)
    );
    assert!(one && two, "the race is there to be guarded against");
}

/// The tenth that does not match within an hour locks for the hour; twenty a day are enough.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn wrong_ones_are_counted() {
    let beside = Beside::start("counted").await;
    let (one, wrong) = (beside.world.as_member(beside.one), document(2, &number(1)));
    for _ in 0..FAILURES_PER_HOUR_MAX {
        let last = beside.verify(beside.one, &wrong).await;
        assert_eq!(last["state"], "NOT_MATCHED");
    }
    let right = document(1, &number(1));
    let asked = beside.asked().await;
    let locked = beside.verify_by(&one, &right, key()).await;
    assert_eq!(codes(&locked), ["TOO_MANY_FAILURES"], "{locked}");
    assert_eq!(beside.asked().await, asked, "nobody is asked");
    let free = beside.verify(beside.other, &document(2, &number(2))).await;
    assert_eq!(free["state"], "MATCHED", "another is not locked");
    beside.advance(HOUR_OVER);
    let last = beside.verify(beside.one, &right).await;
    assert_eq!(last["state"], "MATCHED", "{last}");
    let left = VERIFICATIONS_PER_DAY_MAX - FAILURES_PER_HOUR_MAX - 1;
    for _ in 0..left {
        beside.verify(beside.one, &right).await;
    }
    let over = beside.verify_by(&one, &right, key()).await;
    assert_eq!(codes(&over), ["TOO_MANY_VERIFICATIONS"], "{over}");
}

/// What can be none is refused before anybody is asked; and where nobody is asked nobody is
/// verified.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_can_be_none_is_refused() {
    let beside = Beside::start("none").await;
    let caller = beside.world.as_member(beside.one);
    let token = "0123456789abcdef0123456789abcdef";
    let of = |kind: &str, number: &str| {
        let name = name(1);
        json!({ "name": name, "documentType": kind, "documentNumber": number })
    };
    let mut both = document(1, &number(1));
    both["networkToken"] = json!(token);
    let before = beside.asked().await;
    for (claim, code) in [
        (json!({}), "DOCUMENT_INVALID"),
        (json!({ "name": name(1) }), "DOCUMENT_INVALID"),
        (of("RESIDENT_ID", "110105194912310020"), "DOCUMENT_INVALID"),
        (of("RESIDENT_ID", "500103199002290018"), "DOCUMENT_INVALID"),
        (of("PASSPORT", "1"), "DOCUMENT_INVALID"),
        (of("HOME_RETURN_PERMIT", "X1"), "DOCUMENT_INVALID"),
        (of("TAIWAN_TRAVEL_PERMIT", "1"), "DOCUMENT_INVALID"),
        (of("PERMANENT_RESIDENCE", "1"), "DOCUMENT_INVALID"),
        (json!({ "networkToken": "short" }), "NETWORK_TOKEN_INVALID"),
        (both, "NETWORK_TOKEN_INVALID"),
    ] {
        let refused = beside.verify_by(&caller, &claim, key()).await;
        assert_eq!(codes(&refused), [code], "{claim}");
    }
    beside.work().await;
    assert_eq!(beside.asked().await, before);
    let without = World::new().await;
    let input = json!({ "networkToken": token, "idempotencyKey": key() });
    let off = without
        .mutate(&without.as_operator(), "verifyIdentity", SELECTION, input)
        .await;
    assert_eq!(codes(&off), ["VERIFICATION_OFF"]);
}
