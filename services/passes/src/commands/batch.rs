//! What the lanes share: a batch of requests, of which each was looked up and the new ones decided,
//! is recorded and answered.

use std::collections::BTreeMap;

use kit::once::{self, BatchOnce, BatchOutcome, Request};
use kit::{Error, Result, Tx};

use crate::domain::Pass;
use crate::error::{Refusal, recorded};

/// What becomes of one request.
pub(super) type Decided = std::result::Result<Pass, Refusal>;

/// Records what was `decided`, by the requests' places, and answers all of them in their order.
pub(super) async fn answers(
    tx: &Tx,
    (requests, found): (&[Request], Vec<BatchOnce>),
    decided: &BTreeMap<usize, Decided>,
) -> Result<Vec<Result<Pass>>> {
    finish(tx, requests, decided).await?;
    let mut answers = Vec::with_capacity(found.len());
    for (at, once) in found.into_iter().enumerate() {
        answers.push(answer(tx, at, once, decided).await?);
    }
    Ok(answers)
}

async fn answer(
    tx: &Tx,
    at: usize,
    once: BatchOnce,
    decided: &BTreeMap<usize, Decided>,
) -> Result<Result<Pass>> {
    let at = match once {
        BatchOnce::First => at,
        BatchOnce::Twin(first) => first,
        BatchOnce::KeyReused => return Ok(Err(once::key_reused().into())),
        BatchOnce::Refused(code) => return Ok(recorded(&code)),
        BatchOnce::Done(id) => {
            return match super::recorded_pass(tx, &id).await {
                Ok(pass) => Ok(Ok(pass)),
                Err(Error::NotFound) => Ok(Err(Error::NotFound)),
                Err(error) => Err(error),
            };
        }
    };
    Ok(match decided.get(&at) {
        Some(Ok(pass)) => Ok(pass.clone()),
        Some(Err(refusal)) => Err((*refusal).into()),
        None => Err(Error::internal("a request was not decided")),
    })
}

async fn finish(tx: &Tx, requests: &[Request], decided: &BTreeMap<usize, Decided>) -> Result<()> {
    // What may be otherwise in a moment is not recorded: the same request may come again.
    let (passing, lasting): (Vec<_>, Vec<_>) = decided
        .iter()
        .partition(|(_, decided)| matches!(decided, Err(refusal) if refusal.is_transient()));
    let passing: Vec<Request> = passing
        .into_iter()
        .map(|(at, _)| requests[*at].clone())
        .collect();
    once::forget_batch(tx, &passing).await?;
    let outcomes: Vec<BatchOutcome> = lasting
        .into_iter()
        .map(|(at, decided)| BatchOutcome {
            caller: requests[*at].caller,
            key: requests[*at].key,
            outcome: match decided {
                Ok(pass) => Ok(pass.id.to_bytes().to_vec()),
                Err(refusal) => Err(refusal.code()),
            },
        })
        .collect();
    once::finish_batch(tx, &outcomes);
    Ok(())
}
