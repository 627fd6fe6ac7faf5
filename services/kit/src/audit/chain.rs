//! The hash chain over audit rows: which bytes of a row count, and how one hash follows from the
//! one before. Pure.
//!
//! The bytes are said a second time in SQL, for `bashu verify`. A vector pins both for ever, since
//! a chain is only as good as its reader of ten years later.

use chrono::{DateTime, Utc};
use sea_orm::FromQueryResult;
use sha2::{Digest, Sha256};
use uuid::Uuid;

/// A hash of the chain.
pub type Hash = [u8; 32];

/// What the first row follows.
pub const GENESIS: Hash = [0; 32];

/// An audit row as it lies in the table.
#[derive(Clone, Debug, PartialEq, Eq, FromQueryResult)]
pub struct Entry {
    pub id: i64,
    pub member: Option<Uuid>,
    pub login: Option<Uuid>,
    pub act: String,
    pub subject: String,
    /// As PostgreSQL writes the document: one text for each value.
    pub detail: String,
    pub at: DateTime<Utc>,
}

/// What an [`Entry`] is read from, of a row that is called `a`.
pub(crate) const COLUMNS: &str =
    "a.id, a.member, a.login, a.act, a.subject, a.detail::text AS detail, a.at";

/// Where [`HASH_DIFFERS`] begins: behind the last head that was published, since to hash the rows
/// of years takes long. Nought in its place is the whole chain.
pub(crate) const LAST_HEAD: &str = "COALESCE((SELECT max(h.position) FROM audit_head h), 0)";

/// The seals behind [`LAST_HEAD`] whose hash does not follow from the one before and
/// [`Entry::canonical`], which is said here a second time: what breaks an invariant, `(subject,
/// problem)`.
pub(crate) const HASH_DIFFERS: &str = "
    SELECT 'position ' || position::text AS subject, 'row ' || audit::text
        || ' or its seal is not what was sealed' AS problem
    FROM (SELECT c.position, c.audit, c.hash,
        COALESCE(lag(c.hash) OVER (ORDER BY c.position), decode(repeat('00', 32), 'hex'))
          AS previous,
        int8send(a.id)
        || CASE WHEN a.member IS NULL THEN '\\x00'::bytea
             ELSE '\\x01'::bytea || uuid_send(a.member) END
        || CASE WHEN a.login IS NULL THEN '\\x00'::bytea
             ELSE '\\x01'::bytea || uuid_send(a.login) END
        || int4send(octet_length(a.act)) || convert_to(a.act, 'UTF8')
        || int4send(octet_length(a.subject)) || convert_to(a.subject, 'UTF8')
        || int4send(octet_length(a.detail::text)) || convert_to(a.detail::text, 'UTF8')
        || int8send((extract(epoch FROM a.at) * 1000000)::bigint) AS bytes
      FROM audit_seal c LEFT JOIN audit a ON a.id = c.audit
      WHERE c.position >= COALESCE((SELECT max(h.position) FROM audit_head h), 0)) AS chained
    WHERE position > COALESCE((SELECT max(h.position) FROM audit_head h), 0)
      AND hash <> sha256(previous || bytes)";

impl Entry {
    /// The bytes that are hashed: id, member, login, act, subject, detail and instant, in this
    /// order. Numbers are big-endian, the id and the microseconds since 1970 of eight bytes; an id
    /// of a person or a login is a byte that says whether there is one, and then its sixteen; a
    /// text is its length in bytes, of four, and then UTF-8. So no two rows have the same bytes.
    pub fn canonical(&self) -> Vec<u8> {
        let mut bytes = self.id.to_be_bytes().to_vec();
        for id in [self.member, self.login] {
            bytes.push(u8::from(id.is_some()));
            bytes.extend(id.iter().flat_map(|id| *id.as_bytes()));
        }
        for text in [&self.act, &self.subject, &self.detail] {
            let length = u32::try_from(text.len()).unwrap_or(u32::MAX);
            bytes.extend(length.to_be_bytes());
            bytes.extend(text.as_bytes());
        }
        bytes.extend(self.at.timestamp_micros().to_be_bytes());
        bytes
    }

    /// The hash of this row's position, after this one.
    pub fn follow(&self, previous: &Hash) -> Hash {
        let mut digest = Sha256::new();
        digest.update(previous);
        digest.update(self.canonical());
        digest.finalize().into()
    }
}

/// Where a chain stands: everything up to a position has gone into the hash.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Head {
    /// 0 of an empty chain.
    pub position: i64,
    pub hash: Hash,
}

impl Head {
    /// Of an empty chain.
    pub const EMPTY: Self = Self {
        position: 0,
        hash: GENESIS,
    };

