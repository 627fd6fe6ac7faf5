//! How long a gate needs for one credential: read the text, verify the signature, decide by the
//! product's rules, on one core. The tokens, keys and rules are the golden vectors, so that a
//! verifier in another language can be held against the same figure. It reads no database: what
//! a gate loads beside is [`crate::redeem`]'s part.

use std::hint::black_box;
use std::num::NonZeroU16;
use std::time::Instant;

use anyhow::{Context, Result, ensure};
use chrono::{DateTime, TimeDelta, Utc};
use credential::dates::date_of;
use credential::keyset::{KeySet, SignedKeySet, TestIssuer};
use credential::rules::{
    Decision, Direction, DocumentReading, EntitlementFacts, Form, History, Mode, Presented,
    Province, Rules, Scan, Standing, Use, VenueFacts, VenueId, decide,
};
use credential::token::{self, Token};
use ed25519_dalek::{Signature, Signer, SigningKey, VerifyingKey};
use serde_json::Value;

use crate::figure::{Better, Figure};
use crate::world::Bench;

/// What is asked, in microseconds.
const VERIFY_US_MAX: f64 = 120.0;
/// Scans timed together: long beside the clock's own cost, short beside a time slice.
const BATCH_SCANS: usize = 50;
const BATCHES: usize = 400;
/// Batches before the timed ones.
const WARM_BATCHES: usize = 40;
/// Earlier entries that the decision counts.
const USES: i64 = 20;
/// Bytes that a CY1 token signs.
const SIGNED_BYTES: usize = 92;

/// Measures, and holds the result against the bare signature.
pub(crate) async fn run(_: &Bench) -> Result<Vec<Figure>> {
    let gate = Gate::read()?;
    let (scans, bare) = tokio::task::spawn_blocking(move || {
        let scans = gate.measure();
        (scans, bare_signature())
    })
    .await?;
    let scans = scans?;
    let (median, p99) = (at(&scans.each_us, 0.5), at(&scans.each_us, 0.99));
    let note = format!(
        "p99 of batches {p99:.1} µs; {} tokens × {} rules of proto/vectors: {} admitted, {} not",
        scans.tokens, scans.rules, scans.admitted, scans.denied
    );
    Ok(vec![
        Figure::new("credential.verify_us", median, "µs", Better::Lower)
            .floor(VERIFY_US_MAX)
            .limit("ed25519 verify_strict alone, µs", at(&bare, 0.5))
            .series(
                "percentile → µs per scan, by batches of 50",
                curve(&scans.each_us),
            )
            .note(note),
    ])
}

/// What a gate keeps: keys and the rules of products.
struct Gate {
    now: DateTime<Utc>,
    keys: KeySet,
    texts: Vec<String>,
    rules: Vec<Rules>,
}

struct Scans {
    /// Microseconds of one scan, the mean of each batch, ascending.
    each_us: Vec<f64>,
    tokens: usize,
    rules: usize,
    admitted: u64,
    denied: u64,
}

impl Gate {
    fn read() -> Result<Self> {
        let file = load("cy1.json")?;
        let now: DateTime<Utc> = text(&file["now"])?.parse()?;
        let root: [u8; 32] = bytes(&file["root_public_hex"])?;
        let signed = SignedKeySet {
            bytes: hex::decode(text(&file["key_set"]["bytes_hex"])?)?,
            root_signature: bytes(&file["key_set"]["root_signature_hex"])?,
        };
        let keys = signed.verify(&VerifyingKey::from_bytes(&root)?, TestIssuer::Refuse)?;
        let good = |token: &&Value| token["expect"]["claims"].is_object();
        let texts = list(&file["tokens"])?
            .iter()
            .filter(good)
            .map(|token| text(&token["text"]).map(str::to_owned))
            .collect::<Result<Vec<_>>>()?;
        // Rules for a newer evaluator are in the vectors to be refused; no gate decides by them.
        let rules = list(&load("rules.json")?["cases"])?
            .iter()
            .filter_map(|case| hex::decode(case["rules_hex"].as_str()?).ok())
            .filter_map(|bytes| Rules::from_bytes(&bytes).ok())
            .collect::<Vec<_>>();
        ensure!(!texts.is_empty() && !rules.is_empty(), "no vectors to read");
        Ok(Self {
            now,
            keys,
            texts,
            rules,
        })
    }

