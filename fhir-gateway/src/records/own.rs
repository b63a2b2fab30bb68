//! The own records of this custodian: written through the outbox, opened only when verified.

use std::{
    collections::HashMap,
    sync::{Arc, Weak},
    time::Duration,
};

use cid::Cid;
use tokio::sync::broadcast;
use vouchsafe_types::{
    Hash32, RecordId, keys,
    merkle::{MapLeaf, RecordMap},
    state::Head,
};
use zeroize::Zeroizing;

use super::{
    Chart, Charts, Directory, DirectoryEntry, HistoryPage, HistoryPart, Idempotency, LaterVersion, OpenError, Opened,
    OwnUniverse, ProofParts, RecordRow, Repeated, Scope, Submission, SubmitError, WriteError, Written,
    directory::{AtHead, ciphertext_hash},
    index::{Catalog, Index, IndexCheck, TRIES},
    opened::{Lately, Plain},
    outbox::Outbox,
};
use crate::{
    audit::{About, Audit},
    blobs::parse_cid,
    foundation::Foundation,
    ledger::{LedgerProof, proved_value},
    policy::Permit,
    seal::{Aad, DataKey, GrantKey, KeyWrapping, WrappedKey, record},
};

/// How often a proof is tried anew when the chart moves on meanwhile.
const PROOF_TRIES: u32 = 8;
/// How often it is looked what was opened and is not used any more.
const SWEEP: Duration = Duration::from_secs(60);
/// How many new rows a slow receiver may be behind.
const NEWS: usize = 4_096;

/// The own records. Cheap to clone.
#[derive(Clone)]
pub struct Records {
    pub(super) inner: Arc<Inner>,
}

pub(super) struct Inner {
    pub(super) ground: Foundation,
    pub(super) charts: Charts,
    pub(super) directory: Directory,
    audit: Audit,
    index: Index,
    pub(super) outbox: Outbox,
    new: broadcast::Sender<RecordRow>,
    lately: Lately,
}

/// What was found out about a version before it is opened.
struct Verified {
    entry: DirectoryEntry,
    /// The versions after it, the next first.
    later: Vec<LaterVersion>,
}

impl Records {
    /// Finishes what a crash left, and starts the outbox.
    ///
    /// # Errors
    /// When the database or the ledger is away, or what the outbox holds was altered.
    pub async fn open_store(
        ground: Foundation,
        charts: Charts,
        directory: Directory,
        audit: Audit,
    ) -> Result<Self, WriteError> {
        let new = broadcast::Sender::new(NEWS);
        let index = Index::open(ground.db.clone())?;
        let outbox =
            Outbox::start(ground.clone(), charts.clone(), directory.clone(), index.clone(), new.clone()).await?;
        let lately = Lately::default();
        let inner = Arc::new(Inner { ground, charts, directory, audit, index, outbox, new, lately });
        tokio::spawn(sweep(Arc::downgrade(&inner)));
        Ok(Self { inner })
    }

    /// Ends the outbox after the group under way.
    pub async fn stop(&self) {
        self.inner.outbox.stop().await;
    }

    /// A fresh id: 48 bits of the time in milliseconds, then 80 random ones. Records that come together lie together in the
    /// database, and an id tells nothing that the version's time does not tell.
    pub fn new_id() -> RecordId {
        let RecordId(mut id) = Foundation::new_id();
        let now = (crate::clock::system())().0.to_be_bytes();
        id[..6].copy_from_slice(&now[2..]);
        RecordId(id)
    }

    /// Does all acts of a submission or none; on return their one anchor is in a block. The answers come in the order of
    /// the acts.
    ///
    /// # Errors
    /// `SubmitError`; then nothing is kept, but for `Unavailable`, of which it is not known.
    pub async fn submit(&self, submission: Submission) -> Result<Vec<Written>, SubmitError> {
        self.inner.outbox.submit(submission, self).await
    }

    /// What was done under an idempotency key before; none when nothing was.
    ///
    /// # Errors
    /// `KeyReused` when another request had the key; when the database cannot be read.
    pub fn before(&self, once: &Idempotency) -> Result<Option<Repeated>, SubmitError> {
        self.inner.outbox.before(once, &self.inner.index)
    }

    /// Keeps an idempotency key of a request for which nothing had to be written. Who calls this sees to it that no other
    /// request with the key is under way.
    ///
    /// # Errors
    /// When the database cannot write.
    pub async fn remember(&self, once: &Idempotency, note: String) -> Result<(), SubmitError> {
        Ok(self.inner.outbox.remember(once, note).await?)
    }

