//! The subgraph: products, passes, and what this service adds to members and venues. Input
//! becomes values that cannot be invalid here; who may do what is decided by the commands.

mod holder_list;
mod input;
mod loader;
mod mutation;
mod pass;
mod product;
mod query;
mod stub;
mod visits;

use async_graphql::{Context, EmptySubscription, MergedObject, Schema};
use kit::access::Caller;
use kit::graphql::{Language, Mode, PAGE_ROWS_MAX};

pub use query::Query;

use crate::Passes;

/// What can be done.
#[derive(Clone, Copy, Debug, Default, MergedObject)]
pub struct Mutation(
    mutation::PassMutation,
    visits::VisitMutation,
    holder_list::HolderListMutation,
);

/// The schema's type.
pub type PassesSchema = Schema<Query, Mutation, EmptySubscription>;

/// The schema that serves.
pub fn schema(passes: &Passes, mode: Mode) -> PassesSchema {
    let builder = Schema::build(Query, Mutation::default(), EmptySubscription)
        .data(passes.clone())
        .data(loader::venue_products(passes))
        .data(loader::visit_days(passes));
    kit::graphql::limits(builder, mode).finish()
}

/// The subgraph's SDL, which needs no database.
pub fn sdl() -> String {
    let builder = Schema::build(Query, Mutation::default(), EmptySubscription);
    kit::graphql::sdl(&kit::graphql::limits(builder, Mode::Development).finish())
}

fn service<'a>(ctx: &Context<'a>) -> async_graphql::Result<&'a Passes> {
    ctx.data::<Passes>()
}

fn caller<'a>(ctx: &Context<'a>) -> async_graphql::Result<&'a Caller> {
    ctx.data::<Caller>()
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
