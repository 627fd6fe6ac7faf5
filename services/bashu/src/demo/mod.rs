//! The demonstration world: the same at every start, and made through the gateway by an operator
//! with the operations that every operator has. Only two operators come by the command line, as in
//! a real installation: the first, and the second, without whom nobody confirms what takes two.

mod keys;
mod organisations;
mod people;
pub mod persona;
pub mod products;
pub mod venues;

use std::collections::HashSet;

use anyhow::{Context, Result, bail};
use kit::types::Union;
use serde_json::{Value, json};

use crate::client::{Client, text};
use crate::dev::{DevArgs, World, command};
use crate::documents::Document;
use crate::output::Output;
use crate::say::Say;
use organisations::Organisations;
use people::{Person, person};

/// People in one request: a quarter of the graph's own limit, which an unoptimised build on a busy
/// machine does not seal and find within the gateway's patience.
const PEOPLE_MAX: usize = 25;
/// What a masked document number still shows at its end.
const DOCUMENT_TAIL_BYTES: usize = 4;
/// The people who have an office, by their place after all others.
const OFFICES: [(u32, &str, &str, &str); 9] = [
    (900_001, "OPERATOR", "root", "系统操作员 operator"),
    (900_002, "VENUE_MANAGER", "parks", "场馆主管 venue manager"),
    (900_003, "VENUE_STAFF", "parks", "场馆员工 venue staff"),
    (900_004, "OFFICER", "factory", "工会经办 officer"),
    (900_005, "APPROVER", "factory", "工会主席 approver"),
    (900_006, "AUDITOR", "factory", "经审 auditor"),
    (
        900_008,
        "OFFICER",
        "hospital",
        "带验证器的经办 officer with an authenticator",
    ),
    (
        900_009,
        "VENUE_STAFF",
        "museums",
        "另一家公司的员工 staff of another company",
    ),
    (
        900_010,
        "AUDITOR",
        "root",
        "联合会经审 federation's auditor",
    ),
];
/// The operator who confirms what the first one proposes.
const SECOND: (u32, &str) = (900_007, "第二操作员 second operator");
/// The number of a member who asks to be forgotten in each play, and of nothing else.
pub const LEAVER: u32 = 900_011;
/// The number of a member who is forgotten in each play, and comes anew before the next one.
pub const FORGOTTEN: u32 = 900_012;
/// Companies, whose people are members of the federation itself.
const COMPANIES: [&str; 2] = ["parks", "museums"];
/// Where the members are, in shares of a hundred.
const SHARES: [(&str, u32); 5] = [
    ("factory", 40),
    ("hospital", 30),
    ("workshop", 20),
    ("district", 5),
    ("industry", 5),
];

const ADD: &str = "mutation ($input: AddMembershipsInput!) { addMemberships(input: $input) \
    { memberships { id member { id } } userErrors { code field message } } }";
const MEMBERS: &str = "query ($id: ID!, $after: String) { organisation(id: $id) { \
    memberships(first: 100, after: $after) { nodes { member { maskedName maskedDocumentNumber } } \
    pageInfo { hasNextPage endCursor } } } }";
const GRANT: &str = "mutation ($input: GrantRoleInput!) { grantRole(input: $input) \
    { role { id } proposal { id } userErrors { code field message } } }";
const CONFIRM: &str = "mutation ($input: ConfirmRoleInput!) { confirmRole(input: $input) \
    { role { id } userErrors { code field message } } }";

/// What the demonstration sends.
pub(crate) fn documents() -> Vec<Document> {
    let own = [
        ("addMemberships", ADD),
        ("organisationMembers", MEMBERS),
        ("grantRole", GRANT),
        ("confirmRole", CONFIRM),
    ];
    let parts = [
        organisations::DOCUMENTS.as_slice(),
        &persona::DOCUMENTS,
        &products::DOCUMENTS,
        &venues::DOCUMENTS,
    ];
    [&own[..], &parts.concat()].concat()
}

/// What `bashu demo` is told.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct DemoArgs {
    #[command(flatten)]
    world: DevArgs,
}

