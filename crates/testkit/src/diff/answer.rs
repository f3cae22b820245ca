// SPDX-License-Identifier: Apache-2.0
//! An answer as a flat list of `path = value`, so that comparing two answers is comparing two maps.

use serde_json::Value;
use std::collections::BTreeMap;
use std::fmt;
use wire::fastjson;
use wire::frame::Frame;
use wire::message_id::decode_offset_id;
use wire::properties::pairs;
use wire::record::Record;

/// Fields of any body whose value is a moment, or counts changes that nobody promised to make in the same steps.
const MOMENTS: [&str; 14] = [
    "timestamp",
    "lastUpdateTimestamp",
    "counter",
    "indexLastUpdateTimestamp",
    "indexLastUpdatePhyoffset",
    "subVersion",
    "minTimeStamp",
    "minTimeStampStr",
    "maxTimeStamp",
    "maxTimeStampStr",
    "consumeTimeStamp",
    "consumeTimeStampStr",
    "delayTime",
    "lastTimestamp",
];

/// Codes whose remark is read by programs; the remark of every other refusal is prose.
const REMARK_COUNTS: [i32; 4] = [0, 19, 20, 21];

/// Codes whose remark is another on purpose, because it is for people.
const SAID_BETTER: [i32; 2] = [1, 23];

/// The reference leaves this behind on some successes. It means nothing.
const LEFTOVER_REMARK: &str = "not set any response code";

/// Addresses that differ between the sides, each with what it stands for.
pub(super) type Addresses = Vec<(String, String)>;

/// The fields of one answer.
#[derive(Default, Clone)]
pub struct Answer {
    fields: BTreeMap<String, String>,
    hidden: Addresses,
    /// When its messages were stored; never compared.
    stored_at: Vec<i64>,
}

impl Answer {
    /// Takes a frame apart; the body is read as stored messages, JSON, properties, or as it is.
    /// The addresses do not stay in it, neither as values nor in the order of its lists.
    pub(super) fn of(frame: &Frame, records: bool, hidden: Addresses) -> Answer {
        let mut answer = Answer {
            hidden,
            ..Answer::default()
        };
        answer.put("code", frame.code);
        answer.put("flag", frame.flag);
        answer.put("language", frame.language.name());
        answer.put("version", frame.version);
        answer.remark(frame);
        if frame.ext.is_absent() {
            answer.put("ext", "absent");
        } else if frame.ext.iter().next().is_none() {
            answer.put("ext", "{}");
        }
        for (name, value) in frame.ext.iter() {
            let value = if is_moment(&name) {
                "<moment>".into()
            } else {
                hide_ids(&value)
            };
            answer.put(format!("ext.{name}"), value);
        }
        if frame.body.is_empty() {
            answer.put("body", "empty");
        } else if records {
            answer.records(frame);
        } else {
            answer.text(frame);
        }
        answer
    }

    /// With the remark as it is, whoever it is for. Of two refusals it stays prose: ours say what a Java exception does
    /// not (1), and what is wrong with an expression (23).
    pub(super) fn with_remark(mut self, frame: &Frame) -> Answer {
        let remark = frame.remark.as_deref();
        let remark = remark.filter(|remark| *remark != LEFTOVER_REMARK && !SAID_BETTER.contains(&frame.code));
        if let Some(remark) = remark {
            self.put("remark", remark);
        }
        self
    }

    /// The value of a field.
    pub fn get(&self, field: &str) -> Option<&String> {
        self.fields.get(field)
    }

    /// When the message at this place of the answer was stored, in ms since 1970.
    pub fn stored_at(&self, at: usize) -> Option<i64> {
        self.stored_at.get(at).copied()
    }

    /// Where another answer differs, one line each.
    pub(super) fn differences(&self, other: &Answer, ignored: &[&str]) -> Vec<String> {
        let counts = [self, other].map(|answer| answer.get("records"));
        let same_count = counts[0] == counts[1];
        let mut found = Vec::new();
        let paths: std::collections::BTreeSet<&String> =
            self.fields.keys().chain(other.fields.keys()).collect();
        for path in paths {
            let (reference, ours) = (self.fields.get(path), other.fields.get(path));
            if !same_count && path.starts_with("record[") {
                continue; // that the numbers differ says it all
            }
            let may_differ = ignored.iter().any(|pattern| matches(pattern, path));
            match (reference, ours) {
                (Some(a), Some(b)) if a == b || may_differ => {}
                (Some(a), Some(b)) => found.push(format!("{path}: reference {a}, barque {b}")),
                (Some(a), None) => found.push(format!("{path}: reference {a}, barque has none")),
                (None, Some(b)) => found.push(format!("{path}: reference has none, barque {b}")),
                (None, None) => {}
            }
        }
        found
    }

