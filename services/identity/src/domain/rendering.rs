//! Files that show names: identity renders them for other services, each for one officer, one
//! purpose and a few days, and it is fetched once.

use chrono::{DateTime, TimeDelta, Utc};
use kit::types::{MemberId, OrganisationId};
use uuid::Uuid;

use crate::error::Refusal;

/// How long a file waits to be fetched, in hours.
pub const RENDERING_HOURS: i64 = 72;
/// Rows of a file, at most.
pub const ROWS_MAX: usize = 2_000;
/// Columns of a file beside those with names, at most.
pub const COLUMNS_MAX: usize = 12;
/// The longest text of a cell, a column's name or a title, in characters.
pub const CELL_CHARS_MAX: usize = 200;

/// What the file is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Template {
    /// 签收表: a row for each person, with a place to sign.
    SignedReceipts,
    /// 名单: a row for each person, and nothing to sign.
    NameList,
}

impl Template {
    pub const ALL: [Self; 2] = [Self::SignedReceipts, Self::NameList];

    /// As it is stored.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::SignedReceipts => "signed_receipts",
            Self::NameList => "name_list",
        }
    }

    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|it| it.as_str() == text)
    }
}

/// What an officer needs a file for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// 签收: something is handed out, and signed for.
    Handover,
    /// 集体出行: an outing.
    Outing,
    /// 福利核对: a record of benefits.
    Benefits,
}

impl Purpose {
    pub const ALL: [Self; 3] = [Self::Handover, Self::Outing, Self::Benefits];

    /// As it is stored.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Handover => "handover",
            Self::Outing => "outing",
            Self::Benefits => "benefits",
        }
    }

    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|it| it.as_str() == text)
    }
}

/// Why a file is not made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Problem {
    /// Who shall have it is no officer over the organisation.
    NotAnOfficer,
    /// It names people who are not the organisation's.
    Strangers,
    /// It has too many rows, columns or characters, or rows of another shape than its columns.
    TooLarge,
}

impl Problem {
    pub const ALL: [Self; 3] = [Self::NotAnOfficer, Self::Strangers, Self::TooLarge];

    /// As it is stored.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::NotAnOfficer => "not_an_officer",
            Self::Strangers => "strangers",
            Self::TooLarge => "too_large",
        }
    }

    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|it| it.as_str() == text)
    }
}

/// A row: a person, and cells that identity does not read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row {
    pub member: Uuid,
    pub cells: Vec<String>,
}

/// What stands in the file, names apart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Content {
    /// What the cells of each row are called.
    pub columns: Vec<String>,
    pub rows: Vec<Row>,
}

impl Content {
    fn fits(&self, title: &str) -> bool {
        let is_short = |text: &str| text.chars().count() <= CELL_CHARS_MAX;
        let row_fits = |row: &Row| {
            row.cells.len() == self.columns.len() && row.cells.iter().all(|it| is_short(it))
        };
        is_short(title)
            && !self.rows.is_empty()
            && self.rows.len() <= ROWS_MAX
            && self.columns.len() <= COLUMNS_MAX
            && self.columns.iter().all(|it| is_short(it))
            && self.rows.iter().all(row_fits)
    }
}

/// How far a file has come.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum State {
    Ready(Content),
    Refused(Problem),
    Fetched,
    Expired,
}

/// A file that a service asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rendering {
    pub id: Uuid,
    pub version: i64,
    pub service: String,
    pub template: Template,
    /// What its officer needs it for; none of what was taken in before that had to be said.
    pub purpose: Option<Purpose>,
    /// What it is about, an id of the service that asks.
    pub about: Uuid,
    /// Who may fetch it.
    pub asker: MemberId,
    pub organisation: OrganisationId,
    pub title: String,
    pub state: State,
    pub asked_at: DateTime<Utc>,
    pub expires_at: DateTime<Utc>,
}

/// What is known of who asks and of whom.
#[derive(Clone, Copy, Debug)]
pub struct Standing {
    pub is_officer: bool,
    pub has_strangers: bool,
}

/// What is asked for.
#[derive(Clone, Debug)]
pub struct Asked {
    pub id: Uuid,
    pub service: String,
    pub template: Template,
    pub purpose: Purpose,
    pub about: Uuid,
    pub asker: MemberId,
    pub organisation: OrganisationId,
    pub title: String,
    pub content: Content,
}

impl Rendering {
    /// A file that waits for its officer, or that is refused.
    pub fn ask(asked: Asked, standing: Standing, now: DateTime<Utc>) -> Self {
        let fits = asked.content.fits(&asked.title);
        let state = match standing {
            Standing {
                is_officer: false, ..
            } => State::Refused(Problem::NotAnOfficer),
            Standing {
                has_strangers: true,
                ..
            } => State::Refused(Problem::Strangers),
            Standing { .. } if !fits => State::Refused(Problem::TooLarge),
            Standing { .. } => State::Ready(asked.content),
        };
        // What is refused may be as long as it likes: nothing of it is kept.
        let title = if fits { asked.title } else { String::new() };
        Self {
            id: asked.id,
            version: 1,
            service: asked.service,
            template: asked.template,
            purpose: Some(asked.purpose),
            about: asked.about,
            asker: asked.asker,
            organisation: asked.organisation,
            title,
            state,
            asked_at: now,
            expires_at: now + TimeDelta::hours(RENDERING_HOURS),
        }
    }

