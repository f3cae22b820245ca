// SPDX-License-Identifier: Apache-2.0
//! What a promise keeps from readers, and for whom it waits.

use super::*;
use std::cell::Cell;

/// How long the master waits for its slaves here.
const WAIT: Duration = Duration::from_secs(3);

impl Client {
    async fn pop(&self, topic: &str) -> Result<Frame> {
        let fields = [
            ("consumerGroup", "PG"),
            ("topic", topic),
            ("queueId", "0"),
            ("maxMsgNums", "32"),
            ("invisibleTime", "60000"),
            ("pollTime", "0"),
            ("bornTime", "0"),
            ("initMode", "0"),
        ];
        self.ask(Code::POP_MESSAGE, &fields, b"").await
    }

    async fn by_key(&self, topic: &str, key: &str) -> Result<Frame> {
        let fields = [
            ("topic", topic),
            ("key", key),
            ("maxNum", "32"),
            ("beginTimestamp", "0"),
            ("endTimestamp", "9999999999999"),
        ];
        self.ask(Code::QUERY_MESSAGE, &fields, b"").await
    }

    /// Held until there is a message there.
    async fn pull_and_wait(&self, topic: &str, offset: i64) -> Result<Frame> {
        let offset = offset.to_string();
        let fields = [
            ("consumerGroup", "CG"),
            ("topic", topic),
            ("queueId", "0"),
            ("queueOffset", &offset),
            ("maxMsgNums", "32"),
            ("sysFlag", "6"),
            ("commitOffset", "0"),
            ("suspendTimeoutMillis", "20000"),
            ("subscription", "*"),
            ("subVersion", "0"),
        ];
        self.ask(Code::PULL_MESSAGE, &fields, b"").await
    }
}

fn has(frame: &Frame, body: &str) -> bool {
    frame.body.windows(body.len()).any(|part| part == body.as_bytes())
}

/// One that confirms when the test wants it.
struct Lazy {
    stranger: Stranger,
    /// It was sent the log up to here.
    end: i64,
}

impl Lazy {
    async fn at(master: &Node) -> Result<Lazy> {
        let mut stranger = Stranger::at(master.replication).await?;
        stranger.report(0).await?;
        let mut lazy = Lazy { stranger, end: 0 };
        let end = master.broker.store.written().0;
        lazy.take(end).await?;
        lazy.confirm().await?;
        Ok(lazy)
    }

    async fn take(&mut self, upto: i64) -> Result {
        while self.end < upto {
            let (at, bytes) = tokio::time::timeout(SOON, self.stranger.transfer()).await??;
            self.end = at + bytes.len() as i64;
        }
        Ok(())
    }

    async fn confirm(&mut self) -> Result {
        self.stranger.report(self.end).await
    }
}

