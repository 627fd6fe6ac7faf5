//! Reads the inputs of a case of `rules.json`.

use std::collections::BTreeSet;
use std::num::NonZeroU16;

use credential::dates::DateRange;
use credential::keyset::{Issuer, KeyId};
use credential::rules::{
    Direction, DocumentReading, EntitlementFacts, Form, History, Hours, Mode, OpeningHours,
    Presence, Presented, Province, ProvinceTotals, Reservation, Rules, Scan, Standing, Suspension,
    Use, VenueFacts, VenueId, VenueLimits, Venues,
};
use credential::token::{Claims, Flags, GroupSize, Holder, Kind, Minute, Token};
use serde_json::Value;

use super::{date, flag, instant, limit, list, number, text};

fn venue_id(hex_text: &str) -> VenueId {
    let bytes = hex::decode(hex_text).expect("hexadecimal");
    VenueId(bytes.try_into().expect("sixteen bytes"))
}

fn province(value: &Value) -> Province {
    Province::from_code(number(value, "province")).expect("50 or 51")
}

fn range(value: &Value) -> DateRange {
    DateRange::new(date(value, "start"), date(value, "end")).expect("not empty")
}

fn limits(value: &Value) -> VenueLimits {
    VenueLimits {
        daily: limit(value, "daily"),
        total: limit(value, "total"),
    }
}

fn tags(value: &Value) -> BTreeSet<String> {
    let texts = list(value, "tags").iter();
    texts
        .map(|tag| tag.as_str().expect("a tag").to_owned())
        .collect()
}

pub(super) fn rules(value: &Value) -> Rules {
    let listed = &value["venues"];
    let venues = if listed.as_str() == Some("all") {
        Venues::All
    } else {
        let ids = list(listed, "ids")
            .iter()
            .map(|id| venue_id(id.as_str().expect("an id")));
        Venues::Listed {
            ids: ids.collect(),
            tags: tags(listed),
        }
    };
    let suspension = |value: &Value| Suspension {
        venue: venue_id(text(value, "venue")),
        dates: (!value["start"].is_null()).then(|| range(value)),
    };
    Rules {
        evaluator_least: number(value, "evaluator_least"),
        product_version: number(value, "product_version"),
        venues,
        per_venue: limits(&value["per_venue"]),
        venue_limits: list(value, "venue_limits")
            .iter()
            .map(|one| (venue_id(text(one, "venue")), limits(one)))
            .collect(),
        daily: limit(value, "daily"),
        total: limit(value, "total"),
        province_totals: ProvinceTotals {
            chongqing: limit(&value["province_totals"], "50"),
            sichuan: limit(&value["province_totals"], "51"),
        },
        blackouts: list(value, "blackouts").iter().map(range).collect(),
        suspensions: list(value, "suspensions").iter().map(suspension).collect(),
        reservation_required: flag(value, "reservation_required"),
        document_check: flag(value, "document_check"),
        photo_check: flag(value, "photo_check"),
        grace_minutes: number(value, "grace_minutes"),
    }
}

pub(super) fn entitlement(value: &Value) -> EntitlementFacts {
    let standing = match text(value, "standing") {
        "granted" => Standing::Granted,
        "unpaid" => Standing::Unpaid,
        "frozen" => Standing::Frozen,
        "revoked" => Standing::Revoked,
        "unseen" => Standing::Unseen {
            budget_left: number(value, "budget_left"),
        },
        "unknown" => Standing::Unknown,
        other => panic!("standing {other}"),
    };
    let reservation = |value: &Value| Reservation {
        venue: venue_id(text(value, "venue")),
        from: instant(value, "from"),
        until: instant(value, "until"),
    };
    EntitlementFacts {
        standing,
        from: instant(value, "from"),
        until: instant(value, "until"),
        generation: number(value, "generation"),
        persons: number(value, "persons"),
        reservations: list(value, "reservations")
            .iter()
            .map(reservation)
            .collect(),
    }
}

