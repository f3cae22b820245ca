// SPDX-License-Identifier: Apache-2.0
//! What would be removed some time is removed now: 306, 316 and 329.

use std::sync::Arc;

use net::{Answer, Call, Fault, Reply};
use tracing::info;
use wire::api::clean::{CleanExpiredConsumequeue, CleanUnusedTopic, DeleteExpiredCommitlog};
use wire::code::{NoHeader, ResponseCode};

use crate::blocking::later;
use crate::broker::Broker;
use crate::fault::files_remain;

/// Code 306. Queues let go of what lies in front of the log. A queue of which nothing is left stays, with its offsets: the
/// reference removes it, begins it anew at 0, and groups that are further would pass over what comes then.
pub(crate) fn expired_queues(
    b: &Arc<Broker>,
    call: Call<CleanExpiredConsumequeue>,
) -> Result<Answer<NoHeader>, Fault> {
    let b = Arc::clone(b);
    Ok(later(&b.clone(), &call.peer, move || {
        let done = b.store.clean_queues();
        done.map_err(|error| {
            let remark = format!("the queues are not cleaned, which is tried again later: {error}");
            Fault::new(ResponseCode::SYSTEM_ERROR, remark)
        })?;
        Ok(Reply::ok(NoHeader))
    }))
}

/// Code 316. Queues of topics that are not there go, with their files; those of the system stay.
pub(crate) fn unused_topics(
    b: &Arc<Broker>,
    call: Call<CleanUnusedTopic>,
) -> Result<Answer<NoHeader>, Fault> {
    let b = Arc::clone(b);
    Ok(later(&b.clone(), &call.peer, move || {
        for topic in b.store.topics() {
            if b.topics.is_system(&topic) {
                continue;
            }
            // What is sent to a topic that comes into being meanwhile is not to go with the old queues.
            let removed = b
                .topics
                .while_absent(&topic, || b.store.delete_topic(&topic))
                .transpose();
            if removed.map_err(|error| files_remain(&topic, &error))?.is_some() {
                info!(%topic, "the queues of a topic that is not there are removed");
            }
        }
        Ok(Reply::ok(NoHeader))
    }))
}

/// Code 329. Expired files of the log go at the next cleanings, whatever the hour.
pub(crate) fn expired_files(
    b: &Arc<Broker>,
    _: Call<DeleteExpiredCommitlog>,
) -> Result<Answer<NoHeader>, Fault> {
    b.store.clean_soon();
    Ok(Reply::ok(NoHeader).into())
}
