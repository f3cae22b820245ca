// SPDX-License-Identifier: Apache-2.0
//! Settings by request: changed (318), read (319), and which were changed when and by whom (900025). Of the changes of a request
//! all are made or, when one is not valid, none. What takes effect at the next start only is saved for it.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use arc_swap::ArcSwap;
use net::{Answer, Call, Fault, Reply};
use parking_lot::Mutex;
use store::Env;
use tracing::{error, info};
use wire::api::config::{GetNamesrvConfig, ListConfigChanges, UpdateNamesrvConfig};
use wire::body::config::{ChangedBy, ConfigChange, ConfigHistory, Done, Effect, Kept, limits_error};
use wire::code::{NoHeader, ResponseCode};
use wire::java_properties::{self, Entry};
use wire::{Str, fastjson};

use crate::config::{Assigned, Config, When};
use crate::nameserver::{Answered, NameServer};

/// What changes with the settings.
pub(crate) struct Changes {
    /// The settings of the next start. Held while settings change, over the disk too: only threads that may wait for it take it.
    saved: Mutex<Config>,
    /// For those who ask, who wait for no disk.
    history: ArcSwap<ConfigHistory>,
    path: PathBuf,
}

impl Changes {
    /// What was changed before. A list that is missing or damaged begins anew.
    pub(crate) fn open(config: &Config, env: &Env) -> Changes {
        let path = Path::new(&config.kv_config_path).with_file_name("barqueConfigChanges.json");
        let history = match env.disk.load(&path) {
            Ok(bytes) => bytes.and_then(|bytes| {
                let read = fastjson::from_slice(&bytes);
                read.inspect_err(|error| {
                    error!(file = %path.display(), %error, "the list of changes of settings begins anew");
                })
                .ok()
            }),
            Err(error) => {
                error!(file = %path.display(), %error, "the list of changes of settings cannot be read and begins anew");
                None
            }
        };
        Changes {
            saved: Mutex::new(config.clone()),
            history: ArcSwap::from_pointee(history.unwrap_or_default()),
            path,
        }
    }
}

/// 319
pub(crate) fn get_config(s: &Arc<NameServer>, _: Call<GetNamesrvConfig>) -> Answered<NoHeader> {
    Ok(Reply::ok(NoHeader)
        .with_body(s.config.load().to_properties())
        .into())
}

/// 900025
pub(crate) fn changes(s: &Arc<NameServer>, call: Call<ListConfigChanges>) -> Answered<NoHeader> {
    let page = s.changes.history.load().page(&call.header);
    Ok(Reply::ok(NoHeader).with_body(fastjson::to_vec(&page)).into())
}

fn invalid(remark: impl Into<Str>) -> Fault {
    Fault::new(ResponseCode::INVALID_PARAMETER, remark)
}

/// 318
pub(crate) fn update_config(s: &Arc<NameServer>, call: Call<UpdateNamesrvConfig>) -> Answered<NoHeader> {
    if call.body.is_empty() {
        return Ok(Reply::ok(NoHeader).into());
    }
    let text = std::str::from_utf8(&call.body).map_err(|_| invalid("the body is not UTF-8"))?;
    let entries = java_properties::parse(text).map_err(|e| invalid(e.to_string()))?;
    check(&s.config.load(), &entries)?;
    let s = Arc::clone(s);
    Ok(Answer::Later(Box::pin(async move {
        let done = store::env::aside(move || change(&s, &call, &entries)).await;
        let remark = done.map_err(|e| Fault::new(ResponseCode::SYSTEM_ERROR, e.to_string()))??;
        Ok(Reply::ok(NoHeader).with_remark(remark))
    })))
}

/// Refuses what no request may change, and more than one may.
fn check(config: &Config, entries: &[Entry]) -> Result<(), Fault> {
    if let Some(error) = limits_error(entries) {
        return Err(invalid(error));
    }
    for Entry { key, .. } in entries {
        if let Err(why) = config.may_change(key) {
            let remark = format!("Can not update config in black list: {key}{why}");
            return Err(Fault::new(ResponseCode::NO_PERMISSION, remark));
        }
    }
    Ok(())
}

/// Returns what is said of each key.
fn change(s: &NameServer, call: &Call<UpdateNamesrvConfig>, entries: &[Entry]) -> Result<String, Fault> {
    let mut next = s.changes.saved.lock();
    let mut live = Config::clone(&s.config.load());
    let mut saved = next.clone();
    let done = assign(entries, &mut live, &mut saved)?;
    let written = s.env.disk.replace(
        Path::new(&saved.config_store_path),
        saved.to_properties().as_bytes(),
    );
    written.map_err(|source| {
        let remark = format!(
            "the change is not made: cannot write {}: {source}",
            saved.config_store_path
        );
        let (file, peer) = (&saved.config_store_path, call.peer.addr);
        error!(%file, %peer, error = %source, "a change of settings is refused because it cannot be saved; look at the disk, and ask again");
        Fault::new(ResponseCode::SYSTEM_ERROR, remark)
    })?;
    *next = saved;
    s.config.store(Arc::new(live));
    s.config_changes.send_replace(());
    let mut remark = done.remark(Kept::InFile);
    for change in &done.changes {
        let from = change.from.as_deref().unwrap_or("nothing");
        info!(key = %change.key, from, to = %change.to, effect = ?change.effect, "a setting is changed by request");
    }
    info!(peer = %call.peer.addr, %remark, "settings are changed");
    if !done.changes.is_empty() && !note(s, call, done.changes) {
        remark.push_str("; not noted for LIST_CONFIG_CHANGES after a restart: the disk refused it");
    }
    Ok(remark)
}

/// Sets the entries in what is in effect and in what is saved, and tells what becomes of each.
fn assign(entries: &[Entry], live: &mut Config, saved: &mut Config) -> Result<Done, Fault> {
    let mut done = Done::default();
    for Entry { key, value, .. } in entries {
        let from = saved.get(key);
        let assigned = saved.assign(key, value).map_err(|e| invalid(e.to_string()))?;
        let effect = match assigned {
            Assigned::Unknown => {
                done.unknown.push(key.clone());
                continue;
            }
            Assigned::NoMeaning => Effect::Never,
            Assigned::Done(When::Start | When::Fixed) => Effect::AfterRestart,
            Assigned::Done(When::Live) => Effect::Now,
        };
        if effect != Effect::AfterRestart {
            live.assign(key, value).map_err(|e| invalid(e.to_string()))?;
        }
        done.changes.push(ConfigChange {
            effect,
            from: from.map(Str::from),
            key: key.clone(),
            to: value.trim().into(),
            ..ConfigChange::default()
        });
    }
    Ok(done)
}

/// Adds changes to the list of changes. `false`: it is not saved.
fn note(s: &NameServer, call: &Call<UpdateNamesrvConfig>, made: Vec<ConfigChange>) -> bool {
    // No client says its id to a name server.
    let by = ChangedBy {
        peer: call.peer.addr.to_string().into(),
        client_id: None,
        user: call.ext.get("AccessKey"),
    };
    let mut history = ConfigHistory::clone(&s.changes.history.load());
    history.note(&by, s.env.clock.now_ms(), made);
    let bytes = fastjson::to_vec_pretty(&history);
    s.changes.history.store(Arc::new(history));
    let saved = s.env.disk.replace(&s.changes.path, &bytes);
    saved
        .inspect_err(|error| {
            error!(peer = %call.peer.addr, file = %s.changes.path.display(), %error, "a change of settings is made, and is missing in the list of changes after a restart");
        })
        .is_ok()
}
