//! People who do not exist, the same ones at every start: names, phones and resident ids with a
//! right check digit.
//!
//! No one can be hurt by them: the address codes 500199 and 510199 were never given to a
//! district, so that no real resident id begins with them, and the phones share one prefix.

use chrono::{Datelike, NaiveDate, TimeDelta};

/// A made-up person.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Person {
    pub(crate) name: String,
    pub(crate) phone: String,
    pub(crate) resident_id: String,
}

const SURNAMES: [&str; 40] = [
    "王", "李", "张", "刘", "陈", "杨", "黄", "赵", "吴", "周", "徐", "孙", "马", "朱", "胡", "郭",
    "何", "高", "林", "罗", "郑", "梁", "谢", "宋", "唐", "许", "韩", "冯", "邓", "曹", "彭", "曾",
    "萧", "田", "董", "袁", "潘", "于", "蒋", "欧阳",
];
const FIRST: [&str; 24] = [
    "志", "建", "晓", "文", "明", "秀", "春", "海", "国", "雪", "丽", "永", "玉", "子", "思", "雨",
    "嘉", "俊", "佳", "宇", "家", "婷", "新", "立",
];
const SECOND: [&str; 26] = [
    "华", "强", "敏", "军", "芳", "伟", "静", "平", "红", "霞", "鹏", "林", "燕", "涛", "英", "兰",
    "波", "梅", "辉", "玲", "杰", "娟", "勇", "涵", "轩", "",
];
/// The weights of GB 11643, for the check digit.
const WEIGHTS: [u32; 17] = [7, 9, 10, 5, 8, 4, 2, 1, 6, 3, 7, 9, 10, 5, 8, 4, 2];
const FIRST_BIRTH_YEAR: i32 = 1966;
const BIRTH_DAYS: u64 = 14_000;
/// People with numbers of their own in a resident id, which has three digits for those born on one
/// day.
const NUMBERS: u32 = 1_000;
/// Thousands of people whose birthdays never meet.
const THOUSANDS: u64 = 14;

/// Person number `index` of a union, from zero.
pub(crate) fn person(union: u8, index: u32) -> Person {
    let mut mix = mix(union, index);
    let pick = |mix: &mut Mix, from: &[&'static str]| {
        let at = usize::try_from(mix.below(u64::try_from(from.len()).unwrap_or(1))).unwrap_or(0);
        from[at]
    };
    let name = format!(
        "{}{}{}",
        pick(&mut mix, &SURNAMES),
        pick(&mut mix, &FIRST),
        pick(&mut mix, &SECOND)
    );
    let birth = birthday(union, index);
    let body = format!(
        "{union}0199{:04}{:02}{:02}{:03}",
        birth.year(),
        birth.month(),
        birth.day(),
        index % NUMBERS
    );
    let resident_id = format!("{body}{}", check_digit(&body));
    Person {
        name,
        phone: format!("199{union}{index:06}"),
        resident_id,
    }
}

/// People of the same number in their resident ids are born on days of their own: what a day leaves
/// divided by [`THOUSANDS`] tells one thousand from the next.
fn birthday(union: u8, index: u32) -> NaiveDate {
    let drawn = |index: u32| {
        let mut mix = mix(union, index);
        // Behind the three draws of the name.
        for _ in 0..3 {
            mix.below(1);
        }
        mix.below(BIRTH_DAYS)
    };
    let (first, own) = (drawn(index % NUMBERS), drawn(index));
    let thousand = u64::from(index / NUMBERS);
    let day = own - own % THOUSANDS + (first + thousand) % THOUSANDS;
    let days = TimeDelta::days(i64::try_from(day).unwrap_or(0));
    NaiveDate::from_yo_opt(FIRST_BIRTH_YEAR, 1).unwrap_or_default() + days
}

fn mix(union: u8, index: u32) -> Mix {
    Mix(u64::from(union) << 32 | u64::from(index))
}

fn check_digit(body: &str) -> char {
    let sum: u32 = body
        .chars()
        .filter_map(|c| c.to_digit(10))
        .zip(WEIGHTS)
        .map(|(d, w)| d * w)
        .sum();
    ['1', '0', 'X', '9', '8', '7', '6', '5', '4', '3', '2'][usize::try_from(sum % 11).unwrap_or(0)]
}

/// A small fixed mixer (splitmix64): the same index gives the same person for ever, whatever
/// becomes of the random generators elsewhere.
struct Mix(u64);

impl Mix {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % bound
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn the_check_digit_is_the_standards() {
        assert_eq!(check_digit("11010519491231002"), 'X');
        assert_eq!(check_digit("50010319900307123"), '9');
    }

    #[test]
    fn no_two_people_share_a_phone_or_a_document() {
        let people = NUMBERS * u32::try_from(THOUSANDS).unwrap();
        let all: Vec<Person> = [50, 51]
            .iter()
            .flat_map(|union| (0..people).map(|i| person(*union, i)))
            .collect();
        let phones: HashSet<&str> = all.iter().map(|p| p.phone.as_str()).collect();
        let documents: HashSet<&str> = all.iter().map(|p| p.resident_id.as_str()).collect();
        assert_eq!((phones.len(), documents.len()), (all.len(), all.len()));
        assert!(
            all.iter()
                .all(|p| p.phone.len() == 11 && p.resident_id.len() == 18)
        );
        assert_eq!(person(50, 7), person(50, 7));
    }
}
