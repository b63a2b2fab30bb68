//! The one task that writes the log.

use std::{sync::Arc, time::Duration};

use super::{Inner, tables};

/// How long entries are gathered before they are written, unless somebody waits.
const GATHER: Duration = Duration::from_millis(20);
/// How long is waited after a failure.
const PAUSE: Duration = Duration::from_millis(200);

pub(super) async fn run(inner: Arc<Inner>) {
    let mut stopping = inner.stopping.subscribe();
    loop {
        let gather = tokio::select! {
            () = inner.wake.notified() => true,
            () = inner.urgent.notified() => false,
            _ = stopping.wait_for(|stop| *stop) => false,
        };
        if gather {
            tokio::select! {
                () = tokio::time::sleep(GATHER) => {}
                () = inner.urgent.notified() => {}
                _ = stopping.wait_for(|stop| *stop) => {}
            }
        }
        let stop = *stopping.borrow();
        let written = write(&inner, stop).await;
        if stop {
            break;
        }
        if !written {
            tokio::time::sleep(PAUSE).await;
            inner.wake.notify_one();
        }
    }
    inner.progress.send_modify(|progress| progress.ended = true);
}

/// Writes what waits and raises the mark; false when the database could not.
async fn write(inner: &Inner, end: bool) -> bool {
    let mark = inner.progress.borrow().mark;
    let (entries, slots, count) = {
        let mut log = inner.log();
        let (entries, slots) = log.for_disk(mark, end);
        (entries, slots, log.count())
    };
    let batch = tables::batch(&inner.ground.db, &entries, &slots);
    match inner.ground.db.commit(batch).await {
        Ok(()) => {
            inner.log().written(count);
            inner.progress.send_modify(|progress| {
                progress.mark = slots.mark;
                progress.written = count;
                progress.failure = None;
            });
            true
        }
        Err(e) => {
            tracing::error!("the audit log cannot be written: {e}");
            inner.progress.send_modify(|progress| progress.failure = Some(e.to_string()));
            false
        }
    }
}
