// SPDX-License-Identifier: Apache-2.0
//! Tables beyond topics, groups and offsets, and a slave that was away itself.

use super::*;
use serde_json::Value;
use store::TimerMark;

/// Whole answers of one broker.
async fn table(client: &Client, code: Code) -> Result<Value> {
    let reply = client.ask(code, &[], b"").await?;
    anyhow::ensure!(reply.code == 0, "{code:?}: {:?}", reply.remark);
    Ok(serde_json::from_slice(&reply.body)?)
}

#[tokio::test(flavor = "multi_thread")]
async fn how_groups_read_follows_the_master() -> Result {
    let pair = Pair::new().await?;
    let master = pair.first(&MASTER).await?;
    let slave = pair.second(&SLAVE).await?;
    let (here, there) = (Client::of(&master).await?, Client::of(&slave).await?);
    here.send("T", "makes the topic").await?;
    here.make_group("CG").await?;
    for mode in ["POP", "PULL"] {
        let body = format!(r#"{{"topic":"T","consumerGroup":"CG","mode":"{mode}","popShareQueueNum":2}}"#);
        let set = here
            .ask(Code::SET_MESSAGE_REQUEST_MODE, &[], body.as_bytes())
            .await?;
        assert_eq!((set.code, set.remark.as_deref()), (0, None));
        let chosen = &table(&here, Code::GET_ALL_MESSAGE_REQUEST_MODE).await?["messageRequestModeMap"];
        assert_eq!(chosen["T"]["CG"]["mode"], mode);
        until("the slave has the same table", async || {
            let followed = table(&there, Code::GET_ALL_MESSAGE_REQUEST_MODE).await?;
            Ok(followed["messageRequestModeMap"] == *chosen)
        })
        .await?;
    }
    slave.stop().await?;
    master.stop().await
}

#[tokio::test(flavor = "multi_thread")]
async fn how_far_timers_are_and_how_many_wait_follows_the_master() -> Result {
    let pair = Pair::new().await?;
    let master = pair.first(&MASTER).await?;
    let here = Client::of(&master).await?;
    let at = (chrono_ms() + 3_600_000).to_string();
    let timer = async |topic: &str| -> Result {
        let when = format!("TIMER_DELIVER_MS\u{1}{at}");
        let sent = here.send_with(topic, &when, "in an hour").await?;
        assert_eq!(sent.code, 0, "{:?}", sent.remark);
        Ok(())
    };
    timer("T").await?;
    timer("T").await?;
    // A slave begins at the newest file: it has not seen them, and knows of them only what the master says.
    let body = "x".repeat(100_000);
    for _ in 0..12 {
        assert_eq!(here.send("Other", &body).await?.code, 0);
    }
    let slave = pair.second(&SLAVE).await?;
    let there = Client::of(&slave).await?;
    timer("U").await?;
    let counts = async |client: &Client| -> Result<(Value, Value)> {
        let counts = &table(client, Code::GET_TIMER_METRICS).await?["timingCount"];
        Ok((counts["T"]["count"].clone(), counts["U"]["count"].clone()))
    };
    let mark = async |client: &Client| -> Result<TimerMark> {
        let reply = client.ask(Code::GET_TIMER_CHECK_POINT, &[], b"").await?;
        anyhow::ensure!(reply.code == 0, "{:?}", reply.remark);
        TimerMark::of(&reply.body).ok_or_else(|| anyhow::anyhow!("{:?}", reply.body))
    };
    let all = (Value::from(2), Value::from(1));
    until("the master counts them", async || Ok(counts(&here).await? == all)).await?;
    until("the slave counts them", async || Ok(counts(&there).await? == all)).await?;
    assert_eq!(mark(&here).await?.queue_offset, 3);
    until("the slave knows how many were read", async || {
        Ok(mark(&there).await?.master_queue_offset == 3)
    })
    .await?;
    slave.stop().await?;
    master.stop().await
}

#[tokio::test(flavor = "multi_thread")]
async fn an_offset_that_was_committed_while_the_slave_was_down_is_there_soon_after_its_start() -> Result {
    let pair = Pair::new().await?;
    let master = pair.first(&MASTER).await?;
    let slave = pair.second(&SLAVE).await?;
    let here = Client::of(&master).await?;
    for body in ["a", "b", "c"] {
        here.send("T", body).await?;
    }
    here.make_group("CG").await?;
    here.commit("CG", "T", 1).await?;
    let there = Client::of(&slave).await?;
    until("the offset is there", async || {
        Ok(there.committed("CG", "T").await? == Some(1))
    })
    .await?;
    slave.stop().await?;
    here.send("T", "d").await?;
    here.commit("CG", "T", 4).await?;
    here.make_group("New").await?;
    here.commit("New", "T", 2).await?;
    let begun = Instant::now();
    let slave = pair.second(&SLAVE).await?;
    let there = Client::of(&slave).await?;
    until("the offsets are there", async || {
        let both = (
            there.committed("CG", "T").await?,
            there.committed("New", "T").await?,
        );
        Ok(both == (Some(4), Some(2)))
    })
    .await?;
    assert!(begun.elapsed() < Duration::from_secs(10), "{:?}", begun.elapsed());
    assert_eq!(there.max_offset("T").await?, 4, "and what it speaks of");
    slave.stop().await?;
    master.stop().await
}
