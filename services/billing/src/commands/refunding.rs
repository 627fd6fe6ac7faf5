//! Money goes back: asked of the provider by due work, done when the provider says so, by a
//! notification or when asked. What the provider closes again and again is left to a person.

use chrono::{DateTime, TimeDelta, Utc};
use kit::access::{self, Caller};
use kit::audit::{AuditRow, require_sealing};
use kit::due::{After, NewDue};
use kit::once::{self, Once};
use kit::types::{Fen, Union};
use kit::{Error, Result, Tx};
use uuid::Uuid;

use super::Held;
use super::refund::went_back;
use crate::domain::{
    REFUND_ATTEMPTS_MAX, REFUND_PAUSE_SECONDS, Refund, RefundCause, RefundState, Step,
    next_refund_query, out_refund_no, refund_done, refund_pause_seconds,
};
use crate::error::{Refusal, recorded};
use crate::store::{self, DiscrepancyKind, NewDiscrepancy};
use crate::wechat::{RefundAnswer, RefundRequest, RefundStatus};
use crate::{Billing, due};

/// How often one is asked for again that somebody must look at, in seconds.
const STUCK_SECONDS: i64 = 3_600;
/// What the provider calls a refund that it gave up.
const CLOSED: &str = "CLOSED";

/// Asks the provider for a refund.
///
/// # Errors
/// When the provider does not answer: the job is run again, and is the same request.
pub async fn ask_refund(billing: &Billing, id: Uuid) -> Result<After> {
    let db = &billing.ctx.db;
    let Some((refund, request)) = db.read("ask_refund", async |tx| load(tx, id).await).await?
    else {
        return Ok(After::Done);
    };
    let failure = match billing.wechat.refund(&request).await {
        Ok(answer) => {
            let progress = Progress::of(&answer);
            let union = billing.ctx.union;
            db.tx("refund_accepted", async |tx| {
                learn(tx, union, id, &progress).await
            })
            .await?;
            return Ok(After::Done);
        }
        Err(failure) => failure,
    };
    let Some(code) = failure.code() else {
        return Err(failure.into());
    };
    let now = billing.ctx.clock.now();
    if code == "FREQUENCY_LIMITED" {
        return Ok(After::At(now + TimeDelta::seconds(REFUND_PAUSE_SECONDS)));
    }
    if failure.is_passing() {
        // The provider is not well: nobody need look at the refund, which is asked for again.
        return Err(failure.into());
    }
    db.tx("refund_stuck", async |tx| stuck(tx, &refund, code).await)
        .await?;
    // Our account there may be filled at any time.
    let pause = if code == "NOT_ENOUGH" {
        REFUND_PAUSE_SECONDS
    } else {
        STUCK_SECONDS
    };
    Ok(After::At(now + TimeDelta::seconds(pause)))
}

async fn load(tx: &Tx, id: Uuid) -> Result<Option<(Refund, RefundRequest)>> {
    let Some(refund) = store::refund(tx, id).await? else {
        return Ok(None);
    };
    let wanted = match refund.state {
        RefundState::Requested => true,
        RefundState::Abnormal => refund.accepted_at.is_none(),
        RefundState::Processing | RefundState::GivenUp | RefundState::Done => false,
    };
    let Some(transaction_id) = refund.transaction_id.clone().filter(|_| wanted) else {
        return Ok(None);
    };
    let receipt = store::receipt(tx, &transaction_id)
        .await?
        .ok_or(Error::NotFound)?;
    let total = Fen::new(receipt.fen).map_err(|_| Error::internal("a receipt's amount"))?;
    let request = RefundRequest {
        transaction_id,
        out_refund_no: refund.out_refund_no.clone(),
        refund: refund.fen,
        total,
    };
    Ok(Some((refund, request)))
}

/// What the provider says of a refund.
#[derive(Clone, Debug)]
pub(crate) struct Progress {
    pub(crate) out_refund_no: String,
    pub(crate) refund_id: String,
    pub(crate) status: RefundStatus,
    pub(crate) fen: i64,
    /// When the provider took it on, where it says so.
    pub(crate) accepted_at: Option<DateTime<Utc>>,
    pub(crate) done_at: Option<DateTime<Utc>>,
}

impl Progress {
    fn of(answer: &RefundAnswer) -> Self {
        Self {
            out_refund_no: answer.out_refund_no.clone(),
            refund_id: answer.refund_id.clone(),
            status: answer.status,
            fen: answer.amount.refund,
            accepted_at: Some(answer.create_time.with_timezone(&Utc)),
            done_at: answer.success_time.map(|at| at.with_timezone(&Utc)),
        }
    }
}

