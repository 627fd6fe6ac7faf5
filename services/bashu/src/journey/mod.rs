//! The journeys that must always work, played through the gateways as a member's app, a venue's
//! gate and a union's desk would: each step says what it answered, and one that answers wrongly
//! ends the play. `make run` shows them to a person, `make test` to nobody but itself.

mod authenticator;
mod consent;
mod copy;
mod erasure;
pub mod gate;
mod holders;
pub mod purchase;
pub mod roster;
mod trail;
mod validation;

use anyhow::{Context, Result};
use kit::Clock;
use kit::types::Union;

use crate::dev::World;
use crate::documents::Document;
use crate::say::Say;
use purchase::Bought;

/// What the journeys send.
pub(crate) fn documents() -> Vec<Document> {
    let parts = [
        authenticator::DOCUMENTS.as_slice(),
        &consent::DOCUMENTS,
        &copy::DOCUMENTS,
        &erasure::DOCUMENTS,
        &gate::DOCUMENTS,
        &holders::DOCUMENTS,
        &purchase::DOCUMENTS,
        &roster::DOCUMENTS,
        &trail::DOCUMENTS,
        &validation::DOCUMENTS,
    ];
    parts.concat()
}

/// Plays journey 1 and the online half of journey 3 in each union of the world, then what an
/// officer, a member with her rights and an auditor do there.
///
/// # Errors
/// When a step does not answer what it must.
pub(crate) async fn play(world: &World, members: u32, say: &Say) -> Result<()> {
    for union in world.unions() {
        let began = Clock::System.now();
        let bought = enter(world, union, members, say).await?;
        let name = union.name_zh();
        say.title(&format!(
            "{name} 工会经办导入名册 / an officer imports a roster"
        ));
        roster::play(world, union, say)
            .await
            .with_context(|| format!("the roster of union {union}"))?;
        say.title(&format!(
            "{name} 工会经办下载持票名单 / an officer fetches the list of pass holders"
        ));
        holders::play(world, union, say)
            .await
            .with_context(|| format!("the list of union {union}"))?;
        say.title(&format!(
            "{name} 职工撤回同意 / a member withdraws a consent"
        ));
        consent::play(world, union, &bought, say)
            .await
            .with_context(|| format!("the consent in union {union}"))?;
        say.title(&format!(
            "{name} 职工查阅个人数据 / a member fetches all that is kept of her"
        ));
        copy::play(world, union, say)
            .await
            .with_context(|| format!("the copy in union {union}"))?;
        say.title(&format!(
            "{name} 职工要求删除 / a member asks to be forgotten"
        ));
        erasure::play(world, union, say)
            .await
            .with_context(|| format!("the erasure in union {union}"))?;
        say.title(&format!("{name} 职工数据删除 / a member is forgotten"));
        erasure::forgotten(world, union, say)
            .await
            .with_context(|| format!("who is forgotten in union {union}"))?;
        say.title(&format!("{name} 经审查阅 / an auditor reads the trail"));
        trail::play(world, union, began, say)
            .await
            .with_context(|| format!("the trail of union {union}"))?;
    }
    Ok(())
}

/// A venue gets ready, a member buys a pass, and walks in.
async fn enter(world: &World, union: Union, members: u32, say: &Say) -> Result<Bought> {
    let name = union.name_zh();
    say.title(&format!("{name} 场馆准备 / a venue gets ready"));
    let mut venue = validation::prepare(world, union, say)
        .await
        .with_context(|| format!("the venue of union {union}"))?;
    say.title(&format!("{name} 旅程一：职工买年票 / a member buys a pass"));
    let bought = purchase::play(world, union, members, say)
        .await
        .with_context(|| format!("journey 1 in union {union}"))?;
    say.title(&format!("{name} 旅程三：场馆验票 / a venue validates"));
    validation::play(&mut venue, &bought, say)
        .await
        .with_context(|| format!("journey 3 in union {union}"))?;
    purchase::read_back(&bought, say)
        .await
        .with_context(|| format!("the history of journey 1 in union {union}"))?;
    Ok(bought)
}