/// Loads what is missing into both unions of a running development world.
///
/// # Errors
/// When a gateway does not answer, or refuses something.
pub(crate) async fn run(args: DemoArgs, output: Output) -> Result<()> {
    let say = Say::to(output);
    let world = World::prepare(&args.world)?;
    for union in world.unions() {
        load(&world, union, args.world.members, &say).await?;
    }
    say.show(output)
}

/// The phone of the person who holds this office in every demonstration world.
pub fn office_phone(union: Union, office: &str) -> String {
    let number = OFFICES
        .iter()
        .find(|row| row.1 == office)
        .map_or(0, |row| row.0);
    person(union.code(), number).phone
}

/// The phone of the person who holds this office over that organisation.
pub fn office_at(union: Union, office: &str, organisation: &str) -> String {
    let held = |row: &&(u32, &str, &str, &str)| (row.1, row.2) == (office, organisation);
    let number = OFFICES.iter().find(held).map_or(0, |row| row.0);
    person(union.code(), number).phone
}

/// What says who member number `index` is: her name, her phone and the number of her document.
pub fn known_by(union: Union, index: u32) -> [String; 3] {
    let person = person(union.code(), index);
    [person.name, person.phone, person.resident_id]
}

/// The phone of member number `index`.
pub fn member_phone(union: Union, index: u32) -> String {
    person(union.code(), index).phone
}

/// Makes what is missing of a union's world.
///
/// # Errors
/// When the gateway refuses something.
pub(crate) async fn load(world: &World, union: Union, members: u32, say: &Say) -> Result<()> {
    let operator = person(union.code(), OFFICES[0].0);
    on_the_command_line(world, union, &operator, &[])
        .await
        .context("the first operator")?;
    let operator = persona::again(world, union, &operator.phone).await?.client;
    let organisations = organisations::ensure(&operator, union).await?;
    let made = ensure_members(&operator, union, &organisations, members, say).await?;
    ensure_offices(world, &operator, union, &organisations).await?;
    let people = [LEAVER, FORGOTTEN].map(|index| described(&person(union.code(), index)));
    let input = json!({ "organisationId": organisations["hospital"], "people": people });
    operator.run(ADD, json!({ "input": input })).await?;
    let venues = venues::ensure(&operator, union, &organisations).await?;
    products::ensure(&operator, union).await?;
    say.step(&format!(
        "union {union}: {} organisations, {made} members added, {venues} venues, 3 products",
        organisations.len()
    ));
    Ok(())
}

/// As a person would at the machine: `bashu operator create`.
async fn on_the_command_line(
    world: &World,
    union: Union,
    person: &Person,
    more: &[&str],
) -> Result<()> {
    let made = command(world.own_program())
        .args([
            "operator",
            "create",
            "--phone",
            &person.phone,
            "--name",
            &person.name,
        ])
        .args(more)
        .env("BASHU_CONFIG", world.config_path(union))
        .output()
        .await?;
    let said = String::from_utf8_lossy(&made.stderr);
    if made.status.success() || said.contains("OPERATOR_EXISTS") {
        return Ok(());
    }
    bail!("{said}")
}

async fn ensure_members(
    operator: &Client,
    union: Union,
    organisations: &Organisations,
    members: u32,
    say: &Say,
) -> Result<usize> {
    let bar = say.bar("members", u64::from(members));
    let (mut made, mut next) = (0, 0);
    for (key, share) in SHARES {
        let people: Vec<Person> = (next..next + members * share / 100)
            .map(|at| person(union.code(), at))
            .collect();
        next += members * share / 100;
        let id = &organisations[key];
        // Parts are sent in order, so the last person of the last one tells of them all.
        let Some(last) = people.last().map(seen_as) else {
            continue;
        };
        let there = members_until(operator, id, &last).await?;
        if there.contains(&last) {
            continue;
        }
        for part in missing(&people, &there) {
            let people: Vec<Value> = part.iter().map(described).collect();
            let input = json!({ "organisationId": id, "people": people });
            operator.run(ADD, json!({ "input": input })).await?;
            made += part.len();
            bar.inc(u64::try_from(part.len()).unwrap_or(0));
        }
    }
    bar.finish_and_clear();
    Ok(made)
}

