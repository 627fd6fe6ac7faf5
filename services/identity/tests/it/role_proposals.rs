//! What one person alone does not grant: two operators do, neither of whom is to hold it.

use identity::domain::proposal::PROPOSAL_DAYS;
use identity::domain::role::{POWERFUL, Role};
use identity::due::Jobs;
use kit::access::Caller;
use kit::graphql::GlobalId;
use kit::types::MemberId;
use serde_json::{Value, json};

use crate::world::{World, codes};

pub(crate) const BY_TWO: &str = "identity.powerful_roles_by_two";
pub(crate) const TIMERS: &str = "identity.roles_end";
const DAY_SECONDS: i64 = 86_400;
const LIVE: &str = "SELECT count(*) AS count FROM role
    WHERE role = 'approver' AND withdrawn_at IS NULL";

/// A union, one of it who is to approve, and two operators.
pub(crate) struct Stage {
    pub(crate) world: World,
    pub(crate) union: String,
    pub(crate) member: MemberId,
    pub(crate) one: Caller,
    pub(crate) two: Caller,
}

impl Stage {
    pub(crate) async fn new() -> Self {
        let world = World::new().await;
        let union = world.organisation("GRASSROOTS", "基层工会").await;
        let member = world.person(&union, 1).await;
        let second = world.person(&union, 2).await;
        let _ = world.grant(second, &root(&world), "OPERATOR").await;
        let (one, two) = (world.as_operator(), world.as_member(second));
        Self {
            world,
            union,
            member,
            one,
            two,
        }
    }

    fn input(&self, role: &str) -> Value {
        let place = match role {
            "OPERATOR" => root(&self.world),
            _ => self.union.clone(),
        };
        json!({
            "memberId": GlobalId::of_uuid("Member", self.member.0),
            "organisationId": place, "role": role,
        })
    }

    async fn grant(&self, by: &Caller, input: Value) -> Value {
        let selection = "role { id } proposal { id until state canConfirm }";
        self.world.mutate(by, "grantRole", selection, input).await
    }

    /// The proposal of an approver by the first operator.
    pub(crate) async fn proposed(&self) -> Value {
        let granted = self.grant(&self.one, self.input("APPROVER")).await;
        assert_eq!(codes(&granted), [""; 0], "{granted}");
        assert_eq!(granted["role"], Value::Null, "{granted}");
        granted["proposal"]["id"].clone()
    }

    pub(crate) async fn decide(&self, by: &Caller, how: &str, id: &Value) -> Value {
        let selection = match how {
            "confirmRole" => "role { id until }",
            _ => "proposal { state }",
        };
        let input = json!({ "proposalId": id });
        self.world.mutate(by, how, selection, input).await
    }

    async fn waiting(&self, by: &Caller) -> Value {
        let query = "{ roleProposals(first: 9) { nodes { id role until canConfirm
            member { id } proposedBy { id } organisation { id } } } }";
        self.world.run(by, query, json!({})).await["nodes"].clone()
    }

    /// What is due by now.
    pub(crate) async fn run_due(&self) {
        let jobs = Jobs(self.world.identity.clone());
        while kit::due::step(&self.world.identity.ctx, &jobs)
            .await
            .unwrap()
            > 0
        {}
    }

    pub(crate) async fn keeps_its_promises(&self) {
        for promise in [BY_TWO, TIMERS] {
            assert_eq!(self.world.broken(promise).await, 0, "{promise}");
        }
    }
}

fn root(world: &World) -> String {
    GlobalId::of_uuid("Organisation", world.root_id().0).to_string()
}