    /// What happened to records, in the order of commits, the newest first.
    ///
    /// # Errors
    /// When the database cannot be read, or what it says was altered.
    pub fn history(&self, scope: &Scope, part: &HistoryPart) -> Result<HistoryPage, OpenError> {
        self.inner.index.history(scope, part)
    }

    /// The own records as a search sees them: those in some charts, or in all.
    pub fn universe(&self, charts: Option<Vec<RecordId>>) -> OwnUniverse {
        OwnUniverse { records: self.clone(), charts }
    }

    /// A version of a record; the latest when none is named. That the latest is the latest is checked against the chart's
    /// map, and `open` checks that against the ledger.
    ///
    /// # Errors
    /// When the database cannot be read, or the row was altered or is an old one.
    pub fn row(&self, id: &RecordId, version: Option<u64>) -> Result<Option<RecordRow>, OpenError> {
        match version {
            Some(version) => self.inner.index.row(id, version),
            None => {
                let row = self.inner.index.latest(id)?;
                row.map(|row| self.latest(row)).transpose()
            }
        }
    }

    /// Refuses a row that the index calls the latest and that the chart's map knows to be old. The map may be behind by an
    /// anchor that was committed this instant, and ahead of a row that was read before it: the index is asked again then.
    fn latest(&self, row: RecordRow) -> Result<RecordRow, OpenError> {
        match self.inner.directory.own_says(&row.handle, &row.id)? {
            Some(leaf) if leaf.version > row.version => match self.inner.index.latest(&row.id)? {
                Some(again) if again.version >= leaf.version => Ok(again),
                _ => Err(OpenError::Integrity("the index names an old version as the latest".into())),
            },
            _ => Ok(row),
        }
    }

    /// All versions of a record, the newest first.
    ///
    /// # Errors
    /// When the database cannot be read, or a row was altered.
    pub fn versions(&self, id: &RecordId) -> Result<Vec<RecordRow>, OpenError> {
        let mut rows = self.inner.index.versions(id)?;
        rows.reverse();
        Ok(rows)
    }

    /// The latest versions of a chart's records that are not deleted, of one type or of all.
    ///
    /// # Errors
    /// When the database cannot be read, or what the index says of the chart was altered, is old or is missing.
    pub fn list(&self, chart: &RecordId, resource_type: Option<&str>) -> Result<Vec<RecordRow>, OpenError> {
        let mut rows = Vec::new();
        for id in self.lying(chart, resource_type)? {
            // Deleted meanwhile it is none any more.
            rows.extend(self.row(&id, None)?.filter(|row| !row.tombstone));
        }
        Ok(rows)
    }

    /// The latest versions of all own records of a type that are not deleted.
    ///
    /// # Errors
    /// When the database cannot be read, or what the index says was altered or is old.
    pub fn list_type(&self, resource_type: &str) -> Result<Vec<RecordRow>, OpenError> {
        let mut rows = Vec::new();
        for chart in self.inner.index.charts(None, usize::MAX) {
            rows.extend(self.list(&chart, Some(resource_type))?);
        }
        Ok(rows)
    }

    /// Which records a chart's blocks hold.
    fn lying(&self, chart: &RecordId, resource_type: Option<&str>) -> Result<Vec<RecordId>, OpenError> {
        for _ in 0..TRIES {
            let Some(catalog) = self.catalog(chart, true)? else { return Ok(Vec::new()) };
            if let Some(ids) = self.inner.index.records_of(chart, &catalog, resource_type)? {
                return Ok(ids);
            }
            self.inner.index.forget(chart);
        }
        Err(OpenError::Integrity("the index's blocks are not those of its catalog".into()))
    }

    /// What the index has of a chart, at the root that the chart's map has: then nothing is left out and nothing is old.
    /// With `build` the map is built when it is not in memory; without, the index is then taken as it is.
    pub(super) fn catalog(&self, chart: &RecordId, build: bool) -> Result<Option<Arc<Catalog>>, OpenError> {
        let Inner { index, directory, charts, .. } = &*self.inner;
        for attempt in 0..TRIES {
            let catalog = index.catalog(chart)?;
            let handle = match &catalog {
                Some(catalog) => catalog.handle,
                None => match charts.by_id(chart) {
                    Some(chart) => chart.handle,
                    None => return Ok(None),
                },
            };
            let Some((committed, pending)) = directory.own_roots(&handle, build)? else { return Ok(catalog) };
            let root = catalog.as_ref().map_or_else(|| RecordMap::new().root(), |catalog| catalog.root);
            if root == committed || Some(root) == pending {
                return Ok(catalog);
            }
            // An anchor was committed between the two looks.
            index.forget(chart);
            if attempt > TRIES / 2 {
                // The map follows the database at once, unless its thread was put aside.
                std::thread::sleep(Duration::from_millis(1));
            }
        }
        Err(OpenError::Integrity("the index of this chart is not at the root of the chart's map".into()))
    }

