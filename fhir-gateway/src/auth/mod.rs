//! Bearer tokens: who may have one, and who a token's bearer is.

mod caller;

pub use caller::{Caller, Who};
