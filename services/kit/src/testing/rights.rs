//! What holds a service to `schema/authorisation.json`, which says for each field of its graph who
//! is answered and how everybody else is refused: a test asks for every field as every actor.
//!
//! What a refused mutation leaves is looked at too: nothing, but for the record of it where a
//! refusal is to be known (`ON_RECORD`). And its input is a good one, since whoever may send it is
//! answered afterwards.
//!
//! Whoever is answered sends a mutation without her second factor first and is refused, unless the
//! table says why a token alone is enough for it: so a new mutation asks for the factor or says why
//! not.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, PoisonError};

use async_graphql::Response;
use async_graphql::parser::parse_schema;
use async_graphql::parser::types::{
    BaseType, FieldDefinition, ObjectType, Type, TypeKind, TypeSystemDefinition,
};
use sea_orm::FromQueryResult;
use serde::Deserialize;
use serde_json::Value;

use crate::access::{Caller, Who};
use crate::graphql::{Language, Text, public_parts};
use crate::{Db, Error};

/// The rights of every field, by service.
const TABLE: &str = concat!(
    env!("CARGO_MANIFEST_DIR"),
    "/../../schema/authorisation.json"
);

/// Mutations whose refusals are put on record, and the tables that keep that.
static ON_RECORD: [(&str, [&str; 2]); 1] = [("showMember", ["attempt", "audit"])];

/// Who is answered.
pub const ANSWERED: &str = "answered";
/// Who finds nothing there.
pub const ABSENT: &str = "absent";
/// Behind the name of an actor who asked without her second factor.
const BY_TOKEN: &str = " by a token alone";

/// What the table says of one service.
#[derive(Debug, Deserialize)]
struct Service {
    /// How the actors fare, by the name of the right: outcome, then actors.
    rights: BTreeMap<String, BTreeMap<String, Vec<String>>>,
    /// The right of each field.
    fields: BTreeMap<String, String>,
    /// Fields that the test's world has nothing for: null is an answer.
    unfilled: BTreeSet<String>,
    step_up: StepUp,
}

/// Which mutations ask for the second factor.
#[derive(Debug, Deserialize)]
struct StepUp {
    always: BTreeSet<String>,
    /// Mutations by when they do: the service's own tests show that.
    at_times: BTreeMap<String, BTreeSet<String>>,
    /// Mutations by why a token is enough.
    never: BTreeMap<String, BTreeSet<String>>,
}

/// Who is to have shown a second factor, in the play of a mutation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Factor {
    Asked,
    AtTimes,
    Unasked,
}

impl StepUp {
    /// What the table says of a mutation; of one it does not know, what is safe.
    fn of(&self, field: &str) -> Factor {
        let among = |of: &BTreeMap<String, BTreeSet<String>>| {
            of.values().any(|fields| fields.contains(field))
        };
        if self.always.contains(field) {
            Factor::Asked
        } else if among(&self.at_times) {
            Factor::AtTimes
        } else if among(&self.never) {
            Factor::Unasked
        } else {
            Factor::Asked
        }
    }
}

/// What is asked, for one actor or for many.
#[derive(Clone, Debug)]
pub struct Ask {
    pub query: String,
    pub variables: Value,
    by_token: bool,
}

impl Ask {
    /// What whoever asks has shown her second factor for.
    pub const fn new(query: String, variables: Value) -> Self {
        Self {
            query,
            variables,
            by_token: false,
        }
    }

    fn by_token(&self) -> Self {
        Self {
            by_token: true,
            ..self.clone()
        }
    }

    /// An actor as she asks this: where it is asked by a token alone, without her second factor.
    #[must_use]
    pub fn asked_by(&self, actor: &Caller) -> Caller {
        let mut caller = actor.clone();
        if let (
            true,
            Who::Member {
                stepped_up_until, ..
            },
        ) = (self.by_token, &mut caller.who)
        {
            *stepped_up_until = None;
        }
        caller
    }
}

/// Where the fields of a type are seen: a query with `FIELD` in the type's place.
#[derive(Debug)]
pub struct View {
    pub kind: &'static str,
    pub ask: Ask,
    /// From `data` to the object; of a list the first.
    pub path: &'static [&'static str],
}

