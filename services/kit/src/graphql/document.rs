//! Measures a GraphQL document before anything walks it: a few hundred bytes of fragments can
//! otherwise cost minutes and gigabytes.
//!
//! First a scan that only counts tokens and brackets, then the parser, then one pass in which
//! each fragment is measured once. A cycle of fragments counts as too large. It remembers no
//! document: `documents` does.

use async_graphql::Variables;
use async_graphql::parser::parse_query;
use async_graphql::parser::types::{ExecutableDocument, Selection, SelectionSet};

use super::limits::Mode;
use super::size::{COST_MAX, Expansion};
use super::texts::Text;

/// Tokens of a document, at most. The gateway writes fragments out, so a subgraph sees longer
/// documents than a client sends.
pub const TOKENS_MAX: usize = 8_000;
/// Brackets within brackets, at most.
pub const NESTING_MAX: usize = 48;
/// Aliases in a document, at most.
pub const ALIASES_MAX: usize = 50;
/// Directives in a document, at most.
pub const DIRECTIVES_MAX: usize = 50;
/// Named fragments in a document, at most.
pub const FRAGMENTS_MAX: usize = 100;
/// Selections of the document with all fragments written out, at most.
pub const EXPANDED_SELECTIONS_MAX: u64 = 2_000;
/// Representations in one `_entities`, at most.
pub const REPRESENTATIONS_MAX: usize = 100;
/// `_entities` fields in a document, at most.
pub const ENTITY_FIELDS_MAX: usize = 4;
/// Operations in a document, at most.
pub const OPERATIONS_MAX: usize = 8;

/// Why a document is not executed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct TooLarge {
    pub(crate) text: Text,
    /// Which limit, for the message and the metric.
    pub(crate) limit: &'static str,
}

fn refuse<T>(limit: &'static str) -> Result<T, TooLarge> {
    Err(TooLarge {
        text: Text::TooComplex,
        limit,
    })
}

/// A document within every limit.
#[derive(Clone, Debug)]
pub(crate) struct Document {
    pub(crate) tree: ExecutableDocument,
    pub(crate) tokens: usize,
    /// Whether other variables can carry it over a limit.
    varies: bool,
}

impl Document {
    /// Parses and measures.
    pub(crate) fn read(text: &str, variables: &Variables, mode: Mode) -> Result<Self, TooLarge> {
        let tokens = scan(text)?;
        let tree = parse_query(text).map_err(|_| TooLarge {
            text: Text::BadDocument,
            limit: "syntax",
        })?;
        if tree.fragments.len() > FRAGMENTS_MAX {
            return refuse("fragments");
        }
        if tree.operations.iter().count() > OPERATIONS_MAX {
            return refuse("operations");
        }
        Counts::of(&tree).check(mode)?;
        let varies = check_sizes(&tree, variables)?;
        Ok(Self {
            tree,
            tokens,
            varies,
        })
    }

    /// Measures again what depends on variables: the rest is as it was when it was read.
    pub(crate) fn check(&self, variables: &Variables) -> Result<(), TooLarge> {
        if self.varies {
            check_sizes(&self.tree, variables)?;
        }
        Ok(())
    }
}

/// Whether the answer is that of these variables alone.
fn check_sizes(tree: &ExecutableDocument, variables: &Variables) -> Result<bool, TooLarge> {
    let mut expansion = Expansion::of(tree, variables);
    for size in expansion.sizes() {
        for (count, max, limit) in [
            (
                size.representations,
                REPRESENTATIONS_MAX as u64,
                "representations",
            ),
            (
                size.selections,
                EXPANDED_SELECTIONS_MAX,
                "expanded selections",
            ),
            (size.cost, COST_MAX, "cost"),
        ] {
            if count > max {
                return refuse(limit);
            }
        }
    }
    Ok(expansion.varies())
}

