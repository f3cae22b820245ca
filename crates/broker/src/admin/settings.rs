// SPDX-License-Identifier: Apache-2.0
//! Settings by request: changed (25), read (26), and which were changed when and by whom (900025). Of the changes of a request
//! all are made or, when one is not valid, none. What takes effect at the next start only is saved for it.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arc_swap::ArcSwap;
use net::{Answer, Call, Fault, Reply};
use parking_lot::Mutex;
use store::Env;
use store::disk::backup_of;
use tracing::{error, info};
use wire::api::config::{GetBrokerConfig, GetBrokerConfigReply, ListConfigChanges, UpdateBrokerConfig};
use wire::api::elsewhere::SwitchTimerEngine;
use wire::body::config::{ChangedBy, ConfigChange, ConfigHistory, Done, Effect, Kept, limits_error};
use wire::body::topic::DataVersion;
use wire::code::{NoHeader, ResponseCode};
use wire::java_properties::{self, Entry};
use wire::{Str, fastjson};

use crate::blocking;
use crate::broker::Broker;
use crate::config::{Assigned, Config, HIDDEN, Place, When, bytes_of, is_fixed, is_secret, text_of};
use crate::fault::unsaved;
use crate::saved::{self, LoadError, SaveError};
use crate::subject::Subject;

/// How often the settings changed, and how.
pub(crate) struct Settings {
    /// Held while they change, over the disk too: only threads that may wait for it take it.
    changing: Mutex<()>,
    /// For those who ask, who wait for no disk.
    told: ArcSwap<Told>,
    path: PathBuf,
}

#[derive(Clone)]
struct Told {
    version: DataVersion,
    history: ConfigHistory,
}

impl Settings {
    pub(crate) fn open(config: &Config, env: &Env) -> Result<Settings, LoadError> {
        let path = config.config_dir().join("barqueConfigChanges.json");
        let told = Told {
            version: DataVersion {
                timestamp: env.clock.now_ms(),
                ..DataVersion::default()
            },
            history: match saved::load(env, &path) {
                Err(error @ LoadError::Damaged { .. }) => {
                    error!(file = %path.display(), %error, "the list of changes of settings begins anew");
                    ConfigHistory::default()
                }
                found => found?.unwrap_or_default(),
            },
        };
        Ok(Settings {
            changing: Mutex::default(),
            told: ArcSwap::from_pointee(told),
            path,
        })
    }
}

fn invalid(remark: impl Into<Str>) -> Fault {
    Fault::new(ResponseCode::INVALID_PARAMETER, remark)
}

/// Code 25.
pub(crate) fn update_config(
    b: &Arc<Broker>,
    call: Call<UpdateBrokerConfig>,
) -> Result<Answer<NoHeader>, Fault> {
    let text = std::str::from_utf8(&call.body).map_err(|_| invalid("the body is not UTF-8"))?;
    let entries = java_properties::parse(text).map_err(|e| invalid(e.to_string()))?;
    check(&b.config().config_black_list, &entries)?;
    let b = Arc::clone(b);
    Ok(Answer::Later(Box::pin(async move {
        let (changing, by) = (Arc::clone(&b), by(&b, &call));
        let changed = move || change(&changing, &by, &entries);
        let changed = blocking::run(&b, &call.peer, changed).await??;
        if changed.permission {
            b.announce().await;
        }
        let reply = Reply::ok(NoHeader);
        Ok(if changed.remark.is_empty() {
            reply
        } else {
            reply.with_remark(changed.remark)
        })
    })))
}

