//! The configuration of each process of a development world, written into its folder. A person
//! may read it to see what a real one looks like; it is written anew at each start.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use kit::config::Config;
use kit::sealed::PrivateKey;
use kit::types::Union;

use super::DevArgs;
use super::files::{need, private_folder, read_env, secret, write_private};
use crate::say::Say;

/// Ports before the offset. A union's are a hundred apart: see `kit::config::Listen`.
pub(crate) const SANDBOX_PORT: u16 = 14_090;
pub(crate) const GATEWAY_PORT: u16 = 14_000;
const GATEWAY_OPERATIONS_PORT: u16 = 14_010;
const SERVICES_PORT: u16 = 14_100;

/// Everything that is where, of both unions.
#[derive(Clone, Debug)]
pub struct World {
    folder: PathBuf,
    supergraph: PathBuf,
    own_program: PathBuf,
    port_offset: u16,
    unions: Vec<Union>,
}

impl World {
    /// Makes secrets, the root keys and all configurations.
    ///
    /// # Errors
    /// When the servers of `deploy/dev` left no description, or a file cannot be written.
    pub fn prepare(args: &DevArgs) -> Result<Self> {
        let folder = fs::canonicalize(&args.folder)
            .with_context(|| format!("{} is missing", args.folder.display()))?;
        let world = Self {
            port_offset: port_offset(&folder, args.port_offset)?,
            folder,
            supergraph: fs::canonicalize(&args.supergraph)
                .with_context(|| format!("{} is missing", args.supergraph.display()))?,
            own_program: std::env::current_exe()?,
            unions: args.unions.clone(),
        };
        private_folder(&world.sandbox_folder())?;
        sandbox::provision(&world.sandbox_folder())?;
        let mut roots = BTreeMap::new();
        for union in world.unions() {
            private_folder(&world.keys(union))?;
            roots.insert(union, crate::keys::root_of(&world.keys(union))?);
        }
        for union in world.unions() {
            let text = world.services_settings(union, &roots)?;
            write_private(&world.config_path(union), &text)?;
            write_private(&world.gateway_path(union), &world.gateway_settings(union)?)?;
        }
        Ok(world)
    }

    /// Where the processes of this world are on record, a folder each.
    pub(crate) fn processes(&self) -> PathBuf {
        self.folder.join("processes")
    }

    /// The unions that run here.
    pub(crate) fn unions(&self) -> impl Iterator<Item = Union> + use<> {
        self.unions.clone().into_iter()
    }

    fn union_folder(&self, union: Union) -> PathBuf {
        self.folder.join(union.to_string())
    }

    /// The folder of a union's secrets.
    pub(crate) fn keys(&self, union: Union) -> PathBuf {
        self.union_folder(union).join("keys")
    }

    /// Where people of a union keep the files that were made for them, by their phones.
    ///
    /// # Errors
    /// When the folder cannot be made.
    pub(crate) fn downloads(&self, union: Union) -> Result<PathBuf> {
        private_folder(&self.union_folder(union).join("downloads"))
    }

    fn sandbox_folder(&self) -> PathBuf {
        self.folder.join("sandbox")
    }

    pub(crate) fn own_program(&self) -> &Path {
        &self.own_program
    }

    pub(crate) fn config_path(&self, union: Union) -> PathBuf {
        self.union_folder(union).join("bashu.toml")
    }

    pub(crate) fn gateway_path(&self, union: Union) -> PathBuf {
        self.union_folder(union).join("gateway.toml")
    }

    /// The file that takes a process's output.
    pub(crate) fn log(&self, union: Option<Union>, name: &str) -> PathBuf {
        let folder = union.map_or_else(|| self.folder.clone(), |union| self.union_folder(union));
        folder.join(format!("{name}.log"))
    }

    /// `host:port` of the providers' stand-ins.
    pub(crate) fn sandbox(&self) -> String {
        format!("127.0.0.1:{}", SANDBOX_PORT + self.port_offset)
    }

