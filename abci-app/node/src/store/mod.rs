//! The durable state: a Jellyfish Merkle tree, the flat rows beside it, and the block log, in one redb file.
//!
//! # Invariants
//! - One write transaction per block holds nodes, values, flat rows, head and block log: after a crash all of a block
//!   is there or none of it.
//! - A block that changes no Merkle row makes no new version of the tree, so its app hash is that of the block before.
//! - The last `RETAINED` versions are provable; what only older ones need is pruned a little by every block that makes
//!   a new one.

mod commit;
mod tables;
mod view;

use std::{
    path::Path,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use redb::Database;
use serde::{Deserialize, Serialize};
use vouchsafe_types::{Hash32, TimeMs};

pub use commit::{Logged, Plan};
use view::Snapshot;
pub use view::View;

use crate::NodeError;

/// How many versions of the tree stay provable.
pub const RETAINED: u64 = 1000;

/// redb's default of 1 GiB would be more than the rest of a gateway.
const CACHE_BYTES: usize = 64 * 1024 * 1024;

/// The last block that is stored, and what the next one needs to know of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Head {
    /// Its height; 0 before the first block.
    pub height: u64,
    /// Its time; genesis time before the first block.
    pub time: TimeMs,
    /// The version of the tree after it.
    pub version: u64,
    /// The tree's root after it, which the next header carries.
    pub app_hash: Hash32,
    /// The root over its results, which the next header carries.
    pub results_hash: Hash32,
}

/// The store; cheap to clone.
#[derive(Clone)]
pub struct Store {
    db: Arc<Database>,
    /// What views of the newest block share; empty until one is asked for.
    newest: Arc<Mutex<Option<Arc<Snapshot>>>>,
}

impl std::fmt::Debug for Store {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Store")
    }
}

impl Store {
    /// Opens the store at `path`, creating it when it is not there.
    ///
    /// # Errors
    /// What the database or the file system says; a second process with the same file is refused.
    pub fn open(path: &Path) -> Result<Self, NodeError> {
        let db = Database::builder().set_cache_size(CACHE_BYTES).create(path)?;
        restrict(path)?;
        let store = Self { db: Arc::new(db), newest: Arc::default() };
        tables::create(&store.db)?;
        Ok(store)
    }

    /// A snapshot of what is committed.
    ///
    /// # Errors
    /// What the database says.
    pub fn view(&self) -> Result<View, NodeError> {
        // Opened under the lock, so that none from before a commit is put here after the commit took the old one away.
        let mut newest = self.newest();
        let tables = match &*newest {
            Some(tables) => Arc::clone(tables),
            None => Arc::clone(newest.insert(Arc::new(Snapshot::open(Arc::clone(&self.db))?))),
        };
        Ok(View::new(tables))
    }

    fn newest(&self) -> MutexGuard<'_, Option<Arc<Snapshot>>> {
        // It is replaced whole, so a holder that panicked left nothing half done.
        self.newest.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Only the operator's own user reads the ledger's file.
fn restrict(path: &Path) -> Result<(), NodeError> {
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600))
            .map_err(|source| NodeError::File { path: path.to_owned(), source })?;
    }
    Ok(())
}