    fn put(&mut self, path: impl Into<String>, value: impl ToString) {
        let (path, value) = (self.hide(&path.into()), self.hide(&value.to_string()));
        self.fields.insert(path, value);
    }

    fn hide(&self, text: &str) -> String {
        let hidden = self.hidden.iter();
        hidden.fold(text.to_owned(), |text, (addr, name)| {
            hide_address(&text, addr, name)
        })
    }

    fn remark(&mut self, frame: &Frame) {
        let remark = frame
            .remark
            .as_deref()
            .filter(|remark| *remark != LEFTOVER_REMARK);
        let told = match remark {
            Some(text) if REMARK_COUNTS.contains(&frame.code) => text,
            Some(_) => "<prose>",
            None => "none",
        };
        self.put("remark", told);
    }

    fn records(&mut self, frame: &Frame) {
        self.put("records", Record::decode_all(&frame.body).count());
        for (i, record) in Record::decode_all(&frame.body).enumerate() {
            let at = format!("record[{i}]");
            let Ok(record) = record else {
                self.put(at, "unreadable");
                continue;
            };
            self.stored_at.push(record.stored_at);
            self.put(format!("{at}.topic"), &record.topic);
            self.put(format!("{at}.queue"), record.queue_id);
            self.put(format!("{at}.offset"), record.queue_offset);
            self.put(format!("{at}.size"), record.total_size);
            self.put(format!("{at}.crc"), record.body_crc);
            self.put(format!("{at}.flag"), record.flag);
            self.put(format!("{at}.sysFlag"), record.sys_flag);
            self.put(format!("{at}.bornAt"), record.born_at);
            self.put(format!("{at}.bornHost"), record.born_host.ip());
            self.put(format!("{at}.storeHost"), record.store_host);
            self.put(format!("{at}.reconsumed"), record.reconsume_times);
            self.put(format!("{at}.prepared"), record.prepared_pos);
            self.put(format!("{at}.body"), String::from_utf8_lossy(&record.body));
            for (name, value) in pairs(&record.properties) {
                self.put(format!("{at}.property.{name}"), value);
            }
        }
    }

    fn text(&mut self, frame: &Frame) {
        let strict = serde_json::from_slice::<Value>(&frame.body);
        self.put(
            "body.dialect",
            if strict.is_ok() { "standard" } else { "fastjson" },
        );
        if let Ok(value) = fastjson::from_slice::<Value>(&frame.body) {
            return self.json("body", &value);
        }
        self.put("body.dialect", "text");
        for line in String::from_utf8_lossy(&frame.body).lines() {
            match line.split_once('=') {
                Some((key, value)) => self.put(format!("body.{key}"), value),
                None => self.put(format!("body.{line}"), ""),
            }
        }
    }

    fn json(&mut self, path: &str, value: &Value) {
        match value {
            Value::Object(fields) if fields.is_empty() => self.put(path, "{}"),
            Value::Object(fields) => {
                for (name, field) in fields {
                    if is_moment(name) {
                        self.put(format!("{path}.{name}"), "<moment>");
                    } else {
                        self.json(&format!("{path}.{name}"), field);
                    }
                }
            }
            Value::Array(items) if items.is_empty() => self.put(path, "[]"),
            Value::Array(items) => {
                // Lists are sets in this protocol: their order is that of somebody's hash table.
                let mut items: Vec<(String, &Value)> = items
                    .iter()
                    .map(|item| (self.hide(&settled(item).to_string()), item))
                    .collect();
                items.sort_by(|a, b| a.0.cmp(&b.0));
                for (i, (text, item)) in items.into_iter().enumerate() {
                    match item {
                        Value::Object(_) | Value::Array(_) => self.json(&format!("{path}[{i}]"), item),
                        _ => self.put(format!("{path}[{text}]"), "listed"),
                    }
                }
            }
            scalar => self.put(path, scalar),
        }
    }
}

