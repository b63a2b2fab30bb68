//! The log on the disk.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use vouchsafe_types::{Hash32, RecordId, merkle::log};

use super::{About, AuditEntry, AuditError, AuditQuery};
use crate::store::{Db, Table, WriteBatch, from_json};

/// index → the entry's bytes.
const ENTRIES: Table = "audit";
/// index → the leaf hashes of this entry and of those after it that were written with it.
const LEAVES: Table = "audit-leaf";
/// id ‖ index → nothing.
const IDS: Table = "audit-id";
/// blinded (kind, value) ‖ index → nothing.
const BY: Table = "audit-by";
/// One row: `Slots`.
const SLOTS: Table = "audit-slots";

/// An entry that is not on the disk yet.
pub(super) struct Waiting {
    pub(super) entry: AuditEntry,
    pub(super) bytes: Vec<u8>,
    pub(super) leaf: Hash32,
}

/// Which slots were out when the log was written last, together with the entries up to then.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Slots {
    /// The first that was not given out.
    pub(super) next: u64,
    /// The first that may not have been given out since.
    pub(super) mark: u64,
    /// Those given out that had no entry.
    pub(super) out: Vec<u64>,
}

impl Slots {
    /// The first slot that was, or may have been, given out and has no entry, and how many these are.
    pub(super) fn lost(&self) -> Option<(u64, u64)> {
        let count = self.out.len() as u64 + (self.mark - self.next);
        let first = self.out.first().copied().unwrap_or(self.next);
        (count > 0).then_some((first, count))
    }
}

fn index_key(index: u64) -> [u8; 8] {
    index.to_be_bytes()
}

fn short(db: &Db, kind: &str, value: &[u8]) -> [u8; 16] {
    let mut short = [0; 16];
    short.copy_from_slice(&db.blind(BY, &[kind.as_bytes(), b"/", value].concat())[..16]);
    short
}

/// What an entry is found by.
fn names(db: &Db, about: &About) -> Vec<[u8; 16]> {
    [
        about.chart.as_ref().map(|v| short(db, "chart", &v.0)),
        about.account.as_ref().map(|v| short(db, "account", &v.0)),
        about.session.as_ref().map(|v| short(db, "session", &v.0)),
        about.caller.as_ref().map(|v| short(db, "caller", v.as_bytes())),
    ]
    .into_iter()
    .flatten()
    .collect()
}

pub(super) fn load(db: &Db) -> Result<(Vec<Hash32>, Slots), AuditError> {
    let mut leaves = Vec::new();
    for (key, value) in db.scan_prefix(LEAVES, &[])? {
        if key != index_key(leaves.len() as u64) {
            return Err(AuditError::Altered(format!("entry {} is missing", leaves.len())));
        }
        let (hashes, rest) = value.as_chunks::<32>();
        if !rest.is_empty() {
            return Err(AuditError::Altered("a leaf is not a hash".into()));
        }
        leaves.extend(hashes.iter().copied().map(Hash32));
    }
    Ok((leaves, db.get_json(SLOTS, &[])?.unwrap_or_default()))
}

pub(super) fn batch(db: &Db, entries: &[Arc<Waiting>], slots: &Slots) -> WriteBatch {
    let mut batch = WriteBatch::new();
    let mut leaves = Vec::with_capacity(32 * entries.len());
    for waiting in entries {
        let Waiting { entry, bytes, leaf } = &**waiting;
        let index = index_key(entry.index.0);
        batch.put(ENTRIES, index, bytes.clone());
        batch.put(IDS, [entry.id.0.as_slice(), &index].concat(), []);
        leaves.extend(leaf.0);
        for name in names(db, &entry.about()) {
            batch.put(BY, [name.as_slice(), &index].concat(), []);
        }
    }
    if let Some(first) = entries.first() {
        batch.put(LEAVES, index_key(first.entry.index.0), leaves);
    }
    batch.put_json(SLOTS, [], slots);
    batch
}

/// An entry, if its bytes are what its leaf hashes.
fn read(db: &Db, leaves: &[Hash32], index: u64) -> Result<(AuditEntry, Vec<u8>), AuditError> {
    let missing = || AuditError::Altered(format!("entry {index} is missing"));
    let leaf = usize::try_from(index).ok().and_then(|i| leaves.get(i)).ok_or_else(missing)?;
    let bytes = db.get(ENTRIES, &index_key(index))?.ok_or_else(missing)?;
    if log::leaf_hash(&bytes) != *leaf {
        return Err(AuditError::Altered(format!("entry {index} is not what was recorded")));
    }
    Ok((from_json(ENTRIES, &bytes)?, bytes.to_vec()))
}

fn index_of(bytes: &[u8]) -> Result<u64, AuditError> {
    let bytes = bytes.try_into().map_err(|_| AuditError::Altered("an index is not a number".into()))?;
    Ok(u64::from_be_bytes(bytes))
}

/// The leaves are taken after the id was found, so that an entry which is stored meanwhile has its own among them.
pub(super) fn by_id(
    db: &Db,
    leaves: impl FnOnce() -> Arc<Vec<Hash32>>,
    id: &RecordId,
) -> Result<Option<(AuditEntry, Vec<u8>)>, AuditError> {
    let Some(key) = db.keys(IDS, &id.0)?.into_iter().next() else { return Ok(None) };
    read(db, &leaves(), index_of(&key[id.0.len()..])?).map(Some)
}

pub(super) fn search(db: &Db, leaves: &[Hash32], query: &AuditQuery) -> Result<Vec<AuditEntry>, AuditError> {
    let asked =
        About { chart: query.chart, account: query.account, session: query.session, caller: query.caller.clone() };
    let indexes = match names(db, &asked).first() {
        Some(name) => db.keys(BY, name)?.iter().map(|key| index_of(&key[name.len()..])).collect::<Result<_, _>>()?,
        None => db.keys(ENTRIES, &[])?.iter().map(|key| index_of(key)).collect::<Result<Vec<_>, _>>()?,
    };
    // What was stored after the leaves were taken is for a later search.
    let known = |index: &u64| *index < leaves.len() as u64;
    let mut found = Vec::new();
    for index in indexes.into_iter().filter(known).rev() {
        if query.limit.is_some_and(|limit| found.len() >= limit) {
            break;
        }
        let (entry, _) = read(db, leaves, index)?;
        if query.matches(&entry) {
            found.push(entry);
        }
    }
    Ok(found)
}

impl AuditQuery {
    pub(super) fn matches(&self, entry: &AuditEntry) -> bool {
        self.chart.is_none_or(|v| entry.chart == Some(v))
            && self.account.is_none_or(|v| entry.account == Some(v))
            && self.session.is_none_or(|v| entry.session == Some(v))
            && self.caller.as_ref().is_none_or(|v| entry.caller.as_ref() == Some(v))
    }
}
