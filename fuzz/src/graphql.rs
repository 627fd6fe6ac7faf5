//! A request's body at the gateway, before the router plans it: what passes the nesting nests no
//! deeper, and what passes the budget comes to no more once its fragments are written out.

use std::collections::HashMap;

use document::budget::{COST_MAX, DEPTH_MAX, Demand, Numbers, SELECTIONS_MAX, measure};
use document::nesting::{NESTING_MAX, Syntax, is_shallow};
use graphql_tools::parser::parse_query;
use graphql_tools::static_graphql::query::{
    Definition, Document, Field, OperationDefinition, Selection, SelectionSet, Value,
};
use serde_json::Value as Json;

use crate::Verdict;

/// What a list costs beside its rows.
const LIST_COST: u64 = 10;

/// Reads `bytes` as a body, and as a document.
pub fn check(bytes: &[u8]) -> Verdict {
    let mut accepted = body(bytes);
    if let Ok(text) = std::str::from_utf8(bytes) {
        accepted |= document(text, &Numbers::new());
    }
    Verdict::of(accepted)
}

fn body(bytes: &[u8]) -> bool {
    if !is_shallow(bytes, Syntax::Json) {
        return false;
    }
    let Ok(body) = serde_json::from_slice::<Json>(bytes) else {
        return false;
    };
    assert!(depth(&body) <= NESTING_MAX, "JSON is deeper than it looks");
    let Some(query) = body.get("query").and_then(Json::as_str) else {
        return false;
    };
    let variables = body.get("variables").and_then(Json::as_object);
    let numbers: Numbers = variables
        .into_iter()
        .flatten()
        .filter_map(|(name, value)| Some((name.clone(), value.as_u64()?)))
        .collect();
    document(query, &numbers)
}

fn depth(value: &Json) -> usize {
    match value {
        Json::Array(all) => 1 + all.iter().map(depth).max().unwrap_or(0),
        Json::Object(all) => 1 + all.values().map(depth).max().unwrap_or(0),
        Json::Null | Json::Bool(_) | Json::Number(_) | Json::String(_) => 0,
    }
}

/// Whether a document is within the budget. By another count, with every fragment written out, it
/// comes to the same answer.
fn document(text: &str, numbers: &Numbers) -> bool {
    if !is_shallow(text.as_bytes(), Syntax::GraphQl) {
        return false;
    }
    let Ok(document) = parse_query::<String>(text) else {
        return false;
    };
    let document = document.into_static();
    let counted = Written::of(&document, numbers).count(&document);
    match measure(&document, numbers) {
        Ok(demand) => {
            let login_fields = demand.login_fields;
            let counted = counted.map(|it| Demand { login_fields, ..it });
            assert_eq!(counted, Some(demand), "other than was measured: {text}");
            true
        }
        Err(_) => {
            let introspects = text.contains("__schema") || text.contains("__type");
            assert!(counted.is_none() || introspects, "refused: {text}");
            false
        }
    }
}

/// Counts a document with its fragments written out, up to the limits.
struct Written<'a> {
    fragments: HashMap<&'a str, &'a SelectionSet>,
    numbers: HashMap<&'a str, u64>,
}

/// What a set comes to.
#[derive(Clone, Copy, Default)]
struct Count {
    selections: u64,
    cost: u64,
}

impl<'a> Written<'a> {
    fn of(document: &'a Document, given: &'a Numbers) -> Self {
        let mut written = Self {
            fragments: HashMap::new(),
            numbers: HashMap::new(),
        };
        for definition in &document.definitions {
            match definition {
                Definition::Fragment(fragment) => {
                    let set = &fragment.selection_set;
                    written.fragments.insert(&fragment.name, set);
                }
                Definition::Operation(operation) => written.defaults(operation),
            }
        }
        for (name, number) in given {
            written.numbers.insert(name, *number);
        }
        written
    }

