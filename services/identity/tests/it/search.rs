//! Looking for people: who finds whom by what, what is counted, and what the database holds of it.

use identity::commands::search_terms::make_terms;
use identity::commands::searches::{SHOWN_PER_HOUR_MAX, find_by_number};
use identity::domain::identifier::Phone;
use identity::store::search::{self, Wanted};
use kit::access::{Caller, Who};
use kit::audit::LAG_SECONDS_MAX;
use kit::graphql::{GlobalId, Language};
use kit::types::MemberId;
use sea_orm::FromQueryResult;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::people::with;
use crate::rosters::settle;
use crate::world::{HOUR_OVER, World, codes, number, number_of_phone, organisation_of, person};

const QUERY: &str = "query($in: ID!, $search: String!, $whole: Boolean! = false,
    $first: Int, $after: String)
    { members(organisationId: $in, search: $search, whole: $whole, first: $first, after: $after) {
      nodes { id name maskedName maskedPhone maskedDocumentNumber }
      pageInfo { hasNextPage endCursor } } }";

async fn ask(world: &World, by: &Caller, organisation: &str, text: &str) -> Value {
    let variables = json!({ "in": organisation, "search": text, "first": 20 });
    world.ask(by, QUERY, variables).await
}

/// The masked names that are found.
async fn found(world: &World, by: &Caller, organisation: &str, text: &str) -> Vec<String> {
    let answer = ask(world, by, organisation, text).await;
    assert_eq!(answer.get("errors"), None, "{text}: {answer}");
    let nodes = answer["data"]["members"]["nodes"]
        .as_array()
        .unwrap()
        .iter();
    let masked = nodes.map(|it| it["maskedName"].as_str().unwrap().to_owned());
    masked.collect()
}

struct Cast {
    world: World,
    union: String,
    sister: String,
    officer: Caller,
    zhang: MemberId,
}

async fn add(world: &World, organisation: &str, named: &str, at: u32) -> MemberId {
    // Ids follow the clock, and pages their order.
    world.advance(1);
    let person = with(person(at), "name", named.into());
    let input = json!({ "organisationId": organisation, "person": person });
    let selection = "membership { member { id } }";
    let operator = world.as_operator();
    let made = world.mutate(&operator, "addMembership", selection, input);
    let made = made.await;
    assert_eq!(codes(&made), [""; 0], "{made}");
    crate::world::member_of(&made["membership"]["member"]["id"])
}

/// A union with a group below it and a sister beside it, people in all of them.
async fn cast() -> Cast {
    let world = World::new().await;
    let union = world.organisation("GRASSROOTS", "基层工会").await;
    let sister = world.organisation("GRASSROOTS", "兄弟基层工会").await;
    let input = json!({ "kind": "GROUP", "name": "第一小组", "division": "500103",
        "parentId": union });
    let operator = world.as_operator();
    let made = world.mutate(
        &operator,
        "createOrganisation",
        "organisation { id }",
        input,
    );
    let group = made.await["organisation"]["id"]
        .as_str()
        .unwrap()
        .to_owned();
    let zhang = add(&world, &union, "张三丰", 1).await;
    for (organisation, named, at) in [
        (&group, "张山", 2),
        (&group, "单雄信", 3),
        (&sister, "张三丰", 4),
        (&sister, "吕布", 5),
    ] {
        let _ = add(&world, organisation, named, at).await;
    }
    let officer = add(&world, &union, "李经办", 6).await;
    let _ = world.grant(officer, &union, "OFFICER").await;
    let officer = world.as_member(officer);
    Cast {
        world,
        union,
        sister,
        officer,
        zhang,
    }
}

