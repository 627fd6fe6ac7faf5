//! Products and their versions.

use chrono::{DateTime, Utc};
use credential::dates::Span;
use credential::rules::Rules;
use kit::types::Fen;
use kit::{Error, Result, Tx};
use sea_orm::FromQueryResult;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::domain::{
    Activation, AfterDeadline, Ladder, Names, Product, ProductId, ProductState, RefundStep, Terms,
};

/// A product's own row.
#[derive(Clone, Debug, FromQueryResult, Serialize, Deserialize)]
pub struct ProductRow {
    pub id: Uuid,
    scope: i32,
    version: i64,
    state: String,
    pub current: Option<i32>,
    draft: Option<i32>,
}

fn broken(what: &'static str) -> Error {
    Error::internal(format!("a product row is inconsistent: {what}"))
}

fn number(value: i32) -> Result<u32> {
    u32::try_from(value).map_err(|_| broken("a negative number"))
}

impl ProductRow {
    /// The product.
    ///
    /// # Errors
    /// When the row is inconsistent.
    pub fn product(&self) -> Result<Product> {
        let current = self.current.map(number).transpose()?;
        let state = match (self.state.as_str(), current) {
            ("draft", None) => ProductState::Draft,
            ("published", Some(current)) => ProductState::OnSale { current },
            ("stopped", Some(current)) => ProductState::Stopped { current },
            _ => return Err(broken("state and version")),
        };
        Ok(Product {
            id: ProductId(self.id),
            scope: number(self.scope)?,
            version: self.version,
            state,
            draft: self.draft.map(number).transpose()?,
        })
    }
}

const fn state_name(state: ProductState) -> &'static str {
    match state {
        ProductState::Draft => "draft",
        ProductState::OnSale { .. } => "published",
        ProductState::Stopped { .. } => "stopped",
    }
}

/// A product, locked; its stock row is locked first wherever both are.
///
/// # Errors
/// Not found.
pub async fn lock_product(tx: &Tx, id: ProductId) -> Result<Product> {
    tx.one::<ProductRow>(
        "SELECT id, scope, version, state, current, draft FROM product WHERE id = $1 FOR UPDATE",
        [id.0.into()],
    )
    .await?
    .ok_or(Error::NotFound)?
    .product()
}

/// A product as it stands, not locked.
///
/// # Errors
/// Not found.
pub async fn load_product(tx: &Tx, id: ProductId) -> Result<Product> {
    tx.one::<ProductRow>(
        "SELECT id, scope, version, state, current, draft FROM product WHERE id = $1",
        [id.0.into()],
    )
    .await?
    .ok_or(Error::NotFound)?
    .product()
}

/// Published products by id in steps of `limit`, after `after`, locked: how a resync walks them.
///
/// # Errors
/// When the database fails.
pub async fn lock_after(tx: &Tx, after: Option<Uuid>, limit: i64) -> Result<Vec<Product>> {
    let rows = tx
        .all::<ProductRow>(
            "SELECT id, scope, version, state, current, draft FROM product
             WHERE current IS NOT NULL AND ($1::uuid IS NULL OR id > $1)
             ORDER BY id LIMIT $2 FOR UPDATE",
            [after.into(), limit.into()],
        )
        .await?;
    rows.iter().map(ProductRow::product).collect()
}

/// The scope of the next product.
async fn next_scope(tx: &Tx) -> Result<i32> {
    #[derive(FromQueryResult)]
    struct Row {
        scope: i32,
    }
    let row = tx
        .one::<Row>("SELECT nextval('product_scope')::int AS scope", [])
        .await?;
    row.map(|row| row.scope)
        .ok_or_else(|| Error::internal("a sequence gave nothing"))
}

/// Writes the draft version of a product; a product without a scope is new and gets one.
///
/// # Errors
/// When the database fails.
pub async fn save_draft(tx: &Tx, product: Product, terms: &Terms) -> Result<Product> {
    let draft = product
        .draft
        .ok_or_else(|| Error::internal("no draft to save"))?;
    let product = if product.scope == 0 {
        Product {
            scope: number(next_scope(tx).await?)?,
            ..product
        }
    } else {
        product
    };
    tx.execute(
        "INSERT INTO product AS p (id, scope, version, state, current, draft, created_at)
         VALUES ($1, $2, $3, $4, $5, $6, $7)
         ON CONFLICT (id) DO UPDATE SET draft = EXCLUDED.draft",
        [
            product.id.0.into(),
            signed(product.scope)?.into(),
            product.version.into(),
            state_name(product.state).into(),
            product.current().map(signed).transpose()?.into(),
            signed(draft)?.into(),
            tx.now().into(),
        ],
    )
    .await?;
    write_terms(tx, product.id, draft, terms).await?;
    Ok(product)
}

fn signed(value: u32) -> Result<i32> {
    i32::try_from(value).map_err(|_| Error::internal("a number is too large for its column"))
}

/// A step of the ladder as it is kept.
#[derive(Serialize, Deserialize)]
struct StepRow {
    days: u32,
    fee_percent: u32,
    unused_only: bool,
}

