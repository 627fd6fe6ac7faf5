//! Signing in by an OIDC issuer, against one that speaks the protocol: the way there and back, and
//! every token that must not be believed.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use identity::Settings;
use identity::domain::subject::OutsideCode;
use identity::oidc::{self, IssuerSettings, Secrets};
use kit::Error;
use kit::access::Caller;
use kit::graphql::{GlobalId, Language};
use sandbox::{Clock, ManualClock};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::{Duration, Instant, sleep};

use crate::parties::{Back, Parties};
use crate::world::{OPERATOR_PHONE, World, codes, settings};

/// What a client keeps for itself.
pub(crate) const SECRET: &str = "a-secret-of-one-client-for-one-login-of-its";

/// What it sends of that.
pub(crate) fn challenge(secret: &str) -> String {
    URL_SAFE_NO_PAD.encode(Sha256::digest(secret))
}

/// A world with an issuer beside it, both by one clock.
struct Beside {
    world: World,
    parties: Parties,
    clock: ManualClock,
}

impl Beside {
    async fn start(name: &str) -> Self {
        let clock = ManualClock::at(kit::testing::start().timestamp_millis());
        let name = format!("oidc-{name}");
        let parties = Parties::start(&name, Clock::Manual(clock.clone())).await;
        let another = parties.issuer("another");
        let world = World::with(Settings {
            oidc: vec![
                parties.issuer("federation"),
                IssuerSettings {
                    issuer: format!("{}/", another.issuer),
                    ..another
                },
                IssuerSettings {
                    client_secret: Some("wrong".to_owned().into()),
                    ..parties.issuer("stranger")
                },
            ],
            ..settings(&parties.url)
        })
        .await;
        Self {
            world,
            parties,
            clock,
        }
    }

    fn advance(&self, seconds: i64) {
        self.world.advance(seconds);
        self.clock.advance_ms(seconds * 1_000);
    }

    async fn begin(&self, issuer: &str) -> Value {
        let anonymous = Caller::anonymous(Language::En);
        let input = json!({ "issuer": issuer, "challenge": challenge(SECRET) });
        self.world
            .mutate(&anonymous, "beginOidcLogin", "login { url state }", input)
            .await
    }

    /// The way to the issuer and back, as this person.
    async fn sent(&self, issuer: &str, subject: &str) -> Back {
        let begun = self.begin(issuer).await;
        assert_eq!(codes(&begun), [""; 0], "{begun}");
        let url = begun["login"]["url"].as_str().unwrap();
        let back = self.parties.sent(url, subject).await;
        assert_eq!(begun["login"]["state"], back.state.as_str());
        back
    }

    async fn enter(&self, back: &Back) -> Value {
        self.enter_as(SECRET, back).await
    }

    /// As the client that keeps this secret.
    async fn enter_as(&self, secret: &str, back: &Back) -> Value {
        let anonymous = Caller::anonymous(Language::En);
        let input = json!({ "state": back.state, "code": back.code, "secret": secret });
        let selection = "tokens { memberId } link { ticket }";
        self.world
            .mutate(&anonymous, "loginWithOidc", selection, input)
            .await
    }
}

/// First a link, then the phone, then the issuer's word alone.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_issuer_signs_in_whom_a_phone_has_named() {
    let beside = Beside::start("links").await;
    let world = &beside.world;
    let first = beside.enter(&beside.sent("federation", "one").await).await;
    assert_eq!(codes(&first), [""; 0], "{first}");
    assert_eq!(first["tokens"], Value::Null);
    let anonymous = Caller::anonymous(Language::En);
    let asked = json!({ "phone": OPERATOR_PHONE });
    world
        .mutate(&anonymous, "requestLoginCode", "", asked)
        .await;
    let input = json!({
        "ticket": first["link"]["ticket"], "phone": OPERATOR_PHONE,
        "code": world.code(OPERATOR_PHONE).await, "secret": SECRET,
    });
    let linked = world
        .mutate(&anonymous, "linkLogin", "tokens { memberId }", input)
        .await;
    let operator = json!(GlobalId::of_uuid("Member", world.operator.0));
    assert_eq!(linked["tokens"]["memberId"], operator, "{linked}");
    let second = beside.enter(&beside.sent("federation", "one").await).await;
    assert_eq!(second["tokens"]["memberId"], operator, "{second}");
    let other = beside.enter(&beside.sent("federation", "two").await).await;
    assert_eq!(other["tokens"], Value::Null);
    // WeChat's user of the same name, and another issuer's, are somebody else: nobody here.
    let kinds = "SELECT kind AS name FROM login_method ORDER BY kind";
    assert_eq!(world.names(kinds).await, ["oidc", "phone"]);
}

