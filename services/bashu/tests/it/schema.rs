//! The committed graph is compared with the program's own.

use crate::world::{SERVICES, World, read};

#[tokio::test]
async fn a_changed_schema_is_found() {
    let world = World::paper().await;
    let folder = world.folder.join("schema");
    std::fs::create_dir(&folder).unwrap();
    let place = folder.display().to_string();
    let check = ["schema", "--check", "--folder", &place];

    let missing = world.bashu(&check).await;
    assert_eq!(missing.code, 1);
    assert_eq!(missing.json()[0]["state"], "missing");
    assert!(
        !folder.join("identity.graphql").exists(),
        "a check writes nothing"
    );

    world.bashu(&["schema", "--folder", &place]).await.well();
    for service in SERVICES {
        assert!(read(&folder.join(format!("{service}.graphql"))).contains("type Query"));
    }
    assert!(read(&folder.join("documents.json")).contains("\"buyPass\": \"mutation "));
    world.bashu(&check).await.well();

    let changed = folder.join("passes.graphql");
    let text = read(&changed);
    let last = text.lines().count();
    std::fs::write(&changed, format!("{text}# by hand\n")).unwrap();
    let differs = world.bashu(&check).await;
    assert_eq!(differs.code, 1);
    let differs = differs.json();
    assert_eq!(differs[1]["state"], "differs");
    assert_eq!(differs[1]["line"], last + 1);
    for place in [0, 2, 3, 4] {
        assert_eq!(differs[place]["state"], "same");
    }
    assert!(
        read(&changed).ends_with("# by hand\n"),
        "a check writes nothing"
    );
}
