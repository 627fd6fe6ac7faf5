//! One union's billing with a database, a provider and a clock of its own, and the hands that
//! tests need: a seller, a payer, an operator, the provider's controls, the outbox, the books.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicI64, AtomicU32, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use async_graphql::{Request, Variables};
use billing::graphql::BillingSchema;
use billing::{ALL_MIGRATIONS, Billing, NAME, Settings, WechatSettings, due};
use chrono::{DateTime, TimeDelta, Utc};
use kit::Ids;
use kit::access::{Caller, Role, seed};
use kit::graphql::{GlobalId, Language, Mode};
use kit::testing::TestDb;
use kit::types::{LoginId, MemberId};
use sandbox::{Config, ManualClock, Sandbox};
use sea_orm::FromQueryResult;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tokio::time::Instant;
use uuid::Uuid;

/// How long a condition is waited for.
const PATIENCE: Duration = Duration::from_secs(30);
/// How often it is looked at.
const LOOK: Duration = Duration::from_millis(20);
pub(crate) const MCHID: &str = "1900000050";
/// Opens what identity seals to billing.
pub(crate) const PAYER_KEY: &str = "BwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwc=";
static NEXT: AtomicU32 = AtomicU32::new(0);

/// Keys are made once and kept between runs; each test works on a copy.
fn template() -> &'static Path {
    static TEMPLATE: OnceLock<PathBuf> = OnceLock::new();
    TEMPLATE.get_or_init(|| {
        let dir = Path::new(env!("CARGO_TARGET_TMPDIR")).join("billing-sandbox-keys");
        let _paths = sandbox::provision(&dir).unwrap();
        dir
    })
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy(&entry.path(), &target);
        } else {
            let _bytes = fs::copy(entry.path(), target).unwrap();
        }
    }
}

pub(crate) struct World {
    pub(crate) db: TestDb,
    pub(crate) billing: Billing,
    pub(crate) sandbox: Sandbox,
    pub(crate) provider: String,
    pub(crate) rest: String,
    pub(crate) http: reqwest::Client,
    clock: ManualClock,
    pub(crate) schema: BillingSchema,
    pub(crate) pseq: AtomicI64,
    data: PathBuf,
    /// Servers and due work; they end with the test.
    tasks: JoinSet<()>,
}

/// An order as a seller asks for it.
#[derive(Clone, Debug)]
pub(crate) struct Asked {
    pub(crate) id: Uuid,
    pub(crate) lines: Vec<Uuid>,
    pub(crate) total: i64,
}

/// An event as it lies in the outbox.
#[derive(Clone, Debug, FromQueryResult)]
pub(crate) struct Emitted {
    pub(crate) kind: String,
    pub(crate) version: i64,
    pub(crate) payload: Vec<u8>,
}

pub(crate) fn caller(number: u128) -> Caller {
    let member = MemberId(Uuid::from_u128(0x1000 + number));
    Caller::member(
        member,
        LoginId(Uuid::from_u128(0x2000 + number)),
        Language::En,
    )
}

/// The same caller, in another language.
pub(crate) fn speaking(caller: Caller, language: Language) -> Caller {
    Caller { language, ..caller }
}

/// The member who pays in most tests.
pub(crate) fn payer() -> Caller {
    caller(1)
}

pub(crate) fn member(number: u128) -> Uuid {
    Uuid::from_u128(0x1000 + number)
}

pub(crate) fn key() -> Uuid {
    let mut bytes = [0; 16];
    Ids::random().fill(&mut bytes);
    Uuid::from_bytes(bytes)
}

/// The settings of the union's merchant, as the sandbox's files say.
pub(crate) fn settings(data: &Path, provider: &str, notify_url: &str) -> Settings {
    let merchant = data.join("merchants").join(MCHID);
    let file = |path: PathBuf| format!("file:{}", path.display());
    Settings {
        wechat: WechatSettings {
            base_url: provider.to_owned(),
            mchid: MCHID.to_owned(),
            appid: file(merchant.join("appid")),
            merchant_serial: file(merchant.join("serial")),
            merchant_key: file(merchant.join("private_key.pem")).into(),
            platform_serial: file(data.join("platform/serial")),
            platform_key: file(data.join("platform/public_key.pem")),
            apiv3_key: file(merchant.join("apiv3_key")).into(),
            notify_url: notify_url.to_owned(),
            mini_program: Some(billing::wechat::MiniProgramSettings {
                appid: file(data.join("mini_programs/50/appid")),
                payer_key: PAYER_KEY.into(),
            }),
        },
    }
}

impl World {
    /// Everything runs, due work included.
    pub(crate) async fn start() -> Self {
        let mut world = Self::still().await;
        world.billing.open().await.unwrap();
        let (ctx, jobs) = (
            world.db.ctx.clone(),
            Arc::new(due::Jobs(world.billing.clone())),
        );
        world.tasks.spawn(async move {
            let stop = tokio_util::sync::CancellationToken::new();
            kit::due::run(ctx, jobs, stop).await.unwrap();
        });
        world
    }

