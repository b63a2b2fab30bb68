//! What is told of a session: an entry in this organisation's audit log for each access and hand-over, and a receipt of
//! each access and upload for the patient, who reads it at the home organisation's gateway.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use vouchsafe_types::{
    AccountId, Count, Hash32, RecordId, RequestId, RsaJwk, SessionId, b64, merkle::log, state::Session,
};

use super::Live;
use crate::{
    audit::{AuditEntry, EventText, NewEntry, Recorded, Slot},
    auth::{Caller, Who},
    consents::ledger_fault,
    fhir::{
        Coding,
        audit::{self, Audit, AuditKind, User},
    },
    gateway::Gateway,
    http::Fault,
    ledger::{self, View},
    peers::{self, Message},
    records::{Chart, Records},
    seal::jwe,
};

/// The `typ` of a receipt's JWE.
pub const TYP: &str = "vouchsafe/receipt";

/// The table of receipts: the patient's account and the receipt's leaf → the receipt.
const TABLE: &str = "receipts";

/// A receipt: another organisation's AuditEvent, and where it stands in that organisation's anchored log.
#[derive(Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Receipt {
    /// Whose log.
    pub organization: AccountId,
    /// Whom it is for.
    pub patient: AccountId,
    /// The session it happened in.
    pub session: SessionId,
    /// Its place in the log.
    pub index: Count,
    /// Its leaf in the log's tree, whose root the ledger holds.
    pub leaf: Hash32,
    /// The log's entry, whose hash is the leaf; base64url.
    pub entry: String,
}

impl Receipt {
    /// The AuditEvent: none when the entry is not what the leaf hashes, is at another place, or is of another patient
    /// than the receipt says. The organisation could otherwise show the patient one thing and anchor another.
    fn event(&self) -> Option<Value> {
        let bytes = b64::decode(&self.entry)?;
        if log::leaf_hash(&bytes) != self.leaf {
            return None;
        }
        let entry: AuditEntry = serde_json::from_slice(&bytes).ok()?;
        let source = format!("Organization/{}", self.organization);
        let event = entry.event.value();
        let own = entry.index == self.index
            && entry.account == Some(self.patient)
            && event["resourceType"] == "AuditEvent"
            && event["source"]["observer"]["reference"] == source.as_str();
        own.then_some(event)
    }
}

impl std::fmt::Debug for Receipt {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Receipt({} of {})", self.index, self.organization)
    }
}

/// What a doctor did in a session.
pub(super) struct Deed<'a> {
    pub(super) kind: AuditKind,
    pub(super) what: &'a [String],
    pub(super) query: Option<&'a str>,
    /// The code of what went wrong.
    pub(super) failed: Option<&'a str>,
}

/// Fills a slot with what a doctor did in a session, and sends the patient a receipt of it.
pub(super) fn access(gw: &Arc<Gateway>, caller: &Caller, live: &Live, slot: Slot, deed: &Deed<'_>) {
    let id = Records::new_id();
    let chart = gw.charts.by_account(&live.patient).first().map(|c| c.id);
    let patient = chart.map_or_else(|| format!("Patient/{}", live.patient), |id| format!("Patient/{id}"));
    let event = event(gw, caller, id, &patient, Some((live.id, live.grant)), deed);
    let entry = NewEntry {
        id,
        event: EventText::new(event.to_string()),
        chart,
        account: Some(live.patient),
        session: Some(live.id),
        caller: Some(caller.client_id.clone()),
    };
    let recorded = gw.audit.record(slot, entry);
    send(gw, live.patient, live.id, recorded);
}

/// Records, durably, that keys of this many versions are handed to a session, judged live at this height.
pub(super) async fn released(
    gw: &Arc<Gateway>,
    chart: &Chart,
    id: SessionId,
    session: &Session,
    height: u64,
    versions: usize,
) -> Result<(), Fault> {
    let away = |_| Fault::unavailable("the audit log cannot write");
    let slot = gw.audit.reserve().await.map_err(away)?;
    let entry_id = Records::new_id();
    let receiver = session.organization.to_string();
    let mut event = audit::render(&Audit {
        kind: AuditKind::Disclosure,
        at: ledger::now(&*gw.ledger, &gw.clock),
        success: true,
        outcome: None,
        user: None,
        client: &receiver,
        address: None,
        source: &format!("Organization/{}", gw.org),
        base: &gw.fhir_base(),
        patient: Some(&format!("Patient/{}", chart.id)),
        what: &[],
        query: None,
        purpose: &[],
        request_id: &entry_id.to_string(),
        grant: Some(session.grant),
        session: Some(id),
        height: Some(height),
    });
    event["id"] = Value::String(entry_id.to_string());
    event["outcomeDesc"] = Value::String(format!("keys of {versions} record versions"));
    let recorded = gw.audit.record(
        slot,
        NewEntry {
            id: entry_id,
            event: EventText::new(event.to_string()),
            chart: Some(chart.id),
            account: Some(session.patient),
            session: Some(id),
            caller: Some(receiver),
        },
    );
    gw.audit.durable(recorded.index).await.map_err(away)
}

