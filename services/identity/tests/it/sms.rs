//! The code on its way to the phone, through the provider's stand-in.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use axum::response::Redirect;
use axum::routing::post;
use identity::due::Jobs;
use kit::access::Caller;
use kit::graphql::Language;
use sandbox::{Config, Sandbox};
use serde_json::{Value, json};
use tokio::net::TcpListener;

use crate::world::{OPERATOR_PHONE, World, codes, settings};

async fn inbox(url: &str, number: &str) -> Vec<Value> {
    let answer: Value = reqwest::Client::builder()
        .no_proxy()
        .build()
        .unwrap()
        .get(format!("{url}/sms/inbox?phone={number}"))
        .send()
        .await
        .unwrap()
        .json()
        .await
        .unwrap();
    answer["messages"].as_array().unwrap().clone()
}

/// The member gets one message with the code that signs her in; who is nobody gets none; a code
/// that is over is not sent; a provider that was away is asked again with the same number.
/// ASVS V6.6.1.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_code_reaches_its_phone() {
    let folder = std::path::PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("identity-sandbox");
    let config = Config::new(&folder);
    let opened = tokio::task::spawn_blocking(move || Sandbox::open(config))
        .await
        .unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    #[expect(
        clippy::disallowed_methods,
        reason = "the provider runs beside the test"
    )]
    let serving = tokio::spawn(opened.unwrap().serve(listener, async move {
        let _ = stopped.await;
    }));
    let key = std::fs::read_to_string(folder.join("sms/50.key")).unwrap();
    let mut settings = settings(&url);
    settings.sms.key = key.trim().to_owned().into();
    let world = World::with(settings).await;
    let jobs = Jobs(world.identity.clone());
    let ctx = &world.identity.ctx;
    let caller = Caller::anonymous(Language::En);
    let before = inbox(&url, OPERATOR_PHONE).await.len();
    for number in [OPERATOR_PHONE, "13700000000"] {
        let input = json!({ "phone": number });
        let selection = "request { expiresInSeconds }";
        world
            .mutate(&caller, "requestLoginCode", selection, input)
            .await;
    }
    while kit::due::step(ctx, &jobs).await.unwrap() > 0 {}
    let messages = inbox(&url, OPERATOR_PHONE).await;
    assert_eq!(messages.len(), before + 1);
    assert_eq!(inbox(&url, "13700000000").await.len(), 0);
    assert_eq!(messages[0]["params"]["minutes"], "5");
    let code = messages[0]["params"]["code"].as_str().unwrap();
    let input = json!({ "phone": OPERATOR_PHONE, "code": code });
    let answer = world
        .mutate(&caller, "login", "tokens { loginId }", input)
        .await;
    assert_eq!(codes(&answer), [""; 0]);

    // Nothing is sent of a code that is over before its turn came.
    world.advance(61);
    let input = json!({ "phone": OPERATOR_PHONE });
    world
        .mutate(
            &caller,
            "requestLoginCode",
            "request { expiresInSeconds }",
            input,
        )
        .await;
    world.advance(300);
    while kit::due::step(ctx, &jobs).await.unwrap() > 0 {}
    assert_eq!(inbox(&url, OPERATOR_PHONE).await.len(), before + 1);
    let left = "SELECT count(*) AS count FROM due WHERE kind = 'sms_login_code'";
    assert_eq!(world.count(left).await, 0);
    stop.send(()).unwrap();
    serving.await.unwrap().unwrap();
}

/// A provider that points elsewhere is a provider that refuses: phone and code stay here.
/// ASVS V15.3.2.
#[tokio::test]
async fn a_code_does_not_follow_a_redirect() {
    let asked = Arc::new(AtomicU32::new(0));
    let followed = Arc::new(AtomicU32::new(0));
    let (at_send, at_elsewhere) = (Arc::clone(&asked), Arc::clone(&followed));
    let send = move || async move {
        at_send.fetch_add(1, Ordering::SeqCst);
        Redirect::temporary("/elsewhere")
    };
    let elsewhere = move || async move {
        at_elsewhere.fetch_add(1, Ordering::SeqCst);
    };
    let routes = axum::Router::new()
        .route("/sms/send", post(send))
        .route("/elsewhere", post(elsewhere));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    #[expect(
        clippy::disallowed_methods,
        reason = "the provider runs beside the test"
    )]
    let serving = tokio::spawn(axum::serve(listener, routes).into_future());
    let world = World::with(settings(&url)).await;
    let input = json!({ "phone": OPERATOR_PHONE });
    let caller = Caller::anonymous(Language::En);
    let selection = "request { expiresInSeconds }";
    world
        .mutate(&caller, "requestLoginCode", selection, input)
        .await;
    let jobs = Jobs(world.identity.clone());
    while kit::due::step(&world.identity.ctx, &jobs).await.unwrap() > 0 {}
    assert_eq!(asked.load(Ordering::SeqCst), 1);
    assert_eq!(followed.load(Ordering::SeqCst), 0);
    let left = "SELECT count(*) AS count FROM due WHERE kind = 'sms_login_code'";
    assert_eq!(world.count(left).await, 1, "asked again later");
    serving.abort();
}
