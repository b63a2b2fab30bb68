//! Does everything in the index agree: rows, documents, catalogs, lists of terms, the charts' maps and the history?

use std::collections::{BTreeMap, BTreeSet};

use vouchsafe_fhir_search::terms;
use vouchsafe_types::{RecordId, merkle::RecordMap};

use super::{
    BLOCKS, CHARTS, Index, OLD, ROWS, TERMS,
    block::{Block, BlockKey},
    catalog::{Catalog, OfType},
    history,
    naming::named,
    terms::{TermList, hash},
};
use crate::records::OpenError;

/// How many faults are told one by one.
const TOLD: usize = 100;

/// What a check of the index found.
#[derive(Debug, Default)]
pub struct IndexCheck {
    /// Charts with records.
    pub charts: usize,
    /// Records, deleted ones among them.
    pub records: usize,
    /// Versions of all records.
    pub versions: usize,
    /// Documents that a search finds.
    pub documents: usize,
    /// How many faults there are.
    pub faults: usize,
    /// The first of them. They name records and charts and tell nothing of what is in them.
    pub told: Vec<String>,
}

impl IndexCheck {
    fn fault(&mut self, what: impl Into<String>) {
        self.faults += 1;
        if self.told.len() < TOLD {
            self.told.push(what.into());
        }
    }

    fn same(&mut self, what: &str, have: usize, want: usize) {
        if have != want {
            self.fault(format!("{what}: {have} where there should be {want}"));
        }
    }
}

/// What lies on the disk, counted.
#[derive(Default)]
struct Seen {
    blocks: usize,
    lists: usize,
}

impl Index {
    /// Compares all of the index with itself and with the maps of the charts. Nothing may be written meanwhile.
    ///
    /// # Errors
    /// When the database cannot be read. What was altered is a fault among those found.
    pub(in crate::records) fn check(
        &self,
        known: &[RecordId],
        map: impl Fn(&RecordId, Option<&Catalog>) -> Result<RecordMap, OpenError>,
    ) -> Result<IndexCheck, OpenError> {
        let mut check = IndexCheck::default();
        let mut seen = Seen::default();
        let charts: BTreeSet<RecordId> =
            self.charts(None, usize::MAX).into_iter().chain(known.iter().copied()).collect();
        for chart in &charts {
            match self.check_chart(&mut check, &mut seen, chart, &map) {
                Err(OpenError::Integrity(what)) => check.fault(format!("chart {chart}: {what}")),
                other => other?,
            }
        }
        let count = |table| -> Result<usize, OpenError> { Ok(self.db().keys(table, &[])?.len()) };
        check.same("blocks", count(BLOCKS)?, seen.blocks);
        check.same("lists of terms", count(TERMS)?, seen.lists);
        let (charts, records, versions) = (check.charts, check.records, check.versions);
        check.same("catalogs", count(CHARTS)?, charts);
        check.same("rows", count(ROWS)?, records);
        check.same("old rows", count(OLD)?, versions - records.min(versions));
        match history::counts(self.db()) {
            Ok(counts) => {
                for (table, count) in counts {
                    check.same(table, count, versions);
                }
            }
            Err(OpenError::Integrity(what)) => check.fault(what),
            Err(e) => return Err(e),
        }
        Ok(check)
    }

    fn check_chart(
        &self,
        check: &mut IndexCheck,
        seen: &mut Seen,
        chart: &RecordId,
        map: impl Fn(&RecordId, Option<&Catalog>) -> Result<RecordMap, OpenError>,
    ) -> Result<(), OpenError> {
        let catalog = self.db().get(CHARTS, &chart.0)?.map(|bytes| Catalog::read(&bytes)).transpose()?;
        let map = map(chart, catalog.as_ref())?;
        let root = catalog.as_ref().map_or_else(|| RecordMap::new().root(), |catalog| catalog.root);
        if root != map.root() {
            check.fault(format!("chart {chart}: the catalog does not stand at the root of the map"));
        }
        let mut documents = BTreeMap::new();
        for of_type in catalog.iter().flat_map(|catalog| &catalog.types) {
            self.check_type(check, seen, chart, of_type, &mut documents)?;
        }
        check.charts += usize::from(catalog.is_some());
        check.documents += documents.len();
        for leaf in map.iter() {
            check.records += 1;
            check.versions += usize::try_from(leaf.version.0).unwrap_or(usize::MAX);
            let id = &leaf.record;
            let lies = documents.remove(id);
            let Some(stored) = self.stored(id)? else {
                check.fault(format!("record {id} has no row"));
                continue;
            };
            let row = &stored.row;
            let same = row.version == leaf.version && row.commitment == leaf.commitment;
            if !same || row.tombstone != leaf.tombstone || row.chart != *chart {
                check.fault(format!("record {id}: its row is not what its chart's map says"));
            }
            let here = lies.map(|(name, number, version)| (name == row.resource_type, number, version));
            let wanted = stored.place.map(|number| (true, number, row.version.0));
            if here != wanted || row.tombstone == wanted.is_some() {
                check.fault(format!("record {id}: its document is not where or what its row says"));
            }
            for version in 1..row.version.0 {
                let old = self.old(id, version)?;
                if old.is_none_or(|old| old.row.version.0 != version || old.place.is_some()) {
                    check.fault(format!("record {id}: version {version} is missing"));
                }
            }
        }
        for id in documents.keys() {
            check.fault(format!("record {id} has a document and is not in its chart's map"));
        }
        Ok(())
    }

    fn check_type<'a>(
        &self,
        check: &mut IndexCheck,
        seen: &mut Seen,
        chart: &RecordId,
        of_type: &'a OfType,
        documents: &mut BTreeMap<RecordId, (&'a str, u32, u64)>,
    ) -> Result<(), OpenError> {
        let type_key = self.type_key(&of_type.name);
        for (at, entry) in of_type.blocks.iter().enumerate() {
            let key = BlockKey { chart: *chart, of_type: type_key, first: entry.first }.bytes();
            let block = self.db().get(BLOCKS, &key)?.map(Block::read).transpose()?;
            let list = self.db().get(TERMS, &key)?.map(|bytes| TermList::read(&bytes)).transpose()?;
            seen.blocks += usize::from(block.is_some());
            seen.lists += usize::from(list.is_some());
            let (Some(block), Some(list)) = (block, list) else {
                check.fault(format!("chart {chart}: a block or its list of terms is missing"));
                continue;
            };
            if block.turn != entry.turn || list.turn != entry.turn || block.lies.len() != entry.count as usize {
                check.fault(format!("chart {chart}: a block or its list of terms is not the newest"));
            }
            let end = of_type.blocks.get(at + 1).map_or(of_type.next, |next| next.first);
            for lies in &block.lies {
                let known = list.hashes.as_ref().is_none_or(|hashes| {
                    terms(block.facts(lies)).iter().all(|term| hashes.binary_search(&hash(&term.0)).is_ok())
                });
                if !known || lies.number < entry.first || lies.number >= end {
                    check.fault(format!("record {}: its document is not filed where it lies", lies.record));
                }
                for patient in named(*chart, block.facts(lies)) {
                    if !self.naming(&patient)?.contains(chart) {
                        check.fault(format!("record {}: a search by a patient whom it names misses it", lies.record));
                    }
                }
                if documents.insert(lies.record, (&of_type.name, lies.number, lies.version)).is_some() {
                    check.fault(format!("record {} has two documents", lies.record));
                }
            }
        }
        Ok(())
    }
}
