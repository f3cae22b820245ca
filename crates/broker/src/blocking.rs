// SPDX-License-Identifier: Apache-2.0
//! Work that may wait for the disk, off the threads that serve sockets.

use std::sync::Arc;

use net::{Answer, Fault, Reply};
use wire::code::ResponseCode;

use crate::broker::Broker;

/// Runs work on the pool of threads that may wait.
pub(crate) async fn run<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T, Fault> {
    // It ends early only when the process is being torn down: nobody reads the answer then.
    let stopped = |_| Fault::new(ResponseCode::SERVICE_NOT_AVAILABLE, "the broker is stopping");
    tokio::task::spawn_blocking(work).await.map_err(stopped)
}

/// An answer that is made there.
pub(crate) fn later<T: Send + 'static>(
    work: impl FnOnce() -> Result<Reply<T>, Fault> + Send + 'static,
) -> Answer<T> {
    Answer::Later(Box::pin(async move { run(work).await? }))
}

/// Runs work that brings groups or topics into being. They are written one after the other anyway, so that a crowd of
/// clients with new groups waits here and leaves the pool to the readers.
pub(crate) async fn create<T: Send + 'static>(
    b: Arc<Broker>,
    work: impl FnOnce(&Broker) -> T + Send + 'static,
) -> Result<T, Fault> {
    let turn = b.clients.creating.acquire().await;
    let made = run({
        let b = Arc::clone(&b);
        move || work(&b)
    })
    .await;
    drop(turn);
    made
}
