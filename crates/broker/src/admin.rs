// SPDX-License-Identifier: Apache-2.0
//! The broker as operators see it: how it is doing (28), and below this folder its settings, what it cleans, and what other
//! brokers have.

pub(crate) mod clean;
pub(crate) mod elsewhere;
mod runtime;
pub(crate) mod settings;

pub(crate) use self::runtime::earliest;

use std::sync::Arc;

use net::{Answer, Call, Fault, Reply};
use wire::api::config::GetBrokerRuntimeInfo;
use wire::body::stats::KvTable;
use wire::code::NoHeader;
use wire::{Str, fastjson};

use crate::blocking;
use crate::broker::Broker;

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
