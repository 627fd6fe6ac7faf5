//! The sagas of one pass that are swept: what is asked for in which order, up to the end.

use anyhow::{Result, ensure};
use credential::rules::Direction;
use identity::commands::credentials::mint;
use kit::types::{EntitlementId, OrderId};

use crate::acts::{Act, Answer};
use crate::sweep::Sweep;
use crate::town::STRICT;
use crate::world::Service;

/// Who buys.
const BUYER: usize = 0;
/// Past the hold of an order and the close of it, in seconds.
const HOLD_SECONDS: i64 = 1_200;
/// Past every pause of who asks the provider again, in seconds.
const LONG_SECONDS: i64 = 3_700;
/// Pauses within which a payment has its number, whatever went wrong at first, and how long one is,
/// in seconds: all of them end before the hold does.
const PAUSES_MAX: usize = 6;
const PAUSE_SECONDS: i64 = 60;

/// A saga.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Path {
    /// Bought, paid, entered by, returned for a fee.
    Returned,
    /// Bought, about to be paid, cancelled by its buyer.
    Cancelled,
    /// Bought, about to be paid, forgotten.
    Lapsed,
    /// Paid when the order was closed: the money goes back.
    PaidLate,
    /// Asked back while somebody entered by it: the count refuses.
    ReturnRefused,
}

impl Path {
    /// What it must have ended as, for the end to be the one that is meant.
    pub(crate) const fn ends_with(self) -> &'static str {
        match self {
            Self::Returned => "pass: (refunded,",
            Self::Cancelled | Self::Lapsed | Self::PaidLate => "pass: (lapsed,",
            Self::ReturnRefused => "pass: (active,",
        }
    }
}

/// What a purchase was answered.
type Bought = (EntitlementId, OrderId);

impl Sweep<'_> {
    pub(crate) async fn returned(&mut self) -> Result<String> {
        let (bought, number) = self.paid(0).await?;
        let (pass, _) = bought;
        self.enter(pass).await?;
        self.rest().await?;
        self.insist(Act::Refund { buyer: BUYER, pass }).await?;
        self.rest().await?;
        self.finished(bought, &number).await
    }

    pub(crate) async fn cancelled(&mut self) -> Result<String> {
        let (bought, number) = self.asked_to_pay(0).await?;
        let (_, order) = bought;
        let buyer = BUYER;
        self.insist(Act::Cancel { buyer, order }).await?;
        self.rest().await?;
        self.finished(bought, &number).await
    }

    pub(crate) async fn lapsed(&mut self) -> Result<String> {
        let (bought, number) = self.asked_to_pay(0).await?;
        self.wait(HOLD_SECONDS).await?;
        self.rest().await?;
        self.finished(bought, &number).await
    }

    pub(crate) async fn paid_late(&mut self) -> Result<String> {
        let (bought, number) = self.asked_to_pay(0).await?;
        let (_, order) = bought;
        // As if the provider had said that it is closed, and takes the money all the same.
        let billing = self.world.ctx(Service::Billing);
        for sql in [
            format!(
                "UPDATE payment SET state = 'closed', ended_at = created_at \
                 WHERE order_id = '{order}'"
            ),
            "DELETE FROM due WHERE kind IN ('query', 'expire')".to_owned(),
        ] {
            billing.db.execute(&sql, []).await?;
        }
        self.wait(HOLD_SECONDS).await?;
        self.rest().await?;
        self.pays(&number).await?;
        self.rest().await?;
        self.finished(bought, &number).await
    }

    pub(crate) async fn return_refused(&mut self) -> Result<String> {
        let (bought, number) = self.paid(STRICT).await?;
        let (pass, _) = bought;
        self.insist(Act::Refund { buyer: BUYER, pass }).await?;
        // Admission has not heard of it yet.
        self.enter(pass).await?;
        self.rest().await?;
        self.finished(bought, &number).await
    }

    async fn asked_to_pay(&mut self, product: usize) -> Result<(Bought, String)> {
        let (buyer, product) = (BUYER, self.town.products[product]);
        let renews = None;
        let act = Act::Buy {
            buyer,
            product,
            renews,
        };
        let bought = self.insist(act).await?;
        let Answer::Done { id, said } = bought else {
            anyhow::bail!("a purchase was answered {bought:?}");
        };
        let (pass, order): Bought = (id.parse()?, said.parse()?);
        self.rest().await?;
        self.insist(Act::Pay { buyer, order }).await?;
        self.rest().await?;
        let number = self.number(order).await?;
        Ok(((pass, order), number))
    }

    async fn paid(&mut self, product: usize) -> Result<(Bought, String)> {
        let (bought, number) = self.asked_to_pay(product).await?;
        self.pays(&number).await?;
        self.rest().await?;
        Ok((bought, number))
    }

    async fn pays(&mut self, number: &str) -> Result<()> {
        let status = self.world.payer_pays(number).await?;
        ensure!(status == 200, "the payer was answered {status}");
        Ok(())
    }

    /// The number under which the provider knows the payment.
    async fn number(&mut self, order: OrderId) -> Result<String> {
        let sql = format!(
            "SELECT out_trade_no FROM payment WHERE order_id = '{order}' AND state = 'waiting'"
        );
        for _ in 0..PAUSES_MAX {
            if let Some(number) = self.world.text(Service::Billing, &sql).await? {
                return Ok(number);
            }
            self.wait(PAUSE_SECONDS).await?;
        }
        anyhow::bail!("no payment waits")
    }

    /// The code of a pass; where no notification was believed, its payment is found by asking.
    async fn code(&mut self, pass: EntitlementId) -> Result<String> {
        for _ in 0..PAUSES_MAX {
            let identity = &self.world.union.identity;
            let caller = &self.town.buyers[BUYER];
            let minted = mint(&identity.ctx, &identity.vault, caller, pass).await;
            // A reader that dies reads again.
            let minted = match minted {
                Err(_) => mint(&identity.ctx, &identity.vault, caller, pass).await?,
                Ok(minted) => minted,
            };
            if let Some(minted) = minted {
                return Ok(minted.text);
            }
            self.wait(PAUSE_SECONDS).await?;
        }
        anyhow::bail!("no credential")
    }

    async fn enter(&mut self, pass: EntitlementId) -> Result<()> {
        let text = self.code(pass).await?;
        let device = &mut self.town.devices[0];
        device.seq += 1;
        let seq = device.seq;
        let scan = Act::Scan {
            device: 0,
            seq,
            pass,
            text,
            direction: Direction::Entry,
        };
        self.insist(scan).await.map(drop)
    }

    async fn finished(&mut self, bought: Bought, number: &str) -> Result<String> {
        self.rest().await?;
        // Who was told to ask again later does so meanwhile.
        self.wait(LONG_SECONDS).await?;
        self.end(bought, number).await
    }
}
