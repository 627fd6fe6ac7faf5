//! Who may do and see what: every mutation and every private field against every kind of caller.

use kit::access::Caller;
use kit::graphql::{GlobalId, Language};
use kit::types::MemberId;
use serde_json::{Value, json};

use crate::world::{World, person};

struct Cast {
    world: World,
    union: String,
    below: String,
    sister: String,
    partner: String,
    member: MemberId,
    officer: MemberId,
    officer_elsewhere: MemberId,
    staff: MemberId,
    manager: MemberId,
}

async fn cast() -> Cast {
    let world = World::new().await;
    let union = world.organisation("GRASSROOTS", "基层工会").await;
    let sister = world.organisation("GRASSROOTS", "兄弟基层工会").await;
    let partner = world.organisation("PARTNER", "某某文旅公司").await;
    let input = json!({ "kind": "GROUP", "name": "第一小组", "division": "500103",
        "parentId": union });
    let below = world
        .mutate(
            &world.as_operator(),
            "createOrganisation",
            "organisation { id }",
            input,
        )
        .await["organisation"]["id"]
        .as_str()
        .unwrap()
        .to_owned();
    let member = world.person(&below, 1).await;
    let officer = world.person(&union, 2).await;
    let officer_elsewhere = world.person(&sister, 3).await;
    let staff = world.person(&partner, 4).await;
    let manager = world.person(&partner, 5).await;
    let _ = world.grant(officer, &union, "OFFICER").await;
    let _ = world.grant(officer_elsewhere, &sister, "OFFICER").await;
    let _ = world.grant(staff, &partner, "VENUE_STAFF").await;
    let _ = world.grant(manager, &partner, "VENUE_MANAGER").await;
    Cast {
        world,
        union,
        below,
        sister,
        partner,
        member,
        officer,
        officer_elsewhere,
        staff,
        manager,
    }
}

impl Cast {
    fn callers(&self) -> Vec<(&'static str, Caller)> {
        let as_member = |id| self.world.as_member(id);
        vec![
            ("anonymous", Caller::anonymous(Language::En)),
            ("member", as_member(self.member)),
            ("officer", as_member(self.officer)),
            ("elsewhere", as_member(self.officer_elsewhere)),
            ("staff", as_member(self.staff)),
            ("manager", as_member(self.manager)),
            ("nobody", as_member(MemberId(uuid::Uuid::from_u128(7)))),
            ("operator", self.world.as_operator()),
        ]
    }

    /// What a mutation answers each caller: done, a code, or a top-level code.
    async fn answers(&self, name: &str, selection: &str, input: Value) -> Vec<String> {
        let mut input_type = name.to_owned();
        input_type[..1].make_ascii_uppercase();
        let query = format!(
            "mutation($input: {input_type}Input!) {{ {name}(input: $input) {{ {selection}
               userErrors {{ code }} }} }}"
        );
        let mut answers = Vec::new();
        for (who, caller) in self.callers() {
            let variables = json!({ "input": input });
            let answer = self.world.ask(&caller, &query, variables).await;
            let what = match answer["errors"][0]["message"].as_str() {
                Some(message) => message.to_owned(),
                None => match answer["data"][name]["userErrors"][0]["code"].as_str() {
                    Some(code) => code.to_owned(),
                    None => "done".to_owned(),
                },
            };
            answers.push(format!("{who}: {what}"));
        }
        answers
    }
}

fn expected(done: &[&str], unauthenticated: &str, refused: &str) -> Vec<String> {
    [
        "anonymous",
        "member",
        "officer",
        "elsewhere",
        "staff",
        "manager",
        "nobody",
        "operator",
    ]
    .into_iter()
    .map(|who| {
        let what = if done.contains(&who) {
            "done"
        } else if who == "anonymous" {
            unauthenticated
        } else {
            refused
        };
        format!("{who}: {what}")
    })
    .collect()
}

const SIGN_IN: &str = "Please sign in.";

/// The one sentence for those who are not signed in, whatever it is in detail.
fn same(answers: Vec<String>) -> Vec<String> {
    answers
        .into_iter()
        .map(|answer| match answer.split_once(": ") {
            Some(("anonymous", what)) if what != "done" => format!("anonymous: {SIGN_IN}"),
            _ => answer,
        })
        .collect()
}

/// Organisations are an operator's; roles too, but for a venue's own staff.
#[tokio::test]
async fn operators_alone_change_the_tree_and_roles() {
    let cast = cast().await;
    let input = json!({ "kind": "GRASSROOTS", "name": "新工会", "division": "500103" });
    let answers = cast
        .answers("createOrganisation", "organisation { id }", input)
        .await;
    assert_eq!(same(answers), expected(&["operator"], SIGN_IN, "FORBIDDEN"));
    let role = |role: &str, organisation: &str| {
        json!({
            "memberId": GlobalId::of_uuid("Member", cast.member.0).to_string(),
            "organisationId": organisation, "role": role,
        })
    };
    let answers = cast
        .answers("grantRole", "role { id }", role("OFFICER", &cast.union))
        .await;
    assert_eq!(same(answers), expected(&["operator"], SIGN_IN, "FORBIDDEN"));
    let staff = role("VENUE_STAFF", &cast.partner);
    let answers = cast.answers("grantRole", "role { id }", staff).await;
    assert_eq!(
        same(answers),
        expected(&["manager", "operator"], SIGN_IN, "FORBIDDEN")
    );
    let manager = role("VENUE_MANAGER", &cast.partner);
    let answers = cast.answers("grantRole", "role { id }", manager).await;
    assert_eq!(same(answers), expected(&["operator"], SIGN_IN, "FORBIDDEN"));
    let input = json!({ "organisationId": cast.sister });
    let answers = cast
        .answers("closeOrganisation", "organisation { id }", input)
        .await;
    let mut forbidden = expected(&[], SIGN_IN, "FORBIDDEN");
    forbidden[7] = "operator: HAS_MEMBERS".to_owned();
    assert_eq!(same(answers), forbidden);
}

