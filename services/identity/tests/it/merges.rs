//! Two records of one person made one, by two operators, and two again: what goes over, what
//! others hear, and what comes back.

use identity::commands::operator::sign_out;
use identity::domain::merge::{ASK_SECONDS, Pair, UNDO_DAYS};
use identity::store::merges as store;
use kit::access::Caller;
use kit::graphql::GlobalId;
use kit::types::MemberId;
use kit::{Error, Tx};
use proto::identity as event;
use proto::identity::member_changed::State;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::credentials::{apply, granted};
use crate::races::interleaved;
use crate::rosters::settle;
use crate::second_factor_life::second_operator;
use crate::world::{World, codes, member_of, number, number_of_phone};

pub(crate) const PASSPORT: &str = "E12345678";
const NAME: &str = "张三丰";

pub(crate) struct Cast {
    pub(crate) world: World,
    pub(crate) second: Caller,
    /// With a resident number and no phone, in one union.
    pub(crate) survivor: MemberId,
    /// With a passport and a phone, in two unions.
    pub(crate) merged: MemberId,
    pub(crate) union: String,
    pub(crate) other: String,
}

fn global(member: MemberId) -> String {
    GlobalId::of_uuid("Member", member.0).to_string()
}

async fn add(world: &World, organisation: &str, person: &Value) -> MemberId {
    world.advance(1);
    let input = json!({ "organisationId": organisation, "person": person });
    let selection = "membership { member { id } }";
    let operator = world.as_operator();
    let made = world.mutate(&operator, "addMembership", selection, input);
    let made = made.await;
    assert_eq!(codes(&made), [""; 0], "{made}");
    member_of(&made["membership"]["member"]["id"])
}

pub(crate) async fn cast() -> Cast {
    let world = World::new().await;
    let second = second_operator(&world).await;
    let union = world.organisation("GRASSROOTS", "甲基层工会").await;
    let other = world.organisation("GRASSROOTS", "乙基层工会").await;
    let one = json!({ "name": NAME, "documentType": "RESIDENT_ID", "documentNumber": number(71) });
    let survivor = add(&world, &union, &one).await;
    let two = json!({ "name": NAME, "documentType": "PASSPORT", "documentNumber": PASSPORT,
        "phone": number_of_phone(72) });
    let merged = add(&world, &union, &two).await;
    assert_eq!(add(&world, &other, &two).await, merged);
    let second = world.as_member(second);
    Cast {
        world,
        second,
        survivor,
        merged,
        union,
        other,
    }
}

impl Cast {
    pub(crate) fn pair(&self) -> Pair {
        Pair {
            survivor: self.survivor,
            merged: self.merged,
        }
    }

    pub(crate) async fn ask(&self, by: &Caller) -> Value {
        merge(&self.world, by, self.pair(), PASSPORT).await
    }

    /// Both operators ask.
    pub(crate) async fn merge(&self) {
        let operator = self.world.as_operator();
        let asked = self.ask(&operator).await;
        assert_eq!(asked["merge"]["state"], "ASKED", "{asked}");
        let done = self.ask(&self.second).await;
        assert_eq!(done["merge"]["state"], "DONE", "{done}");
    }

    pub(crate) async fn split(&self, by: &Caller) -> Value {
        let input = json!({ "mergedId": global(self.merged) });
        let selection = "merge { state survivorId }";
        self.world
            .mutate(by, "splitMembers", selection, input)
            .await
    }

    /// All that is known of both records, but for versions and for bytes that a key makes new.
    async fn rows(&self) -> Vec<String> {
        let sql = "SELECT concat_ws(' ', 'm', id, state, merged_into) AS name FROM member
            UNION ALL SELECT concat_ws(' ', 'd', id, member, kind, created_at) FROM document
            UNION ALL SELECT concat_ws(' ', 'l', id, member, kind, created_at) FROM login_method
            UNION ALL SELECT concat_ws(' ', 's', member, organisation, state, since, until)
              FROM membership
            UNION ALL SELECT concat_ws(' ', 't', member, term) FROM search_term
            UNION ALL SELECT concat_ws(' ', 'p', member, search_version) FROM person
            ORDER BY name";
        self.world.names(sql).await
    }

