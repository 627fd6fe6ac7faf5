//! What identity said of memberships, and what admission answers on.

use kit::consumer::Handler;
use kit::event::Record;
use kit::replica::{Replica, Roots};
use prost::Message;
use proto::identity as event;
use uuid::Uuid;

use crate::world::{World, entitlement};

/// Callers from this number on belong to no union unless a test says so.
pub(crate) const STRANGERS_FROM: i32 = 1_000;
const ROOT: Uuid = Uuid::from_u128(0x3000);

impl World {
    /// Every caller of the tests belongs to the union, but for the strangers.
    pub(crate) async fn seed_members(&self) {
        let sql = "INSERT INTO replica_membership
               (id, epoch, version, member, organisation, state, since)
             SELECT gen_random_uuid(), 1, 1,
               ('00000000-0000-0000-0000-' || lpad(to_hex(4096 + n), 12, '0'))::uuid, $1, 'full',
               date '2020-01-01'
             FROM generate_series(0, $2::int) n";
        let members = [ROOT.into(), (STRANGERS_FROM - 1).into()];
        self.ctx().db.execute(sql, members).await.unwrap();
    }

    /// Identity says this of the one membership of a caller, through the replica's own handler.
    pub(crate) async fn membership(
        &self,
        number: u128,
        (version, state): (i64, event::membership_changed::State),
        (since, until): (&str, &str),
    ) {
        let id = Uuid::from_u128(0x6000 + number);
        let message = event::MembershipChanged {
            id: id.as_bytes().to_vec(),
            version,
            member_id: Uuid::from_u128(0x1000 + number).as_bytes().to_vec(),
            organisation_id: ROOT.as_bytes().to_vec(),
            state: state.into(),
            since: since.to_owned(),
            until: until.to_owned(),
        };
        let record = Record {
            topic: "identity.v1".to_owned(),
            ..self.record(
                "bashu.identity.v1.MembershipChanged",
                id.as_bytes(),
                version,
                message.encode_to_vec(),
            )
        };
        let replica = Replica::new(Roots::default());
        let told = self.ctx().db.tx("membership", async |tx| {
            replica.apply(tx, std::slice::from_ref(&record)).await
        });
        told.await.unwrap();
    }

    /// The freeze on which admission answers, as it was said last.
    pub(crate) async fn freeze_of(&self, pass: &str) -> i64 {
        let id = entitlement(pass).to_i64();
        let sql = format!(
            "SELECT freeze_version AS count FROM refund WHERE pass = {id}
             ORDER BY ordinal DESC LIMIT 1"
        );
        self.count(&sql).await
    }
}
