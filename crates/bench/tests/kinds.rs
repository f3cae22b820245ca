// SPDX-License-Identifier: Apache-2.0
//! Each kind of run against a cluster in this process.

use std::time::Duration;

use bench::{Kind, Later, Measure, Options, Progress, Rate, Report, Sizes};
use testkit::cluster::Cluster;
use tokio_util::sync::CancellationToken;

fn options(cluster: &Cluster, kind: Kind) -> Options {
    Options {
        nameservers: cluster.nameserver.to_string(),
        duration: Duration::from_secs(60),
        messages: Some(600),
        rate: Rate::PerSecond(600),
        queues: 4,
        sizes: Sizes::of(200),
        drain: Duration::from_secs(30),
        ..Options::new(kind)
    }
}

async fn run(options: Options) -> Report {
    let running = bench::run(options, CancellationToken::new(), |_: &Progress| {});
    Box::pin(running).await.expect("a result")
}

fn all_came(report: &Report) {
    assert_eq!(report.complaint(0), None, "{}", report.table());
    let delivery = report.delivery.expect("messages are expected back");
    assert_eq!(
        (delivery.expected, delivery.received),
        (600, 600),
        "{}",
        report.table()
    );
    assert_eq!((delivery.doubled, delivery.unacknowledged), (0, 0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn produce_counts_what_was_answered_and_consume_reads_it_back_as_it_was_sent() {
    let cluster = Cluster::start(&[]).await.unwrap();
    let sent = run(Options {
        connections: 3,
        sizes: "32:3,5000:1".parse().unwrap(),
        poisson: true,
        ..options(&cluster, Kind::Produce)
    })
    .await;
    assert_eq!(sent.complaint(0), None, "{}", sent.table());
    assert_eq!((sent.counts.due, sent.counts.ok), (600, 600));
    assert_eq!(sent.counts.answers["SUCCESS (0)"], 600);
    assert_eq!(sent.latencies[&Measure::Send].count, 600);
    assert_eq!(
        (sent.loop_kind.as_str(), sent.servers[0].write_queues),
        ("open", 4)
    );
    assert_eq!(sent.servers[0].version, "V5_4_0");

    let read = run(Options {
        verify: true,
        to_end: true,
        messages: None,
        ..options(&cluster, Kind::Consume)
    })
    .await;
    assert_eq!(read.complaint(0), None, "{}", read.table());
    assert_eq!((read.counts.ok, read.counts.bytes), (600, sent.counts.bytes));
    assert_eq!(read.delivery.unwrap(), bench::Delivery::default());

    let other_seed = run(Options {
        verify: true,
        to_end: true,
        messages: None,
        seed: 2,
        ..options(&cluster, Kind::Consume)
    })
    .await;
    let corrupt = other_seed.delivery.unwrap().corrupt;
    assert!(corrupt > 100, "the filler of larger bodies is another: {corrupt}");
    assert!(other_seed.complaint(0).unwrap().contains("not as they were sent"));
    cluster.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn batches_and_one_way_messages_arrive_and_popped_ones_are_acknowledged() {
    let cluster = Cluster::start(&[]).await.unwrap();
    let batches = run(Options {
        batch: 20,
        rate: Rate::Max,
        in_flight: 4,
        ..options(&cluster, Kind::Produce)
    })
    .await;
    assert_eq!((batches.counts.ok, batches.counts.requests), (600, 30));
    assert_eq!(batches.loop_kind, "closed");
    assert!(
        batches
            .notes
            .iter()
            .any(|note| note.contains("coordinated omission"))
    );
    let oneway = run(Options {
        oneway: true,
        ..options(&cluster, Kind::Produce)
    })
    .await;
    assert_eq!((oneway.counts.ok, oneway.counts.answers.len()), (600, 0));

    let popped = run(Options {
        pop: true,
        messages: Some(1200),
        ..options(&cluster, Kind::Consume)
    })
    .await;
    assert_eq!(popped.complaint(0), None, "{}", popped.table());
    assert_eq!(
        (popped.counts.ok, popped.latencies[&Measure::Ack].count),
        (1200, 1200)
    );
    cluster.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_last_batch_has_what_is_left_of_the_messages() {
    let cluster = Cluster::start(&[]).await.unwrap();
    let report = run(Options {
        batch: 4,
        messages: Some(5),
        verify: true,
        ..options(&cluster, Kind::E2e)
    })
    .await;
    let delivery = report.delivery.unwrap();
    assert_eq!(
        (report.counts.due, delivery.expected, delivery.received),
        (5, 5, 5),
        "{}",
        report.table()
    );
    assert_eq!(report.latencies[&Measure::Wait].count, 5);
    assert_eq!(report.complaint(0), None, "{}", report.table());
    cluster.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn end_to_end_every_message_is_received_once_however_it_is_read() {
    let cluster = Cluster::start(&[]).await.unwrap();
    for (pop, broker, connections) in [(false, false, 1), (true, false, 2), (false, true, 9)] {
        let mut options = Options {
            pop,
            connections,
            verify: true,
            keys: 7,
            tag: Some("A".to_owned()),
            ..options(&cluster, Kind::E2e)
        };
        if broker {
            options.nameservers.clear();
            options.broker = Some(cluster.broker.to_string());
        }
        let report = run(options).await;
        all_came(&report);
        assert_eq!(report.latencies[&Measure::EndToEnd].count, 600);
        if !pop && connections == 1 {
            assert_eq!(report.delivery.unwrap().out_of_order, 0);
        }
    }
    cluster.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn delayed_messages_are_measured_against_their_promised_time() {
    let cluster = Cluster::start(&[("messageDelayLevel", "1s 2s")]).await.unwrap();
    for later in [Later::Level(2), Later::Ms(2000)] {
        let report = run(Options {
            later: Some(later),
            ..options(&cluster, Kind::Delay)
        })
        .await;
        all_came(&report);
        let late = &report.latencies[&Measure::Late];
        assert_eq!(late.count, 600, "none came early: {}", report.table());
        assert!(
            late.percentiles.get("50").unwrap() < 1_500_000,
            "{}",
            report.table()
        );
    }
    let missing = Options {
        later: Some(Later::Level(3)),
        ..options(&cluster, Kind::Delay)
    };
    let refused = Box::pin(bench::run(missing, CancellationToken::new(), |_| {})).await;
    assert!(
        refused.unwrap_err().to_string().contains("1s 2s"),
        "it says which levels there are"
    );
    cluster.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn transactions_end_as_they_should_and_those_of_unknown_end_when_the_broker_asks() {
    let settings = [
        ("transactionTimeOut", "1000"),
        ("transactionCheckInterval", "500"),
    ];
    let cluster = Cluster::start(&settings).await.unwrap();
    let report = run(Options {
        rollback: 20,
        unknown: 10,
        ..options(&cluster, Kind::Transaction)
    })
    .await;
    assert_eq!(report.complaint(0), None, "{}", report.table());
    let delivery = report.delivery.unwrap();
    assert_eq!(report.counts.ok, 600);
    assert_eq!(delivery.expected, delivery.received);
    // By the seed it is always the same ones.
    assert!((400..560).contains(&delivery.expected), "{}", report.table());
    assert!(report.counts.checks > 20, "{}", report.table());
    assert_eq!(report.latencies[&Measure::Half].count, 600);
    assert_eq!(report.latencies[&Measure::Visible].count, delivery.expected);
    cluster.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_run_that_is_ended_early_tells_what_it_has() {
    let cluster = Cluster::start(&[]).await.unwrap();
    let stop = CancellationToken::new();
    let token = stop.clone();
    let endless = Options {
        messages: None,
        duration: Duration::from_secs(3600),
        ..options(&cluster, Kind::E2e)
    };
    let mut seconds = 0;
    let running = bench::run(endless, stop, move |_: &Progress| {
        seconds += 1;
        if seconds == 2 {
            token.cancel();
        }
    });
    let report = Box::pin(running).await.unwrap();
    assert!(report.interrupted);
    assert_eq!(report.complaint(0), None, "{}", report.table());
    assert!(report.counts.ok >= 600, "{}", report.table());
    assert!(report.seconds < 3000.0);
    cluster.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_cannot_be_run_is_refused_with_a_reason_before_anything_is_sent() {
    let cluster = Cluster::start(&[]).await.unwrap();
    let refusal = async |change: &dyn Fn(&mut Options)| {
        let mut options = options(&cluster, Kind::Consume);
        change(&mut options);
        let refused = Box::pin(bench::run(options, CancellationToken::new(), |_| {})).await;
        refused.unwrap_err().to_string()
    };
    let told = refusal(&|o| (o.topic, o.create) = ("nobody-has-this".to_owned(), false)).await;
    assert!(told.contains("does not exist"), "{told}");
    let told = refusal(&|o| o.nameservers = "127.0.0.1:1".to_owned()).await;
    assert!(told.contains("127.0.0.1:1") && told.contains("running"), "{told}");
    let told = refusal(&|o| o.nameservers = "no such host".to_owned()).await;
    assert!(told.contains("no such host"), "{told}");
    cluster.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_json_has_the_fields_that_are_documented_and_reads_back() {
    let cluster = Cluster::start(&[]).await.unwrap();
    let report = run(Options {
        label: Some("first".to_owned()),
        ..options(&cluster, Kind::E2e)
    })
    .await;
    let json = serde_json::to_value(&report).unwrap();
    assert_eq!(serde_json::from_value::<Report>(json.clone()).unwrap(), report);
    let page = include_str!("../../../docs/bench-tool.md");
    let mut paths = Vec::new();
    collect("", &json, &mut paths);
    for path in paths {
        assert!(
            page.contains(&format!("`{path}`")),
            "docs/bench-tool.md does not tell of `{path}`"
        );
    }
    assert_eq!(json["version"], 1);
    assert_eq!(json["latencies"]["end_to_end"]["count"], 600);
    let seconds: u64 = report.series.iter().map(|second| second.ok).sum();
    assert!(seconds <= 600 && !report.series.is_empty());
    cluster.stop().await.unwrap();
}

/// The names of all fields; what is below an option, a measure, a reason or a percentile has none of its own.
fn collect(prefix: &str, value: &serde_json::Value, paths: &mut Vec<String>) {
    let inner = match value {
        serde_json::Value::Object(fields) => fields,
        serde_json::Value::Array(all) => match all.first() {
            Some(serde_json::Value::Object(fields)) => fields,
            _ => return,
        },
        _ => return,
    };
    for (key, value) in inner {
        let path = if prefix.is_empty() {
            key.clone()
        } else {
            format!("{prefix}.{key}")
        };
        let has_free_names = [
            "options",
            "counts.answers",
            "counts.failures",
            "remarks",
            "breaks",
        ];
        match path.as_str() {
            _ if prefix == "latencies" => collect("latencies.*", value, paths),
            "latencies.*.percentiles" => paths.push(path),
            _ if has_free_names.contains(&path.as_str()) => paths.push(path),
            _ => {
                collect(&path, value, paths);
                paths.push(path);
            }
        }
    }
}
