//! Random acts, and acts chosen to hurt, against the model.

use proptest::prelude::*;

use super::bed::{Act, Bed, id, observation};
use crate::{
    records::{
        HistoryPart, Scope,
        index::{block::BlockKey, change::FULL},
    },
    seal::StoreKey,
    store::WriteBatch,
};

const TYPES: [&str; 2] = ["Observation", "Condition"];

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap()
}

/// What is done to which record: which one, what kind of act, what it is about, how large its document is.
type Step = (u32, u8, u32, usize);

fn acts(bed: &Bed, steps: &[Step]) -> Vec<Act> {
    let mut acts: Vec<Act> = Vec::new();
    for (record, kind, code, size) in steps {
        let (chart, resource_type) = (id(1, record % 3), TYPES[(record % 2) as usize]);
        let record = id(2, *record);
        let alive = bed.is.get(&record).is_some_and(|is| !is.row.tombstone);
        if acts.iter().any(|act| act.id == record) {
            continue;
        }
        let value = match kind {
            0..2 if alive => None,
            _ => Some(observation(&chart, *code, *size)),
        };
        acts.push(Act { id: record, chart, resource_type, value });
    }
    acts
}

fn steps() -> impl Strategy<Value = Vec<Vec<Step>>> {
    let size = prop_oneof![4 => 0_usize..3, 1 => 40_usize..90];
    let step = (0_u32..120, 0_u8..6, 0_u32..9, size);
    prop::collection::vec(prop::collection::vec(step, 1..50), 1..9)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]
    #[test]
    fn whatever_is_done_the_index_is_what_the_model_says(groups in steps()) {
        let home = tempfile::tempdir().unwrap();
        let key = StoreKey::generate();
        runtime().block_on(async {
            let mut bed = Bed::new(home.path(), &key);
            for (n, steps) in groups.iter().enumerate() {
                bed.group(&acts(&bed, steps)).await;
                // What is asked in between fills the caches with what is old afterwards.
                if n % 2 == 0 {
                    TYPES.iter().for_each(|name| bed.compare(None, name));
                }
            }
            let charts = [id(1, 0), id(1, 2), id(1, 0)];
            let compare = |bed: &Bed| {
                for name in TYPES {
                    bed.compare(None, name);
                    bed.compare(Some(&charts), name);
                }
                bed.compare_history(5);
                let check = bed.check();
                assert_eq!(check.told, Vec::<String>::new());
                let alive = bed.is.values().filter(|is| !is.row.tombstone).count();
                assert_eq!((check.documents, check.records, check.versions), (alive, bed.is.len(), bed.history.len()));
            };
            compare(&bed);
            bed.db.close().await;
            (bed.db, bed.index) = Bed::open(home.path(), &key);
            compare(&bed);
        });
    }
}

#[tokio::test]
async fn blocks_stay_bounded_and_what_is_nearly_empty_joins_its_neighbour() {
    let home = tempfile::tempdir().unwrap();
    let mut bed = Bed::new(home.path(), &StoreKey::generate());
    let chart = id(1, 1);
    let act = |n: u32, value| Act { id: id(2, n), chart, resource_type: "Observation", value };
    let all: Vec<Act> = (0..400).map(|n| act(n, Some(observation(&chart, n % 7, 1)))).collect();
    for group in all.chunks(90) {
        bed.group(group).await;
    }
    let blocks = |bed: &Bed| bed.catalog(&chart).unwrap().unwrap().of_type("Observation").unwrap().blocks.clone();
    let many = blocks(&bed).len();
    assert!(many > 4);
    assert!(blocks(&bed).iter().all(|entry| (entry.bytes as usize) < 2 * FULL));
    let keys: Vec<_> = bed.scan(None, "Observation", &[], None, usize::MAX).iter().map(|found| found.0).collect();
    // All but every tenth go, one by one from the middle on.
    for n in (0..400).map(|n| (n + 200) % 400).filter(|n| n % 10 != 0) {
        bed.group(&[act(n, None)]).await;
    }
    assert!(blocks(&bed).len() <= many / 2, "{} of {many}", blocks(&bed).len());
    bed.compare(None, "Observation");
    let left: Vec<_> = bed.scan(None, "Observation", &[], None, usize::MAX).iter().map(|found| found.0).collect();
    assert!(left.iter().all(|key| keys.contains(key)), "what stays keeps its key");
    // What grows is split, and keeps its key too.
    for n in (0..400).step_by(10) {
        bed.group(&[act(n, Some(observation(&chart, 1, 80)))]).await;
    }
    assert!(blocks(&bed).iter().all(|entry| (entry.bytes as usize) < 2 * FULL));
    bed.compare(None, "Observation");
    let grown: Vec<_> = bed.scan(None, "Observation", &[], None, usize::MAX).iter().map(|found| found.0).collect();
    assert!(grown == left);
    for n in (0..400).step_by(10) {
        bed.group(&[act(n, None)]).await;
    }
    assert!(blocks(&bed).is_empty());
    bed.group(&[act(0, Some(observation(&chart, 1, 0)))]).await;
    bed.compare(None, "Observation");
    assert_eq!(bed.check().told, Vec::<String>::new());
}