/// The rights of one service, and how the actors fared.
#[derive(Debug)]
pub struct Rights {
    service: &'static str,
    /// Actors and their outcome, by field.
    table: BTreeMap<String, BTreeMap<String, String>>,
    objects: BTreeMap<String, ObjectType>,
    actors: Vec<String>,
    /// What a field is asked with that cannot be asked without.
    arguments: &'static [(&'static str, &'static str)],
    unfilled: BTreeSet<String>,
    step_up: StepUp,
    seen: Mutex<BTreeMap<String, BTreeMap<String, String>>>,
    filled: Mutex<BTreeSet<String>>,
}

impl Rights {
    /// The rights of a service with this schema.
    ///
    /// # Panics
    /// When the table or the schema cannot be read, or the table says nothing of the service.
    pub fn of(
        service: &'static str,
        sdl: &str,
        arguments: &'static [(&'static str, &'static str)],
    ) -> Self {
        let text = readable(std::fs::read_to_string(TABLE));
        let all: BTreeMap<String, Value> = readable(serde_json::from_str(&text));
        let Some(own) = all.get(service) else {
            panic!("schema/authorisation.json says nothing of {service}");
        };
        let own: Service = readable(serde_json::from_value(own.clone()));
        let actors = all
            .get("actors")
            .and_then(Value::as_object)
            .map(|actors| actors.keys().cloned().collect())
            .unwrap_or_default();
        let rights: BTreeMap<&String, BTreeMap<String, String>> = own
            .rights
            .iter()
            .map(|(name, fares)| (name, by_actor(fares)))
            .collect();
        let right = |field: &String, name: &String| match rights.get(name) {
            Some(right) => (field.clone(), right.clone()),
            None => panic!("{service}: {field} has the right {name}, which there is not"),
        };
        Self {
            service,
            table: own.fields.iter().map(|(f, name)| right(f, name)).collect(),
            objects: objects(sdl),
            actors,
            arguments,
            unfilled: own.unfilled,
            step_up: own.step_up,
            seen: Mutex::default(),
            filled: Mutex::default(),
        }
    }

    /// Everybody who may ask, in the order of the table.
    pub fn actors(&self) -> &[String] {
        &self.actors
    }

    /// Asks for a field of `Query` as every actor.
    ///
    /// # Panics
    /// When an answer cannot be read.
    pub async fn query<F>(&self, name: &str, ask: &Ask, answer: F)
    where
        F: AsyncFn(&str, &Ask) -> Response,
    {
        for actor in &self.actors {
            let (outcome, _) = outcome(answer(actor, ask).await, &[name]);
            self.note(format!("Query.{name}"), actor, outcome);
        }
    }

    /// Asks for each field of a type as every actor.
    ///
    /// # Panics
    /// When the schema has no such type, or an answer cannot be read.
    pub async fn view<F>(&self, view: &View, answer: F)
    where
        F: AsyncFn(&str, &Ask) -> Response,
    {
        let Some(object) = self.objects.get(view.kind) else {
            panic!("{} has no type {}", self.service, view.kind);
        };
        for field in &object.fields {
            let name = field.node.name.node.as_str();
            let path: Vec<&str> = view.path.iter().copied().chain([name]).collect();
            let full = format!("{}.{name}", view.kind);
            let selected = self.select(&full, &field.node);
            let query = view.ask.query.replace("FIELD", &selected);
            let ask = Ask::new(query, view.ask.variables.clone());
            for actor in &self.actors {
                let (mut outcome, there) = outcome(answer(actor, &ask).await, &path);
                if outcome == ANSWERED {
                    self.filled().insert(full.clone());
                } else if there && self.unfilled.contains(&full) {
                    ANSWERED.clone_into(&mut outcome);
                }
                self.note(full.clone(), actor, outcome);
            }
        }
    }

