//! Judging and sealing the writes of a group.

use std::collections::{BTreeMap, BTreeSet};

use vouchsafe_types::{
    Count, Handle, RecordId, SessionId, TimeMs, Tx, b64,
    merkle::RecordMap,
    state::{Head, HeadMove},
    tx::Anchor,
};

use super::{
    Writer,
    group::{Anchoring, Group, Item, Pending},
    job::{Job, Kind},
};
use crate::{
    fhir::search,
    foundation::ORG_KEY,
    ledger::View,
    records::{Chart, DirectoryEntry, DirectoryFault, RecordRow, WriteError, row::Header},
    seal::{Aad, CustodyKey, DataKey, KeyWrapping, PatientKey, keystore::Signer, record},
};
use vouchsafe_types::jws;

/// A chart that the group touches: its keys, its head on the ledger and its map as it becomes.
struct Touched {
    chart: Chart,
    custody: CustodyKey,
    patient: Option<PatientKey>,
    head: Option<Head>,
    map: RecordMap,
}

/// A job that was judged right, and what it follows.
struct Judged {
    job: Job,
    previous: Option<RecordRow>,
}

impl Writer {
    /// Judges every job, answers those that cannot be, and seals the others. None when nothing is left.
    pub(super) async fn prepare(&self, jobs: Vec<Job>) -> Option<Group> {
        let mut judged = Vec::new();
        for job in jobs {
            match self.judge(&job) {
                Ok(previous) => judged.push(Judged { job, previous }),
                Err(e) => job.answer(Err(e)),
            }
        }
        let charts: BTreeSet<RecordId> = judged.iter().map(|j| j.job.write.chart).collect();
        let mut touched = BTreeMap::new();
        for chart in charts {
            match self.touch(&chart).await {
                Ok(found) => drop(touched.insert(chart, found)),
                Err(e) => {
                    let (lost, kept) = judged.into_iter().partition(|j| j.job.write.chart == chart);
                    judged = kept;
                    answer_all(lost, &e);
                }
            }
        }
        if judged.is_empty() {
            return None;
        }
        self.seal(judged, touched).await
    }

    /// Says what a job follows, or why it cannot be.
    fn judge(&self, job: &Job) -> Result<Option<RecordRow>, WriteError> {
        let latest = self.index.latest(&job.id).map_err(|e| WriteError::Unavailable(e.to_string()))?;
        match (job.kind, latest) {
            (Kind::Create, None) => Ok(None),
            (Kind::Create, Some(row)) => Err(WriteError::Conflict { have: row.version.0 }),
            (Kind::Update { .. }, None) => Err(WriteError::NotFound),
            (Kind::Update { if_match }, Some(row)) => {
                if if_match.is_some_and(|expected| expected != row.version.0) {
                    return Err(WriteError::Conflict { have: row.version.0 });
                }
                // Handle and type are part of what a version is sealed as, and one record has one history.
                if row.chart != job.write.chart || row.resource_type != job.write.resource_type {
                    return Err(WriteError::NotTheSame);
                }
                Ok(Some(row))
            }
        }
    }

    /// Reads a chart's keys, head and map. A map that is not what the ledger holds is not built upon.
    async fn touch(&self, chart: &RecordId) -> Result<Touched, WriteError> {
        let found = self.charts.by_id(chart).ok_or(WriteError::NotFound)?;
        let head = View(&*self.ground.ledger).head(&self.ground.org, &found.handle).await?;
        let map = self.directory.own_map(&found.handle)?;
        let whole = match &head {
            Some(head) => head.root == map.root(),
            None => map.is_empty(),
        };
        if !whole {
            return Err(DirectoryFault::NotTheHead.into());
        }
        let custody = self.charts.custody_key(chart)?;
        Ok(Touched { patient: self.charts.patient_key(chart)?, chart: found, custody, head, map })
    }

    /// Seals off the runtime: large records take a while, and every entry is signed.
    async fn seal(&self, judged: Vec<Judged>, touched: BTreeMap<RecordId, Touched>) -> Option<Group> {
        let key = match self.ground.org_key() {
            Ok(key) => key,
            Err(e) => {
                answer_all(judged, &WriteError::Unavailable(e.to_string()));
                return None;
            }
        };
        let sealer = Sealer {
            chain: self.ground.ledger.chain().to_owned(),
            custodian: self.ground.org,
            key,
            now: self.ground.now(),
            touched,
        };
        let session = judged.first().and_then(|j| j.job.write.session);
        // A panic in there answers the callers by dropping their channels.
        let (items, touched) = tokio::task::spawn_blocking(move || sealer.seal_all(judged)).await.ok()?;
        self.anchor(items, touched, session)
    }

