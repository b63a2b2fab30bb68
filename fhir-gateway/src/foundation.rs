//! What records and audit stand on: one organisation's stores, keys, ledger and clock.

use std::{sync::Arc, time::Duration};

use vouchsafe_types::{AccountId, RecordId, TimeMs};

use crate::{
    blobs::BlobStore,
    clock::Clock,
    failpoint::Failpoints,
    fatal::Fatal,
    ledger::{self, Ledger},
    seal::{Keystore, KeystoreError, keystore::Signer as KeyHandle},
    store::Db,
};

/// The name, in an organisation's keystore, of its ledger key and of its wrapping key.
pub const ORG_KEY: &str = "org";

/// What an organisation's parts share. Cheap to clone.
#[derive(Clone)]
pub struct Foundation {
    /// The organisation.
    pub org: AccountId,
    /// The FHIR base, without a trailing slash; a reference below it is one to this gateway.
    pub base: Arc<str>,
    /// The gateway's database.
    pub db: Db,
    /// Where sealed blobs lie.
    pub blobs: Arc<dyn BlobStore>,
    /// The ledger.
    pub ledger: Arc<dyn Ledger>,
    /// The organisation's keys.
    pub keystore: Arc<dyn Keystore>,
    /// The gateway's own clock.
    pub clock: Clock,
    /// Where it is told that no more can be written.
    pub fatal: Fatal,
    /// Where a crash can be provoked.
    pub failpoints: Failpoints,
    /// How long an idempotency key is kept.
    pub keys_kept: Duration,
}

impl Foundation {
    /// The later of block time and the own clock.
    pub fn now(&self) -> TimeMs {
        ledger::now(&*self.ledger, &self.clock)
    }

    /// Signs and submits with the organisation's keys.
    pub fn signer(&self) -> ledger::Signer {
        ledger::Signer::new(Arc::clone(&self.ledger), Arc::clone(&self.keystore))
    }

    /// The organisation's signing key.
    ///
    /// # Errors
    /// When the keystore has none.
    pub fn org_key(&self) -> Result<KeyHandle, KeystoreError> {
        self.keystore.ed25519(ORG_KEY)
    }

    /// A fresh id, of a record, a chart or an audit event.
    pub fn new_id() -> RecordId {
        RecordId(ledger::random_nonce().0)
    }
}

impl std::fmt::Debug for Foundation {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Foundation({})", self.org)
    }
}
