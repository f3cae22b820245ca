// SPDX-License-Identifier: Apache-2.0
//! Master and slaves on simulated disks, joined by cables that can be cut, in virtual time.

mod cable;
mod node;
mod random;
mod small;
