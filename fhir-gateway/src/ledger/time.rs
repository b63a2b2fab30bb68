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

#[cfg(test)]
mod tests {
    use std::{sync::Arc, time::Instant};

    use async_trait::async_trait;
    use vouchsafe_types::genesis::Genesis;

    use super::*;
    use crate::ledger::{BlockStream, Committed, Head, LedgerError, LedgerProof};

    /// A ledger that has nothing but a head.
    struct Standing(Head);

    #[async_trait]
    impl Ledger for Standing {
        fn chain(&self) -> &str {
            "standing"
        }

        fn genesis(&self) -> &Genesis {
            unreachable!("nobody asks")
        }

        fn head(&self) -> Head {
            self.0
        }

        async fn submit(&self, _: String) -> Result<Committed, LedgerError> {
            Err(LedgerError::Busy)
        }

        async fn get(&self, _: &[u8]) -> Result<Option<Vec<u8>>, LedgerError> {
            Ok(None)
        }

        async fn prove(&self, _: &[Vec<u8>]) -> Result<Vec<LedgerProof>, LedgerError> {
            Ok(Vec::new())
        }

        async fn subscribe(&self, _: u64) -> Result<BlockStream, LedgerError> {
            Err(LedgerError::Busy)
        }
    }

    fn standing(time: u64, age_ms: u64) -> Standing {
        let received = Instant::now().checked_sub(Duration::from_millis(age_ms)).unwrap();
        Standing(Head { height: 1, time: TimeMs(time), received })
    }

    fn clock(at: u64) -> Clock {
        Arc::new(move || TimeMs(at))
    }

    #[test]
    fn the_later_of_both_clocks_counts() {
        assert_eq!(now(&standing(1_000, 0), &clock(2_000)), TimeMs(2_000));
        assert_eq!(now(&standing(2_000, 0), &clock(1_000)), TimeMs(2_000));
    }

    #[test]
    fn a_header_that_is_old_or_apart_is_stale() {
        assert_eq!(fresh(&standing(50_000, 0), &clock(59_999)), Ok(TimeMs(59_999)));
        assert!(matches!(fresh(&standing(50_000, 10_001), &clock(50_000)), Err(Stale::Old(_))));
        assert!(matches!(fresh(&standing(50_000, 0), &clock(60_001)), Err(Stale::Apart { .. })));
        assert!(matches!(fresh(&standing(60_001, 0), &clock(50_000)), Err(Stale::Apart { .. })));
    }
}
