//! The daily bills: format, figures, and when they can be had.

use crate::harness::{HOUR_MS, Reply, World};
use reqwest::Method;
use serde_json::json;
use sha1::{Digest, Sha1};

const DAY_MS: i64 = 24 * HOUR_MS;
const TRADE: &str = "/v3/bill/tradebill?bill_date=2026-11-23";

async fn ask(world: &World, target: &str) -> Reply {
    world.call(Method::GET, target, "").await
}

/// Asks for a bill and downloads it, checking its digest.
async fn fetch(world: &World, target: &str) -> String {
    let reply = ask(world, target).await;
    assert_eq!(reply.status, 200, "{}", reply.text);
    let told = reply.json();
    let url = told["download_url"].as_str().unwrap();
    let target = url.strip_prefix(&world.base).unwrap();
    let header = world
        .merchant
        .authorize("GET", target, "", world.now_seconds());
    let file = world.send(Method::GET, target, "", &header).await;
    assert_eq!(file.status, 200);
    assert!(
        file.header("wechatpay-signature").is_none(),
        "the file itself is not signed"
    );
    let hash = Sha1::digest(file.text.as_bytes());
    let hash: String = hash.iter().map(|byte| format!("{byte:02x}")).collect();
    assert_eq!(
        (told["hash_type"].as_str(), told["hash_value"].as_str()),
        (Some("SHA1"), Some(&*hash))
    );
    file.text
}

/// Two payments and a refund on one day, a refund on the next.
async fn busy_world() -> World {
    let world = World::start().await;
    for (number, total) in [("ORDER0001", 20_000), ("ORDER0002", 1)] {
        let _code_url = world.place(number, total).await;
        let _paid = world.pay(number).await;
        world.clock.advance_ms(1_000);
    }
    let _code_url = world.place("NEVERPAID", 5).await;
    refund(&world, "R1", 505).await;
    world.clock.advance_ms(DAY_MS);
    refund(&world, "R2", 19_495).await;
    world.clock.advance_ms(2_000);
    assert!(world.step().await > 0);
    world
}

async fn refund(world: &World, number: &str, fen: i64) {
    let body = json!({
        "out_trade_no": "ORDER0001",
        "out_refund_no": number,
        "reason": "退票,`一\"",
        "amount": { "refund": fen, "total": 20_000, "currency": "CNY" },
    });
    let target = "/v3/refund/domestic/refunds";
    let reply = world.call(Method::POST, target, &body.to_string()).await;
    assert_eq!(reply.status, 200, "{}", reply.text);
}

fn cells(line: &str) -> Vec<&str> {
    line.split(',')
        .map(|cell| cell.strip_prefix('`').expect("a backtick"))
        .collect()
}

/// The trade bill has the provider's columns, a row per payment and per accepted refund, and a
/// summary that adds up. Asked for again, the bytes are the same.
#[tokio::test]
async fn the_trade_bill_adds_up() {
    let world = busy_world().await;
    let bill = fetch(&world, TRADE).await;
    let lines: Vec<&str> = bill.strip_suffix("\r\n").unwrap().split("\r\n").collect();
    assert_eq!(lines.len(), 6);
    let header: Vec<&str> = lines[0].split(',').collect();
    assert_eq!(header.len(), 27);
    let cell = |row: usize, column: &str| {
        let place = header.iter().position(|name| *name == column).unwrap();
        cells(lines[row])[place]
    };
    assert_eq!(cell(1, "交易时间"), "2026-11-23 12:00:00");
    assert_eq!(cell(1, "商户号"), "1900000050");
    assert_eq!(cell(1, "特约商户号"), "0");
    assert_eq!(cell(1, "商户订单号"), "ORDER0001");
    assert_eq!(cell(1, "交易状态"), "SUCCESS");
    assert_eq!(cell(1, "应结订单金额"), "200.00");
    assert_eq!(cell(2, "订单金额"), "0.01");
    assert_eq!(cell(3, "交易状态"), "REFUND");
    assert_eq!(cell(3, "商户退款单号"), "R1");
    assert_eq!(cell(3, "退款金额"), "5.05");
    assert_eq!(
        cell(3, "退款状态"),
        "PROCESSING",
        "as it was when the day ended"
    );
    assert_eq!(cell(3, "微信订单号"), cell(1, "微信订单号"));
    assert!(lines[4].starts_with("总交易单数,应结订单总金额,退款总金额"));
    assert_eq!(
        cells(lines[5]),
        ["3", "200.01", "5.05", "0.00", "0.00000", "200.01", "5.05"]
    );
    assert_eq!(fetch(&world, &format!("{TRADE}&bill_type=ALL")).await, bill);
    let paid = fetch(&world, &format!("{TRADE}&bill_type=SUCCESS")).await;
    assert_eq!(
        cells(paid.lines().last().unwrap()),
        ["2", "200.01", "0.00000", "200.01"]
    );
    let refunds = fetch(&world, &format!("{TRADE}&bill_type=REFUND")).await;
    assert_eq!(refunds.lines().count(), 4);
    assert!(
        refunds
            .lines()
            .next()
            .unwrap()
            .contains("退款申请时间,退款成功时间")
    );
}

