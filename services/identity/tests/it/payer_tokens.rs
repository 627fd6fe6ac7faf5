//! What names a member to the payment provider: sealed to billing, bound to her, minutes long, and
//! readable to nobody else.

use identity::Settings;
use identity::commands::payer_tokens::{
    PAYER_TOKEN_SECONDS, PAYER_TOKENS_PER_DAY_MAX, PAYER_TOKENS_PER_HOUR_MAX,
};
use kit::access::Caller;
use kit::graphql::Language;
use kit::sealed::{self, NotOpened, Opened, Opener};
use kit::types::Union;
use sandbox::Clock;
use sea_orm::FromQueryResult;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::parties::{Parties, payer_key};
use crate::world::{OPERATOR_PHONE, World, codes, settings};

/// A world with a mini-program, whose operator has linked her WeChat.
async fn linked(name: &str) -> (World, Parties) {
    let parties = Parties::start(&format!("payer-{name}"), Clock::System).await;
    let world = World::with(Settings {
        wechat: Some(parties.mini_program()),
        ..settings(&parties.url)
    })
    .await;
    let nobody = Caller::anonymous(Language::En);
    let code = json!({ "code": parties.wechat_code("one", None).await });
    let entered = world.mutate(&nobody, "loginWithWechat", "link { ticket }", code);
    let ticket = entered.await["link"]["ticket"].clone();
    let phone = json!({ "phone": OPERATOR_PHONE });
    world.mutate(&nobody, "requestLoginCode", "", phone).await;
    let code = world.code(OPERATOR_PHONE).await;
    let link = json!({ "ticket": ticket, "phone": OPERATOR_PHONE, "code": code });
    let linked = world.mutate(&nobody, "linkLogin", "", link).await;
    assert_eq!(codes(&linked), [""; 0], "{linked}");
    let keys = &world.identity.keys;
    keys.load(&world.test.ctx.db).await.unwrap();
    (world, parties)
}

async fn issue(world: &World, caller: &Caller, key: u128) -> Value {
    let input = json!({ "idempotencyKey": Uuid::from_u128(key) });
    let selection = "payerToken { token expiresAt }";
    world
        .mutate(caller, "issuePayerToken", selection, input)
        .await
}

/// What billing makes of it, or another service.
fn opened(world: &World, issued: &Value, audience: &'static str) -> Result<Opened, NotOpened> {
    let key = payer_key();
    let opener = Opener {
        union: Union::Chongqing,
        audience,
        key: &key,
        access_keys: world.identity.keys.access(),
    };
    let token = issued["payerToken"]["token"].as_str().unwrap();
    sealed::open(token, opener, world.identity.ctx.clock.now())
}

/// Where something stands in the database, in text or in bytes.
async fn tables_with(world: &World, what: &str) -> Vec<String> {
    #[derive(FromQueryResult)]
    struct Row {
        name: String,
    }
    let db = world.test.superuser().await;
    let names = "SELECT format('%I', table_name) AS name FROM information_schema.tables
        WHERE table_schema = 'public' AND table_type = 'BASE TABLE' ORDER BY 1";
    let tables: Vec<Row> = db.all(names, []).await.unwrap();
    assert!(tables.len() > 20, "all tables are looked at");
    let mut found = Vec::new();
    for Row { name } in tables {
        let sql = format!(
            "SELECT '{name}' AS name FROM {name} t
             WHERE position($1 IN t::text) > 0 OR position($2 IN t::text) > 0 LIMIT 1"
        );
        let values = [what.into(), hex::encode(what).into()];
        let rows: Vec<Row> = db.all(&sql, values).await.unwrap();
        found.extend(rows.into_iter().map(|row| row.name));
    }
    found
}

