//! Visits that must be reserved: places, refusals, and what gates hear.

use chrono::{NaiveDate, TimeDelta};
use credential::token::Minute;
use kit::access::Caller;
use kit::graphql::{GlobalId, Language};
use kit::types::shanghai_date;
use passes::domain::{OPEN_RESERVATIONS_MAX, Slot};
use proto::v1::{EntitlementChanged, Reservation};
use serde_json::{Value, json};
use uuid::Uuid;

use crate::unguarded::broken;
use crate::world::{World, caller, code, entitlement, key};

pub(crate) fn venue_id(number: u128) -> String {
    GlobalId::of_uuid("Venue", Uuid::from_u128(0x4000 + number)).to_string()
}

pub(crate) fn day(world: &World, after: u64) -> NaiveDate {
    shanghai_date(world.ctx().clock.now()) + chrono::Days::new(after)
}

pub(crate) fn slot(world: &World, number: u128, after: u64) -> Slot {
    Slot {
        venue: Uuid::from_u128(0x4000 + number),
        date: day(world, after),
    }
}

/// A pass of this member whose visits must be reserved, and venues 1 and 2.
pub(crate) async fn pass(world: &World, who: u128, rules: Value) -> String {
    let mut rules = rules;
    rules["reservationRequired"] = json!(true);
    let product = world
        .product(json!({ "rules": rules, "memberLimit": null }))
        .await;
    let venues = [1, 2].map(|number| world.venue(number, 1, |_| {}));
    world.tell(&venues).await.unwrap();
    world.bought(&caller(who), &product).await
}

pub(crate) async fn open(
    world: &World,
    number: u128,
    (after, days, places): (u64, u32, u32),
) -> Value {
    let input = json!({
        "venueId": venue_id(number), "first": day(world, after).to_string(), "days": days,
        "places": places, "idempotencyKey": key(),
    });
    world.mutate(&world.operator, "openVisitDays", input).await
}

pub(crate) fn visit(world: &World, pass: &str, (number, after): (u128, u64)) -> Value {
    json!({
        "passId": pass, "venueId": venue_id(number), "date": day(world, after).to_string(),
        "idempotencyKey": key(),
    })
}

pub(crate) async fn reserve(world: &World, who: u128, pass: &str, at: (u128, u64)) -> Value {
    let input = visit(world, pass, at);
    world.mutate(&caller(who), "reserveVisit", input).await
}

pub(crate) async fn left(world: &World, number: u128, after: u64) -> Value {
    let query = "query($venue: _Any!, $from: Date!) { _entities(representations: [$venue]) {
        ... on Venue { visitDays(from: $from, first: 1) { date places left } } } }";
    let venue = json!({ "__typename": "Venue", "id": venue_id(number) });
    let from = day(world, after).to_string();
    let variables = json!({ "venue": venue, "from": from });
    let anybody = Caller::anonymous(Language::Zh);
    let data = world.ask(&anybody, query, variables).await;
    data["_entities"][0]["visitDays"][0]["left"].clone()
}

fn told(date: NaiveDate, number: u128) -> Reservation {
    let start = Minute::floor(kit::types::day_start(date)).unwrap().get();
    Reservation {
        venue_id: Uuid::from_u128(0x4000 + number).as_bytes().to_vec(),
        from: start,
        until: start + 24 * 60,
    }
}

async fn heard(world: &World) -> Vec<Reservation> {
    let event: EntitlementChanged = world.last().await;
    event.entitlement.unwrap().reservations
}

