// SPDX-License-Identifier: Apache-2.0
//! What a send must fulfil, in the order of the reference, and what is said when it does not.

use net::Fault;
use wire::Str;
use wire::api::send::SendMessage;
use wire::body::topic::TopicConfig;
use wire::code::ResponseCode;
use wire::record::{PROPERTIES_BYTES_MAX, sysflag};

use super::properties::MessageType;
use super::properties::name::{INNER_NUM, TRAN_MSG};
use super::{Send, Target};
use crate::attributes::MESSAGE_TYPE;
use crate::broker::Broker;
use crate::config::{BrokerRole, Config};
use crate::names::{is_derived, takes_no_sends, topic_error};
use crate::topic::{Topic, perm};

/// Everything that does not depend on how the message is sent; `found` is the topic it names.
pub(super) fn may_send(b: &Broker, config: &Config, send: &Send, found: Option<&Topic>) -> Result<(), Fault> {
    let open_at = config.start_accept_send_request_time_stamp;
    if open_at > 0 && b.env.clock.now_ms() < open_at {
        let remark = format!("broker unable to service, until {open_at} (startAcceptSendRequestTimeStamp)");
        return Err(Fault::new(ResponseCode::SYSTEM_ERROR, remark));
    }
    // In a compacted topic that deletes a key.
    if send.body.is_empty() && found.is_none_or(|topic| !topic.is_compacted) {
        return Err(Fault::new(ResponseCode::SYSTEM_ERROR, "the message has no body"));
    }
    let topic = &send.header.topic;
    let is_read_only = config.broker_permission.cast_signed() & perm::WRITE == 0;
    if is_read_only && found.is_some_and(|topic| topic.config.order) {
        let remark = format!("the broker[{}] sending message is forbidden", config.broker_ip1);
        return Err(Fault::new(ResponseCode::NO_PERMISSION, remark));
    }
    if !found.is_some_and(|topic| topic.takes_sends) {
        name(topic)?;
    }
    size(config, send)
}

fn name(topic: &str) -> Result<(), Fault> {
    if let Some(error) = topic_error(topic) {
        return Err(Fault::new(ResponseCode::INVALID_PARAMETER, error));
    }
    if takes_no_sends(topic) {
        let remark = format!("Sending message to topic[{topic}] is forbidden.");
        return Err(Fault::new(ResponseCode::NO_PERMISSION, remark));
    }
    Ok(())
}

fn size(config: &Config, send: &Send) -> Result<(), Fault> {
    let illegal = |remark| Err(Fault::new(ResponseCode::MESSAGE_ILLEGAL, remark));
    let (body, most) = (send.body.len(), config.max_message_size as usize);
    if body > most {
        return illegal(format!(
            "the body has {body} bytes, allowed are {most} (maxMessageSize)"
        ));
    }
    let properties = send.header.properties.as_ref().map_or(0, |text| text.len());
    if properties > PROPERTIES_BYTES_MAX {
        return illegal(format!(
            "the properties have {properties} bytes, allowed are {PROPERTIES_BYTES_MAX}"
        ));
    }
    Ok(())
}

/// Messages of a batch that are stored one by one hold no others.
pub(super) fn no_marks(sys_flag: i32) -> Result<(), Fault> {
    if sys_flag & sysflag::INNER_BATCH == 0 {
        return Ok(());
    }
    let remark = format!("sysFlag {sys_flag} says that each message of the batch holds several");
    Err(Fault::new(ResponseCode::MESSAGE_ILLEGAL, remark))
}

/// The transaction bits of the sysFlag say no more than the properties do. Without those the reference keeps the message
/// where nobody finds it, and says that all is well.
pub(super) fn transaction_bits(sys_flag: i32, is_half: bool) -> Result<(), Fault> {
    if is_half || sys_flag & sysflag::TRANSACTION == 0 {
        return Ok(());
    }
    let remark = format!("sysFlag {sys_flag} asks for a transaction, and the property TRAN_MSG does not");
    Err(Fault::new(ResponseCode::MESSAGE_ILLEGAL, remark))
}

