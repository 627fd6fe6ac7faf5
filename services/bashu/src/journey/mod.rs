//! The journeys that must always work, played through the gateways as a member's app and a
//! venue's gate would: each step says what it answered, and one that answers wrongly ends the
//! play. `make run` shows them to a person, `make test` to nobody but itself.

pub mod gate;
pub mod purchase;
mod validation;

use anyhow::{Context, Result};

use crate::dev::World;
use crate::documents::Document;
use crate::say::Say;

/// What the journeys send.
pub(crate) fn documents() -> Vec<Document> {
    let parts = [
        gate::DOCUMENTS.as_slice(),
        &purchase::DOCUMENTS,
        &validation::DOCUMENTS,
    ];
    parts.concat()
}

/// Plays journey 1 and the online half of journey 3 in each union of the world.
///
/// # Errors
/// When a step does not answer what it must.
pub(crate) async fn play(world: &World, members: u32, say: &Say) -> Result<()> {
    for union in world.unions() {
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
    }
    Ok(())
}
