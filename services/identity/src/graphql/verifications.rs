//! Having it verified who one is.

use async_graphql::{Context, Enum, ID, InputObject, Object, Result, SimpleObject};
use chrono::{DateTime, Utc};
use kit::graphql::GlobalId;
use uuid::Uuid;

use super::input::{DocumentType, request, today};
use crate::commands::verifications as commands;
use crate::domain::identifier::{Document, DocumentKind};
use crate::domain::name::PersonName;
use crate::domain::verification::{Claim, NetworkToken};
use crate::error::Refusal;
use crate::store::verifications::VerificationRow;

/// How far a verification has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Enum)]
pub enum IdentityVerificationState {
    /// The service of the state is being asked; ask again.
    Asked,
    /// One is who one says.
    Matched,
    /// Name and document, or the 网号, do not belong together, or are not one's own.
    NotMatched,
    /// The service did not answer within a day; begin another.
    Unanswered,
}

/// One question to the service of the state whether one is who one says.
#[derive(Clone, Debug, SimpleObject)]
pub struct IdentityVerification {
    /// Opaque.
    id: ID,
    /// The kind of document; null for 网号, of which no number is known here.
    document_type: Option<DocumentType>,
    /// How far it has come.
    state: IdentityVerificationState,
    /// Who was asked.
    source: String,
    /// When it was begun.
    asked_at: DateTime<Utc>,
    /// When it was answered.
    answered_at: Option<DateTime<Utc>>,
}

impl IdentityVerification {
    /// # Errors
    /// When the row is broken.
    pub(crate) fn read(row: VerificationRow) -> kit::Result<Self> {
        let broken = || kit::Error::internal("a verification of an unknown kind or state");
        let state = match row.state.as_str() {
            "asked" => IdentityVerificationState::Asked,
            "matched" => IdentityVerificationState::Matched,
            "not_matched" => IdentityVerificationState::NotMatched,
            "unanswered" => IdentityVerificationState::Unanswered,
            _ => return Err(broken()),
        };
        let kind = row
            .kind
            .map(|kind| DocumentKind::from_code(kind).ok_or_else(broken));
        Ok(Self {
            id: GlobalId::of_uuid("IdentityVerification", row.id),
            document_type: kind.transpose()?.map(DocumentType::from),
            state,
            source: row.source,
            asked_at: row.asked_at,
            answered_at: row.answered_at,
        })
    }
}

/// Who one says one is: name and document, or a 网证 and nothing else.
#[derive(InputObject)]
#[expect(missing_debug_implementations, reason = "none of it is ever shown")]
pub struct VerifyIdentityInput {
    /// The name as the document has it, 2 to 30 characters.
    name: Option<String>,
    /// What kind of document the number is from.
    document_type: Option<DocumentType>,
    /// The document's number.
    document_number: Option<String>,
    /// What the app of the national service gave (网证), instead of all of these.
    network_token: Option<String>,
    /// Minted by the client: the same key is the same verification.
    idempotency_key: Uuid,
}

kit::payload! {
    /// What became of a verification's begin.
    pub struct VerifyIdentityPayload / VerifyIdentityUserError / VerifyIdentityErrorCode {
        /// It; its answer comes in seconds, as a rule.
        verification: IdentityVerification,
    }
    refuses {
        /// Nobody is verified here.
        VerificationOff,
        /// It is no name.
        PersonNameInvalid,
        /// It is no number of this kind of document, or not all of name, kind and number are there.
        DocumentInvalid,
        /// It is no 网证, or something else was given beside.
        NetworkTokenInvalid,
        /// One is still being asked.
        VerificationWaits,
        /// Ten did not match within the hour.
        TooManyFailures,
        /// Twenty were asked within the day.
        TooManyVerifications,
        /// One is no longer a member.
        MemberNotFound,
    }
}

/// Having it verified who one is.
#[derive(Debug, Default)]
pub struct VerificationMutation;

#[Object]
impl VerificationMutation {
    /// Has the service of the state asked whether the caller is who she says. What does not match
    /// is answered alike, whatever was wrong.
    async fn verify_identity(
        &self,
        ctx: &Context<'_>,
        input: VerifyIdentityInput,
    ) -> Result<VerifyIdentityPayload> {
        let (identity, caller) = request(ctx)?;
        let result = async {
            let claim = claim(&input, today(identity))?;
            let key = input.idempotency_key;
            let row = commands::verify_identity(identity, caller, &claim, key).await?;
            Ok(VerifyIdentityPayload::done(IdentityVerification::read(
                row,
            )?))
        };
        VerifyIdentityPayload::from_result(caller.language, result.await)
    }
}

fn claim(input: &VerifyIdentityInput, today: chrono::NaiveDate) -> Result<Claim, Refusal> {
    let document = (&input.name, input.document_type, &input.document_number);
    match (document, &input.network_token) {
        ((None, None, None), Some(token)) => NetworkToken::parse(token).map(Claim::Network),
        (_, Some(_)) => Err(Refusal::NetworkTokenInvalid),
        ((Some(name), Some(kind), Some(number)), None) => Ok(Claim::Document {
            name: PersonName::parse(name)?,
            document: Document::parse(kind.into(), number, today)?,
        }),
        (_, None) => Err(Refusal::DocumentInvalid),
    }
}
