// SPDX-License-Identifier: Apache-2.0
//! Files that a person hands to a command, or gets from one.
#![expect(
    clippy::disallowed_methods,
    reason = "files of the caller, not of a server; there is nothing to simulate"
)]

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::path::Path;

use crate::failure::Failure;

/// Largest file that is read.
const FILE_BYTES_MAX: u64 = 64 << 20;

/// Reads a file.
pub(crate) fn read(path: &str) -> Result<Vec<u8>, Failure> {
    read_up_to(path, FILE_BYTES_MAX)
}

fn read_up_to(path: &str, most: u64) -> Result<Vec<u8>, Failure> {
    let wrong = |why: String| Failure::Usage(format!("the file {path} cannot be read: {why}"));
    let mut bytes = Vec::new();
    let file = File::open(Path::new(path)).map_err(|error| wrong(error.to_string()))?;
    // Not what the system says of its size: of a device it says nothing.
    let read = file.take(most + 1).read_to_end(&mut bytes);
    read.map_err(|error| wrong(error.to_string()))?;
    if bytes.len() as u64 > most {
        return Err(wrong(format!("it has more than {} MiB", most >> 20)));
    }
    Ok(bytes)
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
    fn a_file_without_an_end_is_not_read_to_it() {
        const MOST: u64 = 1 << 20;
        let endless = read_up_to("/dev/zero", MOST).unwrap_err();
        assert_eq!(endless.exit_code(), 2);
        assert!(
            endless.to_string().ends_with("it has more than 1 MiB"),
            "{endless}"
        );
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("file");
        fs::write(&path, vec![0; MOST as usize]).unwrap();
        assert_eq!(
            read_up_to(path.to_str().unwrap(), MOST).unwrap().len() as u64,
            MOST
        );
    }

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
