//! The directory: what each custodian says, signed, of each version of its records, and the keys of patients; replicated
//! among gateways and believed only against the ledger.

mod entry;
mod maps;

use std::{
    collections::BTreeMap,
    sync::{Arc, OnceLock},
    time::Duration,
};

use async_trait::async_trait;
use tokio::sync::{Mutex, broadcast, watch};
use vouchsafe_types::{
    AccountId, Count, Handle, Hash32, RecordId, RequestId, jws,
    merkle::{MapLeaf, MapProof, RecordMap},
    state::Head,
};

pub use entry::{DirectoryEntry, KeyEntry};
use entry::{Judge, Signed, forged, payload};
use maps::{ChartKey, ChartMap, Maps};

use super::RecordRow;
use crate::{
    foundation::Foundation,
    ledger::{LedgerError, View},
    store::{StoreError, Table, WriteBatch},
};

/// custodian ‖ handle ‖ record ‖ version → compact JWS.
const ENTRIES: Table = "directory";
/// custodian ‖ handle → compact JWS of the newest key entry.
const KEYS: Table = "directory-keys";
/// request → JSON list of JWEs.
const SEALED: Table = "directory-sealed";

/// How many news a slow receiver may be behind.
const NEWS: usize = 4_096;
/// How long is waited for the entries of an anchor that is in a block.
const PROMOTION: Duration = Duration::from_secs(5);
/// How many sealed details one request may have: of the request itself, and one for each custodian of its grant.
const MAX_SEALED: usize = 256;

/// What came into the directory of own entries; what is told to peers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum New {
    /// An entry, once its anchor is committed.
    Entry {
        /// The chart.
        handle: Handle,
        /// The record.
        record: RecordId,
        /// The compact JWS.
        jws: String,
    },
    /// A key entry.
    Key {
        /// The chart.
        handle: Handle,
        /// The compact JWS.
        jws: String,
    },
}

/// Brings the entries of a chart from its custodian.
#[async_trait]
pub trait Refresh: Send + Sync {
    /// Asks the custodian for the chart's entries and puts them into the directory.
    async fn refresh(&self, custodian: AccountId, handle: Handle) -> Result<(), String>;
}

/// Why the directory did not take or not give something.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DirectoryFault {
    /// Not of its form, or not signed by a key of the custodian that it names.
    #[error("a directory entry is forged: {0}")]
    Forged(String),
    /// What is known of the chart does not have the root that the ledger holds.
    #[error("the entries of this chart do not have the root that the ledger holds")]
    NotTheHead,
    /// The ledger holds no head for this chart, or the chart no such record.
    #[error("there is no such record under the ledger's head")]
    Absent,
    /// An entry contradicts the leaf or another entry.
    #[error("the entries of this record contradict each other or the ledger: {0}")]
    Contradiction(String),
    /// The ledger, the custodian or the database is away.
    #[error("{0}")]
    Unavailable(String),
}

impl From<StoreError> for DirectoryFault {
    fn from(e: StoreError) -> Self {
        match e {
            StoreError::Spoiled { .. } | StoreError::Form { .. } => Self::Contradiction(e.to_string()),
            other => Self::Unavailable(other.to_string()),
        }
    }
}

impl From<LedgerError> for DirectoryFault {
    fn from(e: LedgerError) -> Self {
        Self::Unavailable(e.to_string())
    }
}

/// A chart's map whose root the ledger holds.
pub(super) struct AtHead {
    custodian: AccountId,
    pub(super) handle: Handle,
    map: RecordMap,
    pub(super) head: Head,
}

impl AtHead {
    /// What shows somebody else that a record's leaf is under the head.
    ///
    /// # Errors
    /// `Absent` when it is not in the map.
    pub(super) fn prove(&self, record: &RecordId) -> Result<MapProof, DirectoryFault> {
        let proof = self.map.prove(record);
        let shown = proof.verify(&self.head.root, record).flatten();
        shown.map(|_| proof).ok_or(DirectoryFault::Absent)
    }
}

