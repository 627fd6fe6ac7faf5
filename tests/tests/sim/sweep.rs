//! The crash-point sweep: one purchase with its entry and its refund is played to the end, and
//! every point that its commands, jobs, relays and consumers passed is written down; then it is
//! played once for each of them with a death there. Whoever has no answer asks again, loops go
//! on, time passes. The end is the same as without the death, to the fen.
//!
//! Before a commit is the error before a step, after it the crash behind it; that every step may
//! also come twice has a play of its own.

use std::collections::BTreeMap;

use anyhow::{Context, Result, ensure};
use chrono::TimeDelta;
use credential::rules::Direction;
use identity::commands::credentials::mint;
use kit::bus::{Faults, Passed};
use kit::consumer::Handler;
use kit::event::Record;
use kit::replica::Replica;
use kit::types::{EntitlementId, OrderId};
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use uuid::Uuid;

use crate::acts::{Act, Answer, ask};
use crate::check;
use crate::town::{Town, client_key};
use crate::world::{Ground, Service, World, roots};

/// How often somebody without an answer asks again.
const ASKED_MAX: usize = 4;
/// With one partition, how many batches there are does not depend on the keys of a purchase.
const SWEEP_PARTITIONS: i32 = 1;
/// Longer than a claim of due work and than the provider's first pauses.
const PAUSE_SECONDS: i64 = 125;

/// Whose point it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Whose {
    Bus,
    Database(Service),
}

/// One passing of one point.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Place {
    pub(crate) whose: Whose,
    pub(crate) passed: Passed,
    /// How often this point had been passed before by what is called so.
    pub(crate) nth: u32,
}

pub(crate) struct Sweep<'a> {
    pub(crate) world: World<'a>,
    town: Town,
    random: ChaCha8Rng,
    /// Whether everything is to come twice.
    twice: bool,
    /// Records of each partition that have been applied twice already.
    seen: BTreeMap<(String, usize), usize>,
}

impl<'a> Sweep<'a> {
    pub(crate) async fn new(ground: &'a Ground) -> Result<Self> {
        Self::behind(ground, |routes| routes).await
    }

    /// With something before the door that the provider posts to.
    pub(crate) async fn behind(
        ground: &'a Ground,
        door: impl FnOnce(axum::Router) -> axum::Router,
    ) -> Result<Self> {
        let mut world = World::with(ground, (1, SWEEP_PARTITIONS), door).await?;
        let town = Town::found(&mut world).await?;
        Ok(Self {
            world,
            town,
            random: ChaCha8Rng::seed_from_u64(1),
            twice: false,
            seen: BTreeMap::new(),
        })
    }

    fn faults(&self, whose: Whose) -> &Faults {
        match whose {
            Whose::Bus => self.world.bus.faults(),
            Whose::Database(service) => self.world.faults(service),
        }
    }

    fn all() -> impl Iterator<Item = Whose> {
        let databases = Service::ALL.into_iter().map(Whose::Database);
        std::iter::once(Whose::Bus).chain(databases)
    }

    /// Plays it with nothing going wrong; what it ends as, and the points passed.
    pub(crate) async fn clean(&mut self) -> Result<(String, Vec<Place>)> {
        for whose in Self::all() {
            self.faults(whose).take_passed();
            self.faults(whose).watch(true);
        }
        let end = self.play().await?;
        let mut places = Vec::new();
        for whose in Self::all() {
            self.faults(whose).watch(false);
            let mut passes: BTreeMap<(&str, &str), u32> = BTreeMap::new();
            for passed in self.faults(whose).take_passed() {
                // What goes round whether anything happens or not is no step of a purchase.
                let goes_round = [
                    "due_claim",
                    "heartbeat",
                    "plan_next_day",
                    "no_bill",
                    "own_movements",
                    "reconcile",
                ];
                let of_keys =
                    whose == Whose::Database(Service::Identity) && passed.point.starts_with("due.");
                if of_keys || goes_round.contains(&passed.what) {
                    continue;
                }
                let nth = passes.entry((passed.point, passed.what)).or_default();
                places.push(Place {
                    whose,
                    passed,
                    nth: *nth,
                });
                *nth += 1;
            }
        }
        Ok((end, places))
    }

    /// Plays it with a death at this place; what it ends as.
    pub(crate) async fn dying_at(&mut self, place: Place) -> Result<String> {
        let point = place.passed.point;
        self.faults(place.whose)
            .crash_in(place.passed.what, point, place.nth);
        let end = self.play().await;
        let waits = self.faults(place.whose).waits_at(point);
        Self::all().for_each(|whose| self.faults(whose).clear());
        ensure!(!waits, "nothing ever came to {place:?}");
        end.with_context(|| format!("{place:?}"))
    }

