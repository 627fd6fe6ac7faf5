//! The service that knows whether a name and a document belong together.
//!
//! The police's data is sold through clouds; this speaks the protocol of one of them (cloud API
//! 3.0, signed by TC3-HMAC-SHA256; `IdCardVerification` of 2018-03-01 for resident numbers). For
//! other documents and for 网号 no protocol is published: they are asked for in the same form.
//! Nothing here is called inside a transaction, or logs what it was asked.

use std::time::Duration;

use chrono::{DateTime, Utc};
use kit::{Error, Result};
use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::domain::identifier::DocumentKind;
use crate::domain::name::PersonName;
use crate::domain::verification::{Answer, Claim, NetworkId};
use crate::vault::hmac;

/// How long the service may take to answer.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(5);
/// The longest answer that is read, in bytes.
const ANSWER_BYTES_MAX: usize = 16 * 1024;
const ALGORITHM: &str = "TC3-HMAC-SHA256";
const SERVICE: &str = "faceid";
const VERSION: &str = "2018-03-01";
const CONTENT_TYPE: &str = "application/json; charset=utf-8";

/// The section `identity.verification`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct VerificationSettings {
    /// Where the service is; without a path.
    pub url: String,
    pub secret_id: String,
    pub secret_key: SecretString,
}

/// Who is asked.
#[derive(Clone, Copy, Debug)]
pub enum Verifier<'a> {
    /// Nobody: no verification is offered.
    Off,
    National(&'a VerificationSettings),
}

impl<'a> Verifier<'a> {
    /// As the settings say.
    pub fn of(settings: Option<&'a VerificationSettings>) -> Self {
        settings.map_or(Self::Off, Self::National)
    }

    /// How what it says is marked; `None` when nobody is asked.
    pub const fn source(self) -> Option<&'static str> {
        match self {
            Self::Off => None,
            Self::National(_) => Some("national"),
        }
    }

    /// Asks whether what somebody says of herself belongs together. Of a 网号 it is asked whether
    /// its holder has the name that she is registered under.
    ///
    /// # Errors
    /// Unavailable when the service does not answer, cannot answer now, or says what nobody
    /// understands: the same may be asked again.
    pub async fn ask(
        self,
        http: &reqwest::Client,
        (claim, registered): (&Claim, &PersonName),
        now: DateTime<Utc>,
    ) -> Result<Answer> {
        match self {
            Self::Off => Err(Error::Unavailable("nobody verifies persons here")),
            Self::National(settings) => {
                let (action, body) = question(claim, registered);
                let answer = post(http, settings, action, &body, now).await?;
                read(&answer)
            }
        }
    }
}

/// What is asked, and how.
fn question(claim: &Claim, registered: &PersonName) -> (&'static str, Value) {
    match claim {
        Claim::Document { document, name } => {
            let (number, name) = (document.number(), name.as_str());
            let other = match document.kind() {
                DocumentKind::ResidentId | DocumentKind::ResidencePermit => {
                    let body = json!({ "IdCard": number, "Name": name });
                    return ("IdCardVerification", body);
                }
                DocumentKind::Passport => "PASSPORT",
                DocumentKind::HomeReturnPermit => "HOME_RETURN_PERMIT",
                DocumentKind::TaiwanTravelPermit => "TAIWAN_TRAVEL_PERMIT",
                DocumentKind::PermanentResidence => "PERMANENT_RESIDENCE",
                DocumentKind::ForeignPassport => "FOREIGN_PASSPORT",
            };
            let body = json!({ "DocumentType": other, "DocumentNumber": number, "Name": name });
            ("DocumentVerification", body)
        }
        Claim::Network(token) => {
            let body = json!({ "Token": token.as_str(), "Name": registered.as_str() });
            ("NetworkIdVerification", body)
        }
    }
}

/// The header `Authorization` of a request.
fn authorization(
    settings: &VerificationSettings,
    host: &str,
    body: &str,
    now: DateTime<Utc>,
) -> String {
    let scope = Scope {
        service: SERVICE,
        host,
        at: now,
    };
    let signature = scope.signature(settings.secret_key.expose_secret(), body);
    let date = now.format("%Y-%m-%d");
    format!(
        "{ALGORITHM} Credential={}/{date}/{SERVICE}/tc3_request, \
         SignedHeaders=content-type;host, Signature={signature}",
        settings.secret_id
    )
}

/// What a signature is for, beside the body.
struct Scope<'a> {
    service: &'a str,
    host: &'a str,
    at: DateTime<Utc>,
}

impl Scope<'_> {
    fn signature(&self, secret: &str, body: &str) -> String {
        let Self { service, host, at } = self;
        let hashed = hex::encode(Sha256::digest(body.as_bytes()));
        let request = format!(
            "POST\n/\n\ncontent-type:{CONTENT_TYPE}\nhost:{host}\n\ncontent-type;host\n{hashed}"
        );
        let request = hex::encode(Sha256::digest(request.as_bytes()));
        let (date, seconds) = (at.format("%Y-%m-%d").to_string(), at.timestamp());
        let signed = format!("{ALGORITHM}\n{seconds}\n{date}/{service}/tc3_request\n{request}");
        let key = hmac(format!("TC3{secret}").as_bytes(), &[date.as_bytes()]);
        let key = hmac(&key, &[service.as_bytes()]);
        let key = hmac(&key, &[b"tc3_request"]);
        hex::encode(hmac(&key, &[signed.as_bytes()]))
    }
}

