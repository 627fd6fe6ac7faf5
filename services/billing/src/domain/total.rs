//! Sums over many orders, as the books hold them. An order's amount is a `Fen` and has a limit; a
//! sum of them has none that money could reach.

use std::fmt;

use kit::types::Fen;

/// A sum in fen; below zero where more was taken back than given.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Total(i64);

impl Total {
    pub const ZERO: Self = Self(0);

    pub const fn new(fen: i64) -> Self {
        Self(fen)
    }

    pub const fn get(self) -> i64 {
        self.0
    }

    pub const fn is_zero(self) -> bool {
        self.0 == 0
    }

    /// All the money there is in the world is far from where this would overflow.
    #[must_use]
    pub const fn add(self, other: Self) -> Self {
        Self(self.0.saturating_add(other.0))
    }

    #[must_use]
    pub const fn sub(self, other: Self) -> Self {
        Self(self.0.saturating_sub(other.0))
    }
}

impl From<Fen> for Total {
    fn from(fen: Fen) -> Self {
        Self(fen.get())
    }
}

impl fmt::Display for Total {
    /// Yuan with two decimals, as people read it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sign = if self.0 < 0 { "-" } else { "" };
        let fen = self.0.unsigned_abs();
        write!(f, "{sign}{}.{:02}", fen / 100, fen % 100)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A sum goes on where an order's amount ends, and below zero.
    /// ASVS V1.4.2.
    #[test]
    fn a_sum_is_larger_than_any_order() {
        let two = Total::from(Fen::MAX).add(Fen::MAX.into());
        assert_eq!(two.to_string(), "200000000.00");
        assert_eq!(Total::ZERO.sub(Total::new(5)).to_string(), "-0.05");
        assert_eq!(
            Total::new(i64::MIN).to_string(),
            "-92233720368547758.08",
            "the least there is"
        );
    }
}
