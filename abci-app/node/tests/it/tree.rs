//! The tree's store by itself: versions, proofs, removal, pruning.

use std::collections::BTreeMap;

use ics23::{CommitmentProof, HostFunctionsManager};
use proptest::prelude::*;
use prost_ics23::Message;
use vouchsafe_core::{Delta, StateRead};
use vouchsafe_node::store::{Head, Plan, RETAINED, Store};
use vouchsafe_types::{Hash32, TimeMs};

type Changes = BTreeMap<Vec<u8>, Option<Vec<u8>>>;

fn fresh() -> (tempfile::TempDir, Store) {
    let home = tempfile::tempdir().unwrap();
    let store = Store::open(&home.path().join("tree.redb")).unwrap();
    (home, store)
}

fn write(store: &Store, merkle: Changes) -> Head {
    let view = store.view().unwrap();
    let height = view.head().map_or(0, |h| h.height + 1);
    let delta = Delta { merkle, ..Delta::default() };
    let plan = Plan::new(&view, delta, height, TimeMs(height), Hash32([0; 32])).unwrap();
    store.commit(&plan, None).unwrap();
    plan.head().clone()
}

fn put(key: &str, value: &str) -> (Vec<u8>, Option<Vec<u8>>) {
    (key.as_bytes().to_vec(), Some(value.as_bytes().to_vec()))
}

fn removed(key: &str) -> (Vec<u8>, Option<Vec<u8>>) {
    (key.as_bytes().to_vec(), None)
}

/// What a version says under a key, with its proof checked against its root.
fn proved(store: &Store, key: &[u8], version: u64) -> Option<Vec<u8>> {
    let view = store.view().unwrap();
    let (value, proof) = view.prove(key, version).unwrap();
    let proof = CommitmentProof::decode(proof.as_slice()).unwrap();
    let root = view.root_at(version).unwrap().0.to_vec();
    let spec = jmt::ics23_spec();
    assert!(match &value {
        Some(value) => ics23::verify_membership::<HostFunctionsManager>(&proof, &spec, &root, key, value),
        None => ics23::verify_non_membership::<HostFunctionsManager>(&proof, &spec, &root, key),
    });
    value
}

#[test]
fn a_block_that_changes_nothing_makes_no_version() {
    let (_home, store) = fresh();
    let first = write(&store, [put("a", "1")].into());
    for changes in [Changes::new(), [put("a", "1")].into(), [removed("b")].into()] {
        let next = write(&store, changes);
        assert_eq!((next.version, next.app_hash), (first.version, first.app_hash));
    }
    let view = store.view().unwrap();
    assert_eq!(view.head().unwrap().height, 3);
    assert_eq!(view.version_at(3).unwrap(), first.version);
}

/// A block without removals is written in another way than one with; the root must not tell which.
#[test]
fn the_way_in_which_a_version_is_made_does_not_show_in_its_root() {
    let (_home, together) = fresh();
    let (_other, apart) = fresh();
    let rows = |from: u32, to: u32| (from..to).map(move |n| put(&format!("key/{n}"), &format!("value {from} {n}")));
    for (from, to) in [(0, 300), (100, 200), (250, 500)] {
        let one = write(&together, rows(from, to).collect());
        // The same, and a row that is removed again in the next block.
        write(&apart, rows(from, to).chain([put("gone", "x")]).collect());
        let two = write(&apart, [removed("gone")].into());
        assert_eq!(one.app_hash, two.app_hash);
        let mixed: Changes = rows(from, to).take(50).map(|(key, _)| (key, Some(b"again".to_vec()))).collect();
        write(&apart, [put("gone", "y")].into());
        let one = write(&together, mixed.clone());
        let two = write(&apart, mixed.into_iter().chain([removed("gone")]).collect());
        assert_eq!(one.app_hash, two.app_hash);
    }
}

#[test]
fn a_plan_for_another_height_is_not_written() {
    let (_home, store) = fresh();
    write(&store, [put("a", "1")].into());
    let view = store.view().unwrap();
    let delta = Delta::default();
    let plan = Plan::new(&view, delta, 5, TimeMs(5), Hash32([0; 32])).unwrap();
    assert!(store.commit(&plan, None).is_err());
    assert_eq!(store.view().unwrap().head().unwrap().height, 0);
}

#[test]
fn an_empty_key_is_no_panic() {
    let (_home, store) = fresh();
    write(&store, [put("a", "1")].into());
    assert!(store.view().unwrap().prove(b"", 0).is_err());
}

#[test]
fn the_last_thousand_versions_are_provable_and_older_ones_are_pruned() {
    let (_home, store) = fresh();
    write(&store, [put("kept", "x"), put("moved", "0"), put("gone", "x")].into());
    write(&store, [removed("gone"), put("moved", "1")].into());
    let mut rows = Vec::new();
    for n in 2..=RETAINED + 100 {
        write(&store, [put("moved", &n.to_string())].into());
        if n >= RETAINED + 50 {
            rows.push(store.view().unwrap().tree_rows().unwrap());
        }
    }
    let newest = RETAINED + 100;
    let oldest = newest + 1 - RETAINED;
    for version in [oldest, oldest + 1, newest] {
        assert_eq!(proved(&store, b"moved", version), Some(version.to_string().into_bytes()));
        assert_eq!(proved(&store, b"kept", version), Some(b"x".to_vec()));
        assert_eq!(proved(&store, b"gone", version), None);
    }
    let view = store.view().unwrap();
    assert!(view.root_at(oldest - 1).is_err(), "a version before the retained ones is still there");
    assert_eq!(view.get(b"gone"), None);
    let [_, values, preimages] = view.tree_rows().unwrap();
    assert_eq!(preimages, 2, "the preimage of a removed key goes with its last version");
    assert_eq!(values, RETAINED + 1, "one value for each retained version, and the one that never moved");
    assert!(rows.windows(2).all(|w| w[0] == w[1]), "the tables grow: {rows:?}");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    /// Whatever is put and removed, every version says what a map says, with proofs; two stores agree on every root.
    #[test]
    fn every_version_says_what_was_written(
        blocks in proptest::collection::vec(
            proptest::collection::btree_map(0u8..12, proptest::option::of(0u8..3), 0..6),
            1..12,
        ),
    ) {
        let ((_h, store), (_h2, twin)) = (fresh(), fresh());
        let mut model: BTreeMap<Vec<u8>, Vec<u8>> = BTreeMap::new();
        let mut versions = Vec::new();
        for (n, block) in blocks.into_iter().enumerate() {
            let mut changes: Changes = block
                .into_iter()
                .map(|(key, value)| (vec![b'k', key], value.map(|v| vec![b'v', v])))
                .collect();
            if n == 0 {
                changes.insert(b"params".to_vec(), Some(b"{}".to_vec()));
            }
            for (key, value) in &changes {
                match value {
                    Some(value) => model.insert(key.clone(), value.clone()),
                    None => model.remove(key),
                };
            }
            let head = write(&store, changes.clone());
            prop_assert_eq!(&head, &write(&twin, changes));
            versions.push((head.version, model.clone()));
        }
        for (version, model) in versions {
            for key in (0u8..12).map(|k| vec![b'k', k]) {
                prop_assert_eq!(proved(&store, &key, version), model.get(&key).cloned());
            }
        }
    }
}
