//! A process that is started while a server is away waits for it, and serves when it is there; one
//! that is told no by a server ends and says so.

use std::time::Duration;

use kit::testing::env;
use tokio::io::{AsyncBufReadExt, BufReader, Lines};
use tokio::net::{TcpListener, TcpStream};
use tokio::process::{Child, ChildStdout, Command};
use tokio::task::JoinSet;

use crate::world::World;

/// How long a line of the log is waited for.
const LINE_MAX: Duration = Duration::from_secs(30);

/// A started process and its log.
struct Serving {
    _child: Child,
    log: Lines<BufReader<ChildStdout>>,
}

impl Serving {
    fn start(world: &World) -> Self {
        let mut command = Command::from(world.command(&["serve", "admission"]));
        let mut child = command.kill_on_drop(true).spawn().unwrap();
        let log = BufReader::new(child.stdout.take().unwrap()).lines();
        Self { _child: child, log }
    }

    async fn until(&mut self, message: &str) {
        let found = async {
            let mut all = String::new();
            while let Some(line) = self.log.next_line().await.unwrap() {
                if line.contains(message) {
                    return;
                }
                all.push_str(&line);
            }
            panic!("it ended without '{message}': {all}");
        };
        tokio::time::timeout(LINE_MAX, found).await.unwrap();
    }
}

#[tokio::test]
async fn a_start_in_an_outage_waits_for_its_end() {
    let mut world = World::ready().await;
    let nobody = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = nobody.local_addr().unwrap();
    drop(nobody);
    world.set("postgres", "host", "127.0.0.1");
    world.set("postgres", "port", i64::from(address.port()));
    let mut serving = Serving::start(&world);
    serving.until("waiting for a server that is away").await;

    let link = TcpListener::bind(address).await.unwrap();
    let postgres = format!("{}:{}", env("BASHU_PG_HOST"), env("BASHU_PG_PORT"));
    let linked = async {
        let mut pairs = JoinSet::new();
        loop {
            let (mut near, _) = link.accept().await.unwrap();
            let mut far = TcpStream::connect(&postgres).await.unwrap();
            pairs.spawn(async move { tokio::io::copy_bidirectional(&mut near, &mut far).await });
        }
    };
    let serves = serving.until("\"message\":\"serving\"");
    tokio::select! {
        () = serves => {}
        () = linked => {}
    }
}

#[tokio::test]
async fn a_server_that_says_no_is_not_waited_for() {
    let mut world = World::ready().await;
    world.set("postgres", "password", "another");
    let ran = world.bashu(&["serve", "admission"]).await;
    assert_eq!(ran.code, 3, "{ran:?}");
    assert!(!ran.out.contains("waiting"), "{}", ran.out);
}