/// Refuses what no request may change, and more than one may.
fn check(black_list: &str, entries: &[Entry]) -> Result<(), Fault> {
    if let Some(error) = limits_error(entries) {
        return Err(invalid(error));
    }
    let is_listed = |key: &str| black_list.split(';').any(|black| black.trim() == key);
    for Entry { key, .. } in entries {
        let refuse = |why: &str| {
            let remark = format!("Can not update config in black list: {key}{why}");
            Err(Fault::new(ResponseCode::NO_PERMISSION, remark))
        };
        if is_fixed(key) {
            return refuse(
                " names a place of the host, another host, a secret, or what may be changed and by whom: edit the configuration file",
            );
        }
        if is_listed(key) {
            return refuse(" (configBlackList)");
        }
    }
    Ok(())
}

/// What came of a change.
struct Changed {
    remark: String,
    /// What clients may do here changed, which the name servers must know.
    permission: bool,
}

fn change(b: &Broker, by: &ChangedBy, entries: &[Entry]) -> Result<Changed, Fault> {
    let _one = b.settings.changing.lock();
    let before = b.config();
    let mut file = ConfigFile::read(&b.env, &before.broker_config_path)?;
    let (live, done) = assigned(entries, &before, &file)?;
    if let Some(file) = &mut file {
        let known = entries.iter().filter(|entry| !done.unknown.contains(&entry.key));
        file.edit(known, &live)?;
    }
    let permission = live.broker_permission != before.broker_permission;
    let make = || {
        if let Some(file) = &file {
            file.write(&b.env)?;
        }
        b.set_config(live);
        Ok(())
    };
    match permission {
        true => b
            .topics
            .touch_for(make)
            .map_err(|e| unsaved(&e, Subject::default()))??,
        false => make()?,
    }
    let kept = file.map_or(Kept::Nowhere, |_| Kept::InFile);
    let mut remark = done.remark(kept);
    for change in &done.changes {
        let from = change.from.as_deref().unwrap_or("nothing");
        info!(key = change.key.as_str(), from, to = %change.to, effect = ?change.effect, "a setting is changed by request");
    }
    info!(peer = %by.peer, %remark, "settings are changed");
    if !note(b, by, done.changes) {
        remark.push_str("; not noted for LIST_CONFIG_CHANGES after a restart: the disk refused it");
    }
    Ok(Changed { remark, permission })
}

/// The settings as they will be in effect, and what becomes of each entry.
fn assigned(entries: &[Entry], before: &Config, file: &Option<ConfigFile>) -> Result<(Config, Done), Fault> {
    let (mut live, mut done) = (before.clone(), Done::default());
    for entry in entries {
        // Tried on a copy, so that what takes effect later does not do so now.
        let mut tried = live.clone();
        let assigned = tried.assign(&entry.key, &entry.value, &Place::Request);
        let effect = match assigned.map_err(|e| invalid(e.to_string()))? {
            Assigned::Done(When::Live) => {
                live = tried;
                Effect::Now
            }
            Assigned::Done(When::Start | When::Fixed) => Effect::AfterRestart,
            Assigned::NoMeaning => Effect::Never,
            Assigned::Unknown => {
                done.unknown.push(entry.key.clone());
                continue;
            }
        };
        done.changes.push(changed(entry, effect, file, before));
    }
    Ok((live, done))
}

/// Counts a change and adds it to the list of changes. `false`: that is not saved.
fn note(b: &Broker, by: &ChangedBy, changes: Vec<ConfigChange>) -> bool {
    let mut told = Told::clone(&b.settings.told.load());
    let now_ms = b.env.clock.now_ms();
    told.version.counter += 1;
    told.version.timestamp = now_ms;
    let is_empty = changes.is_empty();
    told.history.note(by, now_ms, changes);
    let told = Arc::new(told);
    b.settings.told.store(Arc::clone(&told));
    if is_empty {
        return true;
    }
    let saved = saved::save(&b.env, &b.settings.path, &told.history);
    saved
        .inspect_err(|error| {
            error!(peer = %by.peer, file = %error.path.display(), error = %error.source, "a change of settings is made, and is missing in the list of changes after a restart");
        })
        .is_ok()
}

