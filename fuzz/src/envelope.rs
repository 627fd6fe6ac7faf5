//! A record off a topic, as a consumer reads it: what is read is written and read again as the
//! same, headers and message, and no key set is believed but what the root has signed.

use std::fmt::Debug;
use std::sync::LazyLock;

use chrono::SubsecRound;
use credential::keyset::{SignedKeySet, TestIssuer};
use ed25519_dalek::{Signer, SigningKey};
use kit::bus::Envelope;
use kit::event::Record;
use prost::Name;
use proto::identity::KeySetPublished;
use proto::{admission, billing, identity, passes, v1};

use crate::message::Message;
use crate::{Verdict, drawn};

const TOPIC: &str = "identity.v1";
const SOURCE: &str = "/50/identity";
/// The header of an input that stands for the record's key, which is none in Kafka.
const KEY: &str = "key";
/// The digits of a second that are written.
const SECOND_DIGITS: u16 = 6;
/// The seed of the root that signs key sets: as in `proto/vectors/cy1.json`.
const ROOT_SEED: [u8; 32] = [100; 32];
/// What the root's signature begins with: as in `credential::keyset`.
const ROOT_CONTEXT: &[u8] = b"CYK1 root\0";
/// What every key set begins with.
const MAGIC: &[u8] = b"CYK1";

/// The messages that consumers read, by their type.
static KINDS: LazyLock<Vec<(String, Again)>> = LazyLock::new(|| {
    vec![
        kind::<v1::AuditHeadSealed>(),
        kind::<v1::EntitlementChanged>(),
        kind::<v1::PersonHeld>(),
        kind::<v1::PersonForgotten>(),
        kind::<v1::MessageRequested>(),
        kind::<v1::MessageWithdrawn>(),
        kind::<v1::RenderRequested>(),
        kind::<identity::OrganisationChanged>(),
        kind::<identity::MemberChanged>(),
        kind::<identity::MembershipChanged>(),
        kind::<identity::RoleChanged>(),
        kind::<identity::LoginWithdrawn>(),
        kind::<KeySetPublished>(),
        kind::<identity::RosterCommitted>(),
        kind::<identity::ConsentChanged>(),
        kind::<identity::EntitlementConsentChanged>(),
        kind::<identity::ConsentTextPublished>(),
        kind::<identity::DataRequested>(),
        kind::<identity::ErasureChanged>(),
        kind::<identity::PersonErased>(),
        kind::<identity::RenderingChanged>(),
        kind::<identity::Heartbeat>(),
        kind::<passes::ProductChanged>(),
        kind::<passes::PassChanged>(),
        kind::<passes::OrderRequested>(),
        kind::<passes::LineReturned>(),
        kind::<passes::HoldLapsed>(),
        kind::<passes::FulfilmentRefused>(),
        kind::<billing::OrderPaid>(),
        kind::<billing::OrderClosed>(),
        kind::<billing::RefundDone>(),
        kind::<admission::VenueChanged>(),
        kind::<admission::GateChanged>(),
        kind::<admission::RedemptionChanged>(),
        kind::<admission::FreezeApplied>(),
        kind::<admission::EntitlementBlocked>(),
        kind::<admission::ScanAlarmRaised>(),
    ]
});

/// Whether a record is that message; panics when it is not the same once written again.
type Again = fn(&Record) -> bool;

fn kind<M: prost::Message + Name + Default + PartialEq + Debug>() -> (String, Again) {
    (M::full_name(), again::<M>)
}

/// Reads `bytes` as headers and a payload, as its type says, and as a key set where it is one.
pub fn check(bytes: &[u8]) -> Verdict {
    let Some(message) = Message::read(bytes) else {
        return Verdict::Refused;
    };
    let headers = message.headers.iter().filter(|(name, _)| *name != KEY);
    let envelope = Envelope {
        headers: headers
            .map(|(name, value)| ((*name).to_owned(), Some(value.to_vec())))
            .collect(),
        key: message.header(KEY).map(<[u8]>::to_vec),
        payload: Some(message.rest.to_vec()),
    };
    key_set(message.rest);
    let Ok(record) = envelope.open(TOPIC) else {
        return Verdict::Refused;
    };
    let read = Envelope::of(SOURCE, &record).open(TOPIC);
    let read = read.expect("what was read is written as what reads");
    let expected = Record {
        at: record.at.trunc_subsecs(SECOND_DIGITS),
        ..record.clone()
    };
    assert_eq!(format!("{read:?}"), format!("{expected:?}"));
    if record.kind == KeySetPublished::full_name()
        && let Ok(published) = record.decode::<KeySetPublished>()
    {
        forged(published);
    }
    let known = KINDS.iter().find(|(kind, _)| *kind == record.kind);
    Verdict::of(known.is_none_or(|(_, again)| again(&record)))
}

fn again<M: prost::Message + Default + PartialEq + Debug>(record: &Record) -> bool {
    let Ok(message) = record.decode::<M>() else {
        return false;
    };
    let written = Record {
        payload: message.encode_to_vec(),
        ..record.clone()
    };
    let read = written.decode::<M>().expect("what is written is read");
    assert_eq!(read, message);
    true
}

/// What a published set claims is believed when its root signed it: then it is what the root
/// would sign.
fn forged(published: KeySetPublished) {
    let Ok(root_signature) = <[u8; 64]>::try_from(published.root_signature) else {
        return;
    };
    let root = SigningKey::from_bytes(&ROOT_SEED);
    let signed = SignedKeySet {
        bytes: published.key_set,
        root_signature,
    };
    if let Ok(set) = signed.verify(&root.verifying_key(), TestIssuer::Refuse) {
        assert_eq!(set.sign(&root), signed, "believed without the root");
    }
}

/// Bytes that the root has signed read as one set or as none, and not with a bit changed.
fn key_set(bytes: &[u8]) {
    if !bytes.starts_with(MAGIC) {
        return;
    }
    let root = SigningKey::from_bytes(&ROOT_SEED);
    let mut signed = SignedKeySet {
        bytes: bytes.to_vec(),
        root_signature: root.sign(&[ROOT_CONTEXT, bytes].concat()).to_bytes(),
    };
    let public = root.verifying_key();
    let Ok(set) = signed.verify(&public, TestIssuer::Refuse) else {
        return;
    };
    assert_eq!(set.sign(&root), signed);
    let bit = drawn(bytes, bytes.len() * 8);
    signed.bytes[bit / 8] ^= 1 << (bit % 8);
    assert!(signed.verify(&public, TestIssuer::Refuse).is_err());
}
