//! A process says when it can answer, restarts what fell over, and ends without cutting off
//! what it had begun.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use axum::Router;
use axum::routing::{get, post};
use kit::config::Listen;
use kit::due::{After, Job, NewDue, Work};
use kit::graphql::Mode;
use kit::migrate::Migration;
use kit::serve::{Process, Service};
use kit::{Error, Result};
use tokio::sync::Notify;
use tokio_util::task::TaskTracker;

use crate::world::World;

const SOON: Duration = Duration::from_secs(20);

async fn soon<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(SOON, future)
        .await
        .expect("it happens soon")
}

/// Not ready at once, closed to new connections, done when the last request is.
#[tokio::test]
async fn a_request_in_flight_is_finished_before_the_process_ends() {
    let world = World::start(Mode::Development).await;
    assert_eq!(world.ops("/ready").await.0, 200);
    let (graphql, ops) = (world.graphql(), world.addresses.ops);
    {
        let asked = world.query("{ slow }").send();
        tokio::pin!(asked);
        tokio::select! {
            answer = &mut asked => panic!("{answer:?}"),
            () = world.probe.entered.notified() => {}
        }
        world.stop.cancel();
        soon(async {
            while tokio::net::TcpStream::connect(graphql).await.is_ok() {
                tokio::task::yield_now().await;
            }
        })
        .await;
        assert_eq!(world.ops("/live").await.0, 200, "it is alive while it ends");
        assert_eq!(world.ops("/ready").await.0, 503);
        assert!(!world.running.is_finished());
        world.probe.go_on.notify_one();
        let answer = soon(asked).await;
        assert_eq!(
            (answer.status, &answer.body["data"]["slow"]),
            (200, &"done".into())
        );
    }
    soon(world.running).await.unwrap().unwrap();
    assert!(tokio::net::TcpStream::connect(ops).await.is_err());
    assert!(
        world.db.ctx.db.execute("SELECT 1", []).await.is_err(),
        "the pool is closed"
    );
}

#[tokio::test]
async fn readiness_tells_what_is_missing() {
    const MISSING: &[Migration] = &[Migration {
        name: "never_run",
        sql: "",
    }];
    let world = World::start_with(Mode::Development, |s| s.migrations(&[MISSING])).await;
    let (status, body) = world.ops("/ready").await;
    assert_eq!(
        (status, body.contains("migrations are missing")),
        (503, true),
        "{body}"
    );
    world.end().await;
    let world = World::start(Mode::Development).await;
    world.keys.replace([]);
    let (status, body) = world.ops("/ready").await;
    assert_eq!(
        (status, body.contains("keys are not loaded")),
        (503, true),
        "{body}"
    );
    world.db.ctx.db.pool().clone().close().await.unwrap();
    let (status, body) = world.ops("/ready").await;
    assert_eq!(
        (status, body.contains("database does not answer")),
        (503, true),
        "{body}"
    );
    assert_eq!(
        world.ops("/live").await.0,
        200,
        "it lives without its database"
    );
    assert_eq!(world.ops("/graphql").await.0, 404);
    world.end().await;
}

#[tokio::test]
async fn a_loop_that_fails_or_panics_runs_again_and_ends_with_the_process() {
    let (runs, third) = (Arc::new(AtomicU32::new(0)), Arc::new(Notify::new()));
    let ended = Arc::new(AtomicU32::new(0));
    let world = {
        let (runs, third, ended) = (Arc::clone(&runs), Arc::clone(&third), Arc::clone(&ended));
        World::start_with(Mode::Development, move |service| {
            service.add_loop("stumbling", move |_, stop| {
                let (runs, third, ended) = (runs.clone(), third.clone(), ended.clone());
                async move {
                    match runs.fetch_add(1, Ordering::SeqCst) {
                        0 => Err(Error::internal("the first run fails")),
                        1 => panic!("the second run panics"),
                        _ => {
                            third.notify_one();
                            stop.cancelled().await;
                            ended.fetch_add(1, Ordering::SeqCst);
                            Ok(())
                        }
                    }
                }
            })
        })
        .await
    };
    soon(third.notified()).await;
    assert_eq!(ended.load(Ordering::SeqCst), 0);
    world.end().await;
    assert_eq!(
        (runs.load(Ordering::SeqCst), ended.load(Ordering::SeqCst)),
        (3, 1)
    );
}

