// SPDX-License-Identifier: Apache-2.0
//! Topics, groups, settings and the keys of the name server, made, changed and deleted: what was acknowledged is so after
//! every kill and every power cut, whatever `flushDiskType` says; what was not is as before or as was asked for.

use super::actor::{Actor, After, At, Verdict, ask, make_group, make_topic};
use crate::dice::Dice;
use anyhow::Context as _;
use std::collections::BTreeMap;
use testkit::line::Line;
use wire::code::Code;

/// Names of each kind.
const NAMES: usize = 12;

/// What kinds of things there are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Kind {
    /// Its value: the number of queues.
    Topic,
    /// Its value: how often messages are tried.
    Group,
    /// Of the broker. There is one, which is always there.
    Setting,
    /// Of the name server.
    Key,
}

/// What a thing should be. Nothing: it is not there.
#[derive(Debug, Clone, Default)]
struct Wanted {
    acknowledged: Option<usize>,
    /// Asked for, and not answered.
    tried: Vec<Option<usize>>,
}

/// See the head of the file.
#[derive(Debug)]
pub(super) struct Tables {
    dice: Dice,
    things: BTreeMap<(Kind, usize), Wanted>,
}

/// Connections to both servers; the reference's name server is not killed, and not asked.
struct Lines {
    broker: Line,
    nameserver: Option<Line>,
}

impl Lines {
    fn open(at: At) -> anyhow::Result<Lines> {
        Ok(Lines {
            broker: Line::open(at.broker)?,
            nameserver: at.nameserver.map(Line::open).transpose()?,
        })
    }

    /// Whether it was acknowledged.
    fn write(&mut self, kind: Kind, number: usize, value: Option<usize>) -> anyhow::Result<bool> {
        let (name, broker) = (name_of(kind, number), &mut self.broker);
        let text = value.unwrap_or_default().to_string();
        let answer = match (kind, value) {
            (Kind::Topic, Some(queues)) => make_topic(broker, &name, u32::try_from(queues)?)?,
            (Kind::Topic, None) => ask(broker, Code::DELETE_TOPIC_IN_BROKER, &[("topic", &name)], b"")?,
            (Kind::Group, Some(retries)) => make_group(broker, &name, retries)?,
            (Kind::Group, None) => {
                let fields = [("groupName", &*name), ("cleanOffset", "true")];
                ask(broker, Code::DELETE_SUBSCRIPTIONGROUP, &fields, b"")?
            }
            (Kind::Setting, _) => {
                let body = format!("{name}={text}\n");
                ask(broker, Code::UPDATE_BROKER_CONFIG, &[], body.as_bytes())?
            }
            (Kind::Key, value) => {
                let line = self.nameserver.as_mut().context("no name server")?;
                let fields = [("namespace", "kills"), ("key", &*name), ("value", &*text)];
                match value {
                    Some(_) => ask(line, Code::PUT_KV_CONFIG, &fields, b"")?,
                    None => ask(line, Code::DELETE_KV_CONFIG, &fields[..2], b"")?,
                }
            }
        };
        Ok(answer.code == 0)
    }

