//! Cells as people and their programs leave them, in one form: invisible characters, dots and
//! spaces of many kinds, marks that keep a number from being read as one.

/// The dot within a name.
const MIDDLE_DOT: char = '·';

/// A name without what cannot be seen; rare characters of any plane stay as they are. Spaces
/// between Chinese characters, as in `张　三`, are there for looks and go.
pub fn clean_name(text: &str) -> String {
    let chars: Vec<char> = unquoted(text)
        .chars()
        .filter(|c| !is_zero_width(*c))
        .map(|c| match c {
            '•' | '・' | '‧' | '．' | '･' | '∙' | '⋅' | '﹒' => MIDDLE_DOT,
            c if is_space(c) => ' ',
            c => c,
        })
        .collect();
    let mut name = String::with_capacity(text.len());
    for (at, c) in chars.iter().enumerate() {
        if *c == ' ' && between_han(&chars, at) {
            continue;
        }
        name.push(*c);
    }
    name.trim().to_owned()
}

/// A number or a phone: half-width, upper case, without anything invisible and without spaces.
pub fn clean_number(text: &str) -> String {
    half_width(unquoted(text))
        .chars()
        .filter(|c| !is_space(*c) && !is_zero_width(*c) && !is_direction(*c))
        .map(|c| c.to_ascii_uppercase())
        .collect::<String>()
        .trim_start_matches('\'')
        .to_owned()
}

/// Full-width letters, digits and signs as half-width ones.
pub fn half_width(text: &str) -> String {
    text.chars()
        .map(|c| match u32::from(c) {
            wide @ 0xFF01..=0xFF5E => char::from_u32(wide - 0xFEE0).unwrap_or(c),
            0x3000 | 0xA0 => ' ',
            _ => c,
        })
        .collect()
}

/// Text as a spreadsheet may be told to keep it: `="5001"`, `'5001`, a tab in front.
fn unquoted(text: &str) -> &str {
    let text = text.trim_matches(|c: char| is_space(c) || is_zero_width(c));
    let text = text.strip_prefix('\'').unwrap_or(text);
    text.strip_prefix("=\"")
        .and_then(|rest| rest.strip_suffix('"'))
        .unwrap_or(text)
}

/// Whether a spreadsheet has made a number of it and lost its last digits: `5.10E+17`.
pub fn is_scientific(text: &str) -> bool {
    let Some((mantissa, exponent)) = text.split_once('E') else {
        return false;
    };
    let digits = exponent.strip_prefix('+').unwrap_or(exponent);
    let is_number = mantissa.bytes().all(|b| b.is_ascii_digit() || b == b'.');
    let has_sign = exponent.starts_with('+') || mantissa.contains('.');
    is_number
        && has_sign
        && !mantissa.is_empty()
        && (1..=3).contains(&digits.len())
        && digits.bytes().all(|b| b.is_ascii_digit())
}

/// Text that a spreadsheet would run as a formula, with a `'` in front (ASVS 5.0, 1.2.10). What
/// [`clean_number`] and [`clean_name`] read drops it again.
pub fn escaped(text: &str) -> String {
    if text.starts_with(['=', '+', '-', '@', '\t', '\r', '\n', '＝', '＋', '－', '＠']) {
        format!("'{text}")
    } else {
        text.to_owned()
    }
}

fn is_space(c: char) -> bool {
    c.is_whitespace() || c.is_control()
}

const fn is_zero_width(c: char) -> bool {
    matches!(
        c,
        '\u{200B}'..='\u{200F}' | '\u{2060}'..='\u{2064}' | '\u{FEFF}' | '\u{AD}' | '\u{180E}'
    )
}

/// What turns the direction of writing: phones copied out of address books have it around them.
const fn is_direction(c: char) -> bool {
    matches!(c, '\u{202A}'..='\u{202E}' | '\u{2066}'..='\u{2069}')
}

fn between_han(chars: &[char], at: usize) -> bool {
    let before = chars[..at].iter().rev().find(|c| **c != ' ');
    let after = chars[at..].iter().find(|c| **c != ' ');
    matches!((before, after), (Some(before), Some(after)) if is_han(*before) && is_han(*after))
}

const fn is_han(c: char) -> bool {
    matches!(c,
        '\u{3007}' | '\u{3400}'..='\u{4DBF}' | '\u{4E00}'..='\u{9FFF}'
        | '\u{F900}'..='\u{FAFF}' | '\u{20000}'..='\u{3FFFF}')
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// ASVS V1.1.1.
    #[test]
    fn names_lose_what_cannot_be_seen_and_keep_the_rest() {
        for (given, kept) in [
            ("\u{FEFF}张\u{200B}三\u{A0}", "张三"),
            ("张　三", "张三"),
            ("欧 阳\u{A0}娜 娜", "欧阳娜娜"),
            ("阿依古丽•买买提", "阿依古丽·买买提"),
            ("阿依古丽･买买提", "阿依古丽·买买提"),
            ("阿依古丽．买买提", "阿依古丽·买买提"),
            ("\t张三", "张三"),
            ("'张三", "张三"),
            ("=\"张三\"", "张三"),
            ("𠮷田\u{3106C}", "𠮷田\u{3106C}"),
            ("Anna Maria", "Anna Maria"),
        ] {
            assert_eq!(clean_name(given), kept, "{given:?}");
        }
    }

    #[test]
    fn numbers_lose_quotes_directions_and_width() {
        for (given, kept) in [
            ("'50010319900307123x", "50010319900307123X"),
            ("=\"500103199003071239\"", "500103199003071239"),
            ("\t500103 19900307 1239", "500103199003071239"),
            ("５００１０３１９９００３０７１２３９", "500103199003071239"),
            ("\u{202D}13812345678\u{202C}", "13812345678"),
            ("138\u{A0}1234\u{200B}5678", "13812345678"),
        ] {
            assert_eq!(clean_number(given), kept, "{given:?}");
        }
    }

    #[test]
    fn eaten_numbers_are_seen() {
        for eaten in ["5.10E+17", "5.10103199003E+17", "5E+17", "5.1E17"] {
            assert!(is_scientific(eaten), "{eaten}");
        }
        for fine in [
            "E12345678",
            "EK1234567",
            "1234E5678",
            "",
            "E",
            "5E",
            "12E17",
        ] {
            assert!(!is_scientific(fine), "{fine}");
        }
    }

    proptest! {
        /// Nothing that is written can be run, and what was escaped reads back.
        /// ASVS V1.3.3.
        #[test]
        fn what_is_written_does_not_run(text in "\\PC{0,20}|[=+@\t\r-].{0,10}") {
            let written = escaped(&text);
            prop_assert!(!written.starts_with(['=', '+', '-', '@', '\t', '\r', '\n']));
            prop_assert_eq!(clean_number(&written), clean_number(&text));
        }
    }
}
