//! See ARCHITECTURE.md.

pub mod audit;
pub mod auth;
pub mod blobs;
pub mod clock;
pub mod config;
pub mod consents;
pub mod failpoint;
pub mod fatal;
pub mod fhir;
pub mod foundation;
pub mod gateway;
pub mod http;
pub mod ledger;
pub mod peers;
pub mod policy;
pub mod proof;
pub mod records;
pub mod seal;
pub mod sessions;
pub mod store;

#[cfg(test)]
mod testing;