/// A visit is reserved and cancelled: the place goes and comes back, gates hear of both, and what
/// a gate would answer follows.
#[tokio::test]
async fn a_reserved_visit_is_told_to_gates_and_given_back() {
    let world = World::new().await;
    let id = pass(&world, 1, json!({})).await;
    assert_eq!(open(&world, 1, (0, 7, 2)).await["userErrors"], json!([]));
    let today = "query($id: ID!) { pass(id: $id) {
        venuesToday(first: 1) { nodes { admits reason message } } } }";
    let answer = world.ask(&caller(1), today, json!({ "id": id })).await;
    let gate = &answer["pass"]["venuesToday"]["nodes"][0];
    assert_eq!(
        (&gate["admits"], &gate["reason"]),
        (&json!(false), &json!("no_reservation"))
    );
    assert!(heard(&world).await.is_empty());
    let input = visit(&world, &id, (1, 3));
    for _ in 0..2 {
        let done = world
            .mutate(&caller(1), "reserveVisit", input.clone())
            .await;
        let shown = json!([{ "date": day(&world, 3).to_string(), "canBeCancelled": true,
            "venue": { "id": venue_id(1) } }]);
        assert_eq!(done["pass"]["reservations"], shown, "{done:#}");
    }
    assert_eq!(heard(&world).await, [told(day(&world, 3), 1)]);
    assert_eq!(left(&world, 1, 3).await, 1, "one key takes one place");
    let again = reserve(&world, 1, &id, (1, 0)).await;
    assert_eq!(again["userErrors"], json!([]), "{again:#}");
    assert_eq!(
        heard(&world).await,
        [told(day(&world, 0), 1), told(day(&world, 3), 1)]
    );
    let answer = world.ask(&caller(1), today, json!({ "id": id })).await;
    assert_eq!(answer["pass"]["venuesToday"]["nodes"][0]["admits"], true);
    let cancelled = world
        .mutate(&caller(1), "cancelVisit", visit(&world, &id, (1, 3)))
        .await;
    assert_eq!(
        cancelled["pass"]["reservations"].as_array().unwrap().len(),
        1
    );
    assert_eq!(heard(&world).await, [told(day(&world, 0), 1)]);
    assert_eq!(left(&world, 1, 3).await, 2);
    world.verify().await;
}

/// Each reason for which a visit is not reserved, and that nothing is left of it.
#[tokio::test]
async fn a_visit_that_cannot_be_reserved() {
    let world = World::new().await;
    let festival =
        json!([{ "start": day(&world, 5).to_string(), "end": day(&world, 6).to_string() }]);
    let rules = json!({ "perVenueTotal": 2, "blackouts": festival,
        "venueIds": [venue_id(1)] });
    let id = pass(&world, 1, rules).await;
    let free = world
        .bought(&caller(2), &world.product(json!({})).await)
        .await;
    let unpaid = world
        .product(json!({ "rules": { "reservationRequired": true } }))
        .await;
    let unpaid = world.buy(&caller(2), &unpaid).await;
    let unpaid = unpaid["pass"]["id"].as_str().unwrap();
    open(&world, 1, (0, 366, 2)).await;
    open(&world, 1, (4, 1, 0)).await;
    open(&world, 2, (0, 7, 2)).await;
    for (who, pass, at, expected) in [
        (2, id.as_str(), (1, 1), "NOT_FOUND"),
        (2, free.as_str(), (1, 1), "NOT_RESERVABLE"),
        (2, unpaid, (1, 1), "AWAITING_PAYMENT"),
        (1, &id, (2, 1), "VENUE_NOT_OPENED"),
        (1, &id, (2, 8), "DAY_NOT_OPEN"),
        (1, &id, (3, 1), "DAY_NOT_OPEN"),
        (1, &id, (1, 4), "NO_PLACES_LEFT"),
        (1, &id, (1, 5), "VISIT_NOT_ADMITTED"),
        (1, &id, (1, 365), "OUTSIDE_PASS"),
    ] {
        let refused = reserve(&world, who, pass, at).await;
        assert_eq!(code(&refused), expected, "{at:?}: {refused:#}");
    }
    for after in [1, 2] {
        assert_eq!(
            reserve(&world, 1, &id, (1, after)).await["userErrors"],
            json!([])
        );
    }
    assert_eq!(
        code(&reserve(&world, 1, &id, (1, 2)).await),
        "ALREADY_RESERVED"
    );
    let used_up = reserve(&world, 1, &id, (1, 3)).await;
    assert_eq!(
        code(&used_up),
        "VISITS_USED_UP",
        "two are reserved of two: {used_up:#}"
    );
    assert_eq!(open(&world, 1, (1, 3, 0)).await["userErrors"], json!([]));
    assert_eq!(
        left(&world, 1, 1).await,
        0,
        "what is taken stays, and no more is"
    );
    let none = visit(&world, &id, (1, 3));
    assert_eq!(
        code(&world.mutate(&caller(1), "cancelVisit", none).await),
        "NOT_RESERVED"
    );
    let input = json!({ "passId": id, "reason": "r", "idempotencyKey": key() });
    world.mutate(&world.operator, "freezePass", input).await;
    assert_eq!(code(&reserve(&world, 1, &id, (1, 3)).await), "PASS_FROZEN");
    let places = "SELECT sum(taken) AS count FROM visit_day";
    assert_eq!(world.count(places).await, 2);
    world.verify().await;
}

