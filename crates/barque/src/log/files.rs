// SPDX-License-Identifier: Apache-2.0
//! A log file that rolls: when it is full it is compressed into `otherdays`, where the oldest goes.
//!
//! Lines wait for their thread in a queue of bounded length and size, so that a slow disk stops no request; what finds no room is counted and told.
//! A disk that refuses a line loses it: logging never ends the program.

use flate2::Compression;
use flate2::write::GzEncoder;
use std::fs::{self, File, OpenOptions};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, TryRecvError, sync_channel};
use std::thread::{Builder, JoinHandle};
use tracing_subscriber::fmt::MakeWriter;

/// Lines that wait to be written.
const WAITING_MAX: usize = 8_192;
/// And how many bytes these may be.
const WAITING_BYTES_MAX: usize = 8 << 20;
/// The directory of the files that were full.
const OLDER: &str = "otherdays";

/// How much is kept.
#[derive(Debug, Clone, Copy)]
pub(super) struct Bounds {
    /// Bytes of a file, from which on it rolls.
    pub(super) bytes: u64,
    /// Files that were full.
    pub(super) older: u32,
}

enum Message {
    Line(Vec<u8>),
    End,
}

/// A log file and the thread that writes it.
pub(super) struct Lines {
    writer: LineWriter,
    thread: JoinHandle<()>,
}

/// Where events go: each is one write.
#[derive(Clone)]
pub(super) struct LineWriter {
    queue: SyncSender<Message>,
    shared: Arc<Shared>,
}

/// What writers and their thread know of each other.
#[derive(Default)]
struct Shared {
    /// Lines that found no room and were not told of yet.
    lost: AtomicU64,
    /// Bytes of the lines that wait.
    waiting: AtomicUsize,
}

impl Lines {
    /// Opens `dir/name.log` to append to it.
    pub(super) fn open(dir: &Path, name: &str, bounds: Bounds) -> io::Result<Lines> {
        let roll = Roll::open(dir, name, bounds)?;
        let (queue, waiting) = sync_channel(WAITING_MAX);
        let shared = Arc::new(Shared::default());
        let counted = Arc::clone(&shared);
        let thread = Builder::new()
            .name(format!("log-{name}"))
            .spawn(move || run(roll, &waiting, &counted))?;
        Ok(Lines {
            writer: LineWriter { queue, shared },
            thread,
        })
    }

    pub(super) fn writer(&self) -> LineWriter {
        self.writer.clone()
    }

    /// Writes what waits.
    pub(super) fn close(self) {
        if self.writer.queue.send(Message::End).is_ok() {
            // The thread does not panic; if it did, nothing is left to write.
            drop(self.thread.join());
        }
    }
}

impl Write for LineWriter {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        let Shared { lost, waiting } = &*self.shared;
        let before = waiting.fetch_add(line.len(), Ordering::Relaxed);
        let has_room = before.saturating_add(line.len()) <= WAITING_BYTES_MAX;
        if !has_room || self.queue.try_send(Message::Line(line.to_vec())).is_err() {
            waiting.fetch_sub(line.len(), Ordering::Relaxed);
            lost.fetch_add(1, Ordering::Relaxed);
        }
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for LineWriter {
    type Writer = LineWriter;

    fn make_writer(&'a self) -> LineWriter {
        self.clone()
    }
}

/// Writes lines until the end is asked for; to the disk whenever no more wait.
fn run(mut roll: Roll, waiting: &Receiver<Message>, shared: &Shared) {
    loop {
        let next = match waiting.try_recv() {
            Ok(message) => message,
            Err(TryRecvError::Disconnected) => break,
            Err(TryRecvError::Empty) => {
                let lines = shared.lost.swap(0, Ordering::Relaxed);
                if lines > 0 {
                    roll.line(
                        format!("{lines} lines of the log are lost: the disk was too slow\n").as_bytes(),
                    );
                }
                roll.flush();
                match waiting.recv() {
                    Ok(message) => message,
                    Err(_) => break,
                }
            }
        };
        match next {
            Message::Line(line) => {
                roll.line(&line);
                shared.waiting.fetch_sub(line.len(), Ordering::Relaxed);
            }
            Message::End => break,
        }
    }
    roll.flush();
}

/// The file that is written, and those before it.
struct Roll {
    path: PathBuf,
    older: PathBuf,
    name: String,
    bounds: Bounds,
    file: BufWriter<File>,
    bytes: u64,
}

impl Roll {
    fn open(dir: &Path, name: &str, bounds: Bounds) -> io::Result<Roll> {
        fs::create_dir_all(dir)?;
        let path = dir.join(format!("{name}.log"));
        let file = append_to(&path)?;
        let bytes = file.metadata()?.len();
        Ok(Roll {
            path,
            older: dir.join(OLDER),
            name: name.to_owned(),
            bounds,
            file: BufWriter::new(file),
            bytes,
        })
    }

