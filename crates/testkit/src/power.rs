// SPDX-License-Identifier: Apache-2.0
//! Power cuts for a process that is killed: what the system had taken from it and it had not synced is taken back.
//!
//! A process that ends leaves all it wrote in the memory of the system, so a kill alone never shows a sync that is missing.
//! Here the server of `server` runs on `disk`, which does what the real disk does and notes each change and each sync in a
//! file outside the directory. When the process is gone, `cut` makes the directory anew: as it was before, with all that was
//! synced, and of the rest nothing or a part, torn anywhere.
//!
//! The rules are those of `store::disk::sim`: the content of a file is durable by a sync of the file, names by a sync of their
//! directory; of the names of a directory that were not synced a first part may be there.

pub mod cut;
pub mod disk;
mod note;
pub mod server;