    pub(crate) async fn assert_invariants(&self) {
        // The clock of a test stands long before the database's.
        let all = identity::verify::INVARIANTS.iter();
        for invariant in all.filter(|it| it.id != "identity.notices_are_swept") {
            assert_eq!(self.world.broken(invariant.id).await, 0, "{}", invariant.id);
        }
    }
}

fn named(name: &str, kind: &str, number: &str) -> Value {
    json!({ "name": name, "documentType": kind, "documentNumber": number })
}

pub(crate) async fn merge(world: &World, by: &Caller, pair: Pair, passport: &str) -> Value {
    let input = json!({
        "survivorId": global(pair.survivor), "mergedId": global(pair.merged),
        "documentType": "PASSPORT", "documentNumber": passport,
    });
    let selection = "merge { state expiresAt undoUntil }";
    world.mutate(by, "mergeMembers", selection, input).await
}

/// Who signs in with the phone of the merged record is the survivor, with all documents and the
/// memberships of both; the other record signs nobody in, and others hear of it.
#[tokio::test]
async fn two_records_become_one_person() {
    let cast = cast().await;
    let world = &cast.world;
    let before = world.sign_in(&number_of_phone(72)).await;
    assert_eq!(before.member, cast.merged);
    apply(world, granted(world, cast.merged, 1)).await;
    cast.merge().await;
    world.advance(61);
    let me = "{ me { id memberships(first: 9) { nodes { organisation { id } } } } }";
    let old = Caller::member(before.member, before.login, kit::graphql::Language::En);
    let gone = world.barred(&old, me, json!({})).await;
    assert_eq!(gone, Some("UNAUTHENTICATED"));
    let after = world.sign_in(&number_of_phone(72)).await;
    assert_eq!(after.member, cast.survivor);
    let now = Caller::member(after.member, after.login, kit::graphql::Language::En);
    let read = world.run(&now, me, json!({})).await;
    let memberships = read["memberships"]["nodes"].as_array().unwrap();
    let of: Vec<&str> = memberships
        .iter()
        .map(|it| it["organisation"]["id"].as_str().unwrap())
        .collect();
    assert_eq!(of.len(), 2, "{of:?}");
    assert!(of.contains(&cast.union.as_str()) && of.contains(&cast.other.as_str()));
    // The pass that was granted to the other record is hers.
    let pass = "query($r: [_Any!]!) { _entities(representations: $r)
        { ... on Pass { credential { text } } } }";
    let id = world
        .names("SELECT id::text AS name FROM entitlement")
        .await;
    let id = kit::types::EntitlementId::from_i64(id[0].parse().unwrap());
    let id = GlobalId::of_entitlement("Pass", id);
    let representations = json!({ "r": [{ "__typename": "Pass", "id": id }] });
    let minted = world.ask(&now, pass, representations).await;
    let text = &minted["data"]["_entities"][0]["credential"]["text"];
    assert!(text.is_string(), "{minted}");
    let heard = world.events_of("MemberChanged").await;
    let heard: Vec<event::MemberChanged> = heard.iter().map(|it| it.decode()).collect();
    let last = heard.last().unwrap();
    assert_eq!(last.id, cast.merged.0.as_bytes());
    assert_eq!((last.state(), last.version), (State::Merged, 2));
    assert_eq!(last.merged_into, cast.survivor.0.as_bytes());
    // Whoever adds her by either document adds the same person.
    for (kind, number) in [("PASSPORT", PASSPORT), ("RESIDENT_ID", number(71).as_str())] {
        let known = json!({ "name": NAME, "documentType": kind, "documentNumber": number });
        assert_eq!(add(world, &cast.other, &known).await, cast.survivor);
    }
    cast.assert_invariants().await;
}

