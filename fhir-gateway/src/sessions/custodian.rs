//! The custodian's end of a session: when the ledger says that a session was opened under a grant of one of this
//! organisation's patients, the keys of exactly the admitted records are handed to the session, and to nobody else.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use serde_json::Value;
use tokio::sync::broadcast;
use vouchsafe_types::{
    AccountId, Count, RequestId, SessionId, TimeMs,
    ids::RecordId,
    state::{Request, Session},
};

use super::{
    admission::Admission,
    manifest::{self, Manifest, ManifestRow},
    receipts,
};
use crate::{
    consents,
    fhir::{
        compartment::{Reference, ResourceClass, class_of},
        search::facts,
    },
    gateway::Gateway,
    ledger::{self, View},
    peers::{self, Message},
    policy::session::machinery,
    records::{Chart, OpenError, RecordRow},
    seal::{GrantKey, jwe, oaep},
};

/// How long a hand-over waits for the grantee's gateway before it goes on in the background.
const HAND_OVER: Duration = Duration::from_secs(5);

/// What this custodian prepared and handed over. Keys are in memory only, and go when the grant or the session does.
#[derive(Default)]
pub struct Custodian {
    prepared: Mutex<BTreeMap<RequestId, Arc<Prepared>>>,
    handed: Mutex<BTreeMap<SessionId, RequestId>>,
    /// Sessions that were opened before the grant's sealed detail came.
    waiting: Mutex<BTreeMap<RequestId, BTreeSet<SessionId>>>,
}

/// One grant, ready for its sessions.
struct Prepared {
    charts: Vec<Chart>,
    admission: Admission,
    key: GrantKey,
    rows: Mutex<BTreeMap<RecordId, ManifestRow>>,
}

impl Custodian {
    fn prepared(&self, grant: &RequestId) -> Option<Arc<Prepared>> {
        self.prepared.lock().unwrap_or_else(PoisonError::into_inner).get(grant).cloned()
    }

    /// Forgets a grant with its key and its manifest.
    fn forget_grant(&self, grant: &RequestId) {
        self.prepared.lock().unwrap_or_else(PoisonError::into_inner).remove(grant);
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner).remove(grant);
    }

    /// Forgets that a session is to be told of new records.
    pub(super) fn forget_session(&self, session: &SessionId) {
        self.handed.lock().unwrap_or_else(PoisonError::into_inner).remove(session);
    }

    fn sessions_of(&self, grant: &RequestId) -> Vec<SessionId> {
        let handed = self.handed.lock().unwrap_or_else(PoisonError::into_inner);
        handed.iter().filter(|(_, of)| *of == grant).map(|(session, _)| *session).collect()
    }

    fn all_handed(&self) -> Vec<SessionId> {
        self.handed.lock().unwrap_or_else(PoisonError::into_inner).keys().copied().collect()
    }
}

/// A grant was given: prepares it, so that the opening costs one RSA operation.
pub(super) async fn granted(gw: &Arc<Gateway>, grant: RequestId) {
    if let Err(why) = prepare(gw, grant).await {
        tracing::debug!(%grant, %why, "a grant is not prepared yet");
    }
}

/// A session was opened: hands over, when the grant concerns a chart here and the ledger says that the session lives.
pub(super) async fn opened(gw: &Arc<Gateway>, session: SessionId, grant: RequestId, organization: AccountId) {
    if organization == gw.org {
        return;
    }
    match hand_over(gw, session, grant, None).await {
        Ok(()) => {}
        Err(NotHanded::NoDetail) => {
            let mut waiting = gw.sessions.custodian.waiting.lock().unwrap_or_else(PoisonError::into_inner);
            waiting.entry(grant).or_default().insert(session);
        }
        Err(NotHanded::NoChart) => {}
        // Told of old blocks at the start, most sessions are over.
        Err(why @ NotHanded::NotLive(_)) => tracing::debug!(%session, %why, "nothing is handed to a session"),
        Err(why) => tracing::warn!(%session, %why, "nothing was handed to a session"),
    }
}

/// A sealed detail came: sessions that were opened before it are served now.
pub fn detail_came(gw: &Arc<Gateway>, request: RequestId) {
    let waiting = {
        let mut waiting = gw.sessions.custodian.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        waiting.remove(&request)
    };
    for session in waiting.into_iter().flatten() {
        let gw = Arc::clone(gw);
        tokio::spawn(async move {
            if let Err(why) = hand_over(&gw, session, request, None).await {
                tracing::warn!(%session, %why, "nothing was handed to a session");
            }
        });
    }
}

