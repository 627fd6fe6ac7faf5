//! Signing in by code, staying signed in, signing out.

use identity::commands::logins::{Session, login, refresh_login};
use identity::domain::origin::Origin;
use identity::error::Refusal;
use kit::access::Caller;
use kit::graphql::{GlobalId, Language};
use kit::token;
use kit::types::{LoginId, MemberId};
use kit::{Error, Result};
use serde_json::{Value, json};

use crate::phone_settings::set_phone;
use crate::world::{OPERATOR_PHONE, World, codes, phone};

const UNKNOWN_PHONE: &str = "13700000000";

fn anonymous() -> Caller {
    Caller::anonymous(Language::En)
}

async fn request_code(world: &World, number: &str) -> Value {
    world
        .mutate(
            &anonymous(),
            "requestLoginCode",
            "request { expiresInSeconds retryAfterSeconds }",
            json!({ "phone": number }),
        )
        .await
}

async fn sign_in(world: &World, number: &str, code: &str) -> Value {
    let selection = "tokens { accessToken refreshToken memberId loginId }";
    let input = json!({ "phone": number, "code": code });
    world.mutate(&anonymous(), "login", selection, input).await
}

fn wrong(code: &str) -> String {
    format!("{:06}", (code.parse::<u32>().unwrap() + 1) % 1_000_000)
}

fn refused<T: std::fmt::Debug>(result: Result<T>) -> String {
    match result {
        Err(Error::Refused(refusal)) => refusal.code.to_owned(),
        other => panic!("not refused: {other:?}"),
    }
}

/// From the code to a token that every service believes, and to one's own page.
/// ASVS V7.2.2, V7.2.4, V7.6.2.
#[tokio::test]
async fn a_code_signs_in() {
    let world = World::new().await;
    let asked = request_code(&world, OPERATOR_PHONE).await;
    assert_eq!(
        asked,
        json!({
            "request": { "expiresInSeconds": 300, "retryAfterSeconds": 60 }, "userErrors": []
        })
    );
    let code = world.code(OPERATOR_PHONE).await;
    let signed_in = sign_in(&world, OPERATOR_PHONE, &code).await;
    assert_eq!(signed_in["userErrors"], json!([]));
    let access = signed_in["tokens"]["accessToken"].as_str().unwrap();

    let ctx = &world.identity.ctx;
    world.identity.keys.load(&ctx.db).await.unwrap();
    let keys = world.identity.keys.access();
    let verified = token::verify(access, ctx.union, keys, ctx.clock.now()).unwrap();
    assert_eq!(verified.member, world.operator);

    let caller = Caller::member(verified.member, verified.login, Language::Zh);
    let query = "{ me { name maskedName maskedPhone roles { role } logins(first: 5) {
        nodes { id isCurrent } }
        memberships(first: 5) { nodes { state organisation { name } } } } }";
    let me = world.run(&caller, query, json!({})).await;
    assert_eq!(me["name"], "运维一");
    assert_eq!(me["maskedName"], "运*一");
    assert_eq!(me["maskedPhone"], "139****0001");
    assert_eq!(me["roles"], json!([{ "role": "OPERATOR" }]));
    assert_eq!(
        me["memberships"]["nodes"][0]["organisation"]["name"],
        "重庆市总工会"
    );
    assert_eq!(me["logins"]["nodes"].as_array().unwrap().len(), 1);
    assert_eq!(me["logins"]["nodes"][0]["isCurrent"], true);
}

