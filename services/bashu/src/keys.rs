//! `bashu keys`: the offline root and the signing keys it vouches for, and the key-encrypting key
//! (KEK) that wraps what the database keeps.
//!
//! The root signs key sets and nothing else; its file belongs on a medium that is not plugged in.
//! `rotate` needs the running union's configuration, `publish` needs the root as well, `init-root`
//! and `init-payer` neither. `rewrap` needs the KEK that is to be dropped beside the current one.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use identity::commands::{keks, keys as commands};
use identity::domain::keys::{Purpose, Span, is_due, signing_key};
use identity::vault::Vault;
use kit::config::{Config, ConfigError};
use kit::sealed::PrivateKey;
use kit::{Ctx, Ids};
use serde::Serialize;

use crate::output::{Outcome, Output, Text, table};
use crate::registry;
use crate::stack::{Operator, Stack};

/// The root's file in a folder of keys.
pub(crate) const ROOT_FILE: &str = "root.key";

/// What `bashu keys` is told.
#[derive(Clone, Debug, clap::Subcommand)]
pub(crate) enum KeysCommand {
    /// 生成离线根密钥文件，并显示要写入配置的公钥 / Make the offline root; shows its public half
    InitRoot {
        /// 文件；不得已存在 / The file; it must not exist
        #[arg(long)]
        file: PathBuf,
    },
    /// 生成账务打开付款人凭据的密钥，并显示要写入配置的两行 / Make billing's key for payers' tokens
    InitPayer,
    /// 列出签名密钥 / The signing keys
    List,
    /// 生成下一把到期应换的密钥；之后须 publish / Make the next keys that are due
    Rotate {
        /// 不论是否到期都更换这一用途的密钥 / This purpose, due or not
        #[arg(long, value_parser = ["entry", "access"])]
        purpose: Option<String>,
    },
    /// 把旧主密钥加密的一切改由当前主密钥加密，并弃用旧的 / Seal anew by the current KEK, drop the old
    Rewrap,
    /// 用根密钥签署密钥集并发布 / Sign the key set with the root and publish it
    Publish {
        /// 根密钥文件 / The root's file
        #[arg(long)]
        root: PathBuf,
    },
    /// 立即吊销一把密钥；之后须 publish / Take a key back at once; publish must follow
    Revoke {
        /// 密钥编号 / Its number
        number: u16,
        /// 原因，写入审计 / Why; kept in the audit
        #[arg(long)]
        reason: String,
    },
}

/// Does what it is told.
///
/// # Errors
/// When a file or a server is away, or the root is not the configured one.
pub(crate) async fn run(
    command: KeysCommand,
    output: Output,
    operator: &Operator,
) -> Result<Outcome> {
    match command {
        KeysCommand::InitRoot { file } => init_root(&file, output)?,
        KeysCommand::InitPayer => init_payer(output)?,
        KeysCommand::List => {
            let (_, ctx) = identity_ctx(operator).await?;
            show(&ctx, &commands::list(&ctx).await?, output)?;
        }
        KeysCommand::Rotate { purpose } => rotate(purpose, output, operator).await?,
        KeysCommand::Rewrap => rewrap(output, operator).await?,
        KeysCommand::Publish { root } => publish(&root, output, operator).await?,
        KeysCommand::Revoke { number, reason } => {
            let (_, ctx) = identity_ctx(operator).await?;
            commands::revoke(&ctx, number, &reason)
                .await
                .with_context(|| format!("key {number}"))?;
            show(&ctx, &commands::list(&ctx).await?, output)?;
        }
    }
    Ok(Outcome::Well)
}

/// The public half of the root in a folder, which is made there when it is not.
///
/// # Errors
/// When the file cannot be read or made.
pub(crate) fn root_of(folder: &Path) -> Result<[u8; 32]> {
    let file = folder.join(ROOT_FILE);
    let public = if file.exists() {
        commands::read_root(&file).map(|root| root.verifying_key())
    } else {
        commands::init_root(&file, &Ids::random())
    };
    let public = public.with_context(|| format!("the root key {}", file.display()))?;
    Ok(public.to_bytes())
}

/// The vault of identity, whose keys seal signing keys.
///
/// # Errors
/// The first setting of the section that is wrong.
pub(crate) fn vault(config: &Config) -> Result<Vault, ConfigError> {
    let settings: identity::Settings = config.section(identity::NAME)?;
    settings.vault()
}

async fn identity_ctx(operator: &Operator) -> Result<(Stack, Ctx)> {
    let stack = Stack::load()?.acting(operator);
    let ctx = stack.ctx(registry::named(identity::NAME)?).await?;
    Ok((stack, ctx))
}

fn init_root(file: &Path, output: Output) -> Result<()> {
    let public = commands::init_root(file, &Ids::random())
        .with_context(|| format!("the root key {}", file.display()))?;
    let public = hex::encode(public.to_bytes());
    let made = serde_json::json!({ "file": file, "root_public_key": public });
    output.show(&made, |language| {
        let keep = language.choose(
            "请把该文件离线保存；把下面这一行写入配置：",
            "keep the file off line; write this line into the configuration:",
        );
        format!("{keep}\nroot_public_key = \"{public}\"")
    })
}

