//! The rules of entry as they are kept and sent: what is read has one form alone.

use credential::rules::Rules;

use crate::Verdict;

/// What rules of the first form, with the first evaluator, begin with.
const HEAD: &[u8] = b"CYR\x01\x00\x01";

/// Reads `bytes` as rules, and as what follows their head.
pub fn check(bytes: &[u8]) -> Verdict {
    let mut accepted = false;
    for bytes in [bytes.to_vec(), [HEAD, bytes].concat()] {
        if let Ok(rules) = Rules::from_bytes(&bytes) {
            assert_eq!(rules.to_bytes(), Ok(bytes));
            accepted = true;
        }
    }
    Verdict::of(accepted)
}
