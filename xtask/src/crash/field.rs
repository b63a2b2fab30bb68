//! What the workers share: where the gateway is, the token it takes now, and whether it is up.

use std::{
    net::SocketAddr,
    sync::{
        Condvar, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

/// The state that the workers see.
pub(super) struct Field {
    pub(super) addr: SocketAddr,
    /// Part of each identifier, so that runs on one home do not mix.
    pub(super) run: u64,
    /// `Bearer …` while the gateway is up.
    token: Mutex<Option<String>>,
    changed: Condvar,
    open: AtomicBool,
    given_up: AtomicBool,
    crashes: AtomicU64,
}

impl Field {
    pub(super) fn new(addr: SocketAddr, run: u64) -> Self {
        let (open, given_up) = (AtomicBool::new(true), AtomicBool::new(false));
        let (token, changed) = (Mutex::default(), Condvar::new());
        Self { addr, run, token, changed, open, given_up, crashes: AtomicU64::new(0) }
    }

    /// The gateway is up and takes this token.
    pub(super) fn up(&self, token: &str) {
        *self.token.lock().unwrap_or_else(PoisonError::into_inner) = Some(format!("Bearer {token}"));
        self.changed.notify_all();
    }

    /// The gateway is about to be killed, or was.
    pub(super) fn down(&self) {
        *self.token.lock().unwrap_or_else(PoisonError::into_inner) = None;
        self.crashes.fetch_add(1, Ordering::SeqCst);
    }

    /// No more writes; what is under way is brought to its end.
    pub(super) fn close(&self) {
        self.open.store(false, Ordering::SeqCst);
    }

    /// No gateway will come any more: what is under way is given up.
    pub(super) fn give_up(&self) {
        self.given_up.store(true, Ordering::SeqCst);
        self.close();
    }

    pub(super) fn is_given_up(&self) -> bool {
        self.given_up.load(Ordering::SeqCst)
    }

    pub(super) fn is_open(&self) -> bool {
        self.open.load(Ordering::SeqCst)
    }

    pub(super) fn crashes(&self) -> u64 {
        self.crashes.load(Ordering::SeqCst)
    }

    /// The token, once the gateway is up; none when that takes too long, so that a run that failed ends.
    pub(super) fn token(&self) -> Option<String> {
        let held = self.token.lock().unwrap_or_else(PoisonError::into_inner);
        let waited = self.changed.wait_timeout_while(held, Duration::from_millis(500), |token| token.is_none());
        waited.unwrap_or_else(PoisonError::into_inner).0.clone()
    }
}
