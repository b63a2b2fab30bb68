//! The chain's side as others use it: through the application, the embedded driver, the proofs.

mod app;
mod consortium;
mod durability;
mod embedded;
mod proofs;
mod tree;
