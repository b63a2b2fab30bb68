//! Other custodians' records as a session shows them: verified against the ledger, under local ids, references
//! rewritten, the source named.

use std::{
    collections::BTreeMap,
    sync::{Arc, PoisonError},
};

use serde_json::Value;
use vouchsafe_types::{AccountId, RecordId, TimeMs, state::Session};
use zeroize::Zeroizing;

use super::{grantee::Live, manifest::ManifestRow};
use crate::{
    auth::Caller,
    blobs::parse_cid,
    fhir::{
        category::{Category, Tier, categorize},
        compartment::{Reference, ResourceClass, class_of, class_of_resource, patient_of},
        date::instant,
        json::{Splice, rewrite_references, splice},
        search::{SearchFacts, facts},
    },
    gateway::Gateway,
    http::Fault,
    peers,
    policy::{
        Permit,
        session::{SessionFacts, foreign, machinery},
    },
    records::{DirectoryEntry, DirectoryFault},
    seal::{Aad, record},
};

/// One foreign resource as it is served.
pub struct Foreign {
    /// Its type.
    pub resource_type: String,
    /// Its local id.
    pub id: String,
    /// Its version at the custodian.
    pub version: u64,
    /// When the custodian wrote that version.
    pub last_updated: TimeMs,
    /// The bytes to serve.
    pub bytes: Vec<u8>,
}

/// What a session knows of a record after it was opened and verified once.
pub(super) struct Indexed {
    pub(super) custodian: AccountId,
    pub(super) row: Arc<ManifestRow>,
    pub(super) id: String,
    pub(super) facts: SearchFacts,
    pub(super) category: Category,
    pub(super) admitted: bool,
    /// The id by which the custodian's resources name the patient.
    patient: Option<String>,
}

/// Why a foreign record is not shown.
#[derive(Debug)]
pub(super) enum NotShown {
    /// Something is not what the ledger and the custodian say. Never served, always audited.
    Integrity(String),
    /// A newer version's key has not come, or a peer is away.
    Later(String),
    /// It was deleted.
    Deleted,
}

/// The id under which a custodian's record is shown here: keyed, so that it tells nothing and is the same each time.
pub fn local_id(gw: &Gateway, custodian: &AccountId, record: &RecordId) -> String {
    let mut name = custodian.0.to_vec();
    name.extend(record.0);
    let blind = gw.db.blind("foreign-id", &name);
    let mut id = String::from("f");
    id.push_str(&hex::encode(blind)[..31]);
    id
}

/// Opens one row and verifies it: the custodian's entry under the ledger's head, the blob's hash, the commitment.
pub(super) async fn open_row(
    gw: &Gateway,
    live: &Live,
    permit: &Permit,
    custodian: AccountId,
    row: &ManifestRow,
) -> Result<Zeroizing<Vec<u8>>, NotShown> {
    let entry = current(gw, custodian, row).await?;
    let key = live
        .data_key(&custodian, &row.record)
        .ok_or_else(|| NotShown::Integrity("the data key is not wrapped under the grant's key".to_owned()))?;
    let cid = parse_cid(&entry.cid).map_err(|e| NotShown::Integrity(e.to_string()))?;
    let blob = peers::fetch(gw, custodian, &cid).await.map_err(|fault| match fault {
        peers::FetchFault::Spoiled => NotShown::Integrity("the blob does not have its hash".to_owned()),
        peers::FetchFault::Away => NotShown::Later("the blob's holder does not answer".to_owned()),
    })?;
    let aad = Aad {
        chain: &gw.chain,
        custodian,
        handle: row.handle,
        record: row.record,
        resource_type: &row.resource_type,
        version: entry.version.0,
    };
    record::open(permit, &key, &aad, entry.previous, &entry.commitment, &blob)
        .map_err(|e| NotShown::Integrity(e.to_string()))
}

/// The custodian's entry of the latest version, proved under the ledger's head; it must be the version that was handed
/// over: an old version is not shown in place of the new.
async fn current(gw: &Gateway, custodian: AccountId, row: &ManifestRow) -> Result<DirectoryEntry, NotShown> {
    let (entry, _, _) =
        gw.directory.verify_leaf(&custodian, &row.handle, &row.record).await.map_err(|fault| match fault {
            DirectoryFault::Unavailable(what) => NotShown::Later(what),
            other => NotShown::Integrity(other.to_string()),
        })?;
    if entry.tombstone {
        return Err(NotShown::Deleted);
    }
    if entry.version != row.version {
        return Err(NotShown::Later("the key of the latest version has not come yet".to_owned()));
    }
    Ok(entry)
}

