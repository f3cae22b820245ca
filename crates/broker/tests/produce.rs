// SPDX-License-Identifier: Apache-2.0
//! What producers, operators and name servers see of a broker, over real sockets.
#![expect(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "a test may fail, and looks at files as others do"
)]

#[path = "produce/batches.rs"]
mod batches;
#[path = "produce/delays.rs"]
mod delays;
#[path = "produce/failures.rs"]
mod failures;
#[path = "produce/golden.rs"]
mod golden;
#[path = "produce/groups.rs"]
mod groups;
#[path = "produce/kinds.rs"]
mod kinds;
#[path = "consume/life.rs"]
#[allow(dead_code, reason = "shared with consume.rs; each uses a part of it")]
mod life;
#[path = "produce/overload.rs"]
mod overload;
#[path = "produce/peers.rs"]
mod peers;
#[path = "produce/replies.rs"]
mod replies;
#[path = "consume/rig.rs"]
#[expect(dead_code, reason = "shared with consume.rs; each uses a part of it")]
mod rig;
#[path = "produce/sends.rs"]
mod sends;
#[path = "produce/settings.rs"]
mod settings;
#[path = "produce/timers.rs"]
mod timers;
#[path = "produce/together.rs"]
mod together;
#[path = "produce/topics.rs"]
mod topics;
