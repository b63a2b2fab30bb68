//! Rules that several transactions share, and the standing of a session.

use serde::{Serialize, de::DeserializeOwned};
use vouchsafe_types::{
    AccountId, Code, CredentialId, OkpJwk, Rejection, TimeMs, jws,
    state::{self, Account, Affiliation, Credential, CredentialStatus, Generations, Key, KeyRole, Request},
    tx::Acceptance,
};

use crate::{BlockContext, StateRead, Verdict, admission::Actor, read::Read};

/// Whether a session is live at `now`. Nothing is swept when something falls: a session stores the generations of all
/// it rests on, and is over as soon as one differs.
///
/// # Errors
/// `SessionNotLive` when it was ended or its time is over; otherwise the code of what fell: `GrantRevoked`,
/// `GrantExpired`, those of a credential, `NotAffiliated`, `OrganizationNotVerified`; `GrantFallen` when all stands
/// again but something fell in between.
pub fn session_standing(s: &impl StateRead, session: &state::Session, now: TimeMs) -> Result<(), Rejection> {
    if let Some(ended) = session.ended {
        return Code::SessionNotLive.refuse(format!("the session was ended at {ended}"));
    }
    if now >= session.expires {
        return Code::SessionNotLive.refuse(format!("the session expired at {}", session.expires));
    }
    let Some(request) = s.request(&session.grant) else {
        return Code::NotFound.refuse(format!("there is no grant {}", session.grant));
    };
    grant_stands(&request, now)?;
    let footing = footing(s, &request, now)?;
    let stored = &session.rests_on;
    let current = footing.generations(s, &request)?;
    if *stored != current {
        return Code::GrantFallen.refuse(format!("the session rests on {stored:?}, now it is {current:?}"));
    }
    Ok(())
}

/// That a session is live, for an act that needs it to be: whatever fell, the code is `SessionNotLive`.
pub(crate) fn live(state: &impl StateRead, session: &state::Session, now: TimeMs) -> Verdict<()> {
    session_standing(state, session, now).or_else(|why| match why.code {
        Code::SessionNotLive => Err(why),
        _ => Code::SessionNotLive.refuse(why.to_string()),
    })
}

/// That a grant was given, not taken back and not run out. Whether a visit is spent is asked only at the opening.
pub(crate) fn grant_stands(request: &Request, now: TimeMs) -> Verdict<&state::Decision> {
    let Some(decision) = &request.decision else {
        return Code::NotGranted.refuse("the patient has not decided");
    };
    let Some(terms) = &decision.granted else {
        return Code::NotGranted.refuse(format!("the patient denied at {}", decision.at));
    };
    if let Some(revoked) = decision.revoked {
        return Code::GrantRevoked.refuse(format!("the patient took the grant back at {revoked}"));
    }
    if now >= terms.valid_until {
        return Code::GrantExpired.refuse(format!("the grant was valid until {}", terms.valid_until));
    }
    Ok(decision)
}

/// What a doctor's act of consent stands on, read and found to stand.
pub(crate) struct Footing {
    pub(crate) credential: Credential,
    pub(crate) affiliation: Affiliation,
    pub(crate) organization: Account,
    /// When the organisation's verification runs out.
    pub(crate) organization_until: Option<TimeMs>,
}

impl Footing {
    /// The generations as they are now.
    pub(crate) fn generations(&self, state: &impl StateRead, request: &Request) -> Verdict<Generations> {
        let Some(decision) = &request.decision else {
            return Code::NotGranted.refuse("the patient has not decided");
        };
        Ok(Generations {
            grant: decision.generation,
            credential: self.credential.generation,
            affiliation: self.affiliation.generation,
            doctor: account(state, &request.doctor)?.generation,
            organization: self.organization.generation,
            patient: account(state, &request.patient)?.generation,
        })
    }
}

/// The footing of a request: the doctor's credential, affiliation and organisation.
pub(crate) fn footing(state: &impl StateRead, request: &Request, now: TimeMs) -> Verdict<Footing> {
    stand(state, &request.doctor, &request.credential, &request.organization, now)
}

/// That a doctor may act for an organisation: credential verified, affiliated, organisation verified.
pub(crate) fn stand(
    state: &impl StateRead,
    doctor: &AccountId,
    credential: &CredentialId,
    organization: &AccountId,
    now: TimeMs,
) -> Verdict<Footing> {
    let credential = credential_stands(state, doctor, credential, now)?;
    let affiliation = affiliated(state, doctor, organization)?;
    let organization_until = organization_stands(state, organization, now)?;
    let organization = account(state, organization)?;
    Ok(Footing { credential, affiliation, organization, organization_until })
}

fn credential_stands(
    state: &impl StateRead,
    doctor: &AccountId,
    id: &CredentialId,
    now: TimeMs,
) -> Verdict<Credential> {
    let Some(credential) = state.credential(doctor, id) else {
        return Code::NotFound.refuse(format!("{doctor} has no credential {id}"));
    };
    match credential.status {
        CredentialStatus::Pending => Code::NotVerified.refuse(format!("credential {id} was never verified")),
        CredentialStatus::Suspended => Code::Suspended.refuse(format!("credential {id} is suspended")),
        CredentialStatus::Revoked => Code::CredentialRevoked.refuse(format!("credential {id} is revoked")),
        CredentialStatus::Verified => match credential.valid_until {
            Some(until) if now >= until => {
                Code::CredentialExpired.refuse(format!("credential {id} ran out at {until}"))
            }
            _ => Ok(credential),
        },
    }
}

