// SPDX-License-Identifier: Apache-2.0
//! Requests about the key-value table. Changes run on the blocking pool, since they end with a sync of a file.

use std::sync::Arc;

use net::{Answer, Call, Fault, Reply};
use tracing::warn;
use wire::api::kv::{DeleteKvConfig, GetKvConfig, GetKvConfigReply, GetKvlistByNamespace, PutKvConfig};
use wire::code::{Empty, NoHeader, ResponseCode};
use wire::ext::Ext;

use crate::kv::table_body;
use crate::nameserver::{Answered, NameServer};

/// 100
pub(crate) fn put_kv(s: &Arc<NameServer>, call: Call<PutKvConfig>) -> Answered<NoHeader> {
    Ok(blocking(s, move |s| {
        let PutKvConfig {
            namespace,
            key,
            value,
        } = &call.header;
        s.kv.put(namespace, key, value).map_err(|e| failed(&e))
    }))
}

/// 101
pub(crate) fn get_kv(s: &Arc<NameServer>, call: Call<GetKvConfig>) -> Answered<GetKvConfigReply> {
    let GetKvConfig { namespace, key } = &call.header;
    match s.kv.get(namespace, key) {
        Some(value) => Ok(Reply::ok(GetKvConfigReply { value: Some(value) }).into()),
        None => {
            let remark = format!("No config item, Namespace: {namespace} Key: {key}");
            Err(Fault::new(ResponseCode::QUERY_NOT_FOUND, remark).with_ext(Ext::of(&Empty {})))
        }
    }
}

/// 102
pub(crate) fn delete_kv(s: &Arc<NameServer>, call: Call<DeleteKvConfig>) -> Answered<NoHeader> {
    Ok(blocking(s, move |s| {
        s.kv.delete(&call.header.namespace, &call.header.key)
            .map_err(|e| failed(&e))
    }))
}

/// 219
pub(crate) fn get_kv_list(s: &Arc<NameServer>, call: Call<GetKvlistByNamespace>) -> Answered<NoHeader> {
    let namespace = &call.header.namespace;
    match s.kv.namespace(namespace) {
        Some(table) => Ok(Reply::ok(NoHeader).with_body(table_body(&table)).into()),
        None => {
            let remark = format!("No config item, Namespace: {namespace}");
            Err(Fault::new(ResponseCode::QUERY_NOT_FOUND, remark))
        }
    }
}

/// Runs a change where it may block; success carries nothing.
fn blocking(
    s: &Arc<NameServer>,
    change: impl FnOnce(&NameServer) -> Result<(), Fault> + Send + 'static,
) -> Answer<NoHeader> {
    let s = Arc::clone(s);
    Answer::Later(Box::pin(async move {
        match tokio::task::spawn_blocking(move || change(&s)).await {
            Ok(changed) => changed.map(|()| Reply::ok(NoHeader)),
            Err(ended) => Err(failed(&ended)),
        }
    }))
}

fn failed(error: &dyn std::error::Error) -> Fault {
    warn!(%error, "change refused");
    Fault::new(ResponseCode::SYSTEM_ERROR, error.to_string())
}
