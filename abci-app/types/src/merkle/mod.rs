//! The two hash structures that a third party walks: the map of a chart (`map`) and the audit log (`log`).

pub mod log;
pub mod map;

pub use log::LogFrontier;
pub use map::{MapLeaf, MapProof, RecordMap};
