//! The table against itself, and against who may use it.
