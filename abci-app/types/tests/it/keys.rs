//! The key that signs in these tests.

use ed25519_consensus::SigningKey;
use vouchsafe_types::{OkpJwk, jws::Sign};

/// The chain that is signed for.
pub(crate) const CHAIN: &str = "test-00112233445566778899aabbccddeeff";

pub(crate) struct Key(SigningKey);

impl Sign for Key {
    fn public(&self) -> OkpJwk {
        OkpJwk::new(self.0.verification_key().to_bytes())
    }

    fn sign(&self, message: &[u8]) -> [u8; 64] {
        self.0.sign(message).to_bytes()
    }
}

/// The same one each time.
pub(crate) fn key() -> Key {
    Key(SigningKey::from([42; 32]))
}
