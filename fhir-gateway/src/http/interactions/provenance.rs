//! Provenance (<https://hl7.org/fhir/R4/provenance.html>): a view over the rows of own records and their anchors.

use vouchsafe_types::{AccountId, RecordId};

use super::{may_read, unreadable};
use crate::{
    fhir::{
        audit::AuditKind,
        compartment::Reference,
        provenance::{self, Activity, Origin},
    },
    gateway::Gateway,
    http::{
        Fault, Reply,
        call::Call,
        disclose::{self, Deed},
        render::{self, Entry},
    },
    ledger::View,
    records::RecordRow,
};

/// `GET /Provenance?target=Type/id`, or `Type/id/_history/version`.
pub(crate) async fn search(call: Call) -> Result<Reply, Fault> {
    let gw = &call.gw;
    let mut target = None;
    for (name, value) in &call.query {
        if name != "target" || target.replace(value.as_str()).is_some() {
            let shown: String = name.chars().take(64).collect();
            return Err(Fault::malformed("a search for Provenance takes one parameter, target").at(shown));
        }
    }
    let Some(target) = target else {
        return Err(Fault::malformed("a search for Provenance takes one parameter, target").at("target"));
    };
    let reference = Reference::parse(target);
    let version = target.rsplit_once("/_history/").and_then(|(_, v)| v.parse::<u64>().ok());
    let record: Option<RecordId> = reference.id.as_deref().and_then(|id| id.parse().ok());
    let rows = match record {
        Some(id) => gw.records.versions(&id).map_err(|e| unreadable(&e))?,
        None => Vec::new(),
    };
    let wanted = |row: &RecordRow| {
        reference.resource_type.as_deref() == Some(row.resource_type.as_str())
            && version.is_none_or(|v| v == row.version.0)
            && call.caller().is_ok_and(|caller| may_read(gw, caller, row).is_ok())
    };
    let rows: Vec<RecordRow> = rows.into_iter().filter(wanted).collect();
    let mut entries = Vec::new();
    for row in &rows {
        let value = render_row(gw, row).await?;
        entries.push(Entry::made("Provenance", id_of(row), &value));
    }
    seen(&call, &rows, AuditKind::Query).await?;
    let own = format!("{}/{}", gw.fhir_base(), disclose::query_text(&call));
    Ok(Reply::bytes(200, render::searchset(gw, &own, None, Some(entries.len()), &entries, &[])))
}

/// `POST /Provenance/_search`.
pub(crate) async fn search_by_form(call: Call) -> Result<Reply, Fault> {
    let query = super::search::pairs(&call)?;
    search(Call { query, ..call }).await
}

/// `GET /Provenance/{id}`.
pub(crate) async fn read(call: Call) -> Result<Reply, Fault> {
    let gw = &call.gw;
    let (record, version) = call.id()?.split_once('.').ok_or_else(Fault::not_found)?;
    let (Ok(record), Ok(version)) = (record.parse::<RecordId>(), version.parse::<u64>()) else {
        return Err(Fault::not_found());
    };
    let row = gw.records.row(&record, Some(version)).map_err(|e| unreadable(&e))?.ok_or_else(Fault::not_found)?;
    may_read(gw, call.caller()?, &row)?;
    let value = render_row(gw, &row).await?;
    seen(&call, &[row], AuditKind::Read).await?;
    Ok(Reply::resource(200, &value))
}

fn id_of(row: &RecordRow) -> String {
    format!("{}.{}", row.id, row.version)
}

async fn seen(call: &Call, rows: &[RecordRow], kind: AuditKind) -> Result<(), Fault> {
    let gw = &call.gw;
    let Some(first) = rows.first() else { return Ok(()) };
    let deed = Deed {
        kind: Some(kind),
        chart: Some(first.chart),
        patient: gw.charts.by_id(&first.chart).and_then(|c| c.account),
        what: rows.iter().map(|r| format!("Provenance/{}", id_of(r))).collect(),
        query: (kind == AuditKind::Query).then(|| disclose::query_text(call)),
        ..Deed::default()
    };
    disclose::note(gw, call.caller()?, &deed).await.map(|_| ())
}

async fn render_row(gw: &Gateway, row: &RecordRow) -> Result<serde_json::Value, Fault> {
    let view = View(&*gw.ledger);
    let session = match row.session {
        None => None,
        Some(id) => view.session(&id).await?.map(|s| (id, s.grant)),
    };
    let author = match &row.by.account {
        None => None,
        Some(account) => Some(person(gw, account)?),
    };
    Ok(provenance::render(&Origin {
        id: &id_of(row),
        target: &disclose::reference(row),
        activity: match row.version.0 {
            _ if row.tombstone => Activity::Delete,
            1 => Activity::Create,
            _ => Activity::Update,
        },
        written: row.last_updated,
        anchored: Some((row.height.0, row.last_updated)),
        commitment: row.commitment,
        author: author.as_deref(),
        by_agent: row.by.agent.is_some(),
        client: &row.by.client,
        custodian: &gw.own_reference()?,
        session,
    }))
}

fn person(gw: &Gateway, account: &AccountId) -> Result<String, Fault> {
    let known = gw.auth.parties.by_account(account)?;
    Ok(known.map_or_else(|| format!("Practitioner/{account}"), |p| format!("{}/{}", p.resource_type, p.record)))
}
