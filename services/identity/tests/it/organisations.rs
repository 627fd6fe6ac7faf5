//! The organisation tree and the roles in it.

use kit::graphql::GlobalId;
use serde_json::{Value, json};

use crate::world::{World, codes};

async fn create(world: &World, input: Value) -> Value {
    let selection = "organisation { id name depth division divisionName }";
    world
        .mutate(&world.as_operator(), "createOrganisation", selection, input)
        .await
}

fn district(name: &str) -> Value {
    json!({ "kind": "TERRITORIAL", "name": name, "division": "500103" })
}

fn with(mut input: Value, field: &str, value: impl Into<Value>) -> Value {
    input[field] = value.into();
    input
}

/// The tree has four levels and more, and its event carries the whole path.
#[tokio::test]
async fn the_tree_grows() {
    let world = World::new().await;
    let top = create(&world, district("渝中区总工会")).await;
    let top_id = top["organisation"]["id"].as_str().unwrap();
    assert_eq!(top["organisation"]["divisionName"], "渝中区");
    let mut parent = top_id.to_owned();
    for (at, kind) in ["GRASSROOTS", "GRASSROOTS", "GROUP", "GROUP"]
        .into_iter()
        .enumerate()
    {
        let input = with(district(&format!("第{at}级")), "kind", kind);
        let made = create(&world, with(input, "parentId", parent.as_str())).await;
        assert_eq!(made["organisation"]["depth"], at + 2);
        parent = made["organisation"]["id"].as_str().unwrap().to_owned();
    }
    let event = world.events_of("OrganisationChanged").await.pop().unwrap();
    let said: proto::identity::OrganisationChanged = event.decode();
    assert_eq!(said.path.len(), 6);
    assert_eq!(said.path[0], world.root_id().0.as_bytes());
    let query = "query($id: ID) { organisations(parentId: $id, first: 10) {
        nodes { name parent { id } } pageInfo { hasNextPage } } }";
    let operator = world.as_operator();
    let below = world.run(&operator, query, json!({ "id": top_id })).await;
    assert_eq!(
        below["nodes"],
        json!([{ "name": "第0级", "parent": { "id": top_id } }])
    );
    let root = world.run(&operator, query, json!({})).await;
    assert_eq!(root["nodes"][0]["name"], "重庆市总工会");
}

/// The same request again finds the same organisation; another one of that name is refused.
#[tokio::test]
async fn a_request_again_finds_the_first() {
    let world = World::new().await;
    let requests = (0..6).map(|_| create(&world, district("渝中区总工会")));
    let made = futures::future::join_all(requests).await;
    for answer in &made {
        assert_eq!(answer, &made[0]);
    }
    let other = create(&world, with(district("渝中区总工会"), "division", "500106")).await;
    assert_eq!(codes(&other), ["NAME_TAKEN"]);
}

/// Everything that cannot be is refused by name.
#[tokio::test]
async fn bad_input_is_named() {
    let world = World::new().await;
    let uscc = "81500103MC00000125";
    let first = with(district("甲"), "name", "渝中甲工会");
    assert_eq!(
        codes(&create(&world, with(first, "uscc", uscc)).await),
        [""; 0]
    );
    let nowhere = GlobalId::of_uuid("Organisation", uuid::Uuid::from_u128(1)).to_string();
    for (field, value, code) in [
        ("name", json!("一"), "NAME_INVALID"),
        ("name", json!("坏\u{0}名"), "NAME_INVALID"),
        ("name", json!("长".repeat(101)), "NAME_INVALID"),
        ("uscc", json!("91110000600037341N"), "USCC_INVALID"),
        ("uscc", json!(uscc), "USCC_TAKEN"),
        ("division", json!("500112"), "DIVISION_UNKNOWN"),
        ("division", json!("5001"), "DIVISION_UNKNOWN"),
        ("parentId", json!(nowhere), "PARENT_NOT_FOUND"),
        ("parentId", json!("x"), "PARENT_NOT_FOUND"),
        (
            "industrialParentId",
            json!(nowhere),
            "INDUSTRIAL_PARENT_NOT_FOUND",
        ),
        ("kind", json!("GROUP"), "KIND_DOES_NOT_FIT"),
    ] {
        let answer = create(&world, with(district("乙工会"), field, value.clone())).await;
        assert_eq!(codes(&answer), [code], "{field} {value}");
    }
    // The district that took the place of those two is fine.
    let new = with(district("两江新区总工会"), "division", "500157");
    assert_eq!(codes(&create(&world, new).await), [""; 0]);
}