/// The directory. Cheap to clone.
#[derive(Clone)]
pub struct Directory {
    inner: Arc<Inner>,
}

struct Inner {
    ground: Foundation,
    maps: Maps,
    new: broadcast::Sender<New>,
    refresh: OnceLock<Arc<dyn Refresh>>,
    /// Counts the own maps that were promoted, for those who wait for one.
    promoted: watch::Sender<u64>,
    /// Held while something is compared with what is stored and then written.
    writing: Mutex<()>,
}

fn chart_key(custodian: &AccountId, handle: &Handle) -> Vec<u8> {
    [custodian.0.as_slice(), &handle.0].concat()
}

fn entry_key(custodian: &AccountId, handle: &Handle, record: &RecordId, version: u64) -> Vec<u8> {
    [custodian.0.as_slice(), &handle.0, &record.0, &version.to_be_bytes()].concat()
}

impl Directory {
    /// The directory in a gateway's database.
    pub fn new(ground: Foundation) -> Self {
        let inner = Inner {
            ground,
            maps: Maps::default(),
            new: broadcast::Sender::new(NEWS),
            refresh: OnceLock::new(),
            promoted: watch::Sender::new(0),
            writing: Mutex::new(()),
        };
        Self { inner: Arc::new(inner) }
    }

    /// What comes into the directory of own entries from now on. A receiver that lags loses some; peers pull what they
    /// miss.
    pub fn on_new(&self) -> broadcast::Receiver<New> {
        self.inner.new.subscribe()
    }

    /// Names who brings missing entries; the first named stays.
    pub fn set_refresh(&self, refresh: Arc<dyn Refresh>) {
        // A second one would be a mistake of the start, not of a caller.
        let _ = self.inner.refresh.set(refresh);
    }

    /// Takes a compact JWS of an entry or a key entry of another custodian, after checking that a live key of the very
    /// organisation that it names signed it.
    ///
    /// # Errors
    /// `Forged`; `Contradiction` with what is known; `Unavailable`.
    pub async fn put(&self, jws: &str) -> Result<(), DirectoryFault> {
        self.put_all(&[jws]).await?.into_iter().next().map_or(Ok(()), Err)
    }

    /// Takes many at once, with one flush of the disk, and says which of them it did not take, and why.
    ///
    /// # Errors
    /// `Unavailable` when none was written.
    pub async fn put_all(&self, texts: &[impl AsRef<str> + Sync]) -> Result<Vec<DirectoryFault>, DirectoryFault> {
        let mut judge = Judge::new(&*self.inner.ground.ledger);
        let (mut refused, mut signed) = (Vec::new(), Vec::new());
        for jws in texts.iter().map(AsRef::as_ref) {
            match judge.judge(jws).await {
                Ok(what) => signed.push((what, jws)),
                Err(fault) => refused.push(fault),
            }
        }
        let _writing = self.inner.writing.lock().await;
        let (mut batch, mut entries, mut keys) = (WriteBatch::new(), BTreeMap::new(), BTreeMap::new());
        for (what, jws) in signed {
            let put = match what {
                Signed::Entry(entry) => self.put_entry(&mut batch, &mut entries, *entry, jws),
                Signed::Key(entry) => self.put_key(&mut batch, &mut keys, &entry, jws),
            };
            refused.extend(put.err());
        }
        self.inner.ground.db.commit(batch).await?;
        // Chart by chart, so that each map is changed once.
        let mut charts: BTreeMap<ChartKey, Vec<DirectoryEntry>> = BTreeMap::new();
        for entry in entries.into_values() {
            charts.entry((entry.custodian, entry.handle)).or_default().push(entry);
        }
        for (chart, entries) in charts {
            self.inner.maps.change(&chart, |map| entries.iter().for_each(|entry| insert(&mut map.committed, entry)));
        }
        Ok(refused)
    }

