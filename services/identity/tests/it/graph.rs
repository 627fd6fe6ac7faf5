//! The subgraph as the gateway sees it.

/// What others extend and what is only named here stands in the SDL as the composition needs it,
/// and every type and field says what it is.
#[test]
fn the_graph_has_its_entities() {
    let sdl = identity::sdl();
    for line in [
        "type Member implements Node @key(fields: \"id\") {",
        "type Organisation implements Node @key(fields: \"id\") {",
        "type Pass implements Node @key(fields: \"id\") {",
        "type Order implements Node @key(fields: \"id\", resolvable: false) {",
    ] {
        assert!(sdl.contains(line), "{line}\n{sdl}");
    }
    let mut before = "";
    for line in sdl.lines() {
        let defines = ["type ", "enum ", "input ", "interface "]
            .iter()
            .any(|word| line.trim_start_matches("extend ").starts_with(word));
        let generated = line.contains("Connection") || line.contains("Edge");
        let root = line.starts_with("type Query") || line.starts_with("type Mutation");
        if defines && !generated && !root && !line.contains("PageInfo") {
            assert!(before.trim() == "\"\"\"", "no description: {line}");
        }
        before = line;
    }
}
