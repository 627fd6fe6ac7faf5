//! Paying inside WeChat: by a token that identity sealed to billing, once, for its own member; and
//! of who she is to WeChat nothing stays.

use std::io::Write;
use std::sync::{Arc, Mutex};

use aws_lc_rs::signature::{RSA_PKCS1_2048_8192_SHA256, UnparsedPublicKey};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use chrono::TimeDelta;
use kit::access::{Caller, Who};
use kit::graphql::GlobalId;
use kit::sealed::{self, NewSealed, PrivateKey};
use kit::token::{AccessKey, SigningKey};
use kit::types::{MemberId, Union};
use sea_orm::FromQueryResult;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::books::{compared, next_morning};
use crate::world::{PAYER_KEY, World, caller, key, payer};

/// Who the payer is to the mini-program.
const OPENID: &str = "oUpF8uMuAJO_M2pxb1Q9zNjWeS6o";
const LIFE_SECONDS: i64 = 300;

/// Identity's hand: what seals and signs, with keys that billing believes.
pub(crate) struct Identity<'a> {
    world: &'a World,
    signing: SigningKey,
}

fn signing(seed: u8) -> (SigningKey, [u8; 32]) {
    let key = ed25519_dalek::SigningKey::from_bytes(&[seed; 32]);
    let public = key.verifying_key().to_bytes();
    (
        SigningKey::new("access-1".to_owned(), &key).unwrap(),
        public,
    )
}

fn member_of(caller: &Caller) -> MemberId {
    let Who::Member { member, .. } = caller.who else {
        panic!("nobody")
    };
    member
}

impl<'a> Identity<'a> {
    pub(crate) fn of(world: &'a World) -> Self {
        let (signing, public) = signing(5);
        let now = world.db.ctx.clock.now();
        world.billing.keys.access().replace([AccessKey {
            kid: "access-1".to_owned(),
            public,
            not_before: now - TimeDelta::days(1),
            not_after: now + TimeDelta::days(30),
        }]);
        Self { world, signing }
    }

    fn appid(&self) -> String {
        let program = self.world.billing.wechat.merchant().mini_program.as_ref();
        program.unwrap().appid.clone()
    }

    fn fresh<'t>(&self, who: &Caller, text: &'t str) -> NewSealed<'t> {
        NewSealed {
            union: Union::Chongqing,
            audience: "billing",
            member: member_of(who),
            id: key(),
            issued_at: self.world.db.ctx.clock.now(),
            life_seconds: LIFE_SECONDS,
            text,
        }
    }

    fn seal(&self, new: NewSealed<'_>) -> String {
        let to = PrivateKey::parse(&PAYER_KEY.into()).unwrap().public();
        sealed::seal(&self.world.db.ctx.ids, new, &to, &self.signing).unwrap()
    }

    /// What `issuePayerToken` gives this member.
    pub(crate) fn token(&self, who: &Caller) -> String {
        self.seal(self.fresh(who, &format!("{}\n{OPENID}", self.appid())))
    }
}

/// `payOrder` inside WeChat; its payload.
pub(crate) async fn pay(world: &World, who: &Caller, order: Uuid, token: &str, key: Uuid) -> Value {
    let answer = world
        .graph(
            who,
            "mutation ($input: PayOrderInput!) { payOrder(input: $input) {
               payment { id method state codeUrl amount { amountFen }
                 payCall { appId timeStamp nonceStr package signType paySign } }
               userErrors { code field message } } }",
            json!({ "input": {
                "orderId": GlobalId::of_uuid("Order", order).0,
                "method": "WECHAT_JSAPI", "payerToken": token, "idempotencyKey": key,
            }}),
        )
        .await;
    assert_eq!(answer.get("errors"), None, "{answer}");
    answer["data"]["payOrder"].clone()
}

fn prepay_id(payment: &Value) -> String {
    let package = payment["payCall"]["package"].as_str().unwrap();
    package.strip_prefix("prepay_id=").unwrap().to_owned()
}

/// The payer pays what her client called up.
async fn pays(world: &World, payment: &Value) {
    let told = json!({ "prepay_id": prepay_id(payment) });
    let (status, answer) = world.control("/sandbox/pay", told).await;
    assert_eq!(status, 200, "{answer}");
    assert_eq!(
        answer["payer"]["openid"], OPENID,
        "the provider was told who pays"
    );
    assert_eq!(answer["trade_type"], "JSAPI");
}

/// In which tables of the database something stands, in text or in bytes.
async fn tables_with(world: &World, what: &str) -> Vec<String> {
    #[derive(FromQueryResult)]
    struct Row {
        name: String,
    }
    let db = world.db.owner().await;
    let names = "SELECT format('%I', table_name) AS name FROM information_schema.tables
        WHERE table_schema = 'public' AND table_type = 'BASE TABLE' ORDER BY 1";
    let tables: Vec<Row> = db.all(names, []).await.unwrap();
    assert!(tables.len() > 20, "all tables are looked at");
    let mut found = Vec::new();
    for Row { name } in tables {
        let sql = format!(
            "SELECT '{name}' AS name FROM {name} t
             WHERE position($1 IN t::text) > 0 OR position($2 IN t::text) > 0 LIMIT 1"
        );
        let values = [what.into(), hex::encode(what).into()];
        let rows: Vec<Row> = db.all(&sql, values).await.unwrap();
        found.extend(rows.into_iter().map(|row| row.name));
    }
    found
}