/// Nobody but an operator opens days, of a venue that is known, and not too many.
#[tokio::test]
async fn days_are_opened_by_operators() {
    let world = World::new().await;
    let _ = pass(&world, 1, json!({})).await;
    let input = |venue: u128, days: u32, places: u32| {
        json!({ "venueId": venue_id(venue), "first": day(&world, 0).to_string(), "days": days,
            "places": places, "idempotencyKey": key() })
    };
    for (who, input, expected) in [
        (&caller(1), input(1, 1, 1), "FORBIDDEN"),
        (&world.operator, input(9, 1, 1), "NOT_FOUND"),
        (&world.operator, input(1, 0, 1), "BAD_INPUT"),
        (&world.operator, input(1, 367, 1), "BAD_INPUT"),
        (&world.operator, input(1, 1, 1_000_001), "BAD_INPUT"),
    ] {
        let refused = world.mutate(who, "openVisitDays", input).await;
        assert_eq!(code(&refused), expected, "{refused:#}");
    }
    assert_eq!(
        world.count("SELECT count(*) AS count FROM visit_day").await,
        0
    );
}

/// So many visits at once and no more; the end of a day makes room.
#[tokio::test]
async fn a_pass_reserves_a_few_visits_at_once() {
    let world = World::new().await;
    let id = pass(&world, 1, json!({})).await;
    open(&world, 1, (0, 30, 5)).await;
    let most = u64::try_from(OPEN_RESERVATIONS_MAX).unwrap();
    for after in 0..most {
        assert_eq!(
            reserve(&world, 1, &id, (1, after)).await["userErrors"],
            json!([])
        );
    }
    assert_eq!(
        code(&reserve(&world, 1, &id, (1, most)).await),
        "TOO_MANY_RESERVATIONS"
    );
    world.ctx().clock.advance(TimeDelta::days(1));
    world.heartbeat().await;
    assert_eq!(
        reserve(&world, 1, &id, (1, most)).await["userErrors"],
        json!([])
    );
    world.verify().await;
}

/// A place is given back until six hours before its day, and not a moment later.
#[tokio::test]
async fn a_place_is_given_back_in_time() {
    let world = World::new().await;
    let id = pass(&world, 1, json!({})).await;
    open(&world, 1, (0, 3, 5)).await;
    for after in [1, 2] {
        reserve(&world, 1, &id, (1, after)).await;
    }
    // It is ten in the morning.
    let (first, second) = (visit(&world, &id, (1, 1)), visit(&world, &id, (1, 2)));
    world.ctx().clock.advance(TimeDelta::hours(8));
    world.heartbeat().await;
    let late = world.mutate(&caller(1), "cancelVisit", first).await;
    assert_eq!(code(&late), "CANCEL_TOO_LATE", "{late:#}");
    world
        .ctx()
        .clock
        .advance(TimeDelta::hours(24) - TimeDelta::seconds(1));
    world.heartbeat().await;
    let done = world.mutate(&caller(1), "cancelVisit", second).await;
    assert_eq!(done["userErrors"], json!([]), "{done:#}");
    world.verify().await;
}

/// With a pass that ends go its places of the days to come; today's may have been used.
#[tokio::test]
async fn a_pass_that_ends_frees_its_places() {
    let world = World::new().await;
    let id = pass(&world, 1, json!({})).await;
    open(&world, 1, (0, 3, 1)).await;
    for after in [0, 2] {
        reserve(&world, 1, &id, (1, after)).await;
    }
    let input = json!({ "passId": id, "reason": "r", "refund": false, "idempotencyKey": key() });
    let ended = world.mutate(&world.operator, "voidPass", input).await;
    assert_eq!(ended["userErrors"], json!([]), "{ended:#}");
    assert_eq!(heard(&world).await, [told(day(&world, 0), 1)]);
    assert_eq!(
        (left(&world, 1, 0).await, left(&world, 1, 2).await),
        (json!(0), json!(1))
    );
    world.verify().await;
    let back = "UPDATE reservation SET state = 'held', ended_at = NULL";
    world.ctx().db.execute(back, []).await.unwrap();
    for promise in ["passes.ended_holds_no_place", "passes.places_hold"] {
        assert_eq!(broken(&world, promise).await, 1, "{promise}");
    }
}

