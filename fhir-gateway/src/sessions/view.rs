//! What a session lets a search know of, and how what it found is opened.

use std::{collections::BTreeMap, sync::Arc};

use serde_json::Value;
use vouchsafe_types::{AccountId, Code, RecordId, state::Session};

use super::{
    Foreign, ForeignKey, ForeignUniverse, Live, about,
    foreign::{Dress, NotShown, local_id, local_patient, open_row},
    grantee, index, outcomes,
    receipts::{self, Deed},
    served,
    universe::{Doc, Snapshot},
};
use crate::{
    auth::Caller,
    blobs::parse_cid,
    fhir::{
        audit::AuditKind,
        category::Tier,
        compartment::{ResourceClass, class_of},
    },
    gateway::Gateway,
    http::Fault,
    peers::{self, FetchFault},
    policy::{
        Permit,
        session::{SessionFacts, foreign},
    },
};

/// A look into a live session at one moment.
pub struct View {
    /// Exactly the records that the caller may know of now.
    pub universe: ForeignUniverse,
    /// OperationOutcomes for the Bundle, with search mode `outcome`: "limited by consent" always, and what is missing for
    /// other reasons than consent.
    pub outcomes: Vec<Value>,
    live: Arc<Live>,
}

/// What was opened for one page.
pub struct Shown {
    /// The resources, in the order in which they were asked for. One that cannot be shown any more is left out.
    pub resources: Vec<(ForeignKey, Foreign)>,
    /// What is to be said besides of what was left out for other reasons than consent.
    pub outcomes: Vec<Value>,
}

/// Looks into a session for a search: judges that it lives and is the caller's, waits until what its custodians handed
/// over is indexed, and leaves out what the caller may not know of.
///
/// # Errors
/// 403 when the session ended or is another's, 503 when the ledger is stale.
pub async fn view(gw: &Arc<Gateway>, caller: &Caller, live: &Arc<Live>) -> Result<View, Fault> {
    grantee::check(gw, caller, live).await?;
    live.touch((gw.clock)());
    live.settled().await;
    let snapshot = index::current(gw, live).await;
    // Judged after the work: nothing of a session is known that ended meanwhile.
    let session = grantee::check(gw, caller, live).await?;
    let universe = universe(gw, caller, live, &session, &snapshot);
    Ok(View { universe, outcomes: outcomes(live.missing(), snapshot.spoiled()), live: Arc::clone(live) })
}

/// What a caller may know of: what policy permits record by record.
pub(super) fn universe(
    gw: &Gateway,
    caller: &Caller,
    live: &Live,
    session: &Session,
    snapshot: &Arc<Snapshot>,
) -> ForeignUniverse {
    snapshot.universe(|doc| permit(gw, caller, live, session, doc).is_ok())
}

/// Policy's word on one record.
fn permit(gw: &Gateway, caller: &Caller, live: &Live, session: &Session, doc: &Doc) -> Result<Permit, Code> {
    let facts = SessionFacts {
        session,
        id: live.id,
        organization: gw.org,
        patient: live.patient,
        admitted: doc.admitted,
        sensitive: doc.category.tier() == Tier::Sensitive,
    };
    foreign(caller, &facts)
}

impl View {
    /// The id by which all resources of this session name the patient, when a chart here is linked to the patient. A search
    /// that names another chart of the same patient means this one.
    pub fn patient(&self, gw: &Gateway) -> Option<String> {
        gw.charts.by_account(&self.live.patient).first().map(|chart| chart.id.to_string())
    }

    /// Opens the matches and the includes of one page: one interaction, with its AuditEvent here and its receipt for the
    /// patient. Call it for an empty page too: that nothing was found is an access as well.
    ///
    /// # Errors
    /// 403 when the session ended meanwhile, 503 when the ledger is stale or the audit log cannot write.
    pub async fn open(
        &self,
        gw: &Arc<Gateway>,
        caller: &Caller,
        keys: &[ForeignKey],
        query: &str,
    ) -> Result<Shown, Fault> {
        let live = &self.live;
        let slot = gw.audit.reserve().await.map_err(|_| Fault::unavailable("the audit log cannot write"))?;
        let slot = slot.about(about(caller, live));
        let opened = open(gw, caller, live, keys).await;
        // Judged again after the work: nothing leaves at or above the height of a revocation that came meanwhile.
        let (mut opened, forged) = match (opened, grantee::check(gw, caller, live).await) {
            (Ok(opened), Ok(_)) => opened,
            (Err(fault), _) | (_, Err(fault)) => {
                slot.release();
                return Err(fault);
            }
        };
        let mut resources = Vec::new();
        let mut spoiled = Vec::new();
        for key in keys {
            match opened.remove(key) {
                Some(Ok(resource)) => resources.push((*key, resource)),
                Some(Err(fault)) => spoiled.push(fault),
                None => {}
            }
        }
        let what: Vec<_> = resources.iter().map(|(_, one)| one.reference()).collect();
        served::remember(gw, live.doctor, resources.iter().map(|(_, one)| one)).await?;
        let forged = forged || spoiled.iter().any(|fault| matches!(fault, NotShown::Integrity(_)));
        let deed =
            Deed { kind: AuditKind::Query, what: &what, query: Some(query), failed: forged.then_some("integrity") };
        receipts::access(gw, caller, live, slot, &deed);
        let told = spoiled.iter().filter(|fault| fault.is_told()).count();
        Ok(Shown { resources, outcomes: outcomes(0, told).split_off(1) })
    }
}

