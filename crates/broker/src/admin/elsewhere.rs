// SPDX-License-Identifier: Apache-2.0
//! Requests about what this broker does not have: RocksDB, a controller, access control, flow control by cold data. It says
//! what a broker of the reference says that is not set up for these, so that tools read it the same way.

use std::collections::BTreeMap;
use std::sync::Arc;

use net::{Answer, Call, Fault, Reply};
use parking_lot::Mutex;
use serde::Serialize;
use wire::api::auth::{
    AuthCreateAcl, AuthCreateUser, AuthDeleteAcl, AuthDeleteUser, AuthGetAcl, AuthGetUser, AuthListAcl,
    AuthListUser, AuthUpdateAcl, AuthUpdateUser,
};
use wire::api::elsewhere::{
    CheckRocksdbCqWriteProgress, ExportRocksdbConfigToJson, GetBrokerEpochCache, GetColdDataFlowCtrInfo,
    NotifyBrokerRoleChanged, PopRollback, RemoveColdDataFlowCtrConfig, SetCommitlogReadMode,
    UpdateColdDataFlowCtrConfig,
};
use wire::code::{Code, NoHeader, Request, ResponseCode};
use wire::{Str, fastjson, java_properties};

use crate::broker::Broker;
use crate::names::group_error;

type Answered = Result<Answer<NoHeader>, Fault>;

/// What the reference leaves in remarks that nobody sets.
const PRESET: &str = "not set any response code";
/// Groups whose bounds on cold bytes are kept.
const COLD_GROUPS_MAX: usize = 10_000;
/// Groups of a request, and characters of each, that an answer shows.
const SHOWN_GROUPS_MAX: usize = 20;
const SHOWN_CHARS_MAX: usize = 128;
/// The reference's defaults.
const COLD_BYTES_OF_GROUP: i64 = 3_145_728;
const COLD_BYTES_OF_ALL: i64 = 104_857_600;

/// Bounds on how many cold bytes groups may read. They are kept and shown, as the reference does, but nothing obeys them:
/// `coldDataFlowControlEnable` is refused.
#[derive(Debug, Default)]
pub(crate) struct ColdBounds(Mutex<BTreeMap<Str, i64>>);

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct ColdBoundsBody<'a> {
    runtime_table: BTreeMap<Str, i64>,
    config_table: &'a BTreeMap<Str, i64>,
    cg_cold_read_threshold: i64,
    global_cold_read_threshold: i64,
    global_acc: i64,
}

fn fault<T>(code: ResponseCode, remark: impl Into<Str>) -> Result<T, Fault> {
    Err(Fault::new(code, remark))
}

