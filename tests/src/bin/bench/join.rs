//! What our plugin costs: a join over two subgraphs through the gateway, beside the same through
//! hive-router as its own program runs it (`services/gateway/src/bin/hive-router-bare.rs`).
//!
//! The subgraphs are two small real ones in this process, async-graphql behind axum, and the
//! graph is the one of the gateway's tests: the union's own services refuse what the gateway has
//! not signed, so that no bare router could ask them, and their databases would hide the
//! difference that is looked for. Both doors run side by side with their own defaults, take turns
//! under the same load, and each request asks for another member, so that neither can share an
//! answer between requests.

mod doors;
mod subgraphs;

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Result, ensure};
use bytes::Bytes;
use http_body_util::Full;
use hyper::{Request, StatusCode};
use tests::load::{self, Arrivals, HttpRequest, Outcome, Plan, Requests};

use crate::figure::{Better, Figure};
use crate::world::Bench;
use doors::Door;

/// What is asked of the ratio.
const RATIO_MIN: f64 = 0.85;
const CONNECTIONS: usize = 64;
/// Turns of each door; the median counts.
const TURNS: usize = 5;
const TURN: Duration = Duration::from_secs(4);
const WARM_TURN: Duration = Duration::from_secs(3);

/// Measures without a token and with one; the worse of the two is the figure.
pub(crate) async fn run(bench: &Bench) -> Result<Vec<Figure>> {
    let signer = subgraphs::Signer::new();
    let addresses = subgraphs::serve(&signer).await?;
    let folder = doors::Folder::make(bench, addresses)?;
    let mut ours = Door::ours(bench, &folder)?;
    let mut bare = Door::bare(&folder)?;
    let outcome = async {
        ours.ready().await?;
        bare.ready().await?;
        let anonymous = compare(&ours, &bare, None).await?;
        let signed_in = compare(&ours, &bare, Some(signer.token())).await?;
        Ok::<_, anyhow::Error>((anonymous, signed_in))
    }
    .await;
    ours.stop().await?;
    bare.stop().await?;
    let (anonymous, signed_in) = outcome?;
    let said = [
        anonymous.said("without a token"),
        signed_in.said("with a token, which the bare router passes unread"),
    ];
    let worse = if signed_in.ratio() < anonymous.ratio() {
        signed_in
    } else {
        anonymous
    };
    let figure = worse.figure("gateway.join_ratio");
    Ok(vec![said.into_iter().fold(figure, Figure::note)])
}

/// The rates of both doors, turn by turn.
struct Compared {
    ours: Vec<Outcome>,
    bare: Vec<Outcome>,
}

async fn compare(ours: &Door, bare: &Door, token: Option<String>) -> Result<Compared> {
    for door in [ours, bare] {
        turn(door, WARM_TURN, token.as_deref()).await?;
    }
    let mut compared = Compared {
        ours: Vec::new(),
        bare: Vec::new(),
    };
    for _ in 0..TURNS {
        compared
            .ours
            .push(turn(ours, TURN, token.as_deref()).await?);
        compared
            .bare
            .push(turn(bare, TURN, token.as_deref()).await?);
    }
    Ok(compared)
}

async fn turn(door: &Door, length: Duration, token: Option<&str>) -> Result<Outcome> {
    let plan = Plan {
        address: door.address,
        connections: CONNECTIONS,
        arrivals: Arrivals::Saturate,
        length,
        requests_max: u64::MAX,
    };
    let asked = Join {
        host: door.address.to_string(),
        authorization: token.map(|token| format!("Bearer {token}")),
    };
    let outcome = load::run(plan, Arc::new(asked)).await?;
    ensure!(
        outcome.wrong == 0 && outcome.right > 0,
        "{}: {} wrong answers, the first: {}; its log: {}",
        door.name,
        outcome.wrong,
        outcome.first_wrong.unwrap_or_default(),
        door.log.display()
    );
    Ok(outcome)
}

impl Compared {
    fn ratio(&self) -> f64 {
        median(&self.ours) / median(&self.bare)
    }

    fn said(&self, how: &str) -> String {
        format!(
            "{how}: ours {:.0}/s (p50 {:.1} ms, p99 {:.1} ms), bare {:.0}/s (p50 {:.1} ms, p99 \
             {:.1} ms), ratio {:.2}; generator {:.2} of a core",
            median(&self.ours),
            latency(&self.ours, 0.5),
            latency(&self.ours, 0.99),
            median(&self.bare),
            latency(&self.bare, 0.5),
            latency(&self.bare, 0.99),
            self.ratio(),
            self.generator(),
        )
    }

    /// The share of a core that the generator used while ours was asked.
    fn generator(&self) -> f64 {
        self.ours.iter().map(Outcome::cpu_share).sum::<f64>() / turns()
    }

    fn figure(&self, name: &str) -> Figure {
        let rates = |outcomes: &[Outcome]| {
            let turns = (1_u32..).map(f64::from);
            turns.zip(outcomes.iter().map(Outcome::rate)).collect()
        };
        Figure::new(name, self.ratio(), "of bare", Better::Higher)
            .floor(RATIO_MIN)
            .limit_of(
                "bare hive-router, joins/s",
                median(&self.bare),
                median(&self.ours),
            )
            .generator(self.generator())
            .series("ours: turn → joins/s", rates(&self.ours))
            .series("bare: turn → joins/s", rates(&self.bare))
    }
}

#[expect(clippy::cast_precision_loss, reason = "a handful of turns")]
fn turns() -> f64 {
    TURNS as f64
}

fn median(outcomes: &[Outcome]) -> f64 {
    middle(outcomes.iter().map(Outcome::rate).collect())
}

fn latency(outcomes: &[Outcome], share: f64) -> f64 {
    let of = |outcome: &Outcome| outcome.latencies.quantile_ms(share);
    middle(outcomes.iter().map(of).collect())
}

fn middle(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}

/// One member by her id: her login from one subgraph, her passes from the other.
struct Join {
    host: String,
    authorization: Option<String>,
}

const QUERY: &str = "query Join($id: ID!) { member(id: $id) { id login passes } }";

impl Requests for Join {
    fn request(&self, number: u64) -> HttpRequest {
        let body = format!(r#"{{"query":"{QUERY}","variables":{{"id":"m{number}"}}}}"#);
        let mut request = Request::post("/graphql")
            .header("host", &self.host)
            .header("content-type", "application/json");
        if let Some(authorization) = &self.authorization {
            request = request.header("authorization", authorization);
        }
        let body = Full::new(Bytes::from(body));
        // Made of what a header may hold, so that it is always one.
        request.body(body).unwrap_or_default()
    }

    fn judge(&self, number: u64, status: StatusCode, body: &[u8]) -> Result<(), String> {
        let wanted = format!(r#""passes":["pass of m{number}"]"#);
        let has = body
            .windows(wanted.len())
            .any(|window| window == wanted.as_bytes());
        if status == StatusCode::OK && has {
            return Ok(());
        }
        Err(format!("{status}: {}", String::from_utf8_lossy(body)))
    }
}
