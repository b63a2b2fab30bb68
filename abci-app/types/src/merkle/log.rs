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

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The entries and roots that Certificate Transparency's own test suite has used since RFC 6962.
    const ENTRIES: [&str; 8] =
        ["", "00", "10", "2021", "3031", "40414243", "5051525354555657", "606162636465666768696a6b6c6d6e6f"];
    const ROOTS: [&str; 9] = [
        "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
        "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
        "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
        "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
        "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
        "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
        "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
        "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
        "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
    ];

    fn leaves(count: usize) -> Vec<Hash32> {
        (0..count).map(|n| leaf_hash(&n.to_be_bytes())).collect()
    }

    #[test]
    fn roots_are_those_of_certificate_transparency() {
        let mut frontier = LogFrontier::new();
        let mut hashes = Vec::new();
        assert_eq!(hex::encode(frontier.root().0), ROOTS[0]);
        for (entry, expected) in ENTRIES.iter().zip(&ROOTS[1..]) {
            let leaf = leaf_hash(&hex::decode(entry).unwrap());
            frontier.append(leaf);
            hashes.push(leaf);
            assert_eq!(hex::encode(frontier.root().0), *expected);
            assert_eq!(hex::encode(root(&hashes).0), *expected);
        }
    }

    #[test]
    fn every_entry_of_every_size_is_shown() {
        for count in 1..70 {
            let leaves = leaves(count);
            let root = root(&leaves);
            for (index, leaf) in leaves.iter().enumerate() {
                let proof = inclusion_proof(&leaves, index).unwrap();
                assert!(verify_inclusion(leaf, index as u64, count as u64, &proof, &root));
            }
            assert_eq!(inclusion_proof(&leaves, count), None);
        }
    }

    proptest! {
        #[test]
        fn nothing_else_is_shown(count in 2usize..100, index in 0usize..100, other in 0usize..100, bit in 0usize..256) {
            let (index, other) = (index % count, other % count);
            let leaves = leaves(count);
            let root = root(&leaves);
            let proof = inclusion_proof(&leaves, index).unwrap();
            let verify = |leaf: &Hash32, index, count, proof: &[Hash32]| {
                verify_inclusion(leaf, index as u64, count as u64, proof, &root)
            };
            prop_assert_eq!(verify(&leaves[other], index, count, &proof), index == other);
            prop_assert_eq!(verify(&leaves[index], other, count, &proof), index == other);
            prop_assert!(!verify(&leaves[index], index, index, &proof));
            prop_assert!(!verify(&leaves[index], index, count, &proof[1..]));
            let mut longer = proof.clone();
            longer.push(root);
            prop_assert!(!verify(&leaves[index], index, count, &longer));
            let mut flipped = proof;
            let at = bit % flipped.len();
            flipped[at].0[bit / 8] ^= 1 << (bit % 8);
            prop_assert!(!verify(&leaves[index], index, count, &flipped));
        }

        #[test]
        fn the_frontier_goes_on_where_it_was_written(before in 0usize..100, after in 0usize..100) {
            let leaves = leaves(before + after);
            let mut frontier = LogFrontier::new();
            leaves[..before].iter().for_each(|leaf| frontier.append(*leaf));
            let text = serde_json::to_string(&frontier).unwrap();
            let mut read: LogFrontier = serde_json::from_str(&text).unwrap();
            leaves[before..].iter().for_each(|leaf| read.append(*leaf));
            prop_assert_eq!(read.root(), root(&leaves));
            prop_assert_eq!(read.count(), leaves.len() as u64);
        }
    }

    #[test]
    fn a_frontier_with_a_node_missing_is_refused() {
        assert!(serde_json::from_str::<LogFrontier>(r#"{"count":3,"nodes":[]}"#).is_err());
    }

    #[test]
    fn an_inner_node_is_no_entry() {
        let leaves = leaves(4);
        let inner = join(&leaves[0], &leaves[1]);
        let proof = [join(&leaves[2], &leaves[3])];
        // It hashes up to the root, but a log of four entries has none at that height.
        assert!(!verify_inclusion(&inner, 0, 4, &proof, &root(&leaves)));
        assert_ne!(leaf_hash(&[leaves[0].0, leaves[1].0].concat()), inner);
    }
}
