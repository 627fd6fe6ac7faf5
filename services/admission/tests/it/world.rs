//! One union's admission with a company, its people, venues and devices.

use std::collections::BTreeSet;
use std::num::NonZeroU16;
use std::sync::atomic::{AtomicI64, Ordering};

use admission::commands::redeem::{Scanned, redeem};
use admission::commands::{gate, venue};
use admission::domain::coordinates::Wgs84;
use admission::domain::gate::Details as GateDetails;
use admission::domain::redemption::Redemption;
use admission::domain::scan::ScanId;
use admission::domain::venue::{Details, Venue};
use admission::gate_key::{self, Assertion};
use admission::{Admission, Settings};
use chrono::{DateTime, TimeDelta, Utc};
use credential::keyset::Issuer;
use credential::rules::{Decision, Direction, DocumentReading, Reason, Rules};
use credential::token::{Claims, Flags, Holder, Kind, Minute, Token};
use ed25519_dalek::SigningKey;
use kit::access::{Caller, Role, seed};
use kit::consumer::Handler;
use kit::event::Record;
use kit::graphql::Language;
use kit::replica::{Keys, Replica};
use kit::testing::TestDb;
use kit::types::{
    EntitlementId, GateId, LoginId, MemberId, OrganisationId, Processing, Union, VenueId,
};
use kit::{Ctx, Error, Result};
use prost::Message;
use proto::passes::{ProductChanged, product_changed};
use proto::v1::{Entitlement, EntitlementChanged, entitlement};
use sea_orm::FromQueryResult;
use uuid::Uuid;

use crate::keys::{ENTRY, ROOT, key_set, kid, published, roots};

pub(crate) const SCOPE: u32 = 7;

pub(crate) struct World {
    pub(crate) db: TestDb,
    pub(crate) admission: Admission,
    pub(crate) company: OrganisationId,
    pub(crate) operator: Caller,
    pub(crate) manager: Caller,
    pub(crate) staff: Caller,
    pub(crate) nobody: Caller,
}

/// A gate's program with its own key.
pub(crate) struct Device {
    pub(crate) gate: GateId,
    pub(crate) venue: VenueId,
    pub(crate) key: SigningKey,
    pub(crate) enrolment: i32,
    seq: AtomicI64,
}

#[derive(FromQueryResult)]
pub(crate) struct Count {
    pub(crate) count: i64,
}

#[derive(Clone, Debug, FromQueryResult)]
pub(crate) struct Event {
    pub(crate) version: i64,
    pub(crate) payload: Vec<u8>,
}

pub(crate) fn caller(member: u128) -> Caller {
    let member = MemberId(Uuid::from_u128(member));
    Caller::member(member, LoginId(Uuid::from_u128(99)), Language::En)
}

/// The same, who has shown a second factor: what gives out codes and takes money back asks for it.
pub(crate) fn shown(member: u128) -> Caller {
    caller(member).stepped_up(DateTime::<Utc>::MAX_UTC)
}

pub(crate) fn details(name: &str) -> Details {
    Details {
        name_zh: name.to_owned(),
        name_en: format!("The {name}"),
        division: 500_103,
        place: Wgs84::new(29.562, 106.550).unwrap(),
        place_source: "general knowledge".to_owned(),
        tags: BTreeSet::from(["museum".to_owned()]),
        opening: None,
        capacity: None,
        tracks_exits: false,
    }
}

/// A gate at which somebody stands.
pub(crate) fn attended(name: &str) -> GateDetails<'_> {
    GateDetails {
        name,
        unattended: false,
    }
}

/// Once a day at each venue.
pub(crate) fn daily() -> Rules {
    let mut rules = Rules::unlimited();
    rules.per_venue.daily = Some(1);
    rules
}

pub(crate) fn record(
    kind: &'static str,
    epoch: i64,
    version: i64,
    message: &impl Message,
) -> Record {
    Record {
        topic: "passes.v1".to_owned(),
        partition: 0,
        offset: 0,
        epoch,
        pseq: 1,
        id: Uuid::nil(),
        kind: kind.to_owned(),
        key: Vec::new(),
        version,
        must_understand: false,
        at: kit::testing::start(),
        traceparent: None,
        payload: message.encode_to_vec(),
    }
}

impl World {
    pub(crate) async fn new() -> Self {
        let db = kit::testing::db(admission::NAME, admission::ALL_MIGRATIONS).await;
        let ctx = db.ctx.clone();
        let company = Uuid::from_u128(10);
        ctx.db
            .tx("seed", async |tx| {
                seed::heartbeat(tx).await?;
                seed::organisation(tx, company, &[Uuid::from_u128(1)]).await?;
                seed::organisation(tx, Uuid::from_u128(11), &[Uuid::from_u128(1)]).await?;
                seed::role(tx, Uuid::from_u128(20), Uuid::from_u128(1), Role::Operator).await?;
                seed::role(tx, Uuid::from_u128(21), company, Role::VenueManager).await?;
                seed::role(tx, Uuid::from_u128(22), company, Role::VenueStaff).await?;
                let rival = Uuid::from_u128(11);
                seed::role(tx, Uuid::from_u128(23), rival, Role::VenueManager).await?;
                let record = published(&key_set(tx.now()), ROOT, 50);
                Replica::new(roots()).apply(tx, &[record]).await
            })
            .await
            .unwrap();
        let admission = Self::service(ctx).await;
        Self {
            db,
            admission,
            company: OrganisationId(company),
            operator: shown(20),
            manager: shown(21),
            staff: caller(22),
            nobody: caller(24),
        }
    }