/// The parts of a list that are not there. A part is added as a whole or not at all, so its last
/// person tells of all of it: a run that was cut off goes on where it was.
fn missing<'a>(
    people: &'a [Person],
    there: &HashSet<String>,
) -> impl Iterator<Item = &'a [Person]> {
    people.chunks(PEOPLE_MAX).filter(|part| {
        part.last()
            .is_some_and(|last| !there.contains(&seen_as(last)))
    })
}

/// What lists show of a person, as far as it tells her from the others of an organisation.
fn seen_as(person: &Person) -> String {
    shown(&person.name, &person.resident_id)
}

fn shown(name: &str, document: &str) -> String {
    let tail = document.len().saturating_sub(DOCUMENT_TAIL_BYTES);
    let first = name.chars().take(1);
    first.chain(document[tail..].chars()).collect()
}

fn described(person: &Person) -> Value {
    json!({
        "name": person.name,
        "documentType": "RESIDENT_ID",
        "documentNumber": person.resident_id,
        "phone": person.phone,
    })
}

/// The members as lists show them, the newest first, as far as the page on which this one stands.
async fn members_until(
    operator: &Client,
    organisation: &str,
    last: &str,
) -> Result<HashSet<String>> {
    let mut found = HashSet::new();
    let mut after = Value::Null;
    loop {
        let variables = json!({ "id": organisation, "after": after });
        let data = operator.send(MEMBERS, variables).await?;
        let page = &data["organisation"]["memberships"];
        for node in page["nodes"].as_array().into_iter().flatten() {
            let name = node["member"]["maskedName"].as_str().unwrap_or_default();
            let document = node["member"]["maskedDocumentNumber"].as_str();
            found.insert(shown(name, document.unwrap_or_default()));
        }
        if found.contains(last) || page["pageInfo"]["hasNextPage"] != true {
            return Ok(found);
        }
        after = page["pageInfo"]["endCursor"].clone();
    }
}

/// Everybody with an office belongs to where it is held; adding a person who is there changes
/// nothing, and neither does a role that is held.
async fn ensure_offices(
    world: &World,
    operator: &Client,
    union: Union,
    organisations: &Organisations,
) -> Result<()> {
    for (number, role, place, _) in OFFICES.iter().skip(1) {
        let home = if COMPANIES.contains(place) {
            "root"
        } else {
            place
        };
        let input = json!({
            "organisationId": organisations[home],
            "people": [described(&person(union.code(), *number))],
        });
        let made = operator.run(ADD, json!({ "input": input })).await?;
        let member = text(&made, "/memberships/0/member/id")?;
        let input = json!({
            "memberId": member, "organisationId": organisations[place], "role": role,
        });
        let granted = operator.run(GRANT, json!({ "input": input })).await?;
        if granted["proposal"].is_object() {
            confirm(world, union, &text(&granted, "/proposal/id")?).await?;
        }
    }
    Ok(())
}

/// What one operator alone does not grant, the second one confirms.
async fn confirm(world: &World, union: Union, proposal: &str) -> Result<()> {
    let second = person(union.code(), SECOND.0);
    let force = ["--force", "two operators grant what takes two"];
    on_the_command_line(world, union, &second, &force)
        .await
        .context("the second operator")?;
    let second = persona::again(world, union, &second.phone).await?.client;
    let input = json!({ "proposalId": proposal });
    second.run(CONFIRM, json!({ "input": input })).await?;
    Ok(())
}

/// Who a person can be.
pub(crate) fn print_logins(unions: impl Iterator<Item = Union>, members: u32, say: &Say) {
    say.line("登录手机号（验证码见短信箱）/ phones to sign in with (codes are in the inbox):");
    for union in unions {
        say.line(&format!(
            "{union}  普通职工 members  {} … {}",
            member_phone(union, 0),
            member_phone(union, members.saturating_sub(1))
        ));
        let offices = OFFICES.map(|(number, _, _, title)| (number, title));
        for (number, title) in offices.into_iter().chain([SECOND]) {
            say.line(&format!(
                "{union}  {title}  {}",
                person(union.code(), number).phone
            ));
        }
    }
}

#[cfg(test)]
mod tests;
