//! The doctor says what is wrong and what to do, and finds a sound stack sound.

use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use kit::relay::Relay;
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::restored::told;
use crate::world::{World, finding, free_port};

/// How long a server may take to listen.
const LISTEN_MAX: Duration = Duration::from_secs(10);

async fn doctor(world: &World) -> (i32, Value) {
    let ran = world.bashu(&["doctor"]).await;
    let report = ran.json();
    for one in report["findings"].as_array().unwrap() {
        let well = one["severity"] == "ok";
        assert_eq!(
            well,
            one["to_do"].is_null(),
            "what is not well says what to do: {one}"
        );
        for language in ["zh", "en"] {
            assert!(
                !one["found"][language].as_str().unwrap().is_empty(),
                "{one}"
            );
        }
    }
    (ran.code, report)
}

fn severity<'a>(report: &'a Value, check: &str, subject: &str) -> &'a str {
    finding(report, check, subject)["severity"]
        .as_str()
        .unwrap()
}

#[tokio::test]
async fn sound_servers_are_found_sound() {
    let world = World::ready().await;
    told(&world).await;
    let mut relay = Relay::new(world.ctx("identity").await, world.bus());
    while relay.step().await.unwrap() == 0 {}
    let (_, report) = doctor(&world).await;
    for service in ["identity", "passes", "billing", "admission"] {
        for check in ["version", "durable", "role", "owner", "clock", "migrations"] {
            let check = format!("postgres.{check}");
            assert_eq!(
                severity(&report, &check, service),
                "ok",
                "{check} {service}"
            );
        }
        assert_eq!(severity(&report, "due.age", service), "ok");
        assert_eq!(severity(&report, "consumer.parked", service), "ok");
    }
    for check in ["redis.reachable", "redis.password", "kafka.reachable"] {
        assert_eq!(severity(&report, check, ""), "ok", "{check}");
    }
    // How much is free is the machine's affair; that it is looked at is ours.
    let free = &finding(&report, "machine.disk", "")["found"]["en"];
    assert!(free.as_str().unwrap().ends_with(" MiB free"), "{free}");
    for check in ["kafka.topic", "kafka.history"] {
        assert_eq!(severity(&report, check, "identity.v1"), "ok", "{check}");
    }
    assert_eq!(severity(&report, "relay.age", "identity"), "ok");
    for check in ["vault.rows", "vault.other_keys"] {
        assert_eq!(severity(&report, check, "identity"), "ok", "{check}");
    }
    // Nothing is served, so no sign of life ever arrived at the others.
    assert_eq!(severity(&report, "identity.heartbeat", "passes"), "fail");
}

/// A Redis of the test's own.
struct Redis(Child);

impl Redis {
    async fn start(port: u16, password: Option<&str>) -> Self {
        let mut command = Command::new("redis-server");
        command.args([
            "--bind",
            "127.0.0.1",
            "--save",
            "",
            "--port",
            &port.to_string(),
        ]);
        if let Some(password) = password {
            command.args(["--requirepass", password]);
        }
        let child = command
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let began = Instant::now();
        while tokio::net::TcpStream::connect(("127.0.0.1", port))
            .await
            .is_err()
        {
            assert!(began.elapsed() < LISTEN_MAX, "redis-server does not listen");
            tokio::task::yield_now().await;
        }
        Self(child)
    }
}

