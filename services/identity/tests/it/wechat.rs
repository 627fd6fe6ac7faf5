//! Signing in by a mini-program, against WeChat's stand-in: who is nobody's yet is linked by her
//! phone, and from then on WeChat's word opens the door.

use identity::Settings;
use identity::wechat::MiniProgramSettings;
use kit::access::Caller;
use kit::graphql::{GlobalId, Language};
use sandbox::Clock;
use serde_json::{Value, json};

use crate::logins::caller;
use crate::parties::Parties;
use crate::phone_settings::set_phone;
use crate::second_factor::{self, bearer, show};
use crate::world::{OPERATOR_PHONE, World, codes, number_of_phone, settings};

/// A world with a mini-program, and WeChat beside it.
struct Beside {
    world: World,
    parties: Parties,
}

const ENTER: &str = "tokens { accessToken memberId steppedUpUntil } link { ticket expiresAt }";

impl Beside {
    async fn start(name: &str) -> Self {
        let parties = Parties::start(&format!("wechat-{name}"), Clock::System).await;
        let world = World::with(Settings {
            wechat: Some(parties.mini_program()),
            ..settings(&parties.url)
        })
        .await;
        Self { world, parties }
    }

    /// What `wx.login` gives this user, or what WeChat will say to it.
    async fn code(&self, user: &str, errcode: Option<i64>) -> String {
        self.parties.wechat_code(user, errcode).await
    }

    async fn enter(&self, code: &str) -> Value {
        let anonymous = Caller::anonymous(Language::En);
        let input = json!({ "code": code, "device": "小程序" });
        self.world
            .mutate(&anonymous, "loginWithWechat", ENTER, input)
            .await
    }

    async fn ticket(&self, user: &str) -> String {
        let answer = self.enter(&self.code(user, None).await).await;
        answer["link"]["ticket"].as_str().unwrap().to_owned()
    }

    async fn link(&self, ticket: &str, number: &str, code: &str) -> Value {
        let anonymous = Caller::anonymous(Language::En);
        let input = json!({ "ticket": ticket, "phone": number, "code": code });
        self.world
            .mutate(&anonymous, "linkLogin", "tokens { memberId }", input)
            .await
    }

    /// The code that a phone is sent.
    async fn sms(&self, number: &str) -> String {
        self.world.advance(61);
        let anonymous = Caller::anonymous(Language::En);
        let input = json!({ "phone": number });
        let asked = self
            .world
            .mutate(&anonymous, "requestLoginCode", "", input)
            .await;
        assert_eq!(codes(&asked), [""; 0]);
        self.world.code(number).await
    }
}

/// First a link, then the phone, then WeChat alone.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn wechat_signs_in_whom_a_phone_has_named() {
    let beside = Beside::start("links").await;
    let world = &beside.world;
    let first = beside.enter(&beside.code("one", None).await).await;
    assert_eq!(codes(&first), [""; 0], "{first}");
    assert_eq!(first["tokens"], Value::Null);
    let ticket = first["link"]["ticket"].as_str().unwrap();
    let none = world.count("SELECT count(*) AS count FROM login").await;
    assert_eq!(none, 0);

    let sms = beside.sms(OPERATOR_PHONE).await;
    let linked = beside.link(ticket, OPERATOR_PHONE, &sms).await;
    let operator = json!(GlobalId::of_uuid("Member", world.operator.0));
    assert_eq!(linked["tokens"]["memberId"], operator, "{linked}");
    let sms = beside.sms(OPERATOR_PHONE).await;
    let again = beside.link(ticket, OPERATOR_PHONE, &sms).await;
    assert_eq!(codes(&again), ["LINK_EXPIRED"], "good once");

    let second = beside.enter(&beside.code("one", None).await).await;
    assert_eq!(second["tokens"]["memberId"], operator);
    assert_eq!(second["link"], Value::Null);
    let other = beside.enter(&beside.code("two", None).await).await;
    assert_eq!(other["tokens"], Value::Null, "another user is another one");

    // The openid is sealed: nothing of it can be read.
    let openid = "SELECT count(*) AS count FROM login_method
        WHERE kind = 'wechat' AND position('one' IN encode(subject, 'escape')) > 0";
    assert_eq!(world.count(openid).await, 0);
}