    fn line(&mut self, line: &[u8]) {
        if self.bytes > 0 && self.bytes.saturating_add(line.len() as u64) > self.bounds.bytes {
            self.flush();
            // Where the file cannot be rolled it grows on until it can: at the next such line.
            if self.roll().is_err() {
                self.bytes /= 2;
            }
        }
        if self.file.write_all(line).is_ok() {
            self.bytes = self.bytes.saturating_add(line.len() as u64);
        }
    }

    fn flush(&mut self) {
        // Nobody can be told: this is the log.
        let _lost = self.file.flush();
    }

    /// Makes the file the newest of the older ones, `NAME.1.log.gz`, and begins a new one.
    fn roll(&mut self) -> io::Result<()> {
        if self.bounds.older == 0 {
            self.file.get_ref().set_len(0)?;
            self.bytes = 0;
            return Ok(());
        }
        fs::create_dir_all(&self.older)?;
        let full = self.path.with_extension("log.full");
        // A roll that came no further than the name: lines go to the full file until there is a new one.
        if self.path.exists() {
            self.keep(&full)?;
            fs::rename(&self.path, &full)?;
        }
        self.file = BufWriter::new(append_to(&self.path)?);
        self.bytes = 0;
        self.keep(&full)
    }

    /// Compresses a full file, if there is one, and makes it the newest of the older ones. On an error all are as they were.
    fn keep(&self, full: &Path) -> io::Result<()> {
        if !full.exists() {
            return Ok(());
        }
        let packed = self.older.join(format!("{}.log.gz.tmp", self.name));
        compress(full, &packed).inspect_err(|_| {
            // Half a file is of no use, and its room may be what is missing.
            let _may_not_be_there = fs::remove_file(&packed);
        })?;
        let place = |index: u32| self.older.join(format!("{}.{index}.log.gz", self.name));
        for index in (1..self.bounds.older).rev() {
            if place(index).exists() {
                fs::rename(place(index), place(index + 1))?;
            }
        }
        fs::rename(&packed, place(1))?;
        fs::remove_file(full)
    }
}

fn append_to(path: &Path) -> io::Result<File> {
    OpenOptions::new().create(true).append(true).open(path)
}

fn compress(from: &Path, to: &Path) -> io::Result<()> {
    let mut source = OpenOptions::new().read(true).open(from)?;
    let target = OpenOptions::new()
        .create(true)
        .write(true)
        .truncate(true)
        .open(to)?;
    let mut encoder = GzEncoder::new(BufWriter::new(target), Compression::fast());
    io::copy(&mut source, &mut encoder)?;
    encoder.finish()?.flush()
}

#[cfg(test)]
mod tests {
    #![expect(clippy::disallowed_methods, reason = "what is in the files is read back")]

    use super::*;
    use flate2::read::GzDecoder;
    use std::io::Read as _;

    fn unpacked(path: &Path) -> String {
        let mut text = String::new();
        GzDecoder::new(File::open(path).unwrap())
            .read_to_string(&mut text)
            .unwrap();
        text
    }

    #[test]
    fn a_full_file_becomes_the_newest_of_the_older_ones_and_the_oldest_goes() {
        let dir = tempfile::tempdir().unwrap();
        let lines = Lines::open(dir.path(), "broker", Bounds { bytes: 10, older: 2 }).unwrap();
        let mut writer = lines.writer();
        for line in ["one one\n", "two two\n", "three 3\n", "four\n"] {
            writer.write_all(line.as_bytes()).unwrap();
        }
        lines.close();
        assert_eq!(
            fs::read_to_string(dir.path().join("broker.log")).unwrap(),
            "four\n"
        );
        let older = dir.path().join(OLDER);
        assert_eq!(unpacked(&older.join("broker.1.log.gz")), "three 3\n");
        assert_eq!(unpacked(&older.join("broker.2.log.gz")), "two two\n");
        assert_eq!(fs::read_dir(older).unwrap().count(), 2);
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 2);
    }

    #[test]
    fn a_new_start_appends_to_what_is_there() {
        let dir = tempfile::tempdir().unwrap();
        for line in ["a\n", "b\n"] {
            let lines = Lines::open(dir.path(), "namesrv", Bounds { bytes: 100, older: 2 }).unwrap();
            lines.writer().write_all(line.as_bytes()).unwrap();
            lines.close();
        }
        assert_eq!(
            fs::read_to_string(dir.path().join("namesrv.log")).unwrap(),
            "a\nb\n"
        );
    }

    #[test]
    fn a_line_that_finds_no_room_is_counted_and_nobody_waits() {
        let (queue, _waiting) = sync_channel(1);
        let mut writer = LineWriter {
            queue,
            shared: Arc::default(),
        };
        for _ in 0..4 {
            writer.write_all(b"line\n").unwrap();
        }
        assert_eq!(writer.shared.lost.load(Ordering::Relaxed), 3);
    }

