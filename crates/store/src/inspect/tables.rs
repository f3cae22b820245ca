// SPDX-License-Identifier: Apache-2.0
//! Looking at what stands beside the messages: tables in `config/`, and the journals.

use std::io;
use std::path::{Path, PathBuf};

use wire::fastjson;

use super::view::View;
use super::{Finding, Mend};
use crate::disk::backup_of;
use crate::journal;

/// Whether a table is one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum State {
    Missing,
    Sound,
    Damaged,
}

/// Tables, by the path of the file, with the state of it and of its backup.
pub(super) fn tables(view: &View) -> io::Result<Vec<(PathBuf, State, State)>> {
    let dir = view.config.root.join("config");
    let mut names: Vec<String> = view
        .disk
        .list(&dir)?
        .into_iter()
        .map(|entry| entry.name)
        .collect();
    for name in &mut names {
        if let Some(cut) = name.strip_suffix(".bak") {
            *name = cut.to_owned();
        }
    }
    names.retain(|name| name.ends_with(".json"));
    names.sort_unstable();
    names.dedup();
    let of = |name: String| {
        let path = dir.join(name);
        let backup = backup_of(&path);
        Ok((path.clone(), state(view, &path)?, state(view, &backup)?))
    };
    names.into_iter().map(of).collect()
}

fn state(view: &View, path: &Path) -> io::Result<State> {
    let bytes = view.disk.load(path)?.filter(|bytes| !bytes.is_empty());
    Ok(match bytes.as_deref().map(fastjson::check) {
        None => State::Missing,
        Some(Ok(())) => State::Sound,
        Some(Err(_)) => State::Damaged,
    })
}

pub(super) fn check(view: &mut View) -> io::Result<()> {
    for (file, own, backup) in tables(view)? {
        view.totals.tables += 1;
        let (what, lost, mend) = match (own, backup) {
            (State::Sound, State::Damaged) => ("its backup is damaged", "nothing", Mend::Repair),
            (State::Sound, _) => continue,
            (State::Damaged, State::Sound) => (
                "is damaged; its backup is whole",
                "what changed since the backup and is in no journal",
                Mend::Repair,
            ),
            (State::Missing, State::Sound) => (
                "is missing or empty; its backup is whole",
                "what changed since the backup and is in no journal",
                Mend::Repair,
            ),
            _ => (
                "is damaged, and no backup is whole: a broker does not start with it",
                "what it says; put aside, it is made anew as far as the rest of the store tells",
                Mend::Repair,
            ),
        };
        view.findings.push(Finding {
            kind: "table",
            file,
            at: None,
            what: what.to_owned(),
            lost: lost.to_owned(),
            mend,
        });
    }
    journals(view)
}

fn journals(view: &mut View) -> io::Result<()> {
    let config = view.config.root.join("config");
    let mut dirs: Vec<PathBuf> = view
        .disk
        .list(&config)?
        .into_iter()
        .filter(|entry| entry.is_dir && entry.name.ends_with(".journal"))
        .map(|entry| config.join(entry.name))
        .collect();
    dirs.push(view.config.root.join("barque-pop"));
    dirs.sort_unstable();
    for dir in dirs {
        let files = journal::read_through(&*view.disk, &dir)?;
        view.totals.tables += u64::from(!files.is_empty());
        for (file, good, len) in files {
            // The end of the newest file is what a killed broker was writing.
            if good < len {
                view.findings.push(Finding {
                    kind: "journal",
                    file,
                    at: Some(good),
                    what: format!("{} bytes at its end cannot be read", len - good),
                    lost: "changes since its table was written".to_owned(),
                    mend: Mend::Start,
                });
            }
        }
    }
    Ok(())
}