/// A grant or its session ended: what was prepared, or is told of new records, is forgotten.
pub(super) fn revoked(gw: &Gateway, grant: RequestId) {
    let custodian = &gw.sessions.custodian;
    for session in custodian.sessions_of(&grant) {
        custodian.forget_session(&session);
    }
    custodian.forget_grant(&grant);
}

/// Forgets what ended without an act: sessions that expired or fell with a credential, and grants that ran out.
pub(super) async fn sweep(gw: &Arc<Gateway>) {
    for session in gw.sessions.custodian.all_handed() {
        let ended = ledger::session_live(&*gw.ledger, &gw.clock, &session).await.err();
        if ended.is_some_and(|ended| ended.code().is_some()) {
            gw.sessions.custodian.forget_session(&session);
        }
    }
    let now = ledger::now(&*gw.ledger, &gw.clock);
    let grants: Vec<_> = {
        let prepared = gw.sessions.custodian.prepared.lock().unwrap_or_else(PoisonError::into_inner);
        prepared.keys().copied().collect()
    };
    for grant in grants {
        let Ok(Some(request)) = View(&*gw.ledger).request(&grant).await else { continue };
        let lives = request
            .decision
            .as_ref()
            .is_some_and(|d| d.revoked.is_none() && d.granted.as_ref().is_some_and(|terms| now < terms.valid_until));
        if !lives {
            gw.sessions.custodian.forget_grant(&grant);
        }
    }
}

/// True while sessions may rest on the grant.
fn in_force(request: &Request, now: TimeMs) -> bool {
    request
        .decision
        .as_ref()
        .is_some_and(|d| d.revoked.is_none() && d.granted.as_ref().is_some_and(|terms| now < terms.valid_until))
}

/// A record of this organisation was written: sessions under grants that admit it get its key.
pub(super) async fn written(gw: &Arc<Gateway>, row: &RecordRow) {
    let concerned: Vec<_> = {
        let prepared = gw.sessions.custodian.prepared.lock().unwrap_or_else(PoisonError::into_inner);
        prepared
            .iter()
            .filter(|(_, p)| p.charts.iter().any(|c| c.id == row.chart))
            .map(|(id, p)| (*id, Arc::clone(p)))
            .collect()
    };
    for (grant, prepared) in concerned {
        let mut fresh = Vec::new();
        match reconsider(gw, &prepared, row, &mut fresh).await {
            Ok(true) => {}
            Ok(false) => continue,
            Err(why) => {
                tracing::warn!(%why, "a new record was not looked into");
                continue;
            }
        }
        for session in gw.sessions.custodian.sessions_of(&grant) {
            if let Err(why) = hand_over(gw, session, grant, Some(fresh.clone())).await {
                tracing::warn!(%session, %why, "a new record was not handed to a session");
            }
        }
    }
}

/// Why nothing was handed over.
#[derive(Debug, thiserror::Error)]
enum NotHanded {
    #[error("no chart here is linked to the patient")]
    NoChart,
    #[error("the grant's detail has not come, or is not the one that the ledger commits to")]
    NoDetail,
    #[error("the grant is not in force")]
    NoGrant,
    #[error("{0}")]
    Ledger(String),
    #[error("the records cannot be read: {0}")]
    Records(String),
    #[error("the session is not live: {0}")]
    NotLive(String),
    #[error("the release could not be audited")]
    Audit,
    #[error("a key is not usable")]
    Key,
}

async fn prepare(gw: &Arc<Gateway>, grant: RequestId) -> Result<Arc<Prepared>, NotHanded> {
    if let Some(prepared) = gw.sessions.custodian.prepared(&grant) {
        return Ok(prepared);
    }
    let view = View(&*gw.ledger);
    let request: Request =
        view.request(&grant).await.map_err(|e| NotHanded::Ledger(e.to_string()))?.ok_or(NotHanded::NoGrant)?;
    if !in_force(&request, ledger::now(&*gw.ledger, &gw.clock)) {
        return Err(NotHanded::NoGrant);
    }
    let charts = gw.charts.by_account(&request.patient);
    if charts.is_empty() {
        return Err(NotHanded::NoChart);
    }
    let terms = request.decision.as_ref().and_then(|d| d.granted.as_ref()).ok_or(NotHanded::NoGrant)?;
    let sealed = consents::detail(gw, grant, terms.detail).await.ok_or(NotHanded::NoDetail)?;
    let admission = Admission::of(grant, &request, &sealed).ok_or(NotHanded::NoDetail)?;
    // Heard from before the charts are listed: what is written between the listing and the moment from which `written`
    // finds the grant would otherwise reach no session of it.
    let mut meanwhile = gw.records.on_new();
    let prepared = Arc::new(Prepared { charts, admission, key: GrantKey::generate(), rows: Mutex::default() });
    for chart in &prepared.charts {
        let rows = gw.records.list(&chart.id, None).map_err(|e| NotHanded::Records(e.to_string()))?;
        for row in rows {
            add_if_admitted(gw, &prepared, &row, &mut Vec::new()).await?;
        }
    }
    let prepared = {
        let mut all = gw.sessions.custodian.prepared.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(all.entry(grant).or_insert(prepared))
    };
    if let Err(why) = catch_up(gw, &prepared, &mut meanwhile).await {
        gw.sessions.custodian.prepared.lock().unwrap_or_else(PoisonError::into_inner).remove(&grant);
        return Err(why);
    }
    Ok(prepared)
}

