//! What can go wrong, in three kinds: a refusal is a business "no" that the caller reads in
//! `userErrors`; a denial is about who asks or how much; everything else is ours.
//!
//! `Display` never prints its source: the edge logs the chain once.

use std::borrow::Cow;

use sea_orm::sqlx::error::DatabaseError;

use crate::graphql::Language;

/// The result of everything that touches the database or the caller's rights.
pub type Result<T> = std::result::Result<T, Error>;

/// A business "no": a stable code, the field it is about, and a sentence in both languages.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// Stable, `SCREAMING_SNAKE_CASE`, one of the codes of the mutation's enum.
    pub code: &'static str,
    /// The path of the input field at fault, `.`-separated; empty when none is.
    pub field: &'static str,
    pub zh: Cow<'static, str>,
    pub en: Cow<'static, str>,
    /// True for "not seen yet" and "busy": never recorded under the idempotency key.
    pub transient: bool,
}

impl Refusal {
    /// A refusal that holds for this request for ever.
    pub const fn new(
        code: &'static str,
        field: &'static str,
        zh: Cow<'static, str>,
        en: Cow<'static, str>,
    ) -> Self {
        Self {
            code,
            field,
            zh,
            en,
            transient: false,
        }
    }

    /// A refusal that may be gone when the same request comes again.
    #[must_use]
    pub fn transient(self) -> Self {
        Self {
            transient: true,
            ..self
        }
    }

    pub fn message(&self, language: Language) -> &str {
        match language {
            Language::Zh => &self.zh,
            Language::En => &self.en,
        }
    }
}

