//! Bytes on the wire that no honest client sends: two readings of where a request ends, heads
//! and bodies that never arrive. Read and written without an HTTP library.

use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::world::World;

/// Longest that an unfinished request is waited for, with room for a slow machine.
const UNFINISHED_TIME_MAX: Duration = Duration::from_secs(25);

const QUERY: &str = r#"{"query":"{ whoami }"}"#;
const MUTATION: &str = r#"{"query":"mutation { redeem }"}"#;

/// All that comes back until the other side closes.
async fn exchange(world: &World, sent: &str) -> String {
    let mut stream = TcpStream::connect(world.address()).await.unwrap();
    stream.write_all(sent.as_bytes()).await.unwrap();
    let mut back = Vec::new();
    let read = tokio::time::timeout(UNFINISHED_TIME_MAX, stream.read_to_end(&mut back)).await;
    assert!(
        read.is_ok(),
        "the connection stays open: {}",
        String::from_utf8_lossy(&back)
    );
    String::from_utf8_lossy(&back).into_owned()
}

fn head(lines: &[&str]) -> String {
    let mut text = "POST /graphql HTTP/1.1\r\nHost: gateway\r\n".to_owned();
    for line in ["Content-Type: application/json", "Connection: close"]
        .iter()
        .chain(lines)
    {
        text.push_str(line);
        text.push_str("\r\n");
    }
    text + "\r\n"
}

/// A request that ends in two places is no way to smuggle a second one past the limits.
/// ASVS V4.2.1.
#[tokio::test]
async fn nothing_is_smuggled() {
    let world = World::start().await;
    let length = format!("Content-Length: {}", QUERY.len());
    let smuggled = format!(
        "POST /graphql HTTP/1.1\r\nHost: gateway\r\nContent-Type: application/json\r\n\
         Content-Length: {}\r\n\r\n{MUTATION}",
        MUTATION.len()
    );
    let chunked = "Transfer-Encoding: chunked";
    let good = exchange(&world, &format!("{}{QUERY}", head(&[&length]))).await;
    assert!(good.starts_with("HTTP/1.1 200"), "{good}");
    world.shared.take_received();
    for (name, sent) in [
        (
            "both lengths",
            format!("{}0\r\n\r\n{smuggled}", head(&[&length, chunked])),
        ),
        (
            "chunked first",
            format!("{}0\r\n\r\n{smuggled}", head(&[chunked, &length])),
        ),
        (
            "two lengths",
            format!("{}{QUERY}{smuggled}", head(&[&length, "Content-Length: 2"])),
        ),
        (
            "signed length",
            format!("{}{QUERY}", head(&["Content-Length: +22"])),
        ),
        (
            "negative length",
            format!("{}{QUERY}", head(&["Content-Length: -1"])),
        ),
        (
            "huge length",
            format!("{}{QUERY}", head(&["Content-Length: 99999999999999999999"])),
        ),
        (
            "twice chunked",
            format!("{}0\r\n\r\n{smuggled}", head(&[chunked, chunked])),
        ),
        (
            "other coding",
            format!("{}0\r\n\r\n", head(&["Transfer-Encoding: xchunked"])),
        ),
        (
            "chunk overflow",
            format!(
                "{}fffffffffffffffff\r\n{QUERY}\r\n0\r\n\r\n",
                head(&[chunked])
            ),
        ),
        (
            "bad chunk",
            format!("{}zz\r\n{QUERY}\r\n0\r\n\r\n", head(&[chunked])),
        ),
        (
            "space in name",
            format!("{}{QUERY}", head(&[&length, "X-A : b"])),
        ),
        ("no version", "POST /graphql\r\n\r\n".to_owned()),
    ] {
        let back = exchange(&world, &sent).await;
        assert!(!back.contains("redeem"), "{name}: {back}");
        let answers = back.matches("HTTP/1.1 ").count();
        assert!(answers <= 1, "{name}: {back}");
        assert!(!back.starts_with("HTTP/1.1 200"), "{name}: {back}");
    }
    let received = world.shared.take_received();
    assert!(received.is_empty(), "{received:?}");
}

