//! How deep a text nests, read without parsing it. The parsers behind it call themselves once
//! per level: fifty levels of JSON used up a thread's usual stack in an unoptimised build. So the
//! depth is bounded before they run. It judges nothing else: a text that is malformed passes here
//! and is refused by its parser.

/// Deepest nesting of a GraphQL document or a JSON body, in brackets.
pub const NESTING_MAX: usize = 32;

/// Whether brackets outside strings and comments nest no deeper than [`NESTING_MAX`].
pub fn is_shallow(text: &[u8], syntax: Syntax) -> bool {
    let mut depth = 0_usize;
    let mut at = 0;
    while let Some(&byte) = text.get(at) {
        match byte {
            b'"' => {
                at = after_string(text, at, syntax);
                continue;
            }
            b'#' if syntax == Syntax::GraphQl => {
                at = after_line(text, at);
                continue;
            }
            b'{' | b'[' | b'(' => {
                depth += 1;
                if depth > NESTING_MAX {
                    return false;
                }
            }
            b'}' | b']' | b')' => depth = depth.saturating_sub(1),
            _ => {}
        }
        at += 1;
    }
    true
}

/// Which rules for strings and comments hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Syntax {
    Json,
    GraphQl,
}

fn after_line(text: &[u8], from: usize) -> usize {
    text[from..]
        .iter()
        .position(|byte| matches!(byte, b'\n' | b'\r'))
        .map_or(text.len(), |length| from + length + 1)
}

fn after_string(text: &[u8], from: usize, syntax: Syntax) -> usize {
    if syntax == Syntax::GraphQl && text[from..].starts_with(b"\"\"\"") {
        return after_block_string(text, from + 3);
    }
    let mut at = from + 1;
    while let Some(&byte) = text.get(at) {
        match byte {
            b'\\' => at += 2,
            b'"' => return at + 1,
            // A GraphQL string ends at its line: beyond it brackets count again.
            b'\n' | b'\r' if syntax == Syntax::GraphQl => return at,
            _ => at += 1,
        }
    }
    text.len()
}

fn after_block_string(text: &[u8], from: usize) -> usize {
    let mut at = from;
    while at < text.len() {
        if text[at..].starts_with(b"\\\"\"\"") {
            at += 4;
        } else if text[at..].starts_with(b"\"\"\"") {
            return at + 3;
        } else {
            at += 1;
        }
    }
    text.len()
}

#[cfg(test)]
mod tests {
    use super::{NESTING_MAX, Syntax, is_shallow};

    /// The limit is exact, and brackets in strings and comments do not count towards it.
    #[test]
    fn brackets_count_outside_strings_and_comments_only() {
        let deep = |levels: usize| format!("{}{}", "{a".repeat(levels), "}".repeat(levels));
        assert!(is_shallow(deep(NESTING_MAX).as_bytes(), Syntax::GraphQl));
        assert!(!is_shallow(
            deep(NESTING_MAX + 1).as_bytes(),
            Syntax::GraphQl
        ));

        let many = "[".repeat(NESTING_MAX + 1);
        assert!(is_shallow(format!("\"{many}\"").as_bytes(), Syntax::Json));
        assert!(is_shallow(
            format!("\"\\\"{many}\"").as_bytes(),
            Syntax::Json
        ));
        assert!(is_shallow(
            format!("\"\"\"\"{many}\n{many}\"\"\"").as_bytes(),
            Syntax::GraphQl
        ));
        assert!(is_shallow(
            format!("#{many}\n{{a}}").as_bytes(),
            Syntax::GraphQl
        ));
    }

    /// What opens a string in one syntax hides nothing in the other, nor beyond its end.
    #[test]
    fn nothing_hides_behind_a_string_that_has_ended() {
        let many = "[".repeat(NESTING_MAX + 1);
        assert!(!is_shallow(format!("#{many}").as_bytes(), Syntax::Json));
        assert!(!is_shallow(
            format!("\"a\n{many}").as_bytes(),
            Syntax::GraphQl
        ));
        assert!(!is_shallow(
            format!("\"\"{many}").as_bytes(),
            Syntax::GraphQl
        ));
        assert!(!is_shallow(
            format!("#\n{many}").as_bytes(),
            Syntax::GraphQl
        ));
        assert!(!is_shallow(
            format!("\"\"\"\\\"\"\"\"\"\"{many}").as_bytes(),
            Syntax::GraphQl
        ));
    }
}
