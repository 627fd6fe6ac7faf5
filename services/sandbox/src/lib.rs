//! Stand-ins for the outside parties of Bashu, speaking their real protocols on loopback: WeChat
//! Pay API v3 for any number of merchants, WeChat's login of mini-programs, an OpenID Connect
//! issuer, the service that verifies persons, and an SMS operator with an inbox.
//!
//! It shares no code with the clients it serves: their mistakes cannot hide in it. It deliberately
//! has no TLS, no platform certificates, no compressed bills, no fees, no coupons and no combined
//! or partner orders. Orders, refunds and notifications survive a restart; messages, nonces and
//! instructions for faults do not.

mod acts;
mod bills;
mod book;
mod clock;
mod control;
mod delivery;
mod error;
mod faults;
mod guard;
mod idcheck;
mod journal;
mod keys;
mod notifications;
mod oidc;
mod orders;
mod page;
mod random;
mod refunds;
mod signature;
mod sms;
mod statements;
mod wechat;
mod wechat_login;

pub use clock::{Clock, ManualClock};
pub use error::Error;
pub use keys::{Provisioned, provision, provision_merchant};

use axum::Router;
use book::Book;
use error::Refusal;
use faults::AnswerFaults;
use journal::{Entry, Journal};
use keys::Keys;
use signature::NonceBook;
use sms::SmsBox;
use std::collections::{BTreeSet, HashMap};
use std::fmt;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::sync::Notify;

/// Bodies larger than this are refused.
pub(crate) const BODY_BYTES_MAX: usize = 64 * 1024;
/// A receiver of a notification has this long to answer.
const NOTIFICATION_ANSWER_MAX: Duration = Duration::from_secs(5);

/// How a sandbox is set up.
#[derive(Clone, Debug)]
pub struct Config {
    /// Folder of keys and journal; made when missing.
    pub data: PathBuf,
    /// Where the time comes from.
    pub clock: Clock,
    /// Divides the waits of the notification plan, of refunds and between refunds; 1 is real.
    pub time_scale: u32,
    /// How clients reach the sandbox, for download addresses; by default the listener's address.
    pub base_url: Option<String>,
    /// Hosts that notifications may be posted to.
    pub notify_hosts: Vec<String>,
    /// How long a receiver of a notification may take; the provider's is 5 s.
    pub notification_answer_max: Duration,
    /// Whether bills can be had before 10:00 of the next day, the running day's included.
    pub bills_at_once: bool,
}

impl Config {
    /// The provider's own figures, on the machine's clock, posting to loopback only.
    #[must_use]
    pub fn new(data: impl Into<PathBuf>) -> Self {
        let notify_hosts = ["127.0.0.1", "::1", "localhost"]
            .map(str::to_owned)
            .to_vec();
        Self {
            data: data.into(),
            clock: Clock::System,
            time_scale: 1,
            base_url: None,
            notify_hosts,
            notification_answer_max: NOTIFICATION_ANSWER_MAX,
            bills_at_once: false,
        }
    }
}

/// Makes the keys that are missing and serves until `shutdown` completes.
pub async fn run(
    config: Config,
    listener: TcpListener,
    shutdown: impl Future<Output = ()> + Send + 'static,
) -> Result<(), Error> {
    let opened = tokio::task::spawn_blocking(move || Sandbox::open(config)).await;
    opened
        .map_err(Error::Task)??
        .serve(listener, shutdown)
        .await
}

/// A running sandbox; clones are the same one.
#[derive(Clone)]
pub struct Sandbox(Arc<Inner>);

pub(crate) struct Inner {
    keys: Keys,
    clock: Clock,
    time_scale: i64,
    notify_hosts: BTreeSet<String>,
    bills_at_once: bool,
    base_url: OnceLock<String>,
    client: reqwest::Client,
    journal: Journal,
    book: Mutex<Book>,
    nonces: Mutex<NonceBook>,
    faults: Mutex<AnswerFaults>,
    sms: Mutex<SmsBox>,
    wechat_codes: Mutex<wechat_login::Codes>,
    oidc: Mutex<oidc::Issuer>,
    people: Mutex<idcheck::People>,
    bill_files: Mutex<HashMap<String, statements::BillFile>>,
    wake: Notify,
    page_token: String,
}

