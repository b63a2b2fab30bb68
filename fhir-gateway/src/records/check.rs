//! Whether everything that was written is whole: each against each other, and against the ledger.

use serde::Serialize;
use vouchsafe_types::merkle::MapLeaf;

use super::{Chart, DirectoryEntry, OpenError, RecordRow, Records, own::Inner};
use crate::{
    blobs::{BlobError, parse_cid},
    ledger::View,
};

/// So many faults are told; more are counted.
const TOLD: usize = 1_000;

/// What a check has gone through, and what is wrong. It names records and charts, and nothing of what is in them.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct CheckReport {
    /// Charts, the organisation's own among them.
    pub charts: u64,
    /// Records, deleted ones among them.
    pub records: u64,
    /// Versions of records.
    pub versions: u64,
    /// Blobs in the block store.
    pub blobs: u64,
    /// How many faults there are.
    pub faulty: u64,
    /// The faults, up to a thousand of them, in words.
    pub faults: Vec<String>,
}

impl CheckReport {
    fn fault(&mut self, what: impl Into<String>) {
        self.faulty += 1;
        if self.faults.len() < TOLD {
            self.faults.push(what.into());
        }
    }
}

impl Records {
    /// Goes through everything that was written: heads on the ledger against maps against entries against rows against
    /// blobs, the index against the maps, and whether anything is there that belongs to nothing. `deep` reads every blob and
    /// recomputes its hash and each commitment. Nothing may be written meanwhile.
    ///
    /// # Errors
    /// When the ledger, the block store or the database cannot be read; what is read and is wrong is in the report.
    pub async fn check(&self, deep: bool) -> Result<CheckReport, OpenError> {
        let mut report = CheckReport::default();
        if self.inner.outbox.holds()? {
            report.fault("the outbox is not empty");
        }
        for chart in self.inner.charts.all() {
            report.charts += 1;
            self.check_chart(&chart, deep, &mut report).await?;
        }
        report.blobs = self.inner.ground.blobs.count().await?;
        if report.blobs != report.versions {
            let (blobs, versions) = (report.blobs, report.versions);
            report.fault(format!("the block store holds {blobs} blobs for {versions} versions"));
        }
        let entries = self.inner.directory.count_own()?;
        if entries != report.versions {
            let versions = report.versions;
            report.fault(format!("the directory holds {entries} own entries for {versions} versions"));
        }
        let index = self.check_index()?;
        report.faulty += index.faults as u64;
        let room = TOLD.saturating_sub(report.faults.len());
        report.faults.extend(index.told.into_iter().take(room));
        Ok(report)
    }

    async fn check_chart(&self, chart: &Chart, deep: bool, report: &mut CheckReport) -> Result<(), OpenError> {
        let Inner { ground, charts, directory, .. } = &*self.inner;
        let head = View(&*ground.ledger).head(&ground.org, &chart.handle).await?;
        let map = match directory.built_own(&chart.handle) {
            Ok(map) => map,
            Err(e) => {
                report.fault(format!("chart {}: {e}", chart.id));
                return Ok(());
            }
        };
        let same = head.as_ref().map_or(map.is_empty(), |head| head.root == map.root());
        if !same {
            report.fault(format!("chart {}: its entries do not have the root that the ledger holds", chart.id));
        }
        if chart.id != charts.organization_chart().id && map.get(&chart.id).is_none() {
            report.fault(format!("chart {}: it has no Patient", chart.id));
        }
        for leaf in map.iter() {
            report.records += 1;
            self.check_record(chart, leaf, deep, report).await?;
        }
        Ok(())
    }

    async fn check_record(
        &self,
        chart: &Chart,
        leaf: &MapLeaf,
        deep: bool,
        report: &mut CheckReport,
    ) -> Result<(), OpenError> {
        let record = leaf.record;
        let mut rows = match self.versions(&record) {
            Ok(rows) => rows,
            Err(OpenError::Integrity(what)) => {
                report.fault(format!("record {record}: {what}"));
                return Ok(());
            }
            Err(e) => return Err(e),
        };
        rows.reverse();
        let latest = rows.last().is_some_and(|row| {
            (row.version, row.commitment, row.tombstone) == (leaf.version, leaf.commitment, leaf.tombstone)
        });
        if !latest {
            report.fault(format!("record {record}: its latest version is not what the chart's map says"));
        }
        let mut before = None;
        for (row, number) in rows.iter().zip(1..) {
            report.versions += 1;
            if let Some(fault) = self.fault_of(chart, row, number, before, deep).await? {
                report.fault(format!("record {record}, version {}: {fault}", row.version));
            }
            before = Some(row.commitment);
        }
        Ok(())
    }

    /// What is wrong with one version.
    async fn fault_of(
        &self,
        chart: &Chart,
        row: &RecordRow,
        number: u64,
        before: Option<vouchsafe_types::Hash32>,
        deep: bool,
    ) -> Result<Option<String>, OpenError> {
        let Inner { ground, directory, .. } = &*self.inner;
        if (row.chart, row.handle) != (chart.id, chart.handle) {
            return Ok(Some("it says that it is of another chart".into()));
        }
        if row.version.0 != number || row.previous != before {
            return Ok(Some("the versions do not chain".into()));
        }
        if !self.commits(row)? {
            return Ok(Some("its commitment is not over what the row says".into()));
        }
        let entry = match directory.entry(&ground.org, &row.handle, &row.id, row.version.0) {
            Ok(entry) => entry,
            Err(e) => return Ok(Some(e.to_string())),
        };
        let told = |entry: DirectoryEntry| {
            (entry.commitment, entry.previous, entry.tombstone) == (row.commitment, row.previous, row.tombstone)
                && entry.cid == row.cid
        };
        if !entry.is_some_and(told) {
            return Ok(Some("it has no directory entry that says the same".into()));
        }
        let Ok(cid) = parse_cid(&row.cid) else { return Ok(Some("its blob has no address".into())) };
        let there = if deep {
            match ground.blobs.get(&cid).await {
                Ok(found) => found.is_some(),
                Err(BlobError::Spoiled(_)) => return Ok(Some("its blob was altered".into())),
                Err(e) => return Err(e.into()),
            }
        } else {
            ground.blobs.has(&cid).await?
        };
        Ok((!there).then(|| "its blob is not there".into()))
    }

    /// True when the row's commitment, recomputed, is the one that it names.
    fn commits(&self, row: &RecordRow) -> Result<bool, OpenError> {
        match self.tell(row) {
            Ok(told) => Ok(told.commitment == row.commitment),
            Err(OpenError::Integrity(_)) => Ok(false),
            Err(e) => Err(e),
        }
    }
}
