// SPDX-License-Identifier: Apache-2.0
//! What a broker tells about itself in numbers, as those see it who scrape, probe, are pushed to and ask.
#![expect(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "a test may fail, and looks at files and clocks as others do"
)]

#[path = "metrics/behind.rs"]
mod behind;
#[path = "metrics/life.rs"]
mod life;
#[path = "metrics/names.rs"]
mod names;
#[path = "metrics/promql.rs"]
mod promql;
#[path = "metrics/pushed.rs"]
mod pushed;
#[path = "consume/rig.rs"]
#[expect(dead_code, reason = "shared with consume.rs; each uses a part of it")]
mod rig;
#[path = "metrics/scrape.rs"]
mod scrape;
#[path = "metrics/shipped.rs"]
mod shipped;
#[path = "metrics/statistics.rs"]
mod statistics;
#[path = "metrics/traffic.rs"]
mod traffic;
