//! The Merkle tree of a log that only grows (RFC 6962 section 2.1): the audit log's root on the ledger is its head.

use serde::{Deserialize, Deserializer, Serialize, de::Error};
use sha2::{Digest, Sha256};

use crate::{ids::Hash32, time::Count};

/// The hash of an entry: `SHA-256(0x00 ‖ entry)`.
pub fn leaf_hash(entry: &[u8]) -> Hash32 {
    Hash32(Sha256::new().chain_update([0]).chain_update(entry).finalize().into())
}

fn join(left: &Hash32, right: &Hash32) -> Hash32 {
    Hash32(Sha256::new().chain_update([1]).chain_update(left.0).chain_update(right.0).finalize().into())
}

/// The root of the empty log: `SHA-256("")`.
fn empty() -> Hash32 {
    Hash32(Sha256::digest([]).into())
}

/// All that is needed to go on appending: the count and the roots of the whole subtrees, the largest first.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct LogFrontier {
    count: Count,
    nodes: Vec<Hash32>,
}

impl<'de> Deserialize<'de> for LogFrontier {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(deny_unknown_fields)]
        struct Wire {
            count: Count,
            nodes: Vec<Hash32>,
        }
        let Wire { count, nodes } = Wire::deserialize(d)?;
        if nodes.len() != count.0.count_ones() as usize {
            return Err(D::Error::custom(format_args!(
                "{} nodes cannot be the frontier of {count} entries",
                nodes.len()
            )));
        }
        Ok(Self { count, nodes })
    }
}

impl LogFrontier {
    /// The frontier of the empty log.
    pub const fn new() -> Self {
        Self { count: Count(0), nodes: Vec::new() }
    }

    /// How many entries the log has.
    pub const fn count(&self) -> u64 {
        self.count.0
    }

    /// Appends an entry by its leaf hash.
    pub fn append(&mut self, leaf: Hash32) {
        let mut node = leaf;
        // Every trailing one of the count is a whole subtree as large as the one that has just become whole.
        for _ in 0..self.count.0.trailing_ones() {
            if let Some(left) = self.nodes.pop() {
                node = join(&left, &node);
            }
        }
        self.nodes.push(node);
        self.count = self.count.next();
    }

    /// The root.
    pub fn root(&self) -> Hash32 {
        self.nodes.iter().rev().copied().reduce(|right, left| join(&left, &right)).unwrap_or_else(empty)
    }
}

/// The root of the tree over these leaf hashes.
pub fn root(leaves: &[Hash32]) -> Hash32 {
    match leaves {
        [] => empty(),
        [leaf] => *leaf,
        _ => {
            let (left, right) = leaves.split_at(split(leaves.len()));
            join(&root(left), &root(right))
        }
    }
}

/// The largest power of two below `count`, which must be above 1.
const fn split(count: usize) -> usize {
    1 << (usize::BITS - 1 - (count - 1).leading_zeros())
}

/// The audit path of entry `index` (RFC 6962 section 2.1.1), from the leaf up; `None` when there is no such entry.
pub fn inclusion_proof(leaves: &[Hash32], index: usize) -> Option<Vec<Hash32>> {
    if index >= leaves.len() {
        return None;
    }
    let (mut leaves, mut index, mut path) = (leaves, index, Vec::new());
    while leaves.len() > 1 {
        let (left, right) = leaves.split_at(split(leaves.len()));
        if index < left.len() {
            path.push(root(right));
            leaves = left;
        } else {
            path.push(root(left));
            index -= left.len();
            leaves = right;
        }
    }
    path.reverse();
    Some(path)
}

/// True when `leaf` is entry `index` of the log with `count` entries and this root (RFC 9162 section 2.1.3.2).
pub fn verify_inclusion(leaf: &Hash32, index: u64, count: u64, proof: &[Hash32], root: &Hash32) -> bool {
    if index >= count {
        return false;
    }
    let (mut at, mut last, mut hash) = (index, count - 1, *leaf);
    for sibling in proof {
        if last == 0 {
            return false;
        }
        if at & 1 == 1 || at == last {
            hash = join(sibling, &hash);
            // A lone node at the right edge rises without a partner until it is a right child.
            while at & 1 == 0 && at != 0 {
                at >>= 1;
                last >>= 1;
            }
        } else {
            hash = join(&hash, sibling);
        }
        at >>= 1;
        last >>= 1;
    }
    last == 0 && hash == *root
}
