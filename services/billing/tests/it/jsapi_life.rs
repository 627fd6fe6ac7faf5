//! Payments inside WeChat when something goes wrong: a token wanted twice, an answer that is lost,
//! a "no", another way of paying, no mini-program, a withdrawn key.

use chrono::TimeDelta;
use kit::token::AccessKey;
use sea_orm::FromQueryResult;
use serde_json::json;
use tokio::sync::Barrier;
use uuid::Uuid;

use crate::jsapi::{Identity, pay};
use crate::world::{World, caller, key, payer, settings};

const JSAPI: &str = "/v3/pay/transactions/jsapi";

/// Uses a token, as the program does, but looks first and adds it afterwards.
async fn use_unlocked(world: &World, token: Uuid, payment: Uuid, looked: &Barrier) -> bool {
    let used = world.db.ctx.db.tx("unguarded", async |tx| {
        #[derive(FromQueryResult)]
        struct Row {
            used: bool,
        }
        let sql = "SELECT EXISTS (SELECT 1 FROM payer_token WHERE id = $1) AS used";
        let row = tx.one::<Row>(sql, [token.into()]).await?;
        looked.wait().await;
        if row.is_some_and(|row| row.used) {
            return Ok(false);
        }
        let sql = "INSERT INTO payer_token (id, payment, expires_at) VALUES ($1, $2, $3)";
        let values = [token.into(), payment.into(), tx.now().into()];
        tx.execute(sql, values).await?;
        Ok(true)
    });
    used.await.unwrap_or_else(|error| {
        assert_eq!(error.constraint().as_deref(), Some("payer_token_pkey"));
        false
    })
}

/// Of two orders at once one gets the token; without its key both would.
#[tokio::test]
async fn two_orders_want_one_token() {
    let world = World::start().await;
    let identity = Identity::of(&world);
    let (one, two) = (world.order(&[100]).await, world.order(&[100]).await);
    let token = identity.token(&payer());
    let who = payer();
    let (first, second) = tokio::join!(
        pay(&world, &who, one.id, &token, key()),
        pay(&world, &who, two.id, &token, key())
    );
    let mut answers = [first, second].map(|answer| {
        let code = answer["userErrors"][0]["code"].as_str();
        code.unwrap_or("paying").to_owned()
    });
    answers.sort();
    assert_eq!(answers, ["PAYER_TOKEN_USED", "paying"]);
    let payment = world.text("SELECT id FROM payment LIMIT 1").await;
    let payment: Uuid = payment.parse().unwrap();
    let looked = Barrier::new(2);
    let both = async |token: Uuid| {
        tokio::join!(
            use_unlocked(&world, token, payment, &looked),
            use_unlocked(&world, token, payment, &looked)
        )
    };
    let (one, two) = both(key()).await;
    assert!(one != two, "the key lets one through");
    let owner = world.db.owner().await;
    let drop = "ALTER TABLE payer_token DROP CONSTRAINT payer_token_pkey";
    owner.execute(drop, []).await.unwrap();
    let (one, two) = both(key()).await;
    assert!(one && two, "the race is there to be guarded against");
}

/// The provider's answer is lost: the payment is still being prepared, and the same request brings
/// it. Where nobody comes again it ends, also at the provider, and another can begin.
#[tokio::test]
async fn an_answer_that_is_lost_is_asked_for_again() {
    let world = World::start().await;
    let identity = Identity::of(&world);
    let order = world.order(&[100]).await;
    let (token, once) = (identity.token(&payer()), key());
    let lose = json!({ "next": 1, "fault": "lose", "path_prefix": JSAPI });
    world.fault(lose.clone()).await;
    let lost = pay(&world, &payer(), order.id, &token, once).await;
    assert_eq!(lost["payment"]["state"], "PREPARING", "{lost}");
    let again = pay(&world, &payer(), order.id, &token, once).await;
    assert_eq!(again["payment"]["state"], "WAITING", "{again}");
    assert_eq!(lost["payment"]["id"], again["payment"]["id"]);
    world.verify().await;

    let other = world.order(&[100]).await;
    world.fault(lose).await;
    let lost = pay(&world, &payer(), other.id, &identity.token(&payer()), key()).await;
    assert_eq!(lost["payment"]["state"], "PREPARING", "{lost}");
    world.verify().await;
    let number = world.trade_no(other.id).await;
    world.advance(TimeDelta::seconds(61));
    let state = format!("SELECT state FROM payment WHERE out_trade_no = '{number}'");
    world
        .until("ended", async || world.text(&state).await == "closed")
        .await;
    let told = json!({ "out_trade_no": number, "force": true });
    let (status, _) = world.control("/sandbox/pay", told).await;
    assert_ne!(status, 200, "closed at the provider too");
    let next = pay(&world, &payer(), other.id, &identity.token(&payer()), key()).await;
    assert_eq!(next["payment"]["state"], "WAITING", "{next}");
    world.verify().await;
}

