//! The demonstration's pass products, three for each union: what a pass can be, in examples.

use anyhow::Result;
use kit::types::Union;
use serde_json::{Value, json};
use uuid::Uuid;

use super::keys::derived;
use crate::client::{Client, text};
use crate::documents::Document;

const PRODUCTS: &str = "query { passProducts(first: 100) { nodes { id name state } } }";
const CREATE: &str = "mutation ($input: CreatePassProductInput!) { createPassProduct(input: \
    $input) { product { id } userErrors { code field message } } }";
const PUBLISH: &str = "mutation ($input: PublishPassProductInput!) { publishPassProduct(input: \
    $input) { product { id } userErrors { code field message } } }";

/// What is sent from here.
pub(super) const DOCUMENTS: [Document; 3] = [
    ("passProductsAll", PRODUCTS),
    ("createPassProduct", CREATE),
    ("publishPassProduct", PUBLISH),
];

/// The name of the product that the journeys buy.
pub(crate) const EVERYDAY: &str = "巴蜀文旅年票";

/// Makes and publishes those that are not there.
///
/// # Errors
/// When the gateway refuses one.
pub(crate) async fn ensure(operator: &Client, union: Union) -> Result<()> {
    let there = operator.send(PRODUCTS, json!({})).await?;
    let nodes = there["passProducts"]["nodes"]
        .as_array()
        .cloned()
        .unwrap_or_default();
    for (number, terms) in terms(union).into_iter().enumerate() {
        if nodes.iter().any(|node| node["name"] == terms["nameZh"]) {
            continue;
        }
        let keys = ["product", "publish"].map(|what| derived(union, what, number));
        publish(operator, &terms, keys).await?;
    }
    Ok(())
}

/// Makes a product and puts it on sale, each step under a key of its own; its opaque id.
///
/// # Errors
/// When the gateway refuses it.
pub async fn publish(operator: &Client, terms: &Value, keys: [Uuid; 2]) -> Result<String> {
    let input = json!({ "terms": terms, "idempotencyKey": keys[0] });
    let made = operator.run(CREATE, json!({ "input": input })).await?;
    let id = text(&made, "/product/id")?;
    let input = json!({ "productId": id, "idempotencyKey": keys[1] });
    operator.run(PUBLISH, json!({ "input": input })).await?;
    Ok(id)
}

fn terms(union: Union) -> [Value; 3] {
    let (place_zh, place_en) = match union {
        Union::Chongqing => ("重庆", "Chongqing"),
        Union::Sichuan => ("四川", "Sichuan"),
    };
    [
        json!({
            "nameZh": EVERYDAY,
            "nameEn": "Bashu annual pass",
            "descriptionZh": "一年内畅游全部景区、博物馆与纪念馆，每馆每日一次。",
            "descriptionEn": "A year of all sights, museums and memorials, each once a day.",
            "priceFen": 20_000,
            "memberLimit": 5,
            "renewalDays": 30,
            "rules": {
                "venueTags": ["sight", "museum", "memorial"],
                "perVenueDaily": 1,
                "documentCheck": true,
            },
        }),
        json!({
            "nameZh": format!("{place_zh}博物馆季票"),
            "nameEn": format!("{place_en} museum season pass"),
            "descriptionZh": "三个月内参观博物馆，每馆四次；九十天内激活，逾期自动激活。",
            "descriptionEn": "Three months of museums, four visits to each; \
                starts by itself after 90 days.",
            "priceFen": 8_800,
            "saleLimit": 5_000,
            "memberLimit": 2,
            "activation": { "mode": "AUTO", "within": { "unit": "DAYS", "count": 90 } },
            "duration": { "unit": "MONTHS", "count": 3 },
            "refundLadder": [
                { "days": 7, "feePercent": 0 },
                { "days": 30, "feePercent": 20 },
            ],
            "rules": { "venueTags": ["museum"], "perVenueDaily": 1, "perVenueTotal": 4 },
        }),
        json!({
            "nameZh": format!("{place_zh}世界遗产二十次卡"),
            "nameEn": format!("{place_en} heritage card, twenty visits"),
            "descriptionZh": "两省市世界遗产共二十次，每省不超过十二次；五一、国庆不可用。",
            "descriptionEn": "Twenty heritage visits, at most twelve in each province; \
                not on May Day and National Day.",
            "priceFen": 31_800,
            "saleLimit": 1_000,
            "memberLimit": 1,
            "activation": { "mode": "REFUND", "within": { "unit": "MONTHS", "count": 6 } },
            "rules": {
                "venueTags": ["heritage"],
                "perVenueDaily": 1,
                "total": 20,
                "totalChongqing": 12,
                "totalSichuan": 12,
                "documentCheck": true,
                "blackouts": [
                    { "start": "2027-05-01", "end": "2027-05-06" },
                    { "start": "2027-10-01", "end": "2027-10-08" },
                ],
            },
        }),
    ]
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    /// Six products: three in each union, of which the journeys buy the first.
    #[test]
    fn six_products() {
        let mut named = HashSet::new();
        for union in Union::ALL {
            let terms = terms(union);
            assert_eq!(terms[0]["nameZh"], EVERYDAY);
            named.extend(terms.map(|terms| format!("{union} {}", terms["nameZh"])));
        }
        assert_eq!(named.len(), 6);
    }
}
