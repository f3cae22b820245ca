// SPDX-License-Identifier: Apache-2.0
//! A client that sends: to any queue with retries, in order to one queue, delayed, timed, in batches, in transactions.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;
use wire::api::heartbeat::HeartBeat;
use wire::api::send::{SendBatchMessage, SendMessageV2, SendReceipt};
use wire::api::transaction::{CheckTransactionState, EndTransaction};
use wire::batch::{SubMessage, encode_sub_message};
use wire::body::subscription::{HeartbeatBody, ProducerData};
use wire::code::Code;
use wire::fastjson;
use wire::frame::Frame;
use wire::record::{Record, sysflag};

use crate::client::{AskError, Client, Phase, Place, Shared, TIMEOUT};
use crate::history::{Attempt, Ended, Fate, Meant};
use crate::play::{self, Topic};
use crate::world::{Begin, now_ms};

/// Of an official client.
const RETRIES: usize = 2;
const COMMIT: i32 = sysflag::COMMIT;
const ROLLBACK: i32 = sysflag::ROLLBACK;

/// Sends until the run drains.
pub(crate) fn producer(name: &str, shared: Shared, pause_ms: u64) -> Begin {
    let name = name.to_owned();
    Box::new(move |env| {
        let (client, asked) = Client::new(&name, env, shared.clone());
        Box::pin(async move {
            tokio::spawn(answer_checks(Arc::clone(&client), asked));
            tokio::spawn(beat(Arc::clone(&client)));
            let life = format!("{}@{}", client.name, now_ms());
            let mut sender = Sender {
                client,
                life,
                turn: 0,
                number: 0,
            };
            loop {
                let pause = sender.client.below(2 * pause_ms + 1);
                tokio::time::sleep(Duration::from_millis(pause)).await;
                match sender.client.shared.phase() {
                    Phase::Busy | Phase::Calm => sender.one().await,
                    Phase::Rest => {}
                    Phase::Drain => break,
                }
            }
            // A transaction that is open is asked about.
            std::future::pending::<()>().await;
        })
    })
}

/// Brokers have to know who can be asked about transactions.
async fn beat(client: Arc<Client>) {
    loop {
        let body = HeartbeatBody {
            client_id: client.name.as_str().into(),
            producer_data_set: vec![ProducerData {
                group_name: group_of(&client).into(),
            }],
            ..HeartbeatBody::default()
        };
        let mut addrs: Vec<SocketAddr> = client
            .places(Topic::Half.name())
            .await
            .iter()
            .map(|place| place.addr)
            .collect();
        addrs.dedup();
        for addr in addrs {
            let _again = client
                .ask(addr, &HeartBeat {}, fastjson::to_vec(&body), TIMEOUT)
                .await;
        }
        tokio::time::sleep(Duration::from_secs(2)).await;
    }
}

fn group_of(client: &Client) -> String {
    format!("group-{}", client.name)
}

/// Tells brokers how transactions ended of which they ask.
async fn answer_checks(client: Arc<Client>, mut asked: mpsc::UnboundedReceiver<(SocketAddr, Frame)>) {
    while let Some((addr, frame)) = asked.recv().await {
        if frame.code != Code::CHECK_TRANSACTION_STATE.0 {
            continue;
        }
        let Ok(check) = frame.ext.read::<CheckTransactionState>() else {
            continue;
        };
        let Ok(record) = Record::decode(&frame.body) else {
            client.fault("a check of a transaction holds no message".to_owned());
            continue;
        };
        let Some(attempt) = play::attempt_of(&record.body) else {
            client.fault("a check of a transaction holds a damaged message".to_owned());
            continue;
        };
        let decided = {
            let mut history = client.shared.history.lock();
            history.count("checks");
            // Who has not decided yet does so now.
            let wish = if attempt % 3 == 0 {
                Ended::Rollback
            } else {
                Ended::Commit
            };
            history.decide(attempt, wish, now_ms())
        };
        let Some(decided) = decided else {
            client.fault(format!(
                "a check of a transaction that was never begun: {attempt}"
            ));
            continue;
        };
        let end = EndTransaction {
            topic: Some(record.topic.clone()),
            producer_group: group_of(&client).as_str().into(),
            tran_state_table_offset: check.tran_state_table_offset,
            commit_log_offset: check.commit_log_offset,
            commit_or_rollback: if decided == Ended::Commit {
                COMMIT
            } else {
                ROLLBACK
            },
            from_transaction_check: Some(true),
            msg_id: check.msg_id.clone().unwrap_or_default(),
            transaction_id: check.transaction_id.clone(),
        };
        client.answer(addr, Frame::request(0, &end).oneway()).await;
    }
}

