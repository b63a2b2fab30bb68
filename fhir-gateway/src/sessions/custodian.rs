//! The custodian's end of a session: when the ledger says that a session was opened under a grant of one of this
//! organisation's patients, the keys of exactly the admitted records are handed to the session, and to nobody else.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use tokio::sync::Semaphore;
use vouchsafe_types::{AccountId, Count, RequestId, SessionId, state::Session};

use super::{
    manifest::{self, Manifest, ManifestRow},
    prepared::{self, NotHanded, Prepared},
    receipts,
};
use crate::{
    gateway::Gateway,
    ledger::{self, View},
    peers::{self, Message},
    records::RecordRow,
    seal::jwe,
};

/// How many rows of all grants are kept ready. Beyond, what was used longest ago is forgotten and prepared anew when a
/// session is opened.
const MOST_ROWS: usize = 200_000;

/// How many grants are prepared ahead at the same time: a gateway that starts meets all that are in force.
const AHEAD: usize = 2;

/// What this custodian prepared and handed over. Keys are in memory only, and go when the grant or the session does.
pub struct Custodian {
    prepared: Mutex<BTreeMap<RequestId, Arc<Prepared>>>,
    handed: Mutex<BTreeMap<SessionId, RequestId>>,
    /// Sessions that were opened before the grant's sealed detail came.
    waiting: Mutex<BTreeMap<RequestId, BTreeSet<SessionId>>>,
    /// Grants that are being prepared, so that none is prepared twice at a time.
    preparing: Mutex<BTreeMap<RequestId, Arc<tokio::sync::Mutex<()>>>>,
    ahead: Semaphore,
}

impl Default for Custodian {
    fn default() -> Self {
        Self {
            prepared: Mutex::default(),
            handed: Mutex::default(),
            waiting: Mutex::default(),
            preparing: Mutex::default(),
            ahead: Semaphore::new(AHEAD),
        }
    }
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Custodian {
    fn prepared(&self, grant: &RequestId) -> Option<Arc<Prepared>> {
        locked(&self.prepared).get(grant).cloned()
    }

    /// Keeps what was prepared, and forgets of others what is too much; what live sessions rest on stays.
    fn keep(&self, grant: RequestId, prepared: Arc<Prepared>) {
        let resting: BTreeSet<RequestId> = locked(&self.handed).values().copied().collect();
        let mut all = locked(&self.prepared);
        all.insert(grant, prepared);
        let mut rows: usize = all.values().map(|p| p.len()).sum();
        let mut oldest: Vec<_> = all.iter().map(|(id, p)| (p.used(), *id, p.len())).collect();
        oldest.sort_unstable();
        for (_, id, len) in oldest {
            if rows <= MOST_ROWS {
                break;
            }
            if id != grant && !resting.contains(&id) {
                all.remove(&id);
                rows -= len;
            }
        }
    }

    /// Forgets a grant with its key and its manifest.
    fn forget_grant(&self, grant: &RequestId) {
        locked(&self.prepared).remove(grant);
        locked(&self.waiting).remove(grant);
    }

    /// Forgets that a session is to be told of new records.
    pub(super) fn forget_session(&self, session: &SessionId) {
        locked(&self.handed).remove(session);
    }

    fn sessions_of(&self, grant: &RequestId) -> Vec<SessionId> {
        locked(&self.handed).iter().filter(|(_, of)| *of == grant).map(|(session, _)| *session).collect()
    }
}

/// A grant was given: prepares it, so that the opening costs one RSA operation.
pub(super) async fn granted(gw: &Arc<Gateway>, grant: RequestId) {
    let Ok(_one) = gw.sessions.custodian.ahead.acquire().await else { return };
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
            locked(&gw.sessions.custodian.waiting).entry(grant).or_default().insert(session);
        }
        Err(NotHanded::NoChart) => {}
        // Told of old blocks at the start, most sessions are over.
        Err(why @ NotHanded::NotLive(_)) => tracing::debug!(%session, %why, "nothing is handed to a session"),
        Err(why) => tracing::warn!(%session, %why, "nothing was handed to a session"),
    }
}

/// A sealed detail came: its grant is prepared, if it was given, and sessions that were opened before it are served now.
pub fn detail_came(gw: &Arc<Gateway>, request: RequestId) {
    let waiting = locked(&gw.sessions.custodian.waiting).remove(&request);
    let gw = Arc::clone(gw);
    tokio::spawn(async move {
        granted(&gw, request).await;
        for session in waiting.into_iter().flatten() {
            if let Err(why) = hand_over(&gw, session, request, None).await {
                tracing::warn!(%session, %why, "nothing was handed to a session");
            }
        }
    });
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
    let handed: Vec<_> = locked(&gw.sessions.custodian.handed).keys().copied().collect();
    for session in handed {
        let ended = ledger::session_live(&*gw.ledger, &gw.clock, &session).await.err();
        if ended.is_some_and(|ended| ended.code().is_some()) {
            gw.sessions.custodian.forget_session(&session);
        }
    }
    let grants: Vec<_> = locked(&gw.sessions.custodian.prepared).keys().copied().collect();
    for grant in grants {
        forget_if_over(gw, grant).await;
    }
}

