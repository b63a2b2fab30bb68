//! The pure decision whether a record may be opened.

mod permit;
pub mod session;

pub use permit::{Basis, Permit};
