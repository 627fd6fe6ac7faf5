//! What is shown, to whom: catalogue, passes, usage, where to go today.

use chrono::TimeDelta;
use kit::access::Caller;
use kit::graphql::{GlobalId, Language};
use passes::Passes;
use passes::commands::Shop;
use passes::domain::ProductId;
use serde_json::json;
use uuid::Uuid;

use crate::world::{World, caller, entitlement, key, settings};

/// A pass is its holder's and the operators'; to all others it is absent, by every way to it.
#[tokio::test]
async fn a_pass_is_its_holders() {
    let world = World::new().await;
    let product = world.product(json!({})).await;
    let id = world.bought(&caller(1), &product).await;
    let member = GlobalId::of_uuid("Member", Uuid::from_u128(0x1001)).to_string();
    let query = "query($id: ID!, $entities: [_Any!]!) {
        pass(id: $id) { id }
        _entities(representations: $entities) {
          ... on Pass { number } ... on Member { passes(first: 5) { nodes { id } } } } }";
    let variables = json!({ "id": id, "entities": [
        { "__typename": "Pass", "id": id }, { "__typename": "Member", "id": member },
    ] });
    for who in [caller(1), world.operator.clone()] {
        let data = world.ask(&who, query, variables.clone()).await;
        assert_eq!(data["pass"]["id"], id.as_str());
        assert_eq!(data["_entities"][0]["number"], entitlement(&id).to_string());
        assert_eq!(
            data["_entities"][1]["passes"]["nodes"][0]["id"],
            id.as_str()
        );
    }
    for who in [caller(2), Caller::anonymous(Language::En)] {
        let data = world.ask(&who, query, variables.clone()).await;
        assert!(data["pass"].is_null());
        assert!(data["_entities"][0].is_null());
        assert_eq!(data["_entities"][1]["passes"]["nodes"], json!([]));
    }
}

/// Pages of the catalogue and of one's passes go on where the last one ended, both ways.
#[tokio::test]
async fn lists_come_in_pages() {
    let world = World::new().await;
    for n in 0..5 {
        let product = world.product(json!({ "nameEn": format!("P{n}") })).await;
        world.ctx().clock.advance(TimeDelta::seconds(1));
        let _ = world.bought(&caller(1), &product).await;
    }
    for (list, node, newest_first) in [
        ("passProducts", "name", false),
        ("myPasses", "product { name }", true),
    ] {
        let mut names = Vec::new();
        let mut after = json!(null);
        loop {
            let query = format!(
                "query($after: String) {{ {list}(first: 2, after: $after) {{
                   nodes {{ {node} }} pageInfo {{ hasNextPage endCursor }} }} }}"
            );
            let data = world
                .ask(&caller(1), &query, json!({ "after": after }))
                .await;
            let page = &data[list];
            for one in page["nodes"].as_array().unwrap() {
                let name = one.get("product").unwrap_or(one)["name"].as_str().unwrap();
                names.push(name.to_owned());
            }
            if page["pageInfo"]["hasNextPage"] == json!(false) {
                break;
            }
            after = page["pageInfo"]["endCursor"].clone();
        }
        let mut all: Vec<String> = (0..5).map(|n| format!("P{n}")).collect();
        if newest_first {
            all.reverse();
        }
        assert_eq!(names, all, "{list}");
        let back = format!("{{ {list}(last: 2) {{ nodes {{ {node} }} }} }}");
        let data = world.ask(&caller(1), &back, json!({})).await;
        let last = &data[list]["nodes"][1];
        assert_eq!(last.get("product").unwrap_or(last)["name"], all[4].as_str());
        let silly = format!("{{ {list}(first: 101) {{ nodes {{ {node} }} }} }}");
        let response = world.respond(&caller(1), &silly, json!({})).await;
        assert!(
            response["errors"][0]["message"]
                .as_str()
                .unwrap()
                .contains("first")
        );
    }
}

const TODAY: &str = "query($id: ID!) { pass(id: $id) { usesCount
    usage(first: 9) { nodes { date entry voided venue { id } } }
    venuesToday(first: 9) { nodes { admits reason message nextTryAt
      remainingToday remainingHere remainingTotal venue { id } } } } }";