/// What a merge moved goes back, all of it and nothing else; both sign in anew.
#[tokio::test]
async fn a_split_restores_both_records() {
    let cast = cast().await;
    let world = &cast.world;
    let before = cast.rows().await;
    cast.merge().await;
    assert_ne!(cast.rows().await, before);
    let split = cast.split(&world.as_operator()).await;
    assert_eq!(split["merge"]["state"], "UNDONE", "{split}");
    assert_eq!(cast.rows().await, before);
    let signed_in = world.sign_in(&number_of_phone(72)).await;
    assert_eq!(signed_in.member, cast.merged);
    // What was sealed anew opens.
    let shown = json!({ "memberId": global(cast.merged), "purpose": "VERIFY" });
    let selection = "shown { phone documentNumber }";
    let operator = world.as_operator();
    let shown = world
        .mutate(&operator, "showMember", selection, shown)
        .await;
    assert_eq!(shown["shown"]["documentNumber"], PASSPORT);
    assert_eq!(shown["shown"]["phone"], number_of_phone(72));
    let heard = world.events_of("MemberChanged").await;
    let last: event::MemberChanged = heard.last().unwrap().decode();
    assert_eq!((last.state(), last.version), (State::Active, 3));
    let again = cast.split(&operator).await;
    assert_eq!(codes(&again), ["MERGE_NOT_FOUND"]);
    cast.assert_invariants().await;
    // And it can be merged again.
    cast.merge().await;
    cast.assert_invariants().await;
}

/// What she agreed to as the record that goes does not hold for her any more, before or after.
#[tokio::test]
async fn consents_do_not_go_over() {
    let cast = cast().await;
    let world = &cast.world;
    let give = json!({ "purpose": "NOTICE_SMS", "textVersion": 1,
        "idempotencyKey": Uuid::from_u128(1) });
    let merged = world.as_member(cast.merged);
    let given = world.mutate(&merged, "giveConsent", "", give).await;
    assert_eq!(codes(&given), [""; 0], "{given}");
    cast.merge().await;
    let holding = "SELECT count(*) AS count FROM consent WHERE given";
    assert_eq!(world.count(holding).await, 0);
    let split = cast.split(&world.as_operator()).await;
    assert_eq!(codes(&split), [""; 0]);
    assert_eq!(world.count(holding).await, 0);
    cast.assert_invariants().await;
}

/// One operator is never two, neither is the person, and a merge that waits ends by itself.
#[tokio::test]
async fn two_operators_make_a_merge() {
    let cast = cast().await;
    let world = &cast.world;
    let operator = world.as_operator();
    let first = cast.ask(&operator).await;
    assert_eq!(cast.ask(&operator).await, first, "it waits for another");
    let back = Pair {
        survivor: world.operator,
        merged: cast.merged,
    };
    let own = merge(world, &operator, back, PASSPORT).await;
    assert_eq!(codes(&own), ["MERGE_OF_OWN"]);
    let into_another = merge(world, &cast.second, back, PASSPORT).await;
    assert_eq!(codes(&into_another), ["MERGE_PENDING"]);
    world.advance(ASK_SECONDS + 1);
    settle(world).await;
    let states = "SELECT state AS name FROM member_merge ORDER BY asked_at";
    assert_eq!(world.names(states).await, ["expired"]);
    let late = cast.ask(&cast.second).await;
    assert_eq!(late["merge"]["state"], "ASKED");
    assert_eq!(cast.split(&operator).await["merge"], Value::Null);
    let done = cast.ask(&operator).await;
    assert_eq!(done["merge"]["state"], "DONE");
    assert_eq!(cast.ask(&operator).await, done, "said again");
    let officer = world.as_member(cast.survivor);
    assert_eq!(codes(&cast.ask(&officer).await), ["FORBIDDEN"]);
    cast.assert_invariants().await;
}

