//! What must hold of people's own data when everything has come to rest: of who was forgotten no
//! service has anything left, every copy is whole, and who was made one of two buys as one.
//!
//! Identity's own tables, and what each service knows of consents, are looked at by the promises of
//! `bashu verify`; here is looked at what another service has to have done.

use anyhow::{Context, Result};
use identity::domain::merge::Pair;
use kit::Error;
use passes::commands::BuyPass;
use sea_orm::FromQueryResult;
use uuid::Uuid;

use crate::acts::{self, Act};
use crate::ground::Ground;
use crate::play::Play;
use crate::town::{SURVIVOR, Town, client_key};
use crate::world::{Service, World};

/// Services that identity asks to forget somebody.
const OTHERS: [Service; 3] = [Service::Passes, Service::Billing, Service::Admission];
/// Products by their place in the town, and how many of each one person may have.
const LIMITED: [(usize, u32); 2] = [(1, 2), (2, 1)];
/// What a service that has forgotten these has no more, by what it is; `{ids}` are their ids.
const LEFT: [(Service, &str, &str); 3] = [
    (
        Service::Passes,
        "a visit",
        "SELECT u.pass::text AS found FROM replica_use u JOIN pass p ON p.id = u.pass
         WHERE p.member IN ({ids})",
    ),
    (
        Service::Billing,
        "an address to pay at",
        "SELECT id::text AS found FROM payment
         WHERE payer IN ({ids}) AND ended_at IS NOT NULL AND code_url IS NOT NULL",
    ),
    (
        Service::Admission,
        "a shift",
        "SELECT id::text AS found FROM shift WHERE member IN ({ids}) AND closed_at IS NULL",
    ),
];

#[derive(FromQueryResult)]
struct Found {
    found: String,
}

/// Where what came of using a right must be found.
pub(crate) fn row_of(act: &Act, id: &str) -> String {
    match act {
        Act::Consent { given, .. } => {
            let said = if *given {
                "give_consent"
            } else {
                "withdraw_consent"
            };
            format!("SELECT 1 FROM audit WHERE act = '{said}' AND member = '{id}'")
        }
        Act::Export { .. } => {
            format!("SELECT 1 FROM audit WHERE act = 'export_my_data' AND subject = '{id}'")
        }
        Act::Erase { .. } => format!("SELECT 1 FROM erasure WHERE member = '{id}'"),
        Act::Recall { .. } => {
            format!("SELECT 1 FROM audit WHERE act = 'recall_erasure' AND subject = '{id}'")
        }
        Act::Merge { .. } => format!("SELECT 1 FROM member_merge WHERE merged = '{id}'"),
        Act::Split { .. } => {
            format!("SELECT 1 FROM audit WHERE act = 'split_members' AND subject = '{id}'")
        }
        Act::Buy { .. }
        | Act::Pay { .. }
        | Act::Cancel { .. }
        | Act::Activate { .. }
        | Act::Refund { .. }
        | Act::Custody { .. }
        | Act::Shop { .. }
        | Act::Scan { .. }
        | Act::Void { .. }
        | Act::Override { .. }
        | Act::GrantStaff
        | Act::WithdrawStaff { .. } => "SELECT 1 WHERE false".to_owned(),
    }
}

/// What does not hold.
pub(crate) async fn broken(play: &mut Play<'_>) -> Result<Vec<String>> {
    let (forgotten, mut broken) = left_of_the_forgotten(&play.world).await?;
    play.count_times("forgotten", forgotten);
    let copies = ask(
        &play.world,
        Service::Identity,
        "SELECT id || ' ' || state AS found FROM export WHERE state <> 'expired'",
    )
    .await?;
    let (ready, waiting): (Vec<String>, Vec<String>) =
        copies.into_iter().partition(|copy| copy.ends_with("ready"));
    play.count_times("copy ready", u64::try_from(ready.len())?);
    broken.extend(waiting.iter().map(|copy| format!("a copy waits: {copy}")));
    let merged = "SELECT id::text AS found FROM member WHERE state = 'merged'";
    let merged = ask(&play.world, Service::Identity, merged).await?;
    if !merged.is_empty() {
        play.count("two made one");
        broken.extend(bought_as_two(play).await?);
    }
    Ok(broken)
}

async fn ask(world: &World<'_>, service: Service, sql: &str) -> Result<Vec<String>> {
    let rows: Vec<Found> = world.judged(service, sql).await?;
    Ok(rows.into_iter().map(|row| row.found).collect())
}

