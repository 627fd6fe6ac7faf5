//! The rows of `person_right`, as the owner of the tables changes them: what is served reads them
//! alone, in [`super::erasures::right`].

use kit::{Result, Tx};

/// How long whoever asks for it from now on can think better of it, in hours.
///
/// # Errors
/// When the database fails, or the grace is longer than what the right takes.
pub async fn set_grace(tx: &Tx, right: &str, hours: i32) -> Result<()> {
    let sql = "UPDATE person_right SET grace_hours = $2 WHERE name = $1";
    tx.execute(sql, [right.into(), hours.into()]).await?;
    Ok(())
}
