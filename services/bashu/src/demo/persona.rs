//! Someone who signs in through the gateway as a person would: by a code that arrives in the
//! sandbox's SMS inbox, or by the refresh token of the last time, kept in a file of the owner's.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use kit::types::Union;
use serde_json::{Value, json};

use crate::client::{Client, only_field, text};
use crate::dev::{World, write_private};
use crate::documents::Document;

/// How long a message may take to arrive.
const MESSAGE_TIMEOUT: Duration = Duration::from_secs(20);
const POLL: Duration = Duration::from_millis(20);

const REQUEST_CODE: &str = "mutation ($phone: String!) { requestLoginCode(input: \
    { phone: $phone }) { userErrors { code message } } }";
const LOGIN: &str = "mutation ($phone: String!, $code: String!) { login(input: { phone: $phone, \
    code: $code }) { tokens { accessToken refreshToken } userErrors { code message } } }";
const REFRESH: &str = "mutation ($token: String!) { refreshLogin(input: { refreshToken: $token }) \
    { tokens { accessToken refreshToken } userErrors { code message } } }";

/// What is sent from here.
pub(super) const DOCUMENTS: [Document; 3] = [
    ("requestLoginCode", REQUEST_CODE),
    ("login", LOGIN),
    ("refreshLogin", REFRESH),
];

/// A signed-in person.
#[derive(Clone, Debug)]
pub struct Persona {
    pub client: Client,
}

/// Signs in by a code, as on a phone.
///
/// # Errors
/// When the gateway refuses, or no message arrives.
pub async fn by_code(world: &World, union: Union, phone: &str) -> Result<Persona> {
    let anonymous = Client::new(&world.gateway(union))?;
    let before = newest_message(world, phone).await?;
    anonymous
        .run(REQUEST_CODE, json!({ "phone": phone }))
        .await?;
    let code = code_after(world, phone, before.as_deref()).await?;
    let payload = anonymous
        .run(LOGIN, json!({ "phone": phone, "code": code }))
        .await?;
    signed_in(world, union, phone, &anonymous, &payload)
}

/// Signs in by the last refresh token where there is one, else by a code.
///
/// # Errors
/// As [`by_code`].
pub async fn again(world: &World, union: Union, phone: &str) -> Result<Persona> {
    let anonymous = Client::new(&world.gateway(union))?;
    if let Ok(token) = std::fs::read_to_string(token_file(world, union, phone)) {
        let payload = only_field(anonymous.send(REFRESH, json!({ "token": token })).await?)?;
        if payload
            .pointer("/tokens/accessToken")
            .is_some_and(Value::is_string)
        {
            return signed_in(world, union, phone, &anonymous, &payload);
        }
    }
    by_code(world, union, phone).await
}

fn signed_in(
    world: &World,
    union: Union,
    phone: &str,
    anonymous: &Client,
    payload: &Value,
) -> Result<Persona> {
    let refresh = text(payload, "/tokens/refreshToken")?;
    write_private(&token_file(world, union, phone), &refresh)?;
    Ok(Persona {
        client: anonymous.signed_in(&text(payload, "/tokens/accessToken")?),
    })
}

fn token_file(world: &World, union: Union, phone: &str) -> PathBuf {
    world.keys(union).join(format!("login-{phone}"))
}

/// The newest message's id.
async fn newest_message(world: &World, phone: &str) -> Result<Option<String>> {
    Ok(text(&inbox(world, phone).await?, "/messages/0/message_id").ok())
}

async fn code_after(world: &World, phone: &str, before: Option<&str>) -> Result<String> {
    let began = Instant::now();
    while began.elapsed() < MESSAGE_TIMEOUT {
        let inbox = inbox(world, phone).await?;
        if let Ok(id) = text(&inbox, "/messages/0/message_id")
            && Some(id.as_str()) != before
        {
            return text(&inbox, "/messages/0/params/code");
        }
        tokio::time::sleep(POLL).await;
    }
    bail!(
        "no message for {phone} after {} s",
        MESSAGE_TIMEOUT.as_secs()
    )
}

async fn inbox(world: &World, phone: &str) -> Result<Value> {
    let url = format!("http://{}/sms/inbox?phone={phone}&limit=1", world.sandbox());
    Ok(reqwest::get(url).await?.error_for_status()?.json().await?)
}
