//! The index of a session: built from what custodians hand over, in memory, and brought up to the ledger's heads whenever
//! it is used.
//!
//! Before a record may appear in a search its version must be the latest under the ledger's head, its blob must open
//! under the handed key, and the anchored commitment, recomputed, must be over all of it. Once that was so, a look at the
//! chart's head is enough: a head that stayed proves that nothing of the chart changed.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use bytes::Bytes;
use cid::Cid;
use futures::{FutureExt, StreamExt, future::join_all, stream};
use serde_json::Value;
use vouchsafe_types::{AccountId, Handle, Hash32, RecordId};

use super::{
    Live,
    evidence::{self, Shown},
    foreign::{Dress, NotShown, local_id, local_patient, open_row},
    live::HeldRow,
    manifest::ManifestRow,
    universe::{Doc, ForeignKey, Snapshot},
};
use crate::{
    blobs::parse_cid,
    fhir::{
        category::{Tier, categorize},
        compartment::{Reference, ResourceClass, class_of, class_of_resource, patient_of},
        date::clinical_date,
    },
    gateway::Gateway,
    peers,
    policy::session::machinery,
};

/// How many records are fetched and indexed as one piece of work, and how many pieces are under way.
const PIECE: usize = 256;
const PIECES: usize = 3;

/// How long is waited for the key of a version that was just anchored, before the record is left out.
const NEWER: Duration = Duration::from_millis(250);

/// So soon nobody is asked again for what could not be had.
const AGAIN: Duration = Duration::from_secs(2);

type Place = (AccountId, RecordId);
type Charts = BTreeMap<(AccountId, Handle), Result<Arc<Shown>, NotShown>>;

/// What a session knows of its records.
#[derive(Default)]
pub(super) struct Index {
    /// Held by whoever brings it up to date.
    building: tokio::sync::Mutex<()>,
    known: Mutex<Known>,
}

#[derive(Default)]
struct Known {
    /// Up to what was handed over.
    generation: u64,
    /// The id by which documents name the patient, when a chart here is linked.
    linked: Option<String>,
    charts: Charts,
    docs: BTreeMap<Place, Arc<Doc>>,
    snapshot: Arc<Snapshot>,
    /// When it was last tried to get what could not be had.
    tried: Option<Instant>,
    /// Newer versions whose keys were waited for in vain.
    awaited: BTreeMap<Place, u64>,
}

impl Index {
    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Forgets everything.
    pub(super) fn clear(&self) {
        let gone = std::mem::take(&mut *self.known());
        drop(gone);
    }

    /// Keeps what was built, unless the session ended meanwhile: then nothing of it is kept or given to anybody.
    fn keep(&self, live: &Live, built: Known) -> Arc<Snapshot> {
        let mut known = self.known();
        // Judged under the lock by which an ending clears the index, so that either sees the other.
        if live.is_over() {
            return Arc::default();
        }
        *known = built;
        Arc::clone(&known.snapshot)
    }

    /// How many documents it holds.
    pub(super) fn documents(&self) -> usize {
        self.known().docs.len()
    }
}

/// Begins to index what was handed over, so that the first search finds it done.
pub(super) fn begin(gw: &Arc<Gateway>, live: &Arc<Live>) {
    if live.is_idle((gw.clock)()) {
        return;
    }
    let (gw, live) = (Arc::clone(gw), Arc::clone(live));
    tokio::spawn(async move { drop(current(&gw, &live).await) });
}

/// What is known of all records that were handed over, verified against the ledger's heads of this moment.
pub(super) async fn current(gw: &Arc<Gateway>, live: &Arc<Live>) -> Arc<Snapshot> {
    let _building = live.index.building.lock().await;
    if let Some(same) = unchanged(gw, live).await {
        return same;
    }
    let (mut generation, mut rows) = live.rows();
    let mut charts = charts_now(gw, live, &rows).await;
    let behind = behind(live, &rows, &charts);
    if !behind.is_empty() {
        live.more(generation, NEWER).await;
        (generation, rows) = live.rows();
        charts = charts_now(gw, live, &rows).await;
        live.index.known().awaited.extend(behind);
    }
    build(gw, live, generation, rows, charts).await
}

