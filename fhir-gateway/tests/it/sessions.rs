//! Step C to E and H over real HTTP: what a session lets a doctor read of other hospitals' records, and everything that
//! must not be.

mod acts;
mod integrity;
mod refusals;
mod steps;
mod story;