/// Where she can go today and how often: by the terms she bought, her uses, the venue.
#[tokio::test]
async fn where_to_go_today() {
    let world = World::new().await;
    let listed = json!({ "rules": {
        "venueTags": ["museum"], "perVenueDaily": 1, "perVenueTotal": 3, "total": 9,
    } });
    let product = world.product(listed).await;
    let id = world.bought(&caller(1), &product).await;
    let museum = |venue: &mut proto::admission::VenueChanged| venue.tags = vec!["museum".into()];
    world
        .tell(&[
            world.venue(1, 1, museum),
            world.venue(2, 1, |venue| {
                museum(venue);
                venue.suspended = true;
            }),
            world.venue(3, 1, |_| {}),
            world.venue(4, 1, |venue| {
                museum(venue);
                venue.opening_hours =
                    "Mo off; Tu off; We 12:00-17:00; Th off; Fr off; Sa off; Su off".into();
            }),
        ])
        .await
        .unwrap();
    let pass = world.ask(&caller(1), TODAY, json!({ "id": id })).await["pass"].clone();
    let venues = pass["venuesToday"]["nodes"].as_array().unwrap();
    assert_eq!(venues.len(), 3, "only those that the pass is for");
    assert_eq!(venues[0]["admits"], true);
    assert_eq!(venues[0]["remainingToday"], 0);
    assert_eq!(
        (&venues[0]["remainingHere"], &venues[0]["remainingTotal"]),
        (&json!(2), &json!(8))
    );
    assert_eq!(venues[1]["reason"], "venue_suspended");
    assert_eq!(venues[2]["reason"], "venue_closed");
    assert_eq!(venues[2]["nextTryAt"], "2026-04-01T04:00:00+00:00");
    world.tell(&[world.used(&id, (1, 1), false)]).await.unwrap();
    let pass = world.ask(&caller(1), TODAY, json!({ "id": id })).await["pass"].clone();
    let venue = &pass["venuesToday"]["nodes"][0];
    assert_eq!(
        (&venue["admits"], &venue["reason"]),
        (&json!(false), &json!("used_today"))
    );
    assert_eq!(venue["nextTryAt"], "2026-04-01T16:00:00+00:00");
    assert_eq!(pass["usage"]["nodes"][0]["date"], "2026-04-01");
    assert_eq!(pass["usesCount"], 1);
    let mut chinese = caller(1);
    chinese.language = Language::Zh;
    let pass = world.ask(&chinese, TODAY, json!({ "id": id })).await["pass"].clone();
    let message = pass["venuesToday"]["nodes"][0]["message"].as_str().unwrap();
    assert_eq!(message, "今日已入园1次，明天（4月2日）可再次入园。");
    world.tell(&[world.used(&id, (1, 1), true)]).await.unwrap();
    let pass = world.ask(&caller(1), TODAY, json!({ "id": id })).await["pass"].clone();
    assert_eq!(
        pass["venuesToday"]["nodes"][0]["admits"], true,
        "a void gives it back"
    );
    assert_eq!(
        (&pass["usesCount"], &pass["usage"]["nodes"][0]["voided"]),
        (&json!(0), &json!(true))
    );
}

/// A venue lists the passes on sale that open it.
#[tokio::test]
async fn a_venue_lists_its_passes() {
    let world = World::new().await;
    let venue = GlobalId::of_uuid("Venue", Uuid::from_u128(0x4001)).to_string();
    let _ = world.product(json!({ "nameEn": "All" })).await;
    world.ctx().clock.advance(TimeDelta::seconds(1));
    let listed = json!({ "venueIds": [venue] });
    let _ = world
        .product(json!({ "nameEn": "Listed", "rules": listed }))
        .await;
    let _ = world
        .product(json!({ "nameEn": "Other", "rules": { "venueTags": ["x"] } }))
        .await;
    world.tell(&[world.venue(1, 1, |_| {})]).await.unwrap();
    let query = "query($entities: [_Any!]!) { _entities(representations: $entities) {
        ... on Venue { passProducts(first: 9) { nodes { name } } } } }";
    let entities = json!({ "entities": [{ "__typename": "Venue", "id": venue }] });
    let data = world
        .ask(&Caller::anonymous(Language::En), query, entities)
        .await;
    let names = &data["_entities"][0]["passProducts"]["nodes"];
    assert_eq!(*names, json!([{ "name": "All" }, { "name": "Listed" }]));
}

/// Many venues of one request, each asked for twice, are read together and told apart.
#[tokio::test]
async fn each_venue_of_many_lists_its_own_passes() {
    let world = World::new().await;
    let id = |number: u128| GlobalId::of_uuid("Venue", Uuid::from_u128(0x4000 + number));
    let _ = world.product(json!({ "nameEn": "All" })).await;
    for number in 1..=20_u128 {
        world.ctx().clock.advance(TimeDelta::seconds(1));
        let listed = json!({ "venueIds": [id(number).to_string()] });
        let terms = json!({ "nameEn": format!("Pass {number}"), "rules": listed });
        let _ = world.product(terms).await;
    }
    let venues: Vec<_> = (1..=20)
        .map(|number| world.venue(number, 1, |_| {}))
        .collect();
    world.tell(&venues).await.unwrap();
    let query = "query($entities: [_Any!]!) { _entities(representations: $entities) {
        ... on Venue { a: passProducts(first: 1) { nodes { name } pageInfo { hasNextPage } }
          b: passProducts(last: 1) { nodes { name } } } } }";
    let entities: Vec<_> = (1..=21)
        .map(|number| json!({ "__typename": "Venue", "id": id(number).to_string() }))
        .collect();
    let anyone = Caller::anonymous(Language::En);
    let data = world
        .ask(&anyone, query, json!({ "entities": entities }))
        .await;
    for number in 1..=20_usize {
        let venue = &data["_entities"][number - 1];
        assert_eq!(venue["a"]["nodes"], json!([{ "name": "All" }]), "{number}");
        assert_eq!(venue["a"]["pageInfo"]["hasNextPage"], true);
        let own = format!("Pass {number}");
        assert_eq!(venue["b"]["nodes"], json!([{ "name": own }]));
    }
    assert_eq!(
        data["_entities"][20]["a"]["nodes"],
        json!([]),
        "nobody told of it"
    );
}

