// SPDX-License-Identifier: Apache-2.0
//! Map files: a static topic as it was, and as it is to be, in the reference's format. They are named after the topic, whose name
//! was checked, and the epoch; with one of them a change is carried on, or taken back.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize, Serializer};
use wire::{Str, fastjson};

use super::check;
use super::layout::{Layout, Part, PartText};
use super::plan::Moved;
use crate::failure::Failure;
use crate::files;
use crate::hash_order::hash_map;

/// Kinds of changes.
const CHANGED: &str = "CREATE_OR_UPDATE";
const MOVED: &str = "REMAPPING";

/// What is in a map file.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct MapFile {
    #[serde(serialize_with = "in_order")]
    broker_config_map: BTreeMap<Str, PartText>,
    broker_to_map_in: Vec<Str>,
    broker_to_map_out: Vec<Str>,
    epoch: i64,
    topic: Str,
    #[serde(rename = "type")]
    kind: Str,
}

fn in_order<S: Serializer>(parts: &BTreeMap<Str, PartText>, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_map(hash_map(parts, |(broker, _)| broker))
}

/// Before or after a change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum When {
    Before,
    After,
}

impl MapFile {
    /// Of a topic that stays where it is.
    pub(super) fn of(topic: &str, parts: &Layout, epoch: i64) -> MapFile {
        let texts = parts.iter().map(|(broker, part)| (broker.clone(), part.text()));
        MapFile {
            broker_config_map: texts.collect(),
            epoch,
            topic: topic.into(),
            kind: CHANGED.into(),
            ..MapFile::default()
        }
    }

    /// Of a topic that moves.
    pub(super) fn of_move(topic: &str, moved: &Moved) -> MapFile {
        let names = |brokers: &BTreeSet<Str>| hash_map(brokers.iter().cloned(), |broker| broker);
        MapFile {
            broker_to_map_in: names(&moved.into),
            broker_to_map_out: names(&moved.out_of),
            kind: MOVED.into(),
            ..MapFile::of(topic, &moved.parts, epoch_of(&moved.parts))
        }
    }

    /// Writes it into the folder for temporary files, and returns where.
    pub(super) fn save(&self, when: When) -> Result<String, Failure> {
        let suffix = match when {
            When::Before => "before",
            When::After => "after",
        };
        let path = std::env::temp_dir().join(format!("{}-{}.{suffix}", self.topic, self.epoch));
        let written = files::write_new(&path, &fastjson::to_vec(self));
        written.map_err(|error| {
            Failure::Other(format!(
                "the map file {} cannot be written: {error}; nothing was changed; name a folder of your own with TMPDIR",
                path.display()
            ))
        })?;
        Ok(path.display().to_string())
    }

    /// Reads one that is to be carried out for this topic.
    pub(super) fn read(path: &str, topic: &str) -> Result<Moved, Failure> {
        let wrong = |why: &str| Failure::Usage(format!("the map file {path} cannot be carried out: {why}"));
        let file: MapFile =
            fastjson::from_slice(&files::read(path)?).map_err(|error| wrong(&error.to_string()))?;
        file.checked(topic).map_err(|why| wrong(&why))
    }

    fn checked(self, topic: &str) -> Result<Moved, String> {
        let mut parts = Layout::new();
        for (broker, text) in self.broker_config_map {
            let part = Part::read(text).ok_or_else(|| format!("it has no mappingDetail of {broker}"))?;
            parts.insert(broker, part);
        }
        if parts.is_empty() {
            return Err("it names no broker; the topic did not exist then".to_owned());
        }
        check::all(topic, &parts)?;
        let moved = Moved {
            into: self.broker_to_map_in.into_iter().collect(),
            out_of: self.broker_to_map_out.into_iter().collect(),
            parts,
        };
        match moved
            .into
            .union(&moved.out_of)
            .find(|broker| !moved.parts.contains_key(*broker))
        {
            Some(broker) => Err(format!("it does not say what {broker} is to have")),
            None => Ok(moved),
        }
    }
}

/// The epoch that all parts have.
pub(super) fn epoch_of(parts: &Layout) -> i64 {
    parts.values().next().map_or(0, |part| part.mapping.epoch)
}

#[cfg(test)]
mod tests {
    use super::super::layout::tests::layout;
    use super::super::plan;
    use super::*;

    /// What the tool of the reference wrote when it moved the queues of a topic from one broker to another.
    const RECORDED: &str = include_str!("recorded/moved.after");

    #[test]
    fn map_files_are_those_of_the_reference() {
        let file: MapFile = fastjson::from_str(RECORDED).unwrap();
        assert_eq!(fastjson::to_string(&file), RECORDED);
        let moved = file.checked("STAT").unwrap();
        assert_eq!(moved.parts["second"].written(), [0, 1]);
        assert_eq!(fastjson::to_string(&MapFile::of_move("STAT", &moved)), RECORDED);
        let none = MapFile::of("STAT", &Layout::new(), 5);
        assert_eq!(
            fastjson::to_string(&none),
            r#"{"brokerConfigMap":{},"brokerToMapIn":[],"brokerToMapOut":[],"epoch":5,"topic":"STAT","type":"CREATE_OR_UPDATE"}"#
        );
    }

    /// Target brokers, the map file before, and the one that the tool of the reference wrote after; one move a line.
    const SPREAD: &str = include_str!("recorded/spread.txt");

    #[test]
    fn queues_move_where_the_reference_moves_them() {
        for line in SPREAD.lines() {
            let mut columns = line.split('\t');
            let mut column = || columns.next().unwrap();
            let targets = column().split(',').map(Str::from).collect();
            let before: MapFile = fastjson::from_str(column()).unwrap();
            let known = before.checked("T").unwrap().parts;
            let after: MapFile = fastjson::from_str(column()).unwrap();
            let moved = plan::spread("T", &targets, known, after.epoch).unwrap();
            let ours = MapFile::of_move("T", &moved);
            assert_eq!(fastjson::to_string(&ours), fastjson::to_string(&after));
        }
    }

    #[test]
    fn a_file_that_makes_no_sense_is_refused() {
        let read = |change: fn(&mut MapFile)| {
            let moved = plan::spread("T", &["b".into()].into(), layout(&["a", "a"]), 5_000).unwrap();
            let mut file = MapFile::of_move("T", &moved);
            change(&mut file);
            file.checked("T").err().unwrap_or_default()
        };
        assert_eq!(read(|_| {}), "");
        assert!(read(|file| file.broker_config_map.clear()).contains("names no broker"));
        assert!(read(|file| file.broker_to_map_in.push("c".into())).contains("what c is to have"));
        let broken = read(|file| drop(file.broker_config_map.insert("c".into(), PartText::default())));
        assert!(broken.contains("no mappingDetail of c"), "{broken}");
        let of_another = MapFile::of("T", &layout(&["a"]), 1).checked("U").err().unwrap();
        assert!(of_another.contains("not 'U'"), "{of_another}");
    }
}