/// What does not match is not merged and is counted; a role, a document of the same kind and a
/// merge before stand in the way.
#[tokio::test]
async fn what_differs_is_not_merged() {
    let cast = cast().await;
    let world = &cast.world;
    let operator = world.as_operator();
    let wrong = merge(world, &operator, cast.pair(), "E12345679").await;
    assert_eq!(codes(&wrong), ["PERSON_NOT_MATCHED"]);
    let failed = "SELECT sum(count)::bigint AS count FROM attempt
        WHERE scope = 'person_not_matched'";
    assert_eq!(world.count(failed).await, 1);
    let same_kind = named(NAME, "PASSPORT", "E87654321");
    let third = add(world, &cast.union, &same_kind).await;
    let pair = |survivor, merged| Pair { survivor, merged };
    let two = merge(world, &operator, pair(third, cast.merged), PASSPORT).await;
    assert_eq!(codes(&two), ["DOCUMENTS_DIFFER"]);
    let other_name = named("李四", "RESIDENT_ID", &number(73));
    let fourth = add(world, &cast.union, &other_name).await;
    let two = merge(world, &operator, pair(fourth, cast.merged), PASSPORT).await;
    assert_eq!(codes(&two), ["PERSON_NOT_MATCHED"]);
    let one = merge(world, &operator, pair(cast.merged, cast.merged), PASSPORT).await;
    assert_eq!(codes(&one), ["MERGE_OF_ONE"]);
    let role = world.grant(cast.merged, &cast.union, "AUDITOR").await;
    assert_eq!(codes(&cast.ask(&operator).await), ["HOLDS_ROLE"]);
    let withdraw = json!({ "roleId": role });
    let _ = world.mutate(&operator, "withdrawRole", "", withdraw).await;
    cast.merge().await;
    let fifth = add(
        world,
        &cast.union,
        &named(NAME, "HOME_RETURN_PERMIT", "H12345678"),
    )
    .await;
    let chain = merge(world, &operator, pair(fifth, cast.survivor), PASSPORT).await;
    assert_eq!(codes(&chain), ["MERGED_BEFORE"]);
    let gone = merge(world, &operator, pair(fifth, cast.merged), PASSPORT).await;
    assert_eq!(codes(&gone), ["MEMBER_NOT_FOUND"]);
    world.advance(UNDO_DAYS * 86_400);
    let over = cast.split(&operator).await;
    assert_eq!(codes(&over), ["UNDO_OVER"]);
    cast.assert_invariants().await;
}

/// A second factor is asked for, by either mutation.
#[tokio::test]
async fn a_token_alone_merges_nobody() {
    let cast = cast().await;
    let login = kit::types::LoginId(Uuid::from_u128(99));
    let language = kit::graphql::Language::En;
    let alone = Caller::member(cast.world.operator, login, language);
    assert_eq!(codes(&cast.ask(&alone).await), ["STEP_UP_REQUIRED"]);
    assert_eq!(codes(&cast.split(&alone).await), ["STEP_UP_REQUIRED"]);
}

/// Both operators at once, and many times: one merge, done once.
#[tokio::test]
async fn everybody_at_once_merges_once() {
    let cast = cast().await;
    let operator = cast.world.as_operator();
    let asks = (0..6).map(|at| cast.ask(if at % 2 == 0 { &operator } else { &cast.second }));
    let answers = futures::future::join_all(asks).await;
    assert!(answers.iter().all(|it| codes(it).is_empty()), "{answers:?}");
    let done = "SELECT count(*) AS count FROM audit WHERE act = 'merge_members'";
    assert_eq!(cast.world.count(done).await, 1);
    let splits = (0..4).map(|_| cast.split(&operator));
    let answers = futures::future::join_all(splits).await;
    let undone = answers.iter().filter(|it| codes(it).is_empty()).count();
    assert_eq!(undone, 1, "{answers:?}");
    cast.assert_invariants().await;
}