/// With the money of a refund go the places; while uses are counted, and when nothing is given
/// back after the count, they stay.
#[tokio::test]
async fn a_refund_frees_places_once_it_is_decided() {
    let world = World::new().await;
    let id = pass(&world, 1, json!({})).await;
    let kept = pass(&world, 2, json!({})).await;
    open(&world, 1, (0, 9, 5)).await;
    for (who, pass, after) in [(1, &id, 2), (1, &id, 5), (2, &kept, 2), (2, &kept, 3)] {
        let done = reserve(&world, who, pass, (1, after)).await;
        assert_eq!(done["userErrors"], json!([]), "{done:#}");
    }
    for (who, pass) in [(1, &id), (2, &kept)] {
        let input = json!({ "passId": pass, "idempotencyKey": key() });
        let asked = world.mutate(&caller(who), "requestPassRefund", input).await;
        assert_eq!(asked["userErrors"], json!([]), "{asked:#}");
    }
    let taken = async || {
        [
            left(&world, 1, 2).await,
            left(&world, 1, 3).await,
            left(&world, 1, 5).await,
        ]
    };
    assert_eq!(
        taken().await,
        [json!(3), json!(4), json!(4)],
        "they are being counted"
    );
    let freeze = async |pass: &str| {
        let id = entitlement(pass).to_i64();
        world
            .count(&format!(
                "SELECT freeze_version AS count FROM refund WHERE pass = {id}"
            ))
            .await
    };
    let (first, second) = (freeze(&id).await, freeze(&kept).await);
    // Both in one batch: one goes back, of the other a use was counted and nothing does.
    let answers = [
        world.counted(&kept, second, 1, 0),
        world.counted(&id, first, 0, 0),
    ];
    world.tell(&answers).await.unwrap();
    assert_eq!(
        world.pass(&caller(2), &kept).await["refund"]["state"],
        "REFUSED"
    );
    assert_eq!(
        world.pass(&caller(1), &id).await["refund"]["state"],
        "RETURNED"
    );
    assert_eq!(taken().await, [json!(4), json!(4), json!(5)]);
    world.verify().await;
}

/// What is used and what is still to come are counted once each; a day that is over for its venue
/// cannot be had; gates hear of yesterday's until its grace is over.
#[tokio::test]
async fn used_closed_and_yesterday() {
    let world = World::new().await;
    let id = pass(&world, 1, json!({ "perVenueTotal": 2 })).await;
    open(&world, 1, (0, 9, 5)).await;
    open(&world, 2, (0, 9, 5)).await;
    let closed = world.venue(2, 2, |venue| {
        let hours = "Mo off; Tu off; We 08:00-09:00; Th off; Fr off; Sa off; Su off";
        venue.opening_hours = hours.into();
    });
    world.tell(&[closed]).await.unwrap();
    // A Wednesday at ten: it was open until nine, and will be so in a week.
    let over = reserve(&world, 1, &id, (2, 0)).await;
    assert_eq!(code(&over), "VISIT_NOT_ADMITTED", "{over:#}");
    assert_eq!(
        reserve(&world, 1, &id, (2, 7)).await["userErrors"],
        json!([])
    );
    reserve(&world, 1, &id, (1, 0)).await;
    let used = world.used(&id, (1, 1), false);
    world.tell(&[used]).await.unwrap();
    let second = reserve(&world, 1, &id, (1, 1)).await;
    assert_eq!(
        second["userErrors"],
        json!([]),
        "one is used, one to come: {second:#}"
    );
    assert_eq!(
        code(&reserve(&world, 1, &id, (1, 2)).await),
        "VISITS_USED_UP"
    );
    world.ctx().clock.advance(TimeDelta::days(1));
    world.heartbeat().await;
    let input = visit(&world, &id, (2, 6));
    let done = world.mutate(&caller(1), "cancelVisit", input).await;
    assert_eq!(done["userErrors"], json!([]), "{done:#}");
    assert_eq!(
        heard(&world).await,
        [
            told(day(&world, 0).pred_opt().unwrap(), 1),
            told(day(&world, 0), 1)
        ],
        "yesterday's and today's"
    );
    world.verify().await;
}

/// A use that nothing was reserved for is found, unless a supervisor let the person in.
#[tokio::test]
async fn a_use_without_a_reservation_is_found() {
    let world = World::new().await;
    let id = pass(&world, 1, json!({})).await;
    let used = world.used(&id, (1, 1), false);
    world.tell(&[used]).await.unwrap();
    assert_eq!(broken(&world, "passes.entered_as_reserved").await, 1);
    let by_hand = "UPDATE replica_use SET overridden = true";
    world.ctx().db.execute(by_hand, []).await.unwrap();
    world.verify().await;
}

/// A resync says what is reserved, as it stands.
#[tokio::test]
async fn a_resync_says_what_is_reserved() {
    let world = World::new().await;
    let id = pass(&world, 1, json!({})).await;
    open(&world, 1, (0, 3, 5)).await;
    reserve(&world, 1, &id, (1, 2)).await;
    let _ = world.emitted().await;
    kit::resync::run(world.ctx(), &world.passes.source(), |_, _| {})
        .await
        .unwrap();
    assert_eq!(heard(&world).await, [told(day(&world, 2), 1)]);
}