/// What the session knows of a row; opens it the first time.
pub(super) async fn index(
    gw: &Gateway,
    live: &Live,
    custodian: AccountId,
    row: &Arc<ManifestRow>,
) -> Result<Arc<Indexed>, NotShown> {
    if let Some(known) = live.indexed(&custodian, row) {
        return Ok(known);
    }
    let permit = machinery(Some((live.id, live.grant)));
    let plain = open_row(gw, live, &permit, custodian, row).await?;
    let value: Value =
        serde_json::from_slice(&plain).map_err(|_| NotShown::Integrity("the record is not JSON".to_owned()))?;
    let mut found = facts(&row.resource_type, &value);
    let patient = patient_of(&row.resource_type, &value)
        .and_then(|p| p.id)
        .or_else(|| (row.resource_type == "Patient").then(|| row.record.to_string()));
    found.patient =
        local_patient(gw, live, custodian, patient.as_deref()).map(|id| Reference::parse(&format!("Patient/{id}")));
    let category = categorize(&row.resource_type, &value);
    let admitted = class_of_resource(&row.resource_type, &value) != ResourceClass::Patient
        || live.admission.admits(category, found.date, row.last_updated);
    let indexed = Arc::new(Indexed {
        custodian,
        row: Arc::clone(row),
        id: local_id(gw, &custodian, &row.record),
        facts: found,
        category,
        admitted,
        patient,
    });
    live.remember(Arc::clone(&indexed));
    Ok(indexed)
}

/// Under which id the patient is known here: the chart's that is linked to the account, else the foreign Patient's own.
fn local_patient(gw: &Gateway, live: &Live, custodian: AccountId, theirs: Option<&str>) -> Option<String> {
    if let Some(chart) = gw.charts.by_account(&live.patient).first() {
        return Some(chart.id.to_string());
    }
    let record: RecordId = theirs?.parse().ok()?;
    Some(local_id(gw, &custodian, &record))
}

/// Opens a record for a person: demands that policy permits it, and gives the bytes to serve.
pub(super) async fn serve(
    gw: &Gateway,
    caller: &Caller,
    live: &Live,
    session: &Session,
    indexed: &Indexed,
) -> Result<Foreign, ServeFault> {
    let facts = SessionFacts {
        session,
        id: live.id,
        organization: gw.org,
        patient: live.patient,
        admitted: indexed.admitted,
        sensitive: indexed.category.tier() == Tier::Sensitive,
    };
    let permit = foreign(caller, &facts).map_err(ServeFault::Denied)?;
    let row = &indexed.row;
    let plain = open_row(gw, live, &permit, indexed.custodian, row).await.map_err(ServeFault::NotShown)?;
    let rewritten = Zeroizing::new(rewrite_references(&plain, &|text| rewrite(gw, live, indexed, text)));
    let source = format!("Organization/{}", indexed.custodian);
    let labels: &[&str] = &[indexed.category.code()];
    let organization = class_of(&row.resource_type) == ResourceClass::Organization;
    let bytes = splice(
        &rewritten,
        &Splice {
            id: &indexed.id,
            version: &row.version.to_string(),
            last_updated: &instant(row.last_updated),
            labels: if organization { &[] } else { labels },
            source: Some(&source),
        },
    );
    Ok(Foreign {
        resource_type: row.resource_type.clone(),
        id: indexed.id.clone(),
        version: row.version.0,
        last_updated: row.last_updated,
        bytes,
    })
}

/// Why a record was not served.
#[derive(Debug)]
pub(super) enum ServeFault {
    /// Policy said no.
    Denied(vouchsafe_types::Code),
    /// It could not be shown.
    NotShown(NotShown),
}

impl From<NotShown> for Fault {
    fn from(fault: NotShown) -> Self {
        match fault {
            NotShown::Integrity(_) => {
                Self::new(502, "security", "the record is not what its custodian anchored; it is not served")
                    .code("integrity")
            }
            NotShown::Later(why) => Self::unavailable(format!("the record cannot be opened now: {why}")),
            NotShown::Deleted => Self::new(410, "deleted", "the record was deleted").code("deleted"),
        }
    }
}

/// A reference of a foreign record, as it reads here.
fn rewrite(gw: &Gateway, live: &Live, indexed: &Indexed, text: &str) -> Option<String> {
    let reference = Reference::parse(text);
    if !reference.is_local() {
        return None;
    }
    let (kind, id) = (reference.resource_type?, reference.id?);
    if kind == "Patient" && indexed.patient.as_deref() == Some(id.as_str()) {
        return local_patient(gw, live, indexed.custodian, Some(&id)).map(|id| format!("Patient/{id}"));
    }
    let record: RecordId = id.parse().ok()?;
    let version = text.split_once("/_history/").map(|(_, v)| format!("/_history/{v}")).unwrap_or_default();
    Some(format!("{kind}/{}{version}", local_id(gw, &indexed.custodian, &record)))
}

impl Live {
    fn indexed(&self, custodian: &AccountId, row: &ManifestRow) -> Option<Arc<Indexed>> {
        let index = self.index.lock().unwrap_or_else(PoisonError::into_inner);
        index.get(&(*custodian, row.record)).filter(|i| i.row.version == row.version).cloned()
    }

    fn remember(&self, indexed: Arc<Indexed>) {
        let mut index = self.index.lock().unwrap_or_else(PoisonError::into_inner);
        index.insert((indexed.custodian, indexed.row.record), indexed);
    }
}

/// What a session has opened, by custodian and record.
pub(super) type Index = BTreeMap<(AccountId, RecordId), Arc<Indexed>>;
