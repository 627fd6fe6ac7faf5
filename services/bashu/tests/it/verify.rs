//! Every kind of broken promise is found where it was planted, and a sound union has none.

use std::collections::BTreeSet;
use std::sync::Arc;

use kit::relay::Relay;
use kit::types::Union;
use serde_json::Value;

use crate::restored::{carried, told};
use crate::world::{Ran, World};

/// The ids of what is broken.
fn broken(ran: &Ran) -> BTreeSet<String> {
    let report = ran.json();
    let broken = report["broken"].as_array().unwrap();
    broken
        .iter()
        .map(|one| one["id"].as_str().unwrap().to_owned())
        .collect()
}

/// What breaks each promise between two databases: a service, a statement, the promise.
const PLANTED: &[(&str, &str, &str)] = &[
    (
        "billing",
        "INSERT INTO audit (act, subject, detail, at)
         VALUES ('act', 'subject', '{}', now() - interval '301 seconds')",
        "kit.audit_sealed",
    ),
    (
        "passes",
        "INSERT INTO audit_seal (position, audit, hash) VALUES (9, 999, sha256('a'))",
        "kit.audit_chain_dense",
    ),
    (
        "identity",
        "INSERT INTO audit_seal (position, audit, hash) SELECT 1, min(id), sha256('a') FROM audit",
        "kit.audit_chain_hash",
    ),
    (
        "admission",
        "INSERT INTO audit_head (position, hash, at) VALUES (1000, sha256('a'), now())",
        "kit.audit_head_stands",
    ),
    (
        "passes",
        "INSERT INTO once (caller, key, request_hash, created_at)
         VALUES (gen_random_uuid(), gen_random_uuid(), '\\x00', now())",
        "kit.once_has_outcome",
    ),
    (
        "identity",
        "INSERT INTO entitlement (id, epoch, version, union_code, kind, state, scope, member,
           valid_from, valid_until, generation, document_check, persons)
         VALUES (1, 1, 1, 50, 'pass', 'active', 1, gen_random_uuid(), 1, 2, 0, false, 1)",
        "cross.identity_entitlements",
    ),
    (
        "admission",
        "INSERT INTO entitlement (id, epoch, version, home, scope, state) VALUES
           (2, 1, 1, 50, 1, 'active')",
        "cross.admission_entitlements",
    ),
    (
        "admission",
        "INSERT INTO entitlement (id, home, scope, blocked) VALUES (3, 50, 1, true)",
        "cross.blocked",
    ),
    (
        "billing",
        "INSERT INTO orders (id, version, number, member, seller, revision, content_hash,
           total_fen, paid_fen, returned_fen, refunded_fen, state, created_at, close_at, paid_at)
         VALUES (gen_random_uuid(), 1, 'n', gen_random_uuid(), 'passes', 1, '\\x00',
           100, 100, 40, 40, 'paid', now(), now(), now())",
        "cross.orders",
    ),
    ("billing", "SELECT 1", "cross.order_replica"),
    ("billing", "SELECT 1", "cross.refund_sums"),
    (
        "billing",
        "WITH money AS (INSERT INTO receipt (transaction_id, out_trade_no, kind, fen, learnt_by,
             paid_at, booked_at) VALUES ('t', 'o', 'unknown', 5, 'bill', now(), now()))
         INSERT INTO refund (id, transaction_id, cause, fen, state, out_refund_no, requested_at)
         VALUES (gen_random_uuid(), 't', 'returned', 5, 'requested', 'r', now())",
        "cross.refunds",
    ),
    (
        "passes",
        "INSERT INTO replica_use (id, epoch, version, pass, province, venue, entry, at, date,
           persons, voided)
         VALUES (gen_random_uuid(), 1, 1, 1, 50, gen_random_uuid(), true, now(), '2026-04-01',
           1, false)",
        "cross.uses",
    ),
    (
        "passes",
        "INSERT INTO replica_venue (id, epoch, version, province, name_zh, name_en, division,
           tags, opening_hours, suspended, tracks_exits)
         VALUES (gen_random_uuid(), 1, 1, 50, 'z', 'e', '500101', '{}', '', false, false)",
        "cross.venues",
    ),
    (
        "admission",
        "INSERT INTO product (scope, id, epoch, version, name_zh, name_en, state, venue_ids,
           venue_tags) VALUES (9, gen_random_uuid(), 1, 1, 'z', 'e', 'published', '{}', '{}')",
        "cross.products",
    ),
    (
        "admission",
        "INSERT INTO product_rules (scope, rules_version, epoch, rules) VALUES (9, 1, 1, '\\x00')",
        "cross.rules",
    ),
    (
        "passes",
        "UPDATE replica_organisation SET name = 'another' WHERE true",
        "cross.passes_organisations",
    ),
    (
        "billing",
        "DELETE FROM replica_member",
        "cross.billing_members",
    ),
    (
        "admission",
        "DELETE FROM replica_membership",
        "cross.admission_memberships",
    ),
    (
        "passes",
        "UPDATE replica_role SET withdrawn = true",
        "cross.passes_roles",
    ),
    (
        "billing",
        "DELETE FROM replica_key_set",
        "cross.billing_key_sets",
    ),
    (
        "identity",
        "UPDATE consent_text SET announced_at = now()",
        "cross.passes_consent_texts",
    ),
    (
        "identity",
        "INSERT INTO login (id, member, created_at, used_at, expires_at, withdrawn_at, reason)
         SELECT gen_random_uuid(), id, now(), now(), now(), now(), 'logout' FROM member LIMIT 1",
        "cross.admission_withdrawn_logins",
    ),
    (
        "admission",
        "UPDATE watermark SET last_pseq = last_pseq + 1 WHERE topic = 'identity.v1'",
        "cross.delivered",
    ),
];

