//! The second factor from its secret to what it opens: shown, taken once, limited, lost, renewed.

use data_encoding::BASE32_NOPAD;
use identity::commands::logins::Session;
use identity::commands::second_factor::verify;
use identity::domain::second_factor::{Given, step_of};
use identity::totp::Secret;
use kit::access::Caller;
use kit::graphql::{GlobalId, Language};
use kit::{Error, token};
use serde_json::{Value, json};

use crate::world::{DAY_OVER, HOUR_OVER, OPERATOR_PHONE, World, codes, number_of_phone, person};

const ENROL: &str = "mutation { enrolSecondFactor { enrolment { provisioningUri secret expiresAt }
    userErrors { code field message } } }";
pub(crate) const PROMISES: [&str; 3] = [
    "identity.ten_recovery_codes",
    "identity.stepped_up_with_a_factor",
    "identity.second_factors_end",
];

/// Who asks with this token, as every service's door reads it.
pub(crate) async fn bearer(world: &World, token: &str) -> Caller {
    let identity = &world.identity;
    identity.keys.load(&identity.ctx.db).await.unwrap();
    let (keys, now) = (identity.keys.access(), identity.ctx.clock.now());
    let said = token::verify(token, identity.ctx.union, keys, now).unwrap();
    let caller = Caller::member(said.member, said.login, Language::En);
    match said.stepped_up_until {
        Some(until) => caller.stepped_up(until),
        None => caller,
    }
}

pub(crate) async fn signed_in(world: &World, session: &Session) -> Caller {
    bearer(world, &session.access.token).await
}

/// A person with a second factor, and what she holds of it.
pub(crate) struct Holder {
    pub(crate) session: Session,
    pub(crate) secret: Secret,
    pub(crate) recovery: Vec<String>,
    /// As her token was when she confirmed.
    pub(crate) caller: Caller,
}

impl Holder {
    /// What her authenticator shows now.
    pub(crate) fn code(&self, world: &World) -> String {
        self.secret.code(step_of(world.identity.ctx.clock.now()))
    }

    /// As she is without having shown it.
    pub(crate) fn plain(&self) -> Caller {
        crate::logins::caller(&self.session)
    }
}

pub(crate) async fn enrol(world: &World, caller: &Caller) -> (Value, Option<Secret>) {
    let answer = world.run(caller, ENROL, json!({})).await;
    let secret = answer["enrolment"]["secret"].as_str().map(|text| {
        let bytes = BASE32_NOPAD.decode(text.as_bytes()).unwrap();
        Secret::from_bytes(&bytes).unwrap()
    });
    (answer, secret)
}

pub(crate) async fn confirm(world: &World, caller: &Caller, code: &str) -> Value {
    let selection = "recoveryCodes token { accessToken steppedUpUntil }";
    let input = json!({ "code": code });
    world
        .mutate(caller, "confirmSecondFactor", selection, input)
        .await
}

pub(crate) async fn show(world: &World, caller: &Caller, code: &str) -> Value {
    let selection = "token { accessToken steppedUpUntil } recoveryCodesLeft";
    let input = json!({ "code": code });
    world
        .mutate(caller, "verifySecondFactor", selection, input)
        .await
}

/// Signs in and sets a second factor up.
pub(crate) async fn holder(world: &World, number: &str) -> Holder {
    // The phone may have got a code within this minute.
    world.advance(61);
    let session = world.sign_in(number).await;
    let caller = signed_in(world, &session).await;
    let (_, secret) = enrol(world, &caller).await;
    let secret = secret.unwrap();
    let code = secret.code(step_of(world.identity.ctx.clock.now()));
    let confirmed = confirm(world, &caller, &code).await;
    assert_eq!(codes(&confirmed), [""; 0], "{confirmed}");
    let recovery = confirmed["recoveryCodes"].as_array().unwrap().iter();
    let recovery = recovery.map(|code| code.as_str().unwrap().to_owned());
    let token = confirmed["token"]["accessToken"].as_str().unwrap();
    Holder {
        recovery: recovery.collect(),
        caller: bearer(world, token).await,
        session,
        secret,
    }
}

fn wrong(code: &str) -> String {
    format!("{:06}", (code.parse::<u32>().unwrap() + 1) % 1_000_000)
}

pub(crate) async fn keeps_its_promises(world: &World) {
    for promise in PROMISES {
        assert_eq!(world.broken(promise).await, 0, "{promise}");
    }
}

const STEP_UP_REQUIRED: [&str; 3] = [
    "STEP_UP_REQUIRED",
    "此操作需要先验证动态口令。",
    "Please show your second factor first.",
];