/// The last snapshot, if nothing came since, no head moved, and nothing is worth another try.
async fn unchanged(gw: &Gateway, live: &Live) -> Option<Arc<Snapshot>> {
    let (snapshot, roots) = {
        let known = live.index.known();
        let again = known.snapshot.spoiled() > 0 && known.tried.is_none_or(|at| at.elapsed() >= AGAIN);
        if known.generation != live.generation() || known.linked != linked(gw, live) || again {
            return None;
        }
        // A chart that could not be looked at shows nothing, and is worth another try by the rule above.
        let roots: Vec<_> =
            known.charts.iter().filter_map(|(chart, shown)| Some((*chart, shown.as_ref().ok()?.root))).collect();
        (Arc::clone(&known.snapshot), roots)
    };
    for ((custodian, handle), root) in roots {
        if evidence::root(gw, &custodian, &handle).await != Ok(root) {
            return None;
        }
    }
    Some(snapshot)
}

/// The chart here that is linked to the patient.
fn linked(gw: &Gateway, live: &Live) -> Option<String> {
    gw.charts.by_account(&live.patient).first().map(|chart| chart.id.to_string())
}

/// What the ledger's heads say of the rows, chart by chart; what a head that has not moved said before is not asked again.
async fn charts_now(gw: &Gateway, live: &Live, rows: &[HeldRow]) -> Charts {
    let mut records: BTreeMap<(AccountId, Handle), Vec<RecordId>> = BTreeMap::new();
    for (custodian, row) in rows {
        records.entry((*custodian, row.handle)).or_default().push(row.record);
    }
    let before: BTreeMap<_, _> = {
        let known = live.index.known();
        known.charts.iter().filter_map(|(chart, shown)| Some((*chart, Arc::clone(shown.as_ref().ok()?)))).collect()
    };
    let jobs = records.into_iter().map(|((custodian, handle), records)| {
        let before = before.get(&(custodian, handle)).cloned();
        async move {
            let shown = match before {
                Some(shown)
                    if records.iter().all(|record| shown.leaves.contains_key(record))
                        && evidence::root(gw, &custodian, &handle).await == Ok(shown.root) =>
                {
                    Ok(shown)
                }
                _ => evidence::shown(gw, custodian, handle, &records).await.map(Arc::new),
            };
            ((custodian, handle), shown)
        }
        .boxed()
    });
    join_all(jobs).await.into_iter().collect()
}

/// The commitment of a row's version, when the ledger's head says that it is its record's latest.
fn anchored(charts: &Charts, custodian: AccountId, row: &ManifestRow) -> Result<Hash32, NotShown> {
    let shown = match charts.get(&(custodian, row.handle)) {
        Some(Ok(shown)) => shown,
        Some(Err(fault)) => return Err(fault.clone()),
        None => return Err(NotShown::Later("the chart was not looked at".to_owned())),
    };
    let Some(leaf) = shown.leaves.get(&row.record) else {
        return Err(NotShown::Integrity("the ledger's head knows no such record".to_owned()));
    };
    if leaf.tombstone {
        return Err(NotShown::Deleted);
    }
    match leaf.version.cmp(&row.version) {
        std::cmp::Ordering::Equal => Ok(leaf.commitment),
        // An old version is not shown in place of the new.
        std::cmp::Ordering::Greater => Err(NotShown::Superseded),
        std::cmp::Ordering::Less => Err(NotShown::Later("the ledger does not have this version yet".to_owned())),
    }
}

/// The rows that a newer version took the place of, whose keys are perhaps under way.
fn behind(live: &Live, rows: &[HeldRow], charts: &Charts) -> Vec<(Place, u64)> {
    let known = live.index.known();
    let newer = |(custodian, row): &HeldRow| {
        let leaf = charts.get(&(*custodian, row.handle))?.as_ref().ok()?.leaves.get(&row.record)?;
        let place = (*custodian, row.record);
        let waits = leaf.version > row.version && !leaf.tombstone;
        (waits && known.awaited.get(&place) != Some(&leaf.version.0)).then_some((place, leaf.version.0))
    };
    rows.iter().filter_map(newer).collect()
}

