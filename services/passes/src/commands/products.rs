//! What an operator does to a product: write it, publish it, stop and resume its sale.

use kit::access::{self, Caller, Member};
use kit::audit::require_sealing;
use kit::once;
use kit::{Error, Refusal as Answer, Result, Tx};
use uuid::Uuid;

use super::seen;
use crate::domain::{Product, ProductId, Terms, TermsFault};
use crate::error::on_constraint;
use crate::{Passes, publish, store};

/// Terms that were checked.
#[derive(Clone, Debug)]
pub struct CheckedTerms(Terms);

impl CheckedTerms {
    /// # Errors
    /// The first field at fault, as a refusal.
    pub fn parse(terms: Terms) -> Result<Self> {
        match terms.check() {
            Ok(()) => Ok(Self(terms)),
            Err(fault) => Err(bad_terms(fault)),
        }
    }

    /// The terms' hash for the idempotency record.
    fn text(&self) -> String {
        format!("{:?}", self.0)
    }
}

fn bad_terms(fault: TermsFault) -> Error {
    let (field, zh, en) = fault.texts();
    Answer::new("BAD_INPUT", field, zh.into(), en.into()).into()
}

/// What is done to a product's sale.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shop {
    Publish,
    Stop,
    Resume,
}

impl Shop {
    const fn act(self) -> &'static str {
        match self {
            Self::Publish => "publish_pass_product",
            Self::Stop => "stop_sale",
            Self::Resume => "resume_sale",
        }
    }
}

/// The product that a record names.
fn recorded_product(id: &[u8]) -> Result<ProductId> {
    let id = Uuid::from_slice(id)
        .map_err(|_| Error::internal("an idempotency record names no product"))?;
    Ok(ProductId(id))
}

/// A product, locked behind its stock.
async fn lock(tx: &Tx, id: ProductId) -> Result<Product> {
    let _ = store::lock_stock(tx, id).await?;
    store::lock_product(tx, id).await
}

impl Passes {
    /// Writes the first draft of a new product.
    ///
    /// # Errors
    /// Forbidden to all but operators; without the second factor.
    pub async fn create_product(
        &self,
        caller: &Caller,
        terms: &CheckedTerms,
        key: Uuid,
    ) -> Result<ProductId> {
        let hash = once::hash("create_pass_product", &[&terms.text()]);
        self.ctx
            .db
            .tx("create_pass_product", async |tx| {
                let operator = access::operator(tx, caller).await?.member;
                access::stepped_up(tx, caller)?;
                require_sealing(tx).await?;
                if let Some(done) = seen(tx, operator.id.0, key, hash).await? {
                    return recorded_product(&done);
                }
                let product = Product::new(ProductId(tx.uuid()), 0);
                let product = store::save_draft(tx, product, &terms.0).await?;
                store::create_stock(tx, product.id).await?;
                tx.audit(operator.audit("create_pass_product", product.id.0));
                once::finish(tx, product.id.0.as_bytes())?;
                Ok(product.id)
            })
            .await
    }

    /// Writes the draft of the next version of a product; what is published stays as it is.
    ///
    /// # Errors
    /// Forbidden to all but operators; without the second factor; not found.
    pub async fn update_product(
        &self,
        caller: &Caller,
        id: ProductId,
        terms: &CheckedTerms,
        key: Uuid,
    ) -> Result<ProductId> {
        let hash = once::hash("update_pass_product", &[&id.0.to_string(), &terms.text()]);
        self.ctx
            .db
            .tx("update_pass_product", async |tx| {
                let operator = access::operator(tx, caller).await?.member;
                access::stepped_up(tx, caller)?;
                require_sealing(tx).await?;
                let product = lock(tx, id).await?;
                if let Some(done) = seen(tx, operator.id.0, key, hash).await? {
                    return recorded_product(&done);
                }
                let product = store::save_draft(tx, product.edit(), &terms.0).await?;
                let detail = serde_json::json!({ "version": product.draft });
                tx.audit(operator.audit("update_pass_product", id.0).detail(detail));
                once::finish(tx, id.0.as_bytes())?;
                Ok(id)
            })
            .await
    }

    /// Publishes a draft, stops a sale or resumes it.
    ///
    /// # Errors
    /// Why it cannot be done; forbidden to all but operators; without the second factor; not found.
    pub async fn run_shop(
        &self,
        caller: &Caller,
        id: ProductId,
        shop: Shop,
        key: Uuid,
    ) -> Result<ProductId> {
        let hash = once::hash(shop.act(), &[&id.0.to_string()]);
        let done = self
            .ctx
            .db
            .tx(shop.act(), async |tx| {
                let operator = access::operator(tx, caller).await?.member;
                access::stepped_up(tx, caller)?;
                // To stop a sale waits for nothing.
                if shop != Shop::Stop {
                    require_sealing(tx).await?;
                }
                let product = lock(tx, id).await?;
                if let Some(done) = seen(tx, operator.id.0, key, hash).await? {
                    return recorded_product(&done);
                }
                self.decide_shop(tx, (operator, shop), product).await?;
                once::finish(tx, id.0.as_bytes())?;
                Ok(id)
            })
            .await?;
        self.forget_catalogue().await;
        Ok(done)
    }

    async fn decide_shop(
        &self,
        tx: &Tx,
        (operator, shop): (Member, Shop),
        product: Product,
    ) -> Result<()> {
        let next = match shop {
            Shop::Publish => product.publish()?,
            Shop::Stop => product.stop()?,
            Shop::Resume => product.resume()?,
        };
        let current = next
            .current()
            .ok_or_else(|| Error::internal("nothing was published"))?;
        if shop == Shop::Publish {
            store::publish_draft(tx, &next, current).await?;
            let terms = store::terms_of(tx, next.id, current).await?;
            store::set_sale_limit(tx, next.id, terms.sale_limit)
                .await
                .map_err(on_constraint)?;
        } else {
            store::save_state(tx, &next).await?;
        }
        let stored = store::stored_terms(tx, next.id, current)
            .await?
            .ok_or_else(|| Error::internal("a published version is missing"))?;
        tx.emit(publish::product(&next, &stored, self.ctx.union)?);
        let detail = serde_json::json!({ "version": current });
        tx.audit(operator.audit(shop.act(), next.id.0).detail(detail));
        Ok(())
    }
}