/// An officer finds her own people, those below included, by all that people are looked for by,
/// and sees them masked.
#[tokio::test]
async fn people_are_found_below_one_s_own_organisation() {
    let Cast {
        world,
        union,
        officer,
        ..
    } = cast().await;
    let by = |text: &'static str| found(&world, &officer, &union, text);
    for text in ["张三丰", "张三", "zhang san", "zhangsanfeng", "ZSF", "zs f"] {
        assert_eq!(by(text).await, ["张*丰"], "{text}");
    }
    for text in ["张", "zhang", "Zhang ", "z"] {
        assert_eq!(by(text).await, ["张*丰", "张*"], "{text}");
    }
    for text in ["shanxiongxin", "dan", "sxx"] {
        assert_eq!(by(text).await, ["单*信"], "{text}");
    }
    for text in ["三丰", "吕", "lv", "zhangs", "王"] {
        assert!(by(text).await.is_empty(), "{text}");
    }
    let (phone, document) = (number_of_phone(1), number(1).to_lowercase());
    for text in [&phone, &document] {
        assert_eq!(found(&world, &officer, &union, text).await, ["张*丰"]);
    }
    let whole = json!({ "in": union, "search": "张三", "whole": true, "first": 1 });
    let whole = world.run(&officer, QUERY, whole).await;
    assert_eq!(whole["nodes"], json!([]));
    let answer = ask(&world, &officer, &union, "张三丰").await;
    let shown = &answer["data"]["members"]["nodes"][0];
    assert_eq!(shown["name"], Value::Null);
    assert_eq!(shown["maskedPhone"], "138****0001");
    let masked = shown["maskedDocumentNumber"].as_str().unwrap();
    assert!(masked.contains("********"), "{masked}");
    let operator = world.as_operator();
    let root = GlobalId::of_uuid("Organisation", world.root_id().0).to_string();
    let all = found(&world, &operator, &root, "张三丰").await;
    assert_eq!(all.len(), 2);
    assert_eq!(found(&world, &operator, &root, "LYU").await, ["吕*"]);
}

/// Who left is found no more, and nobody finds people of an organisation that is not hers.
#[tokio::test]
async fn nobody_else_s_people_are_found() {
    let Cast {
        world,
        union,
        sister,
        officer,
        zhang,
    } = cast().await;
    let member = world.as_member(zhang);
    let nobody = Caller::anonymous(Language::En);
    for (by, organisation) in [(&officer, &sister), (&member, &union), (&nobody, &union)] {
        for text in ["张", "13800000001"] {
            let variables = json!({ "in": organisation, "search": text, "first": 1 });
            let barred = world.barred(by, QUERY, variables).await;
            let wanted = if by.who == Who::Anonymous {
                "UNAUTHENTICATED"
            } else {
                "FORBIDDEN"
            };
            assert_eq!(barred, Some(wanted));
        }
    }
    let membership = "SELECT id::text AS name FROM membership WHERE member = ";
    let id = world.names(&format!("{membership} '{zhang}'")).await;
    let id = GlobalId::of_uuid("Membership", id[0].parse::<Uuid>().unwrap()).to_string();
    let input = json!({ "membershipId": id, "how": "LEFT" });
    let ended = world.mutate(&officer, "endMembership", "", input).await;
    assert_eq!(codes(&ended), [""; 0]);
    assert!(found(&world, &officer, &union, "张三丰").await.is_empty());
    let phone = number_of_phone(1);
    assert!(found(&world, &officer, &union, &phone).await.is_empty());
}

/// Pages follow each other both ways, and no page has more than twenty people.
#[tokio::test]
async fn a_search_has_pages() {
    let Cast {
        world,
        union,
        officer,
        ..
    } = cast().await;
    let page = |after: Value| {
        let variables = json!({ "in": union, "search": "z", "first": 1, "after": after });
        world.run(&officer, QUERY, variables)
    };
    let first = page(Value::Null).await;
    assert_eq!(first["nodes"][0]["maskedName"], "张*丰");
    assert_eq!(first["pageInfo"]["hasNextPage"], true);
    let second = page(first["pageInfo"]["endCursor"].clone()).await;
    assert_eq!(second["nodes"][0]["maskedName"], "张*");
    assert_eq!(second["pageInfo"]["hasNextPage"], false);
    let last = "query($in: ID!, $before: String) { members(organisationId: $in, search: \"z\",
        last: 1, before: $before) { nodes { maskedName } pageInfo { startCursor } } }";
    let end = world.run(&officer, last, json!({ "in": union })).await;
    assert_eq!(end["nodes"][0]["maskedName"], "张*");
    let before = json!({ "in": union, "before": end["pageInfo"]["startCursor"] });
    let before = world.run(&officer, last, before).await;
    assert_eq!(before["nodes"][0]["maskedName"], "张*丰");
    for (search, first) in [("z", 21), ("%", 1), ("", 1)] {
        let variables = json!({ "in": union, "search": search, "first": first });
        let answer = world.ask(&officer, QUERY, variables).await;
        let code = &answer["errors"][0];
        assert!(code["message"].is_string(), "{answer}");
    }
}