/// That an organisation's credential is verified and has not run out; says when it will.
pub(crate) fn organization_stands(state: &impl StateRead, id: &AccountId, now: TimeMs) -> Verdict<Option<TimeMs>> {
    let found = account(state, id)?;
    if !found.role.is_organization() {
        return Code::NotAllowed.refuse(format!("{id} is not an organisation"));
    }
    let credential = found.credential.and_then(|c| state.credential(id, &c));
    match credential {
        Some(c) if c.status == CredentialStatus::Verified && c.valid_until.is_none_or(|until| now < until) => {
            Ok(c.valid_until)
        }
        Some(c) => Code::OrganizationNotVerified
            .refuse(format!("organisation {id} is {:?}, verified until {:?}", c.status, c.valid_until)),
        None => Code::OrganizationNotVerified.refuse(format!("organisation {id} has no credential")),
    }
}

/// That the signer is an organisation that is verified.
pub(crate) fn verified_organization(state: &impl StateRead, actor: &Actor, now: TimeMs) -> Verdict<()> {
    organization_stands(state, &actor.id(), now).map(drop)
}

/// That a doctor belongs to an organisation.
pub(crate) fn affiliated(state: &impl StateRead, doctor: &AccountId, organization: &AccountId) -> Verdict<Affiliation> {
    match state.affiliation(doctor, organization) {
        Some(affiliation) if affiliation.ended.is_none() => Ok(affiliation),
        _ => Code::NotAffiliated.refuse(format!("{doctor} does not belong to {organization}")),
    }
}

/// An account that must exist.
pub(crate) fn account(state: &impl StateRead, id: &AccountId) -> Verdict<Account> {
    state.account(id).ok_or_else(|| Rejection::new(Code::NotFound, format!("there is no account {id}")))
}

/// That the signer used a device's (or an organisation's) key, not a mandated one.
pub(crate) fn device_key(actor: &Actor) -> Verdict<()> {
    match actor.key.role {
        KeyRole::Device => Ok(()),
        KeyRole::Agent { .. } => Code::DeviceKeyNeeded.refuse(format!("{} is an agent key", actor.kid)),
    }
}

/// That the doctor's key may act for the organisation: a device's for any, an agent's for the one of its mandate.
pub(crate) fn mandated(actor: &Actor, organization: &AccountId) -> Verdict<()> {
    match &actor.key.role {
        KeyRole::Agent { organization: mandated, .. } if mandated != organization => {
            Code::NoMandate.refuse(format!("the mandate of {} is for {mandated}, not for {organization}", actor.kid))
        }
        _ => Ok(()),
    }
}

/// That nobody has this key.
pub(crate) fn unknown_key(state: &impl StateRead, key: &OkpJwk) -> Verdict<()> {
    let kid = key.kid();
    match state.key(&kid) {
        Some(known) => Code::AlreadyExists.refuse(format!("key {kid} belongs to {}", known.account)),
        None => Ok(()),
    }
}

/// Opens another party's embedded word; whatever is wrong with it is `BadAcceptance`.
pub(crate) fn embedded<T: Serialize + DeserializeOwned>(
    text: &str,
    block: &BlockContext,
    typ: &str,
    key: &OkpJwk,
) -> Verdict<T> {
    jws::open_statement(text, &block.chain, typ, key)
        .or_else(|why| Code::BadAcceptance.refuse(format!("the embedded signature: {why}")))
}

/// Checks an `Acceptance` by `key` for an account and an act.
pub(crate) fn accepted(text: &str, block: &BlockContext, key: &OkpJwk, account: &AccountId, act: &str) -> Verdict<()> {
    let said: Acceptance = embedded(text, block, Acceptance::TYP, key)?;
    if said.account != *account || said.act != act {
        return Code::BadAcceptance
            .refuse(format!("it is for {:?} with {}, not {act:?} with {account}", said.act, said.account));
    }
    not_expired(said.expires, block)
}

/// That an embedded word has not run out.
pub(crate) fn not_expired(expires: TimeMs, block: &BlockContext) -> Verdict<()> {
    if block.time >= expires {
        return Code::BadAcceptance.refuse(format!("it expired at {expires}, block time is {}", block.time));
    }
    Ok(())
}

/// The live device key of `account` that signed an embedded word.
pub(crate) fn device_of(state: &impl StateRead, account: &AccountId, text: &str) -> Verdict<Key> {
    let kid = jws::kid_of(text).or_else(|why| Code::BadAcceptance.refuse(format!("the embedded signature: {why}")))?;
    match state.key(&kid) {
        Some(key) if key.account == *account && key.role == KeyRole::Device && key.ended.is_none() => Ok(key),
        _ => Code::BadAcceptance.refuse(format!("{kid} is no live device key of {account}")),
    }
}
