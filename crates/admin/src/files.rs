// SPDX-License-Identifier: Apache-2.0
//! Files that a person hands to a command, or gets from one.
#![expect(
    clippy::disallowed_methods,
    reason = "files of the caller, not of a server; there is nothing to simulate"
)]

use std::fs::{self, OpenOptions};
use std::io::{self, Write as _};
use std::path::Path;

use crate::failure::Failure;

/// Reads a file.
pub(crate) fn read(path: &str) -> Result<Vec<u8>, Failure> {
    let read = fs::read(Path::new(path));
    read.map_err(|error| Failure::Usage(format!("the file {path} cannot be read: {error}")))
}

/// Writes a file into a folder that is perhaps everybody's: what has its name is kept as `.bak`, and no link is followed, whoever
/// put it there.
pub(crate) fn write_new(path: &Path, text: &[u8]) -> io::Result<()> {
    if path.symlink_metadata().is_ok() {
        let mut kept = path.as_os_str().to_owned();
        kept.push(".bak");
        fs::rename(path, kept)?;
    }
    let mut file = OpenOptions::new().write(true).create_new(true).open(path)?;
    file.write_all(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_there_is_kept_and_links_lead_nowhere() {
        let dir = tempfile::tempdir().unwrap();
        let (path, victim) = (dir.path().join("map"), dir.path().join("victim"));
        write_new(&path, b"first").unwrap();
        write_new(&path, b"second").unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"second");
        assert_eq!(fs::read(dir.path().join("map.bak")).unwrap(), b"first");
        fs::remove_file(&path).unwrap();
        write_new(&victim, b"untouched").unwrap();
        std::os::unix::fs::symlink(&victim, &path).unwrap();
        write_new(&path, b"third").unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"third");
        assert_eq!(fs::read(&victim).unwrap(), b"untouched");
        assert!(!path.symlink_metadata().unwrap().is_symlink());
    }
}
