// SPDX-License-Identifier: Apache-2.0
//! The options of `barque bench`.

use bench::{From, Kind, Later, Options, Rate, Sizes};
use clap::{Args, ValueEnum};
use std::time::Duration;

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum What {
    /// Send, and measure until the answer
    Produce,
    /// Read what is there
    Consume,
    /// Send and read, and measure from due to received
    E2e,
    /// Send for later, and measure how far from its time each message comes
    Delay,
    /// Half messages and their ends, and when they can be read
    Transaction,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Begin {
    First,
    Last,
}

const EXAMPLES: &str = "\
Examples:
  barque bench produce -n 127.0.0.1:9876 --rate 20000 --size 1024 --duration 60s --warmup 10s
  barque bench produce -n 127.0.0.1:9876 --rate max --connections 8 --in-flight 32
  barque bench e2e --broker 127.0.0.1:10911 --rate 5000 --poisson --verify --json result.json
  barque bench delay -n 127.0.0.1:9876 --delay-level 3 --rate 1000 --duration 30s
  barque bench transaction -n 127.0.0.1:9876 --rate 500 --rollback 10

Exit code: 0, or 1 when there were more errors than --max-errors, or messages were lost, or it could not run;
2 when the command line is wrong. Ctrl-C ends a run with its result so far, and exit code 0.";

#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Bench {
    /// What is measured
    #[arg(value_enum)]
    pub(crate) kind: What,
    #[command(flatten)]
    place: Place,
    #[command(flatten)]
    load: Load,
    #[command(flatten)]
    content: Content,
    #[command(flatten)]
    reading: Reading,
    #[command(flatten)]
    pub(crate) telling: Telling,
}

#[derive(Debug, Args)]
#[command(next_help_heading = "Where")]
struct Place {
    /// Name servers, separated by `;`
    #[arg(
        short = 'n',
        long = "nameservers",
        visible_alias = "namesrvAddr",
        env = "NAMESRV_ADDR",
        value_name = "HOST:PORT;…"
    )]
    nameservers: Option<String>,
    /// One broker, without a name server
    #[arg(short = 'b', long, value_name = "HOST:PORT")]
    broker: Option<String>,
    /// Topic
    #[arg(short = 't', long, value_name = "NAME", default_value = "barque-bench")]
    topic: String,
    /// Do not make the topic when it is missing
    #[arg(long)]
    no_create: bool,
    /// Queues of a topic that is made, on each broker
    #[arg(long, value_name = "N", default_value_t = 8)]
    queues: u32,
    /// Connections to each broker, for sending and for reading
    #[arg(short = 'c', long, value_name = "N", default_value_t = 1)]
    connections: usize,
    /// Group of the sender
    #[arg(long, value_name = "NAME", default_value = "barque-bench-producer")]
    producer_group: String,
    /// Group of the reader
    #[arg(short = 'g', long, value_name = "NAME", default_value = "barque-bench")]
    group: String,
}

#[derive(Debug, Args)]
#[command(next_help_heading = "Load")]
struct Load {
    /// Messages a second, or `max`: send as answers come (a closed loop, whose latencies hide stalls)
    #[arg(short = 'r', long, value_name = "N|max")]
    rate: Option<Rate>,
    /// Send at random times with that rate (Poisson), not at even ones
    #[arg(long)]
    poisson: bool,
    /// Of random times, sizes and contents
    #[arg(long, value_name = "N", default_value_t = 1)]
    seed: u64,
    /// How long to measure: 500ms, 30s, 5m, 1h
    #[arg(short = 'd', long, value_name = "TIME", default_value = "30s", value_parser = time)]
    duration: Duration,
    /// End when so many messages are sent (received by consume)
    #[arg(short = 'm', long, value_name = "N")]
    messages: Option<u64>,
    /// Do the same before, without measuring it
    #[arg(long, value_name = "TIME", default_value = "0s", value_parser = time)]
    warmup: Duration,
    /// Most requests under way on a connection [default: 1024, with --rate max 32]
    #[arg(long, value_name = "N")]
    in_flight: Option<usize>,
    /// How long an answer may take
    #[arg(long, value_name = "TIME", default_value = "10s", value_parser = time)]
    timeout: Duration,
}

#[derive(Debug, Args)]
#[command(next_help_heading = "Messages")]
struct Content {
    /// Bytes of a body, or a list of size:weight
    #[arg(short = 's', long, value_name = "BYTES|LIST", default_value = "1024")]
    size: Sizes,
    /// Messages of one request
    #[arg(long, value_name = "N", default_value_t = 1)]
    batch: u32,
    /// Give messages one of so many keys
    #[arg(long, value_name = "N", default_value_t = 0)]
    keys: u64,
    /// Tag to send with and to read
    #[arg(long, value_name = "TAG")]
    tag: Option<String>,
    /// delay: the delay level
    #[arg(long, value_name = "LEVEL", conflicts_with = "delay_ms")]
    delay_level: Option<u32>,
    /// delay: milliseconds, as a timer message
    #[arg(long, value_name = "MS")]
    delay_ms: Option<u64>,
    /// produce: send without being answered
    #[arg(long)]
    oneway: bool,
    /// transaction: percent that are rolled back
    #[arg(long, value_name = "PERCENT", default_value_t = 0)]
    rollback: u32,
    /// transaction: percent that end only when the broker asks
    #[arg(long, value_name = "PERCENT", default_value_t = 0)]
    unknown: u32,
}

