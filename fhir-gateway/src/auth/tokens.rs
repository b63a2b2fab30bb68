//! Bearer tokens: opaque, random, short-lived, and known here only by their hash.

use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
};

use sha2::{Digest, Sha256};
use vouchsafe_types::{TimeMs, b64};

use super::Caller;

/// As many tokens may be live at a time; above it the ones that end first go, so that memory stays bounded.
const MOST: usize = 100_000;

struct Grant {
    caller: Caller,
    ends: TimeMs,
}

/// The live tokens. They are lost at a restart, which costs a client one call to the token endpoint.
#[derive(Default)]
pub(super) struct Tokens {
    by_hash: Mutex<HashMap<[u8; 32], Grant>>,
}

impl Tokens {
    /// Makes a token; its text is not kept.
    pub(super) fn issue(&self, caller: Caller, now: TimeMs, seconds: u64) -> Result<String, NoRandomness> {
        let token = random_text()?;
        let mut live = self.by_hash.lock().unwrap_or_else(PoisonError::into_inner);
        if live.len() >= MOST {
            live.retain(|_, grant| now < grant.ends);
            if live.len() >= MOST
                && let Some(first) = live.iter().min_by_key(|(_, grant)| grant.ends).map(|(hash, _)| *hash)
            {
                live.remove(&first);
            }
        }
        live.insert(hash(&token), Grant { caller, ends: now.plus(seconds * 1000) });
        Ok(token)
    }

    /// The caller whom a token stands for, while it is valid.
    pub(super) fn caller(&self, token: &str, now: TimeMs) -> Option<Caller> {
        let mut live = self.by_hash.lock().unwrap_or_else(PoisonError::into_inner);
        let hash = hash(token);
        let grant = live.get(&hash)?;
        if now >= grant.ends {
            live.remove(&hash);
            return None;
        }
        Some(grant.caller.clone())
    }
}

fn hash(token: &str) -> [u8; 32] {
    Sha256::digest(token).into()
}

/// The system gives no random bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the system gives no random bytes")]
pub(crate) struct NoRandomness;

/// 256 random bits as text: a token, an enrolment code.
pub(crate) fn random_text() -> Result<String, NoRandomness> {
    Ok(b64::encode(random::<32>()?))
}

/// Random bytes.
pub(crate) fn random<const N: usize>() -> Result<[u8; N], NoRandomness> {
    let mut bytes = [0; N];
    aws_lc_rs::rand::fill(&mut bytes).map_err(|_| NoRandomness)?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::auth::Who;

    fn caller() -> Caller {
        Caller { client_id: "ehr".into(), who: Who::System, purpose: None, device: None }
    }

    #[test]
    fn a_token_ends_when_its_time_is_over() {
        let tokens = Tokens::default();
        let token = tokens.issue(caller(), TimeMs(1_000), 300).unwrap();
        assert_eq!(tokens.caller(&token, TimeMs(300_999)), Some(caller()));
        assert_eq!(tokens.caller(&token, TimeMs(301_000)), None);
    }

    #[test]
    fn a_token_is_not_kept_as_text() {
        let tokens = Tokens::default();
        let token = tokens.issue(caller(), TimeMs(0), 300).unwrap();
        let live = tokens.by_hash.lock().unwrap();
        assert!(live.keys().all(|k| k[..] != b64::decode(&token).unwrap()[..]));
        assert!(live.contains_key(&hash(&token)));
    }

    #[test]
    fn tokens_stay_bounded() {
        let tokens = Tokens::default();
        for i in 0..(MOST as u64 + 10) {
            tokens.issue(caller(), TimeMs(i), 300).unwrap();
        }
        assert!(tokens.by_hash.lock().unwrap().len() <= MOST);
    }
}
