//! OpenID Connect: the authorization code flow with PKCE, as a relying party of any issuer that is
//! configured.
//!
//! The requests are ours, so that each has its limits; what an ID token must be to be believed
//! (signature, issuer, audience, nonce, time) is decided by the `openidconnect` crate. Its issuer's
//! metadata and keys are asked for at each login: there are few, and a key that was withdrawn is
//! gone at once.

use std::net::IpAddr;
use std::str::FromStr;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use chrono::{DateTime, TimeDelta, Utc};
use kit::{Error, Result};
use openidconnect::core::{
    CoreIdToken, CoreIdTokenVerifier, CoreJsonWebKeySet, CoreJwsSigningAlgorithm,
};
use openidconnect::{ClientId, IssuerUrl, Nonce};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use reqwest::{RequestBuilder, StatusCode, Url, header};
use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use sha2::{Digest, Sha256};

use crate::domain::subject::{Kind, OutsideCode, Subject};
use crate::error::Refusal;

/// One row of the section `identity.oidc`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct IssuerSettings {
    /// What clients call it.
    pub name: String,
    /// The issuer's identifier, as its tokens have it.
    pub issuer: String,
    pub client_id: String,
    /// None for a public client.
    #[serde(default)]
    pub client_secret: Option<SecretString>,
    /// Where it sends people back to.
    pub redirect_uri: String,
}

/// How long an issuer may take for all that it is asked in one request of ours: less than the
/// gateway waits, so that whoever asked hears of it and her code is not traded for nobody.
const ANSWERS_TIMEOUT: Duration = Duration::from_secs(4);
/// The longest answer that is read, in bytes.
const ANSWER_BYTES_MAX: usize = 256 * 1024;
/// How old an ID token may be, and how far its clock may be ahead, in seconds.
const TOKEN_SECONDS_MAX: i64 = 600;

/// What an issuer says of itself.
#[derive(Clone, Debug, Deserialize)]
pub struct Metadata {
    issuer: String,
    authorization_endpoint: String,
    token_endpoint: String,
    jwks_uri: String,
}

/// What is sent with a person to her issuer and must come back, or be proven, with her.
#[derive(Clone)]
pub struct Secrets {
    pub state: String,
    pub nonce: String,
    /// PKCE: what the code alone is not enough without.
    pub verifier: String,
}

impl std::fmt::Debug for Secrets {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Secrets")
    }
}

/// What an issuer says of itself, if it is the one that is configured.
///
/// # Errors
/// Unavailable when it does not answer, or is another one.
pub async fn discover(http: &reqwest::Client, settings: &IssuerSettings) -> Result<Metadata> {
    within(discovered(http, settings)).await
}

async fn discovered(http: &reqwest::Client, settings: &IssuerSettings) -> Result<Metadata> {
    let base = settings.issuer.trim_end_matches('/');
    let address = format!("{base}/.well-known/openid-configuration");
    let metadata: Metadata = get(http, settings, &address).await?;
    if metadata.issuer != settings.issuer {
        return Err(Error::Unavailable("an OIDC issuer says it is another one"));
    }
    Ok(metadata)
}

/// The address that a person is sent to.
///
/// # Errors
/// Unavailable when the issuer's own address is none.
pub fn authorization_url(
    metadata: &Metadata,
    settings: &IssuerSettings,
    secrets: &Secrets,
) -> Result<String> {
    let challenge = URL_SAFE_NO_PAD.encode(Sha256::digest(secrets.verifier.as_bytes()));
    let mut url = address(settings, &metadata.authorization_endpoint)?;
    url.query_pairs_mut().extend_pairs([
        ("response_type", "code"),
        ("scope", "openid"),
        ("client_id", settings.client_id.as_str()),
        ("redirect_uri", settings.redirect_uri.as_str()),
        ("state", secrets.state.as_str()),
        ("nonce", secrets.nonce.as_str()),
        ("code_challenge", challenge.as_str()),
        ("code_challenge_method", "S256"),
    ]);
    Ok(url.into())
}

