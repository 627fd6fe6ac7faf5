//! Products as they are shown: the catalogue, which Redis may hold for some seconds, and single
//! ones.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use chrono::{DateTime, Utc};
use kit::access::Caller;
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

/// What never changes and is read once by this process: the terms of published versions, and
/// which products there are.
#[derive(Clone, Debug, Default)]
pub struct TermsMemory(Arc<RwLock<Held>>);

#[derive(Debug, Default)]
struct Held {
    terms: HashMap<(ProductId, u32), Arc<Terms>>,
    products: HashSet<ProductId>,
}

impl TermsMemory {
    fn get(&self, key: (ProductId, u32)) -> Option<Arc<Terms>> {
        self.0
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .terms
            .get(&key)
            .cloned()
    }

    fn put(&self, key: (ProductId, u32), terms: &Arc<Terms>) {
        let mut held = self.0.write().unwrap_or_else(PoisonError::into_inner);
        if held.terms.len() >= TERMS_HELD_MAX {
            held.terms.clear();
        }
        held.terms.insert(key, Arc::clone(terms));
    }

    fn knows(&self, product: ProductId) -> bool {
        self.0
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .products
            .contains(&product)
    }

    fn learn(&self, product: ProductId) {
        self.0
            .write()
            .unwrap_or_else(PoisonError::into_inner)
            .products
            .insert(product);
    }
}

/// A product's row and its stock's.
#[derive(Clone, Debug, FromQueryResult, Serialize, Deserialize)]
struct ShopRow {
    #[sea_orm(nested)]
    product: ProductRow,
    created_at: DateTime<Utc>,
    sale_limit: Option<i64>,
    held: i64,
    sold: i64,
}

const SHOP: &str = "SELECT p.id, p.scope, p.version, p.state, p.current, p.draft, p.created_at,
       s.sale_limit, s.held, s.sold
     FROM product p JOIN product_stock s ON s.product = p.id";

impl ShopRow {
    fn stock(&self) -> Result<Stock> {
        let broken = |_| Error::internal("a stock row is inconsistent");
        Ok(Stock {
            limit: self
                .sale_limit
                .map(u32::try_from)
                .transpose()
                .map_err(broken)?,
            held: u64::try_from(self.held).map_err(broken)?,
            sold: u64::try_from(self.sold).map_err(broken)?,
        })
    }

    fn view(&self, number: u32, terms: Arc<Terms>) -> Result<ProductView> {
        Ok(ProductView {
            product: self.product.product()?,
            number,
            terms,
            created_at: self.created_at,
            stock: self.stock()?,
        })
    }
}

/// The catalogue as it is kept in Redis.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Catalogue(Vec<(ShopRow, StoredTerms)>);

