//! Consents as members give and withdraw them: to a text that they were shown, one at a time, as
//! easily back as given, and all of it on record.

use kit::access::Caller;
use kit::graphql::Language;
use kit::types::MemberId;
use proto::identity::{ConsentChanged, ConsentTextPublished, EntitlementConsentChanged};
use serde_json::{Value, json};
use uuid::Uuid;

use crate::credentials::{PASS, apply, granted};
use crate::world::{World, codes};

const CONSENTS: &str = "{ me { consents { purpose state textVersion text effectiveFrom
    history(first: 10) { nodes { given textVersion at text } } } } }";

/// Promises that a consent's own tables must keep.
const PROMISES: [&str; 2] = [
    "identity.consents_have_history",
    "identity.consent_texts_stay",
];

/// A member of a union of her own.
pub(crate) async fn member() -> (World, MemberId) {
    let world = World::new().await;
    let union = world.organisation("GRASSROOTS", "基层工会").await;
    let member = world.person(&union, 1).await;
    (world, member)
}

pub(crate) async fn give(world: &World, who: &Caller, purpose: &str, key: u128) -> Value {
    give_to(world, who, (purpose, 1), key).await
}

async fn give_to(world: &World, who: &Caller, (purpose, version): (&str, i32), key: u128) -> Value {
    let input = json!({ "purpose": purpose, "textVersion": version,
        "idempotencyKey": Uuid::from_u128(key) });
    let selection = "consent { purpose state textVersion }";
    world.mutate(who, "giveConsent", selection, input).await
}

pub(crate) async fn withdraw(world: &World, who: &Caller, purpose: &str, key: u128) -> Value {
    let input = json!({ "purpose": purpose, "idempotencyKey": Uuid::from_u128(key) });
    let selection = "consent { purpose state textVersion }";
    world.mutate(who, "withdrawConsent", selection, input).await
}

async fn consents(world: &World, who: &Caller) -> Vec<Value> {
    let me = world.run(who, CONSENTS, json!({})).await;
    me["consents"].as_array().unwrap().clone()
}

async fn states(world: &World, who: &Caller) -> Vec<String> {
    let all = consents(world, who).await;
    let state = |it: &Value| it["state"].as_str().unwrap().to_owned();
    all.iter().map(state).collect()
}

async fn promises_hold(world: &World) {
    for promise in PROMISES {
        assert_eq!(world.broken(promise).await, 0, "{promise}");
    }
}

/// From the question to the answer and back: each purpose by itself, each word in the history with
/// the text it was said to, and an audit row for each.
#[tokio::test]
async fn a_consent_is_given_withdrawn_and_remembered() {
    let (world, member) = member().await;
    let who = world.as_member(member);
    assert_eq!(states(&world, &who).await, ["ASKED", "ASKED"]);
    let given = give(&world, &who, "NOTICE_SMS", 1).await;
    assert_eq!(given["consent"]["state"], "GIVEN", "{given}");
    assert_eq!(states(&world, &who).await, ["GIVEN", "ASKED"]);
    world.advance(60);
    let back = withdraw(&world, &who, "NOTICE_SMS", 2).await;
    assert_eq!(back["consent"]["state"], "WITHDRAWN");
    // What was never given can be refused before it is asked again.
    let back = withdraw(&world, &who, "VISITS_TO_VENUES", 3).await;
    assert_eq!(
        (codes(&back), &back["consent"]["state"]),
        (vec![], &json!("ASKED"))
    );

    let all = consents(&world, &who).await;
    let said = all[0]["history"]["nodes"].as_array().unwrap();
    let words: Vec<bool> = said.iter().map(|it| it["given"] == true).collect();
    assert_eq!(words, [false, true], "the newest first");
    for word in said {
        assert_eq!(
            (&word["textVersion"], &word["text"]),
            (&json!(1), &all[0]["text"])
        );
    }
    for act in ["give_consent", "withdraw_consent"] {
        let audited = format!(
            "SELECT count(*) AS count FROM audit WHERE act = '{act}' AND member = '{member}'
               AND subject = 'notice_sms' AND detail->>'changed' = 'true'"
        );
        assert_eq!(world.count(&audited).await, 1, "{act}");
    }
    promises_hold(&world).await;
}

/// A key acts once: the request that gave a consent, sent again after the withdrawal, does not give
/// it again; the same key with another request is refused. A word said twice is one.
#[tokio::test]
async fn a_repeated_request_gives_nothing_back() {
    let (world, member) = member().await;
    let who = world.as_member(member);
    give(&world, &who, "NOTICE_SMS", 1).await;
    let twice = give(&world, &who, "NOTICE_SMS", 9).await;
    assert_eq!(twice["consent"]["state"], "GIVEN");
    withdraw(&world, &who, "NOTICE_SMS", 2).await;
    let again = give(&world, &who, "NOTICE_SMS", 1).await;
    assert_eq!(
        (codes(&again), &again["consent"]["state"]),
        (vec![], &json!("WITHDRAWN"))
    );
    let other = give(&world, &who, "VISITS_TO_VENUES", 1).await;
    assert_eq!(codes(&other), ["IDEMPOTENCY_KEY_REUSED"]);
    withdraw(&world, &who, "NOTICE_SMS", 3).await;
    let acts = "SELECT count(*) AS count FROM consent_act";
    assert_eq!(world.count(acts).await, 2);
    promises_hold(&world).await;
}

