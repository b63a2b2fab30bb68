//! Real consortia on one machine: pinned engines, their processes and networks, and the faults that are played on them.

pub mod engines;
