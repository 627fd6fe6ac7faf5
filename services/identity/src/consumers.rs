//! What identity hears from others: the entitlements it mints credentials from, and which of them
//! admission blocks because their grant never reached it; beside, what members are told of, and
//! what services answer about a person.

pub mod notices;
pub mod persons;
pub mod renders;

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

use credential::token::{Kind, Minute};
use kit::consumer::Handler;
use kit::event::Record;
use kit::replica;
use kit::types::{EntitlementId, MemberId};
use kit::{Error, Result, Tx};
use proto::admission::EntitlementBlocked;
use proto::v1::{EntitlementChanged, entitlement};

use crate::commands::consents::tell_of_holders;
use crate::domain::mint::{Entitlement, State};
use crate::store::entitlements::{self as store, Block, Described};

const CHANGED: &str = "bashu.v1.EntitlementChanged";
const BLOCKED: &str = "bashu.admission.v1.EntitlementBlocked";

/// The consumer that credentials rest on.
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

    /// The newest description and the newest block of each entitlement, in one statement each: a
    /// backlog costs as few as a single record. The order between the two does not matter, for
    /// they write different columns.
    async fn apply(&self, tx: &Tx, records: &[Record]) -> Result<()> {
        let (mut changed, mut blocks) = (BTreeMap::new(), BTreeMap::new());
        for record in records {
            match record.kind.as_str() {
                CHANGED => {
                    let it = described(record)?;
                    newest(&mut changed, it.entitlement.id, (it.epoch, it.version), it);
                }
                BLOCKED => {
                    let it = block(record)?;
                    newest(&mut blocks, it.id, (it.epoch, it.version), it);
                }
                other => return Err(Error::permanent(format!("{other} is not handled"))),
            }
        }
        let changed: Vec<Described> = changed.into_values().map(|(_, it)| it).collect();
        let blocks: Vec<Block> = blocks.into_values().map(|(_, it)| it).collect();
        store::describe(tx, &changed).await?;
        let holders: Vec<(EntitlementId, MemberId)> = changed
            .iter()
            .map(|it| (it.entitlement.id, it.entitlement.member))
            .collect();
        tell_of_holders(tx, &holders).await?;
        store::block(tx, &blocks).await
    }
}

/// By entitlement in the order of their stored ids, so that two writers lock rows alike.
type Newest<T> = BTreeMap<i64, ((i64, i64), T)>;

fn newest<T>(known: &mut Newest<T>, id: EntitlementId, version: (i64, i64), it: T) {
    let place = known.entry(id.to_i64());
    match place {
        Entry::Vacant(place) => {
            place.insert((version, it));
        }
        Entry::Occupied(mut place) if place.get().0 < version => {
            place.insert((version, it));
        }
        Entry::Occupied(_) => {}
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
