//! What a document would select once its fragments are written out, counted without writing
//! them out. The router inlines fragments with no budget of its own, so a few hundred bytes can
//! ask for millions of selections; this runs before it plans. It does not validate: unknown
//! fragments and types are the router's to refuse.

use std::collections::HashMap;

use graphql_tools::static_graphql::query::{
    Definition, Document, Field, FragmentDefinition, OperationDefinition, Selection, SelectionSet,
    Value, VariableDefinition,
};

/// Most selections of a document after all its fragments are written out.
pub const SELECTIONS_MAX: u32 = 2_000;

/// Most that a document may cost: objects it may touch. The router's estimate has the same limit.
pub const COST_MAX: u64 = 20_000;

/// Deepest selection of a document after all its fragments are written out. The router has a
/// limit of its own, which it only applies among rules that call themselves once per level.
pub const DEPTH_MAX: u32 = 32;

/// Root fields that hand out or check login secrets, and so are counted one by one.
const LOGIN_FIELDS: [&str; 11] = [
    "requestLoginCode",
    "login",
    "refreshLogin",
    "confirmSecondFactor",
    "verifySecondFactor",
    "loginWithWechat",
    "linkLogin",
    "beginOidcLogin",
    "loginWithOidc",
    "requestRecoveryCode",
    "recoverAccount",
];

/// Deepest nesting of lists within introspection. Types lead to fields and fields to types, so an
/// answer grows by a factor with each; the queries of the usual tools nest three.
const INTROSPECTION_LISTS_MAX: u32 = 3;

/// Root fields of introspection, which the router leaves out of its own limit on depth.
const INTROSPECTION_ROOTS: [&str; 2] = ["__schema", "__type"];

/// Fields of introspection that are lists.
const INTROSPECTION_LISTS: [&str; 8] = [
    "types",
    "directives",
    "fields",
    "args",
    "inputFields",
    "interfaces",
    "possibleTypes",
    "enumValues",
];

/// What a list costs beside its rows: it is read, however few they are.
const LIST_COST: u64 = 10;

/// Arguments that say how many rows of a list are asked for.
const LENGTHS: [&str; 2] = ["first", "last"];

/// Variables of a request that are numbers.
pub type Numbers = HashMap<String, u64>;

/// What a document asks for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Demand {
    /// Operations to choose from.
    pub operations: u32,
    /// Root fields of its most demanding operation that concern logging in, aliases counted each.
    pub login_fields: u32,
    /// Root fields of its most demanding mutation, aliases counted each.
    pub mutation_fields: u32,
}

/// More selections than allowed, or fragments that run in a circle.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TooComplex;

/// Measures `document`; refuses it above [`SELECTIONS_MAX`], and where its selections, each as
/// often as the lists around it have rows, come to more than [`COST_MAX`]. The router's own
/// estimate takes every list for equally long.
///
/// # Errors
/// [`TooComplex`] above a limit, and for fragments that run in a circle.
pub fn measure(document: &Document, numbers: &Numbers) -> Result<Demand, TooComplex> {
    let mut counter = Counter::new(document, numbers);
    let mut total = 0_u32;
    for definition in &document.definitions {
        let size = match definition {
            Definition::Operation(operation) => {
                let size = counter.selections(selections_of(operation));
                total = total.saturating_add(size.selections);
                size
            }
            // A fragment nobody uses is counted as well, so that no later stage meets a big one.
            Definition::Fragment(fragment) => counter.fragment(&fragment.name),
        };
        if size.selections > SELECTIONS_MAX || size.depth > DEPTH_MAX || size.cost > COST_MAX {
            return Err(TooComplex);
        }
    }
    if total > SELECTIONS_MAX || counter.introspects_in_circles(document) {
        return Err(TooComplex);
    }
    Ok(counter.demand(document))
}

/// What a set of selections amounts to once its fragments are written out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Size {
    selections: u32,
    depth: u32,
    cost: u64,
}

impl Size {
    const ENDLESS: Self = Self {
        selections: u32::MAX,
        depth: u32::MAX,
        cost: u64::MAX,
    };
}

/// `None` while a fragment is being counted: meeting it again then is a circle.
type Known<'doc> = HashMap<&'doc str, Option<Size>>;

struct Counter<'doc> {
    fragments: HashMap<&'doc str, &'doc FragmentDefinition>,
    /// What variables are worth: what is given, else the largest of their defaults.
    numbers: HashMap<&'doc str, u64>,
    known: Known<'doc>,
}

impl<'doc> Counter<'doc> {
    fn new(document: &'doc Document, given: &'doc Numbers) -> Self {
        let fragments = document
            .definitions
            .iter()
            .filter_map(|definition| match definition {
                Definition::Fragment(fragment) => Some((fragment.name.as_str(), fragment)),
                Definition::Operation(_) => None,
            })
            .collect();
        let mut numbers = HashMap::new();
        for (name, number) in document.definitions.iter().flat_map(defaults) {
            let largest: &mut u64 = numbers.entry(name).or_default();
            *largest = number.max(*largest);
        }
        numbers.extend(given.iter().map(|(name, number)| (name.as_str(), *number)));
        Self {
            fragments,
            numbers,
            known: HashMap::new(),
        }
    }

