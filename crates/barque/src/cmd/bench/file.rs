// SPDX-License-Identifier: Apache-2.0
//! The file for the result of a run. That it can be written is found out before the run, and what it held before stays
//! until there is a result: it is written beside the file and takes its place.
#![expect(
    clippy::disallowed_methods,
    reason = "the result is written where the user says, which is no file of a store"
)]

use std::ffi::OsString;
use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind, Write as _};
use std::path::{Path, PathBuf};

pub(super) enum ResultFile {
    /// A file, or none yet.
    At(PathBuf),
    /// A pipe or device, which nothing else can take the place of.
    Open(File),
}

impl ResultFile {
    /// Looks whether it can be written, and changes nothing.
    pub(super) fn find(path: &Path) -> io::Result<ResultFile> {
        let file = match OpenOptions::new().write(true).open(path) {
            Ok(file) => file,
            Err(error) if error.kind() == ErrorKind::NotFound => {
                let beside = beside(path);
                drop(File::create_new(&beside)?);
                fs::remove_file(&beside)?;
                return Ok(ResultFile::At(path.to_owned()));
            }
            Err(error) => return Err(error),
        };
        if file.metadata()?.is_file() {
            // The file that a link leads to, not the link.
            return Ok(ResultFile::At(fs::canonicalize(path)?));
        }
        Ok(ResultFile::Open(file))
    }

    pub(super) fn write(self, text: &str) -> io::Result<()> {
        match self {
            ResultFile::Open(mut file) => file.write_all(text.as_bytes()),
            ResultFile::At(path) => match replace(&path, text) {
                Err(error) if stays_where_it_is(&error) => fs::write(&path, text),
                replaced => replaced,
            },
        }
    }
}

/// Whether that is an error of a directory in which no file can be made, or of a file that is a mount of its own.
fn stays_where_it_is(error: &io::Error) -> bool {
    use ErrorKind::{CrossesDevices, PermissionDenied, ReadOnlyFilesystem, ResourceBusy};
    matches!(
        error.kind(),
        CrossesDevices | PermissionDenied | ReadOnlyFilesystem | ResourceBusy
    )
}

fn replace(path: &Path, text: &str) -> io::Result<()> {
    let beside = beside(path);
    let written = File::create_new(&beside).and_then(|mut file| {
        if let Ok(old) = fs::metadata(path) {
            file.set_permissions(old.permissions())?;
        }
        file.write_all(text.as_bytes())?;
        fs::rename(&beside, path)
    });
    if written.is_err() {
        let _was_not_made = fs::remove_file(&beside);
    }
    written
}

fn beside(path: &Path) -> PathBuf {
    let mut name = path.file_name().map_or_else(OsString::new, OsString::from);
    name.push(format!(".{}.part", std::process::id()));
    path.with_file_name(name)
}