/// Texts are read in both languages, name the union that asks, whom it gives the data to and that
/// one may say no; nobody else reads or gives another's consents.
#[tokio::test]
async fn what_is_asked_is_told_in_full_and_to_oneself_alone() {
    let (world, member) = member().await;
    for (language, words) in [
        (
            Language::Zh,
            ["重庆市总工会", "12351", "接收方", "可以不同意", "撤回"],
        ),
        (
            Language::En,
            [
                "Chongqing Federation",
                "12351",
                "Recipient",
                "need not agree",
                "withdraw",
            ],
        ),
    ] {
        let who = Caller {
            language,
            ..world.as_member(member)
        };
        for asked in consents(&world, &who).await {
            let text = asked["text"].as_str().unwrap();
            for word in words {
                assert!(text.contains(word), "{word} is not in {text}");
            }
            assert!(!text.contains('{'), "{text}");
        }
    }
    let query = "query($id: ID!) { node(id: $id) { ... on Member { maskedName
        consents { state } notices(first: 1) { nodes { id } } unreadNotices
        noticePreferences { sms } } } }";
    let id = kit::graphql::GlobalId::of_uuid("Member", member.0).to_string();
    let seen = world
        .run(&world.as_operator(), query, json!({ "id": id }))
        .await;
    assert_eq!(seen["maskedName"], "测*员");
    for hidden in ["consents", "notices", "unreadNotices", "noticePreferences"] {
        assert_eq!(seen[hidden], Value::Null, "{hidden}");
    }
}

/// Who is not signed in says nothing, and nothing of it is recorded.
#[tokio::test]
async fn nobody_speaks_for_another() {
    let world = World::new().await;
    let anonymous = Caller::anonymous(Language::En);
    for (name, input) in [
        (
            "giveConsent",
            json!({ "purpose": "NOTICE_SMS", "textVersion": 1,
            "idempotencyKey": Uuid::from_u128(1) }),
        ),
        (
            "withdrawConsent",
            json!({ "purpose": "NOTICE_SMS",
            "idempotencyKey": Uuid::from_u128(1) }),
        ),
        ("markNoticesRead", json!({})),
        (
            "setNoticePreference",
            json!({ "kind": "REFUNDED", "sms": false }),
        ),
    ] {
        let mut kind = name.to_owned();
        kind[..1].make_ascii_uppercase();
        let query = format!(
            "mutation($input: {kind}Input!) {{ {name}(input: $input) {{ userErrors {{ code }} }} }}"
        );
        let answer = world
            .ask(&anonymous, &query, json!({ "input": input }))
            .await;
        let code = &answer["errors"][0]["extensions"]["code"];
        assert_eq!(code, "UNAUTHENTICATED", "{name}: {answer}");
    }
    let said = "SELECT count(*) AS count FROM consent_act";
    assert_eq!(world.count(said).await, 0);
}

/// Publishes a second version of a text, as a migration would, from tomorrow on.
async fn publish_second(world: &World) {
    let sql = "INSERT INTO consent_text (purpose, recipient, version, zh, en, effective_from)
        SELECT purpose, recipient, 2, zh || '新', en || ' New.', '2026-04-02T10:00:00+08:00'
        FROM consent_text WHERE purpose = 'notice_sms'";
    world.test.owner().await.execute(sql, []).await.unwrap();
    world.identity.open().await.unwrap();
}

