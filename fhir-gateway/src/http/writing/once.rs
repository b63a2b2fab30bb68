//! `Idempotency-Key`: a request that is sent again is done once. What was done is kept with the records themselves, in one
//! batch, and with it how each part of the request ended; so the answer to the second sending is that to the first.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use axum::http::HeaderMap;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use tokio::sync::{Mutex as AsyncMutex, OwnedMutexGuard};
use vouchsafe_types::{Hash32, RecordId};

use super::{Refused, commit::refused, raced};

use crate::{
    auth::Caller,
    fhir::capability::Method,
    gateway::Gateway,
    http::{Fault, call::Call, interactions::unreadable, router},
    records::{Idempotency, RecordRow, Repeated},
};

/// The header by which a client names a request.
pub(crate) const HEADER: &str = "idempotency-key";
/// The header by which an answer says that it is that to an earlier request.
pub(crate) const REPLAYED: &str = "idempotency-replayed";
/// So long a name may be.
const LONGEST: usize = 255;
/// Headers that make another request of the same address and body.
const TELLING: &[&str] = &["if-match", "if-none-exist", "vouchsafe-session"];

/// The name of a call, when its client gave it one.
///
/// # Errors
/// 400 when the name is not of its form, or when this call cannot be done once: passing over the name would make the
/// double that it is meant to prevent.
pub(crate) fn of(call: &Call) -> Result<Option<Idempotency>, Fault> {
    if !call.headers.contains_key(HEADER) {
        return Ok(None);
    }
    if !call.row.writes_records() {
        if call.row.method == Method::Get || call.row.path.ends_with("/_search") {
            return Ok(None);
        }
        return Err(Fault::new(400, "not-supported", "this call takes no Idempotency-Key").at("Idempotency-Key"));
    }
    named(&call.gw, call.caller()?, &call.headers, call.row.method, &call.url(), &call.body)
}

/// The name of a request and what the request is, when its client gave it a name. `url` is path and query below the base.
///
/// # Errors
/// 400 when the name is not of its form.
pub(crate) fn named(
    gw: &Gateway,
    caller: &Caller,
    headers: &HeaderMap,
    method: Method,
    url: &str,
    body: &[u8],
) -> Result<Option<Idempotency>, Fault> {
    let mut values = headers.get_all(HEADER).iter();
    let Some(value) = values.next() else { return Ok(None) };
    let good = value.as_bytes().iter().all(|b| (0x21..0x7f).contains(b)) && (1..=LONGEST).contains(&value.len());
    if !good || values.next().is_some() {
        let what = format!("one name of 1 to {LONGEST} visible ASCII characters is expected");
        return Err(Fault::malformed(what).at("Idempotency-Key"));
    }
    // Of two clients with one name each has its own request; and the name itself, which a client may have made of what it
    // knows of a patient, lies nowhere.
    let name = caller.name();
    let whose = [caller.client_id.as_bytes(), name.as_bytes(), value.as_bytes()];
    let key = Hash32(gw.db.blind("once", &joined(whose.into_iter())));
    let mut parts = vec![router::name(method).as_bytes(), url.as_bytes()];
    for name in TELLING {
        parts.push(headers.get(*name).map_or(b"".as_slice(), |value| value.as_bytes()));
    }
    parts.push(body);
    let request = Hash32(Sha256::digest(joined(parts.into_iter())).into());
    Ok(Some(Idempotency { key, request }))
}

/// The parts one after the other, each after its length, so that no two lists are one text.
fn joined<'a>(parts: impl Iterator<Item = &'a [u8]>) -> Vec<u8> {
    let mut out = Vec::new();
    for part in parts {
        out.extend((part.len() as u64).to_be_bytes());
        out.extend(part);
    }
    out
}

/// How a part of a request ended, as it is kept: a single request has one part, a Bundle one for each entry that writes.
#[derive(Clone, Copy, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Part {
    /// It is this act of the submission, and had this status.
    Act(usize, u16),
    /// It wrote nothing, because this version was there.
    Found(RecordId, u64),
    /// It ended as another part, whose record it found.
    Like(usize),
    /// There was nothing to be done.
    Nothing,
}

/// Parts with their numbers.
pub(crate) type Parts = Vec<(usize, Part)>;

/// How a part of a request ended, when the request comes again.
#[derive(Clone)]
pub(crate) enum Kept {
    /// There is this version, and the part had this status.
    Row { status: u16, row: Box<RecordRow> },
    /// There was nothing to be done.
    Nothing,
}

/// What is kept of the parts.
pub(crate) fn note(parts: &Parts) -> String {
    serde_json::to_string(parts).expect("the parts are plain data")
}

/// How the parts of a request ended that was done under this name before; none when it was not.
///
/// # Errors
/// 422 when another request had the name, 503 when the database cannot be read.
pub(crate) fn recall(gw: &Gateway, once: &Idempotency) -> Result<Option<Vec<(usize, Kept)>>, Fault> {
    let before = gw.records.before(once).map_err(|error| match refused(error) {
        Refused::Act(_, fault) | Refused::Whole(fault) => fault,
        Refused::Raced => raced(),
    })?;
    let Some(Repeated { rows, note }) = before else { return Ok(None) };
    let damaged = || Fault::internal("what was kept of the earlier request is not readable").code("integrity");
    let parts: Parts = serde_json::from_str(&note).map_err(|_| damaged())?;
    let mut out: Vec<(usize, Kept)> = Vec::with_capacity(parts.len());
    for (number, part) in parts {
        let kept = match part {
            Part::Act(act, status) => Kept::Row { status, row: Box::new(rows.get(act).cloned().ok_or_else(damaged)?) },
            Part::Found(id, version) => {
                let row = gw.records.row(&id, Some(version)).map_err(|e| unreadable(&e))?;
                Kept::Row { status: 200, row: Box::new(row.ok_or_else(damaged)?) }
            }
            // It comes after the one that it is like.
            Part::Like(other) => match out.iter().find(|(n, _)| *n == other) {
                Some((_, Kept::Row { row, .. })) => Kept::Row { status: 200, row: row.clone() },
                _ => return Err(damaged()),
            },
            Part::Nothing => Kept::Nothing,
        };
        out.push((number, kept));
    }
    Ok(Some(out))
}

/// Requests with a name that are being served: of two with one name the second waits for the first, and finds what it did.
#[derive(Default)]
pub struct Once {
    running: Mutex<HashMap<Hash32, Arc<AsyncMutex<()>>>>,
}

/// A name's turn, while it is held.
pub(crate) struct Turn<'a> {
    once: &'a Once,
    key: Hash32,
    lock: Option<OwnedMutexGuard<()>>,
}

impl Once {
    fn running(&self) -> MutexGuard<'_, HashMap<Hash32, Arc<AsyncMutex<()>>>> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until no other request with this name is being served. The call's own time bounds the wait.
    pub(crate) async fn turn(&self, once: Option<&Idempotency>) -> Option<Turn<'_>> {
        let key = once?.key;
        let lock = Arc::clone(self.running().entry(key).or_default());
        let lock = Some(lock.lock_owned().await);
        Some(Turn { once: self, key, lock })
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        drop(self.lock.take());
        let mut running = self.once.running();
        // Who waits holds it too; the last one takes the name away.
        if running.get(&self.key).is_some_and(|lock| Arc::strong_count(lock) == 1) {
            running.remove(&self.key);
        }
    }
}
