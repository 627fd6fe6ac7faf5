//! What every seed begins with: people, a company with venues and gates, products on sale. Made
//! by the commands with which an operator makes it, and heard of everywhere before the seed's own
//! story begins.

use std::collections::BTreeSet;

use admission::commands::{gate, shift, venue};
use admission::domain::coordinates::Wgs84;
use admission::domain::gate::Details as GateDetails;
use admission::domain::venue::Details;
use anyhow::{Context, Result};
use chrono::{DateTime, Utc};
use credential::dates::Span;
use credential::rules::Rules;
use ed25519_dalek::SigningKey;
use identity::commands::organisations::{CreateOrganisation, create_organisation};
use identity::commands::people::{NewPerson, add_members};
use identity::commands::roles::{self, Asked};
use identity::commands::{keys, operator};
use identity::domain::identifier::{Document, DocumentKind, Phone};
use identity::domain::keys::Purpose;
use identity::domain::merge::Pair;
use identity::domain::name::PersonName;
use identity::domain::organisation::{Kind, root_id};
use identity::domain::role::{Of, Role};
use kit::access::Caller;
use kit::graphql::Language;
use kit::types::{Fen, GateId, LoginId, MemberId, OrganisationId, Union, VenueId, shanghai_date};
use passes::commands::{CheckedTerms, Shop};
use passes::domain::{Activation, AfterDeadline, Ladder, Names, ProductId, RefundStep, Terms};
use uuid::Uuid;

use crate::world::{Service, World};

/// Members who buy.
pub(crate) const BUYERS: usize = 5;

/// A gate's program with its own key.
#[derive(Clone, Debug)]
pub(crate) struct Device {
    pub(crate) gate: GateId,
    pub(crate) venue: VenueId,
    pub(crate) key: SigningKey,
    pub(crate) enrolment: i32,
    /// The number of its last scan.
    pub(crate) seq: i64,
}

/// The buyer who stays when two records are made one, and the one who goes.
pub(crate) const SURVIVOR: usize = 3;
pub(crate) const MERGED: usize = 4;
/// Those who stand before the buyers among the people of the town.
const STAFF: usize = 2;

/// The product whose passes go back only unused, among the products.
pub(crate) const STRICT: usize = 3;

pub(crate) struct Town {
    pub(crate) operator: Caller,
    /// Who confirms what the first one asks for.
    pub(crate) second: Caller,
    pub(crate) manager: Caller,
    pub(crate) staff: MemberId,
    pub(crate) company: OrganisationId,
    pub(crate) buyers: Vec<Caller>,
    /// Two of the buyers are one person, and this is her document.
    pub(crate) twins: Pair,
    pub(crate) document: Document,
    pub(crate) devices: Vec<Device>,
    pub(crate) products: Vec<ProductId>,
}

/// A signed-in member.
pub(crate) fn caller(member: MemberId) -> Caller {
    let login = LoginId(kit::Ids::derive(member.0, "login", 0));
    Caller::member(member, login, Language::En)
}

impl Town {
    pub(crate) async fn found(world: &mut World<'_>) -> Result<Self> {
        let operator = keys_and_operator(world).await?;
        let second = operator_of(world, ("13900000002", "运维二"), Some("two confirm")).await?;
        world.settle().await?;
        let (company, people) = people(world, &operator).await?;
        world.heartbeat().await?;
        world.settle().await?;
        let manager = caller(people[0]).stepped_up(DateTime::<Utc>::MAX_UTC);
        let (venues, devices) = doors(world, &operator, company).await?;
        let mut products = Vec::new();
        for terms in [yearly()?, late()?, gift()?, strict()?] {
            products.push(product(world, &operator, terms).await?);
        }
        shift::open_shift(
            world.ctx(Service::Admission),
            &manager,
            venues[0],
            Some(devices[0].gate),
        )
        .await?;
        world.settle().await?;
        let document = person(STAFF + SURVIVOR, world.now())?.document;
        Ok(Self {
            operator,
            second,
            twins: Pair {
                survivor: people[STAFF + SURVIVOR],
                merged: people[STAFF + MERGED],
            },
            document: document.context("who stays has a document")?,
            manager,
            staff: people[1],
            company,
            buyers: people[STAFF..].iter().copied().map(caller).collect(),
            devices,
            products,
        })
    }
}