/// What it is for: rights are granted by who has shown it, for ten minutes, and by nobody else.
#[tokio::test]
async fn rights_are_granted_by_who_has_shown_it() {
    let world = World::new().await;
    let union = world.organisation("GRASSROOTS", "基层工会").await;
    let member = world.person(&union, 1).await;
    let input = json!({
        "memberId": GlobalId::of_uuid("Member", member.0),
        "organisationId": union, "role": "OFFICER",
    });
    let grant = async |caller: &Caller| {
        let answer = world.mutate(caller, "grantRole", "role { id }", input.clone());
        codes(&answer.await).join(" ")
    };
    let session = world.sign_in(OPERATOR_PHONE).await;
    let plain = signed_in(&world, &session).await;
    let told = world.answered(&plain, "grantRole", &input).await;
    assert_eq!(told, STEP_UP_REQUIRED);

    let holder = holder(&world, OPERATOR_PHONE).await;
    assert_eq!(grant(&holder.caller).await, "");
    assert_eq!(grant(&plain).await, "STEP_UP_REQUIRED", "another device");
    world.advance(600);
    assert_eq!(grant(&holder.caller).await, "STEP_UP_REQUIRED");
}

/// Every act that needs it is refused without it, and who may not act at all is told so first.
/// ASVS V6.3.3.
#[tokio::test]
async fn without_it_nothing_that_needs_it_is_done() {
    let world = World::new().await;
    let (union, officer) = crate::rosters::officer_of(&world, "基层工会", 100).await;
    let member = world.person(&union, 1).await;
    let role = world.grant(member, &union, "AUDITOR").await;
    let member_id = GlobalId::of_uuid("Member", member.0);
    let file = crate::rosters::csv(&[
        crate::rosters::line(100),
        crate::rosters::line(2).replace("138", "128"),
    ]);
    let roster = crate::rosters::compared(&world, &officer, (&union, "LIST"), file).await;
    let acts = [
        (
            "grantRole",
            json!({ "memberId": member_id, "organisationId": union, "role": "OFFICER" }),
        ),
        ("withdrawRole", json!({ "roleId": role })),
        (
            "setPhone",
            json!({ "memberId": member_id, "phone": "13600000000" }),
        ),
        ("resetSecondFactor", json!({ "memberId": member_id })),
        ("downloadBadRows", json!({ "rosterImportId": roster })),
        (
            "commitRoster",
            json!({ "rosterImportId": roster, "idempotencyKey": uuid::Uuid::from_u128(1) }),
        ),
        (
            "addMembership",
            json!({ "organisationId": union, "person": person(3) }),
        ),
        (
            "addMemberships",
            json!({ "organisationId": union, "people": [person(3), person(4)] }),
        ),
    ];
    let session = world.sign_in(OPERATOR_PHONE).await;
    let operator = signed_in(&world, &session).await;
    let session = world.sign_in(&number_of_phone(100)).await;
    let officer = signed_in(&world, &session).await;
    let session = world.sign_in(&number_of_phone(1)).await;
    let other = signed_in(&world, &session).await;
    for (name, input) in acts {
        let may = if ["downloadBadRows", "commitRoster"].contains(&name) {
            &officer
        } else {
            &operator
        };
        let told = world.answered(may, name, &input).await;
        assert_eq!(told, STEP_UP_REQUIRED, "{name}");
        let [code, ..] = world.answered(&other, name, &input).await;
        assert!(
            ["FORBIDDEN", "ROLE_NOT_FOUND", "ROSTER_NOT_FOUND"].contains(&code.as_str()),
            "{name}: {code}"
        );
    }
    for name in ["removeSecondFactor", "renewRecoveryCodes"] {
        let query = format!("mutation {{ {name} {{ userErrors {{ code }} }} }}");
        let answer = world.run(&other, &query, json!({})).await;
        assert_eq!(codes(&answer), ["STEP_UP_REQUIRED"], "{name}");
    }
}

