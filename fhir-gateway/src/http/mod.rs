//! Everything that speaks HTTP.
//!
//! **Architecture invariant:** `http` knows every other module of the gateway, and none of them knows `http` but for
//! `Fault` and `Reply`, the two ways in which a call ends.

pub mod fault;
pub mod rejections;
pub mod reply;

pub use fault::Fault;
pub use reply::Reply;
