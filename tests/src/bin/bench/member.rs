//! `member.search_p99_ms`: how long an officer waits who looks for somebody among a million people
//! by a name, its beginning, its pinyin or its initials: in the whole federation, in a district
//! and in a grassroots union.
//!
//! The people are laid in bulk, sealed with the world's own keys as the service seals them and
//! with the terms that it makes, since adding a million through the graph would take longer than
//! the bench.

use std::sync::Arc;
use std::time::Instant;

use anyhow::{Context, Result, anyhow, ensure};
use hyper::StatusCode;
use identity::commands::search_terms::terms_of;
use identity::domain::name::PersonName;
use identity::domain::search::SEARCH_VERSION;
use identity::spelling::readings;
use identity::vault::{Cell, Vault};
use kit::graphql::GlobalId;
use kit::{Clock, Ids};
use sea_orm::{ConnectionTrait, DatabaseConnection, DbBackend, Statement};
use tests::load::{self, Arrivals, HttpRequest, Plan, Requests};
use uuid::Uuid;

use crate::figure::{Better, Figure};
use crate::observe::quiet;
use crate::signing::{Caller, Keys, vault};
use crate::world::Bench;

const PEOPLE: usize = 1_000_000;
/// People of one grassroots union, and grassroots unions of one district.
const UNION_PEOPLE: usize = 500;
const DISTRICT_UNIONS: usize = 50;
/// People laid in one statement; whole unions.
const CHUNK: usize = 10_000;
const P99_MS_MAX: f64 = 20.0;
/// Searches in a second: what a thousand officers at their desks make.
const RATE: f64 = 50.0;
/// Rows of a page, as an app shows them.
const ROWS: usize = 20;
/// Officers wait for an answer before they ask again.
const CONNECTIONS: usize = 16;

/// Family names, the commonest first; each is half as common again as the one eight places later.
const FAMILY: [&str; 32] = [
    "李", "王", "张", "刘", "陈", "杨", "赵", "黄", "周", "吴", "徐", "孙", "胡", "朱", "高", "林",
    "何", "郭", "马", "罗", "梁", "宋", "郑", "谢", "韩", "唐", "冯", "于", "董", "萧", "欧阳",
    "单",
];
const GIVEN: [&str; 40] = [
    "伟", "芳", "娜", "敏", "静", "丽", "强", "磊", "军", "洋", "勇", "艳", "杰", "涛", "明", "超",
    "兰", "霞", "平", "刚", "桂", "英", "华", "玉", "萍", "红", "建", "国", "春", "梅", "文", "辉",
    "力", "志", "永", "健", "世", "广", "义", "兴",
];

const SEARCH: &str = "query ($in: ID!, $search: String!) { members(organisationId: $in, search: \
    $search, first: 20) { nodes { id maskedName maskedPhone maskedDocumentNumber } pageInfo \
    { hasNextPage endCursor } } }";

/// The searches of the load.
struct Searches {
    keys: Arc<Keys>,
    /// The federation, a district, a grassroots union, as the graph names them.
    organisations: [String; 3],
    token: String,
}

impl Requests for Searches {
    fn request(&self, number: u64) -> HttpRequest {
        let at = usize::try_from(number).unwrap_or(0);
        let text = typed(at);
        let organisation = &self.organisations[at % self.organisations.len()];
        let body = serde_json::json!({
            "query": SEARCH, "variables": { "in": organisation, "search": text },
        });
        let caller = Caller {
            token: Some(&self.token),
            gate: None,
        };
        let body = bytes::Bytes::from(body.to_string());
        self.keys.signed("identity", body, caller)
    }

    fn judge(&self, _: u64, status: StatusCode, body: &[u8]) -> std::result::Result<(), String> {
        let text = String::from_utf8_lossy(body);
        if status.is_success() && !text.contains("\"errors\"") && text.contains("pageInfo") {
            return Ok(());
        }
        Err(format!("{status} {text}"))
    }
}

