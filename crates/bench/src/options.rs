// SPDX-License-Identifier: Apache-2.0
//! What a run can be told, and the limits of it. What is checked here is checked before anything is connected.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use serde::{Serialize, Serializer};
use thiserror::Error;

use crate::body::HEAD_BYTES;

/// Largest body that a server takes by default (`maxMessageSize`).
pub(crate) const SIZE_MAX: u32 = 4 << 20;
/// Messages a second.
pub(crate) const RATE_MAX: u64 = 10_000_000;
/// Requests under way on one connection.
pub(crate) const IN_FLIGHT_MAX: usize = 1 << 16;
/// Connections to one broker.
pub(crate) const CONNECTIONS_MAX: usize = 4096;
/// Messages of one request.
pub(crate) const BATCH_MAX: u32 = 10_000;
/// Longest run: the series has one entry for each second.
pub(crate) const DURATION_MAX: Duration = Duration::from_secs(7 * 86_400);
/// Queues of a topic that is made.
const QUEUES_MAX: u32 = 10_000;
/// Entries of a list of sizes, and of percentiles.
const LIST_MAX: usize = 100;
/// Messages of one pull or pop.
const PULL_MAX: i32 = 1024;

/// What is measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// Sends, until they are answered.
    Produce,
    /// Reads what is there.
    Consume,
    /// Sends and reads: from due to received.
    E2e,
    /// Sends for later: how far from its promised time each is received.
    Delay,
    /// Half messages, their ends, and when they can be read.
    Transaction,
}

impl Kind {
    /// Its name on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Kind::Produce => "produce",
            Kind::Consume => "consume",
            Kind::E2e => "e2e",
            Kind::Delay => "delay",
            Kind::Transaction => "transaction",
        }
    }

    /// Whether messages are sent.
    pub fn sends(self) -> bool {
        self != Kind::Consume
    }

    /// Whether each message that was sent is expected back.
    pub fn expects(self) -> bool {
        matches!(self, Kind::E2e | Kind::Delay | Kind::Transaction)
    }
}

/// When messages are sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Rate {
    /// As fast as answers come: a closed loop.
    Max,
    /// So many a second, whatever the server does.
    PerSecond(u64),
}

impl FromStr for Rate {
    type Err = String;

    fn from_str(text: &str) -> Result<Rate, String> {
        if text == "max" {
            return Ok(Rate::Max);
        }
        let rate = text
            .parse::<u64>()
            .map_err(|_| format!("`{text}` is neither a number of messages a second nor `max`"))?;
        Ok(Rate::PerSecond(rate))
    }
}

/// The sizes of bodies, each with its weight.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct Sizes(Vec<(u32, u32)>);

impl Sizes {
    /// All of one size.
    pub fn of(bytes: u32) -> Sizes {
        Sizes(vec![(bytes, 1)])
    }

    /// The size that stands at a place, any number.
    pub(crate) fn pick(&self, place: u64) -> u32 {
        let weights: u64 = self.0.iter().map(|(_, weight)| u64::from(*weight)).sum();
        let mut left = place % weights.max(1);
        for (size, weight) in &self.0 {
            match left.checked_sub(u64::from(*weight)) {
                Some(rest) => left = rest,
                None => return *size,
            }
        }
        self.0.first().map_or(0, |(size, _)| *size)
    }

    fn min(&self) -> u32 {
        self.0.iter().map(|(size, _)| *size).min().unwrap_or(0)
    }

    pub(crate) fn max(&self) -> u32 {
        self.0.iter().map(|(size, _)| *size).max().unwrap_or(0)
    }
}

impl FromStr for Sizes {
    type Err = String;

    fn from_str(text: &str) -> Result<Sizes, String> {
        let wrong = || format!("`{text}` is neither a number of bytes nor a list of size:weight");
        let entry = |part: &str| {
            let (size, weight) = part.split_once(':').unwrap_or((part, "1"));
            let (size, weight) = (size.trim().parse().ok()?, weight.trim().parse().ok()?);
            (weight > 0).then_some((size, weight))
        };
        let list: Option<Vec<(u32, u32)>> = text.split(',').map(entry).collect();
        list.filter(|list| list.len() <= LIST_MAX)
            .map(Sizes)
            .ok_or_else(wrong)
    }
}

impl fmt::Display for Sizes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let [(size, 1)] = self.0.as_slice() {
            return write!(f, "{size}");
        }
        for (at, (size, weight)) in self.0.iter().enumerate() {
            write!(f, "{}{size}:{weight}", if at == 0 { "" } else { "," })?;
        }
        Ok(())
    }
}

