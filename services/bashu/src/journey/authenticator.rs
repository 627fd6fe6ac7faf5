//! An authenticator as an officer has it on her phone: set up once with a secret that is shown
//! once, kept in a file of its owner's before it counts, and a code of it shown before what takes a
//! second factor.

use std::fs;
use std::path::Path;
use std::time::Instant;

use anyhow::{Context, Result, bail};
use data_encoding::BASE32_NOPAD;
use identity::domain::second_factor::step_of;
use identity::totp::Secret;
use kit::Clock;
use kit::types::Union;
use serde_json::{Value, json};

use crate::client::{Client, only_field, text};
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

/// Signs somebody in who has shown her second factor; the first time it is set up for her. Where
/// that was broken off, what was kept then is taken up again, or set up anew.
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
    let taken_up = match Kept::read(&file)? {
        Some(kept) => {
            let person = persona::again(world, union, phone).await?;
            take_up(kept, &file, person.client).await?
        }
        None => None,
    };
    let (client, shown) = match taken_up {
        Some(it) => it,
        None => {
            // Who holds a role sets her first factor up within minutes of a login by SMS.
            let person = persona::by_code(world, union, phone).await?;
            set_up(&file, person.client).await?
        }
    };
    let until = text(&shown, "/token/steppedUpUntil")?;
    say.answer(
        "login, 验证器 / second factor",
        began.elapsed(),
        &format!("有效至 / counts until {until}"),
    );
    Ok(client.signed_in(&text(&shown, "/token/accessToken")?))
}

/// Shows a code of the kept secret, or confirms it by that where it was only begun; nothing where
/// the gateway knows of neither any more.
async fn take_up(mut kept: Kept, file: &Path, client: Client) -> Result<Option<(Client, Value)>> {
    let code = kept.next_code()?;
    kept.write(file)?;
    for query in [SHOW, CONFIRM] {
        if let Some(shown) = show(&client, query, &code).await? {
            return Ok(Some((client, shown)));
        }
    }
    Ok(None)
}

/// A second factor of a new secret, which is kept before it counts: whatever breaks off after that,
/// nobody is left with a factor that she cannot show.
async fn set_up(file: &Path, client: Client) -> Result<(Client, Value)> {
    let begun = client.run(ENROL, json!({})).await?;
    let secret = text(&begun, "/enrolment/secret")?;
    let mut kept = Kept { secret, step: 0 };
    let code = kept.next_code()?;
    kept.write(file)?;
    let shown = show(&client, CONFIRM, &code).await?;
    Ok((client, shown.context("what was begun just now is gone")?))
}

/// What is answered to a code; nothing where there is no factor that it could be of.
async fn show(client: &Client, query: &str, code: &str) -> Result<Option<Value>> {
    let input = json!({ "input": { "code": code } });
    let answer = only_field(client.send(query, input).await?)?;
    match answer["userErrors"].as_array().and_then(|it| it.first()) {
        None => Ok(Some(answer)),
        Some(why) if why["code"] == "SECOND_FACTOR_ABSENT" => Ok(None),
        Some(why) => bail!("refused: {why}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is kept before a code is shown is what is shown from after a break: the same secret,
    /// and never a code that may have been taken.
    #[test]
    fn a_secret_is_kept_before_it_counts() {
        let folder = std::env::temp_dir().join(format!("authenticator-{}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        let file = folder.join("kept");
        assert!(Kept::read(&file).unwrap().is_none());
        let secret = BASE32_NOPAD.encode(&[7; 20]);
        let mut begun = Kept { secret, step: 0 };
        begun.next_code().unwrap();
        begun.write(&file).unwrap();
        let mut again = Kept::read(&file).unwrap().unwrap();
        assert_eq!((&again.secret, again.step), (&begun.secret, begun.step));
        again.next_code().unwrap();
        assert!(again.step > begun.step);
        fs::remove_dir_all(&folder).unwrap();
    }
}
