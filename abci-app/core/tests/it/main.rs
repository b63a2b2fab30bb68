//! The machine, driven as a node drives it: every transaction is signed, parsed, admitted, verified and applied.

#![allow(clippy::unwrap_used, reason = "a test ends where something is not as it says")]

mod asking;
mod blocks;
mod consent;
mod custody;
mod hostile;
mod keys;
mod parties;
mod property;
mod records;
mod story;
mod world;
