// SPDX-License-Identifier: Apache-2.0
//! Single requests to both servers; the cases are in [`crate::cases`].

use crate::{Outcome, Sides, cases};
use testkit::diff::{Side, play};
use testkit::server::Plan;

pub(crate) fn run(sides: &Sides) -> anyhow::Result<Outcome> {
    let mut servers = Vec::new();
    let mut played = Vec::new();
    for (name, program) in sides.all() {
        let server = Plan::new(program, &sides.dir.join("diff").join(name)).start()?;
        played.push((name, Side::new(server.nameserver(), server.broker())));
        servers.push(server);
    }
    let cases = cases::all();
    let mut findings = Vec::new();
    let mut failed = 0;
    for case in &cases {
        let found = play(case, &mut played);
        failed += usize::from(!found.is_empty());
        findings.extend(found.into_iter().map(|finding| format!("diff: {finding}")));
    }
    for server in servers {
        server.stop()?;
    }
    let steps: usize = cases.iter().map(|case| case.steps.len()).sum();
    let line = format!(
        "diff: {} passed, {failed} failed; {steps} requests",
        cases.len() - failed
    );
    Ok(Outcome { line, findings })
}