    #[test]
    fn lines_that_wait_are_bounded_in_bytes_and_leave_their_room_when_they_are_written() {
        let (queue, waiting) = sync_channel(WAITING_MAX);
        let mut writer = LineWriter {
            queue,
            shared: Arc::default(),
        };
        let line = vec![b'x'; 16 * 1024];
        for _ in 0..1_000 {
            writer.write_all(&line).unwrap();
        }
        let room = (WAITING_BYTES_MAX / line.len()) as u64;
        assert_eq!(writer.shared.lost.swap(0, Ordering::Relaxed), 1_000 - room);

        let dir = tempfile::tempdir().unwrap();
        let bounds = Bounds {
            bytes: 1 << 30,
            older: 1,
        };
        let roll = Roll::open(dir.path(), "broker", bounds).unwrap();
        writer.queue.send(Message::End).unwrap();
        run(roll, &waiting, &writer.shared);
        writer.write_all(&line).unwrap();
        assert_eq!(writer.shared.lost.load(Ordering::Relaxed), 0);
        let written = fs::metadata(dir.path().join("broker.log")).unwrap().len();
        assert_eq!(written, WAITING_BYTES_MAX as u64);
    }

    #[test]
    fn a_roll_that_did_not_end_is_ended_by_the_next() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("broker.log.full"), "left over\n").unwrap();
        let lines = Lines::open(dir.path(), "broker", Bounds { bytes: 4, older: 3 }).unwrap();
        for line in ["one\n", "two\n"] {
            lines.writer().write_all(line.as_bytes()).unwrap();
        }
        lines.close();
        let older = dir.path().join(OLDER);
        assert_eq!(unpacked(&older.join("broker.1.log.gz")), "one\n");
        assert_eq!(unpacked(&older.join("broker.2.log.gz")), "left over\n");
        assert!(!dir.path().join("broker.log.full").exists());
    }

    #[test]
    fn while_a_full_file_cannot_be_compressed_no_older_one_goes() {
        let dir = tempfile::tempdir().unwrap();
        let older = dir.path().join(OLDER);
        let bounds = Bounds { bytes: 4, older: 2 };
        let mut roll = Roll::open(dir.path(), "broker", bounds).unwrap();
        ["one\n", "two\n"]
            .iter()
            .for_each(|line| roll.line(line.as_bytes()));
        // A directory where the compressed file should come into being.
        let in_the_way = [older.join("broker.log.gz.tmp"), older.join("broker.2.log.gz")];
        fs::create_dir_all(in_the_way[0].join("x")).unwrap();
        for line in ["three\n", "four\n", "five\n"] {
            roll.line(line.as_bytes());
        }
        assert_eq!(unpacked(&older.join("broker.1.log.gz")), "one\n");
        assert!(!in_the_way[1].exists());
        fs::remove_dir_all(&in_the_way[0]).unwrap();
        roll.line(b"six\n");
        roll.flush();
        let text = |name: &str| unpacked(&older.join(name));
        let log = fs::read_to_string(dir.path().join("broker.log")).unwrap();
        let all = [text("broker.2.log.gz"), text("broker.1.log.gz"), log].concat();
        assert_eq!(all, "two\nthree\nfour\nfive\nsix\n", "the oldest goes");
    }

    #[test]
    fn a_log_whose_file_is_gone_gets_a_new_one() {
        let dir = tempfile::tempdir().unwrap();
        let mut roll = Roll::open(dir.path(), "broker", Bounds { bytes: 4, older: 2 }).unwrap();
        roll.line(b"one\n");
        roll.flush();
        // As after a roll that could not open the new file.
        let log = dir.path().join("broker.log");
        fs::rename(&log, log.with_extension("log.full")).unwrap();
        roll.line(b"two\n");
        roll.flush();
        assert_eq!(fs::read_to_string(&log).unwrap(), "two\n");
        let older = dir.path().join(OLDER).join("broker.1.log.gz");
        assert_eq!(unpacked(&older), "one\n");
    }

    #[test]
    fn a_file_that_cannot_be_rolled_is_written_on() {
        let dir = tempfile::tempdir().unwrap();
        // A file where the directory should be.
        fs::write(dir.path().join(OLDER), "").unwrap();
        let lines = Lines::open(dir.path(), "broker", Bounds { bytes: 4, older: 1 }).unwrap();
        for line in ["one\n", "two\n", "six\n"] {
            lines.writer().write_all(line.as_bytes()).unwrap();
        }
        lines.close();
        assert_eq!(
            fs::read_to_string(dir.path().join("broker.log")).unwrap(),
            "one\ntwo\nsix\n"
        );
    }
}
