//! The embedded block store: redb, one writer thread, and one fsync for all puts that wait together.

use std::{
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    thread,
};

use async_trait::async_trait;
use bytes::Bytes;
use cid::Cid;
use redb::{Database, ReadableDatabase, TableDefinition};
use tokio::sync::{mpsc, oneshot};

use super::{BlobError, BlobStore, checked, digest_of};
use crate::seal::Sealed;

/// By the SHA-256 of the blob, which is all of its address that varies.
const BLOBS: TableDefinition<'_, &[u8; 32], &[u8]> = TableDefinition::new("blobs");
const CACHE: usize = 16 << 20;
/// How many changes may wait for the writer; who comes later waits to be let in.
const QUEUE: usize = 1_024;
/// One transaction takes so much and then commits, so that the wait stays bounded.
const GROUP_BYTES: usize = 16 << 20;

enum Change {
    Put(Vec<([u8; 32], Bytes)>),
    Remove([u8; 32]),
    /// Nothing more is written, and the file is let go of.
    Close,
}

impl Change {
    fn size(&self) -> usize {
        match self {
            Self::Put(blobs) => blobs.iter().map(|(_, bytes)| bytes.len()).sum(),
            Self::Remove(_) | Self::Close => 0,
        }
    }
}

struct Job {
    change: Change,
    /// True when a removal found something.
    done: oneshot::Sender<Result<bool, BlobError>>,
}

/// Blobs in one file. Cheap to clone; the file closes when the last clone is gone.
#[derive(Clone)]
pub struct EmbeddedBlobs {
    db: Arc<Database>,
    jobs: mpsc::Sender<Job>,
    commits: Arc<AtomicU64>,
}

impl std::fmt::Debug for EmbeddedBlobs {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("EmbeddedBlobs(..)")
    }
}

fn failed(e: impl std::error::Error + Send + Sync + 'static) -> BlobError {
    BlobError::Failed(Box::new(e))
}

impl EmbeddedBlobs {
    /// Opens the store in `file`, or makes it.
    ///
    /// # Errors
    /// When the file cannot be opened, is another program's, or is open already.
    pub fn open(file: &Path) -> Result<Self, BlobError> {
        let db = Database::builder().set_cache_size(CACHE).create(file).map_err(failed)?;
        let first = db.begin_write().map_err(failed)?;
        first.open_table(BLOBS).map_err(failed)?;
        first.commit().map_err(failed)?;
        let db = Arc::new(db);
        let (jobs, waiting) = mpsc::channel(QUEUE);
        let writer = Arc::clone(&db);
        let commits = Arc::new(AtomicU64::new(0));
        let counter = Arc::clone(&commits);
        let name = "blobs".to_owned();
        thread::Builder::new().name(name).spawn(move || write_groups(writer, waiting, &counter)).map_err(failed)?;
        Ok(Self { db, jobs, commits })
    }

    /// How many transactions were committed, each with one fsync.
    pub fn commits(&self) -> u64 {
        self.commits.load(Ordering::Relaxed)
    }

    /// Closes the store: what waits is written before, and on return the writer has let go of the file. It is free once
    /// every other clone is gone too; their puts answer `Closed`.
    pub async fn close(self) {
        let Self { db, jobs, .. } = self;
        drop(db);
        let (done, answer) = oneshot::channel();
        if jobs.send(Job { change: Change::Close, done }).await.is_ok() {
            // An error says that the writer has gone already.
            let _ = answer.await;
        }
    }

    async fn submit(&self, change: Change) -> Result<bool, BlobError> {
        let (done, answer) = oneshot::channel();
        self.jobs.send(Job { change, done }).await.map_err(|_| BlobError::Closed)?;
        answer.await.map_err(|_| BlobError::Closed)?
    }

    /// Reads off the runtime: the disk may block, and a large blob takes a while to hash.
    async fn read<T: Send + 'static>(
        &self,
        read: impl FnOnce(&Database) -> Result<T, BlobError> + Send + 'static,
    ) -> Result<T, BlobError> {
        let db = Arc::clone(&self.db);
        tokio::task::spawn_blocking(move || read(&db)).await.map_err(failed)?
    }
}

