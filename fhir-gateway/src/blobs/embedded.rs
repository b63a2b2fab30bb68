//! The embedded block store: redb, one writer thread, and one fsync for all puts that wait together.
//!
//! Addresses are random, and a tree that is ordered by them would be written to all over for each group of puts. So blobs lie
//! in packs in the order in which they come, and the tree of addresses holds places only.

use std::{
    collections::BTreeMap,
    path::Path,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicU64, Ordering},
    },
    thread,
};

use async_trait::async_trait;
use bytes::Bytes;
use cid::Cid;
use redb::{Database, ReadableDatabase, ReadableTable, ReadableTableMetadata, TableDefinition, WriteTransaction};
use tokio::sync::{mpsc, oneshot};

use super::{BlobError, BlobStore, checked, cid_of, digest_of};
use crate::{fatal::Fatal, seal::Sealed};

/// The SHA-256 of a blob, which is all of its address that varies → the pack it lies in, where its bytes begin there, how
/// many they are.
const PLACES: TableDefinition<'_, &[u8; 32], Place> = TableDefinition::new("places");
/// A pack's number, which is its mark → how many of its blobs are still wanted (u32, little-endian), then each blob after its
/// length (likewise).
const PACKS: TableDefinition<'_, u64, &[u8]> = TableDefinition::new("packs");
/// A pack is closed when it would become larger; with what redb adds to it, it fills four pages.
const PACK: usize = 16_000;

type Place = (u64, u32, u32);
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
    /// Of a removal, 1 when it found something; of a put, its mark.
    done: oneshot::Sender<Result<u64, BlobError>>,
}

