// SPDX-License-Identifier: Apache-2.0
//! What is damaged: every class of bytes of every kind of file of a store, flipped, zeroed, overwritten, cut and deleted. Which
//! bits and which records follows from the seed.
#![expect(clippy::disallowed_methods, reason = "a stopped server left real files")]

use super::fill::{Filled, Sent};
use super::log::{Place, files};
use crate::dice::Dice;
use anyhow::{Context as _, ensure};
use std::fs::OpenOptions;
use std::io::{Read as _, Seek as _, SeekFrom, Write as _};
use std::ops::Range;
use std::path::{Path, PathBuf};

/// What becomes of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum What {
    /// These bits of a byte.
    Flip(u64, u8),
    Zero(u64, u64),
    /// So many bytes of something else.
    Noise(u64, u64),
    /// So many bytes are left.
    Cut(u64),
    /// The file, or the whole directory.
    Delete,
}

/// A file below the store, or a directory.
#[derive(Debug, Clone)]
pub(super) struct Harm {
    pub(super) path: PathBuf,
    pub(super) what: What,
}

/// One store that is damaged.
#[derive(Debug, Clone)]
pub(super) struct Case {
    /// The row of the table.
    pub(super) class: String,
    pub(super) harms: Vec<Harm>,
}

impl Case {
    fn one(class: impl Into<String>, path: impl Into<PathBuf>, what: What) -> Case {
        Case {
            class: class.into(),
            harms: vec![Harm {
                path: path.into(),
                what,
            }],
        }
    }
}

const PAGE: u64 = 4096;
/// Tables, whoever keeps them.
const TABLES: [&str; 4] = ["topics", "subscriptionGroup", "consumerOffset", "delayOffset"];

/// All cases of a store.
pub(super) fn cases(filled: &Filled, dice: &mut Dice) -> anyhow::Result<Vec<Case>> {
    let mut all = records(filled, dice)?;
    all.extend(log_files(filled)?);
    all.extend(derived(&filled.root, dice)?);
    all.extend(tables(&filled.root, dice)?);
    Ok(all)
}

/// The fields of a record, and where they begin.
fn fields(place: &Place) -> Vec<(&'static str, u64)> {
    let topic = 88 + place.body;
    let properties = topic + 1 + place.topic.len() as u64;
    vec![
        ("size", 0),
        ("magic", 4),
        ("CRC", 8),
        ("queue id", 12),
        ("flag", 16),
        ("queue offset", 20),
        ("position", 28),
        ("system flag", 36),
        ("time of birth", 40),
        ("host of birth", 48),
        ("time of storing", 56),
        ("host of storing", 64),
        ("retries", 72),
        ("half position", 76),
        ("body size", 84),
        ("body", 88),
        ("topic size", topic),
        ("topic", topic + 1),
        ("properties size", properties),
        ("properties", properties + 2),
    ]
}

/// One of an older file, of one in the middle, and the newest.
fn victims(filled: &Filled) -> anyhow::Result<[Sent; 3]> {
    let plain: Vec<&Sent> = filled.sent.values().filter(|sent| !sent.is_far()).collect();
    let newest = filled.records.last().context("an empty log")?.clone();
    let first = (*plain.first().context("nothing was sent")?).clone();
    let middle = (*plain.get(plain.len() / 2).context("too little was sent")?).clone();
    let last = Sent {
        place: newest,
        ..first.clone()
    };
    Ok([first, middle, last])
}

fn in_log(place: &Place) -> PathBuf {
    Path::new("commitlog").join(&place.file)
}

/// Fields of records, whole records, whole pages.
fn records(filled: &Filled, dice: &mut Dice) -> anyhow::Result<Vec<Case>> {
    let mut all = Vec::new();
    for (age, sent) in ["old", "middle", "newest"].into_iter().zip(victims(filled)?) {
        let place = &sent.place;
        let (path, begin) = (in_log(place), place.pos - place.file_pos);
        let fields = fields(place);
        for (number, (field, at)) in fields.iter().enumerate() {
            let end = fields.get(number + 1).map_or(place.size, |(_, next)| *next);
            // The body of a size in bytes: a wrong one in a high byte, a low one, or between.
            let at = begin + at + dice.below((end - at) as usize) as u64;
            all.push(Case::one(
                format!("{age} record: {field} flipped"),
                &path,
                What::Flip(at, 1 << dice.below(8)),
            ));
        }
        let size = place.size;
        all.push(Case::one(
            format!("{age} record: zeroed"),
            &path,
            What::Zero(begin, size),
        ));
        all.push(Case::one(
            format!("{age} record: other bytes"),
            &path,
            What::Noise(begin, size),
        ));
        let page = begin / PAGE * PAGE;
        all.push(Case::one(
            format!("{age} page of the log: zeroed"),
            &path,
            What::Zero(page, PAGE),
        ));
        all.push(Case::one(
            format!("{age} page of the log: other bytes"),
            &path,
            What::Noise(page, PAGE),
        ));
    }
    Ok(all)
}

