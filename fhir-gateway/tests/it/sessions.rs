//! Step C to E and H over real HTTP: what a session lets a doctor read of other hospitals' records, and everything that
//! must not be.

mod acts;
mod bundles;
mod figures;
mod integrity;
mod memory;
mod refusals;
mod search;
mod steps;
mod story;
