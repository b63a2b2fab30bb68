//! Points at which a crash can be provoked, to show that nothing is lost by one. They are always compiled in, and cost one
//! relaxed load of an atomic while nothing is armed.
//!
//! Only the binary arms one, by `VOUCHSAFE_FAILPOINT=name` or `name:count`: the process aborts when the point is reached for
//! the count-th time. Tests arm one for a site of their own, whose writer then ends as if the process had.

use std::sync::{
    Arc, Mutex, OnceLock, PoisonError,
    atomic::{AtomicBool, Ordering},
};

/// The variable of the environment that the binary reads once.
pub const VARIABLE: &str = "VOUCHSAFE_FAILPOINT";

/// A point: its name, and what is true when it is reached.
pub type Point = (&'static str, &'static str);

/// A group of writes was taken out of the queue; nothing of it is on disk.
pub const TAKEN: &str = "outbox-taken";
/// A group was sealed and its anchor signed; nothing of it is on disk.
pub const SEALED: &str = "outbox-sealed";
/// A group lies in the outbox; its blobs may or may not be in the block store.
pub const IN_OUTBOX: &str = "outbox-written";
/// A group's blobs are in the block store; it may or may not lie in the outbox.
pub const BLOBS: &str = "blobs-written";
/// Outbox and blobs are durable; the ledger was not asked.
pub const DURABLE: &str = "anchor-before";
/// The anchor is in a block; nothing of it is visible.
pub const ANCHORED: &str = "anchor-committed";
/// Rows, entries, charts, idempotency keys and the outbox's emptying are handed to the database, not durably.
pub const FINISHED: &str = "finish-written";
/// Charts and maps in memory are as written; peers and callers do not know.
pub const VISIBLE: &str = "finish-visible";
/// Peers were told; callers were not.
pub const ANNOUNCED: &str = "finish-announced";
/// Callers were answered.
pub const ANSWERED: &str = "finish-answered";
/// A group was refused; its blobs and its outbox are as before.
pub const REFUSED: &str = "discard-begun";
/// A refused group's blobs are gone; it lies in the outbox.
pub const WITHOUT_BLOBS: &str = "discard-blobs-removed";
/// A refused group is gone; its callers do not know.
pub const DISCARDED: &str = "discard-written";
/// Idempotency keys that have served their time are removed, not durably.
pub const PRUNED: &str = "once-pruned";
/// At a start, before the outbox is looked into.
pub const RECOVERING: &str = "recover-begun";
/// At a start, a group that a crash left was settled.
pub const RECOVERED: &str = "recover-settled";
/// At a start, the outbox is settled; blobs that nothing names are still there.
pub const SWEEPING: &str = "recover-sweeping";

/// All points, for whoever goes through them.
pub const POINTS: &[Point] = &[
    (TAKEN, "a group of writes was taken out of the queue; nothing of it is on disk"),
    (SEALED, "a group was sealed and its anchor signed; nothing of it is on disk"),
    (IN_OUTBOX, "a group lies in the outbox; its blobs may or may not be in the block store"),
    (BLOBS, "a group's blobs are in the block store; it may or may not lie in the outbox"),
    (DURABLE, "outbox and blobs are durable; the ledger was not asked"),
    (ANCHORED, "the anchor is in a block; nothing of it is visible"),
    (FINISHED, "rows, entries, charts and idempotency keys are handed to the database, not durably"),
    (VISIBLE, "charts and maps in memory are as written; peers and callers do not know"),
    (ANNOUNCED, "peers were told; callers were not"),
    (ANSWERED, "callers were answered"),
    (REFUSED, "a group was refused; its blobs and its outbox are as before"),
    (WITHOUT_BLOBS, "a refused group's blobs are gone; it lies in the outbox"),
    (DISCARDED, "a refused group is gone; its callers do not know"),
    (PRUNED, "idempotency keys that have served their time are removed, not durably"),
    (RECOVERING, "at a start, before the outbox is looked into"),
    (RECOVERED, "at a start, a group that a crash left was settled"),
    (SWEEPING, "at a start, the outbox is settled; blobs that nothing names are still there"),
];

