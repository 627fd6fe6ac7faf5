//! A lost phone: claimed from a new one by document, confirmed and approved by two others, told to
//! the old one, and hers when nobody has taken it back in time.

use identity::Settings;
use identity::domain::phone_recovery::{RECOVERY_CLAIM_HOURS, RECOVERY_WAIT_HOURS};
use identity::due::Jobs;
use kit::access::Caller;
use kit::graphql::{GlobalId, Language};
use kit::types::{LoginId, MemberId};
use sandbox::{Clock, ManualClock};
use serde_json::{Value, json};
use uuid::Uuid;

use crate::parties::Parties;
use crate::world::{OPERATOR_PHONE, World, codes, name, number, number_of_phone, phone, settings};

pub(crate) const NEW: &str = "13700001111";
pub(crate) const HOUR_SECONDS: i64 = 3_600;

/// A member who has lost her phone and is signed in with it still, an officer of hers, and a
/// second operator.
pub(crate) struct Lost {
    pub(crate) world: World,
    pub(crate) parties: Parties,
    clock: ManualClock,
    pub(crate) union: String,
    pub(crate) member: MemberId,
    pub(crate) herself: Caller,
    pub(crate) officer: Caller,
    pub(crate) second: Caller,
}

pub(crate) fn global(member: MemberId) -> String {
    GlobalId::of_uuid("Member", member.0).to_string()
}

/// A recovery as its row is, past the service; `by` who has confirmed it.
pub(crate) async fn plant(world: &World, member: MemberId, new: &str, by: Option<MemberId>) {
    let blind = world.identity.vault.blind_phone(&phone(new)).unwrap();
    let (state, by, at) = match by {
        Some(by) => ("confirmed", format!("'{by}'"), "'2026-04-01'"),
        None => ("claimed", "NULL".to_owned(), "NULL"),
    };
    let sql = format!(
        "INSERT INTO phone_recovery (id, member, state, phone, blind, asked_at, expires_at,
           confirmed_by, confirmed_at)
         VALUES (gen_random_uuid(), '{member}', '{state}', 'sealed', '\\x{}', '2026-04-01',
           '2099-01-01', {by}, {at})",
        hex::encode(blind)
    );
    world.test.ctx.db.execute(&sql, []).await.unwrap();
}

/// A code to a new phone.
pub(crate) async fn code(world: &World, new: &str) -> String {
    let nobody = Caller::anonymous(Language::En);
    let input = json!({ "phone": new });
    let asked = world.mutate(&nobody, "requestRecoveryCode", "expiresAt", input);
    let asked = asked.await;
    assert_eq!(codes(&asked), [""; 0], "{asked}");
    world.code(new).await
}

/// What a person says of herself at a new phone that shows its code.
pub(crate) fn claim_of(new: &str, code: &str, at: u32, document: &str) -> Value {
    json!({ "phone": new, "code": code, "name": name(at), "documentType": "RESIDENT_ID",
        "documentNumber": document })
}

impl Lost {
    pub(crate) async fn start(test: &str) -> Self {
        let clock = ManualClock::at(kit::testing::start().timestamp_millis());
        let folder = format!("lost-{test}");
        let parties = Parties::start(&folder, Clock::Manual(clock.clone())).await;
        let mut settings = Settings {
            verification: Some(parties.verification()),
            ..settings(&parties.url)
        };
        settings.sms.key = parties.sms_key().into();
        let world = World::with(settings).await;
        let union = world.organisation("GRASSROOTS", "基层工会").await;
        let member = world.person(&union, 1).await;
        let officer = world.person(&union, 2).await;
        let _ = world.grant(officer, &union, "OFFICER").await;
        let second = world.person(&union, 3).await;
        let root = GlobalId::of_uuid("Organisation", world.root_id().0).to_string();
        let _ = world.grant(second, &root, "OPERATOR").await;
        let session = world.sign_in(&number_of_phone(1)).await;
        let known = json!({
            "document_type": "RESIDENT_ID", "number": number(1), "name": name(1),
        });
        parties.tell("people", known).await;
        Self {
            herself: Caller::member(member, session.login, Language::En),
            officer: world.as_member(officer),
            second: world.as_member(second),
            world,
            parties,
            clock,
            union,
            member,
        }
    }