/// People are added and leave by officers over the organisation; elsewhere a membership is absent.
#[tokio::test]
async fn officers_keep_their_own_rosters() {
    let cast = cast().await;
    let input = json!({ "organisationId": cast.below, "person": person(20) });
    let answers = cast
        .answers("addMembership", "membership { id }", input)
        .await;
    assert_eq!(
        same(answers),
        expected(&["officer", "operator"], SIGN_IN, "FORBIDDEN")
    );
    let input = json!({ "organisationId": cast.below, "people": [person(21)] });
    let answers = cast
        .answers("addMemberships", "memberships { id }", input)
        .await;
    assert_eq!(
        same(answers),
        expected(&["officer", "operator"], SIGN_IN, "FORBIDDEN")
    );
    let query =
        "query($id: ID!) { organisation(id: $id) { memberships(last: 1) { nodes { id } } } }";
    let list = |caller: Caller| {
        let world = &cast.world;
        let variables = json!({ "id": cast.below });
        async move { world.ask(&caller, query, variables).await }
    };
    let mut seen = Vec::new();
    for (who, caller) in cast.callers() {
        if list(caller).await.get("errors").is_none() {
            seen.push(who);
        }
    }
    assert_eq!(seen, ["officer", "operator"]);
    let first = list(cast.world.as_operator()).await;
    let id = &first["data"]["organisation"]["memberships"]["nodes"][0]["id"];
    let input = json!({ "membershipId": id, "how": "REMOVED" });
    let answers = cast.answers("endMembership", "membershipId", input).await;
    let mut ended = expected(&["officer"], SIGN_IN, "MEMBERSHIP_NOT_FOUND");
    ended[7] = "operator: MEMBERSHIP_ENDED".to_owned();
    assert_eq!(same(answers), ended);
}

/// A person is seen by herself in full, by her officers and operators masked, by others not at
/// all; her logins by herself alone.
/// ASVS V15.3.1.
#[tokio::test]
async fn a_person_is_seen_by_few() {
    let cast = cast().await;
    let id = GlobalId::of_uuid("Member", cast.member.0).to_string();
    let query = "query($id: ID!) { node(id: $id) { ... on Member {
        name maskedName maskedPhone logins(first: 1) { nodes { id } } } } }";
    let entity = "query($representations: [_Any!]!) { _entities(representations: $representations)
        { ... on Member { name maskedName } } }";
    for (who, caller) in cast.callers() {
        let seen = cast.world.ask(&caller, query, json!({ "id": id })).await;
        let seen = &seen["data"]["node"];
        let representations = json!({ "representations": [
            { "__typename": "Member", "id": id },
            { "__typename": "Member", "id": "absent" },
        ] });
        let entities = cast.world.ask(&caller, entity, representations).await;
        let entities = &entities["data"]["_entities"];
        match who {
            "member" => {
                assert_eq!(seen["name"], "测二员");
                assert_eq!(entities[0]["name"], "测二员");
            }
            "officer" | "operator" => {
                assert_eq!(seen["name"], Value::Null, "{who}");
                assert_eq!(seen["maskedName"], "测*员", "{who}");
                assert_eq!(seen["maskedPhone"], "138****0001", "{who}");
                assert_eq!(seen["logins"], Value::Null, "{who}");
                assert_eq!(entities[0]["maskedName"], "测*员", "{who}");
            }
            _ => {
                assert_eq!(seen, &Value::Null, "{who}");
                assert_eq!(entities[0], Value::Null, "{who}");
            }
        }
        assert_eq!(entities[1], Value::Null, "{who}");
    }
}

/// A role that was withdrawn is no role any more, at once.
#[tokio::test]
async fn a_withdrawn_role_bites_at_once() {
    let cast = cast().await;
    let me = "{ me { roles { id role } } }";
    let officer = cast.world.as_member(cast.officer);
    let roles = cast.world.run(&officer, me, json!({})).await;
    let input = json!({ "roleId": roles["roles"][0]["id"] });
    let answers = cast.answers("withdrawRole", "role { id }", input).await;
    assert_eq!(
        same(answers),
        expected(&["operator"], SIGN_IN, "ROLE_NOT_FOUND")
    );
    let input = json!({ "organisationId": cast.union, "person": person(22) });
    let answers = cast
        .answers("addMembership", "membership { id }", input)
        .await;
    assert_eq!(same(answers), expected(&["operator"], SIGN_IN, "FORBIDDEN"));
}
