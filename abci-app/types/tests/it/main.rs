//! The transactions against their schemas and vectors, and the envelope against hostile ones.
//!
//! The vectors are files so that other languages can run them; `samples` and `envelope` say what each holds. With
//! `VOUCHSAFE_WRITE_VECTORS=1` they are written anew.

#![allow(clippy::unwrap_used, reason = "a test ends where something is not as it says")]

mod codes;
mod envelope;
mod files;
mod hostile;
mod keys;
mod properties;
mod samples;
mod schemas;
