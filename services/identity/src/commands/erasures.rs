//! A person's wish to be forgotten: asked for, recalled, and carried out when its grace is over and
//! nothing keeps her.
//!
//! Before she is forgotten every service is asked what keeps her, and begins nothing for her from
//! that moment (`kit::person`); only answers to the last question count. Then one transaction ends
//! her memberships, offices, consents and logins, destroys her data key and what she was found by,
//! and leaves a tombstone, which each service answers. Her row stays, and so do the ids that others
//! wrote down: they name nobody any more.
//!
//! Records that were merged into hers are forgotten with her, and none of them alone: nobody signs
//! in as such a record. While a merge can be undone she is kept, since the other record may be
//! another person's; a merge that is only asked for ends with her.
//!
//! What a roster or an officer decides of her and this wait for each other: organisations are
//! locked first, in the order of their ids, then the codes of her phones, and then the person with
//! the records that were merged into hers.

use chrono::TimeDelta;
use kit::access::{self, Caller};
use kit::audit::AuditRow;
use kit::due::{self as work, After, NewDue};
use kit::once::{self, Once, Request};
use kit::person::Hold;
use kit::types::{MemberId, OrganisationId, Union, shanghai_date};
use kit::{Ctx, Error, Result, Tx};
use serde_json::json;
use uuid::Uuid;

use super::consents;
use super::logins::withdraw_all;
use super::proof::prove;
use super::roles::leave_office;
use super::{notices, settled};
use crate::domain::erasure::{ANSWER_SECONDS, Erasure, HELD_HOURS, HoldKind, SERVICES, State};
use crate::domain::membership::End;
use crate::domain::merge::undoable_since;
use crate::domain::notice::{Notice, RightStep};
use crate::domain::organisation::root_id;
use crate::domain::role::{Of, Role};
use crate::error::{self, Refusal};
use crate::publish::{self, MemberState};
use crate::store::erasures::{self as store, Answer, RecordRow, Waiting};
use crate::store::logins::Reason;
use crate::store::organisations::{self, Lock};
use crate::store::{codes, merges, people, renderings, roles};
use crate::{Identity, NAME, due};

/// A person wishes to be forgotten, and has proven who she is. While she wishes so already, it is
/// that wish, and nothing is proven.
///
/// # Errors
/// Unauthenticated; refused when the proof fails.
pub async fn erase_me(
    identity: &Identity,
    caller: &Caller,
    code: Option<&str>,
    key: Uuid,
) -> Result<Erasure> {
    let result = identity
        .ctx
        .db
        .tx("erase_me", async |tx| {
            let member = access::member(tx, caller).await?;
            let before = store::load(tx, member.id).await?;
            let is_open = before.as_ref().is_some_and(Erasure::is_open);
            // A code is locked before its person, as by who signs in.
            let proven = !is_open;
            if proven && let Err(why) = prove(tx, &identity.vault, (caller, member), code).await? {
                return Ok(Err(why));
            }
            ask(tx, (caller, member), (key, proven)).await.map(Ok)
        })
        .await;
    settled(result)
}

async fn ask(
    tx: &Tx,
    (caller, member): (&Caller, access::Member),
    (key, proven): (Uuid, bool),
) -> Result<Erasure> {
    store::lock_person(tx, member.id)
        .await?
        .ok_or(Refusal::MemberNotFound)?;
    let before = store::lock(tx, member.id).await?;
    // Taken back since it was looked at: this is a new wish.
    if !proven && !before.as_ref().is_some_and(Erasure::is_open) {
        access::stepped_up(tx, caller)?;
    }
    let request = Request {
        caller: member.id.0,
        key,
        hash: once::hash("erase_me", &[]),
    };
    match once::begin(tx, &request).await? {
        Once::First => {}
        Once::Done(_) => return Ok(before.ok_or(Refusal::ErasureNotFound)?),
        Once::Refused(code) => {
            return error::recorded(&code);
        }
    }
    let right = store::right(tx, "erasure").await?;
    let version = before.as_ref().map_or(0, |it| it.version);
    let before = (before, store::floor(tx, member.id).await?);
    let it = Erasure::ask(before, (member.id, member.login), right, tx.now());
    if it.version > version {
        store::save(tx, &it).await?;
        tx.plan(NewDue::new(due::ERASURE, member.id, it.grace_until));
        tell(tx, &it, RightStep::ErasureAsked).await?;
    }
    tx.audit(
        member
            .audit("erase_me", member.id)
            .detail(json!({ "version": it.version, "deadline": it.deadline })),
    );
    once::finish(tx, member.id.0.as_bytes())?;
    Ok(it)
}

