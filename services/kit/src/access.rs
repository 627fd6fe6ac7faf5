//! Who asks, and what that allows: a caller is narrowed to the capability a command demands.
//!
//! Roles are not in the token. They are read from identity's replica in the command's own
//! transaction, so that a withdrawal bites as soon as its event has arrived, and a role that ends
//! by itself does so by the clock, whether or not identity has said so yet. What needs an office
//! refuses when identity has not been heard of for [`FRESH_SECONDS`]. In identity itself
//! the replica's names are views over its own tables.

use chrono::{DateTime, TimeDelta, Utc};
use sea_orm::FromQueryResult;
use uuid::Uuid;

use crate::audit::AuditRow;
use crate::graphql::Language;
use crate::replica;
use crate::token::CLOCK_SKEW_SECONDS_MAX;
use crate::types::{LoginId, MemberId, OrganisationId};
use crate::{Error, Result, Tx};

mod step_up;

pub use step_up::{SteppedUp, is_stepped_up, step_up_required, stepped_up};

/// How old identity's heartbeat may be for what needs an office, in seconds.
pub const FRESH_SECONDS: i64 = 60;

/// Who sent a request, before any right was looked at.
#[derive(Clone, Debug)]
pub struct Caller {
    pub who: Who,
    pub language: Language,
    /// The client's address as the gateway saw it.
    pub client: String,
    /// The gate's own assertion, verified by admission alone.
    pub gate_assertion: Option<String>,
}

/// Whose verified token came with the request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Who {
    Anonymous,
    Member {
        member: MemberId,
        login: LoginId,
        /// Until when a second factor that was shown counts: see [`stepped_up`].
        stepped_up_until: Option<DateTime<Utc>>,
    },
}

impl Caller {
    /// A member's request, as tests and the command line make it.
    pub fn member(member: MemberId, login: LoginId, language: Language) -> Self {
        Self {
            who: Who::Member {
                member,
                login,
                stepped_up_until: None,
            },
            language,
            client: String::new(),
            gate_assertion: None,
        }
    }

    /// The same request, its second factor shown; nothing for one without a token.
    #[must_use]
    pub fn stepped_up(self, until: DateTime<Utc>) -> Self {
        let who = match self.who {
            Who::Anonymous => Who::Anonymous,
            Who::Member { member, login, .. } => Who::Member {
                member,
                login,
                stepped_up_until: Some(until),
            },
        };
        Self { who, ..self }
    }

    /// A request without a token.
    pub fn anonymous(language: Language) -> Self {
        Self {
            who: Who::Anonymous,
            language,
            client: String::new(),
            gate_assertion: None,
        }
    }
}

/// The roles identity grants, each over an organisation and all below it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Role {
    /// 经办
    Officer,
    /// 主席
    Approver,
    /// 副主席: approves as the chair does.
    Deputy,
    /// 经审
    Auditor,
    VenueStaff,
    /// A venue's supervisor.
    VenueManager,
    /// Runs the union's stack.
    Operator,
}

impl Role {
    pub const ALL: [Self; 7] = [
        Self::Officer,
        Self::Approver,
        Self::Deputy,
        Self::Auditor,
        Self::VenueStaff,
        Self::VenueManager,
        Self::Operator,
    ];

    /// As the replica keeps it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Officer => "officer",
            Self::Approver => "approver",
            Self::Deputy => "deputy",
            Self::Auditor => "auditor",
            Self::VenueStaff => "venue_staff",
            Self::VenueManager => "venue_manager",
            Self::Operator => "operator",
        }
    }

    /// The role with this name.
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|role| role.as_str() == text)
    }
}

/// A signed-in person whose login still counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Member {
    pub id: MemberId,
    pub login: LoginId,
}

impl Member {
    /// An audit row of this person's act.
    pub fn audit(self, act: &'static str, subject: impl ToString) -> AuditRow {
        AuditRow {
            member: Some(self.id.0),
            login: Some(self.login.0),
            act,
            subject: subject.to_string(),
            detail: serde_json::json!({}),
        }
    }
}

