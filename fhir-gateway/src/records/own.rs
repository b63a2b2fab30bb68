//! The own records of this custodian: written through the outbox, opened only when verified.

use std::{
    sync::{Arc, Weak},
    time::Duration,
};

use tokio::sync::broadcast;
use vouchsafe_types::{Hash32, RecordId, keys, merkle::MapProof, state::Head};
use zeroize::Zeroizing;

use super::{
    Act, ActKind, Charts, Directory, DirectoryEntry, HistoryPage, HistoryPart, LaterVersion, OpenError, Opened,
    OwnUniverse, ProofParts, RecordRow, Scope, Submission, SubmitError, Write, WriteError, Written,
    directory::ciphertext_hash,
    index::Index,
    opened::{Lately, Plain},
    outbox::{Kind, Outbox},
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
    inner: Arc<Inner>,
}

struct Inner {
    ground: Foundation,
    charts: Charts,
    directory: Directory,
    audit: Audit,
    index: Index,
    outbox: Outbox,
    new: broadcast::Sender<RecordRow>,
    lately: Lately,
}

/// What was found out about a version before it is opened.
struct Verified {
    entry: DirectoryEntry,
    /// The versions after it, the next first.
    later: Vec<LaterVersion>,
    map_proof: MapProof,
    head: Head,
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
        let outbox = Outbox::start(ground.clone(), charts.clone(), directory.clone(), new.clone()).await?;
        let index = Index::new(ground.db.clone());
        let lately = Lately::default();
        let inner = Arc::new(Inner { ground, charts, directory, audit, index, outbox, new, lately });
        tokio::spawn(sweep(Arc::downgrade(&inner)));
        Ok(Self { inner })
    }

    /// Ends the outbox after the group under way.
    pub async fn stop(&self) {
        self.inner.outbox.stop().await;
    }

    /// A fresh id.
    pub fn new_id() -> RecordId {
        Foundation::new_id()
    }

    /// Writes a new record; on return its anchor is in a block.
    ///
    /// # Errors
    /// `WriteError`; then nothing is kept, but for `Unavailable`, of which it is not known.
    pub async fn create(&self, write: Write) -> Result<RecordRow, WriteError> {
        self.create_with_id(Self::new_id(), write).await
    }

    /// Writes a new record under an id that the caller made with `new_id`. A Patient's is its chart's, which is opened.
    ///
    /// # Errors
    /// `Conflict` when there is one with this id; else as `create`.
    pub async fn create_with_id(&self, id: RecordId, write: Write) -> Result<RecordRow, WriteError> {
        let opens = write.resource_type == "Patient" && write.chart == id;
        if opens {
            self.inner.charts.open_chart(id).await?;
        }
        let result = self.inner.outbox.write(id, Kind::Create, write).await;
        // A write whose fate is not known may still come; a restart forgets the chart if it did not.
        if opens && matches!(&result, Err(e) if !matches!(e, WriteError::Unavailable(_))) {
            self.inner.charts.discard(&id).await?;
        }
        result
    }

    /// Writes the next version of a record, if the latest is the one that `if_match` names.
    ///
    /// # Errors
    /// `Conflict` when another version is the latest, `NotFound`, `NotTheSame`, or as `create`.
    pub async fn update(&self, id: RecordId, if_match: Option<u64>, write: Write) -> Result<RecordRow, WriteError> {
        self.inner.outbox.write(id, Kind::Update { if_match }, write).await
    }

    /// Does all acts of a submission or none; on return their one anchor is in a block. The answers come in the order of
    /// the acts.
    ///
    /// # Errors
    /// `SubmitError`; then nothing is kept, but for `Unavailable`, of which it is not known.
    pub async fn submit(&self, submission: Submission) -> Result<Vec<Written>, SubmitError> {
        let Submission { acts, session, by, .. } = submission;
        let [act] = <[Act; 1]>::try_from(acts).map_err(|_| WriteError::TooLarge("one act, until the next commits"))?;
        let Act { id, kind, resource_type, chart, sealed_form, value } = act;
        let write = Write { resource_type, sealed_form, value, chart, session, by };
        let row = match kind {
            ActKind::Create => self.create_with_id(id, write).await?,
            ActKind::Update { if_match } => self.update(id, if_match, write).await?,
            ActKind::Delete { .. } => unimplemented!("written in the next commits"),
        };
        Ok(vec![Written::of(row, false)])
    }

    /// What happened to records, in the order of commits, the newest first.
    ///
    /// # Errors
    /// When the database cannot be read, or what it says was altered.
    pub fn history(&self, scope: &Scope, part: &HistoryPart) -> Result<HistoryPage, OpenError> {
        let _ = (scope, part);
        unimplemented!("written in the next commits")
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

    /// The latest versions of a chart's records, of one type or of all.
    ///
    /// # Errors
    /// When the database cannot be read, or a row was altered, is an old one or is missing.
    pub fn list(&self, chart: &RecordId, resource_type: Option<&str>) -> Result<Vec<RecordRow>, OpenError> {
        let known = match self.inner.charts.by_id(chart) {
            Some(chart) => self.inner.directory.own_map(&chart.handle)?.len(),
            None => return Ok(Vec::new()),
        };
        let rows = self.inner.index.of_chart(chart, resource_type)?;
        if resource_type.is_none() && rows.len() < known {
            return Err(OpenError::Integrity("the index leaves out records of this chart".into()));
        }
        rows.into_iter().map(|row| self.latest(row)).collect()
    }

    /// The latest versions of all own records of a type.
    ///
    /// # Errors
    /// When the database cannot be read, or a row was altered or is an old one.
    pub fn list_type(&self, resource_type: &str) -> Result<Vec<RecordRow>, OpenError> {
        self.inner.index.of_type(resource_type)?.into_iter().map(|row| self.latest(row)).collect()
    }

    /// Opens a version, verified: its leaf under the ledger's head, the chain of versions, the blob's hash and the
    /// commitment.
    ///
    /// # Errors
    /// `Integrity` when something is not what was anchored, which is audited and never served; `Unavailable`.
    pub async fn open(&self, permit: &Permit, row: &RecordRow) -> Result<Opened, OpenError> {
        if let Some(opened) = self.opened_lately(row).await {
            return Ok(opened);
        }
        self.audited(row, self.open_verified(permit, row).await).await.map(|(opened, _)| opened)
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
            let (opened, verified) = self.audited(row, self.open_verified(permit, row).await).await?;
            let mut proofs = ground.ledger.prove(&key).await?;
            let ledger = proofs.pop().ok_or_else(|| OpenError::Unavailable("the ledger gave no proof".into()))?;
            // The chart may have moved on between the two.
            if proved_value(&ledger).and_then(|value| Head::from_bytes(&value)).as_ref() == Some(&verified.head) {
                return self.parts(row, opened, verified, ledger);
            }
        }
        Err(OpenError::Unavailable("the chart is being written to".into()))
    }

    fn parts(
        &self,
        row: &RecordRow,
        opened: Opened,
        verified: Verified,
        ledger: LedgerProof,
    ) -> Result<ProofParts, OpenError> {
        let leaf = verified
            .map_proof
            .leaf
            .clone()
            .ok_or_else(|| OpenError::Integrity("the map's proof shows no leaf".into()))?;
        Ok(ProofParts {
            sealed_form: Zeroizing::new(opened.sealed_form().to_vec()),
            commitment_key: record::commitment_key(&self.data_key(row)?),
            plaintext_hash: row.plaintext_hash,
            ciphertext_hash: ciphertext_hash(&row.cid)?,
            entry: verified.entry,
            later: verified.later,
            leaf,
            map_proof: verified.map_proof,
            head: verified.head,
            ledger,
        })
    }

    async fn open_verified(&self, permit: &Permit, row: &RecordRow) -> Result<(Opened, Verified), OpenError> {
        let verified = self.verify(row).await?;
        let cid = parse_cid(&verified.entry.cid).map_err(|e| OpenError::Integrity(e.to_string()))?;
        let blob = self.inner.ground.blobs.get(&cid).await?;
        let blob = blob.ok_or_else(|| OpenError::Integrity("the blob is not in the block store".into()))?;
        let key = self.data_key(row)?;
        let anchored = verified.entry.commitment;
        let sealed_form = record::open(permit, &key, &self.aad(row), row.previous, &anchored, &blob)
            .map_err(|e| OpenError::Integrity(e.to_string()))?;
        let plain = Arc::new(Plain::new(anchored, sealed_form));
        if verified.later.is_empty() {
            self.inner.lately.keep(row.id, row.version.0, &plain);
        }
        Ok((Opened::new(plain, row.clone()), verified))
    }

    /// Walks from what the ledger's head says to this version: the latest version is the map's leaf, and every version's
    /// commitment, recomputed, is over the one before.
    async fn verify(&self, row: &RecordRow) -> Result<Verified, OpenError> {
        let Inner { ground, directory, index, .. } = &*self.inner;
        let (latest, map_proof, head) = directory.verify_leaf(&ground.org, &row.handle, &row.id).await?;
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
        let entry = directory.entry(&ground.org, &row.handle, &row.id, row.version.0)?;
        let entry = entry.ok_or_else(|| OpenError::Integrity("this version has no directory entry".into()))?;
        if row.version > latest.version || row.commitment != expected || entry.commitment != expected {
            return Err(OpenError::Integrity("this version is not what is anchored".into()));
        }
        if entry.cid != row.cid || entry.previous != row.previous {
            return Err(OpenError::Integrity("row and directory entry contradict each other".into()));
        }
        Ok(Verified { entry, later, map_proof, head })
    }

    /// A version without its content, its commitment recomputed.
    fn tell(&self, row: &RecordRow) -> Result<LaterVersion, OpenError> {
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

/// Lets go, every minute, of what was opened and is not used; ends with the records.
async fn sweep(records: Weak<Inner>) {
    loop {
        tokio::time::sleep(SWEEP).await;
        match records.upgrade() {
            Some(inner) => inner.lately.sweep(),
            None => return,
        }
    }
}
