//! Opaque global ids: base64url of `Type:bytes`. They name a thing and prove nothing: who may
//! see it is decided each time.

use async_graphql::ID;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use uuid::Uuid;

use crate::types::EntitlementId;
use crate::{Error, Result};

/// The longest id, in characters.
const ID_CHARS_MAX: usize = 256;

/// An id read from a client: the type it names and the bytes within it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GlobalId {
    pub type_name: String,
    pub bytes: Vec<u8>,
}

impl GlobalId {
    /// `type_name` is the GraphQL type, `Pass`.
    pub fn encode(type_name: &str, bytes: &[u8]) -> ID {
        debug_assert!(!type_name.contains(':'));
        let mut plain = Vec::with_capacity(type_name.len() + 1 + bytes.len());
        plain.extend_from_slice(type_name.as_bytes());
        plain.push(b':');
        plain.extend_from_slice(bytes);
        ID(URL_SAFE_NO_PAD.encode(plain))
    }

    pub fn of_uuid(type_name: &str, id: impl Into<Uuid>) -> ID {
        Self::encode(type_name, id.into().as_bytes())
    }

    pub fn of_entitlement(type_name: &str, id: EntitlementId) -> ID {
        Self::encode(type_name, &id.to_bytes())
    }

    /// `None` when it is no id of ours.
    pub fn decode(id: &str) -> Option<Self> {
        if id.len() > ID_CHARS_MAX {
            return None;
        }
        let plain = URL_SAFE_NO_PAD.decode(id).ok()?;
        let colon = plain.iter().position(|&byte| byte == b':')?;
        let type_name = std::str::from_utf8(&plain[..colon]).ok()?;
        let is_name = !type_name.is_empty() && type_name.bytes().all(|b| b.is_ascii_alphanumeric());
        is_name.then(|| Self {
            type_name: type_name.to_owned(),
            bytes: plain[colon + 1..].to_vec(),
        })
    }

    /// The UUID of an id of this type.
    ///
    /// # Errors
    /// [`Error::NotFound`] when it is another type's id or none: a foreign id and an absent one
    /// look alike.
    pub fn uuid(id: &str, type_name: &str) -> Result<Uuid> {
        Uuid::from_slice(&Self::bytes_of(id, type_name)?).map_err(|_| Error::NotFound)
    }

    /// The entitlement id of an id of this type.
    ///
    /// # Errors
    /// [`Error::NotFound`], as [`GlobalId::uuid`].
    pub fn entitlement(id: &str, type_name: &str) -> Result<EntitlementId> {
        let bytes = <[u8; 8]>::try_from(Self::bytes_of(id, type_name)?.as_slice())
            .map_err(|_| Error::NotFound)?;
        Ok(EntitlementId(u64::from_be_bytes(bytes)))
    }

    /// The bytes of an id of this type.
    ///
    /// # Errors
    /// [`Error::NotFound`], as [`GlobalId::uuid`].
    pub fn bytes_of(id: &str, type_name: &str) -> Result<Vec<u8>> {
        let decoded = Self::decode(id).ok_or(Error::NotFound)?;
        if decoded.type_name == type_name {
            Ok(decoded.bytes)
        } else {
            Err(Error::NotFound)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_reads_back_and_only_as_its_own_type() {
        let uuid = Uuid::from_u128(7);
        let id = GlobalId::of_uuid("Order", uuid);
        assert_eq!(GlobalId::uuid(&id, "Order").unwrap(), uuid);
        assert!(matches!(GlobalId::uuid(&id, "Pass"), Err(Error::NotFound)));
        let pass = GlobalId::of_entitlement("Pass", EntitlementId(0x3a_00));
        assert_eq!(
            GlobalId::entitlement(&pass, "Pass").unwrap(),
            EntitlementId(0x3a_00)
        );
    }

    #[test]
    fn what_is_no_id_is_not_found() {
        for bad in [
            "",
            "!!",
            "UGFzcw",
            "OjEyMw",
            &"A".repeat(300),
            "T3JkZXI6MTIz",
            "Pass:1",
        ] {
            assert!(GlobalId::uuid(bad, "Order").is_err(), "{bad}");
        }
    }
}
