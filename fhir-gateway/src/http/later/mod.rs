//! Requests that are answered later (<https://hl7.org/fhir/R4/async.html>): `Prefer: respond-async` is answered with 202 when
//! the request lies in the database, sealed and durable. A worker serves it through the same rows as any other, under an
//! idempotency key of its own, so that a crash in between makes no second record. Its client asks at an address of its own how
//! far it is, and gets the answer there.

mod store;
mod worker;

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use axum::http::HeaderMap;
use serde_json::json;
use tokio::{sync::Notify, task::JoinHandle};
use vouchsafe_types::{RecordId, TimeMs};

use self::store::{Answered, Asked, Entry};
use super::{Fault, Reply, call::Call, interactions::bundle, prefer::Prefer, render};
use crate::{
    auth::Caller,
    fhir::capability::Interaction,
    gateway::Gateway,
    records::Records,
    store::{Db, StoreError},
};

/// How long a request may wait to be served, and how long its answer is kept.
const AGE_MS: u64 = 24 * 60 * 60 * 1_000;
/// Requests that wait and answers that are kept take so many bytes together.
const MOST_BYTES: usize = 256 << 20;

/// What waits and what was answered. The database has the contents; here is what they are found by.
#[derive(Default)]
pub struct Later {
    held: Mutex<Held>,
    /// Something waits to be served.
    wake: Notify,
}

#[derive(Default)]
struct Held {
    entries: BTreeMap<RecordId, Entry>,
    /// What is being served, and what waits for a better time: until when.
    running: BTreeMap<RecordId, Running>,
    bytes: usize,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Running {
    Now,
    /// It is tried again at this time, for so many times until now.
    Again(TimeMs, u32),
}

impl Later {
    /// Reads what lies in the database.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn open(db: &Db) -> Result<Self, StoreError> {
        let entries = store::all(db)?;
        let bytes = entries.values().map(|entry| entry.size).sum();
        let held = Held { entries, bytes, ..Held::default() };
        Ok(Self { held: Mutex::new(held), wake: Notify::new() })
    }

    fn held(&self) -> MutexGuard<'_, Held> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn has(&self, id: &RecordId) -> bool {
        self.held().entries.contains_key(id)
    }

    /// Puts an answered entry in the place of the one that waited; false when that is not there any more.
    fn replace(&self, id: &RecordId, entry: Entry) -> bool {
        let mut held = self.held();
        held.running.remove(id);
        let size = entry.size;
        let Some(before) = held.entries.get_mut(id).map(|place| std::mem::replace(place, entry)) else { return false };
        held.bytes = (held.bytes + size).saturating_sub(before.size);
        true
    }

    /// How many requests wait.
    pub fn waiting(&self) -> usize {
        self.held().entries.values().filter(|entry| entry.answered.is_none()).count()
    }
}

/// Starts the worker.
pub(crate) fn spawn(gw: &Arc<Gateway>) -> Vec<JoinHandle<()>> {
    vec![tokio::spawn(worker::run(Arc::downgrade(gw)))]
}

/// Whether a request is one that may be answered later: a write that its client wants so. What reads is answered at once,
/// as RFC 7240 lets a server do: an answer that lies about would outlive the right to it.
///
/// # Errors
/// 400 when `Prefer` is not visible ASCII, or a Bundle is none.
pub(crate) async fn wanted(call: &Call) -> Result<bool, Fault> {
    if !call.row.writes_records() || !Prefer::of(call)?.respond_async {
        return Ok(false);
    }
    if call.row.interaction == Interaction::Bundle { bundle::only_writes(call).await } else { Ok(true) }
}

/// Headers that say what a request means. Its answer is asked for by another.
const KEPT: &[&str] = &["if-match", "if-none-exist", "vouchsafe-session", "idempotency-key", "prefer", "content-type"];

/// Puts a request into the queue; on return it is durable.
///
/// # Errors
/// 429 when too many of this client's wait, 503 when too many wait or the database cannot write.
pub(crate) async fn enqueue(call: &Call) -> Result<Reply, Fault> {
    let gw = &call.gw;
    let caller = call.caller()?;
    let asked = Asked::of(call, caller, KEPT);
    let id = Records::new_id();
    let entry =
        Entry { holder: holder(caller), at: (gw.clock)(), size: asked.size() + call.body.len(), answered: None };
    reserve(gw, id, entry.clone())?;
    if let Err(error) = store::put(&gw.db, &id, &entry, &asked, &call.body).await {
        forget(gw, &id);
        return Err(error.into());
    }
    gw.later.wake.notify_one();
    let location = format!("{}/async/{id}", gw.fhir_base());
    Ok(Reply::bytes(202, Vec::new()).header("content-location", location))
}

