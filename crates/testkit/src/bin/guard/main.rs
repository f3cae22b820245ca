// SPDX-License-Identifier: Apache-2.0
//! What a message costs, counted and not timed: instructions, allocations and system calls per message of the paths that
//! matter, each held against a ceiling. `cargo xtask guard` builds and starts this; docs/path-cost.md has the ceilings and
//! says what is counted. Nothing here knows how the broker does its work.
#![expect(
    clippy::disallowed_methods,
    reason = "it writes a page of the tree and files for callgrind_annotate, outside of any store"
)]

mod callgrind;
mod ceilings;
mod client;
mod cost;
mod report;
mod run;
mod scenes;
mod server;

use anyhow::{anyhow, bail, ensure};
use ceilings::Ceilings;
use cost::Cost;
use scenes::{SCENES, Scene};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

const USAGE: &str = "\
usage: cargo xtask guard [SCENE...] [--top] [--bless]

  --top    the 15 functions with most instructions of their own, for each scene
  --bless  writes what was counted, and new ceilings, to docs/path-cost.md";

/// The command line of `guard DIR [SCENE...]`.
struct Args {
    dir: PathBuf,
    scenes: Vec<&'static Scene>,
    top: bool,
    bless: bool,
}

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let outcome = match words.as_slice() {
        ["serve", dir] => server::serve(Path::new(dir)),
        [_, "--help" | "-h"] => {
            report::print(&format!("{USAGE}\n"));
            Ok(())
        }
        [dir, options @ ..] => parse(dir, options).and_then(|args| guard(&args)),
        [] => Err(anyhow!("{USAGE}")),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn parse(dir: &str, options: &[&str]) -> anyhow::Result<Args> {
    let mut args = Args {
        dir: dir.into(),
        scenes: Vec::new(),
        top: false,
        bless: false,
    };
    for option in options {
        match *option {
            "--top" => args.top = true,
            "--bless" => args.bless = true,
            name => match SCENES.iter().find(|scene| scene.name == name) {
                Some(scene) => args.scenes.push(scene),
                None => bail!("there is no scene and no option {name}\n\n{USAGE}"),
            },
        }
    }
    if args.scenes.is_empty() {
        args.scenes = SCENES.iter().collect();
    }
    ensure!(
        !args.bless || args.scenes.len() == SCENES.len(),
        "--bless writes all scenes"
    );
    Ok(args)
}

fn guard(args: &Args) -> anyhow::Result<()> {
    let counted = run::count(&args.scenes, &args.dir)?;
    let costs: Vec<(&str, Cost)> = counted
        .iter()
        .map(|(scene, counts)| (scene.name, counts.cost(scene.messages)))
        .collect();
    if args.top {
        for (scene, counts) in &counted {
            report::print(&report::top(scene, counts));
        }
    }
    let page = ceilings::page();
    if args.bless {
        let text = std::fs::read_to_string(&page)?;
        std::fs::write(&page, ceilings::blessed(&text, &costs)?)?;
        report::print(&format!("new ceilings are in {}\n", page.display()));
        return Ok(());
    }
    let ceilings = Ceilings::read(&std::fs::read_to_string(&page)?)?;
    report::print(&report::table(&costs, &ceilings));
    let verdict = report::verdict(&costs, &ceilings);
    for line in &verdict.below {
        report::print(&format!("{line}\n"));
    }
    if cfg!(not(target_arch = "x86_64")) {
        report::print("the ceilings are those of x86-64: nothing was compared here\n");
        return Ok(());
    }
    if verdict.above.is_empty() {
        return Ok(());
    }
    let dir = args.dir.display();
    bail!(
        "{}\n\nWhere the instructions are: cargo xtask guard --top, or line by line\n  \
         callgrind_annotate --auto=yes {dir}/SCENE.callgrind\nIf it is worth that: cargo xtask guard --bless",
        verdict.above.join("\n")
    )
}
