//! What else a record has that becomes a name of another one, beside documents, ways to sign in and
//! memberships: what of it goes over, and what ends with it.
//!
//! What was verified is hers under either name and goes over. What is asked, proposed or proven by
//! the record itself ends, and no split brings it back: she asks again. While somebody wishes to be
//! forgotten, or a copy of her data is being gathered, which other services do under the ids that
//! she has now, she stays as many records as she is.

use chrono::{DateTime, TimeDelta, Utc};
use kit::access::Member;
use kit::due as timers;
use kit::types::MemberId;
use kit::{Result, Tx};
use uuid::Uuid;

use super::{phone_recoveries, phone_settings};
use crate::domain::erasure::{Erasure, State};
use crate::domain::merge::{self as domain, Pair};
use crate::domain::notice::minute;
use crate::due;
use crate::error::Refusal;
use crate::store::erasures::{self, Waiting};
use crate::store::merges::{self as store, MergeRow};
use crate::store::{
    applications, exports, former_phones, login_methods, logins, messages, notices, phone_changes,
    role_proposals, second_factors, verifications,
};

/// Whether nothing is under way that knows the two by the ids they have. Whoever calls has locked
/// both, as who begins it does.
///
/// # Errors
/// [`Refusal::ErasureWaits`], [`Refusal::ExportWaits`] and [`Refusal::RecoveryWaits`].
pub(super) async fn must_be_settled(tx: &Tx, pair: Pair) -> Result<()> {
    for member in [pair.survivor, pair.merged] {
        let erasure = erasures::load(tx, member).await?;
        if erasure.as_ref().is_some_and(Erasure::is_open) {
            return Err(Refusal::ErasureWaits.into());
        }
        if exports::is_gathering(tx, member).await? {
            return Err(Refusal::ExportWaits.into());
        }
    }
    phone_recoveries::must_be_none(tx, &[pair.survivor.0, pair.merged.0]).await
}

/// Whether no record was merged into this one that can be another's again: until then who signs in
/// as her may be the other person. Whoever relies on it holds a lock of the person.
///
/// # Errors
/// [`Refusal::MergeUndoable`], which says from when on it can be done; when the database fails.
pub(super) async fn must_be_final(tx: &Tx, member: MemberId) -> Result<()> {
    let since = domain::undoable_since(tx.now());
    match store::last_since(tx, member, since).await? {
        Some(done_at) => Err(merge_undoable(domain::undo_until(done_at)).into()),
        None => Ok(()),
    }
}

/// Gives the survivor what was verified of the other record, and ends what that one has asked for
/// or was to get; how much that was.
///
/// # Errors
/// When the database fails.
pub(super) async fn follow(tx: &Tx, (merge, pair): (Uuid, Pair), by: Member) -> Result<usize> {
    let merged = pair.merged;
    store::move_verified(tx, merge, pair).await?;
    // From now on what is said of her names the other record's id too.
    erasures::raise_floor(tx, pair.survivor, merged).await?;
    let mut ended = Vec::new();
    for (what, timer) in [
        (Waiting::Factors, due::SECOND_FACTOR),
        (Waiting::Resets, due::SECOND_FACTOR_RESET),
        (Waiting::Settings, due::PHONE_SETTING),
        (Waiting::Exports, due::EXPORT),
    ] {
        let ids = erasures::end_waiting(tx, what, &[merged.0]).await?;
        ended.push((timer, ids));
    }
    second_factors::remove(tx, merged).await?;
    phone_changes::remove(tx, merged).await?;
    phone_recoveries::give_way(tx, merged).await?;
    let verifications = verifications::end_asked(tx, merged).await?;
    ended.push((due::VERIFICATION, verifications));
    let proposals = role_proposals::withdraw_about(tx, merged, by.id).await?;
    ended.push((due::ROLE_PROPOSAL, proposals));
    let applications = applications::withdraw_of(tx, merged, by.id).await?;
    ended.push((due::APPLICATION, applications));
    let mut count = 0;
    for (timer, ids) in ended {
        count += ids.len();
        cancel(tx, timer, &ids).await?;
    }
    Ok(count)
}

async fn cancel(tx: &Tx, timer: &str, ids: &[Uuid]) -> Result<()> {
    for id in ids {
        timers::cancel(tx, timer, &id.to_string()).await?;
    }
    Ok(())
}

/// Gives what was verified back with a split. Whoever signed in meanwhile may have been the other
/// person: what the survivor has signed in with since then is gone, and a second factor of since
/// then too. A copy that the survivor has asked for since names both records, one of which may be
/// another person's: it is gone. So is what either one was told and sent meanwhile of her
/// purchases, passes and unions, and with which devices she signed in. What was said of the
/// survivor meanwhile was said of both, so that a wish of the other one's own begins above it.
///
/// # Errors
/// [`Refusal::ErasureWaits`] while services are asked what keeps both,
/// [`Refusal::RecoveryWaits`]; when the database fails.
pub(super) async fn part(tx: &Tx, pair: Pair, merge: &MergeRow) -> Result<()> {
    let survivor = pair.survivor;
    let erasure = erasures::load(tx, survivor).await?;
    if erasure.is_some_and(|it| it.state == State::Closing) {
        return Err(Refusal::ErasureWaits.into());
    }
    phone_recoveries::must_be_none(tx, &[survivor.0]).await?;
    erasures::raise_floor(tx, pair.merged, survivor).await?;
    store::return_verified(tx, merge.id).await?;
    phone_changes::remove(tx, survivor).await?;
    phone_recoveries::give_way(tx, survivor).await?;
    phone_settings::give_way(tx, survivor).await?;
    // A phone that came with the other record is told nothing of this one.
    former_phones::forget(tx, survivor, &merge.methods).await?;
    let copies = match merge.done_at {
        Some(done_at) => {
            login_methods::remove_since(tx, survivor, done_at).await?;
            second_factors::remove_since(tx, survivor, done_at).await?;
            notices::forget_since(tx, survivor, done_at).await?;
            messages::forget_since(tx, pair, done_at).await?;
            logins::forget_origins_since(tx, survivor, done_at).await?;
            exports::remove_since(tx, survivor, done_at).await?
        }
        None => Vec::new(),
    };
    cancel(tx, due::EXPORT, &copies).await
}

/// What cannot be done before `until`, when a merge cannot be undone any more: the sentence says
/// when that is.
fn merge_undoable(until: DateTime<Utc>) -> kit::Refusal {
    // The minute after: a sentence has no seconds.
    let from = minute(until + TimeDelta::minutes(1));
    kit::Refusal {
        zh: format!("该档案由两条合并而成，仍可拆分，北京时间 {from} 起才能办理此事。").into(),
        en: format!(
            "Two records were made this one, and can be two again: wait until {from}, Beijing time."
        )
        .into(),
        ..Refusal::MergeUndoable.into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Nobody is told a time at which it is refused still.
    #[test]
    fn what_waits_for_a_merge_says_until_when() {
        let told = |seconds| merge_undoable(DateTime::from_timestamp(seconds, 0).unwrap());
        let at = told(1_775_008_800 + 59);
        for (text, end) in [(&at.zh, '。'), (&at.en, '.')] {
            assert!(
                text.contains("2026-04-01 10:01") && text.ends_with(end),
                "{text}"
            );
        }
        assert_eq!(at.code, Refusal::MergeUndoable.code());
        assert!(told(1_775_008_800 + 60).en.contains("2026-04-01 10:02"));
    }
}
