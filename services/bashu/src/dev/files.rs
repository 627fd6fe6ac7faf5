//! The files of a development world: what `deploy/dev` says about its servers, secrets made once,
//! and the configuration of each process. Secrets are readable by their owner alone.

use std::collections::BTreeMap;
use std::fs;
use std::io::Write;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, anyhow};
use rand::RngCore;

/// What a shell would read from a file of `KEY=VALUE` lines.
///
/// # Errors
/// When the file cannot be read or a line is no assignment.
pub(crate) fn read_env(path: &Path) -> Result<BTreeMap<String, String>> {
    let text = fs::read_to_string(path)
        .with_context(|| format!("{} is missing: run deploy/dev/up run", path.display()))?;
    let mut values = BTreeMap::new();
    for line in text
        .lines()
        .filter(|line| !line.trim().is_empty() && !line.starts_with('#'))
    {
        let (key, value) = line
            .split_once('=')
            .ok_or_else(|| anyhow!("{}: bad line", path.display()))?;
        values.insert(key.to_owned(), value.trim_matches('"').to_owned());
    }
    Ok(values)
}

/// The value of a key that must be there.
///
/// # Errors
/// When it is not.
pub(crate) fn need<'a>(values: &'a BTreeMap<String, String>, key: &str) -> Result<&'a str> {
    values
        .get(key)
        .map(String::as_str)
        .ok_or_else(|| anyhow!("{key} is not set"))
}

/// A folder that only its owner enters.
///
/// # Errors
/// When it cannot be made.
pub(crate) fn private_folder(path: &Path) -> Result<PathBuf> {
    fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(path)
        .with_context(|| format!("{} cannot be made", path.display()))?;
    Ok(path.to_owned())
}

/// Thirty-two random bytes in hexadecimal, made at the first call and kept in `folder/name`.
///
/// # Errors
/// When the file cannot be read or made.
pub(crate) fn secret(folder: &Path, name: &str) -> Result<String> {
    let path = folder.join(name);
    if !path.exists() {
        let mut bytes = [0u8; 32];
        #[expect(clippy::disallowed_methods, reason = "secrets of a development world")]
        rand::rng().fill_bytes(&mut bytes);
        write_private(&path, &hex::encode(bytes))?;
    }
    Ok(fs::read_to_string(&path)
        .with_context(|| format!("{} cannot be read", path.display()))?
        .trim()
        .to_owned())
}

/// Writes a file that only its owner reads; whole or not at all.
///
/// # Errors
/// When it cannot be written.
pub(crate) fn write_private(path: &Path, text: &str) -> Result<()> {
    write_private_bytes(path, text.as_bytes())
}

/// The same for what is no text.
///
/// # Errors
/// When it cannot be written.
pub(crate) fn write_private_bytes(path: &Path, bytes: &[u8]) -> Result<()> {
    let draft = path.with_extension("new");
    let mut file = fs::OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(&draft)
        .with_context(|| format!("{} cannot be written", draft.display()))?;
    file.write_all(bytes)?;
    file.sync_all()?;
    fs::rename(&draft, path)?;
    Ok(())
}