/// Where somebody was who was forgotten is gone from passes and stays in admission: that is no
/// admission that passes has missed. Of anybody else it is.
#[tokio::test]
async fn a_visit_of_who_was_forgotten_is_not_missed() {
    let world = World::ready().await;
    for (service, sql) in [
        ("passes", "ALTER TABLE pass DROP CONSTRAINT pass_version"),
        (
            "passes",
            "INSERT INTO pass (id, version, product, product_version, scope, member, order_id,
               line_id, price_fen, bought_at, close_at, state, paid_at, activate_by, changed_at)
             VALUES (7, 1, gen_random_uuid(), 1, 1, '00000000-0000-0000-0000-000000000007',
               gen_random_uuid(), gen_random_uuid(), 0, now(), now(), 'ready', now(),
               '2026-04-01', now())",
        ),
        (
            "admission",
            "INSERT INTO redemption (id, version, venue, gate, enrolment, seq, token_hash,
               entitlement, gen, scope, direction, persons, decision, at, scanned_on, counted_on,
               inside_delta, payable, hint_document, hint_photo, overridden)
             VALUES (gen_random_uuid(), 1, gen_random_uuid(), gen_random_uuid(), 1, 1, '\\x00', 7,
               0, 1, 'entry', 1, 'admit', now(), '2026-04-01', '2026-04-01', 0, true, false, false,
               false)",
        ),
    ] {
        world.plant(service, sql).await;
    }
    let look = ["verify", "--settle", "0"];
    let found = broken(&world.bashu(&look).await);
    assert!(found.contains("cross.uses"), "{found:?}");
    let forgotten = "INSERT INTO replica_erasure (member, epoch, version, state, forgotten_at)
        VALUES ('00000000-0000-0000-0000-000000000007', 1, 1, 'erased', now())";
    world.plant("passes", forgotten).await;
    let found = broken(&world.bashu(&look).await);
    assert!(!found.contains("cross.uses"), "{found:?}");
}

#[tokio::test]
async fn each_planted_violation_is_found_and_nothing_else_before() {
    let world = World::ready().await;
    told(&world).await;
    let clean = carried(&world, world.bashu(&["verify", "--settle", "50"])).await;
    let report = clean.well();
    assert!(report["checked"].as_u64().unwrap() > 40, "{report}");
    assert_eq!(report["unions"], serde_json::json!([50]));

    for (service, sql, _) in PLANTED {
        world.plant(service, sql).await;
    }
    let ran = world.bashu(&["verify", "--settle", "0"]).await;
    assert_eq!(ran.code, 1);
    let broken = broken(&ran);
    for (_, _, promise) in PLANTED {
        assert!(
            broken.contains(*promise),
            "{promise} was not found: {broken:?}"
        );
    }
    // A consumer that stands further than the relay ever was did not get there by events.
    let beyond = "beyond what the relay ever sent";
    assert!(ran.out.contains(beyond), "{}", ran.out);
}

/// What says the same on both sides is not confused with what differs.
#[tokio::test]
async fn a_difference_names_both_sides() {
    let world = World::ready().await;
    let venue = "00000000-0000-7000-8000-000000000001";
    let company = "00000000-0000-7000-8000-000000000002";
    let owned = format!(
        "INSERT INTO venue (id, version, organisation, name_zh, name_en, division, latitude_e7,
           longitude_e7, coordinates_source, tags, opening, tracks_exits, suspended, created_at)
         VALUES ('{venue}', 2, '{company}', '洪崖洞', 'e', 500103, 1, 1, 's', '{{}}', '', false,
           true, now())"
    );
    world.plant("admission", &owned).await;
    let heard = format!(
        "INSERT INTO replica_venue (id, epoch, version, province, name_zh, name_en, division,
           tags, opening_hours, suspended, tracks_exits)
         VALUES ('{venue}', 1, 2, 50, '洪崖洞', 'e', '500103', '{{}}', '', false, false)"
    );
    world.plant("passes", &heard).await;
    let ran = world.bashu(&["verify", "--settle", "0"]).await;
    let report = ran.json();
    let venues: Vec<&Value> = report["broken"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|one| one["id"] == "cross.venues")
        .collect();
    assert_eq!(venues.len(), 1);
    assert_eq!(venues[0]["violations"][0]["subject"], venue);
    let problem = venues[0]["violations"][0]["problem"].as_str().unwrap();
    assert!(
        problem.contains("admission says version 2 洪崖洞 suspended"),
        "{problem}"
    );
    world
        .plant("passes", "UPDATE replica_venue SET suspended = true")
        .await;
    let ran = world.bashu(&["verify", "--settle", "0"]).await;
    assert!(!broken(&ran).contains("cross.venues"), "{}", ran.out);
}

