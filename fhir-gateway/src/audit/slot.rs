//! A place in the log.

use std::sync::Arc;

use super::{About, Inner, possibly_disclosed};

/// A place in the log, durable. Dropped without an entry it says "possibly disclosed".
#[must_use = "a slot without an entry reads as possibly disclosed"]
pub struct Slot {
    inner: Arc<Inner>,
    number: u64,
    about: About,
    settled: bool,
}

impl Slot {
    pub(super) fn new(inner: Arc<Inner>, number: u64) -> Self {
        Self { inner, number, about: About::default(), settled: false }
    }

    /// Says what is about to be disclosed, in case that no entry comes.
    pub fn about(mut self, about: About) -> Self {
        self.about = about;
        self
    }

    /// Gives the slot back: nothing was disclosed.
    pub fn release(mut self) {
        self.settled = true;
        self.inner.log().release(self.number);
    }

    pub(super) fn settle(mut self) -> u64 {
        self.settled = true;
        self.number
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        if !self.settled {
            // The caller went away, or failed, between the reservation and the entry.
            let entry = possibly_disclosed(&self.inner.ground, std::mem::take(&mut self.about), 1);
            let now = self.inner.ground.now();
            self.inner.log().append(self.number, 1, now, entry);
            self.inner.wake.notify_one();
        }
    }
}

impl std::fmt::Debug for Slot {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Slot({})", self.number)
    }
}