/// Sends a message, with its body as its key, looks from all sides while nobody has confirmed it, and after that. Says
/// what the sender was told, and after how long.
async fn hide_and_seek(
    master: &Node,
    lazy: &mut Lazy,
    (body, offset): (&str, i64),
    confirms: bool,
) -> Result<(i32, Duration)> {
    let (sender, waiter, reader) = (
        Client::of(master).await?,
        Client::of(master).await?,
        Client::of(master).await?,
    );
    let (before, begun, confirmed) = (master.broker.store.written(), Instant::now(), Cell::new(false));
    // Whether the message may still not be seen: the master gives up after a while, and then all may.
    let is_hidden = || !confirmed.get() && begun.elapsed() < WAIT;
    let held = async {
        let held = waiter.pull_and_wait("T", offset).await?;
        assert!(!is_hidden(), "held until it may be seen");
        assert_eq!(held.code, 0, "{:?}", held.remark);
        assert!(has(&held, body));
        anyhow::Ok(())
    };
    let send = async {
        // What comes on the same connection behind the pull is answered when the pull waits.
        waiter.max_offset("T").await?;
        let sent = sender.send_with("T", &format!("KEYS\u{1}{body}"), body).await?;
        anyhow::Ok((sent.code, begun.elapsed()))
    };
    let look = async {
        until(
            "it is stored",
            async || Ok(master.broker.store.written() > before),
        )
        .await?;
        lazy.take(master.broker.store.written().0).await?;
        for _ in 0..5 {
            let pulled = reader.pull("T", offset).await?;
            let popped = reader.pop("T").await?;
            let found = reader.by_key("T", body).await?;
            let max = reader.max_offset("T").await?;
            if is_hidden() {
                assert_eq!((pulled.code, pulled.body.len()), (19, 0));
                assert_eq!((popped.code, popped.body.len()), (210, 0));
                assert_eq!((found.code, found.body.len()), (22, 0));
                assert_eq!(max, offset);
            }
        }
        if confirms {
            confirmed.set(true);
            lazy.confirm().await?;
        }
        anyhow::Ok(())
    };
    let (held, sent, looked) = tokio::join!(held, send, look);
    held?;
    looked?;
    // Nobody was handed it before.
    until("it is seen by all", async || {
        Ok(has(&reader.pull("T", offset).await?, body)
            && has(&reader.by_key("T", body).await?, body)
            && reader.max_offset("T").await? == offset + 1)
    })
    .await?;
    let popped = reader.pop("T").await?;
    assert!(
        has(&popped, body),
        "{} {:?}: nobody was handed it before",
        popped.code,
        popped.remark
    );
    sent
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_without_its_copies_is_hidden_from_all_that_read_until_its_sender_is_told() -> Result {
    let pair = Pair::new().await?;
    let settings = [&SYNC_MASTER[..], &[("slaveTimeout", "3000")]].concat();
    let master = pair.first(&settings).await?;
    let client = Client::of(&master).await?;
    assert_eq!(
        client
            .send_with("T", "KEYS\u{1}first", "makes the topic")
            .await?
            .code,
        11
    );
    assert!(has(&client.pop("T").await?, "makes the topic"));
    until("and is found", async || {
        Ok(has(&client.by_key("T", "first").await?, "makes the topic"))
    })
    .await?;
    let mut lazy = Lazy::at(&master).await?;
    let (code, _) = hide_and_seek(&master, &mut lazy, ("early", 1), true).await?;
    assert_eq!(code, 0);
    let (code, when) = hide_and_seek(&master, &mut lazy, ("late", 2), false).await?;
    assert_eq!(code, 12, "FLUSH_SLAVE_TIMEOUT");
    assert!(when >= WAIT, "{when:?}");
    master.stop().await
}

#[tokio::test(flavor = "multi_thread")]
async fn with_three_replicas_one_slave_is_not_enough() -> Result {
    let pair = Pair::new().await?;
    let settings = [&SYNC_MASTER[..], &[("inSyncReplicas", "3")]].concat();
    let master = pair.first(&settings).await?;
    let client = Client::of(&master).await?;
    let slave = pair.second(&SLAVE).await?;
    let place = tempfile::tempdir()?;
    let third = [&SLAVE[..], &[("brokerId", "2")]].concat();
    for round in 0..2 {
        until("one slave is there", async || {
            let code = client.send("T", "with one").await?.code;
            anyhow::ensure!(code == 11, "round {round}: {code}");
            let status = client.ask(Code::GET_BROKER_HA_STATUS, &[], b"").await?;
            let status: serde_json::Value = serde_json::from_slice(&status.body)?;
            Ok(status["inSyncSlaveNums"] == 1)
        })
        .await?;
        assert_eq!(
            client.send("T", "with one").await?.code,
            11,
            "SLAVE_NOT_AVAILABLE"
        );
        let other = Node::start(&pair.names, place.path(), &third).await?;
        until("both are there", async || {
            Ok(client.send("T", "with both").await?.code == 0)
        })
        .await?;
        for _ in 0..20 {
            assert_eq!(client.send("T", "with both").await?.code, 0);
            let end = master.broker.store.written();
            assert_eq!(
                (slave.broker.store.written(), other.broker.store.written()),
                (end, end)
            );
        }
        other.stop().await?;
        until("the third has left", async || {
            Ok(client.send("T", "with one again").await?.code == 11)
        })
        .await?;
    }
    slave.stop().await?;
    master.stop().await
}

#[tokio::test(flavor = "multi_thread")]
async fn when_all_in_step_must_confirm_one_that_does_not_is_waited_for() -> Result {
    for (all, expected, timeout) in [("true", 12, "1000"), ("false", 0, "10000")] {
        let pair = Pair::new().await?;
        let settings = [
            ("inSyncReplicas", "2"),
            ("allAckInSyncStateSet", all),
            ("slaveTimeout", timeout),
        ];
        let master = pair.first(&[&SYNC_MASTER[..], &settings].concat()).await?;
        let client = Client::of(&master).await?;
        let slave = pair.second(&SLAVE).await?;
        until("the slave confirms", async || {
            Ok(client.send("T", "with the slave").await?.code == 0)
        })
        .await?;
        let mut lazy = Lazy::at(&master).await?;
        until("the other one is in step", async || {
            let status = client.ask(Code::GET_BROKER_HA_STATUS, &[], b"").await?;
            let status: serde_json::Value = serde_json::from_slice(&status.body)?;
            Ok(status["inSyncSlaveNums"] == 2)
        })
        .await?;
        let begun = Instant::now();
        let sent = client.send("T", "not confirmed by all").await?;
        assert_eq!(sent.code, expected, "{all}");
        assert!(expected == 0 || begun.elapsed() >= Duration::from_secs(1));
        lazy.take(master.broker.store.written().0).await?;
        lazy.confirm().await?;
        drop(lazy);
        until("the others are enough again", async || {
            Ok(client.send("T", "with the slave").await?.code == 0)
        })
        .await?;
        slave.stop().await?;
        master.stop().await?;
    }
    Ok(())
}
