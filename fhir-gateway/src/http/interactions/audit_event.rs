//! AuditEvent (<https://hl7.org/fhir/R4/auditevent.html>): who saw and wrote what. Reading it is audited too.

use serde_json::Value;
use vouchsafe_types::{AccountId, RecordId};

use crate::{
    audit::{AuditEntry, AuditQuery, Recorded},
    auth::{Caller, Who},
    fhir::{audit::AuditKind, compartment::Reference},
    gateway::Gateway,
    http::{
        Fault, Reply,
        call::Call,
        disclose::{self, Deed},
        interactions::search::{DEFAULT_COUNT, MAX_COUNT},
        render::{self, Entry},
    },
    policy::{self, Act},
    records::Chart,
    sessions,
};

/// As many of the newest events are read for one chart or account; the log may have millions.
const MOST_EVENTS: usize = 1_000;

/// `GET /AuditEvent`: a patient's own charts, with the receipts of other organisations; a practitioner's own acts; for
/// the organisation's system, everything here.
pub(crate) async fn search(call: Call) -> Result<Reply, Fault> {
    let gw = &call.gw;
    let caller = call.caller()?;
    let (charts, count) = parameters(&call)?;
    let recorded = read_of_log(&call, charts.as_deref().and_then(<[Chart]>::first)).await?;
    // Entries are in order: with this one, all that were recorded before it can be found.
    gw.audit.durable(recorded.index).await.map_err(|e| Fault::unavailable(e.to_string()))?;
    let mut queries: Vec<AuditQuery> = match &charts {
        None => vec![AuditQuery::default()],
        Some(charts) => charts.iter().map(|c| AuditQuery { chart: Some(c.id), ..AuditQuery::default() }).collect(),
    };
    queries.iter_mut().for_each(|q| q.limit = Some(MOST_EVENTS));
    let mut receipts = Vec::new();
    match &caller.who {
        Who::System | Who::Authority { .. } => {}
        Who::Practitioner { account, .. } => queries.iter_mut().for_each(|q| q.caller = Some(account.to_string())),
        Who::Patient { account } => {
            if charts.is_none() {
                queries =
                    vec![AuditQuery { account: Some(*account), limit: Some(MOST_EVENTS), ..AuditQuery::default() }];
            }
            receipts = sessions::receipts(gw, *account)?;
        }
    }
    let mut events = Vec::new();
    for query in &queries {
        events.extend(
            gw.audit.search(query).map_err(|e| Fault::unavailable(e.to_string()))?.into_iter().map(|e| e.event.value()),
        );
    }
    // A practitioner's acts on foreign records are in the log by the patient's account, not by a chart.
    if let (Some(charts), Who::Practitioner { account, .. }) = (&charts, &caller.who) {
        for patient in charts.iter().filter_map(|c| c.account) {
            let query = AuditQuery {
                account: Some(patient),
                caller: Some(account.to_string()),
                limit: Some(MOST_EVENTS),
                ..AuditQuery::default()
            };
            let more = gw.audit.search(&query).map_err(|e| Fault::unavailable(e.to_string()))?;
            events.extend(more.into_iter().map(|e| e.event.value()));
        }
    }
    events.extend(receipts);
    events.sort_by(|a, b| {
        b["recorded"].as_str().cmp(&a["recorded"].as_str()).then(a["id"].as_str().cmp(&b["id"].as_str()))
    });
    events.dedup_by(|a, b| a["id"] == b["id"]);
    let total = events.len();
    events.truncate(count);
    let made = |e: &Value| Entry::made("AuditEvent", e["id"].as_str().unwrap_or_default().to_owned(), e);
    let entries: Vec<Entry> = events.iter().map(made).collect();
    let own = format!("{}/{}", gw.fhir_base(), disclose::query_text(&call));
    Ok(Reply::bytes(200, render::searchset(gw, &own, None, Some(total), &entries, &[])))
}

/// `POST /AuditEvent/_search`.
pub(crate) async fn search_by_form(call: Call) -> Result<Reply, Fault> {
    let query = super::search::pairs(&call)?;
    search(Call { query, ..call }).await
}

/// The charts that `patient` names, each of which the caller may name, and how many events are wanted.
fn parameters(call: &Call) -> Result<(Option<Vec<Chart>>, usize), Fault> {
    let gw = &call.gw;
    let (mut charts, mut count) = (None::<Vec<Chart>>, DEFAULT_COUNT);
    for (name, value) in &call.query {
        match name.as_str() {
            "patient" => {
                let full = if value.contains('/') { value.clone() } else { format!("Patient/{value}") };
                let chart = super::local_patient(gw, &Reference::parse(&full)).and_then(|id| gw.charts.by_id(&id));
                let patient = chart.as_ref().and_then(|c| c.account);
                policy::decide(call.caller()?, &Act::NamePatient { patient })?;
                charts.get_or_insert_default().extend(chart);
            }
            "_count" => {
                count = value.parse::<usize>().map_err(|_| Fault::malformed("_count is no number").at("_count"))?;
            }
            other => {
                let shown: String = other.chars().take(64).collect();
                return Err(Fault::malformed("this search parameter is not supported").at(shown));
            }
        }
    }
    Ok((charts, count.min(MAX_COUNT)))
}

/// `GET /AuditEvent/{id}`.
pub(crate) async fn read(call: Call) -> Result<Reply, Fault> {
    let event = find(&call).await?;
    read_of_log(&call, None).await?;
    Ok(Reply::resource(200, &event))
}

async fn find(call: &Call) -> Result<Value, Fault> {
    let gw = &call.gw;
    let caller = call.caller()?;
    let id: RecordId = call.id()?.parse().map_err(|_| Fault::not_found())?;
    let entry = gw.audit.by_id(&id).map_err(|e| Fault::unavailable(e.to_string()))?;
    if let Some(entry) = entry {
        return if may_see(gw, caller, &entry) { Ok(entry.event.value()) } else { Err(Fault::not_found()) };
    }
    if let Who::Patient { account } = &caller.who {
        let receipts = sessions::receipts(gw, *account)?;
        return receipts.into_iter().find(|r| r["id"] == id.to_string()).ok_or_else(Fault::not_found);
    }
    Err(Fault::not_found())
}

/// Whether an entry is for a caller's eyes.
pub(crate) fn may_see(gw: &Gateway, caller: &Caller, entry: &AuditEntry) -> bool {
    let of_patient = |account: &AccountId| {
        entry.account == Some(*account)
            || entry.chart.and_then(|c| gw.charts.by_id(&c)).is_some_and(|c| c.account == Some(*account))
    };
    match &caller.who {
        Who::System | Who::Authority { .. } => true,
        Who::Practitioner { account, .. } => entry.caller.as_deref() == Some(account.to_string().as_str()),
        Who::Patient { account } => of_patient(account),
    }
}

/// Whoever reads the log is in it.
async fn read_of_log(call: &Call, chart: Option<&Chart>) -> Result<Recorded, Fault> {
    let caller = call.caller()?;
    let search = call.param("id").is_empty();
    let deed = Deed {
        kind: Some(if search { AuditKind::Query } else { AuditKind::Read }),
        chart: chart.map(|c| c.id),
        patient: chart.and_then(|c| c.account).or(match &caller.who {
            Who::Patient { account } => Some(*account),
            _ => None,
        }),
        what: if search { Vec::new() } else { vec![format!("AuditEvent/{}", call.param("id"))] },
        query: search.then(|| disclose::query_text(call)),
        ..Deed::default()
    };
    disclose::note(&call.gw, caller, &deed).await
}
