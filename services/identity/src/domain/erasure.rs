//! A person's wish to be forgotten: until when she can take it back, what keeps her meanwhile, and
//! by when it is done (个人信息保护法 Art. 47).
//!
//! She is forgotten when every service has said that nothing is open between her and anybody, and
//! has begun nothing for her since. What keeps her is told to her in words, and asked for anew each
//! day.

use chrono::{DateTime, TimeDelta, Utc};
use kit::types::{LoginId, MemberId};

use super::merge::UNDO_DAYS;
use crate::error::Refusal;

/// The services that are asked and told, identity itself apart.
pub const SERVICES: [&str; 3] = ["passes", "billing", "admission"];
/// How long services have to answer before they are asked again and it alarms, in seconds.
pub const ANSWER_SECONDS: i64 = 600;
/// How long after something kept her it is asked for anew, in hours.
pub const HELD_HOURS: i64 = 24;
/// By when after her wish a person is forgotten, in days: what the rows of the right say.
pub const DEADLINE_DAYS: i64 = 15;
/// For how long after her wish nothing is done, in days: so do they.
pub const GRACE_DAYS: i64 = 7;

// No merge is made while she wishes to be forgotten: its window has begun before her wish, and runs
// beside her grace. Both are over, and what keeps her was asked for anew, before her deadline.
const _: () = {
    let longer = if GRACE_DAYS > UNDO_DAYS {
        GRACE_DAYS
    } else {
        UNDO_DAYS
    };
    assert!(longer * 24 + HELD_HOURS < DEADLINE_DAYS * 24);
};

/// How far it has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// She can take it back; nothing was done yet.
    Asked,
    /// Every service was asked what keeps her, and begins nothing for her.
    Closing,
    /// Something keeps her; services go on as before.
    Held,
    Recalled {
        at: DateTime<Utc>,
    },
    Erased {
        at: DateTime<Utc>,
    },
}

/// A person's wish to be forgotten.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Erasure {
    pub member: MemberId,
    pub version: i64,
    pub state: State,
    /// The login she asked with.
    pub login: LoginId,
    pub asked_at: DateTime<Utc>,
    /// Until then nothing is done.
    pub grace_until: DateTime<Utc>,
    /// By then it is done.
    pub deadline: DateTime<Utc>,
}

/// What a right gives a person, as it is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Right {
    pub deadline: TimeDelta,
    pub grace: TimeDelta,
}

/// What keeps a person from being forgotten.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum HoldKind {
    AwaitingPayment,
    OpenOrder,
    OpenShare,
    OpenRefund,
    /// An operator froze what she paid for, and says first what becomes of it.
    FrozenPass,
    LastOperator,
    /// Another record was merged into hers, and two it can be again: until then it may be another
    /// person's, who has not asked for anything.
    RecentMerge,
    /// Something that a newer service knows.
    Other,
}

impl HoldKind {
    pub const ALL: [Self; 8] = [
        Self::AwaitingPayment,
        Self::OpenOrder,
        Self::OpenShare,
        Self::OpenRefund,
        Self::FrozenPass,
        Self::LastOperator,
        Self::RecentMerge,
        Self::Other,
    ];

    /// As services name it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::AwaitingPayment => "awaiting_payment",
            Self::OpenOrder => "open_order",
            Self::OpenShare => "open_share",
            Self::OpenRefund => "open_refund",
            Self::FrozenPass => "frozen_pass",
            Self::LastOperator => "last_operator",
            Self::RecentMerge => "recent_merge",
            Self::Other => "other",
        }
    }

    pub fn parse(text: &str) -> Self {
        let known = Self::ALL.into_iter().find(|kind| kind.as_str() == text);
        known.unwrap_or(Self::Other)
    }

    /// The Chinese and the English sentence that she reads.
    pub const fn text(self) -> (&'static str, &'static str) {
        match self {
            Self::AwaitingPayment => (
                "有年票尚未支付：请支付或等待订单关闭。",
                "A pass awaits its payment: pay it, or wait until its order is closed.",
            ),
            Self::OpenOrder => (
                "有订单尚未了结：请支付或取消。",
                "An order is open: pay or cancel it.",
            ),
            Self::OpenShare => (
                "有应付款项尚未结清：请支付，或由工会结清。",
                "A share is not settled: it is to be paid, by you or by your union.",
            ),
            Self::OpenRefund => (
                "有退款尚未完成：到账后继续办理。",
                "A refund is on its way: it goes on when the money is with you.",
            ),
            Self::FrozenPass => (
                "有年票被冻结：解冻或作废后继续办理，可致电 12351 询问。",
                "A pass of yours is frozen: it goes on when that is lifted or the pass is voided. \
                 Call 12351 to ask about it.",
            ),
            Self::LastOperator => (
                "您是最后一名运维人员：请先移交。",
                "You are the last operator: hand that over first.",
            ),
            Self::RecentMerge => (
                "您的档案由两条合并而成，合并后十天内仍可拆分：期满后自动继续办理。",
                "Two records were made yours, and can be two again for ten days: it goes on \
                 when these are over.",
            ),
            Self::Other => (
                "有事项尚未了结：请致电 12351 了解。",
                "Something is still open: call 12351 to learn what.",
            ),
        }
    }
}

impl Erasure {
    /// She wishes to be forgotten; `before` is what she wished earlier, and the version that others
    /// may have heard of under her id. One that is under way stays as it is.
    pub fn ask(
        (before, floor): (Option<Self>, i64),
        (member, login): (MemberId, LoginId),
        right: Right,
        now: DateTime<Utc>,
    ) -> Self {
        let version = match before {
            Some(open) if open.is_open() => return open,
            Some(ended) => ended.version.max(floor) + 1,
            None => floor + 1,
        };
        Self {
            member,
            version,
            state: State::Asked,
            login,
            asked_at: now,
            grace_until: now + right.grace,
            deadline: now + right.deadline,
        }
    }

