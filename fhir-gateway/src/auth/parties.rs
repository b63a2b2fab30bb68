//! Which Practitioner or Organization resource here stands for which account, and the keys by which persons sign in.

use serde::{Deserialize, Serialize};
use serde_json::Value;
use vouchsafe_types::{AccountId, Kid, RecordId, tx::Role};

use crate::store::{Db, StoreError, WriteBatch};

const RECORDS: &str = "party-records";
const ACCOUNTS: &str = "party-accounts";
const CLIENTS: &str = "party-clients";

/// An account's resource here.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Party {
    /// The account.
    pub account: AccountId,
    /// `Practitioner` or `Organization`.
    pub resource_type: String,
    /// The resource.
    pub record: RecordId,
}

/// A person's sign-in.
#[derive(Serialize, Deserialize)]
pub(super) struct PersonClient {
    pub(super) role: Role,
    pub(super) keys: Vec<PersonKey>,
}

/// A key by which a person signs in, and the device whose word let it in.
#[derive(Serialize, Deserialize)]
pub(super) struct PersonKey {
    /// The `kid` by which an assertion names it.
    pub(super) name: String,
    pub(super) device: Kid,
    pub(super) jwk: Value,
}

/// The parties that this gateway knows.
#[derive(Clone)]
pub struct Parties {
    db: Db,
}

impl Parties {
    pub(super) const fn new(db: Db) -> Self {
        Self { db }
    }

    /// The resource of an account.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub fn by_account(&self, account: &AccountId) -> Result<Option<Party>, StoreError> {
        self.db.get_json(ACCOUNTS, &account.0)
    }

    /// The account of a resource.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub fn by_record(&self, record: &RecordId) -> Result<Option<Party>, StoreError> {
        self.db.get_json(RECORDS, &record.0)
    }

    /// Remembers which resource an account has.
    ///
    /// # Errors
    /// When the database cannot be written.
    pub async fn link(&self, party: &Party) -> Result<(), StoreError> {
        let mut batch = WriteBatch::new();
        batch.put_json(ACCOUNTS, party.account.0, party);
        batch.put_json(RECORDS, party.record.0, party);
        self.db.commit(batch).await
    }

    pub(super) fn client(&self, account: &AccountId) -> Result<Option<PersonClient>, StoreError> {
        self.db.get_json(CLIENTS, &account.0)
    }

    /// Lets a person sign in with a key. A person's keys at one gateway are at most eight; the oldest goes.
    pub(super) async fn add_client(&self, account: &AccountId, role: Role, key: PersonKey) -> Result<(), StoreError> {
        let mut keys = self.client(account)?.map(|known| known.keys).unwrap_or_default();
        // A key belongs to one device, the one that spoke for it last.
        keys.retain(|known| known.name != key.name);
        keys.push(key);
        let surplus = keys.len().saturating_sub(8);
        keys.drain(..surplus);
        self.db.put_json(CLIENTS, &account.0, &PersonClient { role, keys }).await
    }
}
