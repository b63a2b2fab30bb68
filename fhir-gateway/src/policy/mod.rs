//! The pure decision who may do what: a permit, or a no with its reason.
//!
//! **Architecture invariant:** nothing here reads a clock, the ledger or the disk; whoever asks brings the facts.

mod decide;
mod denied;
mod permit;
pub mod session;
mod staff;

pub use decide::{Act, decide, may_use};
pub use denied::Denied;
pub use permit::{Basis, Permit};
pub use staff::{StaffFacts, staff, verified};
