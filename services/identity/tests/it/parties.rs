//! The other parties whose word signs somebody in, on loopback beside a test: WeChat, and an issuer
//! of OpenID Connect.

use std::path::{Path, PathBuf};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use identity::oidc::IssuerSettings;
use identity::verifier::VerificationSettings;
use identity::wechat::MiniProgramSettings;
use kit::sealed::PrivateKey;
use reqwest::{Url, redirect};
use sandbox::{Clock, Config, Sandbox};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::sync::oneshot;

/// They stop with it.
pub(crate) struct Parties {
    pub(crate) url: String,
    folder: PathBuf,
    http: reqwest::Client,
    _stop: oneshot::Sender<()>,
}

/// What comes back with a person whom an issuer has seen.
pub(crate) struct Back {
    pub(crate) state: String,
    pub(crate) code: String,
}

/// Billing's own half of what payers are sealed to it by.
pub(crate) fn payer_key() -> PrivateKey {
    PrivateKey::parse(&STANDARD.encode([7; 32]).into()).unwrap()
}

impl Parties {
    /// Parties with keys of their own, which `name` tells from another test's.
    pub(crate) async fn start(name: &str, clock: Clock) -> Self {
        let folder = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("parties-{name}"));
        let mut config = Config::new(&folder);
        config.clock = clock;
        let opened = tokio::task::spawn_blocking(move || Sandbox::open(config))
            .await
            .unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let (stop, stopped) = oneshot::channel::<()>();
        #[expect(clippy::disallowed_methods, reason = "the parties run beside the test")]
        let _serving = tokio::spawn(opened.unwrap().serve(listener, async move {
            let _ = stopped.await;
        }));
        let http = reqwest::Client::builder()
            .no_proxy()
            .redirect(redirect::Policy::none());
        Self {
            url,
            folder,
            http: http.build().unwrap(),
            _stop: stop,
        }
    }

    fn kept(&self, path: impl AsRef<Path>) -> String {
        std::fs::read_to_string(self.folder.join(path)).unwrap()
    }

    pub(crate) fn mini_program(&self) -> MiniProgramSettings {
        MiniProgramSettings {
            url: format!("{}/", self.url),
            appid: self.kept("mini_programs/50/appid"),
            secret: self.kept("mini_programs/50/secret").into(),
            payer_key: Some(payer_key().public().text()),
        }
    }

    pub(crate) fn verification(&self) -> VerificationSettings {
        VerificationSettings {
            url: self.url.clone(),
            secret_id: self.kept("verification/secret_id"),
            secret_key: self.kept("verification/secret_key").into(),
        }
    }

    /// The key of the union's SMS account.
    pub(crate) fn sms_key(&self) -> String {
        self.kept("sms/50.key").trim().to_owned()
    }

    /// What a phone was sent.
    pub(crate) async fn inbox(&self, phone: &str) -> Vec<Value> {
        let url = format!("{}/sms/inbox?phone={phone}", self.url);
        let answer = self.http.get(url).send().await.unwrap();
        let answer: Value = answer.json().await.unwrap();
        answer["messages"].as_array().unwrap().clone()
    }

    /// Tells the service that verifies persons something; its answer.
    pub(crate) async fn tell(&self, path: &str, told: Value) -> Value {
        let url = format!("{}/sandbox/{path}", self.url);
        let answer = self.http.post(url).json(&told).send().await.unwrap();
        assert!(answer.status().is_success(), "{}", answer.status());
        answer.json().await.unwrap_or(Value::Null)
    }

    pub(crate) fn issuer(&self, name: &str) -> IssuerSettings {
        IssuerSettings {
            name: name.to_owned(),
            issuer: format!("{}/oidc", self.url),
            client_id: "bashu".to_owned(),
            client_secret: Some(self.kept("oidc/client_secret").into()),
            redirect_uri: "http://127.0.0.1:1/back".to_owned(),
        }
    }

    /// What `wx.login` gives this user, or what WeChat will say to it.
    pub(crate) async fn wechat_code(&self, user: &str, errcode: Option<i64>) -> String {
        let appid = self.mini_program().appid;
        let told = json!({ "appid": appid, "user": user, "errcode": errcode });
        let url = format!("{}/sandbox/wechat/code", self.url);
        let answer = self.http.post(url).json(&told).send().await.unwrap();
        let answer: Value = answer.json().await.unwrap();
        answer["code"].as_str().unwrap().to_owned()
    }

    /// The way to an issuer's page and back, as this person.
    pub(crate) async fn sent(&self, url: &str, subject: &str) -> Back {
        let url = Url::parse_with_params(url, [("login_hint", subject)]).unwrap();
        let answer = self.http.get(url).send().await.unwrap();
        assert_eq!(answer.status().as_u16(), 302);
        let back = Url::parse(answer.headers()["location"].to_str().unwrap()).unwrap();
        let field = |name: &str| {
            let found = back.query_pairs().find(|(known, _)| known == name);
            found.unwrap().1.into_owned()
        };
        Back {
            state: field("state"),
            code: field("code"),
        }
    }

    /// What is wrong with the issuer's next token.
    pub(crate) async fn fault(&self, fault: &str) {
        let told = json!({ "faults": [fault] });
        let url = format!("{}/sandbox/oidc/faults", self.url);
        let answer = self.http.post(url).json(&told).send().await.unwrap();
        assert_eq!(answer.status().as_u16(), 204, "{fault}");
    }
}
