//! Files that other services ask for because they show names. A consumer of its own, so that a
//! service which asks for much holds nothing else up.

use kit::consumer::Handler;
use kit::event::Record;
use kit::replica::id;
use kit::types::{MemberId, OrganisationId};
use kit::{Error, Result, Tx};
use proto::v1::{RenderRequested, render_requested};

use crate::commands::renderings;
use crate::domain::rendering::{Asked, Content, Row, Template};

const REQUESTED: &str = "bashu.v1.RenderRequested";

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
        kind == REQUESTED
    }

    async fn apply(&self, tx: &Tx, records: &[Record]) -> Result<()> {
        for record in records {
            renderings::ask(tx, asked(record)?).await?;
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
