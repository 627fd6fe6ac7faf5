//! How names are spelled in letters, by the crate `pinyin`, and what it cannot know: characters
//! that sound otherwise where they are a family name.
//!
//! It keeps nothing, and decides nothing of who is found.

use pinyin::ToPinyin;

use crate::domain::name::PersonName;
use crate::domain::search::{READINGS_MAX, Reading, letters};

/// Family names that sound otherwise than their characters usually do.
const FAMILY_NAMES: &[(&str, &[&str])] = &[
    ("万俟", &["mo", "qi"]),
    ("尉迟", &["yu", "chi"]),
    ("单于", &["chan", "yu"]),
    ("长孙", &["zhang", "sun"]),
    ("澹台", &["tan", "tai"]),
    ("单", &["shan"]),
    ("曾", &["zeng"]),
    ("仇", &["qiu"]),
    ("解", &["xie"]),
    ("区", &["ou"]),
    ("查", &["zha"]),
    ("任", &["ren"]),
    ("朴", &["piao"]),
    ("翟", &["zhai"]),
    ("盖", &["ge"]),
    ("乐", &["yue"]),
    ("缪", &["miao"]),
    ("覃", &["qin"]),
    ("种", &["chong"]),
    ("黑", &["he"]),
    ("员", &["yun"]),
    ("洗", &["xian"]),
    ("折", &["she"]),
    ("秘", &["bi"]),
    ("尉", &["wei"]),
    ("召", &["shao"]),
    ("繁", &["po"]),
    ("祭", &["zhai"]),
    ("宓", &["mi"]),
    ("句", &["gou"]),
    ("谌", &["chen"]),
    ("应", &["ying"]),
    ("纪", &["ji"]),
    ("燕", &["yan"]),
    ("华", &["hua"]),
    ("车", &["che"]),
    ("石", &["shi"]),
    ("贾", &["jia"]),
    ("沈", &["shen"]),
    ("柏", &["bai"]),
    ("隗", &["wei"]),
    ("牟", &["mu"]),
    ("冯", &["feng"]),
    ("薄", &["bo"]),
    ("呙", &["guo"]),
    ("逄", &["pang"]),
    ("藏", &["zang"]),
    ("重", &["chong"]),
    ("阚", &["kan"]),
    ("少", &["shao"]),
    ("相", &["xiang"]),
    ("郇", &["xun"]),
    ("便", &["bian"]),
];

/// The ways to spell a name, the likeliest first: as a family name sounds, and as its characters
/// usually do. It ends where a character has no sound that is known.
pub fn readings(name: &PersonName) -> Vec<Reading> {
    let usual = syllables(name.as_str());
    let family = FAMILY_NAMES
        .iter()
        .find(|(family, _)| name.as_str().starts_with(family));
    let mut readings = Vec::with_capacity(READINGS_MAX);
    if let Some((family, sounds)) = family {
        let given = name.as_str().strip_prefix(family).unwrap_or_default();
        let sounds = sounds.iter().map(|sound| (*sound).to_owned());
        readings.push(sounds.chain(syllables(given)).collect());
    }
    if !readings.contains(&usual) {
        readings.push(usual);
    }
    readings.retain(|reading| !reading.is_empty());
    readings
}

/// A syllable for each character, and the words of what is in letters already.
fn syllables(text: &str) -> Reading {
    let mut syllables = Vec::new();
    let mut word = String::new();
    for character in text.chars() {
        if character.is_ascii_alphabetic() || character == 'ü' {
            word.push(character);
            continue;
        }
        end(&mut word, &mut syllables);
        match character.to_pinyin() {
            Some(sound) => syllables.push(letters(sound.plain())),
            None if character.is_alphabetic() => return syllables,
            None => {}
        }
    }
    end(&mut word, &mut syllables);
    syllables
}

fn end(word: &mut String, syllables: &mut Reading) {
    if !word.is_empty() {
        syllables.push(letters(word));
        word.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spelled(name: &str) -> Vec<String> {
        let readings = readings(&PersonName::parse(name).unwrap());
        readings.iter().map(|it| it.join(" ")).collect()
    }

    #[test]
    fn names_are_spelled_as_they_sound() {
        for (name, all) in [
            ("张三丰", &["zhang san feng"][..]),
            ("单田芳", &["shan tian fang", "dan tian fang"]),
            ("万俟卨", &["mo qi xie", "wan qi xie"]),
            ("吕蒙", &["lv meng"]),
            ("阿依古丽·买买提", &["a yi gu li mai mai ti"]),
            ("Anna Maria", &["anna maria"]),
            ("欧阳修", &["ou yang xiu"]),
        ] {
            assert_eq!(spelled(name), all, "{name}");
        }
    }

    /// A beginning is better than nothing, and nothing is made up.
    #[test]
    fn a_character_without_a_sound_ends_it() {
        assert_eq!(spelled("张\u{e9}三"), ["zhang"]);
    }

    #[test]
    fn family_names_are_spelled_in_small_letters() {
        for (family, sounds) in FAMILY_NAMES {
            assert_eq!(family.chars().count(), sounds.len(), "{family}");
            assert!(sounds.iter().all(|it| letters(it) == **it), "{family}");
        }
    }
}
