//! The gateway's own clock, injected so that tests and the demo can move time.

use std::{
    sync::Arc,
    time::{SystemTime, UNIX_EPOCH},
};

use vouchsafe_types::TimeMs;

/// Tells the present time. Ledger time is block time; this is what a gateway compares it with.
pub type Clock = Arc<dyn Fn() -> TimeMs + Send + Sync>;

/// The machine's clock.
pub fn system() -> Clock {
    Arc::new(|| {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        TimeMs(u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
    })
}
