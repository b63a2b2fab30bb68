//! Assertions that were used: none is taken twice (RFC 7523 section 3, SMART Backend Services).

use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
};

use sha2::{Digest, Sha256};
use vouchsafe_types::TimeMs;

/// As many are remembered; a flood above it is refused rather than forgotten.
const MOST: usize = 200_000;

/// The (client, jti) pairs seen whose assertions have not ended yet.
#[derive(Default)]
pub(super) struct Replays {
    seen: Mutex<HashMap<[u8; 32], TimeMs>>,
}

impl Replays {
    /// Remembers an assertion until it ends; false when it was seen before, or when there is no more room.
    pub(super) fn first_use(&self, client: &str, jti: &str, ends: TimeMs, now: TimeMs) -> bool {
        let mut hash = Sha256::new();
        hash.update((client.len() as u64).to_be_bytes());
        hash.update(client);
        hash.update(jti);
        let key: [u8; 32] = hash.finalize().into();
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        if seen.len() >= MOST {
            seen.retain(|_, ends| now < *ends);
        }
        if seen.contains_key(&key) || seen.len() >= MOST {
            return false;
        }
        seen.insert(key, ends);
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_assertion_is_used_once_per_client() {
        let replays = Replays::default();
        assert!(replays.first_use("a", "1", TimeMs(10), TimeMs(0)));
        assert!(!replays.first_use("a", "1", TimeMs(10), TimeMs(0)));
        assert!(replays.first_use("b", "1", TimeMs(10), TimeMs(0)));
        // The length prefix keeps ("ab", "c") apart from ("a", "bc").
        assert!(replays.first_use("ab", "c", TimeMs(10), TimeMs(0)));
        assert!(replays.first_use("a", "bc", TimeMs(10), TimeMs(0)));
    }
}
