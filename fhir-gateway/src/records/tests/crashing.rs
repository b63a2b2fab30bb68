//! At each failpoint: what was acknowledged is there, nothing dangles, nothing comes twice, and a retry is answered.

use std::sync::Arc;

use futures::future::join_all;

use crate::{
    failpoint::{self, Failpoints},
    records::{ActKind, Submission, SubmitError, Written},
    seal::{Aad, DataKey, record},
    testing::{Consortium, Site, copy_dir, observation},
};

use super::submitting::{act, create, family, once, submission, whole};

/// Those that are reached only when a group is refused, and only at a start.
const REFUSALS: [&str; 3] = [failpoint::REFUSED, failpoint::WITHOUT_BLOBS, failpoint::DISCARDED];
const STARTS: [&str; 3] = [failpoint::RECOVERING, failpoint::RECOVERED, failpoint::SWEEPING];

/// A load that goes through every step; what was acknowledged of it.
async fn load(site: &Site) -> Vec<Written> {
    let mut acknowledged = Vec::new();
    for n in 0..4u8 {
        let (chart, acts) = family(3);
        let observed = acts[1].id;
        let steps = [
            once(acts, n, 1),
            submission(vec![act(observed, ActKind::Update { if_match: Some(1) }, observation(chart, "new"))]),
            submission(vec![crate::records::Act::delete(observed, "Observation".into(), chart, Some(2))]),
            Submission {
                session: Some(vouchsafe_types::SessionId([9; 16])),
                ..submission(vec![create(observation(chart, "no"))])
            },
        ];
        for step in steps {
            match site.records.submit(step).await {
                Ok(written) => acknowledged.extend(written),
                Err(SubmitError::Whole(_) | SubmitError::Act { .. }) => {}
                Err(e) => panic!("{e}"),
            }
        }
    }
    acknowledged
}

