//! The services of this program, as the operator's commands see them: what each is called, which
//! tables it needs, what must hold in its database, and its part of the graph.
//!
//! It starts none of them: that is `serve`.

use anyhow::{Result, anyhow};
use kit::config::{Config, ConfigError};
use kit::migrate::Migration;
use kit::verify::Invariant;

/// One service.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Known {
    /// Its database, topic and subgraph are called so.
    pub(crate) name: &'static str,
    /// In the order in which they run, kit's first.
    pub(crate) migrations: &'static [&'static [Migration]],
    /// What must hold beside `kit::verify::CHASSIS`.
    pub(crate) invariants: &'static [Invariant],
    /// The schema it offers the gateway.
    pub(crate) sdl: fn() -> String,
    /// Checks its section of the configuration.
    pub(crate) settings: fn(&Config) -> Result<(), ConfigError>,
}

/// All of them; identity first, since the others keep a replica of it.
pub(crate) static ALL: [Known; 4] = [
    Known {
        name: identity::NAME,
        migrations: identity::ALL_MIGRATIONS,
        invariants: identity::verify::INVARIANTS,
        sdl: identity::graphql::sdl,
        settings: settings::identity,
    },
    Known {
        name: passes::NAME,
        migrations: passes::ALL_MIGRATIONS,
        invariants: passes::verify::INVARIANTS,
        sdl: passes::graphql::sdl,
        settings: settings::passes,
    },
    Known {
        name: billing::NAME,
        migrations: billing::ALL_MIGRATIONS,
        invariants: billing::verify::INVARIANTS,
        sdl: billing::graphql::sdl,
        settings: settings::billing,
    },
    Known {
        name: admission::NAME,
        migrations: admission::ALL_MIGRATIONS,
        invariants: admission::verify::INVARIANTS,
        sdl: admission::sdl,
        settings: settings::admission,
    },
];

/// The service of this name.
///
/// # Errors
/// When there is none: says which there are.
pub(crate) fn named(name: &str) -> Result<&'static Known> {
    ALL.iter().find(|known| known.name == name).ok_or_else(|| {
        let names: Vec<&str> = ALL.iter().map(|known| known.name).collect();
        anyhow!(
            "no service is called {name}: there are {}",
            names.join(", ")
        )
    })
}

/// The services of these names, in the order of [`ALL`]; all when none is named.
///
/// # Errors
/// As [`named`].
pub(crate) fn chosen(names: &[String]) -> Result<Vec<&'static Known>> {
    for name in names {
        named(name)?;
    }
    let wanted = |known: &&Known| names.is_empty() || names.iter().any(|name| name == known.name);
    Ok(ALL.iter().filter(wanted).collect())
}

/// The names, for the help of the command line.
pub(crate) fn names() -> Vec<&'static str> {
    ALL.iter().map(|known| known.name).collect()
}

/// Each service's own check of its section.
mod settings {
    use super::{Config, ConfigError};

    pub(super) fn identity(config: &Config) -> Result<(), ConfigError> {
        crate::keys::vault(config).map(|_| ())
    }

    pub(super) fn passes(config: &Config) -> Result<(), ConfigError> {
        let settings: passes::Settings = config.section(passes::NAME)?;
        settings.key().map(|_| ())
    }

    pub(super) fn billing(config: &Config) -> Result<(), ConfigError> {
        config
            .section::<billing::Settings>(billing::NAME)
            .map(|_| ())
    }

    pub(super) fn admission(config: &Config) -> Result<(), ConfigError> {
        config
            .section::<admission::Settings>(admission::NAME)
            .map(|_| ())
    }
}
