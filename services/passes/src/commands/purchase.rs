//! `buyPass`: a member buys for herself. One lane for each product: a batch locks the stock,
//! looks its keys up, decides each purchase in the order in which they came, and writes all of
//! them at once.

use std::collections::{BTreeMap, BTreeSet};

use chrono::TimeDelta;
use hmac::{Hmac, Mac};
use kit::access::{self, Caller, Member};
use kit::due::NewDue;
use kit::once::{self, BatchOnce, Request};
use kit::person;
use kit::types::{EntitlementId, MemberId, OrderId, shanghai_date};
use kit::{Ctx, Error, Ids, Result, Tx};
use sha2::Sha256;
use uuid::Uuid;

use super::batch::{Decided, answers};
use super::timers::{HOLD, HOLD_MARGIN_MINUTES};
use crate::domain::{Buyer, NewPass, Offer, Pass, ProductId, Renewal, Stock};
use crate::error::{Refusal, on_constraint};
use crate::settings::EntitlementKey;
use crate::{publish, store};

/// How long an order may stay unpaid, in minutes.
pub const CLOSE_AFTER_MINUTES: i64 = 15;

/// What is asked for.
#[derive(Clone, Copy, Debug)]
pub struct BuyPass {
    pub product: ProductId,
    /// The pass to continue.
    pub renews: Option<EntitlementId>,
    /// The key the client minted.
    pub key: Uuid,
}

/// A purchase in the lane of its product.
#[derive(Clone, Debug)]
pub struct Purchase {
    pub caller: Caller,
    pub request: BuyPass,
}

impl BuyPass {
    fn hash(&self) -> [u8; 32] {
        let renews = self.renews.map(|pass| pass.to_string()).unwrap_or_default();
        once::hash("buy_pass", &[&self.product.0.to_string(), &renews])
    }
}

/// Decides a batch of purchases of one product; one answer for each, in their order.
///
/// # Errors
/// When the batch as a whole failed: it is redone one by one.
pub async fn buy_batch(
    ctx: Ctx,
    key: EntitlementKey,
    product: ProductId,
    purchases: Vec<Purchase>,
) -> Result<Vec<Result<Pass>>> {
    ctx.db
        .tx("buy_pass", async |tx| {
            buy(tx, &ctx, &key, (product, &purchases)).await
        })
        .await
}

async fn buy(
    tx: &Tx,
    ctx: &Ctx,
    key: &EntitlementKey,
    (product, purchases): (ProductId, &[Purchase]),
) -> Result<Vec<Result<Pass>>> {
    let callers: Vec<&Caller> = purchases.iter().map(|purchase| &purchase.caller).collect();
    let members = access::members(tx, &callers).await?;
    let mut batch = match Batch::load(tx, product).await {
        Ok(batch) => batch,
        Err(Error::NotFound) => {
            return Ok(purchases.iter().map(|_| Err(Error::NotFound)).collect());
        }
        Err(error) => return Err(error),
    };
    let asked: Vec<(Member, &BuyPass)> = members
        .iter()
        .zip(purchases)
        .filter_map(|(member, purchase)| Some((*member.as_ref().ok()?, &purchase.request)))
        .collect();
    let requests: Vec<Request> = asked
        .iter()
        .map(|(member, request)| Request {
            caller: member.id.0,
            key: request.key,
            hash: request.hash(),
        })
        .collect();
    let found = once::begin_batch(tx, &requests).await?;
    batch.load_buyers(tx, &asked).await?;
    let mut decided: BTreeMap<usize, Decided> = BTreeMap::new();
    for (at, _) in found
        .iter()
        .enumerate()
        .filter(|(_, once)| **once == BatchOnce::First)
    {
        let (member, request) = asked[at];
        decided.insert(at, batch.decide(tx, key, member, request));
    }
    batch.write(tx, ctx, &decided, &asked).await?;
    let mut answers = answers(tx, (&requests, found), &decided).await?.into_iter();
    Ok(members
        .into_iter()
        .map(|member| match member {
            Ok(_) => answers
                .next()
                .unwrap_or_else(|| Err(Error::internal("an answer is missing"))),
            Err(error) => Err(error),
        })
        .collect())
}

/// What a batch decides on, under the lock of the stock.
struct Batch {
    product: crate::domain::Product,
    terms: Option<crate::domain::Terms>,
    stock: Stock,
    buyers: BTreeMap<MemberId, Buyer>,
    renewals: BTreeMap<EntitlementId, Renewal>,
    /// Those for whom nothing is begun, since they are being forgotten.
    barred: BTreeSet<MemberId>,
    /// Which member may renew which pass.
    owned: BTreeSet<(MemberId, EntitlementId)>,
}

impl Batch {
    async fn load(tx: &Tx, id: ProductId) -> Result<Self> {
        let stock = store::lock_stock(tx, id).await?;
        let product = store::load_product(tx, id).await?;
        let terms = match product.current() {
            Some(current) => Some(store::terms_of(tx, id, current).await?),
            None => None,
        };
        let (buyers, renewals, owned) = (BTreeMap::new(), BTreeMap::new(), BTreeSet::new());
        let barred = BTreeSet::new();
        Ok(Self {
            product,
            terms,
            stock,
            buyers,
            renewals,
            barred,
            owned,
        })
    }

