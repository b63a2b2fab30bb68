//! `$prepare` and `Vouchsafe-Tx`: a caller that holds its own key signs what this gateway would submit, and nothing else.

use vouchsafe_types::{Code, Nonce, TimeMs, Tx, jws::Unverified};

use super::parameters;
use crate::{
    gateway::Gateway,
    http::{Fault, Reply},
    ledger::{self, Committed, View},
};

/// The answer to `$prepare`: the payload to sign.
pub(crate) fn prepared(gw: &Gateway, make: impl FnOnce(Nonce, TimeMs) -> Tx) -> Reply {
    let (nonce, expires) = ledger::stamp(&gw.ledger.head());
    let tx = make(nonce, expires);
    let payload = String::from_utf8_lossy(&tx.payload_bytes()).into_owned();
    let list = [("payload", payload), ("typ", tx.typ().to_owned()), ("chain", gw.chain.clone())];
    Reply::resource(200, &parameters::strings(&list))
}

/// Submits the transaction that a call carries, if it says what this call would: everything but nonce and expiry, which
/// are the signer's.
///
/// # Errors
/// 422 when it says something else, 400 when it is no transaction, 403 when no known key signed it, or what the ledger
/// refuses.
pub(crate) async fn submit(
    gw: &Gateway,
    presented: String,
    make: impl FnOnce(Nonce, TimeMs) -> Tx,
) -> Result<Committed, Fault> {
    let parsed =
        Unverified::parse(presented.as_bytes(), &gw.chain).map_err(|e| Fault::rejected(&e).at("Vouchsafe-Tx"))?;
    let Some(key) = View(&*gw.ledger).key(&parsed.kid()).await? else {
        return Err(Fault::forbidden(Code::UnknownKey.name(), "the ledger knows no key of this kid").at("Vouchsafe-Tx"));
    };
    let said = parsed.verify(&key.ed25519).map_err(|e| Fault::rejected(&e).at("Vouchsafe-Tx"))?;
    if *said.tx() != make(said.tx().nonce(), said.tx().expires()) {
        return Err(Fault::invalid("Vouchsafe-Tx is signed over something else than this call asks for")
            .code("not-prepared")
            .at("Vouchsafe-Tx"));
    }
    Ok(gw.ledger.submit(presented).await?)
}

/// A caller with a key of its own has not signed.
pub(crate) fn unsigned() -> Fault {
    Fault::new(422, "required", "sign what $prepare answers and send it in Vouchsafe-Tx").code("signature-needed")
}