/// When a delayed message is to be delivered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Later {
    /// One of the broker's levels, from 1.
    Level(u32),
    /// So many milliseconds from the send on, as a time in `TIMER_DELIVER_MS`.
    Ms(u64),
}

/// Where a consumer begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum From {
    /// At the oldest message.
    First,
    /// Behind the newest.
    Last,
}

/// Everything a run can be told.
#[derive(Debug, Clone, Serialize)]
pub struct Options {
    /// What is measured.
    pub kind: Kind,
    /// Name servers, `host:port`, separated by `;`. Empty where a broker is named.
    pub nameservers: String,
    /// One broker, without a name server.
    pub broker: Option<String>,
    /// Topic.
    pub topic: String,
    /// Whether a missing topic is made.
    pub create: bool,
    /// Its queues on each broker, when it is made.
    pub queues: u32,
    /// Bytes of a body.
    pub sizes: Sizes,
    /// Connections to each broker.
    pub connections: usize,
    /// Most requests under way on one connection.
    pub in_flight: usize,
    /// When messages are sent.
    pub rate: Rate,
    /// Whether they are due at random times with that mean.
    pub poisson: bool,
    /// Of times, sizes and contents.
    pub seed: u64,
    /// How long is measured.
    #[serde(serialize_with = "seconds")]
    pub duration: Duration,
    /// Ends earlier when so many messages were sent (received, where nothing is sent).
    pub messages: Option<u64>,
    /// What is due in this time is sent before, and not measured.
    #[serde(serialize_with = "seconds")]
    pub warmup: Duration,
    /// Producer group.
    pub producer_group: String,
    /// Consumer group.
    pub group: String,
    /// Messages of one request.
    pub batch: u32,
    /// So many different keys; 0 for none.
    pub keys: u64,
    /// Tag.
    pub tag: Option<String>,
    /// When delayed messages are due.
    pub later: Option<Later>,
    /// Sends without being answered.
    pub oneway: bool,
    /// Consumes by pop and acknowledgement.
    pub pop: bool,
    /// Where a consumer begins.
    pub from: From,
    /// Ends at what was the end of the queues at the start.
    pub to_end: bool,
    /// Messages of one pull or pop.
    pub pull_max: i32,
    /// Of a hundred transactions, so many are rolled back.
    pub rollback: u32,
    /// And of so many the end is told only when the broker asks.
    pub unknown: u32,
    /// Compares each body that is received with what was sent.
    pub verify: bool,
    /// How long an answer may take.
    #[serde(serialize_with = "seconds")]
    pub timeout: Duration,
    /// How long to wait for messages that are missing at the end.
    #[serde(serialize_with = "seconds")]
    pub drain: Duration,
    /// What is told of a distribution.
    pub percentiles: Vec<f64>,
    /// Free text for the result.
    pub label: Option<String>,
}

/// What cannot be run.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{0}")]
pub struct Usage(pub String);

fn refuse<T>(why: impl Into<String>) -> Result<T, Usage> {
    Err(Usage(why.into()))
}

impl Options {
    /// A run of a kind, everything else as by default.
    pub fn new(kind: Kind) -> Options {
        Options {
            kind,
            nameservers: String::new(),
            broker: None,
            topic: "barque-bench".to_owned(),
            create: true,
            queues: 8,
            sizes: Sizes::of(1024),
            connections: 1,
            in_flight: 1024,
            rate: Rate::PerSecond(1000),
            poisson: false,
            seed: 1,
            duration: Duration::from_secs(30),
            messages: None,
            warmup: Duration::ZERO,
            producer_group: "barque-bench-producer".to_owned(),
            group: "barque-bench".to_owned(),
            batch: 1,
            keys: 0,
            tag: None,
            later: None,
            oneway: false,
            pop: false,
            from: From::First,
            to_end: false,
            pull_max: 32,
            rollback: 0,
            unknown: 0,
            verify: false,
            timeout: Duration::from_secs(10),
            drain: Duration::from_secs(10),
            percentiles: vec![50.0, 90.0, 99.0, 99.9, 99.99],
            label: None,
        }
    }

    /// Whether messages are due at times of a schedule.
    pub fn is_open(&self) -> bool {
        self.kind.sends() && self.rate != Rate::Max
    }

    /// How many messages the request of a number has: the last one has what is left.
    pub(crate) fn in_request(&self, number: u64) -> u64 {
        let batch = u64::from(self.batch);
        match self.messages {
            Some(all) if self.kind.sends() => batch.min(all.saturating_sub(number * batch)),
            _ => batch,
        }
    }