/// Counts tokens and open brackets without building anything; answers the tokens.
fn scan(query: &str) -> Result<usize, TooLarge> {
    let bytes = query.as_bytes();
    let (mut at, mut tokens, mut open) = (0, 0, 0_usize);
    while let Some(&byte) = bytes.get(at) {
        let is_name = |b: &u8| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'.' | b'-' | b'+');
        let (length, token) = match byte {
            b' ' | b'\t' | b'\r' | b'\n' | b',' => (1, false),
            b'#' => (
                bytes[at..]
                    .iter()
                    .take_while(|&&b| b != b'\n' && b != b'\r')
                    .count(),
                false,
            ),
            b'"' => (string_length(&bytes[at..]), true),
            b'.' => (
                bytes[at..]
                    .iter()
                    .take_while(|&&b| b == b'.')
                    .take(3)
                    .count(),
                true,
            ),
            b if is_name(&b) => (bytes[at..].iter().take_while(|b| is_name(b)).count(), true),
            _ => (1, true),
        };
        match byte {
            b'{' | b'[' | b'(' => open += 1,
            b'}' | b']' | b')' => open = open.saturating_sub(1),
            _ => {}
        }
        at += length;
        tokens += usize::from(token);
        if tokens > TOKENS_MAX {
            return refuse("tokens");
        }
        if open > NESTING_MAX {
            return refuse("nesting");
        }
    }
    Ok(tokens)
}

/// The length of the string or block string at the start of `bytes`; all of them when it does
/// not end, which the parser then refuses.
fn string_length(bytes: &[u8]) -> usize {
    let block = bytes.starts_with(b"\"\"\"");
    let quote: &[u8] = if block { b"\"\"\"" } else { b"\"" };
    let mut at = quote.len();
    while at < bytes.len() {
        let rest = &bytes[at..];
        if block && rest.starts_with(b"\\\"\"\"") {
            at += 4;
        } else if !block && rest[0] == b'\\' {
            at += 2;
        } else if rest.starts_with(quote) {
            return at + quote.len();
        } else {
            at += 1;
        }
    }
    bytes.len()
}

/// What stands in the document as it is written.
#[derive(Debug, Default)]
struct Counts {
    aliases: usize,
    directives: usize,
    entity_fields: usize,
    introspection: bool,
}

impl Counts {
    fn of(document: &ExecutableDocument) -> Self {
        let mut counts = Self::default();
        for (_, operation) in document.operations.iter() {
            counts.directives += operation.node.directives.len();
            for definition in &operation.node.variable_definitions {
                counts.directives += definition.node.directives.len();
            }
            counts.walk(&operation.node.selection_set.node);
        }
        for fragment in document.fragments.values() {
            counts.directives += fragment.node.directives.len();
            counts.walk(&fragment.node.selection_set.node);
        }
        counts
    }

    fn walk(&mut self, set: &SelectionSet) {
        for selection in &set.items {
            self.directives += selection.node.directives().len();
            match &selection.node {
                Selection::Field(field) => {
                    self.aliases += usize::from(field.node.alias.is_some());
                    match field.node.name.node.as_str() {
                        "_entities" => self.entity_fields += 1,
                        "_service" | "__schema" | "__type" => self.introspection = true,
                        _ => {}
                    }
                    self.walk(&field.node.selection_set.node);
                }
                Selection::InlineFragment(inline) => {
                    self.walk(&inline.node.selection_set.node);
                }
                Selection::FragmentSpread(_) => {}
            }
        }
    }