    fn read(&mut self, kind: Kind, number: usize) -> anyhow::Result<Option<usize>> {
        let name = name_of(kind, number);
        let (code, fields) = match kind {
            Kind::Topic => (Code::GET_TOPIC_CONFIG, vec![("topic", &*name)]),
            Kind::Group => (Code::GET_ALL_SUBSCRIPTIONGROUP_CONFIG, Vec::new()),
            Kind::Setting => (Code::GET_BROKER_CONFIG, Vec::new()),
            Kind::Key => (Code::GET_KV_CONFIG, vec![("namespace", "kills"), ("key", &*name)]),
        };
        let line = match kind {
            Kind::Key => self.nameserver.as_mut().context("no name server")?,
            _ => &mut self.broker,
        };
        let answer = ask(line, code, &fields, b"")?;
        if answer.code != 0 {
            return Ok(None);
        }
        let body = String::from_utf8_lossy(&answer.body);
        let value = match kind {
            Kind::Topic => field_of(&body, "writeQueueNums"),
            Kind::Group => body
                .split_once(&format!("\"groupName\":\"{name}\""))
                .and_then(|(_, behind)| field_of(behind, "retryMaxTimes")),
            Kind::Setting => body
                .lines()
                .find_map(|line| line.strip_prefix(&format!("{name}=")))
                .map(str::to_owned),
            Kind::Key => answer.ext.get("value").map(|value| value.to_string()),
        };
        let value = value.with_context(|| format!("no value of {name} in {body}"));
        match (kind, value) {
            (Kind::Group, Err(_)) => Ok(None),
            (_, value) => Ok(Some(value?.trim().parse()?)),
        }
    }
}

/// The first number of this name in an object.
fn field_of(body: &str, name: &str) -> Option<String> {
    let (_, behind) = body.split_once(&format!("\"{name}\":"))?;
    let end = behind.find(|c: char| !c.is_ascii_digit())?;
    Some(behind[..end].to_owned())
}

fn name_of(kind: Kind, number: usize) -> String {
    match kind {
        Kind::Topic => format!("Table{number}"),
        Kind::Group => format!("CG_table{number}"),
        Kind::Setting => "defaultTopicQueueNums".to_owned(),
        Kind::Key => format!("key{number}"),
    }
}

impl Tables {
    pub(super) fn new(dice: &mut Dice) -> Tables {
        Tables {
            dice: dice.branch(),
            things: BTreeMap::new(),
        }
    }

    fn one(&mut self, lines: &mut Lines) -> anyhow::Result<()> {
        let kind = match self.dice.below(6) {
            0 | 1 => Kind::Topic,
            2 | 3 => Kind::Group,
            4 => Kind::Setting,
            _ if lines.nameserver.is_none() => Kind::Topic,
            _ => Kind::Key,
        };
        let number = if kind == Kind::Setting {
            0
        } else {
            self.dice.below(NAMES)
        };
        let has_end = kind != Kind::Setting && self.dice.once_in(3);
        let value = if has_end {
            None
        } else {
            Some(1 + self.dice.below(15))
        };
        let wanted = self.things.entry((kind, number)).or_default();
        wanted.tried.push(value);
        if lines.write(kind, number, value)? {
            wanted.acknowledged = value;
            wanted.tried.clear();
        }
        Ok(())
    }
}

impl Actor for Tables {
    fn prepare(&mut self, at: At) -> anyhow::Result<()> {
        let is_set = Lines::open(at)?.write(Kind::Setting, 0, Some(8))?;
        anyhow::ensure!(is_set, "the setting is refused");
        self.things.entry((Kind::Setting, 0)).or_default().acknowledged = Some(8);
        Ok(())
    }

    fn load(&mut self, at: At) -> anyhow::Error {
        let mut go = || -> anyhow::Result<()> {
            let mut lines = Lines::open(at)?;
            loop {
                self.one(&mut lines)?;
            }
        };
        go().err().unwrap_or_else(|| anyhow::anyhow!("never"))
    }

    fn look(&mut self, after: &After, verdict: &mut Verdict) -> anyhow::Result<()> {
        let mut lines = Lines::open(after.at)?;
        for ((kind, number), wanted) in &mut self.things {
            let found = lines.read(*kind, *number)?;
            let is_fine = found == wanted.acknowledged || wanted.tried.contains(&found);
            if !is_fine {
                verdict.against("change undone", || {
                    format!("{}: {found:?} instead of {wanted:?}", name_of(*kind, *number))
                });
            }
            verdict.count("topics, groups, settings and keys looked at", 1);
            *wanted = Wanted {
                acknowledged: found,
                tried: Vec::new(),
            };
        }
        Ok(())
    }
}
