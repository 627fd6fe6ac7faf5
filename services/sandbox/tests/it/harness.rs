//! A sandbox on port 0 with a clock that stands still, a merchant's client, and a receiver of
//! notifications whose answers the test decides.

use aes_gcm::aead::{Aead, KeyInit, OsRng, Payload, rand_core::RngCore};
use aes_gcm::{Aes256Gcm, Nonce};
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::{Router, routing::post};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use reqwest::Method;
use rsa::pkcs1v15::{Signature, SigningKey, VerifyingKey};
use rsa::pkcs8::{DecodePrivateKey, DecodePublicKey};
use rsa::sha2::Sha256;
use rsa::signature::{SignatureEncoding, Signer, Verifier};
use rsa::{RsaPrivateKey, RsaPublicKey};
use sandbox::{Clock, Config, ManualClock, Sandbox};
use serde_json::{Value, json};
use std::collections::VecDeque;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, OnceLock};
use tokio::net::TcpListener;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

/// 2026-11-23T12:00:00+08:00.
pub(crate) const NOON_MS: i64 = 1_795_406_400_000;
pub(crate) const HOUR_MS: i64 = 3_600_000;

static NEXT: AtomicU32 = AtomicU32::new(0);

/// Keys are made once and kept between runs; each test works on a copy.
fn template() -> &'static Path {
    static TEMPLATE: OnceLock<PathBuf> = OnceLock::new();
    TEMPLATE.get_or_init(|| {
        let dir = Path::new(env!("CARGO_TARGET_TMPDIR")).join("sandbox-keys");
        let _paths = sandbox::provision(&dir).unwrap();
        dir
    })
}

pub(crate) fn fresh_dir() -> PathBuf {
    let number = NEXT.fetch_add(1, Ordering::SeqCst);
    let name = format!("sandbox-{}-{number}", std::process::id());
    Path::new(env!("CARGO_TARGET_TMPDIR")).join(name)
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
    pub(crate) sandbox: Option<Sandbox>,
    pub(crate) clock: ManualClock,
    pub(crate) config: Config,
    pub(crate) base: String,
    pub(crate) http: reqwest::Client,
    pub(crate) receiver: Receiver,
    pub(crate) merchant: Merchant,
    pub(crate) other: Merchant,
    stop: Option<oneshot::Sender<()>>,
    server: Option<JoinHandle<Result<(), sandbox::Error>>>,
}

impl World {
    pub(crate) async fn start() -> Self {
        Self::with(|_| {}).await
    }

    pub(crate) async fn with(change: impl FnOnce(&mut Config)) -> Self {
        let dir = fresh_dir();
        copy(template(), &dir);
        let clock = ManualClock::at(NOON_MS);
        let mut config = Config::new(&dir);
        config.clock = Clock::Manual(clock.clone());
        change(&mut config);
        let receiver = Receiver::start().await;
        let merchant = Merchant::load(&dir, "1900000050");
        let other = Merchant::load(&dir, "1900000051");
        let http = reqwest::Client::builder().no_proxy().build().unwrap();
        let mut world = Self {
            sandbox: None,
            clock,
            config,
            base: String::new(),
            http,
            receiver,
            merchant,
            other,
            stop: None,
            server: None,
        };
        world.open().await;
        world
    }

    async fn open(&mut self) {
        let sandbox = Sandbox::open(self.config.clone()).unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        self.base = format!("http://{}", listener.local_addr().unwrap());
        let (stop, stopped) = oneshot::channel::<()>();
        let shutdown = async move {
            let _either_way = stopped.await;
        };
        self.server = Some(tokio::spawn(sandbox.clone().serve(listener, shutdown)));
        self.sandbox = Some(sandbox);
        self.stop = Some(stop);
    }

    pub(crate) async fn close(&mut self) {
        drop(self.stop.take());
        // Idle connections would keep the server from ending.
        self.http = reqwest::Client::builder().no_proxy().build().unwrap();
        self.server.take().unwrap().await.unwrap().unwrap();
        self.sandbox = None;
    }

    /// Ends the sandbox and starts another one in the same data folder.
    pub(crate) async fn restart(&mut self) {
        self.close().await;
        self.open().await;
    }

    pub(crate) async fn step(&self) -> usize {
        self.sandbox.as_ref().unwrap().step().await.unwrap()
    }

    pub(crate) fn now_seconds(&self) -> i64 {
        self.clock.now_ms() / 1_000
    }

    /// A signed request of the first merchant whose answer is verified.
    pub(crate) async fn call(&self, method: Method, target: &str, body: &str) -> Reply {
        self.call_as(&self.merchant, method, target, body).await
    }

