// SPDX-License-Identifier: Apache-2.0
//! A line between a slave and its master's replication port that can be damaged: bytes of one direction are lost, nothing is
//! taken any more, or all is cut.

use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{Builder, sleep};
use std::time::Duration;

const LOOK_AGAIN: Duration = Duration::from_millis(20);
const CHUNK_BYTES: usize = 64 << 10;

/// An address of this machine on which no master listens.
pub(super) const HOST: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 2);

/// What the line does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Damage {
    None,
    /// What the slave says is lost.
    ToMaster,
    /// What the master says is lost.
    ToSlave,
    /// Both.
    BothWays,
    /// Neither side is read: what they say piles up.
    Frozen,
    /// Links are reset, and new ones are closed at once.
    Reset,
}

impl Damage {
    pub(super) const ALL: [Damage; 5] = [
        Damage::ToMaster,
        Damage::ToSlave,
        Damage::BothWays,
        Damage::Frozen,
        Damage::Reset,
    ];

    /// Those of a short run with a broker that takes long for each.
    pub(super) const SOME: [Damage; 2] = [Damage::BothWays, Damage::Reset];

    pub(super) fn name(self) -> &'static str {
        match self {
            Damage::None => "none",
            Damage::ToMaster => "to the master",
            Damage::ToSlave => "to the slave",
            Damage::BothWays => "both ways",
            Damage::Frozen => "frozen",
            Damage::Reset => "reset",
        }
    }

    fn loses(self, way: Way) -> bool {
        match self {
            Damage::BothWays => true,
            Damage::ToMaster => way == Way::ToMaster,
            Damage::ToSlave => way == Way::ToSlave,
            Damage::None | Damage::Frozen | Damage::Reset => false,
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    ToMaster,
    ToSlave,
}

/// One link through the line.
struct Link {
    ends: [TcpStream; 2],
    /// A stream that lacks bytes cannot go on.
    has_lost: AtomicBool,
}

impl Link {
    fn close(&self) {
        for end in &self.ends {
            // It may be closed already.
            drop(end.shutdown(Shutdown::Both));
        }
    }
}

struct Line {
    master: SocketAddr,
    damage: Mutex<Damage>,
    links: Mutex<Vec<Arc<Link>>>,
    is_over: AtomicBool,
}

/// The line. Ends with its owner.
pub(super) struct Relay {
    /// Where the slave connects to.
    pub(super) addr: SocketAddr,
    line: Arc<Line>,
}

impl Relay {
    /// A line to a master that need not run yet, from any port.
    pub(super) fn to(master_port: u16) -> anyhow::Result<Relay> {
        Relay::between(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?, master_port)
    }

    /// The same from the master's own port of [`HOST`], for a slave that knows only what the master has registered.
    pub(super) fn before(master_port: u16) -> anyhow::Result<Relay> {
        Relay::between(TcpListener::bind((HOST, master_port))?, master_port)
    }

    fn between(listener: TcpListener, master_port: u16) -> anyhow::Result<Relay> {
        let addr = listener.local_addr()?;
        let line = Arc::new(Line {
            master: (Ipv4Addr::LOCALHOST, master_port).into(),
            damage: Mutex::new(Damage::None),
            links: Mutex::default(),
            is_over: AtomicBool::new(false),
        });
        let accepting = Arc::clone(&line);
        Builder::new()
            .name("relay".to_owned())
            .spawn(move || accepting.accept(&listener))?;
        Ok(Relay { addr, line })
    }

    /// Damages the line from now on, or mends it.
    pub(super) fn set(&self, damage: Damage) {
        *lock(&self.line.damage) = damage;
        let mut links = lock(&self.line.links);
        if damage == Damage::Reset {
            links.drain(..).for_each(|link| link.close());
        }
        if damage == Damage::None {
            links.retain(|link| {
                let has_lost = link.has_lost.load(Ordering::Acquire);
                if has_lost {
                    link.close();
                }
                !has_lost
            });
        }
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.line.is_over.store(true, Ordering::Release);
        lock(&self.line.links).drain(..).for_each(|link| link.close());
        // Wakes the one that accepts.
        drop(TcpStream::connect(self.addr));
    }
}

impl Line {
    fn accept(self: &Arc<Line>, listener: &TcpListener) {
        for slave in listener.incoming() {
            if self.is_over.load(Ordering::Acquire) {
                return;
            }
            let Ok(slave) = slave else { continue };
            if self.damage() == Damage::Reset {
                continue;
            }
            if let Err(error) = self.join(slave) {
                eprintln!("relay: {error:#}");
            }
        }
    }

    fn damage(&self) -> Damage {
        *lock(&self.damage)
    }

    fn join(self: &Arc<Line>, slave: TcpStream) -> anyhow::Result<()> {
        // A master that is away is no news: the slave sees its link closed.
        let Ok(master) = TcpStream::connect(self.master) else {
            return Ok(());
        };
        for end in [&slave, &master] {
            end.set_nodelay(true)?;
            end.set_read_timeout(Some(LOOK_AGAIN))?;
        }
        let link = Arc::new(Link {
            ends: [slave, master],
            has_lost: AtomicBool::new(false),
        });
        lock(&self.links).push(Arc::clone(&link));
        for (way, from, to) in [(Way::ToMaster, 0, 1), (Way::ToSlave, 1, 0)] {
            let (line, link) = (Arc::clone(self), Arc::clone(&link));
            let from = link.ends[from].try_clone()?;
            let to = link.ends[to].try_clone()?;
            Builder::new()
                .name("relay-link".to_owned())
                .spawn(move || line.pump(&link, way, from, to))?;
        }
        Ok(())
    }

    fn pump(&self, link: &Link, way: Way, mut from: TcpStream, mut to: TcpStream) {
        let mut chunk = vec![0; CHUNK_BYTES];
        while !self.is_over.load(Ordering::Acquire) {
            if self.damage() == Damage::Frozen {
                sleep(LOOK_AGAIN);
                continue;
            }
            let read = match from.read(&mut chunk) {
                Ok(0) => break,
                Ok(read) => read,
                Err(e) if e.kind() == std::io::ErrorKind::WouldBlock => continue,
                Err(_) => break,
            };
            if self.damage().loses(way) {
                link.has_lost.store(true, Ordering::Release);
            } else if link.has_lost.load(Ordering::Acquire) || to.write_all(&chunk[..read]).is_err() {
                break;
            }
        }
        link.close();
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
