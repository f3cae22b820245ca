// SPDX-License-Identifier: Apache-2.0
//! Numbers of topics, and of groups that read them.

use std::sync::Arc;

use metrics::{Export, Metric, Series};
use wire::Str;

use super::catalogue::{self as c};
use super::collect::histogram;
use crate::broker::Broker;
use crate::names::has_system_group_prefix;
use crate::send::properties::MessageType;
use crate::topic::Topic;
use crate::traffic::{Came, Outflow, Reader};

/// Topics by name, so that two looks are in the same order.
fn topics(b: &Broker) -> Vec<Arc<Topic>> {
    let mut topics: Vec<_> = b.topics.all().topics.values().cloned().collect();
    topics.sort_unstable_by(|one, other| one.config.topic_name.cmp(&other.config.topic_name));
    topics
}

fn truth(is_true: bool) -> &'static str {
    if is_true { "true" } else { "false" }
}

/// Messages that came in and went out.
pub(super) fn requests(b: &Broker, export: &mut Export<'_>) {
    let topics = topics(b);
    let each = |export: &mut Export<'_>,
                metric: &'static Metric,
                write: &dyn Fn(&mut Series<'_>, [&str; 3], &Came)| {
        export.metric(metric, |series| {
            for topic in &topics {
                for kind in MessageType::ALL {
                    let came = topic.traffic.came(kind);
                    if came.messages > 0 {
                        let name = topic.config.topic_name.as_str();
                        write(series, [name, kind.label(), truth(topic.is_system)], &came);
                    }
                }
            }
        });
    };
    each(export, c::MESSAGES_IN, &|series, labels, came| {
        series.count(&labels, came.messages)
    });
    each(export, c::THROUGHPUT_IN, &|series, labels, came| {
        series.count(&labels, came.bytes)
    });
    each(export, c::MESSAGE_SIZE, &|series, labels, came| {
        series.histogram(&labels, &came.sends, came.sum);
    });
    let readers = readers(&topics);
    for (metric, number) in [
        (c::MESSAGES_OUT, Outflow::messages as fn(&Outflow) -> u64),
        (c::THROUGHPUT_OUT, Outflow::bytes),
    ] {
        export.metric(metric, |series| {
            for (topic, group, reader) in &readers {
                let is_system = truth(topic.is_system || has_system_group_prefix(group));
                let name = topic.config.topic_name.as_str();
                // As in the reference: only pops say whether it was from the retry topic.
                let flows = [
                    (&reader.pulled, ""),
                    (&reader.popped, "false"),
                    (&reader.popped_again, "true"),
                ];
                for (flow, is_retry) in flows.into_iter().filter(|(flow, _)| flow.messages() > 0) {
                    series.count(&[name, group, is_system, is_retry], number(flow));
                }
            }
        });
    }
}

type Read<'a> = (&'a Arc<Topic>, Str, Arc<Reader>);

fn readers(topics: &[Arc<Topic>]) -> Vec<Read<'_>> {
    let of = |topic: &'_ Arc<Topic>| {
        let mut readers = topic.traffic.readers();
        readers.sort_unstable_by(|one, other| one.0.cmp(&other.0));
        readers
    };
    let mut all = Vec::new();
    for topic in topics {
        all.extend(
            of(topic)
                .into_iter()
                .map(|(group, reader)| (topic, group, reader)),
        );
    }
    all
}

/// Messages that were given up.
pub(super) fn dead(b: &Broker, export: &mut Export<'_>) {
    let topics = topics(b);
    export.metric(c::DEAD, |series| {
        for (topic, group, reader) in readers(&topics) {
            if reader.dead.total() > 0 {
                let is_system = truth(topic.is_system || has_system_group_prefix(&group));
                let name = topic.config.topic_name.as_str();
                series.count(&[&group, name, is_system], reader.dead.total());
            }
        }
    });
}

/// Transactions that have ended.
pub(super) fn transactions(b: &Broker, export: &mut Export<'_>) {
    let topics = topics(b);
    let ended = || {
        let ended = topics
            .iter()
            .filter_map(|topic| Some((topic, topic.traffic.find_transactions()?)));
        ended.map(|(topic, ended)| (topic.config.topic_name.as_str(), ended))
    };
    export.metric(c::COMMITS, |series| {
        for (topic, ended) in ended().filter(|(_, ended)| ended.commits.total() > 0) {
            series.count(&[topic], ended.commits.total());
        }
    });
    export.metric(c::ROLLBACKS, |series| {
        for (topic, ended) in ended().filter(|(_, ended)| ended.rollbacks.total() > 0) {
            series.count(&[topic], ended.rollbacks.total());
        }
    });
    export.metric(c::FINISH, |series| {
        ended().for_each(|(topic, ended)| histogram(series, &[topic], &ended.took));
    });
}

/// Messages with a time of their own.
pub(super) fn timers(b: &Broker, [kind, medium]: [&str; 2], export: &mut Export<'_>) {
    let topics = topics(b);
    let timed = || {
        let timed = topics
            .iter()
            .filter_map(|topic| Some((topic, topic.traffic.find_timers()?)));
        timed.map(|(topic, timed)| ([kind, medium, topic.config.topic_name.as_str()], timed))
    };
    export.metric(c::TIMER_ENQUEUE, |series| {
        timed().for_each(|(labels, timed)| series.count(&labels, timed.enqueued.total()));
    });
    export.metric(c::TIMER_DEQUEUE, |series| {
        timed().for_each(|(labels, timed)| series.count(&labels, timed.dequeued.total()));
    });
    export.metric(c::DELAY, |series| {
        timed().for_each(|(labels, timed)| histogram(series, &labels, &timed.delay));
    });
}

/// What pop consumers settle and what comes again.
pub(super) fn pops(b: &Broker, export: &mut Export<'_>) {
    let topics = topics(b);
    let readers = readers(&topics);
    export.metric(c::POP_IN, |series| {
        for (topic, group, reader) in &readers {
            let name = topic.config.topic_name.as_str();
            for (kind, total) in [("ACK", reader.acks.total()), ("CK", reader.leases.total())] {
                if total > 0 {
                    series.count(&[group, name, kind, "PUT_OK"], total);
                }
            }
        }
    });
    export.metric(c::POP_RETRY, |series| {
        for (topic, group, reader) in &readers {
            if reader.revived.total() > 0 {
                let name = topic.config.topic_name.as_str();
                series.count(&[group, name, "PUT_OK"], reader.revived.total());
            }
        }
    });
}
