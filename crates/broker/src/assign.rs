// SPDX-License-Identifier: Apache-2.0
//! Which queues a client reads, and whether by pull or by pop (400 to 402).
//!
//! A client asks any broker of its topic, and is told about the queues of all of them; so the queues come from the name
//! servers. Only a broker that has none takes its own.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;

use net::{Answer, Call, Fault, Reply};
use parking_lot::Mutex;
use serde::Serialize;
use store::Env;
use tracing::warn;
use wire::api::pop::{ANY_QUEUE, GetAllMessageRequestMode};
use wire::api::route::{QueryAssignment, SetMessageRequestMode};
use wire::body::queue::{
    Assignment, Assignments, MessageQueue, MessageRequestMode, MessageRequestModeTable, QueryAssignmentBody,
    SetMessageRequestModeBody,
};
use wire::body::subscription::MessageModel;
use wire::body::topic_route::TopicRoute;
use wire::code::{NoHeader, ResponseCode};
use wire::{Str, fastjson};

use crate::blocking;
use crate::broker::Broker;
use crate::config::Config;
use crate::fault::{bad_body, unsaved};
use crate::names::RETRY_PREFIX;
use crate::names::quoted;
use crate::peers::Route;
use crate::saved::{self, LoadError, SaveError};
use crate::subject::Subject;
use crate::topic::perm;

/// What was chosen for groups and topics: `config/messageRequestMode.json`.
pub(crate) struct Modes {
    env: Env,
    path: PathBuf,
    table: Mutex<MessageRequestModeTable>,
    saving: Mutex<()>,
}

impl Modes {
    pub(crate) fn open(config: &Config, env: Env) -> Result<Modes, LoadError> {
        let path = config.config_dir().join("messageRequestMode.json");
        let table = saved::load(&env, &path)?.unwrap_or_default();
        Ok(Modes {
            env,
            path,
            table: Mutex::new(table),
            saving: Mutex::new(()),
        })
    }

    fn get(&self, topic: &str, group: &str) -> Option<SetMessageRequestModeBody> {
        let table = self.table.lock();
        table.message_request_mode_map.get(topic)?.get(group).cloned()
    }

    /// Takes over the table of a master. Blocks.
    pub(crate) fn follow(&self, master: MessageRequestModeTable) -> Result<(), SaveError> {
        let _one_at_a_time = self.saving.lock();
        if *self.table.lock() == master {
            return Ok(());
        }
        saved::save(&self.env, &self.path, &master)?;
        *self.table.lock() = master;
        Ok(())
    }

    /// Blocks.
    fn set(&self, chosen: SetMessageRequestModeBody) -> Result<(), SaveError> {
        let _one_at_a_time = self.saving.lock();
        let mut table = self.table.lock().clone();
        let groups = table
            .message_request_mode_map
            .entry(chosen.topic.clone())
            .or_default();
        groups.insert(chosen.consumer_group.clone(), chosen);
        saved::save(&self.env, &self.path, &table)?;
        *self.table.lock() = table;
        Ok(())
    }
}

/// The answer as the reference writes it: nothing at all when it does not know.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Unknown {}

/// Code 400.
pub(crate) fn query_assignment(
    b: &Arc<Broker>,
    call: Call<QueryAssignment>,
) -> Result<Answer<NoHeader>, Fault> {
    let asked: QueryAssignmentBody = fastjson::from_slice(&call.body).map_err(|e| bad_body(&e))?;
    let b = Arc::clone(b);
    Ok(Answer::Later(Box::pin(async move {
        let chosen = chosen(&b, &asked);
        let body = match queues_of(&b, &asked.topic).await {
            Some(queues) => {
                let members = b.clients.ids(&asked.consumer_group);
                assign(
                    &asked,
                    &chosen,
                    queues,
                    members,
                    b.config().server_load_balancer_enable,
                )
            }
            None => None,
        };
        Ok(Reply::ok(NoHeader).with_body(match body {
            Some(queues) => fastjson::to_vec(&Assignments {
                message_queue_assignments: queues
                    .into_iter()
                    .map(|message_queue| Assignment {
                        attachments: None,
                        message_queue,
                        mode: chosen.mode,
                    })
                    .collect(),
            }),
            None => fastjson::to_vec(&Unknown {}),
        }))
    })))
}

