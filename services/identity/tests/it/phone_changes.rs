//! Another phone, by both phones: with one of them, or with a token alone, nothing changes.

use identity::Settings;
use identity::commands::phone_changes::PHONE_CHANGES_PER_DAY_MAX;
use identity::domain::code::{CODE_SECONDS, CODE_WRONG_MAX};
use identity::due::Jobs;
use kit::access::Caller;
use kit::graphql::Language;
use kit::types::{LoginId, MemberId};
use sandbox::Clock;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::parties::Parties;
use crate::world::{World, codes, number_of_phone, settings};

const NEW: &str = "13700001111";

/// A signed-in member, whose phone is [`number_of_phone`] of one.
struct Signed {
    world: World,
    member: MemberId,
    caller: Caller,
}

impl Signed {
    async fn start() -> Self {
        Self::with(settings("http://127.0.0.1:9")).await
    }

    async fn with(settings: Settings) -> Self {
        let world = World::with(settings).await;
        let union = world.organisation("GRASSROOTS", "基层工会").await;
        let member = world.person(&union, 1).await;
        let session = world.sign_in(&number_of_phone(1)).await;
        world.advance(61);
        Self {
            caller: Caller::member(member, session.login, Language::En),
            world,
            member,
        }
    }

    async fn ask(&self, phone: &str, key: u128) -> Value {
        let input = json!({ "phone": phone, "idempotencyKey": Uuid::from_u128(key) });
        let run = self
            .world
            .mutate(&self.caller, "requestPhoneChange", "expiresAt", input);
        run.await
    }

    async fn change(&self, old: &str, new: &str) -> Value {
        let input = json!({ "oldCode": old, "newCode": new });
        self.world
            .mutate(&self.caller, "changePhone", "memberId", input)
            .await
    }

    /// The codes that both phones were sent.
    async fn both(&self) -> (String, String) {
        let old = self.world.code(&number_of_phone(1)).await;
        (old, self.world.code(NEW).await)
    }

    /// The phones that sign in, as far as these two are known.
    async fn signs_in(&self, phone: &str) -> bool {
        let blind = self
            .world
            .identity
            .vault
            .blind_phone(&crate::world::phone(phone))
            .unwrap();
        let sql = format!(
            "SELECT count(*) AS count FROM login_method
             WHERE kind = 'phone' AND blind = '\\x{}' AND member = '{}'",
            hex::encode(blind),
            self.member.0
        );
        self.world.count(&sql).await == 1
    }
}

fn wrong(code: &str) -> String {
    let last = if code.ends_with('0') { "1" } else { "0" };
    format!("{}{last}", &code[..5])
}

/// Both codes make the new phone hers; her other devices are signed out, and this one stays.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn both_phones_change_it() {
    let signed = Signed::start().await;
    let other = signed.world.sign_in(&number_of_phone(1)).await;
    signed.world.advance(61);
    let asked = signed.ask(NEW, 1).await;
    assert_eq!(codes(&asked), [""; 0], "{asked}");
    let (old, new) = signed.both().await;
    let changed = signed.change(&old, &new).await;
    assert_eq!(codes(&changed), [""; 0], "{changed}");
    assert!(signed.signs_in(NEW).await && !signed.signs_in(&number_of_phone(1)).await);
    let counts = |login: LoginId| {
        let sql = format!(
            "SELECT count(*) AS count FROM login WHERE id = '{}' AND withdrawn_at IS NULL",
            login.0
        );
        let world = &signed.world;
        async move { world.count(&sql).await == 1 }
    };
    let kit::access::Who::Member { login, .. } = signed.caller.who else {
        panic!("signed in")
    };
    assert!(counts(login).await, "this device stays");
    assert!(!counts(other.login).await, "others do not");
    let kept = "SELECT count(*) AS count FROM phone_change";
    assert_eq!(signed.world.count(kept).await, 0);
    let again = signed.change(&old, &new).await;
    assert_eq!(codes(&again), ["CODE_EXPIRED"], "good once");
    signed.world.advance(61);
    assert_eq!(signed.world.sign_in(NEW).await.member, signed.member);
}