/// Trades a code for the subject of the ID token that comes with it.
///
/// # Errors
/// [`Refusal::OutsideCodeInvalid`] when the issuer does not take the code, or its token is none
/// that may be believed; unavailable when it does not answer all that it is asked in time.
pub async fn subject_of(
    http: &reqwest::Client,
    settings: &IssuerSettings,
    (secrets, code): (&Secrets, &OutsideCode),
    now: DateTime<Utc>,
) -> Result<Subject> {
    let (token, keys) = within(async {
        let metadata = discovered(http, settings).await?;
        let token = id_token(http, (&metadata, settings), secrets, code).await?;
        let keys: CoreJsonWebKeySet = get(http, settings, &metadata.jwks_uri).await?;
        Ok((token, keys))
    })
    .await?;
    let subject = believed(&token, keys, (settings, &secrets.nonce), now)?;
    Subject::new(Kind::Oidc, &settings.issuer, &subject)
        .ok_or(Error::Unavailable("an OIDC issuer names nobody"))
}

/// What an issuer is asked, if it answers it all in time.
async fn within<T>(asked: impl Future<Output = Result<T>>) -> Result<T> {
    tokio::time::timeout(ANSWERS_TIMEOUT, asked)
        .await
        .unwrap_or(Err(Error::Unavailable("an OIDC issuer does not answer")))
}

/// The subject of an ID token of this issuer for this client, if it may be believed.
fn believed(
    token: &str,
    keys: CoreJsonWebKeySet,
    (settings, nonce): (&IssuerSettings, &str),
    now: DateTime<Utc>,
) -> Result<String> {
    let refused = |why: String| {
        tracing::error!(reason = why, "an ID token is not believed");
        Error::from(Refusal::OutsideCodeInvalid)
    };
    let issuer = IssuerUrl::new(settings.issuer.clone())
        .map_err(|_| Error::internal("an OIDC issuer has no address"))?;
    let client = ClientId::new(settings.client_id.clone());
    let longest = TimeDelta::seconds(TOKEN_SECONDS_MAX);
    let verifier = CoreIdTokenVerifier::new_public_client(client.clone(), issuer, keys)
        .set_allowed_algs([
            CoreJwsSigningAlgorithm::RsaSsaPkcs1V15Sha256,
            CoreJwsSigningAlgorithm::EcdsaP256Sha256,
            CoreJwsSigningAlgorithm::EdDsa,
        ])
        .set_time_fn(move || now)
        .set_issue_time_verifier_fn(move |at| {
            if (now - longest..=now + longest).contains(&at) {
                Ok(())
            } else {
                Err("issued at another time".to_owned())
            }
        });
    let token = CoreIdToken::from_str(token).map_err(|_| refused("no ID token".to_owned()))?;
    let claims = token
        .claims(&verifier, &Nonce::new(nonce.to_owned()))
        .map_err(|error| refused(error.to_string()))?;
    // The crate leaves the authorized party to its callers.
    if claims
        .authorized_party()
        .is_some_and(|party| *party != client)
    {
        return Err(refused("for another party".to_owned()));
    }
    Ok(claims.subject().as_str().to_owned())
}

#[derive(Deserialize)]
struct Tokens {
    id_token: String,
}

async fn id_token(
    http: &reqwest::Client,
    (metadata, settings): (&Metadata, &IssuerSettings),
    secrets: &Secrets,
    code: &OutsideCode,
) -> Result<String> {
    let form = form([
        ("grant_type", "authorization_code"),
        ("code", code.as_str()),
        ("redirect_uri", settings.redirect_uri.as_str()),
        ("code_verifier", secrets.verifier.as_str()),
        ("client_id", settings.client_id.as_str()),
    ])?;
    let mut request = http
        .post(address(settings, &metadata.token_endpoint)?)
        .header(header::CONTENT_TYPE, "application/x-www-form-urlencoded")
        .header(header::ACCEPT, "application/json")
        .body(form);
    if let Some(secret) = &settings.client_secret {
        // RFC 6749 §2.3.1: both are encoded before they become a user and a password.
        let encoded = |text: &str| utf8_percent_encode(text, NON_ALPHANUMERIC).to_string();
        let secret = encoded(secret.expose_secret());
        request = request.basic_auth(encoded(&settings.client_id), Some(secret));
    }
    let (status, body) = answer(request).await?;
    match status {
        StatusCode::OK => Ok(read::<Tokens>(&body)?.id_token),
        StatusCode::BAD_REQUEST => Err(Refusal::OutsideCodeInvalid.into()),
        other => {
            tracing::error!(status = other.as_u16(), "an OIDC issuer refuses");
            Err(Error::Unavailable("an OIDC issuer refuses"))
        }
    }
}

