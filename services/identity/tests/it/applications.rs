//! Memberships that are asked for: who asks, who decides, and what ends where one begins.

use identity::domain::application::{Application, State, WAIT_DAYS};
use identity::store::applications as store;
use kit::access::{Caller, Who};
use kit::graphql::GlobalId;
use kit::types::MemberId;
use kit::{Error, Tx};
use serde_json::{Value, json};
use uuid::Uuid;

use crate::memberships::officer_above;
use crate::races::interleaved;
use crate::rosters::settle;
use crate::world::{World, codes, organisation_of};

struct Cast {
    world: World,
    union: String,
    sister: String,
    /// Of the union and of its sister.
    officer: Caller,
    sister_officer: Caller,
    /// In the union.
    member: MemberId,
}

async fn officer(world: &World, union: &str, at: u32) -> Caller {
    let officer = world.person(union, at).await;
    let _ = world.grant(officer, union, "OFFICER").await;
    world.as_member(officer)
}

async fn cast() -> Cast {
    let world = World::new().await;
    let union = world.organisation("GRASSROOTS", "甲基层工会").await;
    let sister = world.organisation("GRASSROOTS", "乙基层工会").await;
    let member = world.person(&union, 1).await;
    let (one, two) = (
        officer(&world, &union, 2).await,
        officer(&world, &sister, 3).await,
    );
    Cast {
        world,
        union,
        sister,
        officer: one,
        sister_officer: two,
        member,
    }
}

const SELECTION: &str = "application { id state isTransfer member { maskedName } }";

impl Cast {
    async fn apply(&self, organisation: &str, key: u128) -> Value {
        let by = self.world.as_member(self.member);
        let input = json!({ "organisationId": organisation, "idempotencyKey": key_of(key) });
        self.world
            .mutate(&by, "applyForMembership", SELECTION, input)
            .await
    }

    async fn decide(&self, by: &Caller, id: &Value, approve: bool) -> Value {
        let key = Uuid::from_u128(u128::from(approve) + 77);
        let input = json!({ "applicationId": id, "approve": approve, "idempotencyKey": key });
        self.world
            .mutate(by, "decideApplication", SELECTION, input)
            .await
    }

    async fn withdraw(&self, by: &Caller, id: &Value) -> Value {
        let input = json!({ "applicationId": id, "idempotencyKey": key_of(99) });
        self.world
            .mutate(by, "withdrawApplication", SELECTION, input)
            .await
    }

    /// How she stands where.
    async fn memberships(&self) -> Vec<String> {
        let sql = format!(
            "SELECT o.name || ' ' || m.state AS name FROM membership m
             JOIN organisation o ON o.id = m.organisation WHERE m.member = '{}'",
            self.member
        );
        let mut standing = self.world.names(&sql).await;
        standing.sort_unstable();
        standing
    }

    async fn membership(&self) -> String {
        let sql = format!(
            "SELECT id::text AS name FROM membership WHERE member = '{}' AND until IS NULL",
            self.member
        );
        let id = self.world.names(&sql).await;
        GlobalId::of_uuid("Membership", id[0].parse::<Uuid>().unwrap()).to_string()
    }

    async fn offer(&self, by: &Caller, to: &str) -> Value {
        let input = json!({ "membershipId": self.membership().await, "organisationId": to,
            "idempotencyKey": key_of(55) });
        self.world
            .mutate(by, "offerTransfer", SELECTION, input)
            .await
    }

    async fn assert_invariants(&self) {
        // The clock of a test stands long before the database's.
        let all = identity::verify::INVARIANTS.iter();
        for invariant in all.filter(|it| it.id != "identity.notices_are_swept") {
            assert_eq!(self.world.broken(invariant.id).await, 0, "{}", invariant.id);
        }
    }
}

fn key_of(number: u128) -> Uuid {
    Uuid::from_u128(number)
}

/// A person applies, is seen masked by the officers there, and is in when they say so; the same
/// key again is the same application.
#[tokio::test]
async fn a_person_applies_and_an_officer_decides() {
    let cast = cast().await;
    let world = &cast.world;
    let asked = cast.apply(&cast.sister, 1).await;
    assert_eq!(asked["application"]["state"], "WAITING", "{asked}");
    assert_eq!(cast.apply(&cast.sister, 1).await, asked);
    assert_eq!(cast.apply(&cast.sister, 2).await, asked);
    let id = &asked["application"]["id"];
    let queue = "query($in: ID) { membershipApplications(organisationId: $in, first: 9) {
        nodes { id state member { maskedName } } } }";
    let sisters = json!({ "in": cast.sister });
    let seen = world
        .run(&cast.sister_officer, queue, sisters.clone())
        .await;
    assert_eq!(&seen["nodes"][0]["id"], id);
    assert_eq!(seen["nodes"][0]["member"]["maskedName"], "测*员");
    assert_eq!(
        world.barred(&cast.officer, queue, sisters).await,
        Some("FORBIDDEN")
    );
    let own = world
        .run(&world.as_member(cast.member), queue, json!({}))
        .await;
    assert_eq!(&own["nodes"][0]["id"], id);
    for stranger in [&cast.officer, &cast.world.as_member(cast.member)] {
        let answer = cast.decide(stranger, id, true).await;
        let code = codes(&answer)[0].to_owned();
        assert!(["APPLICATION_NOT_FOUND", "APPLICATION_OF_OWN"].contains(&code.as_str()));
    }
    let done = cast.decide(&cast.sister_officer, id, true).await;
    assert_eq!(done["application"]["state"], "APPROVED", "{done}");
    assert_eq!(cast.decide(&cast.sister_officer, id, true).await, done);
    let late = cast.decide(&cast.sister_officer, id, false).await;
    assert_eq!(codes(&late), ["APPLICATION_OVER"]);
    assert_eq!(
        cast.memberships().await,
        ["乙基层工会 full", "甲基层工会 full"]
    );
    let again = cast.apply(&cast.sister, 3).await;
    assert_eq!(codes(&again), ["ALREADY_MEMBER"]);
    cast.assert_invariants().await;
}

