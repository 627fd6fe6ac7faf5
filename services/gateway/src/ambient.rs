//! Time and randomness: the one place of the gateway that reads the machine's clock and its
//! random source. It keeps no state and offers no way to stop time: the parts that decide
//! take the instant as an argument.

use std::time::{SystemTime, UNIX_EPOCH};

use rand::RngCore as _;

use crate::hexadecimal::hexadecimal;

/// Seconds since the Unix epoch; 0 when the machine's clock stands before it.
#[expect(
    clippy::disallowed_methods,
    reason = "the one place that reads the clock"
)]
pub(crate) fn now_s() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |since| since.as_secs())
}

/// `N` random bytes in lower-case hexadecimal.
#[expect(
    clippy::disallowed_methods,
    reason = "the one place that draws at random"
)]
pub(crate) fn random_hex<const N: usize>() -> String {
    let mut bytes = [0_u8; N];
    rand::rng().fill_bytes(&mut bytes);
    hexadecimal(&bytes)
}
