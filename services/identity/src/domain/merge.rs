//! When two records are one person's: who may say so, what goes over to the record that stays, and
//! until when it can be undone.

use chrono::{DateTime, TimeDelta, Utc};
use kit::types::MemberId;
use uuid::Uuid;

use super::membership::Membership;
use crate::error::Refusal;

/// How long a merge waits for the second operator, in seconds.
pub const ASK_SECONDS: i64 = 86_400;
/// How long a merge can be undone, in days: short enough that who wishes to be forgotten meanwhile
/// is by her deadline. Sentences that people read say how many it is.
pub const UNDO_DAYS: i64 = 10;

/// The record that stays, and the one that becomes a name for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pair {
    pub survivor: MemberId,
    pub merged: MemberId,
}

impl Pair {
    fn has(self, member: MemberId) -> bool {
        self.survivor == member || self.merged == member
    }
}

/// What an operator asked for, to be confirmed by another one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Asked {
    pub by: MemberId,
    pub survivor: MemberId,
    pub expires_at: DateTime<Utc>,
}

/// What becomes of a merge when an operator asks for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// It waits for another operator from now on.
    Begins { expires_at: DateTime<Utc> },
    /// It waits already, and for another than this one.
    Waits { expires_at: DateTime<Utc> },
    /// Two have asked: it is done, and can be undone until then.
    Done { undo_until: DateTime<Utc> },
}

/// What it means that operator `by` asks for a merge.
///
/// # Errors
/// When the two are one record, one of them is the operator's own, or the merge into another
/// record waits already.
pub fn ask(
    pair: Pair,
    by: MemberId,
    asked: Option<Asked>,
    now: DateTime<Utc>,
) -> Result<Step, Refusal> {
    if pair.survivor == pair.merged {
        return Err(Refusal::MergeOfOne);
    }
    if pair.has(by) {
        return Err(Refusal::MergeOfOwn);
    }
    Ok(match asked {
        Some(asked) if now < asked.expires_at => {
            if asked.survivor != pair.survivor {
                return Err(Refusal::MergePending);
            }
            if asked.by == by {
                Step::Waits {
                    expires_at: asked.expires_at,
                }
            } else {
                Step::Done {
                    undo_until: undo_until(now),
                }
            }
        }
        Some(_) | None => Step::Begins {
            expires_at: now + TimeDelta::seconds(ASK_SECONDS),
        },
    })
}

/// Until when a merge of this moment can be undone.
pub fn undo_until(done_at: DateTime<Utc>) -> DateTime<Utc> {
    done_at + TimeDelta::days(UNDO_DAYS)
}

/// What was merged after this moment can be undone now.
pub fn undoable_since(now: DateTime<Utc>) -> DateTime<Utc> {
    now - TimeDelta::days(UNDO_DAYS)
}

/// Whether operator `by` may undo it now.
///
/// # Errors
/// When one of the two is the operator's own, or the window is over.
pub fn undo(
    pair: Pair,
    by: MemberId,
    done_at: DateTime<Utc>,
    now: DateTime<Utc>,
) -> Result<(), Refusal> {
    if pair.has(by) {
        return Err(Refusal::MergeOfOwn);
    }
    if now >= undo_until(done_at) {
        return Err(Refusal::UndoOver);
    }
    Ok(())
}

/// A document or a way to sign in that a record has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Belonging<K> {
    pub id: Uuid,
    pub kind: K,
}

/// The documents that go over: all of them.
///
/// # Errors
/// [`Refusal::DocumentsDiffer`]: both records have a document of one kind. One person has one, so
/// these are two, or one number is wrong.
pub fn documents_moved<K: PartialEq>(
    survivor: &[Belonging<K>],
    merged: &[Belonging<K>],
) -> Result<Vec<Uuid>, Refusal> {
    let has = |kind: &K| survivor.iter().any(|it| it.kind == *kind);
    if merged.iter().any(|it| has(&it.kind)) {
        return Err(Refusal::DocumentsDiffer);
    }
    Ok(merged.iter().map(|it| it.id).collect())
}

/// The ways to sign in that go over: all but a phone where the survivor has one.
pub fn methods_moved(
    survivor: &[Belonging<String>],
    merged: &[Belonging<String>],
    phone: &str,
) -> Vec<Uuid> {
    let has_phone = survivor.iter().any(|it| it.kind == phone);
    let moves = |it: &&Belonging<String>| it.kind != phone || !has_phone;
    merged.iter().filter(moves).map(|it| it.id).collect()
}

/// The memberships that go over: those that are open, where the survivor has none at that time. The
/// others stay what they were, a second word for the same.
pub fn memberships_moved(survivor: &[Membership], merged: Vec<Membership>) -> Vec<Membership> {
    let overlaps = |one: &Membership| {
        survivor.iter().any(|it| {
            it.organisation == one.organisation
                && it.standing.until().is_none_or(|until| one.since < until)
        })
    };
    let open = merged
        .into_iter()
        .filter(|it| it.standing.until().is_none());
    open.filter(|it| !overlaps(it)).collect()
}

