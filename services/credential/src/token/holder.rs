//! The four bytes of a token that say who holds it: nobody in particular, a person by twelve bits
//! of a keyed hash of the document, or a group by its size.
//!
//! Twelve bits are enough for a gate with a card reader to refuse another person's card in all
//! but one of 4,096 cases, and too few to find a document number by trying them all: every number
//! space holds hundreds of thousands of people for each tag.

use hmac::{Hmac, Mac};
use sha2::Sha256;
use subtle::ConstantTimeEq;

/// The most persons that one group token admits.
pub const GROUP_PERSONS_MAX: u16 = 4095;

const TAG_MASK: u16 = 0x0FFF;
/// Bit 12 says that the low twelve bits are a document tag, bit 13 that they are a person count.
const IS_DOCUMENT: u32 = 0x1000;
const IS_GROUP: u32 = 0x2000;
const TAG_CONTEXT: &[u8] = b"CY1 idtag\0";

/// Twelve bits of a keyed hash of a document.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct DocumentTag(u16);

impl DocumentTag {
    /// The low twelve bits of the last two bytes of
    /// `HMAC-SHA-256(HMAC-SHA-256(key, "CY1 idtag\0" ‖ entitlement id), type ‖ number)`.
    ///
    /// `document_type` is the type's number among identity's documents; `number` is the normal
    /// form (upper case, no spaces); `key` is what the gates of the entitlement's scope hold.
    /// Because the entitlement id goes in, two passes of one person have unrelated tags.
    pub fn of(document_type: u8, number: &str, entitlement_id: u64, key: &[u8]) -> Self {
        let per_entitlement = hmac(key, &[TAG_CONTEXT, &entitlement_id.to_be_bytes()]);
        let hash = hmac(&per_entitlement, &[&[document_type], number.as_bytes()]);
        Self(u16::from_be_bytes([hash[30], hash[31]]) & TAG_MASK)
    }

    /// `None` above twelve bits.
    pub const fn from_bits(bits: u16) -> Option<Self> {
        if bits <= TAG_MASK {
            Some(Self(bits))
        } else {
            None
        }
    }

    pub const fn bits(self) -> u16 {
        self.0
    }

    /// Whether both are the same, in constant time.
    pub fn matches(self, other: Self) -> bool {
        self.0.ct_eq(&other.0).into()
    }
}

/// The same as [`DocumentTag::of`], under the name the specification of the token uses.
pub fn idtag(document_type: u8, number: &str, entitlement_id: u64, key: &[u8]) -> DocumentTag {
    DocumentTag::of(document_type, number, entitlement_id, key)
}

fn hmac(key: &[u8], parts: &[&[u8]]) -> [u8; 32] {
    let mut mac = <Hmac<Sha256> as Mac>::new_from_slice(key).expect("HMAC takes any key length");
    for part in parts {
        mac.update(part);
    }
    mac.finalize().into_bytes().into()
}

/// Who holds a token.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Holder {
    /// Nobody whose document was seen, such as a member verified by network number.
    Bearer,
    Document(DocumentTag),
    /// So many persons, at least 1 and at most [`GROUP_PERSONS_MAX`].
    Group {
        persons: GroupSize,
    },
}

/// The number of persons of a group.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct GroupSize(u16);

impl GroupSize {
    /// `None` for nobody and above [`GROUP_PERSONS_MAX`].
    pub const fn new(persons: u16) -> Option<Self> {
        if persons == 0 || persons > GROUP_PERSONS_MAX {
            None
        } else {
            Some(Self(persons))
        }
    }

    pub const fn get(self) -> u16 {
        self.0
    }
}

impl Holder {
    /// How many persons may enter at once.
    pub const fn persons(self) -> u16 {
        match self {
            Self::Bearer | Self::Document(_) => 1,
            Self::Group { persons } => persons.0,
        }
    }

    /// The document tag, where there is one.
    pub const fn document(self) -> Option<DocumentTag> {
        match self {
            Self::Document(tag) => Some(tag),
            Self::Bearer | Self::Group { .. } => None,
        }
    }

    pub(crate) fn to_bits(self) -> u32 {
        match self {
            Self::Bearer => 0,
            Self::Document(tag) => IS_DOCUMENT | u32::from(tag.0),
            Self::Group { persons } => IS_GROUP | u32::from(persons.0),
        }
    }

    /// `None` for bits that [`Holder::to_bits`] never writes.
    pub(crate) fn from_bits(bits: u32) -> Option<Self> {
        let low = u16::try_from(bits & u32::from(TAG_MASK)).ok()?;
        match bits & !u32::from(TAG_MASK) {
            0 if low == 0 => Some(Self::Bearer),
            IS_DOCUMENT => Some(Self::Document(DocumentTag(low))),
            IS_GROUP => GroupSize::new(low).map(|persons| Self::Group { persons }),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// One person's tags differ by entitlement, by document type, by number and by key, and each
    /// is stable.
    #[test]
    fn a_tag_depends_on_all_that_goes_in() {
        let tag = |kind, number, id, key: &str| idtag(kind, number, id, key.as_bytes());
        let first = tag(1, "500103199003071239", 42, "k");
        assert_eq!(first, tag(1, "500103199003071239", 42, "k"));
        assert!(first.matches(tag(1, "500103199003071239", 42, "k")));
        for other in [
            tag(1, "500103199003071239", 43, "k"),
            tag(2, "500103199003071239", 42, "k"),
            tag(1, "510104198511150025", 42, "k"),
            tag(1, "500103199003071239", 42, "l"),
        ] {
            assert!(!first.matches(other));
        }
    }

    /// No more than twelve bits leave, spread over all their values.
    #[test]
    fn a_tag_has_twelve_bits() {
        let mut seen = std::collections::BTreeSet::new();
        for id in 0..40_000 {
            let tag = idtag(1, "500103199003071239", id, b"k");
            assert!(tag.bits() <= TAG_MASK);
            let _ = seen.insert(tag.bits());
        }
        assert!(seen.len() > 4000, "{} of 4096 values seen", seen.len());
    }

    /// Bits that no encoder writes are no holder; all others read back as they were.
    #[test]
    fn holder_bits_are_one_to_one() {
        let mut known = 0;
        for bits in (0..=0xFFFF).chain([0x0001_1000, 0x8000_1000, 0xFFFF_FFFF]) {
            if let Some(holder) = Holder::from_bits(bits) {
                assert_eq!(holder.to_bits(), bits);
                known += 1;
            }
        }
        assert_eq!(known, 1 + 4096 + 4095);
    }
}