/// One operator proposes, another confirms, the role is held and everybody hears of it. The same
/// confirmation again is one.
#[tokio::test]
async fn two_operators_make_an_approver() {
    let stage = Stage::new().await;
    let world = &stage.world;
    let id = stage.proposed().await;
    assert_eq!(world.count(LIVE).await, 0);
    stage.keeps_its_promises().await;
    let again = stage.grant(&stage.two, stage.input("APPROVER")).await;
    assert_eq!(
        again["proposal"]["id"], id,
        "who asks for it confirms nothing"
    );
    assert_eq!(again["proposal"]["canConfirm"], true);
    assert_eq!(world.count(LIVE).await, 0);

    let waiting = stage.waiting(&stage.two).await;
    let member = GlobalId::of_uuid("Member", stage.member.0);
    let proposer = GlobalId::of_uuid("Member", world.operator.0);
    assert_eq!(
        waiting,
        json!([{
            "id": id, "role": "APPROVER", "until": "2031-04-01", "canConfirm": true,
            "member": { "id": member }, "proposedBy": { "id": proposer },
            "organisation": { "id": stage.union },
        }])
    );
    assert_eq!(stage.waiting(&stage.one).await[0]["canConfirm"], false);
    let nobody = world.as_member(stage.member);
    assert_eq!(stage.waiting(&nobody).await, json!([]));

    let done = stage.decide(&stage.two, "confirmRole", &id).await;
    assert_eq!(codes(&done), [""; 0], "{done}");
    assert_eq!(done["role"]["until"], "2031-04-01");
    assert_eq!(stage.decide(&stage.two, "confirmRole", &id).await, done);
    assert_eq!(world.count(LIVE).await, 1);
    let said = world.events_of("RoleChanged").await.pop().unwrap();
    let said: proto::identity::RoleChanged = said.decode();
    assert_eq!(said.role(), proto::identity::role_changed::Role::Approver);
    assert_eq!(
        said.ends_at,
        "2031-04-01T00:00:00+08:00"
            .parse::<chrono::DateTime<chrono::Utc>>()
            .unwrap()
            .timestamp_millis()
    );
    let told = format!(
        "SELECT count(*) AS count FROM notice WHERE kind = 'role_granted' AND member = '{}'",
        stage.member.0
    );
    assert_eq!(world.count(&told).await, 1);
    assert_eq!(stage.waiting(&stage.two).await, json!([]));
    // Who holds it keeps it, without another proposal.
    let held = stage.grant(&stage.one, stage.input("APPROVER")).await;
    assert_eq!(
        (&held["role"]["id"], &held["proposal"]),
        (&done["role"]["id"], &Value::Null)
    );
    stage.keeps_its_promises().await;
}

const OWN: [&str; 3] = [
    "PROPOSAL_OF_OWN",
    "授权提议须由提议人以外的人确认。",
    "A proposal is confirmed by somebody else than who made it.",
];
const FOR_ONESELF: [&str; 3] = [
    "ROLE_FOR_ONESELF",
    "不能为自己授予此角色，须由另外两人办理。",
    "This role is granted by two others, not to oneself.",
];
const OVER: [&str; 3] = [
    "PROPOSAL_OVER",
    "该授权提议已确认、撤回或过期。",
    "The proposal was confirmed or taken back, or is over.",
];
const NOT_FOUND: [&str; 3] = [
    "PROPOSAL_NOT_FOUND",
    "找不到该授权提议。",
    "There is no such proposal.",
];
const WAITS: [&str; 3] = [
    "PROPOSAL_WAITS",
    "已有另一截止日期的授权提议待确认，请先确认或撤回。",
    "The role is proposed with another end already; confirm that or take it back.",
];

/// Neither who proposes, whatever she signs in with, nor who is to hold it confirms; who is no
/// operator, or shows no factor, decides nothing. No refusal leaves a row.
#[tokio::test]
async fn neither_the_proposer_nor_the_holder_confirms() {
    let stage = Stage::new().await;
    let world = &stage.world;
    let id = stage.proposed().await;
    let which = json!({ "proposalId": id });
    let rows = "SELECT (SELECT count(*) FROM audit) + (SELECT count(*) FROM role) AS count";
    let before = world.count(rows).await;
    let again = Caller::member(
        world.operator,
        kit::types::LoginId(uuid::Uuid::from_u128(98)),
        kit::graphql::Language::En,
    );
    let again = again.stepped_up(chrono::DateTime::<chrono::Utc>::MAX_UTC);
    for by in [&stage.one, &again] {
        assert_eq!(world.answered(by, "confirmRole", &which).await, OWN);
    }
    let nobody = world.as_member(stage.member);
    for how in ["confirmRole", "withdrawRoleProposal"] {
        let refused = stage.decide(&nobody, how, &id).await;
        assert_eq!(codes(&refused), ["FORBIDDEN"], "{how}");
        let mut plain = stage.two.clone();
        if let kit::access::Who::Member {
            stepped_up_until, ..
        } = &mut plain.who
        {
            *stepped_up_until = None;
        }
        let refused = stage.decide(&plain, how, &id).await;
        assert_eq!(codes(&refused), ["STEP_UP_REQUIRED"], "{how}");
        let absent = json!({ "proposalId": GlobalId::of_uuid("RoleProposal", uuid::Uuid::nil()) });
        assert_eq!(world.answered(&stage.two, how, &absent).await, NOT_FOUND);
    }
    // The holder has become an operator meanwhile, and still does not make herself an approver.
    let _ = world.grant(stage.member, &root(world), "OPERATOR").await;
    assert_eq!(
        world.answered(&nobody, "confirmRole", &which).await,
        FOR_ONESELF
    );
    let own = stage.input("APPROVER");
    assert_eq!(
        world.answered(&nobody, "grantRole", &own).await,
        FOR_ONESELF
    );
    assert_eq!(world.count(rows).await, before + 1, "the operator's role");
    stage.keeps_its_promises().await;
}

