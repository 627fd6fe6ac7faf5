//! What people are looked for by, and for what an office sees a person unmasked.
//!
//! A name is found by its beginnings, and by those of its spelling in letters at the ends of its
//! syllables: `张`, `张三`, `zhang`, `zhangsan`, `z`, `zs`. A number is found whole or not at all.
//! How characters are spelled is not known here.

use std::collections::BTreeSet;

use chrono::NaiveDate;

use super::identifier::{Document, DocumentKind, Phone};
use super::name::PersonName;

/// The rules by which terms are made, as `person.search_version` has it; another number has all
/// of them made again.
pub const SEARCH_VERSION: i16 = 1;
/// People on one page of a search, at most: it is for finding one, not for walking through all.
pub const SEARCH_ROWS_MAX: i64 = 20;
/// The longest text that is looked for, in characters.
pub const SEARCH_CHARS_MAX: usize = 40;
/// Beginnings of a name that are kept, in characters or syllables; a longer name is beyond that
/// found whole.
pub const BEGINNING_PARTS_MAX: usize = 8;
/// Spellings of one name, at most.
pub const READINGS_MAX: usize = 4;

/// How much of a name a term is, and in which script.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum TermKind {
    NameBegins,
    NameIs,
    LettersBegin,
    LettersAre,
}

impl TermKind {
    /// As it goes into the keyed hash.
    pub const fn code(self) -> u8 {
        match self {
            Self::NameBegins => 1,
            Self::NameIs => 2,
            Self::LettersBegin => 3,
            Self::LettersAre => 4,
        }
    }
}

/// What a person is found by. Never shown: it is part of a name.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Term {
    kind: TermKind,
    text: String,
}

impl std::fmt::Debug for Term {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Term")
            .field("kind", &self.kind)
            .finish_non_exhaustive()
    }
}

impl Term {
    fn new(kind: TermKind, text: impl Into<String>) -> Self {
        let text = text.into();
        Self { kind, text }
    }

    pub const fn kind(&self) -> TermKind {
        self.kind
    }

    pub fn text(&self) -> &str {
        &self.text
    }
}

/// The syllables or words of a name in letters, one way to spell it.
pub type Reading = Vec<String>;

/// All that a person of this name is found by. A reading that lacks the end of the name is left
/// out where the whole of it is meant.
pub fn terms(name: &PersonName, readings: &[Reading]) -> BTreeSet<Term> {
    let mut terms = BTreeSet::new();
    let letters = characters(name.as_str());
    if !letters.is_ascii() {
        let mut beginning = String::new();
        for letter in letters.chars().take(BEGINNING_PARTS_MAX) {
            beginning.push(letter);
            terms.insert(Term::new(TermKind::NameBegins, beginning.clone()));
        }
        terms.insert(Term::new(TermKind::NameIs, letters));
    }
    for reading in readings.iter().take(READINGS_MAX) {
        spelled(reading, &mut terms);
    }
    terms
}

fn spelled(reading: &Reading, terms: &mut BTreeSet<Term>) {
    let (mut full, mut initials) = (String::new(), String::new());
    for (at, syllable) in reading.iter().enumerate() {
        full.push_str(syllable);
        initials.extend(syllable.chars().next());
        if at < BEGINNING_PARTS_MAX {
            for text in [&full, &initials] {
                terms.insert(Term::new(TermKind::LettersBegin, folded(text)));
            }
        }
    }
    for text in [full, initials] {
        if !text.is_empty() {
            terms.insert(Term::new(TermKind::LettersAre, folded(&text)));
        }
    }
}

/// What somebody looks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Sought {
    Name(Term),
    /// Whatever number it can be: nobody says what kind of document one is from.
    Number {
        phone: Option<Phone>,
        documents: Vec<Document>,
    },
}