/// Each token that is not for this login, from this issuer, for this client and of now.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_token_that_is_not_for_this_login_is_not_believed() {
    let beside = Beside::start("faults").await;
    for fault in [
        "issuer",
        "audience",
        "another_audience",
        "authorized_party",
        "nonce",
        "no_nonce",
        "expired",
        "future",
        "signature",
        "key",
        "unsigned",
    ] {
        let back = beside.sent("federation", "one").await;
        beside.parties.fault(fault).await;
        let answer = beside.enter(&back).await;
        assert_eq!(
            codes(&answer),
            ["OUTSIDE_CODE_INVALID"],
            "{fault}: {answer}"
        );
    }
    let tickets = "SELECT count(*) AS count FROM login_ticket";
    assert_eq!(beside.world.count(tickets).await, 0);
    let back = beside.sent("federation", "one").await;
    assert_eq!(
        codes(&beside.enter(&back).await),
        [""; 0],
        "one without fault"
    );
}

/// Who comes back does so once, within ten minutes, with her own state and her own code.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_comes_back_does_so_once() {
    let beside = Beside::start("once").await;
    let back = beside.sent("federation", "one").await;
    assert_eq!(codes(&beside.enter(&back).await), [""; 0]);
    assert_eq!(codes(&beside.enter(&back).await), ["OIDC_STATE_EXPIRED"]);
    for state in ["", "x", &"x".repeat(65)] {
        let state = state.to_owned();
        let code = "any".to_owned();
        let answer = beside.enter(&Back { state, code }).await;
        assert_eq!(codes(&answer), ["OIDC_STATE_EXPIRED"]);
    }
    // Another person's code does not fit: it was asked for with another verifier.
    let (mine, other) = (
        beside.sent("federation", "one").await,
        beside.sent("federation", "two").await,
    );
    let swapped = Back {
        state: mine.state,
        code: other.code,
    };
    let answer = beside.enter(&swapped).await;
    assert_eq!(codes(&answer), ["OUTSIDE_CODE_INVALID"]);
    let late = beside.sent("federation", "one").await;
    beside.advance(600);
    let told = beside
        .world
        .answered(
            &Caller::anonymous(Language::En),
            "loginWithOidc",
            &json!({ "state": late.state, "code": late.code, "secret": SECRET }),
        )
        .await;
    assert_eq!(
        told,
        [
            "OIDC_STATE_EXPIRED",
            "登录请求无效、已过期或已使用，请重新开始。",
            "The login is unknown, over or used; please begin anew.",
        ]
    );
}

/// An issuer that is not configured is none; one that says it is another one, or does not know this
/// client, signs nobody in.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn only_the_configured_issuer_counts() {
    let beside = Beside::start("issuers").await;
    let none = beside.begin("nobody's").await;
    assert_eq!(codes(&none), ["LOGIN_KIND_OFF"]);
    let anonymous = Caller::anonymous(Language::En);
    let query = "mutation($challenge: String!) {
        beginOidcLogin(input: { issuer: \"another\", challenge: $challenge }) {
        login { url } userErrors { code } } }";
    let variables = json!({ "challenge": challenge(SECRET) });
    let answer = beside.world.ask(&anonymous, query, variables).await;
    assert!(answer["errors"].is_array(), "its name has a slash more");
    let back = beside.sent("stranger", "one").await;
    let query = "mutation($state: String!, $code: String!, $secret: String!) {
        loginWithOidc(input: { state: $state, code: $code, secret: $secret }) {
        userErrors { code } } }";
    let variables = json!({ "state": back.state, "code": back.code, "secret": SECRET });
    let answer = beside.world.ask(&anonymous, query, variables).await;
    assert!(answer["errors"].is_array(), "{answer}");
}