/// Whether a topic that does not exist can be made from the one the send names.
pub(super) fn may_create(b: &Broker, config: &Config, header: &SendMessage) -> Result<(), Fault> {
    let queues = header.default_topic_queue_nums;
    let derived = b
        .topics
        .derive(config, &header.topic, &header.default_topic, queues);
    derived.map(drop).ok_or_else(|| no_topic(&header.topic))
}

/// What a message to a compacted topic without a key is told.
pub(super) fn no_key() -> Fault {
    Fault::new(ResponseCode::MESSAGE_ILLEGAL, "Required message key is missing")
}

pub(super) fn no_topic(topic: &str) -> Fault {
    Fault::new(
        ResponseCode::TOPIC_NOT_EXIST,
        format!("topic[{topic}] not exist, apply first please!"),
    )
}

/// The queue a message goes to; any when it names none.
pub(super) fn queue_id(b: &Broker, target: &Target, send: &Send) -> Result<i32, Fault> {
    if target.dead {
        return Ok(0);
    }
    let (asked, topic) = (send.header.queue_id, &target.topic.config);
    if asked >= topic.write_queue_nums.max(topic.read_queue_nums) {
        let queues = topic.write_queue_nums.max(topic.read_queue_nums);
        let remark = format!(
            "request queueId[{asked}] is illegal, {} has {queues} queues",
            topic.topic_name
        );
        return Err(Fault::new(ResponseCode::INVALID_PARAMETER, remark));
    }
    if asked >= 0 {
        return Ok(asked);
    }
    match u64::try_from(topic.write_queue_nums) {
        Ok(queues) if queues > 0 => Ok(i32::try_from(b.env.rng.below(queues)).unwrap_or_default()),
        _ => {
            let remark = format!("topic {} has no queues to write to", topic.topic_name);
            Err(Fault::new(ResponseCode::INVALID_PARAMETER, remark))
        }
    }
}

/// The message must be of the kind that its topic is for, when that is to be checked. The words are those of the
/// reference's proxy.
pub(super) fn message_type(config: &Config, topic: &TopicConfig, actual: MessageType) -> Result<(), Fault> {
    if !config.enable_topic_message_type_check || is_derived(&topic.topic_name) {
        return Ok(());
    }
    let expected = topic.attributes.get(MESSAGE_TYPE).map_or("NORMAL", Str::as_str);
    if ["MIXED", actual.name()]
        .iter()
        .any(|name| expected.eq_ignore_ascii_case(name))
    {
        return Ok(());
    }
    let remark = format!(
        "TopicMessageType validate failed, the expected type is {expected}, but actual type is {}",
        actual.name()
    );
    Err(Fault::new(ResponseCode::MESSAGE_ILLEGAL, remark))
}

/// The message asks to be kept back, or to be taken apart. Delivering it as it is would break the promise, so it is not
/// taken.
pub(super) fn deferred(config: &Config, name: &str) -> Fault {
    if name == TRAN_MSG && config.reject_transaction_message {
        let remark = format!(
            "the broker[{}] sending transaction message is forbidden",
            config.broker_ip1
        );
        return Fault::new(ResponseCode::NO_PERMISSION, remark);
    }
    let what = match name {
        TRAN_MSG => "transactions of several messages are",
        INNER_NUM => "messages that hold several messages are inside others",
        _ => "delayed delivery is",
    };
    Fault::new(
        ResponseCode::MESSAGE_ILLEGAL,
        format!("property {name} is not supported: {what} not there yet"),
    )
}

/// Refuses what must not be stored while so few slaves are in step (`enableAutoInSyncReplicas`, `minInSyncReplicas`).
pub(super) fn replicas(b: &Broker, config: &Config) -> Result<(), Fault> {
    let is_asked = config.enable_auto_in_sync_replicas && config.broker_role == BrokerRole::SyncMaster;
    if is_asked && b.replication.is_refused(&b.store) {
        return Err(Fault::new(
            ResponseCode::SYSTEM_ERROR,
            "in-sync replicas not enough",
        ));
    }
    Ok(())
}
