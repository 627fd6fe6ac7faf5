//! Signing in by an OIDC issuer, against one that speaks the protocol: the way there and back, and
//! every token that must not be believed.

use identity::Settings;
use identity::oidc::IssuerSettings;
use kit::access::Caller;
use kit::graphql::{GlobalId, Language};
use sandbox::{Clock, ManualClock};
use serde_json::{Value, json};

use crate::parties::{Back, Parties};
use crate::world::{OPERATOR_PHONE, World, codes, settings};

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
        let input = json!({ "issuer": issuer });
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
        let anonymous = Caller::anonymous(Language::En);
        let input = json!({ "state": back.state, "code": back.code });
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
        "code": world.code(OPERATOR_PHONE).await,
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
            &json!({ "state": late.state, "code": late.code }),
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
    let query = "mutation { beginOidcLogin(input: { issuer: \"another\" }) {
        login { url } userErrors { code } } }";
    let answer = beside.world.ask(&anonymous, query, json!({})).await;
    assert!(answer["errors"].is_array(), "its name has a slash more");
    let back = beside.sent("stranger", "one").await;
    let query = "mutation($state: String!, $code: String!) {
        loginWithOidc(input: { state: $state, code: $code }) { userErrors { code } } }";
    let variables = json!({ "state": back.state, "code": back.code });
    let answer = beside.world.ask(&anonymous, query, variables).await;
    assert!(answer["errors"].is_array(), "{answer}");
}