    fn check(&self, mode: Mode) -> Result<(), TooLarge> {
        if self.introspection && mode == Mode::Production {
            return Err(TooLarge {
                text: Text::IntrospectionOff,
                limit: "introspection",
            });
        }
        for (count, max, limit) in [
            (self.aliases, ALIASES_MAX, "aliases"),
            (self.directives, DIRECTIVES_MAX, "directives"),
            (self.entity_fields, ENTITY_FIELDS_MAX, "entity fields"),
        ] {
            if count > max {
                return refuse(limit);
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused_by(query: &str) -> Option<&'static str> {
        Document::read(query, &Variables::default(), Mode::Production)
            .err()
            .map(|error| error.limit)
    }

    #[test]
    fn an_ordinary_document_passes() {
        let query = r#"query ($r: [_Any!]!) { _entities(representations: $r) { ... on Member {
            passes(first: 10) { edges { cursor node { id product { name } } } } } } }"#;
        assert_eq!(refused_by(query), None);
        assert_eq!(
            refused_by("{ a(text: \"\"\"{{{ \\\"\"\" [[[\"\"\", b: \"\\\"[\") }"),
            None
        );
    }

    #[test]
    fn fragment_bombs_are_refused_by_their_size_written_out() {
        let doubling = (0..26).fold("{ ...F0 }".to_owned(), |query, n| {
            format!(
                "{query} fragment F{n} on Query {{ ...F{} ...F{} }}",
                n + 1,
                n + 1
            )
        }) + " fragment F26 on Query { a }";
        assert_eq!(refused_by(&doubling), Some("expanded selections"));
        let cycle = "{ ...A } fragment A on Query { x ...B } fragment B on Query { ...A y }";
        assert_eq!(refused_by(cycle), Some("expanded selections"));
        let wide = format!(
            "{{ {} }} fragment A on Query {{ {} }}",
            "...A ".repeat(60),
            "a ".repeat(60)
        );
        assert_eq!(refused_by(&wide), Some("expanded selections"));
        let chain = (0..5_000).fold("{ ...F0 }".to_owned(), |query, n| {
            format!("{query} fragment F{n} on Query {{ ...F{} }}", n + 1)
        });
        assert_eq!(refused_by(&chain), Some("tokens"));
    }

    #[test]
    fn each_count_has_its_limit() {
        let many = |n: usize, each: fn(usize) -> String| {
            format!("{{ {} }}", (0..n).map(each).collect::<Vec<_>>().join(" "))
        };
        let limits: [(String, &str); 8] = [
            (many(20_000, |n| format!("a{n}: x")), "tokens"),
            (many(ALIASES_MAX + 1, |n| format!("a{n}: x")), "aliases"),
            (
                format!("{{ x {} }}", "@aa".repeat(DIRECTIVES_MAX + 1)),
                "directives",
            ),
            (
                format!("{{ a(b: {}{}) }}", "[".repeat(1_000), "]".repeat(1_000)),
                "nesting",
            ),
            ("{".repeat(1_000), "nesting"),
            (
                many(FRAGMENTS_MAX + 1, |_| "a".to_owned())
                    + &(0..=FRAGMENTS_MAX)
                        .map(|n| format!(" fragment F{n} on Q {{ a }}"))
                        .collect::<String>(),
                "fragments",
            ),
            (
                format!(
                    "{{ _entities(representations: [{}]) {{ a }} }}",
                    "1 ".repeat(101)
                ),
                "representations",
            ),
            (
                many(5, |n| {
                    format!("e{n}: _entities(representations: []) {{ a }}")
                }),
                "entity fields",
            ),
        ];
        for (query, limit) in limits {
            assert_eq!(
                refused_by(&query),
                Some(limit),
                "{}",
                &query[..60.min(query.len())]
            );
        }
    }

    #[test]
    fn introspection_is_found_wherever_it_hides() {
        for query in [
            "{ __schema { types { name } } }",
            "{ x: __type(name: \"A\") { name } }",
            "{ ...F } fragment F on Query { ... { s: _service { sdl } } }",
        ] {
            assert_eq!(refused_by(query), Some("introspection"), "{query}");
            let read = Document::read(query, &Variables::default(), Mode::Development);
            assert!(read.is_ok());
        }
        assert_eq!(refused_by("{ __typename }"), None);
    }
}