    fn measure(&self) -> Result<Scans> {
        let venue = VenueFacts::new(VenueId([1; 16]), Province::Chongqing);
        let history = self.history(&venue);
        let mut scans = Scans {
            each_us: Vec::with_capacity(BATCHES),
            tokens: self.texts.len(),
            rules: self.rules.len(),
            admitted: 0,
            denied: 0,
        };
        let pairs = self.texts.iter().cycle().zip(self.rules.iter().cycle());
        let mut pairs = pairs.enumerate();
        for batch in 0..WARM_BATCHES + BATCHES {
            let started = Instant::now();
            for (index, (text, rules)) in pairs.by_ref().take(BATCH_SCANS) {
                let uses = &history[index % history.len()];
                match black_box(self.scan(black_box(text), rules, uses, &venue)?) {
                    Decision::Admit { .. } => scans.admitted += 1,
                    Decision::Deny { .. } | Decision::Ask { .. } => scans.denied += 1,
                }
            }
            if batch >= WARM_BATCHES {
                scans.each_us.push(micros(started) / count(BATCH_SCANS));
            }
        }
        scans.each_us.sort_by(f64::total_cmp);
        ensure!(
            scans.admitted > 0,
            "no scan was admitted: the vectors changed"
        );
        Ok(scans)
    }

    /// Somebody new, and somebody who came on each of the last days.
    fn history(&self, venue: &VenueFacts) -> [History; 2] {
        let uses: Vec<Use> = (1..=USES)
            .map(|days| Use {
                venue: venue.id,
                province: venue.province,
                counted_on: date_of(self.now - TimeDelta::days(days)),
                persons: 1,
            })
            .collect();
        [History::none(), History::of(&uses, venue, self.now)]
    }

    fn scan(
        &self,
        text: &str,
        rules: &Rules,
        history: &History,
        venue: &VenueFacts,
    ) -> Result<Decision> {
        let token: Token = token::parse(text)?.verify(&self.keys, self.now)?;
        let entitlement = EntitlementFacts {
            standing: Standing::Granted,
            until: self.now + TimeDelta::days(365),
            ..EntitlementFacts::from_token(&token, 0)
        };
        let scan = Scan {
            direction: Direction::Entry,
            persons: NonZeroU16::MIN,
            presented: Presented::Token {
                token,
                form: Form::Static,
            },
            gate: 1,
            unattended: false,
            mode: Mode::Online,
            clock_trusted: true,
            document: DocumentReading::Same,
        };
        Ok(decide(rules, &entitlement, history, venue, self.now, &scan))
    }
}

/// The signature alone over as many bytes, strictly as the token is verified.
fn bare_signature() -> Vec<f64> {
    let key = SigningKey::from_bytes(&[7; 32]);
    let message = [5_u8; SIGNED_BYTES];
    let (public, signature): (VerifyingKey, Signature) = (key.verifying_key(), key.sign(&message));
    let mut each_us = Vec::with_capacity(BATCHES);
    for batch in 0..WARM_BATCHES + BATCHES {
        let started = Instant::now();
        for _ in 0..BATCH_SCANS {
            let verified = public.verify_strict(black_box(&message), black_box(&signature));
            black_box(verified.is_ok());
        }
        if batch >= WARM_BATCHES {
            each_us.push(micros(started) / count(BATCH_SCANS));
        }
    }
    each_us.sort_by(f64::total_cmp);
    each_us
}

fn micros(since: Instant) -> f64 {
    since.elapsed().as_secs_f64() * 1e6
}

#[expect(clippy::cast_precision_loss, reason = "counts here are far below 2^52")]
fn count(number: usize) -> f64 {
    number as f64
}

/// The value below which this share of ascending values lies.
fn at(ascending: &[f64], share: f64) -> f64 {
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a share of a length is an index"
    )]
    let index = (count(ascending.len()) * share) as usize;
    ascending
        .get(index.min(ascending.len().saturating_sub(1)))
        .copied()
        .unwrap_or(f64::NAN)
}

/// The whole distribution, percent by percent.
fn curve(ascending: &[f64]) -> Vec<(f64, f64)> {
    (0..100)
        .map(f64::from)
        .map(|percent| (percent, at(ascending, percent / 100.0)))
        .collect()
}

fn load(name: &str) -> Result<Value> {
    let path = tests::root().join("proto/vectors").join(name);
    let text =
        std::fs::read_to_string(&path).with_context(|| format!("{} is missing", path.display()))?;
    Ok(serde_json::from_str(&text)?)
}

fn text(value: &Value) -> Result<&str> {
    value.as_str().context("a text is missing in the vectors")
}

fn list(value: &Value) -> Result<&[Value]> {
    Ok(value
        .as_array()
        .context("a list is missing in the vectors")?)
}

fn bytes<const N: usize>(value: &Value) -> Result<[u8; N]> {
    let mut bytes = [0; N];
    hex::decode_to_slice(text(value)?, &mut bytes)?;
    Ok(bytes)
}
