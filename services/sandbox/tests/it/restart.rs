//! What survives the end of a sandbox, and how it starts.

use crate::harness::{Answer, NOON_MS, World, fresh_dir};
use reqwest::Method;
use sandbox::{Clock, Config, Error, ManualClock, Sandbox};
use serde_json::json;
use std::fs::{self, OpenOptions};
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use tokio::net::TcpListener;

/// Keys are made once; secrets are for their owner's eyes only.
#[tokio::test]
async fn keys_are_made_once_and_kept_close() {
    let world = World::start().await;
    let dir = &world.config.data;
    let before = fs::read_to_string(dir.join("merchants/1900000051/private_key.pem")).unwrap();
    let paths = sandbox::provision(dir).unwrap();
    let after = fs::read_to_string(paths.merchants[1].join("private_key.pem")).unwrap();
    assert_eq!(before, after);
    assert!(after.starts_with("-----BEGIN PRIVATE KEY-----"));
    let public = fs::read_to_string(paths.platform.join("public_key.pem")).unwrap();
    assert!(public.starts_with("-----BEGIN PUBLIC KEY-----"));
    let mode = |path: &str| fs::metadata(dir.join(path)).unwrap().permissions().mode() & 0o777;
    for secret in [
        "platform/private_key.pem",
        "merchants/1900000050/private_key.pem",
        "merchants/1900000050/apiv3_key",
        "sms/50.key",
        "journal.jsonl",
    ] {
        assert_eq!(mode(secret), 0o600, "{secret}");
    }
    let key = fs::read(dir.join("merchants/1900000050/apiv3_key")).unwrap();
    assert_eq!(key.len(), 32);
}

/// A third merchant that is put beside the others can trade.
#[tokio::test]
async fn further_merchants_can_be_added() {
    let dir = fresh_dir();
    let _paths = sandbox::provision(&dir).unwrap();
    let folder = dir.join("merchants/1900000077");
    sandbox::provision_merchant(&folder, "wx7700000000000000").unwrap();
    let mut config = Config::new(&dir);
    config.clock = Clock::Manual(ManualClock::at(NOON_MS));
    drop(Sandbox::open(config.clone()).unwrap());
    // A folder that was being made when the power went is no merchant.
    fs::create_dir(dir.join("merchants/1900000078.new0123")).unwrap();
    drop(Sandbox::open(config.clone()).unwrap());
    fs::write(folder.join("apiv3_key"), "too short").unwrap();
    let refused = Sandbox::open(config).map(drop).unwrap_err();
    assert!(matches!(refused, Error::Key { .. }), "{refused}");
    fs::remove_dir_all(dir).unwrap();
}

/// Orders, refunds, notifications and so the bills are the same after a restart; the plan of a
/// notification goes on where it was.
#[tokio::test]
async fn orders_refunds_and_notifications_survive() {
    let mut world = World::with(|config| config.bills_at_once = true).await;
    let code_url = world.place("ORDER0001", 10_000).await;
    let _unpaid = world.place("ORDER0002", 1).await;
    let paid = world.pay("ORDER0001").await;
    world.receiver.answer_next(Answer::Status(500), 1);
    assert_eq!(world.step().await, 1);
    let refund = json!({
        "transaction_id": paid["transaction_id"],
        "out_refund_no": "R1",
        "notify_url": world.receiver.url,
        "amount": { "refund": 6_000, "total": 10_000, "currency": "CNY" },
    });
    let refunds = "/v3/refund/domestic/refunds";
    let first = world
        .call(Method::POST, refunds, &refund.to_string())
        .await
        .json();
    let bill = "/v3/bill/tradebill?bill_date=2026-11-23";
    let hash = world.call(Method::GET, bill, "").await.json()["hash_value"].clone();
    let order = world.query("ORDER0001").await.json();
    let notices = world.notices("ORDER0001").await;
    assert_eq!(world.receiver.take().len(), 1);

    world.restart().await;
    assert_eq!(world.query("ORDER0001").await.json(), order);
    assert_eq!(
        world.query("ORDER0002").await.json()["trade_state"],
        "NOTPAY"
    );
    assert_eq!(world.notices("ORDER0001").await, notices);
    assert_eq!(
        world.call(Method::GET, bill, "").await.json()["hash_value"],
        hash
    );
    let reply = world
        .post("/sandbox/pay", json!({ "code_url": code_url }))
        .await;
    assert_eq!(reply.code(), "ORDERPAID");
    let again = world
        .call(Method::POST, refunds, &refund.to_string())
        .await
        .json();
    assert_eq!(again, first);
    world.clock.advance_ms(60_000);
    assert_eq!(
        world.step().await,
        3,
        "the refund, its notice, the payment's second attempt"
    );
    assert_eq!(world.receiver.take().len(), 2);
    let more = json!({
        "out_trade_no": "ORDER0001",
        "out_refund_no": "R2",
        "amount": { "refund": 4_001, "total": 10_000, "currency": "CNY" },
    });
    let reply = world.call(Method::POST, refunds, &more.to_string()).await;
    assert_eq!(
        reply.code(),
        "INVALID_REQUEST",
        "what was refunded before still counts"
    );
}