/// Locks a refund after its order.
pub(crate) async fn lock(tx: &Tx, id: Uuid) -> Result<(Option<Held>, Refund)> {
    let found = store::refund(tx, id).await?.ok_or(Error::NotFound)?;
    let held = match found.order {
        Some(order) => Held::lock(tx, order).await?,
        None => None,
    };
    Ok((held, store::lock_refund(tx, id).await?))
}

/// Takes in what the provider says of a refund; says whether it fits what we know.
pub(crate) async fn learn(tx: &Tx, union: Union, id: Uuid, progress: &Progress) -> Result<bool> {
    let (mut held, refund) = lock(tx, id).await?;
    if progress.out_refund_no != refund.out_refund_no || progress.fen != refund.fen.get() {
        return Ok(false);
    }
    if refund.state == RefundState::Done {
        date(tx, &refund, progress).await?;
        return Ok(true);
    }
    if refund.state == RefundState::GivenUp && progress.status == RefundStatus::Closed {
        return Ok(true);
    }
    let accepted_at = refund
        .accepted_at
        .or(progress.accepted_at)
        .unwrap_or_else(|| tx.now());
    let first = refund.accepted_at.is_none();
    let refund = Refund {
        accepted_at: Some(accepted_at),
        ..refund
    };
    if first {
        taken_on(tx, held.as_ref(), &refund, (accepted_at, progress.status)).await?;
    }
    let refund_id = Some(progress.refund_id.as_str());
    match progress.status {
        RefundStatus::Processing => {
            let state = RefundState::Processing;
            store::save_refund(
                tx,
                &Refund {
                    state,
                    ..refund.clone()
                },
                refund_id,
                None,
            )
            .await?;
        }
        RefundStatus::Success => {
            let done_at = Some(progress.done_at.unwrap_or_else(|| tx.now()));
            let done = Refund {
                state: RefundState::Done,
                done_at,
                ..refund
            };
            finish(tx, union, held.as_mut(), &done, refund_id).await?;
        }
        RefundStatus::Abnormal => {
            let state = RefundState::Abnormal;
            let refund = Refund { state, ..refund };
            store::save_refund(tx, &refund, refund_id, Some("ABNORMAL")).await?;
            note(tx, held.as_ref(), &refund, "ABNORMAL").await?;
        }
        RefundStatus::Closed => closed(tx, held.as_ref(), refund).await?,
    }
    Ok(true)
}

/// Its end was told before its beginning: the day it counts for is the provider's.
async fn date(tx: &Tx, refund: &Refund, progress: &Progress) -> Result<()> {
    let told = progress.accepted_at;
    if let Some(at) = told.filter(|at| refund.accepted_at != Some(*at)) {
        store::date_refund(tx, refund.id, at).await?;
        super::reconcile::moved(tx, at);
    }
    Ok(())
}

/// The provider has it. From now on one row asks about it until it is over.
async fn taken_on(
    tx: &Tx,
    held: Option<&Held>,
    refund: &Refund,
    (at, status): (DateTime<Utc>, RefundStatus),
) -> Result<()> {
    if let Some(held) = held {
        held.step(tx, Step::RefundAccepted, Some(refund.fen))
            .await?;
    }
    if !matches!(status, RefundStatus::Success | RefundStatus::Closed) {
        let next = next_refund_query(at, tx.now());
        tx.plan(NewDue::new(due::REFUND_QUERY, refund.id, next));
    }
    super::reconcile::moved(tx, at);
    Ok(())
}

async fn finish(
    tx: &Tx,
    union: Union,
    held: Option<&mut Held>,
    done: &Refund,
    refund_id: Option<&str>,
) -> Result<()> {
    store::save_refund(tx, done, refund_id, None).await?;
    store::book_transfers(tx, &refund_done(done.id, done.fen, done.order)).await?;
    tx.audit(AuditRow::system("refund_done", done.id));
    explain_done(tx, done).await?;
    kit::due::cancel(tx, due::REFUND_QUERY, &done.id.to_string()).await?;
    kit::due::cancel(tx, due::REFUND, &done.id.to_string()).await?;
    match held {
        Some(held) if done.cause.is_of_order() => {
            went_back(tx, union, held, done.id, done.fen).await
        }
        Some(held) => held.step(tx, Step::RefundDone, Some(done.fen)).await,
        None => Ok(()),
    }
}

