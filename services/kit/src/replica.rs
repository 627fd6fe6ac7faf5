//! The one replica of what identity publishes: organisations, members, memberships, roles,
//! withdrawn logins, consents, its keys and its heartbeat. Every service but identity runs it.
//!
//! It acts on the state it sees: an older version of a row never replaces a newer one, so a
//! repeated or re-sent event does nothing twice. Personal data never comes this way.

use std::collections::BTreeMap;

use chrono::{DateTime, NaiveDate, TimeDelta, Utc};
use credential::keyset::{self, Issuer, Update};
use ed25519_dalek::VerifyingKey;
use proto::identity as event;
use uuid::Uuid;

use crate::consumer::Handler;
use crate::event::Record;
use crate::token::LIFE_SECONDS_MAX;
use crate::{Error, Result, Tx};

mod consents;
mod keys;

use keys::{KeySetRow, believed, signed, verify};
pub use keys::{Keys, keys_loop};

/// The topic identity alone writes.
pub const TOPIC: &str = "identity.v1";
/// The name under which it is read here.
pub const CONSUMER: &str = "replica";

/// How long a withdrawn login is remembered, in seconds. Its last token was signed before it was
/// withdrawn and lives for [`LIFE_SECONDS_MAX`]; the rest is room for clocks that differ.
pub const WITHDRAWN_SECONDS: i64 = 6 * LIFE_SECONDS_MAX;
/// Withdrawn logins forgotten with one heartbeat, at most.
const FORGOTTEN_ROWS_MAX: i64 = 1_000;

/// The public halves of the unions' offline roots: what every key set must be signed by.
pub type Roots = BTreeMap<Issuer, VerifyingKey>;

/// The handler of `identity.v1`.
#[derive(Clone, Debug)]
pub struct Replica {
    roots: Roots,
}

impl Replica {
    pub fn new(roots: Roots) -> Self {
        Self { roots }
    }
}

const ORGANISATION: &str = "bashu.identity.v1.OrganisationChanged";
const MEMBER: &str = "bashu.identity.v1.MemberChanged";
const MEMBERSHIP: &str = "bashu.identity.v1.MembershipChanged";
const ROLE: &str = "bashu.identity.v1.RoleChanged";
const LOGIN: &str = "bashu.identity.v1.LoginWithdrawn";
const KEY_SET: &str = "bashu.identity.v1.KeySetPublished";
const HEARTBEAT: &str = "bashu.identity.v1.Heartbeat";

impl Handler for Replica {
    fn name(&self) -> &'static str {
        CONSUMER
    }

    fn topics(&self) -> &'static [&'static str] {
        &[TOPIC]
    }

    fn handles(&self, kind: &str) -> bool {
        [
            ORGANISATION,
            MEMBER,
            MEMBERSHIP,
            ROLE,
            LOGIN,
            KEY_SET,
            HEARTBEAT,
            consents::CONSENT,
            consents::ENTITLEMENT_CONSENT,
            consents::TEXT,
        ]
        .contains(&kind)
    }

    /// A withdrawal never waits behind a record that could not be applied. A key set is one: all
    /// of a union's stand under one key, each is whole, and the later one withdraws what it leaves
    /// out; an older one changes nothing.
    fn monotone(&self, record: &Record) -> bool {
        use event::member_changed::State;
        record.kind == LOGIN
            || record.kind == KEY_SET
            || consents::only_ends(record)
            || (record.kind == ROLE
                && record
                    .decode::<event::RoleChanged>()
                    .is_ok_and(|role| role.withdrawn))
            || (record.kind == MEMBER
                && record
                    .decode::<event::MemberChanged>()
                    .is_ok_and(|member| matches!(member.state(), State::Erased | State::Merged)))
    }

    async fn apply(&self, tx: &Tx, records: &[Record]) -> Result<()> {
        for record in records {
            match record.kind.as_str() {
                ORGANISATION => organisation(tx, record).await?,
                MEMBER => member(tx, record).await?,
                MEMBERSHIP => membership(tx, record).await?,
                ROLE => role(tx, record).await?,
                LOGIN => login(tx, record).await?,
                KEY_SET => self.key_set(tx, record).await?,
                HEARTBEAT => heartbeat(tx, record).await?,
                consents::CONSENT => consents::consent(tx, record).await?,
                consents::ENTITLEMENT_CONSENT => consents::entitlement_consent(tx, record).await?,
                consents::TEXT => consents::text(tx, record).await?,
                other => return Err(Error::permanent(format!("{other} is not identity's"))),
            }
        }
        Ok(())
    }
}

/// Reads an id of sixteen bytes.
///
/// # Errors
/// Permanent, when they are not sixteen.
pub fn id(bytes: &[u8]) -> Result<Uuid> {
    Uuid::from_slice(bytes).map_err(|_| Error::permanent("an id is not sixteen bytes"))
}