async fn keys_and_operator(world: &World<'_>) -> Result<Caller> {
    let identity = &world.union.identity;
    let (ctx, vault) = (&identity.ctx, &identity.vault);
    identity.open().await?;
    for purpose in Purpose::ALL {
        keys::rotate(ctx, vault, purpose).await?;
    }
    keys::publish(ctx, &world.root).await?;
    let operator = operator_of(world, ("13900000001", "运维一"), None).await?;
    world.heartbeat().await?;
    world.union.billing.open().await?;
    Ok(operator)
}

/// An operator made at the machine; another one for a reason.
async fn operator_of(
    world: &World<'_>,
    (phone, name): (&str, &str),
    forced: Option<&str>,
) -> Result<Caller> {
    let identity = &world.union.identity;
    let (ctx, vault) = (&identity.ctx, &identity.vault);
    let phone = Phone::parse(phone).map_err(kit::Error::from)?;
    let name = PersonName::parse(name).map_err(kit::Error::from)?;
    let member = operator::create_first_operator(ctx, vault, &phone, &name, forced).await?;
    // Its second factor is shown once for the whole story.
    Ok(caller(member).stepped_up(DateTime::<Utc>::MAX_UTC))
}

async fn people(world: &World<'_>, operator: &Caller) -> Result<(OrganisationId, Vec<MemberId>)> {
    let identity = &world.union.identity;
    let (ctx, vault) = (&identity.ctx, &identity.vault);
    let root = root_id(Union::Chongqing);
    let company = CreateOrganisation {
        parent: root,
        industrial_parent: None,
        kind: Kind::Partner,
        name: "山城景区公司".to_owned(),
        uscc: None,
        division: "500103".to_owned(),
    };
    let company = create_organisation(ctx, operator, company).await?.id;
    let new: Vec<NewPerson> = (0..BUYERS + STAFF)
        .map(|at| person(at, world.now()))
        .collect::<Result<_>>()?;
    let added = add_members(ctx, vault, operator, root, &new).await?;
    let added = added.map_err(|refused| anyhow::anyhow!("{refused:?}"))?;
    let members: Vec<MemberId> = added.iter().map(|one| one.member).collect();
    for (member, role) in [
        (members[0], Role::VenueManager),
        (members[1], Role::VenueStaff),
    ] {
        let of = Of {
            member,
            organisation: company,
            role,
        };
        roles::grant_role(ctx, operator, Asked { of, until: None }).await?;
    }
    Ok((company, members))
}

/// A made-up person whose number is well formed. The one who is known twice has one name, and her
/// document on one of her records.
fn person(at: usize, now: DateTime<Utc>) -> Result<NewPerson> {
    let body = format!("5001031980010{:01}{:03}", 1, at + 100);
    let weights = [7, 9, 10, 5, 8, 4, 2, 1, 6, 3, 7, 9, 10, 5, 8, 4, 2];
    let digits = body.bytes().map(|digit| u32::from(digit - b'0'));
    let sum: u32 = digits
        .zip(weights)
        .map(|(digit, weight)| digit * weight)
        .sum();
    let check = b"10X98765432"[usize::try_from(sum % 11)?];
    let number = format!("{body}{}", char::from(check));
    let today = shanghai_date(now);
    let document = Document::parse(DocumentKind::ResidentId, &number, today);
    let phone = Phone::parse(&format!("138{at:08}"));
    let is_twin = at == STAFF + MERGED;
    let named = if is_twin { STAFF + SURVIVOR } else { at };
    let given = "甲乙丙丁戊己庚辛".chars().nth(named).context("a name")?;
    let name = PersonName::parse(&format!("测{given}员"));
    Ok(NewPerson {
        name: name.map_err(kit::Error::from)?,
        document: (!is_twin).then_some(document.map_err(kit::Error::from)?),
        phone: Some(phone.map_err(kit::Error::from)?),
    })
}

async fn doors(
    world: &World<'_>,
    operator: &Caller,
    company: OrganisationId,
) -> Result<(Vec<VenueId>, Vec<Device>)> {
    let ctx = world.ctx(Service::Admission);
    let (mut venues, mut devices) = (Vec::new(), Vec::new());
    for (name, gates, tracks_exits) in [("museum", 2, false), ("garden", 1, true)] {
        let details = details(name, tracks_exits)?;
        let key = ctx.ids.uuid(world.now());
        let made = venue::create_venue(ctx, operator, key, company, details).await?;
        venues.push(made.id);
        for _ in 0..gates {
            devices.push(device(world, operator, made.id).await?);
        }
    }
    Ok((venues, devices))
}

