//! Inputs that several mutations share, and how they become values that cannot be invalid.

use async_graphql::{Context, Enum, ID, InputObject, Result};
use chrono::NaiveDate;
use kit::access::Caller;
use kit::graphql::GlobalId;
use kit::types::{MemberId, OrganisationId, shanghai_date};
use uuid::Uuid;

use crate::Identity;
use crate::commands::people::NewPerson;
use crate::domain::identifier::{Document, DocumentKind, Phone};
use crate::domain::name::PersonName;
use crate::error::Refusal;

/// What kind of document a number is from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Enum)]
#[graphql(remote = "DocumentKind")]
pub enum DocumentType {
    /// 居民身份证: the resident identity card.
    ResidentId,
    /// 港澳台居民居住证: the permit of residents from Hong Kong, Macao and Taiwan.
    ResidencePermit,
    /// 中国护照: a passport of China.
    Passport,
    /// 港澳居民来往内地通行证: the travel permit of people from Hong Kong and Macao.
    HomeReturnPermit,
    /// 台湾居民来往大陆通行证: the travel permit of people from Taiwan.
    TaiwanTravelPermit,
    /// 外国人永久居留身份证: the permanent residence card of foreigners.
    PermanentResidence,
    /// 外国护照: a passport of another country.
    ForeignPassport,
}

/// A person as an officer describes her.
#[derive(Clone, InputObject)]
pub struct PersonInput {
    /// The name as the document has it, 2 to 30 characters.
    pub name: String,
    /// What kind of document the number is from; absent for a person verified by 网号.
    pub document_type: Option<DocumentType>,
    /// The document's number.
    pub document_number: Option<String>,
    /// The mobile number she signs in with.
    pub phone: Option<String>,
}

impl std::fmt::Debug for PersonInput {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("PersonInput")
    }
}

impl PersonInput {
    /// # Errors
    /// What is wrong with the first field that is.
    pub(crate) fn read(&self, today: NaiveDate) -> Result<NewPerson, Refusal> {
        let name = PersonName::parse(&self.name)?;
        let document = match (self.document_type, &self.document_number) {
            (None, None) => None,
            (Some(kind), Some(number)) => Some(Document::parse(kind.into(), number, today)?),
            (Some(_), None) | (None, Some(_)) => return Err(Refusal::DocumentInvalid),
        };
        let phone = self.phone.as_deref().map(Phone::parse).transpose()?;
        if document.is_none() && phone.is_none() {
            return Err(Refusal::DocumentInvalid);
        }
        Ok(NewPerson {
            name,
            document,
            phone,
        })
    }
}

/// The service and the caller of this request.
pub(crate) fn request<'a>(ctx: &Context<'a>) -> Result<(&'a Identity, &'a Caller)> {
    Ok((ctx.data::<Identity>()?, ctx.data::<Caller>()?))
}

/// A document that an input names.
pub(crate) fn document(
    identity: &Identity,
    kind: DocumentType,
    number: &str,
) -> Result<Document, Refusal> {
    Document::parse(kind.into(), number, today(identity))
}

/// The Shanghai date.
pub(crate) fn today(identity: &Identity) -> NaiveDate {
    shanghai_date(identity.ctx.clock.now())
}

/// An organisation's id; one of another type is absent.
pub(crate) fn organisation_id(id: &ID, absent: Refusal) -> Result<OrganisationId, Refusal> {
    uuid(id, "Organisation", absent).map(OrganisationId)
}

/// A member's id; one of another type is absent.
pub(crate) fn member_id(id: &ID) -> Result<MemberId, Refusal> {
    uuid(id, "Member", Refusal::MemberNotFound).map(MemberId)
}

pub(crate) fn uuid(id: &ID, type_name: &str, absent: Refusal) -> Result<Uuid, Refusal> {
    GlobalId::uuid(id, type_name).map_err(|_| absent)
}