    /// Whether everything is within its limits and goes together.
    pub fn check(&self) -> Result<(), Usage> {
        self.check_place()?;
        self.check_amounts()?;
        self.check_kind()
    }

    fn check_place(&self) -> Result<(), Usage> {
        match (&self.broker, self.nameservers.is_empty()) {
            (None, true) => {
                return refuse(
                    "where is the server? Name it with -n HOST:PORT (or NAMESRV_ADDR), or --broker HOST:PORT",
                );
            }
            (Some(_), false) => return refuse("-n and --broker exclude each other"),
            _ => {}
        }
        for (what, name) in [
            ("--topic", &self.topic),
            ("--group", &self.group),
            ("--producer-group", &self.producer_group),
        ] {
            let fits = |c: char| c.is_ascii_alphanumeric() || "%|-_".contains(c);
            if name.is_empty() || name.len() > 127 || !name.chars().all(fits) {
                return refuse(format!(
                    "{what} `{name}`: 1 to 127 letters, digits, or one of % | - _"
                ));
            }
        }
        if self.tag.as_deref().is_some_and(|tag| !is_plain(tag)) {
            return refuse("--tag must be 1 to 100 printable characters without blanks and `|`");
        }
        Ok(())
    }

    fn check_amounts(&self) -> Result<(), Usage> {
        let within = |what: &str, is: u64, min: u64, max: u64| {
            if (min..=max).contains(&is) {
                return Ok(());
            }
            refuse(format!("{what} {is}: must be {min} to {max}"))
        };
        within("--queues", self.queues.into(), 1, QUEUES_MAX.into())?;
        let size_min = if self.kind.expects() { HEAD_BYTES as u64 } else { 1 };
        within("--size", self.sizes.min().into(), size_min, SIZE_MAX.into())?;
        within("--size", self.sizes.max().into(), size_min, SIZE_MAX.into())?;
        within(
            "--connections",
            self.connections as u64,
            1,
            CONNECTIONS_MAX as u64,
        )?;
        within("--in-flight", self.in_flight as u64, 1, IN_FLIGHT_MAX as u64)?;
        if let Rate::PerSecond(rate) = self.rate {
            within("--rate", rate, 1, RATE_MAX)?;
        }
        within("--batch", self.batch.into(), 1, BATCH_MAX.into())?;
        let batch_bytes = u64::from(self.batch) * u64::from(self.sizes.max());
        if self.batch > 1 && batch_bytes > u64::from(SIZE_MAX) {
            return refuse(format!(
                "--batch {} of --size {}: a request would have {batch_bytes} bytes, at most {SIZE_MAX} are taken",
                self.batch, self.sizes
            ));
        }
        within(
            "--duration (seconds)",
            self.duration.as_secs(),
            0,
            DURATION_MAX.as_secs(),
        )?;
        within(
            "--warmup (seconds)",
            self.warmup.as_secs(),
            0,
            DURATION_MAX.as_secs(),
        )?;
        if self.duration < Duration::from_millis(100) {
            return refuse("--duration must be 100ms at least");
        }
        if self.messages == Some(0) {
            return refuse("--messages must be 1 at least");
        }
        within("--timeout (ms)", self.timeout.as_millis() as u64, 10, 600_000)?;
        within("--drain (seconds)", self.drain.as_secs(), 0, 86_400)?;
        within("--pull-max", self.pull_max.max(0) as u64, 1, PULL_MAX as u64)?;
        let shares = |p: &f64| (0.0..=100.0).contains(p);
        if self.percentiles.is_empty()
            || self.percentiles.len() > LIST_MAX
            || !self.percentiles.iter().all(shares)
        {
            return refuse(format!("--percentiles: 1 to {LIST_MAX} numbers from 0 to 100"));
        }
        Ok(())
    }