/// Opens a copy of the home as the crash left it, and looks whether everything is as it must be.
async fn survived(consortium: &Consortium, site: Site, name: &str, acknowledged: &[Written]) {
    let home = consortium.crashed_copy(&site, name);
    site.stop().await;
    let site = consortium.site_on(&home, Arc::new(consortium.ledger.clone())).await;
    whole(&site).await;
    for written in acknowledged {
        let row = site.records.row(&written.row.id, Some(written.row.version.0)).unwrap().unwrap();
        assert_eq!(row.commitment, written.row.commitment, "{name}");
    }
    let mut records = 0;
    for n in 0..4u8 {
        // Each request is there once, whether it was before the crash or is now.
        let retried = site.records.submit(once(family(3).1, n, 1)).await.unwrap();
        assert_eq!(retried.len(), 4, "{name}");
        records += 4;
    }
    let report = whole(&site).await;
    assert_eq!((report.records, report.charts), (records, 5), "{name}");
    site.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_crash_at_every_failpoint_loses_doubles_and_leaves_nothing() {
    for (name, _) in failpoint::POINTS.iter().filter(|(name, _)| !STARTS.contains(name)) {
        for count in [1, 3] {
            let consortium = Consortium::new();
            let points = Failpoints::default();
            let ledger = Arc::new(consortium.ledger.clone());
            let home = consortium.home.path().join("a");
            let site = consortium.failing_site(&home, ledger, points.clone()).await.unwrap();
            points.play(name, count);
            let acknowledged = load(&site).await;
            let refused = REFUSALS.contains(name);
            assert!(acknowledged.len() < 4 * 6, "{name}: it was not reached");
            assert!(refused || count == 1 || !acknowledged.is_empty(), "{name}: nothing came before it");
            survived(&consortium, site, &format!("{name}-{count}"), &acknowledged).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_crash_while_a_crash_is_settled_is_settled_as_well() {
    for left_at in
        [failpoint::IN_OUTBOX, failpoint::BLOBS, failpoint::DURABLE, failpoint::ANCHORED, failpoint::FINISHED]
    {
        let consortium = Consortium::new();
        let ledger = Arc::new(consortium.ledger.clone());
        let home = consortium.home.path().join("a");
        let points = Failpoints::default();
        let mut site = consortium.failing_site(&home, ledger.clone(), points.clone()).await.unwrap();
        points.play(left_at, 3);
        let acknowledged = load(&site).await;
        for (number, name) in STARTS.into_iter().enumerate() {
            let home = consortium.crashed_copy(&site, &format!("{left_at}-{number}"));
            site.stop().await;
            let points = Failpoints::default();
            points.play(name, 1);
            let started = consortium.failing_site(&home, ledger.clone(), points).await;
            // Whether a group is left at the outbox or at the blobs, the other of the two may be done.
            assert!(started.is_err() || name == failpoint::RECOVERED, "{left_at}, {name}: it was not reached");
            site = match started {
                Ok(site) => site,
                Err(_) => {
                    // What was started of the site is not told to stop, and holds its files.
                    let again = home.with_extension("again");
                    copy_dir(&home, &again);
                    consortium.site_on(&again, ledger.clone()).await
                }
            };
        }
        survived(&consortium, site, &format!("{left_at}-all"), &acknowledged).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_crash_amid_groups_that_overlap_is_settled_in_their_order() {
    for name in [failpoint::IN_OUTBOX, failpoint::BLOBS, failpoint::DURABLE, failpoint::ANCHORED, failpoint::VISIBLE] {
        for count in [2, 3] {
            let consortium = Consortium::new();
            let ledger = Arc::new(consortium.ledger.clone());
            let home = consortium.home.path().join("a");
            let points = Failpoints::default();
            let site = consortium.failing_site(&home, ledger.clone(), points.clone()).await.unwrap();
            let chart = site.patient().await.id;
            points.play(name, count);
            let writes = (0..24).map(|n| site.records.create(observation(chart, &n.to_string())));
            let written = join_all(writes).await;
            let home = consortium.crashed_copy(&site, "crashed");
            site.stop().await;
            let site = consortium.site_on(&home, ledger).await;
            whole(&site).await;
            for row in written.into_iter().flatten() {
                assert_eq!(site.records.row(&row.id, None).unwrap().unwrap().commitment, row.commitment, "{name}");
            }
            site.observation(chart, "later").await;
            whole(&site).await;
            site.stop().await;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_blob_that_the_outbox_does_not_know_is_removed_at_a_start() {
    let consortium = Consortium::new();
    let site = consortium.site("a").await;
    let row = site.patient().await;
    let aad = Aad {
        chain: "unit",
        custodian: site.ground.org,
        handle: row.handle,
        record: row.id,
        resource_type: "Patient",
        version: 2,
    };
    let blob = record::seal(&DataKey::generate(), &aad, None, b"a blob whose outbox did not become durable").blob;
    let cid = site.ground.blobs.put(&blob).await.unwrap();
    assert_eq!(site.records.check(false).await.unwrap().faulty, 1);
    site.stop().await;
    let site = consortium.site("a").await;
    assert!(!site.ground.blobs.has(&cid).await.unwrap());
    whole(&site).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_builds_on_a_refused_group_is_made_anew() {
    let consortium = Consortium::new();
    let site = consortium.site("a").await;
    let chart = site.patient().await.id;
    let all = (0..32u8).map(|n| {
        let mut wanted = submission(vec![create(observation(chart, &n.to_string()))]);
        // The ledger knows no such sessions, and each is a group of its own.
        wanted.session = n.is_multiple_of(2).then_some(vouchsafe_types::SessionId([n; 16]));
        site.records.submit(wanted)
    });
    let results = join_all(all).await;
    for (n, result) in results.iter().enumerate() {
        assert_eq!(result.is_ok(), !n.is_multiple_of(2), "{n}: {result:?}");
    }
    assert_eq!(whole(&site).await.records, 17);
}
