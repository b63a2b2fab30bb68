//! `vouchsafe ledger` on the real engine: one validator that commits, proves, survives, and is taken back.

mod pair;
mod setup;
mod state;
mod validator;