/// Refused, taken back or forgotten, an application lets nobody in, and she may ask again.
#[tokio::test]
async fn an_application_ends() {
    let cast = cast().await;
    let world = &cast.world;
    let asked = cast.apply(&cast.sister, 1).await;
    let id = &asked["application"]["id"];
    let refused = cast.decide(&cast.sister_officer, id, false).await;
    assert_eq!(refused["application"]["state"], "REFUSED", "{refused}");
    let second = cast.apply(&cast.sister, 2).await;
    let id = &second["application"]["id"];
    let foreign = cast.withdraw(&cast.officer, id).await;
    assert_eq!(codes(&foreign), ["APPLICATION_NOT_FOUND"]);
    let member = world.as_member(cast.member);
    let back = cast.withdraw(&member, id).await;
    assert_eq!(back["application"]["state"], "WITHDRAWN", "{back}");
    let third = cast.apply(&cast.sister, 3).await;
    assert_eq!(codes(&third), [""; 0]);
    world.advance(WAIT_DAYS * 86_400);
    let over = cast
        .decide(&cast.sister_officer, &third["application"]["id"], true)
        .await;
    assert_eq!(codes(&over), ["APPLICATION_OVER"]);
    settle(world).await;
    let states = "SELECT state AS name FROM membership_application ORDER BY asked_at, state";
    let states = world.names(states).await;
    assert!(states.contains(&"expired".to_owned()), "{states:?}");
    assert_eq!(cast.memberships().await, ["甲基层工会 full"]);
    cast.assert_invariants().await;
}

/// People are in grassroots unions alone, and three applications wait at most.
#[tokio::test]
async fn not_everything_can_be_asked_for() {
    let cast = cast().await;
    let partner = cast.world.organisation("PARTNER", "某某文旅公司").await;
    let answer = cast.apply(&partner, 1).await;
    assert_eq!(codes(&answer), ["KIND_HAS_NO_MEMBERS"]);
    for at in 2..6 {
        let name = format!("第{at}基层工会");
        let union = cast.world.organisation("GRASSROOTS", &name).await;
        let answer = cast.apply(&union, at).await;
        let wanted: &[&str] = if at < 5 {
            &[]
        } else {
            &["TOO_MANY_APPLICATIONS"]
        };
        assert_eq!(codes(&answer), wanted);
    }
    let nobody = Caller::anonymous(kit::graphql::Language::En);
    let input = json!({ "organisationId": cast.sister, "idempotencyKey": key_of(1) });
    let query = "mutation($input: ApplyForMembershipInput!) {
        applyForMembership(input: $input) { userErrors { code } } }";
    let asked = json!({ "input": input });
    let answer = cast.world.ask(&nobody, query, asked).await;
    let code = &answer["errors"][0]["extensions"]["code"];
    assert_eq!(code, "UNAUTHENTICATED", "{answer}");
}

/// An office lets her go, and she or the other office agrees: one membership ends on the day on
/// which the other begins, and so does what she held.
#[tokio::test]
async fn a_membership_goes_on_in_another_union() {
    for she_agrees in [true, false] {
        let cast = cast().await;
        let _ = cast.world.grant(cast.member, &cast.union, "AUDITOR").await;
        let foreign = cast.offer(&cast.sister_officer, &cast.sister).await;
        assert_eq!(codes(&foreign), ["MEMBERSHIP_NOT_FOUND"]);
        let asked = cast.offer(&cast.officer, &cast.sister).await;
        assert_eq!(asked["application"]["isTransfer"], true, "{asked}");
        assert_eq!(cast.offer(&cast.officer, &cast.sister).await, asked);
        let id = &asked["application"]["id"];
        let herself = cast.world.as_member(cast.member);
        let by = if she_agrees {
            &herself
        } else {
            &cast.sister_officer
        };
        let done = cast.decide(by, id, true).await;
        assert_eq!(done["application"]["state"], "APPROVED", "{done}");
        assert_eq!(
            cast.memberships().await,
            ["乙基层工会 full", "甲基层工会 left"]
        );
        let held = format!(
            "SELECT count(*) AS count FROM role WHERE member = '{}' AND withdrawn_at IS NULL",
            cast.member
        );
        assert_eq!(cast.world.count(&held).await, 0);
        cast.assert_invariants().await;
    }
}

