//! Messages that other services ask for because they are worded with a name: taken in by event, and
//! handed to the provider of SMS once, for their purpose and in their time.
//!
//! Whether one goes, and to whom where records were merged or split, is decided when it goes, in
//! one transaction that keeps a consent that the purpose needs locked and writes that the provider
//! is given the number and the name.

use kit::audit::AuditRow;
use kit::consent;
use kit::due::NewDue;
use kit::{Ctx, Error, Result, Tx};
use serde_json::json;
use uuid::Uuid;

use super::matching::stored_name;
use super::notices;
use crate::domain::message::{Message, Standing};
use crate::due;
use crate::store::messages as store;
use crate::store::{logins, people};
use crate::vault::Vault;

/// Takes in what a service asks for; asked again, it is the same message.
///
/// # Errors
/// When the database fails.
pub(crate) async fn ask(tx: &Tx, it: &Message) -> Result<()> {
    if !store::insert(tx, it).await? {
        return Ok(());
    }
    tx.plan(NewDue::new(due::SMS_MESSAGE, it.id, tx.now()));
    tx.audit(AuditRow::system("take_message", it.id).detail(json!({
        "service": it.service, "template": it.content.template().as_str(), "about": it.about,
        "purpose": it.purpose.as_str(),
    })));
    Ok(())
}

/// The service that asked for it takes a message back: from now on it does not go. Of one that is
/// not known, or that another service asked for, nothing comes.
///
/// # Errors
/// When the database fails.
pub(crate) async fn withdraw(tx: &Tx, id: Uuid, service: &str) -> Result<()> {
    let Some(it) = store::lock(tx, id).await? else {
        return Ok(());
    };
    let until = it.valid_until;
    if it.service != service {
        return Ok(());
    }
    let it = it.withdraw(tx.now());
    if it.valid_until != until {
        store::save(tx, &it).await?;
        tx.audit(AuditRow::system("withdraw_message", id));
    }
    Ok(())
}

/// A message as the provider is given it, written down as handed over; `None` when it does not go.
/// Decided anew each time.
///
/// # Errors
/// When the database fails.
pub async fn hand_over(ctx: &Ctx, vault: &Vault, id: Uuid) -> Result<Option<notices::Message>> {
    ctx.db
        .tx("hand_over_message", async |tx| {
            // The person before what is hers, as whoever forgets her does.
            let Some(member) = store::member_of(tx, id).await? else {
                return Ok(None);
            };
            let person = people::active(tx, member).await?;
            // Looked for again now that she is locked: neither is she merged nor another one split
            // off from her before this ends.
            if store::member_of(tx, id).await? != Some(member) {
                return Err(Error::Unavailable("whom it is for is merged or split now"));
            }
            let Some(it) = store::lock(tx, id).await? else {
                return Ok(None);
            };
            let consents = match it.purpose.processing() {
                Some(processing) => consent::consents(tx, member, processing).await?.is_some(),
                None => true,
            };
            let phone = notices::phone(tx, vault, member).await?;
            let standing = Standing {
                consents,
                has_phone: phone.is_some(),
            };
            let (it, goes) = it.hand_over(standing, tx.now());
            store::save(tx, &it).await?;
            let Some((phone, person)) = phone.zip(person).filter(|_| goes) else {
                return Ok(None);
            };
            tx.audit(AuditRow::system("hand_over_message", id));
            let name = stored_name(vault, &person)?;
            let speech = logins::speech_of(tx, member).await?;
            let (template, params) = it.content.worded(name.as_str(), speech);
            Ok(Some(notices::Message {
                phone,
                template,
                params,
            }))
        })
        .await
}
