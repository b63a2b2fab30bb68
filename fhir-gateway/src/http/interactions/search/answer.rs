//! Opens what a search found, audited, and makes entries of it.

use std::collections::{BTreeMap, HashMap};

use serde_json::{Value, json};
use vouchsafe_fhir_search::{Hit, Hits, Mode, Place, Summary};
use vouchsafe_types::RecordId;

use super::{
    Search, engine,
    part::part,
    scope::Scope,
    universe::{Joined, Key},
};
use crate::{
    fhir::audit::AuditKind,
    http::{
        Fault,
        call::Call,
        disclose::{self, Deed},
        disclosure::{Disclosure, OpenFault},
        fault::CODE_SYSTEM,
        interactions::unreadable,
        render::{self, Body, Entry},
    },
    records::{Opened, RecordRow},
    sessions::ForeignKey,
};

/// A page ends early when its matches have so many bytes.
const MOST_BYTES: usize = 8 << 20;
/// So many records are opened at the same time.
const TOGETHER: usize = 16;

/// One page of an answer.
#[derive(Default)]
pub(super) struct Page {
    pub(super) entries: Vec<Entry>,
    /// OperationOutcomes for the Bundle.
    pub(super) outcomes: Vec<Value>,
    /// After which place the next page begins.
    pub(super) next: Option<Place<Key>>,
}

/// A hit whose bytes are had, or will be.
enum Got {
    Own(Opened),
    Foreign(ForeignKey),
}

/// Opens a page: own records under a slot of the audit log for each chart, those of others as one interaction of the
/// session, which is judged once more before anything is shown.
///
/// # Errors
/// 500 when an own record is not what was anchored; 403 when the session ended meanwhile; 503 when something is away.
pub(super) async fn page(
    call: &Call,
    search: &Search,
    scope: &Scope,
    universe: Joined,
    hits: Hits<Key>,
) -> Result<Page, Fault> {
    let (gw, caller) = (&call.gw, call.caller()?);
    let mut own = Disclosure::new(gw, caller, AuditKind::Query);
    let opened = open(call, search, universe, hits, &mut own).await;
    let (got, next) = match opened {
        Ok(opened) => opened,
        Err(fault) => return Err(own.failed(fault)),
    };
    let keys: Vec<ForeignKey> = got.iter().filter_map(|(_, got)| foreign(got)).collect();
    let mut page = Page { next, ..Page::default() };
    let mut shown = Vec::new().into_iter().peekable();
    if let Some(session) = &scope.session {
        let opened = session.view.open(gw, caller, &keys, &search.asked.text(false)).await;
        let opened = match opened {
            Ok(opened) => opened,
            Err(fault) => return Err(own.failed(OpenFault::Other(fault))),
        };
        page.outcomes.extend(session.view.outcomes.iter().cloned());
        page.outcomes.extend(opened.outcomes);
        shown = opened.resources.into_iter().peekable();
    }
    let query = &search.query;
    for (is_match, got) in got {
        page.entries.extend(match got {
            Got::Own(opened) => {
                let (resource_type, id) = (opened.row.resource_type.clone(), opened.row.id.to_string());
                let cut = part(query, &resource_type, render::bytes(&opened));
                let body = cut.map_or_else(|| Body::Opened(opened), Body::Bytes);
                Some(Entry { resource_type, id, body, is_match })
            }
            // In the order that was asked for; what cannot be shown any more is not among them.
            Got::Foreign(key) => shown.next_if(|(shown, _)| *shown == key).map(|(_, one)| {
                let bytes = part(query, &one.resource_type, &one.bytes).unwrap_or(one.bytes);
                Entry { resource_type: one.resource_type, id: one.id, body: Body::Bytes(bytes), is_match }
            }),
        });
    }
    if own.charts() == 0 && scope.session.is_none() {
        note(call, search, scope).await?;
    }
    let text = search.asked.text(own.patients() > 1);
    own.finish(Some(&text));
    Ok(page)
}

const fn foreign(got: &Got) -> Option<ForeignKey> {
    match got {
        Got::Own(_) => None,
        Got::Foreign(key) => Some(*key),
    }
}

type Opening = (Vec<(bool, Got)>, Option<Place<Key>>);