/// Who was made one of two has what both of them bought, and beyond a limit buys nothing more.
async fn bought_as_two(play: &mut Play<'_>) -> Result<Vec<String>> {
    let Pair { survivor, merged } = play.town.twins;
    let mut broken = Vec::new();
    for (place, most) in LIMITED {
        let product = play.town.products[place];
        let sql = format!(
            "SELECT COALESCE(sum(bought), 0)::text AS found FROM member_sale
             WHERE product = '{}' AND member IN ('{survivor}', '{merged}')",
            product.0
        );
        let counted = ask(&play.world, Service::Passes, &sql).await?;
        let counted: u32 = counted.first().context("a sum")?.parse()?;
        if counted < most {
            continue;
        }
        let request = BuyPass {
            product,
            renews: None,
            key: client_key(&mut play.random),
        };
        let buyer = &play.town.buyers[SURVIVOR];
        let answer = play.world.union.passes.buy(buyer, request).await;
        match answer {
            Ok(pass) => {
                let id = pass.id;
                broken.push(format!("{id} is more than the {most} that one may have"));
            }
            Err(Error::Refused(why))
                if why.code == passes::error::Refusal::MemberLimitReached.code() =>
            {
                play.count("one limit held");
            }
            // Its sale has ended meanwhile: that is no word about limits.
            Err(_) => {}
        }
    }
    Ok(broken)
}

/// Of who was forgotten nothing is left, and every service knows that she was; how many were.
async fn left_of_the_forgotten(world: &World<'_>) -> Result<(u64, Vec<String>)> {
    let sql = "SELECT id::text AS found FROM member WHERE state = 'erased' ORDER BY id";
    let forgotten = ask(world, Service::Identity, sql).await?;
    if forgotten.is_empty() {
        return Ok((0, Vec::new()));
    }
    let quoted: Vec<String> = forgotten.iter().map(|id| format!("'{id}'")).collect();
    let ids = quoted.join(", ");
    let mut broken = Vec::new();
    for (service, what, sql) in LEFT {
        let left = ask(world, service, &sql.replace("{ids}", &ids)).await?;
        let left = left.into_iter();
        broken.extend(left.map(|one| format!("{service:?} keeps {what} of a forgotten: {one}")));
    }
    let known = format!(
        "SELECT member::text AS found FROM replica_erasure
         WHERE state = 'erased' AND member IN ({ids}) ORDER BY member"
    );
    for service in OTHERS {
        let known = ask(world, service, &known).await?;
        if known != forgotten {
            broken.push(format!("{service:?} knows of {known:?}, not {forgotten:?}"));
        }
    }
    Ok((u64::try_from(forgotten.len())?, broken))
}

/// Somebody is forgotten by all, and what a service keeps of her all the same is found.
#[tokio::test]
async fn what_is_left_of_a_forgotten_is_found() {
    let ground = Ground::new().await.expect("the test world is up");
    let mut world = World::new(&ground, 1).await.expect("a world");
    let town = Town::found(&mut world).await.expect("a town");
    let wish = Act::Erase { buyer: 0 };
    let answer = acts::ask(&world, &town, &wish, Uuid::from_u128(1)).await;
    let answer = answer.expect("an answer");
    let member = answer.id().expect("a wish that was taken").to_owned();
    let left = left_of_the_forgotten(&world).await.expect("a look");
    assert_eq!(left, (0, Vec::new()), "before her grace is over");
    world.heal().await.expect("a rest");
    let left = left_of_the_forgotten(&world).await.expect("a look");
    assert_eq!(left, (1, Vec::new()));

    let shift = format!(
        "INSERT INTO shift (id, venue, member, opened_at, closes_at)
         SELECT gen_random_uuid(), id, '{member}', now(), now() + interval '1 hour'
         FROM venue LIMIT 1"
    );
    let unheard = "DELETE FROM replica_erasure".to_owned();
    for (service, planted) in [(Service::Admission, shift), (Service::Passes, unheard)] {
        let done = world.ctx(service).db.execute(&planted, []).await;
        assert_eq!(done.expect("a row"), 1);
    }
    let (_, left) = left_of_the_forgotten(&world).await.expect("a look");
    assert_eq!(left.len(), 2, "{left:?}");
    assert!(left[0].starts_with("Admission keeps a shift"), "{left:?}");
    assert!(left[1].starts_with("Passes knows of []"), "{left:?}");
}