    /// After one more row.
    #[must_use]
    pub fn after(self, entry: &Entry) -> Self {
        Self {
            position: self.position + 1,
            hash: entry.follow(&self.hash),
        }
    }

    /// The head of this position, if the bytes are a hash.
    pub fn of(position: i64, hash: &[u8]) -> Option<Self> {
        let hash = hash.try_into().ok()?;
        Some(Self { position, hash })
    }

    /// The hash as people and logs keep it: hexadecimal in groups of eight, none of which is ever
    /// long enough to be taken for somebody's number.
    pub fn hash_text(&self) -> String {
        let groups: Vec<String> = self.hash.chunks(4).map(hex::encode).collect();
        groups.join("-")
    }

    /// The head of this position with a hash that was kept as text, grouped or not.
    pub fn kept(position: i64, hash: &str) -> Option<Self> {
        Self::of(position, &hex::decode(hash.replace('-', "")).ok()?)
    }
}

/// The rows that the vector of this chain is made of.
#[cfg(any(test, feature = "testing"))]
pub fn vector() -> [Entry; 2] {
    let at = |micros| DateTime::from_timestamp_micros(micros).unwrap_or_default();
    [
        Entry {
            id: 1,
            member: None,
            login: None,
            act: "create_root".to_owned(),
            subject: "工会".to_owned(),
            detail: "{}".to_owned(),
            at: at(1_775_008_800_000_000),
        },
        Entry {
            id: 3,
            member: Some(Uuid::from_u128(0x10)),
            login: Some(Uuid::from_u128(0x20)),
            act: "grant_role".to_owned(),
            subject: "00000000-0000-0000-0000-000000000030".to_owned(),
            detail: "{\"role\": \"officer\"}".to_owned(),
            at: at(1_775_008_800_000_001),
        },
    ]
}

/// The hashes after the first and the second row of [`vector`], in hexadecimal.
#[cfg(any(test, feature = "testing"))]
pub const VECTOR: [&str; 2] = [
    "e1cb75ea5cf9932e1b9757f8589b14abd14b3eabb67da4421a4d68b14a61e6b0",
    "7d52a0368db80ecfcfc65171265998623b7630d0099786b2c2a4666f3d23a6c1",
];

#[cfg(test)]
mod tests {
    use super::*;

    /// The bytes and hashes of two rows, for ever.
    #[test]
    fn the_chain_is_pinned() {
        let [first, second] = vector();
        let bytes = "000000000000000100000000000b6372656174655f726f6f7400000006e5\
                     b7a5e4bc9a000000027b7d00064e5c70ff4800";
        assert_eq!(hex::encode(first.canonical()), bytes);
        let one = Head::EMPTY.after(&first);
        let two = one.after(&second);
        assert_eq!([one, two].map(|head| hex::encode(head.hash)), VECTOR);
        assert_eq!((one.position, two.position), (1, 2));
    }

    /// Both places at which the query begins are the one that is moved to see the whole chain.
    #[test]
    fn the_query_begins_at_one_place() {
        assert_eq!(HASH_DIFFERS.matches(LAST_HEAD).count(), 2);
        assert!(!HASH_DIFFERS.replace(LAST_HEAD, "0").contains("audit_head"));
    }

    /// What people keep of a head is read back, with and without its dashes.
    #[test]
    fn a_head_is_read_as_it_is_shown() {
        let [first, _] = vector();
        let head = Head::EMPTY.after(&first);
        let text = head.hash_text();
        assert!(text.starts_with("e1cb75ea-5cf9932e-"), "{text}");
        for text in [text.clone(), text.replace('-', "")] {
            assert_eq!(Head::kept(1, &text), Some(head));
            assert_eq!(Head::kept(1, &text[1..]), None);
        }
    }

    /// Whatever of a row is another, its bytes are: nothing moves from one field into the next.
    /// ASVS V11.4.3.
    #[test]
    fn every_field_counts() {
        let [_, row] = vector();
        let change = |change: fn(&mut Entry)| {
            let mut other = row.clone();
            change(&mut other);
            other
        };
        let others = [
            change(|row| row.id = 4),
            change(|row| row.member = None),
            change(|row| row.login = None),
            change(|row| std::mem::swap(&mut row.member, &mut row.login)),
            change(|row| row.act.push('0')),
            change(|row| row.subject.insert(0, 'e')),
            change(|row| {
                row.act.pop();
                row.subject.insert(0, 'e');
            }),
            change(|row| row.detail.push(' ')),
            change(|row| row.at = DateTime::UNIX_EPOCH),
        ];
        let mut seen = std::collections::BTreeSet::from([row.canonical()]);
        for other in others {
            assert!(seen.insert(other.canonical()), "{other:?}");
        }
        let other = row.follow(&[1; 32]);
        assert_ne!(row.follow(&GENESIS), other, "the hash before counts");
    }
}
