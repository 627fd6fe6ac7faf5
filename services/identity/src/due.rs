//! What identity does by itself and later: sends codes and notices by SMS, keeps the signing keys
//! fresh, reminds of passes that end, forgets what is over and who wishes so, reminds of what waits
//! for a person. Signs of life have a loop of their own, so that a provider that hangs does not
//! hold them up.

use std::time::Duration;

use chrono::TimeDelta;
use kit::bus::keys_of_all_partitions;
use kit::due::{After, Job, NewDue, Work};
use kit::types::{EntitlementId, MemberId};
use kit::{Ctx, Error, Result, Tx};
use secrecy::ExposeSecret;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::Identity;
use crate::commands::phone_changes::change_cell;
use crate::commands::phone_claims::asked_cell;
use crate::commands::{
    applications, erasures, exports, keys, memberships, merges, messages, network_claims, notices,
    phone_recoveries, phone_settings, renderings, role_proposals, roles, roster_work, rosters,
    search_terms, second_factor, second_factor_reset, verifications,
};
use crate::domain::code::{self, CODE_SECONDS, Code, Purpose};
use crate::domain::identifier::Phone;
use crate::domain::message::MESSAGE_DAYS;
use crate::domain::notice::NOTICE_DAYS;
use crate::domain::phone_recovery::RECOVERY_WAIT_HOURS;
use crate::publish;
use crate::store::codes::{self, CodeRow};
use crate::store::{
    addresses, former_phones, limits, login_methods, logins, messages as message_store,
    notices as notice_store, people, phone_changes, phone_recoveries as recovery_store,
    verifications as verification_store,
};
use crate::vault::{Cell, Vault};

/// Sends a code; the subject is its id.
pub const SMS_LOGIN_CODE: &str = "sms_login_code";
/// Makes and publishes signing keys, where the root is at hand.
pub const KEYS: &str = "keys";
/// Forgets codes, logins and counts that are over.
pub const SWEEP: &str = "sweep";

/// Reads and compares a roster; the subject is its id.
pub const ROSTER: &str = "roster";
/// Forgets a roster that was not committed in time; the subject is its id.
pub const ROSTER_EXPIRY: &str = "roster_expiry";
/// Forgets a second factor that was not confirmed in time; the subject is its id.
pub const SECOND_FACTOR: &str = "second_factor";
/// Ends a reset that no second operator asked for; the subject is its id.
pub const SECOND_FACTOR_RESET: &str = "second_factor_reset";
/// Asks whether somebody is who she says; the subject is the verification's id.
pub const VERIFICATION: &str = "verification";
/// Reminds of a correction that nobody else has looked at; the subject is the review's id.
pub const REVIEW: &str = "review";
/// Withdraws a role whose end has come; the subject is its id.
pub const ROLE_END: &str = "role_end";
/// Ends a proposed role that nobody confirmed; the subject is the proposal's id.
pub const ROLE_PROPOSAL: &str = "role_proposal";

/// Asks services again for what they have of a person, and forgets her copy when its time is over;
/// the subject is the export's id.
pub const EXPORT: &str = "export";
/// Carries out a person's wish to be forgotten; the subject is her id.
pub const ERASURE: &str = "erasure";

/// Forgets a file with names in it that nobody fetched; the subject is its id.
pub const RENDERING: &str = "rendering";

/// Asks the service of the state of a lost phone, and ends or carries out its recovery, whose id
/// the subject is.
pub const PHONE_RECOVERY: &str = "phone_recovery";
/// Asks the service of the state whose a 网号 is by which a record was claimed; the subject is the
/// claim's id.
pub const NETWORK_CLAIM: &str = "network_claim";
/// Tells the phone so far that another one is to take its place; the subject is the recovery's id.
pub const SMS_PHONE_RECOVERY: &str = "sms_phone_recovery";

/// Ends another phone for a person that no second operator named; the subject is its id.
pub const PHONE_SETTING: &str = "phone_setting";

/// Sends a notice by SMS; the subject is its id.
pub const SMS_NOTICE: &str = "sms_notice";
/// Sends a notice by SMS to a phone that its reader had before; the subject is both ids.
pub const SMS_FORMER_PHONE: &str = "sms_former_phone";
/// Sends a message that a service asked for; the subject is its id.
pub const SMS_MESSAGE: &str = "sms_message";
/// Reminds of a pass that ends soon; the subject is its id.
pub const NOTICE_EXPIRING: &str = "notice_expiring";

