//! A TCP proxy before one server, whose weather the supervisor makes: delay, throttle, cut,
//! half-open. It knows bytes and connections and nothing of what they mean.
//!
//! A connection whose bytes were swallowed is never healed, since what it carries has a hole: it
//! is reset when the weather clears, as a real one is when the other side notices.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use anyhow::{Context, Result};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;
use tokio_util::task::TaskTracker;

/// Bytes read at once.
const CHUNK_BYTES: usize = 16 * 1024;
/// Chunks on their way in one direction of one connection, at most: what is delayed is bounded.
const CHUNKS_MAX: usize = 256;

/// What a link does with what comes along it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Weather {
    Clear,
    /// Every chunk arrives this much later, in both directions.
    Delay(Duration),
    /// So many bytes a second in each direction of each connection.
    Throttle(u64),
    /// Connections are reset and new ones refused.
    Cut,
    /// Connections stand, and nothing arrives in either direction.
    HalfOpen,
    /// What clients send arrives, and no answer comes back.
    Deaf,
}

impl Weather {
    /// What it is called in reports.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Clear => "clear",
            Self::Delay(_) => "delay",
            Self::Throttle(_) => "throttle",
            Self::Cut => "cut",
            Self::HalfOpen => "half_open",
            Self::Deaf => "deaf",
        }
    }
}

/// What the weather did, so that a fault that never fired is seen.
#[derive(Debug, Default)]
pub(crate) struct Effects {
    pub(crate) forwarded_bytes: AtomicU64,
    pub(crate) delayed_chunks: AtomicU64,
    pub(crate) throttled_chunks: AtomicU64,
    pub(crate) swallowed_bytes: AtomicU64,
    pub(crate) reset_connections: AtomicU64,
    pub(crate) refused_connections: AtomicU64,
}

impl Effects {
    /// How often the kind of this weather was felt.
    pub(crate) fn of(&self, weather: Weather) -> u64 {
        match weather {
            Weather::Clear => self.forwarded_bytes.load(Ordering::Relaxed),
            Weather::Delay(_) => self.delayed_chunks.load(Ordering::Relaxed),
            Weather::Throttle(_) => self.throttled_chunks.load(Ordering::Relaxed),
            Weather::Cut => {
                self.reset_connections.load(Ordering::Relaxed)
                    + self.refused_connections.load(Ordering::Relaxed)
            }
            Weather::HalfOpen | Weather::Deaf => self.swallowed_bytes.load(Ordering::Relaxed),
        }
    }
}

/// One proxied link.
#[derive(Clone, Debug)]
pub(crate) struct Link {
    pub(crate) name: &'static str,
    weather: watch::Sender<Weather>,
    effects: Arc<Effects>,
}

