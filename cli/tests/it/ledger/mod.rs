//! `vouchsafe ledger` on the real engine: one validator that commits, proves, survives, and is taken back.

mod clock;
mod consent;
mod pair;
mod setup;
mod state;
mod story;
pub(crate) mod validator;
