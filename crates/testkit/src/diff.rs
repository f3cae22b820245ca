// SPDX-License-Identifier: Apache-2.0
//! Two servers asked the same: a [`Case`] is a row of requests that are sent to both, and whose answers are compared field
//! by field. A case says which response code it expects, so it also documents the reference and can run against it alone.
//!
//! Values that must differ are named in the step ([`Step::ignoring`]); times, addresses and message ids are recognised.
//! In fields and bodies `$broker`, `$nameserver`, `$now` and saved values (`$id`) stand for what they are on each side.

mod answer;

use crate::line::{Line, request};
use crate::process::eventually;
pub use answer::Answer;
use anyhow::Context as _;
use std::collections::BTreeMap;
use std::fmt;
use std::net::SocketAddr;
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use wire::code::Code;
use wire::frame::{Encoding, Frame};

/// How long an effect may take that a server does not wait for: an index entry, a route.
const SETTLES_WITHIN: Duration = Duration::from_secs(20);

/// A row of requests with one story.
pub struct Case {
    /// What holds.
    pub name: String,
    /// The requests, in order.
    pub steps: Vec<Step>,
}

/// One request and what is expected of its answer.
pub struct Step {
    what: String,
    to: To,
    line: &'static str,
    code: Code,
    fields: Vec<(String, String)>,
    body: Vec<u8>,
    encoding: Encoding,
    version: Option<i32>,
    kind: Kind,
    /// `None`: whatever the reference answers.
    answers: Option<i32>,
    ours: Option<i32>,
    until: Vec<(String, Option<String>)>,
    pardoned: Option<i32>,
    records: bool,
    remarks: bool,
    ignored: Vec<&'static str>,
    saved: Vec<(&'static str, &'static str)>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum To {
    NameServer,
    Broker,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Ask,
    /// Nothing comes back.
    Oneway,
    /// The answer is fetched by a later step.
    Held,
    /// The answer of the request held on this connection.
    Arrives,
    /// The server sends this to us.
    Pushed,
    /// We close the connection.
    HangUp,
}

impl Case {
    /// Names the case and its steps.
    pub fn new(name: impl Into<String>, steps: Vec<Step>) -> Case {
        Case {
            name: name.into(),
            steps,
        }
    }
}

impl Step {
    /// A request to the broker.
    pub fn broker(what: impl Into<String>, code: Code) -> Step {
        Step::new(what.into(), To::Broker, code, Kind::Ask)
    }

    /// A request to the name server.
    pub fn nameserver(what: impl Into<String>, code: Code) -> Step {
        Step::new(what.into(), To::NameServer, code, Kind::Ask)
    }

    /// Waits until the broker sends us such a request.
    pub fn pushed(what: impl Into<String>, code: Code) -> Step {
        Step::new(what.into(), To::Broker, code, Kind::Pushed)
    }

    /// The answer of the request that was [`Step::held`] on a connection to the broker.
    pub fn arrives(what: impl Into<String>, line: &'static str) -> Step {
        Step::new(what.into(), To::Broker, Code(0), Kind::Arrives).on(line)
    }

    /// Closes a connection to the broker.
    pub fn hang_up(line: &'static str) -> Step {
        Step::new(format!("{line} hangs up"), To::Broker, Code(0), Kind::HangUp).on(line)
    }

    /// Closes a connection to the name server.
    pub fn hang_up_nameserver(line: &'static str) -> Step {
        Step::new(format!("{line} hangs up"), To::NameServer, Code(0), Kind::HangUp).on(line)
    }

    /// A captured request, sent as it was to the name server or the broker; it may be answered with any code.
    pub fn captured(what: impl Into<String>, request: &Frame, to_broker: bool) -> Step {
        let to = if to_broker { To::Broker } else { To::NameServer };
        let mut step = Step::new(what.into(), to, Code(request.code), Kind::Ask);
        step.records = matches!(
            step.code,
            Code::PULL_MESSAGE | Code::LITE_PULL_MESSAGE | Code::QUERY_MESSAGE
        );
        step.fields = request
            .ext
            .iter()
            .map(|(name, value)| (name.into(), value.into()))
            .collect();
        step.body = request.body.to_vec();
        step.version = Some(request.version);
        step.answers = None;
        step
    }