    pub(crate) async fn call_as(
        &self,
        merchant: &Merchant,
        method: Method,
        target: &str,
        body: &str,
    ) -> Reply {
        let header = merchant.authorize(method.as_str(), target, body, self.now_seconds());
        let reply = self.send(method, target, body, &header).await;
        merchant.verify(&reply);
        reply
    }

    /// Sends exactly this, whatever the header says.
    pub(crate) async fn send(
        &self,
        method: Method,
        target: &str,
        body: &str,
        authorization: &str,
    ) -> Reply {
        let mut request = self
            .http
            .request(method, format!("{}{target}", self.base))
            .header("authorization", authorization)
            .header("accept", "application/json")
            .header("user-agent", "bashu-test");
        if !body.is_empty() {
            request = request
                .header("content-type", "application/json")
                .body(body.to_owned());
        }
        Reply::read(request.send().await.unwrap()).await
    }

    pub(crate) async fn get(&self, target: &str) -> Reply {
        Reply::read(
            self.http
                .get(format!("{}{target}", self.base))
                .send()
                .await
                .unwrap(),
        )
        .await
    }

    /// An unsigned JSON request, as for the control endpoints.
    pub(crate) async fn post(&self, target: &str, body: Value) -> Reply {
        let request = self.http.post(format!("{}{target}", self.base)).json(&body);
        Reply::read(request.send().await.unwrap()).await
    }

    pub(crate) fn order(&self, number: &str, total: i64) -> Value {
        json!({
            "appid": self.merchant.appid,
            "mchid": self.merchant.mchid,
            "description": "巴蜀年票",
            "out_trade_no": number,
            "notify_url": self.receiver.url,
            "amount": { "total": total, "currency": "CNY" },
        })
    }

    /// Places a native order that must succeed; answers its `code_url`.
    pub(crate) async fn place(&self, number: &str, total: i64) -> String {
        let body = self.order(number, total).to_string();
        let reply = self
            .call(Method::POST, "/v3/pay/transactions/native", &body)
            .await;
        assert_eq!(reply.status, 200, "{}", reply.text);
        reply.json()["code_url"].as_str().unwrap().to_owned()
    }

    /// Pays an order that can be paid; answers the transaction.
    pub(crate) async fn pay(&self, number: &str) -> Value {
        let reply = self
            .post("/sandbox/pay", json!({ "out_trade_no": number }))
            .await;
        assert_eq!(reply.status, 200, "{}", reply.text);
        reply.json()
    }

    pub(crate) async fn query(&self, number: &str) -> Reply {
        let mchid = &self.merchant.mchid;
        let target = format!("/v3/pay/transactions/out-trade-no/{number}?mchid={mchid}");
        self.call(Method::GET, &target, "").await
    }

    pub(crate) async fn notices(&self, number: &str) -> Vec<Value> {
        let reply = self
            .get(&format!("/sandbox/notifications?out_trade_no={number}"))
            .await;
        reply.json()["notifications"].as_array().unwrap().clone()
    }
}

impl Drop for World {
    fn drop(&mut self) {
        let _best_effort = fs::remove_dir_all(&self.config.data);
    }
}

pub(crate) struct Reply {
    pub(crate) status: u16,
    pub(crate) headers: HeaderMap,
    pub(crate) text: String,
}

impl Reply {
    async fn read(answer: reqwest::Response) -> Self {
        let (status, headers) = (answer.status().as_u16(), answer.headers().clone());
        Self {
            status,
            headers,
            text: answer.text().await.unwrap(),
        }
    }

    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap()
    }

    pub(crate) fn code(&self) -> String {
        self.json()["code"].as_str().unwrap().to_owned()
    }

    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(|value| value.to_str().unwrap())
    }
}

/// The merchant's side of the protocol, from the files that `provision` made.
pub(crate) struct Merchant {
    pub(crate) mchid: String,
    pub(crate) appid: String,
    pub(crate) serial: String,
    key: SigningKey<Sha256>,
    apiv3_key: String,
    platform: RsaPublicKey,
    platform_serial: String,
}

impl Merchant {
    fn load(dir: &Path, mchid: &str) -> Self {
        let read = |path: &str| fs::read_to_string(dir.join(path)).unwrap();
        let own = |file: &str| read(&format!("merchants/{mchid}/{file}"));
        let private = RsaPrivateKey::from_pkcs8_pem(&own("private_key.pem")).unwrap();
        Self {
            mchid: mchid.to_owned(),
            appid: own("appid"),
            serial: own("serial"),
            key: SigningKey::new(private),
            apiv3_key: own("apiv3_key"),
            platform: RsaPublicKey::from_public_key_pem(&read("platform/public_key.pem")).unwrap(),
            platform_serial: read("platform/serial"),
        }
    }

    pub(crate) fn sign(&self, message: &str) -> String {
        STANDARD.encode(self.key.sign(message.as_bytes()).to_bytes())
    }