/// Reads what somebody typed: a number where there is a digit in it, letters where there is
/// nothing else, and a name. `whole` is for the whole of a name and not a beginning. `None` when
/// nobody can be found by it.
pub fn sought(text: &str, whole: bool, today: NaiveDate) -> Option<Sought> {
    if text.chars().count() > SEARCH_CHARS_MAX {
        return None;
    }
    if text.chars().any(char::is_numeric) {
        return number(text, today);
    }
    let is_name = |c: char| c.is_alphabetic() || is_separator(c);
    if !text.chars().all(is_name) {
        return None;
    }
    let (begins, is, text) = if has_only_letters(text) {
        (
            TermKind::LettersBegin,
            TermKind::LettersAre,
            folded(&letters(text)),
        )
    } else {
        (TermKind::NameBegins, TermKind::NameIs, characters(text))
    };
    if text.is_empty() {
        return None;
    }
    let beyond = begins == TermKind::NameBegins && text.chars().count() > BEGINNING_PARTS_MAX;
    let kind = if whole || beyond { is } else { begins };
    Some(Sought::Name(Term::new(kind, text)))
}

fn number(text: &str, today: NaiveDate) -> Option<Sought> {
    let phone = Phone::parse(text).ok();
    let mut documents: Vec<Document> = Vec::new();
    for kind in DocumentKind::ALL {
        // The two kinds of resident numbers are told apart by the number itself.
        if let Ok(document) = Document::parse(kind, text, today)
            && !documents.contains(&document)
        {
            documents.push(document);
        }
    }
    let nothing = phone.is_none() && documents.is_empty();
    (!nothing).then_some(Sought::Number { phone, documents })
}

/// Letters as they are typed: small ones alone, and `v` for ü as on every keyboard.
pub fn letters(text: &str) -> String {
    let lower = text.to_lowercase();
    let lower = lower.chars().map(|c| if c == 'ü' { 'v' } else { c });
    lower.filter(char::is_ascii_lowercase).collect()
}

/// One way to write what passports and keyboards write differently: `lyu` and `lv`. Of a whole
/// spelling, since `an` and `yu` come to the same as `a` and `nyu` where nothing is between them.
fn folded(letters: &str) -> String {
    letters.replace("lyu", "lv").replace("nyu", "nv")
}

fn has_only_letters(text: &str) -> bool {
    let is_letter = |c: char| c.is_ascii_alphabetic() || matches!(c, 'ü' | 'Ü') || is_separator(c);
    text.chars().all(is_letter)
}

/// The characters of a name, without what stands between them.
fn characters(name: &str) -> String {
    let kept = name.chars().filter(|c| !is_separator(*c));
    kept.flat_map(char::to_lowercase).collect()
}

fn is_separator(c: char) -> bool {
    c.is_whitespace() || matches!(c, '·' | '•' | '・' | '‧' | '．' | '.' | '-' | '\'' | '’')
}

/// For what an office sees a person unmasked. Kept in the audit table, and told to her.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ShowPurpose {
    /// To compare with the document that she shows.
    Verify,
    /// To correct what is known of her.
    Correct,
    /// To reach her.
    Contact,
    /// To answer her complaint.
    Complaint,
}

impl ShowPurpose {
    pub const ALL: [Self; 4] = [Self::Verify, Self::Correct, Self::Contact, Self::Complaint];

