//! What a write is aimed at, by what is there now (<https://hl7.org/fhir/R4/http.html#ccreate>, `#cond-update`, `#2.21.0.13.1`).

use std::{collections::HashSet, sync::Arc};

use vouchsafe_fhir_search::{self as search, Context, Handling, Limits, Query, RunError};
use vouchsafe_types::RecordId;

use super::What;
use crate::{
    auth::Caller,
    gateway::Gateway,
    http::{
        Fault, ids,
        interactions::{may_read, unreadable},
    },
    ledger,
    records::{Condition, RecordRow, Records, WriteError},
};

/// So many records are looked at for one condition. What is meant to find one record names it better than this.
const SCANNED: usize = 20_000;

/// The parameters that say how an answer looks, and have no place in a condition.
const OF_RESULTS: &[&str] = &[
    "_sort",
    "_count",
    "_include",
    "_revinclude",
    "_summary",
    "_total",
    "_elements",
    "_contained",
    "_containedType",
    "_page",
    "_type",
];

/// How a record is found.
#[derive(Clone)]
pub(crate) struct Criteria {
    query: Arc<Query>,
    /// The pairs, in order, by which two are known to be the same.
    pub(crate) pairs: Vec<(String, String)>,
}

impl Criteria {
    /// Reads the query of `If-None-Exist`, or of a reference.
    ///
    /// # Errors
    /// 400 when it is none, 412 when it would find everything.
    pub(crate) fn read(gw: &Gateway, resource_type: &str, text: &str) -> Result<Self, Fault> {
        let query = text.split_once('?').map_or(text, |(_, query)| query);
        Self::of(gw, resource_type, ids::pairs(query)?)
    }

    /// Takes the decoded pairs of a query.
    ///
    /// # Errors
    /// 400 when it is none, 412 when it would find everything.
    pub(crate) fn of(gw: &Gateway, resource_type: &str, pairs: Vec<(String, String)>) -> Result<Self, Fault> {
        if let Some((name, _)) = pairs.iter().find(|(name, _)| OF_RESULTS.contains(&base_of(name))) {
            let fault = Fault::new(400, "not-supported", "this parameter has no place in a condition");
            return Err(fault.at(name.chars().take(64).collect::<String>()));
        }
        if pairs.iter().all(|(_, value)| value.is_empty()) {
            return Err(unselective("a condition must say what it looks for"));
        }
        let base = gw.fhir_base();
        let now = i64::try_from(ledger::now(&*gw.ledger, &gw.clock).0).unwrap_or(i64::MAX);
        let query = Query::parse(Some(resource_type), &pairs, &Context { base: &base, now }, Handling::Strict);
        Ok(Self { query: Arc::new(query.map_err(|fault| refused(&fault))?), pairs })
    }

    /// The records that it finds: as many as it takes to know that there are several besides those that `gone` names.
    fn found(&self, gw: &Gateway, gone: &HashSet<RecordId>) -> Result<Vec<RecordId>, Fault> {
        let limits = Limits { scanned: SCANNED, page: 2 + gone.len(), included: 0 };
        match search::run(&gw.records.universe(None), &self.query, &limits, None) {
            Ok(hits) => Ok(hits.matches.into_iter().map(|hit| hit.place.key.record).collect()),
            Err(RunError::Fault(fault)) => Err(refused(&fault)),
            Err(RunError::Universe(error)) => Err(unreadable(&error)),
        }
    }

    /// The one record that it finds, not counting those that `gone` names, and the condition under which it stays so.
    ///
    /// # Errors
    /// 412 when there are several.
    pub(crate) fn one(
        &self,
        gw: &Gateway,
        caller: &Caller,
        gone: &HashSet<RecordId>,
    ) -> Result<(Option<RecordRow>, Condition), Fault> {
        let expect = self.found(gw, gone)?;
        let left: Vec<RecordId> = expect.iter().filter(|id| !gone.contains(id)).copied().collect();
        let one = match left.as_slice() {
            [] => None,
            [one] => gw.records.row(one, None).map_err(|e| unreadable(&e))?.filter(|row| !row.tombstone),
            _ => {
                let fault = Fault::new(412, "multiple-matches", "several records meet the condition");
                return Err(fault.code("multiple-matches"));
            }
        };
        if let Some(row) = &one {
            // Whoever may not read it does not hear of it either.
            may_read(gw, caller, row)?;
        }
        Ok((one, Condition { query: Arc::clone(&self.query), charts: None, expect }))
    }
}

