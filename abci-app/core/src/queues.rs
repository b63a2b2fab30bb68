//! The flat rows: nonces by the minute they expire in, and deadlines by time. Numbers are 16 hexadecimal digits, so
//! that the order of the keys is the order of time.

use vouchsafe_types::{AccountId, Hash32, Nonce, RequestId, SessionId, TimeMs, keys, state::NonceMinute};

use crate::{Delta, StateRead, read::Read};

/// A time at which something is told. No verdict depends on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Deadline {
    /// The window to answer closes.
    Answer(TimeMs, RequestId),
    /// A grant's validity ends.
    Grant(TimeMs, RequestId),
    /// A session's time ends.
    Session(TimeMs, SessionId),
}

impl Deadline {
    /// `d/{time}/{kind}/{id}`.
    pub(crate) fn row(self) -> Vec<u8> {
        match self {
            Self::Answer(at, id) => format!("d/{:016x}/request/{id}", at.0),
            Self::Grant(at, id) => format!("d/{:016x}/grant/{id}", at.0),
            Self::Session(at, id) => format!("d/{:016x}/session/{id}", at.0),
        }
        .into_bytes()
    }

    /// Reads a row back; `None` when it is none of ours.
    pub(crate) fn parse(row: &[u8]) -> Option<Self> {
        let mut parts = std::str::from_utf8(row).ok()?.strip_prefix("d/")?.split('/');
        let at = TimeMs(u64::from_str_radix(parts.next()?, 16).ok()?);
        match (parts.next()?, parts.next()?) {
            ("request", id) => Some(Self::Answer(at, id.parse().ok()?)),
            ("grant", id) => Some(Self::Grant(at, id.parse().ok()?)),
            ("session", id) => Some(Self::Session(at, id.parse().ok()?)),
            _ => None,
        }
    }

    /// The range of the rows whose time is `now` or earlier.
    pub(crate) fn due(now: TimeMs) -> (Vec<u8>, Vec<u8>) {
        (b"d/".to_vec(), format!("d/{:016x}/", now.plus(1).0).into_bytes())
    }
}

/// `n/{minute}/{account}/{nonce}` → the place in the minute's order, eight bytes.
pub(crate) fn nonce_row(minute: u64, account: &AccountId, nonce: &Nonce) -> Vec<u8> {
    format!("n/{minute:016x}/{account}/{nonce}").into_bytes()
}

/// The range of a minute's nonce rows.
pub(crate) fn nonce_minute(minute: u64) -> (Vec<u8>, Vec<u8>) {
    (format!("n/{minute:016x}/").into_bytes(), format!("n/{:016x}/", minute + 1).into_bytes())
}

/// The oldest minute that still has nonce rows, when it is before `minute`.
pub(crate) fn oldest_nonce_minute(state: &impl StateRead, minute: u64) -> Option<u64> {
    let (_, end) = nonce_minute(minute.checked_sub(1)?);
    let (row, _) = state.scan_flat(b"n/", &end, 1).pop()?;
    let text = std::str::from_utf8(&row).ok()?.strip_prefix("n/")?;
    u64::from_str_radix(text.split('/').next()?, 16).ok()
}

/// Records a nonce: its row, and the running hash in the minute's Merkle leaf.
pub(crate) fn record_nonce(state: &impl StateRead, account: &AccountId, nonce: &Nonce, expires: TimeMs) -> Delta {
    let minute = expires.minute();
    let leaf = state.nonces(minute).unwrap_or(NonceMinute { hash: Hash32([0; 32]), count: Default::default() });
    let mut delta = Delta::default();
    delta.flat.insert(nonce_row(minute, account, nonce), Some(leaf.count.0.to_be_bytes().to_vec()));
    let next = NonceMinute { hash: nonce_hash(&leaf.hash, account, nonce), count: leaf.count.next() };
    delta.put(keys::nonces(minute), next.to_bytes());
    delta
}

/// The running hash after one more nonce; the first follows 32 zero bytes.
pub(crate) fn nonce_hash(before: &Hash32, account: &AccountId, nonce: &Nonce) -> Hash32 {
    Hash32::of("vouchsafe/nonce", &[&before.0, &account.0, &nonce.0])
}