impl fmt::Debug for Sandbox {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Sandbox").finish_non_exhaustive()
    }
}

impl Sandbox {
    /// Makes the keys that are missing, replays the journal and locks the data folder. Blocks.
    pub fn open(config: Config) -> Result<Self, Error> {
        let _paths = provision(&config.data)?;
        let keys = Keys::load(&config.data)?;
        let mut book = Book::default();
        let journal = Journal::open(&config.data.join("journal.jsonl"), |entry| book.put(entry))?;
        let client = reqwest::Client::builder()
            .no_proxy()
            .redirect(reqwest::redirect::Policy::none())
            .timeout(config.notification_answer_max)
            .user_agent("Mozilla/4.0")
            .build()
            .map_err(Error::Client)?;
        let base_url = config.base_url.map_or_else(OnceLock::new, OnceLock::from);
        Ok(Self(Arc::new(Inner {
            keys,
            clock: config.clock,
            time_scale: i64::from(config.time_scale.max(1)),
            notify_hosts: config.notify_hosts.into_iter().collect(),
            bills_at_once: config.bills_at_once,
            base_url,
            client,
            journal,
            book: Mutex::new(book),
            nonces: Mutex::default(),
            faults: Mutex::default(),
            sms: Mutex::default(),
            wechat_codes: Mutex::default(),
            oidc: Mutex::default(),
            people: Mutex::default(),
            bill_files: Mutex::default(),
            wake: Notify::new(),
            page_token: random::text(random::ALPHANUMERIC, 32),
        })))
    }

    /// Serves until `shutdown` completes. On the system's clock, what is due is done in the
    /// background; on a manual one only by `step`.
    pub async fn serve(
        self,
        listener: TcpListener,
        shutdown: impl Future<Output = ()> + Send + 'static,
    ) -> Result<(), Error> {
        let address = listener.local_addr().map_err(Error::Listen)?;
        let _url = self.0.base_url.get_or_init(|| format!("http://{address}"));
        tracing::info!(%address, "the sandbox listens");
        let server = axum::serve(listener, self.router())
            .with_graceful_shutdown(shutdown)
            .into_future();
        match self.0.clock {
            Clock::Manual(_) => server.await.map_err(Error::Listen),
            Clock::System => tokio::select! {
                served = server => served.map_err(Error::Listen),
                never = self.drive() => match never {},
            },
        }
    }

    fn router(&self) -> Router {
        Router::new()
            .merge(wechat::routes(self))
            .merge(control::routes())
            .merge(page::routes())
            .merge(wechat_login::routes())
            .merge(oidc::routes())
            .merge(idcheck::routes())
            .fallback(|| async { Refusal::no_resource("无此接口 (no such endpoint)") })
            .layer(axum::extract::DefaultBodyLimit::max(BODY_BYTES_MAX))
            .with_state(self.clone())
    }

    /// Decides an act under the lock, takes it in and queues it for the journal.
    fn act<T>(
        &self,
        decide: impl FnOnce(&mut Book, i64) -> Result<(T, Vec<Entry>), Refusal>,
    ) -> Result<T, Refusal> {
        if self.0.journal.is_lost() {
            return Err(Refusal::system());
        }
        let mut book = lock(&self.0.book);
        let (value, entries) = decide(&mut book, self.now_ms())?;
        if !entries.is_empty() {
            self.0.journal.append(&entries);
            entries.into_iter().for_each(|entry| book.put(entry));
        }
        Ok(value)
    }

    fn now_ms(&self) -> i64 {
        self.0.clock.now_ms()
    }
}

/// Locks; a panic elsewhere while holding the lock left nothing half done that matters here.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