/// The name of a parameter without its modifier or chain.
fn base_of(name: &str) -> &str {
    name.split([':', '.']).next().unwrap_or_default()
}

fn unselective(text: &str) -> Fault {
    Fault::new(412, "too-costly", text).code("not-selective")
}

fn refused(fault: &search::Fault) -> Fault {
    let issue = match fault.kind {
        search::FaultKind::TooCostly => return unselective(&fault.what).at(fault.parameter.as_str()),
        search::FaultKind::NotSupported => "not-supported",
        search::FaultKind::Invalid => "invalid",
    };
    Fault::new(400, issue, fault.what.as_str()).at(fault.parameter.as_str())
}

/// What a write is aimed at.
pub(crate) enum Aim {
    /// A record that will be new, under this id.
    New(RecordId),
    /// The latest version of a record, which is followed by another.
    Next(RecordRow),
    /// A record like the one to be created is there, so none is.
    Found(RecordRow),
    /// What is to be deleted is not there, or not any more.
    Nothing,
}

/// An aim, and what it rests on.
pub(crate) struct Aimed {
    pub(crate) aim: Aim,
    pub(crate) condition: Option<Condition>,
    /// The version that must be the latest.
    pub(crate) if_match: Option<u64>,
}

/// Finds what a write is aimed at. What `gone` names is deleted in the same submission, before everything else.
///
/// # Errors
/// 404, 405, 412 and 400 as R4 has them.
pub(crate) fn aim(
    gw: &Gateway,
    caller: &Caller,
    resource_type: &str,
    what: &What,
    gone: &HashSet<RecordId>,
) -> Result<Aimed, Fault> {
    let new = || Aim::New(Records::new_id());
    let aimed = |aim, condition, if_match| Ok(Aimed { aim, condition, if_match });
    match what {
        What::Create { unless: None } => aimed(new(), None, None),
        What::Create { unless: Some(criteria) } => {
            let (one, condition) = criteria.one(gw, caller, gone)?;
            aimed(one.map_or_else(new, Aim::Found), Some(condition), None)
        }
        What::Update { id, if_match } => match latest(gw, resource_type, id)? {
            Some(row) => {
                may_follow(&row, *if_match)?;
                aimed(Aim::Next(row), None, *if_match)
            }
            None => Err(no_update_as_create()),
        },
        What::UpdateWhere { criteria, if_match } => {
            let (one, condition) = criteria.one(gw, caller, gone)?;
            if one.is_none() && if_match.is_some() {
                return Err(no_such_version());
            }
            one.iter().try_for_each(|row| may_follow(row, *if_match))?;
            aimed(one.map_or_else(new, Aim::Next), Some(condition), *if_match)
        }
        What::Delete { id, if_match } => match latest(gw, resource_type, id)? {
            Some(row) => {
                may_follow(&row, *if_match)?;
                let there = !row.tombstone;
                aimed(if there { Aim::Next(row) } else { Aim::Nothing }, None, *if_match)
            }
            None if if_match.is_some() => Err(no_such_version()),
            None => aimed(Aim::Nothing, None, None),
        },
        What::DeleteWhere { criteria } => {
            let (one, condition) = criteria.one(gw, caller, gone)?;
            aimed(one.map_or(Aim::Nothing, Aim::Next), Some(condition), None)
        }
    }
}

/// The latest version of the own record with this id.
fn latest(gw: &Gateway, resource_type: &str, id: &str) -> Result<Option<RecordRow>, Fault> {
    let Ok(id) = id.parse() else { return Ok(None) };
    let row = gw.records.row(&id, None).map_err(|e| unreadable(&e))?;
    Ok(row.filter(|row| row.resource_type == resource_type))
}

/// Whether the latest version is the one that `If-Match` names. The outbox asks again under its lock; who is wrong already
/// need not go there.
fn may_follow(row: &RecordRow, if_match: Option<u64>) -> Result<(), Fault> {
    let have = row.version.0;
    if if_match.is_some_and(|expected| expected != have) {
        return Err(WriteError::Conflict { have }.into());
    }
    Ok(())
}

/// 405: R4 lets a server refuse an update that would create under the client's id.
pub(super) fn no_update_as_create() -> Fault {
    Fault::new(405, "not-supported", "an update does not create: ids are given by the server")
        .code("no-update-as-create")
}

fn no_such_version() -> Fault {
    Fault::new(412, "conflict", "there is no version that If-Match could name").code("version-conflict")
}