impl Drop for Redis {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[tokio::test]
async fn a_stopped_redis_is_told_with_what_to_do() {
    let mut world = World::ready().await;
    let port = free_port();
    world.set(
        "",
        "redis_url",
        format!("redis://:a-password@127.0.0.1:{port}/0"),
    );
    let redis = Redis::start(port, Some("a-password")).await;
    let (_, report) = doctor(&world).await;
    assert_eq!(severity(&report, "redis.reachable", ""), "ok");
    assert_eq!(severity(&report, "redis.password", ""), "ok");
    drop(redis);
    let (_, report) = doctor(&world).await;
    let stopped = finding(&report, "redis.reachable", "");
    assert_eq!(stopped["severity"], "warn", "nothing is lost without it");
    assert!(
        stopped["to_do"]["zh"]
            .as_str()
            .unwrap()
            .contains("启动 Redis")
    );
    assert!(
        stopped["to_do"]["en"]
            .as_str()
            .unwrap()
            .contains("start Redis")
    );
    assert!(!report.to_string().contains("a-password"));
}

/// ASVS V13.2.3.
#[tokio::test]
async fn a_redis_without_a_password_is_told() {
    let mut world = World::ready().await;
    let port = free_port();
    world.set("", "redis_url", format!("redis://127.0.0.1:{port}/0"));
    let _redis = Redis::start(port, None).await;
    let (_, report) = doctor(&world).await;
    assert_eq!(severity(&report, "redis.password", ""), "warn");
}

#[tokio::test]
async fn a_wrong_redis_password_is_told() {
    let mut world = World::ready().await;
    let port = free_port();
    world.set(
        "",
        "redis_url",
        format!("redis://:wrong@127.0.0.1:{port}/0"),
    );
    let _redis = Redis::start(port, Some("right")).await;
    let (_, report) = doctor(&world).await;
    assert_eq!(severity(&report, "redis.reachable", ""), "warn");
}

#[tokio::test]
async fn a_stopped_kafka_is_told() {
    let mut world = World::ready().await;
    world.set("kafka", "brokers", format!("127.0.0.1:{}", free_port()));
    let (code, report) = doctor(&world).await;
    assert_eq!(code, 1);
    let stopped = finding(&report, "kafka.reachable", "");
    assert_eq!(stopped["severity"], "fail");
    assert!(
        stopped["to_do"]["en"]
            .as_str()
            .unwrap()
            .contains("kafka.brokers")
    );
}

#[tokio::test]
async fn a_stopped_postgres_is_told_and_the_rest_is_still_looked_at() {
    let mut world = World::ready().await;
    world.set("postgres", "port", i64::from(free_port()));
    let (code, report) = doctor(&world).await;
    assert_eq!(code, 1);
    for service in ["identity", "passes", "billing", "admission"] {
        assert_eq!(severity(&report, "postgres.reachable", service), "fail");
    }
    assert_eq!(severity(&report, "redis.reachable", ""), "ok");
    assert!(
        !report
            .to_string()
            .contains(&kit::testing::env("BASHU_PG_APP_PASSWORD"))
    );
}

#[tokio::test]
async fn missing_tables_are_told() {
    let world = World::empty().await;
    let (code, report) = doctor(&world).await;
    assert_eq!(code, 1);
    let tables = finding(&report, "postgres.migrations", "billing");
    assert!(
        tables["to_do"]["en"]
            .as_str()
            .unwrap()
            .contains("bashu migrate")
    );
}

#[tokio::test]
async fn a_role_that_may_too_much_is_told() {
    let mut world = World::ready().await;
    let password = kit::testing::env("BASHU_PG_SUPERUSER_PASSWORD");
    world.set("postgres", "user", kit::testing::env("BASHU_PG_SUPERUSER"));
    world.set("postgres", "password", password);
    let (code, report) = doctor(&world).await;
    assert_eq!(code, 1);
    assert_eq!(severity(&report, "postgres.role", "identity"), "fail");
}

#[tokio::test]
async fn work_that_nobody_does_is_told() {
    let world = World::ready().await;
    let due = "INSERT INTO due (id, kind, subject, payload, run_at, created_at) VALUES
               (gen_random_uuid(), 'k', 's', '{}', now() - interval '1 hour', now())";
    world.plant("billing", due).await;
    let event = "INSERT INTO outbox (slot, event_id, kind, key, version, must_understand,
                   payload, occurred_at)
                 VALUES (0, gen_random_uuid(), 'k', '\\x01', 1, false, '', now() - interval '1 h')";
    world.plant("passes", event).await;
    let (code, report) = doctor(&world).await;
    assert_eq!(code, 1);
    assert_eq!(severity(&report, "due.age", "billing"), "fail");
    assert_eq!(severity(&report, "relay.age", "passes"), "fail");
}