    pub(crate) fn sandbox_arguments(&self) -> Vec<String> {
        ["serve", "sandbox", "--folder"]
            .into_iter()
            .map(str::to_owned)
            .chain([
                self.sandbox_folder().display().to_string(),
                "--listen".to_owned(),
                self.sandbox(),
            ])
            .collect()
    }

    /// `host:port` of a union's gateway.
    pub fn gateway(&self, union: Union) -> String {
        format!(
            "127.0.0.1:{}",
            GATEWAY_PORT + u16::from(union.code()) + self.port_offset
        )
    }

    /// `host:port` of a gateway's health and metrics.
    pub(crate) fn gateway_operations(&self, union: Union) -> String {
        let port = GATEWAY_OPERATIONS_PORT + u16::from(union.code()) + self.port_offset;
        format!("127.0.0.1:{port}")
    }

    fn services_port(&self, union: Union) -> u16 {
        let hundreds = u16::from(union.code() - Union::Chongqing.code()) * 100;
        SERVICES_PORT + hundreds + self.port_offset
    }

    /// A union's configuration as its processes read it.
    ///
    /// # Errors
    /// When the file is not there or not right.
    pub(crate) fn config(&self, union: Union) -> Result<Config> {
        let text = fs::read_to_string(self.config_path(union))?;
        Ok(Config::from(Some(&text), [])?)
    }

    fn services_settings(&self, union: Union, roots: &BTreeMap<Union, [u8; 32]>) -> Result<String> {
        let env = read_env(&self.union_folder(union).join("env"))?;
        let keys = self.keys(union);
        let own_root = roots.get(&union).map(hex::encode).unwrap_or_default();
        let mut out = String::from("# Written at each start of `bashu dev`. Not for production.\n");
        writeln!(
            out,
            "union = {union}\nmode = \"development\"\nlog = \"info\""
        )?;
        writeln!(
            out,
            "redis_url = {}",
            quoted(need(&env, "BASHU_REDIS_URL")?)
        )?;
        writeln!(
            out,
            "subgraph_key = {}",
            quoted(&secret(&keys, "subgraph")?)
        )?;
        writeln!(out, "root_public_key = {}", quoted(&own_root))?;
        writeln!(
            out,
            "data_dir = {}",
            quoted(&self.union_folder(union).display().to_string())
        )?;
        if let Some(endpoint) = env.get("BASHU_OTLP_ENDPOINT") {
            writeln!(out, "otlp_endpoint = {}", quoted(endpoint))?;
        }
        writeln!(
            out,
            "\n[postgres]\nhost = {}",
            quoted(need(&env, "BASHU_PG_HOST")?)
        )?;
        writeln!(out, "port = {}", need(&env, "BASHU_PG_PORT")?)?;
        writeln!(out, "user = {}", quoted(need(&env, "BASHU_PG_APP")?))?;
        writeln!(
            out,
            "password = {}",
            quoted(need(&env, "BASHU_PG_APP_PASSWORD")?)
        )?;
        if let Some(prefix) = env.get("BASHU_PREFIX") {
            writeln!(out, "database_prefix = {}", quoted(prefix))?;
        }
        writeln!(
            out,
            "\n[postgres.owner]\nuser = {}",
            quoted(need(&env, "BASHU_PG_OWNER")?)
        )?;
        writeln!(
            out,
            "password = {}",
            quoted(need(&env, "BASHU_PG_OWNER_PASSWORD")?)
        )?;
        let brokers = quoted(need(&env, "BASHU_KAFKA_BROKERS")?);
        writeln!(out, "\n[kafka]\nbrokers = {brokers}\npartitions = 2")?;
        // Set by the journeys' test alone, whose two unions share one server of each kind.
        if let Some(prefix) = env.get("BASHU_PREFIX") {
            writeln!(out, "prefix = {}", quoted(prefix))?;
        }
        writeln!(out, "\n[listen]\nbase_port = {}", self.services_port(union))?;
        self.sections(&mut out, union)?;
        Ok(out)
    }