    /// Sends a mutation as every actor. What was refused is sent again by the next, for whom
    /// nothing has changed; the last refused one's by one who may. Who may sends it without her
    /// second factor first, and is refused; where a token alone is enough, she sends it so.
    ///
    /// # Panics
    /// When a refused one changed a row, or its input is refused to everybody.
    pub async fn mutation<P, F>(&self, db: &Db, name: &str, prepare: P, answer: F)
    where
        P: AsyncFn(&str) -> Ask,
        F: AsyncFn(&str, &Ask) -> Response,
    {
        let field = format!("Mutation.{name}");
        let factor = self.step_up.of(&field);
        let mut ask: Option<Ask> = None;
        let mut may: Option<&str> = None;
        for actor in &self.actors {
            let this = match ask.take() {
                Some(ask) => ask,
                None if factor == Factor::Unasked => prepare(actor).await.by_token(),
                None => prepare(actor).await,
            };
            if factor == Factor::Asked && self.answers(&field, actor) {
                let bare = this.by_token();
                let told = send(db, (name, actor), &bare, &answer).await;
                self.note(field.clone(), &format!("{actor}{BY_TOKEN}"), told);
            }
            let outcome = send(db, (name, actor), &this, &answer).await;
            if outcome == ANSWERED {
                may = Some(actor);
            } else {
                ask = Some(this);
            }
            self.note(field.clone(), actor, outcome);
        }
        let Some(may) = may else {
            panic!("{name} is answered to nobody");
        };
        if let Some(left) = ask {
            let (outcome, _) = outcome(answer(may, &left).await, &[name]);
            assert_eq!(
                outcome, ANSWERED,
                "{name}: what was refused is refused to {may} too"
            );
        }
    }

    /// Whether the table says that an actor is answered.
    fn answers(&self, field: &str, actor: &str) -> bool {
        let said = self.table.get(field).and_then(|said| said.get(actor));
        said.is_some_and(|outcome| outcome == ANSWERED)
    }

    /// # Panics
    /// When somebody fared otherwise than the table says, when a field was not asked for, or one
    /// that is said to be unfilled was filled.
    pub fn assert_complete(&self) {
        let seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let mut wrong = Vec::new();
        for (field, fares) in seen.iter() {
            let said = self.table.get(field);
            for (actor, outcome) in fares {
                let wanted = if actor.ends_with(BY_TOKEN) {
                    Some(Text::StepUpRequired.code())
                } else {
                    let wanted = said.and_then(|said| said.get(actor));
                    wanted.map(String::as_str)
                };
                if wanted != Some(outcome.as_str()) {
                    wrong.push(format!("{field} {actor}: {outcome}, not {wanted:?}"));
                }
            }
        }
        let unasked = self.table.keys().filter(|field| !seen.contains_key(*field));
        wrong.extend(unasked.map(|field| format!("{field} was asked for by nobody")));
        let filled = self.filled();
        let unfilled = self.unfilled.iter();
        let full = unfilled.filter(|field| filled.contains(*field));
        wrong.extend(full.map(|field| format!("{field} is filled")));
        assert!(wrong.is_empty(), "{}:\n{}", self.service, wrong.join("\n"));
    }

    fn note(&self, field: String, actor: &str, outcome: String) {
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let fares = seen.entry(field).or_default();
        fares.insert(actor.to_owned(), outcome);
    }

    fn filled(&self) -> std::sync::MutexGuard<'_, BTreeSet<String>> {
        self.filled.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A field as it is asked for: with what it cannot be without, and something of what it has.
    fn select(&self, full: &str, field: &FieldDefinition) -> String {
        let name = &field.name.node;
        let given = self.arguments.iter().find(|(of, _)| *of == full);
        let pages = field
            .arguments
            .iter()
            .any(|it| it.node.name.node == "first");
        let arguments = match given {
            Some((_, arguments)) => format!("({arguments})"),
            None if pages => "(first: 5)".to_owned(),
            None => String::new(),
        };
        let kind = base(&field.ty.node);
        let selection = match self.objects.get(kind) {
            None => "",
            Some(_) if kind.ends_with("Connection") => " { nodes { __typename } }",
            Some(_) => " { __typename }",
        };
        format!("{name}{arguments}{selection}")
    }
}

/// Sends a mutation as somebody; how she fared. What was refused changed nothing.
async fn send<F>(db: &Db, (name, actor): (&str, &str), ask: &Ask, answer: &F) -> String
where
    F: AsyncFn(&str, &Ask) -> Response,
{
    let before = rows(db).await;
    let (outcome, _) = outcome(answer(actor, ask).await, &[name]);
    if outcome != ANSWERED {
        let after = rows(db).await;
        let mut changed = changed(&before, &after);
        let on_record = ON_RECORD.iter().filter(|(known, _)| *known == name);
        let on_record: Vec<&str> = on_record.flat_map(|(_, tables)| *tables).collect();
        changed.retain(|table| !on_record.contains(table));
        assert!(
            changed.is_empty(),
            "{name} refused to {actor} changed {changed:?}"
        );
    }
    outcome
}