    /// Adds an entry to a batch, unless it is known; `new` are those that are in the batch.
    fn put_entry(
        &self,
        batch: &mut WriteBatch,
        new: &mut BTreeMap<Vec<u8>, DirectoryEntry>,
        entry: DirectoryEntry,
        jws: &str,
    ) -> Result<(), DirectoryFault> {
        if entry.custodian == self.inner.ground.org {
            return forged("an own entry comes from nobody else");
        }
        let key = entry_key(&entry.custodian, &entry.handle, &entry.record, entry.version.0);
        let known = match new.get(&key) {
            Some(known) => Some(known.clone()),
            None => self.entry(&entry.custodian, &entry.handle, &entry.record, entry.version.0)?,
        };
        if let Some(known) = known {
            if known == entry {
                return Ok(());
            }
            if known.commitment != entry.commitment {
                return Err(DirectoryFault::Contradiction("two commitments for one version".into()));
            }
        }
        batch.put(ENTRIES, key.clone(), jws.as_bytes());
        new.insert(key, entry);
        Ok(())
    }

    /// Adds a key entry to a batch, if it is newer than what is known; `new` are the numbers of those in the batch.
    fn put_key(
        &self,
        batch: &mut WriteBatch,
        new: &mut BTreeMap<Vec<u8>, Count>,
        entry: &KeyEntry,
        jws: &str,
    ) -> Result<(), DirectoryFault> {
        let key = chart_key(&entry.custodian, &entry.handle);
        let known = match new.get(&key) {
            Some(seq) => Some(*seq),
            None => self.key_entry(&entry.custodian, &entry.handle)?.map(|known| known.seq),
        };
        if known.is_none_or(|known| known < entry.seq) {
            batch.put(KEYS, key.clone(), jws.as_bytes());
            new.insert(key, entry.seq);
        }
        Ok(())
    }

