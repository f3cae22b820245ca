// SPDX-License-Identifier: Apache-2.0
//! `barque bench`: loads a server and tells how it did. What happens is in the crate `bench`; here is the terminal.

mod file;

use crate::cli::bench::Bench;
use crate::{cmd, report};
use anyhow::Context as _;
use bench::{Kind, Progress, RunError};
use file::ResultFile;
use std::io::{IsTerminal as _, Write as _};
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

const USAGE: u8 = 2;
/// As a shell says of a process that a signal ended.
const INTERRUPTED: i32 = 130;

pub(crate) fn run(options: &Bench) -> ExitCode {
    match measure(options) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("error: {}", report::one_line(&error));
            match error.downcast_ref::<RunError>() {
                Some(RunError::Usage(_)) => ExitCode::from(USAGE),
                _ => ExitCode::FAILURE,
            }
        }
    }
}

fn measure(args: &Bench) -> anyhow::Result<ExitCode> {
    let options = args.options();
    options.check().map_err(RunError::from)?;
    if options.kind == Kind::Consume && args.has_rate() {
        let why = "consume reads as fast as it can: it takes no --rate";
        return Err(RunError::Usage(bench::Usage(why.to_owned())).into());
    }
    let telling = &args.telling;
    // Before the run: it would be a pity to have no place for its result.
    let mut file = None;
    if let Some(path) = telling.json.as_deref().filter(|path| *path != "-") {
        let found = ResultFile::find(Path::new(path));
        file = Some(found.with_context(|| format!("cannot write the result to {path}"))?);
    }
    let runtime = cmd::runtime()?;
    let mut ticker = Ticker::new(telling.interval, options.duration);
    let result = runtime.block_on(async {
        let stop = on_interrupt()?;
        let running = Box::pin(bench::run(options, stop, |progress| ticker.tell(progress)));
        anyhow::Ok(running.await?)
    });
    ticker.clear();
    let result = result?;
    let json = || serde_json::to_string_pretty(&result).context("cannot write the result as JSON");
    if telling.json.as_deref() == Some("-") {
        cmd::print(&format!("{}\n", json()?));
        eprint!("{}", result.table());
    } else {
        cmd::print(&result.table());
    }
    if let Some(file) = file {
        file.write(&format!("{}\n", json()?))
            .context("cannot write the result")?;
    }
    let Some(complaint) = result.complaint(telling.max_errors) else {
        return Ok(ExitCode::SUCCESS);
    };
    eprintln!("error: {complaint}");
    Ok(if result.interrupted {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

/// Cancelled by the first Ctrl-C or SIGTERM; the second ends the process.
fn on_interrupt() -> anyhow::Result<CancellationToken> {
    let mut interrupt = signal(SignalKind::interrupt()).context("cannot wait for signals")?;
    let mut terminate = signal(SignalKind::terminate()).context("cannot wait for signals")?;
    let stop = CancellationToken::new();
    let token = stop.clone();
    tokio::spawn(async move {
        for _ in 0..2 {
            tokio::select! {
                _ = interrupt.recv() => {}
                _ = terminate.recv() => {}
            }
            if token.is_cancelled() {
                std::process::exit(INTERRUPTED);
            }
            token.cancel();
        }
    });
    Ok(stop)
}

/// Says how it goes: one line that is written again and again on a terminal, plain lines elsewhere.
struct Ticker {
    terminal: bool,
    interval: Duration,
    duration: Duration,
    /// Seconds and messages at the last line.
    last: (f64, u64),
    waited: f64,
    shown: bool,
}

impl Ticker {
    fn new(interval: Option<Duration>, duration: Duration) -> Ticker {
        let terminal = std::io::stderr().is_terminal();
        Ticker {
            terminal,
            interval: interval.unwrap_or(Duration::from_secs(if terminal { 1 } else { 10 })),
            duration,
            last: (0.0, 0),
            waited: 0.0,
            shown: false,
        }
    }

    fn tell(&mut self, progress: &Progress) {
        let interval = self.interval.as_secs_f64();
        let waits = progress.waiting.is_some();
        self.waited += f64::from(u8::from(waits));
        let due = if waits {
            self.waited >= interval
        } else {
            progress.elapsed - self.last.0 >= interval - 0.1
        };
        if self.interval.is_zero() || !due {
            return;
        }
        self.waited = 0.0;
        let line = self.line(progress);
        self.last = (progress.elapsed, progress.ok);
        let mut err = std::io::stderr().lock();
        // That nobody looks is no error.
        let _closed = if self.terminal {
            write!(err, "\r{line}\x1b[K")
        } else {
            writeln!(err, "{line}")
        };
        let _flushed = err.flush();
        self.shown = self.terminal;
    }

    fn line(&self, progress: &Progress) -> String {
        if let Some(what) = progress.waiting {
            return format!(
                "waiting for {what}: {} ok, {} errors",
                progress.ok, progress.errors
            );
        }
        let seconds = progress.elapsed - self.last.0;
        let rate = (progress.ok - self.last.1) as f64 / seconds.max(0.001);
        format!(
            "{:.0}/{:.0} s: {rate:.0} messages/s, {} ok, {} errors, last second p50 {:.2} ms, p99 {:.2} ms, max {:.2} ms",
            progress.elapsed,
            self.duration.as_secs_f64(),
            progress.ok,
            progress.errors,
            progress.p50_us as f64 / 1000.0,
            progress.p99_us as f64 / 1000.0,
            progress.max_us as f64 / 1000.0,
        )
    }

    /// Makes room for the result.
    fn clear(&self) {
        if self.shown {
            eprint!("\r\x1b[K");
        }
    }
}
