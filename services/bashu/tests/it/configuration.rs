//! A wrong configuration stops every command, names the field, and shows no value.

use crate::world::{World, finding};

#[tokio::test]
async fn an_unknown_key_refuses_and_is_named() {
    let mut world = World::paper().await;
    world.set("postgres", "pasword", "hunter2hunter2");
    for command in [
        &["migrate"][..],
        &["verify"],
        &["parked", "list"],
        &["resync", "passes"],
    ] {
        let ran = world.bashu(command).await;
        assert_eq!(ran.code, 2, "{command:?}: {}", ran.err);
        let error: serde_json::Value = serde_json::from_str(&ran.err).unwrap();
        assert_eq!(error["field"], "postgres.pasword", "{command:?}");
        assert!(
            !ran.err.contains("hunter2hunter2"),
            "a value was shown: {}",
            ran.err
        );
    }
}

#[tokio::test]
async fn a_variable_is_named_as_well() {
    let world = World::paper().await;
    let ran = world
        .bashu_with(&["migrate"], &[("BASHU_NO_SUCH_KEY", "1")])
        .await;
    assert_eq!(ran.code, 2);
    assert!(ran.err.contains("no_such_key"), "{}", ran.err);
    let ran = world
        .bashu_with(&["migrate"], &[("BASHU_POSTGRES__PORT", "many")])
        .await;
    assert_eq!(ran.code, 2);
    assert!(ran.err.contains("postgres.port"), "{}", ran.err);
}

/// The doctor says what to do about it, in both languages.
#[tokio::test]
async fn the_doctor_explains_a_wrong_configuration() {
    let mut world = World::paper().await;
    world.set("kafka", "partitions", 0);
    let ran = world.bashu(&["doctor"]).await;
    assert_eq!(ran.code, 1);
    let report = ran.json();
    let wrong = finding(&report, "configuration", "kafka.partitions");
    assert_eq!(wrong["severity"], "fail");
    for language in ["zh", "en"] {
        assert!(
            wrong["to_do"][language]
                .as_str()
                .unwrap()
                .contains("bashu doctor")
        );
    }
}

/// A section of a service is checked by that service.
/// ASVS V13.2.4.
#[tokio::test]
async fn a_services_section_is_checked() {
    let mut world = World::paper().await;
    world.set("identity", "kek", "short");
    let ran = world.bashu(&["doctor"]).await;
    let report = ran.json();
    let wrong = finding(&report, "configuration", "identity.kek");
    assert_eq!(wrong["severity"], "fail");
    assert!(!ran.out.contains("short"), "a value was shown");
}

/// An unknown command, service or option is the command line's fault.
#[tokio::test]
async fn a_wrong_command_line_is_refused() {
    let world = World::paper().await;
    for command in [
        &["resync", "nobody"][..],
        &["no-such-command"],
        &["parked", "discard", "passes", "1"],
        &["parked", "discard", "passes", "1", "--reason", " x "],
        &["keys", "rotate", "--purpose", "everything"],
    ] {
        assert_eq!(world.bashu(command).await.code, 2, "{command:?}");
    }
}

/// Output for people is in their language.
#[tokio::test]
async fn people_read_their_language() {
    let world = World::paper().await;
    let explained = async |lang| {
        let ran = world.bashu_plain(&["restored"], lang).await;
        assert_eq!(ran.code, 1);
        ran.out
    };
    assert!(explained("zh_CN.UTF-8").await.contains("新的纪元"));
    assert!(explained("en_GB.UTF-8").await.contains("new epoch"));
}
