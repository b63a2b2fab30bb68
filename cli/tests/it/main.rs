//! The real binary, as a person or a script runs it: the demo and what it leaves on the disk, proofs, errors, serving.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on panics, helpers included")]

mod chain;
mod comet;
mod credentials;
mod import;
mod ledger;
mod parties;
mod plaintext;
mod replay;
mod serving;
mod story;
mod support;
mod usage;
mod verify;