fn write_groups(db: Arc<Database>, mut waiting: mpsc::Receiver<Job>, commits: &AtomicU64) {
    let mut closing = None;
    while let Some(first) = waiting.blocking_recv() {
        let mut size = first.change.size();
        let mut group = vec![first];
        while size < GROUP_BYTES
            && let Ok(next) = waiting.try_recv()
        {
            size += next.change.size();
            group.push(next);
        }
        if let Some(at) = group.iter().position(|job| matches!(job.change, Change::Close)) {
            // Who came after is told `Closed` by the loss of its sender.
            group.truncate(at + 1);
            closing = group.pop();
        }
        match commit(&db, &group) {
            Ok(found) => {
                commits.fetch_add(1, Ordering::Relaxed);
                for (job, found) in group.into_iter().zip(found) {
                    // Who asked may have gone; the change is made all the same.
                    let _ = job.done.send(Ok(found));
                }
            }
            Err(e) => {
                let shared = Arc::new(e);
                for job in group {
                    let _ = job.done.send(Err(failed(GroupFailed(Arc::clone(&shared)))));
                }
            }
        }
        if closing.is_some() {
            break;
        }
    }
    drop(waiting);
    drop(db);
    if let Some(job) = closing {
        let _ = job.done.send(Ok(true));
    }
}

/// The failure that all changes of one group share.
#[derive(Debug, thiserror::Error)]
#[error("the group could not be committed: {0}")]
struct GroupFailed(Arc<redb::Error>);

fn commit(db: &Database, group: &[Job]) -> Result<Vec<bool>, redb::Error> {
    if group.is_empty() {
        return Ok(Vec::new());
    }
    let transaction = db.begin_write()?;
    let mut found = Vec::with_capacity(group.len());
    {
        let mut table = transaction.open_table(BLOBS)?;
        for job in group {
            found.push(match &job.change {
                Change::Put(blobs) => {
                    for (digest, bytes) in blobs {
                        table.insert(digest, bytes.as_ref())?;
                    }
                    true
                }
                Change::Remove(digest) => table.remove(digest)?.is_some(),
                Change::Close => false,
            });
        }
    }
    transaction.commit()?;
    Ok(found)
}

fn lookup(db: &Database, digest: &[u8; 32]) -> Result<Option<Bytes>, redb::Error> {
    let table = db.begin_read()?.open_table(BLOBS)?;
    Ok(table.get(digest)?.map(|value| Bytes::copy_from_slice(value.value())))
}

#[async_trait]
impl BlobStore for EmbeddedBlobs {
    async fn put(&self, blob: &Sealed) -> Result<Cid, BlobError> {
        let cid = blob.cid();
        self.submit(Change::Put(vec![(*blob.digest(), blob.bytes().clone())])).await?;
        Ok(cid)
    }

    async fn put_many(&self, blobs: &[Sealed]) -> Result<Vec<Cid>, BlobError> {
        if !blobs.is_empty() {
            let entries = blobs.iter().map(|blob| (*blob.digest(), blob.bytes().clone())).collect();
            self.submit(Change::Put(entries)).await?;
        }
        Ok(blobs.iter().map(Sealed::cid).collect())
    }

    async fn get(&self, cid: &Cid) -> Result<Option<Bytes>, BlobError> {
        let Some(digest) = digest_of(cid) else { return Ok(None) };
        let cid = *cid;
        self.read(move |db| lookup(db, &digest).map_err(failed)?.map(|bytes| checked(&cid, bytes)).transpose()).await
    }

    async fn remove(&self, cid: &Cid) -> Result<bool, BlobError> {
        let Some(digest) = digest_of(cid) else { return Ok(false) };
        self.submit(Change::Remove(digest)).await
    }

    async fn has(&self, cid: &Cid) -> Result<bool, BlobError> {
        let Some(digest) = digest_of(cid) else { return Ok(false) };
        self.read(move |db| {
            let table = db.begin_read().map_err(failed)?.open_table(BLOBS).map_err(failed)?;
            Ok(table.get(&digest).map_err(failed)?.is_some())
        })
        .await
    }
}