struct Sender {
    client: Arc<Client>,
    /// Another one each time it is started: what it sent before is not followed by what it sends now.
    life: String,
    turn: usize,
    number: u64,
}

/// What is sent, and how.
struct Message<'a> {
    topic: &'a str,
    meant: Meant,
    properties: String,
    order: Option<(String, u64)>,
    sys_flag: i32,
}

impl Message<'_> {
    fn plain() -> Message<'static> {
        Message {
            topic: Topic::Plain.name(),
            meant: Meant::Now,
            properties: String::new(),
            order: None,
            sys_flag: 0,
        }
    }
}

impl Sender {
    /// The queue whose turn it is.
    async fn next_place(&mut self, topic: &str) -> Option<Place> {
        let places = self.client.places(topic).await;
        let turn = self.turn % places.len().max(1);
        let place = places.get(turn).cloned()?;
        self.turn += 1;
        Some(place)
    }

    async fn one(&mut self) {
        match self.client.below(16) {
            0..=5 => self.plain().await,
            6 => self.one_way().await,
            7..=9 => self.ordered().await,
            10 => self.delayed().await,
            11 => self.timed().await,
            12..=13 => self.batch().await,
            _ => self.transaction().await,
        }
    }

    /// To the next queue; when that fails, to one of another broker.
    async fn with_retries(&mut self, message: &Message<'_>) -> Option<(u64, Place, SendReceipt)> {
        let places = self.client.places(message.topic).await;
        let mut last: Option<String> = None;
        for _ in 0..=RETRIES {
            let others: Vec<&Place> = places
                .iter()
                .filter(|place| Some(&place.broker) != last.as_ref())
                .collect();
            let place = match others.len() {
                0 if places.is_empty() => return None,
                0 => places[self.turn % places.len()].clone(),
                many => others[self.turn % many].clone(),
            };
            self.turn += 1;
            last = Some(place.broker.clone());
            let (attempt, receipt) = self.send(message, &place).await;
            if let Some(receipt) = receipt {
                return Some((attempt, place, receipt));
            }
        }
        None
    }

    /// One attempt.
    async fn send(&self, message: &Message<'_>, place: &Place) -> (u64, Option<SendReceipt>) {
        let attempt = self.begin(message);
        let header = header(&self.client, message, place.queue, attempt);
        let body = play::body_of(attempt);
        let (is_calm, begun_ms) = (self.client.shared.phase() == Phase::Calm, now_ms());
        let reply = self.client.ask(place.addr, &header, body, TIMEOUT).await;
        let receipt = self.note(&[attempt], place, reply);
        let took_ms = now_ms() - begun_ms;
        if is_calm && (receipt.is_none() || took_ms > play::CALM_MS) {
            let what = if receipt.is_some() { "took long" } else { "failed" };
            let fault = format!(
                "nothing is wrong, and a send to {} {what}: {took_ms} ms",
                place.broker
            );
            self.client.fault(fault);
        }
        (attempt, receipt)
    }