/// Indexes what is new and makes a snapshot of everything.
async fn build(
    gw: &Arc<Gateway>,
    live: &Arc<Live>,
    generation: u64,
    rows: Vec<HeldRow>,
    charts: Charts,
) -> Arc<Snapshot> {
    let linked = linked(gw, live);
    let mut docs: BTreeMap<Place, Arc<Doc>> = BTreeMap::new();
    let mut faults: BTreeMap<Place, NotShown> = BTreeMap::new();
    let mut todo: BTreeMap<AccountId, Vec<Wanted>> = BTreeMap::new();
    {
        let known = live.index.known();
        let same_name = known.linked == linked;
        for (custodian, row) in rows {
            let place = (custodian, row.record);
            let judged = anchored(&charts, custodian, &row).and_then(|commitment| {
                let cid = parse_cid(&row.cid).map_err(|e| NotShown::Integrity(e.to_string()))?;
                Ok((commitment, cid))
            });
            match judged {
                Ok((commitment, cid)) => match known.docs.get(&place) {
                    Some(doc) if same_name && doc.row.version == row.version && doc.commitment == commitment => {
                        docs.insert(place, Arc::clone(doc));
                    }
                    _ => todo.entry(custodian).or_default().push(Wanted { row, commitment, cid }),
                },
                Err(fault) => {
                    if fault == NotShown::Deleted {
                        live.forget_key(&custodian, &row.record);
                    }
                    faults.insert(place, fault);
                }
            }
        }
    }
    for (place, result) in index_all(gw, live, linked.as_deref(), todo).await {
        match result {
            Ok(doc) => drop(docs.insert(place, Arc::new(doc))),
            Err(fault) => {
                if let NotShown::Integrity(why) = &fault {
                    tracing::error!(custodian = %place.0, why, "a foreign record is not what was anchored and is not shown");
                }
                faults.insert(place, fault);
            }
        }
    }
    let snapshot = Arc::new(Snapshot::new(docs.values().cloned(), faults));
    let awaited = std::mem::take(&mut live.index.known().awaited);
    let tried = Some(Instant::now());
    live.index.keep(live, Known { generation, linked, charts, docs, snapshot, tried, awaited })
}

/// A record that is to be opened for the index.
struct Wanted {
    row: Arc<ManifestRow>,
    commitment: Hash32,
    cid: Cid,
}

type Indexed = Vec<(Place, Result<Doc, NotShown>)>;

/// Fetches, opens and indexes, some pieces at the same time: while one waits for its blobs, another is opened.
async fn index_all(
    gw: &Arc<Gateway>,
    live: &Arc<Live>,
    linked: Option<&str>,
    todo: BTreeMap<AccountId, Vec<Wanted>>,
) -> Indexed {
    let mut pieces = Vec::new();
    for (custodian, mut wanted) in todo {
        while !wanted.is_empty() {
            let rest = wanted.split_off(wanted.len().min(PIECE));
            let work =
                Work { gw: Arc::clone(gw), live: Arc::clone(live), linked: linked.map(str::to_owned), custodian };
            pieces.push(work.index(wanted).boxed());
            wanted = rest;
        }
    }
    stream::iter(pieces).buffer_unordered(PIECES).concat().await
}

/// What indexing a piece needs, wherever it runs.
#[derive(Clone)]
struct Work {
    gw: Arc<Gateway>,
    live: Arc<Live>,
    linked: Option<String>,
    custodian: AccountId,
}

impl Work {
    async fn index(self, mut wanted: Vec<Wanted>) -> Indexed {
        let mut out = Vec::new();
        while !wanted.is_empty() {
            if self.live.is_over() {
                return out;
            }
            let cids: Vec<Cid> = wanted.iter().map(|one| one.cid).collect();
            let mut came = peers::fetch_some(&self.gw, self.custodian, &cids).await;
            let (here, rest): (Vec<_>, Vec<_>) = wanted.into_iter().partition(|one| came.contains_key(&one.cid));
            wanted = rest;
            let here = here.into_iter().filter_map(|one| came.remove(&one.cid).map(|blob| (one, blob))).collect();
            let here: Vec<(Wanted, Result<Bytes, peers::FetchFault>)> = here;
            let places: Vec<Place> = here.iter().map(|(one, _)| (self.custodian, one.row.record)).collect();
            let work = self.clone();
            match tokio::task::spawn_blocking(move || work.index_blobs(here)).await {
                Ok(indexed) => out.extend(indexed),
                Err(_) => {
                    tracing::error!("foreign records were not indexed, because the work ended in a panic");
                    let fault = || Err(NotShown::Later("it could not be indexed".to_owned()));
                    out.extend(places.into_iter().map(|place| (place, fault())));
                }
            }
        }
        out
    }

