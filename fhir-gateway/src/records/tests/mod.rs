//! Records on the real embedded ledger and stores.

mod figures;
mod outbox;
mod patients;
mod replicas;
mod tampering;
mod writing;
