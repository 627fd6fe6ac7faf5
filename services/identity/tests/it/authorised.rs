//! Every field of the graph, asked for as everybody: who is answered and how all others are refused
//! is in `schema/authorisation.json`. What was refused changed nothing.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU32, Ordering};

use async_graphql::{Request, Response, Variables};
use chrono::{DateTime, Utc};
use identity::Settings;
use identity::totp::Secret;
use kit::access::{Caller, Who};
use kit::graphql::{GlobalId, Language};
use kit::testing::rights::{Ask, Rights, View};
use kit::types::{EntitlementId, MemberId};
use sandbox::{Clock, ManualClock};
use serde_json::{Value, json};

use crate::credentials::{PASS, apply, granted};
use crate::memberships::{add, joining, queue};
use crate::parties::Parties;
use crate::rosters::{compared, csv, line};
use crate::second_factor::enrol;
use crate::world::{World, codes, number_of_phone, settings};

/// Who holds what, and at which of the places of the play.
const CAST: [(&str, &str, &str); 11] = [
    ("member", "union", ""),
    ("other_member", "union", ""),
    ("officer", "union", "OFFICER"),
    ("other_officer", "other", "OFFICER"),
    ("parent_officer", "district", "OFFICER"),
    ("auditor", "root", "AUDITOR"),
    ("venue_staff", "company", "VENUE_STAFF"),
    ("manager", "company", "VENUE_MANAGER"),
    ("other_venue", "rival", "VENUE_MANAGER"),
    ("operator", "root", "OPERATOR"),
    ("other_operator", "other", ""),
];
/// The first person of the cast among the people of the world, and the first that is made later.
const CAST_FROM: u32 = 200;
const LATER_FROM: u32 = 300;
/// Seconds until a phone may be sent another code.
const PAUSE_SECONDS: i64 = 61;

/// Who asks, and of what.
pub(crate) struct Play {
    pub(crate) world: World,
    pub(crate) rights: Rights,
    pub(crate) places: BTreeMap<&'static str, String>,
    pub(crate) parties: Parties,
    pub(crate) clock: ManualClock,
    cast: BTreeMap<&'static str, Caller>,
    next: AtomicU32,
}

impl Play {
    pub(crate) async fn new() -> Self {
        let clock = ManualClock::at(kit::testing::start().timestamp_millis());
        let parties = Parties::start("authorised", Clock::Manual(clock.clone())).await;
        let world = World::with(Settings {
            wechat: Some(parties.mini_program()),
            oidc: vec![parties.issuer("federation")],
            verification: Some(parties.verification()),
            ..settings(&parties.url)
        })
        .await;
        let root = GlobalId::of_uuid("Organisation", world.root_id().0).to_string();
        let district = place(&world, &root, ("TERRITORIAL", "区总工会")).await;
        let places = BTreeMap::from([
            (
                "union",
                place(&world, &district, ("GRASSROOTS", "基层工会")).await,
            ),
            (
                "other",
                place(&world, &district, ("GRASSROOTS", "别的工会")).await,
            ),
            (
                "company",
                place(&world, &root, ("PARTNER", "文旅公司")).await,
            ),
            ("rival", place(&world, &root, ("PARTNER", "别的公司")).await),
            ("district", district),
            ("root", root),
        ]);
        let mut cast = BTreeMap::new();
        for ((actor, at, role), number) in CAST.into_iter().zip(CAST_FROM..) {
            let member = world.person(&places[at], number).await;
            if !role.is_empty() {
                let _role = world.grant(member, &places[at], role).await;
            }
            let _nobody = cast.insert(actor, signed_in(&world, number).await);
        }
        let _nobody = cast.insert("anonymous", Caller::anonymous(Language::En));
        let gate = Caller {
            gate_assertion: Some("of a gate".to_owned()),
            ..Caller::anonymous(Language::En)
        };
        let _nobody = cast.insert("gate", gate);
        world.advance(PAUSE_SECONDS);
        let ended = signed_in(&world, CAST_FROM).await;
        let out = "mutation { logout { userErrors { code } } }";
        assert_eq!(codes(&world.run(&ended, out, json!({})).await), [""; 0]);
        let _nobody = cast.insert("expired", ended);
        Self {
            rights: Rights::of("identity", &identity::sdl(), &[]),
            world,
            places,
            parties,
            clock,
            cast,
            next: AtomicU32::new(LATER_FROM),
        }
    }

    pub(crate) fn caller(&self, actor: &str) -> &Caller {
        &self.cast[actor]
    }

    /// The global id of one of the cast.
    pub(crate) fn member(&self, actor: &str) -> String {
        GlobalId::of_uuid("Member", self.member_id(actor).0).to_string()
    }