/// Who asks for a change.
fn by<R>(b: &Broker, call: &Call<R>) -> ChangedBy {
    ChangedBy {
        peer: call.peer.addr.to_string().into(),
        client_id: b.clients.at(call.peer.id).map(|client| client.id.clone()),
        user: call.ext.get("AccessKey"),
    }
}

fn changed(entry: &Entry, effect: Effect, file: &Option<ConfigFile>, before: &Config) -> ConfigChange {
    let key = entry.key.as_str();
    let in_file = || file.as_ref().and_then(|file| file.entries.get(key).cloned());
    let in_effect = || before.get(key).map(Str::from);
    let from = match effect {
        Effect::Now => in_effect(),
        Effect::AfterRestart | Effect::Never => in_file().or_else(in_effect),
    };
    let shown = |value: Str| match value.is_empty() || !is_secret(key) {
        true => value,
        false => HIDDEN.into(),
    };
    ConfigChange {
        effect,
        from: from.map(shown),
        key: entry.key.clone(),
        to: shown(entry.value.trim().into()),
        ..ConfigChange::default()
    }
}

/// The configuration file as it is, and as it is to be.
struct ConfigFile {
    path: PathBuf,
    text: String,
    is_utf8: bool,
    /// What it set before.
    entries: BTreeMap<Str, Str>,
}

impl ConfigFile {
    /// `None`: the broker runs without one.
    fn read(env: &Env, path: &str) -> Result<Option<ConfigFile>, Fault> {
        if path.is_empty() {
            return Ok(None);
        }
        let path = Path::new(path).to_path_buf();
        let load = |path: &Path| {
            env.disk.load(path).map_err(|source| {
                let path = path.to_path_buf();
                unsaved(&SaveError { path, source }, Subject::default())
            })
        };
        // A kill while it was replaced leaves the backup alone, which the start has read, too.
        let bytes = match load(&path)? {
            Some(bytes) => bytes,
            None => load(&backup_of(&path))?.unwrap_or_default(),
        };
        let is_utf8 = std::str::from_utf8(&bytes).is_ok();
        let text = text_of(bytes);
        let entries = java_properties::parse(&text).unwrap_or_default();
        Ok(Some(ConfigFile {
            path,
            text,
            is_utf8,
            entries: entries
                .into_iter()
                .map(|entry| (entry.key, entry.value))
                .collect(),
        }))
    }

    /// Changes some settings, and leaves everything else in it as it is. A file with which the broker would not start again
    /// is refused, unless it was one before: then the command line says the rest.
    fn edit<'a>(&mut self, entries: impl Iterator<Item = &'a Entry>, live: &Config) -> Result<(), Fault> {
        let was_good = starts_with(&self.text, live).is_ok();
        for Entry { key, value, .. } in entries {
            let edited = java_properties::edit(&self.text, key, value);
            self.text = edited.map_err(|e| {
                let remark = format!("{} is not changed: {e}", self.path.display());
                Fault::new(ResponseCode::SYSTEM_ERROR, remark)
            })?;
        }
        match starts_with(&self.text, live) {
            Err(error) if was_good => Err(invalid(format!(
                "with this the broker would not start again: {error}"
            ))),
            _ => Ok(()),
        }
    }

    fn write(&self, env: &Env) -> Result<(), Fault> {
        let written = env.disk.replace(&self.path, &bytes_of(&self.text, self.is_utf8));
        written.map_err(|source| {
            let path = self.path.clone();
            unsaved(&SaveError { path, source }, Subject::default())
        })
    }
}

/// Whether a broker starts with a file where this one runs.
fn starts_with(text: &str, here: &Config) -> Result<(), crate::config::ConfigError> {
    let (mut config, _) = Config::load(text, "the configuration file")?;
    config.borrow_names(here);
    config.check()
}