/// Blobs in one file. Cheap to clone; the file closes when the last clone is gone.
#[derive(Clone)]
pub struct EmbeddedBlobs {
    db: Arc<Database>,
    jobs: mpsc::Sender<Job>,
    commits: Arc<AtomicU64>,
    fatal: Arc<OnceLock<Fatal>>,
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
        first.open_table(PLACES).map_err(failed)?;
        first.open_table(PACKS).map_err(failed)?;
        first.commit().map_err(failed)?;
        let db = Arc::new(db);
        let (jobs, waiting) = mpsc::channel(QUEUE);
        let writer = Arc::clone(&db);
        let commits = Arc::new(AtomicU64::new(0));
        let counter = Arc::clone(&commits);
        let fatal = Arc::new(OnceLock::new());
        let told = Arc::clone(&fatal);
        let name = "blobs".to_owned();
        thread::Builder::new()
            .name(name)
            .spawn(move || write_groups(writer, waiting, &counter, &told))
            .map_err(failed)?;
        Ok(Self { db, jobs, commits, fatal })
    }

    /// Tells there when the disk does not take what is written. The first one named stays.
    #[must_use]
    pub fn telling(self, fatal: &Fatal) -> Self {
        // A second one would be a mistake of the start, not of a caller.
        let _ = self.fatal.set(fatal.clone());
        self
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

    async fn submit(&self, change: Change) -> Result<u64, BlobError> {
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

fn write_groups(db: Arc<Database>, mut waiting: mpsc::Receiver<Job>, commits: &AtomicU64, fatal: &OnceLock<Fatal>) {
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
                if let Some(fatal) = fatal.get() {
                    fatal.tell_of(&e);
                }
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
        let _ = job.done.send(Ok(0));
    }
}

/// The failure that all changes of one group share.
#[derive(Debug, thiserror::Error)]
#[error("the group could not be committed: {0}")]
struct GroupFailed(Arc<redb::Error>);

fn commit(db: &Database, group: &[Job]) -> Result<Vec<u64>, redb::Error> {
    if group.is_empty() {
        return Ok(Vec::new());
    }
    let transaction = db.begin_write()?;
    let mut packer = Packer::new(&transaction)?;
    let mut answers = Vec::with_capacity(group.len());
    for job in group {
        answers.push(match &job.change {
            Change::Put(blobs) => {
                for (digest, bytes) in blobs {
                    packer.put(&transaction, digest, bytes)?;
                }
                // A pack of its own, so that a mark tells what one caller has put from what others put.
                packer.close(&transaction)?;
                packer.number - 1
            }
            Change::Remove(digest) => u64::from(remove(&transaction, digest)?),
            Change::Close => 0,
        });
    }
    transaction.commit()?;
    Ok(answers)
}

/// Lays blobs into packs.
struct Packer {
    /// The number of the open pack.
    number: u64,
    bytes: Vec<u8>,
    places: Vec<([u8; 32], Place)>,
}

impl Packer {
    fn new(transaction: &WriteTransaction) -> Result<Self, redb::Error> {
        let packs = transaction.open_table(PACKS)?;
        let last = packs.last()?.map_or(0, |(number, _)| number.value());
        Ok(Self { number: last + 1, bytes: vec![0; 4], places: Vec::new() })
    }

    fn put(&mut self, transaction: &WriteTransaction, digest: &[u8; 32], bytes: &[u8]) -> Result<(), redb::Error> {
        if self.places.iter().any(|(known, _)| known == digest)
            || transaction.open_table(PLACES)?.get(digest)?.is_some()
        {
            return Ok(());
        }
        if !self.places.is_empty() && self.bytes.len() + 4 + bytes.len() > PACK {
            self.close(transaction)?;
        }
        self.bytes.extend_from_slice(&length(bytes.len())?.to_le_bytes());
        let place = (self.number, length(self.bytes.len())?, length(bytes.len())?);
        self.bytes.extend_from_slice(bytes);
        self.places.push((*digest, place));
        Ok(())
    }

    /// Writes the open pack, if anything is in it, and begins the next.
    fn close(&mut self, transaction: &WriteTransaction) -> Result<(), redb::Error> {
        if self.places.is_empty() {
            return Ok(());
        }
        let wanted = length(self.places.len())?;
        self.bytes[..4].copy_from_slice(&wanted.to_le_bytes());
        transaction.open_table(PACKS)?.insert(self.number, self.bytes.as_slice())?;
        // In their order, so that the tree is walked once.
        self.places.sort_unstable_by_key(|(digest, _)| *digest);
        let mut places = transaction.open_table(PLACES)?;
        for (digest, place) in self.places.drain(..) {
            places.insert(&digest, place)?;
        }
        self.number += 1;
        self.bytes.truncate(4);
        Ok(())
    }
}

fn length(of: usize) -> Result<u32, redb::Error> {
    u32::try_from(of).map_err(|_| redb::Error::ValueTooLarge(of))
}

/// Overwrites a blob, and forgets its pack when it was the last one there. The newest pack keeps its number.
fn remove(transaction: &WriteTransaction, digest: &[u8; 32]) -> Result<bool, redb::Error> {
    let Some(place) = transaction.open_table(PLACES)?.remove(digest)?.map(|place| place.value()) else {
        return Ok(false);
    };
    let mut packs = transaction.open_table(PACKS)?;
    let newest = packs.last()?.is_some_and(|(number, _)| number.value() == place.0);
    let Some(mut pack) = packs.get(place.0)?.map(|pack| pack.value().to_vec()) else { return Ok(true) };
    let wanted = pack.first_chunk::<4>().map_or(0, |wanted| u32::from_le_bytes(*wanted)).saturating_sub(1);
    if wanted == 0 {
        if newest {
            packs.insert(place.0, [0; 4].as_slice())?;
        } else {
            packs.remove(place.0)?;
        }
        return Ok(true);
    }
    pack[..4].copy_from_slice(&wanted.to_le_bytes());
    if let Some(bytes) = part(&place).and_then(|part| pack.get_mut(part)) {
        bytes.fill(0);
    }
    packs.insert(place.0, pack.as_slice())?;
    Ok(true)
}

fn part((_, from, len): &Place) -> Option<std::ops::Range<usize>> {
    let (from, len) = (usize::try_from(*from).ok()?, usize::try_from(*len).ok()?);
    Some(from..from.checked_add(len)?)
}

/// What lies at these digests, in their order. Blobs that were put together lie in one pack, which is read once.
fn lookup(db: &Database, digests: &[Option<[u8; 32]>]) -> Result<Vec<Option<Bytes>>, redb::Error> {
    let read = db.begin_read()?;
    let (places, packs) = (read.open_table(PLACES)?, read.open_table(PACKS)?);
    let mut by_pack: BTreeMap<u64, Vec<(usize, Place)>> = BTreeMap::new();
    for (at, digest) in digests.iter().enumerate() {
        let place = digest.as_ref().map(|digest| places.get(digest)).transpose()?.flatten();
        if let Some(place) = place.map(|place| place.value()) {
            by_pack.entry(place.0).or_default().push((at, place));
        }
    }
    let mut found = vec![None; digests.len()];
    for (number, wanted) in by_pack {
        let pack = packs.get(number)?;
        for (at, place) in wanted {
            // A place outside of its pack has the bytes of no blob.
            let bytes = pack.as_ref().and_then(|pack| pack.value().get(part(&place)?));
            found[at] = Some(bytes.map(Bytes::copy_from_slice).unwrap_or_default());
        }
    }
    Ok(found)
}

fn after(db: &Database, mark: u64) -> Result<Vec<(u64, Cid)>, redb::Error> {
    let read = db.begin_read()?;
    let places = read.open_table(PLACES)?;
    let mut found = Vec::new();
    for pack in read.open_table(PACKS)?.range(mark.saturating_add(1)..)? {
        let (number, pack) = pack?;
        let mut rest = pack.value().get(4..).unwrap_or_default();
        while let Some((len, more)) = rest.split_first_chunk::<4>() {
            let Ok(len) = usize::try_from(u32::from_le_bytes(*len)) else { break };
            let Some((bytes, more)) = more.split_at_checked(len) else { break };
            rest = more;
            let cid = cid_of(bytes);
            let wanted = digest_of(&cid).map(|digest| places.get(&digest)).transpose()?.flatten();
            if wanted.is_some_and(|place| place.value().0 == number.value()) {
                found.push((number.value(), cid));
            }
        }
    }
    Ok(found)
}

#[async_trait]
impl BlobStore for EmbeddedBlobs {
    async fn put(&self, blob: &Sealed) -> Result<Cid, BlobError> {
        let cid = blob.cid();
        self.submit(Change::Put(vec![(*blob.digest(), blob.bytes().clone())])).await?;
        Ok(cid)
    }

    async fn put_many(&self, blobs: &[Sealed]) -> Result<u64, BlobError> {
        let entries = blobs.iter().map(|blob| (*blob.digest(), blob.bytes().clone())).collect();
        self.submit(Change::Put(entries)).await
    }

    async fn after(&self, mark: u64) -> Result<Vec<(u64, Cid)>, BlobError> {
        self.read(move |db| after(db, mark).map_err(failed)).await
    }

    async fn count(&self) -> Result<u64, BlobError> {
        self.read(|db| {
            let places = db.begin_read().map_err(failed)?.open_table(PLACES).map_err(failed)?;
            places.len().map_err(failed)
        })
        .await
    }

    async fn get(&self, cid: &Cid) -> Result<Option<Bytes>, BlobError> {
        self.get_many(&[*cid]).await?.pop().unwrap_or(Ok(None))
    }

    async fn get_many(&self, cids: &[Cid]) -> Result<Vec<Result<Option<Bytes>, BlobError>>, BlobError> {
        let cids = cids.to_vec();
        self.read(move |db| {
            let digests: Vec<_> = cids.iter().map(digest_of).collect();
            let found = lookup(db, &digests).map_err(failed)?;
            let one = |(cid, bytes): (&Cid, Option<Bytes>)| bytes.map(|bytes| checked(cid, bytes)).transpose();
            Ok(cids.iter().zip(found).map(one).collect())
        })
        .await
    }

    async fn remove(&self, cid: &Cid) -> Result<bool, BlobError> {
        let Some(digest) = digest_of(cid) else { return Ok(false) };
        Ok(self.submit(Change::Remove(digest)).await? > 0)
    }

    async fn has(&self, cid: &Cid) -> Result<bool, BlobError> {
        let Some(digest) = digest_of(cid) else { return Ok(false) };
        self.read(move |db| {
            let table = db.begin_read().map_err(failed)?.open_table(PLACES).map_err(failed)?;
            Ok(table.get(&digest).map_err(failed)?.is_some())
        })
        .await
    }
}