fn event(
    gw: &Gateway,
    caller: &Caller,
    id: RecordId,
    patient: &str,
    session: Option<(SessionId, RequestId)>,
    deed: &Deed<'_>,
) -> Value {
    let account = caller.account().map(|a| a.to_string());
    let record = match &caller.who {
        Who::Practitioner { record, .. } => record.map(|r| format!("Practitioner/{r}")),
        _ => None,
    };
    let source = format!("Organization/{}", gw.org);
    let purpose: Vec<Coding> = caller
        .purpose
        .iter()
        .map(|code| Coding::new("http://terminology.hl7.org/CodeSystem/v3-ActReason", code.as_str()))
        .collect();
    let mut event = audit::render(&Audit {
        kind: deed.kind,
        at: ledger::now(&*gw.ledger, &gw.clock),
        success: deed.failed.is_none(),
        outcome: deed.failed,
        user: account.as_deref().map(|account| User {
            reference: record.as_deref(),
            account: Some(account),
            name: None,
            organization: Some(&source),
            by_agent: matches!(caller.who, Who::Practitioner { agent: Some(_), .. }),
        }),
        client: &caller.client_id,
        address: None,
        source: &source,
        base: &gw.fhir_base(),
        patient: Some(patient),
        what: deed.what,
        query: deed.query,
        purpose: &purpose,
        request_id: &id.to_string(),
        grant: session.map(|(_, grant)| grant),
        session: session.map(|(session, _)| session),
        height: Some(gw.ledger.head().height),
    });
    event["id"] = Value::String(id.to_string());
    event
}

/// Sends the patient a receipt of an entry of the own log: to the home organisation, sealed to it and to the patient's
/// devices.
pub(super) fn send(gw: &Arc<Gateway>, patient: AccountId, session: SessionId, recorded: Recorded) {
    let gw = Arc::clone(gw);
    tokio::spawn(async move {
        if let Err(error) = deliver(&gw, patient, session, recorded).await {
            tracing::warn!(%error, "a receipt did not leave");
        }
    });
}

async fn deliver(gw: &Arc<Gateway>, patient: AccountId, session: SessionId, recorded: Recorded) -> Result<(), Fault> {
    let view = View(&*gw.ledger);
    let account = view.account(&patient).await.map_err(ledger_fault)?.ok_or_else(Fault::not_found)?;
    let home = account.sponsor;
    if home == gw.org {
        // The patient reads this log here.
        return Ok(());
    }
    let entry = gw.audit.by_id(&recorded.id).map_err(|_| Fault::unavailable("the audit log cannot be read"))?;
    let entry = entry.ok_or_else(|| Fault::internal("an entry that was recorded is not in the log"))?;
    let receipt = Receipt {
        organization: gw.org,
        patient,
        session,
        index: Count(recorded.index),
        leaf: recorded.leaf,
        entry: b64::encode(entry.bytes()),
    };
    let mut keys: Vec<RsaJwk> = Vec::new();
    keys.extend(view.endpoint(&home).await.map_err(ledger_fault)?.map(|e| e.rsa));
    let devices = view.devices(&patient).await.map_err(ledger_fault)?;
    keys.extend(devices.into_iter().filter_map(|(_, key)| key.rsa));
    let plain =
        zeroize::Zeroizing::new(serde_json::to_vec(&receipt).map_err(|_| Fault::internal("a receipt is plain data"))?);
    let sealed = jwe::encrypt(TYP, &plain, &keys).map_err(|_| Fault::internal("a recipient's key is not usable"))?;
    peers::send(gw, home, Message::Receipt(sealed));
    Ok(())
}

/// Takes a receipt that another organisation sent for a patient whose home this is.
///
/// # Errors
/// 400 and 422, so that it is not sent again.
pub async fn take(gw: &Gateway, from: AccountId, sealed: &str) -> Result<(), Fault> {
    let own = gw.keystore.rsa("org").map_err(|_| Fault::internal("the wrapping key is not in the keystore"))?;
    let plain = jwe::decrypt(TYP, sealed, &*own)
        .map_err(|_| Fault::invalid("the receipt is not sealed to this organisation").code("substituted-key"))?;
    let receipt: Receipt =
        serde_json::from_slice(&plain).map_err(|_| Fault::malformed("the receipt is not of its form"))?;
    if receipt.organization != from {
        return Err(Fault::invalid("the receipt is of another organisation's log").code("wrong-custodian"));
    }
    if receipt.event().is_none() {
        return Err(Fault::invalid("the receipt's entry is not what its leaf hashes").code("integrity"));
    }
    let view = View(&*gw.ledger);
    let home = view.account(&receipt.patient).await.map_err(ledger_fault)?.map(|a| a.sponsor);
    let session = view.session(&receipt.session).await.map_err(ledger_fault)?;
    // Nobody can write into a patient's history but for a session that there was.
    let fits = session.is_some_and(|s| s.patient == receipt.patient && s.organization == from);
    if home != Some(gw.org) || !fits {
        return Err(Fault::invalid("the receipt is for nobody whose home this is, or of no session").code("not-found"));
    }
    let mut key = receipt.patient.0.to_vec();
    key.extend(receipt.leaf.0);
    gw.db.put_json(TABLE, &key, &receipt).await.map_err(|_| Fault::unavailable("the receipt cannot be stored"))
}

/// The receipts that other organisations sent for a patient.
pub(super) fn events_of(gw: &Gateway, patient: AccountId) -> Result<Vec<Value>, Fault> {
    let rows = gw.db.scan_prefix(TABLE, &patient.0).map_err(|_| Fault::internal("the store is not readable"))?;
    Ok(rows.iter().filter_map(|(_, row)| serde_json::from_slice::<Receipt>(row).ok()?.event()).collect())
}
