//! Judging and sealing the submissions of a group.

use std::collections::{BTreeMap, HashMap};

use vouchsafe_types::{
    AccountId, Count, Handle, RecordId, SessionId, TimeMs, Tx, b64, jws,
    merkle::RecordMap,
    state::{Head, HeadMove},
    tx::Anchor,
};

use super::{
    Writer,
    group::{Group, Lying, Part, Pending},
    job::{Draft, Job},
    judge::{Verdict, judge},
    once::Kept,
};
use crate::{
    fhir::{category::Category, date::DateRange},
    foundation::ORG_KEY,
    ledger::View,
    records::{
        ActKind, Actor, DirectoryEntry, DirectoryFault, RecordRow, WriteError,
        charts::{ChartKeys, Opening},
        index::Index,
        row::Header,
    },
    seal::{Aad, DataKey, KeyWrapping, Sealed, keystore::Signer, record},
    store::Db,
};

/// Heads and maps of charts as they will be when the group under way is committed.
pub(super) type Ahead = HashMap<Handle, (Head, RecordMap)>;

/// A chart that the group touches: its keys, its head and its map as it becomes.
struct Touched {
    keys: ChartKeys,
    head: Option<Head>,
    map: RecordMap,
    /// Set when this group opens it.
    opening: Option<Opening>,
    /// True once a version was put into the map.
    moved: bool,
}

/// What judging and sealing need.
struct Bench {
    db: Db,
    index: Index,
    chain: String,
    custodian: AccountId,
    key: Signer,
    now: TimeMs,
    charts: BTreeMap<RecordId, Result<Touched, WriteError>>,
}

/// What was sealed.
#[derive(Default)]
struct Done {
    items: Vec<Pending>,
    blobs: Vec<Sealed>,
    parts: Vec<Part>,
    once: Vec<Kept>,
    charts: BTreeMap<RecordId, Result<Touched, WriteError>>,
}

impl Writer {
    /// Judges every submission, answers those that cannot be, and seals the others. None when nothing is left.
    pub(super) async fn prepare(&mut self, jobs: Vec<Job>, ahead: &Ahead) -> Option<Group> {
        let key = match self.ground.org_key() {
            Ok(key) => key,
            Err(e) => {
                let error = WriteError::Unavailable(e.to_string());
                jobs.into_iter().for_each(|job| job.answer(Err(error.clone().into())));
                return None;
            }
        };
        // Whether the group opens a chart, by the charts that it touches.
        let mut touches: BTreeMap<RecordId, bool> = BTreeMap::new();
        for draft in jobs.iter().flat_map(|job| &job.drafts) {
            *touches.entry(draft.chart).or_default() |= draft.opens_chart();
        }
        let mut charts = BTreeMap::new();
        for (chart, opens) in touches {
            charts.insert(chart, self.touch(&chart, opens, ahead).await);
        }
        let session = jobs.first().and_then(|job| job.session);
        let bench = Bench {
            db: self.ground.db.clone(),
            index: self.index.clone(),
            chain: self.ground.ledger.chain().to_owned(),
            custodian: self.ground.org,
            key,
            now: self.ground.now(),
            charts,
        };
        // Off the runtime: large records take a while, and every entry is signed. A panic in there answers the callers by
        // dropping their channels.
        let done = tokio::task::spawn_blocking(move || bench.work(jobs)).await.ok()?;
        if done.items.is_empty() {
            // Submissions without an act do nothing, and succeed.
            done.parts.into_iter().for_each(|part| part.job.answer(Ok(Vec::new())));
            return None;
        }
        self.anchor(done, session)
    }

    /// Reads a chart's keys, head and map. A map that is not what the ledger holds is not built upon.
    async fn touch(&self, chart: &RecordId, opens: bool, ahead: &Ahead) -> Result<Touched, WriteError> {
        let keys = match self.charts.keys(chart) {
            Err(WriteError::NotFound) if opens => {
                let opening = self.charts.fresh(*chart);
                let keys = self.charts.keys_of(&opening)?;
                return Ok(Touched { keys, head: None, map: RecordMap::new(), opening: Some(opening), moved: false });
            }
            other => other?,
        };
        if let Some((head, map)) = ahead.get(&keys.chart.handle) {
            let (head, map) = (Some(head.clone()), map.clone());
            return Ok(Touched { keys, head, map, opening: None, moved: false });
        }
        let head = View(&*self.ground.ledger).head(&self.ground.org, &keys.chart.handle).await?;
        let map = self.directory.own_map(&keys.chart.handle)?;
        let whole = match &head {
            Some(head) => head.root == map.root(),
            None => map.is_empty(),
        };
        if !whole {
            return Err(DirectoryFault::NotTheHead.into());
        }
        Ok(Touched { keys, head, map, opening: None, moved: false })
    }