/// Outcome by actor.
fn by_actor(fares: &BTreeMap<String, Vec<String>>) -> BTreeMap<String, String> {
    let each = |(outcome, actors): (&String, &Vec<String>)| {
        let pair = |actor: &String| (actor.clone(), outcome.clone());
        actors.iter().map(pair).collect::<Vec<_>>()
    };
    fares.iter().flat_map(each).collect()
}

fn objects(sdl: &str) -> BTreeMap<String, ObjectType> {
    let mut found = BTreeMap::new();
    for definition in readable(parse_schema(sdl)).definitions {
        let TypeSystemDefinition::Type(kind) = definition else {
            continue;
        };
        let name = kind.node.name.node.to_string();
        if let TypeKind::Object(object) = kind.node.kind {
            found.insert(name, object);
        }
    }
    found
}

fn base(kind: &Type) -> &str {
    match &kind.base {
        BaseType::Named(name) => name.as_str(),
        BaseType::List(of) => base(of),
    }
}

/// How somebody fared who asked for what lies at the end of `path`, and whether what it belongs
/// to is there.
fn outcome(response: Response, path: &[&str]) -> (String, bool) {
    if let Some(error) = response.errors.first() {
        let kit = error
            .source
            .as_ref()
            .and_then(|it| it.downcast_ref::<Error>());
        if let Some(kit) = kit {
            return (public_parts(kit, Language::En).0, false);
        }
        let code = error
            .extensions
            .as_ref()
            .and_then(|it| it.get("code").cloned());
        let code = code.and_then(|it| it.into_json().ok());
        return match code.as_ref().and_then(Value::as_str) {
            Some(code) => (code.to_owned(), false),
            None => panic!("an error without a code: {error:?}"),
        };
    }
    let data = readable(response.data.into_json());
    let mut at = &data;
    for (step, name) in path.iter().enumerate() {
        at = &at[*name];
        let is_last = step + 1 == path.len();
        while let (Value::Array(list), false) = (at, is_last) {
            at = list.first().unwrap_or(&Value::Null);
        }
        if at.is_null() {
            return (ABSENT.to_owned(), is_last);
        }
    }
    if let Some(code) = at["userErrors"][0]["code"].as_str() {
        return (code.to_owned(), true);
    }
    let empty = |list: &Value| list.as_array().is_some_and(Vec::is_empty);
    if empty(at) || empty(&at["nodes"]) {
        return (ABSENT.to_owned(), true);
    }
    (ANSWERED.to_owned(), true)
}

/// A digest of every table's rows.
async fn rows(db: &Db) -> BTreeMap<String, String> {
    #[derive(FromQueryResult)]
    struct Table {
        name: String,
    }
    #[derive(FromQueryResult)]
    struct Digest {
        name: String,
        digest: String,
    }
    let tables = "SELECT tablename::text AS name FROM pg_tables WHERE schemaname = 'public'";
    let tables: Vec<Table> = readable(db.all(tables, []).await);
    let digest = |table: Table| {
        let name = table.name;
        format!(
            "SELECT '{name}' AS name,
               md5(COALESCE(string_agg(t::text, '|' ORDER BY t::text), '')) AS digest
             FROM \"{name}\" t"
        )
    };
    let all: Vec<String> = tables.into_iter().map(digest).collect();
    let found: Vec<Digest> = readable(db.all(&all.join(" UNION ALL "), []).await);
    found.into_iter().map(|it| (it.name, it.digest)).collect()
}

fn changed<'a>(
    before: &'a BTreeMap<String, String>,
    after: &BTreeMap<String, String>,
) -> Vec<&'a str> {
    let differs = |(name, digest): &(&'a String, &'a String)| after.get(*name) != Some(*digest);
    let names = before.iter().filter(differs);
    names.map(|(name, _)| name.as_str()).collect()
}

pub(super) fn readable<T, E: std::fmt::Debug>(read: Result<T, E>) -> T {
    match read {
        Ok(read) => read,
        Err(error) => panic!("a test of rights cannot read: {error:?}"),
    }
}