    fn new(what: String, to: To, code: Code, kind: Kind) -> Step {
        Step {
            what,
            to,
            line: "main",
            code,
            fields: Vec::new(),
            body: Vec::new(),
            encoding: Encoding::Json,
            version: None,
            kind,
            answers: Some(0),
            ours: None,
            until: Vec::new(),
            pardoned: None,
            records: false,
            remarks: false,
            ignored: Vec::new(),
            saved: Vec::new(),
        }
    }

    /// With an extension field.
    #[must_use]
    pub fn field(mut self, name: &str, value: impl ToString) -> Step {
        self.fields.retain(|(known, _)| known != name);
        self.fields.push((name.to_owned(), value.to_string()));
        self
    }

    /// Without an extension field that was there before.
    #[must_use]
    pub fn without(mut self, name: &str) -> Step {
        self.fields.retain(|(known, _)| known != name);
        self
    }

    /// The same request under another name.
    #[must_use]
    pub fn called(mut self, what: impl Into<String>) -> Step {
        self.what = what.into();
        self
    }

    /// The same request under another code.
    #[must_use]
    pub fn retyped(mut self, code: Code) -> Step {
        self.code = code;
        self
    }

    /// With a body.
    #[must_use]
    pub fn body(mut self, body: impl AsRef<[u8]>) -> Step {
        self.body = body.as_ref().to_vec();
        self
    }

    /// On a connection of its own name, not the main one.
    #[must_use]
    pub fn on(mut self, line: &'static str) -> Step {
        self.line = line;
        self
    }

    /// With the compact header.
    #[must_use]
    pub fn binary(mut self) -> Step {
        self.encoding = Encoding::Binary;
        self
    }

    /// As a client of another version.
    #[must_use]
    pub fn version(mut self, version: i32) -> Step {
        self.version = Some(version);
        self
    }

    /// As a request that must not be answered.
    #[must_use]
    pub fn oneway(mut self) -> Step {
        self.kind = Kind::Oneway;
        self
    }

    /// Sent without waiting for the answer, which [`Step::arrives`] fetches.
    #[must_use]
    pub fn held(mut self) -> Step {
        self.kind = Kind::Held;
        self
    }

    /// Expects this response code instead of success.
    #[must_use]
    pub fn answers(mut self, code: i32) -> Step {
        self.answers = Some(code);
        self
    }

    /// Where the reference carries on with a null in a field that must be there, we answer this code, and nothing but
    /// the codes is compared.
    #[must_use]
    pub fn ours(mut self, code: i32) -> Step {
        self.ours = Some(code);
        self
    }

    /// Whatever the reference answers is right.
    #[must_use]
    pub fn answers_anything(mut self) -> Step {
        self.answers = None;
        self
    }

    /// We may answer this code where the reference carries on; then nothing else is compared.
    #[must_use]
    pub fn may_answer(mut self, code: i32) -> Step {
        self.pardoned = Some(code);
        self
    }

    /// Remarks that are prose are compared, too.
    #[must_use]
    pub fn word_by_word(mut self) -> Step {
        self.remarks = true;
        self
    }

    /// Asks again until a field of the answer has this value.
    #[must_use]
    pub fn until(mut self, field: &str, value: impl ToString) -> Step {
        self.until.push((field.to_owned(), Some(value.to_string())));
        self
    }

    /// Asks again until a field is not in the answer.
    #[must_use]
    pub fn until_absent(mut self, field: &str) -> Step {
        self.until.push((field.to_owned(), None));
        self
    }

    /// The body of the answer is stored messages.
    #[must_use]
    pub fn records(mut self) -> Step {
        self.records = true;
        self
    }

    /// Both sides must have the field, its value may differ; `*` stands for one part of the path.
    #[must_use]
    pub fn ignoring(mut self, field: &'static str) -> Step {
        self.ignored.push(field);
        self
    }

