//! Documents that were read before, by their exact text: to parse one costs more than most
//! requests cost besides. What depends on variables is measured at every use.
//!
//! It keeps no document that was refused, no large one, and of all others only so many: whoever
//! sends new ones all the time makes the next be parsed again, and nothing else.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use async_graphql::Variables;
use async_graphql::parser::types::ExecutableDocument;

use super::document::{Document, TooLarge};
use super::limits::Mode;

/// Documents of one generation, at most; there are two.
const DOCUMENTS_MAX: usize = 1_024;
/// Bytes of the documents of one generation, at most, by what [`weight`] says.
const BYTES_MAX: usize = 8 * 1_024 * 1_024;
/// Bytes of one document that is kept, at most: some two thousand tokens.
const DOCUMENT_BYTES_MAX: usize = 512 * 1_024;
/// Bytes of a token once it is parsed, at most.
const TOKEN_BYTES: usize = 256;

type Known = HashMap<Box<str>, Arc<Document>>;

/// Reads documents, and remembers those that were read lately.
#[derive(Debug)]
pub(crate) struct Documents {
    mode: Mode,
    known: Mutex<Generations>,
}

impl Documents {
    pub(crate) fn new(mode: Mode) -> Self {
        Self {
            mode,
            known: Mutex::default(),
        }
    }

    /// The document of a text, measured with these variables: the same answer whether it is
    /// known or not.
    pub(crate) fn read(
        &self,
        text: &str,
        variables: &Variables,
    ) -> Result<ExecutableDocument, TooLarge> {
        // What goes meanwhile is dropped outside the lock.
        if let Some((document, _gone)) = self.with(|known| known.find(text)) {
            document.check(variables)?;
            return Ok(document.tree.clone());
        }
        let document = Document::read(text, variables, self.mode)?;
        let weight = weight(text, &document);
        if weight > DOCUMENT_BYTES_MAX {
            return Ok(document.tree);
        }
        // A clone has no room to spare, so it is what is kept.
        let kept = Arc::new(document.clone());
        let _gone = self.with(|known| known.insert(text.into(), kept, weight));
        Ok(document.tree)
    }

