// SPDX-License-Identifier: Apache-2.0
//! Documents as the reference writes them: tables in the order in which it keeps them, numbers as it prints them.

use serde::ser::{Serialize, SerializeMap as _, Serializer};
use serde_json::value::RawValue;

use crate::hash_order::{hash_map, properties};
use crate::output::Report;
use crate::text::double;

/// A value.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Json {
    Text(String),
    Whole(i64),
    Double(f64),
    List(Vec<Json>),
    /// In this order.
    Table(Vec<(String, Json)>),
    /// As its type says; tables inside are in the order of the reference.
    Value(Report),
}

impl Json {
    /// A table that the reference keeps in a `HashMap`.
    pub(super) fn table(entries: impl IntoIterator<Item = (String, Json)>) -> Json {
        Json::Table(hash_map(entries, |(key, _)| key))
    }

    /// The same of a few entries; those that are not there are left out.
    pub(super) fn record<const N: usize>(entries: [(&str, Option<Json>); N]) -> Json {
        let there = entries
            .into_iter()
            .filter_map(|(key, value)| Some((key.to_owned(), value?)));
        Json::table(there)
    }

    /// A table of settings.
    pub(super) fn settings(entries: impl IntoIterator<Item = (String, String)>) -> Json {
        let ordered = properties(entries).into_iter();
        Json::Table(ordered.map(|(key, value)| (key, Json::Text(value))).collect())
    }

    /// A value with free attributes, which are a table to the reference.
    pub(super) fn value<T: Serialize>(value: &T) -> Json {
        let mut report = Report::of(value);
        if let Report::Record(fields) = &mut report {
            for (name, field) in fields {
                if let (true, Report::Record(table)) = (name == "attributes", field) {
                    *table = hash_map(std::mem::take(table), |(key, _)| key);
                }
            }
        }
        Json::Value(report)
    }
}

impl Serialize for Json {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Json::Text(text) => serializer.serialize_str(text),
            Json::Whole(number) => serializer.serialize_i64(*number),
            Json::Double(number) => {
                let text = if number.is_finite() {
                    double(*number)
                } else {
                    "null".to_owned()
                };
                let raw = RawValue::from_string(text).map_err(serde::ser::Error::custom)?;
                raw.serialize(serializer)
            }
            Json::List(items) => serializer.collect_seq(items),
            Json::Table(entries) => {
                let mut map = serializer.serialize_map(Some(entries.len()))?;
                for (key, value) in entries {
                    map.serialize_entry(key, value)?;
                }
                map.end()
            }
            Json::Value(report) => report.serialize(serializer),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use wire::fastjson;

    #[test]
    fn tables_and_numbers_are_written_as_the_reference_writes_them() {
        let document = Json::record([
            ("subscriptionGroupTable", Some(Json::table([]))),
            ("topicConfigTable", Some(Json::Double(1e-5))),
            ("missing", None),
            ("exportTime", Some(Json::Whole(7))),
        ]);
        let text = String::from_utf8(fastjson::to_vec_pretty(&document)).unwrap();
        assert_eq!(
            text,
            "{\n\t\"exportTime\":7,\n\t\"topicConfigTable\":1.0E-5,\n\t\"subscriptionGroupTable\":{\n\t\t\n\t}\n}"
        );
    }
}
