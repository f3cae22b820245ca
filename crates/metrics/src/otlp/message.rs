// SPDX-License-Identifier: Apache-2.0
//! The messages of the OpenTelemetry protocol that a push of numbers needs, written by hand after
//! `opentelemetry/proto/metrics/v1/metrics.proto`: their numbers are the protocol, their names are ours where that reads better.

use prost::{Message, Oneof};

use crate::sink::{Kind, Metric as Described};

/// Labels whose values the reference sends as truth values.
const TRUTHS: [&str; 3] = ["is_system", "is_retry", "is_long_polling"];
/// And as numbers.
const NUMBERS: [&str; 1] = ["queue_id"];
const DELTA: i32 = 1;
const CUMULATIVE: i32 = 2;

/// ExportMetricsServiceRequest.
#[derive(Clone, PartialEq, Message)]
pub(super) struct Pushed {
    #[prost(message, repeated, tag = "1")]
    pub(super) resource_metrics: Vec<ResourceMetrics>,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct ResourceMetrics {
    #[prost(message, optional, tag = "1")]
    pub(super) resource: Option<Resource>,
    #[prost(message, repeated, tag = "2")]
    pub(super) scope_metrics: Vec<ScopeMetrics>,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct Resource {}

#[derive(Clone, PartialEq, Message)]
pub(super) struct ScopeMetrics {
    #[prost(message, optional, tag = "1")]
    pub(super) scope: Option<Scope>,
    #[prost(message, repeated, tag = "2")]
    pub(super) metrics: Vec<Metric>,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct Scope {
    #[prost(string, tag = "1")]
    pub(super) name: String,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct Metric {
    #[prost(string, tag = "1")]
    pub(super) name: String,
    #[prost(string, tag = "2")]
    pub(super) description: String,
    #[prost(string, tag = "3")]
    pub(super) unit: String,
    #[prost(oneof = "Values", tags = "5, 7, 9")]
    pub(super) values: Option<Values>,
}

#[derive(Clone, PartialEq, Oneof)]
pub(super) enum Values {
    #[prost(message, tag = "5")]
    Gauge(Gauge),
    #[prost(message, tag = "7")]
    Sum(Sum),
    #[prost(message, tag = "9")]
    Histogram(Histogram),
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct Gauge {
    #[prost(message, repeated, tag = "1")]
    pub(super) points: Vec<Point>,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct Sum {
    #[prost(message, repeated, tag = "1")]
    pub(super) points: Vec<Point>,
    #[prost(int32, tag = "2")]
    pub(super) temporality: i32,
    #[prost(bool, tag = "3")]
    pub(super) is_monotonic: bool,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct Histogram {
    #[prost(message, repeated, tag = "1")]
    pub(super) points: Vec<RangePoint>,
    #[prost(int32, tag = "2")]
    pub(super) temporality: i32,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct Point {
    #[prost(message, repeated, tag = "7")]
    pub(super) attributes: Vec<Attribute>,
    #[prost(fixed64, tag = "2")]
    pub(super) start: u64,
    #[prost(fixed64, tag = "3")]
    pub(super) time: u64,
    #[prost(sfixed64, optional, tag = "6")]
    pub(super) value: Option<i64>,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct RangePoint {
    #[prost(message, repeated, tag = "9")]
    pub(super) attributes: Vec<Attribute>,
    #[prost(fixed64, tag = "2")]
    pub(super) start: u64,
    #[prost(fixed64, tag = "3")]
    pub(super) time: u64,
    #[prost(fixed64, tag = "4")]
    pub(super) count: u64,
    #[prost(double, optional, tag = "5")]
    pub(super) sum: Option<f64>,
    #[prost(fixed64, repeated, tag = "6")]
    pub(super) counts: Vec<u64>,
    #[prost(double, repeated, tag = "7")]
    pub(super) bounds: Vec<f64>,
}

/// KeyValue.
#[derive(Clone, PartialEq, Message)]
pub(super) struct Attribute {
    #[prost(string, tag = "1")]
    pub(super) key: String,
    #[prost(message, optional, tag = "2")]
    pub(super) value: Option<AnyValue>,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct AnyValue {
    #[prost(oneof = "Any", tags = "1, 2, 3")]
    pub(super) value: Option<Any>,
}

#[derive(Clone, PartialEq, Oneof)]
pub(super) enum Any {
    #[prost(string, tag = "1")]
    Text(String),
    #[prost(bool, tag = "2")]
    Truth(bool),
    #[prost(int64, tag = "3")]
    Number(i64),
}

/// ExportMetricsServiceResponse.
#[derive(Clone, PartialEq, Message)]
pub(super) struct Answer {
    #[prost(message, optional, tag = "1")]
    pub(super) partial_success: Option<Partial>,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct Partial {
    #[prost(int64, tag = "1")]
    pub(super) rejected_data_points: i64,
    #[prost(string, tag = "2")]
    pub(super) error_message: String,
}

/// How values are spread.
pub(super) struct Range<'a> {
    pub(super) counts: &'a [u64],
    pub(super) bounds: &'a [u64],
    pub(super) sum: u64,
}

impl Pushed {
    pub(super) fn of(metrics: Vec<Metric>, scope: &str) -> Pushed {
        let scope_metrics = ScopeMetrics {
            scope: Some(Scope {
                name: scope.to_owned(),
            }),
            metrics,
        };
        Pushed {
            resource_metrics: vec![ResourceMetrics {
                resource: Some(Resource {}),
                scope_metrics: vec![scope_metrics],
            }],
        }
    }
}

impl Metric {
    pub(super) fn of(metric: &Described, is_delta: bool) -> Metric {
        let temporality = if is_delta { DELTA } else { CUMULATIVE };
        Metric {
            name: metric.name.to_owned(),
            description: metric.help.to_owned(),
            unit: metric.unit.name().to_owned(),
            values: Some(match metric.kind {
                Kind::Gauge => Values::Gauge(Gauge::default()),
                Kind::Counter => Values::Sum(Sum {
                    temporality,
                    is_monotonic: true,
                    points: Vec::new(),
                }),
                Kind::Histogram(_) => Values::Histogram(Histogram {
                    temporality,
                    points: Vec::new(),
                }),
            }),
        }
    }

    pub(super) fn add(&mut self, point: Point) {
        match &mut self.values {
            Some(Values::Gauge(gauge)) => gauge.points.push(Point { start: 0, ..point }),
            Some(Values::Sum(sum)) => sum.points.push(point),
            _ => {}
        }
    }

    pub(super) fn add_range(&mut self, point: RangePoint) {
        if let Some(Values::Histogram(histogram)) = &mut self.values {
            histogram.points.push(point);
        }
    }
}

impl Point {
    pub(super) fn of(attributes: Vec<Attribute>, (start, time): (u64, u64), value: i64) -> Point {
        Point {
            attributes,
            start,
            time,
            value: Some(value),
        }
    }
}

impl RangePoint {
    pub(super) fn of(attributes: Vec<Attribute>, (start, time): (u64, u64), range: &Range<'_>) -> RangePoint {
        RangePoint {
            attributes,
            start,
            time,
            count: range.counts.iter().sum(),
            sum: Some(range.sum as f64),
            counts: range.counts.to_vec(),
            bounds: range.bounds.iter().map(|bound| *bound as f64).collect(),
        }
    }
}

impl Attribute {
    pub(super) fn of(name: &str, value: &str) -> Attribute {
        let any = match value {
            "true" | "false" if TRUTHS.contains(&name) => Any::Truth(value == "true"),
            value => match value.parse() {
                Ok(number) if NUMBERS.contains(&name) => Any::Number(number),
                _ => Any::Text(value.to_owned()),
            },
        };
        Attribute {
            key: name.to_owned(),
            value: Some(AnyValue { value: Some(any) }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The bytes of a push as protoc lays them out, written down by hand.
    #[test]
    fn a_push_has_the_bytes_that_the_protocol_says() {
        let mut metric = Metric {
            name: "n".to_owned(),
            unit: "s".to_owned(),
            values: Some(Values::Sum(Sum {
                temporality: CUMULATIVE,
                is_monotonic: true,
                points: Vec::new(),
            })),
            ..Metric::default()
        };
        metric.add(Point::of(vec![Attribute::of("is_retry", "true")], (1, 2), 5));
        let bytes = Pushed::of(vec![metric], "m").encode_to_vec();
        let point = [
            &[0x11, 1, 0, 0, 0, 0, 0, 0, 0, 0x19, 2, 0, 0, 0, 0, 0, 0, 0][..],
            &[0x31, 5, 0, 0, 0, 0, 0, 0, 0],
            &[0x3a, 14, 0x0a, 8],
            b"is_retry",
            &[0x12, 2, 0x10, 1],
        ]
        .concat();
        let sum = [&[0x0a, 43][..], &point, &[0x10, 2, 0x18, 1]].concat();
        let metric = [b"\x0a\x01n\x1a\x01s\x3a\x31".as_slice(), &sum].concat();
        let scope = [b"\x0a\x03\x0a\x01m\x12\x39".as_slice(), &metric].concat();
        let resource = [b"\x0a\x00\x12\x40".as_slice(), &scope].concat();
        let all = [b"\x0a\x44".as_slice(), &resource].concat();
        assert_eq!(bytes, all);
        assert_eq!(Pushed::decode(&bytes[..]).unwrap().encode_to_vec(), bytes);
    }
}
