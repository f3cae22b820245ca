// SPDX-License-Identifier: Apache-2.0
//! From a frame to a typed handler and back.
//!
//! A server lists its requests once, with [`routes!`](crate::routes!); that list is its dispatch, and the table that
//! tests and documents read. A handler is `fn(&Arc<Server>, Call<R>) -> Result<Answer<R::Reply>, Fault>`.

use std::sync::Arc;

use bytes::Bytes;
use wire::Str;
use wire::code::Request;
use wire::code::ResponseCode;
use wire::ext::{Ext, ExtError};
use wire::frame::{Frame, Language};

use crate::access::{Entry, Logged};
use crate::peer::Peer;
use crate::service::{BoxFuture, Late, Outcome, Service, Ticket};

/// One request on its way to a handler.
pub struct Call<R> {
    /// The typed header.
    pub header: R,
    /// The request code as it came (several codes may share a handler).
    pub code: i32,
    /// The sender's version ordinal.
    pub version: i32,
    /// The sender's language.
    pub language: Language,
    /// The request's id on its connection.
    pub opaque: i32,
    /// Nobody waits for an answer.
    pub oneway: bool,
    /// The raw extension fields, for the few that need more than the header.
    pub ext: Ext,
    /// The body.
    pub body: Bytes,
    /// Who asks.
    pub peer: Arc<Peer>,
}

/// A good answer.
#[derive(Debug, Clone)]
pub struct Reply<T> {
    /// Usually success; some requests answer with other codes and a full header.
    pub code: ResponseCode,
    /// Free text; some clients read it.
    pub remark: Option<Str>,
    /// The typed header.
    pub header: T,
    /// Extension fields beside the header.
    pub extra: Vec<(&'static str, Str)>,
    /// The body.
    pub body: Bytes,
    /// Whether the answer waited for something to happen, as a held pull does.
    pub waited: bool,
}

impl<T> Reply<T> {
    /// Success with this header.
    pub fn ok(header: T) -> Reply<T> {
        Reply {
            code: ResponseCode::SUCCESS,
            remark: None,
            header,
            extra: Vec::new(),
            body: Bytes::new(),
            waited: false,
        }
    }

    /// The same with a body.
    pub fn with_body(mut self, body: impl Into<Bytes>) -> Reply<T> {
        self.body = body.into();
        self
    }

    /// The same with one more extension field.
    pub fn with(mut self, key: &'static str, value: impl Into<Str>) -> Reply<T> {
        self.extra.push((key, value.into()));
        self
    }

    /// The same with a remark.
    pub fn with_remark(mut self, remark: impl Into<Str>) -> Reply<T> {
        self.remark = Some(remark.into());
        self
    }
}

/// What a client is told when its request fails.
#[derive(Debug, Clone)]
pub struct Fault {
    /// The response code; clients decide by it whether they try again.
    pub code: ResponseCode,
    /// What went wrong, and what to do.
    pub remark: Str,
    /// Extension fields that the answer carries even so.
    pub ext: Option<Ext>,
}

impl Fault {
    /// A fault with a code and a remark.
    pub fn new(code: ResponseCode, remark: impl Into<Str>) -> Fault {
        Fault {
            code,
            remark: remark.into(),
            ext: None,
        }
    }

    /// The same with extension fields.
    pub fn with_ext(mut self, ext: Ext) -> Fault {
        self.ext = Some(ext);
        self
    }

