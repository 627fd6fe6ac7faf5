//! Money as the graph shows it.

use async_graphql::SimpleObject;

use crate::types::Fen;

/// An amount of money.
#[derive(Clone, Copy, Debug, PartialEq, Eq, SimpleObject)]
#[graphql(shareable)]
pub struct Money {
    /// The amount in fen (分); 100 fen are one yuan.
    pub amount_fen: i64,
    /// The ISO 4217 code: always CNY.
    pub currency: &'static str,
}

impl From<Fen> for Money {
    fn from(fen: Fen) -> Self {
        Self {
            amount_fen: fen.get(),
            currency: "CNY",
        }
    }
}
