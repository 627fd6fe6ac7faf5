//! What processes tell of themselves while they run: the metrics of each gateway and of each
//! union's services, as whoever watches over them reads them.

use std::io::{Read, Write};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tests::TestWorld;

use crate::search::Search;

pub(crate) const METRICS: &str = "metrics";
const UNIONS: [&str; 2] = ["50", "51"];
/// How long a process may take to tell them.
const ANSWER_TIME_MAX: Duration = Duration::from_secs(5);

/// The processes of a world, as far as they run.
pub(crate) struct Processes {
    folders: Vec<PathBuf>,
    runtime: tokio::runtime::Runtime,
    client: reqwest::Client,
}

impl Processes {
    pub(crate) fn of(world: &TestWorld) -> Self {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build();
        let client = reqwest::Client::builder()
            .no_proxy()
            .timeout(ANSWER_TIME_MAX)
            .build();
        Self {
            folders: UNIONS.map(|union| world.folder.join(union)).to_vec(),
            runtime: runtime.unwrap(),
            client: client.unwrap(),
        }
    }

    /// Looks at all that can be asked now.
    pub(crate) fn look(&self, search: &Search) {
        for folder in &self.folders {
            for address in addresses(folder) {
                self.look_at(search, &address);
            }
        }
    }

    /// Looks at what answers at this address; a process that is not up yet, or not any more, tells
    /// nothing.
    fn look_at(&self, search: &Search, address: &str) {
        let url = format!("http://{address}/metrics");
        let told = self.runtime.block_on(async {
            let answer = self.client.get(url).send().await?;
            answer.error_for_status()?.bytes().await
        });
        if let Ok(told) = told {
            search.look(METRICS, address, &told);
        }
    }

    /// Lets a process tell of somebody: one that stands in for all others, which have ended.
    pub(crate) fn plant(&self, search: &Search, text: &str) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let line = format!("bashu_planted{{who=\"{text}\"}} 1\n");
        std::thread::scope(|scope| {
            scope.spawn(|| {
                let (mut stream, _) = listener.accept().unwrap();
                let mut asked = [0; 1024];
                assert!(stream.read(&mut asked).unwrap() > 0);
                let length = line.len();
                let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {length}\r\n\r\n");
                stream.write_all((head + &line).as_bytes()).unwrap();
            });
            self.look_at(search, &address);
        });
    }
}

/// Where a union's services and its gateway tell them, once their configurations are written.
fn addresses(folder: &Path) -> Vec<String> {
    let services = std::fs::read_to_string(folder.join("bashu.toml")).ok();
    let services = services.and_then(|text| kit::config::Config::from(Some(&text), []).ok());
    let gateway = std::fs::read_to_string(folder.join("gateway.toml")).ok();
    let gateway = gateway.and_then(|text| text.parse::<toml::Table>().ok());
    let operations = gateway.and_then(|table| Some(table.get("operations")?.as_str()?.to_owned()));
    let services = services.map(|config| config.listen.ops().to_string());
    services.into_iter().chain(operations).collect()
}
