//! What the defaults, the file and the environment say, key by key, and the typed reading of it.

use std::collections::BTreeMap;
use std::fmt;

use figment::error::{Actual, Kind};
use figment::providers::{Format, Serialized, Toml};
use figment::value::{Dict, Value};
use figment::{Figment, Profile};
use secrecy::{ExposeSecret, SecretString};
use serde::de::DeserializeOwned;

use super::{ConfigError, FOREIGN, GATEWAY_PREFIX, PREFIX, SERVICES};

/// Variables that are tried as text where a number was not meant, at most.
const TEXT_RETRIES_MAX: usize = 64;

/// All keys, and which variables they came from.
#[derive(Clone)]
pub(super) struct Sections {
    values: Dict,
    /// The text of each variable by its path: `["postgres", "password"]`.
    variables: BTreeMap<Vec<String>, (String, SecretString)>,
}

impl fmt::Debug for Sections {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.values.keys()).finish()
    }
}

impl Sections {
    pub(super) fn read(
        file: Option<&str>,
        variables: impl IntoIterator<Item = (String, String)>,
    ) -> Result<Self, ConfigError> {
        let mut figment = Figment::from(Serialized::defaults(defaults()));
        if let Some(text) = file {
            figment = figment.merge(Toml::string(text));
        }
        let mut values: Dict = figment.extract().map_err(|error| ConfigError {
            field: error.path.join("."),
            source_name: "file".to_owned(),
            reason: "is not TOML".to_owned(),
        })?;
        let mut known = BTreeMap::new();
        for (name, text) in variables {
            let Some(key) = name.strip_prefix(PREFIX) else {
                continue;
            };
            if FOREIGN.contains(&name.as_str()) || name.starts_with(GATEWAY_PREFIX) {
                continue;
            }
            let path: Vec<String> = key
                .to_ascii_lowercase()
                .split("__")
                .map(str::to_owned)
                .collect();
            let value: Value = text.parse().unwrap_or_else(|_| Value::from(text.clone()));
            put(&mut values, &path, value);
            known.insert(path, (name, SecretString::from(text)));
        }
        Ok(Self {
            values,
            variables: known,
        })
    }

    pub(super) fn has(&self, section: &str) -> bool {
        self.values.contains_key(section)
    }

    /// The typed section, or with `None` all that is no service's. A variable that looks like a
    /// number where text is meant is read as text.
    pub(super) fn extract<T: DeserializeOwned>(
        &mut self,
        section: Option<&str>,
    ) -> Result<T, ConfigError> {
        for _ in 0..TEXT_RETRIES_MAX {
            let dict = match section {
                Some(name) => match self.values.get(name) {
                    Some(Value::Dict(_, dict)) => dict.clone(),
                    Some(_) => return Err(ConfigError::new(name, "must be a table")),
                    None => Dict::new(),
                },
                None => {
                    let mut dict = self.values.clone();
                    dict.retain(|key, _| !SERVICES.contains(&key.as_str()));
                    dict
                }
            };
            let figment = Figment::from(Serialized::from(dict, Profile::Default));
            let error = match figment.extract::<T>() {
                Ok(value) => return Ok(value),
                Err(error) => error,
            };
            let mut path: Vec<String> = section.map(str::to_owned).into_iter().collect();
            path.extend(error.path.iter().cloned());
            if !self.retry_as_text(&path, &error.kind) {
                return Err(self.describe(path, error.kind));
            }
        }
        Err(ConfigError::new(
            section.unwrap_or_default(),
            "too many values of the wrong kind",
        ))
    }

    fn retry_as_text(&mut self, path: &[String], kind: &Kind) -> bool {
        let is_number = matches!(
            kind,
            Kind::InvalidType(
                Actual::Bool(_) | Actual::Unsigned(_) | Actual::Signed(_) | Actual::Float(_)
                    | Actual::Seq | Actual::Map | Actual::Char(_) | Actual::Unit,
                expected,
            ) if expected.contains("string")
        );
        match self.variables.get(path) {
            Some((_, text)) if is_number => {
                let value = Value::from(text.expose_secret().to_owned());
                put(&mut self.values, path, value);
                true
            }
            Some(_) | None => false,
        }
    }

    /// Names the field and what was expected; the value found is left out, it may be a secret.
    fn describe(&self, mut path: Vec<String>, kind: Kind) -> ConfigError {
        let reason = match kind {
            Kind::UnknownField(name, _) => {
                // Its name ends the path already where the library knows where it came from.
                if path.last() != Some(&name) {
                    path.push(name);
                }
                "unknown key".to_owned()
            }
            Kind::MissingField(name) => {
                path.push(name.into_owned());
                "missing".to_owned()
            }
            Kind::InvalidType(_, expected) | Kind::InvalidValue(_, expected) => {
                format!("expected {expected}")
            }
            Kind::UnknownVariant(_, known) => format!("expected one of {}", known.join(", ")),
            Kind::InvalidLength(_, expected) => format!("expected {expected}"),
            Kind::Message(_)
            | Kind::DuplicateField(_)
            | Kind::ISizeOutOfRange(_)
            | Kind::USizeOutOfRange(_)
            | Kind::Unsupported(_)
            | Kind::UnsupportedKey(..) => "cannot be read".to_owned(),
        };
        let source_name = match self.variables.get(&path) {
            Some((name, _)) => name.clone(),
            None => "file or default".to_owned(),
        };
        ConfigError {
            field: path.join("."),
            source_name,
            reason,
        }
    }
}

fn put(values: &mut Dict, path: &[String], value: Value) {
    let [first, rest @ ..] = path else { return };
    if rest.is_empty() {
        values.insert(first.clone(), value);
        return;
    }
    let entry = values
        .entry(first.clone())
        .or_insert_with(|| Value::from(Dict::new()));
    if !matches!(entry, Value::Dict(..)) {
        *entry = Value::from(Dict::new());
    }
    if let Value::Dict(_, inner) = entry {
        put(inner, rest, value);
    }
}

fn defaults() -> serde_json::Value {
    serde_json::json!({
        "mode": "production",
        "log": "info",
        "data_dir": "data",
        "postgres": {
            "host": "127.0.0.1", "port": 5432, "user": "bashu_app", "connections_max": 10,
        },
        "kafka": { "brokers": "127.0.0.1:9092", "partitions": 12 },
        "redis_url": "redis://127.0.0.1:6379/0",
        "listen": { "address": "127.0.0.1", "base_port": 25_000 },
    })
}
