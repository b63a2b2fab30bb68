//! Consent in FHIR terms: requests, decisions, sessions opened and ended, each signed by the actor's own key.
//!
//! What the chain holds are parties, times, tags and commitments. The names travel sealed, beside it, and a gateway that
//! can open none of a request's details shows nothing of the request.

mod access;
mod ask;
mod decide;
mod open;
mod read;
mod sealed;
mod signing;

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
};

use serde::{Deserialize, Serialize};
use vouchsafe_types::{
    AccountId, Hash32, Nonce, RequestId, TimeMs,
    tx::{Ask, Open},
};

use crate::{gateway::Gateway, http::Fault, ledger::View, seal::device::RsaKey};

pub(crate) use access::{patient_account, patient_of};
pub use ask::create;
pub use decide::{approve, deny};
pub use open::{end_session, open_session, revoke};
pub use read::{read, search};
pub use sealed::{MAX_JWE_BYTES, SealedDetail, TYP as DETAIL_TYP};
pub use signing::ledger_fault;

/// The table of requests that concern this organisation.
const TABLE: &str = "consents";

/// The table of how many sealed details of a request an organisation sent: request and organisation → number.
const SENT: &str = "consents-sent";

/// How many requests' details are kept open at most; one that was forgotten is opened again when it is needed.
const DETAILS_MAX: usize = 10_000;

/// How long what was prepared is remembered.
const PREPARED_MS: u64 = 10 * 60_000;

/// How many prepared acts are remembered at most; the oldest go first.
const PREPARED_MAX: usize = 1_000;

/// What the consent operations remember between `$prepare` and the signed call, and the details this gateway can open.
#[derive(Default)]
pub struct Consents {
    prepared: Mutex<BTreeMap<Nonce, (TimeMs, Prepared)>>,
    details: Mutex<BTreeMap<RequestId, Opened>>,
    /// An RSA key made ahead, because making one takes as long as everything else of an opening together.
    spare: Mutex<Option<RsaKey>>,
}

/// The details of one request that this gateway could open, by their commitments.
type Opened = Vec<(Hash32, Arc<SealedDetail>)>;

/// An act that was prepared and waits for its signature.
enum Prepared {
    Ask(Box<(Ask, SealedDetail)>),
    Open(Box<(Open, RsaKey)>),
}

/// A request that concerns this organisation.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Noted {
    request: RequestId,
    doctor: AccountId,
    organization: AccountId,
    patient: AccountId,
}

impl Consents {
    /// Nothing prepared yet.
    pub fn new() -> Self {
        Self::default()
    }

    fn remember(&self, nonce: Nonce, now: TimeMs, act: Prepared) {
        let mut prepared = self.prepared.lock().unwrap_or_else(PoisonError::into_inner);
        prepared.retain(|_, (until, _)| now < *until);
        while prepared.len() >= PREPARED_MAX {
            let oldest = prepared.iter().min_by_key(|(_, (until, _))| *until).map(|(nonce, _)| *nonce);
            let Some(oldest) = oldest else { break };
            prepared.remove(&oldest);
        }
        prepared.insert(nonce, (now.plus(PREPARED_MS), act));
    }

    /// What was prepared with this nonce; it is forgotten, and prepared anew when the call fails.
    fn recall(&self, nonce: &Nonce) -> Option<Prepared> {
        self.prepared.lock().unwrap_or_else(PoisonError::into_inner).remove(nonce).map(|(_, act)| act)
    }

    fn known(&self, request: &RequestId, commitment: &Hash32) -> Option<Arc<SealedDetail>> {
        let details = self.details.lock().unwrap_or_else(PoisonError::into_inner);
        details.get(request)?.iter().find(|(c, _)| c == commitment).map(|(_, d)| Arc::clone(d))
    }

    /// Keeps an opened detail; of two with the same commitment the one that says more.
    fn learn(&self, detail: SealedDetail) {
        let commitment = detail.commitment();
        let mut details = self.details.lock().unwrap_or_else(PoisonError::into_inner);
        if details.len() >= DETAILS_MAX && !details.contains_key(&detail.request) {
            // Any will do: ids are random, and what goes is opened again.
            details.pop_first();
        }
        let of_request = details.entry(detail.request).or_default();
        match of_request.iter_mut().find(|(c, _)| *c == commitment) {
            Some((_, have)) if have.custodians.is_some() || detail.custodians.is_none() => {}
            Some((_, have)) => *have = Arc::new(detail),
            None => of_request.push((commitment, Arc::new(detail))),
        }
    }

    /// An RSA key for a session.
    async fn session_key(gw: &Arc<Gateway>) -> Result<RsaKey, Fault> {
        let spare = gw.consents.spare.lock().unwrap_or_else(PoisonError::into_inner).take();
        let key = match spare {
            Some(key) => Some(key),
            None => tokio::task::spawn_blocking(RsaKey::generate).await.ok().flatten(),
        };
        make_spare(gw);
        key.ok_or_else(|| Fault::internal("no RSA key could be made"))
    }
}

