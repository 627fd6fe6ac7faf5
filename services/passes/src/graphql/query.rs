//! What can be asked.

use async_graphql::{Context, ID, Object, Result};
use kit::access::Who;
use kit::graphql::{Connection, GlobalId, Page};
use kit::types::MemberId;
use kit::{Error, Result as KitResult};

use super::pass::Pass;
use super::product::PassProduct;
use super::stub::{Member, Venue};
use super::{caller, rows, service};
use crate::domain::ProductId;
use crate::queries::{cursor_of_pass, product_cursor};

/// The root of queries.
#[derive(Clone, Copy, Debug, Default)]
pub struct Query;

/// An id that names nothing of the type reads as absent.
fn named<T>(id: KitResult<T>) -> KitResult<Option<T>> {
    match id {
        Ok(id) => Ok(Some(id)),
        Err(Error::NotFound) => Ok(None),
        Err(error) => Err(error),
    }
}

#[Object]
impl Query {
    /// The annual passes on sale or soon to be, oldest first. Open to everybody.
    #[graphql(complexity = "rows(first, last) * child_complexity + 1")]
    #[expect(clippy::too_many_arguments, reason = "the four of a connection")]
    async fn pass_products(
        &self,
        ctx: &Context<'_>,
        first: Option<i32>,
        after: Option<String>,
        last: Option<i32>,
        before: Option<String>,
    ) -> Result<Connection<PassProduct>> {
        let page = Page::new(first, after.as_deref(), last, before.as_deref())?;
        let products = service(ctx)?.catalogue_page(&page).await?;
        Ok(page.connection(products, product_cursor, PassProduct))
    }

    /// An annual pass by its id, on sale or not. One that was never published is shown to
    /// operators alone.
    async fn pass_product(&self, ctx: &Context<'_>, id: ID) -> Result<Option<PassProduct>> {
        let Some(id) = named(GlobalId::uuid(&id, "PassProduct"))? else {
            return Ok(None);
        };
        let view = service(ctx)?.product(caller(ctx)?, ProductId(id)).await?;
        Ok(view.map(PassProduct))
    }

    /// A pass of the caller's own, or any for operators.
    async fn pass(&self, ctx: &Context<'_>, id: ID) -> Result<Option<Pass>> {
        let Some(id) = named(GlobalId::entitlement(&id, "Pass"))? else {
            return Ok(None);
        };
        Ok(service(ctx)?.pass(caller(ctx)?, id).await?.map(Pass))
    }

    /// The caller's passes, newest first.
    #[graphql(complexity = "rows(first, last) * child_complexity + 1")]
    #[expect(clippy::too_many_arguments, reason = "the four of a connection")]
    async fn my_passes(
        &self,
        ctx: &Context<'_>,
        first: Option<i32>,
        after: Option<String>,
        last: Option<i32>,
        before: Option<String>,
    ) -> Result<Connection<Pass>> {
        let page = Page::new(first, after.as_deref(), last, before.as_deref())?;
        let caller = caller(ctx)?;
        let Who::Member { member, .. } = caller.who else {
            return Err(Error::Unauthenticated("no token").into());
        };
        let passes = service(ctx)?.passes_of(caller, member, &page).await?;
        Ok(page.connection(passes, cursor_of_pass, Pass))
    }

    #[graphql(entity)]
    async fn find_pass_by_id(&self, ctx: &Context<'_>, id: ID) -> Result<Option<Pass>> {
        self.pass(ctx, id).await
    }

    #[graphql(entity)]
    async fn find_pass_product_by_id(
        &self,
        ctx: &Context<'_>,
        id: ID,
    ) -> Result<Option<PassProduct>> {
        self.pass_product(ctx, id).await
    }

    #[graphql(entity)]
    async fn find_member_by_id(&self, id: ID) -> Result<Option<Member>> {
        Ok(named(GlobalId::uuid(&id, "Member"))?.map(|id| Member(MemberId(id))))
    }

    #[graphql(entity)]
    async fn find_venue_by_id(&self, id: ID) -> Result<Option<Venue>> {
        Ok(named(GlobalId::uuid(&id, "Venue"))?.map(Venue))
    }
}
