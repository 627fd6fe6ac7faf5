//! The end of a test: its database goes, and nothing of it holds up the next.

use std::time::{Duration, Instant};

use kit::migrate::KIT;
use kit::testing::{self, env};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// A connection that is just being opened when a test ends is opened no further while the test's
/// thread waits; PostgreSQL drops no database meanwhile. The end does not wait for that.
#[tokio::test]
async fn a_handshake_that_stands_still_does_not_hold_up_the_end() {
    let test = testing::db("alpha", &[KIT]).await;
    let address = format!("{}:{}", env("BASHU_PG_HOST"), env("BASHU_PG_PORT"));
    let mut opening = TcpStream::connect(address).await.unwrap();
    let parameters = format!(
        "user\0{}\0database\0{}\0\0",
        env("BASHU_PG_APP"),
        test.name()
    );
    let length = u32::try_from(parameters.len() + 8).unwrap();
    opening.write_u32(length).await.unwrap();
    // Version 3.0 of the protocol.
    opening.write_u32(0x0003_0000).await.unwrap();
    opening.write_all(parameters.as_bytes()).await.unwrap();
    assert_eq!(opening.read_u8().await.unwrap(), b'R', "asked for a proof");
    let started = Instant::now();
    drop(test);
    assert!(started.elapsed() < Duration::from_secs(10));
    // Now it may be dropped, and the tests beside this one go on.
    drop(opening);
}
