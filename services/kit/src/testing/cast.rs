//! The actors of `schema/authorisation.json` in a service that knows people and offices by
//! identity's events alone.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use uuid::Uuid;

use super::rights::readable;
use crate::Db;
use crate::access::{Caller, Role, seed};
use crate::graphql::Language;
use crate::types::{LoginId, MemberId};

/// The members of the cast have numbers from here on, as the worlds of services count callers.
const CAST_FROM: u128 = 900;
/// Who stands for whom, and what she holds where; the places are those of [`Place`].
const CAST: [(&str, Option<(Role, Place)>); 11] = [
    ("member", None),
    ("other_member", None),
    ("officer", Some((Role::Officer, Place::Union))),
    ("other_officer", Some((Role::Officer, Place::OtherUnion))),
    ("parent_officer", Some((Role::Officer, Place::District))),
    ("auditor", Some((Role::Auditor, Place::Root))),
    ("venue_staff", Some((Role::VenueStaff, Place::Company))),
    ("manager", Some((Role::VenueManager, Place::Company))),
    (
        "other_venue",
        Some((Role::VenueManager, Place::OtherCompany)),
    ),
    ("operator", Some((Role::Operator, Place::Root))),
    ("other_operator", None),
];
const DISTRICT: Uuid = Uuid::from_u128(0x7001);
const UNION: Uuid = Uuid::from_u128(0x7002);
const OTHER_UNION: Uuid = Uuid::from_u128(0x7003);
/// The login of the member that has ended.
const ENDED: LoginId = LoginId(Uuid::from_u128(0x7004));

#[derive(Clone, Copy, Debug)]
enum Place {
    Root,
    District,
    Union,
    OtherUnion,
    Company,
    OtherCompany,
}

/// Everybody has shown a second factor, so that nobody is refused for want of it.
#[derive(Debug)]
pub struct Cast(BTreeMap<&'static str, Caller>);

impl Cast {
    /// Writes offices and organisations below `root`, and two companies that run venues.
    ///
    /// # Panics
    /// When the database refuses.
    pub async fn seed(db: &Db, root: Uuid, companies: [Uuid; 2]) -> Self {
        let place = |place: Place| match place {
            Place::Root => (root, vec![root]),
            Place::District => (DISTRICT, vec![root, DISTRICT]),
            Place::Union => (UNION, vec![root, DISTRICT, UNION]),
            Place::OtherUnion => (OTHER_UNION, vec![root, DISTRICT, OTHER_UNION]),
            Place::Company => (companies[0], vec![root, companies[0]]),
            Place::OtherCompany => (companies[1], vec![root, companies[1]]),
        };
        let seeded = db.tx("seed", async |tx| {
            for ((_, held), number) in CAST.into_iter().zip(CAST_FROM..) {
                let Some((role, at)) = held else { continue };
                let (organisation, path) = place(at);
                let sql = "INSERT INTO replica_organisation
                     (id, epoch, version, name, division, path, partner, closed)
                   VALUES ($1, 1, 1, 'test', '500000', $2, false, false)
                   ON CONFLICT DO NOTHING";
                tx.execute(sql, [organisation.into(), path.into()]).await?;
                seed::role(tx, member(number).0, organisation, role).await?;
            }
            let ended = "INSERT INTO replica_withdrawn_login (id, withdrawn_at)
                VALUES ($1, $2)";
            tx.execute(ended, [ENDED.0.into(), tx.now().into()]).await?;
            seed::heartbeat(tx).await
        });
        readable(seeded.await);
        let mut all: BTreeMap<&'static str, Caller> = CAST
            .into_iter()
            .zip(CAST_FROM..)
            .map(|((actor, _), number)| {
                let login = LoginId(Uuid::from_u128(0x2000 + number));
                (actor, signed_in(member(number), login))
            })
            .collect();
        let _anonymous = all.insert("anonymous", Caller::anonymous(Language::En));
        let gate = Caller {
            gate_assertion: Some("of a gate".to_owned()),
            ..Caller::anonymous(Language::En)
        };
        let _gate = all.insert("gate", gate);
        let _expired = all.insert("expired", signed_in(member(CAST_FROM), ENDED));
        Self(all)
    }

    /// # Panics
    /// When there is no such actor.
    pub fn caller(&self, actor: &str) -> &Caller {
        match self.0.get(actor) {
            Some(caller) => caller,
            None => panic!("nobody is {actor}"),
        }
    }
}

fn member(number: u128) -> MemberId {
    MemberId(Uuid::from_u128(0x1000 + number))
}

fn signed_in(member: MemberId, login: LoginId) -> Caller {
    Caller::member(member, login, Language::En).stepped_up(DateTime::<Utc>::MAX_UTC)
}
