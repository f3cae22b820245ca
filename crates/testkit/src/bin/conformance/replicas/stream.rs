// SPDX-License-Identifier: Apache-2.0
//! The official client that goes on through failures, and what it noted.

use super::logs::Log;
use crate::clients::java_program;
use anyhow::{Context as _, bail, ensure};
use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::{BufRead as _, BufReader, Seek as _, SeekFrom};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};
use testkit::process::{Process, eventually};

const BEGINS_WITHIN: Duration = Duration::from_secs(120);
const ENDS_WITHIN: Duration = Duration::from_secs(120);
pub(super) const SEND_OK: &str = "SEND_OK";

/// A message that was stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Sent {
    pub(super) at_ms: u64,
    pub(super) status: String,
    pub(super) queue: u32,
    pub(super) number: u64,
    pub(super) position: u64,
    pub(super) crc: u32,
}

/// What was noted so far.
#[derive(Debug, Default)]
pub(super) struct Notes {
    pub(super) sent: Vec<Sent>,
    /// When a send failed.
    pub(super) errors: Vec<(u64, String)>,
    /// Queue and number, in the order in which they were read.
    pub(super) got: Vec<(u32, u64)>,
    /// Keys of delayed messages that were stored, and of those that were read.
    pub(super) laid: BTreeSet<String>,
    pub(super) late: BTreeSet<String>,
    read_to: u64,
}

/// The client.
pub(super) struct Stream {
    process: Process,
    dir: PathBuf,
    pub(super) notes: Notes,
}

impl Stream {
    pub(super) fn start(
        classes: &str,
        nameserver: SocketAddr,
        dir: &Path,
        more: &[&str],
    ) -> anyhow::Result<Stream> {
        std::fs::create_dir_all(dir)?;
        let mut java = java_program(classes, dir);
        java.arg("conformance.Main").arg(nameserver.to_string());
        java.arg("stream").arg(dir).args(more);
        let mut stream = Stream {
            process: Process::start("stream", dir, java)?,
            dir: dir.to_path_buf(),
            notes: Notes::default(),
        };
        stream.until("the first messages", BEGINS_WITHIN, |notes| notes.sent.len() > 50)?;
        Ok(stream)
    }

    /// Waits until its notes say something.
    pub(super) fn until(
        &mut self,
        what: &str,
        within: Duration,
        mut holds: impl FnMut(&Notes) -> bool,
    ) -> anyhow::Result<()> {
        let Stream { process, dir, notes } = self;
        eventually(what, within, || {
            ensure!(
                process.is_running()?,
                "the client has ended; {}",
                process.last_words()
            );
            notes.read(&dir.join("notes"))?;
            Ok(holds(notes))
        })
    }

    /// Waits until so many more are acknowledged without reservation.
    pub(super) fn flows(&mut self, more: usize, within: Duration) -> anyhow::Result<()> {
        self.look()?;
        let before = self.notes.kept();
        let flowed = self.until("messages that are acknowledged", within, |notes| {
            notes.kept() >= before + more
        });
        flowed.with_context(|| self.notes.summary())
    }

    /// Waits until nothing was sent for so long.
    pub(super) fn is_quiet(&mut self, long: Duration, within: Duration) -> anyhow::Result<()> {
        let (mut count, mut since) = (0, Instant::now());
        self.until("quiet", within, |notes| {
            if notes.sent.len() != count {
                (count, since) = (notes.sent.len(), Instant::now());
            }
            since.elapsed() >= long
        })
    }

    /// Reads the newest notes.
    pub(super) fn look(&mut self) -> anyhow::Result<&Notes> {
        self.notes.read(&self.dir.join("notes"))?;
        Ok(&self.notes)
    }

    /// No more is sent; what it reads goes on.
    pub(super) fn stop_sending(&mut self) -> anyhow::Result<()> {
        File::create_new(self.dir.join("stop"))?;
        Ok(())
    }

    /// Ends it.
    pub(super) fn end(mut self) -> anyhow::Result<Notes> {
        if !self.dir.join("stop").exists() {
            self.stop_sending()?;
        }
        File::create_new(self.dir.join("stop-reading"))?;
        let status = self.process.finish(ENDS_WITHIN)?;
        self.look()?;
        ensure!(status.success(), "{}", self.process.last_words());
        Ok(self.notes)
    }
}

