//! Identity's vault: the key-encrypting keys (KEK) of the configuration against those that the
//! database is written under, the keys beside them, and who may read its rows.

use identity::commands::keks::{self, Kek, Standing};
use identity::vault::guarded::GUARDED_TABLES;
use kit::Ctx;
use kit::config::Config;
use sea_orm::FromQueryResult;

use super::{Finding, unanswered};
use crate::output::Text;
use crate::registry::Known;

const SUBJECT: &str = identity::NAME;

pub(super) async fn examine(config: &Config, opened: &[(&'static Known, Ctx)]) -> Vec<Finding> {
    let of_identity = opened
        .iter()
        .find(|(known, _)| known.name == identity::NAME);
    let Some((_, ctx)) = of_identity else {
        return Vec::new();
    };
    let mut findings = Vec::new();
    // A section that is wrong is told by the configuration's own findings.
    if let Ok(vault) = crate::keys::vault(config) {
        match keks::standing(ctx, &vault).await {
            Ok(standing) => findings.extend(keys(&standing)),
            Err(error) => findings.push(unanswered("vault.kek", SUBJECT, &error)),
        }
    }
    match tables(ctx).await {
        Ok(tables) => findings.push(rows(&tables)),
        Err(error) => findings.push(unanswered("vault.rows", SUBJECT, &error)),
    }
    findings
}

fn keys(standing: &Standing) -> Vec<Finding> {
    let mut findings: Vec<Finding> = standing.keks.iter().map(kek).collect();
    if standing.keks.iter().all(|kek| !kek.current) {
        findings.push(Finding::warn(
            "vault.kek",
            SUBJECT,
            Text::new(
                "还没有服务以配置的主密钥（identity.kek）启动过",
                "no service has started with the configured KEK (identity.kek) yet",
            ),
            Text::new(
                "让每个 identity 进程以此配置启动",
                "start every process of identity with this configuration",
            ),
        ));
    }
    findings.push(others(standing.others_known));
    findings
}

fn kek(kek: &Kek) -> Finding {
    let check = "vault.kek";
    let Kek {
        id,
        current,
        known,
        cells,
    } = *kek;
    let subject = id.to_string();
    if !known {
        return Finding::fail(
            check,
            subject,
            Text::new(
                format!("数据库中有 {cells} 项由此密钥加密，配置中却没有它：服务不会启动"),
                format!(
                    "{cells} cells are sealed by this key, which is not configured: identity does \
                     not start"
                ),
            ),
            Text::new(
                "把这把密钥写入 identity.kek 或 identity.other_keks",
                "put this key into identity.kek or identity.other_keks",
            ),
        );
    }
    if current {
        let found = Text::new(
            format!("当前主密钥，加密着 {cells} 项"),
            format!("the current KEK, {cells} cells are sealed by it"),
        );
        return Finding::ok(check, subject, found);
    }
    Finding::warn(
        check,
        subject,
        Text::new(
            format!("旧主密钥，仍加密着 {cells} 项"),
            format!("an older KEK, {cells} cells are still sealed by it"),
        ),
        Text::new(
            "所有进程都以新密钥启动后运行 bashu keys rewrap，再从 identity.other_keks 删去它",
            "when every process has started with the new one, run bashu keys rewrap, then take it \
             out of identity.other_keks",
        ),
    )
}

fn others(known: bool) -> Finding {
    let check = "vault.other_keys";
    if known {
        let found = Text::new(
            "盲索引、验证码与证件标签的密钥与数据库一致",
            "the keys of the blind index, of codes and of document tags are the database's",
        );
        return Finding::ok(check, SUBJECT, found);
    }
    Finding::fail(
        check,
        SUBJECT,
        Text::new(
            "blind_index_key、code_key 或 idtag_key 不是此数据库的：服务不会启动",
            "blind_index_key, code_key or idtag_key is not this database's: identity does not \
             start",
        ),
        Text::new(
            "恢复原来的密钥；它们没有轮换，换了就再也找不到人",
            "put the former keys back; they are not rotated, and with others nobody is found",
        ),
    )
}

/// A table of the vault.
#[derive(FromQueryResult)]
struct Table {
    name: String,
    /// Whether its rows are guarded, from its owner too.
    guarded: bool,
    /// Whether it has a policy, and all are for the role that serves alone.
    ours: bool,
}

async fn tables(ctx: &Ctx) -> kit::Result<Vec<Table>> {
    let names = Vec::from(GUARDED_TABLES.map(str::to_owned));
    ctx.db
        .all(
            "SELECT t.name, COALESCE(c.relrowsecurity AND c.relforcerowsecurity, false) AS guarded,
               COALESCE((SELECT bool_and(p.roles = ARRAY[current_user]::name[])
                 FROM pg_policies p WHERE p.schemaname = 'public' AND p.tablename = t.name),
                 false) AS ours
             FROM unnest($1::text[]) AS t (name)
             LEFT JOIN pg_class c ON c.oid = to_regclass(t.name) ORDER BY t.name",
            [names.into()],
        )
        .await
}

fn rows(tables: &[Table]) -> Finding {
    let check = "vault.rows";
    let open: Vec<&str> = tables
        .iter()
        .filter(|table| !table.guarded || !table.ours)
        .map(|table| table.name.as_str())
        .collect();
    if open.is_empty() {
        let found = Text::new(
            "只有应用角色能读到个人资料的行",
            "rows of people are seen by the role that serves and by no other",
        );
        return Finding::ok(check, SUBJECT, found);
    }
    let names = open.join(", ");
    Finding::fail(
        check,
        SUBJECT,
        Text::new(
            format!("行级安全没有守住：{names}"),
            format!("row security does not guard: {names}"),
        ),
        Text::new(
            "以属主执行 ALTER TABLE … ENABLE 与 FORCE ROW LEVEL SECURITY，\
             删去 vault_serves 以外的策略（见 identity 的迁移 0010）",
            "as their owner: ALTER TABLE … ENABLE and FORCE ROW LEVEL SECURITY, and drop policies \
             other than vault_serves (see migration 0010 of identity)",
        ),
    )
}

#[cfg(test)]
mod tests {
    use identity::vault::SealingKey;

    use super::super::Severity;
    use super::*;

    fn one(current: bool, known: bool) -> Kek {
        Kek {
            id: SealingKey::new(&[1; 32]).id(),
            current,
            known,
            cells: 3,
        }
    }

    fn worst(keks: &[Kek], others_known: bool) -> Severity {
        let standing = Standing {
            keks: keks.to_vec(),
            others_known,
        };
        let findings = keys(&standing);
        findings.iter().map(|it| it.severity).max().unwrap()
    }

    /// A key that is missing stops the service; one that could go, and one that nobody has started
    /// with, are told in time.
    #[test]
    fn keys_are_held_against_the_database() {
        let (current, old) = (one(true, true), one(false, true));
        assert_eq!(worst(&[current], true), Severity::Ok);
        assert_eq!(worst(&[old, current], true), Severity::Warn);
        assert_eq!(worst(&[old], true), Severity::Warn);
        assert_eq!(worst(&[], true), Severity::Warn);
        assert_eq!(worst(&[one(false, false), current], true), Severity::Fail);
        assert_eq!(worst(&[current], false), Severity::Fail);
    }

    /// A table that others can read is named.
    #[test]
    fn open_tables_are_named() {
        let table = |guarded, ours| Table {
            name: "person".to_owned(),
            guarded,
            ours,
        };
        assert_eq!(rows(&[table(true, true)]).severity, Severity::Ok);
        for open in [table(false, true), table(true, false)] {
            let finding = rows(&[table(true, true), open]);
            assert_eq!(finding.severity, Severity::Fail);
            assert!(finding.found.en.contains("person"));
        }
    }
}
