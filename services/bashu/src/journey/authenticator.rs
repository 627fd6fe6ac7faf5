//! An authenticator as an officer has it on her phone: set up once with a secret that is shown
//! once, kept in a file of its owner's, and a code of it shown before what takes a second factor.

use std::fs;
use std::path::Path;
use std::time::Instant;

use anyhow::{Context, Result};
use data_encoding::BASE32_NOPAD;
use identity::domain::second_factor::step_of;
use identity::totp::Secret;
use kit::Clock;
use kit::types::Union;
use serde_json::{Value, json};

use crate::client::{Client, text};
use crate::demo::persona;
use crate::dev::{World, write_private};
use crate::documents::Document;
use crate::say::Say;

const ENROL: &str = "mutation { enrolSecondFactor { enrolment { secret } userErrors { code \
    message } } }";
const CONFIRM: &str = "mutation ($input: ConfirmSecondFactorInput!) { confirmSecondFactor(input: \
    $input) { token { accessToken steppedUpUntil } userErrors { code message } } }";
const SHOW: &str = "mutation ($input: VerifySecondFactorInput!) { verifySecondFactor(input: \
    $input) { token { accessToken steppedUpUntil } userErrors { code message } } }";

/// What is sent from here.
pub(super) const DOCUMENTS: [Document; 3] = [
    ("enrolSecondFactor", ENROL),
    ("confirmSecondFactor", CONFIRM),
    ("verifySecondFactor", SHOW),
];

/// What the phone keeps.
struct Kept {
    /// In base 32, as it was shown.
    secret: String,
    /// The time step of the last code: a code is taken once.
    step: i64,
}

impl Kept {
    fn read(file: &Path) -> Result<Option<Self>> {
        let Ok(kept) = fs::read_to_string(file) else {
            return Ok(None);
        };
        let kept: Value = serde_json::from_str(&kept)?;
        Ok(Some(Self {
            secret: text(&kept, "/secret")?,
            step: kept["step"].as_i64().unwrap_or_default(),
        }))
    }

    /// The code of the present, or of the next half minute where this one's was shown.
    fn next_code(&mut self) -> Result<String> {
        let bytes = BASE32_NOPAD.decode(self.secret.as_bytes())?;
        let secret = Secret::from_bytes(&bytes).context("the kept secret is damaged")?;
        self.step = step_of(Clock::System.now()).max(self.step + 1);
        Ok(secret.code(self.step))
    }

    fn write(&self, file: &Path) -> Result<()> {
        let kept = json!({ "secret": self.secret, "step": self.step });
        write_private(file, &kept.to_string())
    }
}

/// Signs somebody in who has shown her second factor; the first time it is set up for her.
///
/// # Errors
/// When the gateway refuses.
pub(super) async fn signed_in(
    world: &World,
    union: Union,
    phone: &str,
    say: &Say,
) -> Result<Client> {
    let began = Instant::now();
    let file = world.keys(union).join(format!("authenticator-{phone}"));
    let (person, mut kept, query) = match Kept::read(&file)? {
        Some(kept) => (persona::again(world, union, phone).await?, kept, SHOW),
        None => {
            // Who holds a role sets her first factor up within minutes of a login by SMS.
            let person = persona::by_code(world, union, phone).await?;
            let begun = person.client.run(ENROL, json!({})).await?;
            let secret = text(&begun, "/enrolment/secret")?;
            (person, Kept { secret, step: 0 }, CONFIRM)
        }
    };
    let input = json!({ "code": kept.next_code()? });
    let shown = person.client.run(query, json!({ "input": input })).await?;
    kept.write(&file)?;
    let until = text(&shown, "/token/steppedUpUntil")?;
    say.answer(
        "login, 验证器 / second factor",
        began.elapsed(),
        &format!("有效至 / counts until {until}"),
    );
    Ok(person
        .client
        .signed_in(&text(&shown, "/token/accessToken")?))
}
