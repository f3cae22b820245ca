// SPDX-License-Identifier: Apache-2.0
//! Servers in this process, behind real sockets, on a simulated disk. Every thousand turns they stop in good order and start on
//! what they have stored, and sometimes on nothing.

use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use broker::{Broker, Config, Ports};
use bytes::BytesMut;
use nameserver::nameserver::NameServer;
use net::Server;
use store::disk::Disk;
use store::disk::sim::SimDisk;
use store::env::Env;
use tokio::runtime::Runtime;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use wire::code::Code;
use wire::frame::{Decoder, Encoding, Frame};

/// No answer takes that long.
const PATIENCE: Duration = Duration::from_secs(20);
/// Nobody tries to connect more often, with 50 ms in between.
const CONNECTS_MAX: u32 = 400;
/// A connection is used for so many turns.
const TURNS_OF_A_LINE: u64 = 32;
/// A server serves so many.
const TURNS_OF_A_LIFE: u64 = 500;
/// Every so many lives begin with nothing.
const LIVES_OF_A_DISK: u64 = 4;
/// The number of the request that shows that all before it were seen.
const BARRIER: i32 = i32::MAX;

enum Running {
    Broker(Arc<Broker>, JoinHandle<Result<(), broker::RunError>>),
    Names(JoinHandle<()>),
}

/// A server, and a connection to it.
pub struct Served {
    runtime: Runtime,
    disk: Arc<SimDisk>,
    /// Those of the broker, unless it is a name server.
    settings: Option<fn() -> Config>,
    running: Option<(Running, CancellationToken, SocketAddr)>,
    /// With what was read from it and nobody has looked at.
    line: Option<(TcpStream, BytesMut)>,
    turns: u64,
    lives: u64,
}

impl Served {
    pub fn broker(settings: fn() -> Config) -> Served {
        Served::new(Some(settings))
    }

    pub fn nameserver() -> Served {
        Served::new(None)
    }

    fn new(settings: Option<fn() -> Config>) -> Served {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .expect("a runtime");
        Served {
            runtime,
            disk: Arc::new(SimDisk::seeded(1)),
            settings,
            running: None,
            line: None,
            turns: 0,
            lives: 0,
        }
    }

    /// Sends requests, and then one whose answer must come; `tail` is what is sent behind it, whatever that is.
    pub fn turn(&mut self, requests: &[u8], tail: &[u8]) {
        if self.turns.is_multiple_of(TURNS_OF_A_LIFE) {
            self.restart();
        }
        if self.turns.is_multiple_of(TURNS_OF_A_LINE) {
            self.line = None;
        }
        self.turns += 1;
        let addr = self.running.as_ref().expect("it runs").2;
        let kept = self.line.take();
        let (mut line, mut inbox) = kept.unwrap_or_else(|| (connect(addr), BytesMut::new()));
        let mut bytes = requests.to_vec();
        bytes.extend_from_slice(&barrier(self.settings.is_some()));
        line.write_all(&bytes)
            .expect("a server reads what is well formed");
        wait_for_barrier(&mut line, &mut inbox);
        if tail.is_empty() {
            self.line = Some((line, inbox));
            return;
        }
        // It may be cut off at any byte of this.
        let _cut = line.write_all(tail).is_err();
        drop(line);
    }

    /// Ends it; the disk with all that it has stored.
    pub fn end(mut self) -> Arc<SimDisk> {
        self.stop();
        Arc::clone(&self.disk)
    }

    fn stop(&mut self) {
        self.line = None;
        if let Some((running, stop, _)) = self.running.take() {
            stop.cancel();
            match running {
                Running::Broker(broker, running) => {
                    self.runtime
                        .block_on(running)
                        .expect("it ends")
                        .expect("in good order");
                    broker.close().expect("it closes");
                }
                Running::Names(running) => self.runtime.block_on(running).expect("it ends"),
            }
        }
    }