impl fmt::Debug for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(&self.fields).finish()
    }
}

fn is_moment(name: &str) -> bool {
    MOMENTS.contains(&name)
}

/// A value without its moments, to be put in an order that is the same on both sides.
fn settled(value: &Value) -> Value {
    match value {
        Value::Object(fields) => {
            let kept = fields.iter().filter(|(name, _)| !is_moment(name));
            Value::Object(kept.map(|(name, field)| (name.clone(), settled(field))).collect())
        }
        Value::Array(items) => Value::Array(items.iter().map(settled).collect()),
        scalar => scalar.clone(),
    }
}

/// Puts a name where an address stands, not where a longer port begins like its port.
fn hide_address(text: &str, addr: &str, name: &str) -> String {
    let mut hidden = String::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once(addr) {
        let is_whole = !after.starts_with(|next: char| next.is_ascii_digit());
        hidden.push_str(before);
        hidden.push_str(if is_whole { name } else { addr });
        rest = after;
    }
    hidden + rest
}

/// Message ids hold the address and position of a server: what counts is that they are ids.
fn hide_ids(value: &str) -> String {
    let ids = value.split(',').map(|part| match decode_offset_id(part) {
        Some((addr, _)) => format!("<id at {}>", addr.ip()),
        None => part.to_owned(),
    });
    ids.collect::<Vec<String>>().join(",")
}

/// Whether a path is the pattern, part by part; `*` is any one part.
fn matches(pattern: &str, path: &str) -> bool {
    let (mut wanted, mut parts) = (pattern.split('.'), path.split('.'));
    loop {
        match (wanted.next(), parts.next()) {
            (None, None) => return true,
            (Some(a), Some(b)) if a == "*" || a == b => {}
            _ => return false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;
    use wire::code::ResponseCode;

    fn answer(body: &'static str) -> Answer {
        let frame = Frame::reply(7, ResponseCode::SUCCESS).with_body(Bytes::from_static(body.as_bytes()));
        Answer::of(&frame, false, hidden(&[]))
    }

    fn hidden(names: &[(&str, &str)]) -> Addresses {
        let names = names.iter();
        names
            .map(|(addr, name)| ((*addr).to_owned(), (*name).to_owned()))
            .collect()
    }

    #[test]
    fn neither_ports_nor_moments_decide_the_order_of_a_list() {
        let list = |a: &str, b: &str| {
            let body =
                format!(r#"[{{"addr":"{a}","timestamp":9,"id":1}},{{"addr":"{b}","timestamp":8,"id":2}}]"#);
            let frame = Frame::reply(7, ResponseCode::SUCCESS).with_body(Bytes::from(body));
            Answer::of(&frame, false, hidden(&[(a, "<one>"), (b, "<two>")]))
        };
        let found = list("h:10", "h:101").differences(&list("h:999", "h:10"), &[]);
        assert_eq!(found, [""; 0]);
    }

    #[test]
    fn json_that_means_the_same_in_another_order_is_the_same() {
        let (a, b) = (
            answer(r#"{"x":[1,2],"y":{"z":"q"}}"#),
            answer(r#"{"y":{"z":"q"},"x":[2,1]}"#),
        );
        assert!(a.differences(&b, &[]).is_empty());
    }

    #[test]
    fn a_number_where_the_reference_has_a_text_is_a_difference() {
        let found = answer(r#"{"x":1}"#).differences(&answer(r#"{"x":"1"}"#), &[]);
        assert_eq!(found, [r#"body.x: reference 1, barque "1""#]);
    }

    #[test]
    fn the_dialect_counts() {
        let found = answer(r#"{0:"a"}"#).differences(&answer(r#"{"0":"a"}"#), &[]);
        assert_eq!(found, ["body.dialect: reference fastjson, barque standard"]);
    }

    #[test]
    fn an_ignored_field_must_still_be_there() {
        let (a, b, c) = (answer(r#"{"x":1}"#), answer(r#"{"x":2}"#), answer("{}"));
        assert!(a.differences(&b, &["body.*"]).is_empty());
        assert!(!a.differences(&c, &["body.*"]).is_empty());
    }
}
