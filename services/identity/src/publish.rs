//! What the other services are told: the whole public state of each aggregate, with no name,
//! phone or number of a person and no function of one. An organisation's name is public.

use chrono::{DateTime, NaiveDate, Utc};
use kit::event::NewEvent;
use kit::resync::Source;
use kit::types::{EntitlementId, MemberId, OrganisationId, Union};
use kit::{Error, Result, Tx};
use proto::identity as event;
use uuid::Uuid;

use crate::domain::consent::{Consent, Text, Word};
use crate::domain::erasure::{Erasure, State as Wish};
use crate::domain::export::Export;
use crate::domain::membership::{Membership, Standing};
use crate::domain::organisation::{self, Kind, Organisation};
use crate::domain::rendering::{Rendering, State as Rendered};
use crate::domain::role::Role;
use crate::domain::roster::Purpose;
use crate::store::consents as store;
use crate::store::erasures::ids_of;
use crate::store::keys::SetRow;
use crate::store::resync;
use crate::store::roles::Held;
use crate::store::roster_people::RosterMembers;

/// Where the heartbeat's keys come from: see `kit::bus::keys_of_all_partitions`.
pub const HEARTBEAT: &str = "heartbeat";

/// An organisation as it is now.
pub fn organisation(union: Union, it: &Organisation) -> NewEvent {
    use event::organisation_changed::Kind as EventKind;
    let kind = match it.kind {
        Kind::Territorial => EventKind::Territorial,
        Kind::Industrial => EventKind::Industrial,
        Kind::Grassroots => EventKind::Grassroots,
        Kind::Group => EventKind::Group,
        Kind::Partner => EventKind::Partner,
    };
    let message = event::OrganisationChanged {
        id: bytes(it.id.0),
        version: it.version,
        union: union.code().into(),
        kind: kind.into(),
        path: it
            .path
            .iter()
            .map(|OrganisationId(id)| bytes(*id))
            .collect(),
        industrial_parent_id: it
            .industrial_parent
            .map(|id| bytes(id.0))
            .unwrap_or_default(),
        name: it.name.clone(),
        uscc: it
            .uscc
            .as_ref()
            .map(|uscc| uscc.as_str().to_owned())
            .unwrap_or_default(),
        division: it.division.clone(),
        closed: it.standing != organisation::Standing::Open,
    };
    NewEvent::of(
        &message,
        "bashu.identity.v1.OrganisationChanged",
        it.id.0.as_bytes(),
        it.version,
    )
}

/// How a member stands: what `member.state` says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MemberState {
    Active,
    Merged { into: MemberId },
    Erased,
}

/// A person, by her opaque id alone.
pub fn member(id: MemberId, version: i64, state: MemberState) -> NewEvent {
    use event::member_changed::State;
    let (state, merged_into) = match state {
        MemberState::Active => (State::Active, Vec::new()),
        MemberState::Merged { into } => (State::Merged, bytes(into.0)),
        MemberState::Erased => (State::Erased, Vec::new()),
    };
    let message = event::MemberChanged {
        id: bytes(id.0),
        version,
        state: state.into(),
        merged_into,
    };
    NewEvent::of(
        &message,
        "bashu.identity.v1.MemberChanged",
        id.0.as_bytes(),
        version,
    )
}

/// A membership as it is now.
pub fn membership(it: &Membership) -> NewEvent {
    use event::membership_changed::State;
    let state = match it.standing {
        Standing::Applied => State::Applied,
        Standing::Full => State::Full,
        Standing::Retained => State::Retained,
        Standing::Left { .. } => State::Left,
        Standing::Removed { .. } => State::Removed,
    };
    let message = event::MembershipChanged {
        id: bytes(it.id),
        version: it.version,
        member_id: bytes(it.member.0),
        organisation_id: bytes(it.organisation.0),
        state: state.into(),
        since: it.since.to_string(),
        until: it
            .standing
            .until()
            .map(|until: NaiveDate| until.to_string())
            .unwrap_or_default(),
    };
    NewEvent::of(
        &message,
        "bashu.identity.v1.MembershipChanged",
        it.id.as_bytes(),
        it.version,
    )
}

