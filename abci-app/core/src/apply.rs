//! One transaction.

use vouchsafe_types::{Event, Rejection, Tx, VerifiedTx};

use crate::{
    BlockContext, Delta, StateRead, admission,
    handlers::{View, run},
    queues, quota,
    read::Read,
};

/// Judges a transaction whose signature was verified, and says what it changes and tells. Everything about its key,
/// nonce and expiry is judged again: the state may have moved since it was admitted. A rejected transaction changes
/// nothing.
///
/// # Errors
/// Any code of docs/ledger-spec.md but `Malformed` envelopes, `WrongChain` and `BadSignature`, which were judged
/// before.
pub fn apply(s: &impl StateRead, ctx: &BlockContext, tx: &VerifiedTx) -> Result<(Delta, Vec<Event>), Rejection> {
    let (nonce, expires) = (tx.tx().nonce(), tx.tx().expires());
    let actor = admission::admit(s, ctx, &tx.kid(), &nonce, expires)?;
    let params = s.params();
    let id = actor.id();
    let sponsors = matches!(tx.tx(), Tx::Register(_));
    let mut delta = quota::charge(s, ctx, &params, &id, actor.account.role, sponsors)?;
    let view = View { state: s, block: ctx, params, actor };
    let (changes, events) = dispatch(tx.tx(), &view)?;
    delta.extend(queues::record_nonce(s, &id, &nonce, expires));
    delta.extend(changes);
    Ok((delta, events))
}

fn dispatch<S: StateRead>(tx: &Tx, view: &View<'_, S>) -> Result<(Delta, Vec<Event>), Rejection> {
    match tx {
        Tx::Register(p) => run(p, view),
        Tx::AddCredential(p) => run(p, view),
        Tx::Judge(p) => run(p, view),
        Tx::Affiliate(p) => run(p, view),
        Tx::EndAffiliation(p) => run(p, view),
        Tx::AddDevice(p) => run(p, view),
        Tx::EndKey(p) => run(p, view),
        Tx::Mandate(p) => run(p, view),
        Tx::SetEndpoint(p) => run(p, view),
        Tx::Ask(p) => run(p, view),
        Tx::Decide(p) => run(p, view),
        Tx::Open(p) => run(p, view),
        Tx::End(p) => run(p, view),
        Tx::Revoke(p) => run(p, view),
        Tx::Anchor(p) => run(p, view),
        Tx::AnchorAudit(p) => run(p, view),
    }
}