    /// The frame that tells it.
    pub fn into_frame(self, opaque: i32) -> Frame {
        let mut frame = Frame::reply(opaque, self.code);
        frame.remark = Some(self.remark);
        frame.ext = self.ext.unwrap_or_default();
        frame
    }
}

/// What a handler returns.
pub enum Answer<T> {
    /// Goes out at once.
    Now(Reply<T>),
    /// Goes out when the ticket is due.
    Gated(Reply<T>, Ticket),
    /// Goes out when the future ends.
    Later(BoxFuture<Result<Reply<T>, Fault>>),
    /// Nothing goes out.
    Silent,
}

impl<T> From<Reply<T>> for Answer<T> {
    fn from(reply: Reply<T>) -> Answer<T> {
        Answer::Now(reply)
    }
}

/// The type of every handler.
pub type Handler<O, R> = fn(&Arc<O>, Call<R>) -> Result<Answer<<R as Request>::Reply>, Fault>;

/// Runs a handler; of what the table calls administration, asks first whether it may come from there, and logs what came of it. Called by [`routes!`](crate::routes!).
pub fn run<O: Service, R: Request>(
    owner: &Arc<O>,
    peer: &Arc<Peer>,
    frame: Frame,
    handler: Handler<O, R>,
    logged: Logged,
) -> Outcome {
    if logged == Logged::No {
        return handle(owner, peer, frame, handler);
    }
    let entry = Entry::of(peer, &frame, logged);
    if !owner.may_administer(peer) {
        return entry.follow(refuse(
            stranger(peer, frame.code),
            frame.opaque,
            frame.is_oneway(),
        ));
    }
    entry.follow(handle(owner, peer, frame, handler))
}

/// What somebody is told who may not administer from where he is.
pub fn stranger(peer: &Peer, code: i32) -> Fault {
    let (code, from) = (wire::code::Code(code), peer.addr.ip().to_canonical());
    let remark = format!(
        "{code} may not come from {from}: ask from the host of this server, or set adminAllowedFrom={from} (or a network: 10.0.0.0/8) in its configuration file and start it again"
    );
    Fault::new(ResponseCode::NO_PERMISSION, remark)
}

/// Reads the typed header, runs the handler, and makes frames of what it returns.
fn handle<O, R: Request>(owner: &Arc<O>, peer: &Arc<Peer>, frame: Frame, handler: Handler<O, R>) -> Outcome {
    let (opaque, oneway) = (frame.opaque, frame.is_oneway());
    match call::<R>(peer, frame) {
        Ok(call) => outcome::<R>(handler(owner, call), opaque, oneway),
        Err(fault) => refuse(fault, opaque, oneway),
    }
}

/// What a request is told whose header cannot be read.
pub fn unreadable(code: i32, error: &ExtError) -> Fault {
    let remark = format!("request {}: {error}", wire::code::Code(code));
    Fault::new(ResponseCode::SYSTEM_ERROR, remark)
}

/// Reads the typed header.
fn call<R: Request>(peer: &Arc<Peer>, frame: Frame) -> Result<Call<R>, Fault> {
    let header = R::read(&frame.ext).map_err(|error| unreadable(frame.code, &error))?;
    Ok(Call {
        header,
        code: frame.code,
        version: frame.version,
        language: frame.language,
        opaque: frame.opaque,
        oneway: frame.is_oneway(),
        ext: frame.ext,
        body: frame.body,
        peer: Arc::clone(peer),
    })
}

/// Makes frames of what a handler returns.
pub fn outcome<R: Request>(answer: Result<Answer<R::Reply>, Fault>, opaque: i32, oneway: bool) -> Outcome {
    match answer {
        Err(fault) => refuse(fault, opaque, oneway),
        Ok(Answer::Silent) => Outcome::Silent,
        Ok(Answer::Later(future)) => Outcome::Later(Box::pin(async move {
            Some(match future.await {
                Ok(reply) => {
                    let waited = reply.waited;
                    let frame = into_frame::<R>(reply, opaque);
                    Late { frame, waited }
                }
                Err(fault) => fault.into_frame(opaque).into(),
            })
        })),
        Ok(Answer::Now(reply) | Answer::Gated(reply, _)) if oneway => Outcome::Oneway(reply.code),
        Ok(Answer::Now(reply)) => Outcome::Reply(into_frame::<R>(reply, opaque)),
        Ok(Answer::Gated(reply, ticket)) => Outcome::Gated(into_frame::<R>(reply, opaque), ticket),
    }
}

/// The answer to a request code that nobody handles. The leading blank is the reference's.
pub fn unsupported(frame: &Frame) -> Outcome {
    let remark = format!(" request type {} not supported", frame.code);
    refuse(
        Fault::new(ResponseCode::REQUEST_CODE_NOT_SUPPORTED, remark),
        frame.opaque,
        frame.is_oneway(),
    )
}

pub(crate) fn refuse(fault: Fault, opaque: i32, oneway: bool) -> Outcome {
    if oneway {
        Outcome::Oneway(fault.code)
    } else {
        Outcome::Reply(fault.into_frame(opaque))
    }
}

fn into_frame<R: Request>(reply: Reply<R::Reply>, opaque: i32) -> Frame {
    let mut frame = Frame::reply(opaque, reply.code);
    frame.remark = reply.remark;
    frame.ext = R::reply_ext(&reply.header);
    for (key, value) in &reply.extra {
        frame.ext = frame.ext.with(key, value);
    }
    frame.body = reply.body;
    frame
}

/// Lists the requests of a server: `routes! { Broker; PullMessage => pull::pull_message, open; … }`. Each says in a word who may send it:
///
/// * `open`: everybody. It reads, or is what clients and other servers say in the course of their work.
/// * `logged`: administrators (`adminAllowedFrom`), because it changes something; it goes to the access log.
/// * `logged_without_body`: the same, and its body may hold secrets.
///
/// Makes `fn route(&Arc<Broker>, &Arc<Peer>, Frame) -> Outcome`, `ROUTES`, the codes in that order, and `WORDS`, their words.
///
/// ```
/// # use net::{Answer, Call, Fault, Outcome, Peer, Reply, Service};
/// # use std::sync::Arc;
/// # use wire::{api::config::GetNamesrvConfig, code::NoHeader, frame::Frame};
/// # struct Server;
/// # impl Service for Server {
/// #     fn serve(self: &Arc<Self>, peer: &Arc<Peer>, frame: Frame) -> Outcome {
/// #         route(self, peer, frame)
/// #     }
/// # }
/// # fn settings(_: &Arc<Server>, _: Call<GetNamesrvConfig>) -> Result<Answer<NoHeader>, Fault> {
/// #     Ok(Reply::ok(NoHeader).into())
/// # }
/// net::routes! { Server;
///     GetNamesrvConfig => settings, open;
/// }
/// # fn main() {}
/// ```
///
/// Without its word a request does not compile, so that none is open to everybody because somebody forgot it:
///
/// ```compile_fail
/// # use net::{Answer, Call, Fault, Outcome, Peer, Reply, Service};
/// # use std::sync::Arc;
/// # use wire::{api::config::GetNamesrvConfig, code::NoHeader, frame::Frame};
/// # struct Server;
/// # impl Service for Server {
/// #     fn serve(self: &Arc<Self>, peer: &Arc<Peer>, frame: Frame) -> Outcome {
/// #         route(self, peer, frame)
/// #     }
/// # }
/// # fn settings(_: &Arc<Server>, _: Call<GetNamesrvConfig>) -> Result<Answer<NoHeader>, Fault> {
/// #     Ok(Reply::ok(NoHeader).into())
/// # }
/// net::routes! { Server;
///     GetNamesrvConfig => settings;
/// }
/// # fn main() {}
/// ```
#[macro_export]
macro_rules! routes {
    (@logged open) => { $crate::Logged::No };
    (@logged logged) => { $crate::Logged::Whole };
    (@logged logged_without_body) => { $crate::Logged::Header };
    ($owner:ty; $($request:ty => $handler:path, $logged:ident;)+) => {
        /// Every request that is served, with its handler.
        pub const ROUTES: &[(::wire::code::Code, &str)] =
            &[$((<$request as ::wire::code::Request>::CODE, stringify!($handler))),+];

        /// What the word of each of them says.
        pub const WORDS: &[(::wire::code::Code, $crate::Logged)] =
            &[$((<$request as ::wire::code::Request>::CODE, $crate::routes!(@logged $logged))),+];

        /// Hands a frame to the handler of its code.
        pub(crate) fn route(
            owner: &::std::sync::Arc<$owner>,
            peer: &::std::sync::Arc<$crate::Peer>,
            frame: ::wire::frame::Frame,
        ) -> $crate::Outcome {
            match ::wire::code::Code(frame.code) {
                $(<$request as ::wire::code::Request>::CODE => {
                    let logged = $crate::routes!(@logged $logged);
                    $crate::routes::run::<$owner, $request>(owner, peer, frame, $handler, logged)
                })+
                _ => $crate::routes::unsupported(&frame),
            }
        }
    };
}

#[cfg(test)]
mod tests {
    #![allow(unreachable_pub, reason = "what the macro makes is public")]