/// Both halves of a key that identity seals payers to billing with. It is kept nowhere here.
fn init_payer(output: Output) -> Result<()> {
    let private = STANDARD.encode(Ids::random().bytes32());
    let key = PrivateKey::parse(&private.clone().into()).context("a key of 32 bytes")?;
    let public = key.public().text();
    let made = serde_json::json!({ "private": private, "public": public });
    output.show(&made, |language| {
        let put = language.choose(
            "请分别写入账务与身份服务的配置，私钥只给账务：",
            "write these into the configurations of billing and of identity, each its own:",
        );
        format!(
            "{put}\n[billing.wechat.mini_program]\npayer_key = \"{private}\"\n\
             [identity.wechat]\npayer_key = \"{public}\""
        )
    })
}

async fn rotate(purpose: Option<String>, output: Output, operator: &Operator) -> Result<()> {
    let (stack, ctx) = identity_ctx(operator).await?;
    let vault = vault(&stack.config)?;
    keks::check(&ctx, &vault).await?;
    let spans = commands::list(&ctx).await?;
    let now = ctx.clock.now();
    let wanted: Vec<Purpose> = match purpose.as_deref().and_then(Purpose::parse) {
        Some(purpose) => vec![purpose],
        None => Purpose::ALL
            .into_iter()
            .filter(|purpose| is_due(&spans, *purpose, now))
            .collect(),
    };
    let mut made = Vec::with_capacity(wanted.len());
    for purpose in wanted {
        made.push(commands::rotate(&ctx, &vault, purpose).await?);
    }
    show(&ctx, &made, output)
}

/// Goes on where a killed one ended.
async fn rewrap(output: Output, operator: &Operator) -> Result<()> {
    let (stack, ctx) = identity_ctx(operator).await?;
    let vault = vault(&stack.config)?;
    let keks = keks::standing(&ctx, &vault).await?.keks;
    let old = keks.iter().filter(|kek| !kek.current);
    let cells = old.map(|kek| u64::try_from(kek.cells).unwrap_or_default());
    let what = Text::new("改换主密钥", "sealing anew");
    let bar = output.bar(&what, cells.sum());
    let current = vault.kek().current().to_string();
    operator.record_begin(&ctx, "rewrap_keys", &current).await?;
    let done = keks::rewrap(&ctx, &vault, &|cells| bar.inc(cells)).await?;
    bar.finish_and_clear();
    let dropped: Vec<String> = done.dropped.iter().map(ToString::to_string).collect();
    let shown = serde_json::json!({ "cells": done.cells, "dropped": dropped, "kek": current });
    output.show(&shown, |language| {
        if dropped.is_empty() {
            let text = language.choose("没有旧主密钥", "there is no older KEK");
            return format!("{text} ({current})");
        }
        let (cells, dropped) = (done.cells, dropped.join(", "));
        language
            .choose(
                &format!("{cells} 项改由 {current} 加密；可从 identity.other_keks 删去 {dropped}"),
                &format!(
                    "{cells} cells are sealed by {current} now; take {dropped} out of \
                 identity.other_keks"
                ),
            )
            .to_owned()
    })
}

async fn publish(root: &Path, output: Output, operator: &Operator) -> Result<()> {
    let (stack, ctx) = identity_ctx(operator).await?;
    let root =
        commands::read_root(root).with_context(|| format!("the root key {}", root.display()))?;
    if root.verifying_key().to_bytes() != stack.config.root_public_key {
        bail!(
            "this root is not the one of `root_public_key`: nobody would believe what it signs / \
             此根密钥与配置的 root_public_key 不符"
        );
    }
    let version = commands::publish(&ctx, &root).await?;
    output.show(&serde_json::json!({ "version": version }), |language| {
        format!(
            "{} {version}",
            language.choose("密钥集版本", "key set version")
        )
    })
}

/// A key as it is shown.
#[derive(Debug, Serialize)]
struct Shown {
    number: u16,
    purpose: &'static str,
    state: &'static str,
    published: bool,
    /// Whether it is the one that signs at this moment.
    signs: bool,
    not_before: String,
    not_after: String,
}

fn show(ctx: &Ctx, spans: &[Span], output: Output) -> Result<()> {
    let now = ctx.clock.now();
    let shown: Vec<Shown> = spans
        .iter()
        .map(|span| Shown {
            number: span.number,
            purpose: span.purpose.as_str(),
            state: span.state.as_str(),
            published: span.published,
            signs: signing_key(spans, span.purpose, now)
                .is_some_and(|signs| signs.number == span.number),
            not_before: span.not_before.to_rfc3339(),
            not_after: span.not_after.to_rfc3339(),
        })
        .collect();
    output.show(&shown, |language| {
        if shown.is_empty() {
            return language.choose("没有密钥", "no keys").to_owned();
        }
        let (is, is_not) = language
            .choose("是,否", "yes,no")
            .split_once(',')
            .unwrap_or_default();
        let yes = |yes: bool| (if yes { is } else { is_not }).to_owned();
        let rows: Vec<Vec<String>> = shown
            .iter()
            .map(|key| {
                vec![
                    key.number.to_string(),
                    key.purpose.to_owned(),
                    key.state.to_owned(),
                    yes(key.published),
                    yes(key.signs),
                    key.not_before.clone(),
                    key.not_after.clone(),
                ]
            })
            .collect();
        let headings = language.choose(
            "编号,用途,状态,已发布,正在签名,生效,失效",
            "number,purpose,state,published,signs,from,until",
        );
        table(&headings.split(',').collect::<Vec<_>>(), &rows)
    })
}
