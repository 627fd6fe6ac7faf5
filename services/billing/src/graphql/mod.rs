//! The subgraph `billing`: home of `Order`; `Member.orders` is its as well.
//!
//! Input becomes values that cannot be invalid here; what they mean is decided behind it.

mod amount;
pub mod books;
mod loader;
pub mod member;
pub mod orders;
pub mod payments;
pub mod refunds;

use async_graphql::{Context, EmptySubscription, MergedObject, Schema, SchemaBuilder};
use kit::access::Caller;
use kit::graphql::{Mode, to_graphql};
use kit::{Error, Result};

use crate::Billing;

/// What can be read.
#[derive(Debug, Default, MergedObject)]
pub struct Query(orders::OrderQuery, member::MemberQuery, books::BooksQuery);

/// What can be done.
#[derive(Debug, Default, MergedObject)]
pub struct Mutation(
    payments::PaymentMutation,
    refunds::RefundMutation,
    books::BooksMutation,
);

/// The schema as it is served.
pub type BillingSchema = Schema<Query, Mutation, EmptySubscription>;

fn builder(mode: Mode) -> SchemaBuilder<Query, Mutation, EmptySubscription> {
    let builder = Schema::build(Query::default(), Mutation::default(), EmptySubscription);
    kit::graphql::limits(builder, mode)
}

/// The schema over a service.
pub fn schema(billing: &Billing, mode: Mode) -> BillingSchema {
    builder(mode)
        .data(billing.clone())
        .data(loader::parts(billing.ctx.clone()))
        .finish()
}

/// The subgraph's SDL; needs no database.
pub fn sdl() -> String {
    kit::graphql::sdl(&builder(Mode::Production).finish())
}

/// The service and who asks.
pub(crate) fn scope<'a>(ctx: &Context<'a>) -> async_graphql::Result<(&'a Billing, &'a Caller)> {
    Ok((ctx.data::<Billing>()?, ctx.data::<Caller>()?))
}

/// What was read; an error becomes the graph's.
pub(crate) fn graph<T>(caller: &Caller, result: Result<T>) -> async_graphql::Result<T> {
    result.map_err(|error: Error| to_graphql(error, caller.language))
}