/// Takes room for a request before it is written, so that many at once stay within the bounds together.
fn reserve(gw: &Gateway, id: RecordId, entry: Entry) -> Result<(), Fault> {
    let most = gw.config.limits.async_requests;
    let mut held = gw.later.held();
    let mine = held.entries.values().filter(|other| other.holder == entry.holder && other.answered.is_none()).count();
    // Half of the room, so that one client never closes the queue to the others.
    if mine >= most.div_ceil(2) {
        let fault = Fault::new(429, "throttled", "too many of this client's requests wait to be served");
        return Err(Fault { retry_after: Some(10), ..fault.code("too-many") });
    }
    if held.entries.len() >= most || held.bytes + entry.size > MOST_BYTES {
        return Err(Fault { retry_after: Some(10), ..Fault::unavailable("too many requests wait to be served") });
    }
    held.bytes += entry.size;
    held.entries.insert(id, entry);
    Ok(())
}

fn forget(gw: &Gateway, id: &RecordId) {
    let mut held = gw.later.held();
    held.running.remove(id);
    if let Some(entry) = held.entries.remove(id) {
        held.bytes -= entry.size;
    }
}

/// `GET /async/{id}`: how far a request is, or its answer.
pub(crate) async fn status(call: Call) -> Result<Reply, Fault> {
    let (id, entry) = own(&call)?;
    let gw = &call.gw;
    let Some(status) = entry.answered else {
        let running = gw.later.held().running.get(&id).copied();
        let progress = if running == Some(Running::Now) { "in progress" } else { "waiting" };
        return Ok(Reply::bytes(202, Vec::new()).header("x-progress", progress).header("retry-after", "1"));
    };
    let (answered, body) = store::answer(&gw.db, &id)?.ok_or_else(Fault::not_found)?;
    Ok(Reply::bytes(200, answer_bundle(status.status, &answered, &body)).header("expires", expires(status.at)))
}

/// `DELETE /async/{id}`: a request that waits is not served, an answer is forgotten. One that is being served is served, and
/// its answer is not kept.
pub(crate) async fn cancel(call: Call) -> Result<Reply, Fault> {
    let (id, _) = own(&call)?;
    store::remove(&call.gw.db, &id).await?;
    forget(&call.gw, &id);
    Ok(Reply::bytes(202, Vec::new()))
}

/// The request of this address, if it is the caller's; else it is not there, whatever it is.
fn own(call: &Call) -> Result<(RecordId, Entry), Fault> {
    let id: RecordId = call.id()?.parse().map_err(|_| Fault::not_found())?;
    let holder = holder(call.caller()?);
    let entry = call.gw.later.held().entries.get(&id).filter(|entry| entry.holder == holder).cloned();
    entry.map(|entry| (id, entry)).ok_or_else(Fault::not_found)
}

/// Who may ask for an answer: the same client, for the same person.
fn holder(caller: &Caller) -> String {
    format!("{}\n{}", caller.client_id, caller.name())
}

fn expires(answered: TimeMs) -> String {
    render::http_date(answered.plus(AGE_MS).0)
}

/// The answer as a Bundle with one entry, which has the status and the body of the answer to the request.
fn answer_bundle(status: u16, answered: &Answered, body: &[u8]) -> Vec<u8> {
    let headers = answered.headers.iter().map(|(name, value)| (name.as_str(), value.as_str()));
    let mut response = render::entry_response(&status.to_string(), headers);
    let head = json!({ "resourceType": "Bundle", "type": "batch-response" });
    let failed = status >= 400;
    if failed && let Ok(outcome) = serde_json::from_slice::<serde_json::Value>(body) {
        response["outcome"] = outcome;
    }
    let resource = (!failed && !body.is_empty()).then(|| body.to_vec());
    render::bundle(&head, std::iter::once((json!({ "response": response }), resource)))
}

/// The headers of a stored request.
fn headers(asked: &Asked) -> HeaderMap {
    let mut out = HeaderMap::new();
    for (name, value) in &asked.headers {
        if let (Ok(name), Ok(value)) = (axum::http::HeaderName::try_from(name.as_str()), value.parse()) {
            out.append(name, value);
        }
    }
    // It is answered now, not later again.
    let prefer = out.get("prefer").and_then(|v| v.to_str().ok()).map(|text| text.replace("respond-async", ""));
    if let Some(prefer) = prefer.and_then(|text| text.parse().ok()) {
        out.insert("prefer", prefer);
    }
    out
}