impl Link {
    /// Listens on `port` of the loopback and passes on to `server`.
    ///
    /// # Errors
    /// When the port is taken.
    pub(crate) async fn open(
        name: &'static str,
        port: u16,
        server: u16,
        tasks: &TaskTracker,
    ) -> Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port))
            .await
            .with_context(|| format!("port {port} for the proxy of {name} is taken"))?;
        Ok(Self::on(name, listener, server, tasks))
    }

    /// Passes on what comes to a listener.
    fn on(name: &'static str, listener: TcpListener, server: u16, tasks: &TaskTracker) -> Self {
        let (weather, _) = watch::channel(Weather::Clear);
        let link = Self {
            name,
            weather,
            effects: Arc::new(Effects::default()),
        };
        let (own, tracker) = (link.clone(), tasks.clone());
        let server = SocketAddr::from((Ipv4Addr::LOCALHOST, server));
        tasks.spawn(async move { own.accept(listener, server, tracker).await });
        link
    }

    /// Makes the weather.
    pub(crate) fn make(&self, weather: Weather) {
        self.weather.send_replace(weather);
    }

    pub(crate) fn effects(&self) -> &Effects {
        &self.effects
    }

    async fn accept(self, listener: TcpListener, server: SocketAddr, tasks: TaskTracker) {
        loop {
            let Ok((client, _)) = listener.accept().await else {
                continue;
            };
            if *self.weather.borrow() == Weather::Cut {
                self.effects
                    .refused_connections
                    .fetch_add(1, Ordering::Relaxed);
                reset(&client);
                continue;
            }
            let link = self.clone();
            tasks.spawn(async move { link.carry(client, server).await });
        }
    }

    /// Carries one connection until a side ends it or the weather does.
    async fn carry(self, mut client: TcpStream, server: SocketAddr) {
        let Ok(mut upstream) = TcpStream::connect(server).await else {
            // The server is away: its client sees what it would see without a proxy.
            reset(&client);
            return;
        };
        let _ = client.set_nodelay(true);
        let _ = upstream.set_nodelay(true);
        let mut watched = self.weather.subscribe();
        let torn = {
            let (client_in, client_out) = client.split();
            let (server_in, server_out) = upstream.split();
            let ends = async {
                tokio::join!(
                    self.pump(client_in, server_out, false),
                    self.pump(server_in, client_out, true),
                )
            };
            tokio::select! {
                _ = ends => false,
                () = fate(&mut watched) => true,
            }
        };
        if torn {
            self.effects
                .reset_connections
                .fetch_add(1, Ordering::Relaxed);
            reset(&client);
            reset(&upstream);
        }
    }

    /// Passes one direction on, through a bounded queue, so that a delay costs no throughput.
    async fn pump(
        &self,
        mut from: impl AsyncRead + Unpin,
        mut to: impl AsyncWrite + Unpin,
        answers: bool,
    ) {
        let (queue, mut waiting) = mpsc::channel::<(Instant, Vec<u8>)>(CHUNKS_MAX);
        let weather = self.weather.subscribe();
        let read = async {
            let mut buffer = vec![0; CHUNK_BYTES];
            while let Ok(count @ 1..) = from.read(&mut buffer).await {
                let now = *weather.borrow();
                let bytes = u64::try_from(count).unwrap_or(0);
                if now == Weather::HalfOpen || (now == Weather::Deaf && answers) {
                    self.effects
                        .swallowed_bytes
                        .fetch_add(bytes, Ordering::Relaxed);
                    continue;
                }
                let mut due = Instant::now();
                if let Weather::Delay(by) = now {
                    self.effects.delayed_chunks.fetch_add(1, Ordering::Relaxed);
                    due += by;
                }
                if queue.send((due, buffer[..count].to_vec())).await.is_err() {
                    break;
                }
            }
            drop(queue);
        };
        let write = async {
            while let Some((due, chunk)) = waiting.recv().await {
                tokio::time::sleep_until(due).await;
                let now = *self.weather.borrow();
                if let Weather::Throttle(bytes_per_second) = now {
                    self.effects
                        .throttled_chunks
                        .fetch_add(1, Ordering::Relaxed);
                    let bytes = u64::try_from(chunk.len()).unwrap_or(0);
                    let micros = bytes * 1_000_000 / bytes_per_second.max(1);
                    tokio::time::sleep(Duration::from_micros(micros)).await;
                }
                if to.write_all(&chunk).await.is_err() {
                    break;
                }
                let bytes = u64::try_from(chunk.len()).unwrap_or(0);
                self.effects
                    .forwarded_bytes
                    .fetch_add(bytes, Ordering::Relaxed);
            }
            let _ = to.shutdown().await;
        };
        tokio::join!(read, write);
    }
}

/// Returns when the weather ends a connection: at a cut, and after a swallowing weather.
async fn fate(weather: &mut watch::Receiver<Weather>) {
    let mut holed = false;
    loop {
        let now = *weather.borrow_and_update();
        let swallows = matches!(now, Weather::HalfOpen | Weather::Deaf);
        if now == Weather::Cut || (holed && !swallows) {
            return;
        }
        holed |= swallows;
        if weather.changed().await.is_err() {
            return;
        }
    }
}

/// Makes the end of a connection a reset, as a cut cable or a crashed machine does, where a close
/// would say good-bye.
fn reset(stream: &TcpStream) {
    let _ = stream.set_zero_linger();
}

#[cfg(test)]
mod tests;