fn date(text: &str) -> Result<Option<NaiveDate>> {
    if text.is_empty() {
        return Ok(None);
    }
    text.parse()
        .map(Some)
        .map_err(|_| Error::permanent("a date is not ISO 8601"))
}

/// Milliseconds since the Unix epoch as an instant.
///
/// # Errors
/// Permanent, when out of range.
pub fn instant(millis: i64) -> Result<DateTime<Utc>> {
    DateTime::from_timestamp_millis(millis)
        .ok_or_else(|| Error::permanent("an instant is out of range"))
}

async fn organisation(tx: &Tx, record: &Record) -> Result<()> {
    let event: event::OrganisationChanged = record.decode()?;
    let path = event
        .path
        .iter()
        .map(|part| id(part))
        .collect::<Result<Vec<Uuid>>>()?;
    let partner = event.kind() == event::organisation_changed::Kind::Partner;
    tx.execute(
        "INSERT INTO replica_organisation AS r
           (id, epoch, version, name, division, path, partner, closed)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8)
         ON CONFLICT (id) DO UPDATE SET epoch = EXCLUDED.epoch, version = EXCLUDED.version,
           name = EXCLUDED.name, division = EXCLUDED.division, path = EXCLUDED.path,
           partner = EXCLUDED.partner, closed = EXCLUDED.closed
         WHERE (r.epoch, r.version) < (EXCLUDED.epoch, EXCLUDED.version)",
        [
            id(&event.id)?.into(),
            record.epoch.into(),
            event.version.into(),
            event.name.into(),
            event.division.into(),
            path.into(),
            partner.into(),
            event.closed.into(),
        ],
    )
    .await?;
    Ok(())
}

async fn member(tx: &Tx, record: &Record) -> Result<()> {
    let event: event::MemberChanged = record.decode()?;
    let state = match event.state() {
        event::member_changed::State::Active => "active",
        event::member_changed::State::Merged => "merged",
        event::member_changed::State::Erased => "erased",
        event::member_changed::State::Unspecified => {
            return Err(Error::permanent("a member has no state"));
        }
    };
    let merged = if event.merged_into.is_empty() {
        None
    } else {
        Some(id(&event.merged_into)?)
    };
    tx.execute(
        "INSERT INTO replica_member AS r (id, epoch, version, state, merged_into)
         VALUES ($1, $2, $3, $4, $5)
         ON CONFLICT (id) DO UPDATE SET epoch = EXCLUDED.epoch, version = EXCLUDED.version,
           state = EXCLUDED.state, merged_into = EXCLUDED.merged_into
         WHERE (r.epoch, r.version) < (EXCLUDED.epoch, EXCLUDED.version)",
        [
            id(&event.id)?.into(),
            record.epoch.into(),
            event.version.into(),
            state.into(),
            merged.into(),
        ],
    )
    .await?;
    Ok(())
}

async fn membership(tx: &Tx, record: &Record) -> Result<()> {
    let event: event::MembershipChanged = record.decode()?;
    let state = match event.state() {
        event::membership_changed::State::Applied => "applied",
        event::membership_changed::State::Full => "full",
        event::membership_changed::State::Retained => "retained",
        event::membership_changed::State::Left => "left",
        event::membership_changed::State::Removed => "removed",
        event::membership_changed::State::Unspecified => {
            return Err(Error::permanent("a membership has no state"));
        }
    };
    let since = date(&event.since)?
        .ok_or_else(|| Error::permanent("a membership does not say since when"))?;
    tx.execute(
        "INSERT INTO replica_membership AS r
           (id, epoch, version, member, organisation, state, since, until)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8)
         ON CONFLICT (id) DO UPDATE SET epoch = EXCLUDED.epoch, version = EXCLUDED.version,
           member = EXCLUDED.member, organisation = EXCLUDED.organisation,
           state = EXCLUDED.state, since = EXCLUDED.since, until = EXCLUDED.until
         WHERE (r.epoch, r.version) < (EXCLUDED.epoch, EXCLUDED.version)",
        [
            id(&event.id)?.into(),
            record.epoch.into(),
            event.version.into(),
            id(&event.member_id)?.into(),
            id(&event.organisation_id)?.into(),
            state.into(),
            since.into(),
            date(&event.until)?.into(),
        ],
    )
    .await?;
    Ok(())
}

