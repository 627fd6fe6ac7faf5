//! Each service's database: the server's version and durability, the role's rights, the clock,
//! and whether its tables are this program's.

use chrono::{DateTime, TimeDelta, Utc};
use kit::Ctx;
use kit::graphql::Mode;
use kit::migrate::Migration;
use sea_orm::FromQueryResult;

use super::{Finding, chain, unanswered};
use crate::output::Text;
use crate::registry::Known;
use crate::stack::Stack;

/// The oldest server with all that is used: snapshots as a type, `xid8`, `UNNEST` of many arrays.
const VERSION_MIN: i32 = 150_000;
/// How far the clocks of this machine and of the server may be apart.
const CLOCK_DIFFERENCE_MS_MAX: i64 = 1_000;

#[derive(FromQueryResult)]
struct Server {
    version: i32,
    version_text: String,
    fsync: bool,
    synchronous_commit: String,
    full_page_writes: bool,
    mighty: bool,
    creates: bool,
    owns: bool,
    owner_mighty: bool,
    at: DateTime<Utc>,
}

/// The findings, and the context where the database can be asked more.
pub(super) async fn examine(stack: &Stack, known: &'static Known) -> (Vec<Finding>, Option<Ctx>) {
    let ctx = match stack.ctx(known).await {
        Ok(ctx) => ctx,
        Err(error) => return (vec![away(known.name, &chain(error.as_ref()))], None),
    };
    let mut findings = match server(&ctx, known.name, stack.config.mode).await {
        Ok(findings) => findings,
        Err(error) => return (vec![away(known.name, &chain(&error))], None),
    };
    let all: Vec<Migration> = known.migrations.concat();
    match kit::migrate::standing(&ctx.db, &all).await {
        Ok(standing) => {
            let usable = standing.pending.is_empty();
            findings.push(tables(known.name, &standing));
            (findings, usable.then_some(ctx))
        }
        Err(error) => {
            findings.push(unanswered("postgres.migrations", known.name, &error));
            (findings, None)
        }
    }
}

fn away(service: &str, why: &str) -> Finding {
    Finding::fail(
        "postgres.reachable",
        service,
        Text::new(
            format!("数据库连不上：{why}"),
            format!("the database is not reached: {why}"),
        ),
        Text::new(
            "启动 PostgreSQL（开发环境：deploy/dev/up run），核对 postgres.host、port、user、\
             password，确认名为该服务的数据库存在",
            "start PostgreSQL (in development: deploy/dev/up run), compare postgres.host, port, \
             user and password, and see that a database of the service's name exists",
        ),
    )
}

async fn server(ctx: &Ctx, service: &str, mode: Mode) -> kit::Result<Vec<Finding>> {
    let asked = ctx.clock.now();
    let server: Option<Server> = ctx
        .db
        .one(
            "SELECT current_setting('server_version_num')::int AS version,
               current_setting('server_version') AS version_text,
               current_setting('fsync')::bool AS fsync,
               current_setting('synchronous_commit') AS synchronous_commit,
               current_setting('full_page_writes')::bool AS full_page_writes,
               (SELECT rolsuper OR rolcreatedb OR rolcreaterole OR rolbypassrls OR rolreplication
                FROM pg_roles WHERE rolname = current_user) AS mighty,
               has_schema_privilege(current_user, 'public', 'CREATE') AS creates,
               o.owns, o.owner_mighty,
               clock_timestamp() AS at
             FROM (SELECT
                 COALESCE(bool_or(pg_has_role(current_user, c.relowner, 'MEMBER')), false) AS owns,
                 COALESCE(bool_or(r.rolsuper OR r.rolbypassrls), false) AS owner_mighty
               FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
               JOIN pg_roles r ON r.oid = c.relowner WHERE n.nspname = 'public') o",
            [],
        )
        .await?;
    let Some(server) = server else {
        return Ok(Vec::new());
    };
    let answered = ctx.clock.now();
    let findings = vec![
        version(service, &server),
        durable(service, &server, mode),
        role(service, &server),
        owner(service, &server),
        clock(service, asked + (answered - asked) / 2 - server.at),
    ];
    Ok(findings)
}

