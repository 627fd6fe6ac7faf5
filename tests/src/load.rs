//! An open-loop load generator: requests have instants at which they are due, whatever becomes of
//! those before them, and a latency counts from that instant, so that a server that stalls cannot
//! hide it by keeping its clients from asking (coordinated omission).
//!
//! It runs on one thread of its own over connections that stay open, because it shares the cores
//! with what it measures, and it says how much of them it took. It knows HTTP and nothing of
//! what is asked.

mod histogram;

use std::cell::{Cell, RefCell};
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow};
use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http1::SendRequest;
use hyper::{Request, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

pub use histogram::Histogram;
use histogram::as_f64;

/// A request of the generator.
pub type HttpRequest = Request<Full<Bytes>>;

/// The width of a slot of [`Outcome::throughput`].
const SLOT: Duration = Duration::from_millis(500);
/// What was due when a run ends is still sent for at most this long.
const OVERTIME_MAX: Duration = Duration::from_secs(10);
/// A single answer may take this long.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(20);
/// Reconnections of one connection, at most.
const RECONNECTIONS_MAX: u32 = 20;

/// What is asked, and what a right answer is.
pub trait Requests: Send + Sync + 'static {
    /// The `number`-th request of the run, from zero. Called when it is sent.
    fn request(&self, number: u64) -> HttpRequest;

    /// Whether this answer is the right one; else what is wrong with it.
    ///
    /// # Errors
    /// What is wrong, for a person.
    fn judge(
        &self,
        number: u64,
        status: StatusCode,
        body: &[u8],
    ) -> std::result::Result<(), String>;
}

/// How requests arrive.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Arrivals {
    /// As many each second as this, evenly.
    Rate(f64),
    /// The next when the one before is answered, on each connection: what the server can do when
    /// it is never left idle. Not for latencies.
    Saturate,
}

/// One run.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    pub address: SocketAddr,
    pub connections: usize,
    pub arrivals: Arrivals,
    pub length: Duration,
    /// Requests, at most.
    pub requests_max: u64,
}

/// What came of a run.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// Requests that were due.
    pub due: u64,
    pub sent: u64,
    /// Answers that were right.
    pub right: u64,
    pub wrong: u64,
    pub first_wrong: Option<String>,
    /// From the first instant due to the last answer.
    pub elapsed: Duration,
    /// Of the right answers, from the instant at which their request was due.
    pub latencies: Histogram,
    /// Right answers in each half second.
    pub slots: Vec<u64>,
    /// Seconds of one core that the generator used.
    pub cpu_seconds: f64,
}

impl Outcome {
    /// Right answers in a second.
    pub fn rate(&self) -> f64 {
        ratio(self.right, self.elapsed.as_secs_f64())
    }

    /// The share of one core that the generator used.
    pub fn cpu_share(&self) -> f64 {
        self.cpu_seconds / self.elapsed.as_secs_f64().max(f64::MIN_POSITIVE)
    }

    /// Whether the rate was kept up: nothing wrong, and all answered in hardly more time than
    /// the requests took to arrive.
    pub fn kept_up(&self, plan: &Plan) -> bool {
        let limit = plan.length.as_secs_f64() * 1.02 + 0.1;
        self.wrong == 0 && self.right == self.due && self.elapsed.as_secs_f64() <= limit
    }

    /// Right answers in a second over the run's seconds.
    pub fn throughput(&self) -> Vec<(f64, f64)> {
        let slot = SLOT.as_secs_f64();
        let points = self.slots.iter().zip(1u32..);
        points
            .map(|(count, at)| (f64::from(at) * slot, ratio(*count, slot)))
            .collect()
    }
}

fn ratio(count: u64, seconds: f64) -> f64 {
    if seconds > 0.0 {
        as_f64(count) / seconds
    } else {
        0.0
    }
}

/// Runs a plan on a thread of its own.
///
/// # Errors
/// When a connection cannot be made.
pub async fn run(plan: Plan, requests: Arc<dyn Requests>) -> Result<Outcome> {
    tokio::task::spawn_blocking(move || {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        let local = tokio::task::LocalSet::new();
        let before = thread_cpu_seconds();
        let mut outcome = local.block_on(&runtime, drive(plan, requests))?;
        outcome.cpu_seconds = thread_cpu_seconds() - before;
        Ok(outcome)
    })
    .await?
}