/// A "no" of the provider ends the payment.
#[tokio::test]
async fn a_payment_that_the_provider_refuses_has_failed() {
    let world = World::start().await;
    let identity = Identity::of(&world);
    let order = world.order(&[100]).await;
    let refuse = json!({ "next": 1, "fault": "not_enough", "path_prefix": JSAPI });
    world.fault(refuse).await;
    let failed = pay(&world, &payer(), order.id, &identity.token(&payer()), key()).await;
    assert_eq!(failed["payment"]["state"], "FAILED", "{failed}");
    let next = pay(&world, &payer(), order.id, &identity.token(&payer()), key()).await;
    assert_eq!(next["payment"]["state"], "WAITING", "{next}");
    world.verify().await;
}

/// Who has a code to scan open and pays inside WeChat after all does not pay twice: the first ends
/// here and at the provider before the other begins. And the other way round.
#[tokio::test]
async fn another_way_of_paying_ends_the_first() {
    let world = World::start().await;
    let identity = Identity::of(&world);
    let order = world.order(&[100]).await;
    let scanned = world.ready(&order).await;
    let inside = pay(&world, &payer(), order.id, &identity.token(&payer()), key()).await;
    assert_eq!(inside["payment"]["state"], "WAITING", "{inside}");
    let told = json!({ "out_trade_no": scanned, "force": true });
    let (status, _) = world.control("/sandbox/pay", told).await;
    assert_ne!(status, 200, "the code is closed");
    let open = format!(
        "payment WHERE order_id = '{}' AND ended_at IS NULL",
        order.id
    );
    assert_eq!(world.count(&open).await, 1);
    let back = world.pay_order(&payer(), order.id, key()).await;
    assert_eq!(back["payment"]["state"], "WAITING", "{back}");
    assert_eq!(world.count(&open).await, 1);
    let number = format!("SELECT out_trade_no FROM {open}");
    let number = world.text(&number).await;
    world.payer_pays(&number).await;
    world.deliver().await;
    assert_eq!(world.order_state(order.id).await, "paid");
    world.verify().await;
    // Money that is faster than the change wins.
    let order = world.order(&[100]).await;
    let number = world.ready(&order).await;
    let lose = json!({ "out_trade_no": number, "action": "lose" });
    world.instruct(lose).await;
    world.payer_pays(&number).await;
    let late = pay(&world, &payer(), order.id, &identity.token(&payer()), key()).await;
    assert_eq!(late["userErrors"][0]["code"], "ALREADY_PAID", "{late}");
    assert_eq!(world.order_state(order.id).await, "paid");
    world.verify().await;
}

/// Another member's token and order change nothing of what is open: nobody ends another's payment.
#[tokio::test]
async fn a_stranger_ends_nobodys_payment() {
    let world = World::start().await;
    let identity = Identity::of(&world);
    let order = world.order(&[100]).await;
    let _number = world.ready(&order).await;
    let stranger = caller(2);
    let answer = pay(
        &world,
        &stranger,
        order.id,
        &identity.token(&stranger),
        key(),
    )
    .await;
    assert_eq!(answer["userErrors"][0]["code"], "ORDER_NOT_SEEN_YET");
    assert_eq!(world.text("SELECT state FROM payment").await, "waiting");
}

/// Where there is no mini-program nobody pays in one; a key that is none is refused by name.
#[tokio::test]
async fn without_a_mini_program_nobody_pays_in_one() {
    let world = World::still().await;
    let identity = Identity::of(&world);
    let token = identity.token(&payer());
    let mut without = settings(world.data(), &world.provider, &world.rest);
    let program = without.wechat.mini_program.take().unwrap();
    let new = |settings: &billing::Settings| {
        billing::Billing::new(world.db.ctx.clone(), settings, Default::default())
    };
    let billing = new(&without).unwrap();
    let input = billing::commands::PayOrder {
        order: key().into(),
        key: key(),
    };
    let refused = billing::commands::pay_in_wechat(&billing, &payer(), input, &token).await;
    let kit::Error::Refused(refusal) = refused.unwrap_err() else {
        panic!("not refused")
    };
    assert_eq!(refusal.code, "METHOD_UNAVAILABLE");
    for (field, appid, payer_key) in [
        ("payer_key", program.appid.clone(), "AAAA".into()),
        ("appid", "wx 1".to_owned(), program.payer_key.clone()),
    ] {
        without.wechat.mini_program =
            Some(billing::wechat::MiniProgramSettings { appid, payer_key });
        let field = format!("billing.wechat.mini_program.{field}");
        assert_eq!(new(&without).unwrap_err().field, field);
    }
}

/// A key of the union that is no longer in force seals nothing that counts.
#[tokio::test]
async fn a_withdrawn_key_names_nobody() {
    let world = World::start().await;
    let identity = Identity::of(&world);
    let order = world.order(&[100]).await;
    let token = identity.token(&payer());
    let none: [AccessKey; 0] = [];
    world.billing.keys.access().replace(none);
    let answer = pay(&world, &payer(), order.id, &token, key()).await;
    assert_eq!(
        answer["userErrors"][0]["code"], "PAYER_TOKEN_INVALID",
        "{answer}"
    );
}
