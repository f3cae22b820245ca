// SPDX-License-Identifier: Apache-2.0
//! A cluster in virtual time, from one number: `sim run --seed S` plays it and prints its log; `sim many --from A --count N` plays
//! many, each in a process of its own, and says which ones broke a promise.

mod client;
mod consumer;
mod history;
mod leases;
mod network;
mod operator;
mod play;
mod popper;
mod producer;
mod seams;
mod server;
mod world;

use std::io::Write as _;
use std::process::{Command, ExitCode, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use parking_lot::Mutex;
use world::Log;

const USAGE: &str = "sim gate [--count N] | sim run --seed S [--log] | sim many [--from A] [--count N] [--jobs J] | sim mutations [--from A] [--count N]";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let number = |name: &str| {
        let at = arguments.iter().position(|argument| argument == name)?;
        arguments.get(at + 1)?.parse::<u64>().ok()
    };
    let has = |name: &str| arguments.iter().any(|argument| argument == name);
    match arguments.first().map(String::as_str) {
        Some("run") => run(number("--seed").unwrap_or(1), has("--log")),
        Some("many") => many(
            number("--from").unwrap_or(1),
            number("--count").unwrap_or(100),
            number("--jobs").unwrap_or(2),
        ),
        Some("gate") => gate(number("--count").unwrap_or(1000)),
        Some("mutations") => mutations(
            number("--from").unwrap_or(1),
            number("--count").unwrap_or(SEEDS_OF_A_MUTATION),
        ),
        Some("--help" | "-h" | "help") => {
            println!("{USAGE}");
            ExitCode::SUCCESS
        }
        _ => {
            eprintln!("{USAGE}");
            ExitCode::from(2)
        }
    }
}

/// Lines of the product, in the log of the run.
#[derive(Clone)]
struct Lines(Log);

impl std::io::Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0
            .line(&world::turn_of(), String::from_utf8_lossy(bytes).trim_end());
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

fn run(seed: u64, prints: bool) -> ExitCode {
    let log = Log::default();
    let lines = Lines(log.clone());
    tracing_subscriber::fmt()
        .with_ansi(false)
        .without_time()
        .with_max_level(tracing::Level::INFO)
        .with_writer(move || lines.clone())
        .init();
    end_at_a_panic(seed, prints, &log);
    let outcome = play::play(seed, &log);
    for fault in &outcome.faults {
        log.line("FAULT", fault);
    }
    let mut out = std::io::stdout().lock();
    if prints {
        let _closed = out.write_all(log.text().as_bytes());
    }
    let _closed = writeln!(
        out,
        "seed {seed}: {}{} faults",
        outcome.summary,
        outcome.faults.len()
    );
    for fault in outcome.faults.iter().take(5) {
        let _closed = writeln!(out, "  {fault}");
    }
    if outcome.faults.is_empty() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

/// A panic of the product would end its process, and is a fault; what is left of it here is not to be played on.
fn end_at_a_panic(seed: u64, prints: bool, log: &Log) {
    let log = log.clone();
    std::panic::set_hook(Box::new(move |panic| {
        let who = world::turn_of();
        let mut out = std::io::stdout().lock();
        if prints {
            let _closed = out.write_all(log.text().as_bytes());
        }
        let _closed = writeln!(out, "seed {seed}: ended by a panic\n  {who}: {panic}");
        let _closed = out.flush();
        drop(out);
        eprintln!("{}", std::backtrace::Backtrace::capture());
        std::process::exit(1);
    }));
}

#[expect(
    clippy::disallowed_methods,
    reason = "how long many runs took, outside of all of them"
)]
fn many(from: u64, count: u64, jobs: u64) -> ExitCode {
    let (next, failed, begun) = (AtomicU64::new(from), Mutex::new(Vec::new()), Instant::now());
    let program = std::env::current_exe().expect("the program has a path");
    std::thread::scope(|scope| {
        for _ in 0..jobs {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= from + count {
                        return;
                    }
                    let ended = Command::new(&program)
                        .args(["run", "--seed", &seed.to_string()])
                        .stdin(Stdio::null())
                        .output()
                        .expect("the program starts itself");
                    if !ended.status.success() {
                        print!("{}", String::from_utf8_lossy(&ended.stdout));
                        let errors = String::from_utf8_lossy(&ended.stderr);
                        println!("{}", errors.lines().take(6).collect::<Vec<_>>().join("\n"));
                        println!("again: cargo xtask sim run --log --seed {seed}");
                        failed.lock().push(seed);
                    }
                }
            });
        }
    });
    let mut failed = failed.into_inner();
    failed.sort_unstable();
    println!(
        "{count} seeds from {from} in {:.0} s: {} failed {failed:?}",
        begun.elapsed().as_secs_f64(),
        failed.len()
    );
    if failed.is_empty() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

/// What CI runs: the same number twice gives the same log, so many numbers break no promise, and defects are seen.
fn gate(count: u64) -> ExitCode {
    let jobs = std::thread::available_parallelism().map_or(1, std::num::NonZero::get) as u64;
    for seed in [1, 2, 3] {
        let log = logged(seed);
        if log.is_empty() || log != logged(seed) {
            println!("seed {seed} gave two different logs");
            return ExitCode::FAILURE;
        }
    }
    println!("3 seeds gave the same log twice, byte for byte");
    for outcome in [many(1, count, jobs), mutations(1, SEEDS_OF_A_MUTATION)] {
        if outcome != ExitCode::SUCCESS {
            return outcome;
        }
    }
    ExitCode::SUCCESS
}

/// The log of a run.
fn logged(seed: u64) -> Vec<u8> {
    let program = std::env::current_exe().expect("the program has a path");
    let run = Command::new(program)
        .args(["run", "--log", "--seed", &seed.to_string()])
        .output();
    run.expect("the program starts itself").stdout
}

/// So many seeds have to be enough for one of them to see a defect.
const SEEDS_OF_A_MUTATION: u64 = 200;

/// Defects on purpose that a simulation has to see; each is a `seeded!` in the product.
const MUTATIONS: [&str; 21] = [
    "ack-before-write",
    "ack-before-sync",
    "stale-gate",
    "lost-wake-up",
    "commit-not-recorded",
    "rollback-commits",
    "early-delay",
    "early-timer",
    "delays-not-saved",
    "dead-letter-dropped",
    "journal-skipped",
    "offset-before-delivery",
    "wrong-offset",
    "corrupt-body",
    "settled-in-memory",
    "early-lease",
    "copy-unsynced",
    "reset-not-kept",
    "commit-before-sync",
    "pop-reset-in-memory",
    "pop-reset-unsynced",
];

/// Plays seeds with each defect until one of them sees it.
fn mutations(from: u64, count: u64) -> ExitCode {
    let program = std::env::current_exe().expect("the program has a path");
    let mut missed = Vec::new();
    for name in MUTATIONS {
        let seen = (from..from + count).find_map(|seed| {
            let ended = Command::new(&program)
                .args(["run", "--seed", &seed.to_string()])
                .env("BARQUE_MUTATION", name)
                .output()
                .expect("the program starts itself");
            let text = String::from_utf8_lossy(&ended.stdout).into_owned();
            let fault = text.lines().nth(1).map(|fault| fault.trim().to_owned());
            fault
                .filter(|_| !ended.status.success())
                .map(|fault| (seed, fault))
        });
        match seen {
            Some((seed, fault)) => println!("{name}: seen with seed {seed}: {fault}"),
            None => {
                println!("{name}: NOT SEEN with {count} seeds");
                missed.push(name);
            }
        }
    }
    if missed.is_empty() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}