/// Declares a capability: a person who holds a role over an organisation or one above it.
macro_rules! offices {
    ($($(#[$doc:meta])* $name:ident = $roles:expr, $function:ident;)*) => {$(
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub struct $name {
            pub member: Member,
            pub organisation: OrganisationId,
        }

        $(#[$doc])*
        ///
        /// # Errors
        /// Unauthenticated, forbidden, or unavailable when identity is not heard of.
        pub async fn $function(
            tx: &Tx,
            caller: &Caller,
            organisation: OrganisationId,
        ) -> Result<$name> {
            let member = office(tx, caller, &$roles, organisation).await?;
            Ok($name { member, organisation })
        }
    )*};
}

offices! {
    /// An officer (经办) of the organisation or of one above it.
    Officer = [Role::Officer], officer;
    /// An approver (主席 or 副主席) of the organisation or of one above it.
    Approver = [Role::Approver, Role::Deputy], approver;
    /// An auditor (经审) of the organisation or of one above it.
    Auditor = [Role::Auditor], auditor;
    /// A supervisor of the company that runs a venue.
    VenueManager = [Role::VenueManager], venue_manager;
}

/// Staff, or a supervisor, of the company that runs a venue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct VenueStaff {
    pub member: Member,
    pub organisation: OrganisationId,
}

/// Staff, or a supervisor, of the company that runs a venue.
///
/// # Errors
/// Unauthenticated, forbidden, or unavailable when identity is not heard of.
pub async fn venue_staff(
    tx: &Tx,
    caller: &Caller,
    organisation: OrganisationId,
) -> Result<VenueStaff> {
    let member = office(
        tx,
        caller,
        &[Role::VenueStaff, Role::VenueManager],
        organisation,
    )
    .await?;
    Ok(VenueStaff {
        member,
        organisation,
    })
}

/// An operator of this union's stack.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Operator {
    pub member: Member,
}

#[derive(FromQueryResult)]
struct Found {
    found: bool,
}

/// The signed-in person, if the login was not withdrawn and the person not merged or erased.
///
/// # Errors
/// Unauthenticated.
pub async fn member(tx: &Tx, caller: &Caller) -> Result<Member> {
    let Who::Member { member, login, .. } = caller.who else {
        return Err(Error::Unauthenticated("no token"));
    };
    let gone = tx
        .one::<Found>(
            "SELECT EXISTS (SELECT 1 FROM replica_withdrawn_login WHERE id = $1)
                 OR EXISTS (SELECT 1 FROM replica_member WHERE id = $2 AND state <> 'active')
                 AS found",
            [login.0.into(), member.0.into()],
        )
        .await?;
    if gone.is_none_or(|row| row.found) {
        return Err(Error::Unauthenticated("the login was withdrawn"));
    }
    Ok(Member { id: member, login })
}

/// [`member`] for the callers of a lane's whole batch, in their order, in one statement.
///
/// # Errors
/// When the database fails; who is not signed in is an answer of its own.
pub async fn members(tx: &Tx, callers: &[&Caller]) -> Result<Vec<Result<Member>>> {
    #[derive(FromQueryResult)]
    struct Gone {
        login: Uuid,
    }
    let signed_in = |caller: &Caller| match caller.who {
        Who::Member { member, login, .. } => Some(Member { id: member, login }),
        Who::Anonymous => None,
    };
    let all: Vec<Member> = callers
        .iter()
        .filter_map(|caller| signed_in(caller))
        .collect();
    // Each looked up by its key: of an `EXISTS` PostgreSQL makes a hash of all members.
    let gone = tx
        .all::<Gone>(
            "SELECT t.login FROM UNNEST($1::uuid[], $2::uuid[]) AS t (login, member)
             WHERE (SELECT true FROM replica_withdrawn_login w WHERE w.id = t.login)
                OR (SELECT m.state <> 'active' FROM replica_member m WHERE m.id = t.member)",
            [
                all.iter()
                    .map(|member| member.login.0)
                    .collect::<Vec<Uuid>>()
                    .into(),
                all.iter()
                    .map(|member| member.id.0)
                    .collect::<Vec<Uuid>>()
                    .into(),
            ],
        )
        .await?;
    let answer = |caller: &&Caller| {
        let member = signed_in(caller).ok_or(Error::Unauthenticated("no token"))?;
        if gone.iter().any(|row| row.login == member.login.0) {
            return Err(Error::Unauthenticated("the login was withdrawn"));
        }
        Ok(member)
    };
    Ok(callers.iter().map(answer).collect())
}

/// An operator of this union's stack: the role at any organisation counts, since operators are
/// only ever made at the root.
///
/// # Errors
/// Unauthenticated, forbidden, or unavailable when identity is not heard of.
pub async fn operator(tx: &Tx, caller: &Caller) -> Result<Operator> {
    let member = member(tx, caller).await?;
    fresh(tx).await?;
    let row = tx
        .one::<Found>(
            "SELECT EXISTS (SELECT 1 FROM replica_role
               WHERE member = $1 AND role = 'operator' AND NOT withdrawn
                 AND (ends_at IS NULL OR ends_at > $2)) AS found",
            [member.id.0.into(), tx.now().into()],
        )
        .await?;
    if row.is_some_and(|row| row.found) {
        Ok(Operator { member })
    } else {
        Err(Error::Forbidden("operators only"))
    }
}