/// Ten numbers that nobody there has, and the officer must wait, those who are elsewhere counted
/// like those who are nowhere. Names are not counted.
#[tokio::test]
async fn numbers_cannot_be_tried_out() {
    let Cast {
        world,
        union,
        officer,
        ..
    } = cast().await;
    for at in 0..10 {
        // The fourth is somebody of the sister union.
        let phone = number_of_phone(if at == 0 { 4 } else { 900 + at });
        assert!(found(&world, &officer, &union, &phone).await.is_empty());
    }
    let (ctx, vault) = (&world.identity.ctx, &world.identity.vault);
    let phone = Phone::parse(&number_of_phone(1)).unwrap();
    let organisation = organisation_of(&union);
    let number = (Some(&phone), &[][..]);
    let refused = find_by_number(ctx, vault, &officer, organisation, number).await;
    let Err(kit::Error::Refused(refusal)) = refused else {
        panic!("{refused:?}")
    };
    assert_eq!(refusal.code, "TOO_MANY_FAILURES");
    assert_eq!(found(&world, &officer, &union, "张三丰").await.len(), 1);
    world.advance(HOUR_OVER);
    let again = found(&world, &officer, &union, phone.as_str()).await;
    assert_eq!(again, ["张*丰"]);
    let audited = "SELECT count(*) AS count FROM audit WHERE act = 'find_by_number'";
    assert_eq!(world.count(audited).await, 11);
}

/// Who was here before people could be looked for is found once the due work has run, and the
/// invariant says when it has not.
#[tokio::test]
async fn people_from_before_are_found_too() {
    let Cast {
        world,
        union,
        officer,
        ..
    } = cast().await;
    let db = &world.test.ctx.db;
    let rows = world
        .count("SELECT count(*) AS count FROM search_term")
        .await;
    db.execute("DELETE FROM search_term", []).await.unwrap();
    assert_eq!(world.broken("identity.people_are_found").await, 7);
    let old = "UPDATE person SET search_version = 0";
    db.execute(old, []).await.unwrap();
    assert_eq!(world.broken("identity.people_are_found").await, 0);
    assert!(found(&world, &officer, &union, "张").await.is_empty());
    settle(&world).await;
    assert_eq!(found(&world, &officer, &union, "张").await.len(), 2);
    let again = world
        .count("SELECT count(*) AS count FROM search_term")
        .await;
    assert_eq!(again, rows);
    let made = make_terms(&world.identity.ctx, &world.identity.vault).await;
    assert_eq!(made.unwrap(), 0);
    // Who is forgotten is found no more, without anybody thinking of it.
    let gone = "DELETE FROM person WHERE member IN (SELECT member FROM login_method)";
    db.execute(gone, []).await.unwrap();
    let left = world
        .count("SELECT count(*) AS count FROM search_term")
        .await;
    assert_eq!(left, 0);
}

/// A page is the same people whichever way it is read, and another key would find nobody.
#[tokio::test]
async fn a_common_name_is_found_in_a_small_union() {
    let Cast {
        world,
        union,
        sister,
        ..
    } = cast().await;
    let term = 4_242_i64;
    let db = &world.test.ctx.db;
    // Two thousand and a few of one name in the sister union, three in the other.
    let lay = "WITH made AS (
          INSERT INTO member (id, version, state, created_at)
          SELECT gen_random_uuid(), 1, 'active', now() FROM generate_series(1, $1) RETURNING id),
        kept AS (INSERT INTO person (member, data_key, name, search_version)
          SELECT id, $4, '\\x01', 1 FROM made RETURNING member),
        found AS (INSERT INTO search_term SELECT $2, member FROM kept RETURNING member)
        INSERT INTO membership (id, version, member, organisation, state, since, created_at)
        SELECT gen_random_uuid(), 1, member, $3, 'full', '2026-01-01', now() FROM found";
    let member = Uuid::nil();
    let made = world
        .identity
        .vault
        .new_data_key(&kit::Ids::seeded(9), member);
    let (_, data_key) = made.unwrap();
    let count = async |organisation: &str| {
        let wanted = |from, backwards| Wanted {
            organisation: organisation_of(organisation),
            term,
            from,
            backwards,
            limit: 2,
        };
        let tx = async |from, backwards| {
            let page = async |tx: &kit::Tx| search::page(tx, wanted(from, backwards)).await;
            db.read("page", page).await.unwrap()
        };
        let first = tx(None, false).await;
        let second = tx(first.last().copied(), false).await;
        let end = tx(None, true).await;
        (first, second, end)
    };
    let insert = async |how_many: i32, organisation: &str| {
        let values = [
            how_many.into(),
            term.into(),
            organisation_of(organisation).0.into(),
            data_key.clone().into(),
        ];
        db.execute(lay, values).await.unwrap();
    };
    insert(3, &union).await;
    let by_term = count(&union).await;
    insert(2_100, &sister).await;
    let by_people = count(&union).await;
    assert_eq!(by_term, by_people);
    let (first, second, end) = by_people;
    assert_eq!((first.len(), second.len(), end.len()), (2, 1, 2));
    assert_eq!(end, [second[0], first[1]]);
    let sisters = count(&sister).await;
    assert_eq!(sisters.0.len(), 2);
}

