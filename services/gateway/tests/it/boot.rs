//! How the gateway starts and ends: production, what the environment cannot change, and a
//! configuration that is refused.

use reqwest::StatusCode;
use reqwest::header::ACCEPT;
use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::process::Command;

use crate::world::{Options, World, send};

/// Within this it ends when nothing runs: far less than running requests are waited for.
const ENDED_TIME_MAX: std::time::Duration = std::time::Duration::from_secs(10);

/// In production only registered documents are run, introspection is off even for them, and there
/// is no query page.
/// ASVS V4.3.2, V13.4.2.
#[tokio::test]
async fn production_runs_registered_documents_alone() {
    let world = World::start_with(Options {
        documents: Some(json!({
            "whoami": "query Whoami { __typename whoami }",
            "schema": "{ __schema { types { name } } }",
            "type": "{ __type(name: \"Query\") { name } }",
            "bomb": "{ ...A } fragment A on Query { ...A }",
        })),
        ..Default::default()
    })
    .await;
    let run = async |id: &str| send(world.post().json(&json!({ "documentId": id }))).await;
    let expected = json!({ "__typename": "Query", "whoami": "anonymous" });
    assert_eq!(run("whoami").await.data(), expected);
    world.shared.take_received();
    let free = world.ask("{ whoami }").await;
    assert_eq!(free.code(), "PERSISTED_DOCUMENT_ID_REQUIRED", "{free:?}");
    for id in ["none", "../documents", "/etc/passwd", ""] {
        let answer = run(id).await;
        let codes = [
            "PERSISTED_DOCUMENT_NOT_FOUND",
            "PERSISTED_DOCUMENT_ID_REQUIRED",
        ];
        assert!(codes.contains(&answer.code().as_str()), "{id}: {answer:?}");
    }
    for id in ["schema", "type"] {
        assert_eq!(run(id).await.code(), "INTROSPECTION_DISABLED", "{id}");
    }
    assert_eq!(run("bomb").await.code(), "QUERY_TOO_COMPLEX");
    let page = send(
        world
            .client
            .get(world.url("/graphql"))
            .header(ACCEPT, "text/html"),
    )
    .await;
    assert!(
        page.status.is_client_error() && !page.text.contains("<html"),
        "{page:?}"
    );
    assert!(world.shared.take_received().is_empty());
    // The text beside an id is not what is run.
    let body = json!({ "documentId": "whoami", "query": "mutation { redeem }" });
    assert_eq!(send(world.post().json(&body)).await.data(), expected);
}

/// Development offers introspection and a query page.
#[tokio::test]
async fn development_shows_the_schema() {
    let world = World::start().await;
    let answer = world.ask("{ __schema { queryType { name } } }").await;
    assert_eq!(answer.data()["__schema"]["queryType"]["name"], "Query");
    let page = send(
        world
            .client
            .get(world.url("/graphql"))
            .header(ACCEPT, "text/html"),
    )
    .await;
    assert_eq!(page.status, StatusCode::OK);
    assert!(page.text.contains("<html"), "{page:?}");
}

/// The library's own environment overrides nothing, and its plan of a query stays within.
#[tokio::test]
async fn the_environment_of_the_library_changes_nothing() {
    let environment = [
        ("PORT", "1"),
        ("HOST", "0.0.0.0"),
        ("LOG_LEVEL", "debug"),
        ("LOG_FILTER", "debug"),
        ("DISABLE_SUBGRAPH_ERROR_MASKING", "true"),
        ("WEBSOCKET_ENABLED", "true"),
        ("SUBSCRIPTIONS_ENABLED", "true"),
        ("SUPERGRAPH_FILE_PATH", "/nowhere"),
        ("ROUTER_CONFIG_FILE_PATH", "/nowhere"),
        // Says where a launcher finds the gateway, and is none of its keys.
        ("BASHU_GATEWAY_BIN", "/nowhere"),
    ];
    let environment = environment
        .map(|(name, value)| (name, value.to_owned()))
        .to_vec();
    let world = World::start_with(Options {
        environment,
        ..Default::default()
    })
    .await;
    let broken = world.ask("{ broken }").await;
    assert!(!broken.text.contains("10.0.0.7"), "{broken:?}");
    let request = world.post().header("hive-expose-query-plan", "true");
    let answer = send(request.json(&json!({ "query": "{ whoami }" }))).await;
    assert!(answer.json().get("extensions").is_none(), "{answer:?}");
    assert!(!world.log().contains("{ broken }"), "documents are logged");
    let upgrade = world.client.get(world.url("/graphql"));
    let upgrade = upgrade
        .header("connection", "upgrade")
        .header("upgrade", "websocket");
    assert!(send(upgrade).await.status.is_client_error());
}

