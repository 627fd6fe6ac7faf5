//! Codes of authenticators: RFC 6238 over RFC 4226, in the form that every authenticator knows
//! (SHA-1, six digits, half a minute), and the address by which one is set up.
//!
//! Twenty lines of our own, over `hmac` and `sha1`: what the crates for it answer is whether a
//! code is right, and not which time step it is of, by which a code is taken once.

use chrono::{DateTime, Utc};
use data_encoding::BASE32_NOPAD;
use hmac::{Hmac, Mac};
use kit::Ids;
use kit::types::Union;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use sha1::Sha1;
use subtle::{Choice, ConditionallySelectable, ConstantTimeEq};
use zeroize::Zeroizing;

use crate::domain::second_factor::{STEP_SECONDS, STEPS_BESIDE, step_of};

/// Bytes of a secret: as many as the hash has, which RFC 4226 recommends.
pub const SECRET_BYTES: usize = 20;
const MODULUS: u32 = 1_000_000;

/// What an authenticator and the vault share.
#[derive(Clone)]
pub struct Secret(Zeroizing<[u8; SECRET_BYTES]>);

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Secret")
    }
}

impl Secret {
    /// A new one.
    pub fn random(ids: &Ids) -> Self {
        let mut bytes = Zeroizing::new([0; SECRET_BYTES]);
        ids.fill(bytes.as_mut_slice());
        Self(bytes)
    }

    /// One that was kept; `None` where it is none.
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let bytes = <[u8; SECRET_BYTES]>::try_from(bytes).ok()?;
        Some(Self(Zeroizing::new(bytes)))
    }

    pub fn bytes(&self) -> &[u8] {
        self.0.as_slice()
    }

    /// What is typed where no picture can be read, in base 32.
    pub fn text(&self) -> String {
        BASE32_NOPAD.encode(self.bytes())
    }

    /// The code of a time step.
    pub fn code(&self, step: i64) -> String {
        format!("{:06}", truncated(self.bytes(), step) % MODULUS)
    }

    /// The newest step near `now` of which `given` is the code. Every step is compared, whichever
    /// it is, in the same time.
    pub fn matching_step(&self, given: &str, now: DateTime<Utc>) -> Option<i64> {
        let present = step_of(now);
        let mut found = Choice::from(0);
        let mut matched = 0_i64;
        for step in present - STEPS_BESIDE..=present + STEPS_BESIDE {
            let same = self.code(step).as_bytes().ct_eq(given.as_bytes());
            matched.conditional_assign(&step, same);
            found |= same;
        }
        bool::from(found).then_some(matched)
    }

    /// The address that an authenticator reads from a picture. `account` is shown in it, and must
    /// tell nothing that the authenticator's maker should not know.
    pub fn uri(&self, union: Union, account: &str) -> String {
        let issuer = issuer(union);
        let issuer = utf8_percent_encode(issuer, NON_ALPHANUMERIC);
        let account = utf8_percent_encode(account, NON_ALPHANUMERIC);
        format!(
            "otpauth://totp/{issuer}:{account}?secret={}&issuer={issuer}\
             &algorithm=SHA1&digits=6&period={STEP_SECONDS}",
            self.text()
        )
    }
}

/// Whose codes these are, as the authenticator lists them.
const fn issuer(union: Union) -> &'static str {
    match union {
        Union::Chongqing => "百万职工游巴蜀·重庆",
        Union::Sichuan => "百万职工游巴蜀·四川",
    }
}

/// RFC 4226 §5.3: thirty-one bits out of the hash, from a place that the hash itself names.
fn truncated(secret: &[u8], step: i64) -> u32 {
    let mut mac =
        <Hmac<Sha1> as Mac>::new_from_slice(secret).expect("HMAC takes a key of any length");
    mac.update(&step.to_be_bytes());
    let hash = mac.finalize().into_bytes();
    let offset = usize::from(hash[hash.len() - 1] & 0x0f);
    let four = &hash[offset..offset + 4];
    let number = four
        .iter()
        .fold(0_u32, |sum, byte| sum << 8 | u32::from(*byte));
    number & 0x7fff_ffff
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The secret of the RFCs' examples.
    fn secret() -> Secret {
        Secret::from_bytes(b"12345678901234567890").unwrap()
    }

    fn at(seconds: i64) -> DateTime<Utc> {
        DateTime::from_timestamp(seconds, 0).unwrap()
    }

    /// RFC 4226, appendix D.
    #[test]
    fn the_counters_examples_come_out() {
        let codes = [
            "755224", "287082", "359152", "969429", "338314", "254676", "287922", "162583",
            "399871", "520489",
        ];
        for (step, code) in (0..).zip(codes) {
            assert_eq!(secret().code(step), code);
        }
    }

    /// RFC 6238, appendix B, of whose eight digits an authenticator shows the last six.
    #[test]
    fn the_clocks_examples_come_out() {
        for (seconds, code) in [
            (59, "94287082"),
            (1_111_111_109, "07081804"),
            (1_111_111_111, "14050471"),
            (1_234_567_890, "89005924"),
            (2_000_000_000, "69279037"),
            (20_000_000_000, "65353130"),
        ] {
            assert_eq!(secret().code(step_of(at(seconds))), code[2..]);
        }
    }

    #[test]
    fn a_code_is_good_for_its_step_and_the_ones_beside_it() {
        let (secret, step) = (secret(), 1_000);
        let code = secret.code(step);
        for (beside, matched) in [
            (-2, None),
            (-1, Some(step)),
            (0, Some(step)),
            (1, Some(step)),
        ] {
            let now = at((step + beside) * STEP_SECONDS + 29);
            assert_eq!(secret.matching_step(&code, now), matched, "{beside}");
        }
        let now = at((step + 2) * STEP_SECONDS);
        assert_eq!(secret.matching_step(&code, now), None);
        for bad in ["", "0", "00000000", "１２３４５６"] {
            assert_eq!(secret.matching_step(bad, at(step * STEP_SECONDS)), None);
        }
    }

    #[test]
    fn an_authenticator_reads_the_address() {
        let uri = secret().uri(Union::Chongqing, "138****0001");
        let start = "otpauth://totp/%E7%99%BE%E4%B8%87";
        assert!(uri.starts_with(start) && uri.is_ascii(), "{uri}");
        let end = "?secret=GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ&issuer=";
        assert!(uri.contains(end) && uri.contains("138%2A%2A%2A%2A0001"));
        assert!(uri.ends_with("&algorithm=SHA1&digits=6&period=30"));
        assert_ne!(uri, secret().uri(Union::Sichuan, "138****0001"));
        assert!(!format!("{:?}", secret()).contains("49"));
    }

    #[test]
    fn what_has_another_length_is_no_secret() {
        assert!(Secret::from_bytes(&[0; 19]).is_none());
        assert!(Secret::from_bytes(&[0; 21]).is_none());
        let (one, two) = (Ids::seeded(1), Ids::seeded(2));
        assert_ne!(Secret::random(&one).bytes(), Secret::random(&two).bytes());
    }
}