/// The authenticator is set up by an address that names the union and a masked phone; the secret
/// is in no table, and one's own page shows since when.
#[tokio::test]
async fn it_is_set_up_once_and_told_to_nobody() {
    let world = World::new().await;
    let session = world.sign_in(OPERATOR_PHONE).await;
    let caller = signed_in(&world, &session).await;
    let (answer, secret) = enrol(&world, &caller).await;
    let uri = answer["enrolment"]["provisioningUri"].as_str().unwrap();
    assert!(uri.starts_with("otpauth://totp/") && uri.contains("139%2A%2A%2A%2A0001"));
    let secret = secret.unwrap();
    let text = secret.text();
    assert!(uri.contains(&text));
    let me = "{ me { secondFactor { confirmedAt recoveryCodesLeft } } }";
    let seen = world.run(&caller, me, json!({})).await;
    assert_eq!(
        seen["secondFactor"],
        Value::Null,
        "not before its first code"
    );
    let code = secret.code(step_of(world.identity.ctx.clock.now()));
    let confirmed = confirm(&world, &caller, &code).await;
    assert_eq!(confirmed["recoveryCodes"].as_array().unwrap().len(), 10);
    let seen = world.run(&caller, me, json!({})).await;
    assert_eq!(seen["secondFactor"]["recoveryCodesLeft"], 10);
    // What is confirmed is replaced by who shows it alone, and there is nothing to confirm.
    let again = confirm(&world, &caller, &code).await;
    assert_eq!(codes(&again), ["STEP_UP_REQUIRED"]);

    let kept = "SELECT count(*) AS count FROM second_factor
        WHERE position($1 IN second_factor::text) > 0";
    for canary in [hex::encode(secret.bytes()), text] {
        let sql = kept.replace("$1", &format!("'{canary}'"));
        assert_eq!(world.count(&sql).await, 0);
    }
    for code in confirmed["recoveryCodes"].as_array().unwrap() {
        let plain = code.as_str().unwrap().replace('-', "");
        let sql = format!(
            "SELECT count(*) AS count FROM recovery_code
             WHERE hash::text LIKE '%{}%'",
            hex::encode(plain)
        );
        assert_eq!(world.count(&sql).await, 0);
    }
    let id = GlobalId::of_uuid("Member", world.operator.0);
    let query = "query($id: ID!) { node(id: $id) { ... on Member { secondFactor { confirmedAt }
        } } }";
    let union = world.organisation("GRASSROOTS", "基层工会").await;
    let stranger = world.person(&union, 1).await;
    let root = GlobalId::of_uuid("Organisation", world.root_id().0).to_string();
    let _ = world.grant(stranger, &root, "OPERATOR").await;
    let colleague = world.as_member(stranger);
    let seen = world.run(&colleague, query, json!({ "id": id })).await;
    assert_eq!(seen["secondFactor"], Value::Null);
    keeps_its_promises(&world).await;
}

/// A code opens once, also among eight at once; none of before opens after it.
/// ASVS V6.5.1.
#[tokio::test]
async fn a_code_is_taken_once() {
    let world = World::new().await;
    let holder = holder(&world, OPERATOR_PHONE).await;
    let caller = holder.plain();
    let first = holder.code(&world);
    let answer = show(&world, &caller, &first).await;
    assert_eq!(codes(&answer), ["SECOND_FACTOR_USED"], "it confirmed");
    world.advance(30);
    let second = Given::parse(&holder.code(&world)).unwrap();
    let identity = &world.identity;
    let tries = (0..8).map(|_| verify(identity, &caller, &second));
    let mut taken = 0;
    for answer in futures::future::join_all(tries).await {
        match answer {
            Ok(_) => taken += 1,
            Err(Error::Refused(why)) => assert_eq!(why.code, "SECOND_FACTOR_USED"),
            Err(error) => panic!("{error:?}"),
        }
    }
    assert_eq!(taken, 1);
    let answer = show(&world, &caller, &first).await;
    assert_eq!(codes(&answer), ["SECOND_FACTOR_USED"], "the one before");
    world.advance(30);
    assert_eq!(
        codes(&show(&world, &caller, &holder.code(&world)).await),
        [""; 0]
    );
    let told = world
        .answered(
            &caller,
            "verifySecondFactor",
            &json!({ "code": holder.code(&world) }),
        )
        .await;
    assert_eq!(
        told,
        [
            "SECOND_FACTOR_USED",
            "该动态口令已使用，请等待下一个。",
            "This code was used already; please wait for the next one.",
        ]
    );
    keeps_its_promises(&world).await;
}

