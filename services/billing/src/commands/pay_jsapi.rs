//! Paying inside WeChat: the provider must be told who pays, by the name that a mini-program has
//! for her. Identity knows it and seals it to us; it is opened here, said to the provider, and
//! forgotten.
//!
//! So the provider is asked within the request, and not by due work as everywhere else: work that
//! waits would have to keep the name. When the answer is lost, the same request may come again
//! until [`PREPARE_SECONDS`] are over; then the payment ends.

use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use kit::access::{self, Caller, Member, Who};
use kit::due::{After, NewDue};
use kit::sealed::{self, NotOpened, Opener};
use kit::types::{MemberId, OrderId};
use kit::{Error, Result, Tx};
use tokio::time::Instant;
use uuid::Uuid;

use super::pay::{Means, PayOrder, Paying, answered, pay_by, preparing};
use super::{Held, close};
use crate::domain::{CallUp, Method, Openid, PaymentState};
use crate::error::Refusal;
use crate::wechat::MiniProgram;
use crate::{Billing, NAME, due, store};

/// How long a payment inside WeChat may wait for the provider to hear of it, in seconds: several
/// times as long as one request to the provider can take.
const PREPARE_SECONDS: i64 = 60;
/// How long a payment by other means is waited for to end, in milliseconds.
const WAY_WAIT_MS_MAX: u64 = 3_000;

/// What names a payer, and may be used for one payment.
#[derive(Debug)]
pub(super) struct Named {
    token: Uuid,
    member: MemberId,
    expires_at: DateTime<Utc>,
    openid: Openid,
}

impl Named {
    /// Whether it names this member.
    pub(super) fn is_of(&self, member: Member) -> bool {
        self.member == member.id
    }

    /// Uses it for this payment; refused when it was used for another.
    pub(super) async fn use_for(
        &self,
        tx: &Tx,
        payment: Uuid,
    ) -> Result<std::result::Result<(), Refusal>> {
        let token = (self.token, self.expires_at);
        let used = store::use_payer_token(tx, token, payment).await?;
        Ok(if used {
            Ok(())
        } else {
            Err(Refusal::PayerTokenUsed)
        })
    }
}

/// `payOrder` inside WeChat: begins a payment of the caller's share, or finds the one that is open,
/// and asks the provider for it. `token` is what identity's `issuePayerToken` gave her.
///
/// # Errors
/// A refusal; unauthenticated. That the provider does not answer is none: the payment is still
/// being prepared then, and the same request may come again.
pub async fn pay_in_wechat(
    billing: &Billing,
    caller: &Caller,
    input: PayOrder,
    token: &str,
) -> Result<Paying> {
    let program = billing.wechat.merchant().mini_program.as_ref();
    let program = program.ok_or(Refusal::MethodUnavailable)?;
    let named = open(billing, program, token);
    let paying = pay_by(billing, caller, input, Means::Named(&named)).await?;
    if let (true, Ok(named)) = (paying.is_named, &named) {
        place(billing, paying.payment, &named.openid).await?;
    }
    Ok(paying)
}

fn open(
    billing: &Billing,
    program: &MiniProgram,
    token: &str,
) -> std::result::Result<Named, Refusal> {
    let opener = Opener {
        union: billing.ctx.union,
        audience: NAME,
        key: &program.payer_key,
        access_keys: billing.keys.access(),
    };
    let opened = sealed::open(token, opener, billing.ctx.clock.now()).map_err(|why| match why {
        NotOpened::Expired => Refusal::PayerTokenExpired,
        NotOpened::Invalid => Refusal::PayerTokenInvalid,
    })?;
    let openid = Openid::parse(&opened.text).filter(|openid| openid.appid() == program.appid);
    Ok(Named {
        token: opened.id,
        member: opened.member,
        expires_at: opened.expires_at,
        openid: openid.ok_or(Refusal::PayerTokenInvalid)?,
    })
}

/// Places the order of a payment that is being prepared.
async fn place(billing: &Billing, id: Uuid, payer: &Openid) -> Result<()> {
    let Some((payment, order)) = preparing(billing, id).await? else {
        return Ok(());
    };
    let asked = billing.wechat.jsapi(&order, payer).await;
    if let Err(failure) = &asked
        && failure.is_passing()
    {
        tracing::warn!(error = %failure, "a payment inside WeChat is not prepared yet");
        return Ok(());
    }
    answered(billing, &payment, asked.map(CallUp::PrepayId))
        .await
        .map(|_| ())
}

/// What ends a payment that the provider does not hear of.
pub(super) fn last_chance(id: Uuid, now: DateTime<Utc>) -> NewDue {
    NewDue::new(
        due::UNPREPARED,
        id,
        now + TimeDelta::seconds(PREPARE_SECONDS),
    )
}

/// Ends a payment that nobody got through to the provider. Whether it got there is unknown, so it
/// is closed there too.
///
/// # Errors
/// When the provider does not answer: the job is run again.
pub async fn end_unprepared(billing: &Billing, id: Uuid) -> Result<After> {
    let db = &billing.ctx.db;
    let payment = db
        .read("end_unprepared", async |tx| store::payment(tx, id).await)
        .await?;
    if payment.is_some_and(|one| one.state == PaymentState::Preparing) {
        return close::expire_payment(billing, id).await;
    }
    Ok(After::Done)
}

/// Ends the open payment of the caller's order that is by other means, and waits a little for its
/// end; whether there was one. Of money that was faster the order is paid.
pub(super) async fn give_way(
    billing: &Billing,
    caller: &Caller,
    order: OrderId,
    method: Method,
) -> Result<bool> {
    let Who::Member { .. } = caller.who else {
        return Err(Error::Unauthenticated("no token"));
    };
    let mut told = billing.ctx.wake.told.listen(order);
    let db = &billing.ctx.db;
    let ending = db
        .tx("give_way", async |tx| {
            end_other(tx, caller, order, method).await
        })
        .await?;
    let Some(ending) = ending else {
        return Ok(false);
    };
    let deadline = Instant::now() + Duration::from_millis(WAY_WAIT_MS_MAX);
    let read = async |tx: &Tx| store::payment(tx, ending).await;
    while Instant::now() < deadline {
        let payment = db.read("payment", read).await?;
        if !payment.is_some_and(|one| one.state.is_open()) {
            break;
        }
        told.changed().await;
    }
    Ok(true)
}

async fn end_other(
    tx: &Tx,
    caller: &Caller,
    order: OrderId,
    method: Method,
) -> Result<Option<Uuid>> {
    let member = access::member(tx, caller).await?;
    let Some(_held) = Held::lock(tx, order).await? else {
        return Ok(None);
    };
    if store::open_share(tx, order, member.id).await?.is_zero() {
        return Ok(None);
    }
    let open = store::lock_open_payment(tx, order).await?;
    let Some(open) = open.filter(|open| open.method != method) else {
        return Ok(None);
    };
    tx.plan(NewDue::new(due::EXPIRE, open.id, tx.now()));
    tx.audit(
        member
            .audit("end_payment", order)
            .detail(serde_json::json!({"payment": open.id})),
    );
    Ok(Some(open.id))
}