    /// Keeps a field of the answer as `$name` for later steps; of a message id also its position, as `$namePos`.
    #[must_use]
    pub fn saving(mut self, name: &'static str, field: &'static str) -> Step {
        self.saved.push((name, field));
        self
    }
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.what)?;
        if matches!(self.kind, Kind::Arrives | Kind::HangUp | Kind::Pushed) {
            return Ok(());
        }
        write!(f, ": {} on {}", self.code, self.line)?;
        for (name, value) in &self.fields {
            write!(f, " {name}={value:?}")?;
        }
        if !self.body.is_empty() {
            write!(f, " {}", String::from_utf8_lossy(&self.body))?;
        }
        Ok(())
    }
}

/// One server, and what it told in this case so far.
pub struct Side {
    nameserver: SocketAddr,
    broker: SocketAddr,
    lines: BTreeMap<(&'static str, bool), Line>,
    saved: BTreeMap<String, String>,
}

impl Side {
    /// A server by its addresses.
    pub fn new(nameserver: SocketAddr, broker: SocketAddr) -> Side {
        Side {
            nameserver,
            broker,
            lines: BTreeMap::new(),
            saved: BTreeMap::new(),
        }
    }

    /// Closes all connections and forgets what was saved.
    pub fn reset(&mut self) {
        self.lines.clear();
        self.saved.clear();
    }

    /// Lets `$name` stand for a value until the next reset.
    pub fn note(&mut self, name: impl Into<String>, value: impl ToString) {
        self.saved.insert(name.into(), value.to_string());
    }

    /// Does one step; a step that gets no answer has an empty one.
    pub fn play(&mut self, step: &Step) -> anyhow::Result<Answer> {
        if step.until.is_empty() {
            return self.once(step);
        }
        let mut answer = Answer::default();
        let waited = eventually(&format!("{:?}", step.until), SETTLES_WITHIN, || {
            answer = self.once(step)?;
            Ok(step
                .until
                .iter()
                .all(|(field, value)| answer.get(field) == value.as_ref()))
        });
        waited.with_context(|| format!("the last answer was {answer:?}"))?;
        Ok(answer)
    }

    fn once(&mut self, step: &Step) -> anyhow::Result<Answer> {
        let to_broker = step.to == To::Broker;
        if step.kind == Kind::HangUp {
            self.lines.remove(&(step.line, to_broker));
            return Ok(Answer::default());
        }
        let request = self.request(step);
        let addr = if to_broker { self.broker } else { self.nameserver };
        let line = match self.lines.entry((step.line, to_broker)) {
            std::collections::btree_map::Entry::Occupied(open) => open.into_mut(),
            std::collections::btree_map::Entry::Vacant(closed) => closed.insert(Line::open(addr)?),
        };
        let frame = match step.kind {
            Kind::Ask => line.ask(request, step.encoding)?,
            Kind::Pushed => line
                .pushed(SETTLES_WITHIN)?
                .with_context(|| format!("nothing was pushed, expected {}", step.code))?,
            Kind::Arrives => line.answer()?,
            Kind::Held => {
                line.send(request, step.encoding)?;
                line.settle()?;
                return Ok(Answer::default());
            }
            Kind::Oneway | Kind::HangUp => {
                line.send(request, step.encoding)?;
                return Ok(Answer::default());
            }
        };
        self.keep(step, &frame)?;
        let answer = Answer::of(&frame, step.records, self.addresses());
        Ok(if step.remarks {
            answer.with_remark(&frame)
        } else {
            answer
        })
    }

    fn addresses(&self) -> answer::Addresses {
        let servers = [(self.broker, "<broker>"), (self.nameserver, "<nameserver>")];
        let servers = servers.map(|(addr, name)| (addr.to_string(), name.to_owned()));
        let clients = self.lines.iter();
        let clients = clients.map(|((name, _), line)| (line.local.to_string(), format!("<client {name}>")));
        servers.into_iter().chain(clients).collect()
    }

