//! One file per command.

pub(crate) mod bench;
pub(crate) mod check;
pub(crate) mod demo;
pub(crate) mod faults;
pub(crate) mod gateway;
pub(crate) mod import;
pub(crate) mod joined;
pub(crate) mod keys;
pub(crate) mod ledger;
pub(crate) mod testnet;
pub(crate) mod verify;