/// One takes a proposal back, whoever made it; then it is over, and another may be made. While one
/// waits none with another end is.
#[tokio::test]
async fn one_takes_a_proposal_back() {
    let stage = Stage::new().await;
    let world = &stage.world;
    for by in [&stage.one, &stage.two] {
        let id = stage.proposed().await;
        let mut other = stage.input("APPROVER");
        other["until"] = json!("2027-01-01");
        assert_eq!(world.answered(&stage.two, "grantRole", &other).await, WAITS);
        let back = stage.decide(by, "withdrawRoleProposal", &id).await;
        assert_eq!(back["proposal"]["state"], "WITHDRAWN", "{back}");
        assert_eq!(stage.decide(by, "withdrawRoleProposal", &id).await, back);
        let which = json!({ "proposalId": id });
        assert_eq!(
            world.answered(&stage.two, "confirmRole", &which).await,
            OVER
        );
    }
    assert_eq!(world.count(LIVE).await, 0);
    let id = stage.proposed().await;
    let done = stage.decide(&stage.two, "confirmRole", &id).await;
    assert_eq!(codes(&done), [""; 0]);
    let which = json!({ "proposalId": id });
    let late = world
        .answered(&stage.one, "withdrawRoleProposal", &which)
        .await;
    assert_eq!(late, OVER);
    stage.keeps_its_promises().await;
}

/// A proposal is over after a week although nobody has written that down; the next one may be made,
/// and what is due ends the first.
#[tokio::test]
async fn a_proposal_waits_for_a_week() {
    let stage = Stage::new().await;
    let world = &stage.world;
    let id = stage.proposed().await;
    world.advance(PROPOSAL_DAYS * DAY_SECONDS);
    let which = json!({ "proposalId": id });
    assert_eq!(
        world.answered(&stage.two, "confirmRole", &which).await,
        OVER
    );
    assert_eq!(stage.waiting(&stage.two).await, json!([]));
    let next = stage.proposed().await;
    assert_ne!(next, id);
    stage.keeps_its_promises().await;
    world.advance(PROPOSAL_DAYS * DAY_SECONDS);
    stage.run_due().await;
    let states = "SELECT state AS name FROM role_proposal ORDER BY created_at";
    assert_eq!(world.names(states).await, ["expired", "expired"]);
    assert_eq!(world.count(LIVE).await, 0);
    stage.keeps_its_promises().await;
}

/// What its proposer could not grant any more is not confirmed.
#[tokio::test]
async fn a_proposal_ends_with_its_proposers_office() {
    let stage = Stage::new().await;
    let world = &stage.world;
    let id = stage.proposed().await;
    let me = world
        .run(&stage.one, "{ me { roles { id } } }", json!({}))
        .await;
    let withdraw = json!({ "roleId": me["roles"][0]["id"] });
    let gone = world.mutate(&stage.two, "withdrawRole", "", withdraw);
    assert_eq!(codes(&gone.await), [""; 0]);
    let which = json!({ "proposalId": id });
    assert_eq!(
        world.answered(&stage.two, "confirmRole", &which).await,
        OVER
    );
    assert_eq!(world.count(LIVE).await, 0);
}

/// Every role that takes two is proposed, and no other; the table refuses one of them that one
/// person made, and the promise finds one that two are only said to have made.
#[tokio::test]
async fn whoever_writes_it_a_powerful_role_has_two() {
    let stage = Stage::new().await;
    let world = &stage.world;
    for role in Role::ALL.into_iter().filter(|role| role.is_powerful()) {
        let name = role.as_str().to_uppercase();
        let granted = stage.grant(&stage.one, stage.input(&name)).await;
        assert!(granted["proposal"].is_object(), "{name}: {granted}");
        let done = stage
            .decide(&stage.two, "confirmRole", &granted["proposal"]["id"])
            .await;
        assert_eq!(codes(&done), [""; 0], "{name}: {done}");
    }
    stage.keeps_its_promises().await;
    let owner = world.test.owner().await;
    let by_one = "UPDATE role SET origin = 'one', proposal = NULL WHERE origin = 'two'";
    let refused = owner.execute(by_one, []).await.unwrap_err();
    assert_eq!(
        refused.constraint().as_deref(),
        Some("role_powerful_by_two")
    );
    for sql in [
        "ALTER TABLE role DROP CONSTRAINT role_powerful_by_two",
        by_one,
    ] {
        owner.execute(sql, []).await.unwrap();
    }
    assert_eq!(world.broken(BY_TWO).await, POWERFUL.len());
}
