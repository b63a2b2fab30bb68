//! The grantee's end of a session: its RSA key, the manifests that custodians hand over, and what may be opened by them.
//! All of it is in memory only and goes with the session.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex, PoisonError},
    time::Instant,
};

use vouchsafe_types::{AccountId, Code, RequestId, RsaJwk, SessionId, ids::RecordId, state::Session};

use super::{
    admission::Admission,
    foreign,
    manifest::{self, Manifest, ManifestRow},
};
use crate::{
    auth::{Caller, Who},
    consents::ledger_fault,
    gateway::Gateway,
    http::Fault,
    ledger::{self, NotLive},
    seal::{DataKey, GrantKey, KeyWrapping, RsaUnwrap, device::RsaKey, jwe, oaep},
};

/// The sessions of this gateway's doctors, while they live.
#[derive(Default)]
pub struct Grantee {
    live: Mutex<BTreeMap<SessionId, Arc<Live>>>,
}

/// A session of a doctor of this organisation.
pub struct Live {
    /// The session.
    pub id: SessionId,
    /// The grant it was opened under.
    pub grant: RequestId,
    /// The doctor.
    pub doctor: AccountId,
    /// The patient.
    pub patient: AccountId,
    /// May it write?
    pub write: bool,
    /// How many custodians the patient sealed the grant to, when the wallet said so.
    expected: Option<usize>,
    /// When it was opened here, to find the newest.
    since: Instant,
    /// The session's own RSA key; only this process has it.
    key: RsaKey,
    sources: Mutex<BTreeMap<AccountId, Source>>,
    /// What the grant admits, by its committed detail.
    pub(super) admission: Admission,
    pub(super) index: Mutex<foreign::Index>,
}

/// What one custodian handed over.
#[derive(Default)]
struct Source {
    /// How many parts the whole has; 0 until the first came.
    parts: u64,
    came: BTreeSet<u64>,
    /// Each row with the key that its own data key is wrapped under.
    rows: BTreeMap<RecordId, (Arc<GrantKey>, Arc<ManifestRow>)>,
}

impl std::fmt::Debug for Live {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Live(..)")
    }
}

impl Live {
    /// A session that was just opened with the key that its opening names.
    pub(crate) fn new(
        id: SessionId,
        session: &Session,
        key: RsaKey,
        expected: Option<usize>,
        admission: Admission,
    ) -> Self {
        Self {
            id,
            grant: session.grant,
            doctor: session.doctor,
            patient: session.patient,
            write: session.write,
            expected,
            since: Instant::now(),
            key,
            sources: Mutex::default(),
            admission,
            index: Mutex::default(),
        }
    }

    /// How many custodians have not answered yet.
    pub fn missing(&self) -> usize {
        let sources = self.sources.lock().unwrap_or_else(PoisonError::into_inner);
        let answered = sources.values().filter(|s| s.parts > 0 && s.came.len() as u64 == s.parts).count();
        self.expected.map_or(0, |expected| expected.saturating_sub(answered))
    }

    /// The public half of the session's key.
    pub fn recipient(&self) -> RsaJwk {
        self.key.public()
    }

    /// What the custodians handed over, each row with its custodian.
    pub(super) fn rows(&self) -> Vec<(AccountId, Arc<ManifestRow>)> {
        let sources = self.sources.lock().unwrap_or_else(PoisonError::into_inner);
        sources.iter().flat_map(|(org, s)| s.rows.values().map(|(_, row)| (*org, Arc::clone(row)))).collect()
    }

    /// The data key of a record; none when it is not wrapped under the custodian's grant key.
    pub(super) fn data_key(&self, custodian: &AccountId, record: &RecordId) -> Option<DataKey> {
        let (key, row) = {
            let sources = self.sources.lock().unwrap_or_else(PoisonError::into_inner);
            sources.get(custodian)?.rows.get(record)?.clone()
        };
        key.unwrap(&row.key).ok()
    }

    fn take(&self, from: AccountId, key: GrantKey, manifest: Manifest) {
        let key = Arc::new(key);
        let mut sources = self.sources.lock().unwrap_or_else(PoisonError::into_inner);
        let source = sources.entry(from).or_default();
        if manifest.part.0 > 0 {
            source.parts = manifest.parts.0;
            source.came.insert(manifest.part.0);
        }
        for row in manifest.rows {
            // Messages may arrive out of order; an older version never takes the place of a newer one.
            let newer = source.rows.get(&row.record).is_none_or(|(_, have)| have.version <= row.version);
            if newer {
                source.rows.insert(row.record, (Arc::clone(&key), Arc::new(row)));
            }
        }
    }
}

impl Grantee {
    /// Keeps a session that was opened here.
    pub(crate) fn keep(&self, live: Arc<Live>) {
        self.live.lock().unwrap_or_else(PoisonError::into_inner).insert(live.id, live);
    }

    /// A session that was opened here and has not ended, as far as this gateway knows.
    pub fn get(&self, id: &SessionId) -> Option<Arc<Live>> {
        self.live.lock().unwrap_or_else(PoisonError::into_inner).get(id).cloned()
    }