#[tokio::test]
async fn a_topic_of_another_shape_is_told() {
    let mut world = World::ready().await;
    told(&world).await;
    let mut relay = Relay::new(world.ctx("identity").await, world.bus());
    while relay.step().await.unwrap() == 0 {}
    world.set("kafka", "partitions", 3);
    let (code, report) = doctor(&world).await;
    assert_eq!(code, 1);
    let shape = finding(&report, "kafka.topic", "identity.v1");
    assert!(
        shape["to_do"]["en"].as_str().unwrap().contains("back to 2"),
        "{shape}"
    );
    assert_eq!(
        severity(&report, "kafka.topic", "passes.v1"),
        "warn",
        "not made yet"
    );
}

/// Stand-ins and a root within reach belong to development.
/// ASVS V15.2.3.
#[tokio::test]
async fn sandboxes_are_refused_in_production() {
    let mut world = World::ready().await;
    world.set("identity", "root_key_file", world.root());
    world.set("identity", "second_factor_optional", true);
    let (_, report) = doctor(&world).await;
    let none = |one: &Value| {
        let check = one["check"].as_str().unwrap();
        check.starts_with("configuration.")
    };
    assert!(
        !report["findings"].as_array().unwrap().iter().any(none),
        "fine in development"
    );
    world.set("", "mode", "production");
    let (code, report) = doctor(&world).await;
    assert_eq!(code, 1);
    assert_eq!(
        severity(&report, "configuration.outside", "identity.sms.url"),
        "fail"
    );
    assert_eq!(
        severity(&report, "configuration.root", "root_key_file"),
        "fail"
    );
    assert_eq!(
        severity(
            &report,
            "configuration.second_factor",
            "second_factor_optional"
        ),
        "fail"
    );
    // One broker keeps one copy.
}

/// Whatever answers yes to everything falls into every trap, and is told so for each.
#[tokio::test]
async fn a_gateway_that_refuses_nothing_is_told() {
    let mut world = World::ready().await;
    world.set("", "mode", "production");
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let yes = tokio::task::JoinSet::from_iter([async move {
        let mut open = tokio::task::JoinSet::new();
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            open.spawn(say_yes(stream));
        }
    }]);
    let ran = world.bashu(&["doctor", "--gateway", &address]).await;
    assert_eq!(ran.code, 1);
    let report = ran.json();
    for check in [
        "csrf",
        "metrics",
        "token",
        "fragments",
        "aliases",
        "batch",
        "body",
        "introspection",
    ] {
        let check = format!("gateway.{check}");
        assert_eq!(severity(&report, &check, &address), "fail", "{check}");
    }
    drop(yes);
    let gone = format!("127.0.0.1:{}", free_port());
    let report = world.bashu(&["doctor", "--gateway", &gone]).await.json();
    assert_eq!(severity(&report, "gateway.ready", &gone), "fail");
}

/// Reads one request whole and answers 200.
async fn say_yes(mut stream: tokio::net::TcpStream) {
    let mut request = Vec::new();
    let mut chunk = vec![0; 65_536];
    loop {
        let text = String::from_utf8_lossy(&request).to_lowercase();
        if let Some(end) = text.find("\r\n\r\n") {
            let length: usize = text
                .split("content-length: ")
                .nth(1)
                .and_then(|rest| rest.split("\r\n").next())
                .map_or(0, |length| length.parse().unwrap());
            if request.len() >= end + 4 + length {
                break;
            }
        }
        match stream.read(&mut chunk).await {
            Ok(0) | Err(_) => return,
            Ok(read) => request.extend_from_slice(&chunk[..read]),
        }
    }
    let answer = "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 11\r\n\
                  connection: close\r\n\r\n{\"data\":{}}";
    let _ = stream.write_all(answer.as_bytes()).await;
}
