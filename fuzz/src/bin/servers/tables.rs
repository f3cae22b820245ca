// SPDX-License-Identifier: Apache-2.0
//! Whatever happens to the files of a broker that has served all kinds of requests: it opens or refuses, and what it opened
//! it closes in good order.

use std::path::Path;
use std::sync::OnceLock;

use broker::{Broker, Config};
use fuzz::damage::{Damage, Files, env};
use fuzz::requests::Known;
use fuzz::served::{Served, settings};
use tokio::runtime::Runtime;

/// The wheel has 38 MB, and is damaged in a target of its own.
fn without_timers() -> Config {
    let mut config = settings();
    config.set("timerWheelEnable", "false").expect("a setting");
    config
}

fn left() -> &'static (Runtime, Files) {
    static LEFT: OnceLock<(Runtime, Files)> = OnceLock::new();
    LEFT.get_or_init(|| {
        let mut served = Served::broker(without_timers);
        let known = Known::of(broker::ROUTES.iter().map(|(code, _)| *code));
        // Those that make things, and then those that need them.
        served.turn(&known.plausible(), &[]);
        served.turn(&known.plausible(), &[]);
        (
            Runtime::new().expect("a runtime"),
            Files::of(&served.end(), Path::new("/store")),
        )
    })
}

pub(crate) fn run(bytes: &[u8]) {
    let Some(damages) = fuzz::input::<Vec<Damage<'_>>>(bytes) else {
        return;
    };
    let (runtime, files) = left();
    let _here = runtime.enter();
    let disk = files.damaged(&damages);
    if let Ok(broker) = Broker::open(without_timers(), env(&disk)) {
        // What it cannot write it says; it does not fall over.
        let _closed = broker.close().is_ok();
    }
}