/// The name of the `at`-th of all.
fn name(at: usize) -> String {
    // The square of an even share makes the first names common and the last rare.
    let share = at.wrapping_mul(7_919) % 1_024;
    let family = FAMILY[share * share * FAMILY.len() / (1_024 * 1_024)];
    let first = GIVEN[at.wrapping_mul(104_729) / 3 % GIVEN.len()];
    let second = GIVEN[at.wrapping_mul(1_299_709) / 7 % GIVEN.len()];
    if at % 4 == 0 {
        format!("{family}{first}")
    } else {
        format!("{family}{first}{second}")
    }
}

/// What an officer types who looks for the `at`-th of those who are looked for.
fn typed(at: usize) -> String {
    let whole = name(at.wrapping_mul(15_485_863) % PEOPLE);
    let spelled = || {
        let name = PersonName::parse(&whole).ok();
        name.and_then(|name| readings(&name).into_iter().next())
            .unwrap_or_default()
    };
    match at / 3 % 5 {
        0 => whole.chars().take(1).collect(),
        1 => whole.chars().take(2).collect(),
        2 => spelled().concat(),
        3 => spelled()
            .iter()
            .filter_map(|it| it.chars().next())
            .collect(),
        _ => whole,
    }
}

/// The part `member`.
///
/// # Errors
/// When a search is refused.
pub(crate) async fn run(bench: &Bench) -> Result<Vec<Figure>> {
    let prepared = bench.prepared().await?;
    let organisations = lay(bench).await?;
    let operator = "SELECT member FROM role WHERE role = 'operator' AND withdrawn_at IS NULL";
    let rows = bench.superuser().rows(identity::NAME, operator).await?;
    let operator = rows.first().ok_or_else(|| anyhow!("no operator"))?;
    let operator: Uuid = operator.try_get_by_index(0)?;
    quiet(bench).await?;
    let searches = Searches {
        keys: Arc::clone(&prepared.keys),
        organisations,
        token: prepared.keys.token(operator)?,
    };
    let plan = Plan {
        address: bench.graphql(identity::NAME),
        connections: CONNECTIONS,
        arrivals: Arrivals::Rate(RATE),
        length: bench.seconds(),
        requests_max: u64::MAX,
    };
    let outcome = load::run(plan, Arc::new(searches)).await?;
    ensure!(outcome.wrong == 0, "{:?}", outcome.first_wrong);
    let p99 = outcome.latencies.quantile_ms(0.99);
    let half = outcome.latencies.quantile_ms(0.5);
    let figure = Figure::new("member.search_p99_ms", p99, "ms", Better::Lower)
        .floor(P99_MS_MAX)
        .generator(outcome.cpu_share())
        .holds(outcome.kept_up(&plan), "searches pile up at this rate")
        .note(format!(
            "{RATE} searches/s of {ROWS} rows among {PEOPLE} people; half take {half:.1} ms"
        ))
        .series("latency, ms by percentile", outcome.latencies.curve());
    Ok(vec![figure])
}

/// Lays the people and their unions; the federation, a district and a grassroots union.
async fn lay(bench: &Bench) -> Result<[String; 3]> {
    let began = Instant::now();
    let connection = bench.superuser().connect(identity::NAME).await?;
    let (vault, ids) = (vault(bench)?, Ids::random());
    let root = "SELECT id FROM organisation WHERE parent IS NULL";
    let rows = bench.superuser().rows(identity::NAME, root).await?;
    let root: Uuid = rows
        .first()
        .ok_or_else(|| anyhow!("no federation"))?
        .try_get_by_index(0)?;
    let mut wanted = [root; 3];
    let mut district = root;
    for from in (0..PEOPLE).step_by(CHUNK) {
        let mut unions = Vec::with_capacity(CHUNK / UNION_PEOPLE);
        for union in (from / UNION_PEOPLE)..((from + CHUNK) / UNION_PEOPLE) {
            if union % DISTRICT_UNIONS == 0 {
                let of = (root, vec![root], "territorial", union);
                district = organisation(&connection, &ids, of).await?;
            }
            let of = (district, vec![root, district], "grassroots", union);
            unions.push(organisation(&connection, &ids, of).await?);
        }
        wanted = [root, district, unions[0]];
        people(&connection, (&vault, &ids), (from, &unions)).await?;
    }
    connection.close().await?;
    let tables = [
        "member",
        "person",
        "membership",
        "search_term",
        "organisation",
    ];
    for table in tables {
        let analyze = format!("VACUUM ANALYZE {table}");
        bench.superuser().sql(identity::NAME, &[&analyze]).await?;
    }
    let seconds = began.elapsed().as_secs_f64();
    bench.say(&format!(
        "{PEOPLE} 名会员可供检索 / {PEOPLE} people to be looked for: {seconds:.1} s"
    ));
    Ok(wanted.map(|id| GlobalId::of_uuid("Organisation", id).to_string()))
}