    /// All entries and the newest key entry of a chart, as compact JWSs: what a peer or the patient pulls.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub fn entries(&self, custodian: &AccountId, handle: &Handle) -> Result<Vec<String>, DirectoryFault> {
        let db = &self.inner.ground.db;
        let prefix = chart_key(custodian, handle);
        let mut all = Vec::new();
        for (_, value) in db.scan_prefix(ENTRIES, &prefix)? {
            all.push(text(&value)?);
        }
        if let Some(value) = db.get(KEYS, &prefix)? {
            all.push(text(&value)?);
        }
        Ok(all)
    }

    /// The entry of one version.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub fn entry(
        &self,
        custodian: &AccountId,
        handle: &Handle,
        record: &RecordId,
        version: u64,
    ) -> Result<Option<DirectoryEntry>, DirectoryFault> {
        let key = entry_key(custodian, handle, record, version);
        self.inner.ground.db.get(ENTRIES, &key)?.map(|value| payload(&text(&value)?)).transpose()
    }

    /// The newest key entry of a chart.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub fn key_entry(&self, custodian: &AccountId, handle: &Handle) -> Result<Option<KeyEntry>, DirectoryFault> {
        let key = chart_key(custodian, handle);
        self.inner.ground.db.get(KEYS, &key)?.map(|value| payload(&text(&value)?)).transpose()
    }

    /// The latest version of a record, proved under the root that the ledger holds now. When what is known here does not
    /// have that root, the custodian is asked once.
    ///
    /// # Errors
    /// `DirectoryFault`; then the record is not served.
    pub async fn verify_leaf(
        &self,
        custodian: &AccountId,
        handle: &Handle,
        record: &RecordId,
    ) -> Result<(DirectoryEntry, MapProof, Head), DirectoryFault> {
        let chart = self.at_head(custodian, handle).await?;
        let entry = self.latest(&chart, record)?;
        let proof = chart.prove(record)?;
        Ok((entry, proof, chart.head))
    }

    /// A chart's map whose root the ledger holds at this moment: one look at the ledger for however many records of it.
    ///
    /// # Errors
    /// `DirectoryFault`; then nothing of the chart is served.
    pub(super) async fn at_head(&self, custodian: &AccountId, handle: &Handle) -> Result<AtHead, DirectoryFault> {
        let (map, head) = match self.map_at_head(custodian, handle).await {
            Err(DirectoryFault::NotTheHead | DirectoryFault::Absent) => {
                // An entry may have come while the map was being built from the others, and then been kept without it.
                self.inner.maps.forget(&(*custodian, *handle));
                if let Some(refresh) = self.inner.refresh.get().filter(|_| *custodian != self.inner.ground.org) {
                    refresh.refresh(*custodian, *handle).await.map_err(DirectoryFault::Unavailable)?;
                }
                self.map_at_head(custodian, handle).await?
            }
            found => found?,
        };
        Ok(AtHead { custodian: *custodian, handle: *handle, map, head })
    }

    /// The latest version of a record of a chart, as the chart's map says.
    ///
    /// # Errors
    /// `DirectoryFault`; then the record is not served.
    pub(super) fn latest(&self, chart: &AtHead, record: &RecordId) -> Result<DirectoryEntry, DirectoryFault> {
        let leaf = chart.map.get(record).ok_or(DirectoryFault::Absent)?;
        let entry = self
            .entry(&chart.custodian, &chart.handle, record, leaf.version.0)?
            .ok_or_else(|| DirectoryFault::Contradiction("the map names a version without an entry".into()))?;
        if entry.leaf() != *leaf {
            return Err(DirectoryFault::Contradiction("the entry is not what the map's leaf says".into()));
        }
        Ok(entry)
    }

    /// What the own chart's map says of a record, when the map is the one that the ledger holds at this moment.
    ///
    /// # Errors
    /// `DirectoryFault`; then the record is not served.
    pub(super) async fn own_leaf(&self, handle: &Handle, record: &RecordId) -> Result<MapLeaf, DirectoryFault> {
        let chart = (self.inner.ground.org, *handle);
        if let Some(told) = self.inner.maps.told(&chart, record) {
            let head = View(&*self.inner.ground.ledger).head(&chart.0, handle).await?;
            if head.is_some_and(|head| head.root == told.root) {
                return told.leaf.ok_or(DirectoryFault::Absent);
            }
        }
        let (map, _) = self.map_at_head(&chart.0, handle).await?;
        map.get(record).cloned().ok_or(DirectoryFault::Absent)
    }

    /// What the own chart's map in memory says of some records, when it is the one that the ledger holds at this moment; of
    /// those that it does not have, nothing.
    ///
    /// # Errors
    /// `Unavailable` when it is not in memory or another; then each is asked for by itself.
    pub(super) async fn own_leaves(
        &self,
        handle: &Handle,
        records: &[RecordId],
    ) -> Result<Vec<MapLeaf>, DirectoryFault> {
        let chart = (self.inner.ground.org, *handle);
        let told: Option<Vec<_>> = records.iter().map(|record| self.inner.maps.told(&chart, record)).collect();
        let head = View(&*self.inner.ground.ledger).head(&chart.0, handle).await?;
        match (told, head) {
            (Some(told), Some(head)) if told.iter().all(|told| told.root == head.root) => {
                Ok(told.into_iter().filter_map(|told| told.leaf).collect())
            }
            _ => Err(DirectoryFault::Unavailable("the chart's map is not in memory".into())),
        }
    }

    /// The chart's map whose root the ledger holds. The head is read before and after the map is looked at, so that a fault
    /// is never an anchor that came between.
    async fn map_at_head(&self, custodian: &AccountId, handle: &Handle) -> Result<(RecordMap, Head), DirectoryFault> {
        let view = View(&*self.inner.ground.ledger);
        let mut promoted = self.inner.promoted.subscribe();
        let until = tokio::time::Instant::now() + PROMOTION;
        let Some(mut head) = view.head(custodian, handle).await? else { return Err(DirectoryFault::Absent) };
        loop {
            promoted.mark_unchanged();
            let map = self.map(&(*custodian, *handle))?;
            if map.committed.root() == head.root {
                return Ok((map.committed, head));
            }
            let under_way = map.pending.is_some_and(|pending| pending.root() == head.root);
            if under_way {
                // The anchor is in a block, and its entries are about to be written. What wakes us may be another chart's
                // map: those of one anchor are promoted one after the other.
                let written = tokio::time::timeout_at(until, promoted.changed()).await;
                if !matches!(written, Ok(Ok(()))) {
                    return Err(DirectoryFault::Unavailable(
                        "entries of a committed anchor are not written yet".into(),
                    ));
                }
            }
            match view.head(custodian, handle).await? {
                Some(again) if again != head => head = again,
                // Judged by the map that was looked at between the two: a later one may be further than this head.
                _ if !under_way => return Err(DirectoryFault::NotTheHead),
                _ => {}
            }
        }
    }

    fn map(&self, chart: &ChartKey) -> Result<ChartMap, DirectoryFault> {
        if let Some(map) = self.inner.maps.get(chart) {
            return Ok(map);
        }
        let committed = self.built(chart)?;
        Ok(self.inner.maps.keep(*chart, ChartMap { committed, pending: None }))
    }

    /// A chart's map as its entries say.
    fn built(&self, chart: &ChartKey) -> Result<RecordMap, DirectoryFault> {
        // By ascending record and version, so of several versions the latest comes last, which is the one that counts.
        let mut leaves = Vec::new();
        for (_, value) in self.inner.ground.db.scan_prefix(ENTRIES, &chart_key(&chart.0, &chart.1))? {
            leaves.push(payload::<DirectoryEntry>(&text(&value)?)?.leaf());
        }
        Ok(leaves.into_iter().collect())
    }

    /// Keeps the sealed details (JWE JSON) of a request, beside those that are kept already.
    ///
    /// # Errors
    /// `Forged` when a request has more than its share; else when the database cannot write.
    pub async fn put_sealed(&self, request: &RequestId, details: Vec<String>) -> Result<(), DirectoryFault> {
        let _writing = self.inner.writing.lock().await;
        let mut kept = self.sealed(request)?;
        let before = kept.len();
        for detail in details {
            if !kept.contains(&detail) {
                kept.push(detail);
            }
        }
        if kept.len() > MAX_SEALED {
            return forged(format!("a request has at most {MAX_SEALED} sealed details"));
        }
        if kept.len() > before {
            self.inner.ground.db.put_json(SEALED, &request.0, &kept).await?;
        }
        Ok(())
    }

    /// The sealed details of a request.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub fn sealed(&self, request: &RequestId) -> Result<Vec<String>, DirectoryFault> {
        Ok(self.inner.ground.db.get_json(SEALED, &request.0)?.unwrap_or_default())
    }
}

