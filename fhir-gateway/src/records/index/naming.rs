//! Which charts hold records that refer to the patient of another chart: an Appointment of two patients, a Group, a mother
//! as `focus`. With the patient's own chart they are all that a search by this patient need look into, however many charts
//! there are.
//!
//! `index-naming`: blinded chart → the other charts, ascending. One row a patient, sealed whole, so that neither the disk
//! tells who has to do with whom nor one chart can be taken out of it. A chart that was named once stays: what a row says is
//! "perhaps", and what is found is matched again.

use std::collections::{BTreeMap, BTreeSet};

use vouchsafe_fhir_search::{FactsRef, Need, ids_needed, ids_referred};
use vouchsafe_types::RecordId;

use super::{
    Document, Index,
    codec::{Reader, misformed},
};
use crate::{
    records::OpenError,
    store::{Table, WriteBatch},
};

pub(super) const NAMING: Table = "index-naming";

/// The patients of other charts to whom a document refers.
pub(super) fn named<'a>(chart: RecordId, facts: FactsRef<'a>) -> impl Iterator<Item = RecordId> + 'a {
    ids_referred(facts, "Patient").filter_map(|id| id.parse().ok()).filter(move |id| *id != chart)
}

impl Index {
    fn naming_key(&self, patient: &RecordId) -> [u8; 32] {
        self.db().blind(NAMING, &patient.0)
    }

    /// The other charts that hold, or held once, a record which refers to the patient of this one.
    pub(super) fn naming(&self, patient: &RecordId) -> Result<BTreeSet<RecordId>, OpenError> {
        let Some(bytes) = self.db().get(NAMING, &self.naming_key(patient))? else { return Ok(BTreeSet::new()) };
        let mut reader = Reader::new(&bytes);
        let mut charts = BTreeSet::new();
        while !reader.ended() {
            charts.insert(RecordId(reader.array().ok_or_else(|| misformed("a list of charts"))?));
        }
        Ok(charts)
    }

    /// Adds to a batch what the documents of a group name.
    pub(super) fn write_naming(&self, batch: &mut WriteBatch, documents: &[Document<'_>]) -> Result<(), OpenError> {
        let mut new: BTreeMap<RecordId, BTreeSet<RecordId>> = BTreeMap::new();
        for document in documents {
            for patient in named(document.row.chart, document.facts) {
                new.entry(patient).or_default().insert(document.row.chart);
            }
        }
        for (patient, charts) in new {
            let mut known = self.naming(&patient)?;
            let before = known.len();
            known.extend(charts);
            if known.len() > before {
                let bytes: Vec<u8> = known.iter().flat_map(|chart| chart.0).collect();
                batch.put(NAMING, self.naming_key(&patient), bytes);
            }
        }
        Ok(())
    }

    /// The only charts in which something can be that meets a need, when the need names patients whose charts are here;
    /// else none, and it can be anywhere.
    pub(super) fn only_in(&self, need: &Need) -> Result<Option<Vec<RecordId>>, OpenError> {
        let mut fewest: Option<BTreeSet<RecordId>> = None;
        for any in need {
            let Some(patients) = ids_needed(any).and_then(|ids| self.charts_of(&ids)) else { continue };
            let mut charts = BTreeSet::new();
            for patient in patients {
                charts.extend(self.naming(&patient)?);
                charts.insert(patient);
            }
            if fewest.as_ref().is_none_or(|fewest| charts.len() < fewest.len()) {
                fewest = Some(charts);
            }
        }
        Ok(fewest.map(|charts| charts.into_iter().collect()))
    }

    /// The charts with these ids, if all of them are charts. What refers to anything else is filed by its terms only.
    fn charts_of(&self, ids: &[&str]) -> Option<Vec<RecordId>> {
        let ids: Vec<RecordId> = ids.iter().map(|id| id.parse().ok()).collect::<Option<_>>()?;
        ids.iter().all(|id| self.has_chart(id)).then_some(ids)
    }
}
