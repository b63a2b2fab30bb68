//! Opened versions, and the few of them that are kept in memory for a while.
//!
//! Opening costs a walk through four tables, two decryptions and three hashes, and a chart that is looked at is looked at
//! again. What was opened is kept for at most five unused minutes and within a bound, and is given out again only while
//! the ledger's head says that this very commitment is the record's latest; then every byte of it was verified before.

use std::{
    collections::{BTreeMap, HashMap},
    sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError},
    time::{Duration, Instant},
};

use vouchsafe_types::{Hash32, RecordId};
use zeroize::Zeroizing;

use super::RecordRow;

/// So many bytes are kept.
const MOST: usize = 24 << 20;
/// What was not used for so long leaves memory.
const UNUSED: Duration = Duration::from_secs(300);
/// What an entry costs besides its bytes, its row among it.
const OVERHEAD: usize = 512;

/// The bytes of a version; they leave memory zeroed.
pub(super) struct Plain {
    pub(super) commitment: Hash32,
    sealed_form: Zeroizing<Vec<u8>>,
    served: OnceLock<Zeroizing<Vec<u8>>>,
    /// The row of the latest version, so that a page of what was opened lately reads nothing.
    row: OnceLock<Arc<RecordRow>>,
}

/// An opened version.
pub struct Opened {
    plain: Arc<Plain>,
    /// What is known of it.
    pub row: Arc<RecordRow>,
}

impl Opened {
    pub(super) fn new(plain: Arc<Plain>, row: RecordRow) -> Self {
        Self { plain, row: Arc::new(row) }
    }

    /// What was kept with its row.
    pub(super) fn kept(plain: Arc<Plain>) -> Option<Self> {
        let row = Arc::clone(plain.row.get()?);
        Some(Self { plain, row })
    }

    /// A version that was written this moment, with the bytes that were sealed.
    pub fn written(sealed_form: Zeroizing<Vec<u8>>, row: RecordRow) -> Self {
        Self::new(Arc::new(Plain::new(row.commitment, sealed_form)), row)
    }

    /// The exact bytes that were sealed.
    pub fn sealed_form(&self) -> &[u8] {
        &self.plain.sealed_form
    }

    /// The bytes that are served, which depend on nothing but the version; made once.
    pub fn served(&self, make: impl FnOnce() -> Vec<u8>) -> &[u8] {
        self.plain.served.get_or_init(|| Zeroizing::new(make()))
    }
}

impl std::fmt::Debug for Opened {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Opened({:?})", self.row)
    }
}

impl Plain {
    pub(super) const fn new(commitment: Hash32, sealed_form: Zeroizing<Vec<u8>>) -> Self {
        Self { commitment, sealed_form, served: OnceLock::new(), row: OnceLock::new() }
    }

    /// Keeps the row with it.
    pub(super) fn with_row(&self, row: &RecordRow) {
        self.row.get_or_init(|| Arc::new(row.clone()));
    }

    /// The sealed form, and what is served, which is a little longer.
    fn cost(&self) -> usize {
        2 * self.sealed_form.len() + 2 * OVERHEAD
    }
}

type Key = (RecordId, u64);

struct Kept {
    plain: Arc<Plain>,
    /// Its place in the order of use.
    turn: u64,
    used: Instant,
}

#[derive(Default)]
struct Shelf {
    kept: HashMap<Key, Kept>,
    by_turn: BTreeMap<u64, Key>,
    turn: u64,
    bytes: usize,
}

impl Shelf {
    fn remove(&mut self, key: &Key) {
        if let Some(kept) = self.kept.remove(key) {
            self.by_turn.remove(&kept.turn);
            self.bytes -= kept.plain.cost();
        }
    }

    fn oldest(&self) -> Option<Key> {
        self.by_turn.first_key_value().map(|(_, key)| *key)
    }

    /// Lets go of what was not used lately, and of what was used longest ago while there is too much.
    fn sweep(&mut self, now: Instant, most: usize) {
        while let Some(key) = self.oldest() {
            let stale = self.kept.get(&key).is_none_or(|kept| now.duration_since(kept.used) >= UNUSED);
            if !stale && self.bytes <= most {
                return;
            }
            self.remove(&key);
        }
    }
}

/// What was opened lately.
pub(super) struct Lately {
    shelf: Mutex<Shelf>,
    most: usize,
}

impl Default for Lately {
    fn default() -> Self {
        Self { shelf: Mutex::default(), most: MOST }
    }
}

impl Lately {
    fn shelf(&self) -> MutexGuard<'_, Shelf> {
        self.shelf.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn get(&self, record: &RecordId, version: u64) -> Option<Arc<Plain>> {
        let now = Instant::now();
        let mut shelf = self.shelf();
        shelf.turn += 1;
        let turn = shelf.turn;
        let key = (*record, version);
        let kept = shelf.kept.get_mut(&key)?;
        let before = std::mem::replace(&mut kept.turn, turn);
        let stale = now.duration_since(std::mem::replace(&mut kept.used, now)) >= UNUSED;
        let plain = Arc::clone(&kept.plain);
        shelf.by_turn.remove(&before);
        shelf.by_turn.insert(turn, key);
        if stale {
            shelf.remove(&key);
            return None;
        }
        Some(plain)
    }

    pub(super) fn keep(&self, record: RecordId, version: u64, plain: &Arc<Plain>) {
        // One that is large would push out hundreds that are not.
        if plain.cost() > self.most / 16 {
            return;
        }
        let mut shelf = self.shelf();
        let key = (record, version);
        shelf.remove(&key);
        shelf.turn += 1;
        let (turn, used) = (shelf.turn, Instant::now());
        shelf.bytes += plain.cost();
        shelf.by_turn.insert(turn, key);
        shelf.kept.insert(key, Kept { plain: Arc::clone(plain), turn, used });
        shelf.sweep(used, self.most);
    }

    /// Lets go of what was not used lately, also when nobody reads any more.
    pub(super) fn sweep(&self) {
        self.shelf().sweep(Instant::now(), self.most);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plain(bytes: usize) -> Arc<Plain> {
        Arc::new(Plain::new(Hash32([0; 32]), Zeroizing::new(vec![7; bytes])))
    }

    #[test]
    fn what_was_opened_stays_within_its_bound_and_the_oldest_goes_first() {
        let lately = Lately { shelf: Mutex::default(), most: 100_000 };
        let id = |n: u8| RecordId([n; 16]);
        for n in 0..100 {
            lately.keep(id(n), 1, &plain(1_000));
            // The first is used again and again, so it stays.
            assert!(lately.get(&id(0), 1).is_some());
            let shelf = lately.shelf();
            assert!(shelf.bytes <= 100_000);
            assert_eq!(shelf.kept.len(), shelf.by_turn.len());
        }
        assert!(lately.get(&id(1), 1).is_none());
        assert!(lately.get(&id(99), 1).is_some());
        assert!(lately.get(&id(99), 2).is_none());
        lately.keep(id(7), 1, &plain(90_000));
        assert!(lately.get(&id(7), 1).is_none());
    }

    #[test]
    fn what_nobody_used_leaves_memory() {
        let lately = Lately::default();
        lately.keep(RecordId([1; 16]), 1, &plain(10));
        lately.shelf().sweep(Instant::now() + UNUSED, MOST);
        assert!(lately.shelf().kept.is_empty());
        assert_eq!(lately.shelf().bytes, 0);
    }
}