/// What somebody was to look at is over with the money back where it came from.
async fn explain_done(tx: &Tx, done: &Refund) -> Result<()> {
    let stuck = DiscrepancyKind::RefundStuck;
    let explanation = "the provider has paid it out";
    store::explain(tx, stuck, &done.id.to_string(), explanation).await?;
    let kind = match done.cause {
        RefundCause::Mismatch => DiscrepancyKind::AmountDiffers,
        RefundCause::Unknown => DiscrepancyKind::UnknownOrder,
        RefundCause::Returned | RefundCause::Refused | RefundCause::Late => return Ok(()),
    };
    let Some(transaction_id) = &done.transaction_id else {
        return Ok(());
    };
    let receipt = store::receipt(tx, transaction_id).await?;
    let receipt = receipt.ok_or(Error::NotFound)?;
    let explanation = "all of the money has gone back";
    store::explain(tx, kind, &receipt.out_trade_no, explanation).await?;
    Ok(())
}

/// The provider closed it: it is asked for again, ever more rarely. From the second time somebody
/// is told, and at the last it is left to them.
async fn closed(tx: &Tx, held: Option<&Held>, refund: Refund) -> Result<()> {
    let attempt = refund.attempt;
    // The day's bill may list it: it is no refund that we do not know.
    store::add_closed_attempt(tx, &refund).await?;
    if attempt > 1 {
        note(tx, held, &refund, CLOSED).await?;
    }
    if attempt < REFUND_ATTEMPTS_MAX {
        let at = tx.now() + TimeDelta::seconds(refund_pause_seconds(attempt));
        return again(tx, held, refund, at).await;
    }
    let refund = Refund {
        state: RefundState::GivenUp,
        accepted_at: None,
        ..refund
    };
    store::save_refund(tx, &refund, None, Some(CLOSED)).await?;
    kit::due::cancel(tx, due::REFUND_QUERY, &refund.id.to_string()).await?;
    let left = format!("{CLOSED} {attempt} times: it is no longer asked for by itself");
    store::note_discrepancy(tx, &stuck_refund(&refund, &left)).await
}

/// Asks for it again under another number.
async fn again(tx: &Tx, held: Option<&Held>, refund: Refund, at: DateTime<Utc>) -> Result<()> {
    let attempt = refund.attempt + 1;
    let refund = Refund {
        attempt,
        out_refund_no: out_refund_no(refund.id, attempt),
        state: RefundState::Requested,
        accepted_at: None,
        ..refund
    };
    store::save_refund(tx, &refund, None, Some(CLOSED)).await?;
    if let Some(held) = held {
        held.step(tx, Step::RefundAskedAgain, Some(refund.fen))
            .await?;
    }
    tx.plan(request_of(&refund, at));
    Ok(())
}

/// The work that asks the provider for a refund: one row for each number it has there.
fn request_of(refund: &Refund, at: DateTime<Utc>) -> NewDue {
    let work = NewDue::new(due::REFUND, refund.id, at);
    if refund.attempt > 1 {
        work.ordinal(refund.attempt)
    } else {
        work
    }
}

/// `retryRefund`: an operator has looked at a refund, and has it tried now.
///
/// # Errors
/// A refusal, when the money is back; not found; unauthenticated, forbidden; without the second
/// factor; while audit rows wait for their seal.
pub async fn retry_refund(
    billing: &Billing,
    caller: &Caller,
    id: Uuid,
    key: Uuid,
) -> Result<Refund> {
    billing
        .ctx
        .db
        .tx("retry_refund", async |tx| retry(tx, caller, id, key).await)
        .await
}

async fn retry(tx: &Tx, caller: &Caller, id: Uuid, key: Uuid) -> Result<Refund> {
    let operator = access::operator(tx, caller).await?;
    access::stepped_up(tx, caller)?;
    require_sealing(tx).await?;
    let (held, refund) = lock(tx, id).await?;
    let request = once::Request {
        caller: operator.member.id.0,
        key,
        hash: once::hash("retry_refund", &[&id.to_string()]),
    };
    match once::begin(tx, &request).await? {
        Once::Done(_) => return Ok(refund),
        Once::Refused(code) => return recorded(&code),
        Once::First => {}
    }
    match refund.state {
        RefundState::Done => return Err(Refusal::AlreadyRefunded.into()),
        RefundState::GivenUp => again(tx, held.as_ref(), refund.clone(), tx.now()).await?,
        RefundState::Abnormal | RefundState::Requested if refund.accepted_at.is_none() => {
            tx.plan(request_of(&refund, tx.now()));
        }
        // The provider has it: all there is to do is to ask what became of it.
        RefundState::Abnormal | RefundState::Requested | RefundState::Processing => {
            tx.plan(NewDue::new(due::REFUND_QUERY, id, tx.now()));
        }
    }
    tx.audit(operator.member.audit("retry_refund", id));
    once::finish(tx, id.as_bytes())?;
    store::refund(tx, id).await?.ok_or(Error::NotFound)
}