/// Adds what was written while a grant was being prepared.
async fn catch_up(
    gw: &Arc<Gateway>,
    prepared: &Prepared,
    meanwhile: &mut broadcast::Receiver<RecordRow>,
) -> Result<(), NotHanded> {
    loop {
        match meanwhile.try_recv() {
            Ok(row) if prepared.charts.iter().any(|chart| chart.id == row.chart) => {
                reconsider(gw, prepared, &row, &mut Vec::new()).await?;
            }
            Ok(_) => {}
            Err(broadcast::error::TryRecvError::Lagged(lost)) => {
                return Err(NotHanded::Records(format!("{lost} new records went by unseen")));
            }
            Err(_) => return Ok(()),
        }
    }
}

/// Adds a new version, or takes the record out: it may have left the grant, and the old key opens only the old version,
/// which is not shown.
async fn reconsider(
    gw: &Arc<Gateway>,
    prepared: &Prepared,
    row: &RecordRow,
    added: &mut Vec<ManifestRow>,
) -> Result<bool, NotHanded> {
    let admitted = add_if_admitted(gw, prepared, row, added).await?;
    if !admitted {
        prepared.rows.lock().unwrap_or_else(PoisonError::into_inner).remove(&row.id);
    }
    Ok(admitted)
}

/// Adds a record that the grant admits, and what it refers to of the organisation's own class: a Practitioner, a
/// Location, a Medication. False when the grant does not admit it.
async fn add_if_admitted(
    gw: &Arc<Gateway>,
    prepared: &Prepared,
    row: &RecordRow,
    added: &mut Vec<ManifestRow>,
) -> Result<bool, NotHanded> {
    // By the chart, not by the type: a Task or Device that names a patient lies in the patient's chart.
    if row.tombstone || row.chart == gw.charts.organization_chart().id {
        return Ok(false);
    }
    let Some(value) = look_into(gw, row).await? else { return Ok(false) };
    let found = facts(&row.resource_type, &value);
    if !prepared.admission.admits(found.category, found.date, row.last_updated) {
        return Ok(false);
    }
    let mut todo = vec![(row.clone(), value)];
    let mut seen = BTreeSet::from([row.id]);
    while let Some((row, value)) = todo.pop() {
        let entry = manifest_row(gw, &prepared.key, &row)?;
        let have = {
            let mut rows = prepared.rows.lock().unwrap_or_else(PoisonError::into_inner);
            rows.insert(row.id, entry.clone()).is_some_and(|have| have.version == entry.version)
        };
        added.push(entry);
        if have {
            continue;
        }
        for target in targets(gw, &value)? {
            if seen.insert(target.id) {
                todo.extend(look_into(gw, &target).await?.map(|value| (target, value)));
            }
        }
    }
    Ok(true)
}

/// An own record's content, to judge which grant admits it; none when it is not what was anchored, for one spoiled
/// record must not keep the others from the patient's doctor.
async fn look_into(gw: &Gateway, row: &RecordRow) -> Result<Option<Value>, NotHanded> {
    match gw.records.open(&machinery(None), row).await {
        Ok(opened) => Ok(serde_json::from_slice(opened.sealed_form()).ok()),
        Err(OpenError::Integrity(why)) => {
            tracing::error!(record = %row.id, why, "a record is not what was anchored and is handed to nobody");
            Ok(None)
        }
        Err(away) => Err(NotHanded::Records(away.to_string())),
    }
}

/// The own records of the organisation's class that a resource refers to.
fn targets(gw: &Gateway, value: &Value) -> Result<Vec<RecordRow>, NotHanded> {
    let mut texts = Vec::new();
    references(value, &mut texts);
    let own = gw.charts.organization_chart().id;
    let mut found = Vec::new();
    for text in texts {
        let reference = Reference::parse(text);
        let (Some(kind), Some(id)) = (&reference.resource_type, &reference.id) else { continue };
        if !reference.is_local() || class_of(kind) != ResourceClass::Organization {
            continue;
        }
        let Ok(id) = id.parse() else { continue };
        let target = gw.records.row(&id, None).map_err(|e| NotHanded::Records(e.to_string()))?;
        // A Task or Device in a patient's chart leaves by the grant's own admission only.
        found.extend(target.filter(|t| !t.tombstone && t.resource_type == *kind && t.chart == own));
    }
    Ok(found)
}