    fn check_kind(&self) -> Result<(), Usage> {
        let kind = self.kind.name();
        if self.oneway && self.kind != Kind::Produce {
            return refuse(format!("--oneway goes with produce only, not with {kind}"));
        }
        if self.kind == Kind::Consume && self.poisson {
            return refuse("consume reads as fast as it can: it takes no --poisson");
        }
        if self.poisson && self.rate == Rate::Max {
            return refuse("--poisson needs a --rate: with max nothing is due at a time");
        }
        if self.batch > 1 && matches!(self.kind, Kind::Consume | Kind::Delay | Kind::Transaction) {
            return refuse(format!("{kind} takes no --batch"));
        }
        match (self.kind, self.later) {
            (Kind::Delay, None) => return refuse("delay needs --delay-level LEVEL or --delay-ms MS"),
            (Kind::Delay, Some(Later::Level(level))) if !(1..=1000).contains(&level) => {
                return refuse(format!("--delay-level {level}: levels begin at 1"));
            }
            (Kind::Delay, Some(Later::Ms(ms))) if !(1..=30 * 86_400_000).contains(&ms) => {
                return refuse(format!("--delay-ms {ms}: must be 1 ms to 30 days"));
            }
            (Kind::Delay, Some(_)) | (_, None) => {}
            (_, Some(_)) => return refuse(format!("{kind} takes no delay; use `delay`")),
        }
        if self.kind != Kind::Transaction && self.rollback + self.unknown > 0 {
            return refuse("--rollback and --unknown go with transaction only");
        }
        if self.rollback.saturating_add(self.unknown) > 100 {
            return refuse("--rollback and --unknown are percent: together 100 at most");
        }
        if self.kind == Kind::Produce && (self.pop || self.verify || self.to_end) {
            return refuse("produce reads nothing: it takes no --pop, --verify or --to-end");
        }
        if self.to_end && (self.kind != Kind::Consume || self.pop) {
            return refuse("--to-end goes with consume without --pop only");
        }
        Ok(())
    }
}

fn seconds<S: Serializer>(time: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_f64(time.as_secs_f64())
}

fn is_plain(tag: &str) -> bool {
    (1..=100).contains(&tag.len()) && tag.chars().all(|c| c.is_ascii_graphic() && c != '|')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn why(change: impl FnOnce(&mut Options)) -> String {
        let mut options = Options::new(Kind::Produce);
        options.broker = Some("a:1".to_owned());
        assert_eq!(options.check(), Ok(()));
        change(&mut options);
        options.check().map_err(|usage| usage.0).expect_err("refused")
    }

    #[test]
    fn what_is_beyond_a_limit_is_refused_by_name() {
        assert!(why(|o| o.broker = None).contains("-n"));
        assert!(why(|o| o.nameservers = "b:2".into()).contains("--broker"));
        assert!(why(|o| o.topic = "../x".into()).contains("--topic"));
        assert!(why(|o| o.sizes = Sizes::of(SIZE_MAX + 1)).contains("--size"));
        assert!(why(|o| o.sizes = Sizes::of(0)).contains("--size"));
        assert!(why(|o| o.rate = Rate::PerSecond(0)).contains("--rate"));
        assert!(why(|o| o.in_flight = IN_FLIGHT_MAX + 1).contains("--in-flight"));
        assert!(why(|o| (o.batch, o.sizes) = (10, Sizes::of(SIZE_MAX))).contains("--batch"));
        assert!(why(|o| o.percentiles = vec![100.1]).contains("--percentiles"));
        assert!(why(|o| (o.kind, o.sizes) = (Kind::E2e, Sizes::of(31))).contains("--size"));
        assert!(why(|o| o.kind = Kind::Delay).contains("--delay-level"));
        assert!(why(|o| o.later = Some(Later::Ms(5))).contains("delay"));
        assert!(why(|o| (o.kind, o.rollback, o.unknown) = (Kind::Transaction, 60, 41)).contains("percent"));
        assert!(why(|o| (o.poisson, o.rate) = (true, Rate::Max)).contains("--poisson"));
        assert!(why(|o| o.pop = true).contains("--pop"));
        assert!(why(|o| (o.kind, o.oneway) = (Kind::E2e, true)).contains("--oneway"));
    }

    #[test]
    fn sizes_are_picked_by_their_weight() {
        let sizes: Sizes = "100:3, 4096".parse().unwrap();
        assert_eq!(
            [0, 1, 2, 3, 4].map(|place| sizes.pick(place)),
            [100, 100, 100, 4096, 100]
        );
        assert_eq!(sizes.to_string(), "100:3,4096:1");
        assert_eq!("512".parse::<Sizes>().unwrap().to_string(), "512");
        for wrong in ["", "x", "1:", "1:0", "1:2:3", "-1"] {
            assert!(wrong.parse::<Sizes>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_rate_is_a_number_or_max() {
        assert_eq!("max".parse(), Ok(Rate::Max));
        assert_eq!("250".parse(), Ok(Rate::PerSecond(250)));
        assert!("fast".parse::<Rate>().is_err());
    }
}