    use std::net::{Ipv4Addr, SocketAddr};

    use serde::{Deserialize, Serialize};
    use wire::code::Code;

    use super::*;
    use crate::limits::Limits;

    #[derive(Serialize, Deserialize)]
    struct Double {
        number: i32,
    }

    #[derive(Serialize, Deserialize, Debug, PartialEq)]
    struct Doubled {
        number: i32,
    }

    impl Request for Double {
        const CODE: Code = Code(901);
        type Reply = Doubled;
    }

    pub(crate) struct Calculator;

    fn double(_: &Arc<Calculator>, call: Call<Double>) -> Result<Answer<Doubled>, Fault> {
        if call.header.number < 0 {
            return Err(Fault::new(ResponseCode::INVALID_PARAMETER, "number is negative"));
        }
        let doubled = Doubled {
            number: call.header.number * 2,
        };
        Ok(Reply::ok(doubled)
            .with("by", "calculator")
            .with_body(call.body)
            .into())
    }

    impl Service for Calculator {
        fn serve(self: &Arc<Calculator>, peer: &Arc<Peer>, frame: Frame) -> Outcome {
            route(self, peer, frame)
        }

        fn may_administer(&self, peer: &Peer) -> bool {
            crate::Places::default().admit(peer.addr.ip(), peer.local.ip())
        }
    }

