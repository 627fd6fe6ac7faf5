//! What a gate and a server must agree on, to the byte.
//!
//! - [`token`]: the CY1 credential, 92 signed bytes that a phone shows as a QR code. Encode,
//!   sign, parse, verify.
//! - [`keyset`]: the keys an issuer signs with, signed themselves by an offline root.
//! - [`rules`]: the entry rules of a product and the one evaluator of them, [`rules::decide`].
//! - [`dates`]: Shanghai days, half-open date ranges, calendar months.
//! - [`base45`]: RFC 9285, since a QR code holds its alphabet most densely.
//!
//! # What this crate deliberately does not do
//! It has no input or output, reads no clock and draws no random bytes; time is an argument and
//! keys are handed in. It stores nothing and knows neither names nor documents (a document number
//! goes in to make a 12-bit tag and is forgotten). It depends on `std`, chrono and four
//! cryptographic crates only, so that it builds for `wasm32-unknown-unknown`; a test reads the
//! dependency tree. Evaluators in other languages are held against the golden vectors in
//! `proto/vectors/`.
//!
//! # How a gate uses it
//! ```
//! use std::num::NonZeroU16;
//!
//! use chrono::{DateTime, TimeDelta, Utc};
//! use credential::keyset::{Key, KeyId, KeySet, Issuer, Purpose, Algorithm, KeyState};
//! use credential::rules::{
//!     Decision, Direction, DocumentReading, EntitlementFacts, Form, History, Mode, Presented,
//!     Province, Rules, Scan, VenueFacts, VenueId, decide,
//! };
//! use credential::token::{self, Claims, DocumentTag, Flags, Holder, Kind, Minute, Token};
//! use ed25519_dalek::SigningKey;
//!
//! // The issuer, once: a key, its place in the key set, a token.
//! let signing = SigningKey::from_bytes(&[7; 32]);
//! let now: DateTime<Utc> = "2026-04-02T02:00:00Z".parse()?;
//! let kid = KeyId::new(Issuer::Chongqing, 1).expect("twelve bits");
//! let keys = KeySet::new(1, Issuer::Chongqing, vec![Key {
//!     kid,
//!     algorithm: Algorithm::Ed25519,
//!     public: signing.verifying_key(),
//!     purpose: Purpose::Entry,
//!     not_before: now - TimeDelta::days(1),
//!     not_after: now + TimeDelta::days(120),
//!     scopes: Default::default(),
//!     state: KeyState::Active,
//! }])?;
//! let text = Token::new(Claims {
//!     kind: Kind::Pass,
//!     kid,
//!     entitlement_id: 42,
//!     scope: 7,
//!     valid_from: Minute::floor(now).expect("after 2024"),
//!     valid_until: Minute::floor(now + TimeDelta::days(35)).expect("before 2055"),
//!     flags: Flags { document_check: false, rotating_required: false },
//!     generation: 0,
//!     holder: Holder::Document(DocumentTag::of(1, "500103199003071239", 42, b"key")),
//!     home_gate: 0,
//! })?.sign(&signing);
//! assert_eq!(text.len(), 142);
//!
//! // The gate, at every scan.
//! let signed = token::parse(&text)?;
//! let token = signed.verify(&keys, now)?;
//! let venue = VenueFacts::new(VenueId([1; 16]), Province::Chongqing);
//! let scan = Scan {
//!     direction: Direction::Entry,
//!     persons: NonZeroU16::MIN,
//!     presented: Presented::Token { token, form: Form::Static },
//!     gate: 3,
//!     unattended: false,
//!     mode: Mode::Online,
//!     clock_trusted: true,
//!     document: DocumentReading::NotRead,
//! };
//! let entitlement = EntitlementFacts::from_token(&token, 10);
//! let decision =
//!     decide(&Rules::unlimited(), &entitlement, &History::none(), &venue, now, &scan);
//! assert!(matches!(decision, Decision::Admit { .. }));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

pub mod base45;
pub mod dates;
mod frame;
pub mod keyset;
pub mod rules;
pub mod token;