    fn member_id(&self, actor: &str) -> MemberId {
        match self.cast[actor].who {
            Who::Member { member, .. } => member,
            Who::Anonymous => panic!("{actor} is nobody"),
        }
    }

    /// The number of a person whom the world does not know yet.
    pub(crate) fn person(&self) -> u32 {
        self.next.fetch_add(1, Ordering::SeqCst)
    }

    async fn answer(&self, actor: &str, ask: &Ask) -> Response {
        let caller = ask.asked_by(&self.cast[actor]);
        let request = Request::new(&ask.query)
            .variables(Variables::from_json(ask.variables.clone()))
            .data(caller.clone())
            .data(caller.language);
        self.world.schema.execute(request).await
    }

    pub(crate) async fn query(&self, name: &str, query: &str, variables: Value) {
        let ask = Ask::new(query.to_owned(), variables);
        let answer = async |actor: &str, ask: &Ask| self.answer(actor, ask).await;
        self.rights.query(name, &ask, answer).await;
    }

    pub(crate) async fn view(
        &self,
        kind: &'static str,
        query: &str,
        variables: Value,
        path: &'static [&'static str],
    ) {
        let ask = Ask::new(query.to_owned(), variables);
        let view = View { kind, ask, path };
        let answer = async |actor: &str, ask: &Ask| self.answer(actor, ask).await;
        self.rights.view(&view, answer).await;
    }

    pub(crate) async fn mutation(&self, name: &str, input: impl AsyncFn() -> Value) {
        let mut kind = format!("{name}Input");
        kind[..1].make_ascii_uppercase();
        let query = format!(
            "mutation($input: {kind}!) {{ {name}(input: $input) {{ userErrors {{ code }} }} }}"
        );
        self.send(name, &query, async || json!({ "input": input().await }))
            .await;
    }

    /// A mutation that has no input.
    pub(crate) async fn bare(&self, name: &str, prepare: impl AsyncFn()) {
        let query = format!("mutation {{ {name} {{ userErrors {{ code }} }} }}");
        self.send(name, &query, async || {
            prepare().await;
            json!({})
        })
        .await;
    }

    async fn send(&self, name: &str, query: &str, variables: impl AsyncFn() -> Value) {
        let prepare = async |_: &str| {
            let variables = variables().await;
            self.world.seal().await;
            Ask::new(query.to_owned(), variables)
        };
        let answer = async |actor: &str, ask: &Ask| self.answer(actor, ask).await;
        let db = &self.world.identity.ctx.db;
        self.rights.mutation(db, name, prepare, answer).await;
    }

    /// The secret of a second factor that the member has begun to set up.
    pub(crate) async fn begun(&self) -> Secret {
        enrol(&self.world, self.caller("member")).await.1.unwrap()
    }

    /// Somebody who is in the branch; her phone.
    pub(crate) async fn joined(&self) -> (String, String) {
        let at = self.person();
        let member = self.world.person(&self.places["union"], at).await;
        let id = GlobalId::of_uuid("Member", member.0).to_string();
        (id, number_of_phone(at))
    }

    /// A membership of the branch.
    pub(crate) async fn membership(&self) -> String {
        let input = joining(&self.places["union"], self.person(), "2026-03-01");
        add(&self.world, self.caller("officer"), input).await
    }

    /// A correction that nobody has looked at.
    pub(crate) async fn review(&self) -> Value {
        let (id, officer) = (self.membership().await, self.caller("officer"));
        let correct = json!({ "membershipId": id, "since": "2018-05-04", "reason": "ENTRY_ERROR" });
        let corrected = self.world.mutate(officer, "correctMembership", "", correct);
        assert_eq!(codes(&corrected.await), [""; 0]);
        let open = queue(&self.world, &self.world.as_operator()).await;
        let of = |review: &&Value| review["membership"]["id"] == json!(id);
        open.iter().find(of).unwrap()["id"].clone()
    }

    /// A roster of the branch, compared, with a bad row in it.
    pub(crate) async fn roster(&self) -> Value {
        let bad = line(self.person()).replace("138", "128");
        let file = csv(&[line(self.person()), bad]);
        let union = (self.places["union"].as_str(), "LIST");
        compared(&self.world, self.caller("officer"), union, file).await
    }

    pub(crate) async fn people(&self) {
        let of = json!({ "id": self.member("member") });
        self.query("me", "{ me { id } }", json!({})).await;
        let one = "query($id: ID!) { node(id: $id) { id } }";
        self.query("node", one, of.clone()).await;
        let one = "query($id: ID!) { node(id: $id) { ... on Member { FIELD } } }";
        self.view("Member", one, of.clone(), &["node"]).await;
        let one = "query($id: ID!) { node(id: $id) { ... on Member {
            memberships(first: 5) { nodes { FIELD } } } } }";
        self.view(
            "Membership",
            one,
            of.clone(),
            &["node", "memberships", "nodes"],
        )
        .await;
        let one = "query($id: ID!) { node(id: $id) { ... on Member { secondFactor { FIELD } } } }";
        self.view("SecondFactor", one, of.clone(), &["node", "secondFactor"])
            .await;
        let one = "query($id: ID!) { node(id: $id) { ... on Member { roles { FIELD } } } }";
        let officer = json!({ "id": self.member("officer") });
        self.view("RoleHolding", one, officer, &["node", "roles"])
            .await;
        let one = "query($id: ID!) { node(id: $id) { ... on Member {
            logins(first: 5) { nodes { FIELD } } } } }";
        self.view("Login", one, of, &["node", "logins", "nodes"])
            .await;
        self.codes_of_passes().await;
    }

    async fn codes_of_passes(&self) {
        let grant = granted(&self.world, self.member_id("member"), 1);
        apply(&self.world, grant).await;
        let id = GlobalId::of_entitlement("Pass", EntitlementId(PASS)).to_string();
        let of = json!({ "of": [{ "__typename": "Pass", "id": id }] });
        let one = "query($of: [_Any!]!) { _entities(representations: $of) {
            ... on Pass { FIELD } } }";
        self.view("Pass", one, of.clone(), &["_entities"]).await;
        let one = "query($of: [_Any!]!) { _entities(representations: $of) {
            ... on Pass { credential { FIELD } } } }";
        self.view("Credential", one, of, &["_entities", "credential"])
            .await;
    }

    pub(crate) async fn organisations(&self) {
        let of = json!({ "id": self.places["union"] });
        let one = "query($id: ID!) { organisation(id: $id) { id } }";
        self.query("organisation", one, of.clone()).await;
        let all = "query($id: ID!) { organisations(parentId: $id, first: 5) { nodes { id } } }";
        let below = json!({ "id": self.places["district"] });
        self.query("organisations", all, below).await;
        let one = "query($id: ID!) { organisation(id: $id) { FIELD } }";
        self.view("Organisation", one, of, &["organisation"]).await;
        let _open = self.review().await;
        let all = "{ membershipReviews(first: 5) { nodes { FIELD } } }";
        let path = &["membershipReviews", "nodes"];
        self.view("MembershipReview", all, json!({}), path).await;
        let all = all.replace("FIELD", "id");
        self.query("membershipReviews", &all, json!({})).await;
        let of = json!({ "id": self.roster().await });
        let one = "query($id: ID!) { rosterImport(id: $id) { FIELD } }";
        self.query("rosterImport", &one.replace("FIELD", "id"), of.clone())
            .await;
        self.view("RosterImport", one, of.clone(), &["rosterImport"])
            .await;
        let one = "query($id: ID!) { rosterImport(id: $id) {
            difference(first: 5) { nodes { FIELD } } } }";
        let path = &["rosterImport", "difference", "nodes"];
        self.view("RosterRow", one, of, path).await;
    }
}

