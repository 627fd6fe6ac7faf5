//! Who may speak to the provider, and what its answers carry.

use crate::harness::{World, nonce};
use reqwest::Method;
use serde_json::json;

const NATIVE: &str = "/v3/pay/transactions/native";

/// Every part of a request is under the signature: whatever differs from what was signed, or is
/// too old, or was there before, is refused with SIGN_ERROR and changes nothing.
#[tokio::test]
async fn requests_that_are_not_exactly_what_was_signed_are_refused() {
    let world = World::start().await;
    let merchant = &world.merchant;
    let body = world.order("ORDER0001", 20_000).to_string();
    let dearer = world.order("ORDER0001", 30_000).to_string();
    let now = world.now_seconds();
    let good = || merchant.authorize("POST", NATIVE, &body, now);
    let bad = [
        String::new(),
        "Bearer abc".to_owned(),
        merchant.authorize("GET", NATIVE, &body, now),
        merchant.authorize("POST", "/v3/pay/transactions/jsapi", &body, now),
        merchant.authorize("POST", &format!("{NATIVE}?a=1"), &body, now),
        merchant.authorize("POST", NATIVE, &dearer, now),
        merchant.authorize("POST", NATIVE, &format!("{body}\n"), now),
        merchant.authorize("POST", NATIVE, &body, now - 300),
        merchant.authorize("POST", NATIVE, &body, now + 300),
        world
            .other
            .authorize("POST", NATIVE, &body, now)
            .replace("1900000051", "1900000050"),
        good().replace(&merchant.serial, &world.other.serial),
        good().replace("1900000050", "1900000099"),
        good().replace("nonce_str=\"", "nonce_str=\"x"),
        merchant.header(&nonce(), "AAAA", now),
        merchant.header(&nonce(), "no base64", now),
        merchant.header(
            &nonce(),
            &format!("WECHATPAY/SIGNTEST/{}", merchant.sign("x")),
            now,
        ),
    ];
    for header in bad {
        let reply = world.send(Method::POST, NATIVE, &body, &header).await;
        assert_eq!(
            (reply.status, reply.code().as_str()),
            (401, "SIGN_ERROR"),
            "{header}"
        );
        assert!(reply.header("wechatpay-signature").is_none());
    }
    assert_eq!(world.query("ORDER0001").await.code(), "ORDER_NOT_EXIST");
    let header = merchant.authorize("POST", NATIVE, &body, now - 299);
    let first = world.send(Method::POST, NATIVE, &body, &header).await;
    assert_eq!(first.status, 200, "{}", first.text);
    let replay = world.send(Method::POST, NATIVE, &body, &header).await;
    assert_eq!((replay.status, replay.code().as_str()), (401, "SIGN_ERROR"));
}

/// The provider refuses requests without User-Agent or Accept before it looks at the signature.
#[tokio::test]
async fn requests_without_accept_or_user_agent_are_refused() {
    let world = World::start().await;
    let target = "/v3/refund/domestic/refunds/R1";
    let header = world
        .merchant
        .authorize("GET", target, "", world.now_seconds());
    let request = world.http.get(format!("{}{target}", world.base));
    let reply = request
        .header("authorization", header)
        .send()
        .await
        .unwrap();
    assert_eq!(reply.status().as_u16(), 400);
    assert!(reply.text().await.unwrap().contains("PARAM_ERROR"));
}

/// Refusals and empty answers are signed like all others: `call` verifies each of them.
#[tokio::test]
async fn refusals_and_empty_answers_are_signed() {
    let world = World::start().await;
    let _code_url = world.place("ORDER0001", 1).await;
    let target = "/v3/pay/transactions/out-trade-no/ORDER0001/close";
    let body = json!({ "mchid": world.merchant.mchid }).to_string();
    let closed = world.call(Method::POST, target, &body).await;
    assert_eq!((closed.status, closed.text.as_str()), (204, ""));
    assert_eq!(
        world.call(Method::POST, NATIVE, "{}").await.code(),
        "PARAM_ERROR"
    );
    assert_eq!(world.query("NOBODYS1").await.status, 404);
}

