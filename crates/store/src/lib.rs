// SPDX-License-Identifier: Apache-2.0
//! The message store: one append log for all messages, a consume queue per topic and number, a key index. The files are
//! those of the reference, byte for byte, and can be opened by either side.
//!
//! The store knows bytes and offsets. It never learns that consumer groups, clients or sockets exist.
//!
//! Start reading at `store` (the whole), then `append` and `tail` (the path of a message until it is encoded), `drive`
//! (until it is visible), `flush` and `tidy` (until it is durable), `read`, `recover`.

#![warn(missing_docs)]

pub mod disk;
pub mod env;

mod ahead;
mod append;
mod bell;
mod calendar;
mod checkpoint;
mod compact;
mod config;
mod convert;
mod draft;
mod drive;
mod entries;
mod filter;
mod flush;
mod handover;
mod hot;
mod index;
pub mod inspect;
mod journal;
mod log;
mod lookup;
#[doc(hidden)]
pub mod mutation;
mod open;
mod queue;
mod queue_batch;
mod queue_files;
mod queues;
mod reached;
mod read;
mod record;
mod recover;
mod replica;
mod retain;
mod runs;
mod scan;
mod seek;
mod store;
mod survey;
mod sync;
mod tail;
mod tidy;
mod timer;
mod transfer;

pub use calendar::calendar;
pub use config::{FlushMode, Kind, Kinds, QueueLayout, StoreConfig};
pub use draft::{AppendError, Draft, Gate, GateState, Level, LogPos, Receipt};
pub use entries::{Entry, EntryCode, StoredEntry};
pub use env::Env;
pub use filter::{All, Filter};
pub use journal::Journal;
pub use lookup::{Boundary, IndexKind, Lookup, Order, QueryHits};
pub use queue::Queue;
pub use queue_batch::QueueKind;
pub use read::{Batch, FarLimit, ReadError, ReadLimit, ReadStatus};
pub use replica::{Replica, ReplicateError};
pub use store::{CloseError, Store};
pub use survey::OpenError;
pub use timer::{Flush, Lost, Timed, TimerConfig, TimerEntry, TimerMark, Timers, tick_of};
pub use transfer::TransferError;