    #[derive(Serialize, Deserialize)]
    struct Forget {}

    impl Request for Forget {
        const CODE: Code = Code(902);
        type Reply = Forget;
    }

    fn forget(_: &Arc<Calculator>, _: Call<Forget>) -> Result<Answer<Forget>, Fault> {
        Ok(Reply::ok(Forget {}).into())
    }

    crate::routes! { Calculator;
        Double => double, open;
        Forget => forget, logged;
    }

    fn ask(frame: Frame) -> Option<Frame> {
        ask_from(Ipv4Addr::LOCALHOST, frame)
    }

    fn ask_from(from: Ipv4Addr, frame: Frame) -> Option<Frame> {
        let (from, to): (SocketAddr, SocketAddr) = ((from, 1).into(), (Ipv4Addr::LOCALHOST, 1).into());
        let limits = Limits::default();
        let (peer, _) = Peer::new(1, (from, to), wire::frame::Encoding::Json, &limits);
        match route(&Arc::new(Calculator), &Arc::new(peer), frame) {
            Outcome::Reply(frame) => Some(frame),
            _ => None,
        }
    }

    #[test]
    fn a_request_reaches_its_handler_and_the_answer_has_header_fields_and_body() {
        let reply = ask(Frame::request(7, &Double { number: 21 }).with_body("x")).unwrap();
        assert_eq!(reply.ext.read::<Doubled>().unwrap(), Doubled { number: 42 });
        assert_eq!(
            (reply.opaque, reply.ext.get("by").as_deref(), &reply.body[..]),
            (7, Some("calculator"), &b"x"[..])
        );
        assert_eq!(ROUTES, [(Code(901), "double"), (Code(902), "forget")]);
        assert_eq!(WORDS, [(Code(901), Logged::No), (Code(902), Logged::Whole)]);
    }

    #[test]
    fn administration_from_a_place_that_may_not_is_refused_and_everything_else_is_served() {
        let elsewhere = Ipv4Addr::new(203, 0, 113, 9);
        let refused = ask_from(elsewhere, Frame::request(7, &Forget {})).unwrap();
        assert_eq!(refused.code, ResponseCode::NO_PERMISSION.0);
        let remark = refused.remark.unwrap();
        assert!(
            remark.starts_with("ADD_BROKER (902) may not come from 203.0.113.9: ")
                && remark.contains("set adminAllowedFrom=203.0.113.9 "),
            "{remark}"
        );
        assert_eq!(ask(Frame::request(7, &Forget {})).unwrap().code, 0);
        assert_eq!(
            ask_from(elsewhere, Frame::request(7, &Double { number: 1 }))
                .unwrap()
                .code,
            0
        );
    }

    #[test]
    fn an_unknown_code_is_refused_with_the_references_words() {
        let reply = ask(Frame {
            code: 4711,
            ..Frame::request(7, &Double { number: 1 })
        })
        .unwrap();
        assert_eq!(
            (reply.code, reply.remark.as_deref()),
            (3, Some(" request type 4711 not supported"))
        );
    }

    #[test]
    fn a_header_that_cannot_be_read_is_refused_with_the_name_of_the_field() {
        let reply = ask(Frame {
            ext: Ext::default(),
            ..Frame::request(7, &Double { number: 1 })
        })
        .unwrap();
        assert_eq!(reply.code, 1);
        assert!(reply.remark.unwrap().contains("number"));
    }

    #[test]
    fn a_fault_carries_its_code_and_remark() {
        let reply = ask(Frame::request(7, &Double { number: -1 })).unwrap();
        assert_eq!(
            (reply.code, reply.remark.as_deref()),
            (29, Some("number is negative"))
        );
    }

    #[test]
    fn oneway_requests_are_never_answered() {
        assert!(ask(Frame::request(7, &Double { number: 1 }).oneway()).is_none());
        assert!(ask(Frame::request(7, &Double { number: -1 }).oneway()).is_none());
        assert!(
            ask(Frame {
                code: 4711,
                ..Frame::request(7, &Double { number: 1 }).oneway()
            })
            .is_none()
        );
    }
}
