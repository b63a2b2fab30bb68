//! The persistent index of own records: their rows, and what they are found by.
//!
//! - `rows`: record → its latest version ([`stored`]); `rows-old`: record ‖ version → those before.
//! - `index-charts`: chart → which blocks it has ([`catalog`]), and the root of the chart's map that this belongs to.
//! - `index-blocks`: chart ‖ blinded type ‖ first number → documents ([`block`]): what a search looks at.
//! - `index-terms`: the same key → which terms the block may hold ([`terms`], [`summary`]).
//! - `index-naming`: blinded chart → the other charts whose records refer to its patient ([`naming`]).
//! - `history`, `history-chart`, `history-type` ([`history`]).
//!
//! All of it is written in the batch that makes the versions visible, so a document is there exactly when its row is. What
//! is on the disk pins itself from above: the map's root pins the catalog, the catalog pins each block. An older block, list
//! or catalog in place of the newest is an integrity fault, and so is one that is missing.

mod block;
mod cache;
mod catalog;
mod change;
mod check;
mod codec;
mod history;
mod naming;
mod scan;
mod stored;
mod summary;
mod terms;
#[cfg(test)]
mod tests;

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::{Arc, Mutex, PoisonError, RwLock},
};

use vouchsafe_fhir_search::FactsRef;
use vouchsafe_types::{RecordId, state::HeadMove};

use super::{HistoryCursor, OpenError, RecordRow};
use crate::store::{Db, StoreError, Table, WriteBatch};
use block::{Block, BlockKey};
use cache::{Cache, Kept, Name};
use change::{Change, Edit};
use history::End;
use stored::Stored;
use summary::{Addition, Summary, part_of};
use terms::{Needed, TermList};

pub(super) use catalog::Catalog;
pub use check::IndexCheck;
pub(super) use scan::Scan;

const ROWS: Table = "rows";
const OLD: Table = "rows-old";
const CHARTS: Table = "index-charts";
const BLOCKS: Table = "index-blocks";
const TERMS: Table = "index-terms";

/// How often something is read again that was written to meanwhile, before it is a fault.
pub(super) const TRIES: u32 = 8;

/// A version that becomes its record's latest, and what it can be found by; nothing of a deletion.
pub(super) struct Document<'a> {
    pub(super) row: &'a RecordRow,
    pub(super) facts: FactsRef<'a>,
}

/// What a batch does to the index, for when it is committed.
#[derive(Default)]
pub(super) struct Filing {
    changes: Vec<(Name, Option<Kept>)>,
    additions: Vec<Addition>,
    charts: Vec<RecordId>,
    end: End,
}

impl Filing {
    fn add_terms(&mut self, name: &str, chart: &RecordId, terms: &TermList) {
        self.additions.push(Addition { name: name.to_owned(), part: part_of(chart), terms: terms.clone() });
    }
}

/// The index. Cheap to clone; there is one for a database.
#[derive(Clone)]
pub(super) struct Index {
    inner: Arc<Inner>,
}

/// The charts that have a catalog: all in their order, and those of each part.
#[derive(Default)]
struct KnownCharts {
    all: BTreeSet<RecordId>,
    of_part: HashMap<u16, Vec<RecordId>>,
}

impl Extend<RecordId> for KnownCharts {
    fn extend<T: IntoIterator<Item = RecordId>>(&mut self, charts: T) {
        for chart in charts {
            if self.all.insert(chart) {
                self.of_part.entry(part_of(&chart)).or_default().push(chart);
            }
        }
    }
}

struct Inner {
    db: Db,
    cache: Cache,
    summary: Summary,
    /// The charts that have a catalog.
    charts: RwLock<KnownCharts>,
    end: Mutex<End>,
}

fn old_key(id: &RecordId, version: u64) -> Vec<u8> {
    [id.0.as_slice(), &version.to_be_bytes()].concat()
}

/// What a group does to one chart.
struct OfChart<'a> {
    /// By type: the edits, and from which number on they are new.
    types: BTreeMap<&'a str, (u32, Vec<Edit<'a>>)>,
    /// Why the chart's part of the index cannot be written to, when it cannot.
    catalog: Result<Catalog, OpenError>,
}

