//! Things of other services that are named here, and what this one adds to them.

use async_graphql::{Context, ID, Object, Result, SimpleObject};
use kit::graphql::{Connection, Date, GlobalId, Page};
use kit::types::{MemberId, OrderId};
use uuid::Uuid;

use super::pass::Pass;
use super::product::PassProduct;
use super::visits::VisitDay;
use super::{caller, loader, rows, service};
use crate::domain::Slot;
use crate::queries::{cursor_of_pass, page_of_products, product_cursor};

/// An order, whose home is billing.
#[derive(Clone, Debug, SimpleObject)]
#[graphql(unresolvable = "id")]
pub(super) struct Order {
    /// The order's id.
    id: ID,
}

impl Order {
    pub(super) fn of(id: OrderId) -> Self {
        Self {
            id: GlobalId::of_uuid("Order", id.0),
        }
    }
}

/// A member, whose home is identity.
#[derive(Clone, Copy, Debug)]
pub(super) struct Member(pub(super) MemberId);

/// A member, whose home is identity.
#[Object]
impl Member {
    /// The member's id.
    async fn id(&self) -> ID {
        GlobalId::of_uuid("Member", self.0.0)
    }

    /// Her passes, newest first; empty for everybody but herself and operators.
    #[graphql(complexity = "rows(first, last) * child_complexity + 1")]
    #[expect(clippy::too_many_arguments, reason = "the four of a connection")]
    async fn passes(
        &self,
        ctx: &Context<'_>,
        first: Option<i32>,
        after: Option<String>,
        last: Option<i32>,
        before: Option<String>,
    ) -> Result<Connection<Pass>> {
        let page = Page::new(first, after.as_deref(), last, before.as_deref())?;
        let passes = service(ctx)?.passes_of(caller(ctx)?, self.0, &page).await?;
        Ok(page.connection(passes, cursor_of_pass, Pass))
    }
}

/// A venue, whose home is admission.
#[derive(Clone, Copy, Debug)]
pub(super) struct Venue(pub(super) Uuid);

/// A venue, whose home is admission.
#[Object]
impl Venue {
    /// The venue's id.
    async fn id(&self) -> ID {
        GlobalId::of_uuid("Venue", self.0)
    }

    /// The days on which visits can be reserved, from a Shanghai date on: `first` of them, at most
    /// 100.
    #[graphql(complexity = "rows(Some(first), None) * child_complexity + 1")]
    async fn visit_days(&self, ctx: &Context<'_>, from: Date, first: i32) -> Result<Vec<VisitDay>> {
        let page = Page::new(Some(first), None, None, None)?;
        let slot = Slot {
            venue: self.0,
            date: from.0,
        };
        // No page follows, so no row more is read.
        let days = loader::days_of_venue(ctx, slot, page.limit() - 1).await?;
        Ok(days.into_iter().map(VisitDay::from).collect())
    }

    /// The annual passes on sale that open it, oldest first.
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
        let products = loader::products_of_venue(ctx, self.0).await?;
        Ok(page.connection(
            page_of_products(products, &page)?,
            product_cursor,
            PassProduct,
        ))
    }
}
