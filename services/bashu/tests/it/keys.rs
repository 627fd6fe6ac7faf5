//! The root, the keys it vouches for, and the first operator.

use std::os::unix::fs::PermissionsExt;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;

use crate::world::{World, finding};

/// ASVS V13.3.2.
#[tokio::test]
async fn a_root_is_made_once_and_for_its_owner_alone() {
    let world = World::paper().await;
    let mode = std::fs::metadata(world.root())
        .unwrap()
        .permissions()
        .mode();
    assert_eq!(mode & 0o777, 0o600);
    let again = world
        .bashu(&["keys", "init-root", "--file", &world.root()])
        .await;
    assert_eq!(again.code, 3, "an existing root is never overwritten");
}

#[tokio::test]
async fn keys_are_rotated_and_published_by_the_root_alone() {
    let world = World::ready().await;
    let report = world.bashu(&["doctor"]).await.json();
    let none = finding(&report, "keys.set", "identity");
    assert_eq!(none["severity"], "fail");
    assert!(
        none["to_do"]["en"]
            .as_str()
            .unwrap()
            .contains("bashu keys rotate")
    );

    let made = world.bashu(&["keys", "rotate"]).await.well();
    assert_eq!(
        made.as_array().unwrap().len(),
        2,
        "one key of each purpose was due"
    );
    let again = world.bashu(&["keys", "rotate"]).await.well();
    assert_eq!(again.as_array().unwrap().len(), 0, "none is due any more");

    let stranger = world.folder.join("stranger.key").display().to_string();
    world
        .bashu(&["keys", "init-root", "--file", &stranger])
        .await
        .well();
    let refused = world.bashu(&["keys", "publish", "--root", &stranger]).await;
    assert_eq!(refused.code, 3);
    assert!(refused.err.contains("root_public_key"), "{}", refused.err);

    let published = world
        .bashu(&["keys", "publish", "--root", &world.root()])
        .await
        .well();
    assert_eq!(published["version"], 1);
    let listed = world.bashu(&["keys", "list"]).await.well();
    for key in listed.as_array().unwrap() {
        assert_eq!(
            (&key["published"], &key["signs"]),
            (&true.into(), &true.into()),
            "{key}"
        );
    }
    let report = world.bashu(&["doctor"]).await.json();
    assert_eq!(finding(&report, "keys.set", "identity")["severity"], "ok");
    for purpose in ["entry", "access"] {
        assert_eq!(finding(&report, "keys.expiry", purpose)["severity"], "ok");
    }
    let by = "SELECT string_agg(act, ',' ORDER BY id) FROM audit WHERE detail ->> 'by' = 'tester'
              AND act <> 'migrate'";
    let acts = world.ask("identity", by).await;
    assert_eq!(acts, "use_kek,rotate_key,rotate_key,publish_keys");
}

#[tokio::test]
async fn a_revoked_key_signs_no_more() {
    let world = World::ready().await;
    world
        .bashu(&["keys", "rotate", "--purpose", "access"])
        .await
        .well();
    world
        .bashu(&["keys", "publish", "--root", &world.root()])
        .await
        .well();
    let listed = world
        .bashu(&["keys", "revoke", "1", "--reason", "left on a train"])
        .await
        .well();
    assert_eq!(
        (&listed[0]["state"], &listed[0]["signs"]),
        (&"revoked".into(), &false.into())
    );
    let unknown = world
        .bashu(&["keys", "revoke", "77", "--reason", "never made"])
        .await;
    assert_eq!(unknown.code, 3);
    // The act's own row names who did it, and what was not done left none.
    let acts = "SELECT string_agg(subject || ' ' || (detail ->> 'reason') || ' ' ||
                (detail ->> 'by'), ',') FROM audit WHERE act LIKE '%revoke%'";
    let acts = world.ask("identity", acts).await;
    assert_eq!(acts, "1 left on a train tester");
}