    fn with<T>(&self, act: impl FnOnce(&mut Generations) -> T) -> T {
        act(&mut self.known.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// The bytes that a document takes, at most: its text twice, as a key and in what was parsed.
fn weight(text: &str, document: &Document) -> usize {
    text.len() * 2 + document.tokens * TOKEN_BYTES
}

/// What was read since the last turn, and what was read before it and not since.
#[derive(Debug, Default)]
struct Generations {
    young: Known,
    young_bytes: usize,
    old: Known,
}

impl Generations {
    /// The document, and those that are forgotten for it.
    fn find(&mut self, text: &str) -> Option<(Arc<Document>, Known)> {
        if let Some(document) = self.young.get(text) {
            return Some((Arc::clone(document), Known::new()));
        }
        let (text, document) = self.old.remove_entry(text)?;
        let weight = weight(&text, &document);
        let gone = self.insert(text, Arc::clone(&document), weight);
        Some((document, gone))
    }

    /// Answers those that are forgotten for it.
    fn insert(&mut self, text: Box<str>, document: Arc<Document>, weight: usize) -> Known {
        let mut gone = Known::new();
        if self.young.len() >= DOCUMENTS_MAX || self.young_bytes + weight > BYTES_MAX {
            gone = std::mem::replace(&mut self.old, std::mem::take(&mut self.young));
            self.young_bytes = 0;
        }
        self.young_bytes += weight;
        if self.young.insert(text, document).is_some() {
            // Two requests read it at once.
            self.young_bytes -= weight;
        }
        gone
    }
}

#[cfg(test)]
mod tests {
    use async_graphql::parser::Positioned;
    use async_graphql::parser::types::{ExecutableDocument, Selection};
    use async_graphql::{Name, Value};
    use serde_json::json;

    use super::super::document::REPRESENTATIONS_MAX;
    use super::*;

    fn documents() -> Documents {
        Documents::new(Mode::Production)
    }

    fn kept(documents: &Documents) -> (usize, usize) {
        documents.with(|known| {
            let all = known.young.iter().chain(&known.old);
            let bytes = all.map(|(text, document)| weight(text, document)).sum();
            (known.young.len() + known.old.len(), bytes)
        })
    }

    fn refused_by(read: Result<ExecutableDocument, TooLarge>) -> Option<&'static str> {
        read.err().map(|error| error.limit)
    }

    /// Variables are measured anew with each request: what a first one was allowed says nothing
    /// of the next.
    #[test]
    fn a_known_document_is_refused_like_a_new_one() {
        let text = "query($r: [_Any!]!, $n: Int = 100) { _entities(representations: $r) \
                    { ... on Venue { ...F } } } fragment F on Venue { a: p(first: $n) { id q } }";
        let given = |entities: usize, rows: Option<i64>| {
            let mut given = json!({ "r": vec![json!({}); entities] });
            if let Some(rows) = rows {
                given["n"] = json!(rows);
            }
            Variables::from_json(given)
        };
        let used = documents();
        assert_eq!(refused_by(used.read(text, &given(1, Some(1)))), None);
        for (entities, rows, limit) in [
            (REPRESENTATIONS_MAX, Some(1), None),
            (REPRESENTATIONS_MAX + 1, Some(1), Some("representations")),
            (REPRESENTATIONS_MAX, Some(200), Some("cost")),
            (REPRESENTATIONS_MAX, None, None),
            (1, Some(i64::MAX), Some("cost")),
            (1, Some(1), None),
        ] {
            let given = given(entities, rows);
            assert_eq!(kept(&used).0, 1);
            assert_eq!(refused_by(used.read(text, &given)), limit, "{given:?}");
            assert_eq!(refused_by(documents().read(text, &given)), limit);
        }
    }

    /// What is served is what was parsed, to the last position.
    #[test]
    fn a_known_document_is_the_same() {
        let documents = documents();
        let text = "query Q($a: Int = 1) { x: a(b: [$a, 2]) @skip(if: false) { ...F } }\n\
                    fragment F on A { c ... { d(e: {f: \"g\"}) } }";
        let none = Variables::default();
        let shown = |read: ExecutableDocument| format!("{read:?}");
        let first = shown(documents.read(text, &none).unwrap());
        assert_eq!(shown(documents.read(text, &none).unwrap()), first);
        assert_eq!(kept(&documents).0, 1);
        documents.read(&format!("{text} "), &none).unwrap();
        assert_eq!(kept(&documents).0, 2);
    }

    #[test]
    fn what_is_refused_is_not_kept() {
        let documents = documents();
        let none = Variables::default();
        for text in [
            "{",
            "{ __schema { a } }",
            "{ ...A } fragment A on Q { ...A }",
            "{ a(first: 1000000) { b } }",
        ] {
            assert!(documents.read(text, &none).is_err(), "{text}");
        }
        let large = format!("{{ {} }}", "a ".repeat(DOCUMENT_BYTES_MAX / TOKEN_BYTES));
        let read = documents.read(&large, &none);
        assert_eq!(
            (refused_by(read), kept(&documents)),
            (Some("expanded selections"), (0, 0))
        );
        let long = format!("{{ a }} #{}", "x".repeat(DOCUMENT_BYTES_MAX / 2));
        documents.read(&long, &none).unwrap();
        assert_eq!(kept(&documents), (0, 0));
    }

    /// However many texts come, small or large, no more than two generations are kept, and one
    /// that is in use outlives all the others.
    #[test]
    fn documents_are_bounded_and_those_in_use_stay() {
        let documents = documents();
        let none = Variables::default();
        let in_use = "{ used }";
        let is_known = |text: &str| {
            documents.with(|known| known.young.contains_key(text) || known.old.contains_key(text))
        };
        documents.read(in_use, &none).unwrap();
        let small = (0..DOCUMENTS_MAX * 4).map(|n| format!("{{ a{n} }}"));
        let large = (0..80).map(|n| format!("{{ a{n} {} }}", "b ".repeat(1_000)));
        for (n, text) in small.chain(large).enumerate() {
            documents.read(&text, &none).unwrap();
            documents.read(in_use, &none).unwrap();
            assert!(is_known(&text) && is_known(in_use), "{text:.20}");
            if n % 16 == 0 {
                let (count, bytes) = kept(&documents);
                let is_bounded = count <= DOCUMENTS_MAX * 2 && bytes <= BYTES_MAX * 2;
                assert!(is_bounded, "{count} {bytes}");
            }
        }
        assert!(!is_known("{ a0 }"));
    }

    /// A name, which lies beside, comes with its two counters.
    #[test]
    fn a_token_takes_no_more_than_is_said() {
        let name = 2 * size_of::<usize>() + 16;
        assert!(size_of::<Positioned<Selection>>() + name <= TOKEN_BYTES);
        assert!(size_of::<(Name, Value)>() + size_of::<usize>() * 2 + name <= TOKEN_BYTES);
    }
}
