//! What every part of Vouchsafe says to every other: identifiers, transactions, events, rejections, the values that
//! the ledger's state holds under which keys, and the JWS codec that carries a transaction.
//!
//! **Architecture invariant:** this crate knows nothing of storage, of networks or of time; it parses, checks shape
//! and signatures, and hashes. Everything that needs the state is in `vouchsafe-core`.

pub mod b64;
pub mod event;
pub mod genesis;
pub mod ids;
pub mod jwk;
pub mod jws;
pub mod keys;
pub mod merkle;
pub mod rejection;
pub mod state;
mod strict;
pub mod time;
pub mod tx;

pub use event::Event;
pub use ids::{AccountId, CredentialId, Handle, Hash32, Nonce, RecordId, RequestId, SessionId, Tag};
pub use jwk::{Kid, OkpJwk, RsaJwk};
pub use rejection::{Code, Rejection};
pub use time::{Count, TimeMs};
pub use tx::{Tx, VerifiedTx};
