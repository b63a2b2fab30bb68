//! The chain's side as others use it: through the application, the embedded driver, the proofs.

#![allow(clippy::unwrap_used, reason = "a test that meets the unexpected fails")]

mod app;
mod consortium;
mod durability;
mod embedded;
mod kill;
mod load;
mod proofs;
mod story;
mod tree;