    /// Due work runs only when the test says so.
    pub(crate) async fn still() -> Self {
        let number = NEXT.fetch_add(1, Ordering::SeqCst);
        let data = Path::new(env!("CARGO_TARGET_TMPDIR"))
            .join(format!("billing-{}-{number}", std::process::id()));
        copy(template(), &data);
        let db = kit::testing::db(NAME, ALL_MIGRATIONS).await;
        let clock = ManualClock::at(kit::testing::start().timestamp_millis());
        let mut config = Config::new(&data);
        config.clock = sandbox::Clock::Manual(clock.clone());
        let sandbox = Sandbox::open(config).unwrap();
        let mut tasks = JoinSet::new();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let provider = format!("http://{}", listener.local_addr().unwrap());
        let served = sandbox.clone().serve(listener, std::future::pending());
        tasks.spawn(async move { served.await.unwrap() });
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let rest = format!("http://{}", listener.local_addr().unwrap());
        let settings = settings(&data, &provider, &rest);
        let billing = Billing::new(db.ctx.clone(), &settings, Default::default()).unwrap();
        let routes = kit::http::rest(billing::rest::routes(&billing));
        tasks.spawn(async move { axum::serve(listener, routes).await.unwrap() });
        let http = reqwest::Client::builder().no_proxy().build().unwrap();
        let schema = billing::schema(&billing, Mode::Development);
        let pseq = AtomicI64::new(0);
        Self {
            db,
            billing,
            sandbox,
            provider,
            rest,
            http,
            clock,
            schema,
            pseq,
            data,
            tasks,
        }
    }

    /// The provider's folder.
    pub(crate) fn data(&self) -> &Path {
        &self.data
    }

    // The clock.

    /// Moves our clock and the provider's.
    pub(crate) fn advance(&self, by: TimeDelta) {
        self.clock.advance_ms(by.num_milliseconds());
        self.db.ctx.clock.advance(by);
    }

    /// Runs what is due until nothing is; for worlds that stand still.
    pub(crate) async fn work(&self) -> usize {
        let jobs = due::Jobs(self.billing.clone());
        let mut ran = 0;
        loop {
            match kit::due::step(&self.db.ctx, &jobs).await.unwrap() {
                0 => return ran,
                count => ran += count,
            }
        }
    }

    /// Waits for a condition.
    pub(crate) async fn until<F>(&self, what: &str, mut condition: F)
    where
        F: AsyncFnMut() -> bool,
    {
        let deadline = Instant::now() + PATIENCE;
        let mut looks = tokio::time::interval(LOOK);
        while !condition().await {
            assert!(Instant::now() < deadline, "it never came true: {what}");
            looks.tick().await;
        }
    }

    // The graph.

    pub(crate) async fn graph(&self, caller: &Caller, query: &str, variables: Value) -> Value {
        let request = Request::new(query)
            .variables(Variables::from_json(variables))
            .data(caller.clone())
            .data(caller.language);
        serde_json::to_value(self.schema.execute(request).await).unwrap()
    }

