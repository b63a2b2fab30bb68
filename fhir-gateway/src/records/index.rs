//! The persistent index of own records: rows, and what they are found by.

use vouchsafe_types::RecordId;

use super::{OpenError, RecordRow};
use crate::store::{Db, Table, WriteBatch, from_json};

/// record ‖ version → `RecordRow`.
const ROWS: Table = "rows";
/// record → its latest version.
const LATEST: Table = "rows-latest";
/// chart ‖ blinded type ‖ record → nothing.
const BY_CHART: Table = "rows-by-chart";
/// blinded type ‖ record → nothing.
const BY_TYPE: Table = "rows-by-type";

/// The index.
#[derive(Clone)]
pub(super) struct Index {
    db: Db,
}

fn row_key(id: &RecordId, version: u64) -> Vec<u8> {
    [id.0.as_slice(), &version.to_be_bytes()].concat()
}

impl Index {
    pub(super) const fn new(db: Db) -> Self {
        Self { db }
    }

    /// A type's name would tell what kinds of records somebody has.
    fn blind_type(&self, resource_type: &str) -> [u8; 16] {
        let mut short = [0; 16];
        short.copy_from_slice(&self.db.blind(BY_TYPE, resource_type.as_bytes())[..16]);
        short
    }

    /// Adds a version, which becomes its record's latest, to a batch.
    pub(super) fn write(&self, batch: &mut WriteBatch, row: &RecordRow) {
        let of_type = self.blind_type(&row.resource_type);
        batch.put_json(ROWS, row_key(&row.id, row.version.0), row);
        batch.put(LATEST, row.id.0, row.version.0.to_be_bytes());
        batch.put(BY_CHART, [row.chart.0.as_slice(), &of_type, &row.id.0].concat(), []);
        batch.put(BY_TYPE, [of_type.as_slice(), &row.id.0].concat(), []);
    }

    pub(super) fn latest_version(&self, id: &RecordId) -> Result<Option<u64>, OpenError> {
        let Some(bytes) = self.db.get(LATEST, &id.0)? else { return Ok(None) };
        let bytes =
            bytes.as_slice().try_into().map_err(|_| OpenError::Integrity("a version is not a number".into()))?;
        Ok(Some(u64::from_be_bytes(bytes)))
    }

    pub(super) fn row(&self, id: &RecordId, version: u64) -> Result<Option<RecordRow>, OpenError> {
        Ok(self.db.get_json(ROWS, &row_key(id, version))?)
    }

    pub(super) fn latest(&self, id: &RecordId) -> Result<Option<RecordRow>, OpenError> {
        let Some(version) = self.latest_version(id)? else { return Ok(None) };
        let row = self.row(id, version)?;
        row.map(Some).ok_or_else(|| OpenError::Integrity("the index names a version that is not there".into()))
    }

    /// Every version, the oldest first.
    pub(super) fn versions(&self, id: &RecordId) -> Result<Vec<RecordRow>, OpenError> {
        let rows = self.db.scan_prefix(ROWS, &id.0)?;
        Ok(rows.iter().map(|(_, value)| from_json(ROWS, value)).collect::<Result<_, _>>()?)
    }

    pub(super) fn of_chart(&self, chart: &RecordId, resource_type: Option<&str>) -> Result<Vec<RecordRow>, OpenError> {
        let mut prefix = chart.0.to_vec();
        if let Some(resource_type) = resource_type {
            prefix.extend(self.blind_type(resource_type));
        }
        self.listed(BY_CHART, &prefix)
    }

    pub(super) fn of_type(&self, resource_type: &str) -> Result<Vec<RecordRow>, OpenError> {
        self.listed(BY_TYPE, &self.blind_type(resource_type))
    }

    fn listed(&self, table: Table, prefix: &[u8]) -> Result<Vec<RecordRow>, OpenError> {
        let mut rows = Vec::new();
        for key in self.db.keys(table, prefix)? {
            let Some(id) = key.last_chunk::<16>() else { continue };
            let row = self.latest(&RecordId(*id))?;
            rows.push(row.ok_or_else(|| OpenError::Integrity("the index lists a record that is not there".into()))?);
        }
        Ok(rows)
    }
}
