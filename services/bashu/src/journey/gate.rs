//! A gate as its device runs it: a key of its own, a short assertion for each call, and scan ids
//! that never repeat. The key is kept in a file, so that the same gate comes back at every start.

use std::fs;
use std::path::PathBuf;

use admission::gate_key::{Assertion, HEADER, LIFE_SECONDS_MAX, sign};
use anyhow::{Result, ensure};
use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use ed25519_dalek::SigningKey;
use kit::graphql::GlobalId;
use kit::types::{GateId, Union};
use kit::{Clock, Ids};
use serde_json::{Value, json};

use crate::client::{Client, GATE_HEADER, text};
use crate::dev::{World, write_private};
use crate::documents::Document;

const CREATE: &str = "mutation ($input: CreateGateInput!) { createGate(input: $input) { gate \
    { id } enrolmentCode userErrors { code message } } }";
const ENROL: &str = "mutation ($input: EnrolGateInput!) { enrolGate(input: $input) { gate { id \
    enrolment } userErrors { code message } } }";
const REDEEM: &str = "mutation ($input: RedeemInput!) { redeem(input: $input) { decision reason \
    explanation nextTryAt remaining { today venue total } hints { documentCheck } redemption \
    { id } userErrors { code message } } }";

/// What is sent from here.
pub(super) const DOCUMENTS: [Document; 3] = [
    ("createGate", CREATE),
    ("enrolGate", ENROL),
    ("redeem", REDEEM),
];

/// An enrolled gate.
#[derive(Debug)]
pub struct Gate {
    union: Union,
    id: String,
    enrolment: i64,
    seq: i64,
    key: SigningKey,
    anonymous: Client,
    file: PathBuf,
}

impl Gate {
    /// The gate of a name: the one of the last time, or a new one made by the venue's manager and
    /// enrolled with a new key.
    ///
    /// # Errors
    /// When the gateway refuses.
    pub async fn named(
        world: &World,
        union: Union,
        manager: &Client,
        venue: &str,
        name: &str,
    ) -> Result<Self> {
        ensure!(HEADER == GATE_HEADER, "the gate's header has another name");
        let file = world.keys(union).join(format!("gate-{name}.json"));
        let anonymous = Client::new(&world.gateway(union))?;
        let kept = match fs::read_to_string(&file) {
            Ok(text) => serde_json::from_str(&text)?,
            Err(_) => enrol(&anonymous, manager, venue, name).await?,
        };
        let secret = STANDARD.decode(text(&kept, "/secret")?)?;
        let secret: [u8; 32] = secret
            .try_into()
            .map_err(|_| anyhow::anyhow!("the kept key is damaged"))?;
        Ok(Self {
            union,
            id: text(&kept, "/id")?,
            enrolment: kept["enrolment"].as_i64().unwrap_or_default(),
            seq: kept["seq"].as_i64().unwrap_or_default(),
            key: SigningKey::from_bytes(&secret),
            anonymous,
            file,
        })
    }

    /// A scan id that this gate never gave before; the number is kept before it is used.
    ///
    /// # Errors
    /// When it cannot be kept.
    pub fn next_scan_id(&mut self) -> Result<Value> {
        self.seq += 1;
        write_private(&self.file, &self.kept().to_string())?;
        Ok(json!({ "deviceId": self.id, "enrolment": self.enrolment, "seq": self.seq }))
    }

    fn kept(&self) -> Value {
        json!({
            "id": self.id,
            "enrolment": self.enrolment,
            "seq": self.seq,
            "secret": STANDARD.encode(self.key.to_bytes()),
        })
    }

    /// Shows a code to the gate, and again the same scan when no answer comes; the payload.
    ///
    /// # Errors
    /// When there is no answer.
    pub async fn scan(&self, scan_id: &Value, token: &str) -> Result<Value> {
        let now = Clock::System.now();
        let gate = GlobalId::uuid(&self.id, "Gate")?;
        let assertion = Assertion {
            gate: GateId(gate),
            union: self.union,
            enrolment: i32::try_from(self.enrolment)?,
            id: Ids::random().uuid(now),
            issued_at: now.timestamp(),
            expires_at: now.timestamp() + LIFE_SECONDS_MAX,
        };
        let client = self
            .anonymous
            .at_gate(sign(&assertion, &self.key))
            .patient();
        let input = json!({
            "scanId": scan_id,
            "token": token,
            "direction": "ENTRY",
            "deviceTime": now,
            "document": "MATCHES",
        });
        let data = client.send(REDEEM, json!({ "input": input })).await?;
        Ok(data["redeem"].clone())
    }
}

async fn enrol(anonymous: &Client, manager: &Client, venue: &str, name: &str) -> Result<Value> {
    let ids = Ids::random();
    let key = SigningKey::from_bytes(&ids.bytes32());
    let input = json!({
        "idempotencyKey": ids.uuid(Clock::System.now()), "venueId": venue, "name": name,
    });
    let made = manager.run(CREATE, json!({ "input": input })).await?;
    let public = URL_SAFE_NO_PAD.encode(key.verifying_key().as_bytes());
    let input = json!({ "code": text(&made, "/enrolmentCode")?, "publicKey": public });
    let enrolled = anonymous.run(ENROL, json!({ "input": input })).await?;
    Ok(json!({
        "id": text(&enrolled, "/gate/id")?,
        "enrolment": enrolled["gate"]["enrolment"],
        "secret": STANDARD.encode(key.to_bytes()),
    }))
}