/// Code 354. Queues are in files only; the reference says "in progress" too, whatever it finds.
pub(crate) fn queue_progress(_: &Arc<Broker>, _: Call<CheckRocksdbCqWriteProgress>) -> Answered {
    let reply = Reply::ok(NoHeader).with_body(r#"{"checkStatus":2}"#);
    Ok(reply.with_remark(PRESET).into())
}

/// Code 355. Tables are JSON files already.
pub(crate) fn export_tables(_: &Arc<Broker>, call: Call<ExportRocksdbConfigToJson>) -> Answered {
    let known = ["topics", "subscriptionGroups", "consumerOffsets"];
    let types = call.header.config_type.split(';').filter(|name| !name.is_empty());
    for name in types {
        if !known.iter().any(|known| known.eq_ignore_ascii_case(name.trim())) {
            let remark = format!("Unknown config type: {name}; there are {}", known.join(", "));
            return fault(ResponseCode::SYSTEM_ERROR, remark);
        }
    }
    Ok(Reply::ok(NoHeader).with_remark("export done.").into())
}

/// Code 1007.
pub(crate) fn epochs(_: &Arc<Broker>, _: Call<GetBrokerEpochCache>) -> Answered {
    fault(
        ResponseCode::SYSTEM_ERROR,
        "this request only for controllerMode ",
    )
}

/// Code 1008. Without a controller roles are settings; the reference takes it as quietly.
pub(crate) fn role_changed(_: &Arc<Broker>, call: Call<NotifyBrokerRoleChanged>) -> Answered {
    tracing::warn!(peer = %call.peer.addr, "somebody says who is the master, as only a controller does: ignored");
    Ok(Reply::ok(NoHeader).into())
}

/// Code 200056. Leases are in no RocksDB.
pub(crate) fn pop_rollback(_: &Arc<Broker>, _: Call<PopRollback>) -> Answered {
    Ok(Reply::ok(NoHeader).with_remark(PRESET).into())
}

/// Code 2001.
pub(crate) fn set_cold_bounds(b: &Arc<Broker>, call: Call<UpdateColdDataFlowCtrConfig>) -> Answered {
    let text = String::from_utf8_lossy(&call.body);
    let entries = java_properties::parse(&text);
    let entries = entries.or_else(|e| fault(ResponseCode::INVALID_PARAMETER, e.to_string()))?;
    let mut bounds = b.cold_bounds.0.lock();
    let mut ignored = Vec::new();
    for entry in &entries {
        let has_room = bounds.len() < COLD_GROUPS_MAX || bounds.contains_key(&entry.key);
        match entry.value.trim().parse() {
            Ok(bytes) if has_room && group_error(&entry.key).is_none() => {
                bounds.insert(entry.key.clone(), bytes);
            }
            _ => ignored.push(entry.key.as_str()),
        }
    }
    drop(bounds);
    let mut remark =
        "kept until the broker stops, and without effect: coldDataFlowControlEnable is not there".to_owned();
    if !ignored.is_empty() {
        remark.push_str(&format!(
            "; ignored, because they name no group or no number of bytes, or are too many: {}",
            named(&ignored)
        ));
    }
    Ok(Reply::ok(NoHeader).with_remark(remark).into())
}

/// The first of them, each cut: a request may have very many, and long ones.
fn named(groups: &[&str]) -> String {
    let cut = |group: &&str| group.chars().take(SHOWN_CHARS_MAX).collect::<String>();
    let shown: Vec<_> = groups.iter().take(SHOWN_GROUPS_MAX).map(cut).collect();
    match groups.len().saturating_sub(shown.len()) {
        0 => shown.join(", "),
        more => format!("{} and {more} more", shown.join(", ")),
    }
}

/// Code 2002.
pub(crate) fn remove_cold_bound(b: &Arc<Broker>, call: Call<RemoveColdDataFlowCtrConfig>) -> Answered {
    let group = String::from_utf8_lossy(&call.body);
    b.cold_bounds.0.lock().remove(&*group);
    Ok(Reply::ok(NoHeader).into())
}

/// Code 2003.
pub(crate) fn cold_bounds(b: &Arc<Broker>, _: Call<GetColdDataFlowCtrInfo>) -> Answered {
    let body = fastjson::to_vec(&ColdBoundsBody {
        runtime_table: BTreeMap::new(),
        config_table: &b.cold_bounds.0.lock(),
        cg_cold_read_threshold: COLD_BYTES_OF_GROUP,
        global_cold_read_threshold: COLD_BYTES_OF_ALL,
        global_acc: 0,
    });
    Ok(Reply::ok(NoHeader).with_body(body).into())
}

/// Code 2004. The log is not mapped into memory.
pub(crate) fn read_mode(_: &Arc<Broker>, call: Call<SetCommitlogReadMode>) -> Answered {
    if call.ext.is_absent() {
        return fault(
            ResponseCode::SYSTEM_ERROR,
            "set commitlog readahead mode param error",
        );
    }
    match call.header.mode.as_deref().map(str::parse::<i32>) {
        Some(Ok(mode @ (0 | 1))) => {
            let remark =
                format!("mode {mode} has no meaning here: the log is read without being mapped into memory");
            Ok(Reply::ok(NoHeader).with_remark(remark).into())
        }
        Some(Ok(_)) => fault(
            ResponseCode::INVALID_PARAMETER,
            "set commitlog readahead mode param value error",
        ),
        _ => fault(ResponseCode::SYSTEM_ERROR, "set commitlog readahead mode failed"),
    }
}

/// A request about users or rights. `named`: what it must name, if that is missing.
fn no_access_control<R: Request>(named: Option<(&Option<Str>, ResponseCode, &str)>) -> Answered {
    if let Some((name, code, missing)) = named
        && name.as_deref().is_none_or(|name| name.trim().is_empty())
    {
        return fault(code, missing);
    }
    let Code(number) = R::CODE;
    let remark =
        format!("request {number} changes nothing: this broker has no access control, and lets everybody in");
    fault(ResponseCode::SYSTEM_ERROR, remark)
}

const NO_USER: &str = "The username is blank";
const NO_SUBJECT: &str = "The subject is null.";

/// Code 3001.
pub(crate) fn create_user(_: &Arc<Broker>, call: Call<AuthCreateUser>) -> Answered {
    let named = (&call.header.username, ResponseCode::INVALID_PARAMETER, NO_USER);
    no_access_control::<AuthCreateUser>(Some(named))
}

/// Code 3002.
pub(crate) fn update_user(_: &Arc<Broker>, call: Call<AuthUpdateUser>) -> Answered {
    let named = (&call.header.username, ResponseCode::INVALID_PARAMETER, NO_USER);
    no_access_control::<AuthUpdateUser>(Some(named))
}

/// Code 3003.
pub(crate) fn delete_user(_: &Arc<Broker>, call: Call<AuthDeleteUser>) -> Answered {
    let named = (
        &call.header.username,
        ResponseCode::NO_PERMISSION,
        "username can not be blank",
    );
    no_access_control::<AuthDeleteUser>(Some(named))
}

/// Code 3004.
pub(crate) fn user(_: &Arc<Broker>, call: Call<AuthGetUser>) -> Answered {
    let named = (&call.header.username, ResponseCode::INVALID_PARAMETER, NO_USER);
    no_access_control::<AuthGetUser>(Some(named))
}

/// Code 3005.
pub(crate) fn users(_: &Arc<Broker>, _: Call<AuthListUser>) -> Answered {
    no_access_control::<AuthListUser>(None)
}

/// Code 3006.
pub(crate) fn create_acl(_: &Arc<Broker>, _: Call<AuthCreateAcl>) -> Answered {
    no_access_control::<AuthCreateAcl>(None)
}

/// Code 3007.
pub(crate) fn update_acl(_: &Arc<Broker>, _: Call<AuthUpdateAcl>) -> Answered {
    no_access_control::<AuthUpdateAcl>(None)
}

/// Code 3008.
pub(crate) fn delete_acl(_: &Arc<Broker>, call: Call<AuthDeleteAcl>) -> Answered {
    let named = (&call.header.subject, ResponseCode::NO_PERMISSION, NO_SUBJECT);
    no_access_control::<AuthDeleteAcl>(Some(named))
}

/// Code 3009.
pub(crate) fn acl(_: &Arc<Broker>, call: Call<AuthGetAcl>) -> Answered {
    let named = (&call.header.subject, ResponseCode::NO_PERMISSION, NO_SUBJECT);
    no_access_control::<AuthGetAcl>(Some(named))
}

/// Code 3010.
pub(crate) fn acls(_: &Arc<Broker>, _: Call<AuthListAcl>) -> Answered {
    no_access_control::<AuthListAcl>(None)
}
