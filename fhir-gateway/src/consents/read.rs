//! `GET Consent/{id}` and `GET Consent?patient=…&status=…`.

use std::sync::Arc;

use serde_json::{Value, json};
use vouchsafe_types::{AccountId, RequestId};

use super::{Noted, TABLE, access};
use crate::{
    auth::{Caller, Who},
    fhir::compartment::Reference,
    gateway::Gateway,
    http::{Fault, Reply},
};

/// `GET Consent/{id}`.
///
/// # Errors
/// As an OperationOutcome; 404 for a request that this gateway cannot open or that is none of the caller's.
pub async fn read(gw: &Arc<Gateway>, caller: &Caller, id: RequestId) -> Result<Reply, Fault> {
    if shown(gw, caller, id).await?.is_none() {
        return Err(Fault::not_found());
    }
    access::reply(gw, 200, id).await
}

/// `GET Consent?patient=…&status=…`: a searchset.
///
/// # Errors
/// As an OperationOutcome; 400 for a parameter that is not known.
pub async fn search(gw: &Arc<Gateway>, caller: &Caller, parameters: &[(String, String)]) -> Result<Reply, Fault> {
    let wanted = Wanted::parse(gw, parameters).await?;
    let rows = gw.db.scan_prefix(TABLE, &[]).map_err(|_| Fault::internal("the store is not readable"))?;
    let mut matches = Vec::new();
    for (_, row) in rows {
        let Ok(noted) = serde_json::from_slice::<Noted>(&row) else { continue };
        if !wanted.concerns(&noted) || !visible(caller, &noted) {
            continue;
        }
        let Some(consent) = shown(gw, caller, noted.request).await? else { continue };
        if wanted.status.as_ref().is_none_or(|all| all.iter().any(|s| consent["status"] == s.as_str())) {
            matches.push(consent);
        }
    }
    matches.sort_by(|a, b| b["dateTime"].as_str().cmp(&a["dateTime"].as_str()));
    let total = matches.len();
    matches.truncate(wanted.count);
    let entry: Vec<Value> = matches
        .into_iter()
        .map(|consent| {
            let url = format!("{}/Consent/{}", gw.fhir_base(), consent["id"].as_str().unwrap_or_default());
            json!({ "fullUrl": url, "resource": consent, "search": { "mode": "match" } })
        })
        .collect();
    let mut bundle = json!({ "resourceType": "Bundle", "type": "searchset", "total": total });
    if !entry.is_empty() {
        bundle["entry"] = entry.into();
    }
    Ok(Reply::resource(200, &bundle))
}

/// The consent, when this caller may see it and this gateway can open its detail.
async fn shown(gw: &Arc<Gateway>, caller: &Caller, id: RequestId) -> Result<Option<Value>, Fault> {
    let found = match access::find(gw, id).await {
        Ok(found) => found,
        Err(fault) if fault.status == 404 => return Ok(None),
        Err(fault) => return Err(fault),
    };
    if !access::may_see(caller, &found.request) {
        return Ok(None);
    }
    let Some(detail) = found.detail(gw).await else { return Ok(None) };
    let mut consent = access::render(gw, &found, Some(&detail));
    let live = found.request.decision.as_ref().and_then(|d| d.session).and_then(|s| gw.sessions.grantee.get(&s));
    if let Some(missing) = live.map(|l| l.missing()).filter(|n| *n > 0) {
        consent["_status"] = json!({ "extension": [{
            "url": "https://vouchsafe.example/StructureDefinition/sources-missing", "valueUnsignedInt": missing,
        }] });
    }
    Ok(Some(consent))
}

fn visible(caller: &Caller, noted: &Noted) -> bool {
    match &caller.who {
        Who::Patient { account } => *account == noted.patient,
        Who::Practitioner { account, .. } => *account == noted.doctor,
        Who::System => true,
        Who::Authority { .. } => false,
    }
}

/// What a search asks for.
struct Wanted {
    patient: Option<Option<AccountId>>,
    status: Option<Vec<String>>,
    id: Option<Vec<String>>,
    count: usize,
}

impl Wanted {
    async fn parse(gw: &Gateway, parameters: &[(String, String)]) -> Result<Self, Fault> {
        let mut out = Self { patient: None, status: None, id: None, count: 100 };
        for (name, value) in parameters {
            let list = || value.split(',').map(str::to_owned).collect();
            match name.as_str() {
                "patient" => {
                    let text = if value.contains('/') { value.clone() } else { format!("Patient/{value}") };
                    // A patient whom nobody knows has no consents; that is an empty answer, not an error.
                    out.patient = Some(access::patient_account(gw, &Reference::parse(&text)).await.ok());
                }
                "status" => out.status = Some(list()),
                "_id" => out.id = Some(list()),
                "_count" => {
                    let count =
                        value.parse().map_err(|_| Fault::malformed("_count must be a whole number").at("_count"))?;
                    out.count = std::cmp::min(count, 1_000);
                }
                "_format" => {}
                other => {
                    let other: String = other.chars().take(64).collect();
                    return Err(Fault::malformed(format!("the search parameter {other:?} is not supported")).at(other));
                }
            }
        }
        Ok(out)
    }

    fn concerns(&self, noted: &Noted) -> bool {
        self.patient.as_ref().is_none_or(|p| *p == Some(noted.patient))
            && self.id.as_ref().is_none_or(|ids| ids.contains(&noted.request.to_string()))
    }
}
