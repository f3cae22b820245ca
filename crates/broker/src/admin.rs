// SPDX-License-Identifier: Apache-2.0
//! The broker as operators see it: its settings (25, 26) and how it is doing (28).

pub(crate) mod clean;
pub(crate) mod elsewhere;
mod runtime;

use std::path::Path;
use std::sync::Arc;

use net::{Answer, Call, Fault, Reply};
use parking_lot::Mutex;
use store::Env;
use tracing::{info, warn};
use wire::api::config::{GetBrokerConfig, GetBrokerConfigReply, GetBrokerRuntimeInfo, UpdateBrokerConfig};
use wire::api::elsewhere::SwitchTimerEngine;
use wire::body::stats::KvTable;
use wire::body::topic::DataVersion;
use wire::code::{NoHeader, ResponseCode};
use wire::java_properties::{self, Entry};
use wire::{Str, fastjson};

use crate::blocking;
use crate::broker::Broker;
use crate::config::{Assigned, Config, Place, When, bytes_of, text_of};
use crate::fault::unsaved;
use crate::saved::SaveError;

/// Settings that request 25 never changes, whatever `configBlackList` says.
const NEVER_CHANGED: &[&str] = &["brokerConfigPath", "configBlackList", "rocketmqHome"];

/// How often the settings changed.
pub(crate) struct Settings {
    /// Held while they change.
    version: Mutex<DataVersion>,
}

impl Settings {
    pub(crate) fn new(now_ms: i64) -> Settings {
        Settings {
            version: Mutex::new(DataVersion {
                timestamp: now_ms,
                ..DataVersion::default()
            }),
        }
    }
}

