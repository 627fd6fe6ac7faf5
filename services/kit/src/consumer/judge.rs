//! What a record is to a consumer that stands at a position. Pure.

use crate::bus::{EPOCH_OPENED, Number};
use crate::event::Record;

/// How far a partition has been applied, by the relay's numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Position {
    /// 0 before the first record: any epoch may begin.
    pub(super) epoch: i64,
    /// -1 when any number may come next.
    pub(super) last_pseq: i64,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// Seen before, or sent too late by a relay of an epoch that is over.
    Drop,
    /// The next one.
    Apply(Position),
    /// A new epoch begins, announced.
    Open(Position),
    /// The partition must stop before this record: why.
    Hold(String),
}

pub(super) fn judge(position: Position, record: &Record) -> Verdict {
    let opens = record.kind == EPOCH_OPENED && record.pseq == 0;
    let number = Number {
        epoch: record.epoch,
        pseq: record.pseq,
    };
    judge_number(position, number, opens)
}

/// [`judge`] for a record of which only the number is known: `opens` when it opens an epoch.
pub(super) fn judge_number(position: Position, record: Number, opens: bool) -> Verdict {
    let Position { epoch, last_pseq } = position;
    let here = Position {
        epoch: record.epoch,
        last_pseq: record.pseq,
    };
    if record.epoch < epoch {
        return Verdict::Drop;
    }
    if record.epoch > epoch {
        return match (opens, epoch) {
            (true, _) => Verdict::Open(here),
            // The first record this consumer ever sees here.
            (false, 0) => Verdict::Apply(here),
            (false, _) => Verdict::Hold(format!(
                "epoch: number {} is of epoch {}, which nobody announced after {epoch}",
                record.pseq, record.epoch
            )),
        };
    }
    if opens || record.pseq <= last_pseq {
        Verdict::Drop
    } else if last_pseq == -1 || record.pseq == last_pseq + 1 {
        Verdict::Apply(here)
    } else {
        Verdict::Hold(format!(
            "gap: number {} came after {last_pseq} of epoch {epoch}",
            record.pseq
        ))
    }
}

#[cfg(test)]
mod tests {
    use chrono::DateTime;
    use uuid::Uuid;

    use super::*;

    fn record(epoch: i64, pseq: i64) -> Record {
        Record {
            topic: "t.v1".to_owned(),
            partition: 0,
            offset: 0,
            epoch,
            pseq,
            id: Uuid::nil(),
            kind: if pseq == 0 { EPOCH_OPENED } else { "t.Thing" }.to_owned(),
            key: Vec::new(),
            version: 1,
            must_understand: false,
            at: DateTime::UNIX_EPOCH,
            traceparent: None,
            payload: Vec::new(),
        }
    }

    fn at(epoch: i64, last_pseq: i64) -> Position {
        Position { epoch, last_pseq }
    }

    /// Within an epoch: what was seen is dropped, the next is applied, a loss stops.
    #[test]
    fn numbers_of_one_epoch() {
        assert_eq!(judge(at(3, 7), &record(3, 7)), Verdict::Drop);
        assert_eq!(judge(at(3, 7), &record(3, 0)), Verdict::Drop);
        assert_eq!(judge(at(3, 7), &record(3, 8)), Verdict::Apply(at(3, 8)));
        assert!(matches!(judge(at(3, 7), &record(3, 9)), Verdict::Hold(_)));
        assert_eq!(judge(at(3, -1), &record(3, 9)), Verdict::Apply(at(3, 9)));
    }

    /// A later epoch counts only when it is announced, an earlier one never again.
    #[test]
    fn epochs() {
        assert_eq!(judge(at(3, 7), &record(2, 8)), Verdict::Drop);
        assert_eq!(judge(at(3, 7), &record(4, 0)), Verdict::Open(at(4, 0)));
        assert_eq!(judge(at(3, 7), &record(6, 0)), Verdict::Open(at(6, 0)));
        assert!(matches!(judge(at(3, 7), &record(4, 1)), Verdict::Hold(_)));
        assert!(matches!(judge(at(3, 7), &record(4, 8)), Verdict::Hold(_)));
    }

    /// A consumer that is new takes the log as it finds it.
    #[test]
    fn the_first_record() {
        assert_eq!(judge(at(0, -1), &record(1, 0)), Verdict::Open(at(1, 0)));
        assert_eq!(judge(at(0, -1), &record(1, 40)), Verdict::Apply(at(1, 40)));
    }
}
