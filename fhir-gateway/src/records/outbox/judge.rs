//! Whether a submission can be done: its acts against the latest versions, its conditions against everything written before.

use std::collections::BTreeSet;

use vouchsafe_fhir_search::{Limits, run};
use vouchsafe_types::{RecordId, merkle::RecordMap};

use super::{
    job::{Draft, Job},
    once::{self, Before},
};
use crate::{
    records::{ActKind, Condition, OpenError, RecordRow, Records, SubmitError, WriteError, Written, index::Index},
    store::Db,
};

/// So many documents are looked at for one condition.
const LOOKED_AT: usize = 200_000;

/// What a submission was found to be.
pub(super) enum Verdict {
    /// It can be done; what each act follows.
    Go(Vec<Option<RecordRow>>),
    /// It was done before.
    Done(Vec<Written>),
}

/// Judges a submission against what was written before and the maps of its charts, as they become by the submissions before
/// it in its group.
pub(super) fn judge<'a>(
    db: &Db,
    index: &Index,
    job: &Job,
    map_of: impl Fn(&RecordId) -> Result<&'a RecordMap, WriteError>,
) -> Result<Verdict, SubmitError> {
    if let Some(idempotency) = &job.once {
        match once::before(db, index, idempotency)? {
            Before::Nothing => {}
            Before::Other => return Err(SubmitError::KeyReused),
            Before::Same(repeated) => {
                let written = repeated.rows.into_iter().map(|row| Written::of(row, true));
                return Ok(Verdict::Done(written.collect()));
            }
        }
    }
    for (number, condition) in job.conditions.iter().enumerate() {
        let holds = job.finder.as_ref().map_or(Ok(false), |records| holds(records, condition))?;
        if !holds {
            return Err(SubmitError::Raced { number });
        }
    }
    let mut previous = Vec::with_capacity(job.drafts.len());
    for (number, draft) in job.drafts.iter().enumerate() {
        let judged = follows(index, draft).and_then(|row| {
            let map = map_of(&draft.chart)?;
            in_its_chart(job, draft, map)?;
            index.ready(&draft.chart, &draft.resource_type, &draft.id).map_err(|e| unavailable(&e))?;
            Ok(row)
        });
        previous.push(judged.map_err(|why| SubmitError::Act { number, why })?);
    }
    Ok(Verdict::Go(previous))
}

fn holds(records: &Records, condition: &Condition) -> Result<bool, WriteError> {
    // One more than expected is enough to know that there are more.
    let limits = Limits { scanned: LOOKED_AT, page: condition.expect.len() + 1, included: 0 };
    let universe = records.universe(condition.charts.clone());
    let found = run(&universe, &condition.query, &limits, None).map_err(|e| match e {
        vouchsafe_fhir_search::RunError::Fault(_) => WriteError::TooLarge("a condition looks at too many records"),
        vouchsafe_fhir_search::RunError::Universe(e) => unavailable(&e),
    })?;
    let found: BTreeSet<&str> = found.matches.iter().map(|hit| hit.id.as_str()).collect();
    let expected: BTreeSet<String> = condition.expect.iter().map(ToString::to_string).collect();
    Ok(found.len() == expected.len() && expected.iter().all(|id| found.contains(id.as_str())))
}

/// The version that an act follows, or why it cannot be.
fn follows(index: &Index, draft: &Draft) -> Result<Option<RecordRow>, WriteError> {
    let latest = index.latest(&draft.id).map_err(|e| unavailable(&e))?;
    let (row, if_match) = match (draft.kind, latest) {
        (ActKind::Create, None) => return Ok(None),
        (ActKind::Create, Some(row)) => return Err(WriteError::Conflict { have: row.version.0 }),
        (_, None) => return Err(WriteError::NotFound),
        (ActKind::Update { if_match } | ActKind::Delete { if_match }, Some(row)) => (row, if_match),
    };
    if if_match.is_some_and(|expected| expected != row.version.0) {
        return Err(WriteError::Conflict { have: row.version.0 });
    }
    // Handle and type are part of what a version is sealed as, and one record has one history.
    if row.chart != draft.chart || row.resource_type != draft.resource_type {
        return Err(WriteError::NotTheSame);
    }
    if row.tombstone && matches!(draft.kind, ActKind::Delete { .. }) {
        return Err(WriteError::Deleted);
    }
    Ok(Some(row))
}

/// A chart without its Patient holds nothing that lives: nothing is written into it, and a Patient whose chart holds more
/// is not deleted. What the same submission does counts.
fn in_its_chart(job: &Job, draft: &Draft, map: &RecordMap) -> Result<(), WriteError> {
    let here = |other: &&Draft| other.chart == draft.chart;
    let deletes = |other: &Draft| matches!(other.kind, ActKind::Delete { .. });
    let is_patient = draft.id == draft.chart;
    if is_patient && deletes(draft) {
        let gone: BTreeSet<RecordId> =
            job.drafts.iter().filter(here).filter(|other| deletes(other)).map(|other| other.id).collect();
        let more = map.iter().any(|leaf| !leaf.tombstone && !gone.contains(&leaf.record));
        let written = job.drafts.iter().filter(here).any(|other| !deletes(other));
        return if more || written { Err(WriteError::NotEmpty) } else { Ok(()) };
    }
    if is_patient || deletes(draft) {
        return Ok(());
    }
    // The organisation's own chart has no Patient, and no leaf under its own id.
    let dead = map.get(&draft.chart).is_some_and(|patient| patient.tombstone);
    let revived = job.drafts.iter().any(|other| other.id == draft.chart && !deletes(other));
    if dead && !revived { Err(WriteError::NotFound) } else { Ok(()) }
}

pub(super) fn unavailable(error: &OpenError) -> WriteError {
    WriteError::Unavailable(error.to_string())
}
