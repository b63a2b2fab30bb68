//! The map of one chart: record → its latest version. A binary sparse Merkle tree over the paths `SHA-256(record id)`,
//! compacted: a subtree that holds one leaf is that leaf, a subtree that holds none is the empty hash.
//!
//! The three kinds of nodes are hashed under different labels, so that what lies at a place of a tree is decided by its
//! root alone: a leaf that lies there cannot be shown as absent, nor an older version in its stead.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::{
    ids::{Hash32, RecordId},
    time::Count,
};

/// Bits of a path.
const DEPTH: usize = 256;

/// What the map says of one record.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MapLeaf {
    /// The record.
    pub record: RecordId,
    /// Its latest version, counted from 1.
    pub version: Count,
    /// The commitment of that version.
    pub commitment: Hash32,
    /// True when that version says that the record is deleted.
    pub tombstone: bool,
}

impl MapLeaf {
    /// The leaf's hash.
    pub fn hash(&self) -> Hash32 {
        Hash32::of(
            "vouchsafe/map-leaf",
            &[&self.record.0, &self.version.0.to_be_bytes(), &self.commitment.0, &[u8::from(self.tombstone)]],
        )
    }
}

/// The hash of a subtree without leaves, which is also the root of the empty map.
fn empty() -> Hash32 {
    Hash32::of("vouchsafe/map-empty", &[])
}

fn join(left: &Hash32, right: &Hash32) -> Hash32 {
    Hash32::of("vouchsafe/map-node", &[&left.0, &right.0])
}

/// The way from the root to a record: one bit a level, the first bit being the highest of the first byte.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Path([u8; 32]);

impl Path {
    fn of(record: &RecordId) -> Self {
        Self(Sha256::digest(record.0).into())
    }

    const fn right_at(&self, depth: usize) -> bool {
        self.0[depth / 8] >> (7 - depth % 8) & 1 == 1
    }

    fn agrees(&self, other: &Self, depth: usize) -> bool {
        (0..depth).all(|at| self.right_at(at) == other.right_at(at))
    }
}

/// A subtree of so many leaves or fewer keeps its own hash only, and none of those below it.
const CLUMP: usize = 16;

/// A subtree; none is the empty one. Shared, so that a map is copied in no time.
type Link = Option<Arc<Node>>;

#[derive(Debug)]
enum Node {
    /// Few leaves, in the order of their paths. Their hashes are computed again when they are asked for: kept, they would be
    /// twice as large as the leaves.
    Clump {
        hash: Hash32,
        leaves: Box<[MapLeaf]>,
    },
    Inner {
        hash: Hash32,
        left: Link,
        right: Link,
    },
}

impl Node {
    fn inner(left: Link, right: Link) -> Arc<Self> {
        Arc::new(Self::Inner { hash: join(&hash_of(&left), &hash_of(&right)), left, right })
    }

    const fn hash(&self) -> Hash32 {
        match self {
            Self::Clump { hash, .. } | Self::Inner { hash, .. } => *hash,
        }
    }
}

fn hash_of(link: &Link) -> Hash32 {
    link.as_ref().map_or_else(empty, |node| node.hash())
}

/// A leaf and the way to it.
type Placed = (Path, MapLeaf);

/// The hash of the subtree of leaves that are in order and agree above `depth`.
fn hashed(leaves: &[Placed], depth: usize) -> Hash32 {
    match leaves {
        [] => empty(),
        [(_, leaf)] => leaf.hash(),
        _ => {
            let (left, right) = parted(leaves, depth);
            join(&hashed(left, depth + 1), &hashed(right, depth + 1))
        }
    }
}

fn parted(leaves: &[Placed], depth: usize) -> (&[Placed], &[Placed]) {
    leaves.split_at(leaves.partition_point(|(path, _)| !path.right_at(depth)))
}

fn with_paths(leaves: &[MapLeaf]) -> Vec<Placed> {
    leaves.iter().map(|leaf| (Path::of(&leaf.record), leaf.clone())).collect()
}

/// The map in memory. Inserting costs some fifty hashes at the most and, beyond that, as many as the tree is deep above its
/// clumps; a clone shares everything and is independent. A leaf takes about 75 bytes.
#[derive(Clone, Debug, Default)]
pub struct RecordMap {
    root: Link,
    len: usize,
}

