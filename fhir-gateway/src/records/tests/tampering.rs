//! What somebody with access to the disk does, with and without the store's key, is detected and never served.

use redb::{Database, ReadableDatabase, ReadableTable, TableDefinition};
use vouchsafe_types::{Hash32, Tx, jws, state::HeadMove, tx::Anchor};

use crate::{
    audit::AuditQuery,
    foundation::ORG_KEY,
    ledger::View,
    policy::Permit,
    records::{DirectoryEntry, OpenError, RecordRow},
    testing::{Consortium, Site, copy_dir, observation},
};

const BLOBS: TableDefinition<'_, &[u8; 32], &[u8]> = TableDefinition::new("blobs");

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
            let mut blobs = write.open_table(BLOBS).unwrap();
            let mut first = blobs.get(&digest(&one)).unwrap().unwrap().value().to_vec();
            // The other's blob becomes this one's; this one's gets one bit flipped.
            blobs.insert(&digest(&other), first.as_slice()).unwrap();
            first[20] ^= 1;
            blobs.insert(&digest(&one), first.as_slice()).unwrap();
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
    let key = [one.id.0.as_slice(), &1u64.to_be_bytes()].concat();
    alter(site, "rows", &key, |value| value[40] ^= 1).await;
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
        read.open_table(table("rows-latest")).unwrap().get(one.id.0.as_slice()).unwrap().unwrap().value().to_vec()
    };
    let site = consortium.site("a").await;
    site.records.update(one.id, None, observation(one.chart, "new")).await.unwrap();
    alter(site, "rows-latest", &one.id.0, |value| *value = before).await;
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

#[tokio::test(flavor = "multi_thread")]
async fn a_record_left_out_of_the_index() {
    let consortium = Consortium::new();
    let (site, one, _) = two_records(&consortium).await;
    for key in site.ground.db.keys("rows-by-chart", &one.chart.0).unwrap() {
        if key.ends_with(&one.id.0) {
            site.ground.db.remove("rows-by-chart", &key).await.unwrap();
        }
    }
    let result = site.records.list(&one.chart, None);
    assert!(matches!(result, Err(OpenError::Integrity(_))), "{result:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_opened_lately_is_given_out_under_the_ledgers_head_only() {
    let consortium = Consortium::new();
    let (site, one, _) = two_records(&consortium).await;
    let permit = Permit::for_tests();
    site.records.open(&permit, &one).await.unwrap();
    let org = site.ground.org;
    let head = View(&*site.ground.ledger).head(&org, &one.handle).await.unwrap().unwrap();
    let moved = HeadMove { handle: one.handle, seq: head.seq.next(), old: Some(head.root), new: Hash32([9; 32]) };
    let make = |nonce, expires| {
        Tx::from(Anchor { nonce, expires, leaves: vec![Hash32([8; 32])], heads: vec![moved], session: None })
    };
    site.ground.signer().submit(ORG_KEY, make).await.unwrap();
    // The ledger now holds a root that nothing here has: what was true a moment ago is not served.
    assert_caught(&site, &one).await;
}