    async fn load_buyers(&mut self, tx: &Tx, asked: &[(Member, &BuyPass)]) -> Result<()> {
        let members: Vec<MemberId> = asked.iter().map(|(member, _)| member.id).collect();
        self.barred = person::barred(tx, &members).await?;
        let bought = store::bought(tx, self.product.id, &members).await?;
        let in_union = store::in_union(tx, &members, shanghai_date(tx.now())).await?;
        self.buyers = members
            .into_iter()
            .map(|member| {
                let bought = bought.get(&member).copied().unwrap_or(0);
                let is_member = in_union.contains(&member);
                let buyer = Buyer {
                    member,
                    bought,
                    is_member,
                };
                (member, buyer)
            })
            .collect();
        let renewals: Vec<EntitlementId> = asked
            .iter()
            .filter_map(|(_, request)| request.renews)
            .collect();
        let renewed = store::renewed(tx, &renewals).await?;
        let passes = store::load_all(tx, &renewals).await?;
        for (member, request) in asked {
            let Some(pass) = request.renews.and_then(|id| passes.get(&id)) else {
                continue;
            };
            let persons = if pass.member == member.id {
                Vec::new()
            } else {
                store::persons(tx, member.id).await?
            };
            if pass.member == member.id || persons.contains(&pass.member.0) {
                self.owned.insert((member.id, pass.id));
            }
            let renewal = Renewal {
                pass: pass.clone(),
                renewed: renewed.contains(&pass.id),
            };
            self.renewals.insert(pass.id, renewal);
        }
        Ok(())
    }

    fn decide(
        &mut self,
        tx: &Tx,
        key: &EntitlementKey,
        member: Member,
        request: &BuyPass,
    ) -> Decided {
        if self.barred.contains(&member.id) {
            return Err(Refusal::ErasureUnderWay);
        }
        let Some(terms) = &self.terms else {
            return Err(Refusal::NotOnSale);
        };
        let offer = Offer {
            product: &self.product,
            terms,
        };
        let Some(buyer) = self.buyers.get_mut(&member.id) else {
            return Err(Refusal::NotOnSale);
        };
        let order = tx.uuid();
        let line = Ids::derive(order, "line", 0);
        let close_at = tx.now() + TimeDelta::minutes(CLOSE_AFTER_MINUTES);
        let new = NewPass {
            id: entitlement_id(key, line),
            order: OrderId(order),
            line,
            close_at,
        };
        let Some(id) = request.renews else {
            return offer.sell(&mut self.stock, buyer, None, (new, tx.now()));
        };
        // Another member's pass reads as absent.
        let renewal = self.renewals.get_mut(&id);
        let Some(renewal) = renewal.filter(|_| self.owned.contains(&(member.id, id))) else {
            return Err(Refusal::RenewedNotFound);
        };
        let pass = offer.sell(&mut self.stock, buyer, Some(renewal), (new, tx.now()))?;
        renewal.renewed = true;
        Ok(pass)
    }

    async fn write(
        &self,
        tx: &Tx,
        ctx: &Ctx,
        decided: &BTreeMap<usize, Decided>,
        asked: &[(Member, &BuyPass)],
    ) -> Result<()> {
        let sold: Vec<(Member, &Pass)> = decided
            .iter()
            .filter_map(|(at, decided)| Some((asked[*at].0, decided.as_ref().ok()?)))
            .collect();
        let (Some(terms), false) = (&self.terms, sold.is_empty()) else {
            return Ok(());
        };
        store::add_held(tx, self.product.id, sold.len())
            .await
            .map_err(sold_out)?;
        let mut counts: BTreeMap<MemberId, i32> = BTreeMap::new();
        for (member, pass) in &sold {
            if pass.renews.is_none() {
                *counts.entry(member.id).or_default() += 1;
            }
        }
        store::add_bought(tx, self.product.id, &counts, terms.member_limit).await?;
        let passes: Vec<Pass> = sold.iter().map(|(_, pass)| (*pass).clone()).collect();
        store::insert(tx, &passes).await.map_err(on_constraint)?;
        for (member, pass) in sold {
            tx.emit(publish::pass(pass));
            tx.emit(publish::order_requested(pass, &terms.names, ctx.union));
            let margin = TimeDelta::minutes(HOLD_MARGIN_MINUTES);
            tx.plan(NewDue::new(HOLD, pass.id, pass.close_at + margin));
            tx.audit(member.audit("buy_pass", pass.id));
        }
        Ok(())
    }
}

/// The stock's own word, should the lock ever not have been enough.
fn sold_out(error: Error) -> Error {
    if error.constraint().as_deref() == Some("stock_within_limit") {
        return Refusal::SoldOut.into();
    }
    error
}

/// A keyed hash of the order line: it says nothing of whom or what, and the same line gives the
/// same pass.
fn entitlement_id(key: &EntitlementKey, line: Uuid) -> EntitlementId {
    let mut mac = <Hmac<Sha256> as Mac>::new_from_slice(key.expose())
        .expect("a key of any length is a key of this hash");
    mac.update(line.as_bytes());
    let hash = mac.finalize().into_bytes();
    let mut first = [0; 8];
    first.copy_from_slice(&hash[..8]);
    EntitlementId(u64::from_be_bytes(first))
}
