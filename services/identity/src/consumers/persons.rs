//! What services answer about a person: a part of her copy, what keeps her, that they have
//! forgotten her. A consumer of its own, so that nothing else waits for it.

use kit::consumer::Handler;
use kit::event::Record;
use kit::person::Hold;
use kit::replica::id;
use kit::types::MemberId;
use kit::{Error, Result, Tx};
use proto::v1::{PersonDataPart, PersonForgotten, PersonHeld};

use crate::commands::{erasures, exports};
use crate::store::erasures::Answer;
use crate::vault::Vault;

const PART: &str = "bashu.v1.PersonDataPart";
const HELD: &str = "bashu.v1.PersonHeld";
const FORGOTTEN: &str = "bashu.v1.PersonForgotten";

/// The name under which it reads.
pub const CONSUMER: &str = "identity.persons";

/// The consumer of what is answered about persons. It seals what it hears.
#[derive(Clone, Debug)]
pub struct Persons {
    pub vault: Vault,
}

impl Handler for Persons {
    fn name(&self) -> &'static str {
        CONSUMER
    }

    fn topics(&self) -> &'static [&'static str] {
        &["passes.v1", "billing.v1", "admission.v1"]
    }

    fn handles(&self, kind: &str) -> bool {
        [PART, HELD, FORGOTTEN].contains(&kind)
    }

    async fn apply(&self, tx: &Tx, records: &[Record]) -> Result<()> {
        for record in records {
            match record.kind.as_str() {
                PART => self.part(tx, record).await?,
                HELD => held(tx, record).await?,
                FORGOTTEN => forgotten(tx, record).await?,
                other => return Err(Error::permanent(format!("{other} answers nothing"))),
            }
        }
        Ok(())
    }
}

impl Persons {
    async fn part(&self, tx: &Tx, record: &Record) -> Result<()> {
        let told: PersonDataPart = record.decode()?;
        if !(1..=told.parts).contains(&told.part) {
            return Err(Error::permanent(
                "a part of an answer that has no such part",
            ));
        }
        let rows: std::result::Result<Vec<serde_json::Value>, _> =
            serde_json::from_slice(&told.json);
        if told.json.len() > kit::person::PART_BYTES_MAX || rows.is_err() {
            return Err(Error::permanent("a part of an answer is no list of rows"));
        }
        let answer = exports::Answer {
            service: told.service,
            version: told.version,
            part: told.part,
            parts: told.parts,
            json: told.json,
        };
        let of = (id(&told.request_id)?, MemberId(id(&told.member_id)?));
        exports::receive(tx, &self.vault, of, &answer).await
    }
}

async fn held(tx: &Tx, record: &Record) -> Result<()> {
    let told: PersonHeld = record.decode()?;
    let hold = |it: proto::v1::person_held::Hold| Hold {
        kind: it.kind,
        count: it.count,
    };
    let answer = Answer {
        service: told.service,
        version: told.version,
        holds: told.holds.into_iter().map(hold).collect(),
    };
    erasures::answered(tx, MemberId(id(&told.member_id)?), &answer).await
}

async fn forgotten(tx: &Tx, record: &Record) -> Result<()> {
    let told: PersonForgotten = record.decode()?;
    let answer = Answer {
        service: told.service,
        version: told.version,
        holds: Vec::new(),
    };
    erasures::forgotten(tx, MemberId(id(&told.member_id)?), &answer).await
}
