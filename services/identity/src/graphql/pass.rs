//! Credentials: a field of other services' passes, minted here; and for dead phones, at a desk.

use async_graphql::{Context, ID, InputObject, Object, Result};
use chrono::{DateTime, Utc};
use kit::Error;
use kit::graphql::GlobalId;
use kit::types::EntitlementId;
use qrcode::render::svg;
use qrcode::{EcLevel, QrCode};

use super::input::{DocumentType, document, organisation_id, request};
use crate::commands::credentials::{self as commands, DeskLookUp, Minted};
use crate::domain::name::PersonName;
use crate::error::Refusal;

/// The smallest picture of a code, in pixels to a side.
const QR_PIXELS_MIN: u32 = 240;

/// What opens a gate: a signed code that a phone shows. Ask again when it ends; nothing is used
/// up by asking.
#[derive(Clone, Debug)]
pub struct Credential(pub(crate) Minted);

/// What opens a gate: a signed code that a phone shows. Ask again when it ends; nothing is used
/// up by asking.
#[Object]
impl Credential {
    /// What the code says: `CY1:` and base45, 142 characters.
    async fn text(&self) -> &str {
        &self.0.text
    }

    /// The code as a picture, SVG, error correction M.
    #[graphql(complexity = 10)]
    async fn qr_svg(&self) -> Result<String> {
        let code = QrCode::with_error_correction_level(self.0.text.as_bytes(), EcLevel::M)
            .map_err(|_| Error::internal("a credential does not fit into a code"))?;
        let size = (QR_PIXELS_MIN, QR_PIXELS_MIN);
        Ok(code
            .render::<svg::Color<'_>>()
            .min_dimensions(size.0, size.1)
            .build())
    }

    /// The first moment it opens a gate.
    async fn valid_from(&self) -> DateTime<Utc> {
        self.0.valid_from
    }

    /// The first moment it no longer does: at most 35 days ahead.
    async fn valid_until(&self) -> DateTime<Utc> {
        self.0.valid_until
    }

    /// The gate will ask for the holder's document.
    async fn document_check(&self) -> bool {
        self.0.document_check
    }

    /// What it opens with: the pass, by its id.
    async fn pass(&self) -> Pass {
        Pass {
            id: self.0.entitlement,
        }
    }
}

/// An annual pass; all but its credential is known to passes.
#[derive(Clone, Copy, Debug)]
pub struct Pass {
    pub(crate) id: EntitlementId,
}

/// An annual pass; all but its credential is known to passes.
#[Object]
impl Pass {
    /// Opaque.
    pub(crate) async fn id(&self) -> ID {
        GlobalId::of_entitlement("Pass", self.id)
    }

    /// What opens a gate with it; null for everybody but its holder, and while it cannot be used.
    #[graphql(complexity = "10 + child_complexity")]
    async fn credential(&self, ctx: &Context<'_>) -> Result<Option<Credential>> {
        let (identity, caller) = request(ctx)?;
        let minted = commands::mint(&identity.ctx, &identity.vault, caller, self.id).await?;
        Ok(minted.map(Credential))
    }
}

/// Who stands at the desk without a phone.
#[derive(InputObject)]
#[expect(
    missing_debug_implementations,
    reason = "name and number are never shown"
)]
pub struct MintDeskCredentialsInput {
    /// The company that runs the venue.
    venue_organisation_id: ID,
    /// What kind of document the person shows.
    document_type: DocumentType,
    /// Its number.
    document_number: String,
    /// The name on it.
    name: String,
}

kit::payload! {
    /// The codes, for this desk alone.
    pub struct MintDeskCredentialsPayload
        / MintDeskCredentialsUserError / MintDeskCredentialsErrorCode
    {
        /// One for each right that can be used now, good for ten minutes, with document check.
        credentials: Vec<Credential>,
    }
    refuses {
        /// There is no such company.
        OrganisationNotFound,
        /// It is no name.
        PersonNameInvalid,
        /// It is no number of such a document.
        DocumentInvalid,
        /// There is nobody with this name and document: it is not said which is wrong.
        PersonNotMatched,
        /// Ten people did not match within the hour.
        TooManyFailures,
        /// Sixty look-ups within the hour, or three hundred within the day.
        TooManyLookUps,
        /// The person is known, but has nothing that can be used now.
        NothingUsable,
    }
}

/// Credentials at a desk.
#[derive(Debug, Default)]
pub struct CredentialMutation;

#[Object]
impl CredentialMutation {
    /// For a person whose phone is dead: signed-in staff of the venue give document and name as
    /// the document has them. Every look-up is on record.
    async fn mint_desk_credentials(
        &self,
        ctx: &Context<'_>,
        input: MintDeskCredentialsInput,
    ) -> Result<MintDeskCredentialsPayload> {
        let (identity, caller) = request(ctx)?;
        let result = async {
            let look_up = DeskLookUp {
                venue_organisation: organisation_id(
                    &input.venue_organisation_id,
                    Refusal::OrganisationNotFound,
                )?,
                document: document(identity, input.document_type, &input.document_number)?,
                name: PersonName::parse(&input.name)?,
            };
            let (ctx, vault) = (&identity.ctx, &identity.vault);
            let minted = commands::mint_desk_credentials(ctx, vault, caller, &look_up).await?;
            let credentials: Vec<Credential> = minted.into_iter().map(Credential).collect();
            Ok(MintDeskCredentialsPayload::done(credentials))
        };
        MintDeskCredentialsPayload::from_result(caller.language, result.await)
    }
}