/// The process is to end here; only a test goes on, without the one whose crash it plays.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Crashed;

/// A failpoint was asked for that there is not.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{VARIABLE}: {0:?} is not a failpoint, or its count is not a number above 0")]
pub struct Unknown(String);

#[derive(Debug)]
struct Armed {
    name: &'static str,
    left: u32,
}

#[derive(Debug, Default)]
struct Inner {
    armed: AtomicBool,
    at: Mutex<Option<Armed>>,
    /// True when the process aborts; false when a test plays a crash.
    aborts: bool,
}

/// The points of a site. Cheap to clone; all clones are one.
#[derive(Clone, Debug, Default)]
pub struct Failpoints {
    inner: Arc<Inner>,
}

static OF_PROCESS: OnceLock<Failpoints> = OnceLock::new();

impl Failpoints {
    /// Those that the binary may have armed.
    pub fn of_process() -> Self {
        OF_PROCESS.get_or_init(Self::default).clone()
    }

    /// Arms one for the whole process, which aborts when it is reached. The binary calls this once, before anything else.
    ///
    /// # Errors
    /// When there is no such point.
    pub fn arm_process(what: &str) -> Result<(), Unknown> {
        let armed = parse(what)?;
        tracing::error!("armed: this process aborts at failpoint {} (count {})", armed.name, armed.left);
        let points = Self { inner: Arc::new(Inner { aborts: true, ..Inner::default() }) };
        points.arm(armed);
        // A second call finds the first one's.
        let _ = OF_PROCESS.set(points);
        Ok(())
    }

    fn arm(&self, armed: Armed) {
        *self.inner.at.lock().unwrap_or_else(PoisonError::into_inner) = Some(armed);
        self.inner.armed.store(true, Ordering::SeqCst);
    }

    /// Says that a point is reached.
    ///
    /// # Errors
    /// In a test that plays a crash here; whoever gets it lets everything fall.
    pub fn hit(&self, name: &'static str) -> Result<(), Crashed> {
        if self.inner.armed.load(Ordering::Relaxed) { self.reached(name) } else { Ok(()) }
    }

    #[cold]
    fn reached(&self, name: &'static str) -> Result<(), Crashed> {
        let mut at = self.inner.at.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(armed) = at.as_mut().filter(|armed| armed.name == name) else { return Ok(()) };
        armed.left -= 1;
        if armed.left > 0 {
            return Ok(());
        }
        if self.inner.aborts {
            tracing::error!("failpoint {name}: the process aborts");
            std::process::abort();
        }
        // A process that is gone does nothing more at all.
        armed.left = 1;
        Err(Crashed)
    }
}

fn parse(what: &str) -> Result<Armed, Unknown> {
    let unknown = || Unknown(what.chars().take(80).collect());
    let (name, count) = what.split_once(':').unwrap_or((what, "1"));
    let left = count.parse().ok().filter(|count| *count > 0).ok_or_else(unknown)?;
    let (name, _) = POINTS.iter().find(|(known, _)| *known == name).ok_or_else(unknown)?;
    Ok(Armed { name, left })
}

#[cfg(test)]
impl Failpoints {
    /// Plays a crash at the count-th time that a point is reached.
    pub(crate) fn play(&self, name: &str, count: u32) {
        self.arm(parse(&format!("{name}:{count}")).unwrap());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_point_is_reached_at_its_count_and_others_never() {
        let points = Failpoints::default();
        assert_eq!(points.hit(TAKEN), Ok(()));
        points.play(TAKEN, 3);
        assert_eq!(points.hit(TAKEN), Ok(()));
        assert_eq!(points.hit(SEALED), Ok(()));
        assert_eq!(points.hit(TAKEN), Ok(()));
        assert_eq!(points.hit(TAKEN), Err(Crashed));
    }

    #[test]
    fn only_known_points_are_armed() {
        assert!(parse("outbox-taken").is_ok());
        for wrong in ["", "outbox", "outbox-taken:0", "outbox-taken:x", "outbox-taken:"] {
            assert!(parse(wrong).is_err(), "{wrong}");
        }
        let mut names: Vec<_> = POINTS.iter().map(|(name, _)| name).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), POINTS.len());
    }
}