/// A ticket without the right code of a phone links nobody, and waits for ten minutes.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_ticket_needs_a_phone() {
    let beside = Beside::start("tickets").await;
    let world = &beside.world;
    let ticket = beside.ticket("one").await;
    let sms = beside.sms(OPERATOR_PHONE).await;
    let wrong = format!("{:06}", (sms.parse::<u32>().unwrap() + 1) % 1_000_000);
    let answer = beside.link(&ticket, OPERATOR_PHONE, &wrong).await;
    assert_eq!(codes(&answer), ["CODE_WRONG"]);
    let nobody = beside.sms("13700000000").await;
    let answer = beside.link(&ticket, "13700000000", &nobody).await;
    assert_eq!(codes(&answer), ["CODE_WRONG"], "a phone of nobody");
    let long = "x".repeat(65);
    for bad in ["", "x", &long] {
        let answer = beside.link(bad, OPERATOR_PHONE, &sms).await;
        assert_eq!(codes(&answer), ["LINK_EXPIRED"], "{bad:?}");
    }
    let linked = "SELECT count(*) AS count FROM login_method WHERE kind = 'wechat'";
    assert_eq!(world.count(linked).await, 0);
    world.advance(600);
    let sms = beside.sms(OPERATOR_PHONE).await;
    let answer = beside.link(&ticket, OPERATOR_PHONE, &sms).await;
    assert_eq!(codes(&answer), ["LINK_EXPIRED"], "over");
    assert_eq!(world.count(linked).await, 0);
}

/// Two tickets of one user with two phones at once: she is one person's.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_user_is_one_persons() {
    let beside = Beside::start("twice").await;
    let world = &beside.world;
    let union = world.organisation("GRASSROOTS", "基层工会").await;
    let _ = world.person(&union, 1).await;
    let (one, two) = (beside.ticket("one").await, beside.ticket("one").await);
    let phone = number_of_phone(1);
    let first = beside.sms(OPERATOR_PHONE).await;
    let second = beside.sms(&phone).await;
    let (a, b) = tokio::join!(
        beside.link(&one, OPERATOR_PHONE, &first),
        beside.link(&two, &phone, &second)
    );
    let mut told = [codes(&a), codes(&b)];
    told.sort_by_key(Vec::len);
    assert_eq!(told[0], [""; 0]);
    assert_eq!(told[1], ["LINK_EXPIRED"]);
    let linked = "SELECT count(*) AS count FROM login_method WHERE kind = 'wechat'";
    assert_eq!(world.count(linked).await, 1);
}

/// What WeChat says no to is told in both languages; a code is asked for once.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_wechat_refuses_is_told() {
    let beside = Beside::start("refusals").await;
    let used = beside.code("one", None).await;
    assert_eq!(codes(&beside.enter(&used).await), [""; 0]);
    for (code, told) in [
        (used, "OUTSIDE_CODE_INVALID"),
        ("none".to_owned(), "OUTSIDE_CODE_INVALID"),
        ("a b".to_owned(), "OUTSIDE_CODE_INVALID"),
        (beside.code("one", Some(40_226)).await, "OUTSIDE_BARRED"),
        (beside.code("one", Some(45_011)).await, "TOO_MANY_LOGINS"),
    ] {
        let answer = beside.enter(&code).await;
        assert_eq!(codes(&answer), [told], "{answer}");
    }
    let anonymous = Caller::anonymous(Language::En);
    let told = beside
        .world
        .answered(&anonymous, "loginWithWechat", &json!({ "code": "none" }))
        .await;
    assert_eq!(
        told,
        [
            "OUTSIDE_CODE_INVALID",
            "授权码无效、已过期或已使用，请重新授权。",
            "The other party's code is wrong, over or used; please ask it for another.",
        ]
    );
    let busy = beside.code("one", Some(-1)).await;
    let query = "mutation($code: String!) { loginWithWechat(input: { code: $code }) {
        userErrors { code } } }";
    let answer = beside
        .world
        .ask(&anonymous, query, json!({ "code": busy }))
        .await;
    assert_eq!(answer["errors"].as_array().unwrap().len(), 1, "{answer}");
}

