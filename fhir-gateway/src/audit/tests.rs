//! The audit log on the real embedded ledger and stores.

use std::sync::Arc;

use serde_json::json;
use vouchsafe_types::{
    Hash32, RecordId, b64,
    merkle::log::{leaf_hash, verify_inclusion},
    state::AuditHead,
};

use super::{About, AuditQuery, EventText, NewEntry};
use crate::{
    records::Records,
    testing::{Consortium, Site, copy_dir},
};

fn entry(chart: RecordId, caller: &str) -> NewEntry {
    let about = About { chart: Some(chart), caller: Some(caller.into()), ..About::default() };
    let About { chart, account, session, caller } = about;
    let event = EventText::new(json!({ "resourceType": "AuditEvent", "action": "R" }).to_string());
    NewEntry { id: Records::new_id(), event, chart, account, session, caller }
}

async fn recorded(site: &Site, chart: RecordId, caller: &str) -> super::Recorded {
    let slot = site.audit.reserve().await.unwrap();
    let recorded = site.audit.record(slot, entry(chart, caller));
    site.audit.durable(recorded.index).await.unwrap();
    recorded
}

fn doubts(site: &Site) -> Vec<super::AuditEntry> {
    let all = site.audit.search(&AuditQuery::default()).unwrap();
    let doubtful =
        |e: &super::AuditEntry| e.event.value()["outcomeDesc"].as_str().is_some_and(|t| t.starts_with("possibly"));
    all.into_iter().filter(doubtful).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slot_is_on_the_disk_before_it_is_given_out() {
    let consortium = Consortium::new();
    let site = consortium.site("a").await;
    let slots: Vec<_> = futures::future::join_all((0..200).map(|_| site.audit.reserve())).await;
    // As after a power failure at this moment: what was not flushed is not in the copy.
    let home = consortium.crashed_copy(&site, "crashed");
    for slot in slots {
        slot.unwrap().release();
    }
    let crashed = consortium.site_on(&home, Arc::new(consortium.ledger.clone())).await;
    let doubts = doubts(&crashed);
    assert_eq!(doubts.len(), 1);
    assert!(doubts[0].slots.0 >= 200, "{} slots", doubts[0].slots.0);
    let next = recorded(&crashed, RecordId([1; 16]), "x").await;
    assert!(crashed.audit.by_id(&next.id).unwrap().unwrap().slot.0 >= doubts[0].slot.0 + doubts[0].slots.0);
}

#[tokio::test(flavor = "multi_thread")]
async fn no_slot_is_given_out_that_the_disk_does_not_hold() {
    let consortium = Consortium::new();
    let site = consortium.site("a").await;
    site.audit.reserve().await.unwrap().release();
    // From now on nothing reaches the disk, and the mark stays where it is.
    site.ground.db.close().await;
    let mark = site.audit.inner.progress.borrow().mark;
    let mut given = 1;
    while let Ok(slot) = site.audit.reserve().await {
        slot.release();
        given += 1;
        assert!(given <= mark, "slot {given} with a mark at {mark}");
    }
    assert_eq!(given, mark);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_clean_stop_casts_no_doubt() {
    let consortium = Consortium::new();
    let site = consortium.site("a").await;
    let chart = RecordId([1; 16]);
    let kept = recorded(&site, chart, "ehr").await;
    site.audit.reserve().await.unwrap().release();
    site.stop().await;
    let site = consortium.site("a").await;
    assert!(doubts(&site).is_empty());
    assert_eq!(site.audit.by_id(&kept.id).unwrap().unwrap().leaf(), kept.leaf);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slot_that_is_dropped_without_an_entry_says_so() {
    let consortium = Consortium::new();
    let site = consortium.site("a").await;
    let chart = RecordId([1; 16]);
    let about = About { chart: Some(chart), ..About::default() };
    drop(site.audit.reserve().await.unwrap().about(about));
    site.audit.flush().await.unwrap();
    let found = doubts(&site);
    assert_eq!(found.len(), 1);
    assert_eq!((found[0].chart, found[0].slots.0), (Some(chart), 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn entries_are_found_by_whom_they_are_about_and_by_whom_they_name() {
    let consortium = Consortium::new();
    let site = consortium.site("a").await;
    let (one, two) = (RecordId([1; 16]), RecordId([2; 16]));
    let first = recorded(&site, one, "ehr").await;
    recorded(&site, two, "ehr").await;
    let third = recorded(&site, one, "doctor").await;
    let ids =
        |query: AuditQuery| -> Vec<RecordId> { site.audit.search(&query).unwrap().into_iter().map(|e| e.id).collect() };
    let about = AuditQuery { chart: Some(one), ..AuditQuery::default() };
    assert_eq!(ids(about.clone()), [third.id, first.id]);
    assert_eq!(ids(AuditQuery { limit: Some(1), ..about.clone() }), [third.id]);
    assert_eq!(ids(AuditQuery { caller: Some("ehr".into()), ..about }), [first.id]);
    assert_eq!(ids(AuditQuery::default()).len(), 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_anchored_entry_is_proved_and_nothing_else_is() {
    let consortium = Consortium::new();
    let site = consortium.site("a").await;
    let mut all = Vec::new();
    for n in 0..5 {
        all.push(recorded(&site, RecordId([n; 16]), "ehr").await);
    }
    site.audit.flush().await.unwrap();
    let late = recorded(&site, RecordId([9; 16]), "ehr").await;
    assert!(site.audit.proof(&late.id).await.unwrap().is_none(), "not anchored yet");
    let trust = {
        let digest = consortium.genesis.body.digest();
        vouchsafe_node::verify::Trust::new(&consortium.genesis, digest).unwrap()
    };
    for one in &all {
        let proof = site.audit.proof(&one.id).await.unwrap().unwrap();
        let ledger = serde_json::from_value(proof.ledger.clone()).unwrap();
        let verified = vouchsafe_node::verify::verify_proof(&ledger, &trust).unwrap();
        let head = AuditHead::from_bytes(verified.value().unwrap()).unwrap();
        assert_eq!((&head, head.count.0), (&proof.head, 5));
        let leaf = leaf_hash(&b64::decode(&proof.entry).unwrap());
        let holds = |leaf: &Hash32| verify_inclusion(leaf, proof.index.0, head.count.0, &proof.path, &head.root);
        assert!(holds(&leaf));
        assert_eq!(leaf, one.leaf);
        assert!(!holds(&late.leaf));
    }
    // Anchored again, from where it was.
    site.audit.flush().await.unwrap();
    assert!(site.audit.proof(&late.id).await.unwrap().is_some());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_altered_entry_is_not_given_out() {
    let consortium = Consortium::new();
    let site = consortium.site("a").await;
    let chart = RecordId([1; 16]);
    let one = recorded(&site, chart, "ehr").await;
    // By somebody who has the store's key.
    let mut forged = site.audit.by_id(&one.id).unwrap().unwrap();
    forged.caller = Some("somebody-else".into());
    site.ground.db.put("audit", &one.index.to_be_bytes(), &forged.bytes()).await.unwrap();
    assert!(matches!(site.audit.by_id(&one.id), Err(super::AuditError::Altered(_))));
    assert!(site.audit.search(&AuditQuery::default()).is_err());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_that_was_rolled_back_or_rewritten_does_not_open() {
    let consortium = Consortium::new();
    let site = consortium.site("a").await;
    let chart = RecordId([1; 16]);
    let one = recorded(&site, chart, "ehr").await;
    let home = site.stop().await;
    let backup = consortium.home.path().join("backup");
    copy_dir(&home, &backup);
    let site = consortium.site("a").await;
    recorded(&site, chart, "ehr").await;
    site.audit.flush().await.unwrap();
    site.stop().await;
    let ledger = Arc::new(consortium.ledger.clone());
    let rolled_back = consortium.try_site(&backup, ledger.clone()).await;
    assert!(rolled_back.is_err_and(|e| e.contains("altered")));
    // By somebody who has the store's key, hashes and all.
    let site = consortium.site("a").await;
    let mut forged = site.audit.by_id(&one.id).unwrap().unwrap();
    forged.caller = Some("somebody-else".into());
    let index = one.index.to_be_bytes();
    site.ground.db.put("audit", &index, &forged.bytes()).await.unwrap();
    site.ground.db.put("audit-leaf", &index, &forged.leaf().0).await.unwrap();
    let home = site.stop().await;
    let rewritten = consortium.try_site(&home, ledger).await;
    assert!(rewritten.is_err_and(|e| e.contains("altered")));
}
