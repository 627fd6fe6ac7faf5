//! `bashu audit`: whether the record of who did what is still what was written, and what it says.

mod search;
mod verify;

use anyhow::Result;

use crate::output::{Outcome, Output};
use crate::stack::Operator;

/// What `bashu audit` is told.
#[derive(Clone, Debug, clap::Subcommand)]
pub(crate) enum AuditCommand {
    /// 逐条核对审计链并与已公布的链头比较 / Walk each chain and compare it with published heads
    Verify(verify::VerifyArgs),
    /// 查找审计记录；查找本身也会留下记录 / Find audit rows; that one looked is a row itself
    Search(search::SearchArgs),
}

/// Does what it is told.
///
/// # Errors
/// When a server is away, or tables are missing.
pub(crate) async fn run(
    command: AuditCommand,
    output: Output,
    operator: &Operator,
) -> Result<Outcome> {
    match command {
        AuditCommand::Verify(args) => verify::run(args, output).await,
        AuditCommand::Search(args) => search::run(args, output, operator).await,
    }
}
