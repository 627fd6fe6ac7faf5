//! What many orders of one request need is read by one query for all of them.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::Arc;

use async_graphql::Context;
use async_graphql::dataloader::{DataLoader, Loader};
use kit::types::OrderId;
use kit::{Ctx, Error, Result};

use crate::domain::{Line, Payment, Refund};
use crate::queries;

/// Reads parts of orders by the orders' ids.
#[derive(Clone, Debug)]
pub(super) struct Parts(Ctx);

/// The lines of an order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct LinesOf(pub(super) OrderId);

/// The payment of an order that succeeded, or else its last.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct PaymentOf(pub(super) OrderId);

/// The refunds of an order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct RefundsOf(pub(super) OrderId);

type Loaded<K, V> = std::result::Result<HashMap<K, V>, Arc<Error>>;

fn gathered<K: Hash + Eq, V>(rows: Vec<(OrderId, V)>, key: fn(OrderId) -> K) -> HashMap<K, Vec<V>> {
    let mut found: HashMap<K, Vec<V>> = HashMap::new();
    for (order, row) in rows {
        found.entry(key(order)).or_default().push(row);
    }
    found
}

impl Loader<LinesOf> for Parts {
    type Value = Vec<Line>;
    type Error = Arc<Error>;

    async fn load(&self, keys: &[LinesOf]) -> Loaded<LinesOf, Vec<Line>> {
        let ids = keys.iter().map(|key| key.0.0).collect();
        let rows = queries::lines(&self.0.db, ids).await.map_err(Arc::new)?;
        Ok(gathered(rows, LinesOf))
    }
}

impl Loader<PaymentOf> for Parts {
    type Value = Payment;
    type Error = Arc<Error>;

    async fn load(&self, keys: &[PaymentOf]) -> Loaded<PaymentOf, Payment> {
        let ids = keys.iter().map(|key| key.0.0).collect();
        let rows = queries::last_payments(&self.0.db, ids)
            .await
            .map_err(Arc::new)?;
        Ok(rows
            .into_iter()
            .map(|one| (PaymentOf(one.order), one))
            .collect())
    }
}

impl Loader<RefundsOf> for Parts {
    type Value = Vec<Refund>;
    type Error = Arc<Error>;

    async fn load(&self, keys: &[RefundsOf]) -> Loaded<RefundsOf, Vec<Refund>> {
        let ids = keys.iter().map(|key| key.0.0).collect();
        let rows = queries::refunds(&self.0.db, ids).await.map_err(Arc::new)?;
        Ok(gathered(rows, RefundsOf))
    }
}

/// The loader of a schema. It keeps nothing between requests.
pub(super) fn parts(ctx: Ctx) -> DataLoader<Parts> {
    #[expect(
        clippy::disallowed_methods,
        reason = "the loader waits a moment for others to join"
    )]
    DataLoader::new(Parts(ctx), tokio::spawn)
}

/// One part, read together with those that the request asks for at the same moment.
pub(super) async fn load<K>(
    ctx: &Context<'_>,
    key: K,
) -> Result<Option<<Parts as Loader<K>>::Value>>
where
    K: Send + Sync + Hash + Eq + Clone + 'static,
    Parts: Loader<K, Error = Arc<Error>>,
{
    let loader = ctx
        .data::<DataLoader<Parts>>()
        .map_err(|_| Error::internal("the schema has no loader"))?;
    loader
        .load_one(key)
        .await
        .map_err(|error| match Arc::into_inner(error) {
            Some(error) => error,
            None => Error::Unavailable("orders could not be read"),
        })
}
