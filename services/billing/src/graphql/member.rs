//! `Member.orders`, and the types of others that orders refer to.

use async_graphql::{Context, ID, Object, Result, SimpleObject};
use kit::graphql::{Connection, GlobalId};
use kit::types::MemberId;

use super::orders::{Order, page_of};

/// A person; its home is identity.
#[derive(Debug)]
pub struct Member {
    id: ID,
    member: MemberId,
}

impl From<MemberId> for Member {
    fn from(member: MemberId) -> Self {
        Self {
            id: GlobalId::of_uuid("Member", member.0),
            member,
        }
    }
}

/// A person; its home is identity.
#[Object]
impl Member {
    /// The member's id.
    async fn id(&self) -> &ID {
        &self.id
    }

    /// What she is to pay or has paid, newest first; empty for everybody but herself and operators.
    #[graphql(complexity = "first.or(last).unwrap_or(1).clamp(1, 100) as usize * child_complexity")]
    #[expect(clippy::too_many_arguments, reason = "the four of a connection")]
    async fn orders(
        &self,
        ctx: &Context<'_>,
        first: Option<i32>,
        after: Option<String>,
        last: Option<i32>,
        before: Option<String>,
    ) -> Result<Connection<Order>> {
        page_of(ctx, Some(self.member), (first, after, last, before)).await
    }
}

/// A union or a partner company; its home is identity.
#[derive(Debug, SimpleObject)]
#[graphql(unresolvable)]
pub struct Organisation {
    /// The organisation's id.
    pub id: ID,
}

/// What the graph asks here about members.
#[derive(Debug, Default)]
pub struct MemberQuery;

#[Object]
impl MemberQuery {
    #[graphql(entity)]
    async fn find_member_by_id(&self, id: ID) -> Option<Member> {
        GlobalId::uuid(&id, "Member")
            .ok()
            .map(|id| MemberId(id).into())
    }
}
