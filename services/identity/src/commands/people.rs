//! Adding people to an organisation, one or a hundred in one transaction.
//!
//! A person is found by her document, never by her name: who is there already gets another
//! membership, and her name must be the same. What does not match is answered alike whatever it
//! is that differs, and each counted for the officer who asks, so that nobody can try numbers
//! out. Who gives a person a phone can sign in as her: an officer may only where the person is
//! new or the officer's own already; elsewhere the phone is left out, and nothing tells so.

use std::collections::{HashMap, HashSet};

use chrono::NaiveDate;
use kit::access::{self, Caller, Role};
use kit::types::{MemberId, OrganisationId, shanghai_date};
use kit::{Ctx, Error, Result, Tx};
use uuid::Uuid;

use super::matching::{Blinds, Comparisons, given, same_text, stored_name};
use super::search_terms::terms_of;
use super::{joining, may_look_up, settled};
use crate::domain::identifier::{Document, Phone};
use crate::domain::membership::{self, Membership};
use crate::domain::name::PersonName;
use crate::error::Refusal;
use crate::publish::{self, MemberState};
use crate::store::organisations::{self, Lock};
use crate::store::people::{
    self as store, Blind, NewDocumentRow, NewPersonRow, NewPhoneRow, PersonRow,
};
use crate::store::roles;
use crate::vault::{Cell, SealingKey, Vault};

/// People in one call of the graph.
pub const PEOPLE_MAX: usize = 100;
/// People in one transaction, for those who load whole unions.
pub const BATCH_MAX: usize = 1_000;
/// How often a batch is decided again when another one added the same person meanwhile.
pub(crate) const RACE_ATTEMPTS_MAX: u32 = 3;

/// A person as an officer describes her.
#[derive(Clone, Debug)]
pub struct NewPerson {
    pub name: PersonName,
    /// None for a person verified by 网号, whose number may not be kept.
    pub document: Option<Document>,
    /// Without a phone a person cannot sign in.
    pub phone: Option<Phone>,
}

/// What people join, and since when.
#[derive(Clone, Copy, Debug)]
pub struct Joining {
    pub organisation: OrganisationId,
    /// A Shanghai date; today when absent.
    pub since: Option<NaiveDate>,
}

impl From<OrganisationId> for Joining {
    fn from(organisation: OrganisationId) -> Self {
        Self {
            organisation,
            since: None,
        }
    }
}

/// Who of a list was refused, and why: the place in the list, from zero.
pub type Refused = Vec<(usize, Refusal)>;
/// The memberships in the order of the list, or what is wrong with whom.
type Added = std::result::Result<Vec<Membership>, Refused>;

/// Adds people to an organisation, all or none: the memberships in the order of the list, or
/// what is wrong with whom. A membership that is open already is answered as it is.
///
/// # Errors
/// Officers of the organisation and operators only, their second factor shown; refused as a whole
/// when the organisation is closed, the first day makes no sense or lies within another membership
/// of one of them there, the list has the wrong size, or the officer failed too often: also when
/// more of the list do not match than the officer may still get wrong, and then nobody is named.
pub async fn add_members(
    ctx: &Ctx,
    vault: &Vault,
    caller: &Caller,
    joining: impl Into<Joining>,
    people: &[NewPerson],
) -> Result<Added> {
    let joining = joining.into();
    if people.is_empty() || people.len() > BATCH_MAX {
        return Err(Refusal::ListSize.into());
    }
    let mut attempt = 1;
    loop {
        let result = ctx
            .db
            .tx("add_members", async |tx| {
                add(tx, vault, caller, joining, people).await
            })
            .await;
        match result {
            Err(error) if is_race(&error) && attempt < RACE_ATTEMPTS_MAX => attempt += 1,
            other => return settled(other),
        }
    }
}

