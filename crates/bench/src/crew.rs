// SPDX-License-Identifier: Apache-2.0
//! The connections of a run: which there are, what each of them does, and which messages and queues are its own.

use std::sync::Arc;

use net::Pipe;
use tokio::task::JoinSet;

use crate::clock::Alarm;
use crate::cluster::{self, ClusterError, Place};
use crate::ledger::Order;
use crate::line::{connect, drive};
use crate::message::Maker;
use crate::options::{From, Kind, Later, Options, Rate};
use crate::pop::Pop;
use crate::produce::Produce;
use crate::pull::{Pull, Queue};
use crate::random::{self, Random};
use crate::receive::Receiver;
use crate::schedule::{Schedule, Share};
use crate::shared::Shared;
use crate::transact::Transact;

/// Other numbers than those of the bodies.
const TIMES: u64 = 0x7135;

/// A connection that was made, and what it is for.
struct Member {
    pipe: Pipe,
    alarm: Alarm,
    place: usize,
    lane: u64,
}

/// All connections of a run, before it starts.
pub(crate) struct Crew {
    options: Options,
    places: Vec<Place>,
    senders: Vec<Member>,
    readers: Vec<Member>,
    /// Where each queue of each broker is read from, and to.
    bounds: Vec<Vec<(i64, i64)>>,
    /// How long delayed messages are held.
    pub(crate) delay_ms: u64,
}

impl Crew {
    /// Asks the servers what has to be known, and connects.
    pub(crate) async fn gather(options: &Options, places: &[Place]) -> Result<Crew, ClusterError> {
        let mut crew = Crew {
            options: options.clone(),
            places: places.to_vec(),
            senders: Vec::new(),
            readers: Vec::new(),
            bounds: Vec::new(),
            delay_ms: 0,
        };
        let reads = options.kind != Kind::Produce;
        let from = if options.kind.sends() {
            From::Last
        } else {
            options.from
        };
        for (at, place) in places.iter().enumerate() {
            if let Some(Later::Level(level)) = options.later {
                crew.delay_ms = cluster::level_ms(place, level).await?;
            }
            if reads && options.pop {
                cluster::commit(place, options, from).await?;
            }
            if reads {
                crew.bounds.push(cluster::bounds(place, options).await?);
            }
            for lane in 0..options.connections as u64 {
                if options.kind.sends() {
                    let member = crew.member((at, place), lane).await?;
                    crew.senders.push(member);
                }
                if reads && lane < u64::from(place.read_queues) {
                    let member = crew.member((at, place), lane).await?;
                    crew.readers.push(member);
                }
            }
        }
        if let Some(Later::Ms(ms)) = options.later {
            crew.delay_ms = ms;
        }
        Ok(crew)
    }

    /// Connects. Everything that a connection needs of the system is taken here, so that a run that has begun does not
    /// lack it.
    async fn member(&self, (at, place): (usize, &Place), lane: u64) -> Result<Member, ClusterError> {
        let pipe = connect(place.addr).await?;
        let alarm = Alarm::new().map_err(|error| ClusterError::Alarm(self.connections() + 1, error))?;
        Ok(Member {
            pipe,
            alarm,
            place: at,
            lane,
        })
    }

    pub(crate) fn connections(&self) -> usize {
        self.senders.len() + self.readers.len()
    }

    pub(crate) fn start_readers(&mut self, shared: &Arc<Shared>, tasks: &mut JoinSet<std::io::Result<()>>) {
        let from = if self.options.kind.sends() {
            From::Last
        } else {
            self.options.from
        };
        for (connection, member) in std::mem::take(&mut self.readers).into_iter().enumerate() {
            let Some(place) = self.places.get(member.place) else {
                continue;
            };
            let bounds = self.bounds.get(member.place).map_or(&[][..], Vec::as_slice);
            let lanes = self.options.connections;
            let own = bounds
                .iter()
                .enumerate()
                .skip(member.lane as usize)
                .step_by(lanes);
            let queues: Vec<Queue> = own
                .map(|(id, (first, last))| Queue {
                    id: id as i32,
                    offset: if from == From::First { *first } else { *last },
                    end: self.options.to_end.then_some(*last),
                    order: Order::default(),
                })
                .collect();
            let receiver = Receiver::new(shared, connection);
            let (pipe, shared) = ((member.pipe, place.addr), Arc::clone(shared));
            if self.options.pop {
                let in_flight = queues.len() + self.options.in_flight;
                let work = Pop::new(receiver, queues, &place.name);
                tasks.spawn(drive(work, pipe, member.alarm, in_flight, shared));
            } else {
                let in_flight = queues.len();
                let work = Pull::new(receiver, queues, &place.name);
                tasks.spawn(drive(work, pipe, member.alarm, in_flight, shared));
            }
        }
    }

    pub(crate) fn start_senders(&mut self, shared: &Arc<Shared>, tasks: &mut JoinSet<std::io::Result<()>>) {
        let targets: u64 = self
            .places
            .iter()
            .map(|place| u64::from(place.write_queues))
            .sum();
        let firsts = self.places.iter().scan(0, |first, place| {
            let this = *first;
            *first += u64::from(place.write_queues);
            Some(this)
        });
        let firsts: Vec<u64> = firsts.collect();
        let in_flight = self.options.in_flight;
        for (connection, member) in std::mem::take(&mut self.senders).into_iter().enumerate() {
            let (Some(place), Some(first)) = (self.places.get(member.place), firsts.get(member.place)) else {
                continue;
            };
            let share = Share {
                targets,
                first: *first,
                queues: place.write_queues.into(),
                lane: member.lane,
                lanes: self.options.connections as u64,
            };
            let schedule = schedule(&self.options, share, (connection, shared.end()));
            let maker = Maker::new(shared, &place.name, connection);
            let (pipe, shared) = ((member.pipe, place.addr), Arc::clone(shared));
            if self.options.kind == Kind::Transaction {
                let work = Transact::new(&shared, connection, schedule, maker);
                tasks.spawn(drive(work, pipe, member.alarm, in_flight, shared));
            } else {
                let work = Produce::new(&shared, connection, schedule, maker, self.delay_ms);
                tasks.spawn(drive(work, pipe, member.alarm, in_flight, shared));
            }
        }
    }
}

fn schedule(options: &Options, share: Share, (connection, end): (usize, u64)) -> Schedule {
    let batch = u64::from(options.batch);
    let rate = match options.rate {
        Rate::Max => None,
        Rate::PerSecond(rate) => {
            let random = Random::new(random::at(options.seed ^ TIMES, connection as u64));
            Some((rate as f64 / batch as f64, options.poisson.then_some(random)))
        }
    };
    let requests = options
        .messages
        .map_or(u64::MAX, |messages| messages.div_ceil(batch));
    Schedule::new(share, rate, (end, requests))
}
