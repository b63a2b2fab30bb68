//! See ARCHITECTURE.md.

pub mod auth;
pub mod clock;
pub mod config;
pub mod gateway;
pub mod http;
