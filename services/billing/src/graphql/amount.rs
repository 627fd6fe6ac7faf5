//! Money of the books as the graph shows it.

use async_graphql::SimpleObject;

use crate::domain::Total;

/// An amount of the books: a sum of many orders, or what somebody else has written down. It may be
/// larger than a number of the graph, and below zero.
#[derive(Clone, Debug, PartialEq, Eq, SimpleObject)]
pub struct BookAmount {
    /// In fen (分), in decimal digits; 100 fen are one yuan.
    pub fen: String,
    /// In yuan with two decimals, for people.
    pub yuan: String,
    /// The ISO 4217 code: always CNY.
    pub currency: &'static str,
}

impl From<Total> for BookAmount {
    fn from(total: Total) -> Self {
        Self {
            fen: total.get().to_string(),
            yuan: total.to_string(),
            currency: "CNY",
        }
    }
}