/// Without a mini-program nobody signs in so, and one address asks only so often.
#[tokio::test]
async fn where_there_is_none_nobody_signs_in_so() {
    let world = World::new().await;
    let anonymous = Caller::anonymous(Language::En);
    let told = world
        .answered(&anonymous, "loginWithWechat", &json!({ "code": "any" }))
        .await;
    assert_eq!(
        told,
        [
            "LOGIN_KIND_OFF",
            "目前不支持这种登录方式。",
            "This way to sign in is not offered.",
        ]
    );
    let wechat = MiniProgramSettings {
        url: "http://127.0.0.1:9".to_owned(),
        appid: "wx50".to_owned(),
        secret: "secret".into(),
        payer_key: None,
    };
    let world = World::with(Settings {
        wechat: Some(wechat),
        codes_per_address_hour_max: 2,
        ..settings("http://127.0.0.1:9")
    })
    .await;
    let enter = async || {
        let query = "mutation { loginWithWechat(input: { code: \"any\" }) {
            userErrors { code } } }";
        world.ask(&anonymous, query, json!({})).await
    };
    for _ in 0..2 {
        assert!(enter().await["errors"].is_array(), "WeChat is away");
    }
    let third = enter().await;
    assert_eq!(
        codes(&third["data"]["loginWithWechat"]),
        ["TOO_MANY_LOGINS"]
    );
}

/// One sees how one signs in, takes WeChat away, and never the phone; another phone takes all away.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_way_to_sign_in_is_taken_away() {
    let beside = Beside::start("unlinks").await;
    let world = &beside.world;
    let union = world.organisation("GRASSROOTS", "基层工会").await;
    let member = world.person(&union, 1).await;
    let number = number_of_phone(1);
    let link = async || {
        let (ticket, sms) = (beside.ticket("one").await, beside.sms(&number).await);
        assert_eq!(codes(&beside.link(&ticket, &number, &sms).await), [""; 0]);
    };
    link().await;
    world.advance(61);
    let session = world.sign_in(&number).await;
    let me = caller(&session);
    let methods = "{ me { loginMethods { id kind } } }";
    let seen = world.run(&me, methods, json!({})).await;
    let seen = seen["loginMethods"].as_array().unwrap().clone();
    let kinds: Vec<&Value> = seen.iter().map(|method| &method["kind"]).collect();
    assert_eq!(kinds, ["PHONE", "WECHAT"]);
    let unlink = async |who: &Caller, id: &Value| {
        let input = json!({ "loginMethodId": id });
        let answer = world.mutate(who, "unlinkLoginMethod", "loginMethodId", input);
        codes(&answer.await).join(" ")
    };
    let (phone, wechat) = (&seen[0]["id"], &seen[1]["id"]);
    assert_eq!(unlink(&me, phone).await, "LOGIN_METHOD_NOT_FOUND");
    let stranger = world.as_operator();
    assert_eq!(unlink(&stranger, wechat).await, "LOGIN_METHOD_NOT_FOUND");
    assert_eq!(unlink(&me, wechat).await, "");
    assert_eq!(unlink(&me, wechat).await, "LOGIN_METHOD_NOT_FOUND");
    assert_eq!(
        beside.enter(&beside.code("one", None).await).await["tokens"],
        Value::Null
    );

    link().await;
    let set = set_phone(world, member, "13600000000").await;
    assert_eq!(set["setting"]["state"], "DONE", "{set}");
    assert_eq!(
        beside.enter(&beside.code("one", None).await).await["tokens"],
        Value::Null
    );
}