async fn add(
    tx: &Tx,
    vault: &Vault,
    caller: &Caller,
    joining: Joining,
    people: &[NewPerson],
) -> Result<std::result::Result<Added, Refusal>> {
    let organisation = joining.organisation;
    let by = By::of(tx, caller, organisation).await?;
    access::stepped_up(tx, caller)?;
    let failures = may_look_up(tx, by.member().id.0).await?;
    open_organisation(tx, organisation).await?;
    let since = membership::begins(joining.since, shanghai_date(tx.now()))?;
    let blinds = Blinds::of(vault, people)?;
    // Before anybody is looked up, so that a list refused for this tells nothing of who is there.
    let repeated = blinds.repeated();
    if !repeated.is_empty() {
        tx.audit(by.member().audit("add_members_refused", organisation));
        return Ok(Ok(Err(repeated)));
    }
    match place_all(tx, vault, by, people, &blinds).await? {
        Ok(placed) => {
            let made = placed.save(tx, vault, joining, people).await?;
            joining::tell(tx, &made).await?;
            tx.audit(by.member().audit("add_members", organisation).detail(
                serde_json::json!({ "memberships": made.len(), "since": since.to_string() }),
            ));
            Ok(Ok(Ok(made)))
        }
        Err(refused) => {
            let may_be_told = failures.count_all(tx, refused.len()).await?;
            tx.audit(
                by.member()
                    .audit("add_members_refused", organisation)
                    .detail(serde_json::json!({ "not_matched": refused.len() })),
            );
            Ok(if may_be_told {
                Ok(Err(refused))
            } else {
                Err(Refusal::TooManyFailures)
            })
        }
    }
}

pub(crate) fn is_race(error: &Error) -> bool {
    matches!(
        error.constraint().as_deref(),
        Some(
            "document_blind_unique"
                | "login_method_blind_unique"
                | "login_method_one_phone"
                | "membership_open_unique"
        )
    )
}

/// Who changes something, and by which office.
#[derive(Clone, Copy, Debug)]
pub(crate) enum By {
    Operator(access::Member),
    /// Of the organisation or of one above it.
    Officer(access::Member),
}

impl By {
    async fn of(tx: &Tx, caller: &Caller, organisation: OrganisationId) -> Result<Self> {
        match access::operator(tx, caller).await {
            Ok(operator) => Ok(Self::Operator(operator.member)),
            Err(Error::Forbidden(_)) => access::office(tx, caller, &[Role::Officer], organisation)
                .await
                .map(Self::Officer),
            Err(error) => Err(error),
        }
    }

    pub(crate) const fn member(self) -> access::Member {
        match self {
            Self::Operator(member) | Self::Officer(member) => member,
        }
    }
}

/// An officer of the organisation or of one above it, or an operator.
///
/// # Errors
/// Unauthenticated or forbidden.
pub(crate) async fn officer_or_operator(
    tx: &Tx,
    caller: &Caller,
    organisation: OrganisationId,
) -> Result<access::Member> {
    By::of(tx, caller, organisation).await.map(By::member)
}

pub(crate) async fn open_organisation(tx: &Tx, id: OrganisationId) -> Result<()> {
    let organisation = organisations::load(tx, id, Lock::Share)
        .await?
        .ok_or(Refusal::OrganisationNotFound)?;
    Ok(organisation.must_be_open()?)
}

/// Where each person of a list belongs.
pub(crate) enum Place {
    /// There already.
    Known {
        person: PersonRow,
        gets_phone: bool,
    },
    New,
}

/// Who was found by a document, and what became of her.
pub(crate) struct Placing {
    pub(crate) found: Option<Uuid>,
    pub(crate) place: std::result::Result<Place, Refusal>,
}

pub(crate) struct Placed {
    pub(crate) places: Vec<Place>,
}