/// A role as it is held, or was.
pub fn role(it: &Held) -> NewEvent {
    use event::role_changed::Role as EventRole;
    let role = match it.of.role {
        Role::Officer => EventRole::Officer,
        Role::Approver => EventRole::Approver,
        Role::Deputy => EventRole::Deputy,
        Role::Auditor => EventRole::Auditor,
        Role::VenueStaff => EventRole::VenueStaff,
        Role::VenueManager => EventRole::VenueManager,
        Role::Operator => EventRole::Operator,
    };
    let message = event::RoleChanged {
        id: bytes(it.id),
        version: it.version,
        member_id: bytes(it.of.member.0),
        organisation_id: bytes(it.of.organisation.0),
        role: role.into(),
        withdrawn: it.withdrawn,
        ends_at: it.ends_at.map_or(0, |at| at.timestamp_millis()),
    };
    NewEvent::of(
        &message,
        "bashu.identity.v1.RoleChanged",
        it.id.as_bytes(),
        it.version,
    )
}

/// A login that no longer counts.
pub fn login_withdrawn(login: Uuid, member: Uuid, at: DateTime<Utc>) -> NewEvent {
    let message = event::LoginWithdrawn {
        id: bytes(login),
        member_id: bytes(member),
        withdrawn_at: at.timestamp_millis(),
    };
    NewEvent::of(
        &message,
        "bashu.identity.v1.LoginWithdrawn",
        login.as_bytes(),
        1,
    )
}

/// What a person said to one purpose and recipient.
pub fn consent(it: &Consent) -> NewEvent {
    let message = event::ConsentChanged {
        id: bytes(it.id),
        version: it.version,
        member_id: bytes(it.member.0),
        purpose: it.processing.purpose().to_owned(),
        recipient: it.processing.recipient().to_owned(),
        text_version: it.text_version,
        given: it.word == Word::Given,
    };
    NewEvent::of(
        &message,
        "bashu.identity.v1.ConsentChanged",
        it.id.as_bytes(),
        it.version,
    )
}

/// What the holder of an entitlement said, without whose it is.
pub fn entitlement_consent(id: EntitlementId, it: &Consent) -> NewEvent {
    let purpose = it.processing.purpose();
    let message = event::EntitlementConsentChanged {
        entitlement_id: id.0,
        version: it.version,
        purpose: purpose.to_owned(),
        recipient: it.processing.recipient().to_owned(),
        text_version: it.text_version,
        given: it.word == Word::Given,
    };
    let key = [&id.to_bytes()[..], purpose.as_bytes()].concat();
    NewEvent::of(
        &message,
        "bashu.identity.v1.EntitlementConsentChanged",
        &key,
        it.version,
    )
}

/// A version of what people are asked to agree to.
pub fn consent_text(it: &Text) -> NewEvent {
    let (purpose, recipient) = (it.processing.purpose(), it.processing.recipient());
    let message = event::ConsentTextPublished {
        purpose: purpose.to_owned(),
        recipient: recipient.to_owned(),
        version: it.version,
        effective_from: it.effective_from.timestamp_millis(),
    };
    // A key of its own for each version, so that none waits for another.
    let key = format!("{purpose}/{recipient}/{}", it.version);
    NewEvent::of(
        &message,
        "bashu.identity.v1.ConsentTextPublished",
        key.as_bytes(),
        1,
    )
}