    /// Forgets a session; its keys are zeroized when the last call that uses it ends.
    pub(super) fn forget(&self, id: &SessionId) {
        self.live.lock().unwrap_or_else(PoisonError::into_inner).remove(id);
    }

    /// Forgets all sessions under a grant.
    pub(super) fn forget_grant(&self, grant: &RequestId) {
        self.live.lock().unwrap_or_else(PoisonError::into_inner).retain(|_, live| live.grant != *grant);
    }

    /// The sessions of one doctor, newest first.
    pub(super) fn of_doctor(&self, doctor: AccountId) -> Vec<Arc<Live>> {
        let live = self.live.lock().unwrap_or_else(PoisonError::into_inner);
        let mut mine: Vec<_> = live.values().filter(|l| l.doctor == doctor).cloned().collect();
        mine.sort_by_key(|l| std::cmp::Reverse(l.since));
        mine
    }

    fn all(&self) -> Vec<SessionId> {
        self.live.lock().unwrap_or_else(PoisonError::into_inner).keys().copied().collect()
    }
}

/// Forgets sessions that are over for whatever reason, so that no key outlives its session by more than a block.
pub(super) async fn sweep(gw: &Gateway) {
    for id in gw.sessions.grantee.all() {
        if let Err(NotLive::Refused(rejection)) = ledger::session_live(&*gw.ledger, &gw.clock, &id).await {
            forget_if_over(gw, &id, rejection.code);
        }
    }
}

/// A session that the ledger does not know yet is on its way there: its key was made before its opening was submitted.
fn forget_if_over(gw: &Gateway, id: &SessionId, code: Code) {
    if code != Code::NotFound {
        gw.sessions.grantee.forget(id);
    }
}

/// The doctor who calls; sessions are theirs alone.
pub(super) fn doctor_of(caller: &Caller) -> Option<AccountId> {
    match &caller.who {
        Who::Practitioner { account, .. } => Some(*account),
        _ => None,
    }
}

/// Judges, for one act, that a session of this caller is live: by the ledger, which must be fresh, and never by memory.
pub(super) async fn check(gw: &Gateway, caller: &Caller, live: &Live) -> Result<Session, Fault> {
    if doctor_of(caller) != Some(live.doctor) {
        return Err(Fault::forbidden(Code::NotTheDoctor.name(), "the session is another doctor's"));
    }
    let session = judge_id(gw, &live.id).await?;
    if session.doctor != live.doctor || session.organization != gw.org || session.patient != live.patient {
        return Err(Fault::forbidden(Code::NotTheDoctor.name(), "the session is another's"));
    }
    Ok(session)
}

/// Judges by the ledger that a session is live.
pub(super) async fn judge_id(gw: &Gateway, id: &SessionId) -> Result<Session, Fault> {
    ledger::fresh(&*gw.ledger, &gw.clock)
        .map_err(|stale| Fault::unavailable(format!("the ledger is stale: {stale}")))?;
    match ledger::session_live(&*gw.ledger, &gw.clock, id).await {
        Ok(session) => Ok(session),
        Err(NotLive::Refused(rejection)) => {
            forget_if_over(gw, id, rejection.code);
            let code = if rejection.code == Code::NotFound { Code::SessionNotLive } else { rejection.code };
            Err(Fault::forbidden(code.name(), "the session is not live"))
        }
        Err(NotLive::Ledger(error)) => Err(ledger_fault(error)),
    }
}

/// Takes a part of a hand-over. It counts only when it is from its custodian, for a session that was opened here and
/// lives, under that session's grant, and its key opens with the session's own RSA key.
///
/// # Errors
/// 400, 403 and 422, so that the custodian does not try again.
pub async fn take_manifest(gw: &Arc<Gateway>, from: AccountId, sealed: &str) -> Result<(), Fault> {
    let own = gw.keystore.rsa("org").map_err(|_| Fault::internal("the wrapping key is not in the keystore"))?;
    let plain = jwe::decrypt_compact(manifest::TYP, sealed, &*own)
        .map_err(|_| Fault::invalid("the manifest is not sealed to this organisation").code("substituted-key"))?;
    let manifest: Manifest =
        serde_json::from_slice(&plain).map_err(|_| Fault::malformed("the manifest is not of its form"))?;
    if !manifest.is_bounded() {
        return Err(Fault::invalid("the manifest has more rows or parts than one may have").code("too-many"));
    }
    if manifest.custodian != from {
        return Err(Fault::invalid("the manifest is another custodian's than the message").code("wrong-custodian"));
    }
    let Some(live) = gw.sessions.grantee.get(&manifest.session) else {
        return Err(Fault::invalid("no such session was opened here").code(Code::SessionNotLive.name()));
    };
    if live.grant != manifest.grant {
        return Err(Fault::invalid("the manifest is of another grant than the session").code(Code::NotGranted.name()));
    }
    judge_id(gw, &live.id).await?;
    let key = oaep::unwrap_with::<GrantKey>(&live.key, &manifest.key).map_err(|_| {
        tracing::warn!(custodian = %from, "a manifest's key is not wrapped to the session's key");
        Fault::invalid("the grant key is not wrapped to the session's key").code("substituted-key")
    })?;
    live.take(from, key, manifest);
    Ok(())
}
