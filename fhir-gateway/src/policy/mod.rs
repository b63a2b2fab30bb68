//! The pure decision whether a record may be opened.

mod permit;

pub use permit::{Basis, Permit};
