// SPDX-License-Identifier: Apache-2.0
//! What the port shows: /metrics, /healthz and /readyz. It is served from when it is taken, before the broker is there: a store
//! may take long to open, and who watches must not think meanwhile that nothing lives here.

use std::net::SocketAddr;
use std::sync::{Arc, OnceLock};

use metrics::http::{self, Page};
use metrics::{CONTENT_TYPE, Export, Text};
use net::{BoxFuture, Listening};
use tokio::sync::Mutex;
use tokio::task::JoinHandle;
use tokio_util::sync::{CancellationToken, DropGuard};

use super::{base, collect};
use crate::broker::Broker;
use crate::peers::Standing;

/// What else the port of a broker shows, in front of its own: in one process with a name server, the numbers of that.
pub type Beside = Arc<dyn Fn() -> String + Send + Sync>;

const LIST: &str = "/metrics\n/healthz\n/readyz";
const STARTING: &str =
    "the broker is starting: its store is being opened, and recovered if it was not closed";

/// The port while it is served; dropped, it is so no more.
pub(crate) struct Showing {
    pub(crate) addr: SocketAddr,
    front: Arc<Front>,
    serving: JoinHandle<()>,
    stop: DropGuard,
}

impl Showing {
    /// Shows from now on that a broker is starting.
    pub(crate) fn start(listening: Listening) -> Showing {
        let (front, stop) = (Arc::<Front>::default(), CancellationToken::new());
        Showing {
            addr: listening.local_addr(),
            serving: tokio::spawn(http::serve(listening, Arc::clone(&front), stop.clone())),
            front,
            stop: stop.drop_guard(),
        }
    }

    /// Shows a broker from now on.
    pub(crate) fn show(&self, pages: Pages) {
        self.front.0.get_or_init(|| Arc::new(pages));
    }

    /// Closes the port.
    pub(crate) async fn end(self) {
        drop(self.stop);
        // An error: it has panicked, and is closed as well.
        drop(self.serving.await);
    }
}

/// The pages of the broker, when it is there.
#[derive(Default)]
struct Front(OnceLock<Arc<Pages>>);

impl http::Pages for Front {
    fn page(self: Arc<Self>, path: &str) -> BoxFuture<Option<Page>> {
        if let Some(pages) = self.0.get() {
            return Arc::clone(pages).page(path);
        }
        let page = match path {
            "/healthz" => Some(told(None)),
            "/readyz" | "/metrics" => Some(told(Some(STARTING.to_owned()))),
            "/" => Some(Page::line(200, LIST)),
            _ => None,
        };
        Box::pin(async { page })
    }
}

/// The pages of a broker.
pub struct Pages {
    b: Arc<Broker>,
    beside: Option<Beside>,
    /// One is made at a time, however many ask.
    turn: Arc<Mutex<()>>,
}

impl Pages {
    /// Those of this broker.
    pub(crate) fn of(b: Arc<Broker>, beside: Option<Beside>) -> Pages {
        Pages {
            b,
            beside,
            turn: Arc::default(),
        }
    }
}

impl http::Pages for Pages {
    fn page(self: Arc<Self>, path: &str) -> BoxFuture<Option<Page>> {
        match path {
            "/metrics" => Box::pin(async move {
                let turn = Arc::clone(&self.turn).lock_owned().await;
                let text = store::env::aside(move || {
                    let _turn = turn;
                    let mut text = self.beside.as_ref().map_or_else(String::new, |beside| beside());
                    text.push_str(&text_of(&self.b));
                    text
                });
                Some(match text.await {
                    Ok(text) => Page {
                        status: 200,
                        content_type: CONTENT_TYPE,
                        body: text.into(),
                    },
                    Err(_) => Page::line(500, "the numbers could not be gathered; see the log"),
                })
            }),
            "/healthz" => Box::pin(async move { Some(told(not_well(&self.b))) }),
            "/readyz" => Box::pin(async move { Some(told(not_ready(&self.b))) }),
            "/" => Box::pin(async { Some(Page::line(200, LIST)) }),
            _ => Box::pin(async { None }),
        }
    }
}

fn told(fault: Option<String>) -> Page {
    match fault {
        None => Page::line(200, "ok"),
        Some(fault) => Page::line(503, fault),
    }
}

/// All numbers, as Prometheus reads them. Reads the disk.
pub(crate) fn text_of(b: &Broker) -> String {
    let config = b.config();
    let mut base = base(&config);
    // The reference's library adds it to every value.
    base.push(("otel_scope_name".to_owned(), "broker-meter".to_owned()));
    let limit = config.metrics_otel_cardinality_limit as usize;
    let mut text = Text::new(&base);
    collect::all(b, &mut Export::new(&mut text, (limit > 0).then_some(limit)));
    text.finish()
}

/// Why the process should be started anew; `None`: it need not.
pub(crate) fn not_well(b: &Broker) -> Option<String> {
    b.store
        .failure()
        .map(|why| format!("the store has failed: {why}"))
}

/// Why clients should not come here now; `None`: they may.
pub(crate) fn not_ready(b: &Broker) -> Option<String> {
    if let Some(why) = not_well(b) {
        return Some(why);
    }
    if b.is_leaving() {
        return Some("the broker is stopping".to_owned());
    }
    if !b.replication.is_in_service() {
        return Some("the broker has not found the others of its name yet, and is not in service".to_owned());
    }
    let Standing { registered, others } = b.peers.standing();
    if registered == 0 && others > 0 {
        return Some(format!(
            "the broker is registered with none of its {others} name servers"
        ));
    }
    None
}

#[cfg(test)]
mod tests {
    use store::disk::sim::Fault;

    use super::*;
    use crate::put::Put;
    use crate::world::World;

    #[test]
    fn a_broker_whose_store_has_failed_is_not_well_and_says_why() {
        let world = World::new(1, &[]);
        let b = world.open(&[]);
        assert_eq!((not_well(&b), not_ready(&b)), (None, None));
        let body = Put {
            topic: "T",
            queue_id: 0,
            flag: 0,
            sys_flag: 0,
            born_at: 1,
            born_host: b.host,
            reconsume_times: 0,
            prepared_pos: 0,
            body: b"x",
            properties: b"",
        };
        b.put(&body).unwrap();
        b.store.drive();
        for op in 0..100 {
            world.disk.fail_at(world.disk.ops() + op, Fault::Broken);
        }
        b.store.turn_flush();
        let why = not_well(&b).unwrap();
        assert!(
            why.starts_with("the store has failed: ") && why.lines().count() == 1,
            "{why}"
        );
        assert_eq!(not_ready(&b), Some(why));
    }
}