/// Makes what people are found by, for those who have none yet.
pub const SEARCH_TERMS: &str = "search_terms";

/// Ends an application that nobody decided; the subject is its id.
pub const APPLICATION: &str = "membership_application";
/// Ends a merge that no second operator asked for; the subject is its id.
pub const MERGE_EXPIRY: &str = "merge_expiry";

/// How often identity says that it is there, in seconds. Others refuse offices after a minute.
pub const HEARTBEAT_SECONDS: u64 = 5;
const KEYS_SECONDS: i64 = 3_600;
const SWEEP_SECONDS: i64 = 3_600;
/// How often is looked for people without terms: an older process beside this one makes some.
const SEARCH_TERMS_SECONDS: i64 = 3_600;
/// How long a code's row is kept after it was made: as long as its limits reach.
const CODE_DAYS: i64 = 2;
/// How long an ended login is kept, so that a copy of its tokens is recognised.
const LOGIN_DAYS: i64 = 30;
const ATTEMPT_DAYS: i64 = 8;
/// How long a verification is kept that did not match, or was not answered.
const VERIFICATION_DAYS: i64 = 30;
/// How long a recovery of a phone is kept that nobody had confirmed.
const RECOVERY_DAYS: i64 = 30;
/// How long an address of a file is remembered after its time.
const ADDRESS_DAYS: i64 = 1;

/// Plans what recurs; harmless when it is planned already.
pub fn plan(tx: &Tx) {
    for kind in [KEYS, SWEEP, SEARCH_TERMS] {
        tx.plan(NewDue::new(kind, "identity", tx.now()));
    }
}

/// The jobs of identity.
#[derive(Clone, Debug)]
pub struct Jobs(pub Identity);

impl Work for Jobs {
    async fn run(&self, job: &Job) -> Result<After> {
        let Self(identity) = self;
        let ctx = &identity.ctx;
        match job.kind.as_str() {
            SMS_LOGIN_CODE => send_code(identity, job).await,
            KEYS => {
                if let Some(root) = identity.root()? {
                    keys::maintain(ctx, &identity.vault, &root).await?;
                }
                Ok(After::At(
                    ctx.clock.now() + TimeDelta::seconds(KEYS_SECONDS),
                ))
            }
            SWEEP => {
                sweep(ctx).await?;
                Ok(After::At(
                    ctx.clock.now() + TimeDelta::seconds(SWEEP_SECONDS),
                ))
            }
            APPLICATION | MERGE_EXPIRY | ROSTER_EXPIRY | SECOND_FACTOR | SECOND_FACTOR_RESET
            | PHONE_SETTING => expire(ctx, job).await,
            SEARCH_TERMS => {
                let made = search_terms::make_terms(ctx, &identity.vault).await?;
                let is_more = made == search_terms::CHUNK_ROWS;
                let pause = if is_more { 0 } else { SEARCH_TERMS_SECONDS };
                Ok(After::At(ctx.clock.now() + TimeDelta::seconds(pause)))
            }
            ROSTER => {
                roster_work::run(identity, subject(job)?).await?;
                Ok(After::Done)
            }
            ROLE_END => roles::end_role(ctx, subject(job)?).await,
            ROLE_PROPOSAL => role_proposals::expire(ctx, subject(job)?).await,
            VERIFICATION => verifications::ask(identity, subject(job)?).await,
            REVIEW => memberships::remind_of_review(ctx, subject(job)?).await,
            EXPORT => exports::run(ctx, subject(job)?).await,
            ERASURE => erasures::run(ctx, MemberId(subject(job)?)).await,
            RENDERING => renderings::expire(ctx, subject(job)?).await,
            PHONE_RECOVERY => phone_recoveries::run(identity, subject(job)?).await,
            NETWORK_CLAIM => network_claims::run(identity, subject(job)?).await,
            SMS_PHONE_RECOVERY => send_recovery(identity, job).await,
            SMS_NOTICE => send_notice(identity, job).await,
            SMS_FORMER_PHONE => send_to_former(identity, job).await,
            SMS_MESSAGE => send_asked(identity, job).await,
            NOTICE_EXPIRING => {
                let pass = job.subject.parse::<EntitlementId>();
                let pass = pass.map_err(|_| Error::internal("the subject is no pass"))?;
                notices::remind_of_end(ctx, pass).await
            }
            other => Err(Error::internal(format!("{other} is no work of identity"))),
        }
    }
}

