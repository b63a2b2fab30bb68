//! See ARCHITECTURE.md.

pub mod auth;
pub mod blobs;
pub mod clock;
pub mod config;
pub mod gateway;
pub mod http;
pub mod policy;
pub mod seal;