/// After five wrong codes the right one opens nothing for the rest of the hour, after twenty for
/// the rest of the day; forty at once are five. Each bar leaves one alarm.
#[tokio::test]
async fn a_code_cannot_be_guessed() {
    let world = World::new().await;
    let holder = holder(&world, OPERATOR_PHONE).await;
    let caller = holder.plain();
    let identity = &world.identity;
    world.advance(30);
    let bad = Given::parse(&wrong(&holder.code(&world))).unwrap();
    let tries = (0..40).map(|_| verify(identity, &caller, &bad));
    let mut looked_at = 0;
    for answer in futures::future::join_all(tries).await {
        let Err(Error::Refused(why)) = answer else {
            panic!("{answer:?}");
        };
        match why.code {
            "SECOND_FACTOR_WRONG" => looked_at += 1,
            code => assert_eq!(code, "TOO_MANY_TRIES"),
        }
    }
    assert_eq!(looked_at, 5);
    let barred = "SELECT count(*) AS count FROM audit WHERE act = 'second_factor_barred'";
    assert_eq!(world.count(barred).await, 1);
    let right = json!({ "code": holder.code(&world) });
    let told = world.answered(&caller, "verifySecondFactor", &right).await;
    assert_eq!(
        told,
        [
            "TOO_MANY_TRIES",
            "动态口令错误次数过多，请稍后再试。",
            "Too many wrong codes; please try again later.",
        ]
    );
    // A recovery code is a code like another.
    let answer = show(&world, &caller, &holder.recovery[0]).await;
    assert_eq!(codes(&answer), ["TOO_MANY_TRIES"]);
    for _ in 0..3 {
        world.advance(HOUR_OVER);
        for _ in 0..5 {
            let bad = wrong(&holder.code(&world));
            let answer = show(&world, &caller, &bad).await;
            assert_eq!(codes(&answer), ["SECOND_FACTOR_WRONG"]);
        }
    }
    world.advance(HOUR_OVER);
    let answer = show(&world, &caller, &holder.code(&world)).await;
    assert_eq!(codes(&answer), ["TOO_MANY_TRIES"], "twenty in the day");
    world.advance(DAY_OVER);
    let answer = show(&world, &caller, &holder.code(&world)).await;
    assert_eq!(codes(&answer), [""; 0]);
}

/// What can be no code is refused as a wrong one and costs nothing; so is a code that is right for
/// somebody else.
#[tokio::test]
async fn another_persons_code_is_wrong() {
    let world = World::new().await;
    let union = world.organisation("GRASSROOTS", "基层工会").await;
    let _ = world.person(&union, 1).await;
    let mine = holder(&world, OPERATOR_PHONE).await;
    let other = holder(&world, &number_of_phone(1)).await;
    let caller = mine.plain();
    world.advance(60);
    for code in ["", "12345", "abcdef", "１２３４５６", "0123456789A"] {
        let answer = show(&world, &caller, code).await;
        assert_eq!(codes(&answer), ["SECOND_FACTOR_WRONG"], "{code:?}");
    }
    let counted = "SELECT count(*) AS count FROM audit WHERE act = 'second_factor_wrong'";
    assert_eq!(world.count(counted).await, 0);
    for code in [other.code(&world), other.recovery[0].clone()] {
        let answer = show(&world, &caller, &code).await;
        assert_eq!(codes(&answer), ["SECOND_FACTOR_WRONG"]);
    }
    assert_eq!(world.count(counted).await, 2);
    let nobody = world.sign_in(&number_of_phone(1)).await;
    let stranger = signed_in(&world, &nobody).await;
    let answer = show(&world, &stranger, &other.recovery[0]).await;
    assert_eq!(codes(&answer), [""; 0], "any device of its person");
}

/// A recovery code opens once, also when it comes eight times at once; new ones void the old.
/// ASVS V6.5.2.
#[tokio::test]
async fn a_recovery_code_is_good_once() {
    let world = World::new().await;
    let holder = holder(&world, OPERATOR_PHONE).await;
    let caller = holder.plain();
    let identity = &world.identity;
    let given = Given::parse(&holder.recovery[0].to_lowercase()).unwrap();
    let tries = (0..4).map(|_| verify(identity, &caller, &given));
    let opened = futures::future::join_all(tries).await;
    assert_eq!(opened.iter().filter(|answer| answer.is_ok()).count(), 1);
    let answer = show(&world, &caller, &holder.recovery[1].replace('-', " ")).await;
    assert_eq!(answer["recoveryCodesLeft"], 8);
    let token = answer["token"]["accessToken"].as_str().unwrap();
    let shown = bearer(&world, token).await;
    let renew = "mutation { renewRecoveryCodes { recoveryCodes userErrors { code } } }";
    let renewed = world.run(&shown, renew, json!({})).await;
    assert_eq!(renewed["recoveryCodes"].as_array().unwrap().len(), 10);
    let answer = show(&world, &caller, &holder.recovery[2]).await;
    assert_eq!(codes(&answer), ["SECOND_FACTOR_WRONG"]);
    let new = renewed["recoveryCodes"][0].as_str().unwrap();
    assert_eq!(show(&world, &caller, new).await["recoveryCodesLeft"], 9);
    keeps_its_promises(&world).await;
}