/// Tells her, and whoever else has a phone that was hers lately.
async fn tell(tx: &Tx, it: &Erasure, step: RightStep) -> Result<()> {
    let which = format!("{}/{}", it.member, it.version);
    notices::tell_of_right(tx, it.member, step, which).await
}

/// A person takes her wish back; taken back before, it stays so.
///
/// # Errors
/// Unauthenticated; [`Refusal::ErasureNotFound`] when she never wished so.
pub async fn recall(ctx: &Ctx, caller: &Caller) -> Result<Erasure> {
    ctx.db
        .tx("recall_erasure", async |tx| {
            let member = access::member(tx, caller).await?;
            // The person before her wish, as by who carries it out: what is said of her now names
            // the ids that she has now.
            let absent = Refusal::ErasureNotFound;
            store::lock_person(tx, member.id).await?.ok_or(absent)?;
            let before = store::lock(tx, member.id).await?;
            let before = before.ok_or(absent)?;
            let version = before.version;
            let it = before.recall(tx.now())?;
            if it.version > version {
                take_back(tx, &it).await?;
            }
            tx.audit(member.audit("recall_erasure", member.id));
            Ok(it)
        })
        .await
}

/// Writes and says that a wish is taken back; she is told, at her phones so far too.
async fn take_back(tx: &Tx, it: &Erasure) -> Result<()> {
    store::save(tx, it).await?;
    tx.emit(publish::erasure(it, &store::ids_of(tx, it.member).await?));
    work::cancel(tx, due::ERASURE, &it.member.to_string()).await?;
    tell(tx, it, RightStep::ErasureRecalled).await
}

/// Takes a wish back of which nothing was done yet, since whoever had her phone may have made it;
/// whether there was one. Whoever calls holds the person's lock, and says so on record.
pub(super) async fn take_back_asked(tx: &Tx, member: MemberId) -> Result<bool> {
    let wish = store::lock(tx, member).await?;
    let Some(wish) = wish.filter(|it| it.state == State::Asked) else {
        return Ok(false);
    };
    take_back(tx, &wish.recall(tx.now())?).await?;
    Ok(true)
}

/// What a service says keeps a person; with the last answer it is decided.
///
/// # Errors
/// When the database fails.
pub(crate) async fn answered(tx: &Tx, member: MemberId, answer: &Answer) -> Result<()> {
    let Some(it) = store::lock(tx, member).await? else {
        return Ok(());
    };
    if it.state != State::Closing || answer.version != it.version {
        return Ok(());
    }
    store::put_answer(tx, member, answer).await?;
    if unanswered(tx, &it).await?.is_empty() {
        tx.plan(NewDue::new(due::ERASURE, member, tx.now()));
    }
    Ok(())
}

/// A service has forgotten a person.
///
/// # Errors
/// When the database fails.
pub(crate) async fn forgotten(tx: &Tx, member: MemberId, answer: &Answer) -> Result<()> {
    let it = store::lock(tx, member).await?;
    let is_erased = it.is_some_and(|it| matches!(it.state, State::Erased { .. }));
    if is_erased {
        store::put_applied(tx, member, &answer.service, tx.now()).await?;
    }
    Ok(())
}

/// The services that have not answered this version.
async fn unanswered(tx: &Tx, it: &Erasure) -> Result<Vec<&'static str>> {
    let answers = store::answers(tx, it.member).await?;
    let has = |name: &str| {
        let mut of = answers.iter();
        of.any(|answer| answer.service == name && answer.version == it.version)
    };
    Ok(SERVICES.into_iter().filter(|name| !has(name)).collect())
}

/// What is due of a person's wish: services are asked, what they answered is decided, and who has
/// not answered is asked again.
///
/// # Errors
/// When the database fails; unavailable when she joins an organisation at this very moment.
pub async fn run(ctx: &Ctx, member: MemberId) -> Result<After> {
    ctx.db
        .tx("erasure_due", async |tx| {
            // What is locked before the person, in case she is forgotten now.
            let ids = store::ids_of(tx, member).await?;
            let places = lock_places(tx, &ids).await?;
            let records = store::lock_records(tx, member).await?;
            if records.iter().all(|it| it.id != member.0) {
                return tombstone(tx, member).await;
            }
            if store::ids_of(tx, member).await? != ids {
                return Err(Error::Unavailable(
                    "a person's records are merged or split now",
                ));
            }
            let Some(it) = store::lock(tx, member).await? else {
                return Ok(After::Done);
            };
            match it.state {
                State::Asked | State::Held => close(tx, ctx.union, it).await,
                State::Closing if unanswered(tx, &it).await?.is_empty() => {
                    settle(tx, ctx.union, it, (records.as_slice(), places.as_slice())).await
                }
                State::Closing => ask_again(tx, &it).await,
                State::Recalled { .. } | State::Erased { .. } => Ok(After::Done),
            }
        })
        .await
}

