//! The own records as a search sees them.

use std::ops::ControlFlow;

use serde::{Deserialize, Serialize};
use vouchsafe_fhir_search::{Need, Seen, Universe};
use vouchsafe_types::RecordId;

use super::{OpenError, Records, index::Scan};

/// Where a document of an own record is: by chart, then in the order of writing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct OwnKey {
    /// The chart.
    pub chart: RecordId,
    /// Its number among those of its type in the chart; it stays while the record is not deleted.
    pub(in crate::records) number: u32,
    /// The record.
    pub record: RecordId,
}

impl OwnKey {
    /// The key as bytes, for a link that is sealed: they name a chart.
    pub fn to_bytes(&self) -> [u8; 36] {
        let mut out = [0; 36];
        out[..16].copy_from_slice(&self.chart.0);
        out[16..20].copy_from_slice(&self.number.to_be_bytes());
        out[20..].copy_from_slice(&self.record.0);
        out
    }

    /// Takes the bytes that `to_bytes` gave.
    pub fn from_bytes(bytes: &[u8; 36]) -> Self {
        let part = |from: usize| -> [u8; 16] { std::array::from_fn(|at| bytes[from + at]) };
        let number = u32::from_be_bytes(std::array::from_fn(|at| bytes[16 + at]));
        Self { chart: RecordId(part(0)), number, record: RecordId(part(20)) }
    }
}

/// The latest versions of own records that are not deleted, in some charts or in all.
///
/// In some charts every answer is checked against the charts' maps. A search over all charts checks those whose maps are in
/// memory: to build all others would take seconds, and what it finds is checked when it is opened.
#[derive(Clone)]
pub struct OwnUniverse {
    pub(super) records: Records,
    pub(super) charts: Option<Vec<RecordId>>,
}

impl OwnUniverse {
    fn look<T>(&self, look: impl FnOnce(&Scan<'_>) -> T) -> T {
        let catalog = |chart: &RecordId| self.records.catalog(chart, self.charts.is_some());
        look(&Scan { index: self.records.index(), charts: self.charts.as_deref(), catalog: &catalog })
    }
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
        self.look(|scan| scan.scan(resource_type, need, after, each))
    }

    fn get(&self, resource_type: &str, id: &str, each: &mut dyn FnMut(Seen<'_, OwnKey>)) -> Result<(), OpenError> {
        self.look(|scan| scan.get(resource_type, id, each))
    }
}
