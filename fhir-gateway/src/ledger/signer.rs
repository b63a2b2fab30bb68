//! Transactions that the gateway signs with a key of its keystore.

use std::sync::Arc;

use aws_lc_rs::rand;
use vouchsafe_types::{Nonce, TimeMs, Tx, jws};

use super::{Committed, Head, Ledger, LedgerError};
use crate::seal::{Keystore, KeystoreError};

/// How long a transaction that the gateway signs may take to be committed.
const VALID_MS: u64 = 5 * 60_000;

/// Why a transaction was not signed or not committed.
#[derive(Debug, thiserror::Error)]
pub enum SignError {
    /// The keystore has no such key, or does not open.
    #[error(transparent)]
    Key(#[from] KeystoreError),
    /// The ledger did not take it.
    #[error(transparent)]
    Ledger(#[from] LedgerError),
}

/// A nonce that nobody used before.
///
/// # Panics
/// When the system has no randomness; nothing may be signed then.
pub fn random_nonce() -> Nonce {
    let mut nonce = [0; 16];
    rand::fill(&mut nonce).expect("the system gives randomness");
    Nonce(nonce)
}

/// A fresh nonce, and an expiry five minutes of block time ahead.
pub fn stamp(head: &Head) -> (Nonce, TimeMs) {
    (random_nonce(), head.time.plus(VALID_MS))
}

/// Signs with keys of one keystore and submits to one ledger.
#[derive(Clone)]
pub struct Signer {
    ledger: Arc<dyn Ledger>,
    keystore: Arc<dyn Keystore>,
}

impl Signer {
    /// A signer.
    pub fn new(ledger: Arc<dyn Ledger>, keystore: Arc<dyn Keystore>) -> Self {
        Self { ledger, keystore }
    }

    /// Signs with the key of this name the transaction that `make` makes of a fresh nonce and expiry.
    ///
    /// # Errors
    /// When the keystore has no such key.
    pub fn sign(&self, key: &str, make: impl FnOnce(Nonce, TimeMs) -> Tx) -> Result<String, KeystoreError> {
        let (nonce, expires) = stamp(&self.ledger.head());
        let key = self.keystore.ed25519(key)?;
        Ok(jws::sign_tx(&*key, self.ledger.chain(), &make(nonce, expires)))
    }

    /// Signs likewise and brings the transaction into a block.
    ///
    /// # Errors
    /// When the keystore has no such key, or the ledger does not take the transaction.
    pub async fn submit(&self, key: &str, make: impl FnOnce(Nonce, TimeMs) -> Tx) -> Result<Committed, SignError> {
        let tx = self.sign(key, make)?;
        Ok(self.ledger.submit(tx).await?)
    }
}
