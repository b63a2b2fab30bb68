//! One-time enrolment addresses: what a QR code at the desk leads to.

use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
};

use sha2::{Digest, Sha256};
use vouchsafe_types::{Nonce, RecordId, TimeMs, tx::Role};

use super::tokens::{NoRandomness, random, random_text};

/// How long an address can be used.
pub(crate) const VALID_MS: u64 = 15 * 60_000;
/// As many may be open at a time.
const MOST: usize = 10_000;

/// What an address is for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Enrolment {
    pub(crate) resource_type: String,
    pub(crate) record: RecordId,
    pub(crate) role: Role,
    pub(crate) nonce: Nonce,
    pub(crate) expires: TimeMs,
}

/// The open addresses, by the hash of their code.
#[derive(Default)]
pub(crate) struct Enrolments {
    open: Mutex<HashMap<[u8; 32], Enrolment>>,
}

impl Enrolments {
    /// Opens an address for a resource; its code and what it is for.
    pub(crate) fn open(
        &self,
        resource_type: &str,
        record: RecordId,
        role: Role,
        now: TimeMs,
    ) -> Result<(String, Enrolment), NoRandomness> {
        let code = random_text()?;
        let enrolment = Enrolment {
            resource_type: resource_type.to_owned(),
            record,
            role,
            nonce: Nonce(random()?),
            expires: now.plus(VALID_MS),
        };
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        open.retain(|_, e| now < e.expires);
        if open.len() >= MOST
            && let Some(first) = open.iter().min_by_key(|(_, e)| e.expires).map(|(k, _)| *k)
        {
            open.remove(&first);
        }
        open.insert(hash(&code), enrolment.clone());
        Ok((code, enrolment))
    }

    /// What an address is for, while it can be used.
    pub(crate) fn see(&self, code: &str, now: TimeMs) -> Option<Enrolment> {
        let open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        open.get(&hash(code)).filter(|e| now < e.expires).cloned()
    }

    /// Takes an address, so that nobody else can use it.
    pub(crate) fn take(&self, code: &str, now: TimeMs) -> Option<Enrolment> {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        open.remove(&hash(code)).filter(|e| now < e.expires)
    }

    /// Gives an address back whose use failed, so that the person at the desk can try again.
    pub(crate) fn give_back(&self, code: &str, enrolment: Enrolment) {
        self.open.lock().unwrap_or_else(PoisonError::into_inner).insert(hash(code), enrolment);
    }
}

fn hash(code: &str) -> [u8; 32] {
    Sha256::digest(code).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_used_once_and_in_time() {
        let enrolments = Enrolments::default();
        let (code, enrolment) = enrolments.open("Patient", RecordId([1; 16]), Role::Patient, TimeMs(0)).unwrap();
        assert_eq!(enrolments.see(&code, TimeMs(VALID_MS - 1)), Some(enrolment.clone()));
        assert_eq!(enrolments.see(&code, TimeMs(VALID_MS)), None);
        assert_eq!(enrolments.take(&code, TimeMs(1)), Some(enrolment));
        assert_eq!(enrolments.take(&code, TimeMs(1)), None);
    }
}
