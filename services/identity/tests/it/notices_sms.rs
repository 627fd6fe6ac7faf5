//! Notices by SMS: of the few kinds that need one, while the reader consents and wants it, once,
//! and never as old news.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use axum::Json;
use axum::http::StatusCode;
use axum::routing::post;
use identity::domain::notice::SMS_HOURS_MAX;
use kit::access::Caller;
use kit::types::MemberId;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::sync::Mutex;
use tokio::task::JoinHandle;
use uuid::Uuid;

use crate::consents::{give, withdraw};
use crate::credentials::PASS;
use crate::notices::{hear_refund, refunded, voided};
use crate::rosters::settle;
use crate::world::{World, codes, number_of_phone, settings};

/// A provider that keeps what it is sent, or is away.
pub(crate) struct Provider {
    sent: Arc<Mutex<Vec<Value>>>,
    pub(crate) away: Arc<AtomicBool>,
    serving: JoinHandle<std::io::Result<()>>,
}

impl Drop for Provider {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

impl Provider {
    pub(crate) async fn sent(&self) -> Vec<Value> {
        self.sent.lock().await.clone()
    }
}

/// A member whose notices go to a provider of her own.
pub(crate) async fn reachable() -> (World, MemberId, Provider) {
    let (sent, away) = (Arc::default(), Arc::new(AtomicBool::new(false)));
    let (keeps, is_away): (Arc<Mutex<Vec<Value>>>, _) = (Arc::clone(&sent), Arc::clone(&away));
    let send = move |Json(body): Json<Value>| async move {
        if is_away.load(Ordering::SeqCst) {
            return StatusCode::SERVICE_UNAVAILABLE;
        }
        keeps.lock().await.push(body);
        StatusCode::OK
    };
    let routes = axum::Router::new().route("/sms/send", post(send));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    #[expect(
        clippy::disallowed_methods,
        reason = "the provider runs beside the test"
    )]
    let serving = tokio::spawn(axum::serve(listener, routes).into_future());
    let world = World::with(settings(&url)).await;
    let union = world.organisation("GRASSROOTS", "基层工会").await;
    let member = world.person(&union, 1).await;
    let provider = Provider {
        sent,
        away,
        serving,
    };
    (world, member, provider)
}

async fn state(world: &World, notice: Uuid, state: &str) -> bool {
    let sql =
        format!("SELECT count(*) AS count FROM notice WHERE id = '{notice}' AND sms = '{state}'");
    world.count(&sql).await == 1
}

async fn prefer(world: &World, who: &Caller, kind: &str, sms: bool) -> Value {
    let input = json!({ "kind": kind, "sms": sms });
    let selection = "preference { kind sms }";
    world
        .mutate(who, "setNoticePreference", selection, input)
        .await
}

/// Only with a consent, and without a name in it; the notice here is there in any case.
#[tokio::test]
async fn an_sms_goes_to_who_consents() {
    let (world, member, provider) = reachable().await;
    let who = world.as_member(member);
    let before = voided(&world, member, 1).await;
    settle(&world).await;
    assert!(provider.sent().await.is_empty());
    assert!(state(&world, before, "skipped").await);
    give(&world, &who, "VISITS_TO_VENUES", 1).await;
    let other = voided(&world, member, 2).await;
    settle(&world).await;
    assert!(state(&world, other, "skipped").await, "by another consent");

    give(&world, &who, "NOTICE_SMS", 2).await;
    voided(&world, member, 1).await;
    let cancelled = voided(&world, member, 3).await;
    let event = refunded(&world, member, 12_345);
    let back = hear_refund(&world, &event).await;
    settle(&world).await;
    let mut sent = provider.sent().await;
    sent.sort_by_key(|it| it["template"].to_string());
    let told: Vec<(&Value, &Value)> = sent
        .iter()
        .map(|it| (&it["template"], &it["params"]))
        .collect();
    assert_eq!(
        told,
        [
            (
                &json!("order_refunded"),
                &json!({ "number": "B50-20260401-000123-7", "yuan": "123.45" })
            ),
            (
                &json!("pass_cancelled"),
                &json!({ "product": "年票", "product_en": "annual pass" })
            ),
        ]
    );
    assert!(sent.iter().all(|it| it["phone"] == number_of_phone(1)));
    assert!(
        state(&world, cancelled, "handed_over").await && state(&world, back, "handed_over").await
    );
    // Heard again, nothing goes again.
    voided(&world, member, 3).await;
    hear_refund(&world, &event).await;
    settle(&world).await;
    assert_eq!(provider.sent().await.len(), 2);
    assert_eq!(world.broken("identity.sms_with_consent").await, 0);
}

