//! The identifier vectors of `tests/vectors.json`, all of them that identity decides on.

use chrono::NaiveDate;
use identity::domain::identifier::{Document, DocumentKind, Phone, ResidentNumber, Sex};
use identity::domain::name::PersonName;
use identity::domain::uscc::Uscc;
use serde_json::Value;

fn vectors() -> Value {
    serde_json::from_str(include_str!("../vectors.json")).unwrap()
}

fn today() -> NaiveDate {
    NaiveDate::from_ymd_opt(2026, 11, 23).unwrap()
}

fn texts<'a>(list: &'a Value, field: &str) -> Vec<&'a str> {
    list.as_array()
        .unwrap()
        .iter()
        .map(|it| it[field].as_str().unwrap())
        .collect()
}

#[test]
fn resident_numbers() {
    let all = vectors();
    let valid = all["resident_id"]["valid"].as_array().unwrap();
    assert_eq!(valid.len(), 11);
    for vector in valid {
        let text = vector["v"].as_str().unwrap();
        let number = ResidentNumber::parse(text, today()).expect(text);
        assert_eq!(
            number.birth().to_string(),
            vector["birth"].as_str().unwrap(),
            "{text}"
        );
        let sex = if vector["sex"] == "M" {
            Sex::Male
        } else {
            Sex::Female
        };
        assert_eq!(number.sex(), sex, "{text}");
        assert!(
            Document::parse(DocumentKind::ResidentId, text, today()).is_ok(),
            "{text}"
        );
    }
    let invalid = texts(&all["resident_id"]["invalid"], "v");
    assert_eq!(invalid.len(), 5);
    for text in invalid {
        assert!(ResidentNumber::parse(text, today()).is_err(), "{text}");
        assert!(
            Document::parse(DocumentKind::ResidentId, text, today()).is_err(),
            "{text}"
        );
    }
    for vector in all["resident_id"]["normalise"].as_array().unwrap() {
        let number = ResidentNumber::parse(vector["in"].as_str().unwrap(), today()).unwrap();
        assert_eq!(number.as_str(), vector["out"].as_str().unwrap());
    }
}

#[test]
fn credit_codes() {
    let all = vectors();
    for text in texts(&all["uscc"]["valid"], "v") {
        assert_eq!(Uscc::parse(text).expect(text).as_str(), text);
        assert_eq!(
            Uscc::parse(&text.to_lowercase()).expect(text).as_str(),
            text
        );
    }
    for text in texts(&all["uscc"]["invalid"], "v") {
        assert!(Uscc::parse(text).is_err(), "{text}");
    }
}

#[test]
fn masks() {
    for vector in vectors()["mask"].as_array().unwrap() {
        let out = vector["out"].as_str().unwrap();
        let masked = if let Some(name) = vector["name"].as_str() {
            PersonName::parse(name).unwrap().masked()
        } else if let Some(phone) = vector["phone"].as_str() {
            Phone::parse(phone).unwrap().masked()
        } else {
            let number = vector["id"].as_str().unwrap();
            Document::parse(DocumentKind::ResidentId, number, today())
                .unwrap()
                .masked()
        };
        assert_eq!(masked, out);
    }
}