    /// Plays it with every act asked three times and every record applied twice.
    pub(crate) async fn twice(&mut self) -> Result<String> {
        self.twice = true;
        self.seen = self.lengths();
        let end = self.play().await;
        self.twice = false;
        end
    }

    async fn play(&mut self) -> Result<String> {
        let (buyer, product) = (0, self.town.products[0]);
        let bought = self
            .insist(Act::Buy {
                buyer,
                product,
                renews: None,
            })
            .await?;
        let Answer::Done { id, said } = bought else {
            anyhow::bail!("a purchase was answered {bought:?}");
        };
        let (pass, order): (EntitlementId, OrderId) = (id.parse()?, said.parse()?);
        self.rest().await?;
        self.insist(Act::Pay { buyer, order }).await?;
        self.rest().await?;
        let sql = format!(
            "SELECT out_trade_no FROM payment WHERE order_id = '{order}' AND state = 'waiting'"
        );
        let number = self.world.text(Service::Billing, &sql).await?;
        let number = number.context("a payment that waits")?;
        let status = self.world.payer_pays(&number).await?;
        ensure!(status == 200, "the payer was answered {status}");
        self.rest().await?;
        let identity = &self.world.union.identity;
        let caller = &self.town.buyers[buyer];
        let minted = mint(&identity.ctx, &identity.vault, caller, pass).await;
        // A reader that dies reads again.
        let minted = match minted {
            Err(_) => mint(&identity.ctx, &identity.vault, caller, pass).await?,
            Ok(minted) => minted,
        };
        let text = minted.context("a credential")?.text;
        let device = &mut self.town.devices[0];
        device.seq += 1;
        let seq = device.seq;
        self.insist(Act::Scan {
            device: 0,
            seq,
            pass,
            text,
            direction: Direction::Entry,
        })
        .await?;
        self.rest().await?;
        self.insist(Act::Refund { buyer, pass }).await?;
        self.rest().await?;
        self.rest().await?;
        self.end(pass, order, &number).await
    }

    async fn insist(&mut self, act: Act) -> Result<Answer> {
        let key: Uuid = client_key(&mut self.random);
        let mut answer = Answer::Unknown;
        let least = if self.twice { 3 } else { 1 };
        for asked in 1..=ASKED_MAX {
            let said = ask(&self.world, &self.town, &act, key).await;
            let said = said.map_err(|fault| anyhow::anyhow!("{act:?}: {fault}"))?;
            ensure!(
                answer == said || !answer.lasts(),
                "{act:?} was answered {answer:?}, then {said:?}"
            );
            answer = said;
            if answer.lasts() && asked >= least {
                break;
            }
        }
        ensure!(answer.id().is_some(), "{act:?} was answered {answer:?}");
        Ok(answer)
    }

    /// Everything stands still, and then still does when time has passed.
    async fn rest(&mut self) -> Result<()> {
        self.world.settle().await?;
        if self.twice {
            self.apply_again().await?;
            self.world.settle().await?;
        }
        self.world.advance(TimeDelta::seconds(PAUSE_SECONDS));
        // Who dies while saying that it lives says it a moment later.
        if self.world.heartbeat().await.is_err() {
            self.world.heartbeat().await?;
        }
        self.world.settle().await
    }

    fn lengths(&self) -> BTreeMap<(String, usize), usize> {
        let mut lengths = BTreeMap::new();
        for service in Service::ALL {
            let topic = format!("{}.v1", service.name());
            for (at, records) in self.world.memory.records(&topic).iter().enumerate() {
                lengths.insert((topic.clone(), at), records.len());
            }
        }
        lengths
    }

    /// Lets every handler apply what it has applied already, past the numbers that would drop it.
    async fn apply_again(&mut self) -> Result<()> {
        let lengths = self.lengths();
        for ((topic, at), length) in &lengths {
            let from = self.seen.get(&(topic.clone(), *at)).copied().unwrap_or(0);
            let partition = self.world.memory.records(topic).swap_remove(*at);
            for record in &partition[from..*length] {
                self.apply_one_again(record).await?;
            }
        }
        self.seen = lengths;
        Ok(())
    }

