//! redb with sealed values, one writer thread, and one fsync for all commits that wait together.

use std::{
    path::Path,
    sync::{Arc, OnceLock, PoisonError, RwLock},
    thread,
};

use redb::{Database, Durability, ReadTransaction, ReadableDatabase, TableDefinition, TableError};
use serde::{Serialize, de::DeserializeOwned};
use tokio::sync::{mpsc, oneshot};
use zeroize::Zeroizing;

use super::{StoreError, Table, WriteBatch, batch::Change};
use crate::{fatal::Fatal, seal::StoreSeal};

/// redb's own default is 1 GiB.
const CACHE: usize = 24 << 20;
/// How many commits may wait for the writer; who comes later waits to be let in.
const QUEUE: usize = 1_024;
/// One transaction takes so many changes and then commits, so that the wait stays bounded.
const GROUP_CHANGES: usize = 20_000;

/// A row: its key, and its value opened.
pub type Row = (Vec<u8>, Zeroizing<Vec<u8>>);

/// The database. Cheap to clone; `close` ends it for every clone.
#[derive(Clone)]
pub struct Db {
    inner: Arc<Inner>,
    jobs: mpsc::Sender<Job>,
}

struct Inner {
    seal: StoreSeal,
    /// None once closed.
    db: RwLock<Option<Arc<Database>>>,
    /// Who is told when the disk takes nothing more.
    fatal: OnceLock<Fatal>,
}

enum Job {
    Commit { batch: WriteBatch, lazy: bool, done: oneshot::Sender<Result<(), StoreError>> },
    Close { done: oneshot::Sender<()> },
}

impl std::fmt::Debug for Db {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Db(..)")
    }
}

fn failed(e: impl Into<redb::Error>) -> StoreError {
    StoreError::Failed(Arc::new(e.into()))
}

impl Inner {
    fn database(&self) -> Result<Arc<Database>, StoreError> {
        self.db.read().unwrap_or_else(PoisonError::into_inner).clone().ok_or(StoreError::Closed)
    }

    fn read(&self) -> Result<ReadTransaction, StoreError> {
        self.database()?.begin_read().map_err(failed)
    }

    fn open(&self, table: Table, key: &[u8], sealed: &[u8]) -> Result<Zeroizing<Vec<u8>>, StoreError> {
        self.seal.open_value(table, key, sealed).map_err(|_| StoreError::Spoiled { table })
    }
}

const fn definition(table: Table) -> TableDefinition<'static, &'static [u8], &'static [u8]> {
    TableDefinition::new(table)
}

impl Db {
    /// Opens the database in `file`, or makes it.
    ///
    /// # Errors
    /// When the file cannot be opened, is another program's, or is open already.
    pub fn open(file: &Path, seal: StoreSeal) -> Result<Self, StoreError> {
        let db = Database::builder().set_cache_size(CACHE).create(file).map_err(failed)?;
        let inner = Arc::new(Inner { seal, db: RwLock::new(Some(Arc::new(db))), fatal: OnceLock::new() });
        let (jobs, waiting) = mpsc::channel(QUEUE);
        let writer = Arc::clone(&inner);
        thread::Builder::new()
            .name("store".into())
            .spawn(move || write_groups(&writer, waiting))
            .map_err(|e| failed(redb::Error::Io(e)))?;
        Ok(Self { inner, jobs })
    }

    /// Tells there when the disk does not take what is written. The first one named stays.
    #[must_use]
    pub fn telling(self, fatal: &Fatal) -> Self {
        // A second one would be a mistake of the start, not of a caller.
        let _ = self.inner.fatal.set(fatal.clone());
        self
    }

    /// The value of a key.
    ///
    /// # Errors
    /// When the database cannot be read, or the value does not open.
    pub fn get(&self, table: Table, key: &[u8]) -> Result<Option<Zeroizing<Vec<u8>>>, StoreError> {
        let read = self.inner.read()?;
        let Some(rows) = table_of(&read, table)? else { return Ok(None) };
        let Some(sealed) = rows.get(key).map_err(failed)? else { return Ok(None) };
        self.inner.open(table, key, sealed.value()).map(Some)
    }

    /// The value of a key, read as JSON.
    ///
    /// # Errors
    /// When the database cannot be read, or the value does not open or is not of its form.
    pub fn get_json<T: DeserializeOwned>(&self, table: Table, key: &[u8]) -> Result<Option<T>, StoreError> {
        self.get(table, key)?.map(|bytes| from_json(table, &bytes)).transpose()
    }

