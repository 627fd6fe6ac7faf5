//! What people use: the SMS inbox and the page.

use crate::harness::{Reply, World};
use serde_json::{Value, json};
use std::fs;

async fn send(world: &World, key: &str, body: &Value) -> Reply {
    let request = world
        .http
        .post(format!("{}/sms/send", world.base))
        .json(body);
    let answer = request
        .header("authorization", format!("Bearer {key}"))
        .send()
        .await
        .unwrap();
    let (status, headers) = (answer.status().as_u16(), answer.headers().clone());
    Reply {
        status,
        headers,
        text: answer.text().await.unwrap(),
    }
}

fn key(world: &World, union: u8) -> String {
    fs::read_to_string(world.config.data.join(format!("sms/{union}.key"))).unwrap()
}

fn code(request_id: &str, digits: &str) -> Value {
    json!({
        "phone": "13800138000",
        "template": "login_code",
        "params": { "code": digits, "minutes": "5" },
        "request_id": request_id,
    })
}

/// A code arrives once per request id, in both languages, on its phone only, latest first.
#[tokio::test]
async fn codes_arrive_once_per_request() {
    let world = World::start().await;
    let key50 = key(&world, 50);
    let first = send(&world, &key50, &code("A", "111111")).await;
    assert_eq!(first.status, 200, "{}", first.text);
    assert_eq!(
        send(&world, &key50, &code("A", "111111")).await.text,
        first.text
    );
    let reused = send(&world, &key50, &code("A", "222222")).await;
    assert_eq!(
        (reused.status, reused.code().as_str()),
        (409, "REQUEST_ID_REUSED")
    );
    assert_eq!(send(&world, &key50, &code("B", "333333")).await.status, 200);
    // Accounts do not share request ids.
    assert_eq!(
        send(&world, &key(&world, 51), &code("A", "444444"))
            .await
            .status,
        200
    );
    let mut elsewhere = code("C", "555555");
    elsewhere["phone"] = json!("+8613900139000");
    assert_eq!(send(&world, &key50, &elsewhere).await.status, 200);

    let inbox = world.get("/sms/inbox?phone=13800138000").await.json();
    let codes: Vec<&Value> = inbox["messages"]
        .as_array()
        .unwrap()
        .iter()
        .map(|message| &message["params"]["code"])
        .collect();
    assert_eq!(codes, ["444444", "333333", "111111"]);
    let text = |field: &str| inbox["messages"][1][field].as_str().unwrap().to_owned();
    assert!(text("text_zh").contains("验证码是333333，5分钟内有效"));
    assert!(text("text_en").contains("login code is 333333, valid for 5 minutes"));
    let limited = world
        .get("/sms/inbox?phone=13800138000&limit=1")
        .await
        .json();
    assert_eq!(limited["messages"].as_array().unwrap().len(), 1);
}

/// What the operator does not accept is refused and does not arrive.
#[tokio::test]
async fn bad_messages_are_refused() {
    let world = World::start().await;
    let key50 = key(&world, 50);
    let reply = send(&world, "wrong", &code("A", "1")).await;
    assert_eq!((reply.status, reply.code().as_str()), (401, "UNAUTHORIZED"));
    let change = |field: &str, value: Value| {
        let mut body = code("A", "1");
        body[field] = value;
        body
    };
    for (body, expected) in [
        (change("phone", json!("1380013800x")), "PARAM_ERROR"),
        (change("phone", json!("")), "PARAM_ERROR"),
        (
            change("phone", json!("１３８００１３８０００")),
            "PARAM_ERROR",
        ),
        (change("request_id", json!("")), "PARAM_ERROR"),
        (change("request_id", json!("x".repeat(65))), "PARAM_ERROR"),
        (change("template", json!("free_text")), "TEMPLATE_UNKNOWN"),
        (change("params", json!({ "code": "1" })), "PARAM_ERROR"),
        (
            change("params", json!({ "code": "1", "minutes": "5", "x": "y" })),
            "PARAM_ERROR",
        ),
        (
            change("params", json!({ "code": "{minutes}", "minutes": "5" })),
            "PARAM_ERROR",
        ),
        (
            change("params", json!({ "code": "1\n2", "minutes": "5" })),
            "PARAM_ERROR",
        ),
        (
            change("params", json!({ "code": 1, "minutes": "5" })),
            "PARAM_ERROR",
        ),
        (change("unknown", json!(1)), "PARAM_ERROR"),
    ] {
        let reply = send(&world, &key50, &body).await;
        assert_eq!(
            (reply.status, reply.code().as_str()),
            (400, expected),
            "{body}"
        );
    }
    let told = json!({ "refuse_next": 1 });
    assert_eq!(world.post("/sandbox/sms", told).await.status, 204);
    assert_eq!(send(&world, &key50, &code("A", "1")).await.status, 503);
    assert!(
        world.get("/sms/inbox").await.json()["messages"]
            .as_array()
            .unwrap()
            .is_empty()
    );
    assert_eq!(send(&world, &key50, &code("A", "1")).await.status, 200);
}