/// A roster that was committed, and whom it names. It never changes again.
pub fn roster_committed(it: &RosterMembers) -> NewEvent {
    use event::roster_committed::Purpose as EventPurpose;
    let purpose = match it.purpose {
        Purpose::Membership { .. } => EventPurpose::Membership,
        Purpose::List => EventPurpose::List,
    };
    let message = event::RosterCommitted {
        id: bytes(it.id),
        organisation_id: bytes(it.organisation.0),
        purpose: purpose.into(),
        member_ids: it.members.iter().map(|id| bytes(*id)).collect(),
        committed_at: it.committed_at.timestamp_millis(),
    };
    NewEvent::of(
        &message,
        "bashu.identity.v1.RosterCommitted",
        it.id.as_bytes(),
        1,
    )
}

/// A key set as the root signed it.
pub fn key_set(union: Union, set: &SetRow) -> NewEvent {
    let message = event::KeySetPublished {
        version: set.version,
        key_set: set.bytes.clone(),
        root_signature: set.signature.clone(),
        union: union.code().into(),
    };
    let key = [union.issuer()];
    NewEvent::of(
        &message,
        "bashu.identity.v1.KeySetPublished",
        &key,
        set.version,
    )
}

/// Asks every service for what it has of a person, known by any of `ids`.
pub fn data_requested(it: &Export, ids: &[Uuid]) -> NewEvent {
    let message = event::DataRequested {
        id: bytes(it.id),
        version: it.version,
        member_id: bytes(it.member.0),
        member_ids: ids.iter().map(|id| bytes(*id)).collect(),
    };
    NewEvent::of(
        &message,
        "bashu.identity.v1.DataRequested",
        it.id.as_bytes(),
        it.version,
    )
}

/// Whether a person, known by any of `ids`, is being forgotten now.
pub fn erasure(it: &Erasure, ids: &[Uuid]) -> NewEvent {
    use event::erasure_changed::State;
    let state = match it.state {
        Wish::Closing => State::Closing,
        Wish::Asked | Wish::Held | Wish::Recalled { .. } | Wish::Erased { .. } => State::Open,
    };
    let message = event::ErasureChanged {
        member_id: bytes(it.member.0),
        version: it.version,
        member_ids: ids.iter().map(|id| bytes(*id)).collect(),
        state: state.into(),
    };
    NewEvent::of(
        &message,
        "bashu.identity.v1.ErasureChanged",
        it.member.0.as_bytes(),
        it.version,
    )
}

/// A person, known by any of `ids`, was forgotten.
pub fn person_erased(it: &Erasure, ids: &[Uuid], at: DateTime<Utc>) -> NewEvent {
    let message = event::PersonErased {
        member_id: bytes(it.member.0),
        version: it.version,
        member_ids: ids.iter().map(|id| bytes(*id)).collect(),
        erased_at: at.timestamp_millis(),
    };
    NewEvent::of(
        &message,
        "bashu.identity.v1.PersonErased",
        it.member.0.as_bytes(),
        it.version,
    )
}

/// What became of a file that a service asked for.
pub fn rendering(it: &Rendering) -> NewEvent {
    use event::rendering_changed::State;
    let state = match it.state {
        Rendered::Ready(_) => State::Ready,
        Rendered::Refused(_) => State::Refused,
        Rendered::Fetched => State::Fetched,
        Rendered::Expired => State::Expired,
    };
    let message = event::RenderingChanged {
        id: bytes(it.id),
        version: it.version,
        service: it.service.clone(),
        state: state.into(),
    };
    NewEvent::of(
        &message,
        "bashu.identity.v1.RenderingChanged",
        it.id.as_bytes(),
        it.version,
    )
}

/// A sign of life for one partition, by a key that goes there.
pub fn heartbeat(key: &[u8], at: DateTime<Utc>) -> NewEvent {
    let message = event::Heartbeat {
        at: at.timestamp_millis(),
    };
    NewEvent::of(
        &message,
        "bashu.identity.v1.Heartbeat",
        key,
        at.timestamp_millis(),
    )
}

fn bytes(id: Uuid) -> Vec<u8> {
    id.as_bytes().to_vec()
}

/// Identity's aggregates, said again by `bashu resync`.
#[derive(Clone, Copy, Debug)]
pub struct Aggregates(pub Union);