/// What the outbox and the charts do: own entries.
impl Directory {
    /// The own chart's map, as committed.
    pub(crate) fn own_map(&self, handle: &Handle) -> Result<RecordMap, DirectoryFault> {
        Ok(self.map(&(self.inner.ground.org, *handle))?.committed)
    }

    /// The own chart's map, built anew from what lies in the database.
    pub(super) fn built_own(&self, handle: &Handle) -> Result<RecordMap, DirectoryFault> {
        self.built(&(self.inner.ground.org, *handle))
    }

    /// How many own entries there are.
    pub(super) fn count_own(&self) -> Result<u64, DirectoryFault> {
        Ok(self.inner.ground.db.count(ENTRIES, &self.inner.ground.org.0)?)
    }

    /// What an own chart's map says of a record, as committed.
    pub(super) fn own_says(&self, handle: &Handle, record: &RecordId) -> Result<Option<MapLeaf>, DirectoryFault> {
        match self.inner.maps.told(&(self.inner.ground.org, *handle), record) {
            Some(told) => Ok(told.leaf),
            None => Ok(self.own_map(handle)?.get(record).cloned()),
        }
    }

    /// The root of an own chart's map, as committed, and the one that the anchor under way makes of it. None when the map is
    /// not in memory and is not to be built.
    pub(super) fn own_roots(
        &self,
        handle: &Handle,
        build: bool,
    ) -> Result<Option<(Hash32, Option<Hash32>)>, DirectoryFault> {
        let chart = (self.inner.ground.org, *handle);
        if let Some(roots) = self.inner.maps.roots(&chart) {
            return Ok(Some(roots));
        }
        if !build {
            return Ok(None);
        }
        let map = self.map(&chart)?;
        Ok(Some((map.committed.root(), map.pending.as_ref().map(RecordMap::root))))
    }