#[cfg(test)]
mod tests {
    use kit::types::OrganisationId;

    use super::*;
    use crate::domain::membership::Standing;

    fn who(number: u128) -> MemberId {
        MemberId(Uuid::from_u128(number))
    }

    fn at(seconds: i64) -> DateTime<Utc> {
        DateTime::from_timestamp(1_775_008_800 + seconds, 0).unwrap()
    }

    const fn pair(survivor: MemberId, merged: MemberId) -> Pair {
        Pair { survivor, merged }
    }

    #[test]
    fn two_operators_ask_for_the_same() {
        let (one, other) = (who(1), who(2));
        let both = pair(one, other);
        let Ok(Step::Begins { expires_at }) = ask(both, who(3), None, at(0)) else {
            panic!("begins")
        };
        assert_eq!(expires_at, at(ASK_SECONDS));
        let asked = |by, survivor| {
            Some(Asked {
                by,
                survivor,
                expires_at,
            })
        };
        let waits = Ok(Step::Waits { expires_at });
        assert_eq!(ask(both, who(3), asked(who(3), one), at(9)), waits);
        let undo_until = undo_until(at(9));
        let done = Ok(Step::Done { undo_until });
        assert_eq!(ask(both, who(4), asked(who(3), one), at(9)), done);
        let late = ask(both, who(4), asked(who(3), one), expires_at);
        assert!(matches!(late, Ok(Step::Begins { .. })));
        let into_another = ask(both, who(4), asked(who(3), who(9)), at(9));
        assert_eq!(into_another, Err(Refusal::MergePending));
        for own in [one, other] {
            assert_eq!(ask(both, own, None, at(0)), Err(Refusal::MergeOfOwn));
            assert_eq!(undo(both, own, at(0), at(0)), Err(Refusal::MergeOfOwn));
        }
        let same = ask(pair(one, one), who(3), None, at(0));
        assert_eq!(same, Err(Refusal::MergeOfOne));
    }

    #[test]
    fn the_window_ends() {
        let both = pair(who(1), who(2));
        let end = undo_until(at(0));
        assert_eq!(
            undo(both, who(3), at(0), end - TimeDelta::seconds(1)),
            Ok(())
        );
        assert_eq!(undo(both, who(3), at(0), end), Err(Refusal::UndoOver));
        assert!(undoable_since(end - TimeDelta::seconds(1)) < at(0));
        assert_eq!(undoable_since(end), at(0), "and no more");
    }

    #[test]
    fn two_documents_of_one_kind_are_two_people() {
        let document = |id, kind| Belonging {
            id: Uuid::from_u128(id),
            kind,
        };
        let (identity, passport) = (document(1, 1), document(2, 3));
        let moved = documents_moved(std::slice::from_ref(&identity), &[passport]);
        assert_eq!(moved, Ok(vec![Uuid::from_u128(2)]));
        let moved = documents_moved(&[identity], &[document(3, 1)]);
        assert_eq!(moved, Err(Refusal::DocumentsDiffer));
    }

    #[test]
    fn a_phone_stays_where_there_is_one() {
        let method = |id, kind: &str| Belonging {
            id: Uuid::from_u128(id),
            kind: kind.to_owned(),
        };
        let both = [method(1, "phone"), method(2, "wechat")];
        let ids =
            |ids: &[u128]| -> Vec<Uuid> { ids.iter().copied().map(Uuid::from_u128).collect() };
        assert_eq!(methods_moved(&[], &both, "phone"), ids(&[1, 2]));
        let with_phone = [method(3, "phone")];
        assert_eq!(methods_moved(&with_phone, &both, "phone"), ids(&[2]));
    }

    #[test]
    fn memberships_go_over_where_there_is_none() {
        let membership = |id, organisation, since: &str, until: Option<&str>| Membership {
            id: Uuid::from_u128(id),
            version: 1,
            member: who(1),
            organisation: OrganisationId(Uuid::from_u128(organisation)),
            standing: until.map_or(Standing::Full, |day| Standing::Left {
                until: day.parse().unwrap(),
            }),
            since: since.parse().unwrap(),
            created_at: at(0),
        };
        let survivor = [
            membership(1, 1, "2026-01-01", None),
            membership(2, 2, "2020-01-01", Some("2021-01-01")),
        ];
        let merged = vec![
            membership(3, 1, "2026-02-01", None),
            membership(4, 2, "2021-01-01", None),
            membership(5, 3, "2020-01-01", None),
            membership(6, 4, "2020-01-01", Some("2021-01-01")),
        ];
        let moved = memberships_moved(&survivor, merged);
        let ids: Vec<u128> = moved.iter().map(|it| it.id.as_u128()).collect();
        assert_eq!(ids, [4, 5]);
    }
}