    /// The manager of another company.
    pub(crate) fn rival(&self) -> Caller {
        shown(23)
    }

    pub(crate) async fn service(ctx: Ctx) -> Admission {
        let keys = Keys::new(Union::Chongqing, roots());
        keys.load(&ctx.db).await.unwrap();
        Admission::new(ctx, keys, None, Settings::default())
    }

    pub(crate) fn ctx(&self) -> &Ctx {
        &self.admission.ctx
    }

    pub(crate) fn now(&self) -> DateTime<Utc> {
        self.ctx().clock.now()
    }

    pub(crate) async fn advance(&self, by: TimeDelta) {
        self.ctx().clock.advance(by);
        self.ctx()
            .db
            .tx("heartbeat", seed::heartbeat)
            .await
            .unwrap();
    }

    /// The holder of a pass lets other companies see her visits, or no longer.
    pub(crate) async fn consents(&self, pass: u64, given: bool) {
        let visits = Processing::VisitsToVenues;
        let db = &self.ctx().db;
        db.tx("consents", async |tx| {
            kit::consent::seed::holder(tx, id(pass), visits, given).await
        })
        .await
        .unwrap();
    }

    pub(crate) fn uuid(&self) -> Uuid {
        self.ctx().ids.uuid(self.now())
    }

    pub(crate) async fn venue(&self, details: Details) -> Venue {
        let key = self.uuid();
        venue::create_venue(self.ctx(), &self.operator, key, self.company, details)
            .await
            .unwrap()
    }

    pub(crate) async fn device(&self, venue: VenueId) -> Device {
        self.device_at(venue, attended("北门")).await
    }

    pub(crate) async fn device_at(&self, venue: VenueId, gate: GateDetails<'_>) -> Device {
        let key = self.uuid();
        let new = gate::create_gate(self.ctx(), &self.operator, key, venue, gate)
            .await
            .unwrap();
        self.enrol(venue, &new.code.unwrap()).await
    }

    pub(crate) async fn enrol(&self, venue: VenueId, code: &str) -> Device {
        let key = SigningKey::from_bytes(&self.ctx().ids.bytes32());
        let public = key.verifying_key().to_bytes();
        let gate = gate::enrol_gate(self.ctx(), code, public).await.unwrap();
        let enrolment = gate.key.unwrap().enrolment;
        Device {
            gate: gate.id,
            venue,
            key,
            enrolment,
            seq: AtomicI64::new(0),
        }
    }

    /// A venue with one gate.
    pub(crate) async fn door(&self, name: &str) -> Device {
        let venue = self.venue(details(name)).await;
        self.device(venue.id).await
    }

    pub(crate) async fn product(&self, rules: &Rules) {
        self.product_of(SCOPE, 1, rules).await;
    }

    pub(crate) async fn product_of(&self, scope: u32, version: i64, rules: &Rules) {
        let event = ProductChanged {
            version,
            product_id: Uuid::from_u128(scope.into()).as_bytes().to_vec(),
            union: 50,
            scope,
            name_zh: "职工年卡".to_owned(),
            name_en: "Annual pass".to_owned(),
            state: product_changed::State::Published.into(),
            price_fen: 20_000,
            rules: rules.to_bytes().unwrap(),
            rules_version: version,
            evaluator_version: 1,
            venue_ids: Vec::new(),
            venue_tags: Vec::new(),
        };
        let record = record("bashu.passes.v1.ProductChanged", 1, version, &event);
        self.hear(&[record]).await.unwrap();
    }

    /// What passes says of an entitlement, valid from a day ago for a year.
    pub(crate) fn word(&self, id: u64, version: i64, state: entitlement::State) -> Entitlement {
        let day = 24 * 60;
        let today = Minute::floor(self.now()).unwrap().get();
        Entitlement {
            id,
            version,
            union: 50,
            kind: entitlement::Kind::Pass.into(),
            state: state.into(),
            scope: SCOPE,
            member_id: vec![0xee; 16],
            valid_from: today - day,
            valid_until: today + 365 * day,
            r#gen: 0,
            document_check: false,
            persons: 1,
            rules_version: 1,
            freeze_version: 0,
            order_id: Uuid::from_u128(77).as_bytes().to_vec(),
            reservations: Vec::new(),
        }
    }

