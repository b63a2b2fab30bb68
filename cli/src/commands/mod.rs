//! One file per command.

pub(crate) mod bench;
pub(crate) mod check;
pub(crate) mod demo;
pub(crate) mod gateway;
pub(crate) mod import;
pub(crate) mod keys;
pub(crate) mod verify;
