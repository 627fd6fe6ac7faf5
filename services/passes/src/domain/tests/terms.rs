//! Terms against the published ones of real passes, and senseless ones.

use super::*;
use crate::domain::terms::fee_of;

/// The published terms of real annual passes give the dates they say.
#[test]
fn date_vectors() {
    let auto = |span| Activation::Within {
        span,
        then: AfterDeadline::Auto,
    };
    let jurong = Terms {
        activation: auto(Span::Months(3)),
        ..terms()
    };
    let paid = day_start(date("2023-01-01"));
    assert_eq!(jurong.activate_by(paid), Some(date("2023-04-01")));
    for (day, end) in [("2023-02-15", "2024-02-15"), ("2023-04-01", "2024-04-01")] {
        assert_eq!(jurong.window(date(day)).unwrap().end(), date(end));
    }
    let hainan = Terms {
        activation: auto(Span::Days(90)),
        ..terms()
    };
    let auto_start = hainan.activate_by(day_start(date("2020-08-01"))).unwrap();
    assert_eq!(auto_start, date("2020-10-30"));
    assert_eq!(
        hainan.window(auto_start).unwrap().last(),
        date("2021-10-29")
    );
    let delayed = Terms {
        start_delay_days: 4,
        ..terms()
    };
    assert_eq!(
        delayed.window(date("2024-02-25")).unwrap().start(),
        date("2024-02-29")
    );
    assert_eq!(
        delayed.window(date("2024-02-25")).unwrap().end(),
        date("2025-02-28")
    );
}

#[test]
fn fee_vectors() {
    for (paid, percent, fee) in [
        (38_000, 20, 7_600),
        (9_999, 30, 3_000),
        (101, 50, 51),
        (1, 20, 0),
        (0, 50, 0),
    ] {
        let paid = Fen::new(paid).unwrap();
        assert_eq!(fee_of(paid, percent).get(), fee, "{paid} at {percent} %");
    }
}

/// The first step that still holds and allows the uses decides.
#[test]
fn ladders() {
    let ladder = Ladder(vec![
        step(7, 0, true),
        step(30, 20, true),
        step(60, 50, false),
    ]);
    let paid = date("2026-04-01");
    for (asked, uses, fee) in [
        ("2026-04-01", 0, Some(0)),
        ("2026-04-07", 0, Some(0)),
        ("2026-04-08", 0, Some(20)),
        ("2026-04-01", 1, Some(50)),
        ("2026-05-30", 0, Some(50)),
        ("2026-05-31", 0, None),
    ] {
        let found = ladder
            .step(paid, date(asked), uses)
            .map(|step| step.fee_percent);
        assert_eq!(found, fee, "{asked} after {uses} uses");
    }
    assert_eq!(Ladder(vec![]).step(paid, paid, 0), None);
}

/// ASVS V2.2.3.
#[test]
fn senseless_terms_are_named() {
    let at = |text: &str| Some(day_start(date(text)));
    type Spoil = fn(&mut Terms);
    let spoilt: [(Spoil, TermsFault); 9] = [
        (
            |terms| terms.names.name_en = "  ".to_owned(),
            TermsFault::Name,
        ),
        (
            |terms| terms.sale_until = terms.sale_from,
            TermsFault::SaleWindowEmpty,
        ),
        (|terms| terms.sale_limit = Some(0), TermsFault::SaleLimit),
        (
            |terms| terms.member_limit = Some(0),
            TermsFault::MemberLimit,
        ),
        (|terms| terms.duration = Span::Days(0), TermsFault::Duration),
        (
            |terms| terms.duration = Span::Months(121),
            TermsFault::Duration,
        ),
        (|terms| terms.start_delay_days = 61, TermsFault::StartDelay),
        (
            |terms| terms.renewal_days = Some(0),
            TermsFault::RenewalDays,
        ),
        (
            |terms| terms.ladder = Ladder(vec![step(7, 0, true), step(6, 0, true)]),
            TermsFault::Ladder,
        ),
    ];
    for (spoil, fault) in spoilt {
        let mut bad = Terms {
            sale_from: at("2026-02-01"),
            ..terms()
        };
        spoil(&mut bad);
        assert_eq!(bad.check(), Err(fault));
    }
    assert_eq!(terms().check(), Ok(()));
}