    pub(crate) async fn grant(&self, id: u64) {
        self.say(self.word(id, 1, entitlement::State::Active)).await;
    }

    pub(crate) async fn say(&self, word: Entitlement) {
        self.hear(&[Self::said(1, word)]).await.unwrap();
    }

    pub(crate) fn said(epoch: i64, word: Entitlement) -> Record {
        let version = word.version;
        let event = EntitlementChanged {
            entitlement: Some(word),
        };
        record("bashu.v1.EntitlementChanged", epoch, version, &event)
    }

    pub(crate) async fn hear(&self, records: &[Record]) -> Result<()> {
        let grants = self.admission.grants();
        self.ctx()
            .db
            .tx("hear", async |tx| grants.apply(tx, records).await)
            .await
    }

    /// What the token of an entitlement says, minted now for 30 days.
    pub(crate) fn claims(&self, id: u64) -> Claims {
        let now = self.now();
        Claims {
            kind: Kind::Pass,
            kid: kid(Issuer::Chongqing, 1),
            entitlement_id: id,
            scope: SCOPE,
            valid_from: Minute::floor(now - TimeDelta::days(1)).unwrap(),
            valid_until: Minute::floor(now + TimeDelta::days(30)).unwrap(),
            flags: Flags {
                document_check: false,
                rotating_required: false,
            },
            generation: 0,
            holder: Holder::Bearer,
            home_gate: 0,
        }
    }

    pub(crate) fn token(&self, id: u64) -> String {
        self.sign(self.claims(id))
    }

    pub(crate) fn sign(&self, claims: Claims) -> String {
        Token::new(claims)
            .unwrap()
            .sign(&SigningKey::from_bytes(&ENTRY))
    }

    /// The device's next scan.
    pub(crate) fn scan(&self, device: &Device, text: &str) -> Scanned {
        let seq = device.seq.fetch_add(1, Ordering::SeqCst) + 1;
        Scanned {
            id: ScanId {
                gate: device.gate,
                enrolment: device.enrolment,
                seq,
            },
            text: text.to_owned(),
            direction: Direction::Entry,
            persons: NonZeroU16::MIN,
            document: DocumentReading::NotRead,
            device_at: self.now(),
            venue: None,
        }
    }

    pub(crate) fn asserting(&self, device: &Device) -> Caller {
        let now = self.now().timestamp();
        let assertion = Assertion {
            gate: device.gate,
            union: Union::Chongqing,
            enrolment: device.enrolment,
            id: self.uuid(),
            issued_at: now,
            expires_at: now + 60,
        };
        let text = gate_key::sign(&assertion, &device.key);
        Caller {
            gate_assertion: Some(text),
            ..Caller::anonymous(Language::En)
        }
    }

    pub(crate) async fn redeem(&self, device: &Device, scanned: Scanned) -> Result<Redemption> {
        redeem(&self.admission, &self.asserting(device), scanned).await
    }

    pub(crate) async fn enter(&self, device: &Device, text: &str) -> Redemption {
        self.redeem(device, self.scan(device, text)).await.unwrap()
    }

    pub(crate) async fn leave(&self, device: &Device, text: &str) -> Redemption {
        let scanned = Scanned {
            direction: Direction::Exit,
            ..self.scan(device, text)
        };
        self.redeem(device, scanned).await.unwrap()
    }

    /// Runs what is due until nothing is.
    pub(crate) async fn run_due(&self) {
        while kit::due::step(self.ctx(), &self.admission.work())
            .await
            .unwrap()
            > 0
        {}
    }

    pub(crate) async fn count(&self, sql: &str) -> i64 {
        self.ctx()
            .db
            .one::<Count>(sql, [])
            .await
            .unwrap()
            .unwrap()
            .count
    }

    /// The outbox's events of one kind, oldest first.
    pub(crate) async fn events(&self, kind: &str) -> Vec<Event> {
        self.ctx()
            .db
            .all(
                "SELECT version, payload FROM outbox WHERE kind = $1 ORDER BY id",
                [format!("bashu.admission.v1.{kind}").into()],
            )
            .await
            .unwrap()
    }

    /// Every promise holds.
    pub(crate) async fn check(&self) {
        for invariant in admission::verify::INVARIANTS {
            let found = kit::verify::check(&self.ctx().db, invariant).await.unwrap();
            assert!(found.is_empty(), "{}: {found:?}", invariant.id);
        }
    }
}

pub(crate) fn id(one: u64) -> EntitlementId {
    EntitlementId(one)
}

pub(crate) fn reason(one: &Redemption) -> Option<Reason> {
    one.decision.reason()
}

pub(crate) fn admits(one: &Redemption) -> bool {
    matches!(one.decision, Decision::Admit { .. })
}

/// The code with which a command refused.
pub(crate) fn refused<T: std::fmt::Debug>(result: Result<T>) -> &'static str {
    match result {
        Err(Error::Refused(refusal)) => refusal.code,
        other => panic!("not refused: {other:?}"),
    }
}
