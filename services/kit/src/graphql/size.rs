//! How much a document asks for once its fragments are written out, and its lists read as often
//! as they stand in others. It decides nothing: `document` has the limits.

use std::collections::HashMap;
use std::convert::Infallible;

use async_graphql::parser::types::{ExecutableDocument, Field, Selection, SelectionSet};
use async_graphql::{Name, Value, Variables};

/// Cost of an operation, at most: one for each selection, times the rows of the lists and the
/// representations it stands under. Half as much again as the gateway lets through, which plans
/// keys and type names into what it asks. async-graphql's own count does not know how many
/// representations there are.
pub const COST_MAX: u64 = 30_000;
/// What a list costs beside its rows: it is read, however few they are.
const LIST_COST: u64 = 10;

/// What a set of selections amounts to once its fragments are written out.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Size {
    pub(super) selections: u64,
    pub(super) cost: u64,
    /// Of the `_entities` that names the most.
    pub(super) representations: u64,
}

impl Size {
    const ENDLESS: Self = Self {
        selections: u64::MAX,
        cost: u64::MAX,
        representations: 0,
    };
}

/// Sizes selections with all fragments written out, each fragment once.
pub(super) struct Expansion<'a> {
    document: &'a ExecutableDocument,
    variables: &'a Variables,
    /// `None` while the fragment is being measured: met again, it is a cycle.
    known: HashMap<&'a Name, Option<Size>>,
    /// Whether other variables could give other sizes.
    varies: bool,
}

impl<'a> Expansion<'a> {
    pub(super) fn of(document: &'a ExecutableDocument, variables: &'a Variables) -> Self {
        Self {
            document,
            variables,
            known: HashMap::new(),
            varies: false,
        }
    }

    /// The sizes of all operations and of all fragments, used or not.
    pub(super) fn sizes(&mut self) -> Vec<Size> {
        let document = self.document;
        let operations = document.operations.iter();
        let mut sizes: Vec<_> = operations
            .map(|(_, operation)| self.selected(&operation.node.selection_set.node))
            .collect();
        sizes.extend(document.fragments.keys().map(|name| self.fragment(name)));
        sizes
    }

    /// Whether the sizes found so far are those of these variables alone.
    pub(super) const fn varies(&self) -> bool {
        self.varies
    }

    fn selected(&mut self, set: &'a SelectionSet) -> Size {
        let mut sum = Size::default();
        for selection in &set.items {
            let inner = match &selection.node {
                Selection::Field(field) => self.field(&field.node),
                Selection::InlineFragment(inline) => self.selected(&inline.node.selection_set.node),
                Selection::FragmentSpread(spread) => self.fragment(&spread.node.fragment_name.node),
            };
            sum.selections = sum
                .selections
                .saturating_add(inner.selections.saturating_add(1));
            sum.cost = sum.cost.saturating_add(inner.cost.saturating_add(1));
            sum.representations = sum.representations.max(inner.representations);
        }
        sum
    }

    /// What is below a field, as often as the field has rows.
    fn field(&mut self, field: &'a Field) -> Size {
        let below = self.selected(&field.selection_set.node);
        if field.name.node == "_entities" {
            let said = self.said(field, "representations").unwrap_or_default();
            Size {
                cost: below.cost.saturating_mul(said.length),
                representations: below.representations.max(said.length),
                ..below
            }
        } else if let Some(rows) = self.rows(field) {
            let cost = below.cost.saturating_mul(rows).saturating_add(LIST_COST);
            Size { cost, ..below }
        } else {
            below
        }
    }

    fn fragment(&mut self, name: &'a Name) -> Size {
        match self.known.get(name) {
            Some(Some(size)) => return *size,
            Some(None) => return Size::ENDLESS,
            None => {}
        }
        let Some(fragment) = self.document.fragments.get(name) else {
            return Size::default();
        };
        self.known.insert(name, None);
        let size = self.selected(&fragment.node.selection_set.node);
        self.known.insert(name, Some(size));
        size
    }

    /// The rows that a list is asked for; `None` for what is no connection, or says nothing.
    fn rows(&mut self, field: &Field) -> Option<u64> {
        let mut number = |name| self.said(field, name).and_then(|said| said.number);
        number("first").max(number("last"))
    }

