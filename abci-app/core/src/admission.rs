//! What is judged before a signature costs anything, and again when the transaction is applied.

use serde::Deserialize;
use vouchsafe_types::{
    AccountId, Code, Kid, Nonce, OkpJwk, Rejection, TimeMs, VerifiedTx,
    jws::Unverified,
    keys,
    state::{Account, KeyRole, Signer},
    tx::{MAX_AHEAD_MS, Role},
};

use crate::{BlockContext, StateRead, Verdict, queues, read::Read};

/// A key (`state::Key`) without its wrapping half, which is most of the row and nothing to admission: every transaction's
/// key is read several times.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct SigningKey {
    /// Whose acts it signs.
    pub(crate) account: AccountId,
    /// The key itself.
    pub(crate) ed25519: OkpJwk,
    /// What kind of key it is.
    pub(crate) role: KeyRole,
    /// When it was removed.
    ended: Option<TimeMs>,
}

impl SigningKey {
    fn from_bytes(bytes: &[u8]) -> Option<Self> {
        serde_json::from_slice(bytes).ok()
    }
}

/// Who signed: the key as the ledger holds it, and its account.
#[derive(Clone, Debug)]
pub(crate) struct Actor {
    /// The key's name.
    pub(crate) kid: Kid,
    /// The key.
    pub(crate) key: SigningKey,
    /// The account that the key signs for.
    pub(crate) account: Account,
}

impl Actor {
    /// Whose acts the key signs.
    pub(crate) const fn id(&self) -> AccountId {
        self.key.account
    }

    const fn signatory(&self) -> Signatory {
        Signatory { account: self.id(), role: self.account.role }
    }

    /// How an act of consent names the key.
    pub(crate) const fn signer(&self) -> Signer {
        Signer { kid: self.kid, agent: matches!(self.key.role, KeyRole::Agent { .. }) }
    }

    /// True for the first key of a custodial account, which lies in the keystore of the custodial organisation.
    pub(crate) fn is_custodial_key(&self) -> bool {
        self.account.custodial && is_first_key(&self.key.ed25519, &self.key.account)
    }
}

/// True for the key that founded its account. Every further one is a device, such as the printed kit.
pub(crate) fn is_first_key(key: &OkpJwk, account: &AccountId) -> bool {
    AccountId::of_key(key.bytes()) == *account
}

/// The key under which the transaction's signature is to be verified, once everything that needs no signature is
/// right: its expiry, its nonce, its key. The size is the node's to judge.
///
/// # Errors
/// `Expired`, `TooFarAhead`, `UnknownKey`, `KeyEnded`, `Replayed`.
pub fn key_for(s: &impl StateRead, ctx: &BlockContext, tx: &Unverified) -> Result<OkpJwk, Rejection> {
    Ok(signer_of(s, ctx, tx)?.0)
}

/// The key as `key_for` finds it, and whom the act would be charged to when the signature holds.
///
/// # Errors
/// As `key_for`.
pub fn signer_of(s: &impl StateRead, ctx: &BlockContext, tx: &Unverified) -> Result<(OkpJwk, Signatory), Rejection> {
    let actor = admit(s, ctx, &tx.kid(), &tx.nonce(), tx.expires())?;
    let signatory = actor.signatory();
    Ok((actor.key.ed25519, signatory))
}

/// Whom a signed act would be charged to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Signatory {
    /// The account.
    pub account: AccountId,
    /// Its role, which says how much of a block it may use.
    pub role: Role,
}

/// Judges again what may have changed since a transaction was admitted: its expiry, its nonce, its key.
///
/// # Errors
/// `Expired`, `TooFarAhead`, `UnknownKey`, `KeyEnded`, `Replayed`.
pub fn readmit(s: &impl StateRead, ctx: &BlockContext, tx: &VerifiedTx) -> Result<Signatory, Rejection> {
    Ok(admit(s, ctx, &tx.kid(), &tx.tx().nonce(), tx.tx().expires())?.signatory())
}

/// Admits a transaction or refuses it.
pub(crate) fn admit(
    state: &impl StateRead,
    block: &BlockContext,
    kid: &Kid,
    nonce: &Nonce,
    expires: TimeMs,
) -> Verdict<Actor> {
    let now = block.time;
    if now >= expires {
        return Code::Expired.refuse(format!("expired at {expires}, block time is {now}"));
    }
    if expires > now.plus(MAX_AHEAD_MS) {
        return Code::TooFarAhead.refuse(format!("expires at {expires}, more than ten minutes after {now}"));
    }
    let actor = actor(state, kid, now)?;
    if state.get_flat(&queues::nonce_row(expires.minute(), &actor.id(), nonce)).is_some() {
        return Code::Replayed.refuse(format!("{} has used the nonce {nonce}", actor.id()));
    }
    Ok(actor)
}

fn actor(state: &impl StateRead, kid: &Kid, now: TimeMs) -> Verdict<Actor> {
    let Some(key) = state.value(&keys::key(kid), SigningKey::from_bytes) else {
        return Code::UnknownKey.refuse(format!("the ledger knows no key {kid}"));
    };
    if let Some(ended) = key.ended {
        return Code::KeyEnded.refuse(format!("key {kid} was ended at {ended}"));
    }
    if let KeyRole::Agent { until, .. } = &key.role
        && now >= *until
    {
        return Code::KeyEnded.refuse(format!("the mandate of {kid} ran out at {until}, block time is {now}"));
    }
    let account = state.account(&key.account).expect("a key is written with its account");
    Ok(Actor { kid: *kid, key, account })
}