    pub(crate) fn advance(&self, seconds: i64) {
        self.world.advance(seconds);
        self.clock.advance_ms(seconds * 1_000);
    }

    pub(crate) async fn work(&self) {
        let jobs = Jobs(self.world.identity.clone());
        while kit::due::step(&self.world.test.ctx, &jobs).await.unwrap() > 0 {}
    }

    pub(crate) async fn recover(&self, new: &str, at: u32, document: &str) -> Value {
        self.recover_from("", new, (at, document)).await
    }

    pub(crate) async fn recover_from(
        &self,
        address: &str,
        new: &str,
        (at, document): (u32, &str),
    ) -> Value {
        let code = code(&self.world, new).await;
        self.work().await;
        let mut nobody = Caller::anonymous(Language::En);
        nobody.client = address.to_owned();
        let input = claim_of(new, &code, at, document);
        let run = self
            .world
            .mutate(&nobody, "recoverAccount", "expiresAt", input);
        run.await
    }

    /// Claimed, and verified by the service.
    pub(crate) async fn claimed(&self) {
        let claimed = self.recover(NEW, 1, &number(1)).await;
        assert_eq!(codes(&claimed), [""; 0], "{claimed}");
        self.work().await;
        assert_eq!(self.state().await, "claimed");
    }

    pub(crate) async fn confirm_as(&self, by: &Caller, new: &str, document: &str) -> Value {
        let input = json!({ "memberId": global(self.member), "phone": new,
            "documentType": "RESIDENT_ID", "documentNumber": document });
        let run = self
            .world
            .mutate(by, "confirmPhoneRecovery", "expiresAt", input);
        run.await
    }

    pub(crate) async fn confirm(&self, by: &Caller) -> Value {
        self.confirm_as(by, NEW, &number(1)).await
    }

    async fn approve_as(&self, by: &Caller, new: &str, document: &str) -> Value {
        let input = json!({ "memberId": global(self.member), "phone": new,
            "documentType": "RESIDENT_ID", "documentNumber": document });
        let run = self
            .world
            .mutate(by, "approvePhoneRecovery", "dueAt", input);
        run.await
    }

    pub(crate) async fn approve(&self, by: &Caller) -> Value {
        self.approve_as(by, NEW, &number(1)).await
    }

    /// Claimed, confirmed by the officer and approved by the operator.
    pub(crate) async fn approved(&self) {
        self.claimed().await;
        let confirmed = self.confirm(&self.officer).await;
        assert_eq!(codes(&confirmed), [""; 0], "{confirmed}");
        let approved = self.approve(&self.world.as_operator()).await;
        assert_eq!(codes(&approved), [""; 0], "{approved}");
    }

    pub(crate) async fn recall(&self) -> Value {
        let text = "mutation { recallPhoneRecovery { memberId userErrors { code } } }";
        self.world.run(&self.herself, text, json!({})).await
    }

    /// How far the newest has come.
    pub(crate) async fn state(&self) -> String {
        let sql = "SELECT state AS name FROM phone_recovery ORDER BY asked_at DESC, id LIMIT 1";
        self.world.names(sql).await.pop().unwrap_or_default()
    }

    pub(crate) async fn signs_in(&self, number: &str) -> bool {
        let blind = self.world.identity.vault.blind_phone(&phone(number));
        let sql = format!(
            "SELECT count(*) AS count FROM login_method
             WHERE kind = 'phone' AND blind = '\\x{}' AND member = '{}'",
            hex::encode(blind.unwrap()),
            self.member
        );
        self.world.count(&sql).await == 1
    }

    pub(crate) async fn sent(&self, number: &str, template: &str) -> usize {
        let inbox = self.parties.inbox(number).await;
        let of = inbox.iter().filter(|one| one["template"] == template);
        of.count()
    }

    /// Every promise of the service, but for one that the database's own clock judges.
    pub(crate) async fn promises(&self) {
        let all = identity::verify::INVARIANTS.iter();
        for invariant in all.filter(|it| it.id != "identity.notices_are_swept") {
            let broken = self.world.broken(invariant.id).await;
            assert_eq!(broken, 0, "{}", invariant.id);
        }
    }
}

