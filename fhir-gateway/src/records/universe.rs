//! The own records as a search sees them.

use std::ops::ControlFlow;

use vouchsafe_fhir_search::{Need, Seen, Universe};
use vouchsafe_types::RecordId;

use super::{OpenError, Records};

/// Where a document of an own record is: by chart, then in the order of writing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct OwnKey {
    /// The chart.
    pub chart: RecordId,
    /// Its block among those of its type in the chart.
    pub(super) block: u32,
    /// Its place in the block.
    pub(super) slot: u32,
    /// The record.
    pub record: RecordId,
}

/// The latest versions of own records that are not deleted, in some charts or in all.
#[derive(Clone)]
pub struct OwnUniverse {
    pub(super) records: Records,
    pub(super) charts: Option<Vec<RecordId>>,
}

impl Universe for OwnUniverse {
    type Key = OwnKey;
    type Error = OpenError;

    fn scan(
        &self,
        resource_type: &str,
        need: &Need,
        after: Option<&OwnKey>,
        each: &mut dyn FnMut(Seen<'_, OwnKey>) -> ControlFlow<()>,
    ) -> Result<(), OpenError> {
        let _ = (&self.records, &self.charts, resource_type, need, after, each);
        unimplemented!("written in the next commits")
    }

    fn get(&self, resource_type: &str, id: &str, each: &mut dyn FnMut(Seen<'_, OwnKey>)) -> Result<(), OpenError> {
        let _ = (resource_type, id, each);
        unimplemented!("written in the next commits")
    }
}