impl Index {
    /// The index in a database. There must be one only, which all share: it knows what it wrote.
    ///
    /// # Errors
    /// When the database cannot be read, or the end of the history was altered.
    pub(super) fn open(db: Db) -> Result<Self, StoreError> {
        let mut charts = KnownCharts::default();
        charts.extend(db.keys(CHARTS, &[])?.iter().filter_map(|key| key.as_slice().try_into().ok().map(RecordId)));
        let end = Mutex::new(End::find(&db)?);
        let inner =
            Inner { db, cache: Cache::default(), summary: Summary::default(), charts: RwLock::new(charts), end };
        Ok(Self { inner: Arc::new(inner) })
    }

    fn db(&self) -> &Db {
        &self.inner.db
    }

    /// A type's name would tell what kinds of records somebody has.
    fn type_key(&self, resource_type: &str) -> [u8; 16] {
        let mut short = [0; 16];
        short.copy_from_slice(&self.db().blind(BLOCKS, resource_type.as_bytes())[..16]);
        short
    }

    /// Opens what will be written to when a version of a record is: what is spoiled is found before the version is anchored,
    /// not after, when it would have to be kept, and what is opened is at hand then.
    ///
    /// # Errors
    /// When what is there cannot be read, or was altered.
    pub(super) fn ready(&self, chart: &RecordId, resource_type: &str, id: &RecordId) -> Result<(), OpenError> {
        let Some(catalog) = self.catalog(chart)? else { return Ok(()) };
        let Some(of_type) = catalog.of_type(resource_type) else { return Ok(()) };
        let lies = self.stored(id)?.and_then(|stored| stored.place).and_then(|number| of_type.holding(number));
        let type_key = self.type_key(resource_type);
        for entry in lies.map(|at| of_type.blocks[at]).iter().chain(of_type.blocks.last()) {
            let key = BlockKey { chart: *chart, of_type: type_key, first: entry.first };
            let spoiled = self.block(&key, entry.turn)?.is_none() || self.terms(&key, entry.turn)?.is_none();
            // A group that is committed at this moment writes another.
            if spoiled && self.db().get(CHARTS, &chart.0)?.is_none_or(|bytes| *bytes == catalog.encode()) {
                return Err(OpenError::Integrity("a block of the index is not the one that was written last".into()));
            }
        }
        Ok(())
    }

    /// Adds the versions of a group, each the latest of its record from then on, to a batch, and what the group makes of
    /// the charts' roots. One group comes after the other: it is committed, and `filed` called, before the next is written.
    ///
    /// A group that comes here is anchored, so it is written even when a chart's catalog or blocks turn out to be spoiled:
    /// these then stay as they are, at a root that is not the map's any more, and every search in the chart says so.
    ///
    /// # Errors
    /// When what is there cannot be read, or was altered.
    pub(super) fn write(
        &self,
        batch: &mut WriteBatch,
        documents: &[Document<'_>],
        moves: &[HeadMove],
    ) -> Result<Filing, OpenError> {
        let mut filing = Filing::default();
        let Some(height) = documents.iter().map(|document| document.row.height.0).max() else {
            filing.end = self.end();
            return Ok(filing);
        };
        self.write_naming(batch, documents)?;
        let before = self.end();
        filing.end = history::write(self, batch, before, height, documents)?;
        let mut charts: BTreeMap<RecordId, OfChart<'_>> = BTreeMap::new();
        for (ordinal, document) in (before.first(height)..).zip(documents) {
            let row = document.row;
            let chart = match charts.entry(row.chart) {
                std::collections::btree_map::Entry::Occupied(known) => known.into_mut(),
                std::collections::btree_map::Entry::Vacant(new) => new.insert(self.chart_of(row, moves)?),
            };
            let place = self.place(batch, chart, document)?;
            let at = HistoryCursor(before.height(height), ordinal);
            batch.put(ROWS, row.id.0, stored::encode(row, at, place));
        }
        for (id, chart) in charts {
            match self.write_chart(id, chart) {
                Ok((changes, of_chart)) => {
                    batch.append(changes);
                    filing.changes.extend(of_chart.changes);
                    filing.additions.extend(of_chart.additions);
                    filing.charts.push(id);
                }
                Err(OpenError::Integrity(what)) => {
                    tracing::error!(chart = %id, "integrity: searches in a chart are closed: {what}");
                }
                Err(e) => return Err(e),
            }
        }
        Ok(filing)
    }

    /// A chart as it is, if it stands at the root that the group moves from.
    fn chart_of(&self, row: &RecordRow, moves: &[HeadMove]) -> Result<OfChart<'static>, OpenError> {
        let moved = moves.iter().find(|m| m.handle == row.handle);
        let catalog = match (self.catalog(&row.chart), moved) {
            (Ok(known), Some(moved)) if known.as_ref().map(|known| known.root) == moved.old => {
                let mut catalog = known.map_or_else(|| Catalog::new(row.handle), |known| Catalog::clone(&known));
                catalog.turn += 1;
                catalog.root = moved.new;
                Ok(catalog)
            }
            (Ok(_), _) => Err(OpenError::Integrity("its catalog is not at the root that a group moves from".into())),
            (Err(OpenError::Integrity(what)), _) => Err(OpenError::Integrity(what)),
            (Err(e), _) => return Err(e),
        };
        Ok(OfChart { types: BTreeMap::new(), catalog })
    }

