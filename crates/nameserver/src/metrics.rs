// SPDX-License-Identifier: Apache-2.0
//! What a name server tells about itself in numbers, and whether it is well. The reference tells nothing: all names are ours.

use std::sync::Arc;

use ::metrics::http::{self, Page};
use ::metrics::{CONTENT_TYPE, Export, Kind, Metric, RPC_BOUNDS, RPC_LABELS, Text, Unit};
use net::{BoxFuture, Listening};
use tokio_util::sync::CancellationToken;

use crate::nameserver::NameServer;

const UP: &Metric = &gauge(
    "barque_nameserver_up",
    &["version"],
    "1, with the version of the program.",
);
const UPTIME: &Metric = &Metric {
    unit: Unit::Seconds,
    ..gauge(
        "barque_nameserver_uptime",
        &[],
        "Time since the name server was started.",
    )
};
const BROKERS: &Metric = &gauge(
    "barque_nameserver_brokers",
    &[],
    "Brokers that are registered, slaves too.",
);
const GROUPS: &Metric = &gauge(
    "barque_nameserver_broker_names",
    &[],
    "Names of brokers that are registered: a master and its slaves have one.",
);
const TOPICS: &Metric = &gauge("barque_nameserver_topics", &[], "Topics that a broker has.");
const RPC: &Metric = &Metric {
    name: "barque_nameserver_rpc_latency",
    kind: Kind::Histogram(RPC_BOUNDS),
    unit: Unit::Milliseconds,
    labels: RPC_LABELS,
    help: "Time from the arrival of a request to its answer.",
};

/// Every number that a name server tells about itself.
pub const METRICS: &[&Metric] = &[UP, UPTIME, BROKERS, GROUPS, TOPICS, RPC];

const fn gauge(name: &'static str, labels: &'static [&'static str], help: &'static str) -> Metric {
    Metric {
        name,
        kind: Kind::Gauge,
        unit: Unit::None,
        labels,
        help,
    }
}

impl NameServer {
    /// All numbers, as Prometheus reads them.
    pub fn metrics(&self) -> String {
        let mut text = Text::new(&[("node_type".to_owned(), "nameserver".to_owned())]);
        let mut export = Export::new(&mut text, None);
        let count = |number: usize| i64::try_from(number).unwrap_or(i64::MAX);
        let counts = self.registry.read().counts();
        export.metric(UP, |series| series.value(&[env!("CARGO_PKG_VERSION")], 1));
        export.value(UPTIME, self.now_ms() / 1000);
        export.value(BROKERS, count(counts.brokers));
        export.value(GROUPS, count(counts.names));
        export.value(TOPICS, count(counts.topics));
        export.metric(RPC, |series| self.rpc.write(series));
        text.finish()
    }

    /// Shows the numbers on a port of their own until `stop`.
    pub async fn show(self: Arc<Self>, listening: Listening, stop: CancellationToken) {
        http::serve(listening, Arc::new(Pages(self)), stop).await;
    }
}

struct Pages(Arc<NameServer>);

impl http::Pages for Pages {
    fn page(self: Arc<Self>, path: &str) -> BoxFuture<Option<Page>> {
        let page = match path {
            "/metrics" => Some(Page {
                status: 200,
                content_type: CONTENT_TYPE,
                body: self.0.metrics().into(),
            }),
            "/healthz" => Some(Page::line(200, "ok")),
            "/readyz" => Some(match self.0.is_leaving() {
                false => Page::line(200, "ok"),
                true => Page::line(503, "the name server is stopping"),
            }),
            "/" => Some(Page::line(200, "/metrics\n/healthz\n/readyz")),
            _ => None,
        };
        Box::pin(async { page })
    }
}
