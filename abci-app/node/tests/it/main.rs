//! The chain's side as others use it: through the application, the embedded driver, the proofs.

#![allow(clippy::unwrap_used, reason = "a test that meets the unexpected fails")]

mod abci;
mod app;
mod behind_abci;
mod consortium;
mod durability;
mod embedded;
mod fuzz;
mod kill;
mod light;
mod load;
mod proofs;
mod story;
mod tree;