fn version(service: &str, server: &Server) -> Finding {
    let text = &server.version_text;
    let found = Text::new(format!("PostgreSQL {text}"), format!("PostgreSQL {text}"));
    if server.version >= VERSION_MIN {
        return Finding::ok("postgres.version", service, found);
    }
    Finding::fail(
        "postgres.version",
        service,
        found,
        Text::new(
            "升级到 PostgreSQL 15 或更新",
            "upgrade to PostgreSQL 15 or later",
        ),
    )
}

fn durable(service: &str, server: &Server, mode: Mode) -> Finding {
    let mut off = Vec::new();
    if !server.fsync {
        off.push("fsync");
    }
    if !server.full_page_writes {
        off.push("full_page_writes");
    }
    // `local` and `remote_write` are weaker on a standby only; `off` loses what was promised.
    if server.synchronous_commit == "off" {
        off.push("synchronous_commit");
    }
    let check = "postgres.durable";
    if off.is_empty() {
        let found = Text::new("提交即落盘", "what is committed is on disk");
        return Finding::ok(check, service, found);
    }
    let off = off.join(", ");
    let found = Text::new(
        format!("{off} 关闭：断电会丢失已答应的事"),
        format!("{off} is off: a power cut loses what was promised"),
    );
    let to_do = Text::new(
        format!("在 postgresql.conf 中打开 {off} 并重新加载"),
        format!("switch {off} on in postgresql.conf and reload"),
    );
    match mode {
        Mode::Production => Finding::fail(check, service, found, to_do),
        Mode::Development => Finding::warn(check, service, found, to_do),
    }
}

fn role(service: &str, server: &Server) -> Finding {
    let check = "postgres.role";
    if !server.mighty && !server.creates {
        let found = Text::new("应用角色只能读写行", "the role reads and writes rows only");
        return Finding::ok(check, service, found);
    }
    Finding::fail(
        check,
        service,
        Text::new(
            "应用角色权力过大（超级用户、建库、建角色、建表或绕过行级安全）",
            "the role that serves may too much (superuser, create databases, roles or tables, \
             bypass row security, replicate)",
        ),
        Text::new(
            "用只有 SELECT/INSERT/UPDATE/DELETE 的角色（bashu_app）服务，迁移用 postgres.owner",
            "serve with a role that has SELECT, INSERT, UPDATE and DELETE only (bashu_app); \
             postgres.owner is for migrations",
        ),
    )
}

fn owner(service: &str, server: &Server) -> Finding {
    let check = "postgres.owner";
    if server.owns {
        return Finding::fail(
            check,
            service,
            Text::new(
                "应用角色是表的属主，或可以成为属主",
                "the role that serves owns the tables, or may become who does",
            ),
            Text::new(
                "ALTER TABLE … OWNER TO bashu_owner，并 REVOKE bashu_owner FROM 应用角色",
                "ALTER TABLE … OWNER TO bashu_owner, and REVOKE bashu_owner FROM the role that \
                 serves",
            ),
        );
    }
    if server.owner_mighty {
        return Finding::fail(
            check,
            service,
            Text::new(
                "表的属主是超级用户或可绕过行级安全",
                "the tables' owner is a superuser or bypasses row security",
            ),
            Text::new(
                "ALTER ROLE bashu_owner NOSUPERUSER NOBYPASSRLS",
                "ALTER ROLE bashu_owner NOSUPERUSER NOBYPASSRLS",
            ),
        );
    }
    let found = Text::new(
        "表属于另一个只用于迁移的角色",
        "the tables are another role's, which migrates",
    );
    Finding::ok(check, service, found)
}

fn clock(service: &str, difference: TimeDelta) -> Finding {
    let ms = difference.num_milliseconds();
    let found = Text::new(
        format!("与数据库时钟相差 {ms} 毫秒"),
        format!("{ms} ms from the database's clock"),
    );
    if ms.abs() <= CLOCK_DIFFERENCE_MS_MAX {
        return Finding::ok("postgres.clock", service, found);
    }
    Finding::fail(
        "postgres.clock",
        service,
        found,
        Text::new(
            "在两台机器上启用 NTP（chrony 或 systemd-timesyncd）：令牌、验证码和租约都靠时钟",
            "run NTP on both machines (chrony, systemd-timesyncd): tokens, codes and leases \
             stand on the clock",
        ),
    )
}