#[tokio::test]
async fn a_record_that_is_written_often_leaves_no_trail_of_terms() {
    let home = tempfile::tempdir().unwrap();
    let mut bed = Bed::new(home.path(), &StoreKey::generate());
    let chart = id(1, 1);
    for n in 0..100 {
        let value = Some(observation(&chart, n, 3));
        bed.group(&[Act { id: id(2, 1), chart, resource_type: "Observation", value }]).await;
    }
    let catalog = bed.catalog(&chart).unwrap().unwrap();
    let entry = catalog.of_type("Observation").unwrap().blocks[0];
    let key = BlockKey { chart, of_type: bed.index.type_key("Observation"), first: entry.first };
    assert!(bed.index.terms(&key, entry.turn).unwrap().unwrap().len() <= 64 + 8);
    bed.compare(None, "Observation");
    assert_eq!(bed.check().told, Vec::<String>::new());
}

#[tokio::test]
async fn a_batch_that_is_not_committed_changes_nothing() {
    let home = tempfile::tempdir().unwrap();
    let mut bed = Bed::new(home.path(), &StoreKey::generate());
    let chart = id(1, 1);
    let act = |n| Act { id: id(2, n), chart, resource_type: "Observation", value: Some(observation(&chart, n, 1)) };
    bed.group(&[act(0), act(1)]).await;
    let rows = [(bed.is[&id(2, 0)].row.clone(), bed.is[&id(2, 0)].facts.clone())];
    let mut row = rows[0].0.clone();
    row.id = id(2, 9);
    let documents = [super::super::Document { row: &row, facts: rows[0].1.as_ref() }];
    let head = vouchsafe_types::state::HeadMove {
        handle: row.handle,
        seq: vouchsafe_types::Count(2),
        old: Some(bed.maps[&chart].root()),
        new: vouchsafe_types::Hash32([9; 32]),
    };
    let mut batch = WriteBatch::new();
    drop(bed.index.write(&mut batch, &documents, &[head]).unwrap());
    bed.compare(None, "Observation");
    bed.group(&[act(2)]).await;
    bed.compare(None, "Observation");
    bed.compare_history(2);
    assert_eq!(bed.check().told, Vec::<String>::new());
}

#[tokio::test]
async fn a_history_stays_as_it_was_while_new_versions_come() {
    let home = tempfile::tempdir().unwrap();
    let mut bed = Bed::new(home.path(), &StoreKey::generate());
    let chart = id(1, 1);
    let act =
        |n: u32| Act { id: id(2, n), chart, resource_type: "Observation", value: Some(observation(&chart, n, 0)) };
    bed.group(&(0..5).map(act).collect::<Vec<_>>()).await;
    let part = HistoryPart { since: None, before: None, count: 2 };
    for scope in [Scope::All, Scope::Chart(chart), Scope::Type("Observation".into())] {
        let first = bed.index.history(&scope, &part).unwrap();
        let rest =
            |bed: &Bed| bed.index.history(&scope, &HistoryPart { before: first.next, count: 99, ..part }).unwrap();
        let before = rest(&bed);
        // Two groups of one block, as it happens when a block takes two transactions.
        bed.height -= 1;
        bed.group(&[act(0), act(3)]).await;
        bed.group(&[act(1)]).await;
        let after = rest(&bed);
        assert!(before.rows == after.rows && before.next.is_none() && after.next.is_none());
    }
    bed.compare_history(3);
    let none = bed.index.history(&Scope::All, &HistoryPart { count: 0, ..part }).unwrap();
    assert!(none.rows.is_empty() && none.next.is_none());
}