    fn anchor(
        &self,
        items: Vec<Item>,
        touched: BTreeMap<RecordId, Touched>,
        session: Option<SessionId>,
    ) -> Option<Group> {
        let mut maps: Vec<(Handle, RecordMap)> = Vec::new();
        let mut moves = Vec::new();
        for chart in touched.into_values() {
            let seq = chart.head.as_ref().map_or(Count(1), |head| head.seq.next());
            let old = chart.head.map(|head| head.root);
            moves.push(HeadMove { handle: chart.chart.handle, seq, old, new: chart.map.root() });
            maps.push((chart.chart.handle, chart.map));
        }
        moves.sort_by_key(|m| m.handle);
        let leaves = items.iter().map(|item| item.pending.row.commitment).collect();
        let heads = moves.clone();
        let make = |nonce, expires| Tx::from(Anchor { nonce, expires, leaves, heads, session });
        let mut group = Group {
            id: crate::foundation::Foundation::new_id(),
            anchoring: Anchoring { tx: String::new(), moves },
            items,
            maps,
        };
        match self.ground.signer().sign(ORG_KEY, make) {
            Ok(tx) => {
                group.anchoring.tx = tx;
                Some(group)
            }
            Err(e) => {
                group.refuse(&WriteError::Unavailable(e.to_string()));
                None
            }
        }
    }
}

fn answer_all(judged: Vec<Judged>, error: &WriteError) {
    for j in judged {
        j.job.answer(Err(error.clone()));
    }
}

/// What sealing needs.
struct Sealer {
    chain: String,
    custodian: vouchsafe_types::AccountId,
    key: Signer,
    now: TimeMs,
    touched: BTreeMap<RecordId, Touched>,
}

impl Sealer {
    fn seal_all(mut self, judged: Vec<Judged>) -> (Vec<Item>, BTreeMap<RecordId, Touched>) {
        let mut items = Vec::new();
        for j in judged {
            match self.touched.get(&j.job.write.chart).map(|chart| self.seal(&j, chart)) {
                Some((pending, blob)) => {
                    if let Some(chart) = self.touched.get_mut(&j.job.write.chart) {
                        chart.map.insert(pending.entry.leaf());
                    }
                    items.push(Item { pending, blob: Some(blob), done: Some(j.job.done) });
                }
                None => j.job.answer(Err(WriteError::NotFound)),
            }
        }
        (items, self.touched)
    }

    fn seal(&self, judged: &Judged, chart: &Touched) -> (Pending, crate::seal::Sealed) {
        let Judged { job, previous } = judged;
        let write = &job.write;
        let data = DataKey::generate();
        let version = previous.as_ref().map_or(Count(1), |row| row.version.next());
        let before = previous.as_ref().map(|row| row.commitment);
        let aad = Aad {
            chain: &self.chain,
            custodian: self.custodian,
            handle: chart.chart.handle,
            record: job.id,
            resource_type: &write.resource_type,
            version: version.0,
        };
        let sealed = record::seal(&data, &aad, before, &write.sealed_form);
        let facts = search::facts(&write.resource_type, &write.value);
        // Two versions never carry one time, though the clock may stand.
        let last_updated = previous.as_ref().map_or(self.now, |row| self.now.max(row.last_updated.plus(1)));
        let header = Header {
            resource_type: write.resource_type.clone(),
            category: facts.category,
            date: facts.date,
            last_updated,
        };
        let header = serde_json::to_vec(&header).expect("a header is plain data");
        let meta = record::seal_meta(&data, &Aad { resource_type: Header::TYPE, ..aad }, &header);
        let entry = DirectoryEntry {
            custodian: self.custodian,
            handle: chart.chart.handle,
            record: job.id,
            version,
            commitment: sealed.commitment,
            previous: before,
            cid: sealed.blob.cid().to_string(),
            suite: DirectoryEntry::SUITE,
            meta: b64::encode(meta),
            patient_wrap: chart.patient.as_ref().map(|key| key.wrap(&data)),
            tombstone: false,
        };
        let jws = jws::sign_statement(&*self.key, &self.chain, DirectoryEntry::TYP, &entry);
        let row = RecordRow {
            id: job.id,
            version,
            resource_type: write.resource_type.clone(),
            chart: chart.chart.id,
            handle: chart.chart.handle,
            last_updated,
            commitment: sealed.commitment,
            previous: before,
            plaintext_hash: sealed.plaintext_hash,
            cid: entry.cid.clone(),
            facts,
            by: write.by.clone(),
            session: write.session,
            height: Count(0),
            tombstone: false,
            custody_wrap: chart.custody.wrap(&data),
        };
        (Pending { row, entry, jws }, sealed.blob)
    }
}
