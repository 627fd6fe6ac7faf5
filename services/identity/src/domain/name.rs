//! Names of persons: one normal form, and what of it others may see.

use std::fmt;

use zeroize::Zeroizing;

use crate::error::Refusal;

/// The fewest characters of a name.
pub const NAME_CHARS_MIN: usize = 2;
/// The most characters of a name.
pub const NAME_CHARS_MAX: usize = 30;
/// The dot within a name, as of Uyghur or Tibetan people.
const MIDDLE_DOT: char = '·';

/// A person's name in normal form. Composed letters only; a rare character of any plane is one.
/// It is wiped from memory when it is dropped.
#[derive(Clone, PartialEq, Eq)]
pub struct PersonName(Zeroizing<String>);

impl fmt::Debug for PersonName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PersonName")
    }
}

impl PersonName {
    /// Takes any of the dots in use as `·`, and drops spaces at the ends and repeated ones.
    ///
    /// # Errors
    /// [`Refusal::PersonNameInvalid`] when it has too few or too many characters, or one that is
    /// in no name.
    pub fn parse(text: &str) -> Result<Self, Refusal> {
        let words: Vec<&str> = text.split_whitespace().collect();
        let name: String = words
            .join(" ")
            .chars()
            .map(|c| {
                if matches!(c, '•' | '・' | '‧' | '．' | '.') {
                    MIDDLE_DOT
                } else {
                    c
                }
            })
            .collect();
        let count = name.chars().count();
        let legal = name
            .chars()
            .all(|c| c.is_alphabetic() || matches!(c, MIDDLE_DOT | ' ' | '-'));
        let letters = name.chars().any(char::is_alphabetic);
        if (NAME_CHARS_MIN..=NAME_CHARS_MAX).contains(&count) && legal && letters {
            Ok(Self(Zeroizing::new(name)))
        } else {
            Err(Refusal::PersonNameInvalid)
        }
    }

    /// What the vault kept, without checking it again.
    pub(crate) fn stored(text: Zeroizing<String>) -> Self {
        Self(text)
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// `张*`, `张*三`, `欧**三`
    pub fn masked(&self) -> String {
        let count = self.0.chars().count();
        self.0
            .chars()
            .enumerate()
            .map(|(at, c)| {
                if at == 0 || (at + 1 == count && count > 2) {
                    c
                } else {
                    '*'
                }
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn names_have_one_form() {
        for (given, kept) in [
            (" 张三 ", "张三"),
            ("阿依古丽•买买提", "阿依古丽·买买提"),
            ("Anna  Maria", "Anna Maria"),
            ("𠮷田", "𠮷田"),
        ] {
            assert_eq!(PersonName::parse(given).unwrap().as_str(), kept);
        }
        let long = "张".repeat(31);
        for bad in [
            "",
            "张",
            "··",
            "张三\u{202e}",
            "<b>x</b>",
            "张3",
            &long,
            "=cmd",
            "a\u{0301}b",
        ] {
            assert_eq!(
                PersonName::parse(bad),
                Err(Refusal::PersonNameInvalid),
                "{bad:?}"
            );
        }
    }

    proptest! {
        /// A mask keeps the length and shows at most the two ends.
        #[test]
        fn a_mask_hides_all_but_the_ends(text in "\\PC{0,40}") {
            if let Ok(name) = PersonName::parse(&text) {
                let masked: Vec<char> = name.masked().chars().collect();
                prop_assert_eq!(masked.len(), name.as_str().chars().count());
                let last = masked.len() - 1;
                prop_assert!(masked[1..last].iter().all(|c| *c == '*'));
                prop_assert_eq!(PersonName::parse(name.as_str()), Ok(name));
            }
        }
    }
}