/// WebSockets are off: no handshake is answered with a switch of protocols, whoever's page asks
/// and wherever, so no other site's page speaks with a visitor's credentials.
#[tokio::test]
async fn no_websocket_is_opened() {
    let world = World::start().await;
    for path in ["/graphql", "/ws", "/graphql/ws", "/subscriptions"] {
        for origin in [
            "",
            "Origin: https://elsewhere.example\r\n",
            "Origin: null\r\n",
            "Origin: http://gateway\r\n",
        ] {
            let sent = format!(
                "GET {path} HTTP/1.1\r\nHost: gateway\r\nConnection: close, Upgrade\r\n\
                 Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
                 Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
                 Sec-WebSocket-Protocol: graphql-transport-ws\r\n\
                 X-Bashu-Preflight: 1\r\n{origin}\r\n"
            );
            let back = exchange(&world, &sent).await;
            assert!(back.starts_with("HTTP/1.1 4"), "{path} {origin}: {back}");
            assert!(
                !back.to_lowercase().contains("sec-websocket-accept"),
                "{back}"
            );
        }
    }
    assert!(world.shared.take_received().is_empty());
}

/// The preface with which HTTP/2 begins.
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// Streams opened and reset at once, many more than a server would carry.
const RESET_STREAMS: u32 = 20_000;

/// Frames that open a stream for a request and take it back, over and over.
fn rapid_resets() -> Vec<u8> {
    let frame = |kind: u8, flags: u8, stream: u32, payload: &[u8]| {
        let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
        let mut bytes = length[1..].to_vec();
        bytes.extend([kind, flags]);
        bytes.extend(stream.to_be_bytes());
        bytes.extend(payload);
        bytes
    };
    // `:method: GET`, `:scheme: http` and `:path: /` as the static table has them.
    let request = [0x82, 0x86, 0x84];
    let mut bytes = PREFACE.to_vec();
    bytes.extend(frame(4, 0, 0, &[]));
    for stream in (1..RESET_STREAMS * 2).step_by(2) {
        bytes.extend(frame(1, 0x05, stream, &request));
        bytes.extend(frame(3, 0, stream, &8_u32.to_be_bytes()));
    }
    bytes
}

/// HTTP/2 is not spoken, so its rapid resets are the bytes of one bad request: refused as
/// HTTP/1.1, the connection ended, and everybody else served meanwhile.
#[tokio::test]
async fn http_2_is_not_spoken() {
    let world = World::start().await;
    let settings = "AAMAAABkAAQAAP__";
    let upgrade = format!(
        "POST /graphql HTTP/1.1\r\nHost: gateway\r\nConnection: close, Upgrade, HTTP2-Settings\r\n\
         Upgrade: h2c\r\nHTTP2-Settings: {settings}\r\nContent-Type: application/json\r\n\
         Content-Length: {}\r\n\r\n{QUERY}",
        QUERY.len()
    );
    let back = exchange(&world, &upgrade).await;
    assert!(back.starts_with("HTTP/1.1 200"), "{back}");
    let before = world.peak_memory_bytes();
    for _ in 0..8 {
        let mut stream = TcpStream::connect(world.address()).await.unwrap();
        let mut back = Vec::new();
        let (mut from, mut to) = stream.split();
        let sent = rapid_resets();
        // It may hang up before all is written.
        let (_, read) = tokio::join!(
            to.write_all(&sent),
            tokio::time::timeout(UNFINISHED_TIME_MAX, from.read_to_end(&mut back))
        );
        assert!(read.is_ok(), "the connection stays open");
        let back = String::from_utf8_lossy(&back);
        assert!(
            back.is_empty() || back.starts_with("HTTP/1.1 4"),
            "{back:?}"
        );
        assert_eq!(world.ask("{ whoami }").await.status, 200);
    }
    let grown = world.peak_memory_bytes().saturating_sub(before);
    assert!(grown < 32 * 1_024 * 1_024, "{grown} bytes more");
}

/// A head or a body that does not arrive ends its connection, and nobody else waits for it.
#[tokio::test]
async fn what_never_arrives_is_not_waited_for() {
    let world = World::start().await;
    let unfinished_head = "POST /graphql HTTP/1.1\r\nHost: gateway\r\nX-A: ";
    let unfinished_body = format!("{}{{", head(&["Content-Length: 100"]));
    let (first, second, meanwhile) = tokio::join!(
        exchange(&world, unfinished_head),
        exchange(&world, &unfinished_body),
        async {
            let started = Instant::now();
            let answer = world.ask("{ whoami }").await;
            (answer.status, started.elapsed())
        }
    );
    assert!(!first.contains("HTTP/1.1 200"), "{first}");
    assert!(second.starts_with("HTTP/1.1 408"), "{second}");
    assert!(
        meanwhile.0.is_success() && meanwhile.1 < Duration::from_secs(5),
        "{meanwhile:?}"
    );
    assert!(world.shared.take_received().len() == 1);
}
