// SPDX-License-Identifier: Apache-2.0
//! Peers that are none, or that stop being ones: what they say is refused or their link is cut, with one line that says
//! why, and clients notice nothing.

use super::*;
use std::io::Write;
use std::sync::{Mutex, PoisonError};
use std::time::SystemTime;
use tokio::net::{TcpListener, TcpSocket};

/// What every broker of this process has logged.
static LOG: Mutex<Vec<u8>> = Mutex::new(Vec::new());

struct Sink;

impl Write for Sink {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        LOG.lock()
            .unwrap_or_else(PoisonError::into_inner)
            .extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// Logs from now on; the first of the tests that says so does it.
pub(super) fn listen() {
    let log = tracing_subscriber::fmt().with_ansi(false).with_writer(|| Sink);
    drop(log.try_init());
}

/// The lines so far with all of these words.
pub(super) fn lines_with(words: &[&str]) -> Vec<String> {
    lines_since(0, words)
}

/// How long the log is. Lines before may be of another broker that had the same port.
pub(super) fn mark() -> usize {
    LOG.lock().unwrap_or_else(PoisonError::into_inner).len()
}

/// The lines from a mark on with all of these words.
pub(super) fn lines_since(mark: usize, words: &[&str]) -> Vec<String> {
    let log = LOG.lock().unwrap_or_else(PoisonError::into_inner)[mark..].to_vec();
    let log = String::from_utf8_lossy(&log);
    let lines = log.lines();
    lines
        .filter(|line| words.iter().all(|word| line.contains(word)))
        .map(str::to_owned)
        .collect()
}

/// Waits for the first line with these words.
async fn said(words: &[&str]) -> Result {
    said_since(0, words).await
}

/// The same, of the lines from a mark on.
async fn said_since(mark: usize, words: &[&str]) -> Result {
    until(&format!("a line with {words:?}"), async || {
        Ok(!lines_since(mark, words).is_empty())
    })
    .await
}

/// Links are given up soon.
const QUICK: [(&str, &str); 3] = [
    ("haHousekeepingInterval", "1000"),
    ("haSendHeartbeatInterval", "200"),
    ("slaveTimeout", "300"),
];

/// Each from another address of this machine, as from another host.
async fn stranger_from(host: u8, to: SocketAddr) -> Result<(Stranger, String)> {
    let socket = TcpSocket::new_v4()?;
    socket.bind((std::net::Ipv4Addr::new(127, 0, 1, host), 0).into())?;
    // What a peer does not read piles up soon.
    socket.set_recv_buffer_size(4096)?;
    let stream = socket.connect(to).await?;
    let name = format!("slave={} ", stream.local_addr()?);
    Ok((Stranger(stream), name))
}

#[tokio::test(flavor = "multi_thread")]
async fn garbage_on_the_replication_port_ends_with_one_line() -> Result {
    listen();
    let pair = Pair::new().await?;
    let master = pair.first(&[&SYNC_MASTER[..], &QUICK].concat()).await?;
    let client = Client::of(&master).await?;
    assert_eq!(client.send("T", "makes the topic").await?.code, 11);
    let garbage: [(&[u8], &str); 5] = [
        (b"GET / HTTP/1.1\r\nHost: master\r\n\r\n", "is ahead"),
        (
            b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03 a hello of TLS",
            "is ahead",
        ),
        (&[0xff; 4096], "it says no hello, or a wrong one"),
        (&[0x80, 0, 0, 0, 0, 0, 0, 0], "first report of the slave is"),
        (b"short", "nothing came for 1s"),
    ];
    for (host, (bytes, why)) in (1..).zip(garbage) {
        let (mut stranger, name) = stranger_from(host, master.replication).await?;
        stranger.0.write_all(bytes).await?;
        assert_eq!(stranger.until_cut().await?, 0, "it gets nothing");
        said(&[&name]).await?;
        let lines = lines_with(&[&name]);
        assert_eq!(lines.len(), 1, "{lines:?}");
        assert!(lines[0].contains(why), "{lines:?}");
        assert_eq!(client.send("T", "goes on").await?.code, 11, "nobody has it");
    }
    master.stop().await
}

#[tokio::test(flavor = "multi_thread")]
async fn one_that_is_refused_again_and_again_is_told_of_once() -> Result {
    listen();
    let pair = Pair::new().await?;
    let master = pair.first(&MASTER).await?;
    for _ in 0..20 {
        let (mut stranger, _) = stranger_from(20, master.replication).await?;
        // Each time further ahead.
        stranger.report(1 << 40).await?;
        assert_eq!(stranger.until_cut().await?, 0);
    }
    let lines = lines_with(&["slave=127.0.1.20:"]);
    assert_eq!(lines.len(), 1, "{lines:?}");
    assert!(lines[0].contains("is ahead"), "{lines:?}");
    // The first that is let in ends that.
    let (mut stranger, name) = stranger_from(20, master.replication).await?;
    stranger.report(0).await?;
    said(&[&name, "a slave follows"]).await?;
    drop(stranger);
    said(&[&name, "the link to a slave has ended"]).await?;
    let (mut stranger, name) = stranger_from(20, master.replication).await?;
    stranger.report(1 << 40).await?;
    said(&[&name, "is ahead"]).await?;
    master.stop().await
}

#[tokio::test(flavor = "multi_thread")]
async fn those_that_say_nothing_do_not_keep_a_slave_out_for_long() -> Result {
    listen();
    let pair = Pair::new().await?;
    let master = pair.first(&[&SYNC_MASTER[..], &QUICK].concat()).await?;
    let client = Client::of(&master).await?;
    let mut mute = Vec::new();
    for _ in 0..200 {
        let (stranger, _) = stranger_from(30, master.replication).await?;
        mute.push(stranger);
    }
    said(&["slave=127.0.1.30:", "too many connections"]).await?;
    assert_eq!(client.send("T", "clients go on").await?.code, 11);
    let slave = pair.second(&SLAVE).await?;
    until("the slave is waited for", async || {
        Ok(client.send("T", "with a slave").await?.code == 0)
    })
    .await?;
    for mut stranger in mute {
        assert_eq!(stranger.until_cut().await?, 0);
    }
    slave.stop().await?;
    master.stop().await
}

/// The way to the slave is open, the one back is not: it is taken for a slave until it was silent for too long.
#[tokio::test(flavor = "multi_thread")]
async fn a_slave_that_falls_silent_is_cut_and_not_waited_for() -> Result {
    listen();
    let pair = Pair::new().await?;
    let master = pair.first(&[&SYNC_MASTER[..], &QUICK].concat()).await?;
    let client = Client::of(&master).await?;
    client.send("T", "makes the topic").await?;
    let (mut silent, name) = stranger_from(40, master.replication).await?;
    silent.report(0).await?;
    let (at, bytes) = silent.transfer().await?;
    silent.report(at + bytes.len() as i64).await?;
    until("it counts as a slave", async || {
        // Silent only afterwards, or it is cut before anybody waits for it.
        silent.report(at + bytes.len() as i64).await?;
        Ok(client.send("T", "to a silent one").await?.code == 12)
    })
    .await?;
    silent.until_cut().await?;
    // The line comes after the cut.
    said(&[&name, "the link to a slave has ended"]).await?;
    let lines = lines_with(&[&name, "the link to a slave has ended"]);
    assert_eq!(lines.len(), 1, "{lines:?}");
    assert!(lines[0].contains("nothing came for 1s"), "{lines:?}");
    assert_eq!(client.send("T", "to nobody").await?.code, 11);
    master.stop().await
}

/// The other way round: it says where it is, and reads nothing.
#[tokio::test(flavor = "multi_thread")]
async fn a_slave_that_takes_nothing_is_cut_and_clients_go_on() -> Result {
    listen();
    let pair = Pair::new().await?;
    let master = pair.first(&[&MASTER[..], &QUICK].concat()).await?;
    let client = Client::of(&master).await?;
    let (mut stuck, name) = stranger_from(50, master.replication).await?;
    stuck.report(0).await?;
    said(&[&name, "a slave follows"]).await?;
    let body = "x".repeat(200_000);
    let mut sent = 0;
    // As much as the kernel takes for it, and a little more.
    until("it is cut", async || {
        drop(stuck.report(0).await);
        assert_eq!(client.send("T", &body).await?.code, 0, "clients go on");
        sent += 1;
        Ok(!lines_with(&[&name, "the link to a slave has ended"]).is_empty())
    })
    .await?;
    let lines = lines_with(&[&name, "the link to a slave has ended"]);
    assert_eq!(lines.len(), 1, "{lines:?}");
    assert!(
        lines[0].contains("the other side takes nothing since 1s"),
        "{lines:?}"
    );
    assert_eq!(client.max_offset("T").await?, sent);
    master.stop().await
}

/// A master that answers each slave with these bytes, and then with nothing. Each has an address of its own, so that no
/// line of the log is of another with its port.
async fn false_master(
    bytes: Vec<u8>,
) -> Result<(SocketAddr, std::sync::Arc<std::sync::atomic::AtomicUsize>)> {
    use std::sync::atomic::{AtomicU8, AtomicUsize, Ordering};
    static HOST: AtomicU8 = AtomicU8::new(1);
    let host = std::net::Ipv4Addr::new(127, 0, 2, HOST.fetch_add(1, Ordering::Relaxed));
    let listener = TcpListener::bind((host, 0)).await?;
    let (addr, times) = (listener.local_addr()?, std::sync::Arc::new(AtomicUsize::new(0)));
    let count = std::sync::Arc::clone(&times);
    tokio::spawn(async move {
        let mut open = Vec::new();
        while let Ok((mut slave, _)) = listener.accept().await {
            count.fetch_add(1, Ordering::Relaxed);
            // It may be gone already.
            drop(slave.write_all(&bytes).await);
            open.push(slave);
        }
    });
    Ok((addr, times))
}

fn transfer_of(at: i64, bytes: &[u8]) -> Vec<u8> {
    let mut all = at.to_be_bytes().to_vec();
    all.extend_from_slice(&(bytes.len() as i32).to_be_bytes());
    all.extend_from_slice(bytes);
    all
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slave_leaves_what_is_no_master_and_says_so_once() -> Result {
    use std::sync::atomic::Ordering;
    listen();
    let masters: [(Vec<u8>, &str); 6] = [
        (Vec::new(), "nothing came for 1s"),
        (
            b"HTTP/1.1 400 Bad Request\r\n\r\n".to_vec(),
            "not following the master",
        ),
        (
            [&[0; 8][..], &i32::MAX.to_be_bytes()].concat(),
            "not following the master",
        ),
        (transfer_of(0, &[0x5a; 4096]), "is no record"),
        (transfer_of(4096, &[1; 100]), "an empty log cannot begin at 4096"),
        (b"half a head".to_vec(), "nothing came for 1s"),
    ];
    for (bytes, why) in masters {
        let pair = Pair::new().await?;
        // This one is the master, and gives it leave.
        let master = pair.first(&MASTER).await?;
        let (addr, times) = false_master(bytes).await?;
        let name = addr.to_string();
        let settings = [&SLAVE[..], &QUICK, &[("haMasterAddress", name.as_str())]].concat();
        let slave = pair.second(&settings).await?;
        let client = Client::of(&slave).await?;
        until("it comes again and again", async || {
            assert_eq!(client.pull("T", 0).await?.code, 17, "clients go on");
            Ok(times.load(Ordering::Relaxed) > 3)
        })
        .await?;
        let lines = lines_with(&[&format!("master={name} ")]);
        assert_eq!(lines.len(), 1, "{lines:?}");
        assert!(lines[0].contains(why), "{lines:?}");
        assert_eq!(slave.broker.store.written().0, 0);
        slave.stop().await?;
        master.stop().await?;
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slave_of_another_cluster_or_name_follows_nobody_and_says_why() -> Result {
    listen();
    let pair = Pair::new().await?;
    let master = pair.first(&SYNC_MASTER).await?;
    let other = tempfile::tempdir()?;
    let other = Node::start(&pair.names, other.path(), &[("brokerName", "broker-b")]).await?;
    let client = Client::of(&master).await?;
    let unproven = ["it says no hello, or a wrong one", "slave=127.0.0.1:"];
    let before = lines_with(&unproven).len();
    // Name servers tell it of no master of another cluster; the one of the other name gives it leave, and then it knocks
    // at the wrong door.
    let door = master.replication.to_string();
    let begun_at = mark();
    let elsewhere = [("brokerClusterName", "Elsewhere")];
    let wrong_door = [("brokerName", "broker-b"), ("haMasterAddress", &*door)];
    let both = [("brokerClusterName", "Elsewhere"), ("haMasterAddress", &*door)];
    let cases: [(&[(&str, &str)], &str); 3] = [
        (&elsewhere, "no name server knows a master"),
        (&both, "no name server knows a master"),
        (&wrong_door, "the other side has closed the link"),
    ];
    for (settings, why) in cases {
        let slave = pair.second(&[&SLAVE[..], settings].concat()).await?;
        let name = match settings.len() {
            1 => format!("broker={}", slave.addr),
            _ => format!("master={door} error="),
        };
        said_since(begun_at, &[&name, why]).await?;
        let begun = SystemTime::now();
        while begun.elapsed()? < Duration::from_millis(500) {
            assert_eq!(client.send("T", "nobody has it").await?.code, 11);
        }
        let lines = lines_since(begun_at, &[&name, why]);
        assert_eq!(lines.len(), 1, "{lines:?}");
        assert_eq!(slave.broker.store.written().0, 0);
        slave.stop().await?;
    }
    assert!(
        lines_since(begun_at, &[&format!("master={door} from=")]).is_empty(),
        "one has followed"
    );
    until("the master says it, too", async || {
        Ok(lines_with(&unproven).len() > before)
    })
    .await?;
    other.stop().await?;
    master.stop().await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slave_ahead_of_its_master_says_once_that_it_does_not_follow() -> Result {
    listen();
    let pair = Pair::new().await?;
    let ahead = pair.second(&MASTER).await?;
    let more = "not of the master".repeat(20_000);
    for body in [&more, "the newest"] {
        assert_eq!(Client::of(&ahead).await?.send("T", body).await?.code, 0);
    }
    let end = ahead.broker.store.written();
    ahead.stop().await?;
    let master = pair.first(&[&SYNC_MASTER[..], &QUICK].concat()).await?;
    let begun_at = mark();
    let client = Client::of(&master).await?;
    let slave = pair.second(&SLAVE).await?;
    let why = "make it the master, or move its store away";
    let name = format!("master={} ", master.replication);
    said_since(begun_at, &[&name, "not following the master"]).await?;
    // It comes some times more; the master must stay behind it.
    for _ in 0..10 {
        assert_eq!(client.send("T", "nobody has it").await?.code, 11);
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    let lines = lines_since(begun_at, &[&name]);
    assert_eq!(lines.len(), 1, "{lines:?}");
    assert!(!lines_with(&[why]).is_empty());
    assert_eq!(slave.broker.store.written(), end);
    slave.stop().await?;
    master.stop().await
}

#[tokio::test(flavor = "multi_thread")]
async fn of_two_masters_with_one_id_the_first_says_once_that_there_is_another() -> Result {
    listen();
    let pair = Pair::new().await?;
    let first = pair.first(&MASTER).await?;
    let begun_at = mark();
    let second = pair.second(&MASTER).await?;
    let rival = format!("rival={} ", second.addr);
    said_since(begun_at, &["another broker has registered as the master", &rival]).await?;
    for node in [&first, &second] {
        let client = Client::of(node).await?;
        assert_eq!(client.send("T", "clients go on").await?.code, 0);
    }
    second.stop().await?;
    said(&["no other broker is registered as the master"]).await?;
    let lines = lines_since(begun_at, &[&rival]);
    assert_eq!(lines.len(), 1, "{lines:?}");
    first.stop().await
}