/// A role goes where it belongs, is granted once, and is gone when it is withdrawn.
#[tokio::test]
async fn roles_are_granted_and_withdrawn() {
    let world = World::new().await;
    let union = world.organisation("GRASSROOTS", "基层工会").await;
    let partner = world.organisation("PARTNER", "某某文旅公司").await;
    let member = world.person(&union, 1).await;
    let first = world.grant(member, &union, "OFFICER").await;
    assert_eq!(world.grant(member, &union, "OFFICER").await, first);
    let grant = |organisation: &str, role: &str| {
        let input = json!({
            "memberId": GlobalId::of_uuid("Member", member.0).to_string(),
            "organisationId": organisation, "role": role,
        });
        let (world, caller) = (&world, world.as_operator());
        async move {
            world
                .mutate(&caller, "grantRole", "role { id }", input)
                .await
        }
    };
    for (organisation, role) in [
        (&partner, "OFFICER"),
        (&union, "VENUE_STAFF"),
        (&union, "OPERATOR"),
    ] {
        assert_eq!(
            codes(&grant(organisation, role).await),
            ["ROLE_DOES_NOT_FIT"],
            "{role}"
        );
    }
    let withdraw = |id: &str| {
        let input = json!({ "roleId": id });
        let (world, caller) = (&world, world.as_operator());
        async move {
            world
                .mutate(&caller, "withdrawRole", "role { withdrawn }", input)
                .await
        }
    };
    assert_eq!(withdraw(&first).await["role"]["withdrawn"], true);
    let event = world.events_of("RoleChanged").await.pop().unwrap();
    assert!(event.decode::<proto::identity::RoleChanged>().withdrawn);
    assert_eq!(event.version, 2);
    assert_ne!(world.grant(member, &union, "OFFICER").await, first);
}

/// Two operators who withdraw each other at once: one of them stays.
#[tokio::test]
async fn the_last_operator_stays() {
    let world = World::new().await;
    let root = GlobalId::of_uuid("Organisation", world.root_id().0).to_string();
    let union = world.organisation("GRASSROOTS", "基层工会").await;
    let second = world.person(&union, 1).await;
    let role = world.grant(second, &root, "OPERATOR").await;
    let me = world
        .run(&world.as_operator(), "{ me { roles { id } } }", json!({}))
        .await;
    let mine = me["roles"][0]["id"].as_str().unwrap().to_owned();
    let withdraw = |caller, id: String| {
        let world = &world;
        async move {
            let input = json!({ "roleId": id });
            world
                .mutate(&caller, "withdrawRole", "role { withdrawn }", input)
                .await
        }
    };
    let (a, b) = tokio::join!(
        withdraw(world.as_operator(), role),
        withdraw(world.as_member(second), mine)
    );
    let left = "SELECT count(*) AS count FROM role
                WHERE role = 'operator' AND withdrawn_at IS NULL";
    assert_eq!(world.count(left).await, 1, "{a} {b}");
}

/// There is one first operator, unless somebody says why not.
#[tokio::test]
async fn there_is_one_first_operator() {
    use identity::commands::operator::create_first_operator;
    use identity::domain::name::PersonName;
    let world = World::new().await;
    let (ctx, vault) = (&world.identity.ctx, &world.identity.vault);
    let name = PersonName::parse("运维二").unwrap();
    let phone = crate::world::phone("13900000002");
    let again = create_first_operator(ctx, vault, &phone, &name, None).await;
    assert!(matches!(again, Err(kit::Error::Refused(why)) if why.code == "OPERATOR_EXISTS"));
    let forced = create_first_operator(ctx, vault, &phone, &name, Some("lost phone")).await;
    assert_ne!(forced.unwrap(), world.operator);
    let reason = "SELECT count(*) AS count FROM audit
                  WHERE act = 'create_first_operator' AND detail->>'forced' = 'lost phone'";
    assert_eq!(world.count(reason).await, 1);
}
