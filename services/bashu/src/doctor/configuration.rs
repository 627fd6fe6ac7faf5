//! Whether the configuration is right, and fit for where it is used.

use kit::config::{Config, ConfigError};
use kit::graphql::Mode;
use serde_json::Value;

use super::{Finding, chain};
use crate::output::Text;
use crate::registry;

const CHECK: &str = "configuration";

/// The configuration that did not load.
pub(super) fn refused(error: &anyhow::Error) -> Finding {
    let field = error
        .downcast_ref::<ConfigError>()
        .map(|wrong| wrong.field.clone());
    let why = chain(error.as_ref());
    Finding::fail(
        CHECK,
        field.unwrap_or_default(),
        Text::new(
            format!("配置不能使用：{why}"),
            format!("it cannot be used: {why}"),
        ),
        Text::new(
            "修正所指的字段（文件由 BASHU_CONFIG 指定，环境变量 BASHU_* 优先），再运行 bashu doctor",
            "correct the field it names (the file is BASHU_CONFIG's, variables BASHU_* come \
             first), then run bashu doctor again",
        ),
    )
}

pub(super) fn examine(config: &Config) -> Vec<Finding> {
    let mut findings = vec![mode(config)];
    for known in &registry::ALL {
        match config.section::<Value>(known.name) {
            Ok(section) => findings.extend(outside(config.mode, known.name, &section)),
            Err(wrong) => findings.push(refused(&wrong.into())),
        }
        if let Err(wrong) = (known.settings)(config) {
            findings.push(refused(&wrong.into()));
        }
    }
    if config.mode == Mode::Production {
        findings.extend(root(config));
        findings.extend(second_factor(config));
    }
    findings
}

fn mode(config: &Config) -> Finding {
    let (union, zh) = (config.union, config.union.name_zh());
    match config.mode {
        Mode::Production => Finding::ok(
            CHECK,
            "",
            Text::new(
                format!("{zh}，生产模式"),
                format!("union {union}, production"),
            ),
        ),
        Mode::Development => Finding::ok(
            CHECK,
            "",
            Text::new(
                format!("{zh}，开发模式"),
                format!("union {union}, development"),
            ),
        ),
    }
}

/// Addresses of outside parties in a service's section: in production each is reached by TLS and
/// none is a stand-in on this machine.
fn outside(mode: Mode, service: &'static str, section: &Value) -> Vec<Finding> {
    if mode == Mode::Development {
        return Vec::new();
    }
    let mut wrong = Vec::new();
    plain_addresses(section, service, &mut wrong);
    wrong
        .into_iter()
        .map(|path| {
            Finding::fail(
                "configuration.outside",
                path,
                Text::new(
                    "生产模式下指向明文 HTTP 或本机的替身",
                    "in production it names plain HTTP or a stand-in on this machine",
                ),
                Text::new(
                    "改为支付、短信等服务商的 https:// 正式地址和正式密钥",
                    "give the provider's own https:// address, and its real keys beside it",
                ),
            )
        })
        .collect()
}

/// The paths of strings that are addresses of plain HTTP or of this machine; no value is kept.
fn plain_addresses(value: &Value, path: &str, found: &mut Vec<String>) {
    match value {
        Value::String(text) => {
            let local = ["https://127.", "https://localhost", "https://[::1]"];
            if text.starts_with("http://") || local.iter().any(|start| text.starts_with(start)) {
                found.push(path.to_owned());
            }
        }
        Value::Object(fields) => {
            for (name, field) in fields {
                plain_addresses(field, &format!("{path}.{name}"), found);
            }
        }
        Value::Array(items) => {
            for item in items {
                plain_addresses(item, path, found);
            }
        }
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

/// What belongs to development alone: a root key within reach. No service starts with it.
fn root(config: &Config) -> Option<Finding> {
    let identity = config.section::<Value>("identity").ok()?;
    identity
        .get("root_key_file")
        .filter(|held| !held.is_null())?;
    Some(Finding::fail(
        "configuration.root",
        "identity.root_key_file",
        Text::new(
            "离线根密钥在线上可及，服务不会启动",
            "the offline root is within reach, and no service starts with it",
        ),
        Text::new(
            "从配置和机器上移走根密钥；发布密钥集时用 bashu keys publish --root",
            "take the root off the configuration and the machine; publish key sets by \
             bashu keys publish --root",
        ),
    ))
}

/// Whoever does without a second factor. No service starts with it.
fn second_factor(config: &Config) -> Option<Finding> {
    let identity = config.section::<Value>("identity").ok()?;
    let optional = identity.get("second_factor_optional")?.as_bool()?;
    optional.then(|| {
        Finding::fail(
            "configuration.second_factor",
            "identity.second_factor_optional",
            Text::new(
                "生产模式下可不绑定动态口令，服务不会启动",
                "in production nobody does without a second factor: no service starts so",
            ),
            Text::new(
                "删除此项：经办和运维人员登录后各自绑定动态口令",
                "take it away: officers and operators set a second factor up when they sign in",
            ),
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    /// A stand-in is found however deep it is, and its value is not shown.
    #[test]
    fn stand_ins_are_found_in_production() {
        let section = json!({
            "wechat": { "base_url": "http://127.0.0.1:14090", "key": "secret" },
            "sms": [{ "url": "https://sms.example.cn" }, { "url": "https://localhost/x" }],
        });
        let found = outside(Mode::Production, "billing", &section);
        let subjects: Vec<&str> = found.iter().map(|one| one.subject.as_str()).collect();
        assert_eq!(subjects, ["billing.sms.url", "billing.wechat.base_url"]);
        assert!(outside(Mode::Development, "billing", &section).is_empty());
        assert!(!serde_json::to_string(&found).unwrap().contains("14090"));
    }
}