/// Ends what nobody carried on with in its time.
async fn expire(ctx: &Ctx, job: &Job) -> Result<After> {
    let subject = subject(job)?;
    match job.kind.as_str() {
        APPLICATION => applications::expire(ctx, subject).await?,
        MERGE_EXPIRY => merges::expire(ctx, subject).await?,
        ROSTER_EXPIRY => rosters::expire(ctx, subject).await?,
        SECOND_FACTOR => second_factor::expire(ctx, subject).await?,
        SECOND_FACTOR_RESET => second_factor_reset::expire(ctx, subject).await?,
        PHONE_SETTING => phone_settings::expire(ctx, subject).await?,
        other => return Err(Error::internal(format!("{other} has no end of its own"))),
    }
    Ok(After::Done)
}

/// One sign of life into each partition of identity's topic.
///
/// # Errors
/// When the database fails.
pub async fn heartbeat(ctx: &Ctx, partitions: i32) -> Result<()> {
    let keys = keys_of_all_partitions(publish::HEARTBEAT, partitions);
    ctx.db
        .tx("heartbeat", async |tx| {
            for key in &keys {
                tx.emit(publish::heartbeat(key, tx.now()));
            }
            Ok(())
        })
        .await
}

/// Gives signs of life until `stop`.
///
/// # Errors
/// When the database fails.
pub async fn heartbeat_loop(ctx: Ctx, partitions: i32, stop: CancellationToken) -> Result<()> {
    let pause = Duration::from_secs(HEARTBEAT_SECONDS);
    while !stop.is_cancelled() {
        heartbeat(&ctx, partitions).await?;
        tokio::select! {
            () = stop.cancelled() => {}
            () = tokio::time::sleep(pause) => {}
        }
    }
    Ok(())
}

async fn sweep(ctx: &Ctx) -> Result<()> {
    ctx.db
        .tx("sweep", async |tx| {
            let before = |days| tx.now() - TimeDelta::days(days);
            codes::sweep(tx, before(CODE_DAYS)).await?;
            logins::sweep(tx, before(LOGIN_DAYS)).await?;
            limits::sweep(tx, before(ATTEMPT_DAYS)).await?;
            addresses::sweep(tx, before(ADDRESS_DAYS)).await?;
            login_methods::sweep(tx, tx.now()).await?;
            notice_store::sweep(tx, before(NOTICE_DAYS)).await?;
            message_store::sweep(tx, before(MESSAGE_DAYS)).await?;
            verification_store::sweep(tx, before(VERIFICATION_DAYS)).await?;
            phone_changes::sweep(tx, tx.now()).await?;
            former_phones::sweep(tx, tx.now()).await?;
            recovery_store::sweep(tx, tx.now(), before(RECOVERY_DAYS)).await?;
            Ok(())
        })
        .await
}

fn subject(job: &Job) -> Result<Uuid> {
    let id = job.subject.parse();
    id.map_err(|_| Error::internal(format!("the subject of {} is no id", job.kind)))
}

/// What is to be sent, and to whom.
struct Sms {
    phone: Phone,
    template: &'static str,
    params: serde_json::Value,
}

async fn send_code(identity: &Identity, job: &Job) -> Result<After> {
    match load(&identity.ctx, &identity.vault, job).await? {
        Some(sms) => send(identity, job, sms).await,
        None => Ok(After::Done),
    }
}

async fn send_notice(identity: &Identity, job: &Job) -> Result<After> {
    let message = notices::hand_over(&identity.ctx, &identity.vault, subject(job)?).await?;
    send_message(identity, job, message).await
}

async fn send_to_former(identity: &Identity, job: &Job) -> Result<After> {
    let both = job.subject.split_once('/');
    let both = both.and_then(|(notice, phone)| {
        let (notice, phone) = (notice.parse::<Uuid>(), phone.parse::<Uuid>());
        notice.ok().zip(phone.ok())
    });
    let both = both.ok_or_else(|| Error::internal("the subject is no two ids"))?;
    let (ctx, vault) = (&identity.ctx, &identity.vault);
    let message = notices::hand_over_to_former(ctx, vault, both).await?;
    send_message(identity, job, message).await
}

async fn send_asked(identity: &Identity, job: &Job) -> Result<After> {
    let message = messages::hand_over(&identity.ctx, &identity.vault, subject(job)?).await?;
    send_message(identity, job, message).await
}

