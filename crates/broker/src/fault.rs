// SPDX-License-Identifier: Apache-2.0
//! What a client is told when something fails: every internal error, and its response code, on one screen.
//!
//! Producers try another broker on 1, 2, 14, 16 and 17 and give up on everything else, so the choice of a code decides
//! what clients do. `Fault` and the errors belong to other crates, hence functions instead of `From`.

use std::io;

use net::Fault;
use store::{AppendError, ReadError};
use tracing::error;
use wire::batch::BatchError;
use wire::code::ResponseCode;
use wire::fastjson::JsonError;

use crate::attributes::AttributeError;
use crate::names::quoted;
use crate::saved::SaveError;
use crate::subject::Subject;

/// The store does not take a message.
pub(crate) fn not_appended(error: &AppendError, about: Subject<'_>) -> Fault {
    let code = match error {
        AppendError::RecordTooLarge { .. }
        | AppendError::PropertiesTooLarge { .. }
        | AppendError::Topic
        | AppendError::InnerBatch
        | AppendError::Empty => ResponseCode::MESSAGE_ILLEGAL,
        AppendError::Busy { .. } => {
            let remark = format!("[PC_SYNCHRONIZED]broker busy, start flow control for a while: {error}");
            return Fault::new(ResponseCode::SYSTEM_BUSY, remark);
        }
        AppendError::Deleted => ResponseCode::TOPIC_NOT_EXIST,
        AppendError::DiskFull { .. } | AppendError::Follows | AppendError::Closed => {
            ResponseCode::SERVICE_NOT_AVAILABLE
        }
        AppendError::Failed => ResponseCode::SYSTEM_ERROR,
    };
    Fault::new(code, format!("the message is not stored{about}: {error}"))
}

/// The store cannot read what should be there.
pub(crate) fn not_read(error: &ReadError, about: Subject<'_>) -> Fault {
    let peer = about.peer.map(tracing::field::display);
    error!(
        topic = about.topic.map(quoted), queue = about.queue, offset = about.offset, pos = about.pos,
        group = about.group.map(quoted), peer, %error,
        "the store cannot be read; look at the disk"
    );
    Fault::new(
        ResponseCode::SYSTEM_ERROR,
        format!("the store cannot be read{about}: {error}"),
    )
}

/// A change is not made because it cannot be saved.
pub(crate) fn unsaved(error: &SaveError, about: Subject<'_>) -> Fault {
    error!(
        topic = about.topic.map(quoted), group = about.group.map(quoted),
        file = %error.path.display(), error = %error.source,
        "a change is refused because it cannot be saved; look at the disk, and ask again"
    );
    Fault::new(
        ResponseCode::SYSTEM_ERROR,
        format!("the change is not made{about}: {error}"),
    )
}

/// A change is made, and is lost if the broker is killed before the next one can be saved.
pub(crate) fn not_kept(error: &SaveError, about: Subject<'_>) -> Fault {
    error!(
        topic = about.topic.map(quoted), group = about.group.map(quoted),
        file = %error.path.display(), error = %error.source,
        "a change of consumer offsets is not saved; trying again, a kill before that undoes it"
    );
    Fault::new(
        ResponseCode::SYSTEM_ERROR,
        format!("the offsets are changed, but not saved{about}: {error}"),
    )
}

/// A topic is deleted, but its files are not.
pub(crate) fn files_remain(topic: &str, error: &io::Error) -> Fault {
    error!(topic, %error, "the queues of a deleted topic cannot be removed; trying again");
    Fault::new(
        ResponseCode::SYSTEM_ERROR,
        format!("topic {topic} is deleted, its files are not: {error}"),
    )
}

/// The body is not the JSON it should be.
pub(crate) fn bad_body(error: &JsonError) -> Fault {
    Fault::new(
        ResponseCode::SYSTEM_ERROR,
        format!("the body makes no sense: {error}"),
    )
}

/// The body is not a batch of messages.
pub(crate) fn batch_malformed(error: &BatchError) -> Fault {
    Fault::new(
        ResponseCode::MESSAGE_ILLEGAL,
        format!("the batch is not stored: {error}"),
    )
}

/// The attributes of a topic or group cannot be changed like this.
pub(crate) fn refused_attributes(error: &AttributeError) -> Fault {
    Fault::new(ResponseCode::SYSTEM_ERROR, error.to_string())
}

/// There is no such consumer group, and it does not come into being by itself.
pub(crate) fn no_group(group: &str) -> Fault {
    Fault::new(
        ResponseCode::SUBSCRIPTION_GROUP_NOT_EXIST,
        format!("subscription group [{group}] does not exist"),
    )
}
