//! A product: its place in the shop, and which version of its terms is on sale.

use super::pass::ProductId;
use crate::error::Refusal;

/// A product without its terms, which are a version's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Product {
    pub id: ProductId,
    /// What a credential names, for ever this product's.
    pub scope: u32,
    /// Of its public state: grows with each publication, stop and resumption.
    pub version: i64,
    pub state: ProductState,
    /// The version being written.
    pub draft: Option<u32>,
}

/// Its place in the shop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProductState {
    /// Never published.
    Draft,
    OnSale {
        current: u32,
    },
    Stopped {
        current: u32,
    },
}

impl Product {
    /// A product whose first version is being written.
    pub const fn new(id: ProductId, scope: u32) -> Self {
        Self {
            id,
            scope,
            version: 0,
            state: ProductState::Draft,
            draft: Some(1),
        }
    }

    /// The published version, on sale or stopped.
    pub const fn current(&self) -> Option<u32> {
        match self.state {
            ProductState::Draft => None,
            ProductState::OnSale { current } | ProductState::Stopped { current } => Some(current),
        }
    }

    /// The version that a change is written to: the open draft, or a new one after the published.
    #[must_use]
    pub const fn edit(self) -> Self {
        let number = match (self.draft, self.current()) {
            (Some(draft), _) => draft,
            (None, Some(current)) => current + 1,
            (None, None) => 1,
        };
        Self {
            draft: Some(number),
            ..self
        }
    }

    /// Puts the draft on sale.
    ///
    /// # Errors
    /// When there is no draft.
    pub const fn publish(self) -> Result<Self, Refusal> {
        let Some(current) = self.draft else {
            return Err(Refusal::NoDraft);
        };
        let state = ProductState::OnSale { current };
        Ok(Self {
            version: self.version + 1,
            state,
            draft: None,
            ..self
        })
    }

    /// Stops the sale. What is held can still be paid for.
    ///
    /// # Errors
    /// When nothing is on sale.
    pub const fn stop(self) -> Result<Self, Refusal> {
        match self.state {
            ProductState::Draft => Err(Refusal::NotPublished),
            ProductState::Stopped { .. } => Err(Refusal::AlreadyStopped),
            ProductState::OnSale { current } => Ok(Self {
                version: self.version + 1,
                state: ProductState::Stopped { current },
                ..self
            }),
        }
    }

    /// Sells the published version again.
    ///
    /// # Errors
    /// When the sale is not stopped.
    pub const fn resume(self) -> Result<Self, Refusal> {
        match self.state {
            ProductState::Draft => Err(Refusal::NotPublished),
            ProductState::OnSale { .. } => Err(Refusal::NotStopped),
            ProductState::Stopped { current } => Ok(Self {
                version: self.version + 1,
                state: ProductState::OnSale { current },
                ..self
            }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn product() -> Product {
        Product::new(ProductId(uuid::Uuid::nil()), 1)
    }

    /// A draft is published, changed as a new draft, and published again under the next number.
    #[test]
    fn versions_follow_one_another() {
        let first = product().publish().unwrap();
        assert_eq!(first.state, ProductState::OnSale { current: 1 });
        assert_eq!(first.publish(), Err(Refusal::NoDraft));
        let edited = first.edit();
        assert_eq!(
            edited.edit(),
            edited,
            "an open draft is edited, not another one begun"
        );
        assert_eq!(edited.draft, Some(2));
        assert_eq!(
            edited.state, first.state,
            "a draft changes nothing that is on sale"
        );
        let second = edited.publish().unwrap();
        assert_eq!((second.current(), second.version), (Some(2), 2));
    }

    #[test]
    fn a_sale_stops_and_resumes() {
        assert_eq!(product().stop(), Err(Refusal::NotPublished));
        assert_eq!(product().resume(), Err(Refusal::NotPublished));
        let on_sale = product().publish().unwrap();
        assert_eq!(on_sale.resume(), Err(Refusal::NotStopped));
        let stopped = on_sale.stop().unwrap();
        assert_eq!(stopped.stop(), Err(Refusal::AlreadyStopped));
        let resumed = stopped.resume().unwrap();
        assert_eq!(resumed.state, on_sale.state);
        assert_eq!(resumed.version, 3);
        assert!(stopped.edit().publish().unwrap().current() == Some(2));
    }
}
