//! Redis: it answers, and only to who knows its password. What it holds can be made again, so
//! its loss is a warning.

use std::time::Duration;

use ::redis::{Client, ConnectionInfo, IntoConnectionInfo, RedisConnectionInfo};
use kit::config::Config;
use kit::graphql::Mode;
use secrecy::ExposeSecret;

use super::Finding;
use crate::output::Text;

/// How long connecting and one answer may take.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(2);

pub(super) async fn examine(config: &Config) -> Vec<Finding> {
    let Ok(info) = config.redis_url.expose_secret().into_connection_info() else {
        return vec![away("redis_url")];
    };
    let mut findings = match ping(info.clone()).await {
        Ok(()) => vec![Finding::ok(
            "redis.reachable",
            "",
            Text::new("应答正常", "it answers"),
        )],
        Err(why) => return vec![away(&why)],
    };
    findings.push(password(info, config.mode).await);
    findings
}

async fn ping(info: ConnectionInfo) -> Result<(), String> {
    let asked = async {
        let client = Client::open(info)?;
        let mut connection = client.get_multiplexed_async_connection().await?;
        ::redis::cmd("PING")
            .query_async::<()>(&mut connection)
            .await
    };
    match tokio::time::timeout(ANSWER_TIMEOUT, asked).await {
        Ok(Ok(())) => Ok(()),
        // Its own words could hold what it was sent.
        Ok(Err(error)) => Err(error.category().to_owned()),
        Err(_) => Err("no answer in time".to_owned()),
    }
}

fn away(why: &str) -> Finding {
    Finding::warn(
        "redis.reachable",
        "",
        Text::new(
            format!("连不上（{why}）：读取变慢，网关登录暂停，数据不会丢"),
            format!(
                "it is not reached ({why}): reads are slower and the gateway takes no logins; \
                 nothing is lost"
            ),
        ),
        Text::new(
            "启动 Redis（开发环境：deploy/dev/up run），核对 redis_url 的地址和密码",
            "start Redis (in development: deploy/dev/up run), compare the address and password \
             of redis_url",
        ),
    )
}

async fn password(info: ConnectionInfo, mode: Mode) -> Finding {
    let check = "redis.password";
    let anybody = info.set_redis_settings(RedisConnectionInfo::default());
    if ping(anybody).await.is_err() {
        let found = Text::new("没有密码不应答", "it answers nobody without the password");
        return Finding::ok(check, "", found);
    }
    let found = Text::new("没有密码也应答", "it answers without a password");
    let to_do = Text::new(
        "在 redis.conf 设置 requirepass，并写入 redis_url",
        "set requirepass in redis.conf, and the password in redis_url",
    );
    match mode {
        Mode::Production => Finding::fail(check, "", found, to_do),
        Mode::Development => Finding::warn(check, "", found, to_do),
    }
}
