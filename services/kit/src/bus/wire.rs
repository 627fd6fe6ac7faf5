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

/// The record, or which header is at fault.
pub(super) fn record(raw: &Raw<'_>) -> Result<Record, &'static str> {
    let headers = raw.headers.ok_or("it has no headers")?;
    let text = |name: &str| -> Option<&str> {
        headers
            .iter()
            .find(|header| header.key == name)
            .and_then(|header| header.value)
            .and_then(|value| std::str::from_utf8(value).ok())
    };
    let number = |name: &str| -> Option<i64> { text(name).and_then(|value| value.parse().ok()) };
    Ok(Record {
        topic: raw.topic.to_owned(),
        partition: raw.partition,
        offset: raw.offset,
        epoch: number("epoch")
            .filter(|epoch| *epoch > 0)
            .ok_or("its epoch is missing")?,
        pseq: number("pseq")
            .filter(|pseq| *pseq >= 0)
            .ok_or("its pseq is missing")?,
        id: text("ce_id")
            .and_then(|value| Uuid::parse_str(value).ok())
            .ok_or("its ce_id is missing")?,
        kind: text("ce_type").ok_or("its ce_type is missing")?.to_owned(),
        key: raw.key.unwrap_or_default().to_vec(),
        version: number("version").ok_or("its version is missing")?,
        must_understand: text("must_understand") == Some("1"),
        at: text("ce_time")
            .and_then(|value| DateTime::parse_from_rfc3339(value).ok())
            .map(|at| at.with_timezone(&Utc))
            .ok_or("its ce_time is missing")?,
        traceparent: text("traceparent").map(str::to_owned),
        payload: raw.payload.unwrap_or_default().to_vec(),
    })
}