/// Nothing of a name can be read from what it is found by, and people of one name share it: that
/// is what the index tells, and all of it.
#[tokio::test]
async fn the_index_tells_who_shares_a_name_and_no_name() {
    #[derive(FromQueryResult)]
    struct Row {
        term: i64,
        member: Uuid,
    }
    let Cast { world, zhang, .. } = cast().await;
    let sql = "SELECT term, member FROM search_term";
    let rows: Vec<Row> = world.test.ctx.db.all(sql, []).await.unwrap();
    let hers: Vec<i64> = rows
        .iter()
        .filter(|row| row.member == zhang.0)
        .map(|row| row.term)
        .collect();
    // 张 张三 张三丰 and all of it; three beginnings in letters, three of initials, both whole.
    assert_eq!(hers.len(), 3 + 1 + 6 + 2);
    let sharing = rows.iter().filter(|row| hers.contains(&row.term));
    let mut sharing: Vec<Uuid> = sharing.map(|row| row.member).collect();
    sharing.sort_unstable();
    sharing.dedup();
    assert_eq!(sharing.len(), 3, "all of the name 张, and nobody else");
}

async fn show(world: &World, by: &Caller, who: MemberId) -> Value {
    let member = GlobalId::of_uuid("Member", who.0).to_string();
    let input = json!({ "memberId": member, "purpose": "CONTACT" });
    let selection = "shown { name phone documentNumber member { id } }";
    world.mutate(by, "showMember", selection, input).await
}

/// An officer sees her own people unmasked for a purpose, with her second factor, so often and no
/// oftener; nobody else does.
#[tokio::test]
async fn a_person_is_shown_for_a_purpose() {
    let Cast {
        world,
        sister,
        officer,
        zhang,
        ..
    } = cast().await;
    let shown = show(&world, &officer, zhang).await["shown"].clone();
    assert_eq!(shown["name"], "张三丰");
    assert_eq!(shown["phone"], number_of_phone(1));
    assert_eq!(shown["documentNumber"], number(1));
    let purposes = "SELECT detail->>'purpose' AS name FROM audit WHERE act = 'show_member'";
    assert_eq!(world.names(purposes).await, ["contact"]);
    let elsewhere = world.person(&sister, 30).await;
    for by in [elsewhere, zhang] {
        let answer = show(&world, &world.as_member(by), zhang).await;
        assert_eq!(codes(&answer), ["MEMBER_NOT_FOUND"]);
    }
    let foreign = show(&world, &officer, elsewhere).await;
    assert_eq!(codes(&foreign), ["MEMBER_NOT_FOUND"]);
    let Who::Member { member, login, .. } = officer.who else {
        panic!("signed in")
    };
    let token_alone = Caller::member(member, login, Language::En);
    let answer = show(&world, &token_alone, zhang).await;
    assert_eq!(codes(&answer), ["STEP_UP_REQUIRED"]);
    let again = (0..40).map(|_| show(&world, &officer, zhang));
    let answers = futures::future::join_all(again).await;
    let done = answers.iter().filter(|it| codes(it).is_empty()).count();
    assert_eq!(done, usize::try_from(SHOWN_PER_HOUR_MAX).unwrap() - 1);
    let mut refused = answers.iter().filter(|it| !codes(it).is_empty());
    assert!(refused.all(|it| codes(it) == ["TOO_MANY_LOOK_UPS"]));
    assert_eq!(world.names(purposes).await.len(), 30);
    let beyond = "SELECT count(*) AS count FROM audit WHERE act = 'show_member_refused'
        AND detail->>'code' = 'TOO_MANY_LOOK_UPS'";
    assert_eq!(world.count(beyond).await, 11, "each is on record");
}

/// While rows wait too long for their seal nobody is shown.
#[tokio::test]
async fn nobody_is_shown_while_rows_are_not_sealed() {
    let Cast {
        world,
        officer,
        zhang,
        ..
    } = cast().await;
    let (ctx, vault) = (&world.identity.ctx, &world.identity.vault);
    let purpose = identity::domain::search::ShowPurpose::Verify;
    let show = || identity::commands::searches::show_member(ctx, vault, &officer, zhang, purpose);
    world.seal().await;
    assert!(show().await.is_ok());
    world.advance(LAG_SECONDS_MAX + 1);
    let refused = show().await;
    assert!(matches!(refused, Err(kit::Error::AuditLags)), "{refused:?}");
    let kept = "SELECT detail->>'code' AS name FROM audit WHERE act = 'show_member_refused'";
    assert_eq!(world.names(kept).await, ["AUDIT_LAGS"]);
}
