// SPDX-License-Identifier: Apache-2.0
//! The inputs that are kept: one file per target in `fuzz/corpus`, one input per line, as hexadecimal digits, the short ones first.

use super::end_of;
use crate::tool::{root, target};
use anyhow::{Context as _, ensure};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Longer inputs are not kept.
const INPUT_BYTES_MAX: usize = 2048;
/// Nor more of one target than this together.
const KEPT_BYTES_MAX: usize = 48 << 10;

/// How many inputs are kept of a target.
pub(super) fn kept(name: &str) -> anyhow::Result<u64> {
    let kept = root().join("fuzz/corpus").join(name);
    if !kept.exists() {
        return Ok(0);
    }
    let text = fs::read_to_string(&kept).with_context(|| kept.display().to_string())?;
    Ok(text.lines().count() as u64)
}

/// Puts what is kept beside what the target has found; where that is.
pub(super) fn unpack(name: &str) -> anyhow::Result<PathBuf> {
    let folder = target().join("fuzzing/corpus").join(name);
    fs::create_dir_all(&folder)?;
    let kept = root().join("fuzz/corpus").join(name);
    if !kept.exists() {
        return Ok(folder);
    }
    let text = fs::read_to_string(&kept).with_context(|| kept.display().to_string())?;
    for (number, line) in text.lines().enumerate() {
        let input = bytes(line).with_context(|| format!("{}:{}", kept.display(), number + 1))?;
        write(&folder.join(format!("kept-{number}")), &input)?;
    }
    Ok(folder)
}

/// Writes the file of a target anew: of what is kept and what was found those that reach something that nothing smaller does.
pub(super) fn merge(program: &Path, name: &str) -> anyhow::Result<()> {
    eprintln!("\n==> fuzz {name} (merge)");
    let all = unpack(name)?;
    let few = target().join("fuzzing/merged").join(name);
    if few.exists() {
        fs::remove_dir_all(&few)?;
    }
    fs::create_dir_all(&few)?;
    let output = Command::new(program)
        .env("FUZZ_TARGET", name)
        .args(["-merge=1", "-verbosity=0", "-close_fd_mask=1"])
        .arg(format!("-max_len={INPUT_BYTES_MAX}"))
        .args([&few, &all])
        .output()
        .with_context(|| format!("cannot start {}", program.display()))?;
    ensure!(
        output.status.success(),
        "{}\n{name} fails ({})",
        end_of(&String::from_utf8_lossy(&output.stderr)),
        output.status
    );
    let mut inputs = Vec::new();
    for entry in fs::read_dir(&few)? {
        inputs.push(read(&entry?.path())?);
    }
    inputs.sort_by(|a, b| a.len().cmp(&b.len()).then_with(|| a.cmp(b)));
    let (mut text, mut size) = (String::new(), 0);
    for input in &inputs {
        size += input.len();
        if size > KEPT_BYTES_MAX {
            break;
        }
        text.push_str(&digits(input));
        text.push('\n');
    }
    let kept = root().join("fuzz/corpus");
    fs::create_dir_all(&kept)?;
    write(&kept.join(name), text.as_bytes())?;
    eprintln!("{} of {} inputs are kept", text.lines().count(), inputs.len());
    Ok(())
}

#[expect(clippy::disallowed_methods, reason = "inputs of the targets, on this machine")]
fn read(path: &Path) -> anyhow::Result<Vec<u8>> {
    fs::read(path).with_context(|| path.display().to_string())
}

#[expect(clippy::disallowed_methods, reason = "inputs of the targets, on this machine")]
fn write(path: &Path, bytes: &[u8]) -> anyhow::Result<()> {
    fs::write(path, bytes).with_context(|| path.display().to_string())
}

fn digits(input: &[u8]) -> String {
    input.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn bytes(line: &str) -> anyhow::Result<Vec<u8>> {
    ensure!(
        line.is_ascii() && line.len().is_multiple_of(2),
        "no bytes in hexadecimal digits"
    );
    let byte = |at: usize| u8::from_str_radix(&line[at..at + 2], 16);
    let bytes: Result<Vec<u8>, _> = (0..line.len()).step_by(2).map(byte).collect();
    Ok(bytes?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_input_is_read_as_it_was_written() {
        let input: Vec<u8> = (0..=255).collect();
        assert_eq!(bytes(&digits(&input)).unwrap(), input);
        assert!(bytes("0").is_err() && bytes("0g").is_err());
    }
}
