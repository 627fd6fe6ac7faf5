//! Files that were made for people: each says who its own people are, and nobody else.

use std::collections::BTreeSet;
use std::fs;
use std::io::Cursor;
use std::path::Path;

use bashu::demo::{self, LEAVER};
use bashu::journey::roster;
use calamine::{Reader, Xlsx};
use kit::types::Union;
use tests::TestWorld;

use crate::search::Search;
use crate::who;

/// Of the roster that the journeys import, the first of those whose rows are wrong: they are the
/// last ones.
const FIRST_WRONG: u32 = 3;
/// Who fetches the list of pass holders, and stands on it.
const OFFICER: u32 = 900_008;

/// Looks at every file. `numbers` knows everybody by phone and document, which no two share.
pub(crate) fn name_whom_they_are_for(world: &TestWorld, numbers: &Search) {
    for union in Union::ALL {
        let folder = world.folder.join(union.to_string()).join("downloads");
        let mut kinds = BTreeSet::new();
        for entry in fs::read_dir(&folder).unwrap() {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_str().unwrap().to_owned();
            let kind = name.split_once('-').unwrap().1.to_owned();
            // A list of names has no number, and says who holds a pass by her name.
            let named: &[u32] = if kind == "pass-holders.xlsx" {
                &[OFFICER]
            } else {
                &[]
            };
            let people: Vec<u32> = match kind.as_str() {
                "my-data.json" => vec![LEAVER],
                "bad-rows.xlsx" => (FIRST_WRONG..roster::PEOPLE)
                    .map(|at| roster::FIRST + at)
                    .collect(),
                "pass-holders.xlsx" => Vec::new(),
                other => panic!("nobody knows for whom {other} is"),
            };
            let expected: BTreeSet<String> =
                people.into_iter().map(|one| who(union, one)).collect();
            let text = text_of(&path);
            assert_eq!(numbers.people_in(&text), expected, "{}", path.display());
            for one in named {
                let [name, ..] = demo::known_by(union, *one);
                let read = String::from_utf8_lossy(&text);
                assert!(read.contains(&name), "{} has not {one}", path.display());
            }
            assert!(kinds.insert(kind), "{name} is there twice");
        }
        assert_eq!(kinds.len(), 3, "{kinds:?}");
    }
    // Whoever stood there would be seen.
    let [_, phone, number] = demo::known_by(Union::Sichuan, LEAVER);
    for text in [phone, number] {
        let found = numbers.people_in(format!("<{text}>").as_bytes());
        assert_eq!(found, BTreeSet::from([who(Union::Sichuan, LEAVER)]));
    }
}

/// What a person reads in a file.
fn text_of(path: &Path) -> Vec<u8> {
    let bytes = fs::read(path).unwrap();
    if path.extension().is_none_or(|ending| ending != "xlsx") {
        return bytes;
    }
    let mut book: Xlsx<_> = Xlsx::new(Cursor::new(bytes)).unwrap();
    let sheets = book.worksheets();
    let cells = sheets.iter().flat_map(|(_, sheet)| sheet.used_cells());
    let texts: Vec<String> = cells.map(|(_, _, cell)| cell.to_string()).collect();
    texts.join("\n").into_bytes()
}