fn log_files(filled: &Filled) -> anyhow::Result<Vec<Case>> {
    let files = files(&filled.root.join("commitlog"))?;
    let written: Vec<&Place> = files
        .iter()
        .filter_map(|file| {
            let name = file.file_name()?.to_string_lossy().into_owned();
            filled.records.iter().rev().find(|place| place.file == name)
        })
        .collect();
    ensure!(written.len() > 3, "the log has only {} files", written.len());
    let mut all = Vec::new();
    let some = [
        ("first", 0),
        ("middle", written.len() / 2),
        ("newest", written.len() - 1),
    ];
    for (age, place) in some
        .into_iter()
        .filter_map(|(age, at)| Some((age, *written.get(at)?)))
    {
        let path = in_log(place);
        let end = place.pos + place.size - place.file_pos;
        let last = place.pos - place.file_pos;
        let name = |how: &str| format!("{age} file of the log: {how}");
        all.push(Case::one(name("deleted"), &path, What::Delete));
        all.push(Case::one(name("empty"), &path, What::Cut(0)));
        all.push(Case::one(name("cut in the middle"), &path, What::Cut(end / 2)));
        all.push(Case::one(
            name("cut in its last record"),
            &path,
            What::Cut(last + 20),
        ));
        all.push(Case::one(name("zeroed"), &path, What::Zero(0, end)));
        all.push(Case::one(
            name("zeroed from its last record on"),
            &path,
            What::Zero(last, PAGE),
        ));
        all.push(Case::one(
            name("other bytes behind its end"),
            &path,
            What::Noise(end, 64),
        ));
    }
    all.push(Case::one("the log: deleted", "commitlog", What::Delete));
    Ok(all)
}

/// What is made of the log, and what timers and pops keep.
fn derived(root: &Path, dice: &mut Dice) -> anyhow::Result<Vec<Case>> {
    let mut all = Vec::new();
    for (what, dir) in [
        ("queue", "consumequeue/Orders/0"),
        ("queue of delays", "consumequeue/SCHEDULE_TOPIC_XXXX/1"),
        ("queue of timers", "consumequeue/rmq_sys_wheel_timer/0"),
        ("compact queues", "barque-queues"),
        ("index", "index"),
        ("timer log", "timerlog"),
        ("pop journal", "barque-pop"),
        ("journal of offsets", "config/consumerOffset.journal"),
    ] {
        let found = files(&root.join(dir)).unwrap_or_default();
        let Some(last) = found.len().checked_sub(1) else {
            continue;
        };
        let mut at = vec![("first", 0), ("middle", found.len() / 2), ("newest", last)];
        at.dedup_by_key(|(_, at)| *at);
        for (age, path) in at.into_iter().filter_map(|(age, at)| Some((age, found.get(at)?))) {
            all.extend(file(
                root,
                path,
                (&format!("{age} file of the {what}"), what),
                dice,
            )?);
        }
    }
    for dir in [
        "consumequeue/Orders/0",
        "consumequeue/Orders",
        "consumequeue",
        "barque-queues",
        "index",
        "timerlog",
    ] {
        if root.join(dir).exists() {
            all.push(Case::one(format!("directory {dir}: deleted"), dir, What::Delete));
        }
    }
    for name in ["checkpoint", "timerwheel", "config/timercheck", "barque-reached"] {
        let path = root.join(name);
        if path.exists() {
            all.extend(file(root, &path, (name, name), dice)?);
        }
    }
    Ok(all)
}

/// Everything that can be done to one file.
fn file(root: &Path, path: &Path, (name, kind): (&str, &str), dice: &mut Dice) -> anyhow::Result<Vec<Case>> {
    let short = path.strip_prefix(root)?.to_path_buf();
    let len = path.metadata()?.len();
    let used = used(path)?;
    let mut all = vec![
        Case::one(format!("{name}: deleted"), &short, What::Delete),
        Case::one(format!("{name}: empty"), &short, What::Cut(0)),
    ];
    if used.end > used.start {
        let size = used.end - used.start;
        let inside = used.start + dice.below(size as usize) as u64;
        let flips = [
            ("first byte", used.start),
            ("some byte", inside),
            ("last byte", used.end - 1),
        ];
        for (which, at) in flips {
            all.push(Case::one(
                format!("{name}: {which} flipped"),
                &short,
                What::Flip(at, 1 << dice.below(8)),
            ));
        }
        if kind == "queue" {
            let entry = used.start + size / 40 * 20;
            for (field, at) in [("position", 4), ("size", 11), ("tag", 17)] {
                let what = What::Flip(entry + at, 1 << dice.below(8));
                all.push(Case::one(
                    format!("{name}: {field} of an entry flipped"),
                    &short,
                    what,
                ));
            }
        }
        let (middle, half) = (used.start + size / 2, (size / 2).clamp(1, PAGE));
        all.push(Case::one(
            format!("{name}: zeroed in the middle"),
            &short,
            What::Zero(middle, half),
        ));
        all.push(Case::one(
            format!("{name}: zeroed"),
            &short,
            What::Zero(used.start, size),
        ));
        all.push(Case::one(
            format!("{name}: other bytes"),
            &short,
            What::Noise(used.start, size.min(PAGE)),
        ));
        all.push(Case::one(
            format!("{name}: cut"),
            &short,
            What::Cut(middle.min(len)),
        ));
    }
    Ok(all)
}