impl Notes {
    fn read(&mut self, file: &Path) -> anyhow::Result<()> {
        if !file.exists() {
            return Ok(());
        }
        let mut file = BufReader::new(File::options().read(true).open(file)?);
        file.seek(SeekFrom::Start(self.read_to))?;
        let mut line = String::new();
        while file.read_line(&mut line)? > 0 && line.ends_with('\n') {
            self.note(line.trim_end()).with_context(|| line.clone())?;
            self.read_to += line.len() as u64;
            line.clear();
        }
        Ok(())
    }

    fn note(&mut self, line: &str) -> anyhow::Result<()> {
        let words: Vec<&str> = line.split(' ').collect();
        match *words.as_slice() {
            ["sent", at, status, queue, number, position, crc] => self.sent.push(Sent {
                at_ms: at.parse()?,
                status: status.to_owned(),
                queue: queue.parse()?,
                number: number.parse()?,
                position: position.parse()?,
                crc: crc.parse()?,
            }),
            ["error", at, _, why] => self.errors.push((at.parse()?, why.to_owned())),
            ["got", _, queue, _, number] => self.got.push((queue.parse()?, number.parse()?)),
            ["laid", _, key] => self.laid.extend([key.to_owned()]),
            ["late", _, key] => self.late.extend([key.to_owned()]),
            _ => bail!("a note that is none"),
        }
        Ok(())
    }

    /// How many are acknowledged without reservation.
    pub(super) fn kept(&self) -> usize {
        self.sent.iter().filter(|sent| sent.status == SEND_OK).count()
    }

    /// How many of each status, and how many failed.
    pub(super) fn summary(&self) -> String {
        let mut counts = BTreeMap::new();
        for sent in &self.sent {
            *counts.entry(sent.status.as_str()).or_insert(0) += 1;
        }
        *counts.entry("errors").or_insert(0) += self.errors.len();
        format!("{counts:?}")
    }

    /// Looks for each message that was acknowledged without reservation, from one of the notes on, in two logs. Returns how
    /// many there are.
    pub(super) fn check(&self, from: usize, dirs: [&Path; 2]) -> anyhow::Result<usize> {
        let kept = || self.sent.iter().skip(from).filter(|sent| sent.status == SEND_OK);
        let Some(first) = kept().map(|sent| sent.position).min() else {
            return Ok(0);
        };
        let logs = [Log::read(dirs[0], first)?, Log::read(dirs[1], first)?];
        let (mut missing, mut count) = (Vec::new(), 0);
        for sent in kept() {
            count += 1;
            let [one, two] = [logs[0].record(sent.position), logs[1].record(sent.position)];
            let is_it = |head: &wire::record::RecordHead<'_>| {
                head.check_body().is_ok()
                    && head.parts.body_crc == sent.crc & 0x7fff_ffff
                    && head.parts.queue_id == sent.queue
            };
            match (one, two) {
                (Some((a, head)), Some((b, _))) if a == b && is_it(&head) => {}
                (one, two) => missing.push(format!("{sent:?}: {} {}", one.is_some(), two.is_some())),
            }
        }
        ensure!(
            missing.is_empty(),
            "{} of {count} acknowledged messages are not in both logs, which end at {} and {}; the first: {:?}",
            missing.len(),
            logs[0].end(),
            logs[1].end(),
            missing.iter().take(3).collect::<Vec<_>>()
        );
        Ok(count)
    }

    /// Whether every message that was stored was read, and those of a queue in their order, apart from repetitions.
    pub(super) fn check_reading(&self) -> anyhow::Result<()> {
        let (mut newest, mut seen) = (BTreeMap::new(), BTreeSet::new());
        for (queue, number) in &self.got {
            if !seen.insert((*queue, *number)) {
                continue;
            }
            if let Some(before) = newest.insert(*queue, *number) {
                ensure!(
                    before < *number,
                    "in queue {queue} {number} was read behind {before}"
                );
            }
        }
        self.check_all_read()
    }

    /// Whether every message that was stored was read, in whatever order: there may be several queues of a number.
    pub(super) fn check_all_read(&self) -> anyhow::Result<()> {
        let seen: BTreeSet<_> = self.got.iter().copied().collect();
        let lost: Vec<_> = self
            .sent
            .iter()
            .filter(|s| !seen.contains(&(s.queue, s.number)))
            .collect();
        ensure!(
            lost.is_empty(),
            "{} of {} stored messages were not read; the first: {:?}",
            lost.len(),
            self.sent.len(),
            lost.first()
        );
        let lost: Vec<_> = self.laid.difference(&self.late).collect();
        ensure!(
            lost.is_empty(),
            "{} of {} delayed messages were not delivered; the first: {:?}",
            lost.len(),
            self.laid.len(),
            lost.first()
        );
        Ok(())
    }
}
