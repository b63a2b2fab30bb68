//! The first state.

use vouchsafe_types::{
    Code, Count, Rejection,
    genesis::{Founder, Genesis},
    keys,
    state::{Account, Credential, CredentialStatus, Key, KeyRole, Params},
};

use crate::Delta;

/// Checks a genesis document and writes the founders, verified without end, the parameters and the digest.
///
/// # Errors
/// What `Genesis::check` says; `Malformed` for parameters that the state could not hold.
pub fn genesis(g: &Genesis) -> Result<Delta, Rejection> {
    g.check()?;
    let mut delta = Delta::default();
    delta.put(keys::PARAMS.to_vec(), params(&g.body.params)?);
    delta.put(keys::GENESIS.to_vec(), g.body.digest().to_string().into_bytes());
    for founder in &g.body.founders {
        found(&mut delta, founder, g);
    }
    Ok(delta)
}

/// The parameters' bytes; they must read back, because every transaction reads them.
fn params(params: &Params) -> Result<Vec<u8>, Rejection> {
    let bytes = serde_json::to_vec(params).expect("parameters are plain data");
    if serde_json::from_slice::<Params>(&bytes).is_err() {
        return Code::Malformed.refuse("a parameter is above 2^53 - 1");
    }
    Ok(bytes)
}

fn found(delta: &mut Delta, founder: &Founder, g: &Genesis) {
    let account = Account {
        role: founder.role,
        sponsor: founder.account,
        custodial: false,
        identity: founder.identity,
        credential: Some(founder.credential),
        generation: Count(0),
        devices: vec![founder.ed25519.kid()],
        registered: g.body.time,
    };
    let key = Key {
        account: founder.account,
        ed25519: founder.ed25519,
        role: KeyRole::Device,
        rsa: Some(founder.rsa.clone()),
        ended: None,
    };
    let credential = Credential {
        commitment: founder.identity,
        status: CredentialStatus::Verified,
        authority: None,
        valid_until: None,
        generation: Count(0),
    };
    delta.put_account(&founder.account, &account);
    delta.put_key(&founder.ed25519.kid(), &key);
    delta.put_credential(&founder.account, &founder.credential, &credential);
}