    fn index_blobs(&self, blobs: Vec<(Wanted, Result<Bytes, peers::FetchFault>)>) -> Indexed {
        let mut out = Vec::with_capacity(blobs.len());
        for (one, blob) in blobs {
            if self.live.is_over() {
                break;
            }
            let place = (self.custodian, one.row.record);
            out.push((place, blob.map_err(NotShown::from).and_then(|blob| self.doc(&one, &blob))));
        }
        out
    }

    /// Opens a record, verified, and takes from it what it can be found by: as it is served here.
    fn doc(&self, one: &Wanted, blob: &[u8]) -> Result<Doc, NotShown> {
        let Self { gw, live, custodian, .. } = self;
        let row = &one.row;
        let permit = machinery(Some((live.id, live.grant)));
        let plain = open_row(gw, live, &permit, (*custodian, row), &one.commitment, blob)?;
        let mut value: Value =
            serde_json::from_slice(&plain).map_err(|_| NotShown::Integrity("the record is not JSON".to_owned()))?;
        drop(plain);
        let kind = row.resource_type.as_str();
        let patient =
            patient_of(kind, &value).and_then(|p| p.id).or_else(|| (kind == "Patient").then(|| row.record.to_string()));
        let ours = local_patient(gw, self.linked.as_deref(), custodian, patient.as_deref());
        let category = categorize(kind, &value);
        let referred = class_of_resource(kind, &value) != ResourceClass::Patient;
        let admitted = if referred {
            category.tier() != Tier::Sensitive || live.admission.names(category)
        } else {
            live.admission.admits(category, clinical_date(kind, &value), row.last_updated)
        };
        let mut refers = Vec::new();
        organization_references(&value, &mut refers);
        let label = (class_of(kind) != ResourceClass::Organization).then_some(category);
        let id_of = |record: &RecordId| local_id(gw, custodian, record);
        let dress = Dress {
            id_of: &id_of,
            custodian: *custodian,
            row,
            theirs: patient.as_deref(),
            ours: ours.as_deref(),
            label,
        };
        dress.value(&mut value);
        Ok(Doc {
            key: ForeignKey { written: row.last_updated, custodian: *custodian, record: row.record },
            row: Arc::clone(row),
            commitment: one.commitment,
            id: local_id(gw, custodian, &row.record),
            facts: vouchsafe_fhir_search::extract(kind, &value, &gw.fhir_base()),
            category,
            referred,
            admitted,
            patient,
            refers,
        })
    }
}

/// The custodian's records that a resource refers to and that may be the organisation's own.
fn organization_references(value: &Value, out: &mut Vec<RecordId>) {
    match value {
        Value::Array(items) => items.iter().for_each(|item| organization_references(item, out)),
        Value::Object(members) => {
            for (name, member) in members {
                match member {
                    Value::String(text) if name == "reference" => {
                        let reference = Reference::parse(text);
                        let kind = reference.resource_type.as_deref();
                        if reference.is_local() && kind.is_some_and(|k| class_of(k) == ResourceClass::Organization) {
                            out.extend(reference.id.and_then(|id| id.parse::<RecordId>().ok()));
                        }
                    }
                    other => organization_references(other, out),
                }
            }
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sessions::{live::tests::live, universe::tests::doc};

    fn built() -> Known {
        let one = doc(1, "Observation", false, &[]);
        let docs = BTreeMap::from([((one.key.custodian, one.key.record), Arc::clone(&one))]);
        let snapshot = Arc::new(Snapshot::new(std::iter::once(one), BTreeMap::new()));
        Known { docs, snapshot, ..Known::default() }
    }

    #[test]
    fn what_was_built_while_the_session_ended_is_kept_by_nobody() {
        let live = live();
        assert_eq!(live.index.keep(&live, built()).universe(|_| true).len(), 1);
        assert_eq!(live.in_memory(), (0, 1));
        live.close();
        assert_eq!(live.in_memory(), (0, 0));
        assert!(live.index.keep(&live, built()).universe(|_| true).is_empty());
        assert_eq!(live.in_memory(), (0, 0));
    }
}