/// Pairs as a form is sent, which is how a query is written too.
fn form<'a>(pairs: impl IntoIterator<Item = (&'a str, &'a str)>) -> Result<String> {
    let url = Url::parse_with_params("http://form/", pairs)
        .map_err(|_| Error::internal("a form could not be written"))?;
    Ok(url.query().unwrap_or_default().to_owned())
}

/// An address of an issuer, or one that it names: on the way there nobody reads or changes what is
/// said. A development world's issuer is on this machine, where there is no way, and so is what it
/// names; another one's word leads nobody to this machine.
fn address(settings: &IssuerSettings, text: &str) -> Result<Url> {
    let url =
        Url::parse(text).map_err(|_| Error::Unavailable("an OIDC issuer has no such address"))?;
    let is_here = is_loopback(&url)
        && Url::parse(&settings.issuer).is_ok_and(|it| it.scheme() == "http" && is_loopback(&it));
    if url.scheme() == "https" || (url.scheme() == "http" && is_here) {
        Ok(url)
    } else {
        Err(Error::Unavailable(
            "an OIDC issuer is not asked in the clear",
        ))
    }
}

/// Whether an address is of this machine.
pub(crate) fn is_loopback(url: &Url) -> bool {
    // The parser writes whatever is an address as one; a name may lead anywhere.
    let host = url.host_str().unwrap_or_default();
    let host = host.trim_start_matches('[').trim_end_matches(']');
    host.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback())
}

async fn get<T: DeserializeOwned>(
    http: &reqwest::Client,
    settings: &IssuerSettings,
    url: &str,
) -> Result<T> {
    let (status, body) = answer(http.get(address(settings, url)?)).await?;
    if status != StatusCode::OK {
        return Err(Error::Unavailable("an OIDC issuer refuses"));
    }
    read(&body)
}

fn read<T: DeserializeOwned>(body: &[u8]) -> Result<T> {
    serde_json::from_slice(body)
        .map_err(|_| Error::Unavailable("an OIDC issuer says what nobody understands"))
}

async fn answer(request: RequestBuilder) -> Result<(StatusCode, Vec<u8>)> {
    let away = |_| Error::Unavailable("an OIDC issuer does not answer");
    let mut response = request.send().await.map_err(away)?;
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(away)? {
        body.extend_from_slice(&chunk);
        if body.len() > ANSWER_BYTES_MAX {
            return Err(Error::Unavailable("an OIDC issuer says too much"));
        }
    }
    Ok((response.status(), body))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn issuer(address: &str) -> IssuerSettings {
        IssuerSettings {
            name: "federation".to_owned(),
            issuer: address.to_owned(),
            client_id: "bashu".to_owned(),
            client_secret: None,
            redirect_uri: "https://bashu.example.cn/back".to_owned(),
        }
    }

    /// Whoever sits on the way reads no code and forges no key: nothing is asked in the clear but
    /// on this machine, and there only of an issuer that is here itself.
    #[test]
    fn an_issuer_is_asked_where_nobody_listens() {
        let far = issuer("https://id.example.cn");
        for (text, may) in [
            ("https://id.example.cn/token", true),
            ("http://id.example.cn/token", false),
            ("http://127.0.0.1:9/token", false),
            ("ftp://id.example.cn/token", false),
            ("id.example.cn", false),
        ] {
            assert_eq!(address(&far, text).is_ok(), may, "{text}");
        }
        for here in ["http://127.0.0.1:9/oidc", "http://[::1]:9"] {
            let here = issuer(here);
            for (text, may) in [
                ("http://127.0.0.1:9/oidc/token", true),
                ("http://[::1]/token", true),
                ("https://id.example.cn/token", true),
                ("http://id.example.cn/token", false),
                ("http://localhost/token", false),
                ("http://127.0.0.1.example.cn/token", false),
            ] {
                assert_eq!(address(&here, text).is_ok(), may, "{text}");
            }
        }
        let clear = issuer("http://id.example.cn");
        assert!(address(&clear, &clear.issuer).is_err());
        assert!(address(&clear, "http://127.0.0.1/token").is_err());
    }
}
