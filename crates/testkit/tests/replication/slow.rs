// SPDX-License-Identifier: Apache-2.0
//! A slave that is sent no more than so many bytes in a second, and what operators see of it.

use super::*;
use serde_json::Value;

/// What is seen of the only slave.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
struct Seen {
    bytes: i64,
    ms: i64,
    per_second: i64,
}

async fn look(client: &Client) -> Result<Seen> {
    let table = client.ask(Code::GET_BROKER_RUNTIME_INFO, &[], b"").await?;
    let table: Value = serde_json::from_slice(&table.body)?;
    let number = |name: &str| -> Result<i64> {
        let said = table["table"][name].as_str().unwrap_or_default();
        said.parse().map_err(|_| anyhow::anyhow!("{name}: {table}"))
    };
    let status = client.ask(Code::GET_BROKER_HA_STATUS, &[], b"").await?;
    let status: Value = serde_json::from_slice(&status.body)?;
    let rate = &status["haConnectionInfo"][0]["transferredByteInSecond"];
    Ok(Seen {
        bytes: number("slaveLagBytes_1")?,
        ms: number("slaveLagMs_1")?,
        per_second: rate.as_i64().ok_or_else(|| anyhow::anyhow!("{status}"))?,
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slave_that_is_sent_little_is_seen_to_lag_and_to_catch_up() -> Result {
    let pair = Pair::new().await?;
    let slow = [
        ("haFlowControlEnable", "true"),
        ("maxHaTransferByteInSecond", "50000"),
    ];
    let master = pair.first(&[&MASTER[..], &slow].concat()).await?;
    let slave = pair.second(&SLAVE).await?;
    let client = Client::of(&master).await?;
    assert_eq!(client.send("T", "makes the topic").await?.code, 0);
    in_step(&master, &slave).await?;
    until("the slave has said so", async || {
        Ok(look(&client).await?.bytes == 0)
    })
    .await?;
    let begun = Instant::now();
    let body = "x".repeat(10_000);
    for _ in 0..20 {
        assert_eq!(client.send("T", &body).await?.code, 0);
    }
    let end = master.broker.store.written();
    let mut most = Seen::default();
    until("the slave has the log", async || {
        let seen = look(&client).await?;
        most.bytes = most.bytes.max(seen.bytes);
        most.ms = most.ms.max(seen.ms);
        most.per_second = most.per_second.max(seen.per_second);
        Ok(slave.broker.store.written() >= end)
    })
    .await?;
    let took = begun.elapsed();
    // Four seconds' worth, of which the first may begin at the end of one second and at the start of the next.
    assert!(took >= Duration::from_secs(2), "{took:?}");
    assert!(most.bytes > 50_000, "{most:?}");
    assert!(
        most.ms > 0 && u128::from(most.ms.unsigned_abs()) <= took.as_millis() + 2_000,
        "{most:?} {took:?}"
    );
    // A second of one clock may touch two of the other, and the end of one in which nothing was sent before.
    assert!(most.per_second > 0 && most.per_second <= 150_000, "{most:?}");
    until("nothing is left to see", async || {
        Ok(look(&client).await? == Seen::default())
    })
    .await?;
    slave.stop().await?;
    master.stop().await
}