/// What all connections of a run share.
struct Shared {
    plan: Plan,
    requests: Arc<dyn Requests>,
    began: Instant,
    next: Cell<u64>,
    due: u64,
    tally: RefCell<Tally>,
}

#[derive(Default)]
struct Tally {
    sent: u64,
    right: u64,
    wrong: u64,
    first_wrong: Option<String>,
    latencies: Histogram,
    slots: Vec<u64>,
    last: Option<Instant>,
}

async fn drive(plan: Plan, requests: Arc<dyn Requests>) -> Result<Outcome> {
    let mut senders = Vec::with_capacity(plan.connections);
    for _ in 0..plan.connections {
        senders.push(connect(plan.address).await?);
    }
    let due = match plan.arrivals {
        Arrivals::Rate(rate) => whole(rate * plan.length.as_secs_f64()).min(plan.requests_max),
        Arrivals::Saturate => plan.requests_max,
    };
    let shared = Rc::new(Shared {
        plan,
        requests,
        began: Instant::now(),
        next: Cell::new(0),
        due,
        tally: RefCell::default(),
    });
    let tasks: Vec<_> = senders
        .into_iter()
        .map(|sender| tokio::task::spawn_local(connection(Rc::clone(&shared), sender)))
        .collect();
    for task in tasks {
        task.await??;
    }
    let tally = shared.tally.take();
    let due = match plan.arrivals {
        Arrivals::Rate(_) => due,
        Arrivals::Saturate => tally.sent,
    };
    let last = tally.last.unwrap_or(shared.began);
    Ok(Outcome {
        due,
        sent: tally.sent,
        right: tally.right,
        wrong: tally.wrong,
        first_wrong: tally.first_wrong,
        elapsed: last - shared.began,
        latencies: tally.latencies,
        slots: tally.slots,
        cpu_seconds: 0.0,
    })
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a count of requests, never negative and far below 2^52"
)]
fn whole(value: f64) -> u64 {
    value.max(0.0) as u64
}

