//! `login.rate`: people who show the code that their phone was sent, straight at identity. The
//! codes are laid by the bench in the shape in which `requestLoginCode` leaves them, since one
//! phone may ask for one a minute only; what is measured is `login`: the code is looked up and
//! used up, the person found by her phone, her data key opened, a login with its refresh token
//! written, an access token signed.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Result, ensure};
use hyper::StatusCode;
use identity::domain::code;
use identity::domain::identifier::Phone;
use identity::vault::Vault;
use kit::Clock;
use tests::load::{self, Arrivals, HttpRequest, Outcome, Plan, Requests};
use uuid::Uuid;

use crate::figure::{Better, Figure};
use crate::people::{self, Opened};
use crate::signing::{Caller, Keys, operation};
use crate::world::Bench;

/// Logins in a second that are asked for.
const RATE_MIN: f64 = 1_000.0;
/// People who sign in, each once in a run.
const PEOPLE_MAX: usize = 6_000;
/// Runs; the figure is the middle one.
const RUNS: usize = 3;
/// A run ends with its people; this is for one that hangs.
const RUN_TIME_MAX: Duration = Duration::from_secs(60);
const LOGIN: &str = "mutation ($input: LoginInput!) { login(input: $input) { tokens { accessToken \
    refreshToken } userErrors { code message } } }";
const SIGNED_IN: &[u8] = b"\"userErrors\":[]";

/// Each phone with its code.
struct Logins {
    keys: Arc<Keys>,
    codes: Vec<(String, String)>,
}

impl Requests for Logins {
    fn request(&self, number: u64) -> HttpRequest {
        let at = usize::try_from(number).unwrap_or(0) % self.codes.len();
        let (phone, code) = &self.codes[at];
        let input = format!("{{\"phone\":\"{phone}\",\"code\":\"{code}\"}}");
        let body = operation(LOGIN, &input);
        self.keys.signed("identity", body, Caller::default())
    }

    fn judge(&self, _: u64, status: StatusCode, body: &[u8]) -> std::result::Result<(), String> {
        if status.is_success() && body.windows(SIGNED_IN.len()).any(|part| part == SIGNED_IN) {
            return Ok(());
        }
        Err(format!("{status} {}", String::from_utf8_lossy(body)))
    }
}

/// The part `login`.
///
/// # Errors
/// When somebody is not signed in, or the table holds another number of logins.
pub(crate) async fn run(bench: &Bench) -> Result<Vec<Figure>> {
    let limits = *bench.limits().await?;
    let prepared = bench.prepared().await?;
    let opened = people::open(bench).await?;
    let people = people::all(&opened, PEOPLE_MAX).await?;
    let phones = people.iter().map(|person| Phone::parse(&person.phone));
    let phones: Vec<Phone> = phones
        .collect::<Result<_, _>>()
        .map_err(|_| anyhow::anyhow!("a stored phone is none"))?;
    let mut outcomes = Vec::with_capacity(RUNS);
    for _ in 0..RUNS {
        let codes = lay(&opened, &phones).await?;
        outcomes.push(sign_in(bench, &prepared.keys, codes).await?);
    }
    outcomes.sort_by(|one, other| one.rate().total_cmp(&other.rate()));
    let middle = &outcomes[RUNS / 2];
    let rates: Vec<String> = outcomes
        .iter()
        .map(|outcome| format!("{:.0}", outcome.rate()))
        .collect();
    Ok(vec![
        Figure::new("login.rate", middle.rate(), "/s", Better::Higher)
            .floor(RATE_MIN)
            .limit("pgbench on many rows, /s", limits.many_rows)
            .generator(middle.cpu_share())
            .series("seconds → logins per second", middle.throughput())
            .series("percentile → ms", middle.latencies.curve())
            .note(format!(
                "{} people, each once in a run; {RUNS} runs: {} /s; p99 {:.0} ms at {} connections \
                 that never rest",
                phones.len(),
                rates.join(", "),
                middle.latencies.quantile_ms(0.99),
                bench.connections(),
            ))
            .note("all but a first login tell the person's other devices of it"),
    ])
}

/// Gives each phone a code that was sent just now; the digits follow from the world's keys.
async fn lay(opened: &Opened, phones: &[Phone]) -> Result<Vec<(String, String)>> {
    let Opened { vault, db } = opened;
    let ids = kit::Ids::random();
    let now = Clock::System.now();
    let mut laid = Vec::with_capacity(phones.len());
    let (mut hashes, mut codes): (Vec<Vec<u8>>, Vec<Uuid>) = (Vec::new(), Vec::new());
    for phone in phones {
        let (hash, id) = (vault.blind_phone(phone)?, ids.uuid(now));
        laid.push((phone.as_str().to_owned(), digits(vault, id, &hash)));
        hashes.push(hash.to_vec());
        codes.push(id);
    }
    db.execute(
        "INSERT INTO login_code AS c (phone, id, created_at, wrong, asked_at)
         SELECT p, i, $3, 0, '{}' FROM UNNEST($1::bytea[], $2::uuid[]) AS t (p, i)
         ON CONFLICT (phone) DO UPDATE SET id = EXCLUDED.id, created_at = EXCLUDED.created_at,
           wrong = 0, used_at = NULL",
        [hashes.into(), codes.into(), now.into()],
    )
    .await?;
    Ok(laid)
}

fn digits(vault: &Vault, id: Uuid, phone: &[u8; 32]) -> String {
    code::digits(&vault.code_hash(id, phone))
}

async fn sign_in(bench: &Bench, keys: &Arc<Keys>, codes: Vec<(String, String)>) -> Result<Outcome> {
    const COUNT: &str = "SELECT count(*) FROM login";
    let before = bench.superuser().number("identity", COUNT).await?;
    let requests_max = u64::try_from(codes.len())?;
    let plan = Plan {
        address: bench.graphql("identity"),
        connections: bench.connections(),
        arrivals: Arrivals::Saturate,
        length: RUN_TIME_MAX,
        requests_max,
    };
    let keys = Arc::clone(keys);
    let outcome = load::run(plan, Arc::new(Logins { keys, codes })).await?;
    ensure!(outcome.wrong == 0, "{:?}", outcome.first_wrong);
    let stored = bench.superuser().number("identity", COUNT).await? - before;
    ensure!(
        u64::try_from(stored) == Ok(requests_max),
        "{requests_max} logins were confirmed and {stored} are stored"
    );
    Ok(outcome)
}
