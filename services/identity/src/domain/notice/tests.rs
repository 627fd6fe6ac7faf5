//! What notices say.

use super::*;

fn day(text: &str) -> NaiveDate {
    text.parse().unwrap()
}

fn each() -> Vec<Notice> {
    let (pass, product) = (EntitlementId(7), Uuid::from_u128(7));
    let order = OrderId(Uuid::from_u128(8));
    let organisation = OrganisationId(Uuid::from_u128(9));
    let number = || "B50-20260401-000123-7".to_owned();
    let (start, end) = (day("2026-04-01"), day("2027-04-01"));
    vec![
        Notice::Bought {
            order,
            number: number(),
            fen: 20_000,
        },
        Notice::Activated {
            pass,
            product,
            start,
            end,
        },
        Notice::Expiring {
            pass,
            product: Some(product),
            end,
        },
        Notice::Cancelled { pass, product },
        Notice::Refunded {
            order,
            number: number(),
            fen: 5,
        },
        Notice::OnRoster {
            organisation,
            joined: true,
        },
        Notice::OnRoster {
            organisation,
            joined: false,
        },
        Notice::RoleGranted {
            organisation,
            role: Role::Officer,
        },
        Notice::NewLogin {
            login: Uuid::from_u128(1),
            at: DateTime::UNIX_EPOCH,
        },
        Notice::LoginLinked {
            login: Uuid::from_u128(1),
            kind: subject::Kind::Wechat,
            at: DateTime::UNIX_EPOCH,
        },
        Notice::LoginLinked {
            login: Uuid::from_u128(1),
            kind: subject::Kind::Oidc,
            at: DateTime::UNIX_EPOCH,
        },
    ]
    .into_iter()
    .chain(of_rights())
    .chain(Change::ALL.map(|change| Notice::SecondFactorChanged {
        change,
        at: DateTime::UNIX_EPOCH,
    }))
    .collect()
}

fn of_rights() -> Vec<Notice> {
    vec![
        Notice::ExportReady {
            export: Uuid::from_u128(2),
        },
        Notice::ErasureHeld {
            member: MemberId(Uuid::from_u128(3)),
        },
        Notice::RenderingReady {
            rendering: Uuid::from_u128(4),
        },
        Notice::PhoneChanged {
            at: DateTime::UNIX_EPOCH,
        },
        Notice::PhoneToBeChanged {
            at: DateTime::UNIX_EPOCH,
        },
        Notice::PhoneToBeSet {
            at: DateTime::UNIX_EPOCH,
        },
    ]
    .into_iter()
    .chain(RightStep::ALL.map(|step| Notice::RightUsed {
        step,
        at: DateTime::UNIX_EPOCH,
    }))
    .chain([true, false].map(|merged| Notice::RecordsChanged {
        merged,
        at: DateTime::UNIX_EPOCH,
    }))
    .chain(ShowPurpose::ALL.map(|purpose| Notice::Unmasked {
        organisation: OrganisationId(Uuid::from_u128(9)),
        purpose,
        at: DateTime::UNIX_EPOCH,
    }))
    .collect()
}

/// Each kind has a text of its own in both languages, with and without the names it wants.
#[test]
fn every_notice_is_told_in_both_languages() {
    let names = Names {
        product_zh: Some("巴蜀年票".to_owned()),
        product_en: Some("Bashu pass".to_owned()),
        organisation: Some("渝中区总工会".to_owned()),
    };
    let mut told = Vec::new();
    for notice in each() {
        for names in [&names, &Names::default()] {
            let (zh, en) = notice.text(names);
            assert!(zh.ends_with('。') && en.ends_with('.'), "{zh} {en}");
            assert!(
                zh.chars().any(|c| c > '\u{4e00}') && !zh.contains('{'),
                "{zh}"
            );
            assert!(
                en.contains(' ') && !en.contains('{') && !en.contains("  "),
                "{en}"
            );
        }
        told.push(notice.text(&names));
        let kind = notice.kind();
        assert_eq!(Kind::parse(kind.as_str()), Some(kind));
        let has_params = !notice.sms_params(&names).is_empty();
        assert_eq!(has_params, kind.sms_template().is_some(), "{kind:?}");
        let chosen = has_params && !kind.protects();
        assert_eq!(chosen, kind.must_have_sms().is_ok());
    }
    let all = told.len();
    told.sort();
    told.dedup();
    assert_eq!(told.len(), all);
    let kinds: Vec<Kind> = each().iter().map(Notice::kind).collect();
    assert!(Kind::ALL.iter().all(|kind| kinds.contains(kind)));
}

