// SPDX-License-Identifier: Apache-2.0
//! Defects on purpose, for one question only: does the simulation see them? They are there in builds with `--cfg mutations`, which
//! the simulation's workspace asks for, and one of them is on when `BARQUE_MUTATION` names it. In the product all of this is `false`
//! at compile time.

use std::sync::OnceLock;

/// Whether the defect of this name is on.
#[macro_export]
macro_rules! seeded {
    ($name:literal) => {
        cfg!(mutations) && $crate::mutation::is_on($name)
    };
}

/// Whether the defect of this name is on, in a build that has them.
#[must_use]
pub fn is_on(name: &str) -> bool {
    static NAME: OnceLock<Option<String>> = OnceLock::new();
    let chosen = NAME.get_or_init(|| std::env::var("BARQUE_MUTATION").ok());
    chosen.as_deref() == Some(name)
}