    /// All rows whose keys begin with `prefix`, by ascending key.
    ///
    /// # Errors
    /// When the database cannot be read, or a value does not open.
    pub fn scan_prefix(&self, table: Table, prefix: &[u8]) -> Result<Vec<Row>, StoreError> {
        self.scan(table, prefix, prefix, usize::MAX)
    }

    /// At most `limit` rows from key `from` on whose keys begin with `prefix`, by ascending key.
    ///
    /// # Errors
    /// When the database cannot be read, or a value does not open.
    pub fn scan(&self, table: Table, prefix: &[u8], from: &[u8], limit: usize) -> Result<Vec<Row>, StoreError> {
        let read = self.inner.read()?;
        let Some(rows) = table_of(&read, table)? else { return Ok(Vec::new()) };
        let mut found = Vec::new();
        for row in rows.range(from..).map_err(failed)?.take(limit) {
            let (key, sealed) = row.map_err(failed)?;
            if !key.value().starts_with(prefix) {
                break;
            }
            found.push((key.value().to_vec(), self.inner.open(table, key.value(), sealed.value())?));
        }
        Ok(found)
    }

    /// The keys, without their values, that begin with `prefix`, ascending.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub fn keys(&self, table: Table, prefix: &[u8]) -> Result<Vec<Vec<u8>>, StoreError> {
        self.keys_from(table, prefix, usize::MAX)
    }

    /// How many keys begin with `prefix`.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub fn count(&self, table: Table, prefix: &[u8]) -> Result<u64, StoreError> {
        let read = self.inner.read()?;
        let Some(rows) = table_of(&read, table)? else { return Ok(0) };
        let mut count = 0;
        for row in rows.range(prefix..).map_err(failed)? {
            let (key, _) = row.map_err(failed)?;
            if !key.value().starts_with(prefix) {
                break;
            }
            count += 1;
        }
        Ok(count)
    }

    /// The first keys, at most `limit` of them, likewise.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub fn keys_from(&self, table: Table, prefix: &[u8], limit: usize) -> Result<Vec<Vec<u8>>, StoreError> {
        let read = self.inner.read()?;
        let Some(rows) = table_of(&read, table)? else { return Ok(Vec::new()) };
        let mut found = Vec::new();
        for row in rows.range(prefix..).map_err(failed)?.take(limit) {
            let (key, _) = row.map_err(failed)?;
            if !key.value().starts_with(prefix) {
                break;
            }
            found.push(key.value().to_vec());
        }
        Ok(found)
    }

    /// Writes a batch; it is durable on return. Batches that wait together share one fsync; their order is that of the
    /// calls.
    ///
    /// # Errors
    /// When the database cannot write; then nothing of the batch is written.
    pub async fn commit(&self, batch: WriteBatch) -> Result<(), StoreError> {
        self.queue(batch, false).await
    }

    /// Writes a batch that readers see on return and that becomes durable with the next `commit`: for what can be found
    /// again after a crash.
    ///
    /// # Errors
    /// When the database cannot write; then nothing of the batch is written.
    pub async fn commit_lazily(&self, batch: WriteBatch) -> Result<(), StoreError> {
        self.queue(batch, true).await
    }

    async fn queue(&self, batch: WriteBatch, lazy: bool) -> Result<(), StoreError> {
        if batch.is_empty() {
            return Ok(());
        }
        let (done, answer) = oneshot::channel();
        self.jobs.send(Job::Commit { batch, lazy, done }).await.map_err(|_| StoreError::Closed)?;
        answer.await.map_err(|_| StoreError::Closed)?
    }

    /// Sets one value, durably.
    ///
    /// # Errors
    /// When the database cannot write.
    pub async fn put(&self, table: Table, key: &[u8], value: &[u8]) -> Result<(), StoreError> {
        let mut batch = WriteBatch::new();
        batch.put(table, key, value);
        self.commit(batch).await
    }

    /// Sets one value as JSON, durably.
    ///
    /// # Errors
    /// When the database cannot write.
    pub async fn put_json<T: Serialize + Sync>(&self, table: Table, key: &[u8], value: &T) -> Result<(), StoreError> {
        let mut batch = WriteBatch::new();
        batch.put_json(table, key, value);
        self.commit(batch).await
    }

    /// Forgets one key, durably.
    ///
    /// # Errors
    /// When the database cannot write.
    pub async fn remove(&self, table: Table, key: &[u8]) -> Result<(), StoreError> {
        let mut batch = WriteBatch::new();
        batch.remove(table, key);
        self.commit(batch).await
    }

    /// A key that tells nothing of what it stands for, the same for the same.
    pub fn blind(&self, table: Table, name: &[u8]) -> [u8; 32] {
        self.inner.seal.blind_key(table, name)
    }

    /// Writes what waits and closes the file, so that another process may open it. Every later call fails.
    pub async fn close(&self) {
        let (done, closed) = oneshot::channel();
        if self.jobs.send(Job::Close { done }).await.is_ok() {
            // The writer answers or has ended; closed it is either way.
            let _ = closed.await;
        }
    }
}