async fn place_all(
    tx: &Tx,
    vault: &Vault,
    by: By,
    people: &[NewPerson],
    blinds: &Blinds,
) -> Result<std::result::Result<Placed, Refused>> {
    let mut places = Vec::with_capacity(people.len());
    let mut refused = Vec::new();
    let placings = place_each(tx, vault, by, people, blinds).await?;
    let repeated = repeated(&placings);
    for (at, placing) in placings.into_iter().enumerate() {
        match placing.place {
            Ok(_) if repeated.contains(&at) => refused.push((at, Refusal::PersonRepeated)),
            Ok(place) => places.push(place),
            Err(why) => refused.push((at, why)),
        }
    }
    Ok(if refused.is_empty() {
        Ok(Placed { places })
    } else {
        Err(refused)
    })
}

/// Who of a list is somebody before her in it, found by another document or by her phone.
pub(crate) fn repeated(placings: &[Placing]) -> HashSet<usize> {
    let mut seen = HashSet::new();
    let mut repeated = HashSet::new();
    for (at, placing) in placings.iter().enumerate() {
        if let Ok(Place::Known { person, .. }) = &placing.place
            && !seen.insert(person.member)
        {
            repeated.insert(at);
        }
    }
    repeated
}

/// Where each of the list belongs, or that she does not match, in its order.
pub(crate) async fn place_each(
    tx: &Tx,
    vault: &Vault,
    by: By,
    people: &[NewPerson],
    blinds: &Blinds,
) -> Result<Vec<Placing>> {
    let Blinds { documents, phones } = blinds;
    // Phones first: who commits the same person between the two statements is then found by her
    // document, and not taken for a stranger who has her phone.
    let taken = store::by_phones(tx, &given(phones)).await?;
    // Kept as they are until the end: nobody joins who is forgotten at this moment.
    let known = store::keep_by_documents(tx, &given(documents)).await?;
    let members: Vec<Uuid> = known.values().map(|person| person.member).collect();
    let may_get_phone = may_get_phone(tx, by, members).await?;
    let nameless = Nameless::load(tx, vault, people, &taken).await?;

    let mut comparisons = Comparisons::new(tx.ids(), vault)?;
    let mut placings = Vec::with_capacity(people.len());
    for (at, person) in people.iter().enumerate() {
        let owner = phones[at].and_then(|blind| taken.get(&blind)).copied();
        let found = documents[at].and_then(|blind| known.get(&blind));
        let same = comparisons.same(vault, found, &person.name);
        let place = match found {
            Some(row) => {
                let may_get_phone = may_get_phone.contains(&row.member);
                known_place(person, row, owner, same, may_get_phone)
            }
            None => match (owner, person.document.is_none()) {
                (None, _) => Ok(Place::New),
                (Some(owner), true) => nameless.place(owner, person),
                (Some(_), false) => Err(Refusal::PersonNotMatched),
            },
        };
        let found = found.map(|row| row.member);
        placings.push(Placing { found, place });
    }
    Ok(placings)
}

/// Those of these people who have no phone and whom `by` may give one.
async fn may_get_phone(tx: &Tx, by: By, members: Vec<Uuid>) -> Result<HashSet<Uuid>> {
    let reachable: HashSet<Uuid> = store::with_phone(tx, &members).await?.into_iter().collect();
    let mut without = members;
    without.retain(|member| !reachable.contains(member));
    let may = match by {
        By::Operator(_) => without,
        By::Officer(officer) => {
            // It is asked whoever was found: nobody stands in where there is nobody.
            without.push(Uuid::nil());
            roles::vouched_for(tx, officer.id, &without).await?
        }
    };
    Ok(may.into_iter().collect())
}

fn known_place(
    person: &NewPerson,
    row: &PersonRow,
    owner: Option<Uuid>,
    same: bool,
    may_get_phone: bool,
) -> std::result::Result<Place, Refusal> {
    let foreign = owner.is_some_and(|owner| owner != row.member);
    if !same || foreign {
        return Err(Refusal::PersonNotMatched);
    }
    // A phone that is there already stays: another officer cannot take a person's login away.
    let gets_phone = person.phone.is_some() && may_get_phone;
    Ok(Place::Known {
        person: row.clone(),
        gets_phone,
    })
}

/// People without a document are known by their phone, and their name must be the same.
struct Nameless(HashMap<Uuid, (PersonRow, PersonName)>);

