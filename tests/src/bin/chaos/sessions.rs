//! The people who are signed in, and what keeps them so: an access token lives ten minutes, so
//! each person trades her refresh token long before, at a time of her own. Whose trade got no
//! answer signs in again by a code, since a refresh token that is used twice ends its login.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::{Result, bail};
use serde_json::{Value, json};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::client::{Api, Caller, Doubt, text};
use crate::people::Cast;
use crate::world::{Component, World};

/// A token is traded after this: there is time for several attempts before it ends.
const RENEWED_AFTER: Duration = Duration::from_secs(240);
/// The first trades are spread over the time up to [`RENEWED_AFTER`] from here on.
const FIRST_AFTER: Duration = Duration::from_secs(60);
/// Identity sends one phone no two codes within a minute.
const CODE_PAUSE: Duration = Duration::from_secs(61);
/// The pause before another attempt when nobody can answer.
const ATTEMPT_PAUSE: Duration = Duration::from_secs(4);
/// The pause before another attempt of one whose token was not taken: while a clock is wrong the
/// next token is not taken either.
const REFUSED_PAUSE: Duration = Duration::from_secs(10);
/// People whose tokens are renewed at the same time.
const AT_ONCE: usize = 8;
const MESSAGE_TIMEOUT: Duration = Duration::from_secs(30);
const POLL: Duration = Duration::from_millis(50);
const IDLE: Duration = Duration::from_millis(200);

const REQUEST_CODE: &str = "mutation ($input: RequestLoginCodeInput!) { requestLoginCode(input: \
    $input) { userErrors { code message } } }";
const LOGIN: &str = "mutation ($input: LoginInput!) { login(input: $input) { tokens { accessToken \
    refreshToken } userErrors { code message } } }";
const REFRESH: &str = "mutation ($input: RefreshLoginInput!) { refreshLogin(input: $input) \
    { tokens { accessToken refreshToken } userErrors { code message } } }";

/// What a person's device holds.
#[derive(Clone, Debug)]
struct Tokens {
    access: String,
    /// Nothing after a trade whose answer is not known: it may be used.
    refresh: Option<String>,
}

impl Tokens {
    fn of(payload: &Value) -> Result<Self> {
        Ok(Self {
            access: text(payload, "/tokens/accessToken")?,
            refresh: Some(text(payload, "/tokens/refreshToken")?),
        })
    }
}

#[derive(Debug)]
struct Session {
    tokens: Tokens,
    /// When the next attempt is due.
    due: Instant,
    /// When something was attempted last.
    tried: Instant,
    /// When a code was asked for last.
    coded: Instant,
}

/// Someone who is signed in.
#[derive(Debug)]
pub(crate) struct Person {
    phone: String,
    session: Mutex<Session>,
    /// Somebody is at it.
    renewing: AtomicBool,
}

impl Person {
    /// Signs in by a code. Of `count` people the one at `place` renews her tokens at her own time.
    ///
    /// # Errors
    /// When the gateway refuses, or no message arrives.
    pub(crate) async fn sign_in(
        api: &Api,
        phone: &str,
        (place, count): (usize, usize),
    ) -> Result<Self> {
        let tokens = by_code(api, phone).await?;
        let span = (RENEWED_AFTER - FIRST_AFTER).as_secs_f64();
        let share = place as f64 / count.max(1) as f64;
        let own = FIRST_AFTER + Duration::from_secs_f64(span * share);
        Ok(Self::new(phone, tokens, own))
    }

    /// Trades a refresh token that somebody else was given.
    ///
    /// # Errors
    /// When the gateway refuses it.
    pub(crate) async fn continued(api: &Api, phone: &str, refresh: &str) -> Result<Self> {
        let input = json!({ "refreshToken": refresh });
        let payload = api.done(&Caller::Anonymous, REFRESH, &input).await?;
        Ok(Self::new(phone, Tokens::of(&payload)?, RENEWED_AFTER))
    }

    fn new(phone: &str, tokens: Tokens, after: Duration) -> Self {
        let now = Instant::now();
        let session = Session {
            tokens,
            due: now + after,
            tried: now,
            coded: now,
        };
        Self {
            phone: phone.to_owned(),
            session: Mutex::new(session),
            renewing: AtomicBool::new(false),
        }
    }

    fn session(&self) -> MutexGuard<'_, Session> {
        self.session.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn caller(&self) -> Caller {
        Caller::Member(self.session().tokens.access.clone())
    }

    /// Her token was not taken: it is renewed as soon as may be.
    pub(crate) fn refused(&self) {
        let mut session = self.session();
        session.due = session.due.min(session.tried + REFUSED_PAUSE);
    }