    /// Says what an own chart's map becomes when the anchor under way is committed; none when it was not.
    pub(super) fn set_pending(&self, handle: &Handle, pending: Option<RecordMap>) {
        self.inner.maps.change(&(self.inner.ground.org, *handle), |map| map.pending = pending);
    }

    /// Adds own entries, whose anchor is committed, to a batch.
    pub(super) fn write_own(batch: &mut WriteBatch, row: &RecordRow, custodian: AccountId, jws: &str) {
        let key = entry_key(&custodian, &row.handle, &row.id, row.version.0);
        batch.put(ENTRIES, key, jws.as_bytes());
    }

    /// Takes the map that was pending as the committed one, once the entries are in the database.
    pub(super) fn promote(&self, handle: &Handle, map: RecordMap) {
        self.inner.maps.change(&(self.inner.ground.org, *handle), |known| {
            known.committed = map;
            known.pending = None;
        });
        self.inner.promoted.send_modify(|count| *count += 1);
    }

    /// Keeps a map for a chart's, as somebody does who built it before the newest entries came.
    #[cfg(test)]
    pub(super) fn keep_for_tests(&self, handle: &Handle, map: RecordMap) {
        let chart = (self.inner.ground.org, *handle);
        self.inner.maps.forget(&chart);
        self.inner.maps.keep(chart, ChartMap { committed: map, pending: None });
    }

    /// Tells peers.
    pub(super) fn announce(&self, news: New) {
        // Nobody may be listening.
        let _ = self.inner.new.send(news);
    }

    /// Signs and keeps the next key entry of an own chart.
    pub(super) async fn put_own_key(
        &self,
        handle: Handle,
        mut wraps: Vec<crate::seal::WrappedToRsa>,
    ) -> Result<(), DirectoryFault> {
        let ground = &self.inner.ground;
        let _writing = self.inner.writing.lock().await;
        // Ciphertexts are random, so sorting them hides whose is first.
        wraps.sort_by(|a, b| a.bytes().cmp(b.bytes()));
        let seq = self.key_entry(&ground.org, &handle)?.map_or(Count(1), |entry| entry.seq.next());
        let entry = KeyEntry { custodian: ground.org, handle, seq, wraps };
        let key = ground.org_key().map_err(|e| DirectoryFault::Unavailable(e.to_string()))?;
        let text = jws::sign_statement(&*key, ground.ledger.chain(), KeyEntry::TYP, &entry);
        ground.db.put(KEYS, &chart_key(&ground.org, &handle), text.as_bytes()).await?;
        self.announce(New::Key { handle, jws: text });
        Ok(())
    }
}

/// Puts an entry into a map if it is the latest version of its record there.
fn insert(map: &mut RecordMap, entry: &DirectoryEntry) {
    if map.get(&entry.record).is_none_or(|known| known.version < entry.version) {
        map.insert(entry.leaf());
    }
}

fn text(value: &[u8]) -> Result<String, DirectoryFault> {
    String::from_utf8(value.to_vec()).map_err(|_| DirectoryFault::Contradiction("a stored entry is not text".into()))
}

/// The hash that a blob's address names.
pub(super) fn ciphertext_hash(cid: &str) -> Result<Hash32, DirectoryFault> {
    crate::blobs::parse_cid(cid)
        .ok()
        .and_then(|cid| crate::blobs::digest_of(&cid))
        .map(Hash32)
        .ok_or_else(|| DirectoryFault::Contradiction("an entry's address is not a CID of ours".into()))
}
