//! What a process runs beside its requests, as single steps: four relays, twelve consumers, the due
//! work of four services. A seed decides which steps come when.

use identity::consumers::notices::Notices;
use identity::consumers::persons::Persons as Answers;
use kit::bus::Bus;
use kit::consumer::Consumer;
use kit::person::Persons;
use kit::relay::{Relay, Status};
use kit::replica::{Replica, Roots};
use kit::{Ctx, Result};

use crate::ground::Ground;
use crate::world::{Service, Union50, identity_settings};

/// One loop of the union.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Loop {
    Relay(Service),
    Consumer(usize),
    Due(Service),
}

/// Consumers of the union, in the order of [`Loops`].
pub(crate) const CONSUMERS: usize = 12;

/// A consumer of any handler.
enum Reading {
    Passes(Consumer<passes::consumers::Follower>),
    Billing(Consumer<billing::consumers::Sellers>),
    Admission(Consumer<admission::Grants>),
    Identity(Consumer<identity::consumers::Entitlements>),
    Notices(Consumer<Notices>),
    Replica(Consumer<Replica>),
    PassesPersons(Consumer<Persons<passes::consumers::person::Keep>>),
    BillingPersons(Consumer<Persons<billing::consumers::person::Keep>>),
    AdmissionPersons(Consumer<Persons<admission::consumers::person::Keep>>),
    Answers(Consumer<Answers>),
}

impl Reading {
    async fn step(&mut self) -> Result<usize> {
        match self {
            Self::Passes(consumer) => consumer.step().await,
            Self::Billing(consumer) => consumer.step().await,
            Self::Admission(consumer) => consumer.step().await,
            Self::Identity(consumer) => consumer.step().await,
            Self::Notices(consumer) => consumer.step().await,
            Self::Replica(consumer) => consumer.step().await,
            Self::PassesPersons(consumer) => consumer.step().await,
            Self::BillingPersons(consumer) => consumer.step().await,
            Self::AdmissionPersons(consumer) => consumer.step().await,
            Self::Answers(consumer) => consumer.step().await,
        }
    }

    fn is_quiet(&mut self) -> bool {
        match self {
            Self::Passes(consumer) => consumer.is_quiet(),
            Self::Billing(consumer) => consumer.is_quiet(),
            Self::Admission(consumer) => consumer.is_quiet(),
            Self::Identity(consumer) => consumer.is_quiet(),
            Self::Notices(consumer) => consumer.is_quiet(),
            Self::Replica(consumer) => consumer.is_quiet(),
            Self::PassesPersons(consumer) => consumer.is_quiet(),
            Self::BillingPersons(consumer) => consumer.is_quiet(),
            Self::AdmissionPersons(consumer) => consumer.is_quiet(),
            Self::Answers(consumer) => consumer.is_quiet(),
        }
    }
}

pub(crate) struct Loops {
    relays: Vec<Relay>,
    readings: Vec<Reading>,
    /// Consumers of a process that is believed dead and is not.
    zombies: Vec<Reading>,
}

impl Loops {
    pub(crate) fn new(ground: &Ground, bus: &Bus, roots: &Roots) -> Self {
        let relays = ground.relays.iter();
        Self {
            relays: relays
                .map(|ctx| Relay::new(ctx.clone(), bus.clone()))
                .collect(),
            readings: readings(&ground.services, bus, roots),
            zombies: Vec::new(),
        }
    }

    /// Everything starts anew but the relays' locks, which a dead process's session gives back by
    /// itself. The consumers of before live on as zombies, which must change nothing.
    pub(crate) fn restart(&mut self, services: &[Ctx], bus: &Bus, roots: &Roots) {
        self.zombies = std::mem::replace(&mut self.readings, readings(services, bus, roots));
    }

