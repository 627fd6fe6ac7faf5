//! A record's headers: the CloudEvents Kafka binding in binary mode, plus what the relay stamps
//! (`epoch`, `pseq`), the aggregate's `version`, `must_understand` and `traceparent`.

use std::fmt::Write;
use std::panic::{AssertUnwindSafe, catch_unwind};

use chrono::{DateTime, Datelike, SecondsFormat, Utc};
use rdkafka::message::{BorrowedHeaders, Header, Headers, OwnedHeaders};
use uuid::Uuid;

use super::inbox::{Arrived, Number};
use super::reader::Wanted;
use crate::event::Record;

/// Headers of a record, at most.
const HEADERS_MAX: usize = 12;
/// The header that names a record's type.
pub const TYPE_HEADER: &str = "ce_type";
/// What is wrong with a record of which a header has a name that is no text.
const NO_NAME: &str = "a header of it has a name that is not UTF-8";
/// What is wrong with a record without a type.
const NO_TYPE: &str = "its ce_type is missing";
const HEX_DIGITS: &[u8; 16] = b"0123456789abcdef";
/// The first and the last year that a header can name.
const YEARS: std::ops::RangeInclusive<i32> = 0..=9_999;

/// A record outside of any client: as it is sent, and as it is read. Its headers may be anybody's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Envelope {
    /// In their order; a name may stand there twice.
    pub headers: Vec<(String, Option<Vec<u8>>)>,
    pub key: Option<Vec<u8>>,
    pub payload: Option<Vec<u8>>,
}

impl Envelope {
    /// A record as the relay of `source` sends it.
    pub fn of(source: &str, record: &Record) -> Self {
        let headers = Writer::new(source).headers(record);
        Self {
            headers: headers
                .iter()
                .map(|header| (header.key.to_owned(), header.value.map(<[u8]>::to_vec)))
                .collect(),
            key: Some(record.key.clone()),
            payload: Some(record.payload.clone()),
        }
    }

    /// The record, as a consumer reads it at the beginning of a topic.
    ///
    /// # Errors
    /// Which header is at fault.
    pub fn open(&self, topic: &str) -> Result<Record, &'static str> {
        let mut headers = OwnedHeaders::new_with_capacity(self.headers.len());
        for (key, value) in &self.headers {
            headers = headers.insert(Header {
                key,
                value: value.as_deref(),
            });
        }
        record(&Raw {
            topic,
            partition: 0,
            offset: 0,
            key: self.key.as_deref(),
            payload: self.payload.as_deref(),
            headers: Some(headers.as_borrowed()),
        })
    }
}

/// Reads the headers of a record, one after the other. The client takes every name for UTF-8 and
/// panics at one that is not, which Kafka lets anybody write: here that is an answer, or one record
/// of a stranger would end the thread that reads, with every partition it has.
///
/// # Errors
/// When a name is not UTF-8. `each` has heard of those before it; what comes after cannot be read.
pub fn each_header<'a, H: Headers>(
    headers: &'a H,
    each: impl FnMut(Header<'a, &'a [u8]>),
) -> Result<(), &'static str> {
    let read = AssertUnwindSafe(move || headers.iter().for_each(each));
    catch_unwind(read).map_err(|_| NO_NAME)
}

/// Writes the headers of one record after the other, always into the same memory.
pub(super) struct Writer<'a> {
    source: &'a str,
    text: String,
    /// The time written last: all events of a transaction have the same.
    at: Option<DateTime<Utc>>,
    at_text: String,
}

impl<'a> Writer<'a> {
    pub(super) fn new(source: &'a str) -> Self {
        Self {
            source,
            text: String::new(),
            at: None,
            at_text: String::new(),
        }
    }