/// One KEK follows another by four steps, each of which the doctor tells; then the old one is the
/// database's no more.
#[tokio::test]
async fn one_kek_follows_another() {
    let mut world = World::ready().await;
    let key = |byte: u8| STANDARD.encode([byte; 32]);
    let severity = |report: &Value| finding(report, "vault.kek", "")["severity"].clone();
    let report = world.bashu(&["doctor"]).await.json();
    assert_eq!(severity(&report), "warn", "nobody has started yet");
    world.bashu(&["keys", "rotate"]).await.well();
    let report = world.bashu(&["doctor"]).await.json();
    assert_eq!(severity(&report), "ok");

    world.set("identity", "kek", key(9));
    let report = world.bashu(&["doctor"]).await.json();
    assert_eq!(severity(&report), "fail", "the one in use is not there");
    for command in ["rotate", "rewrap"] {
        let refused = world.bashu(&["keys", command]).await;
        assert_eq!(refused.code, 3, "{}", refused.out);
        assert!(refused.err.contains("identity."), "{}", refused.err);
    }
    world.set("identity", "other_keks", vec![key(1)]);
    let early = world.bashu(&["keys", "rewrap"]).await;
    assert_eq!(early.code, 3, "no service has started with the new one");
    let purpose = ["keys", "rotate", "--purpose", "access"];
    world.bashu(&purpose).await.well();
    let report = world.bashu(&["doctor"]).await.json();
    assert_eq!(severity(&report), "warn", "the old one seals two keys");

    let done = world.bashu(&["keys", "rewrap"]).await.well();
    assert_eq!(done["cells"], 2, "{done}");
    assert_eq!(done["dropped"].as_array().unwrap().len(), 1);
    world.set("identity", "other_keks", Vec::<String>::new());
    let report = world.bashu(&["doctor"]).await.json();
    assert_eq!(severity(&report), "ok");
    let again = world.bashu(&["keys", "rewrap"]).await.well();
    assert_eq!(again["cells"], 0);
    let acts = "SELECT string_agg(act || ' ' || COALESCE(detail ->> 'cells', ''), ',' ORDER BY id)
                FROM audit WHERE detail ->> 'by' = 'tester' AND act IN ('drop_kek', 'rewrap_keys')";
    assert_eq!(
        world.ask("identity", acts).await,
        "rewrap_keys ,rewrap_keys ,rewrap_keys ,drop_kek 2,rewrap_keys "
    );
}

/// The doctor tells when rows of the vault are open to others.
#[tokio::test]
async fn an_open_vault_is_found() {
    let world = World::ready().await;
    let owner = world.owner("identity").await;
    for (open, table) in [
        ("ALTER TABLE person DISABLE ROW LEVEL SECURITY", "person"),
        (
            "CREATE POLICY all_see ON document FOR SELECT TO PUBLIC USING (true)",
            "document",
        ),
        ("ALTER TABLE login NO FORCE ROW LEVEL SECURITY", "login"),
        ("DROP POLICY vault_serves ON roster", "roster"),
    ] {
        owner.execute(open, []).await.unwrap();
        let report = world.bashu(&["doctor"]).await.json();
        let found = finding(&report, "vault.rows", "identity");
        assert_eq!(found["severity"], "fail");
        assert!(found["found"]["en"].as_str().unwrap().contains(table));
    }
}

/// The name and phone are read from standard input, stand nowhere in plain, and a second first
/// operator needs a reason.
/// ASVS V6.3.2.
#[tokio::test]
async fn the_first_operator_is_made_once() {
    let world = World::ready().await;
    let typed = "13911112222\n欧阳晓晓\n";
    let made = world.bashu_typing(&["operator", "create"], typed).await;
    assert_eq!(made.code, 0, "{}", made.err);
    assert!(made.json()["member"].is_string());

    let again = world
        .bashu_typing(&["operator", "create"], "13911113333\n司马光\n")
        .await;
    assert_eq!(again.code, 3);
    assert!(again.err.contains("OPERATOR_EXISTS"), "{}", again.err);
    let forced = ["operator", "create", "--force", "the first one left"];
    let forced = world.bashu_typing(&forced, "13911113333\n司马光\n").await;
    assert_eq!(forced.code, 0, "{}", forced.err);
    let made = "SELECT string_agg(COALESCE(detail ->> 'forced', 'not forced') || ' by ' ||
                (detail ->> 'by'), ', ' ORDER BY id) FROM audit
                WHERE act = 'create_first_operator'";
    assert_eq!(
        world.ask("identity", made).await,
        "not forced by tester, the first one left by tester",
        "what was refused left no row"
    );

    let everybody = [
        "operator",
        "sign-out",
        "--all",
        "--reason",
        "a key was seen",
    ];
    let ended = world.bashu(&everybody).await;
    assert_eq!(ended.code, 0, "{}", ended.err);
    assert_eq!(ended.json()["logins"], 0, "nobody has signed in yet");
    let why = "SELECT detail ->> 'reason' || ' by ' || (detail ->> 'by') FROM audit
               WHERE act = 'sign_out_all'";
    let said = world.ask("identity", why).await;
    assert_eq!(said, "a key was seen by tester");
    for wrong in [
        &["operator", "sign-out", "--reason", "a key was seen"][..],
        &["operator", "sign-out", "--all"],
        &["operator", "sign-out", "--member", "x", "--reason", "seen"],
    ] {
        assert_eq!(world.bashu(wrong).await.code, 2, "{wrong:?}");
    }

    let bad = world
        .bashu_typing(&["operator", "create"], "12345\n欧阳\n")
        .await;
    assert_eq!(bad.code, 3);
    let canary = ["verify", "--canary", "13911112222", "--canary", "欧阳晓晓"];
    let verified = world.bashu(&canary).await;
    assert!(
        !verified.json()["broken"]
            .as_array()
            .unwrap()
            .iter()
            .any(|one| one["id"] == "canary"),
        "{}",
        verified.out
    );
}