const CODE_WRONG: [&str; 3] = ["CODE_WRONG", "验证码不正确。", "The code is not right."];
const CODE_EXPIRED: [&str; 3] = [
    "CODE_EXPIRED",
    "验证码已过期或已使用，请重新获取。",
    "The code has expired or was used; please ask for a new one.",
];
const CODE_EXHAUSTED: [&str; 3] = [
    "CODE_EXHAUSTED",
    "错误次数过多，验证码已作废，请重新获取。",
    "Too many wrong guesses; the code is void, please ask for a new one.",
];
const TOO_MANY_CODES: [&str; 3] = [
    "TOO_MANY_CODES",
    "验证码请求过于频繁，请稍后再试。",
    "Too many codes were asked for; please try again later.",
];
const LOGIN_NOT_FOUND: [&str; 3] = [
    "LOGIN_NOT_FOUND",
    "找不到该登录设备。",
    "There is no such login.",
];

/// What is answered to a guess in both languages: two guesses.
async fn guess_twice(world: &World, number: &str, code: &str) -> [String; 3] {
    let input = json!({ "phone": number, "code": code });
    world.answered(&anonymous(), "login", &input).await
}

/// A wrong code is refused, in both languages; the right one still works after it.
#[tokio::test]
async fn a_wrong_code_is_refused() {
    let world = World::new().await;
    request_code(&world, OPERATOR_PHONE).await;
    let code = world.code(OPERATOR_PHONE).await;
    for bad in ["12345", "１２３４５６"] {
        let answer = sign_in(&world, OPERATOR_PHONE, bad).await;
        assert_eq!(codes(&answer), ["CODE_WRONG"], "{bad:?}");
        assert_eq!(answer["userErrors"][0]["field"], json!(["code"]));
    }
    let told = guess_twice(&world, OPERATOR_PHONE, &wrong(&code)).await;
    assert_eq!(told, CODE_WRONG);
    assert_eq!(
        codes(&sign_in(&world, OPERATOR_PHONE, &code).await),
        [""; 0]
    );
}

/// A code is good for five minutes and once.
/// ASVS V6.4.1.
#[tokio::test]
async fn an_expired_or_repeated_code_is_refused() {
    let world = World::new().await;
    request_code(&world, OPERATOR_PHONE).await;
    let code = world.code(OPERATOR_PHONE).await;
    world.advance(300);
    let told = guess_twice(&world, OPERATOR_PHONE, &code).await;
    assert_eq!(told, CODE_EXPIRED);
    request_code(&world, OPERATOR_PHONE).await;
    let code = world.code(OPERATOR_PHONE).await;
    assert_eq!(
        codes(&sign_in(&world, OPERATOR_PHONE, &code).await),
        [""; 0]
    );
    let told = guess_twice(&world, OPERATOR_PHONE, &code).await;
    assert_eq!(told, CODE_EXPIRED);
    assert_eq!(world.count("SELECT count(*) AS count FROM login").await, 1);
}

/// A new code makes the one before it void.
/// ASVS V6.6.2.
#[tokio::test]
async fn only_the_newest_code_counts() {
    let world = World::new().await;
    request_code(&world, OPERATOR_PHONE).await;
    let first = world.code(OPERATOR_PHONE).await;
    world.advance(61);
    request_code(&world, OPERATOR_PHONE).await;
    let second = world.code(OPERATOR_PHONE).await;
    assert_ne!(first, second);
    assert_eq!(
        codes(&sign_in(&world, OPERATOR_PHONE, &first).await),
        ["CODE_WRONG"]
    );
    assert_eq!(
        codes(&sign_in(&world, OPERATOR_PHONE, &second).await),
        [""; 0]
    );
}

/// Five wrong guesses void a code, and the right one then opens nothing.
/// ASVS V6.3.1.
#[tokio::test]
async fn a_code_cannot_be_guessed() {
    let world = World::new().await;
    request_code(&world, OPERATOR_PHONE).await;
    let code = world.code(OPERATOR_PHONE).await;
    for _ in 0..5 {
        let answer = sign_in(&world, OPERATOR_PHONE, &wrong(&code)).await;
        assert_eq!(codes(&answer), ["CODE_WRONG"]);
    }
    let told = guess_twice(&world, OPERATOR_PHONE, &code).await;
    assert_eq!(told, CODE_EXHAUSTED);
    let asked = json!({ "phone": OPERATOR_PHONE });
    let told = world
        .answered(&anonymous(), "requestLoginCode", &asked)
        .await;
    assert_eq!(told, TOO_MANY_CODES, "another one within the minute");
    assert_eq!(world.count("SELECT count(*) AS count FROM login").await, 0);
}