async fn device(world: &World<'_>, operator: &Caller, venue: VenueId) -> Result<Device> {
    let ctx = world.ctx(Service::Admission);
    let key = ctx.ids.uuid(world.now());
    let details = GateDetails {
        name: "北门",
        unattended: false,
    };
    let new = gate::create_gate(ctx, operator, key, venue, details).await?;
    let key = SigningKey::from_bytes(&ctx.ids.bytes32());
    let code = new.code.context("a code to enrol with")?;
    let gate = gate::enrol_gate(ctx, &code, key.verifying_key().to_bytes()).await?;
    Ok(Device {
        gate: gate.id,
        venue,
        key,
        enrolment: gate.key.context("an enrolled gate has a key")?.enrolment,
        seq: 0,
    })
}

fn details(name: &str, tracks_exits: bool) -> Result<Details> {
    let place = Wgs84::new(29.562, 106.550).context("a place in Chongqing")?;
    Ok(Details {
        name_zh: format!("山城{name}"),
        name_en: format!("The {name}"),
        division: 500_103,
        place,
        place_source: "made up".to_owned(),
        tags: BTreeSet::from(["museum".to_owned()]),
        opening: None,
        capacity: tracks_exits.then_some(3),
        tracks_exits,
    })
}

async fn product(world: &World<'_>, operator: &Caller, terms: Terms) -> Result<ProductId> {
    let passes = &world.union.passes;
    let key = || passes.ctx.ids.uuid(world.now());
    let checked = CheckedTerms::parse(terms)?;
    let id = passes.create_product(operator, &checked, key()).await?;
    passes.run_shop(operator, id, Shop::Publish, key()).await?;
    Ok(id)
}

/// Begins at payment; once a day at each venue; what was not used goes back in full for a week,
/// the rest for a fee.
fn yearly() -> Result<Terms> {
    let mut rules = Rules::unlimited();
    rules.per_venue.daily = Some(1);
    Ok(Terms {
        names: names("年票", "Annual pass"),
        price: Fen::new(20_000)?,
        sale_from: None,
        sale_until: None,
        sale_limit: None,
        member_limit: None,
        activation: Activation::AtPayment,
        start_delay_days: 0,
        duration: Span::Months(12),
        ladder: Ladder(vec![step(7, 0, true), step(30, 10, false)]),
        renewal_days: Some(60),
        rules,
    })
}

/// To be activated, few, two for each member, three entries in all.
fn late() -> Result<Terms> {
    let mut rules = Rules::unlimited();
    rules.total = Some(3);
    Ok(Terms {
        names: names("季票", "Season pass"),
        price: Fen::new(3_333)?,
        sale_limit: Some(4),
        member_limit: Some(2),
        activation: Activation::Within {
            span: Span::Days(20),
            then: AfterDeadline::Auto,
        },
        ladder: Ladder(vec![step(14, 33, false)]),
        rules,
        ..yearly()?
    })
}

/// Costs nothing; a day's limit over all venues.
fn gift() -> Result<Terms> {
    let mut rules = Rules::unlimited();
    rules.daily = Some(2);
    Ok(Terms {
        names: names("赠票", "Gift pass"),
        price: Fen::ZERO,
        sale_limit: Some(3),
        member_limit: Some(1),
        rules,
        ..yearly()?
    })
}

/// Goes back in full while nobody has entered by it, and not at all afterwards.
fn strict() -> Result<Terms> {
    Ok(Terms {
        names: names("不退已用票", "Pass that goes back unused"),
        price: Fen::new(8_800)?,
        ladder: Ladder(vec![step(30, 0, true)]),
        renewal_days: None,
        ..yearly()?
    })
}

fn names(zh: &str, en: &str) -> Names {
    Names {
        name_zh: zh.to_owned(),
        name_en: en.to_owned(),
        description_zh: String::new(),
        description_en: String::new(),
    }
}

const fn step(days: u32, fee_percent: u32, unused_only: bool) -> RefundStep {
    RefundStep {
        days,
        fee_percent,
        unused_only,
    }
}

/// A key as a client makes one.
pub(crate) fn client_key(random: &mut impl rand::RngCore) -> Uuid {
    let mut bytes = [0; 16];
    random.fill_bytes(&mut bytes);
    uuid::Builder::from_random_bytes(bytes).into_uuid()
}