/// An organisation below another one.
pub(crate) async fn place(world: &World, parent: &str, (kind, name): (&str, &str)) -> String {
    let input = json!({
        "parentId": parent, "kind": kind, "name": name, "division": "500103",
    });
    let operator = world.as_operator();
    let made = world.mutate(
        &operator,
        "createOrganisation",
        "organisation { id }",
        input,
    );
    let made = made.await;
    assert_eq!(codes(&made), [""; 0], "{made}");
    made["organisation"]["id"].as_str().unwrap().to_owned()
}

/// Somebody with a login of her own, her second factor shown.
async fn signed_in(world: &World, number: u32) -> Caller {
    let session = world.sign_in(&number_of_phone(number)).await;
    Caller::member(session.member, session.login, Language::En).stepped_up(DateTime::<Utc>::MAX_UTC)
}

/// ASVS V6.3.4, V8.2.1.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn everybody_is_answered_what_is_hers() {
    let play = Play::new().await;
    play.second_factors().await;
    play.own().await;
    play.people().await;
    play.queues().await;
    play.organisations().await;
    play.memberships().await;
    play.offices().await;
    play.rosters().await;
    play.applications().await;
    play.by_two().await;
    play.rights_of_persons().await;
    play.last_of_second_factors().await;
    play.lost_phones().await;
    play.phones().await;
    play.outside().await;
    play.logins().await;
    play.rights.assert_complete();
}
