//! Whom an office may see unmasked: not whoever it has written down by a name and a phone, but
//! whose document it knows, or who said herself that she is its member. She is told each time, who
//! is refused is on record, and who ends her membership meanwhile is waited for.

use identity::commands::members::end_membership;
use identity::commands::searches::{SHOW_REFUSALS_PER_HOUR_MAX, show_member};
use identity::domain::membership::End;
use identity::domain::search::ShowPurpose;
use identity::store::people;
use kit::access::{Caller, Who};
use kit::graphql::{GlobalId, Language};
use kit::testing::overtaken;
use kit::types::{MemberId, shanghai_date};
use kit::{Ctx, Error, Result, Tx};
use serde_json::{Value, json};
use uuid::Uuid;

use crate::rosters::{commit, compared, csv, line, officer_of};
use crate::world::{
    HOUR_OVER, World, codes, name, number, number_of_phone, organisation_of, person,
};

/// An officer of another union than the person is in.
struct Cast {
    world: World,
    /// The officer's.
    other: String,
    officer: Caller,
    member: MemberId,
}

impl Cast {
    async fn new() -> Self {
        let world = World::new().await;
        let union = world.organisation("GRASSROOTS", "基层工会").await;
        let member = world.person(&union, 1).await;
        let (other, officer) = officer_of(&world, "别的工会", 100).await;
        Self {
            world,
            other,
            officer,
            member,
        }
    }

    async fn add(&self, person: Value) {
        let input = json!({ "organisationId": self.other, "person": person });
        let added = self
            .world
            .mutate(&self.officer, "addMembership", "membership { id }", input)
            .await;
        assert_eq!(codes(&added), [""; 0], "{added}");
    }

    /// The officer writes her down by what anybody may know of her.
    async fn add_by_name(&self) {
        self.add(json!({ "name": name(1), "phone": number_of_phone(1) }))
            .await;
    }

    fn input(&self) -> Value {
        let id = GlobalId::of_uuid("Member", self.member.0);
        json!({ "memberId": id, "purpose": "CONTACT" })
    }

    async fn show(&self, by: &Caller) -> Value {
        let selection = "shown { documentNumber }";
        self.world
            .mutate(by, "showMember", selection, self.input())
            .await
    }

    async fn is_shown(&self) {
        let shown = self.show(&self.officer).await;
        assert_eq!(shown["shown"]["documentNumber"], number(1), "{shown}");
    }

    async fn is_not_shown(&self) {
        let refused = self.show(&self.officer).await;
        assert_eq!(codes(&refused), ["NOT_ANSWERED_FOR"]);
        assert_eq!(refused["shown"], Value::Null);
    }

    /// Her membership of the officer's union.
    async fn membership(&self) -> Uuid {
        let sql = format!(
            "SELECT id::text AS name FROM membership WHERE member = '{}' AND organisation = '{}'",
            self.member,
            organisation_of(&self.other).0
        );
        self.world.names(&sql).await[0].parse().unwrap()
    }

    async fn end(&self, ctx: &Ctx, membership: Uuid) -> Result<()> {
        let today = shanghai_date(ctx.clock.now());
        let ended = end_membership(ctx, &self.officer, membership, End::Left, today);
        ended.await.map(|_| ())
    }

    async fn show_by(&self, ctx: &Ctx) -> Result<()> {
        let (vault, purpose) = (&self.world.identity.vault, ShowPurpose::Verify);
        let shown = show_member(ctx, vault, &self.officer, self.member, purpose);
        shown.await.map(|_| ())
    }

    async fn count(&self, act: &str) -> i64 {
        let sql = format!("SELECT count(*) AS count FROM audit WHERE act = '{act}'");
        self.world.count(&sql).await
    }
}

/// A name and a phone make nobody an officer's to look at; her document does, and an operator needs
/// neither.
#[tokio::test]
async fn a_name_and_a_phone_show_nobody() {
    let cast = Cast::new().await;
    cast.add_by_name().await;
    let told = cast
        .world
        .answered(&cast.officer, "showMember", &cast.input())
        .await;
    let expected = [
        "NOT_ANSWERED_FOR",
        "此人仅凭姓名和手机号登记，本人未申请入会，证件也未经核对，不能查看其完整信息。",
        "The union knows her by name and phone alone: match her document first, or let her apply.",
    ];
    assert_eq!(told, expected);
    let shown = cast.show(&cast.world.as_operator()).await;
    assert_eq!(shown["shown"]["documentNumber"], number(1), "{shown}");
    // A document that is not hers gives nothing.
    let input = json!({ "organisationId": cast.other, "person": {
        "name": name(1), "documentType": "RESIDENT_ID", "documentNumber": number(2),
        "phone": number_of_phone(1) } });
    let refused = cast
        .world
        .mutate(&cast.officer, "addMembership", "membership { id }", input);
    assert_eq!(codes(&refused.await), ["PERSON_NOT_MATCHED"]);
    cast.is_not_shown().await;
    cast.add(person(1)).await;
    cast.is_shown().await;
}

