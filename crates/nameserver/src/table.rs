// SPDX-License-Identifier: Apache-2.0
//! Requests about the key-value table. Changes run on the blocking pool, since they end with a sync of a file.

use std::net::SocketAddr;
use std::sync::Arc;

use net::{Answer, Call, Fault, Reply};
use tracing::warn;
use wire::api::kv::{DeleteKvConfig, GetKvConfig, GetKvConfigReply, GetKvlistByNamespace, PutKvConfig};
use wire::code::{Empty, NoHeader, ResponseCode};
use wire::ext::Ext;

use crate::kv::{ChangeError, table_body};
use crate::nameserver::{Answered, NameServer};

/// How much of a name stands in the log.
const TOLD_CHARS: usize = 128;

/// 100
pub(crate) fn put_kv(s: &Arc<NameServer>, call: Call<PutKvConfig>) -> Answered<NoHeader> {
    Ok(blocking(s, move |s| {
        let PutKvConfig {
            namespace,
            key,
            value,
        } = &call.header;
        let put = s.kv.put(namespace, key, value);
        put.map_err(|e| refused(call.peer.addr, (namespace, key), &e))
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
        let DeleteKvConfig { namespace, key } = &call.header;
        let deleted = s.kv.delete(namespace, key);
        deleted.map_err(|e| refused(call.peer.addr, (namespace, key), &e))
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
        match store::env::aside(move || change(&s)).await {
            Ok(changed) => changed.map(|()| Reply::ok(NoHeader)),
            Err(ended) => Err(Fault::new(ResponseCode::SYSTEM_ERROR, ended.to_string())),
        }
    }))
}

fn refused(peer: SocketAddr, (namespace, key): (&str, &str), error: &ChangeError) -> Fault {
    // Of names that may be as long as a frame a line has the beginning.
    let beginning = |name: &str| name.chars().take(TOLD_CHARS).collect::<String>();
    let (namespace, key) = (beginning(namespace), beginning(key));
    warn!(%peer, namespace, key, %error, "a change of the key-value table is refused");
    Fault::new(ResponseCode::SYSTEM_ERROR, error.to_string())
}