/// Locks the organisations that a person is in or holds a role in, and the codes of her phones.
async fn lock_places(tx: &Tx, ids: &[Uuid]) -> Result<Vec<Uuid>> {
    let places = store::places(tx, ids).await?;
    for place in &places {
        organisations::load(tx, OrganisationId(*place), Lock::Change).await?;
    }
    codes::lock_all(tx, &store::phones_of(tx, ids).await?).await?;
    Ok(places)
}

fn in_time(tx: &Tx) -> After {
    After::At(tx.now() + TimeDelta::seconds(ANSWER_SECONDS))
}

/// Asks the services what keeps her. Not while something keeps her here: asked, passes give back
/// what is hers, which may be another's as long as her records can be split.
async fn close(tx: &Tx, union: Union, it: Erasure) -> Result<After> {
    let grace_until = it.grace_until;
    let Some(closing) = it.close(tx.now()) else {
        return Ok(After::At(grace_until));
    };
    if put_own_answer(tx, union, &closing).await? {
        let kept = closing
            .settle(true, tx.now())
            .ok_or_else(|| Error::internal("what is not closing was settled"))?;
        store::save(tx, &kept).await?;
        return held(tx, &kept).await;
    }
    store::save(tx, &closing).await?;
    let ids = store::ids_of(tx, closing.member).await?;
    tx.emit(publish::erasure(&closing, &ids));
    tx.audit(AuditRow::system("close_person", closing.member));
    Ok(in_time(tx))
}

async fn ask_again(tx: &Tx, it: &Erasure) -> Result<After> {
    let missing = unanswered(tx, it).await?;
    alarm(tx, it, &missing, "services do not say what keeps a person");
    let ids = store::ids_of(tx, it.member).await?;
    tx.emit(publish::erasure(it, &ids));
    Ok(in_time(tx))
}

fn alarm(tx: &Tx, it: &Erasure, missing: &[&str], what: &'static str) {
    let overdue = it.deadline <= tx.now();
    metrics::counter!("bashu_identity_erasures_unanswered_total").increment(1);
    tracing::error!(member = %it.member, missing = missing.join(","), overdue, "{what}");
}

/// Everybody has answered: something keeps her, or she is forgotten.
async fn settle(
    tx: &Tx,
    union: Union,
    it: Erasure,
    (records, places): (&[RecordRow], &[Uuid]),
) -> Result<After> {
    put_own_answer(tx, union, &it).await?;
    let answers = store::answers(tx, it.member).await?;
    let is_held = answers
        .iter()
        .any(|answer| answer.version == it.version && !answer.holds.is_empty());
    let settled = it
        .settle(is_held, tx.now())
        .ok_or_else(|| Error::internal("what is not closing was settled"))?;
    store::save(tx, &settled).await?;
    if is_held {
        return held(tx, &settled).await;
    }
    let ids: Vec<Uuid> = records.iter().map(|it| it.id).collect();
    if store::places(tx, &ids).await? != places {
        return Err(Error::Unavailable("a person joins an organisation now"));
    }
    forget(tx, &settled, records, places).await?;
    Ok(in_time(tx))
}

/// Identity answers like the others: the last operator stays, and who was two records that can be
/// two again. Whether she does.
async fn put_own_answer(tx: &Tx, union: Union, it: &Erasure) -> Result<bool> {
    let root = root_id(union);
    let operates = roles::held(
        tx,
        Of {
            member: it.member,
            organisation: root,
            role: Role::Operator,
        },
    )
    .await?;
    let is_last = operates.is_some() && roles::operators(tx).await? <= 1;
    let merges = merges::done_since(tx, it.member, undoable_since(tx.now())).await?;
    let kept_by = [
        (HoldKind::LastOperator, i64::from(is_last)),
        (HoldKind::RecentMerge, merges),
    ];
    let holds = kept_by.into_iter().filter(|(_, count)| *count > 0);
    let hold = |(kind, count): (HoldKind, i64)| Hold {
        kind: kind.as_str().to_owned(),
        count,
    };
    let answer = Answer {
        service: NAME.to_owned(),
        version: it.version,
        holds: holds.map(hold).collect(),
    };
    store::put_answer(tx, it.member, &answer).await?;
    Ok(!answer.holds.is_empty())
}

