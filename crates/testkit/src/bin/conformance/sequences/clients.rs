// SPDX-License-Identifier: Apache-2.0
//! Members and groups: 34, 35, 38, 41, 42, 200, 203, 207, 343, 352 and 353. Not 345: for groups that nobody is in, the
//! reference answers with what their last pull brought, and we with nothing, as documented.

use super::generate::Row;
use serde_json::json;
use std::collections::BTreeSet;
use testkit::diff::Step;
use wire::code::Code;

/// Three clients, each with a connection of its name.
const CLIENTS: [&str; 3] = ["c1", "c2", "c3"];

impl Row {
    pub(super) fn heartbeat(&mut self) {
        let client = self.dice.one(&CLIENTS);
        let name = self.dice.one(&["a", "a", "b", "c"]);
        let group = self.group(name);
        let mut subscriptions = Vec::new();
        let mut topics = BTreeSet::new();
        for _ in 0..self.dice.below(3) {
            let topic = self.place().topic;
            if !topics.insert(topic.clone()) {
                continue; // which of two counts is up to a hash table
            }
            let (kind, text) = self.registered();
            // An empty one wants nothing there, and everything with us, as documented.
            let text = if text.is_empty() { "*" } else { text };
            let tags: Vec<&str> = match kind {
                "TAG" => text
                    .split("||")
                    .map(str::trim)
                    .filter(|t| !t.is_empty() && *t != "*")
                    .collect(),
                _ => Vec::new(),
            };
            let codes: Vec<i32> = tags.iter().map(|tag| java_hash(tag)).collect();
            subscriptions.push(json!({
                "topic": topic, "subString": text, "tagsSet": tags, "codeSet": codes,
                "subVersion": self.dice.one(&[10, 20, 20, 30, 40, 50]), "expressionType": kind,
                "classFilterMode": self.dice.once_in(12),
            }));
        }
        let short = self.dice.once_in(8);
        let body = json!({
            "clientID": format!("{client}@{}", self.seed),
            "heartbeatFingerprint": if self.dice.once_in(4) { 7 + self.dice.below(2) } else { 0 },
            "withoutSub": short,
            "producerDataSet": [],
            "consumerDataSet": [{
                "groupName": group,
                "consumeType": self.dice.one(&["CONSUME_PASSIVELY", "CONSUME_PASSIVELY", "CONSUME_ACTIVELY"]),
                "messageModel": self.dice.one(&["CLUSTERING", "CLUSTERING", "BROADCASTING"]),
                "consumeFromWhere": self.dice.one(&["CONSUME_FROM_FIRST_OFFSET", "CONSUME_FROM_LAST_OFFSET"]),
                "unitMode": false,
                "subscriptionDataSet": subscriptions,
            }],
        });
        let step = Step::broker("", Code::HEART_BEAT)
            .body(body.to_string())
            .on(client);
        // Of a client that it does not know, we ask for everything, as the reference forgets to do.
        // Nor is one that comes to a group that all have left asked for what it has brought.
        let step = if short || self.has_left {
            step.ignoring("ext.IS_SUB_CHANGE")
        } else {
            step
        };
        self.push("heartbeat", step);
    }

    pub(super) fn unregister(&mut self) {
        self.has_left = true;
        let client = self.dice.one(&CLIENTS);
        let line = if self.dice.once_in(5) { "main" } else { client };
        // One that there is: the reference makes it, or a group of whatever name.
        let name = self.dice.one(&["a", "b"]);
        let group = self.group(name);
        let step = Step::broker("", Code::UNREGISTER_CLIENT)
            .field("clientID", format!("{client}@{}", self.seed))
            .field("consumerGroup", group)
            .on(line);
        self.push("a client leaves", step);
    }

    /// The reference notices that a connection is gone when it gets to it.
    pub(super) fn hang_up(&mut self) {
        self.has_left = true;
        let client = self.dice.one(&CLIENTS);
        // Then it has been there.
        let probe = Step::broker("", Code::GET_MAX_OFFSET)
            .field("topic", "SeqPlain")
            .field("queueId", 0);
        self.push("is there", probe.on(client));
        self.push("hangs up", Step::hang_up(client));
        let listed = format!("body.consumerIdList[\"{client}@{}\"]", self.seed);
        for name in ["a", "b", "c"] {
            let list = Step::broker("", Code::GET_CONSUMER_LIST_BY_GROUP)
                .field("consumerGroup", self.group(name))
                .until_absent(&listed);
            self.push("is gone", list);
        }
    }

    pub(super) fn lock(&mut self) {
        let client = self.dice.one(&CLIENTS);
        let name = self.dice.one(&["a", "b"]);
        let mut queues = Vec::new();
        for _ in 0..self.dice.below(4) {
            let place = self.place();
            if let Ok(id) = place.queue.parse::<i32>() {
                queues.push(json!({"topic": place.topic, "brokerName": "broker-a", "queueId": id}));
            }
        }
        let body = json!({
            "clientId": client, "consumerGroup": self.group(name), "onlyThisBroker": self.dice.once_in(2),
            "mqSet": queues,
        });
        let code = self.dice.one(&[41, 41, 42]);
        let step = Step::broker("", Code(code)).body(body.to_string());
        self.push("locks", step);
    }

    pub(super) fn about_group(&mut self) {
        let group = self.some_group();
        let (code, field) = self.dice.one(&[
            (38, "consumerGroup"),
            (38, "consumerGroup"),
            (352, "group"),
            (203, "consumerGroup"),
            (343, "group"),
        ]);
        let step = Step::broker("", Code(code)).field(field, group);
        self.push("about a group", step);
    }

    pub(super) fn forbid(&mut self) {
        let place = self.place();
        let name = self.dice.one(&["a", "b"]);
        let step = Step::broker("", Code::UPDATE_AND_GET_GROUP_FORBIDDEN)
            .field("group", self.group(name))
            .field("topic", place.topic);
        let step = match self.dice.below(3) {
            0 => step.field("readable", "false"),
            1 => step.field("readable", "true"),
            _ => step,
        };
        self.push("what a group may read", step);
    }

    pub(super) fn group_settings(&mut self, name: &str) {
        let body = json!({
            "groupName": self.group(name),
            "consumeEnable": !self.dice.once_in(12),
            "consumeBroadcastEnable": !self.dice.once_in(4),
            "consumeFromMinEnable": !self.dice.once_in(4),
            "consumeMessageOrderly": self.dice.once_in(4),
            "retryQueueNums": 1,
            "retryMaxTimes": self.dice.below(20),
            "brokerId": self.dice.one(&[0, 0, 0, 1]),
            "whichBrokerWhenConsumeSlowly": self.dice.one(&[1, 1, 2]),
            "groupSysFlag": self.dice.one(&[0, 0, 1, 5]),
        });
        let step = Step::broker("", Code::UPDATE_AND_CREATE_SUBSCRIPTIONGROUP).body(body.to_string());
        self.push("settings of a group", step);
    }

    pub(super) fn delete_group(&mut self) {
        self.has_left = true;
        let name = self.dice.one(&["c", "c", "d"]);
        let step = Step::broker("", Code::DELETE_SUBSCRIPTIONGROUP)
            .field("groupName", self.group(name))
            .field("cleanOffset", self.dice.one(&["true", "false"]));
        self.push("a group is deleted", step);
    }
}

/// What a client sends as the code of a tag.
fn java_hash(tag: &str) -> i32 {
    let units = tag.encode_utf16();
    units.fold(0_i32, |hash, unit| {
        hash.wrapping_mul(31).wrapping_add(i32::from(unit))
    })
}
