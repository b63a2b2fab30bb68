//! What a restart finds.

use vouchsafe_core::StateRead;
use vouchsafe_node::{Embedded, NodeError, ValidatorKey, replay, store::Store};

use crate::consortium::Consortium;

async fn some_blocks(c: &Consortium) -> Embedded {
    let ledger = c.open().unwrap();
    for n in 0..5 {
        ledger.submit(c.anchor(n)).await.unwrap();
    }
    ledger
}

fn file(c: &Consortium) -> std::path::PathBuf {
    c.home.path().join("ledger/ledger.redb")
}

#[tokio::test]
async fn a_restart_finds_the_same_state_and_goes_on() {
    let c = Consortium::new("durable");
    let ledger = some_blocks(&c).await;
    ledger.stop().await;
    let store = Store::open(&file(&c)).unwrap();
    let before = store.view().unwrap().head().cloned().unwrap();
    drop(store);
    let ledger = c.open().unwrap();
    let view = ledger.view().unwrap();
    let after = view.head().cloned().unwrap();
    assert_eq!(after.app_hash, before.app_hash);
    assert!(view.get(&c.head_key(4)).is_some());
    assert!(ledger.submit(c.anchor(9)).await.unwrap().height > before.height);
}

#[tokio::test]
async fn the_block_log_replayed_gives_the_same_hashes() {
    let c = Consortium::new("durable");
    let ledger = some_blocks(&c).await;
    let store = |file: &str| c.home.path().join(file);
    ledger.stop().await;
    let original = Store::open(&file(&c)).unwrap();
    let head = original.view().unwrap().head().cloned().unwrap();
    let replayed = replay::replay(&original, &c.genesis, &store("again.redb")).unwrap();
    assert_eq!((replayed.height, replayed.app_hash), (head.height, head.app_hash));
}

#[tokio::test]
async fn another_genesis_is_refused() {
    let c = Consortium::new("durable");
    some_blocks(&c).await.stop().await;
    let mut other = Consortium::new("another");
    other.home = c.home;
    // The home's validator key is not the other document's, so that is said first; a store alone says the other.
    assert!(matches!(other.open(), Err(NodeError::NotTheValidator(_))));
    let opened = vouchsafe_node::app::App::open(Store::open(&file(&other)).unwrap(), &other.genesis);
    assert!(matches!(opened, Err(NodeError::OtherGenesis { .. })));
}

#[tokio::test]
async fn another_validator_key_is_refused() {
    let c = Consortium::new("durable");
    let home = c.home.path().join("ledger");
    let opened = Embedded::open(&home, &c.genesis, ValidatorKey::generate(), c.settings());
    assert!(matches!(opened, Err(NodeError::NotTheValidator(_))));
}

#[tokio::test]
async fn a_second_driver_on_one_home_is_refused() {
    let c = Consortium::new("durable");
    let _ledger = some_blocks(&c).await;
    assert!(matches!(c.open(), Err(NodeError::Database(_))));
}

mod damage {
    use redb::{Database, ReadableTable, TableDefinition};

    use super::*;

    const BLOCKS: TableDefinition<'_, u64, &[u8]> = TableDefinition::new("blocks");
    const COMMITS: TableDefinition<'_, u64, &[u8]> = TableDefinition::new("commits");
    const OUTCOMES: TableDefinition<'_, u64, &[u8]> = TableDefinition::new("outcomes");
    const NODES: TableDefinition<'_, &[u8], &[u8]> = TableDefinition::new("nodes");
    type Table = TableDefinition<'static, u64, &'static [u8]>;

    /// Alters the row of the last block in a table with `alter` (`None` removes it), and says what opening says.
    async fn opened_after(table: Table, back: u64, alter: impl Fn(&mut Vec<u8>) -> bool) -> NodeError {
        let c = Consortium::new("damage");
        some_blocks(&c).await.stop().await;
        let height = Store::open(&file(&c)).unwrap().view().unwrap().head().unwrap().height - back;
        let db = Database::create(file(&c)).unwrap();
        let tx = db.begin_write().unwrap();
        {
            let mut rows = tx.open_table(table).unwrap();
            let mut row = rows.get(height).unwrap().unwrap().value().to_vec();
            if alter(&mut row) {
                rows.insert(height, row.as_slice()).unwrap();
            } else {
                rows.remove(height).unwrap();
            }
        }
        tx.commit().unwrap();
        drop(db);
        c.open().unwrap_err()
    }

    fn flip(row: &mut [u8]) -> bool {
        let middle = row.len() / 2;
        row[middle] ^= 1;
        true
    }

    #[tokio::test]
    async fn a_torn_tail_is_refused() {
        for table in [BLOCKS, COMMITS, OUTCOMES] {
            for back in [0, 1] {
                let missing = opened_after(table, back, |_| false).await;
                assert!(matches!(missing, NodeError::Damaged { .. }), "{table} removed: {missing}");
            }
            let cut = opened_after(table, 0, |row| {
                row.truncate(row.len() - 1);
                true
            })
            .await;
            assert!(matches!(cut, NodeError::Damaged { .. }), "{table} cut: {cut}");
        }
    }

    #[tokio::test]
    async fn a_flipped_bit_in_the_log_is_refused() {
        for table in [BLOCKS, COMMITS] {
            let flipped = opened_after(table, 1, |row| flip(row)).await;
            assert!(matches!(flipped, NodeError::Damaged { .. }), "{table}: {flipped}");
        }
    }

    #[tokio::test]
    async fn a_block_after_the_head_is_refused() {
        let c = Consortium::new("damage");
        some_blocks(&c).await.stop().await;
        let height = Store::open(&file(&c)).unwrap().view().unwrap().head().unwrap().height;
        let db = Database::create(file(&c)).unwrap();
        let tx = db.begin_write().unwrap();
        tx.open_table(BLOCKS).unwrap().insert(height + 1, [0].as_slice()).unwrap();
        tx.commit().unwrap();
        drop(db);
        assert!(matches!(c.open(), Err(NodeError::Damaged { .. })));
    }

    /// Makes blocks until the last one changed the root, which no header carries yet; the root's version.
    async fn newest_root_in_no_header(c: &Consortium) -> u64 {
        for n in 100.. {
            let ledger = c.open().unwrap();
            ledger.submit(c.anchor(n)).await.unwrap();
            ledger.stop().await;
            let view = Store::open(&file(c)).unwrap().view().unwrap();
            let head = view.head().unwrap();
            if view.version_at(head.height - 1).unwrap() != head.version {
                return head.version;
            }
        }
        unreachable!("a count ends never")
    }

    #[tokio::test]
    async fn a_tree_with_another_root_is_refused() {
        let c = Consortium::new("damage");
        some_blocks(&c).await.stop().await;
        let version = newest_root_in_no_header(&c).await;
        let db = Database::create(file(&c)).unwrap();
        let tx = db.begin_write().unwrap();
        {
            let mut nodes = tx.open_table(NODES).unwrap();
            // The root before stands in for the newest: a rolled-back tree.
            let row = |v: u64| {
                let mut key = v.to_be_bytes().to_vec();
                key.extend_from_slice(&[0; 12]);
                key
            };
            let older = nodes.get(row(version - 1).as_slice()).unwrap().unwrap().value().to_vec();
            assert!(nodes.insert(row(version).as_slice(), older.as_slice()).unwrap().is_some());
        }
        tx.commit().unwrap();
        drop(db);
        assert!(matches!(c.open(), Err(NodeError::Damaged { .. })));
    }
}