/// A start that is refused ends at once, with a message that names the field.
#[tokio::test]
async fn a_bad_configuration_is_refused_by_name() {
    let refused = async |environment: &[(&str, &str)]| {
        let output = Command::new(env!("CARGO_BIN_EXE_bashu-gateway"))
            .env_clear()
            .envs(environment.iter().copied())
            .output()
            .await
            .unwrap();
        assert_eq!(output.status.code(), Some(2), "{output:?}");
        String::from_utf8(output.stderr).unwrap()
    };
    assert!(refused(&[]).await.contains("union"));
    let text = refused(&[
        ("BASHU_GATEWAY_UNION", "50"),
        ("BASHU_GATEWAY_SURPRISE", "1"),
    ])
    .await;
    assert!(text.contains("surprise"), "{text}");
    let text = refused(&[("BASHU_GATEWAY_UNION", "99")]).await;
    assert!(text.contains("union") && text.contains("99"), "{text}");
    let text = refused(&[("ROUTER_DISABLE_INT_VALUE_RANGE_VALIDATION", "1")]).await;
    assert!(
        text.contains("ROUTER_DISABLE_INT_VALUE_RANGE_VALIDATION"),
        "{text}"
    );
    let text = refused(&[("BASHU_GATEWAY_CONFIG", "/nowhere.toml")]).await;
    assert!(text.contains("nowhere.toml"), "{text}");
}

/// Told to end, it finishes what runs and ends well.
#[tokio::test]
async fn it_ends_when_it_is_told_to() {
    let mut world = World::start().await;
    let request = world.post().json(&json!({ "query": "{ held }" }));
    let running = tokio::spawn(send(request));
    let received = async {
        while world.shared.take_received().is_empty() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(std::time::Duration::from_secs(10), received)
        .await
        .unwrap();
    let shared = world.shared.clone();
    let release = tokio::spawn(async move { shared.released.send(true).unwrap() });
    let status = world.end_gateway().await;
    assert!(status.success(), "{status}: {}", world.log());
    release.await.unwrap();
    assert_eq!(running.await.unwrap().data(), json!({ "held": "released" }));
}

/// A load balancer's idle connection is kept for it, and nobody waits for it at the end.
#[tokio::test]
async fn an_idle_connection_does_not_keep_it_from_ending() {
    let mut world = World::start().await;
    let mut idle = tokio::net::TcpStream::connect(world.address())
        .await
        .unwrap();
    let request = b"GET /graphql?query=%7Bwhoami%7D HTTP/1.1\r\nhost: bashu\r\n\
        x-bashu-preflight: 1\r\n\r\n";
    let mut answer = [0; 1_024];
    for _ in 0..2 {
        idle.write_all(request).await.unwrap();
        let read = idle.read(&mut answer).await.unwrap();
        let head = String::from_utf8_lossy(&answer[..read]);
        assert!(head.starts_with("HTTP/1.1 200"), "{head}");
    }
    let began = std::time::Instant::now();
    let status = world.end_gateway().await;
    assert!(status.success(), "{status}: {}", world.log());
    assert!(began.elapsed() < ENDED_TIME_MAX, "{:?}", began.elapsed());
    assert_eq!(idle.read(&mut answer).await.unwrap_or(0), 0);
}