/// State and code stand in an address that others may read, or make: only the client that began the
/// login is signed in by them, and only it links what came of it. Another one uses nothing up.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_login_is_its_clients() {
    let beside = Beside::start("clients").await;
    let world = &beside.world;
    let back = beside.sent("federation", "one").await;
    let short = &SECRET[1..];
    let long = "x".repeat(129);
    let hash = challenge(SECRET);
    for other in ["", short, &long, &hash, &SECRET.to_uppercase()] {
        let answer = beside.enter_as(other, &back).await;
        assert_eq!(codes(&answer), ["OIDC_STATE_EXPIRED"], "{other}");
    }
    let entered = beside.enter(&back).await;
    assert_eq!(codes(&entered), [""; 0], "{entered}");

    let anonymous = Caller::anonymous(Language::En);
    let asked = json!({ "phone": OPERATOR_PHONE });
    world
        .mutate(&anonymous, "requestLoginCode", "", asked)
        .await;
    let mut link = json!({
        "ticket": entered["link"]["ticket"], "phone": OPERATOR_PHONE,
        "code": world.code(OPERATOR_PHONE).await,
    });
    for other in [Value::Null, json!(short), json!(hash)] {
        link["secret"] = other;
        let answer = world
            .mutate(&anonymous, "linkLogin", "", link.clone())
            .await;
        assert_eq!(codes(&answer), ["LINK_EXPIRED"], "{link}");
    }
    let methods = "SELECT count(*) AS count FROM login_method WHERE kind = 'oidc'";
    assert_eq!(world.count(methods).await, 0);
    link["secret"] = json!(SECRET);
    let answer = world.mutate(&anonymous, "linkLogin", "", link).await;
    assert_eq!(codes(&answer), [""; 0], "{answer}");
    assert_eq!(world.count(methods).await, 1);
}

/// A challenge is a hash, and nothing is begun without one.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_challenge_is_a_hash() {
    let beside = Beside::start("challenges").await;
    let hash = challenge(SECRET);
    for bad in ["", &hash[1..], &format!("{hash}="), &"!".repeat(43)] {
        let input = json!({ "issuer": "federation", "challenge": bad });
        let anonymous = Caller::anonymous(Language::En);
        let told = beside.world.answered(&anonymous, "beginOidcLogin", &input);
        assert_eq!(
            told.await,
            [
                "CHALLENGE_INVALID",
                "验证串有误，应为 43 位 base64url 字符。",
                "The challenge is wrong; it has 43 characters of base64url.",
            ],
            "{bad}"
        );
    }
    let kept = "SELECT count(*) AS count FROM oidc_request";
    assert_eq!(beside.world.count(kept).await, 0);
}

/// An issuer that answers each question, three seconds later.
async fn slow_issuer() -> String {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let said = json!({
        "issuer": url, "authorization_endpoint": url, "token_endpoint": url, "jwks_uri": url,
        "id_token": "none", "keys": [],
    });
    let said = said.to_string();
    #[expect(clippy::disallowed_methods, reason = "the issuer runs beside the test")]
    let _serving = tokio::spawn(async move {
        loop {
            let (mut socket, _) = listener.accept().await.unwrap();
            let mut asked = [0; 4_096];
            let _ = socket.read(&mut asked).await.unwrap();
            sleep(Duration::from_secs(3)).await;
            let length = said.len();
            let head =
                format!("HTTP/1.1 200 OK\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n");
            // Who has not waited is gone.
            let _ = socket.write_all(format!("{head}{said}").as_bytes()).await;
        }
    });
    url
}

/// Whoever asks is told before the gateway gives up, however little each answer is late: three of
/// three seconds would be nine.
#[tokio::test]
async fn a_slow_issuer_is_not_waited_for() {
    let url = slow_issuer().await;
    let settings = IssuerSettings {
        name: "slow".to_owned(),
        issuer: url,
        client_id: "bashu".to_owned(),
        client_secret: None,
        redirect_uri: "http://127.0.0.1:1/back".to_owned(),
    };
    let http = reqwest::Client::builder().no_proxy().build().unwrap();
    oidc::discover(&http, &settings).await.unwrap();
    let secrets = Secrets {
        state: "state".to_owned(),
        nonce: "nonce".to_owned(),
        verifier: "verifier".to_owned(),
    };
    let code = OutsideCode::parse("code").unwrap();
    let began = Instant::now();
    let now = kit::testing::start();
    let answer = oidc::subject_of(&http, &settings, (&secrets, &code), now).await;
    assert!(matches!(answer, Err(Error::Unavailable(_))), "{answer:?}");
    assert!(began.elapsed() < Duration::from_secs(9), "{began:?}");
}
