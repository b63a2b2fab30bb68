//! The machine, driven as a node drives it: every transaction is signed, parsed, admitted, verified and applied.

mod story;
mod world;