pub(super) fn venue(value: &Value) -> VenueFacts {
    let minutes = |value: &Value| {
        let (hours, minutes) = value
            .as_str()
            .and_then(|text| text.split_once(':'))
            .expect("a time");
        hours.parse::<u16>().expect("hours") * 60 + minutes.parse::<u16>().expect("minutes")
    };
    let hours = |value: &Value| {
        let pair = value.as_array()?;
        Some(Hours::new(minutes(&pair[0]), minutes(&pair[1])).expect("hours"))
    };
    let opening = value["opening"].as_array().map(|week| {
        let days: Vec<_> = week.iter().map(hours).collect();
        OpeningHours(days.try_into().expect("seven days"))
    });
    VenueFacts {
        id: venue_id(text(value, "id")),
        province: province(value),
        tags: tags(value),
        suspended: flag(value, "suspended"),
        opening,
        closed: list(value, "closed").iter().map(range).collect(),
        tracks_exits: flag(value, "tracks_exits"),
        vacancies: limit(value, "vacancies"),
    }
}

pub(super) fn history(case: &Value) -> History {
    let uses: Vec<Use> = list(case, "uses")
        .iter()
        .map(|value| Use {
            venue: venue_id(text(value, "venue")),
            province: province(value),
            counted_on: date(value, "counted_on"),
            persons: number(value, "persons"),
        })
        .collect();
    let presence = match text(case, "presence") {
        "inside" => Presence::Inside,
        "outside" => Presence::Outside,
        other => panic!("presence {other}"),
    };
    let venue = venue(&case["venue"]);
    History {
        presence,
        ..History::of(&uses, &venue, instant(case, "now"))
    }
}

fn presented(value: &Value) -> Presented {
    if value.as_str() == Some("looked_up") {
        return Presented::LookedUp;
    }
    let persons: u16 = number(value, "persons");
    let group = || Holder::Group {
        persons: GroupSize::new(persons).expect("a group"),
    };
    let (kind, holder) = if persons == 1 {
        (Kind::Pass, Holder::Bearer)
    } else {
        (Kind::Group, group())
    };
    let minute = |field| Minute::floor(instant(value, field)).expect("within the years");
    let token = Token::new(Claims {
        kind,
        kid: KeyId::new(Issuer::Test, 1).expect("twelve bits"),
        entitlement_id: 1,
        scope: 1,
        valid_from: minute("valid_from"),
        valid_until: minute("valid_until"),
        flags: Flags {
            document_check: flag(value, "document_check"),
            rotating_required: flag(value, "rotating_required"),
        },
        generation: number(value, "generation"),
        holder,
        home_gate: number(value, "home_gate"),
    });
    let form = match text(value, "form") {
        "static" => Form::Static,
        "fresh" => Form::Fresh,
        "stale" => Form::Stale,
        other => panic!("form {other}"),
    };
    Presented::Token {
        token: token.expect("a token"),
        form,
    }
}

pub(super) fn scan(value: &Value) -> Scan {
    let direction = match text(value, "direction") {
        "entry" => Direction::Entry,
        "exit" => Direction::Exit,
        other => panic!("direction {other}"),
    };
    let document = match text(value, "document") {
        "not_read" => DocumentReading::NotRead,
        "same" => DocumentReading::Same,
        "other" => DocumentReading::Other,
        other => panic!("document {other}"),
    };
    let lease = &value["lease"];
    let mode = if lease.is_null() {
        Mode::Online
    } else {
        Mode::Lease {
            from: instant(lease, "from"),
            until: instant(lease, "until"),
            persons_left: number(lease, "persons_left"),
        }
    };
    Scan {
        direction,
        persons: NonZeroU16::new(number(value, "persons")).expect("somebody"),
        presented: presented(&value["presented"]),
        gate: number(value, "gate"),
        unattended: flag(value, "unattended"),
        mode,
        clock_trusted: flag(value, "clock_trusted"),
        document,
    }
}