/// Forty guesses at once are still five: the row's lock counts them. What would be without the
/// lock is shown with the races.
/// ASVS V6.6.3.
#[tokio::test]
async fn guesses_at_once_are_counted_one_by_one() {
    let world = World::new().await;
    request_code(&world, OPERATOR_PHONE).await;
    let code = world.code(OPERATOR_PHONE).await;
    let identity = &world.identity;
    let number = phone(OPERATOR_PHONE);
    let (bad, origin) = (wrong(&code), Origin::default());
    let guesses = (0..40).map(|_| login(identity, &number, &bad, &origin));
    let answers = futures::future::join_all(guesses).await;
    let wrongs = answers
        .into_iter()
        .map(refused)
        .filter(|code| code == "CODE_WRONG")
        .count();
    assert_eq!(wrongs, 5);
}

/// A right code that comes twice at once opens one login.
#[tokio::test]
async fn one_code_opens_one_login() {
    let world = World::new().await;
    request_code(&world, OPERATOR_PHONE).await;
    let code = world.code(OPERATOR_PHONE).await;
    let (identity, number) = (&world.identity, phone(OPERATOR_PHONE));
    let origin = Origin::default();
    let tries = (0..8).map(|_| login(identity, &number, &code, &origin));
    let opened = futures::future::join_all(tries)
        .await
        .into_iter()
        .filter(Result::is_ok)
        .count();
    assert_eq!(opened, 1);
    assert_eq!(world.count("SELECT count(*) AS count FROM login").await, 1);
}

/// A phone that belongs to nobody gets the same answers and leaves the same rows.
#[tokio::test]
async fn a_phone_does_not_tell_whether_it_is_known() {
    let world = World::new().await;
    let mut answers = Vec::new();
    for number in [OPERATOR_PHONE, UNKNOWN_PHONE] {
        let mut told = vec![
            request_code(&world, number).await,
            request_code(&world, number).await,
            sign_in(&world, number, "abcdef").await,
        ];
        for _ in 0..5 {
            told.push(sign_in(&world, number, "abcdef").await);
        }
        answers.push(told);
    }
    assert_eq!(answers[0], answers[1]);
    for table in ["login_code", "due WHERE kind = 'sms_login_code'"] {
        let sql = format!("SELECT count(*) AS count FROM {table}");
        assert_eq!(world.count(&sql).await, 2, "{table}");
    }
    let audited = "SELECT count(*) AS count FROM audit WHERE act = 'request_login_code'";
    assert_eq!(world.count(audited).await, 2);

    // Even the right digits open nothing where there is nobody.
    world.advance(61);
    request_code(&world, UNKNOWN_PHONE).await;
    let code = world.code(UNKNOWN_PHONE).await;
    assert_eq!(
        codes(&sign_in(&world, UNKNOWN_PHONE, &code).await),
        ["CODE_WRONG"]
    );
}

/// A refresh token is good once; its second use ends the login and is told to everyone.
/// ASVS V10.4.5.
#[tokio::test]
async fn a_refresh_token_used_twice_ends_the_login() {
    let world = World::new().await;
    let first = world.sign_in(OPERATOR_PHONE).await;
    let identity = &world.identity;
    let second = refresh_login(identity, &first.refresh_token).await.unwrap();
    assert_eq!(second.login, first.login);
    assert_ne!(second.refresh_token, first.refresh_token);
    let again = refresh_login(identity, &first.refresh_token).await;
    assert_eq!(refused(again), Refusal::RefreshTokenInvalid.code());
    let after = refresh_login(identity, &second.refresh_token).await;
    assert_eq!(refused(after), Refusal::RefreshTokenInvalid.code());
    let events = world.events_of("LoginWithdrawn").await;
    assert_eq!(events.len(), 1);
    assert_eq!(events[0].key, first.login.0.as_bytes());
    assert!(is_out(&world, &second).await);
    for bad in ["", "x", &"a".repeat(65)] {
        assert_eq!(
            refused(refresh_login(identity, bad).await),
            "REFRESH_TOKEN_INVALID"
        );
    }
}