/// Of a connection: the rows behind a cursor, in the order of the page.
fn cut<T>(
    mut all: Vec<T>,
    page: &Page,
    key: impl Fn(&T) -> (DateTime<Utc>, Uuid),
) -> Result<Vec<T>> {
    all.sort_by_key(|one| key(one));
    if page.backwards {
        all.reverse();
    }
    if let Some(from) = &page.from {
        let from = from.to_at()?;
        all.retain(|one| {
            if page.backwards {
                key(one) < from
            } else {
                key(one) > from
            }
        });
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
                cache
                    .get_or(CATALOGUE_KEY, life, async || self.load_catalogue().await)
                    .await?
            }
            None => self.load_catalogue().await?,
        };
        rows.iter()
            .map(|(shop, stored)| {
                let number = u32::try_from(stored.number);
                let number = number.map_err(|_| Error::internal("a version is negative"))?;
                shop.view(number, Arc::new(stored.terms()?))
            })
            .collect()
    }

    async fn load_catalogue(&self) -> Result<Catalogue> {
        let db = &self.ctx.db;
        let sql =
            format!("{SHOP} WHERE p.state = 'published' ORDER BY p.created_at, p.id LIMIT $1");
        let shop: Vec<ShopRow> = db.all(&sql, [CATALOGUE_ROWS_MAX.into()]).await?;
        let numbers: Vec<i32> = shop
            .iter()
            .map(|row| row.product.current.unwrap_or_default())
            .collect();
        let ids: Vec<Uuid> = shop.iter().map(|row| row.product.id).collect();
        let sql = format!(
            "SELECT {} FROM product_version v JOIN UNNEST($1::uuid[], $2::int[]) AS t (p, n)
               ON v.product = t.p AND v.number = t.n",
            store::TERMS_COLUMNS
        );
        let stored: Vec<StoredTerms> = db.all(&sql, [ids.into(), numbers.into()]).await?;
        let terms: HashMap<Uuid, StoredTerms> =
            stored.into_iter().map(|row| (row.product, row)).collect();
        let rows = shop.into_iter().filter_map(|row| {
            let terms = terms.get(&row.product.id)?.clone();
            Some((row, terms))
        });
        Ok(Catalogue(rows.collect()))
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
        page_of_products(self.catalogue().await?, page)
    }

    /// By venue, the products on sale that open it, now or at some time; unknown venues are left
    /// out. One read of the venues and one of the catalogue, however many venues.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn products_of_venues(
        &self,
        ids: &[Uuid],
    ) -> Result<HashMap<Uuid, Vec<ProductView>>> {
        let venues = self.venues(ids).await?;
        let all = self.catalogue().await?;
        let opening = venues.into_iter().map(|venue| {
            let opens = |one: &&ProductView| venue.is_opened_by(&one.terms.rules);
            (venue.id, all.iter().filter(opens).cloned().collect())
        });
        Ok(opening.collect())
    }

    /// A product by its id: its published version to everybody, one that has none yet to
    /// operators alone.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn product(&self, caller: &Caller, id: ProductId) -> Result<Option<ProductView>> {
        let Some(shop) = self.shop_row(id).await? else {
            return Ok(None);
        };
        let product = shop.product.product()?;
        let (number, terms) = match (product.current(), product.draft) {
            (Some(current), _) => (current, self.published(id, current).await?),
            (None, Some(draft)) if self.is_operator(caller).await? => {
                (draft, Arc::new(self.read_terms(id, draft).await?))
            }
            (None, _) => return Ok(None),
        };
        shop.view(number, terms).map(Some)
    }

    async fn shop_row(&self, id: ProductId) -> Result<Option<ShopRow>> {
        self.ctx
            .db
            .one(&format!("{SHOP} WHERE p.id = $1"), [id.0.into()])
            .await
    }

    async fn is_operator(&self, caller: &Caller) -> Result<bool> {
        self.ctx
            .db
            .read("is_operator", async |tx| is_operator(tx, caller).await)
            .await
    }

    /// Whether there is such a product: known ones are remembered, since none is ever removed.
    ///
    /// # Errors
    /// When the database fails.
    pub(crate) async fn is_product(&self, id: ProductId) -> Result<bool> {
        if self.terms.knows(id) {
            return Ok(true);
        }
        let found = self.shop_row(id).await?.is_some();
        if found {
            self.terms.learn(id);
        }
        Ok(found)
    }

    /// The draft of a product, for operators.
    ///
    /// # Errors
    /// Forbidden to all others.
    pub async fn draft(&self, caller: &Caller, id: ProductId) -> Result<Option<ProductView>> {
        if !self.is_operator(caller).await? {
            return Err(Error::Forbidden("operators only"));
        }
        let Some(shop) = self.shop_row(id).await? else {
            return Ok(None);
        };
        let Some(draft) = shop.product.product()?.draft else {
            return Ok(None);
        };
        shop.view(draft, Arc::new(self.read_terms(id, draft).await?))
            .map(Some)
    }

    /// The product of a pass, with the terms it was sold under.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn product_sold(&self, pass: &Pass) -> Result<ProductView> {
        let shop = self.shop_row(pass.product).await?;
        let shop = shop.ok_or_else(|| Error::internal("a pass of no product"))?;
        shop.view(pass.product_version, self.terms_sold(pass).await?)
    }

    /// The terms a pass was sold under.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn terms_sold(&self, pass: &Pass) -> Result<Arc<Terms>> {
        self.published(pass.product, pass.product_version).await
    }

    async fn published(&self, product: ProductId, number: u32) -> Result<Arc<Terms>> {
        let key = (product, number);
        if let Some(terms) = self.terms.get(key) {
            return Ok(terms);
        }
        let terms = Arc::new(self.read_terms(product, number).await?);
        self.terms.put(key, &terms);
        Ok(terms)
    }

    async fn read_terms(&self, product: ProductId, number: u32) -> Result<Terms> {
        let read = async |tx: &Tx| store::terms_of(tx, product, number).await;
        self.ctx.db.read("terms", read).await
    }
}

/// A page of these products, oldest first.
///
/// # Errors
/// Bad input, for a cursor of another list.
pub fn page_of_products(all: Vec<ProductView>, page: &Page) -> Result<Vec<ProductView>> {
    cut(all, page, product_key)
}

fn product_key(view: &ProductView) -> (DateTime<Utc>, Uuid) {
    (view.created_at, view.product.id.0)
}

/// The cursor of a product in a list.
pub fn product_cursor(view: &ProductView) -> Cursor {
    let (at, id) = product_key(view);
    Cursor::at(at, id)
}
