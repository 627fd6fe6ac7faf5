//! Venues: who makes them, what they must be, how they are found, and that all can be said again.

use std::collections::BTreeSet;

use admission::commands::venue::{create_venue, suspend_venue, update_venue};
use admission::domain::coordinates::Wgs84;
use admission::domain::venue::Details;
use admission::queries::{VenueFilter, venues};
use kit::Error;
use kit::graphql::Page;
use kit::types::OrganisationId;
use prost::Message;
use proto::admission::VenueChanged;
use proto::v1::{Entitlement, entitlement::State};
use uuid::Uuid;

use crate::world::{World, daily, details, refused};

fn first(rows: i32) -> Page {
    Page::new(Some(rows), None, None, None).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
#[expect(clippy::too_many_lines, reason = "one story, told in its order")]
async fn operators_and_supervisors_make_and_change_venues() {
    let world = World::new().await;
    let (ctx, key) = (world.ctx(), world.uuid());
    let made = create_venue(ctx, &world.manager, key, world.company, details("博物馆"))
        .await
        .unwrap();
    let again = create_venue(ctx, &world.manager, key, world.company, details("博物馆"))
        .await
        .unwrap();
    assert_eq!(made, again);
    let reused = create_venue(ctx, &world.manager, key, world.company, details("动物园")).await;
    assert_eq!(refused(reused), "IDEMPOTENCY_KEY_REUSED");
    let twin = create_venue(
        ctx,
        &world.operator,
        world.uuid(),
        world.company,
        details("博物馆"),
    )
    .await;
    assert_eq!(refused(twin), "VENUE_NAME_TAKEN");
    let nowhere = OrganisationId(Uuid::from_u128(404));
    let refusal = create_venue(
        ctx,
        &world.operator,
        world.uuid(),
        nowhere,
        details("动物园"),
    )
    .await;
    assert_eq!(refused(refusal), "ORGANISATION_UNKNOWN");
    for caller in [&world.staff, &world.nobody, &world.rival()] {
        let id = made.id;
        let refusal =
            create_venue(ctx, caller, world.uuid(), world.company, details("动物园")).await;
        assert!(matches!(refusal, Err(Error::Forbidden(_))), "{refusal:?}");
        let refusal = suspend_venue(ctx, caller, id, true).await;
        assert!(matches!(refusal, Err(Error::Forbidden(_))), "{refusal:?}");
        let refusal = update_venue(ctx, caller, id, Ok).await;
        assert!(matches!(refusal, Err(Error::Forbidden(_))), "{refusal:?}");
    }
    let foreign = Details {
        division: 510_104,
        ..details("动物园")
    };
    let refusal = create_venue(ctx, &world.operator, world.uuid(), world.company, foreign).await;
    assert!(
        matches!(
            refusal,
            Err(Error::BadInput {
                field: "division",
                ..
            })
        ),
        "{refusal:?}"
    );
    let renamed = |it| {
        Ok(Details {
            name_en: "The Museum".to_owned(),
            ..it
        })
    };
    let changed = update_venue(ctx, &world.manager, made.id, renamed)
        .await
        .unwrap();
    let same = update_venue(ctx, &world.manager, made.id, renamed)
        .await
        .unwrap();
    assert_eq!(
        (changed.version, same.version),
        (2, 2),
        "nothing new is no new version"
    );
    suspend_venue(ctx, &world.manager, made.id, true)
        .await
        .unwrap();
    suspend_venue(ctx, &world.manager, made.id, true)
        .await
        .unwrap();
    let events = world.events("VenueChanged").await;
    let versions: Vec<i64> = events.iter().map(|one| one.version).collect();
    assert_eq!(versions, [1, 2, 3]);
    let last = VenueChanged::decode(events[2].payload.as_slice()).unwrap();
    assert!(last.suspended && last.name_en == "The Museum" && last.division == "500103");
    let acts = world
        .count("SELECT count(*) FROM audit WHERE member IS NOT NULL")
        .await;
    assert_eq!(acts, 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn venues_are_found_by_distance_tag_and_division() {
    let world = World::new().await;
    let at = |name: &str, latitude, longitude, division, tag: &str| Details {
        place: Wgs84::new(latitude, longitude).unwrap(),
        division,
        tags: BTreeSet::from([tag.to_owned()]),
        ..details(name)
    };
    for venue in [
        at("三峡博物馆", 29.562, 106.550, 500_103, "museum"),
        at("大足石刻", 29.700, 105.720, 500_111, "sight"),
        at("解放碑驿站", 29.558, 106.577, 500_103, "station"),
        at("武隆", 29.330, 107.750, 500_156, "sight"),
    ] {
        world.venue(venue).await;
    }
    let names = async |filter: &VenueFilter, page: &Page| -> Vec<(String, Option<i64>)> {
        let found = venues(&world.admission, filter, page).await.unwrap();
        found
            .into_iter()
            .map(|one| (one.venue.details.name_zh, one.metres))
            .collect()
    };
    let near = Some(Wgs84::new(29.557, 106.577).unwrap());
    let by_distance = VenueFilter {
        near,
        ..VenueFilter::default()
    };
    let all = names(&by_distance, &first(10)).await;
    let order: Vec<&str> = all.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(order, ["解放碑驿站", "三峡博物馆", "大足石刻", "武隆"]);
    let metres: Vec<i64> = all.iter().map(|(_, metres)| metres.unwrap()).collect();
    assert!(
        metres[0] < 200 && (2_000..4_000).contains(&metres[1]),
        "{metres:?}"
    );
    // Page by page it is the same list, each venue once.
    let page = first(2);
    let found = venues(&world.admission, &by_distance, &page).await.unwrap();
    let connection = page.connection(found, |one| one.cursor(), |one| one.venue.details.name_zh);
    let cursor = async_graphql::connection::CursorType::encode_cursor(&connection.edges[1].cursor);
    assert!(connection.has_next_page);
    let next = Page::new(Some(2), Some(&cursor), None, None).unwrap();
    let rest: Vec<String> = names(&by_distance, &next)
        .await
        .into_iter()
        .map(|it| it.0)
        .collect();
    assert_eq!(rest, ["大足石刻", "武隆"]);
    let back = Page::new(None, None, Some(1), None).unwrap();
    assert_eq!(names(&by_distance, &back).await[0].0, "武隆");
    let within = VenueFilter {
        within_metres: Some(5_000),
        ..by_distance.clone()
    };
    assert_eq!(names(&within, &first(10)).await.len(), 2);
    let stations = VenueFilter {
        tag: Some("station".to_owned()),
        ..VenueFilter::default()
    };
    assert_eq!(
        names(&stations, &first(10)).await,
        [("解放碑驿站".to_owned(), None)]
    );
    for (division, count) in [(500_103, 2), (500_000, 4), (500_111, 1), (510_000, 0)] {
        let filter = VenueFilter {
            division: Some(division),
            ..VenueFilter::default()
        };
        assert_eq!(names(&filter, &first(10)).await.len(), count, "{division}");
    }
}

/// A resync says every aggregate again, with the version it has, and changes none.
#[tokio::test(flavor = "multi_thread")]
async fn everything_is_said_again() {
    let world = World::new().await;
    world.product(&daily()).await;
    world.grant(1).await;
    let door = world.door("博物馆").await;
    world.enter(&door, &world.token(1)).await;
    world.enter(&door, "junk").await;
    world.enter(&door, &world.token(2)).await;
    admission::commands::entitlement::block_unseen(world.ctx(), crate::world::id(2))
        .await
        .unwrap();
    world
        .say(Entitlement {
            freeze_version: 2,
            ..world.word(1, 2, State::Frozen)
        })
        .await;
    let scanned = world.scan(&door, &world.token(3));
    world.redeem(&door, scanned.clone()).await.unwrap();
    let other = admission::commands::redeem::Scanned {
        text: "x".to_owned(),
        ..scanned
    };
    assert_eq!(refused(world.redeem(&door, other).await), "SCAN_ID_REUSED");
    let kinds = [
        "VenueChanged",
        "GateChanged",
        "RedemptionChanged",
        "EntitlementBlocked",
        "FreezeApplied",
        "ScanAlarmRaised",
    ];
    let mut before = Vec::new();
    for kind in kinds {
        before.push(world.events(kind).await);
    }
    kit::resync::run(world.ctx(), &world.admission.source(), |_, _| {})
        .await
        .unwrap();
    for (kind, before) in kinds.iter().zip(before) {
        let after = world.events(kind).await;
        let said: BTreeSet<Vec<u8>> = after[before.len()..]
            .iter()
            .map(|event| event.payload.clone())
            .collect();
        assert!(!said.is_empty(), "{kind}");
        let known: BTreeSet<Vec<u8>> = before.into_iter().map(|event| event.payload).collect();
        assert!(
            said.is_subset(&known),
            "{kind}: each is the newest state, as it was said before"
        );
    }
    world.check().await;
}