    /// What each service alone is told.
    fn sections(&self, out: &mut String, union: Union) -> Result<()> {
        let keys = self.keys(union);
        let sandbox = self.sandbox_folder();
        writeln!(out, "\n[identity]")?;
        for name in ["kek", "blind_index_key", "code_key", "idtag_key"] {
            writeln!(out, "{name} = {}", quoted(&base64_secret(&keys, name)?))?;
        }
        let root = keys.join(crate::keys::ROOT_FILE);
        writeln!(
            out,
            "root_key_file = {}",
            quoted(&root.display().to_string())
        )?;
        // Of the demonstration one officer alone has an authenticator at hand.
        writeln!(out, "second_factor_optional = true")?;
        let sms_key = fs::read_to_string(sandbox.join("sms").join(format!("{union}.key")))?;
        writeln!(
            out,
            "\n[identity.sms]\nurl = {}",
            quoted(&format!("http://{}", self.sandbox()))
        )?;
        writeln!(out, "key = {}", quoted(sms_key.trim()))?;
        let program = sandbox.join("mini_programs").join(union.to_string());
        writeln!(
            out,
            "\n[identity.wechat]\nurl = {}",
            quoted(&format!("http://{}", self.sandbox()))
        )?;
        for name in ["appid", "secret"] {
            let value = fs::read_to_string(program.join(name))?;
            writeln!(out, "{name} = {}", quoted(value.trim()))?;
        }
        let payer_key = base64_secret(&keys, "payer_key")?.into();
        let payer_key = PrivateKey::parse(&payer_key).context("the payers' key is none")?;
        writeln!(out, "payer_key = {}", quoted(&payer_key.public().text()))?;
        let verification = sandbox.join("verification");
        writeln!(
            out,
            "\n[identity.verification]\nurl = {}",
            quoted(&format!("http://{}", self.sandbox()))
        )?;
        for name in ["secret_id", "secret_key"] {
            let value = fs::read_to_string(verification.join(name))?;
            writeln!(out, "{name} = {}", quoted(value.trim()))?;
        }
        let key = base64_secret(&keys, "entitlement_key")?;
        writeln!(out, "\n[passes]\nentitlement_key = {}", quoted(&key))?;
        writeln!(out, "\n[billing]")?;
        self.wechat(out, union)?;
        writeln!(out, "\n[admission]")?;
        Ok(())
    }

    /// The account with the payment provider, as its files in the sandbox say.
    fn wechat(&self, out: &mut String, union: Union) -> Result<()> {
        let sandbox = self.sandbox_folder();
        let mchid = format!("19000000{union}");
        let merchant = sandbox.join("merchants").join(&mchid);
        let read = |path: PathBuf| -> Result<String> {
            Ok(fs::read_to_string(&path)
                .with_context(|| format!("{} is missing", path.display()))?
                .trim()
                .to_owned())
        };
        let rest = self.services_port(union) + 50;
        let rows = [
            ("base_url", format!("http://{}", self.sandbox())),
            ("mchid", mchid),
            ("appid", read(merchant.join("appid"))?),
            ("merchant_serial", read(merchant.join("serial"))?),
            ("merchant_key", read(merchant.join("private_key.pem"))?),
            ("platform_serial", read(sandbox.join("platform/serial"))?),
            (
                "platform_key",
                read(sandbox.join("platform/public_key.pem"))?,
            ),
            ("apiv3_key", read(merchant.join("apiv3_key"))?),
            ("notify_url", format!("http://127.0.0.1:{rest}")),
        ];
        writeln!(out, "\n[billing.wechat]")?;
        for (name, value) in rows {
            writeln!(out, "{name} = {}", quoted(&value))?;
        }
        let program = sandbox.join("mini_programs").join(union.to_string());
        let key = base64_secret(&self.keys(union), "payer_key")?;
        writeln!(out, "\n[billing.wechat.mini_program]")?;
        writeln!(out, "appid = {}", quoted(&read(program.join("appid"))?))?;
        writeln!(out, "payer_key = {}", quoted(&key))?;
        Ok(())
    }