/// Tables, alone and with their backups.
fn tables(root: &Path, dice: &mut Dice) -> anyhow::Result<Vec<Case>> {
    let mut all = Vec::new();
    for name in TABLES {
        let path = PathBuf::from(format!("config/{name}.json"));
        let backup = PathBuf::from(format!("config/{name}.json.bak"));
        let Ok(meta) = root.join(&path).metadata() else {
            continue;
        };
        let has_backup = root.join(&backup).exists();
        let at = dice.below(meta.len().max(1) as usize) as u64;
        for (how, what) in [
            ("first byte flipped", What::Flip(0, 4)),
            ("some byte flipped", What::Flip(at, 1 << dice.below(8))),
            ("zeroed", What::Zero(0, meta.len())),
            ("cut", What::Cut(meta.len() / 2)),
            ("empty", What::Cut(0)),
            ("deleted", What::Delete),
        ] {
            let alone = Case::one(format!("{name}.json: {how}"), &path, what);
            let mut both = alone.clone();
            both.class = format!("{name}.json and .bak: {how}");
            all.push(alone);
            if has_backup {
                both.harms.push(Harm {
                    path: backup.clone(),
                    what,
                });
            }
            all.push(both);
        }
        if has_backup {
            all.push(Case::one(
                format!("{name}.json.bak: deleted"),
                &backup,
                What::Delete,
            ));
        }
    }
    Ok(all)
}

/// From the first byte that is not zero to behind the last.
fn used(path: &Path) -> anyhow::Result<Range<u64>> {
    let bytes = std::fs::read(path)?;
    let first = bytes.iter().position(|byte| *byte != 0).unwrap_or(0);
    let end = bytes
        .iter()
        .rposition(|byte| *byte != 0)
        .map_or(0, |last| last + 1);
    Ok(first as u64..end as u64)
}

/// Does it. `false` if it changes nothing.
pub(super) fn inflict(root: &Path, harm: &Harm) -> anyhow::Result<bool> {
    let path = root.join(&harm.path);
    let (at, len) = match harm.what {
        What::Delete if path.is_dir() => {
            std::fs::remove_dir_all(&path)?;
            return Ok(true);
        }
        What::Delete if !path.exists() => return Ok(false),
        What::Delete => {
            std::fs::remove_file(&path)?;
            return Ok(true);
        }
        What::Cut(len) => {
            let file = OpenOptions::new().write(true).open(&path)?;
            let is_change = file.metadata()?.len() > len;
            if is_change {
                file.set_len(len)?;
            }
            return Ok(is_change);
        }
        What::Flip(at, _) => (at, 1),
        What::Zero(at, len) | What::Noise(at, len) => (at, len),
    };
    let mut file = OpenOptions::new().read(true).write(true).open(&path)?;
    let len = len.min(file.metadata()?.len().saturating_sub(at));
    let mut before = vec![0; usize::try_from(len)?];
    file.seek(SeekFrom::Start(at))?;
    file.read_exact(&mut before)?;
    let after: Vec<u8> = match harm.what {
        What::Flip(_, bits) => before.iter().map(|byte| byte ^ bits).collect(),
        What::Noise(..) => (0..len)
            .map(|i| (i.wrapping_mul(167) >> 3) as u8 ^ 0xa5)
            .collect(),
        _ => vec![0; before.len()],
    };
    file.seek(SeekFrom::Start(at))?;
    file.write_all(&after)?;
    Ok(before != after)
}

/// What of the log a case touches, as positions.
pub(super) fn touched(filled: &Filled, case: &Case) -> Vec<Range<u64>> {
    let mut all = Vec::new();
    for harm in &case.harms {
        let mut parts = harm
            .path
            .components()
            .map(|part| part.as_os_str().to_string_lossy());
        if parts.next().as_deref() != Some("commitlog") {
            continue;
        }
        let Some(begin) = parts.next().and_then(|name| name.parse::<u64>().ok()) else {
            all.push(0..u64::MAX);
            continue;
        };
        let next = filled
            .records
            .iter()
            .map(|place| place.file_pos)
            .find(|pos| *pos > begin);
        let end = next.unwrap_or(u64::MAX);
        all.push(match harm.what {
            What::Flip(at, _) => begin + at..begin + at + 1,
            What::Zero(at, len) | What::Noise(at, len) => begin + at..begin + at + len,
            What::Cut(len) => begin + len..end,
            What::Delete => begin..end,
        });
    }
    all
}