/// A person who holds one of `roles` over `organisation` or one above it.
///
/// # Errors
/// Unauthenticated, forbidden, or unavailable when identity is not heard of.
pub async fn office(
    tx: &Tx,
    caller: &Caller,
    roles: &[Role],
    organisation: OrganisationId,
) -> Result<Member> {
    let member = member(tx, caller).await?;
    fresh(tx).await?;
    let names: Vec<String> = roles.iter().map(|role| role.as_str().to_owned()).collect();
    let row = tx
        .one::<Found>(
            "SELECT EXISTS (
               SELECT 1 FROM replica_role r
               JOIN replica_organisation o ON r.organisation = ANY (o.path)
               WHERE r.member = $1 AND o.id = $2 AND r.role = ANY ($3) AND NOT r.withdrawn
                 AND (r.ends_at IS NULL OR r.ends_at > $4)
             ) AS found",
            [
                member.id.0.into(),
                organisation.0.into(),
                names.into(),
                tx.now().into(),
            ],
        )
        .await?;
    if row.is_some_and(|row| row.found) {
        Ok(member)
    } else {
        Err(Error::Forbidden("not your organisation"))
    }
}

/// Every organisation over which the person holds `role`, itself included, without those below.
///
/// # Errors
/// When the database fails.
pub async fn organisations_with(
    tx: &Tx,
    member: Member,
    role: Role,
) -> Result<Vec<OrganisationId>> {
    #[derive(FromQueryResult)]
    struct Row {
        organisation: Uuid,
    }
    let rows = tx
        .all::<Row>(
            "SELECT DISTINCT organisation FROM replica_role
             WHERE member = $1 AND role = $2 AND NOT withdrawn
               AND (ends_at IS NULL OR ends_at > $3) ORDER BY 1",
            [member.id.0.into(), role.as_str().into(), tx.now().into()],
        )
        .await?;
    Ok(rows
        .into_iter()
        .map(|row| OrganisationId(row.organisation))
        .collect())
}

/// Whether identity was heard of in every partition that the replica reads. An instant ahead of
/// our own clock proves nothing; identity itself, which needs no replica, says `infinity`.
pub(crate) async fn fresh(tx: &Tx) -> Result<()> {
    let oldest = tx.now() - TimeDelta::seconds(FRESH_SECONDS);
    let latest = tx.now() + TimeDelta::seconds(CLOCK_SKEW_SECONDS_MAX);
    let row = tx
        .one::<Found>(
            "SELECT COALESCE(bool_and(at > $1 AND (at <= $2 OR at = 'infinity')), false)
                 AND NOT EXISTS (SELECT 1 FROM watermark w
                   WHERE w.consumer = $3 AND w.topic = $4
                     AND w.part NOT IN (SELECT part FROM replica_heartbeat)) AS found
             FROM replica_heartbeat",
            [
                oldest.into(),
                latest.into(),
                replica::CONSUMER.into(),
                replica::TOPIC.into(),
            ],
        )
        .await?;
    if row.is_some_and(|row| row.found) {
        Ok(())
    } else {
        Err(Error::Unavailable(
            "identity has not been heard of for a minute",
        ))
    }
}

/// Rows that tests of other services need in place of identity's events.
#[cfg(feature = "testing")]
pub mod seed {
    use uuid::Uuid;

    use super::Role;
    use crate::{Result, Tx};

    /// Identity was heard of at the transaction's own instant, and the sealer was there: what
    /// needs an office may be done, privileged or not.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn heartbeat(tx: &Tx) -> Result<()> {
        tx.execute(
            "INSERT INTO replica_heartbeat (part, at) VALUES (0, $1)
             ON CONFLICT (part) DO UPDATE SET at = EXCLUDED.at",
            [tx.now().into()],
        )
        .await?;
        crate::audit::seal::seal_rows(tx).await?;
        Ok(())
    }

    /// An organisation below `parents` (root first).
    ///
    /// # Errors
    /// When the database fails.
    pub async fn organisation(tx: &Tx, id: Uuid, parents: &[Uuid]) -> Result<()> {
        let mut path = parents.to_vec();
        path.push(id);
        tx.execute(
            "INSERT INTO replica_organisation
               (id, epoch, version, name, division, path, partner, closed)
             VALUES ($1, 1, 1, 'test', '500000', $2, false, false)",
            [id.into(), path.into()],
        )
        .await?;
        Ok(())
    }

    /// A role of a member over an organisation.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn role(tx: &Tx, member: Uuid, organisation: Uuid, role: Role) -> Result<()> {
        tx.execute(
            "INSERT INTO replica_role
               (id, epoch, version, member, organisation, role, withdrawn)
             VALUES ($1, 1, 1, $2, $3, $4, false)",
            [
                tx.uuid().into(),
                member.into(),
                organisation.into(),
                role.as_str().into(),
            ],
        )
        .await?;
        Ok(())
    }
}