/// Two uses of one refresh token at once: at most one gets tokens, and the login ends.
#[tokio::test]
async fn a_refresh_token_used_twice_at_once_ends_the_login() {
    let world = World::new().await;
    let session = world.sign_in(OPERATOR_PHONE).await;
    let identity = &world.identity;
    let uses = (0..4).map(|_| refresh_login(identity, &session.refresh_token));
    let answers = futures::future::join_all(uses).await;
    assert_eq!(answers.iter().filter(|answer| answer.is_ok()).count(), 1);
    let kept = answers.into_iter().find_map(Result::ok).unwrap();
    assert!(is_out(&world, &kept).await);
    let kept = refresh_login(identity, &kept.refresh_token).await;
    assert_eq!(refused(kept), "REFRESH_TOKEN_INVALID");
}

/// A login that is not used ends by itself, and one that is used ends after half a year.
/// ASVS V7.3.1, V7.3.2, V10.4.8.
#[tokio::test]
async fn a_login_ends_by_itself() {
    let world = World::new().await;
    let identity = &world.identity;
    let (ctx, vault) = (&identity.ctx, &identity.vault);
    let mut session = world.sign_in(OPERATOR_PHONE).await;
    let mut days = 0;
    while let Ok(next) = refresh_login(identity, &session.refresh_token).await {
        session = next;
        world.advance(27 * 86_400);
        days += 27;
        identity::commands::keys::maintain(ctx, vault, &world.root)
            .await
            .unwrap();
        world.advance(2 * 86_400);
        days += 2;
    }
    assert_eq!(days, 203, "the last renewal was within 180 days");
    let idle = world.sign_in(OPERATOR_PHONE).await;
    world.advance(30 * 86_400);
    assert!(refresh_login(identity, &idle.refresh_token).await.is_err());
}

/// After signing out the access token counts no more here, at once, and everyone is told.
/// ASVS V7.4.1.
#[tokio::test]
async fn signing_out_ends_the_login() {
    let world = World::new().await;
    let session = world.sign_in(OPERATOR_PHONE).await;
    let caller = caller(&session);
    let out = world.run(
        &caller,
        "mutation { logout { loginId userErrors { code } } }",
        json!({}),
    );
    assert_eq!(
        out.await["loginId"].as_str().unwrap(),
        GlobalId::of_uuid("Login", session.login.0).as_str()
    );
    assert!(is_out(&world, &session).await);
    let refresh = refresh_login(&world.identity, &session.refresh_token).await;
    assert_eq!(refused(refresh), "REFRESH_TOKEN_INVALID");
    let event = &world.events_of("LoginWithdrawn").await[0];
    let said: proto::identity::LoginWithdrawn = event.decode();
    assert_eq!(said.id, session.login.0.as_bytes());
    assert_eq!(
        said.withdrawn_at,
        world.identity.ctx.clock.now().timestamp_millis()
    );
}