async fn role(tx: &Tx, record: &Record) -> Result<()> {
    use event::role_changed::Role;
    let event: event::RoleChanged = record.decode()?;
    let role = match event.role() {
        Role::Officer => "officer",
        Role::Approver => "approver",
        Role::Deputy => "deputy",
        Role::Auditor => "auditor",
        Role::VenueStaff => "venue_staff",
        Role::VenueManager => "venue_manager",
        Role::Operator => "operator",
        Role::Unspecified => return Err(Error::permanent("a role has no name")),
    };
    let ends_at = match event.ends_at {
        0 => None,
        millis => Some(instant(millis)?),
    };
    tx.execute(
        "INSERT INTO replica_role AS r
           (id, epoch, version, member, organisation, role, withdrawn, ends_at)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8)
         ON CONFLICT (id) DO UPDATE SET epoch = EXCLUDED.epoch, version = EXCLUDED.version,
           member = EXCLUDED.member, organisation = EXCLUDED.organisation,
           role = EXCLUDED.role, withdrawn = EXCLUDED.withdrawn, ends_at = EXCLUDED.ends_at
         WHERE (r.epoch, r.version) < (EXCLUDED.epoch, EXCLUDED.version)",
        [
            id(&event.id)?.into(),
            record.epoch.into(),
            event.version.into(),
            id(&event.member_id)?.into(),
            id(&event.organisation_id)?.into(),
            role.into(),
            event.withdrawn.into(),
            ends_at.into(),
        ],
    )
    .await?;
    Ok(())
}

async fn login(tx: &Tx, record: &Record) -> Result<()> {
    let event: event::LoginWithdrawn = record.decode()?;
    let at = instant(event.withdrawn_at)?;
    // Said again after a resync: no token of it lives any more.
    if at < forgotten_before(tx) {
        return Ok(());
    }
    tx.execute(
        "INSERT INTO replica_withdrawn_login (id, withdrawn_at) VALUES ($1, $2)
         ON CONFLICT (id) DO NOTHING",
        [id(&event.id)?.into(), at.into()],
    )
    .await?;
    Ok(())
}

fn forgotten_before(tx: &Tx) -> DateTime<Utc> {
    tx.now() - TimeDelta::seconds(WITHDRAWN_SECONDS)
}

async fn heartbeat(tx: &Tx, record: &Record) -> Result<()> {
    let event: event::Heartbeat = record.decode()?;
    // A clock that ran ahead there would speak for identity long after it fell silent.
    let at = instant(event.at)?.min(tx.now());
    tx.execute(
        "INSERT INTO replica_heartbeat AS r (part, at) VALUES ($1, $2)
         ON CONFLICT (part) DO UPDATE SET at = EXCLUDED.at WHERE r.at < EXCLUDED.at OR r.at > $3",
        [record.partition.into(), at.into(), tx.now().into()],
    )
    .await?;
    forget_withdrawn(tx).await
}

/// Forgets logins whose last token has ended. Partitions beat side by side: each leaves the rows
/// that another holds.
async fn forget_withdrawn(tx: &Tx) -> Result<()> {
    tx.execute(
        "DELETE FROM replica_withdrawn_login WHERE id = ANY (ARRAY(
            SELECT id FROM replica_withdrawn_login WHERE withdrawn_at < $1
            LIMIT $2 FOR UPDATE SKIP LOCKED))",
        [forgotten_before(tx).into(), FORGOTTEN_ROWS_MAX.into()],
    )
    .await?;
    Ok(())
}

impl Replica {
    async fn key_set(&self, tx: &Tx, record: &Record) -> Result<()> {
        let event: event::KeySetPublished = record.decode()?;
        let signed = signed(event.key_set, &event.root_signature)?;
        let offered = verify(&self.roots, &signed)?;
        let issuer = i16::from(offered.issuer().nibble());
        let held = tx
            .one::<KeySetRow>(
                "SELECT issuer, bytes, signature FROM replica_key_set WHERE issuer = $1 FOR UPDATE",
                [issuer.into()],
            )
            .await?;
        let held = held.and_then(|row| believed(&self.roots, row));
        match keyset::update(held.as_ref(), offered) {
            Err(contradiction) => Err(Error::permanent(contradiction.to_string())),
            Ok(Update::Keep) => Ok(()),
            Ok(Update::Replace(set)) => {
                let version = i64::try_from(set.version()).unwrap_or(i64::MAX);
                tx.execute(
                    "INSERT INTO replica_key_set AS r (issuer, version, bytes, signature)
                     VALUES ($1, $2, $3, $4)
                     ON CONFLICT (issuer) DO UPDATE SET version = EXCLUDED.version,
                       bytes = EXCLUDED.bytes, signature = EXCLUDED.signature
                     WHERE r.version <= EXCLUDED.version",
                    [
                        issuer.into(),
                        version.into(),
                        signed.bytes.into(),
                        signed.root_signature.to_vec().into(),
                    ],
                )
                .await?;
                Ok(())
            }
        }
    }
}