#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    #[error("refused: {}", .0.code)]
    Refused(Box<Refusal>),
    /// No token, or one that no longer counts.
    #[error("not signed in: {0}")]
    Unauthenticated(&'static str),
    /// Signed in, but not for this.
    #[error("not allowed: {0}")]
    Forbidden(&'static str),
    /// The thing is absent, or must look so to this caller.
    #[error("no such thing")]
    NotFound,
    /// A queue is full; the same request may come again.
    #[error("overloaded")]
    Overloaded,
    /// What the answer needs is not there at the moment: identity's heartbeat is stale, say.
    #[error("unavailable: {0}")]
    Unavailable(&'static str),
    /// A privileged act while audit rows wait too long to be sealed; it may come again.
    #[error("audit rows are not being sealed")]
    AuditLags,
    /// The input cannot be read; `field` is its path, the reasons are for people.
    #[error("bad input in {field}: {en}")]
    BadInput {
        field: &'static str,
        zh: &'static str,
        en: &'static str,
    },
    #[error("the database failed")]
    Db(#[source] sea_orm::DbErr),
    #[error("kafka failed")]
    Kafka(#[source] rdkafka::error::KafkaError),
    /// A consumer met something that can never be applied; the record is parked.
    #[error("permanent: {0}")]
    Permanent(Cow<'static, str>),
    /// A bug or a broken promise of another part.
    #[error("internal: {0}")]
    Internal(Cow<'static, str>),
}

impl Error {
    pub fn internal(what: impl Into<Cow<'static, str>>) -> Self {
        Self::Internal(what.into())
    }

    pub fn permanent(what: impl Into<Cow<'static, str>>) -> Self {
        Self::Permanent(what.into())
    }

    /// The input cannot be read, with the reason in both languages and no full stop.
    pub const fn bad_input(field: &'static str, zh: &'static str, en: &'static str) -> Self {
        Self::BadInput { field, zh, en }
    }

    /// Whether the same transaction may succeed when it is run again at once: a serialisation
    /// failure, a deadlock, or a lock not gained in time.
    pub fn is_retryable(&self) -> bool {
        matches!(
            self.sqlstate().as_deref(),
            Some("40001" | "40P01" | "55P03")
        )
    }

    /// Whether it may succeed later without anything changing but the weather: the database or
    /// the broker is away.
    pub fn is_transient(&self) -> bool {
        match self {
            Self::Db(error) => match self.sqlstate() {
                // Connection, resources, operator intervention, system error, a demoted primary,
                // a session that idled too long.
                Some(state) => {
                    self.is_retryable()
                        || matches!(state.get(..2), Some("08" | "53" | "57" | "58"))
                        || matches!(state.as_str(), "25006" | "25P03")
                }
                None => is_connection(error),
            },
            Self::Kafka(_) | Self::Overloaded | Self::Unavailable(_) | Self::AuditLags => true,
            Self::Refused(refusal) => refusal.transient,
            Self::Unauthenticated(_)
            | Self::Forbidden(_)
            | Self::NotFound
            | Self::BadInput { .. }
            | Self::Permanent(_)
            | Self::Internal(_) => false,
        }
    }

    /// Whether a server is away or only just starting; one that answers and says no is not.
    pub fn is_server_away(&self) -> bool {
        use sea_orm::DbErr;
        match self {
            Self::Db(
                error @ (DbErr::Conn(runtime) | DbErr::Query(runtime) | DbErr::Exec(runtime)),
            ) => match said_by_server(runtime).and_then(DatabaseError::code) {
                // Connection, resources, operator intervention.
                Some(state) => matches!(state.get(..2), Some("08" | "53" | "57")),
                None => is_connection(error),
            },
            Self::Db(error) => is_connection(error),
            Self::Kafka(_) => true,
            Self::Refused(_)
            | Self::Overloaded
            | Self::Unavailable(_)
            | Self::AuditLags
            | Self::Unauthenticated(_)
            | Self::Forbidden(_)
            | Self::NotFound
            | Self::BadInput { .. }
            | Self::Permanent(_)
            | Self::Internal(_) => false,
        }
    }

    /// Whether the connection was gone: ended by the server, or cut on the way.
    pub(crate) fn is_lost_connection(&self) -> bool {
        use sea_orm::sqlx::Error as Sqlx;
        let Self::Db(sea_orm::DbErr::Query(runtime) | sea_orm::DbErr::Exec(runtime)) = self else {
            return false;
        };
        let sea_orm::RuntimeErr::SqlxError(error) = runtime else {
            return false;
        };
        // Ended by an operator, after another session crashed, or for idling too long.
        let ended = |code: &str| matches!(code, "57P01" | "57P02" | "57P05");
        let said = error.as_database_error().and_then(|said| said.code());
        matches!(**error, Sqlx::Io(_) | Sqlx::Protocol(_)) || said.is_some_and(|code| ended(&code))
    }

    /// The five characters PostgreSQL gives its errors, where this is one.
    pub fn sqlstate(&self) -> Option<String> {
        self.database_error(|e| e.code().map(Cow::into_owned))
    }

    /// The constraint a statement ran against, by name, so that a service maps it to a refusal.
    pub fn constraint(&self) -> Option<String> {
        self.database_error(|e| e.constraint().map(str::to_owned))
    }

    fn database_error(
        &self,
        read: impl Fn(&dyn DatabaseError) -> Option<String>,
    ) -> Option<String> {
        let Self::Db(sea_orm::DbErr::Query(runtime) | sea_orm::DbErr::Exec(runtime)) = self else {
            return None;
        };
        said_by_server(runtime).and_then(read)
    }
}

/// What the server itself answered, where it answered.
fn said_by_server(runtime: &sea_orm::RuntimeErr) -> Option<&dyn DatabaseError> {
    let sea_orm::RuntimeErr::SqlxError(error) = runtime else {
        return None;
    };
    error.as_database_error()
}

/// Whether the way to the database failed, not what was asked of it: a row that does not fit its
/// type will not fit the next time.
fn is_connection(error: &sea_orm::DbErr) -> bool {
    use sea_orm::sqlx::Error as Sqlx;
    if matches!(
        error,
        sea_orm::DbErr::Conn(_) | sea_orm::DbErr::ConnectionAcquire(_)
    ) {
        return true;
    }
    let (sea_orm::DbErr::Exec(runtime) | sea_orm::DbErr::Query(runtime)) = error else {
        return false;
    };
    matches!(runtime, sea_orm::RuntimeErr::SqlxError(error) if matches!(
        **error,
        Sqlx::Io(_) | Sqlx::Tls(_) | Sqlx::Protocol(_) | Sqlx::PoolTimedOut | Sqlx::PoolClosed
            | Sqlx::WorkerCrashed
    ))
}

impl From<sea_orm::DbErr> for Error {
    fn from(error: sea_orm::DbErr) -> Self {
        Self::Db(error)
    }
}

impl From<rdkafka::error::KafkaError> for Error {
    fn from(error: rdkafka::error::KafkaError) -> Self {
        Self::Kafka(error)
    }
}

impl From<Refusal> for Error {
    fn from(refusal: Refusal) -> Self {
        Self::Refused(Box::new(refusal))
    }
}
