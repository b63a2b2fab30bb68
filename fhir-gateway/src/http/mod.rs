//! Everything that speaks HTTP.
//!
//! **Architecture invariant:** `http` knows every other module of the gateway, and none of them knows `http` but for
//! `Fault` and `Reply`, the two ways in which a call ends.

mod admit;
mod body;
mod call;
mod disclose;
mod disclosure;
mod dispatch;
pub mod fault;
mod health;
mod ids;
mod interactions;
mod later;
mod metrics;
mod operations;
mod pages;
mod plain;
mod prefer;
mod render;
pub mod reply;
mod room;
mod router;
mod routes;
mod serve;
mod writing;

pub use fault::Fault;
pub use interactions::search::Pages;
pub use later::Later;
pub(crate) use later::spawn;
pub use metrics::Metrics;
pub use operations::enrol::Link;
pub use reply::Reply;
pub(crate) use serve::app;
pub use writing::Once;