/// Old messages make room for new ones.
#[tokio::test]
async fn the_inbox_keeps_a_thousand_messages() {
    let world = World::start().await;
    let key50 = key(&world, 50);
    for number in 0..1_001 {
        let body = code(&number.to_string(), &number.to_string());
        assert_eq!(send(&world, &key50, &body).await.status, 200);
    }
    let inbox = world.get("/sms/inbox?limit=5000").await.json();
    let messages = inbox["messages"].as_array().unwrap();
    assert_eq!(messages.len(), 1_000);
    assert_eq!(messages[999]["params"]["code"], "1");
}

/// The page shows orders and codes, escapes what merchants wrote, and its button pays; a form
/// without the page's token does not.
#[tokio::test]
async fn the_page_shows_and_pays() {
    let world = World::start().await;
    let mut body = world.order("ORDER0001", 20_000);
    body["description"] = json!("<script>alert(\"1\")</script>");
    let target = "/v3/pay/transactions/native";
    let reply = world
        .call(reqwest::Method::POST, target, &body.to_string())
        .await;
    assert_eq!(reply.status, 200);
    assert_eq!(
        send(&world, &key(&world, 50), &code("A", "987654"))
            .await
            .status,
        200
    );
    let page = world.get("/").await;
    assert_eq!(
        page.header("content-type"),
        Some("text/html; charset=utf-8")
    );
    assert!(
        page.header("content-security-policy")
            .unwrap()
            .contains("default-src 'none'")
    );
    assert!(page.text.contains("&lt;script&gt;") && !page.text.contains("<script"));
    assert!(page.text.contains("200.00") && page.text.contains("987654"));
    assert!(page.text.contains("待支付 unpaid"));

    let field = |name: &str| {
        let start = format!("name=\"{name}\" value=\"");
        let from = page.text.find(&start).unwrap() + start.len();
        page.text[from..]
            .split('"')
            .next()
            .unwrap()
            .replace("&amp;", "&")
    };
    let form = |token: &str| {
        let request = world.http.post(format!("{}/sandbox/page/pay", world.base));
        let kind = "application/x-www-form-urlencoded";
        let handle = field("handle")
            .replace(':', "%3A")
            .replace('/', "%2F")
            .replace('=', "%3D");
        let handle = handle.replace('?', "%3F");
        request
            .header("content-type", kind)
            .body(format!("token={token}&handle={handle}"))
            .send()
    };
    assert_eq!(form("guessed").await.unwrap().status().as_u16(), 403);
    assert_eq!(
        world.query("ORDER0001").await.json()["trade_state"],
        "NOTPAY"
    );
    let answer = form(&field("token")).await.unwrap();
    assert_eq!(answer.status().as_u16(), 200, "redirected to the page");
    assert!(answer.text().await.unwrap().contains("已支付 paid"));
    assert_eq!(
        world.query("ORDER0001").await.json()["trade_state"],
        "SUCCESS"
    );
}