impl Source for Aggregates {
    fn aggregates(&self) -> &'static [&'static str] {
        &[
            "key_set",
            "organisation",
            "member",
            "membership",
            "role",
            "login",
            "roster",
            "consent_text",
            "consent",
            "erasure",
        ]
    }

    async fn resync(
        &self,
        tx: &Tx,
        aggregate: &str,
        after: Option<Vec<u8>>,
    ) -> Result<Option<Vec<u8>>> {
        let after = match after {
            None => Uuid::nil(),
            Some(bytes) => Uuid::from_slice(&bytes)
                .map_err(|_| Error::internal("a cursor of another aggregate"))?,
        };
        let said: Vec<(Uuid, NewEvent)> = match aggregate {
            "key_set" => {
                // One, and nothing comes after it.
                if let Some(set) = resync::key_set(tx).await? {
                    tx.emit(key_set(self.0, &set));
                }
                return Ok(None);
            }
            "organisation" => {
                let rows = resync::organisations(tx, after).await?;
                rows.iter()
                    .map(|it| (it.id.0, organisation(self.0, it)))
                    .collect()
            }
            "member" => {
                let rows = resync::members(tx, after).await?;
                rows.iter()
                    .map(|it| (it.id.0, member(it.id, it.version, it.state)))
                    .collect()
            }
            "membership" => {
                let rows = resync::memberships(tx, after).await?;
                rows.iter().map(|it| (it.id, membership(it))).collect()
            }
            "role" => {
                let rows = resync::roles(tx, after).await?;
                rows.iter().map(|it| (it.id, role(it))).collect()
            }
            "login" => {
                let rows = resync::withdrawn_logins(tx, after).await?;
                let said = |it: &resync::WithdrawnRow| {
                    (it.id, login_withdrawn(it.id, it.member, it.withdrawn_at))
                };
                rows.iter().map(said).collect()
            }
            "roster" => {
                let rows = resync::rosters(tx, after).await?;
                rows.iter()
                    .map(|it| (it.id, roster_committed(it)))
                    .collect()
            }
            "consent_text" => return consent_texts(tx).await.map(|()| None),
            "consent" => return consents(tx, after).await,
            "erasure" => return erasures(tx, after).await,
            other => {
                return Err(Error::internal(format!(
                    "{other} is no aggregate of identity"
                )));
            }
        };
        let last = said.last().map(|(id, _)| bytes(*id));
        for (_, event) in said {
            tx.emit(event);
        }
        Ok(last)
    }
}

async fn consent_texts(tx: &Tx) -> Result<()> {
    // Whoever is told now need not be told when identity starts.
    let _told = store::announce(tx).await?;
    for text in store::texts(tx).await? {
        tx.emit(consent_text(&text));
    }
    Ok(())
}

/// The next consents, each for itself and for every entitlement that it is told of by.
async fn consents(tx: &Tx, after: Uuid) -> Result<Option<Vec<u8>>> {
    let rows = resync::consents(tx, after).await?;
    for it in &rows {
        tx.emit(consent(it));
        if it.processing.is_of_entitlements() {
            for entitlement in store::entitlements_of(tx, it.member).await? {
                tx.emit(entitlement_consent(entitlement, it));
            }
        }
    }
    Ok(rows.last().map(|it| bytes(it.id)))
}

/// The next wishes to be forgotten; those that were fulfilled as tombstones.
async fn erasures(tx: &Tx, after: Uuid) -> Result<Option<Vec<u8>>> {
    let rows = resync::erasures(tx, after).await?;
    for it in &rows {
        let ids = ids_of(tx, it.member).await?;
        tx.emit(match it.state {
            Wish::Erased { at } => person_erased(it, &ids, at),
            Wish::Asked | Wish::Closing | Wish::Held | Wish::Recalled { .. } => erasure(it, &ids),
        });
    }
    Ok(rows.last().map(|it| bytes(it.member.0)))
}
