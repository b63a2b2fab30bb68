//! Records on the real embedded ledger and stores.

mod crashing;
mod figures;
mod full;
mod outbox;
mod patients;
mod replicas;
mod submitting;
mod tampering;
mod writing;