    /// As the audit table has it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Verify => "verify",
            Self::Correct => "correct",
            Self::Contact => "contact",
            Self::Complaint => "complaint",
        }
    }

    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|it| it.as_str() == text)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn today() -> NaiveDate {
        "2026-04-01".parse().unwrap()
    }

    fn texts(name: &str, readings: &[&[&str]], kind: TermKind) -> Vec<String> {
        let name = PersonName::parse(name).unwrap();
        let reading = |it: &&[&str]| it.iter().map(|text| (*text).to_owned()).collect();
        let readings: Vec<Reading> = readings.iter().map(reading).collect();
        let all = terms(&name, &readings).into_iter();
        all.filter(|it| it.kind == kind).map(|it| it.text).collect()
    }

    fn term(text: &str, whole: bool) -> Option<(TermKind, String)> {
        match sought(text, whole, today())? {
            Sought::Name(term) => Some((term.kind, term.text)),
            Sought::Number { .. } => None,
        }
    }

    #[test]
    fn a_name_is_found_by_its_beginnings() {
        let readings: &[&[&str]] = &[&["zhang", "san"]];
        let of = |kind| texts("张三", readings, kind);
        assert_eq!(of(TermKind::NameBegins), ["张", "张三"]);
        assert_eq!(of(TermKind::NameIs), ["张三"]);
        assert_eq!(of(TermKind::LettersBegin), ["z", "zhang", "zhangsan", "zs"]);
        assert_eq!(of(TermKind::LettersAre), ["zhangsan", "zs"]);
        // 安宇 and a name with 女 are spelled alike by passports.
        let of = |kind| texts("安宇", &[&["an", "yu"]], kind);
        assert_eq!(of(TermKind::LettersAre), ["anv", "ay"]);
        let of = |kind| texts("Anna Maria", &[&["anna", "maria"]], kind);
        assert!(of(TermKind::NameBegins).is_empty());
        assert_eq!(of(TermKind::LettersAre), ["am", "annamaria"]);
    }

    #[test]
    fn what_is_typed_says_what_it_is() {
        for (typed, kind, text) in [
            ("张", TermKind::NameBegins, "张"),
            (" 阿依古丽•买买提 ", TermKind::NameBegins, "阿依古丽买买提"),
            ("Zhang San", TermKind::LettersBegin, "zhangsan"),
            ("Lü", TermKind::LettersBegin, "lv"),
            ("LYU", TermKind::LettersBegin, "lv"),
            ("xi'an", TermKind::LettersBegin, "xian"),
            ("anyu", TermKind::LettersBegin, "anv"),
        ] {
            assert_eq!(term(typed, false), Some((kind, text.to_owned())), "{typed}");
        }
        assert_eq!(term("张三", true).unwrap().0, TermKind::NameIs);
        assert_eq!(term("zs", true).unwrap().0, TermKind::LettersAre);
        // Beyond the beginnings that are kept only the whole can be meant.
        assert_eq!(term(&"张".repeat(9), false).unwrap().0, TermKind::NameIs);
        for bad in ["", " ", "··", "%", "张_", "a*", &"z".repeat(41)] {
            assert_eq!(sought(bad, false, today()), None, "{bad:?}");
        }
    }

    #[test]
    fn a_number_is_every_document_it_can_be() {
        let read = |text: &str| sought(text, false, today());
        let Some(Sought::Number { phone, documents }) = read("138 0000 0001") else {
            panic!("a number")
        };
        assert!(phone.is_some());
        // It could be a foreign passport's too.
        assert_eq!(documents.len(), 1);
        let Some(Sought::Number { phone, documents }) = read("11010519491231002x") else {
            panic!("a number")
        };
        assert!(phone.is_none());
        assert_eq!(documents[0].kind(), DocumentKind::ResidentId);
        assert_eq!(read("1"), None);
        assert_eq!(read("张3"), None);
    }

    proptest! {
        /// Whoever types a beginning of a name, or all of it, finds who has it.
        #[test]
        fn who_types_a_beginning_finds(text in "[\u{4e00}-\u{4e2f}]{2,12}", at in 1_usize..12) {
            let name = PersonName::parse(&text).unwrap();
            let all = terms(&name, &[]);
            let beginning: String = text.chars().take(at.min(BEGINNING_PARTS_MAX)).collect();
            for (typed, whole) in [(&beginning, false), (&text, true)] {
                let Some(Sought::Name(term)) = sought(typed, whole, today()) else {
                    panic!("a name")
                };
                prop_assert!(all.contains(&term));
            }
        }
    }
}
