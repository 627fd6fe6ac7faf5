//! Each weather does to a connection what its name says, and says that it did.

use std::net::Ipv4Addr;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::time::Instant;
use tokio_util::task::TaskTracker;

use super::{Link, Weather};

/// Far longer than anything here takes.
const PATIENCE: Duration = Duration::from_secs(20);
const DELAY: Duration = Duration::from_millis(50);
const BYTES_PER_SECOND: u64 = 20_000;

/// A server that answers each byte with itself, a link before it, and a client of the link.
struct Line {
    link: Link,
    port: u16,
    client: TcpStream,
    /// What the server heard.
    heard: mpsc::UnboundedReceiver<u8>,
    _tasks: TaskTracker,
}

impl Line {
    async fn new() -> Self {
        let tasks = TaskTracker::new();
        let server = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let server_port = server.local_addr().unwrap().port();
        let (hear, heard) = mpsc::unbounded_channel();
        let answering = tasks.clone();
        tasks.spawn(async move {
            while let Ok((mut one, _)) = server.accept().await {
                let hear = hear.clone();
                answering.spawn(async move {
                    while let Ok(byte) = one.read_u8().await {
                        hear.send(byte).unwrap();
                        if one.write_u8(byte).await.is_err() {
                            break;
                        }
                    }
                });
            }
        });
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let link = Link::on("test", listener, server_port, &tasks);
        let client = connected(port).await;
        let mut line = Self {
            link,
            port,
            client,
            heard,
            _tasks: tasks,
        };
        assert_eq!(line.ask(1).await, 1, "the weather is clear at first");
        assert_eq!(line.heard.recv().await, Some(1));
        line
    }

    async fn ask(&mut self, byte: u8) -> u8 {
        self.client.write_u8(byte).await.unwrap();
        let answer = tokio::time::timeout(PATIENCE, self.client.read_u8()).await;
        answer.expect("an answer").unwrap()
    }

    fn felt(&self, weather: Weather) -> u64 {
        self.link.effects().of(weather)
    }

    /// Waits until the weather was felt by what is on its way.
    async fn feel(&self, weather: Weather) {
        let felt = async {
            while self.felt(weather) == 0 {
                tokio::task::yield_now().await;
            }
        };
        let felt = tokio::time::timeout(PATIENCE, felt).await;
        felt.expect("the weather was never felt");
    }

    /// The connection ends, with nothing more to read.
    async fn ends(&mut self) {
        let mut rest = Vec::new();
        let ended = tokio::time::timeout(PATIENCE, self.client.read_to_end(&mut rest)).await;
        // A reset is an error of its own; which of both comes is a matter of time.
        assert!(ended.expect("it never ended").is_err() || rest.is_empty());
    }

    /// A new connection, when the weather is clear again, works.
    async fn works_again(&mut self) {
        self.client = connected(self.port).await;
        assert_eq!(self.ask(9).await, 9);
    }
}

async fn connected(port: u16) -> TcpStream {
    let client = TcpStream::connect((Ipv4Addr::LOCALHOST, port))
        .await
        .unwrap();
    client.set_nodelay(true).unwrap();
    client
}

#[tokio::test]
async fn a_delay_is_felt_in_both_directions() {
    let mut line = Line::new().await;
    line.link.make(Weather::Delay(DELAY));
    let began = Instant::now();
    assert_eq!(line.ask(2).await, 2);
    assert!(began.elapsed() >= 2 * DELAY);
    assert_eq!(line.felt(Weather::Delay(DELAY)), 2);
}

#[tokio::test]
async fn a_throttle_passes_so_many_bytes_a_second() {
    let mut line = Line::new().await;
    let throttle = Weather::Throttle(BYTES_PER_SECOND);
    line.link.make(throttle);
    let began = Instant::now();
    line.client.write_all(&[3; 2_000]).await.unwrap();
    for _ in 0..2_000 {
        assert_eq!(line.heard.recv().await, Some(3));
    }
    // Each chunk waits for its own bytes before it goes on.
    let least = Duration::from_millis(2_000 * 1_000 / BYTES_PER_SECOND);
    assert!(began.elapsed() >= least, "{:?}", began.elapsed());
    assert!(line.felt(throttle) > 0);
}

#[tokio::test]
async fn a_cut_ends_what_stands_and_refuses_what_comes() {
    let mut line = Line::new().await;
    line.link.make(Weather::Cut);
    line.ends().await;
    line.client = connected(line.port).await;
    line.ends().await;
    assert_eq!(line.felt(Weather::Cut), 2);
    line.link.make(Weather::Clear);
    line.works_again().await;
}

#[tokio::test]
async fn half_open_swallows_both_directions_and_ends_when_it_clears() {
    let mut line = Line::new().await;
    line.link.make(Weather::HalfOpen);
    line.client.write_u8(4).await.unwrap();
    line.feel(Weather::HalfOpen).await;
    assert!(line.heard.try_recv().is_err(), "it arrived");
    line.link.make(Weather::Clear);
    line.ends().await;
    line.works_again().await;
    assert_eq!(line.heard.recv().await, Some(9), "what was swallowed came");
}

#[tokio::test]
async fn the_deaf_are_heard_and_hear_nothing() {
    let mut line = Line::new().await;
    line.link.make(Weather::Deaf);
    line.client.write_u8(5).await.unwrap();
    assert_eq!(line.heard.recv().await, Some(5));
    line.feel(Weather::Deaf).await;
    line.link.make(Weather::Clear);
    line.ends().await;
    line.works_again().await;
}
