// SPDX-License-Identifier: Apache-2.0
//! Statistics: VIEW_BROKER_STATS_DATA (315). Rates depend on the millisecond of a sample, hours and days on when a server was
//! started: of those only that they are there is compared.

use super::{pull, send, settled};
use testkit::diff::{Case, Step};
use wire::code::Code;

pub(super) fn cases() -> Vec<Case> {
    vec![
        Case::new("statistics of a topic and a group", counted()),
        Case::new("statistics that there are none of", none()),
    ]
}

fn view(name: &str, key: &str) -> Step {
    Step::broker(format!("{name} of {key}"), Code::VIEW_BROKER_STATS_DATA)
        .field("statsName", name)
        .field("statsKey", key)
        .ignoring("body.statsMinute.tps")
        .ignoring("body.statsHour.*")
        .ignoring("body.statsDay.*")
}

fn counted() -> Vec<Step> {
    vec![
        send("one", "ST1", 0),
        send("another", "ST1", 0),
        settled("ST1", 0, 2),
        pull("both", "ST1", 0, 0),
        view("TOPIC_PUT_NUMS", "ST1").until("body.statsMinute.sum", 2),
        view("GROUP_GET_NUMS", "ST1@CG_ST1").until("body.statsMinute.sum", 2),
        // Records of the two have other sizes: their hosts and properties are the same, but not the name of the cluster.
        view("TOPIC_PUT_SIZE", "ST1")
            .ignoring("body.statsMinute.sum")
            .ignoring("body.statsMinute.avgpt"),
        view("GROUP_GET_SIZE", "ST1@CG_ST1")
            .ignoring("body.statsMinute.sum")
            .ignoring("body.statsMinute.avgpt"),
    ]
}

fn none() -> Vec<Step> {
    vec![
        view("TOPIC_PUT_NUMS", "ST2").answers(1).word_by_word(),
        view("GROUP_GET_NUMS", "ST2@G").answers(1),
        view("SNDBCK_PUT_NUMS", "ST2@G").answers(1),
        view("BROKER_PUT_NUMS", "no such cluster").answers(1),
        view("NO_SUCH_NUMS", "ST2").answers(1),
        view("TOPIC_PUT_NUMS", "ST2").without("statsName").answers(1),
        view("TOPIC_PUT_NUMS", "ST2").without("statsKey").answers(1),
    ]
}