/// By document, two others and three days the new phone becomes hers and her only way in; the old
/// one is told at once, and every login she had has ended.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lost_phone_is_recovered() {
    let lost = Lost::start("whole").await;
    let old = number_of_phone(1);
    lost.claimed().await;
    assert_eq!(lost.sent(NEW, "recovery_code").await, 1);
    let claims = "SELECT count(*) AS count FROM phone_recovery WHERE claim IS NOT NULL";
    assert_eq!(lost.world.count(claims).await, 0, "answered, and forgotten");
    let confirmed = lost.confirm(&lost.officer).await;
    assert_eq!(codes(&confirmed), [""; 0], "{confirmed}");
    lost.work().await;
    assert_eq!(lost.sent(&old, "phone_recovery").await, 0);
    let operator = lost.world.as_operator();
    let approved = lost.approve(&operator).await;
    assert_eq!(codes(&approved), [""; 0], "{approved}");
    lost.work().await;
    assert_eq!(lost.sent(&old, "phone_recovery").await, 1);
    let about = "{ me { notices(first: 9) { nodes { kind text } } } }";
    let seen = lost.world.run(&lost.herself, about, json!({})).await;
    assert!(seen.to_string().contains("take it back"), "{seen}");
    let about = "{ me { phoneRecovery { state dueAt } } }";
    let seen = lost.world.run(&lost.herself, about, json!({})).await;
    assert_eq!(seen["phoneRecovery"]["state"], "APPROVED", "{seen}");
    assert_eq!(seen["phoneRecovery"]["dueAt"], approved["dueAt"]);
    lost.promises().await;

    lost.advance(RECOVERY_WAIT_HOURS * HOUR_SECONDS - 1);
    lost.work().await;
    assert_eq!(lost.state().await, "approved");
    assert!(lost.signs_in(&old).await && !lost.signs_in(NEW).await);
    lost.advance(1);
    lost.work().await;
    assert_eq!(lost.state().await, "done");
    assert!(lost.signs_in(NEW).await && !lost.signs_in(&old).await);
    let logins = format!(
        "SELECT count(*) AS count FROM login WHERE member = '{}' AND withdrawn_at IS NULL",
        lost.member
    );
    assert_eq!(lost.world.count(&logins).await, 0);
    let told = "SELECT count(*) AS count FROM notice WHERE kind = 'phone_changed'";
    assert_eq!(
        lost.world.count(told).await,
        2,
        "that it will be, and that it is"
    );
    let kept = "SELECT count(*) AS count FROM phone_recovery WHERE phone IS NOT NULL";
    assert_eq!(lost.world.count(kept).await, 0);
    assert_eq!(lost.world.sign_in(NEW).await.member, lost.member);
    lost.promises().await;
}

/// A record that is not there, another name, a claim that is open, and a phone that is another's
/// are one answer, by what is said and by what is on record; that phone is sent nothing.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_claim_is_one_answer() {
    let lost = Lost::start("answers").await;
    lost.work().await;
    let before = lost.parties.inbox(OPERATOR_PHONE).await.len();
    let mut answers = Vec::new();
    for (new, at, document, rows) in [
        ("13700002221", 1, number(70), 0),
        ("13700002222", 4, number(1), 0),
        (OPERATOR_PHONE, 2, number(2), 0),
        (NEW, 1, number(1), 1),
        ("13700002223", 1, number(1), 2),
    ] {
        answers.push(lost.recover(new, at, &document).await);
        let count = "SELECT count(*) AS count FROM phone_recovery";
        assert_eq!(lost.world.count(count).await, rows, "{new}");
    }
    let open = "SELECT count(*) AS count FROM phone_recovery WHERE ended_at IS NULL";
    assert_eq!(lost.world.count(open).await, 1, "the later one");
    assert_eq!(codes(&answers[0]), [""; 0], "{}", answers[0]);
    assert!(answers.iter().all(|one| *one == answers[0]), "{answers:?}");
    let said = "SELECT DISTINCT concat(act, detail::text, member, login) AS name FROM audit
        WHERE act LIKE 'recover_account%'";
    assert_eq!(lost.world.names(said).await.len(), 1);
    lost.work().await;
    assert_eq!(lost.parties.inbox(OPERATOR_PHONE).await.len(), before);
}