#[derive(Debug, Args)]
#[command(next_help_heading = "Reading")]
struct Reading {
    /// Read by pop and acknowledgement instead of pull
    #[arg(long)]
    pop: bool,
    /// consume: where to begin
    #[arg(long, value_enum, default_value = "first")]
    from: Begin,
    /// consume: end at what is the end of the queues at the start
    #[arg(long)]
    to_end: bool,
    /// Messages of one pull or pop
    #[arg(long, value_name = "N", default_value_t = 32)]
    pull_max: i32,
    /// Compare each body with what was sent (consume: with the same --seed)
    #[arg(long)]
    verify: bool,
    /// How long to wait at the end for messages that are missing [default: 10s; with --unknown 2m]
    #[arg(long, value_name = "TIME", value_parser = time)]
    drain: Option<Duration>,
}

#[derive(Debug, Args)]
#[command(next_help_heading = "Result")]
pub(crate) struct Telling {
    /// Percentiles of the result
    #[arg(
        long,
        value_name = "LIST",
        value_delimiter = ',',
        default_value = "50,90,99,99.9,99.99"
    )]
    percentiles: Vec<f64>,
    /// Write the result as JSON to a file, or to stdout (-)
    #[arg(long, value_name = "FILE|-")]
    pub(crate) json: Option<String>,
    /// How often to say how it goes; 0 for never [default: 1s on a terminal, else 10s]
    #[arg(long, value_name = "TIME", value_parser = time)]
    pub(crate) interval: Option<Duration>,
    /// Free text for the result
    #[arg(long, value_name = "TEXT")]
    label: Option<String>,
    /// So many errors are no failure of the run
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub(crate) max_errors: u64,
}

/// A number of seconds, or one with its unit.
fn time(text: &str) -> Result<Duration, String> {
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let ms: u64 = match unit {
        "ms" => 1,
        "s" | "" => 1000,
        "m" => 60_000,
        "h" => 3_600_000,
        _ => return Err(format!("`{unit}` is no unit of time: ms, s, m or h")),
    };
    let number: Option<u64> = number.parse().ok();
    let time = number.and_then(|number| number.checked_mul(ms));
    time.map(Duration::from_millis)
        .ok_or_else(|| format!("`{text}` is no time: write 500ms, 30s, 5m or 1h"))
}

impl Bench {
    /// What the command line asks for. What does not go together is found by [`Options::check`].
    pub(crate) fn options(&self) -> Options {
        let kind = match self.kind {
            What::Produce => Kind::Produce,
            What::Consume => Kind::Consume,
            What::E2e => Kind::E2e,
            What::Delay => Kind::Delay,
            What::Transaction => Kind::Transaction,
        };
        let (place, load, content, reading) = (&self.place, &self.load, &self.content, &self.reading);
        let plain = Options::new(kind);
        let rate = load.rate.unwrap_or(plain.rate);
        let in_flight = if rate == Rate::Max { 32 } else { plain.in_flight };
        let patient = Duration::from_secs(if content.unknown > 0 { 120 } else { 10 });
        let level = content.delay_level.map(Later::Level);
        Options {
            // A broker that is named wins over name servers of the environment.
            nameservers: match &place.broker {
                Some(_) => String::new(),
                None => place.nameservers.clone().unwrap_or_default(),
            },
            broker: place.broker.clone(),
            topic: place.topic.clone(),
            create: !place.no_create,
            queues: place.queues,
            sizes: content.size.clone(),
            connections: place.connections,
            in_flight: load.in_flight.unwrap_or(in_flight),
            rate,
            poisson: load.poisson,
            seed: load.seed,
            duration: load.duration,
            messages: load.messages,
            warmup: load.warmup,
            producer_group: place.producer_group.clone(),
            group: place.group.clone(),
            batch: content.batch,
            keys: content.keys,
            tag: content.tag.clone(),
            later: level.or(content.delay_ms.map(Later::Ms)),
            oneway: content.oneway,
            pop: reading.pop,
            from: if reading.from == Begin::First {
                From::First
            } else {
                From::Last
            },
            to_end: reading.to_end,
            pull_max: reading.pull_max,
            rollback: content.rollback,
            unknown: content.unknown,
            verify: reading.verify,
            timeout: load.timeout,
            drain: reading.drain.unwrap_or(patient),
            percentiles: self.telling.percentiles.clone(),
            label: self.telling.label.clone(),
            ..plain
        }
    }

    /// Whether a rate was asked for.
    pub(crate) fn has_rate(&self) -> bool {
        self.load.rate.is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_have_units_and_are_seconds_without() {
        for (text, ms) in [
            ("500ms", 500),
            ("30", 30_000),
            ("30s", 30_000),
            ("5m", 300_000),
            ("1h", 3_600_000),
        ] {
            assert_eq!(time(text), Ok(Duration::from_millis(ms)), "{text}");
        }
        for wrong in [
            "",
            "s",
            "1d",
            "-1s",
            "1.5s",
            "99999999999999999999s",
            "18446744073709551615h",
        ] {
            assert!(time(wrong).is_err(), "{wrong}");
        }
    }
}
