//! An index in a database of its own, and what it should be.

use std::{
    collections::{BTreeMap, BTreeSet},
    ops::ControlFlow,
    path::Path,
    sync::Arc,
    time::{Duration, Instant},
};

use serde_json::{Value, json};
use vouchsafe_fhir_search::{Facts, Need, Universe, extract, terms};
use vouchsafe_types::{
    Count, Handle, Hash32, RecordId, TimeMs,
    merkle::{MapLeaf, RecordMap},
    state::HeadMove,
};

use super::super::{Catalog, Document, Index, IndexCheck, Scan};
use crate::{
    fhir::category::Category,
    records::{Actor, HistoryCursor, HistoryPart, OpenError, OwnKey, RecordRow, Scope},
    seal::{StoreKey, StoreSeal, WrappedKey},
    store::{Db, WriteBatch},
};

pub(super) fn id(class: u8, n: u32) -> RecordId {
    let mut id = [class; 16];
    // Ids are random; charts differ in their first byte, which is what parts go by.
    id[..4].copy_from_slice(&n.wrapping_mul(0x9e37_79b9).to_be_bytes());
    id[4..8].copy_from_slice(&n.to_be_bytes());
    RecordId(id)
}

/// A record as it should be.
pub(super) struct Is {
    pub(super) row: RecordRow,
    pub(super) facts: Facts,
    /// When its document came, among all.
    pub(super) since: u64,
}

pub(super) struct Bed {
    pub(super) db: Db,
    pub(super) index: Index,
    pub(super) maps: BTreeMap<RecordId, RecordMap>,
    pub(super) roots: BTreeMap<RecordId, Hash32>,
    pub(super) is: BTreeMap<RecordId, Is>,
    /// Every version, as it was committed.
    pub(super) history: Vec<RecordRow>,
    pub(super) height: u64,
    pub(super) documents: u64,
}

/// What is written of one record.
pub(super) struct Act {
    pub(super) id: RecordId,
    pub(super) chart: RecordId,
    pub(super) resource_type: &'static str,
    /// None deletes.
    pub(super) value: Option<Value>,
}

pub(super) fn observation(chart: &RecordId, code: u32, identifiers: usize) -> Value {
    let identifier = |n: usize| json!({ "system": "urn:x", "value": format!("{code}-{n}-{:080}", n) });
    json!({
        "resourceType": "Observation", "status": "final",
        "identifier": (0..identifiers).map(identifier).collect::<Vec<_>>(),
        "code": { "coding": [{ "system": "http://loinc.org", "code": format!("c{code}") }] },
        "subject": { "reference": format!("Patient/{chart}") },
        // Some have to do with the patient of another chart.
        "focus": [{ "reference": format!("Patient/{}", if code % 4 == 3 { id(1, code % 3) } else { *chart }) }],
    })
}

impl Bed {
    pub(super) fn open(home: &Path, key: &StoreKey) -> (Db, Index) {
        let db = Db::open(&home.join("index.redb"), StoreSeal::new(key)).unwrap();
        let index = Index::open(db.clone()).unwrap();
        (db, index)
    }

    pub(super) fn new(home: &Path, key: &StoreKey) -> Self {
        let (db, index) = Self::open(home, key);
        Self {
            db,
            index,
            maps: BTreeMap::new(),
            roots: BTreeMap::new(),
            is: BTreeMap::new(),
            history: Vec::new(),
            height: 0,
            documents: 0,
        }
    }

    pub(super) fn row(&self, act: &Act) -> RecordRow {
        let before = self.is.get(&act.id);
        let version = before.map_or(Count(1), |before| before.row.version.next());
        RecordRow {
            id: act.id,
            version,
            resource_type: act.resource_type.into(),
            chart: act.chart,
            handle: Handle(act.chart.0),
            last_updated: TimeMs(1_000_000 + self.height * 1_000 + self.history.len() as u64),
            commitment: Hash32::of("test", &[&act.id.0, &version.0.to_be_bytes()]),
            previous: before.map(|before| before.row.commitment),
            plaintext_hash: Hash32([7; 32]),
            cid: "bafkreihdwdcefgh4dqkjv67uzcmw7ojee6xedzdetojuzjevtenxquvyku".into(),
            category: Category::Laboratory,
            date: None,
            by: Actor { client: "ehr".into(), account: None, agent: None },
            session: None,
            height: Count(self.height),
            tombstone: act.value.is_none(),
            custody_wrap: WrappedKey::from_bytes([1; 40]),
        }
    }

