//! A story under a seed: who asks for what, which loop takes a step, what dies, what is lost, when
//! the clock jumps. Every answer is written down, and so is every step, so that two runs of one
//! seed can be compared.

use std::collections::BTreeMap;

use anyhow::{Result, anyhow};
use chrono::TimeDelta;
use futures::future::join_all;
use kit::bus::{Defect, MemoryOptions};
use kit::types::EntitlementId;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use sea_orm::FromQueryResult;
use sha2::{Digest, Sha256};
use uuid::Uuid;

use crate::acts::{Act, Answer, ask};
use crate::check;
use crate::ground::Ground;
use crate::loops::{self, CONSUMERS, Loop};
use crate::town::{Town, client_key};
use crate::world::{PARTITIONS, Service, World};

/// Moves of one story.
const MOVES: usize = 200;
/// Steps of loops between two other things, at most.
const STEPS_MAX: usize = 14;
/// Purchases of one product at the same moment, at most.
const CROWD_MAX: usize = 4;
/// By how much the clock is set back at once, at most, in seconds.
const BACK_SECONDS_MAX: i64 = 5;
/// From where on the clock has jumped: past holds, claims and every pause of the provider.
const JUMP_SECONDS_MIN: i64 = 3_600;
/// Where a loop or a command can die, by what takes the step.
const RELAY_POINTS: [&str; 4] = [
    "relay.opened",
    "relay.sent",
    "relay.acknowledged",
    "relay.stored",
];
const CONSUMER_POINTS: [&str; 2] = ["consumer.taken", "consumer.applied"];
const TX_POINTS: [&str; 2] = ["tx.before_commit", "tx.committed"];
const DUE_POINTS: [&str; 4] = ["due.claimed", "due.ran", "tx.before_commit", "tx.committed"];

/// What was asked and what was answered.
#[derive(Clone, Debug)]
pub(crate) struct Asked {
    pub(crate) act: Act,
    pub(crate) key: Uuid,
    pub(crate) answer: Answer,
}

pub(crate) struct Play<'a> {
    pub(crate) world: World<'a>,
    pub(crate) town: Town,
    pub(crate) log: Vec<Asked>,
    pub(crate) violations: Vec<String>,
    pub(crate) trace: Vec<String>,
    pub(crate) random: ChaCha8Rng,
    /// The credentials that phones hold.
    pub(crate) wallet: BTreeMap<EntitlementId, String>,
    happened: BTreeMap<String, u64>,
    /// Answers that the provider was told to spoil.
    pub(crate) spoils: u64,
}

/// What became of a seed.
#[derive(Debug)]
pub(crate) struct Played {
    pub(crate) violations: Vec<String>,
    pub(crate) trace: Vec<String>,
    /// How often each thing happened: points at which something died, acts that were answered.
    pub(crate) happened: BTreeMap<String, u64>,
}

impl Played {
    /// The same for the same story.
    pub(crate) fn hash(&self) -> String {
        hex::encode(Sha256::digest(self.trace.join("\n")))
    }
}

/// Plays one seed from beginning to end.
///
/// # Errors
/// When the world itself cannot be made: everything else is a violation.
pub(crate) async fn play(ground: &Ground, seed: u64) -> Result<Played> {
    play_with(ground, seed, None).await
}

/// Plays one seed with a mistake in the chassis of every service.
///
/// # Errors
/// As [`play`].
pub(crate) async fn play_with(
    ground: &Ground,
    seed: u64,
    defect: Option<Defect>,
) -> Result<Played> {
    let mut world = World::new(ground, seed).await?;
    let town = Town::found(&mut world).await?;
    if let Some(defect) = defect {
        ground.switch_on(defect);
    }
    let mut play = Play {
        world,
        town,
        log: Vec::new(),
        violations: Vec::new(),
        trace: Vec::new(),
        random: ChaCha8Rng::seed_from_u64(seed),
        wallet: BTreeMap::new(),
        happened: BTreeMap::new(),
        spoils: 0,
    };
    if let Err(error) = play.story(seed).await {
        play.violations
            .push(format!("the story broke off: {error:#}"));
    }
    Ok(Played {
        violations: play.violations,
        trace: play.trace,
        happened: play.happened,
    })
}

