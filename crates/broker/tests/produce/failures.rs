// SPDX-License-Identifier: Apache-2.0
//! What producers are told when the disk is slow, or fails.

use std::io;
use std::path::Path;
use std::sync::Arc;

use broker::RunError;
use parking_lot::{Condvar, Mutex};
use store::Draft;
use store::disk::sim::{Loss, SimDisk};
use store::disk::{Disk, Entry, File, Lock, Space};
use tokio::runtime::{Builder, Runtime};
use tokio::task::JoinSet;
use wire::api::config::{GetBrokerConfig, UpdateBrokerConfig};
use wire::api::send::{SendMessageV2, SendReceipt};
use wire::api::transaction::EndTransaction;
use wire::code::ResponseCode;
use wire::frame::Frame;
use wire::message_id::decode_offset_id;

use crate::batches::make;
use crate::life::Life;
use crate::rig::{Client, Rig, SOON, held_pull, pull};
use crate::sends::{send, stored};

async fn start(disk: Arc<Tough>, settings: &[(&str, &str)]) -> Life {
    Life::start(disk, settings).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broker_whose_disk_fails_acknowledges_nothing_more_and_ends_with_an_error() {
    let disk = Tough::new();
    let settings = [("flushDiskType", "SYNC_FLUSH")];
    let life = start(Arc::clone(&disk), &settings).await;
    let client = &life.client;
    client.make_topic("T", 1).await;
    client.send("T", 0, "before").await;
    disk.set(Door::Broken);
    let frame = Frame::request(0, &send("T", 0, "")).with_body("after");
    let reply = client.channel.call(frame, SOON).await;
    // Told so, or cut off: the broker is on its way out.
    assert!(reply.map_or(true, |reply| reply.code != 0));
    let error = tokio::time::timeout(SOON, life.running)
        .await
        .unwrap()
        .unwrap()
        .unwrap_err();
    assert!(matches!(error, RunError::StoreFailed(_)), "{error}");
    let broker = life.broker;
    assert!(
        tokio::task::spawn_blocking(move || broker.close())
            .await
            .unwrap()
            .is_err()
    );

    disk.disk.crash(Loss::Everything);
    disk.set(Door::Open);
    let life = start(disk, &[]).await;
    let records = stored(&life.client, "T", 0).await;
    assert_eq!(
        records
            .iter()
            .map(|record| record.body.as_ref())
            .collect::<Vec<_>>(),
        [b"before"]
    );
    life.stop.cancel();
    life.running.await.unwrap().unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn clients_are_told_to_go_away_before_a_stop_when_the_settings_say_so() {
    let settings = [
        ("enableShutdownGracefully", "true"),
        ("shutdownWaitTimeSeconds", "1"),
    ];
    let life = start(Tough::new(), &settings).await;
    let client = &life.client;
    client.make_topic("T", 1).await;
    client.send("T", 0, "before").await;
    life.stop.cancel();
    loop {
        let frame = Frame::request(0, &send("T", 0, "")).with_body("after");
        let reply = client.channel.call(frame, SOON).await.unwrap();
        if reply.code == ResponseCode::GO_AWAY.0 {
            assert_eq!(reply.remark.as_deref(), Some("please go away"));
            break;
        }
        assert_eq!(reply.code, 0);
        tokio::task::yield_now().await;
    }
    tokio::time::timeout(SOON, life.running)
        .await
        .unwrap()
        .unwrap()
        .unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_durable_send_that_waits_too_long_is_told_that_it_is_not_durable_yet() {
    let disk = Tough::new();
    let settings = [("flushDiskType", "SYNC_FLUSH")];
    let life = start(Arc::clone(&disk), &settings).await;
    let client = &life.client;
    client.make_topic("T", 1).await;
    client.send("T", 0, "first").await;
    let patience = |ms: u32| client.ask_with(&UpdateBrokerConfig, format!("syncFlushTimeout={ms}"));
    assert_eq!(patience(50).await.code, 0);
    disk.set(Door::Shut);
    let reply = client.ask_with(&send("T", 0, ""), "a").await;
    assert_eq!(reply.code, 10);
    let receipt: SendReceipt = reply.ext.read().unwrap();
    assert_eq!((receipt.queue_id, receipt.queue_offset), (0, 1));
    let hurried = client.ask_with(&send("T", 0, "WAIT\u{1}false\u{2}"), "b").await;
    assert_eq!(hurried.code, 0, "does not want to wait");
    disk.set(Door::Open);
    assert_eq!(patience(10_000).await.code, 0);
    client.send("T", 0, "c").await;
    assert_eq!(stored(client, "T", 0).await.len(), 4);
    life.stop.cancel();
    life.running.await.unwrap().unwrap();
}

/// A broker with SYNC_FLUSH on two workers of its own, which nothing else keeps awake.
async fn on_two_workers(disk: &Arc<Tough>) -> (Runtime, Life) {
    let workers = Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .unwrap();
    let disk = Arc::clone(disk);
    let life = async move { start(disk, &[("flushDiskType", "SYNC_FLUSH")]).await };
    let life = workers.spawn(life).await.unwrap();
    (workers, life)
}

#[tokio::test]
async fn while_a_disk_hangs_others_are_served_whichever_thread_waits_for_it() {
    let disk = Tough::new();
    let (workers, life) = on_two_workers(&disk).await;
    let client = Rig::client_at(life.addr).await;
    client.make_topic("T", 1).await;
    let patience = |ms: u32| client.ask_with(&UpdateBrokerConfig, format!("syncFlushTimeout={ms}"));
    for _ in 0..30 {
        assert_eq!(patience(10_000).await.code, 0);
        // When syncs are quick, the thread that needs one does it.
        for _ in 0..20 {
            client.send("T", 0, "quick").await;
        }
        assert_eq!(patience(20).await.code, 0);
        disk.set(Door::Shut);
        let hung = client.ask_with(&send("T", 0, ""), "a").await;
        let other = client.ask(&GetBrokerConfig).await;
        disk.set(Door::Open);
        assert_eq!((hung.code, other.code), (10, 0));
    }
    life.stop.cancel();
    life.running.await.unwrap().unwrap();
    workers.shutdown_background();
}

#[tokio::test]
async fn a_disk_that_hangs_takes_one_of_two_workers_whatever_is_asked_of_it() {
    let disk = Tough::new();
    let (workers, life) = on_two_workers(&disk).await;
    let (client, other) = (Rig::client_at(life.addr).await, Rig::client_at(life.addr).await);
    let third = Rig::client_at(life.addr).await;
    client.make_topic("T", 1).await;
    let patience = |ms: u32| client.ask_with(&UpdateBrokerConfig, format!("syncFlushTimeout={ms}"));
    for round in 0..30 {
        assert_eq!(patience(10_000).await.code, 0);
        for _ in 0..20 {
            client.send("T", 0, "quick").await;
        }
        assert_eq!(patience(20).await.code, 0);
        disk.set(Door::Shut);
        // Its sync hangs, in the worker that has its connection, and then the write of the next one.
        let first = client.ask_with(&send("T", 0, ""), "a").await;
        disk.set(Door::Stuck);
        let message = send("T", 0, "");
        let second = other.ask_with(&message, "b");
        // Whether the second is answered before the disk goes on is up to which thread writes it; the third always is.
        let asked = async {
            let asked = tokio::time::timeout(SOON / 2, third.ask(&GetBrokerConfig)).await;
            disk.set(Door::Open);
            asked
        };
        let (second, asked) = tokio::join!(second, asked);
        let asked = asked.unwrap_or_else(|_| panic!("nobody is served, round {round}"));
        assert_eq!((first.code, asked.code), (10, 0));
        assert!([0, 10].contains(&second.code), "{:?}", second.remark);
    }
    assert_eq!(patience(10_000).await.code, 0);
    client.send("T", 0, "last").await;
    assert_eq!(life.broker.store.queue("T", 0).max(), 30 * 22 + 1);
    life.stop.cancel();
    life.running.await.unwrap().unwrap();
    workers.shutdown_background();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn who_has_nothing_to_write_does_not_write_for_others_and_wait_for_a_disk_that_hangs() {
    let disk = Tough::new();
    let life = start(Arc::clone(&disk), &[]).await;
    life.client.make_topic("T", 1).await;
    life.client.send("T", 0, "before").await;
    disk.set(Door::Stuck);
    let queue = life.broker.store.queue("T", 0);
    let staged = life.broker.store.append(&Draft {
        queue: &queue,
        flag: 0,
        sys_flag: 0,
        born_at: 1,
        born_host: ([127, 0, 0, 1], 1234).into(),
        store_host: ([127, 0, 0, 1], 10911).into(),
        reconsume_times: 0,
        prepared_pos: 0,
        body: b"of somebody else",
        properties: b"",
        wait: true,
    });
    assert!(staged.is_ok());
    let asked = tokio::time::timeout(SOON / 2, life.client.ask(&GetBrokerConfig)).await;
    disk.set(Door::Open);
    assert_eq!(asked.expect("it is answered while the disk hangs").code, 0);
    life.stop.cancel();
    life.running.await.unwrap().unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_disk_that_stalls_costs_refusals_and_time_and_neither_memory_nor_messages() {
    const PENDING_MAX: usize = 32 * 1024;
    const BODY: usize = 1024;
    const STALL: std::time::Duration = std::time::Duration::from_secs(5);
    let disk = Tough::new();
    let settings = [
        ("appendPendingBytesMax", "32768"),
        ("osPageCacheBusyTimeOutMills", "200"),
    ];
    let life = start(Arc::clone(&disk), &settings).await;
    life.client.make_topic("T", 1).await;
    life.client.send("T", 0, "before").await;
    disk.set(Door::Stuck);
    // They come from many clients, and none of them waits for another.
    let mut clients = Vec::new();
    for _ in 0..8 {
        clients.push(Arc::new(Rig::client_at(life.addr).await));
    }
    let mut answers = JoinSet::new();
    for number in 0..400_u32 {
        let client = Arc::clone(&clients[number as usize % clients.len()]);
        answers.spawn(async move {
            let body = format!("{number:01024}");
            (number, client.ask_with(&send("T", 0, ""), body).await)
        });
    }
    // Those that are refused are answered while the disk stands still, but for those of the client whose thread writes.
    let taken_max = 1 + PENDING_MAX.div_ceil(BODY);
    for _ in 0..400 - taken_max - 400 / clients.len() {
        let (_, refused) = answers.join_next().await.unwrap().unwrap();
        assert_eq!(refused.code, ResponseCode::SYSTEM_BUSY.0, "{:?}", refused.remark);
    }
    let (asks, sends) = (Rig::client_at(life.addr).await, Rig::client_at(life.addr).await);
    assert_eq!(asks.ask(&GetBrokerConfig).await.code, 0, "the rest goes on");
    let stall = || life.broker.store.write_stall();
    while stall() <= STALL {
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
    let late = sends.ask_with(&send("T", 0, ""), "late").await;
    assert_eq!(late.code, ResponseCode::SYSTEM_BUSY.0);
    let store = &life.broker.store;
    let waiting = (store.max_pos().0 - store.written().0).unsigned_abs() as usize;
    assert!(waiting <= PENDING_MAX + 2 * BODY, "{waiting} bytes wait");
    disk.set(Door::Open);
    let mut taken = vec!["before".to_owned()];
    while let Some(answered) = answers.join_next().await {
        let (number, reply) = answered.unwrap();
        match reply.code {
            0 => taken.push(format!("{number:01024}")),
            code => assert_eq!(code, ResponseCode::SYSTEM_BUSY.0, "{:?}", reply.remark),
        }
    }
    assert!(taken.len() > 1, "some were taken");
    life.client.send("T", 0, "after").await;
    taken.push("after".to_owned());
    let mut found = Vec::new();
    while let Some(offset) = Some(found.len()).filter(|offset| *offset < taken.len()) {
        let pulled = life.client.pull(&pull("READER", "T", 0, offset as i64)).await;
        let bodies = pulled.bodies();
        assert!(!bodies.is_empty(), "{} of {}", found.len(), taken.len());
        found.extend(bodies);
    }
    found.sort_unstable();
    taken.sort_unstable();
    assert!(found == taken, "what was acknowledged is there, and nothing else");
    life.stop.cancel();
    life.running.await.unwrap().unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_try_is_answered_no_sooner_than_the_first_is_safe() {
    let disk = Tough::new();
    let settings = [("flushDiskType", "SYNC_FLUSH")];
    let life = start(Arc::clone(&disk), &settings).await;
    let client = &life.client;
    make(client, "T", "+dedup.window=1h").await;
    disk.set(Door::Shut);
    let message = send("T", 0, "UNIQ_KEY\u{1}A\u{2}");
    let first = client.ask_with(&message, "x");
    let second = client.ask_with(&message, "x");
    let both = async { tokio::join!(first, second) };
    tokio::pin!(both);
    let hasty = tokio::time::timeout(std::time::Duration::from_millis(100), &mut both).await;
    assert!(hasty.is_err(), "neither is on disk");
    disk.set(Door::Open);
    let (first, second) = both.await;
    let receipt = |reply: &Frame| -> SendReceipt { reply.ext.read().unwrap() };
    assert_eq!((first.code, second.code), (0, 0));
    assert_eq!(receipt(&first), receipt(&second));
    assert_eq!(stored(client, "T", 0).await.len(), 1);
    life.stop.cancel();
    life.running.await.unwrap().unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_half_that_is_acknowledged_can_be_committed_before_readers_see_it() {
    let disk = Tough::new();
    let settings = [("flushDiskType", "SYNC_FLUSH")];
    let life = start(Arc::clone(&disk), &settings).await;
    let client = &life.client;
    client.make_topic("T", 1).await;
    client.send("T", 0, "first").await;
    let patience = |ms: u32| client.ask_with(&UpdateBrokerConfig, format!("syncFlushTimeout={ms}"));
    assert_eq!(patience(50).await.code, 0);
    disk.set(Door::Shut);
    let half = SendMessageV2 {
        producer_group: "PG".into(),
        sys_flag: 4,
        ..send(
            "T",
            0,
            "WAIT\u{1}false\u{2}TRAN_MSG\u{1}true\u{2}PGROUP\u{1}PG\u{2}UNIQ_KEY\u{1}A\u{2}",
        )
    };
    let reply = client.ask_with(&half, "x").await;
    let receipt: SendReceipt = reply.ext.read().unwrap();
    let (_, pos) = decode_offset_id(&receipt.msg_id).unwrap();
    let commit = EndTransaction {
        producer_group: "PG".into(),
        tran_state_table_offset: receipt.queue_offset,
        commit_log_offset: pos,
        commit_or_rollback: 8,
        from_transaction_check: Some(false),
        msg_id: "A".into(),
        ..EndTransaction::default()
    };
    let early = client.ask(&commit).await;
    // Before anything may fail: nothing ends while it is shut.
    disk.set(Door::Open);
    assert_eq!(reply.code, 0, "{:?}", reply.remark);
    assert_eq!(early.code, 10, "not durable yet: {:?}", early.remark);
    assert_eq!(patience(10_000).await.code, 0);
    client.send("T", 0, "next").await;
    let bodies: Vec<_> = stored(client, "T", 0).await.into_iter().map(|r| r.body).collect();
    assert_eq!(bodies, ["first", "x", "next"]);
    life.stop.cancel();
    life.running.await.unwrap().unwrap();
}

/// What happens to syncs of files.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Door {
    Open,
    /// They wait.
    Shut,
    /// They wait, and so does what is written to the log.
    Stuck,
    /// They fail.
    Broken,
}

/// A disk whose syncs have to pass a door.
#[derive(Debug)]
struct Tough {
    disk: SimDisk,
    door: Arc<(Mutex<Door>, Condvar)>,
}

#[derive(Debug)]
struct ToughFile {
    file: Arc<dyn File>,
    is_log: bool,
    door: Arc<(Mutex<Door>, Condvar)>,
}

impl Tough {
    fn new() -> Arc<Tough> {
        Arc::new(Tough {
            disk: SimDisk::seeded(7),
            door: Arc::new((Mutex::new(Door::Open), Condvar::new())),
        })
    }

    fn set(&self, door: Door) {
        *self.door.0.lock() = door;
        self.door.1.notify_all();
    }

    fn wrap(&self, path: &Path, file: Arc<dyn File>) -> Arc<dyn File> {
        Arc::new(ToughFile {
            file,
            is_log: path.components().any(|part| part.as_os_str() == "commitlog"),
            door: Arc::clone(&self.door),
        })
    }
}

impl Disk for Tough {
    fn open(&self, path: &Path) -> io::Result<Arc<dyn File>> {
        Ok(self.wrap(path, self.disk.open(path)?))
    }
    fn create(&self, path: &Path, len: u64) -> io::Result<Arc<dyn File>> {
        Ok(self.wrap(path, self.disk.create(path, len)?))
    }
    fn list(&self, dir: &Path) -> io::Result<Vec<Entry>> {
        self.disk.list(dir)
    }
    fn entry(&self, path: &Path) -> io::Result<Option<Entry>> {
        self.disk.entry(path)
    }
    fn make_dirs(&self, dir: &Path) -> io::Result<()> {
        self.disk.make_dirs(dir)
    }
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.disk.rename(from, to)
    }
    fn remove(&self, path: &Path) -> io::Result<()> {
        self.disk.remove(path)
    }
    fn remove_dir(&self, dir: &Path) -> io::Result<()> {
        self.disk.remove_dir(dir)
    }

    fn remove_tree(&self, dir: &Path) -> io::Result<()> {
        self.disk.remove_tree(dir)
    }
    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        self.disk.sync_dir(dir)
    }
    fn lock(&self, path: &Path) -> io::Result<Option<Box<dyn Lock>>> {
        self.disk.lock(path)
    }
    fn space(&self, path: &Path) -> io::Result<Space> {
        self.disk.space(path)
    }
}

impl File for ToughFile {
    fn read_at(&self, buf: &mut [u8], at: u64) -> io::Result<usize> {
        self.file.read_at(buf, at)
    }
    fn read_at_nowait(&self, buf: &mut [u8], at: u64) -> io::Result<usize> {
        self.file.read_at_nowait(buf, at)
    }
    fn write_at(&self, buf: &[u8], at: u64) -> io::Result<()> {
        if self.is_log {
            let mut door = self.door.0.lock();
            self.door.1.wait_while(&mut door, |door| *door == Door::Stuck);
        }
        self.file.write_at(buf, at)
    }
    fn zero(&self, at: u64, len: u64) -> io::Result<()> {
        self.file.zero(at, len)
    }
    fn sync(&self) -> io::Result<()> {
        let mut door = self.door.0.lock();
        self.door
            .1
            .wait_while(&mut door, |door| [Door::Shut, Door::Stuck].contains(door));
        if *door == Door::Broken {
            return Err(io::Error::other("broken"));
        }
        self.file.sync()
    }
    fn set_len(&self, len: u64) -> io::Result<()> {
        self.file.set_len(len)
    }
    fn len(&self) -> io::Result<u64> {
        self.file.len()
    }
}

/// What comes later comes, although all that came before it is lost with its queues: in a log of zeros, or one that a power cut took.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_delayed_comes_although_all_before_it_was_lost() {
    let disk = Arc::new(SimDisk::seeded(7));
    let settings = [
        ("timerWheelEnable", "true"),
        ("timerPrecisionMs", "100"),
        ("messageDelayLevel", "1s"),
    ];
    let life = Life::start(Arc::clone(&disk) as _, &settings).await.unwrap();
    life.client.make_topic("T", 1).await;
    send_later(&life.client, 0).await;
    life.end().await;
    for dir in ["commitlog", "consumequeue", "index"] {
        disk.remove_tree(&Path::new("/store").join(dir)).unwrap();
    }
    for name in ["checkpoint", "barque-reached"] {
        disk.remove(&Path::new("/store").join(name)).unwrap();
    }
    let life = Life::start(Arc::clone(&disk) as _, &settings).await.unwrap();
    send_later(&life.client, 0).await;
    life.end().await;
}

/// One message of a level and one of a time are sent, and come.
async fn send_later(client: &Client, from: i64) {
    client
        .send_with("T", 0, "level", "DELAY\u{1}1\u{2}UNIQ_KEY\u{1}A\u{2}")
        .await;
    client
        .send_with("T", 0, "time", "TIMER_DELAY_MS\u{1}500\u{2}UNIQ_KEY\u{1}B\u{2}")
        .await;
    let mut came = Vec::new();
    while came.len() < 2 {
        let next = from + came.len() as i64;
        let pulled = client.pull(&held_pull("READER", "T", next, SOON)).await;
        assert_eq!(pulled.code, 0, "{}, after {came:?}", pulled.remark);
        came.extend(pulled.bodies());
    }
    came.sort();
    assert_eq!(came, ["level", "time"]);
}
