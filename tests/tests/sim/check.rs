//! What must hold when everything has come to rest: the promises of `bashu verify`, and what only
//! those can say who asked, who was paid, and who saw the log.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use anyhow::{Context, Result};
use credential::rules::Direction;
use kit::event::Record;
use sea_orm::FromQueryResult;

use crate::acts::{Act, Answer};
use crate::play::Play;
use crate::rights;
use crate::world::{Service, World};

/// Waits that must be over hours after the last fault.
const WAITS: [(Service, &str, &str); 5] = [
    (
        Service::Passes,
        "a pass waits",
        "SELECT to_hex(id) || ' ' || state AS found FROM pass
         WHERE state IN ('awaiting_payment', 'refunding')",
    ),
    (
        Service::Passes,
        "a refund waits",
        "SELECT return_id || ' ' || state AS found FROM refund
         WHERE state IN ('counting', 'returned')",
    ),
    (
        Service::Billing,
        "an order is open",
        "SELECT id || ' ' || number AS found FROM orders WHERE state = 'open'",
    ),
    (
        Service::Billing,
        "a refund waits",
        "SELECT id || ' ' || state AS found FROM refund WHERE state <> 'done'",
    ),
    (
        Service::Billing,
        "a payment waits",
        "SELECT id || ' ' || state AS found FROM payment
         WHERE state IN ('preparing', 'waiting')",
    ),
];

#[derive(FromQueryResult)]
struct Found {
    found: String,
}

/// Writes down everything that does not hold.
pub(crate) async fn everything(play: &mut Play<'_>) -> Result<()> {
    let mut found = promises(&play.world).await?;
    for topic in Service::ALL.map(|service| format!("{}.v1", service.name())) {
        found.extend(log(&topic, &play.world.memory.records(&topic)));
    }
    for (service, what, sql) in WAITS {
        let rows: Vec<Found> = play.world.judged(service, sql).await?;
        found.extend(rows.into_iter().map(|row| format!("{what}: {}", row.found)));
    }
    found.extend(acknowledged(play).await?);
    found.extend(entries(play));
    found.extend(money(&play.world).await?);
    found.extend(rights::broken(play).await?);
    play.violations.extend(found);
    for at in 0..play.log.len() {
        if play.log[at].answer.lasts() {
            play.repeat(at).await;
        }
    }
    // Whoever asked again changed nothing.
    play.world.settle().await?;
    let again = promises(&play.world).await?;
    play.violations.extend(
        again
            .into_iter()
            .map(|one| format!("after all was asked again: {one}")),
    );
    Ok(())
}

/// The promises of `bashu verify` that do not hold.
pub(crate) async fn promises(world: &World<'_>) -> Result<Vec<String>> {
    let broken = bashu::verify::broken(&world.ground.judges).await?;
    Ok(broken
        .into_iter()
        .map(|(id, one)| format!("{id}: {}: {}", one.subject, one.problem))
        .collect())
}

/// What a topic says that no topic may: a number missing or given twice, an event under two
/// numbers, a thing that becomes older.
pub(crate) fn log(topic: &str, partitions: &[Vec<Record>]) -> Vec<String> {
    let mut found = Vec::new();
    for (partition, records) in partitions.iter().enumerate() {
        let at = format!("{topic}/{partition}");
        let mut numbers: HashMap<uuid::Uuid, i64> = HashMap::new();
        let mut versions: HashMap<(Vec<u8>, String), i64> = HashMap::new();
        let mut last = -1;
        for record in records {
            let (pseq, id) = (record.pseq, record.id);
            match numbers.get(&id) {
                Some(known) if *known != pseq => {
                    found.push(format!(
                        "{at}: event {id} has the numbers {known} and {pseq}"
                    ));
                }
                Some(_) => {}
                None if pseq != last + 1 => {
                    found.push(format!("{at}: number {pseq} comes after {last}"));
                }
                None => {
                    let thing = (record.key.clone(), record.kind.clone());
                    let before = versions.insert(thing, record.version);
                    if before.is_some_and(|before| before > record.version) {
                        let version = record.version;
                        found.push(format!("{at}: {} goes back to {version}", record.kind));
                    }
                }
            }
            numbers.insert(id, pseq);
            last = last.max(pseq);
        }
    }
    found
}

/// What was acknowledged is there: asked in one question of each service.
async fn acknowledged(play: &Play<'_>) -> Result<Vec<String>> {
    #[derive(FromQueryResult)]
    struct Missing {
        at: i64,
    }
    let mut questions: BTreeMap<Service, Vec<String>> = BTreeMap::new();
    for (at, asked) in play.log.iter().enumerate() {
        if let Answer::Done { id, said } = &asked.answer {
            let (service, sql) = row_of(&asked.act, id, said);
            let question = format!("({at}::bigint, EXISTS ({sql}))");
            questions.entry(service).or_default().push(question);
        }
    }
    let mut missing = Vec::new();
    for (service, questions) in questions {
        let sql = format!(
            "SELECT at FROM (VALUES {}) AS t (at, found) WHERE NOT found ORDER BY at",
            questions.join(", ")
        );
        let rows: Vec<Missing> = play.world.judged(service, &sql).await?;
        for row in rows {
            let asked = &play.log[usize::try_from(row.at)?];
            missing.push(format!("acknowledged and not there: {asked:?}"));
        }
    }
    Ok(missing)
}