    /// Says what becomes of a record's document, and where it lies then; keeps the version before, when there is one.
    fn place<'a>(
        &self,
        batch: &mut WriteBatch,
        chart: &mut OfChart<'a>,
        document: &'a Document<'a>,
    ) -> Result<Option<u32>, OpenError> {
        let row = document.row;
        let mut place = None;
        if row.version.0 > 1 {
            let before = self.stored(&row.id)?.filter(|before| before.row.version.next() == row.version);
            let before = before.ok_or_else(|| OpenError::Integrity("a version comes without the one before".into()))?;
            batch.put(OLD, old_key(&row.id, before.row.version.0), stored::encode(&before.row, before.at, None));
            place = before.place;
        }
        let Ok(catalog) = &mut chart.catalog else { return Ok(None) };
        let of_type = catalog.of_type_mut(&row.resource_type);
        let next = of_type.next;
        let (_, edits) = chart.types.entry(&row.resource_type).or_insert_with(|| (next, Vec::new()));
        match (row.tombstone, place) {
            (true, None) => return Ok(None),
            (true, Some(number)) => {
                edits.push(Edit::Remove(number, row.id));
                return Ok(None);
            }
            (false, Some(number)) => edits.push(Edit::Put(number, document)),
            (false, None) => {
                let full = || OpenError::Unavailable("a chart has no numbers left for new records".into());
                of_type.next = next.checked_add(1).ok_or_else(full)?;
                place = Some(next);
                edits.push(Edit::Put(next, document));
            }
        }
        Ok(place)
    }

    fn write_chart(&self, id: RecordId, chart: OfChart<'_>) -> Result<(WriteBatch, Filing), OpenError> {
        let (mut batch, mut filing) = (WriteBatch::new(), Filing::default());
        let mut catalog = chart.catalog?;
        for (name, (new, edits)) in chart.types {
            let change = Change { index: self, chart: id, type_key: self.type_key(name), name, turn: catalog.turn };
            change.apply(catalog.of_type_mut(name), new, edits, &mut batch, &mut filing)?;
        }
        batch.put(CHARTS, id.0, catalog.encode());
        filing.changes.push((Name::Catalog(id), Some(Kept::Catalog(Arc::new(catalog)))));
        Ok((batch, filing))
    }

    /// Takes note that a batch was committed.
    pub(super) fn filed(&self, filing: Filing) {
        let Filing { changes, additions, charts, end } = filing;
        {
            let known = self.inner.charts.read().unwrap_or_else(PoisonError::into_inner);
            let new = charts.iter().any(|chart| !known.all.contains(chart));
            drop(known);
            if new {
                self.inner.charts.write().unwrap_or_else(PoisonError::into_inner).extend(charts);
            }
        }
        self.inner.cache.filed(changes);
        self.inner.summary.filed(additions);
        *self.inner.end.lock().unwrap_or_else(PoisonError::into_inner) = end;
    }

    fn end(&self) -> End {
        *self.inner.end.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Lets go of what was opened and is not used.
    pub(super) fn sweep(&self) {
        self.inner.cache.sweep();
    }
}

