// SPDX-License-Identifier: Apache-2.0
//! From files, options and the environment to the settings of a server. An option wins over the file, the file over the
//! environment, the environment over the default.

use crate::cli::Settings;
use anyhow::{Context as _, anyhow};
use broker::config::Surroundings;
use std::collections::BTreeSet;
use std::fmt;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use store::disk::backup_of;

/// What there is to say about settings, once there is a log.
pub(crate) type Warnings = Vec<Warning>;

/// A setting that does nothing, or several for the same reason.
pub(crate) struct Warning {
    /// Where it stands: file and line, or the command line.
    pub(crate) place: Option<String>,
    pub(crate) key: String,
    pub(crate) why: &'static str,
}

impl fmt::Display for Warning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(place) = &self.place {
            write!(f, "{place}: ")?;
        }
        write!(f, "{}: {}", self.key, self.why)
    }
}

impl From<broker::config::Warning> for Warning {
    fn from(warning: broker::config::Warning) -> Warning {
        match warning {
            broker::config::Warning::NoMeaning(keys) => Warning {
                place: None,
                key: keys.join(", "),
                why: "without a meaning here",
            },
            broker::config::Warning::Unknown { place, key } => Warning {
                place: Some(place.to_string()),
                key: key.to_string(),
                why: "unknown setting",
            },
        }
    }
}

/// The settings of a broker, not yet completed from the host it runs on.
pub(crate) fn broker(file: Option<&Path>, settings: &Settings) -> anyhow::Result<(broker::Config, Warnings)> {
    let (mut config, mut warnings) = match file {
        None => (broker::Config::default(), Vec::new()),
        Some(path) => broker::Config::load(&read(path)?, &path.display().to_string())?,
    };
    for (key, value) in &settings.set {
        warnings.extend(config.set(key, value)?);
    }
    if let Some(path) = file {
        config.broker_config_path = path.display().to_string().into();
    }
    Ok((config, warnings.into_iter().map(Warning::from).collect()))
}

/// What the file and `--set` set of a broker, whatever to.
pub(crate) fn keys(file: Option<&Path>, settings: &Settings) -> anyhow::Result<BTreeSet<String>> {
    let mut keys: BTreeSet<String> = settings.set.iter().map(|(key, _)| key.clone()).collect();
    if let Some(path) = file {
        let entries = wire::java_properties::parse(&read(path)?)?;
        keys.extend(entries.iter().map(|entry| entry.key.to_string()));
    }
    Ok(keys)
}

/// The settings of a name server.
pub(crate) fn nameserver(
    file: Option<&Path>,
    settings: &Settings,
) -> anyhow::Result<(nameserver::config::Config, Warnings)> {
    let home = home_directory()?;
    let mut warnings = Vec::new();
    let mut config = match file {
        None => nameserver::config::Config::new(&home),
        Some(path) => {
            let name = path.display().to_string();
            let (config, told) = nameserver::config::Config::parse(&home, &name, &read(path)?)?;
            warnings.extend(told.into_iter().map(|w| Warning {
                place: Some(format!("{name}:{}", w.line)),
                key: w.key,
                why: w.reason,
            }));
            config
        }
    };
    for (key, value) in &settings.set {
        let line = wire::java_properties::write([(key.as_str(), value.as_str())]);
        let told = config.apply("command line", &line)?;
        warnings.extend(told.into_iter().map(|w| Warning {
            place: Some("command line".to_owned()),
            key: w.key,
            why: w.reason,
        }));
    }
    Ok((config, warnings))
}

/// What the environment and the host say about settings that nobody set.
pub(crate) fn surroundings() -> Surroundings {
    Surroundings::probe(|name| std::env::var(name).ok())
}

/// Opened for reading only, unlike the files of a server: a configuration may be mounted read-only. A server that was killed
/// while it changed its settings may have left the backup alone, which has all that was answered before.
#[expect(
    clippy::disallowed_methods,
    reason = "the disk of the store opens for writing too"
)]
fn read(path: &Path) -> anyhow::Result<String> {
    let bytes = std::fs::read(path).or_else(|error| {
        let backup = backup_of(path);
        if error.kind() != ErrorKind::NotFound || !backup.exists() {
            return Err(error);
        }
        eprintln!(
            "warning: {} is not there, its backup is read: {}",
            path.display(),
            backup.display()
        );
        std::fs::read(backup)
    });
    let bytes = bytes.with_context(|| format!("cannot read the configuration {}", path.display()))?;
    Ok(broker::config::text_of(bytes))
}

fn home_directory() -> anyhow::Result<PathBuf> {
    let home = std::env::home_dir().filter(|home| !home.as_os_str().is_empty());
    home.ok_or_else(|| {
        anyhow!(
            "there is no home directory to put the files in; set HOME, or kvConfigPath and configStorePath"
        )
    })
}