/// Code 26: the settings as they are in effect.
pub(crate) fn read_config(
    b: &Arc<Broker>,
    _call: Call<GetBrokerConfig>,
) -> Result<Answer<GetBrokerConfigReply>, Fault> {
    let version = b.settings.told.load().version;
    let mut all = b.config().all();
    all.extend(read_by_tools());
    all.sort_unstable_by_key(|(key, _)| *key);
    let text = java_properties::write(all.iter().map(|(key, value)| (*key, value.as_str())));
    let reply = Reply::ok(GetBrokerConfigReply {
        version: Some(fastjson::to_string(&version).into()),
    });
    Ok(reply.with_body(text).into())
}

/// What has no meaning here and is not set, but is looked for: `exportMetrics` takes the number of processors from one,
/// `exportConfigs` exports the other.
fn read_by_tools() -> [(&'static str, String); 2] {
    let processors = std::thread::available_parallelism().map_or(1, usize::from);
    [
        ("clientCallbackExecutorThreads", processors.to_string()),
        ("useTLS", false.to_string()),
    ]
}

/// Code 900025.
pub(crate) fn changes(b: &Arc<Broker>, call: Call<ListConfigChanges>) -> Result<Answer<NoHeader>, Fault> {
    let page = b.settings.told.load().history.page(&call.header);
    Ok(Reply::ok(NoHeader).with_body(fastjson::to_vec(&page)).into())
}

/// Code 5001. There is one engine, the wheel: switching to it is letting it take messages again.
pub(crate) fn switch_timers(
    b: &Arc<Broker>,
    call: Call<SwitchTimerEngine>,
) -> Result<Answer<NoHeader>, Fault> {
    if !b.config().timer_wheel_enable {
        return Err(invalid("broker timerWheelEnable is false"));
    }
    match call.header.engine.as_deref() {
        _ if call.ext.is_absent() => return Err(invalid("param error, extFields is null")),
        Some("F") => {}
        Some("R") => {
            return Err(invalid(
                "timerUseRocksDB is not there: timers are kept in files only",
            ));
        }
        _ => return Err(invalid("param error")),
    }
    let (b, by) = (Arc::clone(b), by(b, &call));
    Ok(blocking::later(&b.clone(), &call.peer, move || {
        if b.config().timer_stop_enqueue {
            let entry = Entry {
                line: 0,
                lines: 0,
                key: "timerStopEnqueue".into(),
                value: "false".into(),
            };
            change(&b, &by, &[entry])?;
        }
        Ok(Reply::ok(NoHeader).with_remark("switch timer engine success"))
    }))
}

#[cfg(test)]
mod tests {
    use store::disk::Disk as _;
    use store::disk::sim::Fault as DiskFault;

    use super::*;
    use crate::world::World;

    #[test]
    fn a_permission_that_name_servers_would_not_hear_of_is_not_in_the_file_either() {
        let (world, file) = (World::new(1, &[]), Path::new("/etc/broker.conf"));
        world.disk.replace(file, b"brokerPermission=6\n").unwrap();
        let b = world.open(&[("brokerConfigPath", "/etc/broker.conf")]);
        let set = |permission: &str| {
            let entries = java_properties::parse(&format!("brokerPermission={permission}")).unwrap();
            change(&b, &ChangedBy::default(), &entries).map(drop)
        };
        let mut untold = 0;
        // Some of these are operations of the table of topics, which counts the change.
        for op in 0..20 {
            world.disk.fail_at(world.disk.ops() + op, DiskFault::Broken);
            if let Err(fault) = set("4")
                && fault.remark.contains("topics")
            {
                let text = world.disk.load(file).unwrap().unwrap();
                assert_eq!(String::from_utf8(text).unwrap(), "brokerPermission=6\n");
                assert_eq!(b.config().broker_permission, 6);
                untold += 1;
            }
            // What is left of the faults ends with the changes that they hit.
            while set("6").is_err() {}
        }
        assert!(untold > 0, "the table was never hit");
    }
}