fn tables(service: &str, standing: &kit::migrate::Standing) -> Finding {
    let check = "postgres.migrations";
    if !standing.edited.is_empty() {
        let names = standing.edited.join(", ");
        return Finding::fail(
            check,
            service,
            Text::new(
                format!("执行过的迁移被改动：{names}"),
                format!("edited after they had run: {names}"),
            ),
            Text::new(
                "恢复原来的迁移文件；修改只能写成新的迁移",
                "restore the files; a change is a migration of its own",
            ),
        );
    }
    if !standing.pending.is_empty() {
        let names = standing.pending.join(", ");
        return Finding::fail(
            check,
            service,
            Text::new(
                format!("尚未执行：{names}"),
                format!("not run yet: {names}"),
            ),
            Text::new("运行 bashu migrate", "run bashu migrate"),
        );
    }
    if !standing.unknown.is_empty() {
        let names = standing.unknown.join(", ");
        return Finding::warn(
            check,
            service,
            Text::new(
                format!("数据库比本程序新：{names}"),
                format!("the database is newer than this program: {names}"),
            ),
            Text::new(
                "部署与数据库相符的程序",
                "deploy the program that fits the database",
            ),
        );
    }
    Finding::ok(
        check,
        service,
        Text::new("表与程序一致", "the tables are this program's"),
    )
}

#[cfg(test)]
mod tests {
    use super::super::Severity;
    use super::*;

    fn sound() -> Server {
        Server {
            version: 150_000,
            version_text: "15.0".to_owned(),
            fsync: true,
            synchronous_commit: "on".to_owned(),
            full_page_writes: true,
            mighty: false,
            creates: false,
            owns: false,
            owner_mighty: false,
            at: DateTime::UNIX_EPOCH,
        }
    }

    /// Each weakness of a server is found, and a sound one is left alone.
    #[test]
    fn weak_servers_are_found() {
        let ok = sound();
        for finding in [
            version("s", &ok),
            durable("s", &ok, Mode::Production),
            role("s", &ok),
        ] {
            assert_eq!(finding.severity, Severity::Ok, "{finding:?}");
        }
        let old = Server {
            version: 140_099,
            ..sound()
        };
        assert_eq!(version("s", &old).severity, Severity::Fail);
        for weak in [
            Server {
                fsync: false,
                ..sound()
            },
            Server {
                full_page_writes: false,
                ..sound()
            },
            Server {
                synchronous_commit: "off".to_owned(),
                ..sound()
            },
        ] {
            assert_eq!(
                durable("s", &weak, Mode::Production).severity,
                Severity::Fail
            );
            assert_eq!(
                durable("s", &weak, Mode::Development).severity,
                Severity::Warn
            );
        }
        for mighty in [
            Server {
                mighty: true,
                ..sound()
            },
            Server {
                creates: true,
                ..sound()
            },
        ] {
            assert_eq!(role("s", &mighty).severity, Severity::Fail);
        }
        for (ms, severity) in [
            (1_000, Severity::Ok),
            (-1_000, Severity::Ok),
            (1_001, Severity::Fail),
            (-1_001, Severity::Fail),
        ] {
            assert_eq!(
                clock("s", TimeDelta::milliseconds(ms)).severity,
                severity,
                "{ms}"
            );
        }
    }

    /// The role that serves owns nothing, and who owns is held by row security too.
    #[test]
    fn owners_are_found() {
        let severity = |owns, owner_mighty| {
            let server = Server {
                owns,
                owner_mighty,
                ..sound()
            };
            owner("s", &server).severity
        };
        assert_eq!(severity(false, false), Severity::Ok);
        assert_eq!(severity(true, false), Severity::Fail);
        assert_eq!(severity(false, true), Severity::Fail);
    }

    /// What a database lacks, has edited, or has too much of.
    #[test]
    fn tables_are_compared_with_the_program() {
        let standing = |pending: &[&'static str], edited: &[&'static str], unknown: &[&str]| {
            kit::migrate::Standing {
                pending: pending.to_vec(),
                edited: edited.to_vec(),
                unknown: unknown.iter().map(|name| (*name).to_owned()).collect(),
            }
        };
        for (given, severity) in [
            (standing(&[], &[], &[]), Severity::Ok),
            (standing(&["a"], &[], &[]), Severity::Fail),
            (standing(&[], &["a"], &[]), Severity::Fail),
            (standing(&[], &[], &["z"]), Severity::Warn),
        ] {
            assert_eq!(tables("s", &given).severity, severity, "{given:?}");
        }
    }
}
