//! The chain's side of Vouchsafe: the Merkle store, the application between consensus and the machine, the embedded
//! driver that makes blocks without an engine, and the pure verification of what either proves.
//!
//! **Architecture invariant:** no rule of consent is in this crate. What a transaction may do is decided by
//! `vouchsafe-core`; this crate orders, stores, proves and tells.

pub mod abci;
pub mod app;
pub mod comet;
pub mod embedded;
pub mod engine;
mod error;
pub mod export;
pub mod proof;
pub mod replay;
pub mod store;
mod validator;
pub mod verify;

pub use embedded::{BlockEvents, BlockStream, ChainHead, Committed, Embedded, Settings, SubmitError};
pub use error::NodeError;
pub use proof::{LedgerProof, ValidatorChange};
pub use validator::ValidatorKey;
