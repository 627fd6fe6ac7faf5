//! The identifier vectors of `tests/vectors.json`, all of them that identity decides on.

use chrono::NaiveDate;
use identity::domain::identifier::{
    Document, DocumentKind, Phone, ResidentError, ResidentNumber, Sex,
};
use identity::domain::name::PersonName;
use identity::domain::uscc::Uscc;
use identity::error::Refusal;
use serde_json::{Value, json};

use crate::people::with;
use crate::world::{World, person};

pub(crate) fn vectors() -> Value {
    serde_json::from_str(include_str!("../vectors.json")).unwrap()
}

fn today() -> NaiveDate {
    NaiveDate::from_ymd_opt(2026, 11, 23).unwrap()
}

pub(crate) fn texts<'a>(list: &'a Value, field: &str) -> Vec<&'a str> {
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
    let why = [
        ResidentError::Check,
        ResidentError::Date,
        ResidentError::Check,
        ResidentError::Digits,
        ResidentError::Length,
    ];
    for (text, why) in invalid.into_iter().zip(why) {
        assert_eq!(
            ResidentNumber::parse(text, today()).err(),
            Some(why),
            "{text}"
        );
        let document = Document::parse(DocumentKind::ResidentId, text, today());
        assert_eq!(document.err(), Some(Refusal::DocumentInvalid), "{text}");
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
    let invalid = texts(&all["uscc"]["invalid"], "v");
    assert_eq!(invalid.len(), 3);
    for text in invalid {
        assert_eq!(
            Uscc::parse(text).err(),
            Some(Refusal::UsccInvalid),
            "{text}"
        );
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

/// Every wrong number of the vectors is refused through the graph, with what people read, and
/// nothing of it is kept.
#[tokio::test]
async fn wrong_numbers_are_told_in_both_languages() {
    let world = World::new().await;
    let union = world.organisation("GRASSROOTS", "基层工会").await;
    let (operator, all) = (world.as_operator(), vectors());
    for number in texts(&all["resident_id"]["invalid"], "v") {
        let person = with(person(1), "documentNumber", number.into());
        let input = json!({ "organisationId": union, "person": person });
        let told = world.answered(&operator, "addMembership", &input).await;
        let expected = [
            "DOCUMENT_INVALID",
            "证件号码有误，请核对证件类型和号码。",
            "The document number is wrong; please check its type and number.",
        ];
        assert_eq!(told, expected, "{number}");
    }
    for uscc in texts(&all["uscc"]["invalid"], "v") {
        let input = json!({ "kind": "GRASSROOTS", "name": "渝中甲工会", "division": "500103",
            "uscc": uscc });
        let told = world
            .answered(&operator, "createOrganisation", &input)
            .await;
        let expected = [
            "USCC_INVALID",
            "统一社会信用代码有误，请核对。",
            "The unified social credit code is wrong; please check it.",
        ];
        assert_eq!(told, expected, "{uscc}");
    }
    assert_eq!(world.count("SELECT count(*) AS count FROM member").await, 1);
    assert_eq!(
        world
            .count("SELECT count(*) AS count FROM organisation")
            .await,
        2
    );
}
