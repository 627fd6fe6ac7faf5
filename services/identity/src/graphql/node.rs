//! `node(id)`: any thing of the graph by its id. Things of other services are stubs that the
//! gateway completes; whether they are there, and for whom, their own service decides.

use async_graphql::{Context, ID, Interface, Object, Result, SimpleObject};
use kit::graphql::GlobalId;

use super::input::request;
use super::logins::Login;
use super::members::{self, Member, is_current};
use super::organisations::{self, Organisation};
use super::pass::Pass;
use crate::queries;

/// A thing with an id of its own.
#[derive(Clone, Debug, Interface)]
#[graphql(field(name = "id", ty = "ID", desc = "Opaque."))]
pub enum Node {
    Member(Member),
    Organisation(Organisation),
    Login(Login),
    Pass(Pass),
    PassProduct(PassProduct),
    Order(Order),
    Venue(Venue),
    Gate(Gate),
    Redemption(Redemption),
}

/// A pass that is for sale; known to passes.
#[derive(Clone, Debug, SimpleObject)]
#[graphql(unresolvable = "id")]
pub struct PassProduct {
    /// Opaque.
    #[graphql(owned)]
    id: ID,
}

/// A promise to pay; known to billing.
#[derive(Clone, Debug, SimpleObject)]
#[graphql(unresolvable = "id")]
pub struct Order {
    /// Opaque.
    #[graphql(owned)]
    id: ID,
}

/// A place with gates; known to admission.
#[derive(Clone, Debug, SimpleObject)]
#[graphql(unresolvable = "id")]
pub struct Venue {
    /// Opaque.
    #[graphql(owned)]
    id: ID,
}

/// A key at a door; known to admission.
#[derive(Clone, Debug, SimpleObject)]
#[graphql(unresolvable = "id")]
pub struct Gate {
    /// Opaque.
    #[graphql(owned)]
    id: ID,
}

/// The use of a right at a gate; known to admission.
#[derive(Clone, Debug, SimpleObject)]
#[graphql(unresolvable = "id")]
pub struct Redemption {
    /// Opaque.
    #[graphql(owned)]
    id: ID,
}

/// Any thing by its id.
#[derive(Debug, Default)]
pub struct NodeQuery;

#[Object]
impl NodeQuery {
    /// Any thing by its id; null when it is absent or not the caller's to see.
    async fn node(&self, ctx: &Context<'_>, id: ID) -> Result<Option<Node>> {
        let Some(global) = GlobalId::decode(&id) else {
            return Ok(None);
        };
        Ok(match global.type_name.as_str() {
            "Member" => members::find(ctx, &id).await?.map(Node::Member),
            "Organisation" => organisations::find(ctx, &id).await?.map(Node::Organisation),
            "Login" => login(ctx, &id).await?.map(Node::Login),
            "Pass" => pass(&id).map(Node::Pass),
            "PassProduct" => Some(Node::PassProduct(PassProduct { id })),
            "Order" => Some(Node::Order(Order { id })),
            "Venue" => Some(Node::Venue(Venue { id })),
            "Gate" => Some(Node::Gate(Gate { id })),
            "Redemption" => Some(Node::Redemption(Redemption { id })),
            _ => None,
        })
    }

    /// For the gateway.
    #[graphql(entity)]
    async fn find_pass_by_id(&self, #[graphql(key)] id: ID) -> Option<Pass> {
        pass(&id)
    }
}

fn pass(id: &ID) -> Option<Pass> {
    GlobalId::entitlement(id, "Pass").ok().map(|id| Pass { id })
}

async fn login(ctx: &Context<'_>, id: &ID) -> Result<Option<Login>> {
    let (identity, caller) = request(ctx)?;
    let Ok(id) = GlobalId::uuid(id, "Login") else {
        return Ok(None);
    };
    let Some(me) = queries::me(&identity.ctx, &identity.vault, caller).await? else {
        return Ok(None);
    };
    let view = queries::logins::login(&identity.ctx, &identity.vault, me.id, id).await?;
    Ok(view.map(|view| Login {
        is_current: is_current(caller, view.row.id),
        view,
    }))
}
