//! The login of mini-programs as a client of its own meets it.

use crate::harness::World;
use serde_json::{Value, json};
use std::fs;

fn program(world: &World, union: u8) -> (String, String) {
    let folder = world.config.data.join(format!("mini_programs/{union}"));
    let read = |name| fs::read_to_string(folder.join(name)).unwrap();
    (read("appid"), read("secret"))
}

async fn code(world: &World, appid: &str, user: &str) -> String {
    let told = json!({ "appid": appid, "user": user });
    let reply = world.post("/sandbox/wechat/code", told).await;
    assert_eq!(reply.status, 200, "{}", reply.text);
    let answer: Value = serde_json::from_str(&reply.text).unwrap();
    answer["code"].as_str().unwrap().to_owned()
}

async fn trade(world: &World, appid: &str, secret: &str, code: &str) -> Value {
    let target = format!(
        "/sns/jscode2session?appid={appid}&secret={secret}&js_code={code}\
         &grant_type=authorization_code"
    );
    let reply = world.get(&target).await;
    assert_eq!(reply.status, 200);
    assert_eq!(reply.headers["content-type"], "text/plain");
    serde_json::from_str(&reply.text).unwrap()
}

/// A code names its user once, the same one each time, and another one in another program.
#[tokio::test]
async fn a_code_names_its_user_once() {
    let world = World::start().await;
    let (appid, secret) = program(&world, 50);
    let (other, other_secret) = program(&world, 51);
    let first = code(&world, &appid, "one").await;
    let named = trade(&world, &appid, &secret, &first).await;
    let openid = named["openid"].as_str().unwrap();
    assert_eq!((openid.len(), &openid[..1]), (28, "o"));
    assert!(named["session_key"].is_string() && named.get("errcode").is_none());
    let again = trade(&world, &appid, &secret, &first).await;
    assert_eq!(again["errcode"], 40_163);
    let next = code(&world, &appid, "one").await;
    assert_eq!(
        trade(&world, &appid, &secret, &next).await["openid"],
        openid
    );
    for (program, key, user) in [(&appid, &secret, "two"), (&other, &other_secret, "one")] {
        let code = code(&world, program, user).await;
        assert_ne!(trade(&world, program, key, &code).await["openid"], openid);
    }
}

/// Each mistake has its own number, and none of them uses a code up but the one told to.
#[tokio::test]
async fn each_mistake_has_its_number() {
    let world = World::start().await;
    let (appid, secret) = program(&world, 50);
    let (other, other_secret) = program(&world, 51);
    let good = code(&world, &appid, "one").await;
    let (id, key, code) = (appid.as_str(), secret.as_str(), good.as_str());
    for (appid, secret, code, errcode) in [
        ("wx0", key, code, 40_013),
        (id, "wrong", code, 40_125),
        (id, key, "none", 40_029),
        (other.as_str(), other_secret.as_str(), code, 40_029),
    ] {
        let answer = trade(&world, appid, secret, code).await;
        assert_eq!(answer["errcode"], errcode, "{answer}");
        assert!(answer.get("openid").is_none());
    }
    let target = format!("/sns/jscode2session?appid={appid}&secret={secret}&js_code={good}");
    let answer: Value = serde_json::from_str(&world.get(&target).await.text).unwrap();
    assert_eq!(answer["errcode"], 40_002);
    world.clock.advance_ms(5 * 60_000);
    assert_eq!(
        trade(&world, &appid, &secret, &good).await["errcode"],
        40_029,
        "after five minutes"
    );
    let told = json!({ "appid": appid, "user": "one", "errcode": 40_226 });
    let reply = world.post("/sandbox/wechat/code", told).await;
    let barred: Value = serde_json::from_str(&reply.text).unwrap();
    let barred = barred["code"].as_str().unwrap();
    assert_eq!(
        trade(&world, &appid, &secret, barred).await["errcode"],
        40_226
    );
    let nobody = json!({ "appid": "wx0", "user": "one" });
    assert_eq!(world.post("/sandbox/wechat/code", nobody).await.status, 404);
}