    fn restart(&mut self) {
        self.stop();
        if self.lives.is_multiple_of(LIVES_OF_A_DISK) {
            self.disk = Arc::new(SimDisk::seeded(self.lives));
        }
        self.lives += 1;
        let env = Env {
            disk: Arc::clone(&self.disk) as Arc<dyn Disk>,
            ..Env::real()
        };
        let stop = CancellationToken::new();
        let started = match self.settings {
            Some(settings) => start_broker(&self.runtime, settings(), env, &stop),
            None => start_names(&self.runtime, env, &stop),
        };
        self.running = Some((started.0, stop, started.1));
    }
}

/// The settings of every broker: small files.
pub fn settings() -> Config {
    let mut config = Config::default();
    let settings = [
        ("storePathRootDir", "/store"),
        ("brokerName", "broker-a"),
        ("brokerIP1", "127.0.0.1"),
        ("bindAddress", "127.0.0.1"),
        ("listenPort", "0"),
        ("mappedFileSizeCommitLog", "1048576"),
        ("mappedFileSizeConsumeQueue", "4000"),
        ("mappedFileSizeTimerLog", "52000"),
        ("compactionMappedFileSize", "4096"),
        ("compactionCqMappedFileSize", "920"),
        ("maxHashSlotNum", "100"),
        ("maxIndexNum", "1000"),
        ("topicsMax", "500"),
        ("groupsMax", "500"),
        ("queuesPerTopicMax", "64"),
        ("brokerConfigPath", "/store/broker.conf"),
        ("metricsExporterType", "DISABLE"),
    ];
    for (key, value) in settings {
        config.set(key, value).expect("a setting");
    }
    config
}

fn start_broker(
    runtime: &Runtime,
    mut config: Config,
    env: Env,
    stop: &CancellationToken,
) -> (Running, SocketAddr) {
    let ports = runtime.block_on(Ports::bind(&mut config)).expect("free ports");
    let broker = Broker::open(config, env).expect("it opens what it has stored");
    let addr = broker.host;
    let running = runtime.spawn(Arc::clone(&broker).run(ports, stop.clone()));
    (Running::Broker(broker, running), addr)
}

fn start_names(runtime: &Runtime, env: Env, stop: &CancellationToken) -> (Running, SocketAddr) {
    let config = nameserver::config::Config::new(Path::new("/names"));
    let names = NameServer::open(config, env).expect("it opens what it has stored");
    let listening = runtime
        .block_on(Server::bind((Ipv4Addr::LOCALHOST, 0).into()))
        .expect("a free port");
    let addr = listening.local_addr();
    (
        Running::Names(runtime.spawn(names.run(listening, stop.clone()))),
        addr,
    )
}

fn connect(addr: SocketAddr) -> TcpStream {
    for _ in 0..CONNECTS_MAX {
        if let Ok(line) = TcpStream::connect(addr) {
            line.set_nodelay(true).expect("a socket");
            line.set_read_timeout(Some(PATIENCE)).expect("a socket");
            return line;
        }
        // So many connections a second use up the ports of the host for a while.
        std::thread::sleep(Duration::from_millis(50));
    }
    panic!("nobody listens")
}

fn barrier(is_broker: bool) -> BytesMut {
    let code = if is_broker {
        Code::GET_SYSTEM_TOPIC_LIST_FROM_BROKER
    } else {
        Code::GET_BROKER_CLUSTER_INFO
    };
    let mut frame = Frame::reply(BARRIER, wire::code::ResponseCode(code.0));
    frame.flag = 0;
    let mut out = BytesMut::new();
    frame.encode(&mut out, Encoding::Json);
    out
}

/// Late answers to what was asked before may come behind it, and the beginning of one be read with it.
fn wait_for_barrier(line: &mut TcpStream, inbox: &mut BytesMut) {
    let mut chunk = [0; 16 << 10];
    loop {
        while let Some(frame) = Decoder::default()
            .next(inbox)
            .expect("a server writes what is well formed")
        {
            if frame.is_reply() && frame.opaque == BARRIER {
                return;
            }
        }
        match line.read(&mut chunk) {
            Ok(0) => panic!("the server closed the connection"),
            Ok(read) => inbox.extend_from_slice(&chunk[..read]),
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => panic!("no answer: {error}"),
        }
    }
}
