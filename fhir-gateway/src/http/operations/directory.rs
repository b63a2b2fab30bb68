//! `Patient/{id}/$directory`: what a patient's wallet needs to open the chart's records with the patient's own keys.

use serde_json::{Value, json};

use crate::{
    auth::Who,
    fhir::audit::AuditKind,
    http::{
        Fault, Reply,
        call::Call,
        disclose::{self, Deed},
        interactions,
    },
    policy::{self, Act},
    records::DirectoryFault,
};

/// The signed directory entries of the chart, and the entry of its patient key, wrapped to the patient's devices.
pub(crate) async fn directory(call: Call) -> Result<Reply, Fault> {
    let gw = &call.gw;
    let caller = call.caller()?;
    let chart = call.record()?.and_then(|id| gw.charts.by_id(&id));
    if !matches!(caller.who, Who::Patient { .. }) {
        return Err(Fault::forbidden("not-the-patient", "only the patient opens records by the patient's own keys"));
    }
    policy::decide(caller, &Act::ReadOwn { patient: chart.as_ref().and_then(|c| c.account) })?;
    let chart = chart.ok_or_else(Fault::not_found)?;
    let entries = gw.directory.entries(&gw.org, &chart.handle).map_err(|e| away(&e))?;
    let key = gw.directory.key_entry(&gw.org, &chart.handle).map_err(|e| away(&e))?;
    let deed = Deed {
        kind: Some(AuditKind::Query),
        chart: Some(chart.id),
        patient: chart.account,
        query: Some(format!("Patient/{}/$directory", chart.id)),
        ..Deed::default()
    };
    disclose::note(gw, caller, &deed).await?;
    let text = |name: &str, value: String| json!({ "name": name, "valueString": value });
    let mut list: Vec<Value> = vec![
        text("custodian", gw.org.to_string()),
        text("handle", chart.handle.to_string()),
        text("chain", gw.chain.clone()),
    ];
    let key = key.and_then(|k| serde_json::to_string(&k).ok());
    list.extend(key.map(|key| text("key", key)));
    list.extend(entries.into_iter().map(|jws| text("entry", jws)));
    Ok(Reply::resource(200, &json!({ "resourceType": "Parameters", "parameter": list })))
}

fn away(fault: &DirectoryFault) -> Fault {
    interactions::unreadable(&crate::records::OpenError::Unavailable(fault.to_string()))
}