/// Every `reference` in a resource; its depth is bounded by what the gateway accepts.
fn references<'a>(value: &'a Value, out: &mut Vec<&'a str>) {
    match value {
        Value::Array(items) => items.iter().for_each(|item| references(item, out)),
        Value::Object(members) => {
            for (name, member) in members {
                match member {
                    Value::String(text) if name == "reference" => out.push(text),
                    other => references(other, out),
                }
            }
        }
        _ => {}
    }
}

fn manifest_row(gw: &Gateway, key: &GrantKey, row: &RecordRow) -> Result<ManifestRow, NotHanded> {
    let wrapped = gw.records.data_key_for_grant(row, key).map_err(|e| NotHanded::Records(e.to_string()))?;
    Ok(ManifestRow {
        handle: row.handle,
        record: row.id,
        version: row.version,
        resource_type: row.resource_type.clone(),
        last_updated: row.last_updated,
        key: wrapped,
    })
}

/// Hands to a session what its grant admits, or only `rows`, against the ledger's word that it lives; the release is
/// audited, durably, before anything leaves.
async fn hand_over(
    gw: &Arc<Gateway>,
    session_id: SessionId,
    grant: RequestId,
    rows: Option<Vec<ManifestRow>>,
) -> Result<(), NotHanded> {
    let prepared = prepare(gw, grant).await?;
    ledger::fresh(&*gw.ledger, &gw.clock).map_err(|e| NotHanded::Ledger(e.to_string()))?;
    let height = gw.ledger.head().height;
    let session = ledger::session_live(&*gw.ledger, &gw.clock, &session_id)
        .await
        .map_err(|e| NotHanded::NotLive(e.to_string()))?;
    if session.grant != grant {
        return Err(NotHanded::NoGrant);
    }
    let whole = rows.is_none();
    // Before the rows are taken: what is written from now on is told to the session by `written`.
    gw.sessions.custodian.handed.lock().unwrap_or_else(PoisonError::into_inner).insert(session_id, grant);
    let released = release(gw, &prepared, (session_id, &session), height, rows).await;
    if whole && released.is_err() {
        gw.sessions.custodian.forget_session(&session_id);
    }
    released
}

/// Audits, seals and sends; all that is prepared, or `rows`.
async fn release(
    gw: &Arc<Gateway>,
    prepared: &Prepared,
    (session_id, session): (SessionId, &Session),
    height: u64,
    rows: Option<Vec<ManifestRow>>,
) -> Result<(), NotHanded> {
    let whole = rows.is_none();
    let rows = rows
        .unwrap_or_else(|| prepared.rows.lock().unwrap_or_else(PoisonError::into_inner).values().cloned().collect());
    let endpoint = View(&*gw.ledger)
        .endpoint(&session.organization)
        .await
        .map_err(|e| NotHanded::Ledger(e.to_string()))?
        .ok_or_else(|| NotHanded::Ledger("the grantee has no endpoint".to_owned()))?;
    receipts::released(gw, &prepared.charts[0], session_id, session, height, rows.len())
        .await
        .map_err(|_| NotHanded::Audit)?;
    // An empty hand-over is one too: the grantee then knows that nothing is missing.
    let parts: Vec<_> = if rows.is_empty() { vec![&rows[..]] } else { rows.chunks(manifest::ROWS).collect() };
    let mut deliveries = Vec::new();
    for (index, rows) in parts.iter().enumerate() {
        let manifest = Manifest {
            custodian: gw.org,
            session: session_id,
            grant: session.grant,
            part: Count(if whole { index as u64 + 1 } else { 0 }),
            parts: Count(if whole { parts.len() as u64 } else { 0 }),
            height: Count(height),
            // The key that the opening named, as the ledger holds it: the grantee cannot name another afterwards.
            key: oaep::wrap_to(&session.recipient, &prepared.key).map_err(|_| NotHanded::Key)?,
            rows: rows.to_vec(),
        };
        let plain = zeroize::Zeroizing::new(serde_json::to_vec(&manifest).map_err(|_| NotHanded::Key)?);
        let sealed = jwe::encrypt_compact(manifest::TYP, &plain, &endpoint.rsa).map_err(|_| NotHanded::Key)?;
        deliveries.push(peers::deliver(gw, session.organization, Message::Manifest(sealed), HAND_OVER));
    }
    futures::future::join_all(deliveries).await;
    Ok(())
}