    /// `payOrder`; its payload.
    pub(crate) async fn pay_order(&self, caller: &Caller, order: Uuid, key: Uuid) -> Value {
        let answer = self
            .graph(
                caller,
                "mutation ($input: PayOrderInput!) { payOrder(input: $input) {
                   payment { id state codeUrl expiresAt amount { amountFen currency } }
                   order { id number state } userErrors { code field message } } }",
                json!({ "input": {
                    "orderId": GlobalId::of_uuid("Order", order).0,
                    "method": "WECHAT_NATIVE",
                    "idempotencyKey": key,
                }}),
            )
            .await;
        assert_eq!(answer.get("errors"), None, "{answer}");
        answer["data"]["payOrder"].clone()
    }

    /// A payment that is ready to be paid; our number of it at the provider.
    pub(crate) async fn ready(&self, order: &Asked) -> String {
        let paying = self.pay_order(&payer(), order.id, key()).await;
        assert_eq!(paying["payment"]["state"], "WAITING", "{paying}");
        self.trade_no(order.id).await
    }

    /// An order that was paid and knows it.
    pub(crate) async fn paid(&self, prices: &[i64]) -> Asked {
        let order = self.order(prices).await;
        let number = self.ready(&order).await;
        self.payer_pays(&number).await;
        self.deliver().await;
        assert_eq!(self.order_state(order.id).await, "paid");
        order
    }

    // The provider.

    pub(crate) async fn control(&self, path: &str, body: Value) -> (u16, Value) {
        let url = format!("{}{path}", self.provider);
        let answer = self.http.post(url).json(&body).send().await.unwrap();
        let status = answer.status().as_u16();
        (status, answer.json().await.unwrap_or(Value::Null))
    }

    /// The payer scans and pays.
    pub(crate) async fn payer_pays(&self, out_trade_no: &str) {
        let told = json!({ "out_trade_no": out_trade_no, "force": true });
        let (status, answer) = self.control("/sandbox/pay", told).await;
        assert_eq!(status, 200, "{answer}");
    }

    /// Everything the provider has to deliver or finish now.
    pub(crate) async fn deliver(&self) {
        while self.sandbox.step().await.unwrap() > 0 {}
    }

    pub(crate) async fn instruct(&self, told: Value) {
        let (status, answer) = self.control("/sandbox/notifications", told).await;
        assert_eq!(status, 204, "{answer}");
    }

    /// Sends a payment's notification again, or a forged one; the statuses we answered.
    pub(crate) async fn resend(&self, told: Value) -> Vec<u64> {
        let (status, answer) = self.control("/sandbox/notifications/resend", told).await;
        assert_eq!(status, 200, "{answer}");
        let attempts = answer["attempts"].as_array().unwrap().iter();
        attempts
            .map(|attempt| attempt["http_status"].as_u64().unwrap_or(0))
            .collect()
    }

    pub(crate) async fn fault(&self, told: Value) {
        let (status, answer) = self.control("/sandbox/answers", told).await;
        assert!(status < 300, "{answer}");
    }

    // What is kept.

    pub(crate) async fn text(&self, sql: &str) -> String {
        #[derive(FromQueryResult)]
        struct Row {
            value: Option<String>,
        }
        let sql = format!("SELECT ({sql})::text AS value");
        let row = self.db.ctx.db.one::<Row>(&sql, []).await.unwrap();
        row.and_then(|row| row.value).unwrap_or_default()
    }

    pub(crate) async fn count(&self, table_and_condition: &str) -> i64 {
        self.text(&format!("SELECT count(*) FROM {table_and_condition}"))
            .await
            .parse()
            .unwrap()
    }

    pub(crate) async fn order_state(&self, id: Uuid) -> String {
        self.text(&format!("SELECT state FROM orders WHERE id = '{id}'"))
            .await
    }

    pub(crate) async fn trade_no(&self, order: Uuid) -> String {
        self.text(&format!(
            "SELECT out_trade_no FROM payment WHERE order_id = '{order}'
             ORDER BY created_at DESC, id DESC LIMIT 1"
        ))
        .await
    }

    /// The balance of an account: debits less credits.
    pub(crate) async fn balance(&self, account: &str) -> i64 {
        let sql =
            format!("SELECT debit_fen - credit_fen FROM account_balance WHERE code = '{account}'");
        self.text(&sql).await.parse().unwrap()
    }

    /// The steps of an order's timeline.
    pub(crate) async fn steps(&self, order: Uuid) -> Vec<String> {
        let sql = format!(
            "SELECT string_agg(code, ' ' ORDER BY id) FROM order_step WHERE order_id = '{order}'"
        );
        self.text(&sql)
            .await
            .split_whitespace()
            .map(str::to_owned)
            .collect()
    }

    /// What was published of an order, in order.
    pub(crate) async fn published(&self, order: Uuid) -> Vec<Emitted> {
        let sql = "SELECT kind, version, payload FROM outbox WHERE key = $1 ORDER BY id";
        self.db
            .ctx
            .db
            .all(sql, [order.as_bytes().to_vec().into()])
            .await
            .unwrap()
    }

    pub(crate) async fn kinds(&self, order: Uuid) -> Vec<String> {
        let published = self.published(order).await;
        published
            .iter()
            .map(|one| one.kind.rsplit('.').next().unwrap().to_owned())
            .collect()
    }

    /// Identity is heard of now.
    pub(crate) async fn heartbeat(&self) {
        let beat = async |tx: &kit::Tx| seed::heartbeat(tx).await;
        self.db.ctx.db.tx("heartbeat", beat).await.unwrap();
    }

    /// An operator, identity having been heard of just now.
    pub(crate) async fn operator(&self) -> Caller {
        let operator = caller(9_000).stepped_up(DateTime::<Utc>::MAX_UTC);
        self.office(&operator, Role::Operator).await;
        operator
    }

    /// Gives a caller a role at the root of the union.
    pub(crate) async fn office(&self, caller: &Caller, role: Role) {
        let kit::access::Who::Member { member, .. } = caller.who else {
            panic!("nobody")
        };
        let root = Uuid::from_u128(0x50);
        let known = self
            .count(&format!("replica_organisation WHERE id = '{root}'"))
            .await;
        let seeded = self.db.ctx.db.tx("seed", async |tx| {
            seed::heartbeat(tx).await?;
            if known == 0 {
                seed::organisation(tx, root, &[]).await?;
            }
            seed::role(tx, member.0, root, role).await
        });
        seeded.await.unwrap();
    }

    /// Every promise that can be asked under a clock of the test's own.
    pub(crate) async fn verify(&self) {
        for invariant in billing::verify::INVARIANTS {
            if invariant.id == "billing.nothing_open_too_long" {
                continue;
            }
            let broken = kit::verify::check(&self.db.ctx.db, invariant)
                .await
                .unwrap();
            assert!(broken.is_empty(), "{}: {broken:?}", invariant.id);
        }
    }
}

impl Drop for World {
    fn drop(&mut self) {
        self.tasks.abort_all();
        let _best_effort = fs::remove_dir_all(&self.data);
    }
}

/// What a test that pays by command rather than by the graph asks for.
pub(crate) fn pay(order: Uuid, key: Uuid) -> billing::commands::PayOrder {
    billing::commands::PayOrder {
        order: order.into(),
        key,
    }
}