    pub(super) fn index(&self) -> &Index {
        &self.inner.index
    }

    /// Compares all of the index with itself and with the charts' maps. Nothing may be written meanwhile.
    ///
    /// # Errors
    /// When the database cannot be read. What was altered is a fault among those found.
    pub fn check_index(&self) -> Result<IndexCheck, OpenError> {
        let Inner { index, directory, charts, .. } = &*self.inner;
        let known: Vec<RecordId> = charts.all().into_iter().map(|chart| chart.id).collect();
        index.check(&known, |chart, catalog| {
            let handle = catalog.map(|catalog| catalog.handle).or_else(|| charts.by_id(chart).map(|c| c.handle));
            handle.map_or_else(|| Ok(RecordMap::new()), |handle| Ok(directory.own_map(&handle)?))
        })
    }

    /// Opens a version, verified: its leaf under the ledger's head, the chain of versions, the blob's hash and the
    /// commitment.
    ///
    /// # Errors
    /// `Integrity` when something is not what was anchored, which is audited and never served; `Unavailable`.
    pub async fn open(&self, permit: &Permit, row: &RecordRow) -> Result<Opened, OpenError> {
        let opened = self.open_all(permit, std::slice::from_ref(row)).await.map_err(|(_, e)| e)?;
        opened.into_iter().next().ok_or_else(unread)
    }

    /// Opens versions of records of one chart, in their order, each verified as by `open`: with one look at the ledger's head
    /// and one at the block store for all of them.
    ///
    /// # Errors
    /// As `open`, of the first that does not open, with its place among them.
    pub async fn open_all(&self, permit: &Permit, rows: &[RecordRow]) -> Result<Vec<Opened>, (usize, OpenError)> {
        let mut opened = Vec::with_capacity(rows.len());
        for row in rows {
            opened.push(self.opened_lately(row).await);
        }
        let rest: Vec<usize> = (0..rows.len()).filter(|at| opened[*at].is_none()).collect();
        let Some(first) = rest.first().copied() else { return Ok(opened.into_iter().flatten().collect()) };
        let chart = self.at_head(&rows[first]).await;
        let chart = self.audited(&rows[first], chart).await.map_err(|e| (first, e))?;
        let wanted: Vec<&RecordRow> = rest.iter().map(|at| &rows[*at]).collect();
        for (at, result) in rest.into_iter().zip(self.open_verified(permit, &chart, &wanted).await) {
            let one = self.audited(&rows[at], result).await.map_err(|e| (at, e))?;
            opened[at] = Some(one.0);
        }
        Ok(opened.into_iter().flatten().collect())
    }

    /// What was opened and verified lately, if the ledger's head says at this moment that it is the record's latest version.
    async fn opened_lately(&self, row: &RecordRow) -> Option<Opened> {
        let plain = self.inner.lately.get(&row.id, row.version.0)?;
        let leaf = self.inner.directory.own_leaf(&row.handle, &row.id).await.ok()?;
        let same =
            leaf.version == row.version && leaf.commitment == plain.commitment && row.commitment == plain.commitment;
        same.then(|| Opened::new(plain, row.clone()))
    }

    /// Opens a version with everything that a third party needs to check it.
    ///
    /// # Errors
    /// As `open`.
    pub async fn proof(&self, permit: &Permit, row: &RecordRow) -> Result<ProofParts, OpenError> {
        let ground = &self.inner.ground;
        let key = [keys::head(&ground.org, &row.handle)];
        for _ in 0..PROOF_TRIES {
            let chart = self.audited(row, self.at_head(row).await).await?;
            let one = self.open_verified(permit, &chart, &[row]).await.pop().unwrap_or_else(|| Err(unread()));
            let (opened, verified) = self.audited(row, one).await?;
            let mut proofs = ground.ledger.prove(&key).await?;
            let ledger = proofs.pop().ok_or_else(|| OpenError::Unavailable("the ledger gave no proof".into()))?;
            // The chart may have moved on between the two.
            if proved_value(&ledger).and_then(|value| Head::from_bytes(&value)).as_ref() == Some(&chart.head) {
                return self.parts(row, &opened, verified, &chart, ledger);
            }
        }
        Err(OpenError::Unavailable("the chart is being written to".into()))
    }