impl RecordMap {
    /// The empty map.
    pub const fn new() -> Self {
        Self { root: None, len: 0 }
    }

    /// How many records it holds, tombstones included.
    pub const fn len(&self) -> usize {
        self.len
    }

    /// True when it holds none.
    pub const fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The root, which the ledger's head holds.
    pub fn root(&self) -> Hash32 {
        hash_of(&self.root)
    }

    /// What it says of a record.
    pub fn get(&self, record: &RecordId) -> Option<&MapLeaf> {
        let path = Path::of(record);
        let mut link = &self.root;
        for depth in 0..=DEPTH {
            match link.as_deref()? {
                Node::Clump { leaves, .. } => return leaves.iter().find(|leaf| leaf.record == *record),
                Node::Inner { left, right, .. } => link = if path.right_at(depth) { right } else { left },
            }
        }
        None
    }

    /// Puts a record's latest version in place of the one before, which is returned.
    pub fn insert(&mut self, leaf: MapLeaf) -> Option<MapLeaf> {
        let before = self.get(&leaf.record).cloned();
        let path = Path::of(&leaf.record);
        self.root = inserted(&self.root, 0, &path, leaf);
        self.len += usize::from(before.is_none());
        before
    }

    /// Every leaf, in the order of the paths.
    pub fn iter(&self) -> impl Iterator<Item = &MapLeaf> {
        let mut stack: Vec<&Link> = vec![&self.root];
        let mut clump = [].iter();
        std::iter::from_fn(move || {
            loop {
                if let Some(leaf) = clump.next() {
                    return Some(leaf);
                }
                match stack.pop()?.as_deref() {
                    None => {}
                    Some(Node::Clump { leaves, .. }) => clump = leaves.iter(),
                    Some(Node::Inner { left, right, .. }) => stack.extend([right, left]),
                }
            }
        })
    }

    /// Shows what the map says of a record: its leaf, or that there is none.
    pub fn prove(&self, record: &RecordId) -> MapProof {
        let path = Path::of(record);
        let mut siblings = Vec::new();
        let mut link = &self.root;
        loop {
            match link.as_deref() {
                None => return MapProof { siblings, leaf: None },
                Some(Node::Clump { leaves, .. }) => return proved(&with_paths(leaves), &path, siblings),
                Some(Node::Inner { left, right, .. }) => {
                    let (on, off) = if path.right_at(siblings.len()) { (right, left) } else { (left, right) };
                    siblings.push(hash_of(off));
                    link = on;
                }
            }
        }
    }
}

/// Goes on with a proof below the kept hashes.
fn proved(mut leaves: &[Placed], path: &Path, mut siblings: Vec<Hash32>) -> MapProof {
    while leaves.len() > 1 {
        let depth = siblings.len();
        let (left, right) = parted(leaves, depth);
        let (on, off) = if path.right_at(depth) { (right, left) } else { (left, right) };
        siblings.push(hashed(off, depth + 1));
        leaves = on;
    }
    MapProof { siblings, leaf: leaves.first().map(|(_, leaf)| leaf.clone()) }
}

impl FromIterator<MapLeaf> for RecordMap {
    /// Builds the whole tree from below, at about two hashes a leaf. Of two leaves of one record the later counts.
    fn from_iter<I: IntoIterator<Item = MapLeaf>>(leaves: I) -> Self {
        let mut by_path: Vec<Placed> = leaves.into_iter().map(|leaf| (Path::of(&leaf.record), leaf)).collect();
        // Stable, so that the later of two leaves of one record comes second.
        by_path.sort_by_key(|(path, _)| path.0);
        by_path.dedup_by(|later, kept| {
            let same = later.0 == kept.0;
            if same {
                std::mem::swap(later, kept);
            }
            same
        });
        Self { root: built(&by_path, 0), len: by_path.len() }
    }
}

/// The subtree of leaves that are in order and agree above `depth`.
fn built(leaves: &[Placed], depth: usize) -> Link {
    if leaves.is_empty() {
        return None;
    }
    if leaves.len() <= CLUMP {
        let of = leaves.iter().map(|(_, leaf)| leaf.clone()).collect();
        return Some(Arc::new(Node::Clump { hash: hashed(leaves, depth), leaves: of }));
    }
    let (left, right) = parted(leaves, depth);
    Some(Node::inner(built(left, depth + 1), built(right, depth + 1)))
}