/// A last line that the power cut is dropped and written over; a broken line before the end is
/// not overlooked.
#[tokio::test]
async fn a_torn_last_line_is_dropped_and_no_other() {
    let mut world = World::start().await;
    let _code_url = world.place("ORDER0001", 1).await;
    world.close().await;
    let path = world.config.data.join("journal.jsonl");
    let whole = fs::read(&path).unwrap();
    let mut file = OpenOptions::new().append(true).open(&path).unwrap();
    file.write_all(&whole[..whole.len() / 2]).unwrap();
    world.sandbox = Some(Sandbox::open(world.config.clone()).unwrap());
    assert_eq!(fs::read(&path).unwrap(), whole);
    world.sandbox = None;

    let mut broken = b"{broken}\n".to_vec();
    broken.extend_from_slice(&whole);
    fs::write(&path, broken).unwrap();
    let refused = Sandbox::open(world.config.clone()).map(drop).unwrap_err();
    assert!(
        matches!(refused, Error::Journal { line: 1, .. }),
        "{refused}"
    );
}

/// Two sandboxes never write one journal.
#[tokio::test]
async fn a_data_folder_has_one_sandbox() {
    let world = World::start().await;
    let refused = Sandbox::open(world.config.clone()).map(drop).unwrap_err();
    assert!(matches!(refused, Error::InUse { .. }), "{refused}");
}

/// On the machine's clock, `run` delivers by itself and ends when told.
#[tokio::test]
async fn on_the_systems_clock_it_runs_by_itself() {
    let mut world = World::start().await;
    world.close().await;
    let mut config = world.config.clone();
    config.clock = Clock::System;
    config.time_scale = 1_000;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    world.base = format!("http://{}", listener.local_addr().unwrap());
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let shutdown = async move {
        let _either_way = stopped.await;
    };
    let server = tokio::spawn(sandbox::run(config, listener, shutdown));
    world.clock.advance_ms(system_ms() - world.clock.now_ms());
    let _code_url = world.place("ORDER0001", 1).await;
    world.receiver.answer_next(Answer::Status(500), 2);
    let _paid = world.pay("ORDER0001").await;
    // Three attempts, 15 ms apart; waits for the state, not for a time.
    while world.notices("ORDER0001").await[0]["state"] != "delivered" {
        tokio::task::yield_now().await;
    }
    assert_eq!(world.receiver.take().len(), 3);
    let reply = world
        .post("/sandbox/clock", json!({ "advance_ms": 1 }))
        .await;
    assert_eq!(reply.code(), "CLOCK_NOT_MANUAL");
    drop(stop);
    world.http = reqwest::Client::builder().no_proxy().build().unwrap();
    server.await.unwrap().unwrap();
}

fn system_ms() -> i64 {
    i64::try_from(std::time::UNIX_EPOCH.elapsed().unwrap().as_millis()).unwrap()
}
