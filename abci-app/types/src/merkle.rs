//! The two hash structures that a third party walks: the map of a chart (`map`) and the audit log (`log`).
