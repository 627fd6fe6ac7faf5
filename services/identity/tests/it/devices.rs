//! One's own devices: what a person reads of them, and how she signs them out.

use identity::commands::logins::Session;
use kit::access::Caller;
use kit::graphql::Language;
use serde_json::{Value, json};

use crate::logins::caller;
use crate::world::{OPERATOR_PHONE, World, codes, number_of_phone};

const LOGINS: &str = "{ me { logins(first: 10) { nodes { device network isCurrent withdrawnAt
    steppedUpAt } } } }";

/// Signs the operator in by the graph, as a device that says what it is and comes from an address.
pub(crate) async fn sign_in(world: &World, device: Value, address: &str) -> Value {
    sign_in_by(world, OPERATOR_PHONE, (device, address)).await
}

/// Signs a phone in by the graph, with its device and where it is.
pub(crate) async fn sign_in_by(
    world: &World,
    phone: &str,
    (device, address): (Value, &str),
) -> Value {
    let anonymous = Caller {
        client: address.to_owned(),
        ..Caller::anonymous(Language::En)
    };
    world.advance(61);
    let asked = json!({ "phone": phone });
    world
        .mutate(&anonymous, "requestLoginCode", "", asked)
        .await;
    let code = world.code(phone).await;
    let input = json!({ "phone": phone, "code": code, "device": device });
    world
        .mutate(
            &anonymous,
            "login",
            "tokens { loginId steppedUpUntil }",
            input,
        )
        .await
}

async fn logins(world: &World, caller: &Caller) -> Vec<Value> {
    let me = world.run(caller, LOGINS, json!({})).await;
    me["logins"]["nodes"].as_array().unwrap().clone()
}

/// A person tells her devices apart by what they call themselves and by half of an address; the
/// rest of the address is kept nowhere.
/// ASVS V7.5.2.
#[tokio::test]
async fn a_person_tells_her_devices_apart() {
    let world = World::new().await;
    for (device, address) in [
        (json!("华为 Mate 70"), "198.51.100.7"),
        (json!(null), "2001:db8:1:2:3:4:5:6"),
        (json!("  办公室电脑 "), ""),
    ] {
        let answer = sign_in(&world, device, address).await;
        assert_eq!(codes(&answer), [""; 0]);
        assert_eq!(answer["tokens"]["steppedUpUntil"], Value::Null);
    }
    world.advance(61);
    let session = world.sign_in(OPERATOR_PHONE).await;
    let seen = logins(&world, &caller(&session)).await;
    let told: Vec<_> = seen
        .iter()
        .map(|login| (&login["device"], &login["network"], &login["isCurrent"]))
        .collect();
    let (none, no, yes) = (Value::Null, json!(false), json!(true));
    assert_eq!(
        told,
        [
            (&none, &none, &yes),
            (&json!("办公室电脑"), &none, &no),
            (&none, &json!("2001:db8:*"), &no),
            (&json!("华为 Mate 70"), &json!("198.51.*.*"), &no),
        ]
    );
    // Sealed, and only half of it.
    for canary in ["华为", "198.51"] {
        let sql = format!(
            "SELECT count(*) AS count FROM login
             WHERE login::text LIKE '%{canary}%' OR login::text LIKE '%{}%'",
            hex::encode(canary)
        );
        assert_eq!(world.count(&sql).await, 0, "{canary}");
    }
    let sealed = "SELECT count(*) AS count FROM login WHERE device IS NOT NULL";
    assert_eq!(world.count(sealed).await, 2);
}

/// A device's name that cannot be read is refused, and the code stays good.
#[tokio::test]
async fn a_device_has_a_name_that_can_be_read() {
    let world = World::new().await;
    for bad in ["", "a\u{202e}b", &"机".repeat(41)] {
        let answer = sign_in(&world, json!(bad), "").await;
        assert_eq!(codes(&answer), ["DEVICE_INVALID"], "{bad:?}");
        assert_eq!(answer["userErrors"][0]["field"], json!(["device"]));
    }
    let input = json!({ "phone": OPERATOR_PHONE, "code": "000000", "device": "" });
    let told = world
        .answered(&Caller::anonymous(Language::En), "login", &input)
        .await;
    assert_eq!(
        told,
        [
            "DEVICE_INVALID",
            "设备名称须为 1 至 40 个字。",
            "The device's name must have 1 to 40 characters.",
        ]
    );
    let code = world.code(OPERATOR_PHONE).await;
    let input = json!({ "phone": OPERATOR_PHONE, "code": code });
    let anonymous = Caller::anonymous(Language::En);
    let answer = world.mutate(&anonymous, "login", "tokens { loginId }", input);
    assert_eq!(codes(&answer.await), [""; 0]);
}

async fn out_everywhere(world: &World, session: &Session, keep: Option<bool>) -> Value {
    let input = match keep {
        Some(keep) => json!({ "keepThisDevice": keep }),
        None => json!({}),
    };
    let caller = caller(session);
    let answer = world.mutate(&caller, "signOutEverywhere", "ended", input);
    answer.await["ended"].clone()
}

/// Whether the tokens of this session count no more.
async fn is_out(world: &World, session: &Session) -> bool {
    let why = world
        .barred(&caller(session), "{ me { id } }", json!({}))
        .await;
    why == Some("UNAUTHENTICATED")
}

/// All one's devices end, or all but the one that asks; everybody is told of each, and nobody
/// else's ends.
/// ASVS V7.4.3, V10.4.9.
#[tokio::test]
async fn a_person_signs_out_everywhere() {
    let world = World::new().await;
    let union = world.organisation("GRASSROOTS", "基层工会").await;
    let _ = world.person(&union, 1).await;
    let other = world.sign_in(&number_of_phone(1)).await;
    let mut own = Vec::new();
    for _ in 0..3 {
        world.advance(61);
        own.push(world.sign_in(OPERATOR_PHONE).await);
    }
    assert_eq!(out_everywhere(&world, &own[0], Some(true)).await, 2);
    assert_eq!(out_everywhere(&world, &own[0], Some(true)).await, 0);
    assert!(!is_out(&world, &own[0]).await);
    for session in &own[1..] {
        assert!(is_out(&world, session).await);
    }
    assert_eq!(out_everywhere(&world, &own[0], None).await, 1);
    assert!(is_out(&world, &own[0]).await);
    assert!(!is_out(&world, &other).await);
    let told = world.events_of("LoginWithdrawn").await;
    let mut told: Vec<Vec<u8>> = told.into_iter().map(|event| event.key).collect();
    let mut ended: Vec<Vec<u8>> = own
        .iter()
        .map(|session| session.login.0.as_bytes().to_vec())
        .collect();
    told.sort_unstable();
    ended.sort_unstable();
    assert_eq!(told, ended);
    let why = "SELECT count(*) AS count FROM login WHERE reason = 'everywhere'";
    assert_eq!(world.count(why).await, 3);
    let methods = "SELECT count(*) AS count FROM login_method";
    assert_eq!(
        world.count(methods).await,
        2,
        "nobody's way in was taken away"
    );
    let audited = "SELECT count(*) AS count FROM audit WHERE act = 'sign_out_everywhere'";
    assert_eq!(world.count(audited).await, 3);
    assert_eq!(world.broken("identity.one_refresh_token").await, 0);
}