async fn connect(address: SocketAddr) -> Result<SendRequest<Full<Bytes>>> {
    let stream = TcpStream::connect(address)
        .await
        .with_context(|| format!("{address} does not answer"))?;
    stream.set_nodelay(true)?;
    let (sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
    // Ends with its sender; what broke it is seen there.
    tokio::task::spawn_local(async move {
        let _ = connection.await;
    });
    Ok(sender)
}

/// Takes the next request that is due, waits for its instant, sends it, and judges the answer.
async fn connection(shared: Rc<Shared>, mut sender: SendRequest<Full<Bytes>>) -> Result<()> {
    let mut reconnections = 0;
    while let Some((number, intended)) = shared.take() {
        if let Some(intended) = intended {
            tokio::time::sleep_until(intended.into()).await;
        }
        let intended = intended.unwrap_or_else(Instant::now);
        shared.tally.borrow_mut().sent += 1;
        let request = shared.requests.request(number);
        match answer(&mut sender, request).await {
            Ok((status, body)) => {
                let judged = shared.requests.judge(number, status, &body);
                shared.count(intended, judged);
            }
            Err(error) => {
                shared.count(intended, Err(format!("{error:#}")));
                reconnections += 1;
                if reconnections > RECONNECTIONS_MAX {
                    return Err(error.context("a connection broke again and again"));
                }
                sender = connect(shared.plan.address).await?;
            }
        }
    }
    Ok(())
}

async fn answer(
    sender: &mut SendRequest<Full<Bytes>>,
    request: HttpRequest,
) -> Result<(StatusCode, Bytes)> {
    let exchange = async {
        sender.ready().await?;
        let response = sender.send_request(request).await?;
        let status = response.status();
        let body = response.into_body().collect().await?.to_bytes();
        Ok::<_, hyper::Error>((status, body))
    };
    tokio::time::timeout(ANSWER_TIMEOUT, exchange)
        .await
        .map_err(|_| anyhow!("no answer in {} s", ANSWER_TIMEOUT.as_secs()))?
        .context("the connection broke")
}

impl Shared {
    /// The next request and the instant at which it is due, if it has one.
    fn take(&self) -> Option<(u64, Option<Instant>)> {
        let number = self.next.get();
        let since = self.began.elapsed();
        let intended = match self.plan.arrivals {
            Arrivals::Rate(rate) => {
                let over = since > self.plan.length + OVERTIME_MAX;
                if number >= self.due || over {
                    return None;
                }
                Some(self.began + Duration::from_secs_f64(as_f64(number) / rate))
            }
            Arrivals::Saturate => {
                if number >= self.due || since > self.plan.length {
                    return None;
                }
                None
            }
        };
        self.next.set(number + 1);
        Some((number, intended))
    }

    fn count(&self, intended: Instant, judged: std::result::Result<(), String>) {
        let now = Instant::now();
        let mut tally = self.tally.borrow_mut();
        tally.last = Some(now);
        match judged {
            Ok(()) => {
                tally.right += 1;
                tally.latencies.record(now - intended);
                let slot = (now - self.began).as_millis() / SLOT.as_millis();
                let slot = usize::try_from(slot).unwrap_or(0);
                if tally.slots.len() <= slot {
                    tally.slots.resize(slot + 1, 0);
                }
                tally.slots[slot] += 1;
            }
            Err(wrong) => {
                tally.wrong += 1;
                tally.first_wrong.get_or_insert(wrong);
            }
        }
    }
}

/// Seconds of a core that this thread used so far, as the kernel counts them; 0 where it does not.
fn thread_cpu_seconds() -> f64 {
    std::fs::read_to_string("/proc/thread-self/schedstat")
        .ok()
        .and_then(|text| text.split(' ').next()?.parse::<u64>().ok())
        .map_or(0.0, |nanoseconds| as_f64(nanoseconds) / 1e9)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A server that answers one request after another, each in 20 ms.
    async fn slow_server() -> SocketAddr {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let turn = Arc::new(tokio::sync::Mutex::new(()));
        let route = axum::routing::get(move || {
            let turn = Arc::clone(&turn);
            async move {
                let _turn = turn.lock().await;
                tokio::time::sleep(Duration::from_millis(20)).await;
                "done"
            }
        });
        let router = axum::Router::new().route("/", route);
        #[expect(clippy::disallowed_methods, reason = "ends with the test's runtime")]
        tokio::spawn(async move { axum::serve(listener, router).await });
        address
    }

    struct Root;

    impl Requests for Root {
        fn request(&self, _: u64) -> HttpRequest {
            let request = Request::get("/").header("host", "test");
            request.body(Full::default()).unwrap()
        }

        fn judge(&self, _: u64, _: StatusCode, body: &[u8]) -> std::result::Result<(), String> {
            (body == b"done")
                .then_some(())
                .ok_or_else(|| "not done".to_owned())
        }
    }

    /// Twice as many requests as the server can answer: each waits for those before it, and a
    /// generator that measured from the sending would not see it on two connections.
    #[tokio::test]
    async fn a_server_that_falls_behind_shows_in_the_latencies() {
        let plan = Plan {
            address: slow_server().await,
            connections: 2,
            arrivals: Arrivals::Rate(100.0),
            length: Duration::from_millis(500),
            requests_max: u64::MAX,
        };
        let outcome = run(plan, Arc::new(Root)).await.unwrap();
        assert_eq!((outcome.due, outcome.right, outcome.wrong), (50, 50, 0));
        assert!(
            outcome.latencies.max_ms() > 400.0,
            "{:?}",
            outcome.latencies
        );
        assert!(!outcome.kept_up(&plan));
        let plan = Plan {
            arrivals: Arrivals::Rate(20.0),
            ..plan
        };
        let outcome = run(plan, Arc::new(Root)).await.unwrap();
        assert!(outcome.kept_up(&plan), "{outcome:?}");
        assert!(outcome.latencies.quantile_ms(0.5) < 100.0);
    }
}
