//! The program `bashu`; all of it is in the library beside it.

use std::process::ExitCode;

#[tokio::main]
async fn main() -> ExitCode {
    bashu::run().await
}
