//! The transactions that wait for a block, and what the driver waits for.

use std::{
    collections::VecDeque,
    sync::{Condvar, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use tokio::sync::oneshot;

use super::{Committed, SubmitError};

/// How long the driver looks for company for a transaction, at most and between two looks.
const GATHER: Duration = Duration::from_millis(4);
const LOOK: Duration = Duration::from_micros(500);

/// Where the answer to a submission goes.
pub(super) type Reply = oneshot::Sender<Result<Committed, SubmitError>>;

/// A transaction that waits.
#[derive(Debug)]
pub(super) struct Waiting {
    pub(super) raw: Vec<u8>,
    pub(super) reply: Reply,
}

/// Why a transaction was not taken.
#[derive(Debug)]
pub(super) enum Refused {
    Full,
    Stopped,
}

/// What the driver is to do.
#[derive(Debug)]
pub(super) enum Work {
    /// Make a block; empty when the heartbeat, or a prover, wants one.
    Block(Vec<Waiting>),
    /// End.
    Stop,
}

#[derive(Debug)]
struct State {
    waiting: VecDeque<Waiting>,
    block_wanted: bool,
    stop: bool,
}

/// The queue: bounded, because what waits is memory, and an answer that never comes is worse than `Busy`.
#[derive(Debug)]
pub(super) struct Queue {
    state: Mutex<State>,
    changed: Condvar,
    max: usize,
}

impl Queue {
    pub(super) fn new(max: usize) -> Self {
        let state = State { waiting: VecDeque::new(), block_wanted: false, stop: false };
        Self { state: Mutex::new(state), changed: Condvar::new(), max }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Every change below is one assignment or push; a panic leaves nothing half done.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn push(&self, raw: Vec<u8>, reply: Reply) -> Result<(), Refused> {
        let mut state = self.lock();
        if state.stop {
            return Err(Refused::Stopped);
        }
        if state.waiting.len() >= self.max {
            return Err(Refused::Full);
        }
        state.waiting.push_back(Waiting { raw, reply });
        drop(state);
        self.changed.notify_one();
        Ok(())
    }

    /// Puts back what did not fit into a block, in its order.
    pub(super) fn put_back(&self, rest: Vec<Waiting>) {
        let mut state = self.lock();
        for waiting in rest.into_iter().rev() {
            state.waiting.push_front(waiting);
        }
    }

    /// Asks for a block soon, transactions or not.
    pub(super) fn want_block(&self) {
        self.lock().block_wanted = true;
        self.changed.notify_one();
    }

    pub(super) fn stop(&self) {
        self.lock().stop = true;
        self.changed.notify_one();
    }

    /// Told by the driver when it has ended: everything that waits is answered by its reply being dropped.
    pub(super) fn end(&self) {
        let mut state = self.lock();
        state.stop = true;
        state.waiting.clear();
    }

    /// Waits for transactions, a wish or the deadline; gathers while company arrives, because a block costs a flush of
    /// the disk however many transactions it holds.
    pub(super) fn next(&self, deadline: Instant) -> Work {
        let mut state = self.lock();
        loop {
            if state.stop {
                return Work::Stop;
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if !state.waiting.is_empty() || state.block_wanted || left.is_zero() {
                break;
            }
            state = self.wait(state, left);
        }
        let gather_until = Instant::now() + GATHER;
        let mut seen = 0;
        while state.waiting.len() > seen && !state.stop && Instant::now() < gather_until {
            seen = state.waiting.len();
            drop(state);
            std::thread::sleep(LOOK);
            state = self.lock();
        }
        state.block_wanted = false;
        Work::Block(state.waiting.drain(..).collect())
    }

    fn wait<'a>(&self, state: MutexGuard<'a, State>, left: Duration) -> MutexGuard<'a, State> {
        self.changed.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0
    }
}