/// Rows.
impl Index {
    fn stored(&self, id: &RecordId) -> Result<Option<Stored>, OpenError> {
        self.db().get(ROWS, &id.0)?.map(|bytes| Stored::read(id, &bytes)).transpose()
    }

    fn old(&self, id: &RecordId, version: u64) -> Result<Option<Stored>, OpenError> {
        self.db().get(OLD, &old_key(id, version))?.map(|bytes| Stored::read(id, &bytes)).transpose()
    }

    fn version(&self, id: &RecordId, version: u64) -> Result<Option<Stored>, OpenError> {
        // A version may become an old one between the two looks.
        for _ in 0..TRIES {
            match self.stored(id)? {
                Some(latest) if latest.row.version.0 == version => return Ok(Some(latest)),
                Some(latest) if latest.row.version.0 > version => return self.old(id, version),
                _ => {}
            }
        }
        Ok(None)
    }

    pub(super) fn row(&self, id: &RecordId, version: u64) -> Result<Option<RecordRow>, OpenError> {
        Ok(self.version(id, version)?.map(|stored| stored.row))
    }

    pub(super) fn latest(&self, id: &RecordId) -> Result<Option<RecordRow>, OpenError> {
        Ok(self.stored(id)?.map(|stored| stored.row))
    }

    /// Every version, the oldest first.
    pub(super) fn versions(&self, id: &RecordId) -> Result<Vec<RecordRow>, OpenError> {
        let Some(latest) = self.latest(id)? else { return Ok(Vec::new()) };
        let mut rows = Vec::new();
        for version in 1..latest.version.0 {
            let old = self.old(id, version)?;
            rows.push(old.ok_or_else(|| OpenError::Integrity("a version of this record is missing".into()))?.row);
        }
        rows.push(latest);
        Ok(rows)
    }
}

/// Documents.
impl Index {
    /// A chart's catalog; none when nothing was ever written to the chart.
    pub(super) fn catalog(&self, chart: &RecordId) -> Result<Option<Arc<Catalog>>, OpenError> {
        let name = Name::Catalog(*chart);
        if let Some(Kept::Catalog(catalog)) = self.inner.cache.get(&name) {
            return Ok(Some(catalog));
        }
        let epoch = self.inner.cache.epoch();
        let Some(bytes) = self.db().get(CHARTS, &chart.0)? else { return Ok(None) };
        let catalog = Arc::new(Catalog::read(&bytes)?);
        self.inner.cache.keep(epoch, name, Kept::Catalog(Arc::clone(&catalog)));
        Ok(Some(catalog))
    }

    /// A block, if it is the one that was written in this turn.
    fn block(&self, key: &BlockKey, turn: u64) -> Result<Option<Arc<Block>>, OpenError> {
        let name = Name::Block(*key);
        if let Some(Kept::Block(block)) = self.inner.cache.get(&name)
            && block.turn == turn
        {
            return Ok(Some(block));
        }
        let epoch = self.inner.cache.epoch();
        let Some(bytes) = self.db().get(BLOCKS, &key.bytes())? else { return Ok(None) };
        let block = Arc::new(Block::read(bytes)?);
        if block.turn != turn {
            return Ok(None);
        }
        self.inner.cache.keep(epoch, name, Kept::Block(Arc::clone(&block)));
        Ok(Some(block))
    }

    /// A block's list of terms, if it is the one that was written in this turn.
    fn terms(&self, key: &BlockKey, turn: u64) -> Result<Option<Arc<TermList>>, OpenError> {
        let name = Name::Terms(*key);
        if let Some(Kept::Terms(terms)) = self.inner.cache.get(&name)
            && terms.turn == turn
        {
            return Ok(Some(terms));
        }
        let epoch = self.inner.cache.epoch();
        let Some(bytes) = self.db().get(TERMS, &key.bytes())? else { return Ok(None) };
        let terms = Arc::new(TermList::read(&bytes)?);
        if terms.turn != turn {
            return Ok(None);
        }
        self.inner.cache.keep(epoch, name, Kept::Terms(Arc::clone(&terms)));
        Ok(Some(terms))
    }

