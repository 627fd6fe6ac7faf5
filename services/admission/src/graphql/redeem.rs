//! The answer to a scan. Written out by hand in the shape that `kit::payload!` gives the others,
//! because it is flat: a gate's program reads the decision itself, not a thing that has one.

use async_graphql::{Enum, Result, SimpleObject};
use chrono::{DateTime, Utc};
use kit::graphql::{Language, answer_parts};

use super::redemption::{Answer, Redemption, ScanDecision, ScanHints, ScanReason, ScanRemaining};
use crate::domain::redemption::Redemption as RedemptionState;

/// What a scan is answered. A denial is an answer; `userErrors` say that the gate itself, or the
/// scan's number, is at fault.
#[derive(Clone, Debug, Default, SimpleObject)]
pub(super) struct RedeemPayload {
    /// What the gate does.
    decision: Option<ScanDecision>,
    /// Why it does not simply open; null when it does.
    reason: Option<ScanReason>,
    /// For people, in the language of `Accept-Language`.
    explanation: Option<String>,
    /// What is left after an admission.
    remaining: Option<ScanRemaining>,
    /// What staff should look at.
    hints: Option<ScanHints>,
    /// The earliest instant at which it would be admitted; null when waiting does not help.
    next_try_at: Option<DateTime<Utc>>,
    /// The record of the scan.
    redemption: Option<Redemption>,
    /// Why nothing was decided; empty when it was.
    user_errors: Vec<RedeemUserError>,
}

/// Why a scan was not decided.
#[derive(Clone, Debug, PartialEq, Eq, SimpleObject)]
pub(super) struct RedeemUserError {
    /// For programs.
    code: RedeemErrorCode,
    /// The path of the input field at fault.
    field: Option<Vec<String>>,
    /// For people, in the language of `Accept-Language`.
    message: String,
}

/// The reasons for which a scan is not decided.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Enum)]
pub(super) enum RedeemErrorCode {
    /// The assertion is not that of an enrolled gate of this union.
    GateNotRecognised,
    /// The gate is switched off.
    GateDisabled,
    /// The scan's number names another device or enrolment.
    GateMismatch,
    /// The gate is another venue's.
    GateOfAnotherVenue,
    /// The scan's number was used for another scan: another code, direction or party.
    ScanIdReused,
    /// What the input names is absent.
    NotFound,
    /// The caller may not do this.
    Forbidden,
    /// A field of the input cannot be read.
    BadInput,
}

impl RedeemPayload {
    /// The answer of the command.
    ///
    /// # Errors
    /// A top-level error for limits and bugs.
    pub(super) fn of(language: Language, result: kit::Result<RedemptionState>) -> Result<Self> {
        let one = match result {
            Ok(one) => one,
            Err(error) => {
                let (code, field, message) = answer_parts(language, error)?;
                let user_errors = vec![RedeemUserError {
                    code,
                    field,
                    message,
                }];
                return Ok(Self {
                    user_errors,
                    ..Self::default()
                });
            }
        };
        let answer = Answer::of(&one, language);
        Ok(Self {
            decision: Some(answer.decision),
            reason: answer.reason,
            explanation: Some(answer.explanation),
            remaining: answer.remaining,
            hints: answer.hints,
            next_try_at: answer.next_try_at,
            redemption: Some(Redemption::of(one)),
            user_errors: Vec::new(),
        })
    }
}
