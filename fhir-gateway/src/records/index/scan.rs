//! Documents, in the order of their keys: chart by chart, block by block.

use std::{ops::ControlFlow, sync::Arc};

use vouchsafe_fhir_search::{Need, Seen, Universe};
use vouchsafe_types::RecordId;

use super::{
    Index, Needed, TRIES,
    block::{Block, BlockKey, Lies},
    catalog::Catalog,
    stored::Stored,
};
use crate::records::{OpenError, OwnKey};

/// So many blocks are opened rather than asked first what they may hold.
const FEW: usize = 3;
/// So many charts are listed at once.
const AT_ONCE: usize = 1_024;

/// Gives a chart's catalog.
type LookUp<'a> = dyn Fn(&RecordId) -> Result<Option<Arc<Catalog>>, OpenError> + 'a;

/// The documents of some charts, or of all.
pub(in crate::records) struct Scan<'a> {
    pub(in crate::records) index: &'a Index,
    pub(in crate::records) charts: Option<&'a [RecordId]>,
    /// A chart's catalog, if it stands at the root that the chart's map has.
    pub(in crate::records) catalog: &'a LookUp<'a>,
}

impl Scan<'_> {
    /// Shows a chart's documents of a type, those with a number above `after` only.
    fn scan_chart(
        &self,
        chart: RecordId,
        of_type: &Type<'_>,
        mut after: Option<u32>,
        each: &mut dyn FnMut(Seen<'_, OwnKey>) -> ControlFlow<()>,
    ) -> Result<ControlFlow<()>, OpenError> {
        for _ in 0..TRIES {
            let Some(catalog) = (self.catalog)(&chart)? else { return Ok(ControlFlow::Continue(())) };
            if let Some(flow) = self.walk(chart, &catalog, of_type, &mut after, each)? {
                return Ok(flow);
            }
            // The chart was written to meanwhile. What was shown stays shown: no number changes.
            self.index.forget(&chart);
        }
        Err(OpenError::Integrity("the index's blocks are not those of its catalog".into()))
    }

    /// None when a block is not the one that the catalog knows.
    fn walk(
        &self,
        chart: RecordId,
        catalog: &Catalog,
        of_type: &Type<'_>,
        after: &mut Option<u32>,
        each: &mut dyn FnMut(Seen<'_, OwnKey>) -> ControlFlow<()>,
    ) -> Result<Option<ControlFlow<()>>, OpenError> {
        let Some(found) = catalog.of_type(of_type.name) else { return Ok(Some(ControlFlow::Continue(()))) };
        let from = after.and_then(|after| found.holding(after)).unwrap_or(0);
        let ask = of_type.needed.says_something() && found.blocks.len() > FEW;
        for entry in &found.blocks[from..] {
            let key = BlockKey { chart, of_type: of_type.key, first: entry.first };
            if ask {
                let Some(terms) = self.index.terms(&key, entry.turn)? else { return Ok(None) };
                if !terms.may_hold(of_type.needed) {
                    continue;
                }
            }
            let Some(block) = self.index.block(&key, entry.turn)? else { return Ok(None) };
            let begin = after.map_or(0, |after| block.lies.partition_point(|lies| lies.number <= after));
            for lies in &block.lies[begin..] {
                *after = Some(lies.number);
                let key = OwnKey { chart, number: lies.number, record: lies.record };
                if show(&block, lies, &key, of_type.name, each).is_break() {
                    return Ok(Some(ControlFlow::Break(())));
                }
            }
        }
        Ok(Some(ControlFlow::Continue(())))
    }

    /// The only charts that may hold what is looked for; none when it may be any.
    fn candidates(
        &self,
        resource_type: &str,
        need: &Need,
        needed: &Needed,
    ) -> Result<Option<Vec<RecordId>>, OpenError> {
        if let Some(charts) = self.charts {
            return Ok(Some(charts.to_vec()));
        }
        if let Some(charts) = self.index.only_in(need)? {
            return Ok(Some(charts));
        }
        if !needed.says_something() {
            return Ok(None);
        }
        let parts = self.index.parts(resource_type, needed)?;
        // Charts are listed one after the other, rather than all at once, when the parts leave none of them out.
        Ok(parts.contains(&false).then(|| self.index.charts_in(&parts)))
    }

    /// A record's document, if it lies where its row says.
    fn find(&self, resource_type: &str, id: &RecordId) -> Result<Option<Found>, OpenError> {
        for _ in 0..TRIES {
            let Some(Stored { row, place, .. }) = self.index.stored(id)? else { return Ok(None) };
            if place.is_none() && !row.tombstone {
                return Err(OpenError::Integrity("a record has no place in the index".into()));
            }
            let within = self.charts.is_none_or(|charts| charts.contains(&row.chart));
            let (Some(number), true, true) = (place, within, row.resource_type == resource_type) else {
                return Ok(None);
            };
            let Some(catalog) = (self.catalog)(&row.chart)? else { continue };
            let entry = catalog.of_type(resource_type).and_then(|t| t.holding(number).map(|at| t.blocks[at]));
            if let Some(entry) = entry {
                let key =
                    BlockKey { chart: row.chart, of_type: self.index.type_key(resource_type), first: entry.first };
                if let Some(block) = self.index.block(&key, entry.turn)?
                    && block.numbered(number).is_some_and(|l| l.record == *id && l.version == row.version.0)
                {
                    return Ok(Some(Found { key: OwnKey { chart: row.chart, number, record: *id }, block }));
                }
            }
            self.index.forget(&row.chart);
        }
        Err(OpenError::Integrity("the index has no document of a record where its row says".into()))
    }
}

/// A document in its block.
struct Found {
    key: OwnKey,
    block: Arc<Block>,
}

/// What a scan looks for.
struct Type<'a> {
    name: &'a str,
    key: [u8; 16],
    needed: &'a Needed,
}