/// A new text asks anew: from its instant on the old consent is outdated, the old text cannot be
/// agreed to any more, and what was agreed to stays on record with the text it was.
#[tokio::test]
async fn a_new_text_asks_anew() {
    let (world, member) = member().await;
    let who = world.as_member(member);
    give(&world, &who, "NOTICE_SMS", 1).await;
    publish_second(&world).await;
    assert_eq!(states(&world, &who).await, ["GIVEN", "ASKED"]);
    let early = give_to(&world, &who, ("NOTICE_SMS", 2), 2).await;
    assert_eq!(codes(&early), ["CONSENT_TEXT_OUTDATED"], "not in force yet");
    world.advance(86_400);
    assert_eq!(states(&world, &who).await, ["OUTDATED", "ASKED"]);
    let input = json!({ "purpose": "NOTICE_SMS", "textVersion": 1,
        "idempotencyKey": Uuid::from_u128(3) });
    let [code, zh, en] = world.answered(&who, "giveConsent", &input).await;
    assert_eq!(code, "CONSENT_TEXT_OUTDATED");
    assert!(
        zh.contains("已更新") && en.contains("has changed"),
        "{zh} {en}"
    );
    give_to(&world, &who, ("NOTICE_SMS", 2), 4).await;
    let all = consents(&world, &who).await;
    let said = &all[0]["history"]["nodes"];
    assert_eq!(
        (&said[0]["textVersion"], &said[1]["textVersion"]),
        (&json!(2), &json!(1))
    );
    assert_eq!(said[0]["text"], all[0]["text"]);
    assert_ne!(said[1]["text"], all[0]["text"]);
    promises_hold(&world).await;

    let published = world.events_of("ConsentTextPublished").await;
    let versions: Vec<(String, i32)> = published
        .iter()
        .map(|event| event.decode::<ConsentTextPublished>())
        .map(|it| (it.purpose, it.version))
        .collect();
    let sms = |version| ("notice_sms".to_owned(), version);
    assert_eq!(
        versions.len(),
        3,
        "each once, whoever starts again: {versions:?}"
    );
    assert!(versions.contains(&sms(1)) && versions.contains(&sms(2)));
    // Opened again, it is told to nobody again.
    world.identity.open().await.unwrap();
    assert_eq!(world.events_of("ConsentTextPublished").await.len(), 3);
}

fn of_pass(event: &crate::world::Emitted) -> (u64, i64, bool) {
    let said: EntitlementConsentChanged = event.decode();
    assert_eq!(
        (said.purpose.as_str(), said.recipient.as_str()),
        ("visits", "venues")
    );
    (said.entitlement_id, said.version, said.given)
}

/// The others are told in the same transaction: of the person, and, where they know entitlements
/// alone, of each of hers, those that arrive later included. Nothing says whose those are.
#[tokio::test]
async fn the_others_hear_of_each_word() {
    let (world, member) = member().await;
    let who = world.as_member(member);
    give(&world, &who, "VISITS_TO_VENUES", 1).await;
    assert!(
        world
            .events_of("EntitlementConsentChanged")
            .await
            .is_empty()
    );
    apply(&world, granted(&world, member, 1)).await;
    let told = world.events_of("EntitlementConsentChanged").await;
    assert_eq!(
        told.iter().map(of_pass).collect::<Vec<_>>(),
        [(PASS, 1, true)]
    );
    withdraw(&world, &who, "VISITS_TO_VENUES", 2).await;
    let told = world.events_of("EntitlementConsentChanged").await;
    assert_eq!(told.last().map(of_pass), Some((PASS, 2, false)));
    let bytes = member.0.as_bytes();
    assert!(
        told.iter()
            .all(|it| !it.payload.windows(16).any(|part| part == bytes))
    );

    // What concerns no entitlement is told of none.
    give(&world, &who, "NOTICE_SMS", 3).await;
    assert_eq!(
        world.events_of("EntitlementConsentChanged").await.len(),
        told.len()
    );
    let words = world.events_of("ConsentChanged").await;
    let words = words
        .iter()
        .filter(|it| !it.kind.ends_with("EntitlementConsentChanged"));
    let words: Vec<ConsentChanged> = words.map(|it| it.decode()).collect();
    let said: Vec<(&str, i64, bool)> = words
        .iter()
        .map(|it| (it.purpose.as_str(), it.version, it.given))
        .collect();
    assert_eq!(
        said,
        [
            ("visits", 1, true),
            ("visits", 2, false),
            ("notice_sms", 1, true)
        ]
    );
    assert!(words.iter().all(|it| it.member_id == bytes));
}

/// The history cannot be rewritten, not even by who runs the database's service; a text or a
/// consent that was changed past it is found.
#[tokio::test]
async fn what_was_said_cannot_be_unsaid() {
    let (world, member) = member().await;
    let who = world.as_member(member);
    give(&world, &who, "NOTICE_SMS", 1).await;
    let db = &world.test.ctx.db;
    for sql in [
        "UPDATE consent_act SET given = false",
        "DELETE FROM consent_act",
    ] {
        let error = db.execute(sql, []).await.unwrap_err();
        let mut told = String::new();
        let mut cause: Option<&dyn std::error::Error> = Some(&error);
        while let Some(error) = cause {
            told.push_str(&error.to_string());
            cause = error.source();
        }
        assert!(told.contains("kept as it was said"), "{told}");
    }
    promises_hold(&world).await;
    let owner = world.test.owner().await;
    for (sql, promise) in [
        ("UPDATE consent SET given = false", PROMISES[0]),
        (
            "UPDATE consent_text SET zh = zh || '，并可转卖'",
            PROMISES[1],
        ),
    ] {
        owner.execute(sql, []).await.unwrap();
        assert_eq!(world.broken(promise).await, 1, "{promise}");
    }
}