    /// Whether it is underway: something was done for it, so that it does not give way any more.
    pub const fn is_begun(&self) -> bool {
        match self.state {
            State::Closing | State::Held => true,
            State::Asked | State::Recalled { .. } | State::Erased { .. } => false,
        }
    }

    pub const fn is_open(&self) -> bool {
        match self.state {
            State::Asked | State::Closing | State::Held => true,
            State::Recalled { .. } | State::Erased { .. } => false,
        }
    }

    /// She thinks better of it. Recalled before, it stays as it is.
    ///
    /// # Errors
    /// [`Refusal::ErasureNotFound`] when she was forgotten.
    pub fn recall(self, now: DateTime<Utc>) -> Result<Self, Refusal> {
        match self.state {
            State::Asked | State::Closing | State::Held => {
                Ok(self.next(State::Recalled { at: now }))
            }
            State::Recalled { .. } => Ok(self),
            State::Erased { .. } => Err(Refusal::ErasureNotFound),
        }
    }

    /// Asks every service what keeps her; `None` while nothing is to be asked.
    pub fn close(self, now: DateTime<Utc>) -> Option<Self> {
        match self.state {
            State::Asked if now < self.grace_until => None,
            State::Asked | State::Held => Some(self.next(State::Closing)),
            State::Closing | State::Recalled { .. } | State::Erased { .. } => None,
        }
    }

    /// Everybody has answered: she is forgotten, unless something keeps her. `None` when it is not
    /// closing.
    pub fn settle(self, is_held: bool, now: DateTime<Utc>) -> Option<Self> {
        let state = match (self.state, is_held) {
            (State::Closing, true) => State::Held,
            (State::Closing, false) => State::Erased { at: now },
            (State::Asked | State::Held | State::Recalled { .. } | State::Erased { .. }, _) => {
                return None;
            }
        };
        Some(self.next(state))
    }

    fn next(self, state: State) -> Self {
        Self {
            version: self.version + 1,
            state,
            ..self
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use uuid::Uuid;

    const RIGHT: Right = Right {
        deadline: TimeDelta::days(DEADLINE_DAYS),
        grace: TimeDelta::days(GRACE_DAYS),
    };

    fn now() -> DateTime<Utc> {
        DateTime::UNIX_EPOCH
    }

    fn asked() -> Erasure {
        let who = (MemberId(Uuid::from_u128(1)), LoginId(Uuid::from_u128(2)));
        Erasure::ask((None, 0), who, RIGHT, now())
    }

    fn ask_again(before: Erasure) -> Erasure {
        let who = (before.member, before.login);
        Erasure::ask((Some(before), 0), who, RIGHT, now() + TimeDelta::days(1))
    }

    #[test]
    fn nothing_is_done_before_the_grace_is_over() {
        let it = asked();
        let end = it.grace_until;
        assert_eq!(it.clone().close(end - TimeDelta::seconds(1)), None);
        let closing = it.close(end).unwrap();
        assert_eq!((closing.state, closing.version), (State::Closing, 2));
        assert_eq!(closing.clone().close(end), None);
        let erased = closing.settle(false, end).unwrap();
        assert_eq!(erased.state, State::Erased { at: end });
        assert_eq!(erased.clone().close(end), None);
        assert_eq!(erased.clone().settle(true, end), None);
        assert_eq!(erased.recall(end), Err(Refusal::ErasureNotFound));
    }

    /// What keeps her keeps her only until it is gone, and she can take her wish back meanwhile.
    #[test]
    fn what_keeps_her_is_asked_for_anew() {
        let end = asked().grace_until;
        let closing = asked().close(end).unwrap();
        let held = closing.settle(true, end).unwrap();
        assert_eq!(held.state, State::Held);
        assert_eq!(held.clone().settle(false, end), None, "nobody was asked");
        let again = held.clone().close(end).unwrap();
        assert_eq!((again.state, again.version), (State::Closing, 4));
        for it in [asked(), held, again] {
            let recalled = it.recall(end).unwrap();
            assert_eq!(recalled.state, State::Recalled { at: end });
            assert_eq!(recalled.clone().recall(end).unwrap(), recalled);
            assert_eq!(recalled.clone().close(end), None);
            let anew = ask_again(recalled.clone());
            assert_eq!(anew.version, recalled.version + 1);
            assert_eq!(anew.state, State::Asked);
        }
    }

    /// What others have heard under her id, while it was another's too, is older than her own wish.
    #[test]
    fn a_wish_is_newer_than_all_that_was_heard() {
        let who = (asked().member, asked().login);
        let heard = |before, floor| Erasure::ask((before, floor), who, RIGHT, now()).version;
        assert_eq!(heard(None, 7), 8);
        let recalled = asked().recall(now()).unwrap();
        assert_eq!(recalled.version, 2);
        assert_eq!(heard(Some(recalled.clone()), 7), 8);
        assert_eq!(heard(Some(recalled), 1), 3);
        assert_eq!(heard(Some(asked()), 7), 1, "it is under way");
    }

    /// To ask while it is under way starts no new grace and no new deadline.
    #[test]
    fn asked_twice_it_is_one_wish() {
        assert_eq!(ask_again(asked()), asked());
    }

    #[test]
    fn what_keeps_her_is_told_in_both_languages() {
        for kind in HoldKind::ALL {
            assert_eq!(HoldKind::parse(kind.as_str()), kind);
            let (zh, en) = kind.text();
            assert!(zh.ends_with('。') && en.ends_with('.') && en.is_ascii());
        }
        assert_eq!(HoldKind::parse("of tomorrow"), HoldKind::Other);
    }
}