fn show(
    block: &Block,
    lies: &Lies,
    key: &OwnKey,
    resource_type: &str,
    each: &mut dyn FnMut(Seen<'_, OwnKey>) -> ControlFlow<()>,
) -> ControlFlow<()> {
    let mut id = [0; 32];
    hex::encode_to_slice(lies.record.0, &mut id).expect("16 bytes are 32 digits");
    let id = std::str::from_utf8(&id).expect("digits are text");
    each(Seen { key, resource_type, id, last_updated: lies.last_updated, facts: block.facts(lies) })
}

impl Universe for Scan<'_> {
    type Key = OwnKey;
    type Error = OpenError;

    fn scan(
        &self,
        resource_type: &str,
        need: &Need,
        after: Option<&OwnKey>,
        each: &mut dyn FnMut(Seen<'_, OwnKey>) -> ControlFlow<()>,
    ) -> Result<(), OpenError> {
        let needed = Needed::of(need);
        let of_type = Type { name: resource_type, key: self.index.type_key(resource_type), needed: &needed };
        let mut one = |chart: RecordId| {
            let after = after.filter(|after| after.chart == chart).map(|after| after.number);
            self.scan_chart(chart, &of_type, after, each)
        };
        let first = after.map(|after| after.chart);
        if let Some(mut charts) = self.candidates(resource_type, need, &needed)? {
            charts.retain(|chart| Some(*chart) >= first);
            charts.sort_unstable();
            charts.dedup();
            for chart in charts {
                if one(chart)?.is_break() {
                    break;
                }
            }
            return Ok(());
        }
        let mut from = first;
        loop {
            let charts = self.index.charts(from, AT_ONCE);
            for chart in &charts {
                if one(*chart)?.is_break() {
                    return Ok(());
                }
            }
            match charts.last().filter(|_| charts.len() == AT_ONCE).and_then(after_chart) {
                Some(next) => from = Some(next),
                None => return Ok(()),
            }
        }
    }

    fn get(&self, resource_type: &str, id: &str, each: &mut dyn FnMut(Seen<'_, OwnKey>)) -> Result<(), OpenError> {
        let Ok(id) = id.parse() else { return Ok(()) };
        if let Some(Found { key, block }) = self.find(resource_type, &id)?
            && let Some(lies) = block.numbered(key.number)
        {
            let _ = show(&block, lies, &key, resource_type, &mut |seen| {
                each(seen);
                ControlFlow::Break(())
            });
        }
        Ok(())
    }
}

/// The least chart above this one.
fn after_chart(chart: &RecordId) -> Option<RecordId> {
    u128::from_be_bytes(chart.0).checked_add(1).map(|next| RecordId(next.to_be_bytes()))
}