    /// Of several defaults of one variable the largest counts.
    fn defaults(&mut self, operation: &'a OperationDefinition) {
        let variables = match operation {
            OperationDefinition::SelectionSet(_) => return,
            OperationDefinition::Query(it) => &it.variable_definitions,
            OperationDefinition::Mutation(it) => &it.variable_definitions,
            OperationDefinition::Subscription(it) => &it.variable_definitions,
        };
        for variable in variables {
            if let Some(Value::Int(number)) = &variable.default_value
                && let Some(Ok(number)) = number.as_i64().map(u64::try_from)
            {
                let known = self.numbers.entry(variable.name.as_str()).or_insert(0);
                *known = number.max(*known);
            }
        }
    }

    /// What it asks for; `None` where it is more than allowed. What hands out login secrets is
    /// not counted here, and taken over.
    fn count(&self, document: &'a Document) -> Option<Demand> {
        let (mut all, mut demand) = (0, Demand::default());
        for definition in &document.definitions {
            let operation = match definition {
                Definition::Fragment(fragment) => {
                    self.within(self.fragments.get(fragment.name.as_str()).copied()?)?;
                    continue;
                }
                Definition::Operation(operation) => operation,
            };
            let (set, is_mutation) = match operation {
                OperationDefinition::SelectionSet(set) => (set, false),
                OperationDefinition::Query(it) => (&it.selection_set, false),
                OperationDefinition::Mutation(it) => (&it.selection_set, true),
                OperationDefinition::Subscription(it) => (&it.selection_set, false),
            };
            all += self.within(set)?;
            demand.operations += 1;
            if is_mutation {
                let roots = u32::try_from(self.roots(set)).ok()?;
                demand.mutation_fields = demand.mutation_fields.max(roots);
            }
        }
        (all <= u64::from(SELECTIONS_MAX)).then_some(demand)
    }

    /// The selections of a set that keeps all limits.
    fn within(&self, set: &'a SelectionSet) -> Option<u64> {
        let mut left = SELECTIONS_MAX;
        let count = self.selected(set, DEPTH_MAX, &mut left)?;
        (count.cost <= COST_MAX).then_some(count.selections)
    }

    /// Walks a set with so many levels and selections left.
    fn selected(&self, set: &'a SelectionSet, levels: u32, left: &mut u32) -> Option<Count> {
        let mut sum = Count::default();
        for selection in &set.items {
            *left = left.checked_sub(1)?;
            let levels = levels.checked_sub(1)?;
            let below = match selection {
                Selection::Field(field) => self.field(field, levels, left)?,
                Selection::InlineFragment(it) => self.selected(&it.selection_set, levels, left)?,
                Selection::FragmentSpread(it) => {
                    match self.fragments.get(it.fragment_name.as_str()) {
                        Some(set) => self.selected(set, levels, left)?,
                        None => Count::default(),
                    }
                }
            };
            sum.selections += 1 + below.selections;
            sum.cost = sum.cost.saturating_add(below.cost).saturating_add(1);
        }
        Some(sum)
    }

    fn field(&self, field: &'a Field, levels: u32, left: &mut u32) -> Option<Count> {
        let below = self.selected(&field.selection_set, levels, left)?;
        let rows = field.arguments.iter().filter_map(|(name, value)| {
            if name != "first" && name != "last" {
                None
            } else if let Value::Int(number) = value {
                number.as_i64().and_then(|it| u64::try_from(it).ok())
            } else if let Value::Variable(name) = value {
                self.numbers.get(name.as_str()).copied()
            } else {
                None
            }
        });
        let Some(rows) = rows.max() else {
            return Some(below);
        };
        let cost = below.cost.saturating_mul(rows).saturating_add(LIST_COST);
        Some(Count { cost, ..below })
    }

    /// Fields at the root of a set that keeps all limits.
    fn roots(&self, set: &'a SelectionSet) -> usize {
        let of = |selection: &'a Selection| match selection {
            Selection::Field(_) => 1,
            Selection::InlineFragment(it) => self.roots(&it.selection_set),
            Selection::FragmentSpread(it) => self
                .fragments
                .get(it.fragment_name.as_str())
                .map_or(0, |set| self.roots(set)),
        };
        set.items.iter().map(of).sum()
    }
}
