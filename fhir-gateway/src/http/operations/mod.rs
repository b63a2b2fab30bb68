//! One file per group of operations.

pub(crate) mod consent;
pub(crate) mod directory;
pub(crate) mod enrol;
pub(crate) mod mandate;
pub(crate) mod parameters;
pub(crate) mod presented;
pub(crate) mod proof;
pub(crate) mod register;
pub(crate) mod verdict;