async fn held(tx: &Tx, it: &Erasure) -> Result<After> {
    let ids = store::ids_of(tx, it.member).await?;
    tx.emit(publish::erasure(it, &ids));
    tx.audit(AuditRow::system("hold_erasure", it.member));
    if it.deadline <= tx.now() {
        alarm(tx, it, &[], "a person is kept beyond her deadline");
    }
    // Once for each wish: what keeps her she reads with it.
    let about = format!("{}/{}", it.member, it.asked_at.timestamp_millis());
    let told = Notice::ErasureHeld { member: it.member };
    notices::tell(tx, &[notices::about(it.member, &about, told)]).await?;
    Ok(After::At(tx.now() + TimeDelta::hours(HELD_HOURS)))
}

async fn forget(tx: &Tx, it: &Erasure, records: &[RecordRow], places: &[Uuid]) -> Result<()> {
    // As services know her: hers first.
    let ids = store::ids_of(tx, it.member).await?;
    let today = shanghai_date(tx.now());
    for id in store::open_memberships(tx, &ids).await? {
        let membership = people::membership(tx, id).await?;
        let membership = membership.ok_or_else(|| Error::internal("a membership is gone"))?;
        let ended = membership.end(End::Left, today, today)?;
        people::save_membership(tx, &ended).await?;
        tx.emit(publish::membership(&ended));
    }
    for place in places {
        leave_office(tx, OrganisationId(*place), &ids).await?;
    }
    let mut logins = 0;
    for id in ids.iter().copied().map(MemberId) {
        consents::withdraw_all(tx, id, it.login).await?;
        logins += withdraw_all(tx, id, None, Reason::Erased).await?;
    }
    // What waits of her may name a phone that she has asked for.
    let phones = store::phones_of(tx, &ids).await?;
    end_waiting(tx, &ids).await?;
    store::remove_people(tx, &ids, &phones).await?;
    for RecordRow { id, version } in records {
        tx.emit(publish::member(
            MemberId(*id),
            version + 1,
            MemberState::Erased,
        ));
    }
    tx.emit(publish::person_erased(it, &ids, tx.now()));
    tx.audit(AuditRow::system("erase_person", it.member).detail(json!({
        "logins": logins, "organisations": places.len(), "records": records.len(),
    })));
    Ok(())
}

/// What waits of her ends, with its timers, and so do the files that wait for her.
async fn end_waiting(tx: &Tx, ids: &[Uuid]) -> Result<()> {
    for (what, timer) in [
        (Waiting::Proposals, due::ROLE_PROPOSAL),
        (Waiting::Applications, due::APPLICATION),
        (Waiting::Merges, due::MERGE_EXPIRY),
        (Waiting::Resets, due::SECOND_FACTOR_RESET),
        (Waiting::Factors, due::SECOND_FACTOR),
        (Waiting::Verifications, due::VERIFICATION),
        (Waiting::Exports, due::EXPORT),
        (Waiting::Recoveries, due::PHONE_RECOVERY),
        (Waiting::Settings, due::PHONE_SETTING),
    ] {
        for id in store::end_waiting(tx, what, ids).await? {
            work::cancel(tx, timer, &id.to_string()).await?;
        }
    }
    for waiting in renderings::lock_waiting(tx, ids).await? {
        let timer = waiting.id.to_string();
        if let Some(over) = waiting.forget() {
            renderings::save(tx, &over).await?;
            tx.emit(publish::rendering(&over));
            work::cancel(tx, due::RENDERING, &timer).await?;
        }
    }
    Ok(())
}

/// Says again that a person was forgotten, until every service has done so.
async fn tombstone(tx: &Tx, member: MemberId) -> Result<After> {
    let Some(it) = store::lock(tx, member).await? else {
        return Ok(After::Done);
    };
    let State::Erased { at } = it.state else {
        return Ok(After::Done);
    };
    let applied = store::applied(tx, member).await?;
    let is_missing = |name: &&str| !applied.iter().any(|it| it == name);
    let missing: Vec<&str> = SERVICES.into_iter().filter(is_missing).collect();
    if missing.is_empty() {
        return Ok(After::Done);
    }
    alarm(tx, &it, &missing, "services have not forgotten a person");
    let ids = store::ids_of(tx, member).await?;
    tx.emit(publish::person_erased(&it, &ids, at));
    Ok(in_time(tx))
}
