// SPDX-License-Identifier: Apache-2.0
//! One run: starts the counted process, plays the scenes, and reads what was counted in each.

use crate::callgrind::{self, Counts};
use crate::client::Client;
use crate::scenes::Scene;
use anyhow::{Context as _, ensure};
use std::path::Path;
use std::process::Command;
use std::time::Duration;
use testkit::process::{Process, eventually};

/// Much longer than a counted broker takes to start or to stop.
const PATIENCE: Duration = Duration::from_secs(60);
/// Copies of 4 KiB and more would be single instructions that count once for each byte, on processors that have them.
const TUNABLES: &str =
    "glibc.cpu.x86_rep_movsb_threshold=1099511627776:glibc.cpu.x86_rep_stosb_threshold=1099511627776";

/// Counts scenes. Keeps callgrind's file of each in the folder, which is made anew.
pub(crate) fn count<'a>(scenes: &[&'a Scene], dir: &Path) -> anyhow::Result<Vec<(&'a Scene, Counts)>> {
    if dir.exists() {
        std::fs::remove_dir_all(dir)?;
    }
    let store = dir.join("store");
    std::fs::create_dir_all(&store)?;
    let program = std::env::current_exe()?.canonicalize()?;
    let mut valgrind = Command::new("valgrind");
    valgrind
        .arg("--tool=callgrind")
        .arg(format!("--callgrind-out-file={}", dir.join("part").display()))
        .args(["--dump-before=*::server::mark*", "--separate-threads=yes"])
        .args(["--collect-systime=yes", "--"])
        .arg(&program)
        .arg("serve")
        .arg(&store)
        .env("GLIBC_TUNABLES", TUNABLES);
    let mut broker = Process::start("broker", dir, valgrind)
        .context("valgrind counts the instructions: install it (package valgrind)")?;
    let played = play(scenes, &mut broker);
    played.with_context(|| broker.last_words())?;
    std::fs::remove_dir_all(&store)?;
    let program = program.to_string_lossy();
    let counts = scenes.iter().enumerate().map(|(at, scene)| {
        // Every mark ends a part, numbered from 1: of two, the second ends what was counted. 01 is the first thread, on
        // which all connections are.
        let part = dir.join(format!("part.{}-01", 2 * at + 2));
        let text =
            std::fs::read_to_string(&part).with_context(|| format!("{} is missing", part.display()))?;
        let kept = dir.join(format!("{}.callgrind", scene.name));
        std::fs::write(kept, callgrind::without_open_calls(&text))?;
        Ok((*scene, callgrind::read(&text, &program)?))
    });
    let counts = counts.collect::<anyhow::Result<_>>()?;
    remove_parts(dir)?;
    Ok(counts)
}

/// What was counted between the scenes and on other threads.
fn remove_parts(dir: &Path) -> anyhow::Result<()> {
    for entry in std::fs::read_dir(dir)? {
        let path = entry?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        if name.starts_with("part") {
            std::fs::remove_file(&path)?;
        }
    }
    Ok(())
}

fn play(scenes: &[&Scene], broker: &mut Process) -> anyhow::Result<()> {
    eventually("the broker to start", PATIENCE, || {
        ensure!(broker.is_running()?, "it ended");
        Ok(broker.output()?.ends_with('\n'))
    })?;
    let output = broker.output()?;
    let (port, marks) = output.trim().split_once(' ').context("it names no ports")?;
    let (port, mut marks) = (port.parse()?, Client::open(marks.parse()?)?);
    for scene in scenes {
        let played = play_one(scene, &mut Client::open(port)?, &mut marks);
        played.with_context(|| format!("in the scene {}", scene.name))?;
    }
    // It ends when nobody makes marks any more.
    drop(marks);
    let status = broker.finish(PATIENCE)?;
    ensure!(status.success(), "it ended with {status}");
    Ok(())
}

/// The scene's own quarter first, so that topics, buffers and tables are there when it counts.
fn play_one(scene: &Scene, client: &mut Client, marks: &mut Client) -> anyhow::Result<()> {
    let warm = scene.messages / 4;
    scene.prepare(client, warm + scene.messages)?;
    scene.play(client, 0..warm)?;
    marks.mark()?;
    scene.play(client, warm..warm + scene.messages)?;
    marks.mark()
}