/// Makes an RSA key ahead, unless there is one.
pub(crate) fn make_spare(gw: &Arc<Gateway>) {
    let gw = Arc::downgrade(gw);
    tokio::task::spawn_blocking(move || {
        let there = |gw: &Gateway| gw.consents.spare.lock().unwrap_or_else(PoisonError::into_inner).is_some();
        if gw.upgrade().is_none_or(|gw| there(&gw)) {
            return;
        }
        let key = RsaKey::generate();
        if let Some(gw) = gw.upgrade() {
            *gw.consents.spare.lock().unwrap_or_else(PoisonError::into_inner) = key;
        }
    });
}

/// Keeps sealed details of a request that a peer or this gateway's own caller sent. Of one peer few are kept, so that it
/// cannot take the places of the patient's; own calls have been judged before.
///
/// # Errors
/// 413 and 422 for details that are too long or too many; 503 when the directory cannot write.
pub async fn keep_sealed(
    gw: &Arc<Gateway>,
    from: AccountId,
    request: RequestId,
    jwes: Vec<String>,
) -> Result<(), Fault> {
    if jwes.iter().any(|jwe| jwe.len() > MAX_JWE_BYTES) {
        return Err(Fault::new(413, "too-long", format!("a sealed detail has at most {MAX_JWE_BYTES} bytes")));
    }
    let have = gw.directory.sealed(&request).map_err(|_| Fault::internal("the directory is not readable"))?;
    let new: Vec<_> = jwes.into_iter().filter(|jwe| !have.contains(jwe)).collect();
    if new.is_empty() {
        return Ok(());
    }
    let too_many = || Fault::invalid("too many sealed details for one request").code("too-many");
    if have.len() + new.len() > sealed::MAX_PER_REQUEST {
        return Err(too_many());
    }
    let sent = [&request.0[..], &from.0].concat();
    let before: u64 =
        gw.db.get_json(SENT, &sent).map_err(|_| Fault::internal("the store is not readable"))?.unwrap_or_default();
    let after = before + new.len() as u64;
    if from != gw.org && after > sealed::MAX_PER_SENDER {
        return Err(too_many());
    }
    open_all(gw, request, new.clone()).await?;
    let away = |_| Fault::unavailable("the directory cannot write");
    gw.directory.put_sealed(&request, new).await.map_err(away)?;
    gw.db.put_json(SENT, &sent, &after).await.map_err(|_| Fault::unavailable("the store cannot write"))
}

/// Opens what of these is for this organisation and this request; away from the threads that serve, for each costs RSA
/// operations.
async fn open_all(gw: &Arc<Gateway>, request: RequestId, jwes: Vec<String>) -> Result<(), Fault> {
    let gw = Arc::clone(gw);
    let opening = tokio::task::spawn_blocking(move || {
        let key = gw.keystore.rsa("org").map_err(|_| Fault::internal("the wrapping key is not in the keystore"))?;
        let opened = jwes.iter().filter_map(|jwe| SealedDetail::open(jwe, &*key));
        for detail in opened.filter(|detail| detail.request == request) {
            gw.consents.learn(detail);
        }
        Ok(())
    });
    opening.await.map_err(|_| Fault::internal("sealed details were not opened"))?
}

/// The detail that the ledger commits to, if it was sealed to this organisation.
pub async fn detail(gw: &Arc<Gateway>, request: RequestId, commitment: Hash32) -> Option<Arc<SealedDetail>> {
    if let Some(known) = gw.consents.known(&request, &commitment) {
        return Some(known);
    }
    let jwes = gw.directory.sealed(&request).ok()?;
    open_all(gw, request, jwes).await.ok()?;
    gw.consents.known(&request, &commitment).filter(|d| d.request == request)
}

/// Notes a request that the ledger tells of, when it concerns this organisation.
pub async fn note(gw: &Gateway, request: RequestId, doctor: AccountId, organization: AccountId, patient: AccountId) {
    let home = match View(&*gw.ledger).account(&patient).await {
        Ok(account) => account.is_some_and(|a| a.sponsor == gw.org),
        Err(_) => true,
    };
    let concerns = home || organization == gw.org || !gw.charts.by_account(&patient).is_empty();
    if !concerns || matches!(gw.db.get(TABLE, &request.0), Ok(Some(_))) {
        return;
    }
    let noted = Noted { request, doctor, organization, patient };
    let mut batch = crate::store::WriteBatch::new();
    batch.put_json(TABLE, request.0, &noted);
    if let Err(error) = gw.db.commit_lazily(batch).await {
        tracing::warn!(%error, "a request was not noted");
    }
}
