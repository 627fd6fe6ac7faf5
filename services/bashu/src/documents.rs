//! The registered documents: every operation that the demonstration and the journeys send, by its
//! id. A gateway in production runs registered documents alone; `bashu schema` writes these to
//! `schema/documents.json`, and a union adds those of its own apps.

use std::collections::BTreeMap;

use anyhow::{Result, ensure};

use crate::{demo, journey};

/// The file's name in the folder of the schema.
pub(crate) const FILE: &str = "documents.json";

/// An id and the operation's text.
pub(crate) type Document = (&'static str, &'static str);

/// The file that a gateway reads: an object from id to text.
///
/// # Errors
/// When two documents have one id.
pub(crate) fn json() -> Result<String> {
    let all = [demo::documents(), journey::documents()].concat();
    let count = all.len();
    let by_id: BTreeMap<&str, &str> = all.into_iter().collect();
    ensure!(by_id.len() == count, "two documents have one id");
    Ok(serde_json::to_string_pretty(&by_id)? + "\n")
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::Path;

    use super::*;

    fn sources(folder: &Path, found: &mut String) {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                sources(&path, found);
            } else {
                *found += &fs::read_to_string(path).unwrap();
            }
        }
    }

    /// The committed file is current: `make schema` writes it.
    #[test]
    fn the_committed_documents_are_current() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR"));
        let file = root.join("../../schema").join(FILE);
        assert_eq!(fs::read_to_string(file).unwrap(), json().unwrap());
    }

    /// No operation is sent that is not registered.
    #[test]
    fn every_operation_is_registered() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
        let mut text = String::new();
        for folder in ["demo", "journey"] {
            sources(&root.join(folder), &mut text);
        }
        let written = text.matches(": &str = \"query ").count()
            + text.matches(": &str = \"mutation ").count();
        let registered: BTreeMap<String, String> = serde_json::from_str(&json().unwrap()).unwrap();
        assert_eq!(registered.len(), written);
    }
}
