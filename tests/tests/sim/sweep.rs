//! The crash-point sweep: a saga of one pass is played to the end, and every point that its
//! commands, jobs, relays and consumers passed is written down; then it is played once for each of
//! them with a death there, once for each step with that step done again, and once for each step
//! and each way in which the provider fails. Whoever has no answer asks again, loops go on, time
//! passes. The end is the same as without, to the fen.
//!
//! Before a commit is the error before a step, after it the crash behind it.

use std::collections::BTreeMap;

use anyhow::{Context, Result, ensure};
use chrono::TimeDelta;
use kit::bus::{Faults, Passed};
use kit::consumer::Handler;
use kit::event::Record;
use kit::replica::Replica;
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use serde_json::json;
use uuid::Uuid;

use crate::acts::{Act, Answer, ask};
use crate::check;
use crate::ground::Ground;
use crate::paths::Path;
use crate::town::{Town, client_key};
use crate::world::{Service, World, roots};

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

/// Which steps are done again: a command is asked three times, a record applied twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Again {
    Never,
    Always,
    At(usize),
}

pub(crate) struct Sweep<'a> {
    pub(crate) world: World<'a>,
    pub(crate) town: Town,
    path: Path,
    random: ChaCha8Rng,
    again: Again,
    /// Before which step the provider is told to fail its next answer, and how.
    trouble: Option<(usize, &'static str)>,
    /// Steps of the saga so far.
    step: usize,
    /// Records of each partition that have been applied twice already.
    seen: BTreeMap<(String, usize), usize>,
}

impl<'a> Sweep<'a> {
    pub(crate) async fn new(ground: &'a Ground, path: Path) -> Result<Self> {
        Self::behind(ground, path, |routes| routes).await
    }

    /// With something before the door that the provider posts to.
    pub(crate) async fn behind(
        ground: &'a Ground,
        path: Path,
        door: impl FnOnce(axum::Router) -> axum::Router,
    ) -> Result<Self> {
        let mut world = World::with(ground, (1, SWEEP_PARTITIONS), door).await?;
        let town = Town::found(&mut world).await?;
        Ok(Self {
            world,
            town,
            path,
            random: ChaCha8Rng::seed_from_u64(1),
            again: Again::Never,
            trouble: None,
            step: 0,
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

    /// Plays it with these steps done again; what it ends as.
    pub(crate) async fn again(&mut self, again: Again) -> Result<String> {
        self.again = again;
        let end = self.play().await;
        self.again = Again::Never;
        end.with_context(|| format!("{again:?}"))
    }

    /// Plays it while the provider fails once, from this step on; what it ends as, or nothing where
    /// nobody asked the provider any more.
    pub(crate) async fn troubled(
        &mut self,
        step: usize,
        fault: &'static str,
    ) -> Result<Option<String>> {
        self.trouble = Some((step, fault));
        let end = self.play().await;
        self.trouble = None;
        let left = self.world.forget_answers().await?;
        let end = end.with_context(|| format!("the provider's {fault} at step {step}"))?;
        Ok((left == 0).then_some(end))
    }

    /// How many steps the last play had.
    pub(crate) fn steps(&self) -> usize {
        self.step
    }

    async fn play(&mut self) -> Result<String> {
        self.step = 0;
        self.seen = self.lengths();
        match self.path {
            Path::Returned => self.returned().await,
            Path::Cancelled => self.cancelled().await,
            Path::Lapsed => self.lapsed().await,
            Path::PaidLate => self.paid_late().await,
            Path::ReturnRefused => self.return_refused().await,
        }
    }

    /// Whether this step is to be done again; the next question is of the next step.
    async fn begin_step(&mut self) -> Result<bool> {
        let step = self.step;
        self.step += 1;
        if let Some((at, fault)) = self.trouble
            && at == step
        {
            let told = json!({ "next": 1, "fault": fault });
            let (status, _) = self.world.control("/sandbox/answers", told).await?;
            ensure!(status == 204, "the provider was told to fail: {status}");
        }
        Ok(match self.again {
            Again::Never => false,
            Again::Always => true,
            Again::At(at) => at == step,
        })
    }

    pub(crate) async fn insist(&mut self, act: Act) -> Result<Answer> {
        let again = self.begin_step().await?;
        let key: Uuid = client_key(&mut self.random);
        let mut answer = Answer::Unknown;
        let least = if again { 3 } else { 1 };
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
    pub(crate) async fn rest(&mut self) -> Result<()> {
        let again = self.begin_step().await?;
        self.world.settle().await?;
        if again {
            self.apply_again().await?;
            self.world.settle().await?;
        }
        self.seen = self.lengths();
        self.wait(PAUSE_SECONDS).await
    }

    /// So many seconds pass, and everything stands still again.
    pub(crate) async fn wait(&mut self, seconds: i64) -> Result<()> {
        self.world.advance(TimeDelta::seconds(seconds));
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
        again(world, Service::Identity, &entitlements, record).await?;
        again(
            world,
            Service::Identity,
            &identity::consumers::notices::Notices,
            record,
        )
        .await
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
