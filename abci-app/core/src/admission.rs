//! What is judged before a signature costs anything, and again when the transaction is applied.

use vouchsafe_types::{
    AccountId, Code, Kid, Nonce, OkpJwk, Rejection, TimeMs,
    jws::Unverified,
    state::{Account, Key, KeyRole, Signer},
    tx::MAX_AHEAD_MS,
};

use crate::{BlockContext, StateRead, Verdict, queues, read::Read};

/// Who signed: the key as the ledger holds it, and its account.
#[derive(Clone, Debug)]
pub(crate) struct Actor {
    /// The key's name.
    pub(crate) kid: Kid,
    /// The key.
    pub(crate) key: Key,
    /// The account that the key signs for.
    pub(crate) account: Account,
}

impl Actor {
    /// Whose acts the key signs.
    pub(crate) const fn id(&self) -> AccountId {
        self.key.account
    }

    /// How an act of consent names the key.
    pub(crate) const fn signer(&self) -> Signer {
        Signer { kid: self.kid, agent: matches!(self.key.role, KeyRole::Agent { .. }) }
    }

    /// True for the first key of a custodial account, which lies in the keystore of the custodial organisation.
    pub(crate) fn is_custodial_key(&self) -> bool {
        self.account.custodial && is_first_key(&self.key)
    }
}

/// True for the key that founded its account. Every further one is a device, such as the printed kit.
pub(crate) fn is_first_key(key: &Key) -> bool {
    AccountId::of_key(key.ed25519.bytes()) == key.account
}

/// The key under which the transaction's signature is to be verified, once everything that needs no signature is
/// right: its expiry, its nonce, its key. The size is the node's to judge.
///
/// # Errors
/// `Expired`, `TooFarAhead`, `UnknownKey`, `KeyEnded`, `Replayed`.
pub fn key_for(s: &impl StateRead, ctx: &BlockContext, tx: &Unverified) -> Result<OkpJwk, Rejection> {
    Ok(admit(s, ctx, &tx.kid(), &tx.nonce(), tx.expires())?.key.ed25519)
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
    let Some(key) = state.key(kid) else {
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