    /// The records that a chart's blocks hold, of one type or of all; none when a block is not the one that the catalog
    /// knows.
    pub(super) fn records_of(
        &self,
        chart: &RecordId,
        catalog: &Catalog,
        resource_type: Option<&str>,
    ) -> Result<Option<Vec<RecordId>>, OpenError> {
        let mut ids = Vec::new();
        for of_type in catalog.types.iter().filter(|t| resource_type.is_none_or(|name| name == t.name)) {
            let type_key = self.type_key(&of_type.name);
            for entry in &of_type.blocks {
                let key = BlockKey { chart: *chart, of_type: type_key, first: entry.first };
                let Some(block) = self.block(&key, entry.turn)? else { return Ok(None) };
                ids.extend(block.lies.iter().map(|lies| lies.record));
            }
        }
        Ok(Some(ids))
    }

    /// Forgets a chart's catalog, so that it is read again.
    pub(super) fn forget(&self, chart: &RecordId) {
        self.inner.cache.forget(&Name::Catalog(*chart));
    }

    /// The charts that have documents or had some, from this one on, ascending; so many at most.
    pub(super) fn charts(&self, from: Option<RecordId>, most: usize) -> Vec<RecordId> {
        let charts = self.inner.charts.read().unwrap_or_else(PoisonError::into_inner);
        match from {
            Some(from) => charts.all.range(from..).take(most).copied().collect(),
            None => charts.all.iter().take(most).copied().collect(),
        }
    }

    /// Those of them that fall into some parts.
    fn charts_in(&self, parts: &[bool]) -> Vec<RecordId> {
        let charts = self.inner.charts.read().unwrap_or_else(PoisonError::into_inner);
        let parts = (0..).zip(parts).filter_map(|(part, is)| is.then_some(part));
        parts.filter_map(|part: u16| charts.of_part.get(&part)).flatten().copied().collect()
    }

    fn has_chart(&self, chart: &RecordId) -> bool {
        self.inner.charts.read().unwrap_or_else(PoisonError::into_inner).all.contains(chart)
    }

    /// Which parts of all charts may hold documents of a type that have what is needed.
    fn parts(&self, name: &str, needed: &Needed) -> Result<Vec<bool>, OpenError> {
        self.inner.summary.parts(name, needed, |add| {
            for chart in self.charts(None, usize::MAX) {
                self.lists(&chart)?.into_iter().for_each(&mut *add);
            }
            Ok(())
        })
    }

    /// A chart's lists of terms, all of one moment.
    fn lists(&self, chart: &RecordId) -> Result<Vec<Addition>, OpenError> {
        for _ in 0..TRIES {
            let Some(catalog) = self.db().get(CHARTS, &chart.0)? else { return Ok(Vec::new()) };
            let catalog = Catalog::read(&catalog)?;
            let mut there: BTreeMap<Vec<u8>, TermList> = BTreeMap::new();
            for (key, value) in self.db().scan_prefix(TERMS, &chart.0)? {
                there.insert(key, TermList::read(&value)?);
            }
            let mut lists = Vec::with_capacity(there.len());
            let mut whole = true;
            for of_type in &catalog.types {
                let type_key = self.type_key(&of_type.name);
                for entry in &of_type.blocks {
                    let key = BlockKey { chart: *chart, of_type: type_key, first: entry.first };
                    match there.remove(&key.bytes()).filter(|list| list.turn == entry.turn) {
                        Some(terms) => lists.push(Addition { name: of_type.name.clone(), part: part_of(chart), terms }),
                        None => whole = false,
                    }
                }
            }
            if whole && there.is_empty() {
                return Ok(lists);
            }
        }
        Err(OpenError::Integrity("the lists of terms are not those of the catalog".into()))
    }
}