    pub(super) fn headers(&mut self, record: &Record) -> OwnedHeaders {
        if self.at != Some(record.at) {
            self.at = Some(record.at);
            self.at_text = record.at.to_rfc3339_opts(SecondsFormat::Micros, true);
        }
        let mut id = [0; uuid::fmt::Hyphenated::LENGTH];
        let id = record.id.hyphenated().encode_lower(&mut id);
        let mut headers = OwnedHeaders::new_with_capacity(HEADERS_MAX);
        headers = add(headers, "ce_specversion", "1.0");
        headers = add(headers, "ce_id", id);
        headers = add(headers, "ce_source", self.source);
        headers = add(headers, TYPE_HEADER, &record.kind);
        headers = add(headers, "ce_time", &self.at_text);
        self.text.clear();
        for byte in &record.key {
            let digit = |half: u8| char::from(HEX_DIGITS[usize::from(half)]);
            self.text.push(digit(byte >> 4));
            self.text.push(digit(byte & 15));
        }
        headers = add(headers, "ce_subject", &self.text);
        headers = add(headers, "content-type", "application/protobuf");
        headers = self.number(headers, "epoch", record.epoch);
        headers = self.number(headers, "pseq", record.pseq);
        headers = self.number(headers, "version", record.version);
        if record.must_understand {
            headers = add(headers, "must_understand", "1");
        }
        if let Some(traceparent) = &record.traceparent {
            headers = add(headers, "traceparent", traceparent);
        }
        headers
    }

    fn number(&mut self, headers: OwnedHeaders, key: &str, number: i64) -> OwnedHeaders {
        self.text.clear();
        // A string takes everything.
        let _ = write!(self.text, "{number}");
        add(headers, key, &self.text)
    }
}

fn add(headers: OwnedHeaders, key: &str, value: &str) -> OwnedHeaders {
    headers.insert(Header {
        key,
        value: Some(value),
    })
}

/// Where a record stands and what it carries, before its headers are read.
pub(super) struct Raw<'a> {
    pub(super) topic: &'a str,
    pub(super) partition: i32,
    pub(super) offset: i64,
    pub(super) key: Option<&'a [u8]>,
    pub(super) payload: Option<&'a [u8]>,
    pub(super) headers: Option<&'a BorrowedHeaders>,
}

/// The headers that a record is made of, found in one pass: each look costs a call into librdkafka.
#[derive(Default)]
struct Texts<'a> {
    id: Option<&'a str>,
    kind: Option<&'a str>,
    at: Option<&'a str>,
    epoch: Option<&'a str>,
    pseq: Option<&'a str>,
    version: Option<&'a str>,
    must_understand: Option<&'a str>,
    traceparent: Option<&'a str>,
}

impl<'a> Texts<'a> {
    /// The first of each name counts.
    fn of<H: Headers>(headers: &'a H) -> Result<Self, &'static str> {
        let mut texts = Self::default();
        each_header(headers, |header| {
            let field = match header.key {
                "ce_id" => &mut texts.id,
                TYPE_HEADER => &mut texts.kind,
                "ce_time" => &mut texts.at,
                "epoch" => &mut texts.epoch,
                "pseq" => &mut texts.pseq,
                "version" => &mut texts.version,
                "must_understand" => &mut texts.must_understand,
                "traceparent" => &mut texts.traceparent,
                _ => return,
            };
            if field.is_none() {
                *field = header
                    .value
                    .and_then(|value| std::str::from_utf8(value).ok());
            }
        })?;
        Ok(texts)
    }

    fn number(&self) -> Result<Number, &'static str> {
        Ok(Number {
            epoch: number(self.epoch)
                .filter(|epoch| *epoch > 0)
                .ok_or("its epoch is missing")?,
            pseq: number(self.pseq)
                .filter(|pseq| *pseq >= 0)
                .ok_or("its pseq is missing")?,
        })
    }

    fn must_understand(&self) -> bool {
        self.must_understand == Some("1")
    }
}