    /// The chart of a record, its map the one that the ledger holds.
    async fn at_head(&self, row: &RecordRow) -> Result<AtHead, OpenError> {
        let Inner { ground, directory, .. } = &*self.inner;
        Ok(directory.at_head(&ground.org, &row.handle).await?)
    }

    fn parts(
        &self,
        row: &RecordRow,
        opened: &Opened,
        verified: Verified,
        chart: &AtHead,
        ledger: LedgerProof,
    ) -> Result<ProofParts, OpenError> {
        let map_proof = chart.prove(&row.id)?;
        let leaf = map_proof.leaf.clone();
        Ok(ProofParts {
            sealed_form: Zeroizing::new(opened.sealed_form().to_vec()),
            commitment_key: record::commitment_key(&self.data_key(row)?),
            plaintext_hash: row.plaintext_hash,
            ciphertext_hash: ciphertext_hash(&row.cid)?,
            entry: verified.entry,
            later: verified.later,
            leaf: leaf.ok_or_else(|| OpenError::Integrity("the map's proof shows no leaf".into()))?,
            map_proof,
            head: chart.head.clone(),
            ledger,
        })
    }

    /// Of some records of a chart those that were opened and verified lately, if the ledger's head says at this moment that
    /// each is its record's latest version: one look at the head for a page, and none at the disk.
    pub async fn lately(&self, _permit: &Permit, chart: &Chart, records: &[RecordId]) -> HashMap<RecordId, Opened> {
        let Ok(leaves) = self.inner.directory.own_leaves(&chart.handle, records).await else { return HashMap::new() };
        let kept = |leaf: MapLeaf| {
            let plain = self.inner.lately.get(&leaf.record, leaf.version.0)?;
            let same = leaf.commitment == plain.commitment && !leaf.tombstone;
            Some((leaf.record, Opened::kept(plain).filter(|_| same)?))
        };
        leaves.into_iter().filter_map(kept).collect()
    }

    /// Opens versions of records of one chart, each with what it was verified by; ends with the first that does not open.
    async fn open_verified(
        &self,
        permit: &Permit,
        chart: &AtHead,
        rows: &[&RecordRow],
    ) -> Vec<Result<(Opened, Verified), OpenError>> {
        let mut found = Vec::with_capacity(rows.len());
        for row in rows {
            let verified = self.verify(chart, row).and_then(|verified| {
                let cid = parse_cid(&verified.entry.cid).map_err(|e| OpenError::Integrity(e.to_string()))?;
                Ok((verified, cid))
            });
            let failed = verified.is_err();
            found.push(verified);
            if failed {
                break;
            }
        }
        let cids: Vec<Cid> = found.iter().flatten().map(|(_, cid)| *cid).collect();
        let mut blobs = match self.inner.ground.blobs.get_many(&cids).await {
            Ok(blobs) => blobs.into_iter(),
            Err(e) => return vec![Err(e.into())],
        };
        let mut out = Vec::with_capacity(found.len());
        for (row, verified) in rows.iter().zip(found) {
            let opened = verified.and_then(|(verified, _)| {
                let blob = blobs.next().unwrap_or(Ok(None))?;
                let blob = blob.ok_or_else(|| OpenError::Integrity("the blob is not in the block store".into()))?;
                self.unsealed(permit, row, verified, &blob)
            });
            out.push(opened);
        }
        out
    }

    /// Opens a version's blob.
    fn unsealed(
        &self,
        permit: &Permit,
        row: &RecordRow,
        verified: Verified,
        blob: &[u8],
    ) -> Result<(Opened, Verified), OpenError> {
        let key = self.data_key(row)?;
        let anchored = verified.entry.commitment;
        let sealed_form = record::open(permit, &key, &self.aad(row), row.previous, &anchored, blob)
            .map_err(|e| OpenError::Integrity(e.to_string()))?;
        let plain = Arc::new(Plain::new(anchored, sealed_form));
        if verified.later.is_empty() {
            plain.with_row(row);
            self.inner.lately.keep(row.id, row.version.0, &plain);
        }
        Ok((Opened::new(plain, row.clone()), verified))
    }

