//! Products as they are shown: the catalogue, which Redis may hold for some seconds, and single
//! ones.

use std::collections::HashMap;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use chrono::{DateTime, Utc};
use kit::access::{self, Caller};
use kit::graphql::{Cursor, Page};
use kit::{Error, Result, Tx};
use sea_orm::FromQueryResult;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::passes::is_operator;
use crate::Passes;
use crate::domain::{Pass, Product, ProductId, Stock, Terms};
use crate::store::{self, ProductRow, StoredTerms};

/// Products in the catalogue, at most.
pub const CATALOGUE_ROWS_MAX: i64 = 500;
/// Published versions that are held in memory, at most: they never change.
pub const TERMS_HELD_MAX: usize = 1_000;
const CATALOGUE_KEY: &str = "catalogue";

/// A product with the terms of one of its versions.
#[derive(Clone, Debug)]
pub struct ProductView {
    pub product: Product,
    /// The version of the terms.
    pub number: u32,
    pub terms: Arc<Terms>,
    pub created_at: DateTime<Utc>,
    pub stock: Stock,
}

/// Terms by product and version, each read once by this process.
#[derive(Clone, Debug, Default)]
pub struct TermsMemory(Arc<RwLock<HashMap<(ProductId, u32), Arc<Terms>>>>);

impl TermsMemory {
    fn get(&self, key: (ProductId, u32)) -> Option<Arc<Terms>> {
        self.0.read().unwrap_or_else(PoisonError::into_inner).get(&key).cloned()
    }

    fn put(&self, key: (ProductId, u32), terms: &Arc<Terms>) {
        let mut held = self.0.write().unwrap_or_else(PoisonError::into_inner);
        if held.len() >= TERMS_HELD_MAX {
            held.clear();
        }
        held.insert(key, Arc::clone(terms));
    }
}

#[derive(Clone, Debug, FromQueryResult, Serialize, Deserialize)]
struct StockRow {
    product: Uuid,
    created_at: DateTime<Utc>,
    sale_limit: Option<i64>,
    held: i64,
    sold: i64,
}

impl StockRow {
    fn stock(&self) -> Result<Stock> {
        let broken = |_| Error::internal("a stock row is inconsistent");
        Ok(Stock {
            limit: self.sale_limit.map(u32::try_from).transpose().map_err(broken)?,
            held: u64::try_from(self.held).map_err(broken)?,
            sold: u64::try_from(self.sold).map_err(broken)?,
        })
    }
}

/// The catalogue as it is kept in Redis.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Catalogue(Vec<(ProductRow, StoredTerms, StockRow)>);

/// Of a connection: the rows behind a cursor, in the order of the page.
fn cut<T>(mut all: Vec<T>, page: &Page, key: impl Fn(&T) -> (DateTime<Utc>, Uuid)) -> Result<Vec<T>> {
    all.sort_by_key(|one| key(one));
    if page.backwards {
        all.reverse();
    }
    if let Some(from) = &page.from {
        let from = from.to_at()?;
        all.retain(|one| if page.backwards { key(one) < from } else { key(one) > from });
    }
    all.truncate(usize::try_from(page.limit()).unwrap_or_default());
    Ok(all)
}