/// One's own other device can be signed out; another person's is as absent as one that never was.
#[tokio::test]
async fn another_persons_login_is_absent() {
    let world = World::new().await;
    let union = world.organisation("GRASSROOTS", "测试基层工会").await;
    let _ = world.person(&union, 1).await;
    let mine = world.sign_in(OPERATOR_PHONE).await;
    let other = world.sign_in(&crate::world::number_of_phone(1)).await;
    let withdraw = |session: &Session, login: LoginId, type_name: &str| {
        let id = GlobalId::of_uuid(type_name, login.0).to_string();
        let caller = caller(session);
        let world = &world;
        async move {
            let input = json!({ "loginId": id });
            world
                .mutate(&caller, "withdrawLogin", "login { withdrawnAt }", input)
                .await
        }
    };
    let nowhere = LoginId(uuid::Uuid::from_u128(5));
    let foreign = withdraw(&mine, other.login, "Login").await;
    assert_eq!(foreign, withdraw(&mine, nowhere, "Login").await);
    assert_eq!(foreign, withdraw(&mine, mine.login, "Member").await);
    let input = json!({ "loginId": GlobalId::of_uuid("Login", other.login.0) });
    let told = world
        .answered(&caller(&mine), "withdrawLogin", &input)
        .await;
    assert_eq!(told, LOGIN_NOT_FOUND);
    assert_eq!(codes(&foreign), ["LOGIN_NOT_FOUND"]);
    assert!(!is_out(&world, &other).await);

    let query = "query($id: ID!) { node(id: $id) { id } }";
    let id = |login: LoginId| json!({ "id": GlobalId::of_uuid("Login", login.0) });
    assert_eq!(
        world.run(&caller(&mine), query, id(other.login)).await,
        Value::Null
    );
    assert_ne!(
        world.run(&caller(&mine), query, id(mine.login)).await,
        Value::Null
    );

    world.advance(3_600);
    let second = world.sign_in(OPERATOR_PHONE).await;
    let done = withdraw(&second, mine.login, "Login").await;
    assert_ne!(done["login"]["withdrawnAt"], Value::Null);
    assert!(is_out(&world, &mine).await);
    assert!(!is_out(&world, &second).await);
}

/// Another phone ends every login of the person.
#[tokio::test]
async fn a_new_phone_ends_all_logins() {
    let world = World::new().await;
    let union = world.organisation("GRASSROOTS", "测试基层工会").await;
    let member = world.person(&union, 1).await;
    let old = world.sign_in(&crate::world::number_of_phone(1)).await;
    let input = |number: &str| {
        let id = GlobalId::of_uuid("Member", member.0).to_string();
        json!({ "memberId": id, "phone": number })
    };
    let forbidden = world
        .mutate(&caller(&old), "setPhone", "", input("13600000000"))
        .await;
    assert_eq!(codes(&forbidden), ["FORBIDDEN"]);
    let taken = world
        .mutate(&world.as_operator(), "setPhone", "", input(OPERATOR_PHONE))
        .await;
    assert_eq!(codes(&taken), ["PERSON_NOT_MATCHED"]);
    let set = set_phone(&world, member, "13600000000").await;
    assert_eq!(set["setting"]["state"], "DONE", "{set}");
    assert!(is_out(&world, &old).await);
    let new = world.sign_in("13600000000").await;
    assert_eq!(new.member, member);
    request_code(&world, &crate::world::number_of_phone(1)).await;
}

pub(crate) fn caller(session: &Session) -> Caller {
    Caller::member(session.member, session.login, Language::En)
}

/// Whether the access token of this session counts no more.
async fn is_out(world: &World, session: &Session) -> bool {
    let caller = caller(session);
    let why = world.barred(&caller, "{ me { id } }", json!({})).await;
    assert_ne!(why, Some("FORBIDDEN"));
    why.is_some()
}

/// The member of a session is the one of the phone.
#[tokio::test]
async fn everyone_signs_in_as_herself() {
    let world = World::new().await;
    let union = world.organisation("GRASSROOTS", "测试基层工会").await;
    let expected: Vec<MemberId> =
        vec![world.person(&union, 1).await, world.person(&union, 2).await];
    let got = vec![
        world
            .sign_in(&crate::world::number_of_phone(1))
            .await
            .member,
        world
            .sign_in(&crate::world::number_of_phone(2))
            .await
            .member,
    ];
    assert_eq!(got, expected);
    assert_ne!(got[0], got[1]);
}
