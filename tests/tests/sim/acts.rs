//! What people and gates ask for, and what they are answered. Each act has a key of its own and
//! may be asked again with it: an answer once given is given again.

use std::num::NonZeroU16;

use admission::commands::by_hand::{Overridden, override_admission, void_redemption};
use admission::commands::redeem::{Scanned, redeem};
use admission::domain::redemption::Redemption;
use admission::domain::scan::ScanId;
use admission::gate_key::{self, Assertion};
use billing::commands::{PayOrder, cancel_order, pay_order};
use credential::rules::{Decision, Direction, DocumentReading};
use identity::commands::roles::withdraw_role;
use kit::access::Caller;
use kit::graphql::Language;
use kit::types::{EntitlementId, OrderId, Union};
use kit::{Error, Result};
use passes::commands::{BuyPass, Custody, Reason, Shop};
use passes::domain::{ProductId, VoidRefund};
use uuid::Uuid;

use crate::people;
use crate::town::{Device, Town};
use crate::world::{Service, World};

/// What a merge is answered that is done, and not only asked for.
pub(crate) const MERGED_NOW: &str = "merged";

/// What is asked for.
#[derive(Clone, Debug)]
pub(crate) enum Act {
    Buy {
        buyer: usize,
        product: ProductId,
        renews: Option<EntitlementId>,
    },
    Pay {
        buyer: usize,
        order: OrderId,
    },
    Cancel {
        buyer: usize,
        order: OrderId,
    },
    Activate {
        buyer: usize,
        pass: EntitlementId,
    },
    Refund {
        buyer: usize,
        pass: EntitlementId,
    },
    Custody {
        pass: EntitlementId,
        what: Taken,
    },
    Shop {
        product: ProductId,
        what: Shop,
    },
    Scan {
        /// As it stood when the scan was made: a device keeps its number of a scan for ever.
        device: usize,
        seq: i64,
        pass: EntitlementId,
        text: String,
        direction: Direction,
    },
    Void {
        redemption: Uuid,
    },
    Override {
        denial: Uuid,
    },
    GrantStaff,
    WithdrawStaff {
        role: Uuid,
    },
    /// Agrees that others see where she was, or takes it back.
    Consent {
        buyer: usize,
        given: bool,
    },
    /// Asks for all that is kept of her.
    Export {
        buyer: usize,
    },
    /// Wishes to be forgotten.
    Erase {
        buyer: usize,
    },
    /// Thinks better of it.
    Recall {
        buyer: usize,
    },
    /// An operator asks that the twins be one, the first or the second.
    Merge {
        by_second: bool,
    },
    /// An operator makes them two again.
    Split {
        by_second: bool,
    },
}

/// What an operator does to a pass.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Taken {
    Freeze,
    Unfreeze,
    VoidFull,
    VoidNothing,
}

impl Act {
    /// The service whose transaction it is.
    pub(crate) const fn service(&self) -> Service {
        match self {
            Self::Buy { .. }
            | Self::Activate { .. }
            | Self::Refund { .. }
            | Self::Custody { .. }
            | Self::Shop { .. } => Service::Passes,
            Self::Pay { .. } | Self::Cancel { .. } => Service::Billing,
            Self::Scan { .. } | Self::Void { .. } | Self::Override { .. } => Service::Admission,
            Self::GrantStaff
            | Self::WithdrawStaff { .. }
            | Self::Consent { .. }
            | Self::Export { .. }
            | Self::Erase { .. }
            | Self::Recall { .. }
            | Self::Merge { .. }
            | Self::Split { .. } => Service::Identity,
        }
    }

    /// Whether its answer is kept under its key. Roles, merges and a wish that is taken back have
    /// no key: they are as they are.
    pub(crate) const fn is_keyed(&self) -> bool {
        !matches!(
            self,
            Self::GrantStaff
                | Self::WithdrawStaff { .. }
                | Self::Recall { .. }
                | Self::Merge { .. }
                | Self::Split { .. }
        )
    }
}

