//! The grantee's end of sessions: which there are, whether they live, and the manifests that custodians hand over.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
};

use vouchsafe_types::{AccountId, Code, RequestId, SessionId, state::Session};

use super::{
    Live, index,
    live::NotTaken,
    local_id,
    manifest::{self, Manifest},
};
use crate::{
    auth::{Caller, Who},
    consents::ledger_fault,
    gateway::Gateway,
    http::Fault,
    ledger::{self, NotLive},
    seal::jwe,
};

/// The sessions of this gateway's doctors, while they live.
#[derive(Default)]
pub struct Grantee {
    live: Mutex<BTreeMap<SessionId, Arc<Live>>>,
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

    /// Forgets a session; what it holds is zeroized at once, whatever still waits for it.
    pub(super) fn forget(&self, id: &SessionId) {
        let gone = self.live.lock().unwrap_or_else(PoisonError::into_inner).remove(id);
        if let Some(live) = gone {
            live.close();
        }
    }

    /// Forgets all sessions under a grant.
    pub(super) fn forget_grant(&self, grant: &RequestId) {
        let gone: Vec<_> = self.all().into_iter().filter(|live| live.grant == *grant).map(|live| live.id).collect();
        for id in gone {
            self.forget(&id);
        }
    }

    /// The sessions of one doctor, newest first.
    pub(super) fn of_doctor(&self, doctor: AccountId) -> Vec<Arc<Live>> {
        let live = self.live.lock().unwrap_or_else(PoisonError::into_inner);
        let mut mine: Vec<_> = live.values().filter(|l| l.doctor == doctor).cloned().collect();
        mine.sort_by_key(|l| std::cmp::Reverse(l.since));
        mine
    }

    fn all(&self) -> Vec<Arc<Live>> {
        self.live.lock().unwrap_or_else(PoisonError::into_inner).values().cloned().collect()
    }
}

/// Forgets sessions that are over for whatever reason, so that no key outlives its session by more than a block, and lets
/// those rest that nobody uses.
pub(super) async fn sweep(gw: &Gateway) {
    for live in gw.sessions.grantee.all() {
        if let Err(NotLive::Refused(rejection)) = ledger::session_live(&*gw.ledger, &gw.clock, &live.id).await {
            forget_if_over(gw, &live.id, rejection.code);
        }
        live.rest((gw.clock)());
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
    live.begin((gw.clock)());
    match live.take(from, manifest, |record| local_id(gw, &from, record)) {
        Ok(()) => {}
        Err(NotTaken::Key) => {
            tracing::warn!(custodian = %from, "a manifest's key is not wrapped to the session's key");
            return Err(Fault::invalid("the grant key is not wrapped to the session's key").code("substituted-key"));
        }
        Err(NotTaken::TooMany) => {
            return Err(Fault::invalid("a session holds no more records than it has").code("too-many"));
        }
        Err(NotTaken::Over) => {
            return Err(Fault::invalid("the session is over").code(Code::SessionNotLive.name()));
        }
    }
    index::begin(gw, &live);
    Ok(())
}