const fn span_parts(span: Span) -> (&'static str, u32) {
    match span {
        Span::Days(days) => ("days", days),
        Span::Months(months) => ("months", months),
    }
}

fn span_of(unit: &str, count: i32) -> Result<Span> {
    match unit {
        "days" => Ok(Span::Days(number(count)?)),
        "months" => Ok(Span::Months(number(count)?)),
        _ => Err(broken("a unit of time")),
    }
}

fn activation_parts(activation: Activation) -> (&'static str, Option<(&'static str, u32)>) {
    match activation {
        Activation::AtPayment => ("at_payment", None),
        Activation::Within { span, then } => {
            let name = match then {
                AfterDeadline::Auto => "auto",
                AfterDeadline::Forfeit => "forfeit",
                AfterDeadline::Refund => "refund",
            };
            (name, Some(span_parts(span)))
        }
    }
}

fn ladder_column(ladder: &Ladder) -> Result<serde_json::Value> {
    let row = |step: &RefundStep| StepRow {
        days: step.days,
        fee_percent: step.fee_percent,
        unused_only: step.unused_only,
    };
    let steps: Vec<StepRow> = ladder.0.iter().map(row).collect();
    serde_json::to_value(steps).map_err(|_| Error::internal("a ladder cannot be written"))
}

async fn write_terms(tx: &Tx, product: ProductId, draft: u32, terms: &Terms) -> Result<()> {
    let ladder = ladder_column(&terms.ladder)?;
    let rules = Rules {
        product_version: draft,
        ..terms.rules.clone()
    }
    .to_bytes()
    .map_err(|error| Error::internal(format!("rules cannot be written: {error}")))?;
    let (activation, span) = activation_parts(terms.activation);
    let (duration_unit, duration_count) = span_parts(terms.duration);
    tx.execute(
        "INSERT INTO product_version AS v
           (product, number, name_zh, name_en, description_zh, description_en, price_fen,
            sale_from, sale_until, sale_limit, member_limit, activation, activation_unit,
            activation_count, start_delay_days, duration_unit, duration_count, refund_ladder,
            renewal_days, rules, evaluator_least, reservation)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18,
            $19, $20, $21, $22)
         ON CONFLICT (product, number) DO UPDATE SET
            name_zh = EXCLUDED.name_zh, name_en = EXCLUDED.name_en,
            description_zh = EXCLUDED.description_zh, description_en = EXCLUDED.description_en,
            price_fen = EXCLUDED.price_fen, sale_from = EXCLUDED.sale_from,
            sale_until = EXCLUDED.sale_until, sale_limit = EXCLUDED.sale_limit,
            member_limit = EXCLUDED.member_limit, activation = EXCLUDED.activation,
            activation_unit = EXCLUDED.activation_unit,
            activation_count = EXCLUDED.activation_count,
            start_delay_days = EXCLUDED.start_delay_days,
            duration_unit = EXCLUDED.duration_unit, duration_count = EXCLUDED.duration_count,
            refund_ladder = EXCLUDED.refund_ladder, renewal_days = EXCLUDED.renewal_days,
            rules = EXCLUDED.rules, evaluator_least = EXCLUDED.evaluator_least,
            reservation = EXCLUDED.reservation",
        [
            product.0.into(),
            signed(draft)?.into(),
            terms.names.name_zh.clone().into(),
            terms.names.name_en.clone().into(),
            terms.names.description_zh.clone().into(),
            terms.names.description_en.clone().into(),
            terms.price.get().into(),
            terms.sale_from.into(),
            terms.sale_until.into(),
            terms.sale_limit.map(i64::from).into(),
            terms.member_limit.map(signed).transpose()?.into(),
            activation.into(),
            span.map(|(unit, _)| unit).into(),
            span.map(|(_, count)| signed(count)).transpose()?.into(),
            signed(terms.start_delay_days)?.into(),
            duration_unit.into(),
            signed(duration_count)?.into(),
            ladder.into(),
            terms.renewal_days.map(signed).transpose()?.into(),
            rules.into(),
            i32::from(terms.rules.evaluator_least).into(),
            terms.rules.reservation_required.into(),
        ],
    )
    .await?;
    Ok(())
}

/// Marks a version as published under its product's new public state.
///
/// # Errors
/// When the database fails.
pub async fn publish_draft(tx: &Tx, product: &Product, published: u32) -> Result<()> {
    tx.execute(
        "UPDATE product_version SET published_as = $3, published_at = $4
         WHERE product = $1 AND number = $2",
        [
            product.id.0.into(),
            signed(published)?.into(),
            product.version.into(),
            tx.now().into(),
        ],
    )
    .await?;
    save_state(tx, product).await
}

