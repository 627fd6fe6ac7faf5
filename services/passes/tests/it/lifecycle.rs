//! From payment to the end: activation, renewal, custody, and what each publishes.

use chrono::TimeDelta;
use proto::v1::{EntitlementChanged, entitlement::State};
use serde_json::json;

use crate::world::{World, caller, code, entitlement, key};

/// A paid pass grants its right with the window, the rules' version and the document check.
#[tokio::test]
async fn payment_grants_the_right() {
    let world = World::new().await;
    let product = world
        .product(json!({ "rules": { "documentCheck": true } }))
        .await;
    let id = world.bought(&caller(1), &product).await;
    let pass = world.pass(&caller(1), &id).await;
    assert_eq!(pass["state"], "ACTIVE");
    assert_eq!(
        (&pass["start"], &pass["end"]),
        (&json!("2026-04-01"), &json!("2027-04-01"))
    );
    assert_eq!(pass["lastDay"], "2027-03-31");
    let event: EntitlementChanged = world.last().await;
    let right = event.entitlement.unwrap();
    assert_eq!(right.id, entitlement(&id).0);
    assert_eq!(right.state(), State::Active);
    assert!(right.document_check);
    assert_eq!((right.scope, right.rules_version, right.persons), (1, 1, 1));
    let minute = |date: &str| {
        let at = kit::types::day_start(date.parse().unwrap());
        credential::token::Minute::floor(at).unwrap().get()
    };
    assert_eq!(right.valid_from, minute("2026-04-01"));
    assert_eq!(right.valid_until, minute("2027-04-01"));
    world.verify().await;
}

/// A pass that waits for its holder begins when she says so, or by itself when time is over.
#[tokio::test]
async fn activation_by_the_holder_or_by_time() {
    let world = World::new().await;
    let within = json!({ "unit": "MONTHS", "count": 3 });
    let product = world
        .product(json!({ "activation": { "mode": "AUTO", "within": within } }))
        .await;
    let first = world.bought(&caller(1), &product).await;
    let second = world.bought(&caller(2), &product).await;
    let _ = world.emitted().await;
    let ready = world.pass(&caller(1), &first).await;
    assert_eq!(
        (&ready["state"], &ready["start"]),
        (&json!("READY"), &json!(null))
    );
    let key = key();
    let input = json!({ "passId": first, "idempotencyKey": key });
    assert_eq!(
        code(
            &world
                .mutate(&caller(2), "activatePass", input.clone())
                .await
        ),
        "NOT_FOUND"
    );
    for _ in 0..2 {
        let active = world
            .mutate(&caller(1), "activatePass", input.clone())
            .await;
        assert_eq!(active["pass"]["start"], "2026-04-01");
    }
    let granted = world
        .emitted()
        .await
        .iter()
        .filter(|one| one.kind.ends_with("EntitlementChanged"))
        .count();
    assert_eq!(granted, 1, "once, and only by activation");
    let again = json!({ "passId": first, "idempotencyKey": crate::world::key() });
    assert_eq!(
        code(&world.mutate(&caller(1), "activatePass", again).await),
        "ALREADY_ACTIVE"
    );
    world.ctx().clock.advance(TimeDelta::days(120));
    world.due().await;
    let alone = world.pass(&caller(2), &second).await;
    assert_eq!(
        (&alone["state"], &alone["start"]),
        (&json!("ACTIVE"), &json!("2026-07-01"))
    );
    world.verify().await;
}

#[tokio::test]
async fn a_pass_nobody_activated_is_forfeited_or_goes_back() {
    let world = World::new().await;
    let within = json!({ "unit": "DAYS", "count": 90 });
    let mut ids = Vec::new();
    for mode in ["FORFEIT", "REFUND"] {
        let activation = json!({ "activation": { "mode": mode, "within": within } });
        let product = world.product(activation).await;
        ids.push(world.bought(&caller(1), &product).await);
    }
    world.ctx().clock.advance(TimeDelta::days(90));
    world.due().await;
    assert_eq!(world.pass(&caller(1), &ids[0]).await["state"], "FORFEITED");
    let back = world.pass(&caller(1), &ids[1]).await;
    assert_eq!(back["state"], "REFUNDING");
    assert_eq!(back["refund"]["amount"]["amountFen"], 20_000);
    let told: proto::passes::LineReturned = world.last().await;
    world
        .tell(&[world.refunded(&back, &told.return_id, 20_000, 3)])
        .await
        .unwrap();
    assert_eq!(world.pass(&caller(1), &ids[1]).await["state"], "REFUNDED");
    world.verify().await;
}