/// A withdrawal is effective at once for what is planned already, also where it was tried before.
#[tokio::test]
async fn nothing_goes_after_a_withdrawal() {
    let (world, member, provider) = reachable().await;
    let who = world.as_member(member);
    give(&world, &who, "NOTICE_SMS", 1).await;
    let planned = voided(&world, member, 1).await;
    withdraw(&world, &who, "NOTICE_SMS", 2).await;
    settle(&world).await;
    assert!(state(&world, planned, "skipped").await);

    give(&world, &who, "NOTICE_SMS", 3).await;
    provider.away.store(true, Ordering::SeqCst);
    let tried = voided(&world, member, 2).await;
    settle(&world).await;
    assert!(state(&world, tried, "handed_over").await);
    let waits = "SELECT count(*) AS count FROM due WHERE kind = 'sms_notice'";
    assert_eq!(world.count(waits).await, 1);
    withdraw(&world, &who, "NOTICE_SMS", 4).await;
    provider.away.store(false, Ordering::SeqCst);
    world.advance(600);
    settle(&world).await;
    assert_eq!(world.count(waits).await, 0);
    assert!(provider.sent().await.is_empty());
    assert_eq!(world.broken("identity.sms_with_consent").await, 0);
}

/// A provider that was away gets the same request when it is back; what is a day old is no news.
#[tokio::test]
async fn a_provider_that_was_away_is_asked_again_for_a_day() {
    let (world, member, provider) = reachable().await;
    let who = world.as_member(member);
    give(&world, &who, "NOTICE_SMS", 1).await;
    provider.away.store(true, Ordering::SeqCst);
    voided(&world, member, 1).await;
    settle(&world).await;
    provider.away.store(false, Ordering::SeqCst);
    world.advance(600);
    settle(&world).await;
    let sent = provider.sent().await;
    assert_eq!(sent.len(), 1);
    assert_eq!(sent[0]["request_id"].as_str().unwrap().len(), 32);

    provider.away.store(true, Ordering::SeqCst);
    voided(&world, member, 2).await;
    settle(&world).await;
    provider.away.store(false, Ordering::SeqCst);
    world.advance(SMS_HOURS_MAX * 3_600);
    settle(&world).await;
    assert_eq!(provider.sent().await.len(), 1, "old news");
    let waits = "SELECT count(*) AS count FROM due WHERE kind = 'sms_notice'";
    assert_eq!(world.count(waits).await, 0);
}

/// Who wants no SMS of a kind gets none, and the other kind still comes; what has no SMS at all
/// cannot be asked for.
#[tokio::test]
async fn a_preference_is_kept_beside_the_consent() {
    let (world, member, provider) = reachable().await;
    let who = world.as_member(member);
    give(&world, &who, "NOTICE_SMS", 1).await;
    let query = "{ me { noticePreferences { kind sms } } }";
    let preferences = async || world.run(&who, query, json!({})).await["noticePreferences"].clone();
    let of = |cancelled: bool, refunded: bool| {
        json!([
            { "kind": "CANCELLED", "sms": cancelled },
            { "kind": "REFUNDED", "sms": refunded },
        ])
    };
    assert_eq!(preferences().await, of(true, true));
    let set = prefer(&world, &who, "CANCELLED", false).await;
    assert_eq!(
        set["preference"],
        json!({ "kind": "CANCELLED", "sms": false })
    );
    assert_eq!(preferences().await, of(false, true));
    let unwanted = voided(&world, member, PASS).await;
    hear_refund(&world, &refunded(&world, member, 1)).await;
    settle(&world).await;
    assert!(state(&world, unwanted, "skipped").await);
    assert_eq!(provider.sent().await.len(), 1);
    prefer(&world, &who, "CANCELLED", true).await;
    assert_eq!(preferences().await, of(true, true));
    let input = json!({ "kind": "NEW_LOGIN", "sms": true });
    let [code, zh, en] = world.answered(&who, "setNoticePreference", &input).await;
    assert_eq!(code, "NOTICE_HAS_NO_SMS");
    assert!(
        zh.contains("不发短信") && en.contains("No SMS"),
        "{zh} {en}"
    );
    let audited = "SELECT count(*) AS count FROM audit WHERE act = 'set_notice_preference'";
    assert_eq!(world.count(audited).await, 2);
    assert_eq!(codes(&set), [""; 0]);
}