/// Writes a product's place in the shop.
///
/// # Errors
/// When the database fails.
pub async fn save_state(tx: &Tx, product: &Product) -> Result<()> {
    tx.execute(
        "UPDATE product SET version = $2, state = $3, current = $4, draft = $5 WHERE id = $1",
        [
            product.id.0.into(),
            product.version.into(),
            state_name(product.state).into(),
            product.current().map(signed).transpose()?.into(),
            product.draft.map(signed).transpose()?.into(),
        ],
    )
    .await?;
    Ok(())
}

/// A version as it is kept.
#[derive(Clone, Debug, FromQueryResult, Serialize, Deserialize)]
pub struct StoredTerms {
    pub product: Uuid,
    pub number: i32,
    name_zh: String,
    name_en: String,
    description_zh: String,
    description_en: String,
    price_fen: i64,
    sale_from: Option<DateTime<Utc>>,
    sale_until: Option<DateTime<Utc>>,
    sale_limit: Option<i64>,
    member_limit: Option<i32>,
    activation: String,
    activation_unit: Option<String>,
    activation_count: Option<i32>,
    start_delay_days: i32,
    duration_unit: String,
    duration_count: i32,
    refund_ladder: serde_json::Value,
    renewal_days: Option<i32>,
    pub rules: Vec<u8>,
    pub evaluator_least: i32,
    pub published_as: Option<i64>,
}

/// The columns of [`StoredTerms`] behind `SELECT`, of `product_version v`.
pub const TERMS_COLUMNS: &str = "v.product, v.number, v.name_zh, v.name_en, v.description_zh, \
    v.description_en, v.price_fen, v.sale_from, v.sale_until, v.sale_limit, v.member_limit, \
    v.activation, v.activation_unit, v.activation_count, v.start_delay_days, v.duration_unit, \
    v.duration_count, v.refund_ladder, v.renewal_days, v.rules, v.evaluator_least, v.published_as";

impl StoredTerms {
    /// The terms.
    ///
    /// # Errors
    /// When the row is inconsistent.
    pub fn terms(&self) -> Result<Terms> {
        let steps: Vec<StepRow> = serde_json::from_value(self.refund_ladder.clone())
            .map_err(|_| broken("a refund ladder"))?;
        let ladder = steps.into_iter().map(|step| RefundStep {
            days: step.days,
            fee_percent: step.fee_percent,
            unused_only: step.unused_only,
        });
        Ok(Terms {
            names: Names {
                name_zh: self.name_zh.clone(),
                name_en: self.name_en.clone(),
                description_zh: self.description_zh.clone(),
                description_en: self.description_en.clone(),
            },
            price: Fen::new(self.price_fen).map_err(|_| broken("a price"))?,
            sale_from: self.sale_from,
            sale_until: self.sale_until,
            sale_limit: self
                .sale_limit
                .map(|limit| u32::try_from(limit).map_err(|_| broken("a sale limit")))
                .transpose()?,
            member_limit: self.member_limit.map(number).transpose()?,
            activation: self.activation()?,
            start_delay_days: number(self.start_delay_days)?,
            duration: span_of(&self.duration_unit, self.duration_count)?,
            ladder: Ladder(ladder.collect()),
            renewal_days: self.renewal_days.map(number).transpose()?,
            rules: Rules::from_bytes(&self.rules).map_err(|_| broken("entry rules"))?,
        })
    }

    fn activation(&self) -> Result<Activation> {
        let then = match self.activation.as_str() {
            "at_payment" => return Ok(Activation::AtPayment),
            "auto" => AfterDeadline::Auto,
            "forfeit" => AfterDeadline::Forfeit,
            "refund" => AfterDeadline::Refund,
            _ => return Err(broken("a mode of activation")),
        };
        match (&self.activation_unit, self.activation_count) {
            (Some(unit), Some(count)) => Ok(Activation::Within {
                span: span_of(unit, count)?,
                then,
            }),
            _ => Err(broken("a time to activate")),
        }
    }
}

/// One version of a product as it is kept; `None` when there is none of this number.
///
/// # Errors
/// When the database fails.
pub async fn stored_terms(
    tx: &Tx,
    product: ProductId,
    version: u32,
) -> Result<Option<StoredTerms>> {
    let sql = format!(
        "SELECT {TERMS_COLUMNS} FROM product_version v WHERE v.product = $1 AND v.number = $2"
    );
    tx.one(&sql, [product.0.into(), signed(version)?.into()])
        .await
}

/// The terms of one version.
///
/// # Errors
/// Internal, when there is no such version.
pub async fn terms_of(tx: &Tx, product: ProductId, version: u32) -> Result<Terms> {
    stored_terms(tx, product, version)
        .await?
        .ok_or_else(|| Error::internal("a version of a product is missing"))?
        .terms()
}

/// The published versions of a product, oldest first.
///
/// # Errors
/// When the database fails.
pub async fn versions(tx: &Tx, product: ProductId) -> Result<Vec<StoredTerms>> {
    let sql = format!(
        "SELECT {TERMS_COLUMNS} FROM product_version v
         WHERE v.product = $1 AND v.published_as IS NOT NULL ORDER BY v.number"
    );
    tx.all(&sql, [product.0.into()]).await
}