/// Ten ways to sign in are as many as a person links; with one less there is room again.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_person_links_so_many_ways() {
    let beside = Beside::start("many").await;
    let world = &beside.world;
    let union = world.organisation("GRASSROOTS", "基层工会").await;
    let member = world.person(&union, 1).await;
    let number = number_of_phone(1);
    let others = format!(
        "INSERT INTO login_method (id, member, kind, subject, blind, created_at)
         SELECT gen_random_uuid(), '{member}', 'oidc', '\\x00',
           sha256(n::text::bytea), '2026-04-01T00:00:00Z' FROM generate_series(1, 9) n"
    );
    let db = &world.test.ctx.db;
    assert_eq!(db.execute(&others, []).await.unwrap(), 9);
    let (ticket, sms) = (beside.ticket("one").await, beside.sms(&number).await);
    let input = json!({ "ticket": ticket, "phone": number, "code": sms });
    let anonymous = Caller::anonymous(Language::En);
    let full = world.mutate(&anonymous, "linkLogin", "", input);
    assert_eq!(codes(&full.await), ["LOGIN_METHODS_FULL"]);
    let one = "DELETE FROM login_method WHERE blind = sha256('1')";
    assert_eq!(db.execute(one, []).await.unwrap(), 1);
    let sms = beside.sms(&number).await;
    let linked = beside.link(&ticket, &number, &sms).await;
    assert_eq!(codes(&linked), [""; 0], "the ticket was not used up");
}

/// It is a login like any other: a device of one's own with its name, which has shown no second
/// factor until it does, and which ends with all others.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_login_by_wechat_is_a_login_like_any() {
    let beside = Beside::start("devices").await;
    let world = &beside.world;
    let holder = second_factor::holder(world, OPERATOR_PHONE).await;
    let (ticket, sms) = (beside.ticket("one").await, beside.sms(OPERATOR_PHONE).await);
    let linked = beside.link(&ticket, OPERATOR_PHONE, &sms).await;
    assert_eq!(codes(&linked), [""; 0]);
    let entered = beside.enter(&beside.code("one", None).await).await;
    let tokens = &entered["tokens"];
    assert_eq!(tokens["steppedUpUntil"], Value::Null, "{entered}");
    let me = bearer(world, tokens["accessToken"].as_str().unwrap()).await;

    let union = world.organisation("GRASSROOTS", "基层工会").await;
    let member = world.person(&union, 1).await;
    let grant = json!({
        "memberId": GlobalId::of_uuid("Member", member.0),
        "organisationId": union, "role": "OFFICER",
    });
    let granted = world.mutate(&me, "grantRole", "", grant.clone()).await;
    assert_eq!(codes(&granted), ["STEP_UP_REQUIRED"]);
    let shown = show(world, &me, &holder.code(world)).await;
    let token = shown["token"]["accessToken"].as_str();
    let stepped_up = bearer(world, token.unwrap()).await;
    let granted = world.mutate(&stepped_up, "grantRole", "", grant).await;
    assert_eq!(codes(&granted), [""; 0]);

    let logins = "{ me { logins(first: 1) { nodes { device isCurrent } } } }";
    let seen = world.run(&me, logins, json!({})).await;
    let newest = json!({ "device": "小程序", "isCurrent": true });
    assert_eq!(seen["logins"]["nodes"], json!([newest]));
    let here = json!({ "keepThisDevice": true });
    let plain = holder.plain();
    let out = world.mutate(&plain, "signOutEverywhere", "ended", here);
    assert_eq!(out.await["ended"], 2, "the linking login and this one");
    let barred = world.barred(&me, "{ me { id } }", json!({})).await;
    assert_eq!(barred, Some("UNAUTHENTICATED"));
}