    /// Takes her on if she is due and nobody is at it.
    fn take(&self, now: Instant) -> bool {
        self.session().due <= now && !self.renewing.swap(true, Ordering::SeqCst)
    }

    async fn renew(&self, api: &Api, codes_closed: &AtomicBool) {
        let now = Instant::now();
        let (refresh, coded) = {
            let mut session = self.session();
            session.tried = now;
            (session.tokens.refresh.clone(), session.coded)
        };
        let renewed = match refresh {
            Some(refresh) => self.trade(api, &refresh).await,
            None if codes_closed.load(Ordering::SeqCst) => Err(ATTEMPT_PAUSE),
            None if coded + CODE_PAUSE > now => Err(coded + CODE_PAUSE - now),
            None => {
                self.session().coded = now;
                by_code(api, &self.phone).await.map_err(|_| CODE_PAUSE)
            }
        };
        let mut session = self.session();
        match renewed {
            Ok(tokens) => {
                session.tokens = tokens;
                session.due = now + RENEWED_AFTER;
            }
            Err(pause) => session.due = now + pause,
        }
    }

    /// The new tokens, or how long to wait until the next attempt.
    async fn trade(&self, api: &Api, refresh: &str) -> Result<Tokens, Duration> {
        let input = json!({ "refreshToken": refresh });
        let answer = api.run(&Caller::Anonymous, REFRESH, &input).await;
        if answer.is_ok()
            && let Ok(tokens) = Tokens::of(&answer.value)
        {
            return Ok(tokens);
        }
        if answer.doubt == Doubt::TurnedAway {
            return Err(ATTEMPT_PAUSE);
        }
        // It may be used: a code is asked for instead.
        self.session().tokens.refresh = None;
        Err(Duration::ZERO)
    }
}

/// Keeps everybody signed in until `stop`.
pub(crate) async fn keep(api: &Api, cast: &Cast, stop: &CancellationToken) {
    let one = async || {
        while !stop.is_cancelled() {
            let now = Instant::now();
            let Some(person) = cast.people().find(|person| person.take(now)) else {
                tokio::time::sleep(IDLE).await;
                continue;
            };
            if can_answer(api).await {
                person.renew(api, &cast.codes_closed).await;
            } else {
                person.session().due = now + ATTEMPT_PAUSE;
            }
            person.renewing.store(false, Ordering::SeqCst);
        }
    };
    futures::future::join_all((0..AT_ONCE).map(|_| one())).await;
}

/// Whether a trade that begins now has a good chance of an answer.
async fn can_answer(api: &Api) -> bool {
    for component in [Component::Gateway, Component::Identity] {
        if !api.is_well(&World::ready_url(component)).await {
            return false;
        }
    }
    true
}

/// Signs in by a code from the inbox.
async fn by_code(api: &Api, phone: &str) -> Result<Tokens> {
    let newest = async || -> Result<Option<String>> {
        Ok(text(&api.inbox(phone).await?, "/messages/0/message_id").ok())
    };
    let before = newest().await?;
    let input = json!({ "phone": phone });
    api.done(&Caller::Anonymous, REQUEST_CODE, &input).await?;
    let began = Instant::now();
    while began.elapsed() < MESSAGE_TIMEOUT {
        let inbox = api.inbox(phone).await?;
        let id = text(&inbox, "/messages/0/message_id").ok();
        if id.is_some() && id != before {
            let code = text(&inbox, "/messages/0/params/code")?;
            let input = json!({ "phone": phone, "code": code });
            let payload = api.done(&Caller::Anonymous, LOGIN, &input).await?;
            return Tokens::of(&payload);
        }
        tokio::time::sleep(POLL).await;
    }
    bail!("no message for {phone}");
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::time::Instant;

    use super::{Person, REFUSED_PAUSE, RENEWED_AFTER, Tokens};

    fn person(after: Duration) -> Person {
        let tokens = Tokens {
            access: "access".to_owned(),
            refresh: Some("refresh".to_owned()),
        };
        Person::new("19950000000", tokens, after)
    }

    /// She is taken on when she is due, and by one at a time.
    #[test]
    fn she_is_renewed_when_she_is_due() {
        let person = person(RENEWED_AFTER);
        let due = Instant::now() + RENEWED_AFTER;
        assert!(!person.take(due - RENEWED_AFTER / 2));
        assert!(person.take(due));
        assert!(!person.take(due));
    }

    /// A token that is not taken is renewed at once, but not again and again.
    #[test]
    fn a_refused_token_is_renewed_soon() {
        let person = person(RENEWED_AFTER);
        let tried = person.session().tried;
        person.refused();
        assert!(!person.take(tried + REFUSED_PAUSE / 2));
        assert!(person.take(tried + REFUSED_PAUSE));
    }
}
