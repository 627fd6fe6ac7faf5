//! The products' public state and the entry rules of each of their versions.

use std::sync::Arc;

use credential::rules::Rules;
use kit::{Result, Tx};
use sea_orm::FromQueryResult;
use uuid::Uuid;

use crate::domain::desk::RuleBook;

/// A product as its seller says it is.
#[derive(Clone, Debug)]
pub(crate) struct Product {
    pub(crate) scope: u32,
    pub(crate) id: Uuid,
    pub(crate) epoch: i64,
    pub(crate) version: i64,
    pub(crate) name_zh: String,
    pub(crate) name_en: String,
    /// `draft`, `published` or `stopped`.
    pub(crate) state: &'static str,
    pub(crate) rules_version: Option<i64>,
    pub(crate) venue_ids: Vec<Uuid>,
    pub(crate) venue_tags: Vec<String>,
}

/// Keeps the newest state of a product.
pub(crate) async fn save(tx: &Tx, product: &Product) -> Result<()> {
    tx.execute(
        "INSERT INTO product AS p (scope, id, epoch, version, name_zh, name_en, state,
           rules_version, venue_ids, venue_tags)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)
         ON CONFLICT (scope) DO UPDATE SET id = EXCLUDED.id, epoch = EXCLUDED.epoch,
           version = EXCLUDED.version, name_zh = EXCLUDED.name_zh, name_en = EXCLUDED.name_en,
           state = EXCLUDED.state,
           rules_version = COALESCE(EXCLUDED.rules_version, p.rules_version),
           venue_ids = EXCLUDED.venue_ids, venue_tags = EXCLUDED.venue_tags
         WHERE (p.epoch, p.version) < (EXCLUDED.epoch, EXCLUDED.version)",
        [
            i64::from(product.scope).into(),
            product.id.into(),
            product.epoch.into(),
            product.version.into(),
            product.name_zh.clone().into(),
            product.name_en.clone().into(),
            product.state.into(),
            product.rules_version.into(),
            product.venue_ids.clone().into(),
            product.venue_tags.clone().into(),
        ],
    )
    .await?;
    Ok(())
}

/// Keeps the rules of one version; a version's rules never change within an epoch.
pub(crate) async fn save_rules(
    tx: &Tx,
    scope: u32,
    rules_version: i64,
    epoch: i64,
    rules: Vec<u8>,
) -> Result<()> {
    tx.execute(
        "INSERT INTO product_rules AS r (scope, rules_version, epoch, rules)
         VALUES ($1, $2, $3, $4)
         ON CONFLICT (scope, rules_version) DO UPDATE
           SET rules = EXCLUDED.rules, epoch = EXCLUDED.epoch
         WHERE r.epoch < EXCLUDED.epoch",
        [
            i64::from(scope).into(),
            rules_version.into(),
            epoch.into(),
            rules.into(),
        ],
    )
    .await?;
    Ok(())
}

#[derive(FromQueryResult)]
struct RulesRow {
    scope: i64,
    rules_version: i64,
    rules: Vec<u8>,
    newest: bool,
}

/// The rules of these versions, and the newest of these scopes.
pub(crate) async fn book(tx: &Tx, versions: &[(u32, i64)], scopes: &[u32]) -> Result<RuleBook> {
    let mut book = RuleBook::default();
    if versions.is_empty() && scopes.is_empty() {
        return Ok(book);
    }
    let by_scope: Vec<i64> = versions
        .iter()
        .map(|(scope, _)| i64::from(*scope))
        .collect();
    let by_version: Vec<i64> = versions.iter().map(|(_, version)| *version).collect();
    let scopes: Vec<i64> = scopes.iter().map(|scope| i64::from(*scope)).collect();
    let rows: Vec<RulesRow> = tx
        .all(
            "SELECT r.scope, r.rules_version, r.rules, false AS newest
             FROM UNNEST($1::bigint[], $2::bigint[]) AS t (s, v)
             JOIN product_rules r ON r.scope = t.s AND r.rules_version = t.v
             UNION ALL
             SELECT r.scope, r.rules_version, r.rules, true AS newest
             FROM product p
             JOIN product_rules r ON r.scope = p.scope AND r.rules_version = p.rules_version
             WHERE p.scope = ANY ($3) AND p.state <> 'draft'",
            [by_scope.into(), by_version.into(), scopes.into()],
        )
        .await?;
    for row in rows {
        let Ok(scope) = u32::try_from(row.scope) else {
            continue;
        };
        let key = (scope, row.rules_version);
        book.versions
            .entry(key)
            .or_insert_with(|| Rules::from_bytes(&row.rules).map(Arc::new));
        if row.newest {
            book.newest.insert(scope, row.rules_version);
        }
    }
    Ok(book)
}
