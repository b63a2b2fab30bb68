//! Real consortia on one machine: pinned engines, their processes and networks, the load and the faults that are played
//! on them.
//!
//! **Architecture invariant:** it knows validators as programs that are started, asked over their RPC and killed. It
//! links no machine, no store and no gateway, so that what it finds out is what an outsider would.

pub mod engines;
mod error;
pub mod faults;
pub mod load;
mod net;
mod network;
mod process;
mod rng;
pub mod rpc;

pub use error::{NetError, Result};
pub use net::{
    Founding, Net, Part, Programs, Reach, Running,
    state::{Door, Member, State},
};
pub use network::groups;
pub use process::Process;
pub use rng::Rng;