/// Words of an SMS come in both languages: what is for the English text has no Chinese in it.
#[test]
fn an_sms_has_its_words_in_both_languages() {
    let is_english = |text: &str| text.is_ascii() && text.contains(' ');
    for notice in each() {
        let params = notice.sms_params(&Names::default());
        for (name, value) in &params {
            if let Some(chinese) = name.strip_suffix("_en") {
                assert!(is_english(value), "{name}: {value}");
                let other = params.iter().find(|it| it.0 == chinese).unwrap();
                assert!(!other.1.is_ascii(), "{other:?}");
            } else {
                let english = format!("{name}_en");
                let has_english = params.iter().any(|it| it.0 == english);
                assert_eq!(has_english, !value.is_ascii(), "{name}: {value}");
            }
        }
    }
}

/// What protects an account goes by SMS whether its person wants that or not, short enough for a
/// provider; what is stored of a step and a purpose reads back.
#[test]
fn what_protects_is_not_chosen() {
    let refused = |kind: Kind| kind.must_have_sms().err();
    for kind in Kind::ALL.into_iter().filter(|kind| kind.protects()) {
        assert_eq!(refused(kind), Some(Refusal::NoticeSmsStays));
    }
    assert_eq!(refused(Kind::Unmasked), Some(Refusal::NoticeHasNoSms));
    for notice in each().iter().filter(|it| it.kind().protects()) {
        let params = notice.sms_params(&Names::default());
        assert_eq!(
            params.iter().map(|it| it.0).collect::<Vec<_>>(),
            ["what", "what_en", "time"]
        );
        let longest = params.iter().map(|it| it.1.chars().count()).max();
        assert!(longest.unwrap() <= SMS_NAME_CHARS_MAX, "{params:?}");
    }
    for step in RightStep::ALL {
        assert_eq!(RightStep::parse(step.as_str()), Some(step));
    }
    for purpose in ShowPurpose::ALL {
        assert_eq!(ShowPurpose::parse(purpose.as_str()), Some(purpose));
    }
}

#[test]
fn texts_count_in_yuan_and_name_the_last_day() {
    let names = Names::default();
    let (zh, en) = each()[4].text(&names);
    assert_eq!(zh, "订单 B50-20260401-000123-7 已退款 0.05 元。");
    assert_eq!(
        en,
        "0.05 yuan of order B50-20260401-000123-7 were refunded."
    );
    let (zh, _) = each()[1].text(&names);
    assert_eq!(
        zh,
        "您的年票已激活，自 2026-04-01 起可用，至 2027-03-31 止。"
    );
}

/// A month before the end at nine in the morning, at once when that is over, never for a pass
/// that is short or over.
#[test]
fn a_reminder_comes_a_month_before_the_end() {
    let (start, end) = (day("2026-04-01"), day("2027-04-01"));
    let at = reminder(start, end, day_start(start)).unwrap();
    assert_eq!(at, day_start(day("2027-03-02")) + TimeDelta::hours(9));
    let late = day_start(day("2027-03-20"));
    assert_eq!(reminder(start, end, late), Some(late));
    assert_eq!(reminder(start, end, day_start(end)), None);
    assert_eq!(reminder(start, day("2026-05-01"), day_start(start)), None);
}