impl Play<'_> {
    async fn story(&mut self, seed: u64) -> Result<()> {
        self.watch(true);
        self.world
            .memory
            .behave(MemoryOptions::stormy(PARTITIONS, seed));
        for _ in 0..MOVES {
            self.make_move().await?;
        }
        self.count_crashes();
        self.count_misbehaviour().await?;
        self.watch(false);
        // Whoever has no answer asks until there is one.
        for at in 0..self.log.len() {
            if self.log[at].answer == Answer::Unknown {
                self.repeat(at).await;
            }
        }
        self.world.heal().await?;
        self.count_notifications().await?;
        self.count_batches().await?;
        check::everything(self).await
    }

    fn watch(&self, on: bool) {
        self.world.bus.faults().watch(on);
        let ground = self.world.ground;
        for ctx in ground.services.iter().chain(&ground.relays) {
            ctx.db.faults().watch(on);
        }
    }

    fn count_crashes(&mut self) {
        let mut passed = self.world.bus.faults().take_passed();
        for service in Service::ALL {
            passed.extend(self.world.faults(service).take_passed());
        }
        for one in passed.into_iter().filter(|one| one.crashed) {
            self.count(one.point);
        }
        // Plans are made for the bus and the services: a relay with points of its own needs some.
        for ctx in &self.world.ground.relays {
            let passed = ctx.db.faults().take_passed();
            if let Some(one) = passed.first() {
                let found = format!("nobody ever dies at {one:?} of a relay");
                self.violations.push(found);
            }
        }
    }

    pub(crate) fn count(&mut self, what: &str) {
        self.count_times(what, 1);
    }

    /// What never happened is not there.
    pub(crate) fn count_times(&mut self, what: &str, times: u64) {
        if times > 0 {
            *self.happened.entry(what.to_owned()).or_default() += times;
        }
    }

    pub(crate) fn say(&mut self, line: String) {
        self.trace.push(line);
    }

    async fn make_move(&mut self) -> Result<()> {
        match self.random.random_range(0..100) {
            0..32 => self.step_loops().await,
            32..63 => self.act().await,
            63..66 => self.crowd().await,
            66..71 => self.ask_again().await,
            71..79 => self.pay_at_the_provider().await,
            79..82 => self.upset_the_provider().await,
            82..86 => self.notify().await,
            86..93 => self.pass_time(1, 70).await,
            93 if self.random.random_range(0..3) == 0 => self.pass_time(3_600, 40_000).await,
            93 => self.pass_time(100, 1_500).await,
            94..97 => self.rest().await,
            97 => self.set_back().await,
            98 => self.restart().await,
            _ => self.step_a_zombie().await,
        }
    }

    /// Everything that is under way gets through, but for what the log keeps back.
    async fn rest(&mut self) -> Result<()> {
        self.say("a rest".to_owned());
        self.world.settle().await
    }

    async fn step_loops(&mut self) -> Result<()> {
        for _ in 0..self.random.random_range(1..STEPS_MAX) {
            self.step_a_loop().await?;
        }
        Ok(())
    }

    async fn step_a_loop(&mut self) -> Result<()> {
        let service = Service::ALL[self.random.random_range(0..4)];
        let chosen = match self.random.random_range(0..10) {
            0..3 => Loop::Relay(service),
            3..7 => Loop::Consumer(self.random.random_range(0..CONSUMERS)),
            _ => Loop::Due(service),
        };
        let dies = self.random.random_range(0..100) < 12;
        if dies {
            self.arm(chosen);
        }
        let stepped = match chosen {
            Loop::Relay(service) => self.world.loops.relay(service).await,
            Loop::Consumer(at) => self.world.loops.consumer(at).await,
            Loop::Due(service) => loops::due(&self.world.union, service).await,
        };
        self.disarm();
        self.say(match stepped {
            Ok(count) => format!("{chosen:?} {count}"),
            Err(error) => format!("{chosen:?} {error}"),
        });
        Ok(())
    }

    fn arm(&mut self, chosen: Loop) {
        let pass = self.random.random_range(0..2);
        match chosen {
            Loop::Relay(_) => {
                let point = RELAY_POINTS[self.random.random_range(0..4)];
                self.world.bus.faults().crash_at(point, 0);
            }
            Loop::Consumer(_) if pass == 0 => {
                let point = CONSUMER_POINTS[self.random.random_range(0..2)];
                self.world.bus.faults().crash_at(point, 0);
            }
            Loop::Consumer(_) => {
                // The first batch of a step, or the one of the next partition.
                let nth = self.random.random_range(0..2);
                let point = TX_POINTS[self.random.random_range(0..2)];
                let all = Service::ALL.iter();
                all.for_each(|service| self.world.faults(*service).crash_at(point, nth));
            }
            Loop::Due(service) => {
                let point = DUE_POINTS[self.random.random_range(0..4)];
                // The first transaction of a job's step is its claim.
                self.world.faults(service).crash_at(point, pass);
            }
        }
    }

    fn disarm(&self) {
        self.world.bus.faults().clear();
        let all = Service::ALL.iter();
        all.for_each(|service| self.world.faults(*service).clear());
    }

    async fn step_a_zombie(&mut self) -> Result<()> {
        let at = self.random.random_range(0..CONSUMERS);
        if self.world.loops.has_zombies() {
            self.count("zombie");
        }
        let stepped = self.world.loops.zombie(at).await;
        self.say(format!(
            "zombie {at} {:?}",
            stepped.map_err(|error| error.to_string())
        ));
        Ok(())
    }

    async fn restart(&mut self) -> Result<()> {
        self.count("restart");
        self.say("restart".to_owned());
        self.world.restart().await
    }

    async fn pass_time(&mut self, from: i64, until: i64) -> Result<()> {
        let seconds = self.random.random_range(from..until);
        self.world.advance(TimeDelta::seconds(seconds));
        self.say(format!("{seconds} s pass"));
        if seconds >= JUMP_SECONDS_MIN {
            self.count("hours pass");
        }
        Ok(self.world.heartbeat().await?)
    }

    /// The clock of our machines is set right by some seconds, as by NTP, and the provider's is
    /// not: what was written a moment ago lies ahead. No heartbeat comes of it.
    async fn set_back(&mut self) -> Result<()> {
        let seconds = self.random.random_range(1..=BACK_SECONDS_MAX);
        self.world.set_back(TimeDelta::seconds(seconds));
        self.say(format!("the clock goes back by {seconds} s"));
        if self.world.has_written_ahead().await? {
            self.count("clock set back");
        }
        Ok(())
    }

    /// The provider sends one of its notifications.
    async fn notify(&mut self) -> Result<()> {
        let sent = self.world.sandbox.step_one().await;
        let sent = sent.map_err(|error| anyhow!("{error}"))?;
        self.say(format!("the provider notifies {sent}"));
        Ok(())
    }

    async fn pay_at_the_provider(&mut self) -> Result<()> {
        #[derive(FromQueryResult)]
        struct Row {
            number: String,
        }
        let sql = "SELECT out_trade_no AS number FROM payment WHERE state = 'waiting' ORDER BY id";
        let open: Vec<Row> = self.world.rows(Service::Billing, sql).await?;
        let Some(row) = self.pick(&open) else {
            return Ok(());
        };
        let status = self.world.payer_pays(&row.number).await?;
        self.say(format!("{} is paid: {status}", row.number));
        self.count("paid at the provider");
        Ok(())
    }

    /// Does something anew.
    async fn act(&mut self) -> Result<()> {
        let Some(act) = self.choose().await? else {
            return Ok(());
        };
        let key = client_key(&mut self.random);
        let dies = self.random.random_range(0..100) < 14;
        if dies {
            let point = TX_POINTS[self.random.random_range(0..2)];
            let pass = u32::from(self.random.random_range(0..10) == 0);
            self.world.faults(act.service()).crash_at(point, pass);
        }
        self.record(act, key).await;
        Ok(())
    }

    /// Several buy the same at the same moment: their lane decides them in one transaction, or,
    /// when that dies, one by one. One has bought before, so that the process knows the product and
    /// all stand in the queue, in their order, before the lane takes them.
    async fn crowd(&mut self) -> Result<()> {
        let product = self.product();
        let count = self.random.random_range(2..=CROWD_MAX);
        let mut all: Vec<(Act, Uuid)> = Vec::with_capacity(count);
        for _ in 0..=count {
            let act = Act::Buy {
                buyer: self.somebody(),
                product,
                renews: None,
            };
            all.push((act, client_key(&mut self.random)));
        }
        if let Some((first, key)) = all.pop() {
            self.record(first, key).await;
        }
        if self.random.random_range(0..100) < 20 {
            let point = TX_POINTS[self.random.random_range(0..2)];
            self.world.faults(Service::Passes).crash_at(point, 0);
        }
        let (world, town) = (&self.world, &self.town);
        let asked = all.iter().map(|(act, key)| ask(world, town, act, *key));
        let answers = join_all(asked).await;
        self.disarm();
        for ((act, key), answer) in all.into_iter().zip(answers) {
            self.take(act, key, answer);
        }
        Ok(())
    }

    async fn record(&mut self, act: Act, key: Uuid) {
        let answer = ask(&self.world, &self.town, &act, key).await;
        self.disarm();
        self.take(act, key, answer);
    }

    fn take(&mut self, act: Act, key: Uuid, answer: std::result::Result<Answer, String>) {
        let answer = match answer {
            Ok(answer) => answer,
            Err(fault) => {
                self.violations
                    .push(format!("{act:?} was answered {fault}"));
                Answer::Unknown
            }
        };
        self.say(format!("{} -> {answer:?}", brief(&act)));
        self.count(&format!("{} {}", name(&act), kind(&answer)));
        self.log.push(Asked { act, key, answer });
    }

    /// Asks for something again with its key: the answer must be the same, if there was one.
    async fn ask_again(&mut self) -> Result<()> {
        if self.log.is_empty() {
            return Ok(());
        }
        let at = self.random.random_range(0..self.log.len());
        self.repeat(at).await;
        self.count("asked again");
        Ok(())
    }

    pub(crate) async fn repeat(&mut self, at: usize) {
        let Asked { act, key, answer } = self.log[at].clone();
        if !act.is_keyed() {
            return;
        }
        let again = ask(&self.world, &self.town, &act, key).await;
        self.disarm();
        self.say(format!("again {} -> {again:?}", brief(&act)));
        match again {
            Ok(again) => {
                if answer.lasts() && again.lasts() && answer != again {
                    self.violations.push(format!(
                        "{act:?} was answered {answer:?} and, asked again, {again:?}"
                    ));
                }
                if again.lasts() && !answer.lasts() {
                    self.log[at].answer = again;
                }
            }
            Err(fault) => self
                .violations
                .push(format!("{act:?}, asked again, was answered {fault}")),
        }
    }
}

/// An act in a few words, without the credential's text.
fn brief(act: &Act) -> String {
    if let Act::Scan {
        device,
        seq,
        direction,
        text,
        pass,
    } = act
    {
        let text = hex::encode(&Sha256::digest(text)[..4]);
        format!("Scan {device}/{seq} {direction:?} {pass} {text}")
    } else {
        format!("{act:?}")
    }
}

const fn kind(answer: &Answer) -> &'static str {
    match answer {
        Answer::Done { .. } => "done",
        Answer::Refused(_) => "refused",
        Answer::Later(_) => "put off",
        Answer::Unknown => "unknown",
    }
}

/// The word for an act: the first of its debug text.
fn name(act: &Act) -> String {
    let text = format!("{act:?}");
    let end = text.find(|letter: char| !letter.is_alphanumeric());
    text[..end.unwrap_or(text.len())].to_lowercase()
}