    /// # Errors
    /// [`Refusal::RenderingOver`] unless it waits for its officer.
    pub fn must_be_ready(&self, now: DateTime<Utc>) -> Result<(), Refusal> {
        match self.state {
            State::Ready(_) if now < self.expires_at => Ok(()),
            State::Ready(_) | State::Refused(_) | State::Fetched | State::Expired => {
                Err(Refusal::RenderingOver)
            }
        }
    }

    /// Hands its content over, once; `None` when there is none any more.
    pub fn fetch(self, now: DateTime<Utc>) -> Option<(Self, Content)> {
        self.must_be_ready(now).ok()?;
        let State::Ready(content) = self.state else {
            return None;
        };
        let fetched = Self {
            version: self.version + 1,
            state: State::Fetched,
            ..self
        };
        Some((fetched, content))
    }

    /// Its time is over; `None` before, and when it was over already.
    pub fn expire(self, now: DateTime<Utc>) -> Option<Self> {
        match self.state {
            State::Ready(_) if self.expires_at <= now => Some(Self {
                version: self.version + 1,
                state: State::Expired,
                ..self
            }),
            State::Ready(_) | State::Refused(_) | State::Fetched | State::Expired => None,
        }
    }

    /// Who asked for it is forgotten, whatever time it has left; `None` when it was over already.
    pub fn forget(self) -> Option<Self> {
        match self.state {
            State::Ready(_) => Some(Self {
                version: self.version + 1,
                state: State::Expired,
                ..self
            }),
            State::Refused(_) | State::Fetched | State::Expired => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: Standing = Standing {
        is_officer: true,
        has_strangers: false,
    };

    fn asked(rows: usize, cells: &[&str]) -> Asked {
        let row = Row {
            member: Uuid::from_u128(9),
            cells: cells.iter().map(|it| (*it).to_owned()).collect(),
        };
        Asked {
            id: Uuid::from_u128(1),
            service: "ticketing".to_owned(),
            template: Template::SignedReceipts,
            purpose: Purpose::Handover,
            about: Uuid::from_u128(2),
            asker: MemberId(Uuid::from_u128(3)),
            organisation: OrganisationId(Uuid::from_u128(4)),
            title: "演出票签收表".to_owned(),
            content: Content {
                columns: vec!["座位".to_owned()],
                rows: vec![row; rows],
            },
        }
    }

    /// What is stored of a purpose reads back.
    #[test]
    fn purposes_read_back() {
        for purpose in Purpose::ALL {
            assert_eq!(Purpose::parse(purpose.as_str()), Some(purpose));
        }
        assert_eq!(Purpose::parse(""), None);
    }

    fn now() -> DateTime<Utc> {
        DateTime::UNIX_EPOCH
    }

    #[test]
    fn a_file_is_fetched_once_and_in_time() {
        let it = Rendering::ask(asked(1, &["A1"]), GOOD, now());
        let end = it.expires_at;
        assert_eq!(it.clone().expire(end - TimeDelta::seconds(1)), None);
        let expired = it.clone().expire(end).unwrap();
        assert_eq!(expired.fetch(now()), None);
        assert_eq!(it.clone().fetch(end), None);
        let (fetched, content) = it.fetch(now()).unwrap();
        assert_eq!((fetched.version, content.rows.len()), (2, 1));
        assert_eq!(fetched.clone().fetch(now()), None);
        assert_eq!(fetched.expire(end), None);
    }

    /// Only an officer has it, of her own people, and within its bounds; nothing of what is refused
    /// is kept.
    #[test]
    fn what_may_not_be_rendered_is_refused() {
        let problem = |asked: Asked, standing| match Rendering::ask(asked, standing, now()).state {
            State::Refused(problem) => Some(problem),
            State::Ready(_) | State::Fetched | State::Expired => None,
        };
        assert_eq!(problem(asked(ROWS_MAX, &["A1"]), GOOD), None);
        let long = "x".repeat(CELL_CHARS_MAX + 1);
        for wrong in [
            asked(0, &["A1"]),
            asked(ROWS_MAX + 1, &["A1"]),
            asked(1, &[]),
            asked(1, &["A1", "A2"]),
            asked(1, &[&long]),
        ] {
            assert_eq!(problem(wrong, GOOD), Some(Problem::TooLarge));
        }
        let stranger = Standing {
            has_strangers: true,
            ..GOOD
        };
        assert_eq!(
            problem(asked(1, &["A1"]), stranger),
            Some(Problem::Strangers)
        );
        let member = Standing {
            is_officer: false,
            ..stranger
        };
        assert_eq!(
            problem(asked(1, &["A1"]), member),
            Some(Problem::NotAnOfficer)
        );
    }
}