impl Passes {
    /// The products on sale or soon to be, oldest first.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn catalogue(&self) -> Result<Vec<ProductView>> {
        let Catalogue(rows) = match &self.cache {
            Some((cache, seconds)) => {
                let life = Duration::from_secs(*seconds);
                cache.get_or(CATALOGUE_KEY, life, async || self.load_catalogue().await).await?
            }
            None => self.load_catalogue().await?,
        };
        rows.iter().map(|(product, stored, stock)| view(product, stored, stock)).collect()
    }

    async fn load_catalogue(&self) -> Result<Catalogue> {
        let db = &self.ctx.db;
        let limit = || [CATALOGUE_ROWS_MAX.into()];
        // Three statements in the same order, so that rows of one product stand side by side.
        let listed = "FROM product p WHERE p.state = 'published' ORDER BY p.created_at, p.id LIMIT $1";
        let products: Vec<ProductRow> = db
            .all(
                &format!(
                    "SELECT p.id, p.scope, p.version, p.state, p.current, p.draft {listed}"
                ),
                limit(),
            )
            .await?;
        let numbers: Vec<i32> =
            products.iter().map(|row| row.current.unwrap_or_default()).collect();
        let ids: Vec<Uuid> = products.iter().map(|row| row.id).collect();
        let stored: Vec<StoredTerms> = db
            .all(
                &format!(
                    "SELECT {} FROM product_version v
                     JOIN UNNEST($1::uuid[], $2::int[]) AS t (p, n)
                       ON v.product = t.p AND v.number = t.n",
                    store::TERMS_COLUMNS
                ),
                [ids.clone().into(), numbers.into()],
            )
            .await?;
        let stocks: Vec<StockRow> = db
            .all(
                "SELECT s.product, p.created_at, s.sale_limit, s.held, s.sold
                 FROM product_stock s JOIN product p ON p.id = s.product
                 WHERE s.product = ANY ($1)",
                [ids.into()],
            )
            .await?;
        let terms: HashMap<Uuid, StoredTerms> =
            stored.into_iter().map(|row| (row.product, row)).collect();
        let stocks: HashMap<Uuid, StockRow> =
            stocks.into_iter().map(|row| (row.product, row)).collect();
        Ok(Catalogue(
            products
                .into_iter()
                .filter_map(|row| {
                    let (terms, stock) = (terms.get(&row.id)?, stocks.get(&row.id)?);
                    Some((row, terms.clone(), stock.clone()))
                })
                .collect(),
        ))
    }

    pub(crate) async fn forget_catalogue(&self) {
        if let Some((cache, _)) = &self.cache {
            cache.forget(CATALOGUE_KEY).await;
        }
    }

    /// A page of the catalogue.
    ///
    /// # Errors
    /// Bad input, for a cursor of another list.
    pub async fn catalogue_page(&self, page: &Page) -> Result<Vec<ProductView>> {
        cut(self.catalogue().await?, page, product_key)
    }

    /// A page of the products on sale that open a venue, now or at some time.
    ///
    /// # Errors
    /// Bad input, for a cursor of another list.
    pub async fn products_of_venue(&self, venue: Uuid, page: &Page) -> Result<Vec<ProductView>> {
        let Some(venue) = self.venue(venue).await? else { return Ok(Vec::new()) };
        let mut all = self.catalogue().await?;
        all.retain(|one| venue.is_opened_by(&one.terms.rules));
        cut(all, page, product_key)
    }

    /// A product by its id: its published version to everybody, one that has none yet to
    /// operators alone.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn product(&self, caller: &Caller, id: ProductId) -> Result<Option<ProductView>> {
        self.ctx
            .db
            .tx("read_product", async |tx| {
                let product = match store::load_product(tx, id).await {
                    Ok(product) => product,
                    Err(Error::NotFound) => return Ok(None),
                    Err(error) => return Err(error),
                };
                let number = match (product.current(), product.draft) {
                    (Some(current), _) => current,
                    (None, Some(draft)) if is_operator(tx, caller).await? => draft,
                    (None, _) => return Ok(None),
                };
                self.product_view(tx, product, number).await.map(Some)
            })
            .await
    }

    /// The draft of a product, for operators.
    ///
    /// # Errors
    /// Forbidden to all others.
    pub async fn draft(&self, caller: &Caller, id: ProductId) -> Result<Option<ProductView>> {
        self.ctx
            .db
            .tx("read_draft", async |tx| {
                let _ = access::operator(tx, caller).await?;
                let product = store::load_product(tx, id).await?;
                match product.draft {
                    Some(draft) => self.product_view(tx, product, draft).await.map(Some),
                    None => Ok(None),
                }
            })
            .await
    }

    async fn product_view(&self, tx: &Tx, product: Product, number: u32) -> Result<ProductView> {
        let stored = store::stored_terms(tx, product.id, number)
            .await?
            .ok_or_else(|| Error::internal("a version of a product is missing"))?;
        let stock = tx
            .one::<StockRow>(
                "SELECT s.product, p.created_at, s.sale_limit, s.held, s.sold
                 FROM product_stock s JOIN product p ON p.id = s.product WHERE s.product = $1",
                [product.id.0.into()],
            )
            .await?
            .ok_or_else(|| Error::internal("a product has no stock row"))?;
        Ok(ProductView {
            product,
            number,
            terms: Arc::new(stored.terms()?),
            created_at: stock.created_at,
            stock: stock.stock()?,
        })
    }

    /// The product of a pass, with the terms it was sold under.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn product_sold(&self, pass: &Pass) -> Result<ProductView> {
        self.ctx
            .db
            .tx("read_product_sold", async |tx| {
                let product = store::load_product(tx, pass.product).await?;
                self.product_view(tx, product, pass.product_version).await
            })
            .await
    }

    /// The terms a pass was sold under.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn terms_sold(&self, pass: &Pass) -> Result<Arc<Terms>> {
        let key = (pass.product, pass.product_version);
        if let Some(terms) = self.terms.get(key) {
            return Ok(terms);
        }
        let terms = self
            .ctx
            .db
            .tx("read_terms", async |tx| {
                store::terms_of(tx, pass.product, pass.product_version).await
            })
            .await?;
        let terms = Arc::new(terms);
        self.terms.put(key, &terms);
        Ok(terms)
    }
}

fn product_key(view: &ProductView) -> (DateTime<Utc>, Uuid) {
    (view.created_at, view.product.id.0)
}

/// The cursor of a product in a list.
pub fn product_cursor(view: &ProductView) -> Cursor {
    let (at, id) = product_key(view);
    Cursor::at(at, id)
}

fn view(product: &ProductRow, stored: &StoredTerms, stock: &StockRow) -> Result<ProductView> {
    Ok(ProductView {
        product: product.product()?,
        number: u32::try_from(stored.number).map_err(|_| Error::internal("a bad version"))?,
        terms: Arc::new(stored.terms()?),
        created_at: stock.created_at,
        stock: stock.stock()?,
    })
}
