// SPDX-License-Identifier: Apache-2.0
//! Messages that are not to be delivered as they are: where they are kept until then, and what is noted on them.

use net::Fault;
use wire::Str;
use wire::properties::Properties;

use super::check;
use super::properties::Sifted;
use crate::config::Config;

/// Where a message is kept, and how its properties change for that.
#[derive(Debug)]
pub(crate) struct Parked {
    /// Instead of its own.
    pub(crate) topic: Str,
    /// Instead of its own.
    pub(crate) queue_id: i32,
    /// Properties that go.
    pub(crate) without: &'static [&'static str],
    /// Properties that are set.
    pub(crate) with: Vec<(&'static str, Str)>,
}

impl Parked {
    /// The properties as they are kept.
    pub(super) fn rewrite(&self, text: &[u8]) -> Vec<u8> {
        let mut properties = Properties::from_bytes(text);
        for name in self.without {
            properties.remove(name);
        }
        for (name, value) in &self.with {
            properties.set(name, value);
        }
        properties.into_bytes()
    }
}

/// Decides where a message goes that asks for more than being delivered; `None`: to its own queue after all.
pub(super) fn decide(
    config: &Config,
    sifted: &Sifted<'_>,
    _real: (&Str, i32),
) -> Result<Option<Parked>, Fault> {
    match sifted.deferred {
        None => Ok(None),
        Some(name) => Err(check::deferred(config, name)),
    }
}