    /// Writes a group.
    pub(super) async fn group(&mut self, acts: &[Act]) {
        self.height += 1;
        let mut rows = Vec::new();
        for act in acts {
            let row = self.row(act);
            let facts = extract(act.resource_type, act.value.as_ref().unwrap_or(&Value::Null), "http://localhost/fhir");
            let (version, commitment, tombstone) = (row.version, row.commitment, row.tombstone);
            self.maps.entry(act.chart).or_default().insert(MapLeaf { record: act.id, version, commitment, tombstone });
            self.history.push(row.clone());
            let since = match self.is.get(&act.id) {
                Some(known) if !known.row.tombstone => known.since,
                _ => {
                    self.documents += 1;
                    self.documents
                }
            };
            self.is.insert(act.id, Is { row: row.clone(), facts: facts.clone(), since });
            rows.push((row, facts));
        }
        self.commit(&rows).await;
    }

    /// Writes rows that the maps know already; says how long the index's part took, and the database's.
    pub(super) async fn commit(&mut self, rows: &[(RecordRow, Facts)]) -> (Duration, Duration) {
        let documents: Vec<Document<'_>> =
            rows.iter().map(|(row, facts)| Document { row, facts: facts.as_ref() }).collect();
        let charts: BTreeSet<RecordId> = rows.iter().map(|(row, _)| row.chart).collect();
        let mut moves = Vec::with_capacity(charts.len());
        for chart in charts {
            let new = self.maps[&chart].root();
            let old = self.roots.insert(chart, new);
            moves.push(HeadMove { handle: Handle(chart.0), seq: Count(1), old, new });
        }
        let mut batch = WriteBatch::new();
        let begin = Instant::now();
        let filing = self.index.write(&mut batch, &documents, &moves).unwrap();
        let written = begin.elapsed();
        self.db.commit_lazily(batch).await.unwrap();
        let committed = begin.elapsed() - written;
        self.index.filed(filing);
        (begin.elapsed() - committed, committed)
    }

    pub(super) fn catalog(&self, chart: &RecordId) -> Result<Option<Arc<Catalog>>, OpenError> {
        let catalog = self.index.catalog(chart)?;
        assert_eq!(catalog.as_ref().map(|catalog| catalog.root), self.maps.get(chart).map(RecordMap::root));
        Ok(catalog)
    }