/// A body beyond the limit is refused before it is read whole; an unknown path is a plain 404.
#[tokio::test]
async fn huge_bodies_and_unknown_paths_are_refused() {
    let world = World::start().await;
    let huge = "x".repeat(64 * 1024 + 1);
    let reply = world.send(Method::POST, NATIVE, &huge, "none").await;
    assert_eq!((reply.status, reply.code().as_str()), (413, "PARAM_ERROR"));
    let reply = world.get("/v3/no/such/thing").await;
    assert_eq!(
        (reply.status, reply.code().as_str()),
        (404, "RESOURCE_NOT_EXISTS")
    );
}

/// Told to, the provider's answers are wrong in one way each, for exactly the number of answers
/// asked for, and a lost answer has still done its act.
#[tokio::test]
async fn answers_can_be_spoilt_or_lost() {
    let world = World::start().await;
    let target = "/v3/refund/domestic/refunds/R1";
    for fault in [
        "bad_signature",
        "other_serial",
        "stale_timestamp",
        "signtest",
    ] {
        let told = json!({ "next": 1, "path_prefix": "/v3/refund", "fault": fault });
        assert_eq!(world.post("/sandbox/answers", told).await.status, 204);
        let _other_paths_are_spared = world.query("ORDER0001").await;
        let header = world
            .merchant
            .authorize("GET", target, "", world.now_seconds());
        let reply = world.send(Method::GET, target, "", &header).await;
        let genuine = world.merchant.is_genuine(&reply.headers, &reply.text);
        let stamp: i64 = reply
            .header("wechatpay-timestamp")
            .unwrap()
            .parse()
            .unwrap();
        let stale = world.now_seconds() - stamp > 300;
        let signature = reply.header("wechatpay-signature").unwrap();
        let probe = signature.starts_with("WECHATPAY/SIGNTEST/");
        let seen = (genuine, stale, probe);
        let expected = match fault {
            "stale_timestamp" => (true, true, false),
            "signtest" => (false, false, true),
            _ => (false, false, false),
        };
        assert_eq!(seen, expected, "{fault}");
        assert_eq!(world.call(Method::GET, target, "").await.status, 404);
    }
    for (fault, status, code) in [
        ("system_error", 500, "SYSTEM_ERROR"),
        ("frequency_limited", 429, "FREQUENCY_LIMITED"),
        ("not_enough", 403, "NOT_ENOUGH"),
    ] {
        let told = json!({ "next": 1, "fault": fault });
        assert_eq!(world.post("/sandbox/answers", told).await.status, 204);
        let body = world.order("ORDER0002", 1).to_string();
        let reply = world.call(Method::POST, NATIVE, &body).await;
        assert_eq!((reply.status, reply.code().as_str()), (status, code));
        assert_eq!(world.query("ORDER0002").await.code(), "ORDER_NOT_EXIST");
    }
    let told = json!({ "next": 1, "fault": "lose" });
    assert_eq!(world.post("/sandbox/answers", told).await.status, 204);
    let body = world.order("ORDER0003", 1).to_string();
    let header = world
        .merchant
        .authorize("POST", NATIVE, &body, world.now_seconds());
    let request = world
        .http
        .post(format!("{}{NATIVE}", world.base))
        .body(body);
    let request = request
        .header("authorization", header)
        .header("accept", "*/*");
    let lost = match request.header("user-agent", "bashu-test").send().await {
        Ok(answer) => answer.bytes().await.is_err(),
        Err(_) => true,
    };
    assert!(lost);
    assert_eq!(
        world.query("ORDER0003").await.json()["trade_state"],
        "NOTPAY"
    );
}

/// Told to, answers name another currency, signed like any; what is still to come can be taken
/// back.
#[tokio::test]
async fn another_currency_is_answered_until_it_is_forgotten() {
    let world = World::start().await;
    let body = world.order("ORDER0004", 1).to_string();
    assert_eq!(world.call(Method::POST, NATIVE, &body).await.status, 200);
    let told = json!({ "next": 3, "fault": "foreign_currency" });
    assert_eq!(world.post("/sandbox/answers", told).await.status, 204);
    let said = world.query("ORDER0004").await;
    assert!(world.merchant.is_genuine(&said.headers, &said.text));
    assert_eq!(said.json()["amount"]["currency"], "USD");
    let forgotten = world.post("/sandbox/answers/forget", json!({})).await;
    assert_eq!(forgotten.json()["left"], 2);
    assert_eq!(
        world.query("ORDER0004").await.json()["amount"]["currency"],
        "CNY"
    );
}
