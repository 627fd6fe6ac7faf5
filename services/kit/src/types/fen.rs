//! Money in integer fen (分). One yuan is 100 fen. Never a float, never a rounding by accident.

use std::fmt;

/// An amount in fen, from zero to [`Fen::MAX`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Fen(i64);

/// Why a number is not an amount.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FenError {
    #[error("an amount cannot be negative")]
    Negative,
    #[error("an amount cannot exceed {} fen", Fen::MAX.get())]
    TooLarge,
}

impl Fen {
    pub const ZERO: Self = Self(0);
    /// One hundred million yuan: far above any order, far below overflow when summed.
    pub const MAX: Self = Self(10_000_000_000);

    /// # Errors
    /// When negative or above [`Fen::MAX`].
    pub const fn new(fen: i64) -> Result<Self, FenError> {
        if fen < 0 {
            Err(FenError::Negative)
        } else if fen > Self::MAX.0 {
            Err(FenError::TooLarge)
        } else {
            Ok(Self(fen))
        }
    }

    pub const fn get(self) -> i64 {
        self.0
    }

    pub const fn is_zero(self) -> bool {
        self.0 == 0
    }

    /// # Errors
    /// When the sum exceeds [`Fen::MAX`].
    pub const fn add(self, other: Self) -> Result<Self, FenError> {
        Self::new(self.0 + other.0)
    }

    /// # Errors
    /// When `other` is larger.
    pub const fn sub(self, other: Self) -> Result<Self, FenError> {
        Self::new(self.0 - other.0)
    }

    /// This amount split over `weights` in proportion, by largest remainder: the parts sum to
    /// the whole exactly; ties go to the earlier weight. All-zero weights give all zeros only
    /// when the amount is zero, else the first part takes all.
    #[must_use]
    pub fn split(self, weights: &[Self]) -> Vec<Self> {
        let total: i128 = weights.iter().map(|w| i128::from(w.0)).sum();
        let Some(first) = weights.first() else {
            return Vec::new();
        };
        let _ = first;
        if total == 0 {
            let mut parts = vec![Self::ZERO; weights.len()];
            parts[0] = self;
            return parts;
        }
        let mut parts = Vec::with_capacity(weights.len());
        let mut remainders = Vec::with_capacity(weights.len());
        let mut given: i64 = 0;
        for (index, weight) in weights.iter().enumerate() {
            let product = i128::from(self.0) * i128::from(weight.0);
            let part = i64::try_from(product / total).unwrap_or(0);
            given += part;
            parts.push(Self(part));
            remainders.push((std::cmp::Reverse(product % total), index));
        }
        remainders.sort();
        let missing = usize::try_from(self.0 - given).unwrap_or(0);
        for (_, index) in remainders.into_iter().take(missing) {
            parts[index].0 += 1;
        }
        parts
    }
}

impl fmt::Display for Fen {
    /// Yuan with two decimals, as people read it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{:02}", self.0 / 100, self.0 % 100)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fen(n: i64) -> Fen {
        Fen::new(n).unwrap()
    }

    #[test]
    fn refuses_what_is_no_amount() {
        assert_eq!(Fen::new(-1), Err(FenError::Negative));
        assert_eq!(Fen::new(Fen::MAX.get() + 1), Err(FenError::TooLarge));
        assert_eq!(fen(5).sub(fen(6)), Err(FenError::Negative));
    }

    #[test]
    fn a_split_is_exact_and_fair() {
        assert_eq!(
            fen(100).split(&[fen(1), fen(1), fen(1)]),
            [fen(34), fen(33), fen(33)]
        );
        assert_eq!(fen(7).split(&[fen(0), fen(10)]), [fen(0), fen(7)]);
        assert_eq!(fen(7).split(&[fen(0), fen(0)]), [fen(7), fen(0)]);
        assert!(fen(7).split(&[]).is_empty());
    }

    #[test]
    fn reads_as_yuan() {
        assert_eq!(fen(20_005).to_string(), "200.05");
    }
}