/// A token alone lets nobody in and nobody go, whatever office it opens: who stole an officer's
/// adds no accomplice. Who was let go decides for herself by hers.
#[tokio::test]
async fn an_office_decides_with_its_second_factor() {
    let cast = cast().await;
    let alone = |of: &Caller| match of.who {
        Who::Member { member, login, .. } => Caller::member(member, login, of.language),
        Who::Anonymous => panic!("signed in"),
    };
    let offered = cast.offer(&alone(&cast.officer), &cast.sister).await;
    assert_eq!(codes(&offered), ["STEP_UP_REQUIRED"]);
    let asked = cast.offer(&cast.officer, &cast.sister).await;
    let id = &asked["application"]["id"];
    for approve in [true, false] {
        let decided = cast.decide(&alone(&cast.sister_officer), id, approve).await;
        assert_eq!(codes(&decided), ["STEP_UP_REQUIRED"], "{approve}");
    }
    assert_eq!(cast.memberships().await, ["甲基层工会 full"]);
    let herself = alone(&cast.world.as_member(cast.member));
    let done = cast.decide(&herself, id, true).await;
    assert_eq!(done["application"]["state"], "APPROVED", "{done}");
    assert_eq!(
        cast.memberships().await,
        ["乙基层工会 full", "甲基层工会 left"]
    );
}

/// Who let her go does not also let her in, whatever offices are held; another one above may.
#[tokio::test]
async fn one_person_does_not_do_both() {
    let cast = cast().await;
    let above = officer_above(&cast.world).await;
    let asked = cast.offer(&above, &cast.sister).await;
    let id = &asked["application"]["id"];
    let own = cast.decide(&above, id, true).await;
    assert_eq!(codes(&own), ["APPLICATION_OF_OWN"]);
    let back = cast.withdraw(&cast.officer, id).await;
    assert_eq!(back["application"]["state"], "WITHDRAWN", "{back}");
    assert_eq!(cast.memberships().await, ["甲基层工会 full"]);
}

/// Both offices and she at once: one decision, and one membership of hers.
#[tokio::test]
async fn everybody_at_once_decides_once() {
    let cast = cast().await;
    let asked = cast.offer(&cast.officer, &cast.sister).await;
    let id = &asked["application"]["id"];
    let herself = cast.world.as_member(cast.member);
    let operator = cast.world.as_operator();
    let all = [&herself, &cast.sister_officer, &operator];
    let answers = futures::future::join_all(all.map(|by| cast.decide(by, id, true))).await;
    let done = answers.iter().filter(|it| codes(it).is_empty()).count();
    assert_eq!(done, 1, "{answers:?}");
    assert_eq!(
        cast.memberships().await,
        ["乙基层工会 full", "甲基层工会 left"]
    );
    cast.assert_invariants().await;
}

/// Without its lock an application is refused by one and approved by another; without the
/// constraint a person's two at once would both wait.
#[tokio::test]
async fn without_its_guards_an_application_is_decided_twice() {
    let cast = cast().await;
    let world = &cast.world;
    let asked = cast.apply(&cast.sister, 1).await;
    let id = asked["application"]["id"].as_str().unwrap();
    let id = GlobalId::uuid(id, "MembershipApplication").unwrap();
    let decided = std::sync::atomic::AtomicUsize::new(0);
    let read = async |tx: &Tx| Ok(store::find(tx, id).await?.unwrap());
    let write = async |tx: &Tx, it: Application, _| {
        assert_eq!(it.state, State::Waiting);
        let _ = decided.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
        store::save(tx, &it.decided(world.operator, tx.now(), None)).await
    };
    interleaved(world, read, write).await.unwrap();
    assert_eq!(decided.into_inner(), 2);
    let twice = async || {
        let organisation = organisation_of(&cast.union);
        let read = async |tx: &Tx| store::waiting(tx, world.operator, organisation).await;
        let write = async |tx: &Tx, waits: Option<Application>, _| {
            assert!(waits.is_none());
            let application = Application {
                id: tx.uuid(),
                member: world.operator,
                organisation,
                leaves: None,
                asked_by: world.operator,
                asked_at: tx.now(),
                state: State::Waiting,
            };
            store::insert(tx, &application).await
        };
        interleaved(world, read, write).await
    };
    let stopped: Error = twice().await.unwrap_err();
    let constraint = stopped.constraint();
    let name = "membership_application_one_waiting";
    assert_eq!(constraint.as_deref(), Some(name));
    let owner = world.test.owner().await;
    for sql in [
        "DELETE FROM membership_application WHERE state = 'waiting'",
        "DROP INDEX membership_application_one_waiting",
    ] {
        owner.execute(sql, []).await.unwrap();
    }
    twice().await.unwrap();
}
