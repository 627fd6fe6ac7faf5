//! The topics, what relays have not published yet, and what consumers have not applied yet.

use chrono::TimeDelta;
use kit::Ctx;
use sea_orm::FromQueryResult;

use super::{Finding, chain, unanswered};
use crate::broker::{Broker, Topic};
use crate::output::Text;
use crate::registry::Known;
use crate::stack::Stack;

/// Events waiting longer than this mean that the relay does not keep up, or does not run.
const RELAY_SECONDS_WARN: i64 = 10;
/// As long as this, others act on what is no longer true.
const RELAY_SECONDS_FAIL: i64 = 60;
/// Records that a consumer may be behind in one partition.
const LAG_RECORDS_WARN: i64 = 1_000;

pub(super) async fn examine(stack: &Stack, opened: &[(&'static Known, Ctx)]) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (known, ctx) in opened {
        findings.push(relay_age(known.name, ctx).await);
    }
    let broker = match Broker::new(&stack.config) {
        Ok(broker) => broker,
        Err(error) => return with(findings, away(&chain(error.as_ref()))),
    };
    if let Err(error) = broker.ask(Broker::names).await {
        return with(findings, away(&chain(error.as_ref())));
    }
    let found = Text::new("应答正常", "it answers");
    findings.push(Finding::ok(
        "kafka.reachable",
        &stack.config.kafka.brokers,
        found,
    ));
    for (known, ctx) in opened {
        let name = ctx.topic();
        let asked = name.clone();
        match broker.ask(move |broker| broker.topic(&asked)).await {
            Ok(Some(topic)) => {
                findings.push(shape(stack, &name, &topic));
                findings.push(explained(known.name, ctx, &topic).await);
                findings.extend(lags(&name, &topic, opened).await);
            }
            Ok(None) => findings.push(missing(known.name, ctx, &name).await),
            Err(error) => findings.push(away(&chain(error.as_ref()))),
        }
    }
    findings
}

fn with(mut findings: Vec<Finding>, one: Finding) -> Vec<Finding> {
    findings.push(one);
    findings
}

fn away(why: &str) -> Finding {
    Finding::fail(
        "kafka.reachable",
        "",
        Text::new(
            format!("连不上（{why}）：读写照常，事件在发件箱里等待"),
            format!("it is not reached ({why}): requests go on, events wait in the outbox"),
        ),
        Text::new(
            "启动 Kafka（开发环境：deploy/dev/up run），核对 kafka.brokers",
            "start Kafka (in development: deploy/dev/up run), compare kafka.brokers",
        ),
    )
}

/// A topic that is not there: made at the first start, wiped when something had been published.
async fn missing(service: &str, ctx: &Ctx, name: &str) -> Finding {
    let published = match relay(ctx).await {
        Ok(relay) => relay.offsets.iter().any(|offset| *offset >= 0),
        Err(error) => return unanswered("kafka.topic", service, &error),
    };
    if published {
        return Finding::fail(
            "kafka.topic",
            name,
            Text::new(
                "主题不见了，而它曾经有记录",
                "it is gone, and it had records",
            ),
            wiped(service),
        );
    }
    Finding::warn(
        "kafka.topic",
        name,
        Text::new("尚未建立", "it is not there yet"),
        Text::new(
            "启动服务（bashu serve）即自动建立",
            "start the service (bashu serve): it makes its topic",
        ),
    )
}

fn wiped(service: &str) -> Text {
    Text::new(
        format!("停止服务，bashu restored {service} --yes，启动服务，再 bashu resync {service}"),
        format!(
            "stop the service, bashu restored {service} --yes, start it, then \
             bashu resync {service}"
        ),
    )
}

fn shape(stack: &Stack, name: &str, topic: &Topic) -> Finding {
    let check = "kafka.topic";
    let wanted = stack.config.kafka.partitions;
    if topic.partitions != wanted {
        let has = topic.partitions;
        return Finding::fail(
            check,
            name,
            Text::new(
                format!("有 {has} 个分区，配置为 {wanted}"),
                format!("it has {has} partitions, configured are {wanted}"),
            ),
            Text::new(
                format!("把 kafka.partitions 改回 {has}：主题不能增减分区，否则键的顺序会乱"),
                format!(
                    "set kafka.partitions back to {has}: a topic never grows, or keys lose \
                         their order"
                ),
            ),
        );
    }
    if topic.leaderless > 0 {
        return Finding::fail(
            check,
            name,
            Text::new("有分区没有首领", "a partition has no leader"),
            Text::new("检查各 broker 是否都在运行", "see that every broker runs"),
        );
    }
    let copies = usize::try_from(stack.replication()).unwrap_or(1);
    if topic.replicas < copies {
        let has = topic.replicas;
        return Finding::fail(
            check,
            name,
            Text::new(
                format!("每个分区只有 {has} 份副本，应有 {copies}"),
                format!("a partition has {has} copies, it should have {copies}"),
            ),
            Text::new(
                "用 kafka-reassign-partitions 增加副本",
                "add replicas by kafka-reassign-partitions",
            ),
        );
    }
    let found = Text::new(format!("{wanted} 个分区"), format!("{wanted} partitions"));
    Finding::ok(check, name, found)
}

#[derive(FromQueryResult)]
struct Relay {
    offsets: Vec<i64>,
}

async fn relay(ctx: &Ctx) -> kit::Result<Relay> {
    let relay: Option<Relay> = ctx
        .db
        .one("SELECT offsets FROM outbox_relay WHERE shard = 0", [])
        .await?;
    relay.ok_or_else(|| kit::Error::internal("the relay's row is missing"))
}

/// Whether the topic still reaches as far as the relay was told.
async fn explained(service: &str, ctx: &Ctx, topic: &Topic) -> Finding {
    let check = "kafka.history";
    let relay = match relay(ctx).await {
        Ok(relay) => relay,
        Err(error) => return unanswered(check, service, &error),
    };
    let ends = topic.ends.iter().map(|(_, high)| *high);
    let short = relay
        .offsets
        .iter()
        .zip(ends)
        .position(|(offset, high)| high <= *offset);
    match short {
        None => Finding::ok(
            check,
            ctx.topic(),
            Text::new("主题与数据库相符", "the topic and the database fit"),
        ),
        Some(partition) => Finding::fail(
            check,
            ctx.topic(),
            Text::new(
                format!("分区 {partition} 比已确认的短：主题被清空或丢失记录，中继不会发布"),
                format!(
                    "partition {partition} is shorter than was acknowledged: the topic was \
                     wiped or lost records, and the relay refuses to publish"
                ),
            ),
            wiped(service),
        ),
    }
}

async fn relay_age(service: &str, ctx: &Ctx) -> Finding {
    let check = "relay.age";
    let oldest = match kit::relay::oldest_unpublished(ctx).await {
        Ok(oldest) => oldest,
        Err(error) => return unanswered(check, service, &error),
    };
    let age = oldest
        .map_or(TimeDelta::zero(), |at| ctx.clock.now() - at)
        .num_seconds();
    let found = match oldest {
        None => Text::new("没有等待发布的事件", "no event waits to be published"),
        Some(_) => Text::new(
            format!("最早的未发布事件已等待 {age} 秒"),
            format!("the oldest event that is not published has waited {age} s"),
        ),
    };
    let to_do = Text::new(
        "确认 bashu serve 在运行、Kafka 可达；日志里若有中继拒绝发布，见 bashu restored",
        "see that bashu serve runs and Kafka is reached; if the log says that the relay refuses, \
         see bashu restored",
    );
    if age <= RELAY_SECONDS_WARN {
        Finding::ok(check, service, found)
    } else if age <= RELAY_SECONDS_FAIL {
        Finding::warn(check, service, found, to_do)
    } else {
        Finding::fail(check, service, found, to_do)
    }
}

#[derive(FromQueryResult)]
struct Reading {
    consumer: String,
    part: i32,
    next_offset: i64,
}

/// How far each consumer of a topic is behind its end.
async fn lags(name: &str, topic: &Topic, opened: &[(&'static Known, Ctx)]) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (known, ctx) in opened {
        let sql = "SELECT consumer, part, next_offset FROM watermark WHERE topic = $1
                   ORDER BY consumer, part";
        let readings: Vec<Reading> = match ctx.db.all(sql, [name.into()]).await {
            Ok(readings) => readings,
            Err(error) => {
                findings.push(unanswered("consumer.lag", known.name, &error));
                continue;
            }
        };
        findings.extend(
            readings
                .iter()
                .filter_map(|one| lag(known.name, name, topic, one)),
        );
    }
    findings
}

fn lag(service: &str, name: &str, topic: &Topic, reading: &Reading) -> Option<Finding> {
    let check = "consumer.lag";
    let (low, high) = *topic.ends.get(usize::try_from(reading.part).ok()?)?;
    let subject = format!("{service}/{} ← {name}/{}", reading.consumer, reading.part);
    if reading.next_offset > 0 && reading.next_offset < low {
        let lost = low - reading.next_offset;
        return Some(Finding::fail(
            check,
            subject,
            Text::new(
                format!("{lost} 条未读记录已过保留期"),
                format!("{lost} records it had not read are past retention"),
            ),
            Text::new(
                format!(
                    "bashu parked release {service} {} {name} {} --reason …，然后由来源服务 \
                         bashu resync",
                    reading.consumer, reading.part
                ),
                format!(
                    "bashu parked release {service} {} {name} {} --reason …, then bashu \
                         resync of the service that writes the topic",
                    reading.consumer, reading.part
                ),
            ),
        ));
    }
    let behind = high - reading.next_offset.max(low);
    let found = Text::new(
        format!("落后 {behind} 条"),
        format!("{behind} records behind"),
    );
    if behind <= LAG_RECORDS_WARN {
        return Some(Finding::ok(check, subject, found));
    }
    Some(Finding::warn(
        check,
        subject,
        found,
        Text::new(
            format!("确认 bashu serve {service} 在运行；看 bashu parked list 是否有停下的分区"),
            format!(
                "see that bashu serve {service} runs, and in bashu parked list whether the \
                 partition has stopped"
            ),
        ),
    ))
}

/// What parked records and stopped partitions there are.
pub(super) async fn stopped(service: &'static str, ctx: &Ctx) -> Vec<Finding> {
    let held = match kit::consumer::held(&ctx.db).await {
        Ok(held) => held,
        Err(error) => return vec![unanswered("consumer.held", service, &error)],
    };
    let mut findings: Vec<Finding> = held
        .iter()
        .map(|one| {
            let (consumer, topic, part) = (&one.consumer, &one.topic, one.part);
            let writer = topic.split('.').next().unwrap_or(topic);
            let command =
                format!("bashu parked release {service} {consumer} {topic} {part} --reason …");
            Finding::fail(
                "consumer.held",
                format!("{service}/{consumer} ← {topic}/{part}"),
                Text::new(
                    format!("分区停下：{}", one.held),
                    format!("stopped: {}", one.held),
                ),
                Text::new(
                    format!("查明原因；{command}；然后 bashu resync {writer}"),
                    format!("find out why; {command}; then bashu resync {writer}"),
                ),
            )
        })
        .collect();
    match kit::parked::list(&ctx.db, None).await {
        Ok(parked) if parked.is_empty() => findings.push(Finding::ok(
            "consumer.parked",
            service,
            Text::new("没有搁置的消息", "nothing is parked"),
        )),
        Ok(parked) => findings.push(Finding::fail(
            "consumer.parked",
            service,
            Text::new(
                format!("{} 条消息被搁置", parked.len()),
                format!("{} records are parked", parked.len()),
            ),
            Text::new(
                format!(
                    "bashu parked list；修复后 bashu parked retry {service} --all，\
                         或 discard 并说明原因"
                ),
                format!(
                    "bashu parked list; after a fix bashu parked retry {service} --all, or \
                         discard with a reason"
                ),
            ),
        )),
        Err(error) => findings.push(Finding::fail(
            "consumer.parked",
            service,
            Text::new(chain(&error), chain(&error)),
            Text::new("见 postgres 一项", "see postgres above"),
        )),
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::super::Severity;
    use super::*;

    fn topic(low: i64, high: i64) -> Topic {
        Topic {
            partitions: 1,
            replicas: 1,
            leaderless: 0,
            ends: vec![(low, high)],
        }
    }

    fn at(next_offset: i64) -> Reading {
        Reading {
            consumer: "replica".to_owned(),
            part: 0,
            next_offset,
        }
    }

    /// A consumer near the end is well, one far behind warns, one behind the beginning fails.
    #[test]
    fn lag_is_judged_by_what_can_still_be_read() {
        let severity = |topic: &Topic, reading: &Reading| {
            lag("passes", "identity.v1", topic, reading)
                .unwrap()
                .severity
        };
        assert_eq!(severity(&topic(0, 10), &at(10)), Severity::Ok);
        assert_eq!(severity(&topic(0, 5_000), &at(10)), Severity::Warn);
        assert_eq!(severity(&topic(100, 200), &at(50)), Severity::Fail);
        // One that never read anything starts at the beginning that is left.
        assert_eq!(severity(&topic(100, 200), &at(0)), Severity::Ok);
    }
}