    fn selections(&mut self, set: &'doc SelectionSet) -> Size {
        let mut size = Size::default();
        for selection in &set.items {
            let below = match selection {
                Selection::Field(field) => self.field(field),
                Selection::InlineFragment(inline) => self.selections(&inline.selection_set),
                Selection::FragmentSpread(spread) => self.fragment(&spread.fragment_name),
            };
            size.selections = size
                .selections
                .saturating_add(1)
                .saturating_add(below.selections);
            size.depth = size.depth.max(below.depth.saturating_add(1));
            size.cost = size.cost.saturating_add(1).saturating_add(below.cost);
        }
        size
    }

    /// What is below a field, as often as the field has rows.
    fn field(&mut self, field: &'doc Field) -> Size {
        let below = self.selections(&field.selection_set);
        let Some(rows) = self.rows(field) else {
            return below;
        };
        let cost = below.cost.saturating_mul(rows).saturating_add(LIST_COST);
        Size { cost, ..below }
    }

    /// The rows that a list is asked for; `None` for what is no list, or says nothing.
    fn rows(&self, field: &Field) -> Option<u64> {
        let lengths = field.arguments.iter().filter_map(|(name, value)| {
            if !LENGTHS.contains(&name.as_str()) {
                return None;
            }
            if let Value::Int(number) = value {
                u64::try_from(number.as_i64()?).ok()
            } else if let Value::Variable(name) = value {
                self.numbers.get(name.as_str()).copied()
            } else {
                None
            }
        });
        lengths.max()
    }

    /// The size of a fragment, found once and remembered; a circle has no end.
    fn fragment(&mut self, name: &'doc str) -> Size {
        match self.known.get(name) {
            Some(Some(size)) => return *size,
            Some(None) => return Size::ENDLESS,
            None => {}
        }
        let Some(fragment) = self.fragments.get(name).copied() else {
            return Size::default();
        };
        self.known.insert(name, None);
        let size = self.selections(&fragment.selection_set);
        self.known.insert(name, Some(size));
        size
    }

    /// Whether introspection nests lists too deep. Only for a document within the budget.
    fn introspects_in_circles(&self, document: &'doc Document) -> bool {
        document
            .definitions
            .iter()
            .any(|definition| match definition {
                Definition::Operation(operation) => {
                    self.nested_lists(selections_of(operation), false) > INTROSPECTION_LISTS_MAX
                }
                Definition::Fragment(_) => false,
            })
    }

    fn nested_lists(&self, set: &'doc SelectionSet, is_within: bool) -> u32 {
        let nested = set.items.iter().map(|selection| match selection {
            Selection::Field(field) => {
                let name = field.name.as_str();
                let is_within = is_within || INTROSPECTION_ROOTS.contains(&name);
                let is_list = is_within && INTROSPECTION_LISTS.contains(&name);
                u32::from(is_list) + self.nested_lists(&field.selection_set, is_within)
            }
            Selection::InlineFragment(inline) => {
                self.nested_lists(&inline.selection_set, is_within)
            }
            Selection::FragmentSpread(spread) => self
                .fragments
                .get(spread.fragment_name.as_str())
                .map_or(0, |fragment| {
                    self.nested_lists(&fragment.selection_set, is_within)
                }),
        });
        nested.max().unwrap_or(0)
    }

    /// Counts root fields. Only for a document within the budget, whose walk is short.
    fn demand(&self, document: &'doc Document) -> Demand {
        let mut demand = Demand::default();
        for definition in &document.definitions {
            let Definition::Operation(operation) = definition else {
                continue;
            };
            demand.operations += 1;
            let mut login_fields = 0;
            let mut all_fields = 0;
            self.roots(selections_of(operation), &mut |name| {
                all_fields += 1;
                if LOGIN_FIELDS.contains(&name) {
                    login_fields += 1;
                }
            });
            demand.login_fields = demand.login_fields.max(login_fields);
            if matches!(operation, OperationDefinition::Mutation(_)) {
                demand.mutation_fields = demand.mutation_fields.max(all_fields);
            }
        }
        demand
    }

    fn roots(&self, set: &'doc SelectionSet, visit: &mut impl FnMut(&'doc str)) {
        for selection in &set.items {
            match selection {
                Selection::Field(field) => visit(&field.name),
                Selection::InlineFragment(inline) => self.roots(&inline.selection_set, visit),
                Selection::FragmentSpread(spread) => {
                    if let Some(fragment) = self.fragments.get(spread.fragment_name.as_str()) {
                        self.roots(&fragment.selection_set, visit);
                    }
                }
            }
        }
    }
}

/// The variables of a definition that stand for a number when they are left out.
fn defaults(definition: &Definition) -> impl Iterator<Item = (&str, u64)> {
    let variables: &[VariableDefinition] = match definition {
        Definition::Operation(OperationDefinition::Query(it)) => &it.variable_definitions,
        Definition::Operation(OperationDefinition::Mutation(it)) => &it.variable_definitions,
        Definition::Operation(OperationDefinition::Subscription(it)) => &it.variable_definitions,
        Definition::Operation(OperationDefinition::SelectionSet(_)) | Definition::Fragment(_) => {
            &[]
        }
    };
    variables.iter().filter_map(|variable| {
        if let Some(Value::Int(number)) = &variable.default_value {
            let number = u64::try_from(number.as_i64()?).ok()?;
            return Some((variable.name.as_str(), number));
        }
        None
    })
}

fn selections_of(operation: &OperationDefinition) -> &SelectionSet {
    match operation {
        OperationDefinition::SelectionSet(set) => set,
        OperationDefinition::Query(query) => &query.selection_set,
        OperationDefinition::Mutation(mutation) => &mutation.selection_set,
        OperationDefinition::Subscription(subscription) => &subscription.selection_set,
    }
}

#[cfg(test)]
mod tests;