    pub(crate) fn authorize(&self, method: &str, target: &str, body: &str, at: i64) -> String {
        let nonce = nonce();
        let message = format!("{method}\n{target}\n{at}\n{nonce}\n{body}\n");
        self.header(&nonce, &self.sign(&message), at)
    }

    pub(crate) fn header(&self, nonce: &str, signature: &str, at: i64) -> String {
        let Self { mchid, serial, .. } = self;
        format!(
            "WECHATPAY2-SHA256-RSA2048 mchid=\"{mchid}\",nonce_str=\"{nonce}\",\
             signature=\"{signature}\",timestamp=\"{at}\",serial_no=\"{serial}\""
        )
    }

    /// Panics unless the answer is the provider's.
    pub(crate) fn verify(&self, reply: &Reply) {
        assert_ne!(reply.status, 401, "{}", reply.text);
        assert_eq!(
            reply.header("wechatpay-serial"),
            Some(self.platform_serial.as_str())
        );
        assert!(
            self.is_genuine(&reply.headers, &reply.text),
            "{}",
            reply.text
        );
    }

    /// Whether headers and body carry the provider's signature under its known serial.
    pub(crate) fn is_genuine(&self, headers: &HeaderMap, body: &str) -> bool {
        let text = |name: &str| headers[name].to_str().unwrap();
        let Ok(signature) = STANDARD.decode(text("wechatpay-signature")) else {
            return false;
        };
        let Ok(signature) = Signature::try_from(signature.as_slice()) else {
            return false;
        };
        let message = format!(
            "{}\n{}\n{body}\n",
            text("wechatpay-timestamp"),
            text("wechatpay-nonce")
        );
        text("wechatpay-serial") == self.platform_serial
            && VerifyingKey::<Sha256>::new(self.platform.clone())
                .verify(message.as_bytes(), &signature)
                .is_ok()
    }

    /// Opens the resource of a notification; `None` when its tag does not fit.
    pub(crate) fn unseal(&self, body: &str) -> Option<Value> {
        let notice: Value = serde_json::from_str(body).unwrap();
        let text = |field: &str| notice["resource"][field].as_str().unwrap();
        assert_eq!(text("algorithm"), "AEAD_AES_256_GCM");
        let sealed = STANDARD.decode(text("ciphertext")).unwrap();
        let payload = Payload {
            msg: &sealed,
            aad: text("associated_data").as_bytes(),
        };
        let cipher = Aes256Gcm::new_from_slice(self.apiv3_key.as_bytes()).unwrap();
        let open = cipher
            .decrypt(Nonce::from_slice(text("nonce").as_bytes()), payload)
            .ok()?;
        Some(serde_json::from_slice(&open).unwrap())
    }
}

pub(crate) fn nonce() -> String {
    format!("{:016x}{:016x}", OsRng.next_u64(), OsRng.next_u64())
}

/// What the receiver does with the next notification.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Answer {
    Status(u16),
    /// Never answers.
    Hang,
}

#[derive(Clone, Debug)]
pub(crate) struct Received {
    pub(crate) headers: HeaderMap,
    pub(crate) body: String,
}

#[derive(Default)]
struct Inbox {
    received: Vec<Received>,
    answers: VecDeque<Answer>,
}

/// A merchant's notification endpoint; answers 204 unless told otherwise.
pub(crate) struct Receiver {
    pub(crate) url: String,
    inbox: Arc<Mutex<Inbox>>,
}

impl Receiver {
    async fn start() -> Self {
        let inbox = Arc::new(Mutex::new(Inbox::default()));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/notify", listener.local_addr().unwrap());
        let router = Router::new()
            .route("/notify", post(receive))
            .with_state(Arc::clone(&inbox));
        // Ends with the test's runtime.
        let _server = tokio::spawn(async move { axum::serve(listener, router).await });
        Self { url, inbox }
    }

    /// What came since the last call.
    pub(crate) fn take(&self) -> Vec<Received> {
        std::mem::take(&mut self.inbox.lock().unwrap().received)
    }

    pub(crate) fn answer_next(&self, answer: Answer, times: usize) {
        self.inbox
            .lock()
            .unwrap()
            .answers
            .extend(vec![answer; times]);
    }
}

async fn receive(
    State(inbox): State<Arc<Mutex<Inbox>>>,
    headers: HeaderMap,
    body: Bytes,
) -> StatusCode {
    let answer = {
        let mut inbox = inbox.lock().unwrap();
        let body = String::from_utf8(body.to_vec()).unwrap();
        inbox.received.push(Received { headers, body });
        inbox.answers.pop_front().unwrap_or(Answer::Status(204))
    };
    match answer {
        Answer::Status(status) => StatusCode::from_u16(status).unwrap(),
        Answer::Hang => std::future::pending().await,
    }
}
