// SPDX-License-Identifier: Apache-2.0
//! The settings of a server, as it tells them: properties text.

use serde::{Serialize, Serializer};
use wire::java_properties;

use crate::failure::Failure;
use crate::hash_order::properties;
use crate::nearest::nearest;

/// Settings in the order in which the reference prints them.
pub(crate) struct Settings(Vec<(String, String)>);

impl Settings {
    /// Reads the text a server sends.
    pub(crate) fn parse(text: &str) -> Result<Settings, Failure> {
        let entries = java_properties::parse(text).map_err(|error| {
            Failure::Other(format!("the settings that were sent cannot be read: {error}"))
        })?;
        let pairs = entries
            .into_iter()
            .map(|entry| (entry.key.to_string(), entry.value.to_string()));
        Ok(Settings(properties(pairs)))
    }

    /// The value of a setting.
    pub(crate) fn get(&self, key: &str) -> Option<&str> {
        let found = self.0.iter().find(|(known, _)| known == key);
        found.map(|(_, value)| value.as_str())
    }

    /// Their names.
    pub(crate) fn keys(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(|(key, _)| key.as_str())
    }

    /// One a line.
    pub(crate) fn text(&self) -> String {
        let lines = self.0.iter();
        lines
            .map(|(key, value)| format!("{key:<50}=  {value}\n"))
            .collect()
    }
}

/// What servers say of a setting that they do not know.
const UNKNOWN: &str = "ignored, unknown: ";

/// What a server says of a change, with the settings that were perhaps meant where it knows none of the name. `all` asks it for those it has.
pub(crate) async fn with_meant(
    remark: Option<&str>,
    key: &str,
    all: impl AsyncFnOnce() -> Result<Settings, Failure>,
) -> Option<String> {
    let remark = remark.filter(|remark| !remark.is_empty())?;
    if !remark.contains(UNKNOWN) {
        return Some(remark.to_owned());
    }
    let known = all().await.ok();
    let meant = known.as_ref().and_then(|known| nearest(key, known.keys()));
    let meant = meant.map(|meant| format!("; did you mean {meant}?"));
    Some(format!("{remark}{}", meant.unwrap_or_default()))
}

impl Serialize for Settings {
    /// By name: there is no need for the reference's order where somebody asks for data.
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut sorted: Vec<&(String, String)> = self.0.iter().collect();
        sorted.sort();
        serializer.collect_map(sorted.into_iter().map(|(key, value)| (key, value)))
    }
}
