//! One file per command.

pub(crate) mod demo;
pub(crate) mod gateway;
pub(crate) mod keys;
pub(crate) mod verify;
