//! What one interaction discloses of several charts: a slot of the audit log for each chart, durable before the first of its
//! records is opened, and one entry in it for all that was.

use std::collections::{BTreeMap, HashMap};

use vouchsafe_types::RecordId;

use super::{
    Fault,
    disclose::{self, Deed},
};
use crate::{
    audit::Slot,
    auth::Caller,
    fhir::audit::AuditKind,
    gateway::Gateway,
    policy::{self, Act, Permit},
    records::{Chart, OpenError, Opened, RecordRow},
};

/// An interaction that has begun to disclose. Dropped before its end it says "possibly disclosed" of each chart.
pub(crate) struct Disclosure<'a> {
    gw: &'a Gateway,
    caller: &'a Caller,
    kind: AuditKind,
    charts: BTreeMap<RecordId, OfChart>,
}

struct OfChart {
    slot: Slot,
    permit: Permit,
    deed: Deed,
    chart: Chart,
}

impl<'a> Disclosure<'a> {
    pub(crate) const fn new(gw: &'a Gateway, caller: &'a Caller, kind: AuditKind) -> Self {
        Self { gw, caller, kind, charts: BTreeMap::new() }
    }

    /// Reserves the slot of a chart, unless it has one; false when the caller may not know of what is in it.
    async fn begin(&mut self, id: RecordId) -> Result<bool, OpenFault> {
        if self.charts.contains_key(&id) {
            return Ok(true);
        }
        let own = self.gw.charts.organization_chart();
        let Some(chart) = (if own.id == id { Some(own) } else { self.gw.charts.by_id(&id) }) else { return Ok(false) };
        let Ok(permit) = policy::decide(self.caller, &Act::ReadOwn { patient: chart.account }) else {
            return Ok(false);
        };
        let deed = Deed { kind: Some(self.kind), chart: Some(id), patient: chart.account, ..Deed::default() };
        let slot = disclose::reserve(self.gw).await.map_err(OpenFault::Other)?;
        let slot = slot.about(disclose::about(self.caller, &deed));
        self.charts.insert(id, OfChart { slot, permit, deed, chart });
        Ok(true)
    }

    /// Of some records of a chart those that were opened and verified lately, without a look at the disk. Each that goes
    /// into the answer is told by `shown`.
    ///
    /// # Errors
    /// 503 when the audit log cannot be written.
    pub(crate) async fn lately(
        &mut self,
        chart: RecordId,
        records: &[RecordId],
    ) -> Result<HashMap<RecordId, Opened>, OpenFault> {
        if !self.begin(chart).await? {
            return Ok(HashMap::new());
        }
        let Some(of) = self.charts.get(&chart) else { return Ok(HashMap::new()) };
        Ok(self.gw.records.lately(&of.permit, &of.chart, records).await)
    }

    /// Opens own records of one chart; none when the caller may not know of them. One that goes into the answer is told by
    /// `shown`.
    ///
    /// # Errors
    /// 500 `integrity` when one is not what was anchored; 503 when something is away. Then nothing of this interaction may
    /// be disclosed, and `failed` says so to the log.
    pub(crate) async fn open(&mut self, chart: RecordId, rows: &[RecordRow]) -> Result<Vec<Opened>, OpenFault> {
        if !self.begin(chart).await? {
            return Ok(Vec::new());
        }
        let Some(of) = self.charts.get(&chart) else { return Ok(Vec::new()) };
        let opened = self.gw.records.open_all(&of.permit, rows).await;
        opened.map_err(|(at, error)| OpenFault::Record { row: Box::new(rows[at].clone()), error })
    }

    /// A record that was opened goes into the answer.
    pub(crate) fn shown(&mut self, opened: &Opened) {
        if let Some(of) = self.charts.get_mut(&opened.row.chart) {
            of.deed.what.push(disclose::reference(&opened.row));
        }
    }

    /// How many charts something was opened of.
    pub(crate) fn charts(&self) -> usize {
        self.charts.len()
    }

    /// How many patients something was opened of. The organisation's own chart is nobody's, and who reads its entries may
    /// know of every search.
    pub(crate) fn patients(&self) -> usize {
        let own = self.gw.charts.organization_chart().id;
        self.charts.keys().filter(|chart| **chart != own).count()
    }

    /// Writes the entries: what was opened is disclosed now.
    pub(crate) fn finish(self, query: Option<&str>) {
        for (_, OfChart { slot, deed, .. }) in self.charts {
            let deed = Deed { query: query.map(str::to_owned), ..deed };
            self.gw.audit.record(slot, disclose::entry(self.gw, self.caller, &deed));
        }
    }

    /// Gives the slots back, because nothing is disclosed; the log keeps what went wrong.
    pub(crate) fn failed(self, fault: OpenFault) -> Fault {
        let Self { gw, caller, charts, .. } = self;
        let (row, error) = match fault {
            OpenFault::Other(fault) => {
                charts.into_values().for_each(|of| of.slot.release());
                return fault;
            }
            OpenFault::Record { row, error } => (row, error),
        };
        for (chart, OfChart { slot, deed, .. }) in charts {
            if chart == row.chart {
                let failed = if matches!(error, OpenError::Integrity(_)) { "integrity" } else { "unavailable" };
                let deed = Deed { what: vec![disclose::reference(&row)], failed: Some(failed), ..deed };
                gw.audit.record(slot, disclose::entry(gw, caller, &deed));
            } else {
                slot.release();
            }
        }
        disclose::refused(&row, &error)
    }
}

/// Why a disclosure did not come about.
pub(crate) enum OpenFault {
    /// A record does not open.
    Record { row: Box<RecordRow>, error: OpenError },
    /// Something else.
    Other(Fault),
}

impl From<Fault> for OpenFault {
    fn from(fault: Fault) -> Self {
        Self::Other(fault)
    }
}