/// Whoever is linked to another party is told, on her first device too, in both languages and what
/// to do; and with one request nothing of it is left but her phone.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_is_linked_is_told_and_ends_it() {
    let beside = Beside::start("told").await;
    let world = &beside.world;
    let union = world.organisation("GRASSROOTS", "基层工会").await;
    let member = world.person(&union, 1).await;
    let number = number_of_phone(1);
    let (ticket, sms) = (beside.ticket("one").await, beside.sms(&number).await);
    let linked = beside.link(&ticket, &number, &sms).await;
    assert_eq!(codes(&linked), [""; 0], "{linked}");
    let entered = beside.enter(&beside.code("one", None).await).await;
    let thief = entered["tokens"]["accessToken"].as_str().unwrap();
    let thief = bearer(world, thief).await;

    let me = world.as_member(member);
    let query = "{ me { notices(first: 50) { nodes { kind text aboutId } } } }";
    for (language, part) in [
        (
            Language::Zh,
            "绑定了微信登录。如非本人操作，请立即在所有设备退出并解除绑定",
        ),
        (
            Language::En,
            "sign out everywhere, take all links away with it, and call 12351.",
        ),
    ] {
        let who = Caller {
            language,
            ..me.clone()
        };
        let seen = world.run(&who, query, json!({})).await;
        let seen = seen["notices"]["nodes"].as_array().unwrap().clone();
        let told: Vec<&Value> = seen
            .iter()
            .filter(|it| it["kind"] == "LOGIN_LINKED")
            .collect();
        assert_eq!(told.len(), 1, "{seen:?}");
        assert!(told[0]["text"].as_str().unwrap().contains(part), "{told:?}");
        let about = told[0]["aboutId"].as_str().unwrap();
        assert!(GlobalId::uuid(about, "Login").is_ok(), "{about}");
    }

    world.advance(61);
    let mine = caller(&world.sign_in(&number).await);
    let input = json!({ "keepThisDevice": true, "unlinkLoginMethods": true });
    let selection = "ended unlinked";
    let out = world.mutate(&mine, "signOutEverywhere", selection, input);
    let out = out.await;
    assert_eq!((&out["ended"], &out["unlinked"]), (&json!(2), &json!(1)));
    let barred = world.barred(&thief, "{ me { id } }", json!({})).await;
    assert_eq!(barred, Some("UNAUTHENTICATED"));
    let again = beside.enter(&beside.code("one", None).await).await;
    assert_eq!(again["tokens"], Value::Null, "WeChat's word opens nothing");
    let kinds = format!("SELECT kind AS name FROM login_method WHERE member = '{member}'");
    assert_eq!(world.names(&kinds).await, ["phone"]);
}

/// Where a role is at stake, the first factor is set up by who has the phone, not by who has
/// WeChat; one who holds none may set hers up so.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_role_holders_first_factor_needs_her_phone() {
    let beside = Beside::start("roles").await;
    let world = &beside.world;
    let union = world.organisation("GRASSROOTS", "基层工会").await;
    let member = world.person(&union, 1).await;
    let number = number_of_phone(1);
    let (ticket, sms) = (beside.ticket("one").await, beside.sms(&number).await);
    let linked = beside.link(&ticket, &number, &sms).await;
    assert_eq!(codes(&linked), [""; 0], "{linked}");
    let entered = beside.enter(&beside.code("one", None).await).await;
    let by_word = entered["tokens"]["accessToken"].as_str().unwrap();
    let by_word = bearer(world, by_word).await;
    let (begun, _) = second_factor::enrol(world, &by_word).await;
    assert_eq!(codes(&begun), [""; 0], "she holds no role");
    let counts = identity::store::roles::without_factor;
    assert_eq!(counts(&world.test.ctx.db).await.unwrap(), (1, 1));

    let role = world.grant(member, &union, "AUDITOR").await;
    assert_eq!(counts(&world.test.ctx.db).await.unwrap(), (2, 2));
    let query = "mutation { enrolSecondFactor { enrolment { secret } userErrors { code message }
        } }";
    for (language, message) in [
        (
            Language::Zh,
            "您担任角色，请用手机验证码重新登录后再绑定动态口令。",
        ),
        (
            Language::En,
            "You hold a role: sign in by a code to your phone to set the second factor up.",
        ),
    ] {
        let who = Caller {
            language,
            ..by_word.clone()
        };
        let refused = world.run(&who, query, json!({})).await;
        let told = json!([{ "code": "LOGIN_NOT_BY_PHONE", "message": message }]);
        assert_eq!(refused["userErrors"], told);
    }
    let _ = second_factor::holder(world, &number).await;
    assert_eq!(counts(&world.test.ctx.db).await.unwrap(), (2, 1));
    let withdraw = json!({ "roleId": role });
    let operator = world.as_operator();
    let withdrawn = world.mutate(&operator, "withdrawRole", "", withdraw).await;
    assert_eq!(codes(&withdrawn), [""; 0]);
    assert_eq!(counts(&world.test.ctx.db).await.unwrap(), (1, 1));
}
