//! The command line: one program for everything that a union runs and does. Each command is a
//! module of its own; this one only names them.

use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::output::{Outcome, Output};
use crate::stack::Operator;
use crate::{audit, demo, dev, doctor, keys, migrate, operator, parked, restored, resync};
use crate::{schema, serve, verify};

/// 巴蜀：百万职工游巴蜀的后端 / Bashu: the backend of the worker tourism of Sichuan and Chongqing
///
/// 配置来自 BASHU_CONFIG 指定的文件和 BASHU_* 环境变量。
/// Configured by the file that BASHU_CONFIG names and by variables BASHU_*.
///
/// 退出码 / exit codes: 0 正常 well · 1 有问题 something is not well · 2 命令或配置错误 wrong
/// command or configuration · 3 无法完成 could not be done
#[derive(Debug, Parser)]
#[command(name = "bashu", version, verbatim_doc_comment)]
pub(crate) struct Cli {
    /// 输出 JSON / Answer in JSON
    #[arg(long, global = true)]
    json: bool,
    /// 语言 zh 或 en / Language: zh or en
    #[arg(
        long,
        global = true,
        env = "LANG",
        default_value = "zh",
        hide_env_values = true
    )]
    lang: String,
    /// 谁在操作，写入审计 / Who runs this; kept in the audit
    #[arg(
        long,
        global = true,
        env = "USER",
        default_value = "unknown",
        hide_env_values = true
    )]
    by: String,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// 运行服务 / Run services
    Serve(serve::ServeArgs),
    /// 在本机运行两会（开发）/ Run both unions on this machine, for development
    Dev(dev::DevArgs),
    /// 经网关载入演示数据 / Load the demonstration world through a gateway
    Demo(demo::DemoArgs),
    /// 迁移数据库 / Bring the tables up to this program
    Migrate(migrate::MigrateArgs),
    /// 写出或比较各服务的 GraphQL 模式 / Write or compare each service's part of the graph
    Schema(schema::SchemaArgs),
    /// 检查一切所依赖的，并说明怎么办 / Look at everything it stands on, and say what to do
    Doctor(doctor::DoctorArgs),
    /// 核对不变量 / Verify what must hold, over one or both unions
    Verify(verify::VerifyArgs),
    /// 审计链：核对与查找 / The audit chain: whether it is sound, and what it says
    #[command(subcommand)]
    Audit(audit::AuditCommand),
    /// 搁置的消息和停下的分区 / Parked records and stopped partitions
    #[command(subcommand)]
    Parked(parked::ParkedCommand),
    /// 重新宣布一个服务的全部当前状态 / Say all current state of a service again
    Resync(resync::ResyncArgs),
    /// 恢复之后开启新纪元 / Open new epochs after databases or topics went back in time
    Restored(restored::RestoredArgs),
    /// 离线根密钥和签名密钥 / The offline root and the signing keys
    #[command(subcommand)]
    Keys(keys::KeysCommand),
    /// 运维人员 / Operators
    #[command(subcommand)]
    Operator(operator::OperatorCommand),
}

impl Cli {
    /// Runs the command; its exit code.
    pub(crate) async fn run(self) -> ExitCode {
        let output = Output::new(self.json, &self.lang);
        let operator = Operator(self.by);
        match self.command.run(output, &operator).await {
            Ok(outcome) => outcome.into(),
            Err(error) => output.fail(&error),
        }
    }
}

impl Command {
    async fn run(self, output: Output, operator: &Operator) -> anyhow::Result<Outcome> {
        match self {
            Self::Serve(args) => serve::run(args).await.map(|()| Outcome::Well),
            Self::Dev(args) => dev::run(args, output).await.map(|()| Outcome::Well),
            Self::Demo(args) => demo::run(args, output).await.map(|()| Outcome::Well),
            Self::Migrate(args) => migrate::run(args, output, operator).await,
            Self::Schema(args) => schema::run(&args, output),
            Self::Doctor(args) => doctor::run(args, output).await,
            Self::Verify(args) => verify::run(args, output).await,
            Self::Audit(command) => audit::run(command, output, operator).await,
            Self::Parked(command) => parked::run(command, output, operator).await,
            Self::Resync(args) => resync::run(args, output, operator).await,
            Self::Restored(args) => restored::run(args, output, operator).await,
            Self::Keys(command) => keys::run(command, output, operator).await,
            Self::Operator(command) => operator::run(command, output, operator).await,
        }
    }
}
