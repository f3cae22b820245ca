// SPDX-License-Identifier: Apache-2.0
//! How an error is told to the person who started the program: one line, each fact once, and what to do about it.

use anyhow::anyhow;
use broker::OpenError;
use std::path::Path;

/// The error and its causes, joined into one line. A cause whose text is already there is left out.
pub(crate) fn one_line(error: &anyhow::Error) -> String {
    let mut line = String::new();
    for cause in error.chain() {
        let text = cause.to_string();
        if !line.contains(&text) {
            line.push_str(if line.is_empty() { "" } else { ": " });
            line.push_str(&text);
        }
    }
    line.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// Why a broker did not open; `dir` is its directory, `setting` what the user changes to choose another.
pub(crate) fn not_opened(error: OpenError, dir: &Path, setting: &str) -> anyhow::Error {
    let dir = dir.display();
    let elsewhere = format!("choose another directory with {setting}");
    match error {
        OpenError::Store(store::OpenError::Locked(_)) => {
            anyhow!("the data directory {dir} is in use by another process; stop it or {elsewhere}")
        }
        OpenError::Store(store::OpenError::FileSize {
            path,
            found,
            expected,
            key,
        }) => anyhow!(
            "{} has {found} bytes, but {key} is {expected}; set {key}={found} or {elsewhere}; if the file is damaged, see \
             `barque store check`",
            path.display()
        ),
        OpenError::Store(error @ store::OpenError::Layout { .. }) => {
            anyhow!(
                "{dir} is not laid out as a store: {error}; put it right or {elsewhere}; see `barque store check`"
            )
        }
        OpenError::Store(error @ store::OpenError::Io { .. }) => {
            anyhow::Error::new(error).context(format!("cannot open the store in {dir}"))
        }
        OpenError::Table(error) => anyhow!("{error}; restore the file from a copy or {elsewhere}"),
        other => other.into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_is_one_line_and_says_each_thing_once() {
        let io = std::io::Error::other("disk is\n gone");
        let middle = anyhow::Error::new(io).context("cannot read a: disk is\n gone");
        assert_eq!(
            one_line(&middle.context("cannot start")),
            "cannot start: cannot read a: disk is gone"
        );
    }
}