    /// What an argument says.
    fn said(&mut self, field: &Field, name: &str) -> Option<Said> {
        let argument = field.get_argument(name)?;
        let mut variable = None;
        let Ok(value) = argument.node.clone().into_const_with(|name| {
            variable = Some(name);
            Ok::<_, Infallible>(Value::Null)
        });
        match variable {
            Some(name) if value == Value::Null => {
                self.varies = true;
                Some(self.given(&name))
            }
            // A variable within a list or an object makes it no longer.
            Some(_) | None => Some(Said::by(&value)),
        }
    }

    /// What a variable says. One that is left out stands for the largest of its defaults.
    fn given(&self, name: &Name) -> Said {
        if let Some(value) = self.variables.get(name) {
            return Said::by(value);
        }
        let operations = self.document.operations.iter();
        let definitions =
            operations.flat_map(|(_, operation)| &operation.node.variable_definitions);
        let named = definitions.filter(|definition| definition.node.name.node == *name);
        named
            .filter_map(|definition| definition.node.default_value().map(Said::by))
            .max()
            .unwrap_or_default()
    }
}

/// How many a value speaks of.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
struct Said {
    /// How many it holds.
    length: u64,
    /// The number that it is.
    number: Option<u64>,
}

impl Said {
    fn by(value: &Value) -> Self {
        match value {
            Value::Null => Self::default(),
            Value::List(items) => Self {
                length: u64::try_from(items.len()).unwrap_or(u64::MAX),
                number: None,
            },
            Value::Number(number) => Self {
                length: 1,
                number: number.as_u64(),
            },
            Value::String(_)
            | Value::Boolean(_)
            | Value::Binary(_)
            | Value::Enum(_)
            | Value::Object(_) => Self {
                length: 1,
                number: None,
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::Mode;
    use super::super::document::Document;
    use super::*;

    /// `lists` lists of `rows` rows each below so many entities, the number given in three ways.
    fn lists_of_entities(entities: usize, lists: usize, rows: usize) -> Vec<Option<&'static str>> {
        let representations: Vec<_> = (0..entities).map(|_| serde_json::json!({})).collect();
        let given = serde_json::json!({ "r": representations, "n": rows });
        let given = Variables::from_json(given);
        let asked = |list: &str, declared: &str| {
            let one = |n| format!("a{n}: p({list}) {{ nodes {{ id }} }} ");
            let lists: String = (0..lists).map(one).collect();
            let query = format!(
                "query($r: [_Any!]!{declared}) {{ _entities(representations: $r) \
                 {{ ... on Venue {{ ...F }} }} }} fragment F on Venue {{ {lists} }}"
            );
            let measured = Document::read(&query, &given, Mode::Production);
            measured.err().map(|error| error.limit)
        };
        vec![
            asked(&format!("first: {rows}"), ""),
            asked("last: $n", ", $n: Int"),
            asked("first: $m", &format!(", $m: Int = {rows}")),
        ]
    }

    /// A list is read once for each of the entities it stands under: few fields can be thousands
    /// of reads.
    #[test]
    fn lists_of_many_entities_are_too_much() {
        for (entities, lists, rows, limit) in [
            (100, 30, 50, Some("cost")),
            (100, 30, 1, Some("cost")),
            (100, 2, 100, Some("cost")),
            (100, 1, 100, None),
            (100, 5, 20, None),
            (1, 30, 100, None),
        ] {
            let limits = lists_of_entities(entities, lists, rows);
            assert_eq!(limits, [limit; 3], "{entities} {lists} {rows}");
        }
        for (query, limit) in [
            (
                "{ a(first: 100) { b(first: 100) { c(last: 9) { d } } } }",
                Some("cost"),
            ),
            (
                "{ a(first: 9223372036854775807) { b { c } } }",
                Some("cost"),
            ),
            ("{ a(first: 1000, last: null) { b } }", None),
        ] {
            let measured = Document::read(query, &Variables::default(), Mode::Production);
            assert_eq!(measured.err().map(|error| error.limit), limit, "{query}");
        }
    }
}