/// Who would lose her pass is asked once to activate it, in time, by what it is called and until
/// when; not who has activated hers, and not where nothing is lost.
#[tokio::test]
async fn who_would_lose_her_pass_is_reminded() {
    let world = World::new().await;
    let within = json!({ "unit": "DAYS", "count": 90 });
    let product = async |mode: &str| {
        let activation = json!({ "mode": mode, "within": within });
        world.product(json!({ "activation": activation })).await
    };
    let (lost, kept) = (product("FORFEIT").await, product("AUTO").await);
    world.bought(&caller(1), &lost).await;
    let activated = world.bought(&caller(2), &lost).await;
    world.bought(&caller(3), &kept).await;
    let input = json!({ "passId": activated, "idempotencyKey": key() });
    let begun = world.mutate(&caller(2), "activatePass", input).await;
    assert_eq!(code(&begun), "");
    let asked = async || {
        world.due().await;
        let events = world.emitted().await;
        let asked = events
            .iter()
            .filter(|event| event.kind == "bashu.v1.MessageRequested")
            .map(|event| event.decode::<proto::v1::MessageRequested>());
        asked.collect::<Vec<_>>()
    };
    assert!(asked().await.is_empty());
    world.ctx().clock.advance(TimeDelta::days(84));
    let told = asked().await;
    assert_eq!(told.len(), 1, "{told:?}");
    assert_eq!(told[0].member_id, uuid::Uuid::from_u128(0x1001).as_bytes());
    assert_eq!(
        told[0].values[..2],
        ["巴蜀职工年票", "Bashu Workers' Annual Pass"]
    );
    let last = kit::types::shanghai_date(world.ctx().clock.now() + TimeDelta::days(5));
    assert_eq!(told[0].values[2], last.to_string());
    let over = kit::types::day_start(last + TimeDelta::days(1)).timestamp_millis();
    assert_eq!(told[0].valid_until, over);
    assert!(asked().await.is_empty(), "once");
    world.verify().await;
}

/// Who activates her pass after the reminder was asked for is not told to: it is withdrawn, after
/// what asked for it and by the same key. Before its time there is nothing to withdraw, nor after.
#[tokio::test]
async fn a_reminder_of_what_was_activated_is_withdrawn() {
    let world = World::new().await;
    let within = json!({ "unit": "DAYS", "count": 90 });
    let activation = json!({ "mode": "FORFEIT", "within": within });
    let product = json!({ "activation": activation, "memberLimit": null });
    let product = world.product(product).await;
    let (holder, kind) = (caller(1), "bashu.v1.MessageWithdrawn");
    let activated = async |id: &str| {
        let input = json!({ "passId": id, "idempotencyKey": key() });
        let begun = world.mutate(&holder, "activatePass", input).await;
        assert_eq!(code(&begun), "");
        let events = world.emitted().await.into_iter();
        events.filter(|it| it.kind == kind).collect::<Vec<_>>()
    };
    let (early, late) = (
        world.bought(&holder, &product).await,
        world.bought(&holder, &product).await,
    );
    assert!(activated(&early).await.is_empty(), "nobody was reminded");
    world.ctx().clock.advance(TimeDelta::days(84));
    world.due().await;
    let asked: proto::v1::MessageRequested = world.last().await;
    let withdrawn = activated(&late).await;
    assert_eq!(withdrawn.len(), 1, "{withdrawn:?}");
    let told: proto::v1::MessageWithdrawn = withdrawn[0].decode();
    assert_eq!((&told.id, told.service.as_str()), (&asked.id, "passes"));
    assert_eq!(withdrawn[0].key, asked.id, "it comes after");
    world.verify().await;
}