    fn anchor(&mut self, done: Done, session: Option<SessionId>) -> Option<Group> {
        let Done { items, blobs, parts, once, charts } = done;
        let (mut maps, mut moves, mut opened) = (Vec::new(), Vec::new(), Vec::new());
        for chart in charts.into_values().flatten().filter(|chart| chart.moved) {
            let handle = chart.keys.chart.handle;
            let seq = chart.head.as_ref().map_or(Count(1), |head| head.seq.next());
            let old = chart.head.map(|head| head.root);
            moves.push(HeadMove { handle, seq, old, new: chart.map.root() });
            maps.push((handle, chart.map));
            opened.extend(chart.opening);
        }
        moves.sort_by_key(|m| m.handle);
        let leaves = items.iter().map(|item| item.row.commitment).collect();
        let heads = moves.clone();
        let make = |nonce, expires| Tx::from(Anchor { nonce, expires, leaves, heads, session });
        let signed = self.ground.signer().sign(ORG_KEY, make);
        let lying = Lying { tx: String::new(), moves, items, opened, once };
        self.number += 1;
        let mut group = Group { number: self.number, lying, blobs, maps, parts, submitted: false, mark: None };
        match signed {
            Ok(tx) => {
                group.lying.tx = tx;
                Some(group)
            }
            Err(e) => {
                group.refuse(&WriteError::Unavailable(e.to_string()));
                None
            }
        }
    }
}

impl Bench {
    fn work(mut self, jobs: Vec<Job>) -> Done {
        let mut done = Done::default();
        for job in jobs {
            match self.judge(&job) {
                Ok(Verdict::Go(previous)) => self.seal_all(job, previous, &mut done),
                Ok(Verdict::Done(written)) => job.answer(Ok(written)),
                Err(e) => job.answer(Err(e)),
            }
        }
        done.charts = self.charts;
        done
    }

    fn judge(&self, job: &Job) -> Result<Verdict, crate::records::SubmitError> {
        judge(&self.db, &self.index, job, |chart| match self.charts.get(chart) {
            Some(Ok(touched)) => Ok(&touched.map),
            Some(Err(e)) => Err(e.clone()),
            None => Err(WriteError::NotFound),
        })
    }

    fn seal_all(&mut self, job: Job, previous: Vec<Option<RecordRow>>, done: &mut Done) {
        let first = done.items.len();
        for (draft, previous) in job.drafts.iter().zip(previous) {
            let Some(Ok(chart)) = self.charts.get(&draft.chart) else { continue };
            let (pending, leaf, blob) = self.seal(&job, draft, previous.as_ref(), &chart.keys);
            if let Some(Ok(chart)) = self.charts.get_mut(&draft.chart) {
                chart.map.insert(leaf);
                chart.moved = true;
            }
            done.items.push(pending);
            done.blobs.push(blob);
        }
        if let Some(once) = &job.once {
            let written = done.items[first..].iter().map(|item| (item.row.id, item.row.version.0)).collect();
            done.once.push(Kept::new(once, self.now, written, job.note.clone()));
        }
        done.parts.push(Part { job, first });
    }

    fn seal(
        &self,
        job: &Job,
        draft: &Draft,
        previous: Option<&RecordRow>,
        chart: &ChartKeys,
    ) -> (Pending, vouchsafe_types::merkle::MapLeaf, Sealed) {
        let data = DataKey::generate();
        let version = previous.map_or(Count(1), |row| row.version.next());
        let before = previous.map(|row| row.commitment);
        let tombstone = matches!(draft.kind, ActKind::Delete { .. });
        let aad = Aad {
            chain: &self.chain,
            custodian: self.custodian,
            handle: chart.chart.handle,
            record: draft.id,
            resource_type: &draft.resource_type,
            version: version.0,
        };
        let sealed = record::seal(&data, &aad, before, &draft.sealed_form);
        let (category, date) = admitted_by(draft, previous);
        // Two versions never carry one time, though the clock may stand.
        let last_updated = previous.map_or(self.now, |row| self.now.max(row.last_updated.plus(1)));
        let header = Header { resource_type: draft.resource_type.clone(), category, date, last_updated };
        let header = serde_json::to_vec(&header).expect("a header is plain data");
        let meta = record::seal_meta(&data, &Aad { resource_type: Header::TYPE, ..aad }, &header);
        let entry = DirectoryEntry {
            custodian: self.custodian,
            handle: chart.chart.handle,
            record: draft.id,
            version,
            commitment: sealed.commitment,
            previous: before,
            cid: sealed.blob.cid().to_string(),
            suite: DirectoryEntry::SUITE,
            meta: b64::encode(meta),
            patient_wrap: chart.patient.as_ref().map(|key| key.wrap(&data)),
            tombstone,
        };
        let jws = jws::sign_statement(&*self.key, &self.chain, DirectoryEntry::TYP, &entry);
        let leaf = entry.leaf();
        let row = RecordRow {
            id: draft.id,
            version,
            resource_type: draft.resource_type.clone(),
            chart: chart.chart.id,
            handle: chart.chart.handle,
            last_updated,
            commitment: sealed.commitment,
            previous: before,
            plaintext_hash: sealed.plaintext_hash,
            cid: entry.cid,
            category,
            date,
            by: Actor::clone(&job.by),
            session: job.session,
            height: Count(0),
            tombstone,
            custody_wrap: chart.custody.wrap(&data),
        };
        (Pending { row, jws, facts: draft.found_by.clone() }, leaf, sealed.blob)
    }
}

/// The category and the date of a version. A deletion stays in the category and at the date of what was deleted, so that it
/// is told to whom that was shown.
fn admitted_by(draft: &Draft, previous: Option<&RecordRow>) -> (Category, Option<DateRange>) {
    let before = || previous.map(|row| (row.category(), row.date()));
    draft.admitted_by.or_else(before).unwrap_or((Category::Other, None))
}
