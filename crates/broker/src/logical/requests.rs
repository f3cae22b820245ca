// SPDX-License-Identifier: Apache-2.0
//! Code 513: makes or changes a static topic.

use std::sync::Arc;

use net::{Answer, Call, Fault, Reply};
use wire::api::topic::UpdateAndCreateStaticTopic;
use wire::body::topic_route::TopicQueueMapping;
use wire::code::{NoHeader, ResponseCode};
use wire::fastjson;

use super::MappingError;
use crate::blocking;
use crate::broker::Broker;
use crate::fault::{bad_body, unsaved};
use crate::subject::Subject;
use crate::topic::requests::{asked_topic, checked_topic};

/// The topic and the part of its logical queues that this broker has. The answer waits until the name servers know.
pub(crate) fn update_static_topic(
    b: &Arc<Broker>,
    call: Call<UpdateAndCreateStaticTopic>,
) -> Result<Answer<NoHeader>, Fault> {
    let UpdateAndCreateStaticTopic(asked) = call.header;
    let force = asked.force.unwrap_or_default();
    let topic = checked_topic(b, asked_topic(asked)?)?;
    let mapping: TopicQueueMapping = fastjson::from_slice(&call.body).map_err(|e| bad_body(&e))?;
    let refuse = |remark: String| Err(Fault::new(ResponseCode::SYSTEM_ERROR, remark));
    if mapping.topic != topic.topic_name {
        return refuse(format!(
            "the mapping is that of topic {:?}, not {:?}",
            mapping.topic, topic.topic_name
        ));
    }
    if mapping.bname != b.config().broker_name {
        return refuse(format!(
            "the mapping is that of broker {:?}, and this is {:?}",
            mapping.bname,
            b.config().broker_name
        ));
    }
    let (b, peer) = (Arc::clone(b), call.peer);
    Ok(Answer::Later(Box::pin(async move {
        let (saving, name) = (Arc::clone(&b), topic.topic_name.clone());
        let saved = blocking::run(&b, &peer, move || {
            let _one = saving.logical.pairing.lock();
            saving.logical.put(mapping, force)?;
            let changed = saving.topics.put(vec![topic])?;
            for topic in &changed {
                saving.note_topic(topic);
            }
            // The mapping goes with a registration of everything.
            saving.topics.touch()?;
            Ok::<_, MappingError>(())
        });
        saved.await?.map_err(|error| match error {
            MappingError::Save(error) => unsaved(&error, Subject::topic(&name)),
            error => Fault::new(ResponseCode::SYSTEM_ERROR, error.to_string()),
        })?;
        b.announce().await;
        Ok(Reply::ok(NoHeader).with_remark("not set any response code"))
    })))
}