    fn gateway_settings(&self, union: Union) -> Result<String> {
        let env = read_env(&self.union_folder(union).join("env"))?;
        let config = self.config(union)?;
        let mut out = String::from("# Written at each start of `bashu dev`. Not for production.\n");
        writeln!(out, "union = {union}\nmode = \"development\"")?;
        writeln!(out, "listen = {}", quoted(&self.gateway(union)))?;
        let operations = self.gateway_operations(union);
        writeln!(out, "operations = {}", quoted(&operations))?;
        writeln!(
            out,
            "supergraph = {}",
            quoted(&self.supergraph.display().to_string())
        )?;
        let key = self.keys(union).join("subgraph");
        writeln!(
            out,
            "subgraph_key_file = {}",
            quoted(&key.display().to_string())
        )?;
        writeln!(
            out,
            "redis_url = {}",
            quoted(need(&env, "BASHU_REDIS_URL")?)
        )?;
        if let Some(endpoint) = env.get("BASHU_OTLP_ENDPOINT") {
            let traces = format!("{endpoint}/v1/traces");
            writeln!(out, "otlp_endpoint = {}", quoted(&traces))?;
        }
        let jwks = format!("http://{}/.well-known/jwks.json", config.listen.rest());
        writeln!(out, "jwks_url = {}", quoted(&jwks))?;
        writeln!(out, "\n[subgraphs]")?;
        for service in crate::serve::SERVICES {
            let url = format!("http://{}/graphql", config.listen.graphql(service));
            writeln!(out, "{service} = {}", quoted(&url))?;
        }
        Ok(out)
    }

    /// Says where to go and whom to be.
    pub(crate) fn print_addresses(&self, members: u32, say: &Say) {
        say.title("两会已就绪 / both unions are up");
        for union in self.unions() {
            let gateway = self.gateway(union);
            say.line(&format!("{}  http://{gateway}/graphql", union.name_zh()));
        }
        say.line(&format!(
            "支付与短信沙箱 / payer and SMS inbox  http://{}/",
            self.sandbox()
        ));
        crate::demo::print_logins(self.unions(), members, say);
        say.line("Ctrl-C 停止 / Ctrl-C stops");
    }
}

/// What is added to every port: what is said now, else what was said the last time, else what the
/// servers of `deploy/dev` were moved by. So a second command writes the configurations of a
/// running world as they are.
fn port_offset(folder: &Path, said: Option<u16>) -> Result<u16> {
    let kept = folder.join("port-offset");
    let offset = match said {
        Some(offset) => offset,
        None => [&kept, &folder.join("offset")]
            .into_iter()
            .find_map(|file| fs::read_to_string(file).ok())
            .map_or(Ok(0), |text| text.trim().parse())
            .with_context(|| format!("{} holds no number", kept.display()))?,
    };
    write_private(&kept, &offset.to_string())?;
    Ok(offset)
}

/// A TOML string.
fn quoted(text: &str) -> String {
    toml::Value::String(text.to_owned()).to_string()
}

/// A secret of [`secret`] in base64.
fn base64_secret(folder: &Path, name: &str) -> Result<String> {
    Ok(STANDARD.encode(hex::decode(secret(folder, name)?)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A command that is not told the ports finds those of the world that runs.
    #[test]
    fn the_ports_are_remembered() {
        let folder = std::env::temp_dir().join(format!("bashu-ports-{}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        let asked = |said| port_offset(&folder, said).unwrap();
        assert_eq!(asked(None), 0);
        fs::remove_file(folder.join("port-offset")).unwrap();
        fs::write(folder.join("offset"), "200\n").unwrap();
        assert_eq!(asked(None), 200, "as the servers of deploy/dev");
        assert_eq!(asked(Some(600)), 600);
        assert_eq!(asked(None), 600, "as the last time");
        fs::remove_dir_all(folder).unwrap();
    }
}