    async fn apply_one_again(&self, record: &Record) -> Result<()> {
        let world = &self.world;
        let union = world.ctx(Service::Passes).union;
        for service in [Service::Passes, Service::Billing, Service::Admission] {
            again(world, service, &Replica::new(roots()), record).await?;
        }
        let follower = passes::consumers::Follower { union };
        again(world, Service::Passes, &follower, record).await?;
        let sellers = billing::consumers::Sellers { union };
        again(world, Service::Billing, &sellers, record).await?;
        let grants = admission::Grants::new(union);
        again(world, Service::Admission, &grants, record).await?;
        let entitlements = identity::consumers::Entitlements;
        again(world, Service::Identity, &entitlements, record).await
    }

    /// What it all came to, without what differs from one purchase to the next.
    #[expect(
        clippy::too_many_lines,
        reason = "a list of questions, one after the other"
    )]
    async fn end(&self, pass: EntitlementId, order: OrderId, number: &str) -> Result<String> {
        let id = pass.to_i64();
        let mut lines = Vec::new();
        for (service, name, sql) in [
            (
                Service::Passes,
                "pass",
                format!("SELECT state, version FROM pass WHERE id = {id}"),
            ),
            (
                Service::Passes,
                "returns",
                format!(
                    "SELECT cause, state, uses, fee_fen, refund_fen FROM refund WHERE pass = {id}"
                ),
            ),
            (
                Service::Passes,
                "uses",
                format!("SELECT count(*), bool_or(voided) FROM replica_use WHERE pass = {id}"),
            ),
            (
                Service::Passes,
                "acts",
                format!("SELECT act, count(*) FROM audit WHERE subject = '{pass}' GROUP BY act"),
            ),
            (
                Service::Billing,
                "order",
                format!(
                    "SELECT state, version, total_fen, paid_fen, returned_fen, refunded_fen
                 FROM orders WHERE id = '{order}'"
                ),
            ),
            (
                Service::Billing,
                "payments",
                format!("SELECT state, fen FROM payment WHERE order_id = '{order}'"),
            ),
            (
                Service::Billing,
                "receipts",
                format!(
                    "SELECT kind, fen, returned_fen, refunded_fen FROM receipt
                 WHERE order_id = '{order}'"
                ),
            ),
            (
                Service::Billing,
                "refunds",
                format!("SELECT cause, state, fen, attempt FROM refund WHERE order_id = '{order}'"),
            ),
            (
                Service::Billing,
                "ledger",
                format!(
                    "SELECT debit, credit, sum(fen), count(*) FROM transfer
                 WHERE order_id = '{order}' GROUP BY debit, credit"
                ),
            ),
            (
                Service::Billing,
                "differences",
                format!("SELECT kind FROM discrepancy WHERE order_id = '{order}'"),
            ),
            (
                Service::Admission,
                "right",
                format!(
                    "SELECT state, version, freeze_version, blocked FROM entitlement
                     WHERE id = {id}"
                ),
            ),
            (
                Service::Admission,
                "entries",
                format!(
                    "SELECT decision, direction, count(*) FROM redemption WHERE entitlement = {id}
                 GROUP BY decision, direction"
                ),
            ),
            (
                Service::Identity,
                "minted from",
                format!("SELECT state, version, blocked FROM entitlement WHERE id = {id}"),
            ),
        ] {
            let sql = format!(
                "SELECT string_agg(line, '; ' ORDER BY line) FROM (
                   SELECT (r)::text AS line FROM ({sql}) AS r) AS rows"
            );
            let text = self.world.text(service, &sql).await?.unwrap_or_default();
            lines.push(format!("{name}: {text}"));
        }
        let provider = self.world.provider_orders().await?;
        let there = provider.iter().find(|one| one["out_trade_no"] == number);
        let there = there.context("the provider's own order")?;
        lines.push(format!(
            "provider: {} back {}",
            there["trade_state"], there["refunded"]
        ));
        Ok(lines.join("\n"))
    }

    /// Promises that do not hold now.
    pub(crate) async fn promises(&self) -> Result<Vec<String>> {
        check::promises(&self.world).await
    }
}

async fn again<H: Handler>(
    world: &World<'_>,
    service: Service,
    handler: &H,
    record: &Record,
) -> Result<()> {
    let its = handler.topics().contains(&record.topic.as_str()) && handler.handles(&record.kind);
    if its {
        let db = &world.ctx(service).db;
        let applied = db.tx("again", async |tx| {
            handler.apply(tx, std::slice::from_ref(record)).await
        });
        applied
            .await
            .with_context(|| format!("{} again", record.kind))?;
    }
    Ok(())
}
