//! Faults of the provider's answers, as told by `POST /sandbox/answers`.

use crate::error::Refusal;
use serde::Deserialize;

/// Instructions at once.
const FAULTS_MAX: usize = 100;

/// What is wrong with an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum AnswerFault {
    /// The signature is over another body.
    BadSignature,
    /// The serial names a key nobody knows.
    OtherSerial,
    /// Signed well, but ten minutes ago.
    StaleTimestamp,
    /// The provider's own probe: a signature that must not verify.
    Signtest,
    /// The act is done; the answer is cut off.
    Lose,
    /// 500 without the act.
    SystemError,
    /// 429 without the act.
    FrequencyLimited,
    /// The act is done; the answer names another currency.
    ForeignCurrency,
    /// 403 without the act, as for a merchant whose balance is too small for a refund.
    NotEnough,
}

impl AnswerFault {
    /// The refusal that stands in place of the act, if the act is not done.
    pub(crate) fn refusal(self) -> Option<Refusal> {
        match self {
            Self::SystemError => Some(Refusal::system()),
            Self::FrequencyLimited => Some(Refusal::frequency(
                "频率超限,请降低请求接口频率 (too many requests)",
            )),
            Self::NotEnough => Some(Refusal::not_enough()),
            Self::BadSignature
            | Self::OtherSerial
            | Self::StaleTimestamp
            | Self::Signtest
            | Self::Lose
            | Self::ForeignCurrency => None,
        }
    }
}

#[derive(Debug)]
struct Instruction {
    path_prefix: String,
    remaining: u32,
    fault: AnswerFault,
}

/// The instructions not yet used up, in order.
#[derive(Debug, Default)]
pub(crate) struct AnswerFaults(Vec<Instruction>);

impl AnswerFaults {
    /// Adds one; false when there are too many.
    pub(crate) fn add(&mut self, path_prefix: String, count: u32, fault: AnswerFault) -> bool {
        let room = self.0.len() < FAULTS_MAX;
        if room && count > 0 {
            self.0.push(Instruction {
                path_prefix,
                remaining: count,
                fault,
            });
        }
        room
    }

    /// Forgets them all; how many answers they would still have spoiled.
    pub(crate) fn forget(&mut self) -> u32 {
        let left = self.0.iter().map(|instruction| instruction.remaining).sum();
        self.0.clear();
        left
    }

    /// Uses up the first that fits the path.
    pub(crate) fn take(&mut self, path: &str) -> Option<AnswerFault> {
        let fits = |instruction: &Instruction| path.starts_with(&instruction.path_prefix);
        let place = self.0.iter().position(fits)?;
        let instruction = &mut self.0[place];
        instruction.remaining -= 1;
        let fault = instruction.fault;
        if instruction.remaining == 0 {
            let _used = self.0.remove(place);
        }
        Some(fault)
    }
}
