//! The index against a naive model of it, without ledger and blobs.

mod bed;
mod figures;
mod model;