/// All of a product's terms are shown as they were written.
#[tokio::test]
async fn a_product_shows_all_of_its_terms() {
    let world = World::new().await;
    let venue = GlobalId::of_uuid("Venue", Uuid::from_u128(0x4001)).to_string();
    let product = world
        .product(json!({
            "saleLimit": 9,
            "activation": { "mode": "AUTO", "within": { "unit": "DAYS", "count": 90 } },
            "startDelayDays": 4,
            "duration": { "unit": "DAYS", "count": 365 },
            "rules": {
                "venueIds": [venue], "totalChongqing": 20, "totalSichuan": 10, "daily": 3,
                "venueLimits": [{ "venueId": venue, "total": 2 }],
                "blackouts": [{ "start": "2026-05-01", "end": "2026-05-06" }],
                "suspensions": [{ "venueId": venue }], "documentCheck": true,
            },
        }))
        .await;
    let query = "query($id: ID!) { passProduct(id: $id) { available saleLimit startDelayDays
        activation { mode within { unit count } } duration { unit count }
        refundLadder { days feePercent unusedOnly }
        rules { allVenues totalChongqing totalSichuan daily documentCheck graceMinutes
          venueLimits { daily total } blackouts { start end }
          suspensions { dates { start } } } } }";
    let anyone = Caller::anonymous(Language::En);
    let shown = world.ask(&anyone, query, json!({ "id": product })).await;
    assert_eq!(
        shown["passProduct"],
        json!({
            "available": 9, "saleLimit": 9, "startDelayDays": 4,
            "activation": { "mode": "AUTO", "within": { "unit": "DAYS", "count": 90 } },
            "duration": { "unit": "DAYS", "count": 365 },
            "refundLadder": [{ "days": 7, "feePercent": 0, "unusedOnly": true }],
            "rules": {
                "allVenues": false, "totalChongqing": 20, "totalSichuan": 10, "daily": 3,
                "documentCheck": true, "graceMinutes": 15,
                "venueLimits": [{ "daily": null, "total": 2 }],
                "blackouts": [{ "start": "2026-05-01", "end": "2026-05-06" }],
                "suspensions": [{ "dates": null }],
            },
        })
    );
}

const CATALOGUE: &str = "{ passProducts(first: 9) { nodes { name available } } }";

/// Redis holds the catalogue for some seconds; a publication and a stop are seen at once, and a
/// Redis that is away or was emptied changes no answer.
#[tokio::test]
async fn the_catalogue_survives_its_cache() {
    let world = World::new().await;
    let product = world.product(json!({ "saleLimit": 5 })).await;
    let urls = [
        kit::testing::env("BASHU_REDIS_URL"),
        // Nobody listens there.
        "redis://127.0.0.1:1/".to_owned(),
    ];
    for (round, url) in urls.into_iter().enumerate() {
        // A prefix of this test's own: others share the Redis.
        let prefix: &'static str = Box::leak(world.db.name().to_owned().into_boxed_str());
        let clock = world.ctx().clock.clone();
        let cache = kit::redis::Cache::new(&url.into(), prefix, clock).unwrap();
        let passes = Passes::new(world.ctx().clone(), &settings(), Some(cache)).unwrap();
        for _ in 0..2 {
            assert_eq!(passes.catalogue().await.unwrap().len(), 1, "round {round}");
        }
        for (shop, count) in [(Shop::Stop, 0), (Shop::Resume, 1)] {
            let id = ProductId(GlobalId::uuid(&product, "PassProduct").unwrap());
            passes
                .run_shop(&world.operator, id, shop, key())
                .await
                .unwrap();
            assert_eq!(
                passes.catalogue().await.unwrap().len(),
                count,
                "round {round}"
            );
        }
        let terms = passes.catalogue().await.unwrap().remove(0).terms;
        assert_eq!(terms.names.name_en, "Bashu Workers' Annual Pass");
    }
    let data = world.ask(&caller(1), CATALOGUE, json!({})).await;
    assert_eq!(data["passProducts"]["nodes"][0]["available"], 5);
}