/// A renewal begins where the old pass ends, is possible once, and not with another's pass.
#[tokio::test]
async fn a_renewal_goes_on_at_the_old_end() {
    let world = World::new().await;
    let product = world.product(json!({})).await;
    let old = world.bought(&caller(1), &product).await;
    let renew = async |who: u128, pass: &str| {
        let input = json!({ "productId": product, "renews": pass, "idempotencyKey": key() });
        world.mutate(&caller(who), "buyPass", input).await
    };
    assert_eq!(code(&renew(1, &old).await), "RENEWAL_TOO_EARLY");
    world.ctx().clock.advance(TimeDelta::days(320));
    assert_eq!(
        code(&renew(2, &old).await),
        "NOT_FOUND",
        "another member's pass is absent"
    );
    let next = renew(1, &old).await;
    assert_eq!(code(&renew(1, &old).await), "ALREADY_RENEWED");
    world.tell(&[world.closed(&next["pass"], 2)]).await.unwrap();
    let next = renew(1, &old).await;
    assert_eq!(code(&next), "", "what lapsed makes room: {next:#}");
    world.tell(&[world.paid(&next["pass"], 2)]).await.unwrap();
    let pass = world
        .pass(&caller(1), next["pass"]["id"].as_str().unwrap())
        .await;
    assert_eq!(
        (&pass["start"], &pass["end"]),
        (&json!("2027-04-01"), &json!("2028-04-01"))
    );
    world.verify().await;
    // Once the old one is over, a renewal begins anew.
    let late = world.bought(&caller(3), &product).await;
    world.ctx().clock.advance(TimeDelta::days(400));
    let anew = renew(3, &late).await;
    world.tell(&[world.paid(&anew["pass"], 2)]).await.unwrap();
    let pass = world
        .pass(&caller(3), anew["pass"]["id"].as_str().unwrap())
        .await;
    let today = kit::types::shanghai_date(world.ctx().clock.now()).to_string();
    assert_eq!(pass["start"], today.as_str());
    world.verify().await;
}

/// An operator freezes, lets go and voids, with a reason that is audited; nobody else does.
#[tokio::test]
async fn custody_is_the_operators() {
    let world = World::new().await;
    let product = world.product(json!({})).await;
    let id = world.bought(&caller(1), &product).await;
    let run = async |who: &kit::access::Caller, name: &str, reason: &str| {
        let input = json!({ "passId": id, "reason": reason, "idempotencyKey": key() });
        world.mutate(who, name, input).await
    };
    for name in ["freezePass", "unfreezePass", "voidPass"] {
        assert_eq!(
            code(&run(&caller(1), name, "x").await),
            "FORBIDDEN",
            "{name}"
        );
        assert_eq!(
            code(&run(&world.operator, name, " ").await),
            "BAD_INPUT",
            "{name}"
        );
    }
    assert_eq!(
        code(&run(&world.operator, "unfreezePass", "x").await),
        "NOT_FROZEN"
    );
    let frozen = run(&world.operator, "freezePass", "lent to others").await;
    assert_eq!(frozen["pass"]["state"], "FROZEN");
    assert_eq!(
        world.pass(&caller(1), &id).await["reason"],
        "lent to others"
    );
    let right = world
        .last::<EntitlementChanged>()
        .await
        .entitlement
        .unwrap();
    assert_eq!((right.state(), right.freeze_version), (State::Frozen, 0));
    let freed = run(&world.operator, "unfreezePass", "cleared up").await;
    assert_eq!(freed["pass"]["state"], "ACTIVE");
    let audited = "SELECT count(*) AS count FROM audit WHERE act LIKE '%_pass'
                   AND detail ->> 'reason' = 'lent to others'";
    assert_eq!(world.count(audited).await, 1);
    world.verify().await;
}