/// What opening gave, by key. What the caller may not know of any more is not in it.
type Opened = BTreeMap<ForeignKey, Result<Foreign, NotShown>>;

/// Opens records for a person, each by a permit of its own, against the ledger's heads of this moment. Says too whether the
/// session holds something that is not what was anchored.
pub(super) async fn open(
    gw: &Arc<Gateway>,
    caller: &Caller,
    live: &Arc<Live>,
    keys: &[ForeignKey],
) -> Result<(Opened, bool), Fault> {
    let snapshot = index::current(gw, live).await;
    let session = grantee::check(gw, caller, live).await?;
    let universe = universe(gw, caller, live, &session, &snapshot);
    let mut permitted: BTreeMap<AccountId, Vec<(Permit, Arc<Doc>)>> = BTreeMap::new();
    for key in keys {
        // Another version is another key: what matched is what is served, or nothing.
        let Some(doc) = universe.doc(key.custodian, key.record).filter(|doc| doc.key == *key) else { continue };
        let Ok(permit) = permit(gw, caller, live, &session, doc) else { continue };
        permitted.entry(key.custodian).or_default().push((permit, Arc::clone(doc)));
    }
    let mut opened = Opened::new();
    for (custodian, docs) in permitted {
        opened.extend(open_of(gw, live, custodian, docs).await?);
    }
    Ok((opened, snapshot.is_forged()))
}

async fn open_of(
    gw: &Arc<Gateway>,
    live: &Arc<Live>,
    custodian: AccountId,
    docs: Vec<(Permit, Arc<Doc>)>,
) -> Result<Opened, Fault> {
    let cids: Vec<_> = docs.iter().filter_map(|(_, doc)| parse_cid(&doc.row.cid).ok()).collect();
    let blobs = peers::fetch_all(gw, custodian, &cids).await;
    let linked = gw.charts.by_account(&live.patient).first().map(|chart| chart.id.to_string());
    let (gw, live) = (Arc::clone(gw), Arc::clone(live));
    let opening = move || {
        let mut opened = Opened::new();
        for (permit, doc) in &docs {
            let blob = parse_cid(&doc.row.cid).ok().and_then(|cid| blobs.get(&cid).cloned());
            let served = blob.unwrap_or(Err(FetchFault::Away)).map_err(NotShown::from).and_then(|blob| {
                let plain = open_row(&gw, &live, permit, (custodian, &doc.row), &doc.commitment, &blob)?;
                Ok(dressed(&gw, linked.as_deref(), doc, &plain))
            });
            opened.insert(doc.key, served);
        }
        opened
    };
    tokio::task::spawn_blocking(opening).await.map_err(|_| Fault::internal("foreign records were not opened"))
}

fn dressed(gw: &Gateway, linked: Option<&str>, doc: &Doc, plain: &[u8]) -> Foreign {
    let row = &doc.row;
    let custodian = doc.key.custodian;
    let ours = local_patient(gw, linked, &custodian, doc.patient.as_deref());
    let label = (class_of(&row.resource_type) != ResourceClass::Organization).then_some(doc.category);
    let id_of = |record: &RecordId| local_id(gw, &custodian, record);
    let theirs = doc.patient.as_deref();
    let dress = Dress { id_of: &id_of, custodian, row, theirs, ours: ours.as_deref(), label };
    Foreign {
        resource_type: row.resource_type.clone(),
        id: doc.id.clone(),
        version: row.version.0,
        last_updated: row.last_updated,
        bytes: dress.bytes(plain),
    }
}
