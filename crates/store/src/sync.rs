// SPDX-License-Identifier: Apache-2.0
//! What threads share, for files that `models/` runs through all interleavings with other types of these names.

pub(crate) use parking_lot::{Condvar, Mutex, MutexGuard};
pub(crate) use std::sync::atomic::{AtomicBool, Ordering, fence};