/// Both unions are compared when both are given.
#[tokio::test]
async fn nothing_may_exist_in_both_unions() {
    let kafka = Arc::new(kit::testing::kafka());
    let one = World::of(Union::Chongqing, Arc::clone(&kafka)).await;
    let other = World::of(Union::Sichuan, kafka).await;
    let (a, b) = (one.config(), other.config());
    let both = ["verify", "--settle", "0", "--config", &a, "--config", &b];
    let report = one.bashu(&both).await.well();
    assert_eq!(report["unions"], serde_json::json!([50, 51]));

    let member = "INSERT INTO member (id, version, state, created_at)
                  VALUES ('00000000-0000-7000-8000-000000000001', 1, 'erased', now())";
    one.plant("identity", member).await;
    let ran = one.bashu(&both).await;
    assert!(
        !broken(&ran).contains("between.members"),
        "in one union it may be"
    );
    other.plant("identity", member).await;
    let ran = one.bashu(&both).await;
    assert_eq!(ran.code, 1);
    assert!(broken(&ran).contains("between.members"), "{}", ran.out);

    let twice = one.bashu(&["verify", "--config", &a, "--config", &a]).await;
    assert_eq!(twice.code, 3);
    assert!(twice.err.contains("union 50"), "{}", twice.err);
}

/// Planted personal data is found in every kind of column, in a topic and in a log, and is not
/// shown by who found it.
#[tokio::test]
async fn the_canary_is_found_wherever_it_stands() {
    const CANARY: &str = "张三丰13900000000";
    let world = World::ready().await;
    told(&world).await;
    let log = world.folder.join("bashu.log");
    std::fs::write(&log, "{\"message\":\"nothing\"}\n").unwrap();
    let path = log.display().to_string();
    let search = |settle| {
        [
            "verify", "--settle", settle, "--canary", CANARY, "--log", &path,
        ]
    };
    let clean = carried(&world, world.bashu(&search("50"))).await.well();
    assert!(
        clean["scanned"]["columns"].as_u64().unwrap() > 100,
        "{clean}"
    );
    assert_eq!(clean["scanned"]["files"], 1);

    scatter(&world, CANARY).await;
    let bytes = hex::encode(CANARY);
    std::fs::write(&log, format!("{{\"message\":\"{bytes}\"}}\n")).unwrap();

    let found = world.bashu(&search("0")).await;
    assert_eq!(found.code, 1);
    assert!(
        !found.out.contains(CANARY) && !found.out.contains(&bytes),
        "the text is shown"
    );
    let report = found.json();
    let places: BTreeSet<&str> = report["broken"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|one| one["id"] == "canary")
        .flat_map(|one| one["violations"].as_array().unwrap())
        .map(|one| one["subject"].as_str().unwrap())
        // The relay may have emptied the outbox after it had published.
        .filter(|place| *place != "admission.outbox.payload")
        .collect();
    let wanted = [
        "billing.audit.detail",
        "passes.replica_venue.tags",
        "identity.once.outcome",
        path.as_str(),
    ];
    for place in wanted {
        assert!(places.contains(place), "{place} was not found: {places:?}");
    }
    assert!(
        places
            .iter()
            .any(|place| place.starts_with("admission.v1/")),
        "{places:?}"
    );
    assert_eq!(
        places.len(),
        wanted.len() + 1,
        "found where it is not: {places:?}"
    );
}

/// Writes the text into a document, an array, an event's bytes, and a topic.
async fn scatter(world: &World, canary: &str) {
    let bytes = hex::encode(canary);
    let text = format!(
        "INSERT INTO audit (act, subject, detail, at)
         VALUES ('act', 'subject', '{{\"name\": \"{canary}\"}}', now())"
    );
    world.plant("billing", &text).await;
    let array = format!(
        "INSERT INTO replica_venue (id, epoch, version, province, name_zh, name_en, division,
           tags, opening_hours, suspended, tracks_exits)
         VALUES (gen_random_uuid(), 1, 1, 50, 'z', 'e', '500101', ARRAY['{canary}'], '', false,
           false)"
    );
    world.plant("passes", &array).await;
    let outcome = format!(
        "INSERT INTO once (caller, key, request_hash, outcome, created_at)
         VALUES (gen_random_uuid(), gen_random_uuid(), '\\x00', '\\x00{bytes}', now())"
    );
    world.plant("identity", &outcome).await;
    let event = format!(
        "INSERT INTO outbox (slot, event_id, kind, key, version, must_understand, payload,
           occurred_at)
         VALUES (0, gen_random_uuid(), 'bashu.v1.Any', '\\x01', 1, false, '\\x0a{bytes}', now())"
    );
    world.plant("admission", &event).await;
    let mut relay = Relay::new(world.ctx("admission").await, world.bus());
    while relay.step().await.unwrap() == 0 {}
}
