//! What people ask for of their own data, and what operators do to their records and roles.

use chrono::{DateTime, Utc};
use identity::commands::consents::{self, Said, Saying};
use identity::commands::erasures::{erase_me, recall};
use identity::commands::exports::export_my_data;
use identity::commands::merges::{merge_members, split_members};
use identity::commands::roles::{Asked, grant_role};
use identity::domain::merge::Step;
use identity::domain::role::{Of, Role};
use kit::access::Caller;
use kit::types::Processing;
use kit::{Error, Result};
use uuid::Uuid;

use crate::acts::{Act, Answer, MERGED_NOW};
use crate::town::Town;
use crate::world::World;

/// The version of the text that a story's people are shown.
const CONSENT_TEXT: i32 = 1;

/// What people say of their own data.
pub(crate) async fn rights(world: &World<'_>, town: &Town, act: &Act, key: Uuid) -> Result<Answer> {
    let identity = &world.union.identity;
    match act {
        Act::Consent { buyer, given } => {
            let word = if *given {
                Saying::Give {
                    text_version: CONSENT_TEXT,
                }
            } else {
                Saying::Withdraw
            };
            let said = Said {
                processing: Processing::VisitsToVenues,
                word,
                key,
            };
            let member = consents::say(&identity.ctx, &town.buyers[*buyer], said).await?;
            Ok(Answer::done(member))
        }
        Act::Export { buyer } => {
            let caller = &town.buyers[*buyer];
            let copy = export_my_data(&identity.ctx, &identity.vault, caller, key).await?;
            Ok(Answer::done(copy.id))
        }
        Act::Erase { buyer } => {
            let caller = town.buyers[*buyer].clone();
            let caller = caller.stepped_up(DateTime::<Utc>::MAX_UTC);
            let wish = erase_me(identity, &caller, None, key).await?;
            Ok(Answer::done(wish.member))
        }
        Act::Recall { buyer } => {
            let wish = recall(&identity.ctx, &town.buyers[*buyer]).await?;
            Ok(Answer::done(wish.member))
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
        | Act::WithdrawStaff { .. }
        | Act::Merge { .. }
        | Act::Split { .. } => Err(Error::internal("not a right of a person's own")),
    }
}

/// Two operators have seen the document of somebody who is known twice.
pub(crate) async fn merge(world: &World<'_>, town: &Town, by_second: bool) -> Result<Answer> {
    let identity = &world.union.identity;
    let by = operator(town, by_second);
    let (ctx, vault) = (&identity.ctx, &identity.vault);
    let step = merge_members(ctx, vault, by, town.twins, &town.document).await?;
    let said = match step {
        Step::Begins { .. } | Step::Waits { .. } => "asked",
        Step::Done { .. } => MERGED_NOW,
    };
    Ok(Answer::Done {
        id: town.twins.merged.to_string(),
        said: said.to_owned(),
    })
}

/// They were two after all: one operator makes them so again.
pub(crate) async fn split(world: &World<'_>, town: &Town, by_second: bool) -> Result<Answer> {
    let identity = &world.union.identity;
    let by = operator(town, by_second);
    let (ctx, vault) = (&identity.ctx, &identity.vault);
    let pair = split_members(ctx, vault, by, town.twins.merged).await?;
    Ok(Answer::done(pair.merged))
}

const fn operator(town: &Town, second: bool) -> &Caller {
    if second { &town.second } else { &town.operator }
}

pub(crate) async fn grant_staff(world: &World<'_>, town: &Town) -> Result<Answer> {
    let asked = Asked {
        of: Of {
            member: town.staff,
            organisation: town.company,
            role: Role::VenueStaff,
        },
        until: None,
    };
    let granted = grant_role(&world.union.identity.ctx, &town.operator, asked).await?;
    Ok(Answer::done(granted.id()))
}
