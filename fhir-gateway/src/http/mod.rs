//! Everything that speaks HTTP.
//!
//! **Architecture invariant:** `http` knows every other module of the gateway, and none of them knows `http` but for
//! `Fault` and `Reply`, the two ways in which a call ends.

mod admit;
mod body;
mod call;
mod disclose;
pub mod fault;
mod health;
mod ids;
mod interactions;
mod metrics;
mod operations;
mod pages;
mod plain;
mod render;
pub mod reply;
mod router;
mod routes;
mod serve;

pub use fault::Fault;
pub use metrics::Metrics;
pub use operations::enrol::Link;
pub use reply::Reply;
pub(crate) use serve::app;