struct Bell(Arc<Notify>);

impl Work for Bell {
    async fn run(&self, job: &Job) -> Result<After> {
        assert_eq!((job.kind.as_str(), job.subject.as_str()), ("bell", "noon"));
        self.0.notify_one();
        Ok(After::Done)
    }
}

#[tokio::test]
async fn due_work_is_done_when_it_is_due() {
    let rung = Arc::new(Notify::new());
    let bell = Bell(Arc::clone(&rung));
    let world = World::start_with(Mode::Development, |service| service.due(bell)).await;
    let ctx = &world.db.ctx;
    let plan = async |tx: &kit::Tx| {
        tx.plan(NewDue::new("bell", "noon", tx.now()));
        Ok(())
    };
    ctx.db.tx("plan", plan).await.unwrap();
    soon(rung.notified()).await;
    world.end().await;
}

/// REST has the services' routes and nothing else, with limits and answers of its own.
#[tokio::test]
async fn rest_is_a_listener_of_its_own() {
    let routes = || {
        Router::new()
            .route(
                "/hook",
                post(async |body: axum::body::Bytes| body.len().to_string()),
            )
            .route(
                "/panic",
                get(async || -> &'static str { panic!("stays inside") }),
            )
    };
    let world = World::start_with(Mode::Development, |service| service.rest(routes(), 1_000)).await;
    let rest = |path: &str| format!("http://{}{path}", world.addresses.rest);
    let hook = |bytes: usize| {
        world
            .http
            .post(rest("/hook"))
            .body("x".repeat(bytes))
            .send()
    };
    let good = hook(1_000).await.unwrap();
    assert_eq!(
        (good.status().as_u16(), good.text().await.unwrap()),
        (200, "1000".to_owned())
    );
    let large = hook(1_001).await.unwrap();
    assert_eq!(large.status(), 413);
    assert!(large.text().await.unwrap().contains("BODY_TOO_LARGE"));
    for (path, status, code) in [
        ("/nothing", 404, "NOT_FOUND"),
        ("/graphql", 404, "NOT_FOUND"),
        ("/hook", 405, "METHOD_NOT_ALLOWED"),
        ("/panic", 500, "INTERNAL"),
    ] {
        let answer = world
            .http
            .get(rest(path))
            .header("accept-language", "en")
            .send()
            .await;
        let answer = answer.unwrap();
        assert_eq!(answer.status(), status, "{path}");
        assert!(!answer.headers().contains_key("server"));
        let body: serde_json::Value = answer.json().await.unwrap();
        assert_eq!(body["error"]["code"], code, "{body}");
        assert!(!body.to_string().contains("stays inside"));
    }
    world.end().await;
}

#[tokio::test]
async fn an_address_that_is_taken_is_named() {
    let world = World::start(Mode::Development).await;
    let mut listen = Listen::anywhere();
    listen.rest_port = Some(world.addresses.rest.port());
    let services = vec![Service::new(world.db.ctx.clone())];
    let error = Process::bind(&listen, services, None)
        .await
        .unwrap_err()
        .to_string();
    assert!(error.contains(&world.addresses.rest.to_string()), "{error}");
    world.end().await;
}

/// SIGTERM ends the process in order; sent to a child that waits for nothing else.
#[tokio::test]
async fn a_signal_stops() {
    let stop = kit::serve::on_termination().unwrap();
    let pid = std::process::id().to_string();
    let waiting = TaskTracker::new().spawn(stop.clone().cancelled_owned());
    let status = std::process::Command::new("kill")
        .args(["-TERM", &pid])
        .status()
        .unwrap();
    assert!(status.success());
    soon(waiting).await.unwrap();
    assert!(stop.is_cancelled());
}
