//! A record's headers: the CloudEvents Kafka binding in binary mode, plus what the relay stamps
//! (`epoch`, `pseq`), the aggregate's `version`, `must_understand` and `traceparent`.

use chrono::{DateTime, SecondsFormat, Utc};
use rdkafka::message::{BorrowedHeaders, Header, Headers, OwnedHeaders};
use uuid::Uuid;

use crate::event::Record;

pub(super) fn headers(record: &Record, source: &str) -> OwnedHeaders {
    let text = |headers: OwnedHeaders, key: &str, value: &str| {
        headers.insert(Header {
            key,
            value: Some(value),
        })
    };
    let mut headers = OwnedHeaders::new_with_capacity(12);
    headers = text(headers, "ce_specversion", "1.0");
    headers = text(headers, "ce_id", &record.id.to_string());
    headers = text(headers, "ce_source", source);
    headers = text(headers, "ce_type", &record.kind);
    headers = text(
        headers,
        "ce_time",
        &record.at.to_rfc3339_opts(SecondsFormat::Micros, true),
    );
    headers = text(headers, "ce_subject", &hex::encode(&record.key));
    headers = text(headers, "content-type", "application/protobuf");
    headers = text(headers, "epoch", &record.epoch.to_string());
    headers = text(headers, "pseq", &record.pseq.to_string());
    headers = text(headers, "version", &record.version.to_string());
    if record.must_understand {
        headers = text(headers, "must_understand", "1");
    }
    if let Some(traceparent) = &record.traceparent {
        headers = text(headers, "traceparent", traceparent);
    }
    headers
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
    fn of(headers: &'a BorrowedHeaders) -> Self {
        let mut texts = Self::default();
        for header in headers.iter() {
            let field = match header.key {
                "ce_id" => &mut texts.id,
                "ce_type" => &mut texts.kind,
                "ce_time" => &mut texts.at,
                "epoch" => &mut texts.epoch,
                "pseq" => &mut texts.pseq,
                "version" => &mut texts.version,
                "must_understand" => &mut texts.must_understand,
                "traceparent" => &mut texts.traceparent,
                _ => continue,
            };
            if field.is_none() {
                *field = header
                    .value
                    .and_then(|value| std::str::from_utf8(value).ok());
            }
        }
        texts
    }
}

/// The record, or which header is at fault.
pub(super) fn record(raw: &Raw<'_>) -> Result<Record, &'static str> {
    let texts = Texts::of(raw.headers.ok_or("it has no headers")?);
    let number = |text: Option<&str>| -> Option<i64> { text?.parse().ok() };
    Ok(Record {
        topic: raw.topic.to_owned(),
        partition: raw.partition,
        offset: raw.offset,
        epoch: number(texts.epoch)
            .filter(|epoch| *epoch > 0)
            .ok_or("its epoch is missing")?,
        pseq: number(texts.pseq)
            .filter(|pseq| *pseq >= 0)
            .ok_or("its pseq is missing")?,
        id: texts
            .id
            .and_then(|value| Uuid::parse_str(value).ok())
            .ok_or("its ce_id is missing")?,
        kind: texts.kind.ok_or("its ce_type is missing")?.to_owned(),
        key: raw.key.unwrap_or_default().to_vec(),
        version: number(texts.version).ok_or("its version is missing")?,
        must_understand: texts.must_understand == Some("1"),
        at: texts
            .at
            .and_then(|value| DateTime::parse_from_rfc3339(value).ok())
            .map(|at| at.with_timezone(&Utc))
            .ok_or("its ce_time is missing")?,
        traceparent: texts.traceparent.map(str::to_owned),
        payload: raw.payload.unwrap_or_default().to_vec(),
    })
}
