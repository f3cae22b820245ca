// SPDX-License-Identifier: Apache-2.0
//! The port itself: where it is, what it says of the broker, and how much.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;

use broker::{Broker, Config, PortError, Ports};
use net::Server;
use store::Env;
use store::disk::Disk;
use store::disk::sim::SimDisk;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use crate::rig::{Rig, SOON};
use crate::scrape::{Scrape, page};

#[tokio::test]
async fn a_broker_is_well_and_ready_until_it_stops() {
    let rig = Rig::start().await;
    let addr = rig.metrics.unwrap();
    assert_eq!(page(addr, "/healthz").await, (200, "ok\n".to_owned()));
    assert_eq!(page(addr, "/readyz").await, (200, "ok\n".to_owned()));
    assert_eq!(page(addr, "/").await.0, 200);
    assert_eq!(page(addr, "/nothing").await.0, 404);
    rig.stop().await;
    assert!(tokio::net::TcpStream::connect(addr).await.is_err());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broker_whose_store_is_being_opened_is_well_and_not_ready() {
    let disk = Arc::new(SimDisk::seeded(1));
    let env = Env {
        disk: Arc::clone(&disk) as Arc<dyn Disk>,
        ..Env::real()
    };
    drop(
        Rig::start_on(
            env.clone(),
            tempfile::tempdir().unwrap(),
            &[("storePathRootDir", "/store")],
        )
        .await
        .stop()
        .await,
    );

    let mut config = Config::default();
    for (key, value) in [
        ("storePathRootDir", "/store"),
        ("brokerName", "broker-a"),
        ("brokerIP1", "127.0.0.1"),
        ("bindAddress", "127.0.0.1"),
        ("listenPort", "0"),
        ("mappedFileSizeCommitLog", "1048576"),
    ] {
        config.set(key, value).unwrap();
    }
    let ports = Ports::bind(&mut config).await.unwrap();
    let addr = ports.metrics_addr().unwrap();
    let stuck = disk.hold_reads();
    let opening = tokio::task::spawn_blocking(move || Broker::open(config, env).unwrap());
    let waited = tokio::task::spawn_blocking(move || stuck.wait_for_one(SOON).then_some(stuck));
    let stuck = waited.await.unwrap().unwrap();
    let healthy = timeout(SOON, page(addr, "/healthz")).await;
    assert_eq!(healthy, Ok((200, "ok\n".to_owned())));
    for path in ["/readyz", "/metrics"] {
        let (status, why) = page(addr, path).await;
        assert!(
            status == 503 && why.starts_with("the broker is starting: "),
            "{path}: {why}"
        );
    }
    assert_eq!(page(addr, "/nothing").await.0, 404);

    drop(stuck);
    let (broker, stop) = (opening.await.unwrap(), CancellationToken::new());
    let running = tokio::spawn(Arc::clone(&broker).run(ports, stop.clone()));
    while page(addr, "/readyz").await.0 != 200 {}
    assert_eq!(page(addr, "/metrics").await.0, 200);
    stop.cancel();
    running.await.unwrap().unwrap();
    assert!(tokio::net::TcpStream::connect(addr).await.is_err());
}

#[tokio::test]
async fn a_broker_that_no_name_server_knows_is_well_and_not_ready() {
    let nobody = Server::bind((Ipv4Addr::LOCALHOST, 0).into()).await.unwrap();
    let nobody = nobody.local_addr().to_string();
    let rig = Rig::start_with(&[("namesrvAddr", nobody.as_str())]).await;
    let addr = rig.metrics.unwrap();
    assert_eq!(page(addr, "/healthz").await.0, 200);
    let (status, why) = page(addr, "/readyz").await;
    assert_eq!(status, 503);
    assert!(
        why.contains("none of its 1 name servers") && why.lines().count() == 1,
        "{why}"
    );
    let scrape = Scrape::of(&rig).await;
    assert_eq!(scrape.one("barque_ready", &[]), 0.0);
    assert_eq!(
        scrape.one("barque_name_servers", &[("state", "unregistered")]),
        1.0
    );
    rig.stop().await;
}

#[tokio::test]
async fn metrics_that_are_switched_off_have_no_port() {
    let rig = Rig::start_with(&[("metricsExporterType", "DISABLE")]).await;
    assert_eq!(rig.metrics, None);
    rig.stop().await;
    let rig = Rig::start_with(&[
        ("enableLagAndDlqMetrics", "false"),
        ("enableRemotingMetrics", "false"),
    ])
    .await;
    let scrape = Scrape::of(&rig).await;
    assert!(!scrape.types.contains_key("rocketmq_consumer_lag_messages"));
    assert!(!scrape.types.contains_key("rocketmq_rpc_latency_milliseconds"));
    assert!(scrape.types.contains_key("rocketmq_topic_number"));
    rig.stop().await;
}

/// The settings of a broker that takes a port which another one has.
fn at(port: u16, is_chosen: bool) -> Config {
    let mut config = Config::default();
    let free = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let main = free.local_addr().unwrap().port();
    for (key, value) in [("bindAddress", "127.0.0.1"), ("listenPort", &main.to_string())] {
        config.set(key, value).unwrap();
    }
    config.metrics_prom_exporter_port.number = port;
    if is_chosen {
        config.set("metricsPromExporterPort", &port.to_string()).unwrap();
    }
    config
}

/// The ports beside the main one may be somebody else's: then with another one.
async fn bound(port: u16, is_chosen: bool) -> Result<Ports, PortError> {
    loop {
        match Ports::bind(&mut at(port, is_chosen)).await {
            Err(error) if error.setting != "metricsPromExporterPort" => {}
            bound => return bound,
        }
    }
}

#[tokio::test]
async fn a_port_that_another_process_has_matters_only_if_somebody_chose_it() {
    let taken = Server::bind((Ipv4Addr::LOCALHOST, 0).into()).await.unwrap();
    let port = taken.local_addr().port();
    let ports = bound(port, false).await.ok().unwrap();
    assert_eq!(ports.metrics_addr(), None);
    drop(ports);
    let Err(refused) = bound(port, true).await else {
        panic!("the port is taken twice");
    };
    assert_eq!(refused.setting, "metricsPromExporterPort");
    drop(taken);
    let ports = bound(port, true).await.ok().unwrap();
    let addr: SocketAddr = (Ipv4Addr::LOCALHOST, port).into();
    assert_eq!(ports.metrics_addr(), Some(addr));
}

#[tokio::test]
async fn values_beyond_a_limit_are_left_out_and_counted_and_without_a_limit_all_are_told() {
    let send = async |rig: &Rig| {
        let client = rig.client().await;
        for topic in ["A", "B", "C"] {
            client.make_topic(topic, 1).await;
            client.send(topic, 0, "x").await;
        }
    };
    let rig = Rig::start_with(&[("metricsOtelCardinalityLimit", "2")]).await;
    send(&rig).await;
    let scrape = Scrape::of(&rig).await;
    assert_eq!(scrape.with("rocketmq_messages_in_total", &[]).len(), 2);
    let dropped = [("metric", "rocketmq_messages_in_total")];
    assert_eq!(scrape.one("barque_metrics_series_dropped", &dropped), 1.0);
    rig.stop().await;
    let rig = Rig::start().await;
    send(&rig).await;
    let scrape = Scrape::of(&rig).await;
    assert_eq!(scrape.with("rocketmq_messages_in_total", &[]).len(), 3);
    assert!(!scrape.types.contains_key("barque_metrics_series_dropped"));
    rig.stop().await;
}

#[tokio::test]
async fn own_labels_are_on_every_value_and_take_no_place_of_others() {
    let rig = Rig::start_with(&[("metricsLabel", "zone:z1,cluster:mine,rack:r2")]).await;
    let scrape = Scrape::of(&rig).await;
    assert!(
        scrape
            .values
            .iter()
            .all(|value| value.labels["zone"] == "z1" && value.labels["rack"] == "r2")
    );
    assert!(
        scrape
            .values
            .iter()
            .all(|value| value.labels["cluster"] == "DefaultCluster")
    );
    rig.stop().await;
}