/// Opens the own records of a page, the matches first, and says where the next begins.
async fn open(
    call: &Call,
    search: &Search,
    universe: Joined,
    hits: Hits<Key>,
    own: &mut Disclosure<'_>,
) -> Result<Opening, OpenFault> {
    let (mut matches, mut next) = (hits.matches, hits.next);
    if search.query.summary() == Summary::Count {
        return Ok((Vec::new(), None));
    }
    let mut opened = lately(&matches, own).await?;
    let mut got = Vec::with_capacity(matches.len());
    let mut bytes = 0;
    for at in 0..matches.len() {
        let Some(hit) = matches.get(at) else { break };
        if let Some(one) = open_one(call, &matches[at..], &mut opened, own).await? {
            if let Got::Own(opened) = &one {
                bytes += render::bytes(opened).len();
            }
            got.push((true, one));
        }
        if bytes > MOST_BYTES && at + 1 < matches.len() {
            next = Some(hit.place.clone());
            matches.truncate(at + 1);
        }
    }
    if search.query.includes() && !matches.is_empty() {
        let hits = engine::including(&call.gw, universe, &search.query, matches).await?;
        for (at, hit) in hits.iter().enumerate() {
            if let Some(one) = open_one(call, &hits[at..], &mut opened, own).await? {
                got.push((hit.mode == Mode::Match, one));
            }
        }
    }
    Ok((got, next))
}

/// Opens at once what is still in memory, which on a page that is looked at again is all of it.
async fn lately(matches: &[Hit<Key>], own: &mut Disclosure<'_>) -> Result<HashMap<RecordId, Opened>, OpenFault> {
    let mut of_charts: BTreeMap<RecordId, Vec<RecordId>> = BTreeMap::new();
    for hit in matches {
        if let Key::Own(key) = hit.place.key {
            of_charts.entry(key.chart).or_default().push(key.record);
        }
    }
    let mut opened = HashMap::new();
    for (chart, records) in of_charts {
        opened.extend(own.lately(chart, &records).await?);
    }
    Ok(opened)
}

/// Gives the first of these; what of those after it is not open yet is opened with it.
async fn open_one(
    call: &Call,
    hits: &[Hit<Key>],
    opened: &mut HashMap<RecordId, Opened>,
    own: &mut Disclosure<'_>,
) -> Result<Option<Got>, OpenFault> {
    let key = match hits.first().map(|hit| hit.place.key) {
        None => return Ok(None),
        Some(Key::Foreign(key)) => return Ok(Some(Got::Foreign(key))),
        Some(Key::Own(key)) => key,
    };
    if !opened.contains_key(&key.record) {
        open_next(call, hits, opened, own).await?;
    }
    // Deleted since it was found, or not for this caller to know of, when it is not there.
    Ok(opened.remove(&key.record).map(|opened| {
        own.shown(&opened);
        Got::Own(opened)
    }))
}

/// Opens the next own records that are not open, chart by chart: together, because each look at the ledger and at the block
/// store costs as much for one as for many, and not all at once, because a page ends when it has enough bytes.
async fn open_next(
    call: &Call,
    hits: &[Hit<Key>],
    opened: &mut HashMap<RecordId, Opened>,
    own: &mut Disclosure<'_>,
) -> Result<(), OpenFault> {
    let mut of_charts: BTreeMap<RecordId, Vec<RecordRow>> = BTreeMap::new();
    for hit in hits.iter().take(TOGETHER) {
        let Key::Own(key) = hit.place.key else { continue };
        if opened.contains_key(&key.record) {
            continue;
        }
        let row = call.gw.records.row(&key.record, None).map_err(|e| unreadable(&e))?;
        if let Some(row) = row.filter(|row| !row.tombstone) {
            of_charts.entry(row.chart).or_default().push(row);
        }
    }
    for (chart, rows) in of_charts {
        opened.extend(own.open(chart, &rows).await?.into_iter().map(|one| (one.row.id, one)));
    }
    Ok(())
}

/// A search that opens nothing tells something all the same: it is in the log of the one patient whom it names.
async fn note(call: &Call, search: &Search, scope: &Scope) -> Result<(), Fault> {
    let chart = scope.one_chart.clone();
    let deed = Deed {
        kind: Some(AuditKind::Query),
        chart: chart.as_ref().map(|chart| chart.id),
        patient: chart.and_then(|chart| chart.account),
        query: Some(search.asked.text(false)),
        ..Deed::default()
    };
    disclose::note(&call.gw, call.caller()?, &deed).await.map(|_| ())
}

/// What lenient handling left out, as an outcome of the answer.
pub(super) fn ignored(fault: &vouchsafe_fhir_search::Fault) -> Value {
    json!({ "resourceType": "OperationOutcome", "issue": [{
        "severity": "warning", "code": "not-supported",
        "details": { "coding": [{ "system": CODE_SYSTEM, "code": "parameter-ignored" }] },
        "diagnostics": fault.what, "expression": [format!("http.{}", fault.parameter)],
    }] })
}
