//! What a custodian prepares when a grant commits: the keys of exactly the admitted records, wrapped under a key of the
//! grant's own, so that an opening costs one RSA operation.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Instant,
};

use futures::{FutureExt, StreamExt, stream};
use serde_json::Value;
use tokio::sync::broadcast;
use vouchsafe_types::{
    RequestId, SessionId, TimeMs,
    ids::RecordId,
    state::{Request, Session},
};

use super::{admission::Admission, manifest::ManifestRow};
use crate::{
    consents,
    fhir::{
        category::Tier,
        compartment::{Reference, ResourceClass, class_of},
    },
    gateway::Gateway,
    ledger::{self, View},
    policy::session::machinery,
    records::{Chart, OpenError, RecordRow},
    seal::{GrantKey, WrappedToRsa, oaep},
};

/// How many own records are looked into at the same time.
const AT_ONCE: usize = 8;

/// Why nothing was handed over.
#[derive(Debug, thiserror::Error)]
pub(super) enum NotHanded {
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

/// One grant, ready for its sessions. Its key is zeroized with it.
pub(super) struct Prepared {
    pub(super) charts: Vec<Chart>,
    admission: Admission,
    key: GrantKey,
    /// The key as the last session got it: all parts of a hand-over, and what is written later, carry the same wrap.
    wrap: Mutex<Option<(SessionId, WrappedToRsa)>>,
    rows: Mutex<Rows>,
    used: Mutex<Instant>,
}

/// What a grant admits.
#[derive(Default)]
struct Rows {
    /// Of the patient's charts, by category and date.
    admitted: BTreeMap<RecordId, Entry>,
    /// Of the organisation's own: what an admitted record leads to, or led to once.
    referred: BTreeMap<RecordId, Entry>,
}

/// One record version.
struct Entry {
    row: ManifestRow,
    /// The organisation's own records that it refers to.
    refers: Vec<RecordId>,
}

impl Rows {
    /// The referred records that these lead to, and those that they lead to.
    fn led_to<'a>(&'a self, from: impl Iterator<Item = &'a Entry>) -> Vec<ManifestRow> {
        let mut seen = BTreeSet::new();
        let mut todo: Vec<&Entry> = from.collect();
        let mut found = Vec::new();
        while let Some(entry) = todo.pop() {
            for record in &entry.refers {
                let Some(target) = self.referred.get(record).filter(|_| seen.insert(*record)) else { continue };
                found.push(target.row.clone());
                todo.push(target);
            }
        }
        found
    }
}

impl Prepared {
    fn rows(&self) -> MutexGuard<'_, Rows> {
        self.rows.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Everything that is handed to a session now: what is admitted, and of the organisation's own what that leads to.
    pub(super) fn all(&self) -> Vec<ManifestRow> {
        *self.used.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now();
        let rows = self.rows();
        let mut all: Vec<_> = rows.admitted.values().map(|entry| entry.row.clone()).collect();
        all.extend(rows.led_to(rows.admitted.values()));
        all
    }

    /// How many rows it holds.
    pub(super) fn len(&self) -> usize {
        let rows = self.rows();
        rows.admitted.len() + rows.referred.len()
    }