/// An answer that a caller can act on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Answer {
    /// The id of what came of it, and what was said of it where that never changes.
    Done { id: String, said: String },
    /// A "no" that stays one.
    Refused(String),
    /// A "no" for now, or for whoever asks: it says nothing of the next time.
    Later(String),
    /// The process died: nobody knows.
    Unknown,
}

impl Answer {
    pub(crate) fn done(id: impl ToString) -> Self {
        Self::Done {
            id: id.to_string(),
            said: String::new(),
        }
    }

    pub(crate) fn id(&self) -> Option<&str> {
        match self {
            Self::Done { id, .. } => Some(id),
            Self::Refused(_) | Self::Later(_) | Self::Unknown => None,
        }
    }

    /// Whether it holds for ever.
    pub(crate) const fn lasts(&self) -> bool {
        matches!(self, Self::Done { .. } | Self::Refused(_))
    }

    /// # Errors
    /// What is a fault of ours and no answer at all.
    fn of(result: Result<Self>) -> std::result::Result<Self, String> {
        match result {
            Ok(done) => Ok(done),
            Err(Error::Refused(refusal)) if !refusal.transient => {
                Ok(Self::Refused(refusal.code.to_owned()))
            }
            Err(Error::Refused(refusal)) => Ok(Self::Later(refusal.code.to_owned())),
            Err(error) if error.to_string().contains("a test crashed it at") => Ok(Self::Unknown),
            Err(
                error @ (Error::Unauthenticated(_)
                | Error::Forbidden(_)
                | Error::NotFound
                | Error::Overloaded
                | Error::Unavailable(_)
                | Error::AuditLags),
            ) => Ok(Self::Later(error.to_string())),
            Err(error) => Err(format!("{error}: {error:?}")),
        }
    }
}

/// Asks for an act once.
///
/// # Errors
/// An error that no caller should ever see.
pub(crate) async fn ask(
    world: &World<'_>,
    town: &Town,
    act: &Act,
    key: Uuid,
) -> std::result::Result<Answer, String> {
    Answer::of(run(world, town, act, key).await)
}

async fn run(world: &World<'_>, town: &Town, act: &Act, key: Uuid) -> Result<Answer> {
    let passes = &world.union.passes;
    match act {
        Act::Buy {
            buyer,
            product,
            renews,
        } => {
            let request = BuyPass {
                product: *product,
                renews: *renews,
                key,
            };
            let pass = passes.buy(&town.buyers[*buyer], request).await?;
            Ok(Answer::Done {
                id: pass.id.to_string(),
                said: pass.order.to_string(),
            })
        }
        Act::Activate { buyer, pass } => {
            let pass = passes.activate(&town.buyers[*buyer], *pass, key).await?;
            Ok(Answer::done(pass.id))
        }
        Act::Refund { buyer, pass } => {
            let pass = passes
                .request_refund(&town.buyers[*buyer], *pass, key)
                .await?;
            Ok(Answer::done(pass.id))
        }
        Act::Custody { pass, what } => {
            let custody = custody(*what)?;
            let pass = passes
                .take_custody(&town.operator, *pass, &custody, key)
                .await?;
            Ok(Answer::done(pass.id))
        }
        Act::Shop { product, what } => {
            let product = passes
                .run_shop(&town.operator, *product, *what, key)
                .await?;
            Ok(Answer::done(product.0))
        }
        Act::Pay { buyer, order } => {
            let input = PayOrder { order: *order, key };
            let paying = pay_order(&world.union.billing, &town.buyers[*buyer], input).await?;
            Ok(Answer::done(paying.payment))
        }
        Act::Cancel { buyer, order } => cancel(world, &town.buyers[*buyer], *order, key).await,
        Act::Scan { .. } | Act::Void { .. } | Act::Override { .. } => {
            at_the_gate(world, town, act, key).await
        }
        Act::GrantStaff => people::grant_staff(world, town).await,
        Act::WithdrawStaff { role } => {
            let ctx = &world.union.identity.ctx;
            let held = withdraw_role(ctx, &town.operator, *role).await?;
            Ok(Answer::done(held.id))
        }
        Act::Consent { .. } | Act::Export { .. } | Act::Erase { .. } | Act::Recall { .. } => {
            people::rights(world, town, act, key).await
        }
        Act::Merge { by_second } => people::merge(world, town, *by_second).await,
        Act::Split { by_second } => people::split(world, town, *by_second).await,
    }
}