/// How the group reads the topic.
fn chosen(b: &Broker, asked: &QueryAssignmentBody) -> SetMessageRequestModeBody {
    if let Some(chosen) = b.modes.get(&asked.topic, &asked.consumer_group) {
        return chosen;
    }
    let config = b.config();
    let mode = if asked.topic.starts_with(RETRY_PREFIX) {
        MessageRequestMode::Pull
    } else {
        config.default_message_request_mode.mode()
    };
    SetMessageRequestModeBody {
        mode,
        pop_share_queue_num: config.default_pop_share_queue_num,
        ..SetMessageRequestModeBody::default()
    }
}

/// The readable queues of a topic on all brokers; `None`: there is no such topic, or nobody knows just now.
async fn queues_of(b: &Arc<Broker>, topic: &Str) -> Option<BTreeSet<MessageQueue>> {
    let route = match b.peers.route(b, topic).await {
        Route::Found(route) => route,
        Route::NoServers => return own_queues(b, topic),
        Route::Unknown => return None,
    };
    let TopicRoute { queue_datas, .. } = route;
    let readable = queue_datas.iter().filter(|queues| queues.perm & perm::READ != 0);
    let queues = readable.flat_map(|queues| {
        (0..queues.read_queue_nums).map(|queue_id| MessageQueue {
            broker_name: queues.broker_name.clone(),
            queue_id,
            topic: topic.clone(),
        })
    });
    Some(queues.collect())
}

fn own_queues(b: &Broker, topic: &Str) -> Option<BTreeSet<MessageQueue>> {
    let known = b.topics.get(topic)?;
    let broker_name = b.config().broker_name.clone();
    let queues = (0..known.config.read_queue_nums).map(|queue_id| MessageQueue {
        broker_name: broker_name.clone(),
        queue_id,
        topic: topic.clone(),
    });
    Some(queues.collect())
}

/// The share of one client. `None`: it shall keep what it has.
fn assign(
    asked: &QueryAssignmentBody,
    chosen: &SetMessageRequestModeBody,
    queues: BTreeSet<MessageQueue>,
    members: Vec<Str>,
    is_balanced: bool,
) -> Option<BTreeSet<MessageQueue>> {
    if asked.message_model == MessageModel::Broadcasting || !is_balanced {
        return Some(queues);
    }
    // Ordered by topic, broker, number, as all clients and brokers order them.
    let mut all: Vec<MessageQueue> = queues.into_iter().collect();
    all.sort_by(|a, b| (&a.broker_name, a.queue_id).cmp(&(&b.broker_name, b.queue_id)));
    let mut members: Vec<Str> = members;
    if members.is_empty() {
        return None;
    }
    members.sort();
    let strategy = match asked.strategy_name.as_str() {
        "AVG" => average,
        "AVG_BY_CIRCLE" => circle,
        other => {
            warn!(
                topic = %quoted(&asked.topic),
                group = %quoted(&asked.consumer_group),
                client = %quoted(&asked.client_id),
                strategy = %quoted(other),
                "unknown strategy of assignment, the client keeps its queues; it may be AVG or AVG_BY_CIRCLE"
            );
            return None;
        }
    };
    let index = members.iter().position(|member| *member == asked.client_id);
    let share = |index: usize| strategy(index, members.len(), &all);
    if chosen.mode == MessageRequestMode::Pull {
        return Some(index.map(share).unwrap_or_default().into_iter().collect());
    }
    let shared = usize::try_from(chosen.pop_share_queue_num).unwrap_or(0);
    if shared == 0 || shared + 1 >= members.len() {
        let whole = all.into_iter().map(|queue| MessageQueue {
            queue_id: ANY_QUEUE,
            ..queue
        });
        return Some(whole.collect());
    }
    let Some(index) = index else {
        return Some(BTreeSet::new());
    };
    if members.len() > all.len() {
        return Some(all.get(index % all.len().max(1)).cloned().into_iter().collect());
    }
    let shares = (index..=index + shared).flat_map(|index| share(index % members.len()));
    Some(shares.collect())
}

