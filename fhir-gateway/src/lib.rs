//! See ARCHITECTURE.md.

pub mod auth;
pub mod blobs;
pub mod clock;
pub mod config;
pub mod consents;
pub mod gateway;
pub mod http;
pub mod peers;
pub mod policy;
pub mod seal;
pub mod sessions;
