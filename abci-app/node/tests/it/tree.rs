//! The tree's store by itself: versions, pruning, removal.
