//! The service that verifies persons as a client of its own meets it.

use crate::harness::World;
use ring::{digest, hmac};
use serde_json::{Value, json};
use std::fs;

/// What a request says of itself, beside its body.
struct Signing<'a> {
    action: &'a str,
    at: i64,
    secret: &'a str,
}

fn account(world: &World) -> (String, String) {
    let folder = world.config.data.join("verification");
    let read = |name| fs::read_to_string(folder.join(name)).unwrap();
    (read("secret_id"), read("secret_key"))
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

async fn ask(world: &World, signing: &Signing<'_>, body: &Value) -> Value {
    let (id, _) = account(world);
    let body = body.to_string();
    let sha256 = |text: &str| hex(digest::digest(&digest::SHA256, text.as_bytes()).as_ref());
    let mac = |key: &[u8], text: &str| {
        let key = hmac::Key::new(hmac::HMAC_SHA256, key);
        hmac::sign(&key, text.as_bytes()).as_ref().to_vec()
    };
    let host = world.base.trim_start_matches("http://");
    let kind = "application/json";
    let date = chrono::DateTime::from_timestamp(signing.at, 0).unwrap();
    let scope = format!("{}/faceid/tc3_request", date.format("%Y-%m-%d"));
    let request = format!(
        "POST\n/\n\ncontent-type:{kind}\nhost:{host}\n\ncontent-type;host\n{}",
        sha256(&body)
    );
    let signed = format!(
        "TC3-HMAC-SHA256\n{}\n{scope}\n{}",
        signing.at,
        sha256(&request)
    );
    let key = mac(
        format!("TC3{}", signing.secret).as_bytes(),
        &date.format("%Y-%m-%d").to_string(),
    );
    let key = mac(&mac(&key, "faceid"), "tc3_request");
    let authorization = format!(
        "TC3-HMAC-SHA256 Credential={id}/{scope}, SignedHeaders=content-type;host, Signature={}",
        hex(&mac(&key, &signed))
    );
    let answer = reqwest::Client::builder()
        .no_proxy()
        .build()
        .unwrap()
        .post(format!("{}/", world.base))
        .header("content-type", kind)
        .header("authorization", authorization)
        .header("x-tc-action", signing.action)
        .header("x-tc-version", "2018-03-01")
        .header("x-tc-timestamp", signing.at.to_string())
        .body(body)
        .send()
        .await
        .unwrap();
    assert_eq!(answer.status().as_u16(), 200, "errors come with 200");
    answer.json::<Value>().await.unwrap()["Response"].clone()
}

async fn known(world: &World, person: Value) -> Value {
    let reply = world.post("/sandbox/people", person).await;
    assert_eq!(reply.status, 200, "{}", reply.text);
    serde_json::from_str(&reply.text).unwrap()
}

/// Each answer as it is documented; a token of 网号 is good once.
#[tokio::test]
async fn a_name_and_a_document_are_compared() {
    let world = World::start().await;
    let (_, secret) = account(&world);
    let at = world.clock.now_ms() / 1_000;
    let number = "11010519491231002X";
    known(
        &world,
        json!({ "document_type": "RESIDENT_ID", "number": number, "name": "张三" }),
    )
    .await;
    let signing = |action| Signing {
        action,
        at,
        secret: &secret,
    };
    for (number, name, result) in [
        (number, "张三", "0"),
        (number, "李四", "-1"),
        ("123", "张三", "-2"),
        (number, "", "-3"),
        ("360426199101010071", "张三", "-5"),
    ] {
        let body = json!({ "IdCard": number, "Name": name });
        let said = ask(&world, &signing("IdCardVerification"), &body).await;
        assert_eq!(said["Result"], result, "{said}");
    }
    let passport = json!({ "document_type": "PASSPORT", "number": "E12345678", "name": "张三" });
    known(&world, passport).await;
    let body = json!({
        "DocumentType": "PASSPORT", "DocumentNumber": "E12345678", "Name": "张三",
    });
    let said = ask(&world, &signing("DocumentVerification"), &body).await;
    assert_eq!(said["Result"], "0", "{said}");
    let token = known(&world, json!({ "name": "张三" })).await["token"].clone();
    let body = json!({ "Token": token, "Name": "张三" });
    let said = ask(&world, &signing("NetworkIdVerification"), &body).await;
    assert_eq!(said["Result"], "0", "{said}");
    assert!(said["NetworkId"].is_string());
    let again = ask(&world, &signing("NetworkIdVerification"), &body).await;
    assert_eq!(again["Result"], "-5", "good once");
}

/// A request that was not signed exactly so, by this account and now, is refused; so is what it was
/// told to refuse.
#[tokio::test]
async fn only_signed_questions_are_answered() {
    let world = World::start().await;
    let (_, secret) = account(&world);
    let at = world.clock.now_ms() / 1_000;
    let body = json!({ "IdCard": "11010519491231002X", "Name": "张三" });
    let action = "IdCardVerification";
    for (signing, code) in [
        (
            Signing {
                action,
                at,
                secret: "another",
            },
            "AuthFailure.SignatureFailure",
        ),
        (
            Signing {
                action,
                at: at - 301,
                secret: &secret,
            },
            "AuthFailure.SignatureExpire",
        ),
        (
            Signing {
                action: "DetectAuth",
                at,
                secret: &secret,
            },
            "InvalidAction",
        ),
    ] {
        let said = ask(&world, &signing, &body).await;
        assert_eq!(said["Error"]["Code"], code, "{said}");
    }
    let fault = json!({ "next": 1, "code": "InternalError" });
    let reply = world.post("/sandbox/people/faults", fault).await;
    assert_eq!(reply.status, 204);
    let signing = Signing {
        action,
        at,
        secret: &secret,
    };
    let said = ask(&world, &signing, &body).await;
    assert_eq!(said["Error"]["Code"], "InternalError");
    assert_eq!(ask(&world, &signing, &body).await["Result"], "-5");
}
