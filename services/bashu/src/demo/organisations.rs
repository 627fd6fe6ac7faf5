//! The demonstration's organisations: twelve unions of four levels and the companies that run
//! venues, all made up but for the two federations.

use std::collections::BTreeMap;

use anyhow::Result;
use kit::types::Union;
use serde_json::json;

use crate::client::{Client, text};
use crate::documents::Document;

/// One organisation: a key for the code here, its parent's key, kind, name, division.
type Row = (
    &'static str,
    &'static str,
    &'static str,
    &'static str,
    &'static str,
);

const CHONGQING: [Row; 7] = [
    ("district", "root", "TERRITORIAL", "渝中区总工会", "500103"),
    (
        "industry",
        "root",
        "INDUSTRIAL",
        "重庆市机械冶金工会",
        "500000",
    ),
    (
        "factory",
        "district",
        "GRASSROOTS",
        "山城机床厂工会委员会",
        "500103",
    ),
    (
        "hospital",
        "industry",
        "GRASSROOTS",
        "江岸医院工会委员会",
        "500106",
    ),
    (
        "workshop",
        "factory",
        "GROUP",
        "山城机床厂装配车间工会小组",
        "500103",
    ),
    (
        "museums",
        "root",
        "PARTNER",
        "巴渝文博运营有限公司",
        "500103",
    ),
    ("parks", "root", "PARTNER", "巴渝景区运营有限公司", "500106"),
];
const SICHUAN: [Row; 7] = [
    ("district", "root", "TERRITORIAL", "成都市总工会", "510100"),
    ("industry", "root", "INDUSTRIAL", "四川省轻工工会", "510000"),
    (
        "factory",
        "district",
        "GRASSROOTS",
        "锦江电机厂工会委员会",
        "510104",
    ),
    (
        "hospital",
        "industry",
        "GRASSROOTS",
        "蜀绣工坊工会委员会",
        "510105",
    ),
    (
        "workshop",
        "factory",
        "GROUP",
        "锦江电机厂总装车间工会小组",
        "510104",
    ),
    (
        "museums",
        "root",
        "PARTNER",
        "天府文博运营有限公司",
        "510105",
    ),
    ("parks", "root", "PARTNER", "天府景区运营有限公司", "510107"),
];

const CREATE: &str = "mutation ($input: CreateOrganisationInput!) { createOrganisation(input: \
    $input) { organisation { id } userErrors { code field message } } }";
const CHILDREN: &str = "query ($parent: ID) { organisations(parentId: $parent, first: 100) \
    { nodes { id name } } }";

/// What is sent from here.
pub(super) const DOCUMENTS: [Document; 2] =
    [("createOrganisation", CREATE), ("organisations", CHILDREN)];

/// Organisations by the key used here, as opaque ids.
pub(crate) type Organisations = BTreeMap<&'static str, String>;

/// Makes those that are not there.
///
/// # Errors
/// When the gateway refuses one.
pub(crate) async fn ensure(operator: &Client, union: Union) -> Result<Organisations> {
    let rows = match union {
        Union::Chongqing => &CHONGQING,
        Union::Sichuan => &SICHUAN,
    };
    let root = operator.send(CHILDREN, json!({})).await?;
    let mut made = Organisations::from([("root", text(&root, "/organisations/nodes/0/id")?)]);
    for (key, parent, kind, name, division) in rows {
        let parent = &made[parent];
        let there = operator.send(CHILDREN, json!({ "parent": parent })).await?;
        let known = there["organisations"]["nodes"]
            .as_array()
            .and_then(|nodes| nodes.iter().find(|node| node["name"] == *name));
        let id = match known {
            Some(node) => text(node, "/id")?,
            None => {
                let input =
                    json!({ "parentId": parent, "kind": kind, "name": name, "division": division });
                let payload = operator.run(CREATE, json!({ "input": input })).await?;
                text(&payload, "/organisation/id")?
            }
        };
        made.insert(key, id);
    }
    Ok(made)
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeSet, HashMap};

    use kit::Clock;
    use kit::types::{division, shanghai_date};

    use super::*;

    /// Twelve unions of four levels, the two federations at the top among them, each in a division
    /// that is valid today.
    #[test]
    fn twelve_unions_of_four_levels() {
        let mut unions = 0;
        let today = shanghai_date(Clock::System.now());
        for rows in [&CHONGQING, &SICHUAN] {
            let mut levels = HashMap::from([("root", 1)]);
            for (key, parent, kind, name, code) in rows {
                let level = levels[parent] + 1;
                assert_eq!(levels.insert(key, level), None, "{name} is there twice");
                assert!(division::find(code, today).is_some(), "{name} is in {code}");
                assert_ne!(levels[parent], 4, "{name} is below the fourth level");
                unions += usize::from(*kind != "PARTNER");
            }
            let all: BTreeSet<i32> = levels.into_values().collect();
            assert_eq!(all.into_iter().collect::<Vec<_>>(), [1, 2, 3, 4]);
        }
        assert_eq!(unions + 2, 12);
    }
}