async fn send_message(
    identity: &Identity,
    job: &Job,
    message: Option<notices::Message>,
) -> Result<After> {
    let Some(message) = message else {
        return Ok(After::Done);
    };
    let params = message.params.into_iter();
    let params = params.map(|(name, value)| (name.to_owned(), serde_json::Value::String(value)));
    let sms = Sms {
        phone: message.phone,
        template: message.template,
        params: serde_json::Value::Object(params.collect()),
    };
    send(identity, job, sms).await
}

/// No consent is asked for: it is her own phone that is to be taken away.
async fn send_recovery(identity: &Identity, job: &Job) -> Result<After> {
    let (ctx, vault) = (&identity.ctx, &identity.vault);
    match phone_recoveries::old_phone(ctx, vault, subject(job)?).await? {
        Some(phone) => {
            let sms = Sms {
                phone,
                template: "phone_recovery",
                params: serde_json::json!({ "hours": RECOVERY_WAIT_HOURS.to_string() }),
            };
            send(identity, job, sms).await
        }
        None => Ok(After::Done),
    }
}

/// Gives the provider one SMS; again for the same job it is the same request.
async fn send(identity: &Identity, job: &Job, sms: Sms) -> Result<After> {
    let settings = &identity.settings.sms;
    let body = serde_json::json!({
        "phone": sms.phone.as_str(),
        "template": sms.template,
        "params": sms.params,
        "request_id": job.request_no(),
    });
    let answer = identity
        .http
        .post(format!("{}/sms/send", settings.url.trim_end_matches('/')))
        .bearer_auth(settings.key.expose_secret())
        .json(&body)
        .send()
        .await
        .map_err(|_| Error::Unavailable("the SMS provider does not answer"))?;
    if answer.status().is_success() {
        metrics::counter!("bashu_identity_sms_sent_total").increment(1);
        Ok(After::Done)
    } else {
        tracing::error!(
            status = answer.status().as_u16(),
            "the SMS provider refuses"
        );
        Err(Error::Unavailable("the SMS provider refuses"))
    }
}

/// `None` when there is nothing to send any more: another code took its place, it was used or
/// is over, or the phone belongs to nobody.
async fn load(ctx: &Ctx, vault: &Vault, job: &Job) -> Result<Option<Sms>> {
    let id = subject(job)?;
    ctx.db
        .read("load_login_code", async |tx| {
            let Some(row) = codes::find(tx, id).await? else {
                return Ok(None);
            };
            let Code::Open { since, .. } = row.code() else {
                return Ok(None);
            };
            if tx.now() >= since + TimeDelta::seconds(CODE_SECONDS) {
                return Ok(None);
            }
            let blind = row.phone()?;
            let Some((phone, template)) = recipient(tx, vault, &row).await? else {
                return Ok(None);
            };
            let minutes = (CODE_SECONDS / 60).to_string();
            Ok(Some(Sms {
                phone,
                template,
                params: serde_json::json!({
                    "code": code::digits(&vault.code_hash(row.id, &blind)),
                    "minutes": minutes,
                }),
            }))
        })
        .await
}

/// Whom a code is sent to, and as what: to a phone that is somebody's, or that somebody wants to
/// make her own, or to recover her account from. One that is wanted so and that is somebody's
/// already is sent nothing.
async fn recipient(
    tx: &Tx,
    vault: &Vault,
    code: &CodeRow,
) -> Result<Option<(Phone, &'static str)>> {
    let found = people::by_phone(tx, &code.phone()?).await?;
    let (digits, template) = match (code.purpose()?, found) {
        (Purpose::Login, Some((person, phone))) => {
            let key = vault.data_key(person.member, &person.data_key)?;
            let cell = Cell::new("login_method", "subject", phone.id);
            let template = match phone_changes::by_code(tx, code.id).await? {
                Some(_) => "phone_change",
                None => "login_code",
            };
            (key.open_text(cell, &phone.subject)?, template)
        }
        (Purpose::Change, None) => {
            let Some(change) = phone_changes::by_code(tx, code.id).await? else {
                return Ok(None);
            };
            let key = vault.data_key(change.member, &change.data_key)?;
            let digits = key.open_text(change_cell(change.id), &change.phone)?;
            (digits, "phone_change")
        }
        (Purpose::Recovery, None) => {
            let Some(asked) = recovery_store::phone_of_code(tx, code.id).await? else {
                return Ok(None);
            };
            let digits = vault.kek().open_text(asked_cell(asked.id), &asked.phone)?;
            (digits, "recovery_code")
        }
        (Purpose::Login, None) | (Purpose::Change | Purpose::Recovery, Some(_)) => {
            return Ok(None);
        }
    };
    Ok(Some((Phone::stored(digits), template)))
}
