//! What somebody with access to the disk does, with and without the store's key, is detected and never served.

use std::{ops::ControlFlow, path::Path};

use redb::{Database, ReadableDatabase, ReadableTable, TableDefinition};
use vouchsafe_fhir_search::Universe;
use vouchsafe_types::{Hash32, RecordId, Tx, jws, state::HeadMove, tx::Anchor};

use crate::{
    audit::AuditQuery,
    foundation::ORG_KEY,
    ledger::View,
    policy::Permit,
    records::{DirectoryEntry, OpenError, RecordRow},
    testing::{Consortium, Site, copy_dir, observation},
};

const PLACES: TableDefinition<'_, &[u8; 32], (u64, u32, u32)> = TableDefinition::new("places");
const PACKS: TableDefinition<'_, u64, &[u8]> = TableDefinition::new("packs");

fn table(name: &str) -> TableDefinition<'_, &'static [u8], &'static [u8]> {
    TableDefinition::new(name)
}

fn digest(row: &RecordRow) -> [u8; 32] {
    crate::blobs::digest_of(&crate::blobs::parse_cid(&row.cid).unwrap()).unwrap()
}

/// Reads and rewrites one value as it lies on the disk, without any key.
async fn alter(site: Site, name: &str, key: &[u8], change: impl FnOnce(&mut Vec<u8>)) {
    let home = site.stop().await;
    let db = Database::open(home.join("gateway.redb")).unwrap();
    let mut value = {
        let read = db.begin_read().unwrap();
        read.open_table(table(name)).unwrap().get(key).unwrap().unwrap().value().to_vec()
    };
    change(&mut value);
    let write = db.begin_write().unwrap();
    write.open_table(table(name)).unwrap().insert(key, value.as_slice()).unwrap();
    write.commit().unwrap();
}

async fn assert_caught(site: &Site, row: &RecordRow) {
    let result = site.records.open(&Permit::for_tests(), row).await;
    assert!(matches!(result, Err(OpenError::Integrity(_))), "{result:?}");
    let entries = site.audit.search(&AuditQuery { chart: Some(row.chart), ..AuditQuery::default() }).unwrap();
    assert!(entries.iter().any(|e| e.event.value()["outcomeDesc"] == "integrity"), "the fault is in the audit log");
}

