// SPDX-License-Identifier: Apache-2.0
//! cases
use testkit::diff::Case;
pub(crate) fn all() -> Vec<Case> { Vec::new() }