/// The account's bill lists what came and went, with the balance carried over from earlier days.
#[tokio::test]
async fn the_fund_bill_carries_the_balance() {
    let world = busy_world().await;
    let bill = fetch(&world, "/v3/bill/fundflowbill?bill_date=2026-11-23").await;
    let lines: Vec<&str> = bill.lines().collect();
    assert_eq!(cells(lines[3])[5..8], ["支出", "5.05", "194.96"]);
    assert_eq!(cells(lines[3])[9..], ["退票  一\"", "R1"]);
    assert_eq!(cells(lines[5]), ["3", "2", "200.01", "1", "5.05"]);
    world.clock.advance_ms(DAY_MS);
    let bill = fetch(
        &world,
        "/v3/bill/fundflowbill?bill_date=2026-11-24&account_type=BASIC",
    )
    .await;
    let lines: Vec<&str> = bill.lines().collect();
    assert_eq!(lines[0].split(',').count(), 11);
    assert_eq!(cells(lines[1])[5..8], ["支出", "194.95", "0.01"]);
    assert_eq!(cells(lines[3]), ["1", "0", "0.00", "1", "194.95"]);
}

/// A day's bill is there from 10:00 of the next day, for three months, if anything happened.
#[tokio::test]
async fn bills_are_there_in_their_time() {
    let world = World::start().await;
    let _code_url = world.place("ORDER0001", 1).await;
    let _paid = world.pay("ORDER0001").await;
    let code = |target: &'static str| {
        let world = &world;
        async move { ask(world, target).await.code() }
    };
    for bad in [
        TRADE,
        "/v3/bill/tradebill",
        "/v3/bill/tradebill?bill_date=2026-11-24",
        "/v3/bill/tradebill?bill_date=2026-1-2",
        "/v3/bill/tradebill?bill_date=20261122",
        "/v3/bill/tradebill?bill_date=2026-02-30",
        "/v3/bill/tradebill?bill_date=2026-11-22&bill_type=EVERYTHING",
        "/v3/bill/tradebill?bill_date=2026-11-22&tar_type=GZIP",
        "/v3/bill/fundflowbill?bill_date=2026-11-22&account_type=FEES",
    ] {
        assert_eq!(code(bad).await, "PARAM_ERROR", "{bad}");
    }
    assert_eq!(
        code("/v3/bill/tradebill?bill_date=2026-11-22").await,
        "NO_STATEMENT_EXIST"
    );
    world.clock.advance_ms(22 * HOUR_MS - 1);
    assert_eq!(code(TRADE).await, "STATEMENT_CREATING");
    world.clock.advance_ms(1);
    assert_eq!(ask(&world, TRADE).await.status, 200);
    let other = world.call_as(&world.other, Method::GET, TRADE, "").await;
    assert_eq!(other.code(), "NO_STATEMENT_EXIST");
    world.clock.advance_ms(92 * DAY_MS);
    assert_eq!(code(TRADE).await, "PARAM_ERROR");
}

/// A download address works for five minutes, and for its merchant only.
#[tokio::test]
async fn download_addresses_are_the_merchants_and_short_lived() {
    let world = World::with(|config| config.bills_at_once = true).await;
    let _code_url = world.place("ORDER0001", 1).await;
    let _paid = world.pay("ORDER0001").await;
    let told = ask(&world, TRADE).await.json();
    let url = told["download_url"].as_str().unwrap().to_owned();
    let target = url.strip_prefix(&world.base).unwrap();
    let reply = world.call_as(&world.other, Method::GET, target, "").await;
    assert_eq!(
        (reply.status, reply.code().as_str()),
        (404, "RESOURCE_NOT_EXISTS")
    );
    assert_eq!(world.get(target).await.status, 400, "unsigned");
    let header = world
        .merchant
        .authorize("GET", target, "", world.now_seconds());
    assert_eq!(
        world.send(Method::GET, target, "", &header).await.status,
        200
    );
    world.clock.advance_ms(5 * 60_000);
    assert_eq!(ask(&world, target).await.status, 404);
}