async fn organisation(
    connection: &DatabaseConnection,
    ids: &Ids,
    (parent, mut path, kind, number): (Uuid, Vec<Uuid>, &str, usize),
) -> Result<Uuid> {
    let id = ids.uuid(Clock::System.now());
    path.push(id);
    let name = format!("检索压测{kind}{number}");
    let values = [
        id.into(),
        kind.into(),
        parent.into(),
        path.into(),
        name.into(),
    ];
    let sql = "INSERT INTO organisation (id, version, kind, parent, path, name, division, \
        created_at) VALUES ($1, 1, $2, $3, $4, $5, '500103', now())";
    run_sql(connection, sql, values).await?;
    Ok(id)
}

/// As the service writes people who join, in chunks.
async fn people(
    connection: &DatabaseConnection,
    (vault, ids): (&Vault, &Ids),
    (from, unions): (usize, &[Uuid]),
) -> Result<()> {
    let (mut members, mut keys, mut names) = (Vec::new(), Vec::new(), Vec::new());
    let (mut terms, mut owners, mut homes) = (Vec::new(), Vec::new(), Vec::new());
    for at in 0..CHUNK {
        let member = ids.uuid(Clock::System.now());
        let name = PersonName::parse(&name(from + at)).map_err(|it| anyhow!("{it:?}"))?;
        let (key, wrapped) = vault.new_data_key(ids, member)?;
        let cell = Cell::new("person", "name", member);
        names.push(key.seal(ids, cell, name.as_str().as_bytes())?);
        keys.push(wrapped);
        for term in terms_of(vault, &name) {
            terms.push(term);
            owners.push(member);
        }
        homes.push(unions[at / UNION_PEOPLE]);
        members.push(member);
    }
    let sql = "INSERT INTO member (id, version, state, created_at) \
        SELECT i, 1, 'active', now() FROM UNNEST($1::uuid[]) AS t (i)";
    run_sql(connection, sql, [members.clone().into()]).await?;
    let sql = "INSERT INTO person (member, data_key, name, search_version) \
        SELECT m, k, n, $4 FROM UNNEST($1::uuid[], $2::bytea[], $3::bytea[]) AS t (m, k, n)";
    let values = [
        members.clone().into(),
        keys.into(),
        names.into(),
        SEARCH_VERSION.into(),
    ];
    run_sql(connection, sql, values).await?;
    let sql = "INSERT INTO search_term (term, member) \
        SELECT * FROM UNNEST($1::bigint[], $2::uuid[])";
    run_sql(connection, sql, [terms.into(), owners.into()]).await?;
    let sql = "INSERT INTO membership (id, version, member, organisation, state, since, \
        created_at) SELECT gen_random_uuid(), 1, m, o, 'full', '2026-01-01', now() \
        FROM UNNEST($1::uuid[], $2::uuid[]) AS t (m, o)";
    run_sql(connection, sql, [members.into(), homes.into()]).await
}

async fn run_sql(
    connection: &DatabaseConnection,
    sql: &str,
    values: impl IntoIterator<Item = sea_orm::Value>,
) -> Result<()> {
    let statement = Statement::from_sql_and_values(DbBackend::Postgres, sql, values);
    let ran = connection.execute_raw(statement).await;
    ran.with_context(|| sql.to_owned())?;
    Ok(())
}