/// Code 25. All of the changes or, when one is not valid, none. What cannot change while the broker runs is saved for
/// the next start, and the answer says so.
pub(crate) fn update_config(
    b: &Arc<Broker>,
    call: Call<UpdateBrokerConfig>,
) -> Result<Answer<NoHeader>, Fault> {
    let invalid = |remark: String| Fault::new(ResponseCode::INVALID_PARAMETER, remark);
    let text = std::str::from_utf8(&call.body).map_err(|_| invalid("the body is not UTF-8".to_owned()))?;
    let entries = java_properties::parse(text).map_err(|e| invalid(e.to_string()))?;
    let black_list = b.config().config_black_list.clone();
    let is_black =
        |key: &str| NEVER_CHANGED.contains(&key) || black_list.split(';').any(|black| black == key);
    if let Some(entry) = entries.iter().find(|entry| is_black(&entry.key)) {
        let remark = format!("Can not update config in black list: {}", entry.key);
        return Err(Fault::new(ResponseCode::NO_PERMISSION, remark));
    }
    info!(peer = %call.peer.addr, changes = ?entries.iter().map(|e| e.key.as_str()).collect::<Vec<_>>(), "settings change");
    let b = Arc::clone(b);
    Ok(Answer::Later(Box::pin(async move {
        let changing = Arc::clone(&b);
        let changed = blocking::run(&b, &call.peer, move || change(&changing, &entries)).await??;
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

/// What came of a change.
struct Changed {
    remark: String,
    /// What clients may do here changed, which the name servers must know.
    permission: bool,
}

fn change(b: &Broker, entries: &[Entry]) -> Result<Changed, Fault> {
    let mut version = b.settings.version.lock();
    let mut live = Config::clone(&b.config());
    let (mut later, mut nothing) = (Vec::new(), Vec::new());
    for entry in entries {
        // Tried on a copy, so that what takes effect later does not do so now.
        let mut tried = live.clone();
        let assigned = tried.assign(&entry.key, &entry.value, &Place::Request);
        match assigned.map_err(|e| Fault::new(ResponseCode::INVALID_PARAMETER, e.to_string()))? {
            Assigned::Done(When::Live) => live = tried,
            Assigned::Done(When::Start) => later.push(entry.key.as_str()),
            Assigned::NoMeaning | Assigned::Unknown => nothing.push(entry.key.as_str()),
        }
    }
    let mut remarks = Vec::new();
    if !nothing.is_empty() {
        warn!(keys = ?nothing, "settings without a meaning here");
        remarks.push(format!("without a meaning here: {}", nothing.join(", ")));
    }
    if !later.is_empty() {
        remarks.push(format!("takes effect at the next start: {}", later.join(", ")));
    }
    if live.broker_config_path.is_empty() {
        remarks.push("not saved: the broker runs without a configuration file".to_owned());
    } else {
        save(&b.env, Path::new(live.broker_config_path.as_str()), entries)?;
    }
    let permission = live.broker_permission != b.config().broker_permission;
    if permission {
        b.topics.touch().map_err(|e| unsaved(&e))?;
    }
    b.set_config(live);
    version.counter += 1;
    version.timestamp = b.env.clock.now_ms();
    Ok(Changed {
        remark: remarks.join("; "),
        permission,
    })
}

/// Changes the file, and leaves everything else in it as it is.
fn save(env: &Env, path: &Path, entries: &[Entry]) -> Result<(), Fault> {
    let io = |source| SaveError {
        path: path.to_path_buf(),
        source,
    };
    let invalid = |e: &dyn std::fmt::Display| {
        Fault::new(
            ResponseCode::SYSTEM_ERROR,
            format!("{} is not changed: {e}", path.display()),
        )
    };
    let bytes = env
        .disk
        .load(path)
        .map_err(|e| unsaved(&io(e)))?
        .unwrap_or_default();
    let is_utf8 = std::str::from_utf8(&bytes).is_ok();
    let mut text = text_of(bytes);
    for entry in entries {
        text = java_properties::edit(&text, &entry.key, &entry.value).map_err(|e| invalid(&e))?;
    }
    env.disk
        .replace(path, &bytes_of(&text, is_utf8))
        .map_err(|e| unsaved(&io(e)))
}

/// Code 5001. There is one engine, the wheel: switching to it is letting it take messages again.
pub(crate) fn switch_timers(
    b: &Arc<Broker>,
    call: Call<SwitchTimerEngine>,
) -> Result<Answer<NoHeader>, Fault> {
    let invalid = |remark: &str| Err(Fault::new(ResponseCode::INVALID_PARAMETER, remark));
    if !b.config().timer_wheel_enable {
        return invalid("broker timerWheelEnable is false");
    }
    match call.header.engine.as_deref() {
        _ if call.ext.is_absent() => return invalid("param error, extFields is null"),
        Some("F") => {}
        Some("R") => return invalid("timerUseRocksDB is not there: timers are kept in files only"),
        _ => return invalid("param error"),
    }
    let b = Arc::clone(b);
    Ok(blocking::later(&b.clone(), &call.peer, move || {
        if b.config().timer_stop_enqueue {
            let entry = Entry {
                line: 0,
                lines: 0,
                key: "timerStopEnqueue".into(),
                value: "false".into(),
            };
            change(&b, &[entry])?;
        }
        Ok(Reply::ok(NoHeader).with_remark("switch timer engine success"))
    }))
}

/// Code 26: the settings as they are in effect.
pub(crate) fn read_config(
    b: &Arc<Broker>,
    _call: Call<GetBrokerConfig>,
) -> Result<Answer<GetBrokerConfigReply>, Fault> {
    let version = *b.settings.version.lock();
    let all = b.config().all();
    let text = java_properties::write(all.iter().map(|(key, value)| (*key, value.as_str())));
    let reply = Reply::ok(GetBrokerConfigReply {
        version: Some(fastjson::to_string(&version).into()),
    });
    Ok(reply.with_body(text).into())
}

/// Code 28.
pub(crate) fn runtime_info(
    b: &Arc<Broker>,
    call: Call<GetBrokerRuntimeInfo>,
) -> Result<Answer<NoHeader>, Fault> {
    let b = Arc::clone(b);
    Ok(blocking::later(&b.clone(), &call.peer, move || {
        let table = runtime::table(&b)
            .into_iter()
            .map(|(key, value)| (Str::from(key), Str::from(value)));
        let table = KvTable {
            table: table.collect(),
        };
        Ok(Reply::ok(NoHeader).with_body(fastjson::to_vec(&table)))
    }))
}
