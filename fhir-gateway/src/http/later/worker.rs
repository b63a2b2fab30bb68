//! The worker: it serves what waits, one after the other, tries again what could not be done for now, and forgets what is old.

use std::{
    panic::AssertUnwindSafe,
    sync::{Arc, Weak},
    time::Duration,
};

use futures::FutureExt;
use sha2::{Digest, Sha256};
use vouchsafe_types::{Hash32, RecordId, TimeMs};

use super::{
    AGE_MS, Running, forget, headers,
    store::{self, Asked, Entry, Status},
};
use crate::{
    gateway::Gateway,
    http::{
        Fault, Reply,
        dispatch::{self, Inner},
        writing::once,
    },
    records::Idempotency,
};

/// How often it is looked for what may be tried again and what is old.
const TICK: Duration = Duration::from_secs(1);
/// Between two tries of a request at least, and at most.
const FIRST_WAIT_MS: u64 = 1_000;
const LONGEST_WAIT_MS: u64 = 60_000;

/// Works until the gateway is gone.
pub(super) async fn run(gateway: Weak<Gateway>) {
    loop {
        let Some(gw) = gateway.upgrade() else { return };
        prune(&gw).await;
        while let Some((id, entry, tries)) = next(&gw) {
            serve(&gw, id, entry, tries).await;
        }
        let later = Arc::clone(&gw.later);
        drop(gw);
        // Whatever comes first: something new, or time that passed.
        let _ = tokio::time::timeout(TICK, later.wake.notified()).await;
    }
}

/// The request that waits longest and may be served now.
fn next(gw: &Gateway) -> Option<(RecordId, Entry, u32)> {
    let now = (gw.clock)();
    let mut held = gw.later.held();
    let due = |id: &RecordId| match held.running.get(id) {
        None => Some(0),
        Some(Running::Again(at, tries)) if *at <= now => Some(*tries),
        Some(_) => None,
    };
    let waits = held.entries.iter().filter(|(_, entry)| entry.answered.is_none());
    let found =
        waits.filter_map(|(id, entry)| Some((*id, entry.clone(), due(id)?))).min_by_key(|(_, entry, _)| entry.at);
    if let Some((id, ..)) = &found {
        held.running.insert(*id, Running::Now);
    }
    found
}

async fn serve(gw: &Arc<Gateway>, id: RecordId, mut entry: Entry, tries: u32) {
    let answer = match store::request(&gw.db, &id) {
        // It was taken back this instant.
        Ok(None) => return forget(gw, &id),
        Err(error) => Err(error.into()),
        Ok(Some((asked, body))) => {
            let served = AssertUnwindSafe(answer(gw, id, asked, body)).catch_unwind().await;
            served.unwrap_or_else(|_| {
                gw.metrics.panicked();
                tracing::error!("a request that waited ended in a panic");
                Err(Fault::internal("a fault of this gateway; the operator's log has it"))
            })
        }
    };
    let now = (gw.clock)();
    let old = now >= entry.at.plus(AGE_MS);
    let reply = match answer {
        Err(fault) if for_now(&fault) && !old => return again(gw, id, now, tries),
        Err(fault) => Reply::resource(fault.status, &fault.outcome),
        Ok(reply) => reply,
    };
    entry.answered = Some(Status { status: reply.status, at: now });
    keep(gw, id, entry, &reply, tries).await;
}

/// Serves it as the client that it came from; whether that may still do it is asked now.
async fn answer(gw: &Arc<Gateway>, id: RecordId, asked: Asked, body: Vec<u8>) -> Result<Reply, Fault> {
    let headers = headers(&asked);
    // What the client named itself is done once under that name, however it is sent.
    let named = once::named(gw, &asked.caller, &headers, asked.method(), &asked.url, &body)?;
    let (method, url) = (asked.method(), asked.url);
    let idempotency = named.or_else(|| Some(name_of(gw, &id)));
    let inner = Inner { method, url, headers, body: body.into(), idempotency };
    dispatch::dispatch(gw, &asked.caller, inner).await
}

/// The name under which a request that waited is done once.
fn name_of(gw: &Gateway, id: &RecordId) -> Idempotency {
    let key = Hash32(gw.db.blind("later-once", &id.0));
    Idempotency { key, request: Hash32(Sha256::digest(id.0).into()) }
}

/// True for what another time may be better for.
fn for_now(fault: &Fault) -> bool {
    matches!(fault.status, 429 | 503) || fault.code_of() == Some("raced")
}

fn again(gw: &Gateway, id: RecordId, now: TimeMs, tries: u32) {
    let wait = (FIRST_WAIT_MS << tries.min(10)).min(LONGEST_WAIT_MS);
    let mut held = gw.later.held();
    // Unless it was taken back meanwhile.
    if held.entries.contains_key(&id) {
        held.running.insert(id, Running::Again(now.plus(wait), tries + 1));
    }
}

async fn keep(gw: &Gateway, id: RecordId, entry: Entry, reply: &Reply, tries: u32) {
    let size = 512 + reply.body.len();
    let entry = Entry { size, ..entry };
    if !gw.later.has(&id) {
        return forget(gw, &id);
    }
    if let Err(error) = store::answered(&gw.db, &id, &entry, reply).await {
        // It was done, and will be found to have been when it is tried again.
        tracing::warn!(%error, "an answer is not kept yet");
        return again(gw, id, (gw.clock)(), tries);
    }
    if !gw.later.replace(&id, entry) {
        // It was taken back while its answer was written.
        if let Err(error) = store::remove(&gw.db, &id).await {
            tracing::warn!(%error, "an answer that nobody wants is kept until it is old");
        }
    }
}

/// Forgets answers that were kept long enough.
async fn prune(gw: &Gateway) {
    let now = (gw.clock)();
    let old: Vec<RecordId> = {
        let held = gw.later.held();
        let is_old = |entry: &Entry| entry.answered.is_some_and(|status| now >= status.at.plus(AGE_MS));
        held.entries.iter().filter(|(_, entry)| is_old(entry)).map(|(id, _)| *id).collect()
    };
    for id in old {
        match store::remove(&gw.db, &id).await {
            Ok(()) => forget(gw, &id),
            Err(error) => tracing::warn!(%error, "an old answer is not forgotten yet"),
        }
    }
}
