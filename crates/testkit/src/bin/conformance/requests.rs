// SPDX-License-Identifier: Apache-2.0
//! Single requests to both servers; the cases are in [`crate::cases`].

use crate::{Outcome, Sides, cases};
use testkit::diff::{Case, Side, Step, play};
use testkit::golden;
use testkit::server::Plan;
use wire::code::Code;

pub(crate) fn run(sides: &Sides) -> anyhow::Result<Outcome> {
    let mut servers = Vec::new();
    let mut played = Vec::new();
    for (name, program) in sides.all() {
        let plan = Plan::new(program, &sides.dir.join("diff").join(name));
        let server = plan.set("enablePropertyFilter", "true").start()?;
        played.push((name, Side::new(server.nameserver(), server.broker())));
        servers.push(server);
    }
    // The captured ones first: they ask for lists of everything.
    let mut cases = vec![cases::admin::all_groups(), captured()?];
    cases.extend(cases::all());
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

/// Requests whose answer is about the machine and the moment, or about what came before; and the one that was captured
/// without its body.
const NOT_COMPARED: [Code; 8] = [
    Code::SEND_MESSAGE,
    Code::GET_BROKER_RUNTIME_INFO,
    Code::GET_BROKER_CONFIG,
    Code::GET_NAMESRV_CONFIG,
    Code::GET_TIMER_CHECK_POINT,
    Code::GET_TIMER_METRICS,
    // They name another broker than these.
    Code::UPDATE_AND_CREATE_STATIC_TOPIC,
    // With us groups that offsets are copied to come into being.
    Code::GET_BROKER_CONSUME_STATS,
];

/// Requests of which we say what becomes of what they set, where the reference says nothing.
const SAYS_MORE: [Code; 4] = [
    Code::UPDATE_BROKER_CONFIG,
    Code::UPDATE_NAMESRV_CONFIG,
    Code::UPDATE_COLD_DATA_FLOW_CTR_CONFIG,
    Code::SET_COMMITLOG_READ_MODE,
];

/// Every captured request that we handle, whatever it was about when it was captured.
fn captured() -> anyhow::Result<Case> {
    let broker = broker::ROUTES.iter().map(|(code, _)| (code.0, true));
    let names = nameserver::routes::ROUTES.iter().map(|(code, _)| (code.0, false));
    let routes: std::collections::BTreeMap<i32, bool> = names.chain(broker).collect();
    let exchanges = golden::exchanges()?
        .into_iter()
        .filter(|e| e.to_server && e.reply.is_some());
    let steps = exchanges.filter_map(|exchange| {
        let code = exchange.request.code;
        let to_broker = *routes.get(&code)?;
        let wanted = !NOT_COMPARED.contains(&Code(code));
        wanted.then(
            || match Step::captured(exchange.case, &exchange.request, to_broker) {
                step if SAYS_MORE.contains(&Code(code)) => step.ignoring("remark"),
                // Its port is that of one broker.
                step if code == Code::EXCHANGE_BROKER_HA_INFO.0 => step.ignoring("ext.masterHaAddress"),
                step => step,
            },
        )
    });
    Ok(Case::new("captured requests", steps.collect()))
}
