//! A day's reconciliation: our book against the provider's bill, each movement by its number.
//!
//! It names differences and heals nothing: what the bill knows and we do not is asked for.

use std::collections::BTreeMap;

use kit::types::Fen;

/// Which of the two movements a row is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum BillKind {
    Payment,
    Refund,
}

/// A movement as the bill has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BillEntry {
    pub kind: BillKind,
    /// The provider's transaction id, or our refund number.
    pub number: String,
    pub out_trade_no: String,
    pub fen: Fen,
    pub settled: Settled,
}

/// A movement as our book has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OwnEntry {
    pub kind: BillKind,
    pub number: String,
    pub fen: Fen,
    pub settled: Settled,
}

/// Whether the money has arrived where it goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Settled {
    Yes,
    /// On its way.
    NotYet,
    /// It will not arrive by itself.
    Stuck,
    /// The provider closed it, and it was asked for under another number: a bill may list it.
    Never,
}

/// A row of the bill that is no movement we could compare.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnreadRow {
    /// Its line in the bill, the header being the first.
    pub line: usize,
    pub problem: RowProblem,
    /// The movement's number, where the row still tells it.
    pub number: Option<String>,
    /// What a person needs of it; nothing of who paid.
    pub text: String,
}

/// Why a row was not read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RowProblem {
    /// Another currency than ours.
    Currency,
    /// Another merchant's.
    Merchant,
    Unreadable(&'static str),
}

impl RowProblem {
    pub const fn reason(self) -> &'static str {
        match self {
            Self::Currency => "another currency than CNY",
            Self::Merchant => "another merchant's",
            Self::Unreadable(reason) => reason,
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum DifferenceKind {
    MissingHere,
    MissingThere,
    AmountDiffers,
    StateDiffers,
}

impl DifferenceKind {
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::MissingHere => "missing_here",
            Self::MissingThere => "missing_there",
            Self::AmountDiffers => "amount_differs",
            Self::StateDiffers => "state_differs",
        }
    }
}

/// What our book and the bill do not agree on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Difference {
    pub kind: DifferenceKind,
    pub number: String,
    /// Our number of the order at the provider; empty when only we know of it.
    pub out_trade_no: String,
    pub is_refund: bool,
    pub ours: Option<Fen>,
    pub theirs: Option<Fen>,
}

/// The differences, in the order of kind and number.
pub fn compare(ours: &[OwnEntry], theirs: &[BillEntry]) -> Vec<Difference> {
    let mut own: BTreeMap<(BillKind, &str), &OwnEntry> = ours
        .iter()
        .map(|one| ((one.kind, one.number.as_str()), one))
        .collect();
    let mut found = Vec::new();
    for entry in theirs {
        let difference = |kind, ours| Difference {
            kind,
            number: entry.number.clone(),
            out_trade_no: entry.out_trade_no.clone(),
            is_refund: entry.kind == BillKind::Refund,
            ours,
            theirs: Some(entry.fen),
        };
        match own.remove(&(entry.kind, entry.number.as_str())) {
            None => found.push(difference(DifferenceKind::MissingHere, None)),
            Some(one) if one.fen != entry.fen => {
                found.push(difference(DifferenceKind::AmountDiffers, Some(one.fen)));
            }
            Some(one) if disagree(one.settled, entry.settled) => {
                found.push(difference(DifferenceKind::StateDiffers, Some(one.fen)));
            }
            Some(_) => {}
        }
    }
    let missing = own.into_values();
    let missing = missing.filter(|one| one.settled != Settled::Never);
    found.extend(missing.map(|one| Difference {
        kind: DifferenceKind::MissingThere,
        number: one.number.clone(),
        out_trade_no: String::new(),
        is_refund: one.kind == BillKind::Refund,
        ours: Some(one.fen),
        theirs: None,
    }));
    found.sort_by(|a, b| (a.is_refund, &a.number).cmp(&(b.is_refund, &b.number)));
    found
}

/// The bill shows the day's end, our book may know more: only what cannot become true differs.
fn disagree(ours: Settled, theirs: Settled) -> bool {
    match (ours, theirs) {
        (Settled::Yes, Settled::Stuck | Settled::Never)
        | (Settled::NotYet | Settled::Stuck | Settled::Never, Settled::Yes) => true,
        (Settled::Yes, Settled::Yes | Settled::NotYet)
        | (
            Settled::NotYet | Settled::Stuck | Settled::Never,
            Settled::NotYet | Settled::Stuck | Settled::Never,
        ) => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn own(number: &str, fen: i64, settled: Settled) -> OwnEntry {
        let fen = Fen::new(fen).unwrap();
        OwnEntry {
            kind: BillKind::Payment,
            number: number.to_owned(),
            fen,
            settled,
        }
    }

    fn bill(number: &str, fen: i64, settled: Settled) -> BillEntry {
        BillEntry {
            kind: BillKind::Payment,
            number: number.to_owned(),
            out_trade_no: "t".to_owned(),
            fen: Fen::new(fen).unwrap(),
            settled,
        }
    }

    #[test]
    fn equal_books_agree_and_each_difference_is_named() {
        let (yes, not_yet) = (Settled::Yes, Settled::NotYet);
        assert!(compare(&[own("1", 5, yes)], &[bill("1", 5, yes)]).is_empty());
        // The bill is as of midnight; a refund that arrived since is no difference.
        assert!(compare(&[own("1", 5, yes)], &[bill("1", 5, not_yet)]).is_empty());
        // What the provider closed may be listed or not, but not as paid out.
        let closed = own("1", 5, Settled::Never);
        assert!(compare(std::slice::from_ref(&closed), &[]).is_empty());
        let listed = [bill("1", 5, Settled::Stuck)];
        assert!(compare(std::slice::from_ref(&closed), &listed).is_empty());
        let paid = compare(&[closed], &[bill("1", 5, yes)]);
        assert_eq!(paid[0].kind, DifferenceKind::StateDiffers);
        let ours = [own("1", 5, yes), own("2", 5, yes), own("3", 5, not_yet)];
        let theirs = [bill("1", 6, yes), bill("3", 5, yes), bill("4", 7, yes)];
        let kinds: Vec<_> = compare(&ours, &theirs)
            .into_iter()
            .map(|d| (d.number, d.kind))
            .collect();
        assert_eq!(
            kinds,
            [
                ("1".to_owned(), DifferenceKind::AmountDiffers),
                ("2".to_owned(), DifferenceKind::MissingThere),
                ("3".to_owned(), DifferenceKind::StateDiffers),
                ("4".to_owned(), DifferenceKind::MissingHere),
            ]
        );
    }
}