fn inserted(link: &Link, depth: usize, path: &Path, new: MapLeaf) -> Link {
    match link.as_deref() {
        None => built(&[(*path, new)], depth),
        Some(Node::Clump { leaves, .. }) => {
            let mut leaves = with_paths(leaves);
            match leaves.binary_search_by_key(&path.0, |(path, _)| path.0) {
                Ok(at) => leaves[at].1 = new,
                Err(at) => leaves.insert(at, (*path, new)),
            }
            built(&leaves, depth)
        }
        Some(Node::Inner { left, right, .. }) => Some(if path.right_at(depth) {
            Node::inner(left.clone(), inserted(right, depth + 1, path, new))
        } else {
            Node::inner(inserted(left, depth + 1, path, new), right.clone())
        }),
    }
}

/// Shows, against a root, what the map says of one record.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MapProof {
    /// The hashes beside the way, from the root down.
    pub siblings: Vec<Hash32>,
    /// What lies at its end: the record's own leaf, another's that shares the way so far, or nothing.
    pub leaf: Option<MapLeaf>,
}

impl MapProof {
    /// What the map with this root says of the record: `Some(Some(leaf))` is its latest version, `Some(None)` that the
    /// map does not hold it, `None` that this proof shows nothing.
    pub fn verify(&self, root: &Hash32, record: &RecordId) -> Option<Option<MapLeaf>> {
        let depth = self.siblings.len();
        if depth > DEPTH {
            return None;
        }
        let path = Path::of(record);
        // A leaf of another record says something about this one only if it lies on this one's way.
        if self.leaf.as_ref().is_some_and(|leaf| !Path::of(&leaf.record).agrees(&path, depth)) {
            return None;
        }
        let mut hash = self.leaf.as_ref().map_or_else(empty, MapLeaf::hash);
        for at in (0..depth).rev() {
            let sibling = &self.siblings[at];
            hash = if path.right_at(at) { join(sibling, &hash) } else { join(&hash, sibling) };
        }
        (hash == *root).then(|| self.leaf.clone().filter(|leaf| leaf.record == *record))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The definition, without caches or shortcuts.
    fn naive(leaves: &[&MapLeaf], depth: usize) -> Hash32 {
        match leaves {
            [] => empty(),
            [leaf] => leaf.hash(),
            _ => {
                let (right, left): (Vec<_>, Vec<_>) =
                    leaves.iter().partition(|leaf| Path::of(&leaf.record).right_at(depth));
                join(&naive(&left, depth + 1), &naive(&right, depth + 1))
            }
        }
    }

    fn leaf(record: u16, version: u64) -> MapLeaf {
        let mut id = [0; 16];
        id[14..].copy_from_slice(&record.to_be_bytes());
        MapLeaf {
            record: RecordId(id),
            version: Count(version),
            commitment: Hash32::of("test", &[&version.to_be_bytes()]),
            tombstone: version.is_multiple_of(5),
        }
    }

    fn record(n: u16) -> RecordId {
        leaf(n, 0).record
    }

    proptest! {
        #[test]
        fn built_at_once_is_as_inserted_one_by_one(leaves in prop::collection::vec((0u8..40, 1u64..4), 0..60)) {
            let leaves: Vec<MapLeaf> = leaves.into_iter().map(|(record, version)| MapLeaf {
                record: RecordId([record; 16]),
                version: Count(version),
                commitment: Hash32([u8::try_from(version).unwrap(); 32]),
                tombstone: false,
            }).collect();
            let mut one_by_one = RecordMap::new();
            for leaf in &leaves {
                one_by_one.insert(leaf.clone());
            }
            let at_once: RecordMap = leaves.into_iter().collect();
            prop_assert_eq!(at_once.root(), one_by_one.root());
            prop_assert_eq!(at_once.len(), one_by_one.len());
        }

        #[test]
        fn the_root_is_the_naive_recursion_s(inserts in prop::collection::vec((0u16..300, 1u64..50), 0..400)) {
            let mut map = RecordMap::new();
            let mut last = std::collections::BTreeMap::new();
            for (n, version) in inserts {
                let leaf = leaf(n, version);
                prop_assert_eq!(map.insert(leaf.clone()), last.insert(n, leaf));
            }
            let leaves: Vec<&MapLeaf> = last.values().collect();
            prop_assert_eq!(map.root(), naive(&leaves, 0));
            prop_assert_eq!(map.len(), last.len());
            prop_assert_eq!(map.iter().count(), last.len());
            for n in 0..320 {
                let proof = map.prove(&record(n));
                prop_assert_eq!(proof.verify(&map.root(), &record(n)), Some(last.get(&n).cloned()));
                prop_assert_eq!(map.get(&record(n)), last.get(&n));
            }
        }

        #[test]
        fn a_proof_altered_anywhere_shows_nothing(
            count in 1u16..200, asked in 0u16..220, at in 0usize..64, bit in 0usize..256,
        ) {
            let map: RecordMap = (0..count).map(|n| leaf(n, 1)).collect();
            let mut proof = map.prove(&record(asked));
            prop_assume!(!proof.siblings.is_empty());
            let at = at % proof.siblings.len();
            proof.siblings[at].0[bit / 8] ^= 1 << (bit % 8);
            prop_assert_eq!(proof.verify(&map.root(), &record(asked)), None);
        }

        #[test]
        fn any_text_read_as_a_proof_never_panics(siblings in prop::collection::vec(any::<[u8; 32]>(), 0..400)) {
            let proof = MapProof { siblings: siblings.into_iter().map(Hash32).collect(), leaf: Some(leaf(1, 1)) };
            prop_assert_eq!(proof.verify(&Hash32([0; 32]), &record(1)), None);
        }
    }

    #[test]
    fn an_old_version_is_not_shown_against_the_new_root() {
        let mut map: RecordMap = (0..40).map(|n| leaf(n, 1)).collect();
        let old = map.prove(&record(7));
        map.insert(leaf(7, 2));
        assert_eq!(old.verify(&map.root(), &record(7)), None);
        let mut forged = map.prove(&record(7));
        forged.leaf = old.leaf;
        assert_eq!(forged.verify(&map.root(), &record(7)), None);
    }

    #[test]
    fn a_record_that_is_there_is_not_shown_absent() {
        let map: RecordMap = (0..40).map(|n| leaf(n, 1)).collect();
        let mut proof = map.prove(&record(7));
        proof.leaf = None;
        assert_eq!(proof.verify(&map.root(), &record(7)), None);
        for cut in 0..proof.siblings.len() {
            let shorter = MapProof { siblings: proof.siblings[..cut].to_vec(), leaf: None };
            assert_eq!(shorter.verify(&map.root(), &record(7)), None);
        }
        // Another record's presence, shown for this one.
        let other = map.prove(&record(8));
        assert_eq!(other.verify(&map.root(), &record(7)), None);
    }

    #[test]
    fn a_leaf_off_the_way_says_nothing_of_a_record() {
        // A custodian hangs a leaf where its path does not lead, so that it stands in the way of another record.
        let (left, right): (Vec<u16>, Vec<u16>) = (0..40).partition(|n| !Path::of(&record(*n)).right_at(0));
        let misplaced = leaf(right[0], 1);
        let sibling = leaf(right[1], 1).hash();
        let root = join(&misplaced.hash(), &sibling);
        let proof = MapProof { siblings: vec![sibling], leaf: Some(misplaced) };
        assert_eq!(proof.verify(&root, &record(left[0])), None);
    }

    #[test]
    fn what_is_hashed_is_every_member() {
        let one = leaf(1, 1);
        let others = [
            MapLeaf { record: record(2), ..one },
            MapLeaf { version: Count(2), ..one },
            MapLeaf { commitment: Hash32([9; 32]), ..one },
            MapLeaf { tombstone: true, ..one },
        ];
        assert!(others.iter().all(|other| other.hash() != one.hash()));
    }

    #[test]
    fn the_empty_map_has_a_root_and_shows_absence() {
        let map = RecordMap::new();
        assert_eq!(map.root(), empty());
        assert_eq!(map.prove(&record(1)).verify(&map.root(), &record(1)), Some(None));
        assert!(map.is_empty());
    }

    #[test]
    fn a_clone_is_independent() {
        let mut map: RecordMap = (0..10).map(|n| leaf(n, 1)).collect();
        let before = map.clone();
        map.insert(leaf(3, 2));
        assert_ne!(map.root(), before.root());
        assert_eq!(before.get(&record(3)), Some(&leaf(3, 1)));
    }
}
