// SPDX-License-Identifier: Apache-2.0
//! Files that a person hands to a command.

use std::path::Path;

use crate::failure::Failure;

/// Reads a file.
#[expect(
    clippy::disallowed_methods,
    reason = "a file of the caller, not one of a server; there is nothing to simulate"
)]
pub(crate) fn read(path: &str) -> Result<Vec<u8>, Failure> {
    let read = std::fs::read(Path::new(path));
    read.map_err(|error| Failure::Usage(format!("the file {path} cannot be read: {error}")))
}