    /// When it was handed over last, or made.
    pub(super) fn used(&self) -> Instant {
        *self.used.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The grant key for a session, wrapped to the key that its opening named, as the ledger holds it: the grantee cannot
    /// name another afterwards.
    pub(super) fn key_for(&self, id: SessionId, session: &Session) -> Result<WrappedToRsa, NotHanded> {
        let mut wrap = self.wrap.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((of, wrapped)) = &*wrap
            && *of == id
        {
            return Ok(wrapped.clone());
        }
        let wrapped = oaep::wrap_to(&session.recipient, &self.key).map_err(|_| NotHanded::Key)?;
        *wrap = Some((id, wrapped.clone()));
        Ok(wrapped)
    }

    /// True when a version of an own record may change what it holds.
    pub(super) fn concerns(&self, row: &RecordRow) -> bool {
        self.charts.iter().any(|chart| chart.id == row.chart) || self.rows().referred.contains_key(&row.id)
    }

    /// Takes a new version of an own record: what sessions are to be handed because of it. A version that left the grant, or
    /// says that the record is deleted, takes the one before with it: its key is handed to nobody any more.
    pub(super) async fn reconsider(&self, gw: &Gateway, row: &RecordRow) -> Result<Vec<ManifestRow>, NotHanded> {
        if row.chart == gw.charts.organization_chart().id {
            return self.reconsider_referred(gw, row).await;
        }
        if self.add(gw, row).await? {
            let rows = self.rows();
            let Some(entry) = rows.admitted.get(&row.id) else { return Ok(Vec::new()) };
            let mut fresh = vec![entry.row.clone()];
            fresh.extend(rows.led_to(std::iter::once(entry)));
            return Ok(fresh);
        }
        self.rows().admitted.remove(&row.id);
        Ok(Vec::new())
    }

    async fn reconsider_referred(&self, gw: &Gateway, row: &RecordRow) -> Result<Vec<ManifestRow>, NotHanded> {
        if !self.rows().referred.contains_key(&row.id) {
            return Ok(Vec::new());
        }
        if row.tombstone || !self.may_be_referred(row) {
            self.rows().referred.remove(&row.id);
            return Ok(Vec::new());
        }
        self.add_referred(gw, vec![row.clone()]).await?;
        let rows = self.rows();
        let Some(entry) = rows.referred.get(&row.id) else { return Ok(Vec::new()) };
        let mut fresh = vec![entry.row.clone()];
        fresh.extend(rows.led_to(std::iter::once(entry)));
        // Only if an admitted record leads to it still.
        let led_to = rows.led_to(rows.admitted.values());
        fresh.retain(|one| led_to.iter().any(|row| row.record == one.record));
        Ok(fresh)
    }

    /// Adds a record of the patient's that the grant admits, and what it refers to of the organisation's own class: a
    /// Practitioner, a Location, a Medication. False when the grant does not admit it.
    async fn add(&self, gw: &Gateway, row: &RecordRow) -> Result<bool, NotHanded> {
        // By the chart, not by the type: a Task or Device that names a patient lies in the patient's chart.
        if row.tombstone || row.chart == gw.charts.organization_chart().id {
            return Ok(false);
        }
        if !self.admission.admits(row.category(), row.date(), row.last_updated) {
            return Ok(false);
        }
        let Some(value) = look_into(gw, row).await? else { return Ok(false) };
        let targets = targets(gw, &value)?;
        let refers = targets.iter().map(|target| target.id).collect();
        let entry = Entry { row: manifest_row(gw, &self.key, row)?, refers };
        self.rows().admitted.insert(row.id, entry);
        let missing = self.missing(targets);
        self.add_referred(gw, missing).await?;
        Ok(true)
    }

    /// Those of these that are not there yet, or in an older version.
    fn missing(&self, targets: Vec<RecordRow>) -> Vec<RecordRow> {
        let rows = self.rows();
        let there = |row: &RecordRow| rows.referred.get(&row.id).is_some_and(|have| have.row.version >= row.version);
        targets.into_iter().filter(|target| !there(target)).collect()
    }

    /// Adds records of the organisation's own, and what they refer to.
    async fn add_referred(&self, gw: &Gateway, mut todo: Vec<RecordRow>) -> Result<(), NotHanded> {
        let mut seen = BTreeSet::new();
        while let Some(row) = todo.pop() {
            if !seen.insert(row.id) || !self.may_be_referred(&row) {
                continue;
            }
            let Some(value) = look_into(gw, &row).await? else { continue };
            let targets = targets(gw, &value)?;
            let refers = targets.iter().map(|target| target.id).collect();
            let entry = Entry { row: manifest_row(gw, &self.key, &row)?, refers };
            self.rows().referred.insert(row.id, entry);
            todo.extend(self.missing(targets));
        }
        Ok(())
    }

    /// What is sensitive is granted by name only, whoever refers to it.
    fn may_be_referred(&self, row: &RecordRow) -> bool {
        row.category().tier() != Tier::Sensitive || self.admission.names(row.category())
    }
}

/// True while sessions may rest on the grant.
pub(super) fn in_force(request: &Request, now: TimeMs) -> bool {
    request
        .decision
        .as_ref()
        .is_some_and(|d| d.revoked.is_none() && d.granted.as_ref().is_some_and(|terms| now < terms.valid_until))
}

/// Prepares a grant that is in force.
pub(super) async fn make(gw: &Arc<Gateway>, grant: RequestId) -> Result<Prepared, NotHanded> {
    let request: Request = View(&*gw.ledger)
        .request(&grant)
        .await
        .map_err(|e| NotHanded::Ledger(e.to_string()))?
        .ok_or(NotHanded::NoGrant)?;
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
    let prepared = Prepared {
        charts,
        admission,
        key: GrantKey::generate(),
        wrap: Mutex::default(),
        rows: Mutex::default(),
        used: Mutex::new(Instant::now()),
    };
    for chart in &prepared.charts {
        let rows = gw.records.list(&chart.id, None).map_err(|e| NotHanded::Records(e.to_string()))?;
        let jobs: Vec<_> = rows.iter().map(|row| prepared.add(gw, row).boxed()).collect();
        let mut jobs = stream::iter(jobs).buffer_unordered(AT_ONCE);
        while let Some(added) = jobs.next().await {
            added?;
        }
    }
    Ok(prepared)
}

/// Adds what was written while a grant was being prepared.
pub(super) async fn catch_up(
    gw: &Gateway,
    prepared: &Prepared,
    meanwhile: &mut broadcast::Receiver<RecordRow>,
) -> Result<(), NotHanded> {
    loop {
        match meanwhile.try_recv() {
            Ok(row) if prepared.concerns(&row) => drop(prepared.reconsider(gw, &row).await?),
            Ok(_) => {}
            Err(broadcast::error::TryRecvError::Lagged(lost)) => {
                return Err(NotHanded::Records(format!("{lost} new records went by unseen")));
            }
            Err(_) => return Ok(()),
        }
    }
}

/// An own record's content, for what it refers to; none when it is not what was anchored, for one spoiled record must not
/// keep the others from the patient's doctor.
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
        previous: row.previous,
        cid: row.cid.clone(),
        key: wrapped,
    })
}