/// Where what came of an act must be found.
fn row_of(act: &Act, id: &str, said: &str) -> (Service, String) {
    match act {
        Act::Buy { .. } | Act::Activate { .. } | Act::Refund { .. } | Act::Custody { .. } => (
            Service::Passes,
            format!("SELECT 1 FROM pass WHERE lpad(to_hex(id), 16, '0') = '{id}'"),
        ),
        Act::Shop { .. } => (
            Service::Passes,
            format!("SELECT 1 FROM product WHERE id = '{id}'"),
        ),
        Act::Pay { order, .. } => (
            Service::Billing,
            format!("SELECT 1 FROM payment WHERE id = '{id}' AND order_id = '{order}'"),
        ),
        Act::Cancel { .. } => (
            Service::Billing,
            format!("SELECT 1 FROM orders WHERE id = '{id}' AND state IN ('closed', 'paid')"),
        ),
        Act::Scan { .. } => {
            let decision = said.split(' ').next().unwrap_or_default();
            (
                Service::Admission,
                format!("SELECT 1 FROM redemption WHERE id = '{id}' AND decision = '{decision}'"),
            )
        }
        Act::Void { .. } => (
            Service::Admission,
            format!("SELECT 1 FROM redemption WHERE id = '{id}' AND voided_at IS NOT NULL"),
        ),
        Act::Override { .. } => (
            Service::Admission,
            format!("SELECT 1 FROM redemption WHERE id = '{id}' AND decision = 'admit'"),
        ),
        Act::GrantStaff | Act::WithdrawStaff { .. } => (
            Service::Identity,
            format!("SELECT 1 FROM role WHERE id = '{id}'"),
        ),
        Act::Consent { .. }
        | Act::Export { .. }
        | Act::Erase { .. }
        | Act::Recall { .. }
        | Act::Merge { .. }
        | Act::Split { .. } => (Service::Identity, rights::row_of(act, id)),
    }
}

/// Nobody was let in more often than the products allow, by what the gates were told.
fn entries(play: &Play<'_>) -> Vec<String> {
    let mut found = Vec::new();
    // Of a void whose answer was lost nobody knows: it may have made room for another entry.
    let voided: BTreeSet<String> = play
        .log
        .iter()
        .filter_map(|asked| {
            let Act::Void { redemption } = &asked.act else {
                return None;
            };
            let may_be = asked.answer.id().is_some() || asked.answer == Answer::Unknown;
            may_be.then(|| redemption.to_string())
        })
        .collect();
    let mut sold = BTreeMap::new();
    for asked in &play.log {
        if let (Act::Buy { product, .. }, Some(id)) = (&asked.act, asked.answer.id()) {
            sold.insert(id.to_owned(), *product);
        }
    }
    let mut counted: BTreeMap<String, u32> = BTreeMap::new();
    for asked in &play.log {
        let (
            Act::Scan {
                device,
                pass,
                direction: Direction::Entry,
                ..
            },
            answer,
        ) = (&asked.act, &asked.answer)
        else {
            continue;
        };
        let Answer::Done { id, said } = answer else {
            continue;
        };
        let Some(day) = said.strip_prefix("admit ").filter(|_| !voided.contains(id)) else {
            continue;
        };
        let venue = play.town.devices[*device].venue;
        let product = sold.get(&pass.to_string());
        let place = play.town.products.iter().position(|it| Some(it) == product);
        // Once a day at a venue; three times in all; twice a day.
        let (what, most) = match place {
            Some(0) => (format!("{pass} at {venue} on {day}"), 1),
            Some(1) => (format!("{pass} in all"), 3),
            Some(_) => (format!("{pass} on {day}"), 2),
            None => (format!("{pass}, which nobody bought"), 0),
        };
        let count = counted.entry(what.clone()).or_default();
        *count += 1;
        if *count > most {
            found.push(format!("{count} entries of {what}"));
        }
    }
    found
}

/// What the provider says it took and gave back is what our books say.
async fn money(world: &World<'_>) -> Result<Vec<String>> {
    #[derive(FromQueryResult)]
    struct Row {
        number: String,
        received: i64,
        refunded: i64,
    }
    let rows: Vec<Row> = world
        .rows(
            Service::Billing,
            "SELECT r.out_trade_no AS number, sum(r.fen)::bigint AS received,
               COALESCE(sum((SELECT sum(b.fen) FROM refund b
                 WHERE b.transaction_id = r.transaction_id AND b.state = 'done')), 0)::bigint
                 AS refunded
             FROM receipt r GROUP BY r.out_trade_no",
        )
        .await?;
    let ours: BTreeMap<String, (i64, i64)> = rows
        .into_iter()
        .map(|row| (row.number, (row.received, row.refunded)))
        .collect();
    let mut theirs = BTreeMap::new();
    for order in world.provider_orders().await? {
        if !matches!(order["trade_state"].as_str(), Some("SUCCESS" | "REFUND")) {
            continue;
        }
        let number = order["out_trade_no"].as_str().context("a number")?;
        let total = order["amount"]["total"].as_i64().context("an amount")?;
        let refunded = order["refunded"].as_i64().unwrap_or(0);
        theirs.insert(number.to_owned(), (total, refunded));
    }
    let mut numbers: Vec<&String> = ours.keys().chain(theirs.keys()).collect();
    numbers.sort();
    numbers.dedup();
    Ok(numbers
        .into_iter()
        .filter(|number| ours.get(*number) != theirs.get(*number))
        .map(|number| {
            let (ours, theirs) = (ours.get(number), theirs.get(number));
            format!("{number}: we have {ours:?}, the provider has {theirs:?}")
        })
        .collect())
}
