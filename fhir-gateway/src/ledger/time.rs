//! What time it is, for decisions that deny by time, and whether this gateway's view of the ledger is fresh enough to
//! disclose other custodians' records by it.

use std::time::Duration;

use vouchsafe_types::TimeMs;

use super::Ledger;
use crate::clock::Clock;

/// How old the newest header may be, and how far the clocks may differ, for a foreign record to be opened.
pub const FRESH_MS: u64 = 10_000;

/// The later of block time and the own clock: a stopped chain does not prolong anything, nor does a slow clock.
pub fn now(ledger: &dyn Ledger, clock: &Clock) -> TimeMs {
    ledger.head().time.max(clock())
}

/// Why nothing may be disclosed on the word of the ledger now.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Stale {
    /// No header came for too long.
    #[error("the newest header was received {} ms ago, at most {FRESH_MS} are allowed", .0.as_millis())]
    Old(Duration),
    /// Block time and the own clock differ.
    #[error("block time {header} and own clock {own} differ by more than {FRESH_MS} ms")]
    Apart {
        /// The newest header's time.
        header: TimeMs,
        /// The own clock's time.
        own: TimeMs,
    },
}

/// The time, if the newest header is at most ten seconds old by monotonic time since its receipt and the clocks agree.
///
/// # Errors
/// `Stale`, and then no foreign record may be opened.
pub fn fresh(ledger: &dyn Ledger, clock: &Clock) -> Result<TimeMs, Stale> {
    let head = ledger.head();
    let age = head.received.elapsed();
    if age > Duration::from_millis(FRESH_MS) {
        return Err(Stale::Old(age));
    }
    let own = clock();
    if head.time.0.abs_diff(own.0) > FRESH_MS {
        return Err(Stale::Apart { header: head.time, own });
    }
    Ok(head.time.max(own))
}