/// A voided pass is over for good. When its price goes back it is frozen first, and nothing goes
/// back before admission has counted; then all of it does, whatever was used.
#[tokio::test]
async fn a_voided_pass_is_over() {
    let world = World::new().await;
    let product = world.product(json!({})).await;
    let id = world.bought(&caller(1), &product).await;
    let input = json!({
        "passId": id, "reason": "sold twice", "refund": true, "idempotencyKey": key()
    });
    let _ = world.emitted().await;
    let voided = world.mutate(&world.operator, "voidPass", input).await;
    assert_eq!(voided["pass"]["state"], "REFUNDING");
    assert_eq!(voided["pass"]["refund"]["state"], "COUNTING");
    assert_eq!(voided["pass"]["reason"], "sold twice");
    let events = world.emitted().await;
    assert!(events.iter().all(|one| !one.kind.ends_with("LineReturned")));
    let right = events
        .iter()
        .find(|one| one.kind.ends_with("EntitlementChanged"))
        .unwrap();
    let right = right.decode::<EntitlementChanged>().entitlement.unwrap();
    assert_eq!(right.state(), State::Frozen);
    assert_eq!(right.freeze_version, world.freeze_of(&id).await);
    let again = json!({ "passId": id, "reason": "x", "idempotencyKey": key() });
    for name in ["freezePass", "unfreezePass", "voidPass"] {
        let mut input = again.clone();
        input["idempotencyKey"] = json!(key());
        let refused = world.mutate(&world.operator, name, input).await;
        assert_eq!(code(&refused), "REFUND_IN_PROGRESS", "{name}");
    }
    // A lease is open: what it brings is counted, and does not lessen what goes back.
    let until = world.ctx().clock.now() + TimeDelta::hours(2);
    let answer = world.counted(&id, right.freeze_version, 1, until.timestamp_millis());
    world.tell(&[answer]).await.unwrap();
    let _ = world.emitted().await;
    world.ctx().clock.advance(TimeDelta::hours(1));
    world.due().await;
    assert_eq!(world.pass(&caller(1), &id).await["state"], "REFUNDING");
    world.ctx().clock.advance(TimeDelta::hours(2));
    world.due().await;
    let told: proto::passes::LineReturned = world.last().await;
    assert_eq!((told.refund_fen, told.reason.as_str()), (20_000, "VOIDED"));
    let pass = world.pass(&caller(1), &id).await;
    assert_eq!(
        (
            &pass["state"],
            &pass["refund"]["state"],
            &pass["refund"]["uses"]
        ),
        (&json!("VOIDED"), &json!("RETURNED"), &json!(1))
    );
    world.verify().await;
    world
        .tell(&[world.refunded(&pass, &told.return_id, 20_000, 3)])
        .await
        .unwrap();
    let pass = world.pass(&caller(1), &id).await;
    assert_eq!(
        (&pass["state"], &pass["refund"]["state"]),
        (&json!("VOIDED"), &json!("DONE"))
    );
    world.heartbeat().await;
    let input = json!({ "passId": id, "reason": "x", "idempotencyKey": key() });
    let refused = world.mutate(&world.operator, "freezePass", input).await;
    assert_eq!(code(&refused), "PASS_ENDED");
    world.verify().await;
}

/// An unpaid pass, and one that is not there, cannot be touched.
#[tokio::test]
async fn what_is_not_paid_cannot_be_used() {
    let world = World::new().await;
    let product = world.product(json!({})).await;
    let bought = world.buy(&caller(1), &product).await;
    let id = bought["pass"]["id"].as_str().unwrap();
    for name in ["activatePass", "requestPassRefund"] {
        let input = json!({ "passId": id, "idempotencyKey": key() });
        assert_eq!(
            code(&world.mutate(&caller(1), name, input).await),
            "AWAITING_PAYMENT"
        );
        for other in ["rubbish", product.as_str(), "UGFzczoAAAAAAAAAAA"] {
            let input = json!({ "passId": other, "idempotencyKey": key() });
            assert_eq!(
                code(&world.mutate(&caller(1), name, input).await),
                "NOT_FOUND",
                "{other}"
            );
        }
    }
    let input = json!({ "passId": id, "reason": "x", "idempotencyKey": key() });
    let refused = world.mutate(&world.operator, "voidPass", input).await;
    assert_eq!(code(&refused), "AWAITING_PAYMENT");
}