/// Reads JSON of a table.
pub(crate) fn from_json<T: DeserializeOwned>(table: Table, bytes: &[u8]) -> Result<T, StoreError> {
    serde_json::from_slice(bytes).map_err(|e| StoreError::Form { table, source: Arc::new(e) })
}

type Rows = redb::ReadOnlyTable<&'static [u8], &'static [u8]>;

fn table_of(read: &ReadTransaction, table: Table) -> Result<Option<Rows>, StoreError> {
    match read.open_table(definition(table)) {
        Ok(rows) => Ok(Some(rows)),
        Err(TableError::TableDoesNotExist(_)) => Ok(None),
        Err(e) => Err(failed(e)),
    }
}

fn write_groups(inner: &Inner, mut waiting: mpsc::Receiver<Job>) {
    while let Some(first) = waiting.blocking_recv() {
        let (mut group, mut close, mut size) = (Vec::new(), None, 0);
        let mut next = Some(first);
        while let Some(job) = next.take() {
            match job {
                Job::Close { done } => close = Some(done),
                Job::Commit { batch, lazy, done } => {
                    size += batch.changes.len();
                    group.push((batch, lazy, done));
                    if size < GROUP_CHANGES {
                        next = waiting.try_recv().ok();
                    }
                }
            }
        }
        write_group(inner, group);
        if let Some(done) = close {
            inner.db.write().unwrap_or_else(PoisonError::into_inner).take();
            let _ = done.send(());
            return;
        }
    }
}

/// A batch, whether it may become durable later, and who waits for it.
type Waiting = (WriteBatch, bool, oneshot::Sender<Result<(), StoreError>>);

fn write_group(inner: &Inner, group: Vec<Waiting>) {
    if group.is_empty() {
        return;
    }
    let lazy = group.iter().all(|(_, lazy, _)| *lazy);
    let result = inner.database().and_then(|db| write(&inner.seal, &db, lazy, group.iter().map(|(b, _, _)| b)));
    if let (Err(StoreError::Failed(error)), Some(fatal)) = (&result, inner.fatal.get()) {
        fatal.tell_of(&**error);
    }
    for (_, _, done) in group {
        // Who asked may have gone; what was written is written all the same.
        let _ = done.send(result.clone());
    }
}

fn write<'a>(
    seal: &StoreSeal,
    db: &Database,
    lazy: bool,
    batches: impl Iterator<Item = &'a WriteBatch>,
) -> Result<(), StoreError> {
    let mut transaction = db.begin_write().map_err(failed)?;
    if lazy {
        transaction.set_durability(Durability::None).map_err(failed)?;
    }
    // By table and key: a table is opened once and its tree walked in order. Stable, so that of two changes of one key the
    // later still comes later.
    let mut changes: Vec<&Change> = batches.flat_map(|batch| &batch.changes).collect();
    changes.sort_by(|a, b| (a.table, &a.key).cmp(&(b.table, &b.key)));
    for of_table in changes.chunk_by(|a, b| a.table == b.table) {
        let table = of_table[0].table;
        let mut rows = transaction.open_table(definition(table)).map_err(failed)?;
        for change in of_table {
            match &change.value {
                Some(value) => {
                    let sealed = seal.seal_value(table, &change.key, value);
                    rows.insert(change.key.as_slice(), sealed.as_slice()).map_err(failed)?;
                }
                None => {
                    rows.remove(change.key.as_slice()).map_err(failed)?;
                }
            }
        }
    }
    transaction.commit().map_err(failed)
}
