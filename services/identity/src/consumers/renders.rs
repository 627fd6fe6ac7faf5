//! Files and messages that other services ask for because they show names. A consumer of its own,
//! so that a service which asks for much holds nothing else up.

use kit::consumer::Handler;
use kit::event::Record;
use kit::replica::{id, instant};
use kit::types::{MemberId, OrganisationId};
use kit::{Error, Result, Tx};
use proto::v1::{
    MessageRequested, MessageWithdrawn, RenderRequested, message_requested, render_requested,
};

use crate::commands::{messages, renderings};
use crate::domain::message::{self, Message};
use crate::domain::rendering::{Asked, Content, Purpose, Row, Template};

const REQUESTED: &str = "bashu.v1.RenderRequested";
const MESSAGE: &str = "bashu.v1.MessageRequested";
const WITHDRAWN: &str = "bashu.v1.MessageWithdrawn";

/// The name under which it reads.
pub const CONSUMER: &str = "identity.renders";

/// The consumer of what is to be rendered.
#[derive(Clone, Copy, Debug, Default)]
pub struct Renders;

impl Handler for Renders {
    fn name(&self) -> &'static str {
        CONSUMER
    }

    fn topics(&self) -> &'static [&'static str] {
        &["passes.v1", "billing.v1", "admission.v1"]
    }

    fn handles(&self, kind: &str) -> bool {
        [REQUESTED, MESSAGE, WITHDRAWN].contains(&kind)
    }

    async fn apply(&self, tx: &Tx, records: &[Record]) -> Result<()> {
        for record in records {
            match record.kind.as_str() {
                REQUESTED => renderings::ask(tx, asked(record)?).await?,
                MESSAGE => messages::ask(tx, &message(tx, record)?).await?,
                WITHDRAWN => {
                    let told: MessageWithdrawn = record.decode()?;
                    messages::withdraw(tx, id(&told.id)?, &told.service).await?;
                }
                other => return Err(Error::permanent(format!("{other} is not rendered"))),
            }
        }
        Ok(())
    }
}

fn asked(record: &Record) -> Result<Asked> {
    let told: RenderRequested = record.decode()?;
    let template = match told.template() {
        render_requested::Template::SignedReceipts => Template::SignedReceipts,
        render_requested::Template::NameList => Template::NameList,
        render_requested::Template::Unspecified => {
            return Err(Error::permanent("a file of no template"));
        }
    };
    let purpose = match told.purpose() {
        render_requested::Purpose::Handover => Purpose::Handover,
        render_requested::Purpose::Outing => Purpose::Outing,
        render_requested::Purpose::Benefits => Purpose::Benefits,
        render_requested::Purpose::Unspecified => {
            return Err(Error::permanent("a file for no purpose"));
        }
    };
    let row = |row: render_requested::Row| {
        Ok(Row {
            member: id(&row.member_id)?,
            cells: row.cells,
        })
    };
    Ok(Asked {
        id: id(&told.id)?,
        service: told.service,
        template,
        purpose,
        about: id(&told.about_id)?,
        asker: MemberId(id(&told.asker_id)?),
        organisation: OrganisationId(id(&told.organisation_id)?),
        title: told.title,
        content: Content {
            columns: told.columns,
            rows: told
                .rows
                .into_iter()
                .map(row)
                .collect::<Result<Vec<Row>>>()?,
        },
    })
}

fn message(tx: &Tx, record: &Record) -> Result<Message> {
    let told: MessageRequested = record.decode()?;
    let template = match told.template() {
        message_requested::Template::PassToActivate => message::Template::PassToActivate,
        message_requested::Template::Unspecified => {
            return Err(Error::permanent("a message of no template"));
        }
    };
    let purpose = match told.purpose() {
        message_requested::Purpose::Contract => message::Purpose::Contract,
        message_requested::Purpose::Notice => message::Purpose::Notice,
        message_requested::Purpose::Unspecified => {
            return Err(Error::permanent("a message for no purpose"));
        }
    };
    let content = message::Content::read(template, &told.values);
    Ok(Message {
        id: id(&told.id)?,
        service: told.service,
        about: id(&told.about_id)?,
        member: MemberId(id(&told.member_id)?),
        purpose,
        content: content.ok_or_else(|| Error::permanent("a message with other values"))?,
        asked_at: tx.now(),
        valid_until: instant(told.valid_until)?,
        state: message::State::Planned,
    })
}