/// A code is good once and for its own phone, and one that signs in is none.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_claim_needs_the_code_of_its_phone() {
    let lost = Lost::start("codes").await;
    let nobody = Caller::anonymous(Language::En);
    let claim = async |new: &str, code: &str| {
        let input = claim_of(new, code, 1, &number(1));
        lost.world
            .mutate(&nobody, "recoverAccount", "expiresAt", input)
            .await
    };
    assert_eq!(codes(&claim(NEW, "000000").await), ["CODE_EXPIRED"]);
    let right = code(&lost.world, NEW).await;
    let last = if right.ends_with('0') { "1" } else { "0" };
    let wrong = format!("{}{last}", &right[..5]);
    assert_eq!(codes(&claim(NEW, &wrong).await), ["CODE_WRONG"]);
    assert_eq!(codes(&claim("13700002221", &right).await), ["CODE_EXPIRED"]);
    assert_eq!(codes(&claim(NEW, &right).await), [""; 0]);
    assert_eq!(codes(&claim(NEW, &right).await), ["CODE_EXPIRED"]);
    lost.advance(61);
    let old = number_of_phone(1);
    let ask = json!({ "phone": old });
    let sent = lost
        .world
        .mutate(&nobody, "requestLoginCode", "", ask)
        .await;
    assert_eq!(codes(&sent), [""; 0], "{sent}");
    let login = lost.world.code(&old).await;
    assert_eq!(codes(&claim(&old, &login).await), ["CODE_EXPIRED"]);
}

/// What the service does not know goes no further, and the person may claim again.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_not_verified_ends() {
    let lost = Lost::start("unknown").await;
    let other = lost.world.person(&lost.union, 5).await;
    for _ in 0..2 {
        let claimed = lost.recover(NEW, 5, &number(5)).await;
        assert_eq!(codes(&claimed), [""; 0], "{claimed}");
        assert_eq!(lost.state().await, "asked");
        lost.work().await;
        assert_eq!(lost.state().await, "not_matched");
        lost.advance(61);
    }
    let input = json!({ "memberId": global(other), "phone": NEW,
        "documentType": "RESIDENT_ID", "documentNumber": number(5) });
    let confirm = lost
        .world
        .mutate(&lost.officer, "confirmPhoneRecovery", "", input);
    assert_eq!(codes(&confirm.await), ["RECOVERY_NOT_FOUND"]);
    lost.promises().await;
}

/// Only who vouches for her, has seen document and phone and has shown a second factor confirms;
/// only an operator approves, who is another person and has seen them too.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_others_who_may_carry_it() {
    let lost = Lost::start("two").await;
    let operator = lost.world.as_operator();
    let none = lost.confirm(&lost.officer).await;
    assert_eq!(codes(&none), ["RECOVERY_NOT_FOUND"]);
    lost.claimed().await;
    let elsewhere = crate::rosters::officer_of(&lost.world, "别的工会", 100).await;
    let refused = lost.confirm(&elsewhere.1).await;
    assert_eq!(codes(&refused), ["MEMBER_NOT_FOUND"]);
    let shown = lost.herself.clone();
    assert_eq!(codes(&lost.confirm(&shown).await), ["MEMBER_NOT_FOUND"]);
    let kit::access::Who::Member { member, .. } = lost.officer.who else {
        panic!("signed in")
    };
    let login = LoginId(Uuid::from_u128(99));
    let unproven = Caller::member(member, login, Language::En);
    assert_eq!(codes(&lost.confirm(&unproven).await), ["STEP_UP_REQUIRED"]);
    for (new, document) in [("13700002221", number(1)), (NEW, number(2))] {
        let refused = lost.confirm_as(&lost.officer, new, &document).await;
        assert_eq!(codes(&refused), ["PERSON_NOT_MATCHED"]);
    }
    let early = lost.approve(&operator).await;
    assert_eq!(codes(&early), ["RECOVERY_NOT_FOUND"]);
    let confirmed = lost.confirm(&lost.second).await;
    assert_eq!(codes(&confirmed), [""; 0], "{confirmed}");
    let again = lost.confirm(&lost.officer).await;
    assert_eq!(again["expiresAt"], confirmed["expiresAt"]);
    let own = lost.approve(&lost.second).await;
    assert_eq!(codes(&own), ["RECOVERY_OF_OWN"]);
    let office = lost.approve(&lost.officer).await;
    assert_eq!(codes(&office), ["FORBIDDEN"]);
    for (new, document) in [("13700002221", number(1)), (NEW, number(2))] {
        let refused = lost.approve_as(&operator, new, &document).await;
        assert_eq!(codes(&refused), ["PERSON_NOT_MATCHED"]);
        assert_eq!(lost.state().await, "confirmed");
    }
    let failed = "SELECT count(*) AS count FROM audit WHERE act = 'phone_recovery_not_matched'";
    assert_eq!(lost.world.count(failed).await, 4);
    let approved = lost.approve(&operator).await;
    assert_eq!(codes(&approved), [""; 0], "{approved}");
    let again = lost.approve(&operator).await;
    assert_eq!(again["dueAt"], approved["dueAt"]);
    lost.promises().await;
}