/// A roster that names her with her document answers for her from then on, although she was in the
/// union before.
#[tokio::test]
async fn a_roster_with_her_document_answers_for_her() {
    let cast = Cast::new().await;
    cast.add_by_name().await;
    cast.is_not_shown().await;
    let file = csv(&[line(100), line(1)]);
    let of = (cast.other.as_str(), "MEMBERSHIP");
    let id = compared(&cast.world, &cast.officer, of, file).await;
    cast.is_not_shown().await;
    let done = commit(&cast.world, &cast.officer, &id, 1).await;
    assert_eq!(codes(&done), [""; 0], "{done}");
    cast.is_shown().await;
}

/// Her own word is enough: while she applies, and when she is admitted.
#[tokio::test]
async fn who_applies_may_be_looked_at() {
    let cast = Cast::new().await;
    let world = &cast.world;
    let refused = cast.show(&cast.officer).await;
    assert_eq!(codes(&refused), ["MEMBER_NOT_FOUND"]);
    let herself = world.as_member(cast.member);
    let input = json!({ "organisationId": cast.other, "idempotencyKey": Uuid::from_u128(1) });
    let selection = "application { id }";
    let asked = world.mutate(&herself, "applyForMembership", selection, input);
    let asked = asked.await;
    assert_eq!(codes(&asked), [""; 0], "{asked}");
    cast.is_shown().await;
    let input = json!({ "applicationId": asked["application"]["id"], "approve": true,
        "idempotencyKey": Uuid::from_u128(2) });
    let decided = world.mutate(&cast.officer, "decideApplication", selection, input);
    assert_eq!(codes(&decided.await), [""; 0]);
    cast.is_shown().await;
}

/// Whom a union has by a name and a phone alone may say herself that she is its member; nobody else
/// says it for her, and not of a membership that has ended.
#[tokio::test]
async fn she_confirms_that_she_is_a_member() {
    let cast = Cast::new().await;
    cast.add_by_name().await;
    let id = cast.membership().await;
    let input = json!({ "membershipId": GlobalId::of_uuid("Membership", id) });
    let herself = cast.world.as_member(cast.member);
    let world = &cast.world;
    for other in [&cast.officer, &world.as_operator()] {
        let refused = world.mutate(other, "confirmMembership", "", input.clone());
        assert_eq!(codes(&refused.await), ["MEMBERSHIP_NOT_FOUND"]);
    }
    cast.is_not_shown().await;
    for _ in 0..2 {
        let said = world.mutate(
            &herself,
            "confirmMembership",
            "membership { id }",
            input.clone(),
        );
        assert_eq!(codes(&said.await), [""; 0]);
    }
    cast.is_shown().await;
    cast.end(&world.identity.ctx, id).await.unwrap();
    let over = world.mutate(&herself, "confirmMembership", "", input);
    assert_eq!(codes(&over.await), ["MEMBERSHIP_ENDED"]);
}

/// A transfer between two offices shows nobody whom the first one could not see.
#[tokio::test]
async fn a_transfer_makes_nobody_answered_for() {
    let cast = Cast::new().await;
    cast.add_by_name().await;
    let (third, receiver) = officer_of(&cast.world, "第三工会", 102).await;
    let id = GlobalId::of_uuid("Membership", cast.membership().await);
    let offer = json!({ "membershipId": id, "organisationId": third,
        "idempotencyKey": Uuid::from_u128(1) });
    let selection = "application { id }";
    let offered = cast
        .world
        .mutate(&cast.officer, "offerTransfer", selection, offer)
        .await;
    assert_eq!(codes(&offered), [""; 0], "{offered}");
    let shown = async || codes(&cast.show(&receiver).await).join(" ");
    assert_eq!(shown().await, "NOT_ANSWERED_FOR");
    let input = json!({ "applicationId": offered["application"]["id"], "approve": true,
        "idempotencyKey": Uuid::from_u128(2) });
    let decided = cast
        .world
        .mutate(&receiver, "decideApplication", selection, input)
        .await;
    assert_eq!(codes(&decided), [""; 0], "{decided}");
    assert_eq!(shown().await, "NOT_ANSWERED_FOR");
}

/// She reads who saw her and what for, in both languages, each time.
#[tokio::test]
async fn she_is_told_who_saw_her() {
    let cast = Cast::new().await;
    cast.add(person(1)).await;
    for _ in 0..2 {
        cast.is_shown().await;
    }
    let query = "{ me { notices(first: 9) { nodes { kind text aboutId } } } }";
    for (language, said) in [
        (Language::Zh, "别的工会于 2026-04-01"),
        (
            Language::En,
            "别的工会 saw your name, phone and document number",
        ),
    ] {
        let who = Caller {
            language,
            ..cast.world.as_member(cast.member)
        };
        let seen = cast.world.run(&who, query, json!({})).await;
        let told = seen["notices"]["nodes"].as_array().unwrap().iter();
        let told: Vec<&Value> = told.filter(|it| it["kind"] == "UNMASKED").collect();
        assert_eq!(told.len(), 2, "{seen}");
        assert!(told[0]["text"].as_str().unwrap().contains(said), "{told:?}");
        assert_eq!(told[0]["aboutId"], json!(cast.other));
    }
}