/// What has arrived: a record, the place of one that its consumer leaves to others, or one that is
/// not ours.
pub(super) fn arrived(raw: &Raw<'_>, wanted: &Wanted) -> Arrived {
    match sort(raw, wanted) {
        Ok(arrived) => arrived,
        Err(reason) => Arrived::Broken {
            offset: raw.offset,
            reason,
        },
    }
}

fn sort(raw: &Raw<'_>, wanted: &Wanted) -> Result<Arrived, &'static str> {
    let texts = texts(raw)?;
    let kind = texts.kind.ok_or(NO_TYPE)?;
    if wanted.whole(kind, texts.must_understand()) {
        return whole(raw, &texts).map(|record| Arrived::Record(Box::new(record)));
    }
    Ok(Arrived::Skipped {
        offset: raw.offset,
        number: texts.number()?,
    })
}

/// The record, or which header is at fault.
pub(super) fn record(raw: &Raw<'_>) -> Result<Record, &'static str> {
    whole(raw, &texts(raw)?)
}

fn texts<'a>(raw: &Raw<'a>) -> Result<Texts<'a>, &'static str> {
    Texts::of(raw.headers.ok_or("it has no headers")?)
}

fn whole(raw: &Raw<'_>, texts: &Texts<'_>) -> Result<Record, &'static str> {
    let Number { epoch, pseq } = texts.number()?;
    Ok(Record {
        topic: raw.topic.to_owned(),
        partition: raw.partition,
        offset: raw.offset,
        epoch,
        pseq,
        id: texts
            .id
            .and_then(|value| Uuid::parse_str(value).ok())
            .ok_or("its ce_id is missing")?,
        kind: texts.kind.ok_or(NO_TYPE)?.to_owned(),
        key: raw.key.unwrap_or_default().to_vec(),
        version: number(texts.version).ok_or("its version is missing")?,
        must_understand: texts.must_understand(),
        at: texts
            .at
            .and_then(|value| DateTime::parse_from_rfc3339(value).ok())
            .map(|at| at.with_timezone(&Utc))
            // A zone can carry it beyond what is read again once it is written in UTC.
            .filter(|at| YEARS.contains(&at.year()))
            .ok_or("its ce_time is missing")?,
        traceparent: texts.traceparent.map(str::to_owned),
        payload: raw.payload.unwrap_or_default().to_vec(),
    })
}