async fn two_records(consortium: &Consortium) -> (Site, RecordRow, RecordRow) {
    let site = consortium.site("a").await;
    let chart = site.patient().await.id;
    let (one, other) = (site.observation(chart, "1").await, site.observation(chart, "2").await);
    (site, one, other)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flipped_bit_and_swapped_blobs() {
    let consortium = Consortium::new();
    let (site, one, other) = two_records(&consortium).await;
    let home = site.stop().await;
    {
        let db = Database::open(home.join("blobs.redb")).unwrap();
        let write = db.begin_write().unwrap();
        {
            let mut places = write.open_table(PLACES).unwrap();
            let mut packs = write.open_table(PACKS).unwrap();
            let first = places.get(&digest(&one)).unwrap().unwrap().value();
            // The other's blob becomes this one's; this one's gets one bit flipped.
            let mut pack = packs.get(first.0).unwrap().unwrap().value().to_vec();
            packs.insert(1_000, pack.as_slice()).unwrap();
            places.insert(&digest(&other), (1_000, first.1, first.2)).unwrap();
            pack[first.1 as usize + 20] ^= 1;
            packs.insert(first.0, pack.as_slice()).unwrap();
        }
        write.commit().unwrap();
    }
    let site = consortium.site("a").await;
    assert_caught(&site, &one).await;
    assert_caught(&site, &other).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_missing_blob() {
    let consortium = Consortium::new();
    let (site, one, _) = two_records(&consortium).await;
    site.ground.blobs.remove(&crate::blobs::parse_cid(&one.cid).unwrap()).await.unwrap();
    assert_caught(&site, &one).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_altered_row() {
    let consortium = Consortium::new();
    let (site, one, _) = two_records(&consortium).await;
    alter(site, "rows", &one.id.0, |value| value[40] ^= 1).await;
    let site = consortium.site("a").await;
    let result = site.records.row(&one.id, None);
    assert!(matches!(result, Err(OpenError::Integrity(_))), "{result:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_row_that_names_another_blob_by_somebody_with_the_stores_key() {
    let consortium = Consortium::new();
    let (site, one, other) = two_records(&consortium).await;
    let mut forged = one.clone();
    forged.cid.clone_from(&other.cid);
    assert_caught(&site, &forged).await;
    let mut forged = one.clone();
    forged.commitment = other.commitment;
    assert_caught(&site, &forged).await;
    let mut forged = one;
    forged.custody_wrap = other.custody_wrap;
    assert_caught(&site, &forged).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_old_version_in_place_of_the_new() {
    let consortium = Consortium::new();
    let (site, one, _) = two_records(&consortium).await;
    let home = site.stop().await;
    let before = {
        let db = Database::open(home.join("gateway.redb")).unwrap();
        let read = db.begin_read().unwrap();
        read.open_table(table("rows")).unwrap().get(one.id.0.as_slice()).unwrap().unwrap().value().to_vec()
    };
    let site = consortium.site("a").await;
    site.records.update(one.id, None, observation(one.chart, "new")).await.unwrap();
    alter(site, "rows", &one.id.0, |value| *value = before).await;
    let site = consortium.site("a").await;
    let result = site.records.row(&one.id, None);
    assert!(matches!(result, Err(OpenError::Integrity(_))), "{result:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_whole_home_rolled_back() {
    let consortium = Consortium::new();
    let (site, one, _) = two_records(&consortium).await;
    let home = site.stop().await;
    let backup = consortium.home.path().join("backup");
    copy_dir(&home, &backup);
    let site = consortium.site("a").await;
    site.records.update(one.id, None, observation(one.chart, "new")).await.unwrap();
    site.stop().await;
    copy_dir(&backup, &home);
    let site = consortium.site("a").await;
    assert_caught(&site, &one).await;
    // Nor is anything built upon it.
    assert!(site.records.update(one.id, None, observation(one.chart, "newer")).await.is_err());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_entry_changed_by_somebody_with_the_stores_key() {
    let consortium = Consortium::new();
    let (site, one, other) = two_records(&consortium).await;
    let org = site.ground.org;
    let mut entry = site.directory.entry(&org, &one.handle, &one.id, 1).unwrap().unwrap();
    entry.commitment = other.commitment;
    entry.cid.clone_from(&other.cid);
    let key = site.ground.org_key().unwrap();
    let forged = jws::sign_statement(&*key, site.ground.ledger.chain(), DirectoryEntry::TYP, &entry);
    let at = [org.0.as_slice(), &one.handle.0, &one.id.0, &1u64.to_be_bytes()].concat();
    site.ground.db.put("directory", &at, forged.as_bytes()).await.unwrap();
    // In memory the map's leaf still is what it was, and the entry contradicts it.
    assert_caught(&site, &one).await;
    site.stop().await;
    // After a restart the map is built with the changed leaf, and does not have the root that the ledger holds.
    let site = consortium.site("a").await;
    assert_caught(&site, &one).await;
    assert_caught(&site, &other).await;
}

/// Everything that a table of the index has of a chart, as it lies on the disk.
fn on_disk(home: &Path, name: &str, chart: &RecordId) -> Vec<(Vec<u8>, Vec<u8>)> {
    let db = Database::open(home.join("gateway.redb")).unwrap();
    let read = db.begin_read().unwrap();
    let rows = read.open_table(table(name)).unwrap();
    let all = rows.range(chart.0.as_slice()..).unwrap().map(Result::unwrap);
    let all = all.map(|(key, value)| (key.value().to_vec(), value.value().to_vec()));
    all.take_while(|(key, _)| key.starts_with(&chart.0)).collect()
}

fn put_back(home: &Path, name: &str, rows: &[(Vec<u8>, Vec<u8>)]) {
    let db = Database::open(home.join("gateway.redb")).unwrap();
    let write = db.begin_write().unwrap();
    {
        let mut table = write.open_table(table(name)).unwrap();
        for (key, value) in rows {
            table.insert(key.as_slice(), value.as_slice()).unwrap();
        }
    }
    write.commit().unwrap();
}

fn assert_search_is_caught(site: &Site, chart: RecordId) {
    let result = site.records.list(&chart, None).map(|rows| rows.len());
    assert!(matches!(result, Err(OpenError::Integrity(_))), "{result:?}");
    let universe = site.records.universe(Some(vec![chart]));
    let result = universe.scan("Observation", &[], None, &mut |_| ControlFlow::Continue(()));
    assert!(matches!(result, Err(OpenError::Integrity(_))), "{result:?}");
    let check = site.records.check_index().unwrap();
    assert_ne!(check.faults, 0);
}

const INDEX: [&str; 3] = ["index-charts", "index-blocks", "index-terms"];

#[tokio::test(flavor = "multi_thread")]
async fn a_part_of_the_index_that_is_altered_old_or_missing() {
    let consortium = Consortium::new();
    let (site, one, _) = two_records(&consortium).await;
    let chart = one.chart;
    let home = site.stop().await;
    let before = INDEX.map(|name| on_disk(&home, name, &chart));
    let site = consortium.site("a").await;
    site.records.update(one.id, None, observation(chart, "new")).await.unwrap();
    site.observation(chart, "3").await;
    assert_eq!(site.records.list(&chart, None).unwrap().len(), 4);
    assert_eq!(site.records.check_index().unwrap().told, Vec::<String>::new());
    site.stop().await;
    let after = INDEX.map(|name| on_disk(&home, name, &chart));

    // Only the catalog, then all that belongs to it, as they were before.
    put_back(&home, INDEX[0], &before[0]);
    let site = consortium.site("a").await;
    assert_search_is_caught(&site, chart);
    site.stop().await;
    for (name, rows) in INDEX.iter().zip(&before) {
        put_back(&home, name, rows);
    }
    let site = consortium.site("a").await;
    assert_search_is_caught(&site, chart);
    site.stop().await;
    // Only the blocks.
    for (name, rows) in INDEX.iter().zip(&after) {
        put_back(&home, name, rows);
    }
    put_back(&home, INDEX[1], &before[1]);
    let site = consortium.site("a").await;
    assert_search_is_caught(&site, chart);
    // Nor is anything built upon it.
    assert!(site.records.create(observation(chart, "4")).await.is_err());
    site.stop().await;
    // A flipped bit, and one block at another's place.
    let mut altered = after[1].clone();
    altered[0].1[50] ^= 1;
    altered[1].1[50] ^= 1;
    put_back(&home, INDEX[1], &altered);
    let site = consortium.site("a").await;
    assert_search_is_caught(&site, chart);
    site.stop().await;
    let [one, other] = after[1].as_slice() else { panic!("two types have a block each") };
    put_back(&home, INDEX[1], &[(one.0.clone(), other.1.clone()), (other.0.clone(), one.1.clone())]);
    let site = consortium.site("a").await;
    assert_search_is_caught(&site, chart);
    site.stop().await;
    put_back(&home, INDEX[1], &after[1]);
    let site = consortium.site("a").await;
    assert_eq!(site.records.check_index().unwrap().told, Vec::<String>::new());
    assert_eq!(site.records.list(&chart, None).unwrap().len(), 4);
    for name in &INDEX[..2] {
        for key in site.ground.db.keys(name, &chart.0).unwrap() {
            site.ground.db.remove(name, &key).await.unwrap();
        }
    }
    site.stop().await;
    let site = consortium.site("a").await;
    assert_search_is_caught(&site, chart);
    // Records can still be written and read, and the chart stays closed to searches.
    let row = site.observation(chart, "5").await;
    assert_eq!(site.records.row(&row.id, None).unwrap(), Some(row));
    assert_search_is_caught(&site, chart);
    site.stop().await;
    let site = consortium.site("a").await;
    assert_search_is_caught(&site, chart);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_opened_lately_is_given_out_under_the_ledgers_head_only() {
    let consortium = Consortium::new();
    let (site, one, _) = two_records(&consortium).await;
    let permit = Permit::for_tests();
    site.records.open(&permit, &one).await.unwrap();
    let chart = site.charts.by_id(&one.chart).unwrap();
    let lately = async || site.records.lately(&permit, &chart, &[one.id, one.chart]).await.len();
    assert_eq!(lately().await, 1, "the one of two that was opened");
    let org = site.ground.org;
    let head = View(&*site.ground.ledger).head(&org, &one.handle).await.unwrap().unwrap();
    let moved = HeadMove { handle: one.handle, seq: head.seq.next(), old: Some(head.root), new: Hash32([9; 32]) };
    let make = |nonce, expires| {
        Tx::from(Anchor { nonce, expires, leaves: vec![Hash32([8; 32])], heads: vec![moved], session: None })
    };
    site.ground.signer().submit(ORG_KEY, make).await.unwrap();
    // The ledger now holds a root that nothing here has: what was true a moment ago is not served.
    assert_eq!(lately().await, 0);
    assert_caught(&site, &one).await;
}