    /// What a scan shows: keys, versions and facts.
    pub(super) fn scan(
        &self,
        charts: Option<&[RecordId]>,
        resource_type: &str,
        need: &Need,
        after: Option<&OwnKey>,
        most: usize,
    ) -> Vec<(OwnKey, i64, Facts)> {
        let catalog = |chart: &RecordId| self.catalog(chart);
        let scan = Scan { index: &self.index, charts, catalog: &catalog };
        let mut found = Vec::new();
        scan.scan(resource_type, need, after, &mut |seen| {
            assert_eq!(seen.id, seen.key.record.to_string());
            assert_eq!(seen.resource_type, resource_type);
            found.push((*seen.key, seen.last_updated, Facts::from_bytes(seen.facts.bytes().to_vec())));
            if found.len() < most { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
        })
        .unwrap();
        found
    }

    /// What a scan must show, in order.
    pub(super) fn expected(&self, charts: Option<&[RecordId]>, resource_type: &str) -> Vec<&Is> {
        let mut all: Vec<&Is> = self
            .is
            .values()
            .filter(|is| !is.row.tombstone && is.row.resource_type == resource_type)
            .filter(|is| charts.is_none_or(|charts| charts.contains(&is.row.chart)))
            .collect();
        all.sort_by_key(|is| (is.row.chart, is.since));
        all
    }

    /// Compares scans, with and without a need, and looks at every document by its id.
    pub(super) fn compare(&self, charts: Option<&[RecordId]>, resource_type: &str) {
        let expected = self.expected(charts, resource_type);
        let found = self.scan(charts, resource_type, &[], None, usize::MAX);
        assert_eq!(found.len(), expected.len());
        for ((key, at, facts), is) in found.iter().zip(&expected) {
            assert_eq!((key.record, key.chart), (is.row.id, is.row.chart));
            assert_eq!(u64::try_from(*at).unwrap(), is.row.last_updated.0);
            assert!(*facts == is.facts);
        }
        assert!(found.windows(2).all(|pair| pair[0].0 < pair[1].0), "ascending, none twice");
        // Page by page it is the same.
        let (mut after, mut paged) = (None, Vec::new());
        loop {
            let page = self.scan(charts, resource_type, &[], after.as_ref(), 7);
            paged.extend(page.iter().map(|(key, ..)| *key));
            match page.last() {
                Some((key, ..)) if page.len() == 7 => after = Some(OwnKey::from_bytes(&key.to_bytes())),
                _ => break,
            }
        }
        assert!(paged.iter().eq(found.iter().map(|(key, ..)| key)));
        // What has a term is found by it, whatever else is.
        for is in expected.iter().step_by(expected.len() / 8 + 1) {
            for term in terms(is.facts.as_ref()) {
                let need = [vec![term.clone()]];
                let narrowed = self.scan(charts, resource_type, &need, None, usize::MAX);
                let having: Vec<RecordId> = expected
                    .iter()
                    .filter(|other| terms(other.facts.as_ref()).contains(&term))
                    .map(|other| other.row.id)
                    .collect();
                let shown: Vec<RecordId> = narrowed.iter().map(|(key, ..)| key.record).collect();
                assert!(having.iter().all(|id| shown.contains(id)), "a document that has the term was left out");
                assert!(narrowed.len() <= found.len());
            }
        }
        let catalog = |chart: &RecordId| self.catalog(chart);
        let scan = Scan { index: &self.index, charts, catalog: &catalog };
        for is in self.is.values() {
            let mut shown = 0;
            scan.get(resource_type, &is.row.id.to_string(), &mut |seen| {
                shown += 1;
                assert!(seen.key.record == is.row.id && seen.facts == is.facts.as_ref());
            })
            .unwrap();
            assert_eq!(shown == 1, expected.iter().any(|other| other.row.id == is.row.id));
        }
    }

    /// The index's own check, against the maps as they should be.
    pub(super) fn check(&self) -> IndexCheck {
        self.index.check(&[], |chart, _| Ok(self.maps.get(chart).cloned().unwrap_or_default())).unwrap()
    }

    /// Reads a history by pages.
    pub(super) fn read_history(&self, scope: &Scope, since: Option<TimeMs>, count: usize) -> Vec<RecordRow> {
        let (mut rows, mut before): (Vec<RecordRow>, Option<HistoryCursor>) = (Vec::new(), None);
        loop {
            let page = self.index.history(scope, &HistoryPart { since, before, count }).unwrap();
            assert!(page.rows.len() == count || page.next.is_none());
            rows.extend(page.rows);
            match page.next {
                Some(next) => before = Some(HistoryCursor::from_bytes(next.to_bytes())),
                None => return rows,
            }
        }
    }

    /// Compares every kind of history.
    pub(super) fn compare_history(&self, count: usize) {
        let compare = |scope: Scope, has: &dyn Fn(&RecordRow) -> bool| {
            let expected: Vec<&RecordRow> = self.history.iter().rev().filter(|row| has(row)).collect();
            assert!(self.read_history(&scope, None, count).iter().eq(expected.iter().copied()), "{scope:?}");
            let since = self.history[self.history.len() / 2].last_updated;
            let expected = expected.into_iter().filter(|row| row.last_updated >= since);
            assert!(self.read_history(&scope, Some(since), count).iter().eq(expected), "{scope:?} since");
        };
        compare(Scope::All, &|_| true);
        for chart in self.maps.keys() {
            compare(Scope::Chart(*chart), &|row| row.chart == *chart);
        }
        for name in ["Observation", "Condition", "Patient"] {
            compare(Scope::Type(name.into()), &|row| row.resource_type == name);
        }
        for id in self.is.keys().step_by(self.is.len() / 5 + 1) {
            compare(Scope::Record(*id), &|row| row.id == *id);
        }
    }
}