fn number(text: Option<&str>) -> Option<i64> {
    text?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sent(record: &Record) -> OwnedHeaders {
        let mut writer = Writer::new("/50/alpha");
        // What another record leaves in the writer must not show.
        let other = Record {
            key: vec![0xff; 40],
            epoch: i64::MAX,
            at: DateTime::UNIX_EPOCH,
            ..record.clone()
        };
        let _ = writer.headers(&other);
        writer.headers(record)
    }

    fn read(record: &Record, handles: &'static str) -> Arrived {
        let headers = sent(record);
        let raw = Raw {
            topic: &record.topic,
            partition: record.partition,
            offset: record.offset,
            key: Some(&record.key),
            payload: Some(&record.payload),
            headers: Some(headers.as_borrowed()),
        };
        arrived(&raw, &Wanted::new(move |kind| kind == handles))
    }

    fn example() -> Record {
        Record {
            topic: "alpha.v1".to_owned(),
            partition: 1,
            offset: 7,
            epoch: 3,
            pseq: 12,
            id: Uuid::from_u128(0x0196_f2b0_0000_7000_8000_0000_0000_0001),
            kind: "alpha.v1.ThingChanged".to_owned(),
            key: vec![0x00, 0x0f, 0xa7],
            version: -5,
            must_understand: false,
            at: DateTime::from_timestamp_micros(1_775_008_800_123_456).unwrap_or_default(),
            traceparent: Some("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01".to_owned()),
            payload: vec![1, 2, 3],
        }
    }

    /// What is read is what was sent, and nothing of the record before it.
    #[test]
    fn a_record_comes_back_whole() {
        for record in [
            example(),
            Record {
                traceparent: None,
                must_understand: true,
                ..example()
            },
        ] {
            let Arrived::Record(read) = read(&record, "alpha.v1.ThingChanged") else {
                panic!("it was not read");
            };
            assert_eq!(format!("{read:?}"), format!("{record:?}"));
        }
        let headers = sent(&example());
        let texts: Vec<&str> = headers
            .iter()
            .filter_map(|header| std::str::from_utf8(header.value?).ok())
            .collect();
        assert_eq!(
            texts[..7],
            [
                "1.0",
                "0196f2b0-0000-7000-8000-000000000001",
                "/50/alpha",
                "alpha.v1.ThingChanged",
                "2026-04-01T02:00:00.123456Z",
                "000fa7",
                "application/protobuf",
            ]
        );
    }

    /// Of a type that the consumer leaves to others only the place is read, unless it must be
    /// understood or opens an epoch.
    #[test]
    fn what_is_not_handled_is_only_counted() {
        let number = Number { epoch: 3, pseq: 12 };
        let skipped = read(&example(), "alpha.v1.Other");
        assert!(
            matches!(skipped, Arrived::Skipped { offset: 7, number: of } if of == number),
            "{skipped:?}"
        );
        let must = Record {
            must_understand: true,
            ..example()
        };
        assert!(matches!(read(&must, "other"), Arrived::Record(_)));
        let opening = Record {
            kind: crate::bus::EPOCH_OPENED.to_owned(),
            ..example()
        };
        assert!(matches!(read(&opening, "other"), Arrived::Record(_)));
        let foreign = Record {
            epoch: 0,
            ..example()
        };
        assert!(matches!(
            read(&foreign, "other"),
            Arrived::Broken { offset: 7, .. }
        ));
    }

    /// Headers as the client reads them: each name is a text to it, and it panics where one is not.
    struct Named(&'static [&'static [u8]]);

    impl Headers for Named {
        fn count(&self) -> usize {
            self.0.len()
        }

        fn try_get(&self, index: usize) -> Option<Header<'_, &[u8]>> {
            Some(Header {
                key: std::str::from_utf8(self.0.get(index)?).unwrap(),
                value: Some(b"7"),
            })
        }
    }

    /// A name that is not UTF-8, which anybody may write, is an answer and no panic of whoever
    /// reads.
    #[test]
    fn a_name_that_is_no_text_is_an_answer() {
        let good = Named(&[b"pseq", b"epoch"]);
        let texts = Texts::of(&good).unwrap();
        assert_eq!((texts.pseq, texts.epoch), (Some("7"), Some("7")));
        let odd = Named(&[b"pseq", b"\xff\xfe", b"epoch"]);
        assert_eq!(Texts::of(&odd).err(), Some(NO_NAME));
        let mut heard = Vec::new();
        let read = each_header(&odd, |header| heard.push(header.key));
        assert_eq!((read, heard), (Err(NO_NAME), vec!["pseq"]));
    }

    /// A time that could not be written in UTC is none, whatever zone it is given in.
    #[test]
    fn times_beyond_four_digits_are_none() {
        let sent = Envelope::of("/50/alpha", &example());
        for (at, reads) in [
            ("9999-12-31T23:59:59Z", true),
            ("9999-12-31T23:59:59-01:00", false),
            ("0000-01-01T00:00:00Z", true),
            ("0000-01-01T00:00:00+01:00", false),
            ("2026-04-01T10:00:00+08:00", true),
        ] {
            let mut sent = sent.clone();
            for (name, value) in &mut sent.headers {
                if name == "ce_time" {
                    *value = Some(at.as_bytes().to_vec());
                }
            }
            let read = sent.open("alpha.v1");
            assert_eq!(read.is_ok(), reads, "{at}");
            if let Ok(read) = read {
                let again = Envelope::of("/50/alpha", &read).open("alpha.v1");
                assert_eq!(again.map(|again| again.at), Ok(read.at));
            }
        }
    }
}