/// Each refusal is on record with its code, whatever it was, and counted within the hour; it takes
/// nothing from the looks that are left.
#[tokio::test]
async fn who_is_refused_is_on_record() {
    let cast = Cast::new().await;
    let refused = cast.show(&cast.officer).await;
    assert_eq!(codes(&refused), ["MEMBER_NOT_FOUND"]);
    cast.add_by_name().await;
    cast.is_not_shown().await;
    cast.add(person(1)).await;
    let Who::Member { member, login, .. } = cast.officer.who else {
        panic!("signed in")
    };
    let token_alone = Caller::member(member, login, Language::En);
    let often = SHOW_REFUSALS_PER_HOUR_MAX - 1;
    for _ in 0..often {
        let refused = cast.show(&token_alone).await;
        assert_eq!(codes(&refused), ["STEP_UP_REQUIRED"]);
    }
    let sql = "SELECT concat_ws(' ', detail->>'code', detail->>'purpose', detail->>'in_hour')
        AS name FROM audit WHERE act = 'show_member_refused' ORDER BY (detail->>'in_hour')::int";
    let mut expected = vec![
        "MEMBER_NOT_FOUND contact 1".to_owned(),
        "NOT_ANSWERED_FOR contact 2".to_owned(),
    ];
    let stepped = (3..3 + often).map(|at| format!("STEP_UP_REQUIRED contact {at}"));
    expected.extend(stepped);
    assert_eq!(cast.world.names(sql).await, expected);
    let of_her = format!(
        "SELECT count(*) AS count FROM audit WHERE act = 'show_member_refused'
           AND subject = '{}' AND member = '{member}'",
        cast.member
    );
    let all = i64::from(SHOW_REFUSALS_PER_HOUR_MAX + 1);
    assert_eq!(cast.world.count(&of_her).await, all);
    let looks = "SELECT COALESCE(sum(count), 0)::bigint AS count FROM attempt
        WHERE scope LIKE 'shown_member%'";
    assert_eq!(cast.world.count(looks).await, 0);
    let beyond = "SELECT COALESCE(sum(count), 0)::bigint AS count FROM attempt
        WHERE scope = 'show_refused'";
    assert_eq!(cast.world.count(beyond).await, all, "it alarms");
    // An hour later it begins anew.
    cast.world.advance(HOUR_OVER);
    let refused = cast.show(&token_alone).await;
    assert_eq!(codes(&refused), ["STEP_UP_REQUIRED"]);
    let anew = "SELECT count(*) AS count FROM audit WHERE act = 'show_member_refused'
        AND detail->>'in_hour' = '1'";
    assert_eq!(cast.world.count(anew).await, 2);
}

/// Who ends her membership while she is being looked at: whichever was first is first, and nobody
/// is shown who had left.
#[tokio::test]
async fn who_leaves_meanwhile_is_not_shown() {
    let cast = Cast::new().await;
    cast.add(person(1)).await;
    let (id, other) = (cast.membership().await, cast.world.test.process().await);
    cast.world.seal().await;
    let ctx = &cast.world.identity.ctx;
    let (ended, shown) = overtaken(&cast.world.test, cast.end(ctx, id), cast.show_by(&other)).await;
    ended.unwrap();
    let Err(Error::Refused(why)) = shown else {
        panic!("{shown:?}")
    };
    assert_eq!(why.code, "NOT_ANSWERED_FOR");
    assert_eq!(cast.count("show_member").await, 0);
    assert_eq!(cast.count("show_member_refused").await, 1);

    let cast = Cast::new().await;
    cast.add(person(1)).await;
    let (id, other) = (cast.membership().await, cast.world.test.process().await);
    cast.world.seal().await;
    let ctx = &cast.world.identity.ctx;
    let (shown, ended) = overtaken(&cast.world.test, cast.show_by(ctx), cast.end(&other, id)).await;
    shown.unwrap();
    ended.unwrap();
    assert_eq!(cast.count("show_member").await, 1);
}

/// Without its lock, who had left a moment ago would be shown.
#[tokio::test]
async fn without_its_lock_who_has_left_would_be_shown() {
    let cast = Cast::new().await;
    cast.add(person(1)).await;
    let (id, other) = (cast.membership().await, cast.world.test.process().await);
    let organisation = organisation_of(&cast.other);
    let shown = cast.world.identity.ctx.db.tx("show", async |tx: &Tx| {
        // It looks for her membership, and locks nothing.
        let open = people::open_memberships(tx, organisation, &[cast.member.0]).await?;
        assert_eq!(open.len(), 1);
        cast.end(&other, id).await?;
        people::documents(tx, cast.member).await
    });
    assert_eq!(shown.await.unwrap().len(), 1);
}