/// What nobody goes on with is over, before it is confirmed and after; a new one may follow.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_nobody_goes_on_with_expires() {
    let lost = Lost::start("expires").await;
    lost.claimed().await;
    lost.advance(RECOVERY_CLAIM_HOURS * HOUR_SECONDS);
    let late = lost.confirm(&lost.officer).await;
    assert_eq!(codes(&late), ["RECOVERY_NOT_FOUND"]);
    lost.work().await;
    assert_eq!(lost.state().await, "expired");
    lost.claimed().await;
    lost.advance(HOUR_SECONDS);
    let confirmed = lost.confirm(&lost.officer).await;
    assert_eq!(codes(&confirmed), [""; 0], "{confirmed}");
    lost.advance((RECOVERY_CLAIM_HOURS - 1) * HOUR_SECONDS);
    lost.work().await;
    assert_eq!(lost.state().await, "confirmed", "its time began anew");
    lost.advance(HOUR_SECONDS);
    let late = lost.approve(&lost.world.as_operator()).await;
    assert_eq!(codes(&late), ["RECOVERY_NOT_FOUND"]);
    lost.work().await;
    assert_eq!(lost.state().await, "expired");
    assert!(lost.signs_in(&number_of_phone(1)).await);
    lost.promises().await;
}

/// Whoever signs in as she takes it back at once, however far it has come, and an office stops it;
/// then it is over for good.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn it_is_taken_back_and_stopped() {
    let lost = Lost::start("back").await;
    assert_eq!(codes(&lost.recall().await), ["RECOVERY_NOT_FOUND"]);
    lost.claimed().await;
    assert_eq!(codes(&lost.recall().await), [""; 0]);
    assert_eq!(lost.state().await, "recalled");
    lost.advance(61);
    lost.approved().await;
    assert_eq!(codes(&lost.recall().await), [""; 0]);
    assert_eq!(codes(&lost.recall().await), ["RECOVERY_NOT_FOUND"]);
    lost.advance(61);
    lost.approved().await;
    let which = json!({ "memberId": global(lost.member) });
    let stop = async |by: &Caller| {
        let input = which.clone();
        lost.world.mutate(by, "stopPhoneRecovery", "", input).await
    };
    let (_, elsewhere) = crate::rosters::officer_of(&lost.world, "别的工会", 100).await;
    assert_eq!(codes(&stop(&elsewhere).await), ["MEMBER_NOT_FOUND"]);
    assert_eq!(codes(&stop(&lost.officer).await), [""; 0]);
    assert_eq!(codes(&stop(&lost.officer).await), ["RECOVERY_NOT_FOUND"]);
    lost.advance(RECOVERY_WAIT_HOURS * HOUR_SECONDS);
    lost.work().await;
    assert_eq!(lost.state().await, "stopped");
    assert!(lost.signs_in(&number_of_phone(1)).await && !lost.signs_in(NEW).await);
    lost.promises().await;
}
