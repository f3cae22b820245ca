// SPDX-License-Identifier: Apache-2.0
//! What operators ask of a broker, over real sockets.
#![expect(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "a test may fail, and looks at files as others do"
)]

#[path = "admin/absent.rs"]
mod absent;
#[path = "admin/cleaning.rs"]
mod cleaning;
#[path = "admin/progress.rs"]
mod progress;
#[path = "consume/rig.rs"]
#[expect(dead_code, reason = "shared with consume.rs; each uses a part of it")]
mod rig;
#[path = "admin/settings.rs"]
mod settings;
#[path = "admin/strangers.rs"]
mod strangers;
