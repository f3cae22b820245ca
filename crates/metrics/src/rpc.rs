// SPDX-License-Identifier: Apache-2.0
//! How long requests take, by their code, the code of the answer and what became of it.
//!
//! Each request code that is served has a place, found by a search in a sorted list of about a hundred numbers; what most
//! requests end with is counted there without a lock. Codes that nobody serves share one place, and so do answers whose code has
//! no name (clients answer too, and what they say is handed on): who invents numbers makes no series.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use net::{Answered, Manner};
use parking_lot::Mutex;
use wire::code::{Code, ResponseCode};

use crate::count::{Histogram, Reading, Sharded};
use crate::sink::Series;

/// Bounds of how long requests take, ms: the reference's.
pub const RPC_BOUNDS: &[u64] = &[1, 3, 5, 7, 10, 100, 1_000, 2_000, 3_000];
/// What its values differ by.
pub const RPC_LABELS: &[&str] = &[
    "protocol_type",
    "request_code",
    "response_code",
    "is_long_polling",
    "result",
];

/// Stands for all codes that have no place of their own.
const OTHER: &str = "other";

type Times = Histogram<10>;
/// The code of the answer, if it has a name, and what became of it.
type End = (Option<i32>, Manner);

/// One request code.
#[derive(Debug, Default)]
struct Place {
    /// Answered with success, at once.
    plain: Times,
    /// Nobody waited, and it went well.
    oneway: Times,
    others: Mutex<BTreeMap<End, Arc<Times>>>,
}

/// All request codes.
#[derive(Debug)]
pub struct Rpc {
    /// Ascending.
    codes: Vec<i32>,
    /// One more than there are codes: the last is for all others.
    places: Sharded<Box<[Place]>>,
}

impl Rpc {
    /// For a server of these codes.
    pub fn of(codes: impl Iterator<Item = Code>) -> Rpc {
        let mut codes: Vec<i32> = codes.map(|code| code.0).collect();
        codes.sort_unstable();
        Rpc {
            places: Sharded::new(|| (0..=codes.len()).map(|_| Place::default()).collect()),
            codes,
        }
    }

    /// So many requests ended so.
    pub fn add(&self, how: Answered, count: u32, took: Duration) {
        let at = self.codes.binary_search(&how.request).unwrap_or(self.codes.len());
        let Some(place) = self.places.own().get(at) else {
            return;
        };
        let ms = u64::try_from(took.as_millis()).unwrap_or(u64::MAX);
        let count = u64::from(count);
        match (how.response, how.manner) {
            (0, Manner::Sent) => place.plain.add(RPC_BOUNDS, ms, count),
            (0, Manner::Oneway) => place.oneway.add(RPC_BOUNDS, ms, count),
            (response, manner) => {
                let end = (ResponseCode(response).name().map(|_| response), manner);
                let times = Arc::clone(place.others.lock().entry(end).or_default());
                times.add(RPC_BOUNDS, ms, count);
            }
        }
    }

    /// Hands out what was counted.
    pub fn write(&self, series: &mut Series<'_>) {
        let names = self.codes.iter().map(|code| request_name(*code));
        for (at, name) in names.chain([OTHER.to_owned()]).enumerate() {
            let places = self.places.all().filter_map(|places| places.get(at));
            let mut ends: BTreeMap<End, Reading<10>> = BTreeMap::new();
            for place in places {
                for (end, times) in place.read() {
                    let all = ends.entry(end).or_insert(Reading {
                        counts: [0; 10],
                        sum: 0,
                    });
                    *all = all.plus(&times);
                }
            }
            for ((response, manner), times) in ends {
                let (is_long_polling, result) = match manner {
                    Manner::Sent => ("false", "success"),
                    Manner::SentAfterWait => ("true", "success"),
                    Manner::Oneway => ("false", "oneway"),
                    Manner::Unsent => ("false", "write_channel_failed"),
                };
                let labels = [
                    "remoting",
                    &name,
                    &response_name(response),
                    is_long_polling,
                    result,
                ];
                series.histogram(&labels, &times.counts, times.sum);
            }
        }
    }
}

impl Place {
    /// What was counted.
    fn read(&self) -> Vec<(End, Reading<10>)> {
        let mut all = vec![
            ((Some(0), Manner::Sent), self.plain.read()),
            ((Some(0), Manner::Oneway), self.oneway.read()),
        ];
        let others = self.others.lock();
        all.extend(others.iter().map(|(end, times)| (*end, times.read())));
        all.retain(|(_, times)| times.total() > 0);
        all
    }
}

/// The reference's name in lower case, or the number.
fn request_name(code: i32) -> String {
    Code(code)
        .name()
        .map_or_else(|| code.to_string(), str::to_lowercase)
}

fn response_name(code: Option<i32>) -> String {
    let name = code.and_then(|code| ResponseCode(code).name());
    name.map_or_else(|| OTHER.to_owned(), str::to_lowercase)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Export, Kind, Metric, Text, Unit};

    const RPC: Metric = Metric {
        name: "rpc",
        kind: Kind::Histogram(RPC_BOUNDS),
        unit: Unit::None,
        labels: RPC_LABELS,
        help: "",
    };

    fn told(rpc: &Rpc) -> String {
        let mut text = Text::new(&[]);
        Export::new(&mut text, None).metric(&RPC, |series| rpc.write(series));
        text.finish()
    }

    #[test]
    fn who_invents_codes_of_answers_makes_one_series_of_them() {
        let rpc = Rpc::of([Code::GET_CONSUMER_RUNNING_INFO].into_iter());
        for invented in 1_000_000..1_001_000 {
            let how = Answered {
                request: 307,
                response: invented,
                manner: Manner::SentAfterWait,
            };
            rpc.add(how, 1, Duration::ZERO);
        }
        let told = told(&rpc);
        assert_eq!(told.matches("_sum{").count(), 1);
        assert!(told.contains("response_code=\"other\""), "{told}");
        assert!(told.contains("} 1000\n"), "{told}");
    }

    #[test]
    fn requests_are_told_apart_by_codes_and_by_what_became_of_the_answer() {
        let rpc = Rpc::of([Code::SEND_MESSAGE_V2, Code::PULL_MESSAGE].into_iter());
        let add = |request, response, manner, count, ms| {
            let how = Answered {
                request,
                response,
                manner,
            };
            rpc.add(how, count, Duration::from_millis(ms));
        };
        add(310, 0, Manner::Sent, 7, 2);
        add(310, 0, Manner::Oneway, 1, 0);
        add(11, 19, Manner::SentAfterWait, 2, 15_000);
        for unknown in 5_000..6_000 {
            add(unknown, 3, Manner::Sent, 1, 0);
        }
        let told = told(&rpc);
        let labels = |request, response, held, result| {
            format!(
                "{{protocol_type=\"remoting\",request_code=\"{request}\",response_code=\"{response}\",\
                 is_long_polling=\"{held}\",result=\"{result}\"}}"
            )
        };
        let sent = labels("send_message_v2", "success", "false", "success");
        assert!(told.contains(&format!("_sum{sent} 14\n")), "{told}");
        let oneway = labels("send_message_v2", "success", "false", "oneway");
        assert!(told.contains(&format!("_count{oneway} 1\n")), "{told}");
        let held = labels("pull_message", "pull_not_found", "true", "success");
        assert!(told.contains(&format!("_count{held} 2\n")), "{told}");
        let unknown = labels("other", "request_code_not_supported", "false", "success");
        assert!(told.contains(&format!("_count{unknown} 1000\n")), "{told}");
        assert_eq!(told.matches("_sum{").count(), 4);
    }
}
