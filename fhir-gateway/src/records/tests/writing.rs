//! What is written is anchored, kept, and nowhere in plaintext.

use std::{collections::BTreeSet, path::Path};

use futures::future::join_all;
use vouchsafe_types::b64;

use crate::{
    policy::Permit,
    records::{OpenError, Records, WriteError},
    testing::{Consortium, FAMILY, observation, patient},
};

#[tokio::test(flavor = "multi_thread")]
async fn what_was_written_is_read_exactly_and_every_version_stays() {
    let consortium = Consortium::new();
    let site = consortium.site("a").await;
    let permit = Permit::for_tests();
    let chart = site.patient().await.id;
    let first = observation(chart, "1.50");
    let row = site.records.create(first.clone()).await.unwrap();
    assert_eq!((row.version.0, row.previous), (1, None));
    let opened = site.records.open(&permit, &row).await.unwrap();
    assert_eq!(*opened.sealed_form(), *first.sealed_form);

    let second = observation(chart, "2");
    let newer = site.records.update(row.id, Some(1), second.clone()).await.unwrap();
    assert_eq!((newer.version.0, newer.previous), (2, Some(row.commitment)));
    assert!(newer.last_updated > row.last_updated);
    let refused = site.records.update(row.id, Some(1), second.clone()).await;
    assert!(matches!(refused, Err(WriteError::Conflict { have: 2 })), "{refused:?}");

    let latest = site.records.row(&row.id, None).unwrap().unwrap();
    assert_eq!(latest, newer);
    assert_eq!(*site.records.open(&permit, &latest).await.unwrap().sealed_form(), *second.sealed_form);
    let old = site.records.row(&row.id, Some(1)).unwrap().unwrap();
    assert_eq!(*site.records.open(&permit, &old).await.unwrap().sealed_form(), *first.sealed_form);
    assert_eq!(site.records.versions(&row.id).unwrap().len(), 2);
    assert_eq!(site.records.list(&chart, Some("Observation")).unwrap(), std::slice::from_ref(&latest));
    assert_eq!(site.records.list(&chart, None).unwrap().len(), 2);
    assert_eq!(site.records.list_type("Observation").unwrap(), [latest]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_record_keeps_its_type_and_its_chart_and_an_id_is_given_once() {
    let consortium = Consortium::new();
    let site = consortium.site("a").await;
    let (one, other) = (site.patient().await, site.patient().await);
    let row = site.observation(one.id, "1").await;
    let moved = site.records.update(row.id, None, observation(other.id, "1")).await;
    assert!(matches!(moved, Err(WriteError::NotTheSame)), "{moved:?}");
    let unknown = site.records.update(Records::new_id(), None, observation(one.id, "1")).await;
    assert!(matches!(unknown, Err(WriteError::NotFound)), "{unknown:?}");
    let no_chart = site.records.create(observation(Records::new_id(), "1")).await;
    assert!(matches!(no_chart, Err(WriteError::NotFound)), "{no_chart:?}");
    let again = site.records.create_with_id(one.id, patient(one.id)).await;
    assert!(matches!(again, Err(WriteError::Conflict { .. })), "{again:?}");
    let again = site.records.create_with_id(row.id, observation(one.id, "1")).await;
    assert!(matches!(again, Err(WriteError::Conflict { have: 1 })), "{again:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn of_updates_that_race_with_one_if_match_one_wins() {
    let consortium = Consortium::new();
    let site = consortium.site("a").await;
    let chart = site.patient().await.id;
    let row = site.observation(chart, "0").await;
    let racing = (0..16).map(|n| site.records.update(row.id, Some(1), observation(chart, &n.to_string())));
    let results = join_all(racing).await;
    assert_eq!(results.iter().filter(|r| r.is_ok()).count(), 1);
    assert!(results.iter().all(|r| matches!(r, Ok(_) | Err(WriteError::Conflict { have: 2 }))));
    // Without If-Match all are taken, one after the other.
    let all = (0..16).map(|n| site.records.update(row.id, None, observation(chart, &n.to_string())));
    let versions: BTreeSet<u64> = join_all(all).await.into_iter().map(|r| r.unwrap().version.0).collect();
    assert_eq!(versions, (3..19).collect());
    let permit = Permit::for_tests();
    for old in site.records.versions(&row.id).unwrap() {
        site.records.open(&permit, &old).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn writes_that_wait_together_share_a_block() {
    let consortium = Consortium::new();
    let site = consortium.site("a").await;
    let chart = site.patient().await.id;
    let rows = join_all((0..64).map(|n| site.records.create(observation(chart, &n.to_string())))).await;
    let heights: BTreeSet<u64> = rows.into_iter().map(|r| r.unwrap().height.0).collect();
    assert!(heights.len() <= 8, "64 records in {} blocks", heights.len());
}

/// Between an anchor's commit and its entries' arrival, a reader of one chart is woken by every chart of the anchor.
#[tokio::test]
async fn a_reader_waits_for_the_entries_of_its_own_chart() {
    let consortium = Consortium::new();
    let site = consortium.site("a").await;
    let (chart, other) = (site.patient().await, site.patient().await);
    let before = site.directory.own_map(&chart.handle).unwrap();
    let row = site.observation(chart.id, "1").await;
    let after = site.directory.own_map(&chart.handle).unwrap();
    let others = site.directory.own_map(&other.handle).unwrap();
    // As it is when the anchor is in a block and no map is promoted yet.
    site.directory.promote(&chart.handle, before);
    site.directory.set_pending(&chart.handle, Some(after.clone()));
    let promoting = async {
        for _ in 0..3 {
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
            site.directory.promote(&other.handle, others.clone());
        }
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        site.directory.promote(&chart.handle, after);
    };
    let (found, ()) = tokio::join!(site.directory.own_leaf(&chart.handle, &row.id), promoting);
    assert_eq!(found.unwrap().record, row.id);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restart_keeps_everything() {
    let consortium = Consortium::new();
    let site = consortium.site("a").await;
    let chart = site.patient().await.id;
    let row = site.observation(chart, "1").await;
    let row = site.records.update(row.id, Some(1), observation(chart, "2")).await.unwrap();
    let before = site.charts.by_id(&chart).unwrap();
    let organization = site.charts.organization_chart();
    site.stop().await;

    let site = consortium.site("a").await;
    assert_eq!(site.charts.by_id(&chart).unwrap(), before);
    assert_eq!(site.charts.by_handle(&before.handle).unwrap(), before);
    assert_eq!(site.charts.organization_chart(), organization);
    let found = site.records.row(&row.id, None).unwrap().unwrap();
    assert_eq!(found, row);
    let permit = Permit::for_tests();
    assert_eq!(*site.records.open(&permit, &found).await.unwrap().sealed_form(), *observation(chart, "2").sealed_form);
    site.records.update(row.id, Some(2), observation(chart, "3")).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn no_plaintext_lies_in_the_home() {
    let consortium = Consortium::new();
    let site = consortium.site("a").await;
    let chart = site.patient().await.id;
    let row = site.observation(chart, FAMILY).await;
    site.records.open(&Permit::for_tests(), &row).await.unwrap();
    site.audit.flush().await.unwrap();
    site.stop().await;
    let utf16: Vec<u8> = FAMILY.encode_utf16().flat_map(u16::to_le_bytes).collect();
    let mut needles = vec![FAMILY.as_bytes().to_vec(), utf16, b"Observation".to_vec(), b"718-7".to_vec()];
    for shift in 0..3 {
        let text = b64::encode([&vec![b' '; shift], FAMILY.as_bytes()].concat());
        needles.push(text.as_bytes()[4..text.len() - 4].to_vec());
    }
    for needle in needles {
        assert_eq!(find(consortium.home.path(), &needle), None, "{}", String::from_utf8_lossy(&needle));
    }
}

/// The first file below that holds the bytes.
fn find(dir: &Path, needle: &[u8]) -> Option<std::path::PathBuf> {
    std::fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path()).find_map(|path| {
        if path.is_dir() {
            return find(&path, needle);
        }
        std::fs::read(&path).unwrap().windows(needle.len()).any(|w| w == needle).then_some(path)
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn a_proof_holds_against_the_ledger_for_old_versions_too() {
    let consortium = Consortium::new();
    let site = consortium.site("a").await;
    let chart = site.patient().await.id;
    let first = site.observation(chart, "1").await;
    site.records.update(first.id, None, observation(chart, "2")).await.unwrap();
    site.records.update(first.id, None, observation(chart, "3")).await.unwrap();
    let parts = site.records.proof(&Permit::for_tests(), &first).await.unwrap();

    let proof = serde_json::from_value(parts.ledger.clone()).unwrap();
    let digest = consortium.genesis.body.digest();
    let trust = vouchsafe_node::verify::Trust::new(&consortium.genesis, digest).unwrap();
    let verified = vouchsafe_node::verify::verify_proof(&proof, &trust).unwrap();
    let head = vouchsafe_types::state::Head::from_bytes(verified.value().unwrap()).unwrap();
    assert_eq!(head, parts.head);
    let leaf = parts.map_proof.verify(&head.root, &first.id).flatten().unwrap();
    assert_eq!(leaf, parts.leaf);
    // From this version's recomputed commitment to the leaf's.
    let mut commitment = crate::seal::record::commitment(
        &parts.commitment_key,
        &first.id,
        1,
        None,
        &parts.plaintext_hash,
        &parts.ciphertext_hash,
    );
    for later in &parts.later {
        commitment = crate::seal::record::commitment(
            &later.commitment_key.0,
            &first.id,
            later.version.0,
            Some(&commitment),
            &later.plaintext_hash,
            &later.ciphertext_hash,
        );
        assert_eq!(commitment, later.commitment);
    }
    assert_eq!((commitment, parts.later.len()), (leaf.commitment, 2));
}

/// Who builds a chart's map while an anchor is being written may keep one without its entries; what is true is not closed
/// because of that.
#[tokio::test(flavor = "multi_thread")]
async fn a_map_that_was_built_too_early_is_built_anew() {
    let consortium = Consortium::new();
    let site = consortium.site("a").await;
    let chart = site.patient().await;
    let early = site.directory.own_map(&chart.handle).unwrap();
    let row = site.observation(chart.id, "1").await;
    site.directory.keep_for_tests(&chart.handle, early);
    site.records.open(&Permit::for_tests(), &row).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn readers_and_writers_of_one_chart_do_not_take_each_other_for_a_fault() {
    let consortium = Consortium::new();
    let site = consortium.site("a").await;
    let chart = site.patient().await.id;
    let row = site.observation(chart, "0").await;
    let writer = async {
        for n in 0..20 {
            site.records.update(row.id, None, observation(chart, &n.to_string())).await.unwrap();
        }
    };
    let reader = async {
        let permit = Permit::for_tests();
        for _ in 0..400 {
            let latest = site.records.row(&row.id, None).unwrap().unwrap();
            match site.records.open(&permit, &latest).await {
                Ok(_) => {}
                Err(OpenError::Integrity(what)) => panic!("{what}"),
                Err(e) => panic!("{e}"),
            }
            tokio::task::yield_now().await;
        }
    };
    tokio::join!(writer, reader);
}