    /// Walks from what the ledger's head says to this version: the latest version is the map's leaf, and every version's
    /// commitment, recomputed, is over the one before.
    fn verify(&self, chart: &AtHead, row: &RecordRow) -> Result<Verified, OpenError> {
        let Inner { ground, directory, index, .. } = &*self.inner;
        if row.handle != chart.handle {
            return Err(OpenError::Integrity("the record is of another chart".into()));
        }
        let latest = directory.latest(chart, &row.id)?;
        let mut expected = latest.commitment;
        let mut later = Vec::new();
        for version in (row.version.0 + 1..=latest.version.0).rev() {
            let newer = index.row(&row.id, version)?;
            let newer = newer.ok_or_else(|| OpenError::Integrity("a version of this record is missing".into()))?;
            let told = self.tell(&newer)?;
            if told.commitment != expected {
                return Err(OpenError::Integrity("the versions of this record do not chain".into()));
            }
            expected = newer.previous.ok_or_else(|| OpenError::Integrity("a version names none before it".into()))?;
            later.push(told);
        }
        later.reverse();
        let entry = if row.version == latest.version {
            latest.clone()
        } else {
            let entry = directory.entry(&ground.org, &row.handle, &row.id, row.version.0)?;
            entry.ok_or_else(|| OpenError::Integrity("this version has no directory entry".into()))?
        };
        if row.version > latest.version || row.commitment != expected || entry.commitment != expected {
            return Err(OpenError::Integrity("this version is not what is anchored".into()));
        }
        if entry.cid != row.cid || entry.previous != row.previous {
            return Err(OpenError::Integrity("row and directory entry contradict each other".into()));
        }
        Ok(Verified { entry, later })
    }

    /// A version without its content, its commitment recomputed.
    pub(super) fn tell(&self, row: &RecordRow) -> Result<LaterVersion, OpenError> {
        let commitment_key = record::commitment_key(&self.data_key(row)?);
        let ciphertext_hash = ciphertext_hash(&row.cid)?;
        let commitment = record::commitment(
            &commitment_key,
            &row.id,
            row.version.0,
            row.previous.as_ref(),
            &row.plaintext_hash,
            &ciphertext_hash,
        );
        Ok(LaterVersion {
            version: row.version,
            commitment,
            commitment_key: Hash32(commitment_key),
            plaintext_hash: row.plaintext_hash,
            ciphertext_hash,
        })
    }

    fn aad<'a>(&'a self, row: &'a RecordRow) -> Aad<'a> {
        Aad {
            chain: self.inner.ground.ledger.chain(),
            custodian: self.inner.ground.org,
            handle: row.handle,
            record: row.id,
            resource_type: &row.resource_type,
            version: row.version.0,
        }
    }

    fn data_key(&self, row: &RecordRow) -> Result<DataKey, OpenError> {
        let custody = self.inner.charts.custody_key(&row.chart).map_err(|e| OpenError::Unavailable(e.to_string()))?;
        custody.unwrap(&row.custody_wrap).map_err(|e| OpenError::Integrity(e.to_string()))
    }

    /// A version's data key under a grant's key: for the manifest of a grant that admits it.
    ///
    /// # Errors
    /// When the row's wrap does not open.
    pub fn data_key_for_grant(&self, row: &RecordRow, grant: &GrantKey) -> Result<WrappedKey, OpenError> {
        Ok(grant.wrap(&self.data_key(row)?))
    }

    /// Own versions from now on, as they are committed. A receiver that lags loses some.
    pub fn on_new(&self) -> broadcast::Receiver<RecordRow> {
        self.inner.new.subscribe()
    }

    /// Puts an integrity fault into the audit log before anybody hears of it.
    async fn audited<T>(&self, row: &RecordRow, result: Result<T, OpenError>) -> Result<T, OpenError> {
        if let Err(OpenError::Integrity(what)) = &result {
            tracing::error!(record = %row.id, version = row.version.0, "integrity: {what}");
            let account = self.inner.charts.by_id(&row.chart).and_then(|chart| chart.account);
            let about = About { chart: Some(row.chart), account, session: None, caller: None };
            let what = format!("{}/{}/_history/{}", row.resource_type, row.id, row.version);
            let recorded = self.inner.audit.integrity_fault(about, what).await;
            recorded.map_err(|e| OpenError::Unavailable(e.to_string()))?;
        }
        result
    }
}

fn unread() -> OpenError {
    OpenError::Unavailable("a record was asked for and none was read".into())
}

/// Lets go, every minute, of what was opened and is not used; ends with the records.
async fn sweep(records: Weak<Inner>) {
    loop {
        tokio::time::sleep(SWEEP).await;
        match records.upgrade() {
            Some(inner) => {
                inner.lately.sweep();
                inner.index.sweep();
            }
            None => return,
        }
    }
}
