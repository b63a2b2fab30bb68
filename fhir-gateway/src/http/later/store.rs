//! Requests and answers as they lie in the database, each value sealed.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use vouchsafe_types::{RecordId, TimeMs};

use crate::{
    auth::Caller,
    fhir::capability::Method,
    http::{Reply, call::Call, router},
    store::{Db, StoreError, Table, WriteBatch, from_json},
};

/// id → `Entry`.
const ENTRIES: Table = "later";
/// id → length ‖ `Asked` ‖ body.
const REQUESTS: Table = "later-request";
/// id → length ‖ `Answered` ‖ body.
const ANSWERS: Table = "later-answer";

/// What a request is found by.
#[derive(Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Entry {
    /// Who may ask for it.
    pub(super) holder: String,
    /// When it came.
    pub(super) at: TimeMs,
    /// How many bytes it takes.
    pub(super) size: usize,
    /// How it was answered.
    pub(super) answered: Option<Status>,
}

/// How and when a request was answered.
#[derive(Clone, Copy, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Status {
    pub(super) status: u16,
    pub(super) at: TimeMs,
}

/// A request without its body.
#[derive(Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Asked {
    pub(super) caller: Caller,
    method: String,
    /// Path and query below the base.
    pub(super) url: String,
    pub(super) headers: Vec<(String, String)>,
}

impl Asked {
    pub(super) fn of(call: &Call, caller: &Caller, kept: &[&str]) -> Self {
        let text = |name: &&str| {
            let values = call.headers.get_all(*name).iter();
            values.filter_map(|v| Some(((*name).to_owned(), v.to_str().ok()?.to_owned()))).collect::<Vec<_>>()
        };
        Self {
            caller: caller.clone(),
            method: router::name(call.row.method).to_owned(),
            url: call.url(),
            headers: kept.iter().flat_map(text).collect(),
        }
    }

    pub(super) fn method(&self) -> Method {
        match self.method.as_str() {
            "PUT" => Method::Put,
            "DELETE" => Method::Delete,
            _ => Method::Post,
        }
    }

    /// About how many bytes it takes.
    pub(super) fn size(&self) -> usize {
        512 + self.url.len() + self.headers.iter().map(|(n, v)| n.len() + v.len()).sum::<usize>()
    }
}

/// An answer without its body.
#[derive(Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Answered {
    pub(super) headers: Vec<(String, String)>,
}

/// Every request and answer there is.
pub(super) fn all(db: &Db) -> Result<BTreeMap<RecordId, Entry>, StoreError> {
    let mut out = BTreeMap::new();
    for (key, value) in db.scan_prefix(ENTRIES, &[])? {
        if let Ok(id) = key.as_slice().try_into() {
            out.insert(RecordId(id), from_json(ENTRIES, &value)?);
        }
    }
    Ok(out)
}

/// Keeps a request; it is durable on return.
pub(super) async fn put(db: &Db, id: &RecordId, entry: &Entry, asked: &Asked, body: &[u8]) -> Result<(), StoreError> {
    let mut batch = WriteBatch::new();
    batch.put_json(ENTRIES, id.0, entry);
    batch.put(REQUESTS, id.0, framed(asked, body));
    db.commit(batch).await
}

/// The request with this id.
pub(super) fn request(db: &Db, id: &RecordId) -> Result<Option<(Asked, Vec<u8>)>, StoreError> {
    db.get(REQUESTS, &id.0)?.map(|bytes| unframed(REQUESTS, &bytes)).transpose()
}

/// Keeps an answer in the place of its request.
pub(super) async fn answered(db: &Db, id: &RecordId, entry: &Entry, reply: &Reply) -> Result<(), StoreError> {
    let headers = reply.headers.iter().map(|(name, value)| ((*name).to_owned(), value.clone())).collect();
    let mut batch = WriteBatch::new();
    batch.put_json(ENTRIES, id.0, entry);
    batch.put(ANSWERS, id.0, framed(&Answered { headers }, &reply.body));
    batch.remove(REQUESTS, id.0);
    db.commit(batch).await
}

/// The answer with this id.
pub(super) fn answer(db: &Db, id: &RecordId) -> Result<Option<(Answered, Vec<u8>)>, StoreError> {
    db.get(ANSWERS, &id.0)?.map(|bytes| unframed(ANSWERS, &bytes)).transpose()
}

/// Forgets a request with its answer.
pub(super) async fn remove(db: &Db, id: &RecordId) -> Result<(), StoreError> {
    let mut batch = WriteBatch::new();
    for table in [ENTRIES, REQUESTS, ANSWERS] {
        batch.remove(table, id.0);
    }
    db.commit(batch).await
}

/// A body stays as it is, whatever it is, so it does not go into the JSON.
fn framed<T: Serialize>(head: &T, body: &[u8]) -> Vec<u8> {
    let head = serde_json::to_vec(head).expect("a stored head is plain data");
    let length = u32::try_from(head.len()).expect("headers are bounded by the server");
    [length.to_be_bytes().as_slice(), &head, body].concat()
}

fn unframed<T: for<'a> Deserialize<'a>>(table: Table, bytes: &[u8]) -> Result<(T, Vec<u8>), StoreError> {
    let split = bytes.split_first_chunk::<4>().and_then(|(length, rest)| {
        let length = usize::try_from(u32::from_be_bytes(*length)).ok()?;
        rest.split_at_checked(length)
    });
    let (head, body) = split.unwrap_or_default();
    Ok((from_json(table, head)?, body.to_vec()))
}