/// One of the codes is not enough, whichever; wrong guesses void it, and after five minutes both
/// are over.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_phone_changes_nothing() {
    let signed = Signed::start().await;
    assert_eq!(
        codes(&signed.change("000000", "000000").await),
        ["CODE_EXPIRED"]
    );
    signed.ask(NEW, 1).await;
    let (old, new) = signed.both().await;
    let crossed = signed.change(&new, &old).await;
    assert!(["CODE_WRONG"] == *codes(&crossed), "{crossed}");
    let halves = [(old.clone(), wrong(&new)), (wrong(&old), new.clone())];
    for (old, new) in &halves {
        assert_eq!(codes(&signed.change(old, new).await), ["CODE_WRONG"]);
    }
    assert!(signed.signs_in(&number_of_phone(1)).await && !signed.signs_in(NEW).await);
    for _ in 0..CODE_WRONG_MAX - 2 {
        assert_eq!(
            codes(&signed.change(&old, &wrong(&new)).await),
            ["CODE_WRONG"]
        );
    }
    let void = signed.change(&old, &new).await;
    assert_eq!(codes(&void), ["CODE_EXHAUSTED"], "{void}");
    signed.world.advance(61);
    assert_eq!(codes(&signed.ask(NEW, 2).await), [""; 0]);
    let (old, new) = signed.both().await;
    signed.world.advance(CODE_SECONDS);
    let over = signed.change(&old, &new).await;
    assert_eq!(codes(&over), ["CODE_EXPIRED"], "{over}");
    assert!(signed.signs_in(&number_of_phone(1)).await);
}

/// The phone that one has, one that is none, and too many changes are refused; the same key is the
/// same change.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn changes_are_counted() {
    let signed = Signed::start().await;
    assert_eq!(codes(&signed.ask("123", 1).await), ["PHONE_INVALID"]);
    let same = signed.ask(&number_of_phone(1), 2).await;
    assert_eq!(codes(&same), ["PHONE_UNCHANGED"]);
    let first = signed.ask(NEW, 3).await;
    let again = signed.ask(NEW, 3).await;
    assert_eq!(first["expiresAt"], again["expiresAt"]);
    assert_eq!(codes(&again), [""; 0]);
    assert_eq!(
        codes(&signed.ask(NEW, 4).await),
        ["TOO_MANY_CODES"],
        "a minute apart"
    );
    for key in 1..PHONE_CHANGES_PER_DAY_MAX {
        signed.world.advance(3_600);
        let asked = signed.ask(NEW, 10 + u128::from(key.unsigned_abs())).await;
        assert_eq!(codes(&asked), [""; 0], "{asked}");
    }
    signed.world.advance(3_600);
    assert_eq!(
        codes(&signed.ask(NEW, 30).await),
        ["TOO_MANY_CODES"],
        "in the day"
    );
}

/// A phone that is another's is sent nothing and cannot be taken; nobody is told so before both
/// codes are right.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn anothers_phone_stays_hers() {
    let parties = Parties::start("phones", Clock::System).await;
    let mut settings = settings(&parties.url);
    settings.sms.key = parties.sms_key().into();
    let signed = Signed::with(settings).await;
    let jobs = Jobs(signed.world.identity.clone());
    let work = async || {
        while kit::due::step(&signed.world.test.ctx, &jobs).await.unwrap() > 0 {}
    };
    work().await;
    let operator = crate::world::OPERATOR_PHONE;
    let sent = async |phone: &str| parties.inbox(phone).await.len();
    let (before, own) = (sent(operator).await, sent(&number_of_phone(1)).await);
    let free = sent(NEW).await;
    let taken = signed.ask(operator, 1).await;
    assert_eq!(codes(&taken), [""; 0], "{taken}");
    work().await;
    assert_eq!(sent(operator).await, before, "nothing is sent");
    assert_eq!(sent(&number_of_phone(1)).await, own + 1, "she is told");
    let old = signed.world.code(&number_of_phone(1)).await;
    let new = signed.world.code(operator).await;
    let refused = signed.change(&old, &new).await;
    assert_eq!(codes(&refused), ["PERSON_NOT_MATCHED"]);
    assert!(signed.signs_in(&number_of_phone(1)).await);
    signed.world.advance(61);
    let asked = signed.ask(NEW, 2).await;
    assert_eq!(codes(&asked), [""; 0], "{asked}");
    work().await;
    let messages = parties.inbox(NEW).await;
    assert_eq!(messages.len(), free + 1);
    let (_, new) = signed.both().await;
    assert!(
        messages.iter().any(|one| one["params"]["code"] == new),
        "{messages:?}"
    );
    assert!(messages.iter().all(|one| one["template"] == "phone_change"));
}