async fn note(tx: &Tx, held: Option<&Held>, refund: &Refund, code: &str) -> Result<()> {
    let kind = DiscrepancyKind::RefundStuck;
    let subject = refund.id.to_string();
    if store::find_discrepancy(tx, kind, &subject)
        .await?
        .is_some_and(|state| state == "open")
    {
        return Ok(());
    }
    if let Some(held) = held {
        held.step(tx, Step::RefundStuck, Some(refund.fen)).await?;
    }
    store::note_discrepancy(tx, &stuck_refund(refund, code)).await
}

fn stuck_refund(refund: &Refund, detail: &str) -> NewDiscrepancy {
    NewDiscrepancy {
        kind: DiscrepancyKind::RefundStuck,
        subject: refund.id.to_string(),
        bill_date: None,
        order: refund.order,
        ours_fen: Some(refund.fen.get()),
        theirs_fen: None,
        detail: detail.to_owned(),
    }
}

async fn stuck(tx: &Tx, refund: &Refund, code: &str) -> Result<()> {
    let (held, refund) = lock(tx, refund.id).await?;
    if matches!(refund.state, RefundState::Requested | RefundState::Abnormal) {
        let state = RefundState::Abnormal;
        let refund = Refund { state, ..refund };
        store::save_refund(tx, &refund, None, Some(code)).await?;
        note(tx, held.as_ref(), &refund, code).await?;
    }
    Ok(())
}

/// Asks the provider what became of a refund.
///
/// # Errors
/// When the provider does not answer: the job is run again.
pub async fn query_refund(billing: &Billing, id: Uuid) -> Result<After> {
    let db = &billing.ctx.db;
    let refund = db
        .read("query_refund", async |tx| store::refund(tx, id).await)
        .await?;
    let Some(refund) = refund else {
        return Ok(After::Done);
    };
    let is_open = matches!(
        refund.state,
        RefundState::Processing | RefundState::Abnormal
    );
    if !is_open {
        return look_into(billing, &refund).await;
    }
    learn_anew(billing, &refund).await?;
    let now = billing.ctx.clock.now();
    let since = refund.accepted_at.unwrap_or(refund.requested_at);
    // When it is over the row is gone and this changes nothing.
    Ok(After::At(match refund.state {
        RefundState::Processing => next_refund_query(since, now),
        RefundState::Requested
        | RefundState::Abnormal
        | RefundState::GivenUp
        | RefundState::Done => now + TimeDelta::seconds(STUCK_SECONDS),
    }))
}

/// Asks about a refund that waits for nothing, where a notification said otherwise than we know.
async fn look_into(billing: &Billing, refund: &Refund) -> Result<After> {
    let number = &refund.out_refund_no;
    let noted = billing
        .ctx
        .db
        .read("look_into_refund", async |tx| {
            store::find_discrepancy(tx, DiscrepancyKind::RefundNoticeDiffers, number).await
        })
        .await?;
    if noted.is_some_and(|state| state == "open") {
        learn_anew(billing, refund).await?;
    }
    Ok(After::Done)
}

/// Asks the provider about a refund and takes the answer in.
pub(crate) async fn learn_anew(billing: &Billing, refund: &Refund) -> Result<()> {
    let answer = match billing.wechat.refund_query(&refund.out_refund_no).await {
        Ok(answer) => answer,
        // It was never asked for: the job that asks will.
        Err(failure) if failure.code() == Some("RESOURCE_NOT_EXISTS") => return Ok(()),
        Err(failure) => return Err(failure.into()),
    };
    let (union, id) = (billing.ctx.union, refund.id);
    let progress = Progress::of(&answer);
    let db = &billing.ctx.db;
    db.tx("refund_learnt", async |tx| {
        if learn(tx, union, id, &progress).await? {
            let kind = DiscrepancyKind::RefundNoticeDiffers;
            let explanation = "asked: the provider says what we know of it";
            store::explain(tx, kind, &progress.out_refund_no, explanation).await?;
        }
        Ok(())
    })
    .await?;
    Ok(())
}