async fn post(
    http: &reqwest::Client,
    settings: &VerificationSettings,
    action: &'static str,
    body: &Value,
    now: DateTime<Utc>,
) -> Result<Vec<u8>> {
    let away = |_| Error::Unavailable("the service that verifies persons does not answer");
    let url = format!("{}/", settings.url.trim_end_matches('/'));
    let url: reqwest::Url = url
        .parse()
        .map_err(|_| Error::internal("identity.verification.url is no address"))?;
    let host = match (url.host_str(), url.port()) {
        (Some(host), Some(port)) => format!("{host}:{port}"),
        (Some(host), None) => host.to_owned(),
        (None, _) => return Err(Error::internal("identity.verification.url has no host")),
    };
    let body = body.to_string();
    let authorization = authorization(settings, &host, &body, now);
    let mut answer = http
        .post(url)
        .timeout(ANSWER_TIMEOUT)
        .header("content-type", CONTENT_TYPE)
        .header("authorization", authorization)
        .header("x-tc-action", action)
        .header("x-tc-version", VERSION)
        .header("x-tc-timestamp", now.timestamp().to_string())
        .body(body)
        .send()
        .await
        .map_err(away)?;
    if !answer.status().is_success() {
        return Err(Error::Unavailable(
            "the service that verifies persons refuses",
        ));
    }
    let mut bytes = Vec::new();
    while let Some(chunk) = answer.chunk().await.map_err(away)? {
        bytes.extend_from_slice(&chunk);
        if bytes.len() > ANSWER_BYTES_MAX {
            return Err(Error::Unavailable(
                "the service that verifies persons says too much",
            ));
        }
    }
    Ok(bytes)
}

#[derive(Deserialize)]
struct Outer {
    #[serde(rename = "Response")]
    response: Inner,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Inner {
    error: Option<Failed>,
    result: Option<String>,
    network_id: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Failed {
    code: String,
}

/// What the service's answer means. That a number is unknown to it, is none, or belongs to another
/// name are one.
fn read(answer: &[u8]) -> Result<Answer> {
    let nonsense = || Error::Unavailable("the service that verifies persons talks nonsense");
    let Outer { response } = serde_json::from_slice(answer).map_err(|_| nonsense())?;
    if let Some(failed) = response.error {
        let code = failed.code.as_str();
        tracing::error!(code, "the service that verifies persons fails");
        return Err(Error::Unavailable(
            "the service that verifies persons fails",
        ));
    }
    match response.result.as_deref() {
        Some("0") => match response.network_id {
            Some(id) => NetworkId::parse(&id)
                .map(|id| Answer::Match(Some(id)))
                .ok_or_else(nonsense),
            None => Ok(Answer::Match(None)),
        },
        Some("-1" | "-2" | "-3" | "-5") => Ok(Answer::NoMatch),
        Some(_) => Err(Error::Unavailable(
            "the service that verifies persons cannot now",
        )),
        None => Err(nonsense()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The signature that the protocol's documentation prints.
    #[test]
    fn requests_are_signed_as_documented() {
        let scope = Scope {
            service: "cvm",
            host: "cvm.tencentcloudapi.com",
            at: DateTime::from_timestamp(1_551_113_065, 0).unwrap(),
        };
        let body = "{\"Limit\": 1, \"Filters\": [{\"Values\": [\"\\u672a\\u547d\\u540d\"], \
                    \"Name\": \"instance-name\"}]}";
        assert_eq!(
            scope.signature("Gu5t9xGARNpq86cd98joQYCN3EXAMPLE", body),
            "72e494ea809ad7a8c8f7a4507b9bddcbaa8e581f516e8da2f66e2c5a96525168"
        );
    }

    #[test]
    fn what_does_not_match_is_one_answer_and_what_fails_is_none() {
        let said = |text: &str| read(format!("{{\"Response\":{text}}}").as_bytes());
        assert_eq!(said(r#"{"Result":"0"}"#).unwrap(), Answer::Match(None));
        for code in ["-1", "-2", "-3", "-5"] {
            let answer = said(&format!(r#"{{"Result":"{code}"}}"#)).unwrap();
            assert_eq!(answer, Answer::NoMatch);
        }
        let known = said(r#"{"Result":"0","NetworkId":"N1"}"#).unwrap();
        assert_eq!(known, Answer::Match(NetworkId::parse("N1")));
        for failed in [
            r#"{"Result":"-4"}"#,
            r#"{"Result":"-6"}"#,
            "{}",
            r#"{"Result":"0","NetworkId":"a b"}"#,
            r#"{"Error":{"Code":"InternalError","Message":"?"}}"#,
            "[",
        ] {
            let error = said(failed).unwrap_err();
            assert!(matches!(error, Error::Unavailable(_)), "{failed}");
        }
    }
}