/// Cancels an order and does not wait for the end, as a caller whose line breaks: what follows
/// is due work, which here has steps of its own.
async fn cancel(world: &World<'_>, caller: &Caller, order: OrderId, key: Uuid) -> Result<Answer> {
    let faults = world.faults(Service::Billing);
    let held = (!faults.waits_at("tx.committed")).then(|| faults.hold_at("tx.committed"));
    let command = cancel_order(&world.union.billing, caller, order, key);
    let committed = async {
        match &held {
            Some(held) => held.reached().await,
            None => std::future::pending().await,
        }
    };
    tokio::select! {
        biased;
        ended = command => {
            // It died before the commit. Who asks again is held anew, not by what nobody releases.
            if held.is_some() {
                faults.clear();
            }
            ended?;
        }
        () = committed => {}
    }
    Ok(Answer::done(order))
}

async fn at_the_gate(world: &World<'_>, town: &Town, act: &Act, key: Uuid) -> Result<Answer> {
    let ctx = world.ctx(Service::Admission);
    match act {
        Act::Void { redemption } => {
            let voided = void_redemption(ctx, &town.manager, key, *redemption, "问错了人").await?;
            Ok(Answer::done(voided.id))
        }
        Act::Override { denial } => {
            let what = Overridden::Denial(*denial);
            let made = override_admission(ctx, &town.manager, key, what, "领导批准").await?;
            Ok(Answer::done(made.id))
        }
        Act::Scan {
            device,
            seq,
            text,
            direction,
            pass: _,
        } => {
            let device = &town.devices[*device];
            let scanned = Scanned {
                id: ScanId {
                    gate: device.gate,
                    enrolment: device.enrolment,
                    seq: *seq,
                },
                text: text.clone(),
                direction: *direction,
                persons: NonZeroU16::MIN,
                document: DocumentReading::NotRead,
                device_at: world.now(),
                venue: Some(device.venue),
            };
            let asserting = asserting(world, device);
            let decided = redeem(&world.union.admission, &asserting, scanned).await?;
            Ok(Answer::Done {
                id: decided.id.to_string(),
                said: said(&decided),
            })
        }
        Act::Buy { .. }
        | Act::Pay { .. }
        | Act::Cancel { .. }
        | Act::Activate { .. }
        | Act::Refund { .. }
        | Act::Custody { .. }
        | Act::Shop { .. }
        | Act::GrantStaff
        | Act::WithdrawStaff { .. }
        | Act::Consent { .. }
        | Act::Export { .. }
        | Act::Erase { .. }
        | Act::Recall { .. }
        | Act::Merge { .. }
        | Act::Split { .. } => Err(Error::internal("not an act of a gate")),
    }
}

/// What a decision says that never changes.
fn said(one: &Redemption) -> String {
    match one.decision {
        Decision::Admit { counted_on, .. } => format!("admit {counted_on}"),
        Decision::Deny { reason, .. } => format!("deny {reason}"),
        Decision::Ask { reason } => format!("ask {reason}"),
    }
}

fn asserting(world: &World<'_>, device: &Device) -> Caller {
    let ctx = world.ctx(Service::Admission);
    let now = world.now().timestamp();
    let assertion = Assertion {
        gate: device.gate,
        union: Union::Chongqing,
        enrolment: device.enrolment,
        id: ctx.ids.uuid(world.now()),
        issued_at: now,
        expires_at: now + 60,
    };
    Caller {
        gate_assertion: Some(gate_key::sign(&assertion, &device.key)),
        ..Caller::anonymous(Language::En)
    }
}

fn custody(what: Taken) -> Result<Custody> {
    let reason = Reason::parse("核实中")?;
    Ok(match what {
        Taken::Freeze => Custody::Freeze(reason),
        Taken::Unfreeze => Custody::Unfreeze(reason),
        Taken::VoidFull => Custody::Void(reason, VoidRefund::Full),
        Taken::VoidNothing => Custody::Void(reason, VoidRefund::Nothing),
    })
}
