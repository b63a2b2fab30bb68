//! What of the index was opened lately: catalogs, blocks and lists of terms, within a bound, and for a few unused minutes
//! only, because it is health data.

use std::{
    collections::{HashMap, VecDeque},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use vouchsafe_types::RecordId;

use super::{
    block::{Block, BlockKey},
    catalog::Catalog,
    terms::TermList,
};

/// So many bytes are kept.
const MOST: usize = 24 << 20;
/// What was not used for so many sweeps leaves memory; there is one a minute.
const SWEEPS: u8 = 5;
/// What an entry takes besides what it keeps.
const OVERHEAD: usize = 160;

#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Name {
    Catalog(RecordId),
    Block(BlockKey),
    Terms(BlockKey),
}

#[derive(Clone)]
pub(super) enum Kept {
    Catalog(Arc<Catalog>),
    Block(Arc<Block>),
    Terms(Arc<TermList>),
}

impl Kept {
    fn cost(&self) -> usize {
        OVERHEAD
            + match self {
                Self::Catalog(catalog) => catalog.cost(),
                Self::Block(block) => block.cost(),
                Self::Terms(terms) => terms.cost(),
            }
    }
}

struct Used {
    kept: Kept,
    cost: usize,
    /// True when it was used since it was last passed over.
    lately: bool,
    /// How many sweeps it was not used for.
    unused: u8,
}

#[derive(Default)]
struct Shelf {
    used: HashMap<Name, Used>,
    /// Every name, in the order in which they are judged; a name that went is passed over.
    order: VecDeque<Name>,
    bytes: usize,
    epoch: u64,
}

impl Shelf {
    fn remove(&mut self, name: &Name) {
        if let Some(used) = self.used.remove(name) {
            self.bytes -= used.cost;
        }
    }

    fn set(&mut self, name: Name, kept: Kept, most: usize) {
        let cost = kept.cost();
        let before = self.used.insert(name, Used { kept, cost, lately: false, unused: 0 });
        self.bytes += cost;
        match before {
            // It has its place in the order.
            Some(before) => self.bytes -= before.cost,
            None => self.order.push_back(name),
        }
        while self.bytes > most {
            let Some(oldest) = self.order.pop_front() else { return };
            match self.used.get_mut(&oldest) {
                // What was used since gets another round.
                Some(used) if used.lately => {
                    used.lately = false;
                    self.order.push_back(oldest);
                }
                _ => self.remove(&oldest),
            }
        }
    }
}

/// What was opened lately.
pub(super) struct Cache {
    shelf: Mutex<Shelf>,
    most: usize,
}

impl Default for Cache {
    fn default() -> Self {
        Self::with(MOST)
    }
}

impl Cache {
    pub(super) fn with(most: usize) -> Self {
        Self { shelf: Mutex::default(), most }
    }

    fn shelf(&self) -> MutexGuard<'_, Shelf> {
        self.shelf.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn get(&self, name: &Name) -> Option<Kept> {
        let mut shelf = self.shelf();
        let used = shelf.used.get_mut(name)?;
        (used.lately, used.unused) = (true, 0);
        Some(used.kept.clone())
    }

    /// How often the index was written to; to be asked before what is then kept is read.
    pub(super) fn epoch(&self) -> u64 {
        self.shelf().epoch
    }

    /// Keeps what was read from the database, unless the index was written to since.
    pub(super) fn keep(&self, epoch: u64, name: Name, kept: Kept) {
        let mut shelf = self.shelf();
        if shelf.epoch == epoch {
            shelf.set(name, kept, self.most);
        }
    }

    /// Forgets one, so that it is read again.
    pub(super) fn forget(&self, name: &Name) {
        self.shelf().remove(name);
    }

    /// Takes what a committed batch wrote and removed.
    pub(super) fn filed(&self, changes: Vec<(Name, Option<Kept>)>) {
        let mut shelf = self.shelf();
        shelf.epoch += 1;
        for (name, kept) in changes {
            match kept {
                Some(kept) => shelf.set(name, kept, self.most),
                None => shelf.remove(&name),
            }
        }
    }

    /// Lets go of what was not used lately.
    pub(super) fn sweep(&self) {
        let mut shelf = self.shelf();
        let mut stale = Vec::new();
        for (name, used) in &mut shelf.used {
            used.unused += 1;
            if used.unused > SWEEPS {
                stale.push(*name);
            }
        }
        stale.iter().for_each(|name| shelf.remove(name));
        let Shelf { used, order, .. } = &mut *shelf;
        // A name that went and came again has two places; of these one is enough.
        let mut seen = std::collections::HashSet::with_capacity(used.len());
        order.retain(|name| used.contains_key(name) && seen.insert(*name));
    }

    /// How many bytes it keeps.
    #[cfg(test)]
    pub(super) fn bytes(&self) -> usize {
        self.shelf().bytes
    }
}

#[cfg(test)]
mod tests {
    use vouchsafe_types::Handle;

    use super::*;

    fn catalog() -> Kept {
        Kept::Catalog(Arc::new(Catalog::new(Handle([1; 16]))))
    }

    fn name(n: u8) -> Name {
        Name::Catalog(RecordId([n; 16]))
    }

    #[test]
    fn it_stays_within_its_bound_and_what_is_used_stays() {
        let cache = Cache::with(10 * catalog().cost());
        for n in 0..100 {
            cache.keep(0, name(n), catalog());
            assert!(cache.get(&name(0)).is_some());
            assert!(cache.bytes() <= 10 * catalog().cost());
        }
        assert!(cache.get(&name(99)).is_some());
        assert!(cache.get(&name(50)).is_none());
    }

    #[test]
    fn what_was_read_before_a_commit_is_not_kept_after_it() {
        let cache = Cache::default();
        let epoch = cache.epoch();
        cache.filed(vec![(name(1), None)]);
        cache.keep(epoch, name(1), catalog());
        assert!(cache.get(&name(1)).is_none());
        cache.keep(cache.epoch(), name(1), catalog());
        assert!(cache.get(&name(1)).is_some());
    }

    #[test]
    fn what_nobody_used_leaves_memory() {
        let cache = Cache::default();
        cache.keep(0, name(1), catalog());
        cache.keep(0, name(2), catalog());
        for _ in 0..=SWEEPS {
            assert!(cache.get(&name(2)).is_some());
            cache.sweep();
        }
        assert!(cache.get(&name(1)).is_none());
        assert!(cache.get(&name(2)).is_some());
        let shelf = cache.shelf();
        assert_eq!((shelf.order.len(), shelf.bytes), (1, catalog().cost()));
    }
}
