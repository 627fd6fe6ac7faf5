//! `bashu operator create`: the first operator of a union, who grants every other role through
//! the graph. The person's name and phone are asked for, or read from standard input, so that
//! they need not stand in a shell's history. `bashu operator sign-out`: ends the logins of one
//! person, or of all, where none who is signed in can be trusted to.

use std::io::{BufRead, IsTerminal, Write};

use anyhow::{Result, anyhow, bail};
use identity::commands::operator::{create_first_operator, sign_out as end_logins};
use identity::domain::identifier::Phone;
use identity::domain::name::PersonName;
use kit::graphql::GlobalId;
use kit::types::MemberId;
use uuid::Uuid;

use crate::output::{Outcome, Output};
use crate::registry;
use crate::stack::{Operator, Stack};

/// What `bashu operator` is told.
#[derive(Clone, Debug, clap::Subcommand)]
pub(crate) enum OperatorCommand {
    /// 创建第一个运维人员 / Make the first operator
    Create {
        /// 手机号（省略则询问）/ Phone (asked for when absent)
        #[arg(long)]
        phone: Option<String>,
        /// 姓名（省略则询问）/ Name (asked for when absent)
        #[arg(long)]
        name: Option<String>,
        /// 已有运维人员时，说明为何再创建一个 / Why there should be another although there is one
        #[arg(long)]
        force: Option<String>,
    },
    /// 注销一人或所有人的全部登录 / End all logins of one person, or of everybody
    SignOut {
        /// 成员编号 / Whose
        #[arg(long, value_parser = member, required_unless_present = "all", conflicts_with = "all")]
        member: Option<Uuid>,
        /// 所有人 / Everybody's
        #[arg(long)]
        all: bool,
        /// 原因，写入审计 / Why; kept in the audit
        #[arg(long, value_parser = crate::parked::reason)]
        reason: String,
    },
}

/// A member as the graph names her, or as the tables do.
fn member(text: &str) -> Result<Uuid, String> {
    Uuid::parse_str(text)
        .or_else(|_| GlobalId::uuid(text, "Member"))
        .map_err(|_| "不是成员编号 / this is no member".to_owned())
}

/// Does what it is told.
///
/// # Errors
/// When the phone or name cannot be, there is an operator already, or a server is away.
pub(crate) async fn run(
    command: OperatorCommand,
    output: Output,
    operator: &Operator,
) -> Result<Outcome> {
    let stack = Stack::load()?.acting(operator);
    match command {
        OperatorCommand::Create { phone, name, force } => {
            create(&stack, output, (phone, name, force)).await
        }
        OperatorCommand::SignOut {
            member,
            all,
            reason,
        } => {
            let whom = member.filter(|_| !all);
            sign_out(&stack, output, whom, &reason).await
        }
    }
}

async fn sign_out(
    stack: &Stack,
    output: Output,
    member: Option<Uuid>,
    reason: &str,
) -> Result<Outcome> {
    let ctx = stack.ctx(registry::named(identity::NAME)?).await?;
    let logins = end_logins(&ctx, member.map(MemberId), reason).await?;
    output.show(&serde_json::json!({ "logins": logins }), |language| {
        let text = language.choose("已注销的登录：", "logins ended:");
        format!("{text} {logins}")
    })?;
    Ok(Outcome::Well)
}

async fn create(
    stack: &Stack,
    output: Output,
    (phone, name, force): (Option<String>, Option<String>, Option<String>),
) -> Result<Outcome> {
    let vault = crate::keys::vault(&stack.config)?;
    let phone = given(phone, output.language().choose("手机号", "phone"))?;
    let name = given(name, output.language().choose("姓名", "name"))?;
    let refused = |refusal: kit::Refusal| {
        anyhow!("{} [{}]", refusal.message(output.language()), refusal.code)
    };
    let phone = Phone::parse(&phone).map_err(|why| refused(why.into()))?;
    let name = PersonName::parse(&name).map_err(|why| refused(why.into()))?;
    let ctx = stack.ctx(registry::named(identity::NAME)?).await?;
    identity::commands::keks::check(&ctx, &vault).await?;
    let created = create_first_operator(&ctx, &vault, &phone, &name, force.as_deref()).await;
    let member = match created {
        Ok(member) => member,
        Err(kit::Error::Refused(refusal)) => return Err(refused(*refusal)),
        Err(error) => return Err(error.into()),
    };
    output.show(&serde_json::json!({ "member": member.0 }), |language| {
        let text = language.choose(
            "运维人员已创建，用短信验证码登录：",
            "the operator is made and logs in by SMS code:",
        );
        format!("{text} {member}")
    })?;
    Ok(Outcome::Well)
}

/// The value given on the command line, or the next line of standard input.
fn given(value: Option<String>, label: &str) -> Result<String> {
    if let Some(value) = value {
        return Ok(value);
    }
    let input = std::io::stdin();
    if input.is_terminal() {
        write!(std::io::stderr(), "{label}: ")?;
    }
    let mut line = String::new();
    if input.lock().read_line(&mut line)? == 0 {
        bail!("{label}: standard input ended");
    }
    Ok(line.trim().to_owned())
}
