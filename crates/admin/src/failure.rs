// SPDX-License-Identifier: Apache-2.0
//! How a command can fail, in sentences that say what to do, and with which exit code.

use std::time::Duration;

use net::{CallError, ConnectError};
use thiserror::Error;
use wire::code::{Code, ResponseCode};
use wire::frame::Frame;

/// Exit code where the call was wrong.
pub(crate) const WRONG_CALL: u8 = 2;

/// Why a command did not do what it was asked for.
#[derive(Debug, Error)]
pub enum Failure {
    /// It was called in a way that cannot be meant. Nothing was sent.
    #[error("{0}")]
    Usage(String),
    /// Something is missing that the table of options does not ask for; the usage says more.
    #[error("{0}")]
    Incomplete(&'static str),
    /// No address that could be tried.
    #[error("'{0}' is no address: expected host:port")]
    BadAddress(String),
    /// The name of the host is not known.
    #[error("the host of {0} is not known: {1}")]
    NoHost(String, #[source] std::io::Error),
    /// Nobody listens there.
    #[error("{0}; is the server running, and is this its address?")]
    NoConnection(#[from] ConnectError),
    /// Somebody listens and does not answer.
    #[error(
        "no answer from {0} within {seconds} s: it takes connections; its log says what it does",
        seconds = .1.as_secs_f64()
    )]
    NoAnswer(String, Duration),
    /// The connection broke.
    #[error("{0} closed the connection before it answered: {1}")]
    Ended(String, #[source] CallError),
    /// The server says no.
    #[error("{addr} refused {request} with {code}: {remark}")]
    Refused {
        /// Who.
        addr: String,
        /// What it was asked.
        request: Code,
        /// Its code.
        code: ResponseCode,
        /// Its reason.
        remark: String,
    },
    /// The answer is not what the protocol says.
    #[error("the answer of {addr} to {request} cannot be read: {why}")]
    BadAnswer {
        /// Who.
        addr: String,
        /// What it was asked.
        request: Code,
        /// What is wrong with it.
        why: String,
    },
    /// All name servers failed; the reason of the last one.
    #[error("none of the {0} name servers can be asked; the last one: {1}")]
    NoNameServer(usize, Box<Failure>),
    /// What the answers of several servers amount to, by the code the reference has for it.
    #[error("{1}")]
    Found(ResponseCode, String),
    /// Anything else that a command found wrong.
    #[error("{0}")]
    Other(String),
}

impl Failure {
    /// The failure that an answer is which says no.
    pub(crate) fn refused(addr: &str, request: Code, answer: &Frame) -> Failure {
        Failure::Refused {
            addr: addr.to_owned(),
            request,
            code: ResponseCode(answer.code),
            remark: answer
                .remark
                .as_deref()
                .unwrap_or("it gives no reason")
                .to_owned(),
        }
    }

    /// 2 where the call was wrong, 1 where the server or the way to it was.
    pub fn exit_code(&self) -> u8 {
        match self {
            Failure::Usage(_) | Failure::Incomplete(_) | Failure::BadAddress(_) => WRONG_CALL,
            _ => 1,
        }
    }

    /// The code of the server, if it was the server that said no.
    pub fn response_code(&self) -> Option<ResponseCode> {
        match self {
            Failure::Refused { code, .. } | Failure::Found(code, _) => Some(*code),
            _ => None,
        }
    }

    /// Whether the server was asked and did not answer: what it was asked for may be done.
    pub(crate) fn is_lost_answer(&self) -> bool {
        matches!(self, Failure::NoAnswer(..) | Failure::Ended(..))
    }

    /// Whether another server could answer instead.
    pub(crate) fn is_of_the_way(&self) -> bool {
        matches!(
            self,
            Failure::NoHost(..) | Failure::NoConnection(_) | Failure::NoAnswer(..) | Failure::Ended(..)
        )
    }
}
