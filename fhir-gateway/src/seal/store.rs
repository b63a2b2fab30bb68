//! The encryption of the gateway's own disk: values are sealed, and keys that would tell something are blinded.

use zeroize::Zeroizing;

use super::{
    keys::{StoreKey, SymmetricKey, Within},
    primitives::{fill_random, gcm_append, gcm_open_detached, hkdf_32, hmac_parts, push_prefixed},
};

const SALT_LEN: usize = 24;
const NONCE_LEN: usize = 12;

/// A value on disk does not open: altered, moved to another place, or written under another key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a value on disk does not open at its place: altered, moved, or another store's")]
pub struct Spoiled;

/// Seals and opens the values of an embedded database. A value opens only at the table and key it was sealed for.
pub struct StoreSeal {
    seal: Zeroizing<[u8; 32]>,
    blind: Zeroizing<[u8; 32]>,
}

impl StoreSeal {
    /// Takes the store's key, out of the keystore.
    pub fn new(key: &StoreKey) -> Self {
        let key = key.secret(Within::HERE);
        Self { seal: hkdf_32(key, &[b"vouchsafe/store/seal"]), blind: hkdf_32(key, &[b"vouchsafe/store/blind"]) }
    }

    /// Seals a value for its place. Each value has a key of its own, derived from 24 random bytes, so that no number of
    /// writes brings a key to its second use of a nonce.
    pub fn seal_value(&self, table: &str, key: &[u8], plaintext: &[u8]) -> Vec<u8> {
        let mut salt = [0; SALT_LEN];
        fill_random(&mut salt);
        let mut out = Vec::with_capacity(SALT_LEN + plaintext.len() + 16);
        out.extend_from_slice(&salt);
        gcm_append(&self.value_key(&salt), [0; NONCE_LEN], &place(table, key), plaintext, &mut out);
        out
    }

    /// Opens the value of a place.
    ///
    /// # Errors
    /// When it was altered, sealed for another place or by another store.
    pub fn open_value(&self, table: &str, key: &[u8], sealed: &[u8]) -> Result<Zeroizing<Vec<u8>>, Spoiled> {
        let (salt, rest) = sealed.split_first_chunk::<SALT_LEN>().ok_or(Spoiled)?;
        gcm_open_detached(&self.value_key(salt), [0; NONCE_LEN], &place(table, key), rest).ok_or(Spoiled)
    }

    /// A database key that tells nothing of what it stands for, the same for the same.
    pub fn blind_key(&self, table: &str, key: &[u8]) -> [u8; 32] {
        hmac_parts(&self.blind, &[table.as_bytes(), key])
    }

    fn value_key(&self, salt: &[u8; SALT_LEN]) -> Zeroizing<[u8; 32]> {
        hkdf_32(&self.seal, &[b"vouchsafe/store/value", salt])
    }
}

impl std::fmt::Debug for StoreSeal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("StoreSeal(..)")
    }
}

fn place(table: &str, key: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(16 + table.len() + key.len());
    push_prefixed(&mut out, &[table.as_bytes(), key]);
    out
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn opens_as_sealed(key in prop::collection::vec(any::<u8>(), 0..40), value in prop::collection::vec(any::<u8>(), 0..900)) {
            let store = StoreSeal::new(&StoreKey::generate());
            let sealed = store.seal_value("directory", &key, &value);
            let opened = store.open_value("directory", &key, &sealed).unwrap();
            prop_assert_eq!(opened.as_slice(), value.as_slice());
        }

        #[test]
        fn a_flipped_bit_does_not_open(bit in 0usize..8 * (SALT_LEN + 16 + 5)) {
            let store = StoreSeal::new(&StoreKey::generate());
            let mut sealed = store.seal_value("t", b"k", b"value");
            sealed[bit / 8] ^= 1 << (bit % 8);
            prop_assert_eq!(store.open_value("t", b"k", &sealed).map(|_| ()), Err(Spoiled));
        }
    }

    #[test]
    fn a_value_does_not_open_at_another_place() {
        let store = StoreSeal::new(&StoreKey::generate());
        let sealed = store.seal_value("outbox", b"key", b"value");
        assert!(store.open_value("outbox", b"key", &sealed).is_ok());
        for (table, key) in [("outbox", &b"yek"[..]), ("index", b"key"), ("outboxk", b"ey"), ("", b"outboxkey")] {
            assert_eq!(store.open_value(table, key, &sealed).map(|_| ()), Err(Spoiled));
        }
    }

    #[test]
    fn another_store_s_value_does_not_open() {
        let sealed = StoreSeal::new(&StoreKey::generate()).seal_value("t", b"k", b"value");
        let other = StoreSeal::new(&StoreKey::generate());
        assert_eq!(other.open_value("t", b"k", &sealed).map(|_| ()), Err(Spoiled));
        assert_eq!(other.open_value("t", b"k", &sealed[..10]).map(|_| ()), Err(Spoiled));
    }

    #[test]
    fn blinded_keys_are_stable_and_tell_tables_and_stores_apart() {
        let store = StoreSeal::new(&StoreKey::generate());
        assert_eq!(store.blind_key("t", b"Meier"), store.blind_key("t", b"Meier"));
        assert_ne!(store.blind_key("t", b"Meier"), store.blind_key("u", b"Meier"));
        assert_ne!(store.blind_key("ta", b"b"), store.blind_key("t", b"ab"));
        assert_ne!(store.blind_key("t", b"x"), StoreSeal::new(&StoreKey::generate()).blind_key("t", b"x"));
    }
}
