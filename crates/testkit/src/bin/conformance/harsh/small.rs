// SPDX-License-Identifier: Apache-2.0
//! A small file system of our own, with something large on it that can grow until nothing is left, and go. It is a tmpfs in a mount
//! namespace, which only root, or whoever may make user namespaces, can have; a program enters it when it is started.

use anyhow::{Context as _, ensure};
use std::io::{BufRead as _, BufReader, Lines, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

/// Mounts it, puts something large on it, and does what it is told; after each order it says how many bytes are free.
const SCRIPT: &str = r#"
set -e
mount -t tmpfs -o size=96m harsh "$1"
head -c 41943040 /dev/zero > "$1/ballast"
echo ready
while read -r word; do
    case $word in
    fill) head -c 200000000 /dev/zero >> "$1/ballast" 2> /dev/null || true ;;
    free) rm "$1/ballast" ;;
    esac
    set -- "$1" $(stat -f -c '%a %S' "$1")
    echo $(($2 * $3))
done
"#;

/// The file system. It is gone with its owner.
pub(super) struct Small {
    script: Child,
    orders: Option<ChildStdin>,
    told: Lines<BufReader<ChildStdout>>,
    point: PathBuf,
    /// How its namespaces are entered.
    enter: &'static [&'static str],
}

impl Small {
    /// `None`: the host does not let us mount anything.
    pub(super) fn mount(point: &Path) -> anyhow::Result<Option<Small>> {
        std::fs::create_dir_all(point)?;
        // Whoever is root needs no namespace of users, and may be where those are forbidden.
        let ways: [(_, &[&str]); 2] = [
            ("-m", &["--mount"]),
            ("-rm", &["--mount", "--user", "--preserve-credentials"]),
        ];
        for (how, enter) in ways {
            let started = Command::new("unshare")
                .args([how, "sh", "-c", SCRIPT, "sh"])
                .arg(point)
                .stdin(Stdio::piped())
                .stdout(Stdio::piped())
                .stderr(Stdio::null())
                .spawn();
            let Ok(mut script) = started else { continue };
            let out = script.stdout.take().context("its output is piped")?;
            let small = Small {
                orders: script.stdin.take(),
                script,
                told: BufReader::new(out).lines(),
                point: point.to_path_buf(),
                enter,
            };
            if let Some(small) = small.if_ready() {
                return Ok(Some(small));
            }
        }
        Ok(None)
    }

    fn if_ready(mut self) -> Option<Small> {
        let said = self.told.next()?.ok()?;
        (said == "ready" && self.holds("ballast")).then_some(self)
    }

    /// Whether there is such a file or directory on it.
    pub(super) fn holds(&self, name: &str) -> bool {
        let root = PathBuf::from(format!("/proc/{}/root", self.script.id()));
        let point = self.point.strip_prefix("/").unwrap_or(&self.point);
        root.join(point).join(name).exists()
    }

    /// What starts a program that sees it, in a directory.
    pub(super) fn entrance(&self, dir: &Path) -> Vec<String> {
        let target = self.script.id().to_string();
        let dir = dir.display().to_string();
        let enter = ["nsenter", "--target", &target]
            .into_iter()
            .chain(self.enter.iter().copied());
        // Whoever enters has to go to the directory again, or is in the one beneath the file system.
        let go = ["sh", "-c", "cd \"$0\" && exec \"$@\"", &dir];
        enter.chain(go).map(str::to_owned).collect()
    }

    /// Takes all the room that is left. Returns what is free then.
    pub(super) fn fill(&mut self) -> anyhow::Result<u64> {
        self.order("fill")
    }

    /// Gives room.
    pub(super) fn free(&mut self) -> anyhow::Result<u64> {
        self.order("free")
    }

    fn order(&mut self, word: &str) -> anyhow::Result<u64> {
        let orders = self.orders.as_mut().context("the script runs")?;
        writeln!(orders, "{word}")?;
        let said = self.told.next();
        ensure!(said.is_some(), "the script has ended at {word}");
        Ok(said.transpose()?.unwrap_or_default().parse()?)
    }
}

impl Drop for Small {
    fn drop(&mut self) {
        // It ends when nobody tells it anything any more.
        drop(self.orders.take());
        drop(self.script.wait());
    }
}