/// The thin thread: sealed, opened, prepared, called up, paid, notified, refunded, compared with
/// the bill; and nowhere is it written who she is to WeChat.
#[tokio::test]
async fn an_order_is_paid_inside_wechat() {
    let log = Log::default();
    let writer = log.clone();
    let subscriber = tracing_subscriber::fmt()
        .with_max_level(tracing::Level::TRACE)
        .with_writer(move || writer.clone())
        .finish();
    let guard = tracing::subscriber::set_default(subscriber);
    let world = World::start().await;
    let identity = Identity::of(&world);
    let order = world.order(&[19_900]).await;
    let (token, once) = (identity.token(&payer()), key());
    let lose = json!({
        "next": 1, "fault": "lose", "path_prefix": "/v3/pay/transactions/jsapi",
    });
    world.fault(lose).await;
    pay(&world, &payer(), order.id, &token, once).await;
    let paying = pay(&world, &payer(), order.id, &token, once).await;
    let payment = &paying["payment"];
    assert_eq!(payment["state"], "WAITING", "{paying}");
    assert_eq!(payment["method"], "WECHAT_JSAPI");
    assert_eq!(payment["codeUrl"], Value::Null);
    signed_as_documented(&world, &payment["payCall"], &identity.appid());
    pays(&world, payment).await;
    world.deliver().await;
    assert_eq!(world.order_state(order.id).await, "paid");
    assert_eq!(
        world.steps(order.id).await,
        ["REQUESTED", "PAYMENT_STARTED", "PAYMENT_READY", "PAID"]
    );
    let back = world.returned(&order, 0, key(), 19_900);
    world.apply(&[back]).await.unwrap();
    let refunded = "SELECT state FROM refund";
    world
        .until("asked for", async || {
            world.text(refunded).await == "processing"
        })
        .await;
    world.advance(TimeDelta::seconds(10));
    world.deliver().await;
    world
        .until("refunded", async || world.text(refunded).await == "done")
        .await;
    next_morning(&world).await;
    compared(&world, 1).await;
    world.verify().await;
    drop(guard);
    // The search finds what is there: our number at the provider is in the table and in the log.
    let number = world.trade_no(order.id).await;
    assert!(
        tables_with(&world, &number)
            .await
            .contains(&"payment".to_owned())
    );
    assert!(
        log.text().contains("is not prepared yet"),
        "the log was listened to"
    );
    for secret in [OPENID, token.as_str()] {
        assert_eq!(tables_with(&world, secret).await, [""; 0]);
        assert!(!log.text().contains(secret));
    }
}

/// All that was logged.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl Log {
    fn text(&self) -> String {
        String::from_utf8_lossy(&self.0.lock().unwrap()).into_owned()
    }
}

