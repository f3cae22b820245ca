// SPDX-License-Identifier: Apache-2.0
//! A child process with its output in files, that never outlives its owner.
#![expect(
    clippy::disallowed_methods,
    reason = "real processes live in real time and write real files"
)]

use anyhow::{Context as _, bail};
use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

const LOOK_AGAIN: Duration = Duration::from_millis(20);

/// A running process. Its stdout goes to `NAME.out`, its stderr to `NAME.err`.
pub struct Process {
    name: String,
    child: Child,
    out: PathBuf,
    err: PathBuf,
}

impl Process {
    /// Starts `command`, its output in the directory.
    pub fn start(name: &str, dir: &Path, mut command: Command) -> anyhow::Result<Process> {
        std::fs::create_dir_all(dir)?;
        let (out, err) = (dir.join(format!("{name}.out")), dir.join(format!("{name}.err")));
        let child = command
            .stdin(Stdio::null())
            .stdout(File::create(&out)?)
            .stderr(File::create(&err)?)
            .spawn()
            .with_context(|| format!("cannot start {:?}", command.get_program()))?;
        Ok(Process {
            name: name.to_owned(),
            child,
            out,
            err,
        })
    }

    /// Whether it still runs.
    pub fn is_running(&mut self) -> anyhow::Result<bool> {
        Ok(self.child.try_wait()?.is_none())
    }

    /// Waits for its end; kills it when that takes longer than allowed.
    pub fn finish(&mut self, within: Duration) -> anyhow::Result<ExitStatus> {
        let deadline = Instant::now() + within;
        loop {
            if let Some(status) = self.child.try_wait()? {
                return Ok(status);
            }
            if Instant::now() > deadline {
                self.kill()?;
                bail!(
                    "{} did not end within {within:?}; {}",
                    self.name,
                    self.last_words()
                );
            }
            std::thread::sleep(LOOK_AGAIN);
        }
    }

    /// Asks it to end (SIGTERM) and waits until it has.
    pub fn stop(&mut self) -> anyhow::Result<ExitStatus> {
        let pid = self.child.id().to_string();
        if self.is_running()? {
            Command::new("kill").args(["-TERM", &pid]).status()?;
        }
        self.finish(Duration::from_secs(60))
    }

    /// Stops it where it is (SIGSTOP): it keeps its connections and does nothing.
    pub fn freeze(&self) -> anyhow::Result<()> {
        self.signal("-STOP")
    }

    /// Lets it go on (SIGCONT).
    pub fn thaw(&self) -> anyhow::Result<()> {
        self.signal("-CONT")
    }

    /// From now on it can write no file beyond so many bytes, or again any (`None`). Whoever starts it sees to it that it
    /// survives SIGXFSZ: then such a write fails as on a full disk, only by another name (EFBIG).
    pub fn limit_files(&self, bytes: Option<u64>) -> anyhow::Result<()> {
        let limit = bytes.map_or_else(|| "unlimited".to_owned(), |bytes| bytes.to_string());
        let mut prlimit = Command::new("prlimit");
        // Only what it may raise again itself.
        prlimit.arg("--pid").arg(self.child.id().to_string());
        run(prlimit.arg(format!("--fsize={limit}:")))
    }

    fn signal(&self, signal: &str) -> anyhow::Result<()> {
        run(Command::new("kill").args([signal, &self.child.id().to_string()]))
    }

    /// Ends it without asking (SIGKILL).
    pub fn kill(&mut self) -> anyhow::Result<()> {
        self.child.kill()?;
        self.child.wait()?;
        Ok(())
    }

    /// The memory it has now, in bytes.
    pub fn memory_bytes(&self) -> anyhow::Result<u64> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id()))?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let kib = line.and_then(|line| line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok());
        Ok(kib.context("the system does not say how much memory a process has")? * 1024)
    }

    /// What it has written to stdout so far.
    pub fn output(&self) -> anyhow::Result<String> {
        Ok(std::fs::read_to_string(&self.out)?)
    }

    /// What it has written to stderr so far.
    pub fn complaints(&self) -> anyhow::Result<String> {
        Ok(std::fs::read_to_string(&self.err)?)
    }

    /// The end of what it wrote, for an error message.
    pub fn last_words(&self) -> String {
        let mut words = format!("the end of {} and its stdout:", self.err.display());
        for file in [&self.err, &self.out] {
            let text = std::fs::read(file).unwrap_or_default();
            let text = String::from_utf8_lossy(&text).into_owned();
            let lines: Vec<&str> = text.lines().collect();
            for line in &lines[lines.len().saturating_sub(15)..] {
                words.push_str("\n  ");
                words.push_str(line);
            }
        }
        words
    }
}

fn run(command: &mut Command) -> anyhow::Result<()> {
    let status = command.status();
    let status = status.with_context(|| format!("cannot start {:?}", command.get_program()))?;
    if !status.success() {
        bail!("{command:?}: {status}");
    }
    Ok(())
}

impl Drop for Process {
    fn drop(&mut self) {
        if let Ok(None) = self.child.try_wait() {
            // Nothing can be done about a failure here: the process is gone or not ours.
            drop(self.child.kill());
            drop(self.child.wait());
        }
    }
}

/// Asks `probe` until it holds; an error after the deadline. The one way to wait for another process.
pub fn eventually(
    what: &str,
    within: Duration,
    mut probe: impl FnMut() -> anyhow::Result<bool>,
) -> anyhow::Result<()> {
    let deadline = Instant::now() + within;
    while !probe()? {
        if Instant::now() > deadline {
            bail!("waited {within:?} for {what}");
        }
        std::thread::sleep(LOOK_AGAIN);
    }
    Ok(())
}
