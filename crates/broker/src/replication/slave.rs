// SPDX-License-Identifier: Apache-2.0
//! What a slave does not do: it writes no messages, and its tables are those of its master. Codes and remarks of requests
//! about messages are the reference's; the others it lets through, and undoes a minute later what they did.

use net::Fault;
use wire::code::{Code, ResponseCode};
use wire::frame::Frame;

use crate::broker::Broker;
use crate::config::{BrokerRole, Config};

const BUSY: &str = "[REJECTREQUEST]system busy, start flow control for a while";
const NOT_AVAILABLE: &str = "service not available now. It may be caused by one of the following reasons: messages are put to the slave, the master is away";
/// What pops are told that it does not serve.
pub(crate) const NO_POPS: &str = "this broker is a slave: messages are popped from its master";
const UNKNOWN_TOPICS: &str = "a slave does not know which topics are unused: queues are cleaned on its master, and here when it is one";
const TABLES: &str =
    "Can't modify topic or subscription group from slave broker, please execute it from master broker.";

/// Why this broker, as a slave, does not serve a request, if it does not.
pub(crate) fn refusal(b: &Broker, config: &Config, frame: &Frame) -> Option<Fault> {
    if config.broker_role != BrokerRole::Slave {
        return None;
    }
    let refuse = |code, remark: &str| Some(Fault::new(code, remark));
    match Code(frame.code) {
        // Producers are not sent here; those that come all the same hear what lets them try elsewhere.
        Code::SEND_MESSAGE | Code::SEND_MESSAGE_V2 | Code::SEND_BATCH_MESSAGE
            if config.enable_slave_acting_master =>
        {
            refuse(ResponseCode::SERVICE_NOT_AVAILABLE, NOT_AVAILABLE)
        }
        Code::CONSUMER_SEND_MSG_BACK if config.enable_slave_acting_master => refuse(
            ResponseCode::SYSTEM_ERROR,
            &format!("no master available along with {}", config.broker_ip1),
        ),
        Code::SEND_MESSAGE
        | Code::SEND_MESSAGE_V2
        | Code::SEND_BATCH_MESSAGE
        | Code::CONSUMER_SEND_MSG_BACK => refuse(ResponseCode::SYSTEM_BUSY, BUSY),
        Code::PULL_MESSAGE | Code::LITE_PULL_MESSAGE if !config.slave_read_enable => {
            refuse(ResponseCode::SYSTEM_BUSY, BUSY)
        }
        Code::END_TRANSACTION => refuse(ResponseCode::SLAVE_NOT_AVAILABLE, ""),
        Code::RECALL_MESSAGE => refuse(
            ResponseCode::SLAVE_NOT_AVAILABLE,
            "recall failed, broker service not available",
        ),
        Code::INVOKE_BROKER_TO_RESET_OFFSET => {
            refuse(ResponseCode::SYSTEM_ERROR, "Can not reset offset in slave broker")
        }
        Code::POP_MESSAGE
        | Code::ACK_MESSAGE
        | Code::BATCH_ACK_MESSAGE
        | Code::CHANGE_MESSAGE_INVISIBLETIME
            if !b.may_pop() =>
        {
            refuse(ResponseCode::SERVICE_NOT_AVAILABLE, NO_POPS)
        }
        // Its topics come later than its log: it would remove the queues of a topic that it does not know yet.
        Code::CLEAN_UNUSED_TOPIC => refuse(ResponseCode::SYSTEM_ERROR, UNKNOWN_TOPICS),
        Code::UPDATE_AND_CREATE_TOPIC
        | Code::UPDATE_AND_CREATE_TOPIC_LIST
        | Code::UPDATE_AND_CREATE_STATIC_TOPIC
        | Code::DELETE_TOPIC_IN_BROKER
        | Code::UPDATE_AND_CREATE_SUBSCRIPTIONGROUP
        | Code::UPDATE_AND_CREATE_SUBSCRIPTIONGROUP_LIST
        | Code::DELETE_SUBSCRIPTIONGROUP
        | Code::UPDATE_AND_GET_GROUP_FORBIDDEN
        | Code::SET_MESSAGE_REQUEST_MODE
        | Code::CLONE_GROUP_OFFSET => refuse(ResponseCode::SYSTEM_ERROR, TABLES),
        _ => None,
    }
}