/// As even as it goes, neighbours together.
fn average(index: usize, members: usize, all: &[MessageQueue]) -> Vec<MessageQueue> {
    let (least, more) = (all.len() / members, all.len() % members);
    if all.len() <= members {
        return all.get(index).cloned().into_iter().collect();
    }
    let begin = index * least + index.min(more);
    let count = least + usize::from(index < more);
    all.iter().skip(begin).take(count).cloned().collect()
}

/// One after the other.
fn circle(index: usize, members: usize, all: &[MessageQueue]) -> Vec<MessageQueue> {
    all.iter().skip(index).step_by(members).cloned().collect()
}

/// Code 401.
pub(crate) fn set_mode(
    b: &Arc<Broker>,
    call: Call<SetMessageRequestMode>,
) -> Result<Answer<NoHeader>, Fault> {
    let chosen: SetMessageRequestModeBody = fastjson::from_slice(&call.body).map_err(|e| bad_body(&e))?;
    let topic = &chosen.topic;
    if topic.starts_with(RETRY_PREFIX) {
        let remark = "retry topic is not allowed to set mode";
        return Err(Fault::new(ResponseCode::NO_PERMISSION, remark));
    }
    if b.topics.get(topic).is_none() {
        let remark = format!("topic[{topic}] not exist");
        return Err(Fault::new(ResponseCode::TOPIC_NOT_EXIST, remark));
    }
    let b = Arc::clone(b);
    Ok(Answer::Later(Box::pin(async move {
        let set = move |b: &Broker| {
            if b.group(&chosen.consumer_group).is_none() {
                let remark = "subscription group does not exist";
                return Err(Fault::new(ResponseCode::SUBSCRIPTION_GROUP_NOT_EXIST, remark));
            }
            let (topic, group) = (chosen.topic.clone(), chosen.consumer_group.clone());
            let set = b.modes.set(chosen);
            set.map_err(|error| unsaved(&error, Subject::topic(&topic).of(&group)))
        };
        blocking::create(&b, &call.peer, set).await??;
        Ok(Reply::ok(NoHeader))
    })))
}

/// Code 402.
pub(crate) fn all_modes(
    b: &Arc<Broker>,
    _: Call<GetAllMessageRequestMode>,
) -> Result<Answer<NoHeader>, Fault> {
    let body = fastjson::to_vec(&*b.modes.table.lock());
    Ok(Reply::ok(NoHeader).with_body(body).into())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ask(client: &str, mode: MessageRequestMode, shared: i32, members: usize, queues: i32) -> Vec<i32> {
        let asked = QueryAssignmentBody {
            client_id: client.into(),
            strategy_name: "AVG".into(),
            ..QueryAssignmentBody::default()
        };
        let chosen = SetMessageRequestModeBody {
            mode,
            pop_share_queue_num: shared,
            ..SetMessageRequestModeBody::default()
        };
        let queues = (0..queues).map(|queue_id| MessageQueue {
            queue_id,
            ..MessageQueue::default()
        });
        let members = (0..members).map(|member| format!("c{member}").into()).collect();
        let share = assign(&asked, &chosen, queues.collect(), members, true).unwrap();
        share.iter().map(|queue| queue.queue_id).collect()
    }

    #[test]
    fn pulled_queues_are_shared_out_evenly() {
        let share = |client| ask(client, MessageRequestMode::Pull, 0, 3, 8);
        assert_eq!(share("c0"), [0, 1, 2]);
        assert_eq!(share("c1"), [3, 4, 5]);
        assert_eq!(share("c2"), [6, 7]);
        assert_eq!(share("stranger"), [0; 0]);
        assert_eq!(ask("c4", MessageRequestMode::Pull, 0, 5, 3), [0; 0]);
    }

    #[test]
    fn popped_queues_are_shared_with_the_next_members_or_all() {
        let share = |client, shared| ask(client, MessageRequestMode::Pop, shared, 4, 8);
        assert_eq!(share("c0", 0), [-1]);
        assert_eq!(share("c0", 3), [-1]);
        assert_eq!(share("c0", 1), [0, 1, 2, 3]);
        assert_eq!(share("c3", 2), [0, 1, 2, 3, 6, 7]);
        assert_eq!(
            ask("c7", MessageRequestMode::Pop, 1, 9, 3),
            [1],
            "more members than queues"
        );
    }
}
