// SPDX-License-Identifier: Apache-2.0
//! Percentiles in the order in which they were asked for: an object in the JSON whose fields are in that order.

use std::fmt;

use serde::de::{MapAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Microseconds by percentile.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Percentiles(Vec<(String, u64)>);

impl Percentiles {
    /// Which there are.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(|(name, _)| name.as_str())
    }

    /// One of them.
    pub fn get(&self, name: &str) -> Option<u64> {
        let found = self.0.iter().find(|(other, _)| other == name);
        found.map(|(_, us)| *us)
    }
}

impl FromIterator<(String, u64)> for Percentiles {
    /// What comes twice is kept once.
    fn from_iter<I: IntoIterator<Item = (String, u64)>>(all: I) -> Percentiles {
        let mut kept = Percentiles::default();
        for (name, us) in all {
            if kept.get(&name).is_none() {
                kept.0.push((name, us));
            }
        }
        kept
    }
}

impl Serialize for Percentiles {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.0.iter().map(|(name, us)| (name, us)))
    }
}

impl<'de> Deserialize<'de> for Percentiles {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Percentiles, D::Error> {
        struct Fields;

        impl<'de> Visitor<'de> for Fields {
            type Value = Percentiles;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object of percentiles")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Percentiles, A::Error> {
                let mut all = Vec::new();
                while let Some(entry) = map.next_entry()? {
                    all.push(entry);
                }
                Ok(all.into_iter().collect())
            }
        }

        deserializer.deserialize_map(Fields)
    }
}