    fn keep(&mut self, step: &Step, frame: &Frame) -> anyhow::Result<()> {
        for (name, field) in &step.saved {
            let value = frame
                .ext
                .get(field)
                .with_context(|| format!("the answer {} {:?} has no {field}", frame.code, frame.remark))?;
            if let Some((_, pos)) = wire::message_id::decode_offset_id(&value) {
                self.saved.insert(format!("{name}Pos"), pos.to_string());
            }
            self.saved.insert((*name).to_owned(), value.into());
        }
        Ok(())
    }

    fn request(&self, step: &Step) -> Frame {
        let fields: Vec<(&str, String)> = step
            .fields
            .iter()
            .map(|(name, value)| (name.as_str(), self.fill(value)))
            .collect();
        let fields: Vec<(&str, &str)> = fields
            .iter()
            .map(|(name, value)| (*name, value.as_str()))
            .collect();
        let body = match std::str::from_utf8(&step.body) {
            Ok(text) => self.fill(text).into_bytes(),
            Err(_) => step.body.clone(),
        };
        let mut frame = request(step.code, &fields, &body);
        frame.version = step.version.unwrap_or(frame.version);
        if step.kind == Kind::Oneway {
            frame.oneway()
        } else {
            frame
        }
    }

    fn fill(&self, text: &str) -> String {
        if !text.contains('$') {
            return text.to_owned();
        }
        let mut text = text.to_owned();
        // Longer names first: `$idPos` is not `$id` and `Pos`.
        for (name, value) in self.saved.iter().rev() {
            text = text.replace(&format!("${name}"), value);
        }
        text.replace("$broker", &self.broker.to_string())
            .replace("$nameserver", &self.nameserver.to_string())
            .replace("$now", &now_ms().to_string())
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "the servers that are compared live in real time"
)]
fn now_ms() -> u128 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default()
        .as_millis()
}

/// The name of the side that is not the reference.
pub const OURS: &str = "barque";

/// Plays a case on every side and returns what was not as expected, or not the same: one line each.
pub fn play(case: &Case, sides: &mut [(&str, Side)]) -> Vec<String> {
    let mut findings = Vec::new();
    for step in &case.steps {
        let mut answers = Vec::new();
        for (name, side) in &mut *sides {
            let found = match side.play(step) {
                Ok(answer) => {
                    let unexpected = step.unexpected(&answer, *name == OURS);
                    answers.push(answer);
                    unexpected
                }
                Err(error) => Some(format!("{error:#}")),
            };
            findings.extend(found.map(|what| format!("{}: {}: {name}: {what}", case.name, step.what)));
        }
        if let ([reference, ours], None) = (answers.as_slice(), step.ours)
            && !step.pardons(ours)
        {
            let differences = reference.differences(ours, &step.ignored);
            // Where one side's code is not as expected, that is said already.
            let differences = differences
                .iter()
                .filter(|d| step.answers.is_none() || !d.starts_with("code: "));
            findings.extend(differences.map(|d| format!("{}: {}: {d}", case.name, step.told())));
        }
        if answers.len() < sides.len() {
            break; // a connection is lost, or an effect did not come about: what follows says nothing
        }
    }
    for (_, side) in sides {
        side.reset();
    }
    findings
}

impl Step {
    /// How it is named in a finding: one whose answer is not known before is told as a whole.
    fn told(&self) -> String {
        if self.remarks {
            self.to_string()
        } else {
            self.what.clone()
        }
    }

    fn pardons(&self, ours: &Answer) -> bool {
        let pardoned = self.pardoned.map(|code| code.to_string());
        pardoned.is_some() && ours.get("code") == pardoned.as_ref()
    }

    /// What is wrong with the code of an answer.
    fn unexpected(&self, answer: &Answer, ours: bool) -> Option<String> {
        let expected = match self.kind {
            Kind::Ask | Kind::Arrives => self.ours.filter(|_| ours).or(self.answers)?,
            Kind::Pushed => self.code.0,
            Kind::Oneway | Kind::Held | Kind::HangUp => return None,
        };
        let code = answer.get("code").map(String::as_str).unwrap_or_default();
        (code != expected.to_string()).then(|| format!("code {code}, expected {expected}"))
    }
}
