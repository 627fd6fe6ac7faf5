//! JSON lines: time, level, target, message, trace, and the fields on a list.

use std::fmt::{Debug, Write as _};
use std::io::Write;

use serde_json::{Map, Value};
use tracing::field::{Field, Visit};
use tracing::{Event, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::layer::Context;
use tracing_subscriber::registry::LookupSpan;

/// The fields that are written out. None of them ever holds a name, a number of a person, a
/// token or a text that somebody typed; another field is named but not shown.
const FIELDS: &[&str] = &[
    "act",
    "address",
    "attempt",
    "attempts",
    "batch",
    "bytes",
    "code",
    "command",
    "consumer",
    "consumers",
    "count",
    "delay",
    "delay_ms",
    "division",
    "elapsed_ms",
    "entitlement",
    "epoch",
    "error",
    "evaluator_version",
    "event",
    "expected",
    "flaw",
    "gate",
    "hash",
    "id",
    "invariant",
    "job",
    "key",
    "kind",
    "lag",
    "lane",
    "last_pseq",
    "login",
    "loop",
    "member",
    "migration",
    "name",
    "number",
    "offset",
    "operation",
    "order",
    "organisation",
    "outcome",
    "partition",
    "pass",
    "port",
    "position",
    "product",
    "pseq",
    "reason",
    "refusal",
    "request_no",
    "retry_delay",
    "rows",
    "scope",
    "seconds",
    "service",
    "slot",
    "state",
    "status",
    "table",
    "topic",
    "union",
    "venue",
    "version",
    "work",
];
/// The longest text of one field, in characters.
const TEXT_CHARS_MAX: usize = 1_000;
/// Runs of digits this long may be a phone number (11) or an ID number (15, 18).
const DIGITS_MIN: usize = 11;
/// A hexadecimal number of so many digits, letters among them, is an id: a span's has sixteen.
const HEX_DIGITS_MIN: usize = 16;
/// The shortest ID number, one of before 1999, in digits.
const ID_NUMBER_DIGITS_MIN: usize = 15;
const UUID_CHARS: usize = 36;

/// Writes each event as one line.
#[derive(Debug)]
pub struct JsonLines<W> {
    writer: W,
}

impl<W> JsonLines<W> {
    pub fn new(writer: W) -> Self {
        Self { writer }
    }
}

impl<S, W> Layer<S> for JsonLines<W>
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    W: for<'a> MakeWriter<'a> + 'static,
{
    fn on_event(&self, event: &Event<'_>, _context: Context<'_, S>) {
        let mut line = Line::default();
        #[expect(
            clippy::disallowed_methods,
            reason = "a log line tells the machine's time"
        )]
        let now = chrono::Utc::now();
        let time = now.to_rfc3339_opts(chrono::SecondsFormat::Millis, true);
        let metadata = event.metadata();
        line.fields.insert("time".to_owned(), time.into());
        line.fields
            .insert("level".to_owned(), metadata.level().as_str().into());
        line.fields
            .insert("target".to_owned(), metadata.target().into());
        event.record(&mut line);
        if let Some(traceparent) = super::traceparent() {
            let trace = traceparent.split('-').nth(1).unwrap_or_default();
            line.fields.insert("trace".to_owned(), trace.into());
        }
        if !line.withheld.is_empty() {
            line.fields
                .insert("withheld".to_owned(), line.withheld.into());
        }
        let mut text = printable(&Value::Object(line.fields).to_string());
        text.push('\n');
        // A log that cannot be written has nowhere to say so.
        let _ = self.writer.make_writer().write_all(text.as_bytes());
    }
}

#[derive(Default)]
struct Line {
    fields: Map<String, Value>,
    withheld: Vec<Value>,
}

impl Line {
    fn put(&mut self, field: &Field, value: impl FnOnce() -> Value) {
        let name = field.name();
        if name == "message" || FIELDS.contains(&name) {
            self.fields.insert(name.to_owned(), value());
        } else if !name.starts_with("log.") {
            self.withheld.push(name.into());
        }
    }
}

impl Visit for Line {
    fn record_i64(&mut self, field: &Field, value: i64) {
        self.put(field, || value.into());
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.put(field, || value.into());
    }

    fn record_f64(&mut self, field: &Field, value: f64) {
        self.put(field, || value.into());
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.put(field, || value.into());
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.put(field, || masked(value).into());
    }

    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        self.put(field, || masked(&format!("{value:?}")).into());
    }
}

/// Cuts a long text, and writes `*` for the digits of what may be a phone or an ID number:
/// a long run of digits, whatever it stands beside, unless it is part of an id of ours.
fn masked(text: &str) -> String {
    let chars: Vec<char> = text.chars().take(TEXT_CHARS_MAX).collect();
    let mut out = String::with_capacity(chars.len());
    let mut at = 0;
    while at < chars.len() {
        let run = chars[at..].iter().take_while(|c| c.is_numeric()).count();
        if run == 0 {
            out.push(chars[at]);
            at += 1;
            continue;
        }
        if run >= DIGITS_MIN && !is_in_id(&chars, at, run) {
            out.extend(std::iter::repeat_n('*', run));
        } else {
            out.extend(&chars[at..at + run]);
        }
        at += run;
    }
    out
}

/// Whether a run of digits is part of a whole UUID, or of a long hexadecimal number that has
/// letters in it: a trace, a hash. One letter or dash beside a phone makes no id of it, and what
/// is as long as an ID number is one.
fn is_in_id(chars: &[char], at: usize, run: usize) -> bool {
    let is_hex = |c: &&char| c.is_ascii_hexdigit();
    let start = at - chars[..at].iter().rev().take_while(is_hex).count();
    let digits = chars[start..].iter().take_while(is_hex).count();
    let hex = &chars[start..start + digits];
    let is_number = digits >= HEX_DIGITS_MIN
        && run < ID_NUMBER_DIGITS_MIN
        && hex.iter().any(char::is_ascii_alphabetic);
    // The number of digits in each group of a UUID, and what stands before the group.
    let groups = [(8, 0), (4, 9), (4, 14), (4, 19), (12, 24)];
    is_number
        || groups.iter().any(|(size, before)| {
            let first = start.checked_sub(*before);
            *size == digits && first.is_some_and(|first| is_uuid_at(chars, first))
        })
}

/// Whether the 36 characters of a UUID stand there, and no 37th.
fn is_uuid_at(chars: &[char], first: usize) -> bool {
    let Some(uuid) = chars.get(first..first + UUID_CHARS) else {
        return false;
    };
    let ends = chars
        .get(first + UUID_CHARS)
        .is_none_or(|c| !c.is_ascii_hexdigit());
    ends && uuid.iter().enumerate().all(|(place, c)| match place {
        8 | 13 | 18 | 23 => *c == '-',
        _ => c.is_ascii_hexdigit(),
    })
}

/// JSON escapes control characters below 32; these are the others that a terminal or a line
/// reader acts on.
fn printable(json: &str) -> String {
    let mut out = String::with_capacity(json.len());
    for c in json.chars() {
        if c.is_control() || matches!(c, '\u{2028}' | '\u{2029}' | '\u{202a}'..='\u{202e}') {
            let _ = write!(out, "\\u{:04x}", u32::from(c));
        } else {
            out.push(c);
        }
    }
    out
}
