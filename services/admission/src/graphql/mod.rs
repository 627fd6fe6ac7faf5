//! The subgraph: venues, gates, and the scan. Input becomes values that cannot be invalid here;
//! who may do what is decided by the commands.

mod input;
mod loader;
mod mutation;
mod query;
mod redeem;
mod redemption;
mod staff;
mod stub;
mod venue;

use async_graphql::{Context, EmptySubscription};
use kit::access::Caller;
use kit::graphql::{Language, Mode, PAGE_ROWS_MAX};
use kit::{Error, Result as KitResult};

pub use mutation::Mutation;
pub use query::Query;

use crate::Admission;

/// The schema's type.
pub type Schema = async_graphql::Schema<Query, Mutation, EmptySubscription>;

/// The schema that serves.
pub fn schema(admission: &Admission, mode: Mode) -> Schema {
    let builder = Schema::build(Query, Mutation::default(), EmptySubscription);
    let loaders = loader::Loaders::new(admission);
    let builder = builder.data(admission.clone()).data(loaders);
    kit::graphql::limits(builder, mode).finish()
}

/// The subgraph's SDL, which needs no database.
pub fn sdl() -> String {
    let builder = Schema::build(Query, Mutation::default(), EmptySubscription);
    kit::graphql::sdl(&kit::graphql::limits(builder, Mode::Development).finish())
}

fn service<'a>(ctx: &Context<'a>) -> async_graphql::Result<&'a Admission> {
    ctx.data::<Admission>()
}

fn caller<'a>(ctx: &Context<'a>) -> async_graphql::Result<&'a Caller> {
    ctx.data::<Caller>()
}

/// The service, for what answers with an error of kit's.
fn service_of<'a>(ctx: &Context<'a>) -> KitResult<&'a Admission> {
    service(ctx).map_err(|_| Error::internal("the schema has no service"))
}

/// The caller, likewise.
fn caller_of<'a>(ctx: &Context<'a>) -> KitResult<&'a Caller> {
    caller(ctx).map_err(|_| Error::internal("the request has no caller"))
}

/// The language of the answer.
fn language(ctx: &Context<'_>) -> Language {
    ctx.data::<Caller>()
        .map(|caller| caller.language)
        .unwrap_or_default()
}

/// The rows a page asks for, for its cost.
fn rows(first: Option<i32>, last: Option<i32>) -> usize {
    let asked = first.or(last).unwrap_or(1).clamp(1, PAGE_ROWS_MAX);
    usize::try_from(asked).unwrap_or(1)
}

/// An id that names nothing of the type reads as absent.
fn named<T>(id: KitResult<T>) -> KitResult<Option<T>> {
    match id {
        Ok(id) => Ok(Some(id)),
        Err(Error::NotFound) => Ok(None),
        Err(error) => Err(error),
    }
}
