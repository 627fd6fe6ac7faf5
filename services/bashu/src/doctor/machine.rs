//! This machine: free disk, and whether the union's services are served from here and closed to
//! those who are not its gateway.

use std::path::Path;
use std::time::Duration;

use kit::config::Config;
use reqwest::StatusCode;

use super::Finding;
use crate::output::Text;
use crate::registry;

/// Free space below which somebody must act, in bytes.
const FREE_BYTES_WARN: u64 = 5 * 1024 * 1024 * 1024;
/// Free space below which nothing is safe, in bytes.
const FREE_BYTES_FAIL: u64 = 512 * 1024 * 1024;
const ANSWER_TIMEOUT: Duration = Duration::from_secs(3);

pub(super) async fn examine(config: &Config) -> Vec<Finding> {
    let mut findings = vec![disk(&config.data_dir).await];
    let client = reqwest::Client::builder()
        .timeout(ANSWER_TIMEOUT)
        .no_proxy()
        .build();
    let Ok(http) = client else { return findings };
    if config.listen.base_port == 0 {
        return findings;
    }
    let served = ready(config, &http).await;
    let is_served = served.subject.is_empty();
    findings.push(served);
    if is_served {
        for known in &registry::ALL {
            findings.extend(closed(config, known.name, &http).await);
        }
    }
    findings
}

/// The free space where files are kept, by the system's own tool.
async fn disk(folder: &Path) -> Finding {
    let check = "machine.disk";
    let subject = folder.display().to_string();
    let asked = tokio::process::Command::new("df")
        .arg("-Pk")
        .arg(folder)
        .env("LC_ALL", "C")
        .output()
        .await;
    let free = asked
        .ok()
        .filter(|output| output.status.success())
        .and_then(|output| free_bytes(&String::from_utf8_lossy(&output.stdout)));
    let Some(free) = free else {
        return Finding::fail(
            check,
            subject,
            Text::new(
                "data_dir 不存在或读不到",
                "data_dir is missing or cannot be read",
            ),
            Text::new(
                "建立该文件夹，只给服务的用户权限（0700）",
                "make the folder, for the service's user alone (0700)",
            ),
        );
    };
    judged(subject, free)
}

/// What `free` bytes mean for whoever keeps the folder.
fn judged(subject: String, free: u64) -> Finding {
    let check = "machine.disk";
    let mib = free / 1024 / 1024;
    let found = Text::new(format!("剩余 {mib} MiB"), format!("{mib} MiB free"));
    let to_do = Text::new(
        "清理或扩容：PostgreSQL 写满磁盘会停止一切写入",
        "make room: a full disk stops every write",
    );
    match free {
        FREE_BYTES_WARN.. => Finding::ok(check, subject, found),
        FREE_BYTES_FAIL.. => Finding::warn(check, subject, found, to_do),
        _ => Finding::fail(check, subject, found, to_do),
    }
}

/// The fourth column of the last line of `df -Pk`, in bytes.
fn free_bytes(output: &str) -> Option<u64> {
    let line = output.lines().last()?;
    let kib: u64 = line.split_whitespace().nth(3)?.parse().ok()?;
    kib.checked_mul(1024)
}

async fn ready(config: &Config, http: &reqwest::Client) -> Finding {
    let check = "serving";
    let address = config.listen.ops();
    match http.get(format!("http://{address}/ready")).send().await {
        Ok(answer) if answer.status() == StatusCode::OK => {
            Finding::ok(check, "", Text::new("服务就绪", "the services are ready"))
        }
        Ok(answer) => {
            let states = answer.text().await.unwrap_or_default();
            Finding::fail(
                check,
                "",
                Text::new(
                    format!("服务未就绪：{states}"),
                    format!("not ready: {states}"),
                ),
                Text::new(
                    "缺迁移则 bashu migrate；缺密钥则 bashu keys publish；其余看日志",
                    "migrations missing: bashu migrate; keys missing: bashu keys publish; else \
                     see the log",
                ),
            )
        }
        Err(_) => Finding::warn(
            check,
            address.to_string(),
            Text::new("本机没有在服务", "nothing is served from here"),
            Text::new(
                "若应在本机：bashu serve all（或单个服务）",
                "if it should be: bashu serve all (or one service)",
            ),
        ),
    }
}

/// A subgraph must not answer to a request that the gateway has not signed.
async fn closed(config: &Config, service: &str, http: &reqwest::Client) -> Option<Finding> {
    let check = "subgraph.closed";
    let address = config.listen.graphql(service);
    let unsigned = http
        .post(format!("http://{address}/graphql"))
        .json(&serde_json::json!({ "query": "{ __typename }" }))
        .send()
        .await
        // Served elsewhere.
        .ok()?;
    let status = unsigned.status();
    if status == StatusCode::UNAUTHORIZED || status == StatusCode::FORBIDDEN {
        let found = Text::new(
            "未经网关签名的请求被拒绝",
            "it refuses what no gateway signed",
        );
        return Some(Finding::ok(check, service, found));
    }
    Some(Finding::fail(
        check,
        service,
        Text::new(
            format!("未经网关签名的请求得到 {status}"),
            format!("a request that no gateway signed was answered {status}"),
        ),
        Text::new(
            "该地址上运行的不是本程序的服务：停掉它，用 bashu serve 启动",
            "what listens there is not this program: stop it and start bashu serve",
        ),
    ))
}

#[cfg(test)]
mod tests {
    use super::super::Severity;
    use super::*;

    #[test]
    fn free_space_is_read_from_df() {
        let output = "Filesystem 1024-blocks Used Available Capacity Mounted on\n\
                      /dev/vda1 1000 400 600 40% /\n";
        assert_eq!(free_bytes(output), Some(600 * 1024));
        assert_eq!(free_bytes(""), None);
        assert_eq!(free_bytes("df: /x: No such file or directory"), None);
    }

    #[test]
    fn little_space_is_a_warning_and_none_a_failure() {
        let severity = |free| judged(String::new(), free).severity;
        assert_eq!(severity(FREE_BYTES_WARN), Severity::Ok);
        assert_eq!(severity(FREE_BYTES_WARN - 1), Severity::Warn);
        assert_eq!(severity(FREE_BYTES_FAIL), Severity::Warn);
        assert_eq!(severity(FREE_BYTES_FAIL - 1), Severity::Fail);
    }
}
