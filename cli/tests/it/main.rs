//! The real binary, as a person or a script runs it: the demo and what it leaves on the disk, proofs, errors, serving.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on panics, helpers included")]

mod credentials;
mod import;
mod parties;
mod plaintext;
mod serving;
mod story;
mod support;
mod usage;
mod verify;