    /// Whether the service's relay holds its lock, after a step of it.
    pub(crate) async fn relay_runs(&mut self, service: Service) -> bool {
        let relay = &mut self.relays[service as usize];
        // What the step says of the topic is said again by the next one.
        let _stepped = relay.step().await;
        *relay.status() == Status::Running
    }

    pub(crate) fn relay_status(&self, service: Service) -> &Status {
        self.relays[service as usize].status()
    }

    pub(crate) async fn relay(&mut self, service: Service) -> Result<usize> {
        self.relays[service as usize].step().await
    }

    pub(crate) async fn consumer(&mut self, at: usize) -> Result<usize> {
        self.readings[at].step().await
    }

    pub(crate) fn has_zombies(&self) -> bool {
        !self.zombies.is_empty()
    }

    /// A step of a consumer that another one has taken the place of; 0 when there is none.
    pub(crate) async fn zombie(&mut self, at: usize) -> Result<usize> {
        match self.zombies.get_mut(at) {
            Some(zombie) => zombie.step().await,
            None => Ok(0),
        }
    }

    pub(crate) fn bury_zombies(&mut self) {
        self.zombies.clear();
    }

    pub(crate) fn are_quiet(&mut self) -> bool {
        // Every one is asked, so that how often the log is asked follows from the seed alone.
        let quiet: Vec<bool> = self.readings.iter_mut().map(Reading::is_quiet).collect();
        quiet.into_iter().all(|one| one)
    }
}

fn readings(services: &[Ctx], bus: &Bus, roots: &Roots) -> Vec<Reading> {
    let [identity, passes, billing, admission] = [0, 1, 2, 3].map(|at| services[at].clone());
    let union = passes.union;
    let replica = |ctx: &Ctx| {
        let handler = Replica::new(roots.clone());
        Reading::Replica(Consumer::new(ctx.clone(), bus.clone(), handler))
    };
    let follower = passes::consumers::Follower { union };
    let sellers = billing::consumers::Sellers { union };
    let grants = admission::Grants::new(union);
    let entitlements = identity::consumers::Entitlements;
    let vault = identity_settings()
        .vault()
        .expect("the union's keys are keys");
    let all = vec![
        Reading::PassesPersons(Consumer::new(
            passes.clone(),
            bus.clone(),
            passes::consumers::person::persons(union),
        )),
        Reading::BillingPersons(Consumer::new(
            billing.clone(),
            bus.clone(),
            billing::consumers::person::PERSONS,
        )),
        Reading::AdmissionPersons(Consumer::new(
            admission.clone(),
            bus.clone(),
            admission::consumers::person::PERSONS,
        )),
        Reading::Answers(Consumer::new(
            identity.clone(),
            bus.clone(),
            Answers { vault },
        )),
        replica(&passes),
        replica(&billing),
        replica(&admission),
        Reading::Passes(Consumer::new(passes, bus.clone(), follower)),
        Reading::Billing(Consumer::new(billing, bus.clone(), sellers)),
        Reading::Admission(Consumer::new(admission, bus.clone(), grants)),
        Reading::Identity(Consumer::new(identity.clone(), bus.clone(), entitlements)),
        Reading::Notices(Consumer::new(identity, bus.clone(), Notices)),
    ];
    assert_eq!(all.len(), CONSUMERS);
    all
}

/// Runs one job of a service that is due; the number of jobs run.
pub(crate) async fn due(union: &Union50, service: Service) -> Result<usize> {
    match service {
        Service::Identity => {
            let jobs = identity::due::Jobs(union.identity.clone());
            kit::due::step_one(&union.identity.ctx, &jobs).await
        }
        Service::Passes => kit::due::step_one(&union.passes.ctx, &union.passes.timers()).await,
        Service::Billing => {
            let jobs = billing::due::Jobs(union.billing.clone());
            kit::due::step_one(&union.billing.ctx, &jobs).await
        }
        Service::Admission => {
            kit::due::step_one(&union.admission.ctx, &union.admission.work()).await
        }
    }
}