    fn begin(&self, message: &Message<'_>) -> u64 {
        self.client.shared.history.lock().begin(Attempt {
            topic: message.topic.to_owned(),
            meant: message.meant,
            fate: Fate::Unknown,
            known_ms: u64::MAX,
            ended: Ended::Open,
            ended_ms: 0,
            order: message.order.clone(),
        })
    }

    /// Notes what became of messages that were sent together.
    fn note(&self, attempts: &[u64], place: &Place, reply: Result<Frame, AskError>) -> Option<SendReceipt> {
        let mut history = self.client.shared.history.lock();
        let reply = match reply {
            Ok(reply) => reply,
            Err(error) => {
                // Without a connection nothing has left.
                let fate = if matches!(error, AskError::Connect(_)) {
                    Fate::Refused
                } else {
                    Fate::Unknown
                };
                drop(history);
                self.client
                    .say(format!("{attempts:?} to {}: {error}", place.broker));
                let mut history = self.client.shared.history.lock();
                for attempt in attempts {
                    history.note(*attempt, fate.clone(), now_ms());
                }
                return None;
            }
        };
        let receipt: Option<SendReceipt> = reply.ext.read().ok().filter(|_| reply.code == 0);
        for (index, attempt) in attempts.iter().enumerate() {
            let fate = match (reply.code, &receipt) {
                (0, Some(receipt)) => Fate::Stored {
                    broker: place.broker.clone(),
                    queue: receipt.queue_id,
                    offset: receipt.queue_offset + index as i64,
                },
                // Busy, no topic, illegal, no permission: it was not even tried. And what the disk did not take whole is taken back.
                (2 | 13 | 14 | 16 | 17, _) => Fate::Refused,
                _ => Fate::Unknown,
            };
            history.note(*attempt, fate, now_ms());
        }
        drop(history);
        match reply.code {
            0 => self.client.say(format!(
                "{attempts:?} at {}/{}",
                place.broker,
                receipt.as_ref().map_or(-1, |receipt| receipt.queue_offset)
            )),
            code => self.client.say(format!(
                "{attempts:?} to {}: {code} {}",
                place.broker,
                reply.remark.as_deref().unwrap_or_default()
            )),
        }
        receipt
    }

    async fn plain(&mut self) {
        let message = Message::plain();
        self.with_retries(&message).await;
    }

    /// Nobody says what becomes of it.
    async fn one_way(&mut self) {
        let Some(place) = self.next_place(Topic::Plain.name()).await else {
            return;
        };
        let message = Message::plain();
        let attempt = self.begin(&message);
        self.client.say(format!("{attempt} to {}, one way", place.broker));
        let header = header(&self.client, &message, place.queue, attempt);
        let mut frame = Frame::request(0, &header).oneway();
        frame.body = play::body_of(attempt).into();
        self.client.answer(place.addr, frame).await;
    }

    /// To the one queue that its key chooses, and not again elsewhere.
    async fn ordered(&mut self) {
        let places = self.client.places(Topic::Ordered.name()).await;
        let Some(place) = places.get(self.client.below(1 + places.len() as u64 / 2) as usize) else {
            return;
        };
        self.number += 1;
        let message = Message {
            topic: Topic::Ordered.name(),
            meant: Meant::Now,
            properties: String::new(),
            order: Some((self.life.clone(), self.number)),
            sys_flag: 0,
        };
        self.send(&message, &place.clone()).await;
    }

    async fn delayed(&mut self) {
        let level = 1 + self.client.below(3);
        let message = Message {
            topic: Topic::Delayed.name(),
            meant: Meant::Due(now_ms() + play::LEVELS_MS[level as usize - 1]),
            properties: format!("DELAY\u{1}{level}\u{2}"),
            order: None,
            sys_flag: 0,
        };
        self.with_retries(&message).await;
    }