async fn forget_if_over(gw: &Gateway, grant: RequestId) {
    let Ok(Some(request)) = View(&*gw.ledger).request(&grant).await else { return };
    if !prepared::in_force(&request, ledger::now(&*gw.ledger, &gw.clock)) {
        gw.sessions.custodian.forget_grant(&grant);
    }
}

/// Records of this organisation were written: sessions under grants that admit them get their keys.
pub(super) async fn written(gw: &Arc<Gateway>, rows: &[RecordRow]) {
    let all: Vec<_> =
        locked(&gw.sessions.custodian.prepared).iter().map(|(id, prepared)| (*id, Arc::clone(prepared))).collect();
    for (grant, prepared) in all {
        let mut fresh: BTreeMap<_, ManifestRow> = BTreeMap::new();
        for row in rows.iter().filter(|row| prepared.concerns(row)) {
            match prepared.reconsider(gw, row).await {
                Ok(some) => fresh.extend(some.into_iter().map(|row| (row.record, row))),
                Err(why) => tracing::warn!(%why, "a new record was not looked into"),
            }
        }
        if fresh.is_empty() {
            continue;
        }
        for session in gw.sessions.custodian.sessions_of(&grant) {
            let rows = fresh.values().cloned().collect();
            if let Err(why) = hand_over(gw, session, grant, Some(rows)).await {
                tracing::warn!(%session, %why, "new records were not handed to a session");
            }
        }
    }
}

/// New records went by unseen: every grant is prepared anew, those of live sessions at once.
pub(super) async fn lost(gw: &Arc<Gateway>) {
    let grants = std::mem::take(&mut *locked(&gw.sessions.custodian.prepared));
    for grant in grants.into_keys() {
        for session in gw.sessions.custodian.sessions_of(&grant) {
            if let Err(why) = hand_over(gw, session, grant, None).await {
                tracing::warn!(%session, %why, "new records were not handed to a session");
            }
        }
    }
}

/// The grant, ready; prepared now when it was not, or when the patient's charts are others than then.
async fn prepare(gw: &Arc<Gateway>, grant: RequestId) -> Result<Arc<Prepared>, NotHanded> {
    let custodian = &gw.sessions.custodian;
    let one = Arc::clone(locked(&custodian.preparing).entry(grant).or_default());
    let made = {
        let _one = one.lock().await;
        prepare_alone(gw, grant).await
    };
    let mut preparing = locked(&custodian.preparing);
    // Two hold it: this call and the map.
    if preparing.get(&grant).is_some_and(|kept| Arc::strong_count(kept) <= 2) {
        preparing.remove(&grant);
    }
    drop(preparing);
    made
}

async fn prepare_alone(gw: &Arc<Gateway>, grant: RequestId) -> Result<Arc<Prepared>, NotHanded> {
    let custodian = &gw.sessions.custodian;
    if let Some(prepared) = custodian.prepared(&grant) {
        let linked = prepared.charts.iter().all(|chart| {
            let now = gw.charts.by_id(&chart.id);
            now.is_some_and(|now| now.account.is_some() && now.account == chart.account)
        });
        if linked {
            return Ok(prepared);
        }
        custodian.forget_grant(&grant);
    }
    // Heard from before the charts are listed: what is written between the listing and the moment from which `written`
    // finds the grant would otherwise reach no session of it.
    let mut meanwhile = gw.records.on_new();
    let prepared = Arc::new(prepared::make(gw, grant).await?);
    custodian.keep(grant, Arc::clone(&prepared));
    if let Err(why) = prepared::catch_up(gw, &prepared, &mut meanwhile).await {
        custodian.forget_grant(&grant);
        return Err(why);
    }
    // It may have been revoked meanwhile, and that it was is told once.
    forget_if_over(gw, grant).await;
    Ok(prepared)
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
    locked(&gw.sessions.custodian.handed).insert(session_id, grant);
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
    let rows = rows.unwrap_or_else(|| prepared.all());
    let endpoint = View(&*gw.ledger)
        .endpoint(&session.organization)
        .await
        .map_err(|e| NotHanded::Ledger(e.to_string()))?
        .ok_or_else(|| NotHanded::Ledger("the grantee has no endpoint".to_owned()))?;
    receipts::released(gw, &prepared.charts[0], session_id, session, height, rows.len())
        .await
        .map_err(|_| NotHanded::Audit)?;
    let key = prepared.key_for(session_id, session)?;
    // An empty hand-over is one too: the grantee then knows that nothing is missing.
    let parts = rows.len().div_ceil(manifest::ROWS).max(1) as u64;
    let mut rows = rows.into_iter();
    for part in 1..=parts {
        let manifest = Manifest {
            custodian: gw.org,
            session: session_id,
            grant: session.grant,
            part: Count(if whole { part } else { 0 }),
            parts: Count(if whole { parts } else { 0 }),
            height: Count(height),
            key: key.clone(),
            rows: rows.by_ref().take(manifest::ROWS).collect(),
        };
        let plain = zeroize::Zeroizing::new(serde_json::to_vec(&manifest).map_err(|_| NotHanded::Key)?);
        let sealed = jwe::encrypt_compact(manifest::TYP, &plain, &endpoint.rsa).map_err(|_| NotHanded::Key)?;
        peers::send(gw, session.organization, Message::Manifest(sealed));
    }
    Ok(())
}
