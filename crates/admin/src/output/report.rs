// SPDX-License-Identifier: Apache-2.0
//! Any data, with the fields of a record in the order in which its type names them.

use std::fmt;

use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde::ser::{Serialize, Serializer};
use serde_json::Number;

/// A value of what a command reports.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Report {
    Null,
    Bool(bool),
    Number(Number),
    Text(String),
    List(Vec<Report>),
    Record(Vec<(String, Report)>),
}

impl Report {
    /// What a type says of itself.
    pub(crate) fn of<T: Serialize + ?Sized>(value: &T) -> Report {
        Report::sized(value).0
    }

    /// The same with its bytes as JSON.
    pub(crate) fn sized<T: Serialize + ?Sized>(value: &T) -> (Report, usize) {
        let text = serde_json::to_string(value).unwrap_or_default();
        (serde_json::from_str(&text).unwrap_or(Report::Null), text.len())
    }
}

impl Serialize for Report {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Report::Null => serializer.serialize_unit(),
            Report::Bool(value) => serializer.serialize_bool(*value),
            Report::Number(value) => value.serialize(serializer),
            Report::Text(value) => serializer.serialize_str(value),
            Report::List(items) => serializer.collect_seq(items),
            Report::Record(fields) => {
                serializer.collect_map(fields.iter().map(|(name, value)| (name, value)))
            }
        }
    }
}

impl<'de> Deserialize<'de> for Report {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Report, D::Error> {
        deserializer.deserialize_any(Anything)
    }
}

struct Anything;

impl<'de> Visitor<'de> for Anything {
    type Value = Report;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_unit<E>(self) -> Result<Report, E> {
        Ok(Report::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Report, E> {
        Ok(Report::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Report, E> {
        Ok(Report::Number(value.into()))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Report, E> {
        Ok(Report::Number(value.into()))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Report, E> {
        Ok(Number::from_f64(value).map_or(Report::Null, Report::Number))
    }

    fn visit_str<E>(self, value: &str) -> Result<Report, E> {
        Ok(Report::Text(value.to_owned()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Report, A::Error> {
        let mut list = Vec::new();
        while let Some(item) = items.next_element()? {
            list.push(item);
        }
        Ok(Report::List(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut fields: A) -> Result<Report, A::Error> {
        let mut record = Vec::new();
        while let Some(field) = fields.next_entry()? {
            record.push(field);
        }
        Ok(Report::Record(record))
    }
}