impl Write for Log {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// The call-up verifies under the merchant's public key, over the four lines that the provider
/// documents.
fn signed_as_documented(world: &World, call: &Value, appid: &str) {
    let text = |name: &str| call[name].as_str().unwrap();
    assert_eq!(text("appId"), appid);
    assert_eq!(text("signType"), "RSA");
    let now = world.db.ctx.clock.now().timestamp().to_string();
    assert_eq!(text("timeStamp"), now);
    let path = format!("merchants/{}/public_key.pem", crate::world::MCHID);
    let pem = std::fs::read_to_string(world.data().join(path)).unwrap();
    let der: String = pem.lines().filter(|line| !line.starts_with('-')).collect();
    let der = STANDARD.decode(der).unwrap();
    let key = UnparsedPublicKey::new(&RSA_PKCS1_2048_8192_SHA256, &der);
    let verifies = |package: &str| {
        let (nonce, time) = (text("nonceStr"), text("timeStamp"));
        let message = format!("{appid}\n{time}\n{nonce}\n{package}\n");
        let signature = STANDARD.decode(text("paySign")).unwrap();
        key.verify(message.as_bytes(), &signature).is_ok()
    };
    assert!(verifies(text("package")));
    assert!(!verifies("prepay_id=another"));
}

/// Tokens that are not good, what is wrong with each, and what is said to it.
fn bad_tokens(identity: &Identity<'_>, who: &Caller) -> Vec<(&'static str, String, &'static str)> {
    let ids = &identity.world.db.ctx.ids;
    let text = format!("{}\n{OPENID}", identity.appid());
    let fresh = identity.fresh(who, &text);
    let (stranger, _) = signing(6);
    let to = PrivateKey::parse(&PAYER_KEY.into()).unwrap().public();
    let forged = sealed::seal(ids, fresh, &to, &stranger).unwrap();
    let other = PrivateKey::parse(&STANDARD.encode([9; 32]).into()).unwrap();
    let to_another = sealed::seal(ids, fresh, &other.public(), &identity.signing).unwrap();
    let (elsewhere, nameless) = (format!("wx00\n{OPENID}"), format!("{}\n", identity.appid()));
    let for_another = NewSealed {
        audience: "passes",
        ..fresh
    };
    let over = NewSealed {
        issued_at: fresh.issued_at - TimeDelta::seconds(LIFE_SECONDS),
        ..fresh
    };
    let of = |text| NewSealed { text, ..fresh };
    let invalid = "PAYER_TOKEN_INVALID";
    vec![
        ("missing", String::new(), invalid),
        ("another's", identity.token(&caller(2)), invalid),
        ("forged", forged, invalid),
        ("to another key", to_another, invalid),
        ("for another service", identity.seal(for_another), invalid),
        ("of another program", identity.seal(of(&elsewhere)), invalid),
        ("of nobody", identity.seal(of(&nameless)), invalid),
        ("over", identity.seal(over), "PAYER_TOKEN_EXPIRED"),
    ]
}

/// A token of another member, of another service, of another mini-program, forged, over or missing
/// pays nothing, and none is kept under the key: the right one then pays.
#[tokio::test]
async fn a_token_that_is_not_good_pays_nothing() {
    let world = World::start().await;
    let identity = Identity::of(&world);
    let order = world.order(&[100]).await;
    let (who, once) = (payer(), key());
    for (what, token, code) in bad_tokens(&identity, &who) {
        let answer = pay(&world, &who, order.id, &token, once).await;
        let error = &answer["userErrors"][0];
        assert_eq!(error["code"], code, "{what}: {answer}");
        assert_eq!(error["field"], json!(["payerToken"]), "{what}");
        assert_eq!(answer["payment"], Value::Null, "{what}");
    }
    assert_eq!(world.count("payment").await, 0);
    assert_eq!(world.count("payer_token").await, 0);
    assert_eq!(world.count("once").await, 0);
    let paying = pay(&world, &who, order.id, &identity.token(&who), once).await;
    assert_eq!(paying["payment"]["state"], "WAITING", "{paying}");
    // One that is not good ends nothing that is open by other means.
    let other = world.order(&[100]).await;
    let _number = world.ready(&other).await;
    let answer = pay(&world, &who, other.id, "none", key()).await;
    assert_eq!(answer["userErrors"][0]["code"], "PAYER_TOKEN_INVALID");
    let state = format!("SELECT state FROM payment WHERE order_id = '{}'", other.id);
    assert_eq!(world.text(&state).await, "waiting");
}

/// A token has no place where a code is scanned.
#[tokio::test]
async fn who_scans_is_not_named() {
    let world = World::start().await;
    let identity = Identity::of(&world);
    let order = world.order(&[100]).await;
    let answer = world
        .graph(
            &payer(),
            "mutation ($input: PayOrderInput!) { payOrder(input: $input) {
               userErrors { code } } }",
            json!({ "input": {
                "orderId": GlobalId::of_uuid("Order", order.id).0, "method": "WECHAT_NATIVE",
                "payerToken": identity.token(&payer()), "idempotencyKey": key(),
            }}),
        )
        .await;
    let code = &answer["data"]["payOrder"]["userErrors"][0]["code"];
    assert_eq!(code, "PAYER_TOKEN_INVALID");
    assert_eq!(world.count("payment").await, 0);
}

/// A token is good for one payment: with the same key, or another for the same order, it finds that
/// one; for another order it is used.
#[tokio::test]
async fn a_token_is_used_once() {
    let world = World::start().await;
    let identity = Identity::of(&world);
    let (one, two) = (world.order(&[100]).await, world.order(&[100]).await);
    let (token, once) = (identity.token(&payer()), key());
    let first = pay(&world, &payer(), one.id, &token, once).await;
    assert_eq!(first["payment"]["state"], "WAITING", "{first}");
    for key in [once, key()] {
        let again = pay(&world, &payer(), one.id, &token, key).await;
        assert_eq!(first["payment"]["id"], again["payment"]["id"]);
        assert_eq!(prepay_id(&first["payment"]), prepay_id(&again["payment"]));
    }
    let reused = pay(&world, &payer(), two.id, &token, key()).await;
    assert_eq!(
        reused["userErrors"][0]["code"], "PAYER_TOKEN_USED",
        "{reused}"
    );
    let open = "payment WHERE state IN ('preparing', 'waiting')";
    assert_eq!(world.count(open).await, 1);
    // A replay is answered when the token is long over, and long forgotten.
    world.advance(TimeDelta::seconds(LIFE_SECONDS + 1));
    let again = pay(&world, &payer(), one.id, &token, once).await;
    assert_eq!(first["payment"]["id"], again["payment"]["id"]);
    world.advance(TimeDelta::hours(2));
    let three = world.order(&[100]).await;
    pay(&world, &payer(), three.id, &identity.token(&payer()), key()).await;
    assert_eq!(
        world.count("payer_token").await,
        1,
        "the first is forgotten"
    );
}