/// Without the members' locks two operators at once both find no merge: the constraint stops the
/// second one, and without that too two wait.
#[tokio::test]
async fn without_its_guards_two_merges_would_wait() {
    let cast = cast().await;
    let world = &cast.world;
    let twice = async || {
        let read = async |tx: &Tx| Ok(store::open(tx, cast.merged).await?.is_none());
        let write = async |tx: &Tx, none: bool, _| {
            assert!(none);
            store::insert(tx, tx.uuid(), cast.pair(), (world.operator, tx.now())).await
        };
        interleaved(world, read, write).await
    };
    let stopped: Error = twice().await.unwrap_err();
    let constraint = stopped.constraint();
    assert_eq!(constraint.as_deref(), Some("member_merge_one_open"));
    // Their owner sees no row of them.
    let none = "DELETE FROM member_merge";
    assert!(world.test.ctx.db.execute(none, []).await.unwrap() > 0);
    let unguarded = "DROP INDEX member_merge_one_open";
    world
        .test
        .owner()
        .await
        .execute(unguarded, [])
        .await
        .unwrap();
    twice().await.unwrap();
    let waiting = "SELECT count(*) AS count FROM member_merge WHERE state = 'asked'";
    assert_eq!(world.count(waiting).await, 2);
}

/// Whoever is named by the record that was merged is signed out as who she is by now, and split
/// again as who she was.
#[tokio::test]
async fn whoever_was_merged_is_signed_out_as_who_she_is() {
    let cast = cast().await;
    let (world, merged) = (&cast.world, cast.merged);
    let ctx = &world.identity.ctx;
    cast.merge().await;
    let session = world.sign_in(&number_of_phone(72)).await;
    assert_eq!(session.member, cast.survivor);
    assert_eq!(sign_out(ctx, Some(merged), "lost").await.unwrap(), 1);
    let on_record = format!(
        "SELECT subject AS name FROM audit
         WHERE act = 'sign_out_member' AND detail ->> 'named' = '{merged}'"
    );
    let subjects = world.names(&on_record).await;
    assert_eq!(subjects, [cast.survivor.to_string()]);
    let split = cast.split(&world.as_operator()).await;
    assert_eq!(codes(&split), [""; 0], "{split}");
    world.advance(61);
    let session = world.sign_in(&number_of_phone(72)).await;
    assert_eq!(session.member, merged);
    assert_eq!(sign_out(ctx, Some(merged), "lost").await.unwrap(), 1);
}

/// Without the members' locks a record is merged into one that is just being merged itself.
#[tokio::test]
async fn without_their_locks_merges_would_make_a_chain() {
    let cast = cast().await;
    let world = &cast.world;
    let third = world.person(&cast.union, 74).await;
    let chain = [(cast.merged, cast.survivor), (cast.survivor, third)];
    let read = async |tx: &Tx| {
        let one = store::has_merged(tx, cast.survivor).await?;
        Ok(one || store::has_merged(tx, third).await?)
    };
    let write = async |tx: &Tx, merged: bool, which: u128| {
        assert!(!merged);
        let (from, into) = chain[usize::try_from(which).unwrap() - 1];
        store::save_member(tx, from, 2, Some(into)).await
    };
    interleaved(world, read, write).await.unwrap();
    assert_eq!(world.broken("identity.merges_are_flat").await, 1);
    assert_eq!(world.broken("identity.merges_by_two").await, 2);
}

/// The table itself knows that two are needed, and that neither is the person.
#[tokio::test]
async fn one_operator_is_never_two_operators() {
    let cast = cast().await;
    let db = &cast.world.identity.ctx.db;
    let (one, pair) = (cast.world.operator, cast.pair());
    for (by, done_by, constraint) in [
        (one, one, "member_merge_by_two"),
        (one, pair.merged, "member_merge_of_others"),
        (pair.survivor, one, "member_merge_of_others"),
    ] {
        let written = db.tx("merge", async |tx| {
            let id = tx.uuid();
            store::insert(tx, id, pair, (by, tx.now())).await?;
            store::finish(tx, id, done_by, store::Moved::default()).await
        });
        let stopped = written.await.unwrap_err().constraint();
        assert_eq!(stopped.as_deref(), Some(constraint));
    }
}
