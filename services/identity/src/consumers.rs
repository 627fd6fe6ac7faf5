//! What identity hears from others: the entitlements it mints credentials from, and which of
//! them admission blocks because their grant never reached it.

use credential::token::{Kind, Minute};
use kit::consumer::Handler;
use kit::event::Record;
use kit::replica;
use kit::types::{EntitlementId, MemberId};
use kit::{Error, Result, Tx};
use proto::admission::EntitlementBlocked;
use proto::v1::{EntitlementChanged, entitlement};

use crate::domain::mint::{Entitlement, State};
use crate::store::entitlements::{self as store, Block, Described};

const CHANGED: &str = "bashu.v1.EntitlementChanged";
const BLOCKED: &str = "bashu.admission.v1.EntitlementBlocked";

/// The one consumer of identity.
#[derive(Clone, Copy, Debug, Default)]
pub struct Entitlements;

impl Handler for Entitlements {
    fn name(&self) -> &'static str {
        "identity"
    }

    fn topics(&self) -> &'static [&'static str] {
        &["passes.v1", "admission.v1"]
    }

    fn handles(&self, kind: &str) -> bool {
        [CHANGED, BLOCKED].contains(&kind)
    }

    /// What takes a right away never waits behind a record that could not be applied.
    fn monotone(&self, record: &Record) -> bool {
        match record.kind.as_str() {
            CHANGED => record.decode::<EntitlementChanged>().is_ok_and(|event| {
                event
                    .entitlement
                    .is_some_and(|it| it.state() != entitlement::State::Active)
            }),
            BLOCKED => record
                .decode::<EntitlementBlocked>()
                .is_ok_and(|event| !event.cleared),
            _ => false,
        }
    }

    async fn apply(&self, tx: &Tx, records: &[Record]) -> Result<()> {
        for record in records {
            match record.kind.as_str() {
                CHANGED => store::describe(tx, &described(record)?).await?,
                BLOCKED => store::block(tx, block(record)?).await?,
                other => return Err(Error::permanent(format!("{other} is not handled"))),
            }
        }
        Ok(())
    }
}

fn described(record: &Record) -> Result<Described> {
    let wrong = |what: &'static str| Error::permanent(what);
    let it = record
        .decode::<EntitlementChanged>()?
        .entitlement
        .ok_or_else(|| wrong("an event without its entitlement"))?;
    let state = match it.state() {
        entitlement::State::Active => State::Active,
        entitlement::State::Frozen => State::Frozen,
        entitlement::State::Revoked => State::Revoked,
        entitlement::State::Unspecified => return Err(wrong("an entitlement without a state")),
    };
    let kind = match it.kind() {
        entitlement::Kind::Pass => Kind::Pass,
        entitlement::Kind::Unspecified => return Err(wrong("an entitlement of no kind")),
    };
    let minute =
        |minutes: u32| Minute::new(minutes).ok_or_else(|| wrong("a minute is out of range"));
    Ok(Described {
        entitlement: Entitlement {
            id: EntitlementId(it.id),
            member: MemberId(replica::id(&it.member_id)?),
            kind,
            state,
            blocked: false,
            scope: it.scope,
            valid_from: minute(it.valid_from)?,
            valid_until: minute(it.valid_until)?,
            generation: u8::try_from(it.r#gen)
                .map_err(|_| wrong("an entitlement was issued again too often"))?,
            document_check: it.document_check,
            persons: u16::try_from(it.persons)
                .map_err(|_| wrong("an entitlement for too many people"))?,
        },
        union: u8::try_from(it.union).map_err(|_| wrong("an entitlement of no union"))?,
        epoch: record.epoch,
        version: it.version,
    })
}

fn block(record: &Record) -> Result<Block> {
    let event: EntitlementBlocked = record.decode()?;
    Ok(Block {
        id: EntitlementId(event.entitlement_id),
        scope: event.scope,
        blocked: !event.cleared,
        epoch: record.epoch,
        version: event.version,
    })
}