/// Billing reads who she is to WeChat, for five minutes; another service reads nothing, and neither
/// does who looks into the database.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn billing_alone_reads_who_pays() {
    let (world, parties) = linked("reads").await;
    let operator = world.as_operator();
    let issued = issue(&world, &operator, 1).await;
    assert_eq!(codes(&issued), [""; 0], "{issued}");
    let word = opened(&world, &issued, "billing").unwrap();
    assert_eq!(word.member, world.operator);
    let (appid, openid) = word.text.split_once('\n').unwrap();
    assert_eq!(appid, parties.mini_program().appid);
    assert!(openid.starts_with('o') && openid.len() == 28, "an openid");
    let elsewhere = opened(&world, &issued, "passes").unwrap_err();
    assert_eq!(elsewhere, NotOpened::Invalid);
    let token = issued["payerToken"]["token"].as_str().unwrap();
    for secret in [openid, token] {
        assert_eq!(tables_with(&world, secret).await, [""; 0]);
    }
    let known = tables_with(&world, "issue_payer_token").await;
    assert!(
        known.contains(&"audit".to_owned()),
        "the search finds what is there"
    );
    world.advance(PAYER_TOKEN_SECONDS);
    let over = opened(&world, &issued, "billing").unwrap_err();
    assert_eq!(over, NotOpened::Expired);
}

/// The same key is the same token, with the same end: nobody keeps one alive by asking again.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_key_is_one_token() {
    let (world, _parties) = linked("once").await;
    let operator = world.as_operator();
    let first = issue(&world, &operator, 1).await;
    world.advance(PAYER_TOKEN_SECONDS - 1);
    let again = issue(&world, &operator, 1).await;
    assert_eq!(
        first["payerToken"]["expiresAt"],
        again["payerToken"]["expiresAt"]
    );
    let ids = [&first, &again].map(|issued| opened(&world, issued, "billing").unwrap().id);
    assert_eq!(ids[0], ids[1]);
    let other = issue(&world, &operator, 2).await;
    assert_ne!(opened(&world, &other, "billing").unwrap().id, ids[0]);
    world.advance(1);
    let over = issue(&world, &operator, 1).await;
    assert_eq!(codes(&over), ["PAYER_TOKEN_OVER"]);
    assert_eq!(codes(&issue(&world, &operator, 3).await), [""; 0]);
}

/// Who is not linked has nothing to be named by; where billing has no key nobody has.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_is_not_linked_is_not_named() {
    let (world, parties) = linked("not").await;
    let union = world.organisation("GRASSROOTS", "基层工会").await;
    let other = world.person(&union, 1).await;
    let answer = issue(&world, &world.as_member(other), 1).await;
    assert_eq!(codes(&answer), ["WECHAT_NOT_LINKED"]);
    let operator = world.as_operator();
    assert_eq!(codes(&issue(&world, &operator, 1).await), [""; 0]);
    let gone = "DELETE FROM login_method WHERE kind = 'wechat'";
    world.test.ctx.db.execute(gone, []).await.unwrap();
    let answer = issue(&world, &operator, 2).await;
    assert_eq!(codes(&answer), ["WECHAT_NOT_LINKED"]);

    let mut program = parties.mini_program();
    program.payer_key = None;
    let without = World::with(Settings {
        wechat: Some(program.clone()),
        ..settings(&parties.url)
    })
    .await;
    let answer = issue(&without, &without.as_operator(), 1).await;
    assert_eq!(codes(&answer), ["PAYER_TOKENS_OFF"]);
    program.payer_key = Some("AAAA".to_owned());
    let wrong = Settings {
        wechat: Some(program),
        ..settings(&parties.url)
    };
    let ctx = without.test.ctx.clone();
    let refused = identity::Identity::new(ctx, wrong, Default::default(), 1);
    assert_eq!(refused.unwrap_err().field, "identity.wechat.payer_key");
}

/// Thirty tokens in an hour and a hundred in a day are enough for anybody.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tokens_are_counted() {
    let (world, _parties) = linked("counted").await;
    let operator = world.as_operator();
    let (mut key, mut issued) = (0, 0);
    let mut ask = async || {
        key += 1;
        let answer = issue(&world, &operator, key).await;
        codes(&answer)
            .first()
            .copied()
            .unwrap_or_default()
            .to_owned()
    };
    while issued < PAYER_TOKENS_PER_DAY_MAX {
        for _ in 0..PAYER_TOKENS_PER_HOUR_MAX.min(PAYER_TOKENS_PER_DAY_MAX - issued) {
            assert_eq!(ask().await, "");
            issued += 1;
        }
        if issued < PAYER_TOKENS_PER_DAY_MAX {
            assert_eq!(ask().await, "TOO_MANY_PAYER_TOKENS", "in the hour");
        }
        world.advance(3_600);
    }
    assert_eq!(ask().await, "TOO_MANY_PAYER_TOKENS", "in the day");
}