    async fn timed(&mut self) {
        let due_ms = now_ms() + 500 + self.client.below(4000);
        let at = crate::world::START_MS + due_ms;
        let message = Message {
            topic: Topic::Timed.name(),
            meant: Meant::Due(due_ms),
            properties: format!("TIMER_DELIVER_MS\u{1}{at}\u{2}"),
            order: None,
            sys_flag: 0,
        };
        self.with_retries(&message).await;
    }

    async fn batch(&mut self) {
        let Some(place) = self.next_place(Topic::Plain.name()).await else {
            return;
        };
        let message = Message::plain();
        let many = 2 + self.client.below(6);
        let attempts: Vec<u64> = (0..many).map(|_| self.begin(&message)).collect();
        let mut body = Vec::new();
        for attempt in &attempts {
            encode_sub_message(
                &mut body,
                &SubMessage {
                    flag: 0,
                    body: &play::body_of(*attempt),
                    properties: unique(&self.client, *attempt).as_bytes(),
                },
            );
        }
        let mut header = header(&self.client, &message, place.queue, 0);
        header.batch = Some(true);
        header.properties = Some("".into());
        let header = SendBatchMessage(header);
        let reply = self.client.ask(place.addr, &header, body, TIMEOUT).await;
        self.note(&attempts, &place, reply);
    }

    /// Half, then commit, rollback, or nothing: then the broker asks.
    async fn transaction(&mut self) {
        let group = group_of(&self.client);
        let message = Message {
            topic: Topic::Half.name(),
            meant: Meant::Half,
            properties: format!("TRAN_MSG\u{1}true\u{2}PGROUP\u{1}{group}\u{2}"),
            order: None,
            sys_flag: sysflag::PREPARED,
        };
        let Some(place) = self.next_place(message.topic).await else {
            return;
        };
        let (attempt, receipt) = self.send(&message, &place).await;
        let Some(receipt) = receipt else { return };
        let ended = match self.client.below(4) {
            0 => return,
            1 => Ended::Rollback,
            _ => Ended::Commit,
        };
        let ended = {
            let mut history = self.client.shared.history.lock();
            // The broker may have asked meanwhile.
            history.decide(attempt, ended, now_ms()).unwrap_or(ended)
        };
        let Some(position) = position_of(&receipt.msg_id) else {
            return;
        };
        let end = EndTransaction {
            topic: Some(message.topic.into()),
            producer_group: group.as_str().into(),
            tran_state_table_offset: receipt.queue_offset,
            commit_log_offset: position,
            commit_or_rollback: if ended == Ended::Commit { COMMIT } else { ROLLBACK },
            from_transaction_check: Some(false),
            msg_id: unique_id(&self.client, attempt).as_str().into(),
            transaction_id: receipt.transaction_id.clone(),
        };
        let frame = Frame::request(0, &end).oneway();
        self.client.answer(place.addr, frame).await;
    }
}

/// The position in the log, from the id that the broker gave: its last 16 digits.
fn position_of(id: &str) -> Option<i64> {
    let digits = id.get(id.len().checked_sub(16)?..)?;
    i64::from_str_radix(digits, 16).ok()
}

fn unique_id(client: &Client, attempt: u64) -> String {
    format!("{:0>8}{attempt:024X}", client.name.len())
}

fn unique(client: &Client, attempt: u64) -> String {
    format!("UNIQ_KEY\u{1}{}\u{2}", unique_id(client, attempt))
}

fn header(client: &Client, message: &Message<'_>, queue_id: i32, attempt: u64) -> SendMessageV2 {
    SendMessageV2 {
        producer_group: group_of(client).as_str().into(),
        topic: message.topic.into(),
        default_topic: "TBW102".into(),
        default_topic_queue_nums: 4,
        queue_id,
        sys_flag: message.sys_flag,
        born_timestamp: client.env.clock.now_ms(),
        properties: Some(
            format!("{}{}", message.properties, unique(client, attempt))
                .as_str()
                .into(),
        ),
        ..SendMessageV2::default()
    }
}