impl Nameless {
    async fn load(
        tx: &Tx,
        vault: &Vault,
        people: &[NewPerson],
        taken: &HashMap<Blind, Uuid>,
    ) -> Result<Self> {
        let mut rows = HashMap::new();
        for person in people.iter().filter(|person| person.document.is_none()) {
            let Some(phone) = &person.phone else { continue };
            let Some(owner) = taken.get(&vault.blind_phone(phone)?) else {
                continue;
            };
            if let Some(row) = store::active(tx, MemberId(*owner)).await? {
                let name = stored_name(vault, &row)?;
                rows.insert(*owner, (row, name));
            }
        }
        Ok(Self(rows))
    }

    fn place(&self, owner: Uuid, person: &NewPerson) -> std::result::Result<Place, Refusal> {
        match self.0.get(&owner) {
            Some((row, name)) if same_text(name.as_str(), &person.name) => Ok(Place::Known {
                person: row.clone(),
                gets_phone: false,
            }),
            _ => Err(Refusal::PersonNotMatched),
        }
    }
}

impl Placed {
    pub(crate) async fn save(
        self,
        tx: &Tx,
        vault: &Vault,
        joining: Joining,
        people: &[NewPerson],
    ) -> Result<Vec<Membership>> {
        let mut members = Vec::with_capacity(people.len());
        let mut new = Vec::new();
        let mut phones = Vec::new();
        for (place, person) in self.places.iter().zip(people) {
            match place {
                Place::New => {
                    let row = seal_person(tx, vault, person)?;
                    members.push(row.person.member);
                    new.push(row);
                }
                Place::Known {
                    person: row,
                    gets_phone,
                } => {
                    members.push(row.member);
                    if let (true, Some(phone)) = (gets_phone, &person.phone) {
                        let key = vault.data_key(row.member, &row.data_key)?;
                        phones.push(seal_phone(tx, vault, &key, row.member, phone)?);
                    }
                }
            }
        }
        store::insert(tx, &new).await?;
        store::insert_phones(tx, phones).await?;
        for row in &new {
            let id = MemberId(row.person.member);
            tx.emit(publish::member(id, 1, MemberState::Active));
        }
        let made = joining::join(tx, joining, &members).await?;
        joining::rest_on_documents(tx, &made, people).await?;
        Ok(made)
    }
}

/// A person's rows, sealed under a new data key of her own.
pub(crate) fn seal_person(tx: &Tx, vault: &Vault, new: &NewPerson) -> Result<NewPersonRow> {
    let ids = tx.ids();
    let member = tx.uuid();
    let (key, data_key) = vault.new_data_key(ids, member)?;
    let name = key.seal(
        ids,
        Cell::new("person", "name", member),
        new.name.as_str().as_bytes(),
    )?;
    let document = match &new.document {
        None => None,
        Some(document) => {
            let id = tx.uuid();
            let cell = Cell::new("document", "number", id);
            Some(NewDocumentRow {
                id,
                kind: document.kind().code(),
                number: key.seal(ids, cell, document.number().as_bytes())?,
                blind: vault.blind_document(document)?,
            })
        }
    };
    let phone = match &new.phone {
        None => None,
        Some(phone) => Some(seal_phone(tx, vault, &key, member, phone)?),
    };
    Ok(NewPersonRow {
        person: PersonRow {
            member,
            data_key,
            name,
        },
        document,
        phone,
        terms: terms_of(vault, &new.name)?,
    })
}

pub(crate) fn seal_phone(
    tx: &Tx,
    vault: &Vault,
    key: &SealingKey,
    member: Uuid,
    phone: &Phone,
) -> Result<NewPhoneRow> {
    let id = tx.uuid();
    let cell = Cell::new("login_method", "subject", id);
    let subject = key.seal(tx.ids(), cell, phone.as_str().as_bytes())?;
    Ok(NewPhoneRow {
        id,
        member,
        subject,
        blind: vault.blind_phone(phone)?,
    })
}
