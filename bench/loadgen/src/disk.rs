//! The disk's own answer to a durable send: an append of the size that a broker writes, and fdatasync.

use crate::stats::Line;
use hdrhistogram::Histogram;
use std::fs::{File, OpenOptions};
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::time::{Duration, Instant};

/// The size of a broker's log files.
const SEGMENT: u64 = 1 << 30;

/// How the file is made that is appended to.
#[derive(Clone, Copy, PartialEq)]
pub enum Way {
    /// As long as it will be, without blocks.
    Sparse,
    /// As long as it will be, with blocks that were never written.
    Allocated,
    /// Empty; it grows by each append.
    Growing,
}

impl Way {
    fn name(self) -> &'static str {
        match self {
            Way::Sparse => "sparse",
            Way::Allocated => "allocated",
            Way::Growing => "growing",
        }
    }

    fn prepare(self, file: &File) -> io::Result<()> {
        match self {
            Way::Sparse => file.set_len(SEGMENT)?,
            Way::Allocated => match unsafe { libc::posix_fallocate(file.as_raw_fd(), 0, SEGMENT as i64) } {
                0 => {}
                error => return Err(io::Error::from_raw_os_error(error)),
            },
            Way::Growing => {}
        }
        file.sync_all()
    }
}

pub fn run(dir: &Path, bytes: usize, way: Way, seconds: Duration) -> io::Result<()> {
    std::fs::create_dir_all(dir)?;
    let path = dir.join("disk-limit");
    let file = OpenOptions::new().write(true).create(true).truncate(true).open(&path)?;
    way.prepare(&file)?;
    let record = vec![b'd'; bytes];
    let mut h = Histogram::<u64>::new_with_bounds(1, 60_000_000_000, 3).unwrap();
    let (start, mut at) = (Instant::now(), 0);
    while start.elapsed() < seconds && at + bytes as u64 <= SEGMENT {
        let began = Instant::now();
        file.write_all_at(&record, at)?;
        file.sync_data()?;
        let _ = h.record(began.elapsed().as_nanos() as u64);
        at += bytes as u64;
    }
    let wall = start.elapsed().as_secs_f64();
    std::fs::remove_file(&path)?;
    let n = h.len() as f64;
    Line::new("disk").str("way", way.name()).num("bytes", bytes as f64).num("msgs", n).num("msgs_per_s", n / wall).hist("", &h).print();
    Ok(())
}
