//! The demonstration's venues: real places with approximate coordinates, see `demo/venues.csv`.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use kit::types::Union;
use serde_json::{Value, json};

use super::keys::derived;
use super::organisations::Organisations;
use crate::client::{Client, text};
use crate::documents::Document;

const TABLE: &str = include_str!("../../demo/venues.csv");
/// Longer than any answer is cached.
const LIST_TIMEOUT: Duration = Duration::from_secs(30);
const POLL: Duration = Duration::from_millis(200);
const SOURCE: &str = "approximate, from general geographic knowledge; not surveyed";

const VENUES: &str = "query ($after: String) { venues(first: 100, after: $after) { nodes { id \
    nameZh } pageInfo { hasNextPage endCursor } } }";
/// Makes a venue; `{ venue { id } }`.
pub const CREATE: &str = "mutation ($input: CreateVenueInput!) { createVenue(input: $input) \
    { venue { id } userErrors { code field message } } }";

/// What is sent from here.
pub(super) const DOCUMENTS: [Document; 2] = [("venues", VENUES), ("createVenue", CREATE)];

/// The venue that the journeys enter: open day and night, like the place itself.
pub const fn open_always(union: Union) -> &'static str {
    match union {
        Union::Chongqing => "洪崖洞",
        Union::Sichuan => "阆中古城",
    }
}

/// A venue of another company than runs [`open_always`].
pub(crate) const fn of_another_company(union: Union) -> &'static str {
    match union {
        Union::Chongqing => "重庆中国三峡博物馆",
        Union::Sichuan => "成都杜甫草堂博物馆",
    }
}

/// A venue's opaque id by its name. The public list is read through a cache, so that a venue
/// made a moment ago may not stand there yet.
///
/// # Errors
/// When there is none of this name.
pub async fn id_of(client: &Client, name: &str) -> Result<String> {
    let began = Instant::now();
    loop {
        let found = all(client).await?;
        if let Some(venue) = found.iter().find(|venue| venue["nameZh"] == name) {
            return text(venue, "/id");
        }
        ensure!(began.elapsed() < LIST_TIMEOUT, "there is no venue {name}");
        tokio::time::sleep(POLL).await;
    }
}

/// Makes those that are not there; how many there are of the union's own.
///
/// # Errors
/// When the gateway refuses one.
pub(crate) async fn ensure(
    operator: &Client,
    union: Union,
    organisations: &Organisations,
) -> Result<usize> {
    let there = all(operator).await?;
    let mut count = 0;
    for (number, line) in TABLE
        .lines()
        .filter(|line| line.starts_with('5'))
        .enumerate()
    {
        let fields: Vec<&str> = line.split(',').collect();
        ensure!(fields.len() == 9, "venues.csv: bad line {line}");
        if fields[0] != union.to_string() {
            continue;
        }
        count += 1;
        if there.iter().any(|venue| venue["nameZh"] == fields[2]) {
            continue;
        }
        let input = input(&fields, union, number, organisations)?;
        operator
            .run(CREATE, json!({ "input": input }))
            .await
            .context(fields[2].to_owned())?;
    }
    Ok(count)
}

fn input(
    fields: &[&str],
    union: Union,
    number: usize,
    organisations: &Organisations,
) -> Result<Value> {
    let tags: Vec<&str> = fields[8].split(';').collect();
    let company = match tags.first() {
        Some(&"station") => "root",
        Some(&"sight") => "parks",
        _ => "museums",
    };
    Ok(json!({
        "idempotencyKey": derived(union, "venue", number),
        "organisationId": organisations[company],
        "nameZh": fields[2],
        "nameEn": fields[3],
        "division": fields[1],
        "coordinates": {
            "latitude": fields[4].parse::<f64>()?,
            "longitude": fields[5].parse::<f64>()?,
            "source": SOURCE,
        },
        "tags": tags,
        "opening": { "daily": { "opens": fields[6], "closes": fields[7] } },
    }))
}

async fn all(client: &Client) -> Result<Vec<Value>> {
    let mut found = Vec::new();
    let mut after = Value::Null;
    loop {
        let data = client.send(VENUES, json!({ "after": after })).await?;
        let page = &data["venues"];
        found.extend(page["nodes"].as_array().cloned().unwrap_or_default());
        if page["pageInfo"]["hasNextPage"] != true {
            return Ok(found);
        }
        after = page["pageInfo"]["endCursor"].clone();
    }
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, HashSet};

    use kit::Clock;
    use kit::types::{division, shanghai_date};

    use super::*;

    /// Forty places of both provinces, ten of them workers' stations, each in a division that is
    /// valid today and where it says it is, with a source for its coordinates.
    #[test]
    fn forty_places_ten_of_them_stations() {
        let organisations: Organisations = ["root", "parks", "museums"]
            .map(|key| (key, key.to_owned()))
            .into();
        let today = shanghai_date(Clock::System.now());
        let lines = TABLE.lines().filter(|line| line.starts_with('5'));
        let (mut names, mut stations) = (HashSet::new(), 0);
        let mut places: BTreeMap<&str, usize> = BTreeMap::new();
        for (number, line) in lines.enumerate() {
            let fields: Vec<&str> = line.split(',').collect();
            let [union, division, name, ..] = fields[..] else {
                panic!("{line}");
            };
            let found = division::find(division, today);
            let province = found
                .unwrap_or_else(|| panic!("{line}: no division today"))
                .province();
            assert_eq!(province.to_string(), union, "{line}");
            let owner = Union::ALL
                .into_iter()
                .find(|one| one.to_string() == union)
                .unwrap();
            let input = input(&fields, owner, number, &organisations).unwrap();
            let place = &input["coordinates"];
            assert!(!place["source"].as_str().unwrap().trim().is_empty());
            assert!(
                (26.0..34.5).contains(&place["latitude"].as_f64().unwrap()),
                "{line}"
            );
            assert!(
                (97.0..110.5).contains(&place["longitude"].as_f64().unwrap()),
                "{line}"
            );
            assert!(names.insert(name), "{name} is there twice");
            stations += usize::from(fields[8] == "station");
            *places.entry(union).or_default() += 1;
        }
        assert_eq!((names.len(), stations), (40, 10));
        assert_eq!(places, BTreeMap::from([("50", 20), ("51", 20)]));
        for union in Union::ALL {
            assert!(names.contains(open_always(union)));
            assert!(names.contains(of_another_company(union)));
        }
    }
}
