//! A submission is done whole or not at all, and once under its key.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use futures::future::join_all;
use vouchsafe_fhir_search::{Context, Handling, Query};
use vouchsafe_types::{Hash32, RecordId};

use crate::{
    policy::Permit,
    records::{
        Act, ActKind, Actor, Condition, Done, Idempotency, Records, Submission, SubmitError, WriteError, Written,
    },
    testing::{Consortium, Site, Write, observation, patient},
};

pub(super) fn act(id: RecordId, kind: ActKind, write: Write) -> Act {
    let Write { resource_type, sealed_form, value, chart, .. } = write;
    Act { id, kind, resource_type, chart, sealed_form, value }
}

pub(super) fn create(write: Write) -> Act {
    act(Records::new_id(), ActKind::Create, write)
}

fn by(client: &str) -> Actor {
    Actor { client: client.into(), account: None, agent: None }
}

pub(super) fn submission(acts: Vec<Act>) -> Submission {
    Submission::new(acts, None, by("ehr"))
}

pub(super) fn once(acts: Vec<Act>, key: u8, request: u8) -> Submission {
    let idempotency = Some(Idempotency { key: Hash32([key; 32]), request: Hash32([request; 32]) });
    Submission { idempotency, ..submission(acts) }
}

/// A Patient and some Observations, in one go.
pub(super) fn family(observations: usize) -> (RecordId, Vec<Act>) {
    let id = Records::new_id();
    let mut acts = vec![act(id, ActKind::Create, patient(id))];
    acts.extend((0..observations).map(|n| create(observation(id, &n.to_string()))));
    (id, acts)
}

pub(super) async fn whole(site: &Site) -> crate::records::CheckReport {
    let report = site.records.check(true).await.unwrap();
    assert_eq!(report.faults, Vec::<String>::new());
    report
}

#[tokio::test(flavor = "multi_thread")]
async fn many_acts_are_one_anchor_and_open_their_chart() {
    let consortium = Consortium::new();
    let site = consortium.site("a").await;
    let (chart, acts) = family(300);
    let written = site.records.submit(submission(acts.clone())).await.unwrap();
    assert_eq!(written.len(), 301);
    let heights: BTreeSet<u64> = written.iter().map(|w| w.row.height.0).collect();
    assert_eq!(heights.len(), 1);
    let permit = Permit::for_tests();
    for (Written { row, what, replayed }, act) in written.iter().zip(&acts) {
        assert_eq!((row.id, *what, *replayed), (act.id, Done::Created, false));
        assert_eq!(*site.records.open(&permit, row).await.unwrap().sealed_form(), *act.sealed_form);
    }
    assert_eq!(site.charts.by_id(&chart).unwrap().id, chart);
    let report = whole(&site).await;
    assert_eq!((report.charts, report.records, report.versions, report.blobs), (2, 301, 301, 301));
}

#[tokio::test(flavor = "multi_thread")]
async fn one_act_that_cannot_be_leaves_nothing_of_its_submission_and_does_not_hurt_others() {
    let consortium = Consortium::new();
    let site = consortium.site("a").await;
    let chart = site.patient().await.id;
    let row = site.observation(chart, "0").await;
    let (unborn, mut acts) = family(2);
    let stale = ActKind::Update { if_match: Some(7) };
    acts.push(act(row.id, stale, observation(chart, "1")));
    let good: Vec<_> = (0..8).map(|n| submission(vec![create(observation(chart, &n.to_string()))])).collect();
    let all = good.into_iter().chain([submission(acts)]).map(|s| site.records.submit(s));
    let mut results = join_all(all).await;
    let refused = results.pop().unwrap();
    assert!(
        matches!(refused, Err(SubmitError::Act { number: 3, why: WriteError::Conflict { have: 1 } })),
        "{refused:?}"
    );
    assert!(results.iter().all(Result::is_ok));
    assert_eq!(site.charts.by_id(&unborn), None);
    let report = whole(&site).await;
    assert_eq!((report.charts, report.records), (2, 10));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_record_is_written_once_in_a_submission_and_its_size_is_bounded() {
    let consortium = Consortium::new();
    let site = consortium.site("a").await;
    let chart = site.patient().await.id;
    let one = create(observation(chart, "1"));
    let twice = site.records.submit(submission(vec![one.clone(), one])).await;
    assert!(matches!(twice, Err(SubmitError::Act { number: 1, why: WriteError::Twice })), "{twice:?}");
    let many = (0..1_001).map(|n| create(observation(chart, &n.to_string()))).collect();
    let large = site.records.submit(submission(many)).await;
    assert!(matches!(large, Err(SubmitError::Whole(WriteError::TooLarge(_)))), "{large:?}");
    let charts = (0..65).flat_map(|_| family(0).1).collect();
    let wide = site.records.submit(submission(charts)).await;
    assert!(matches!(wide, Err(SubmitError::Whole(WriteError::TooLarge(_)))), "{wide:?}");
    let most = (0..64).flat_map(|_| family(0).1).collect();
    assert_eq!(site.records.submit(submission(most)).await.unwrap().len(), 64);
    assert!(site.records.submit(submission(Vec::new())).await.unwrap().is_empty());
    whole(&site).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_deleted_is_a_tombstone_and_an_update_revives_it() {
    let consortium = Consortium::new();
    let site = consortium.site("a").await;
    let chart = site.patient().await.id;
    let row = site.observation(chart, "1").await;
    let delete = |if_match| Act::delete(row.id, "Observation".into(), chart, if_match);
    let stale = site.records.submit(submission(vec![delete(Some(2))])).await;
    assert!(matches!(stale, Err(SubmitError::Act { why: WriteError::Conflict { have: 1 }, .. })), "{stale:?}");
    let deleted = site.records.submit(submission(vec![delete(Some(1))])).await.unwrap().remove(0);
    assert_eq!((deleted.what, deleted.row.version.0, deleted.row.tombstone), (Done::Deleted, 2, true));
    assert_eq!(deleted.row.category(), row.category());
    let latest = site.records.row(&row.id, None).unwrap().unwrap();
    assert_eq!(latest, deleted.row);
    // What is proved of it is that it is deleted.
    let parts = site.records.proof(&Permit::for_tests(), &latest).await.unwrap();
    assert!(parts.leaf.tombstone && parts.entry.tombstone && parts.sealed_form.is_empty());
    let again = site.records.submit(submission(vec![delete(None)])).await;
    assert!(matches!(again, Err(SubmitError::Act { why: WriteError::Deleted, .. })), "{again:?}");
    let unknown = Act::delete(Records::new_id(), "Observation".into(), chart, None);
    let unknown = site.records.submit(submission(vec![unknown])).await;
    assert!(matches!(unknown, Err(SubmitError::Act { why: WriteError::NotFound, .. })), "{unknown:?}");
    whole(&site).await;

    let revived = site.records.update(row.id, Some(2), observation(chart, "2")).await.unwrap();
    assert_eq!((revived.version.0, revived.tombstone), (3, false));
    site.records.open(&Permit::for_tests(), &revived).await.unwrap();
    site.records.open(&Permit::for_tests(), &row).await.unwrap();
    whole(&site).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_patient_goes_last_and_nothing_is_written_into_the_chart_of_one_who_is_gone() {
    let consortium = Consortium::new();
    let site = consortium.site("a").await;
    let chart = site.patient().await.id;
    let row = site.observation(chart, "1").await;
    let gone = || Act::delete(chart, "Patient".into(), chart, None);
    let observed = || Act::delete(row.id, "Observation".into(), chart, None);
    let early = site.records.submit(submission(vec![gone()])).await;
    assert!(matches!(early, Err(SubmitError::Act { why: WriteError::NotEmpty, .. })), "{early:?}");
    let with_another = vec![gone(), observed(), create(observation(chart, "2"))];
    let busy = site.records.submit(submission(with_another)).await;
    assert!(matches!(busy, Err(SubmitError::Act { number: 0, why: WriteError::NotEmpty })), "{busy:?}");
    // Both at once, in either order.
    site.records.submit(submission(vec![gone(), observed()])).await.unwrap();
    let late = site.records.create(observation(chart, "3")).await;
    assert!(matches!(late, Err(WriteError::NotFound)), "{late:?}");
    let back = act(chart, ActKind::Update { if_match: None }, patient(chart));
    site.records.submit(submission(vec![create(observation(chart, "4")), back])).await.unwrap();
    site.observation(chart, "5").await;
    whole(&site).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_that_is_repeated_under_its_key_is_done_once() {
    let consortium = Consortium::new();
    let site = consortium.site("a").await;
    let (_, acts) = family(3);
    let first = site.records.submit(once(acts, 1, 1)).await.unwrap();
    // A client that repeats a request has new ids made for it.
    let again = site.records.submit(once(family(3).1, 1, 1)).await.unwrap();
    assert!(again.iter().all(|w| w.replayed));
    assert_eq!(again.iter().map(|w| &w.row).collect::<Vec<_>>(), first.iter().map(|w| &w.row).collect::<Vec<_>>());
    let other = site.records.submit(once(family(1).1, 1, 2)).await;
    assert!(matches!(other, Err(SubmitError::KeyReused)), "{other:?}");
    site.stop().await;

    let site = consortium.site("a").await;
    let again = site.records.submit(once(family(3).1, 1, 1)).await.unwrap();
    assert_eq!(again[3].row, first[3].row);
    assert_eq!(whole(&site).await.records, 4);
    // After its time the key is forgotten.
    let week = 7 * 24 * 60 * 60 * 1_000;
    let then = consortium.now.fetch_add(week + 1, std::sync::atomic::Ordering::SeqCst) + week;
    while site.ground.ledger.head().time.0 < then {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    site.patient().await;
    site.patient().await;
    assert!(site.ground.db.keys("once", &[]).unwrap().is_empty());
    assert!(site.ground.db.keys("once-by-time", &[]).unwrap().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_thousand_requests_repeated_three_times_at_once_make_a_thousand_records() {
    let consortium = Consortium::new();
    let site = Arc::new(consortium.site("a").await);
    let chart = site.patient().await.id;
    let key = |n: u16| {
        let mut key = [0; 32];
        key[..2].copy_from_slice(&n.to_be_bytes());
        Some(Idempotency { key: Hash32(key), request: Hash32(key) })
    };
    let requests = (0..3_000u16).map(|n| {
        let n = n % 1_000;
        let acts = vec![create(observation(chart, &n.to_string()))];
        // As many clients as there are do not stand in each other's way.
        let by = by(&format!("ehr-{}", n % 10));
        let site = Arc::clone(&site);
        async move { site.records.submit(Submission { idempotency: key(n), by, ..submission(acts) }).await.unwrap() }
    });
    let answers = join_all(requests).await;
    let ids: BTreeSet<RecordId> = answers.iter().map(|written| written[0].row.id).collect();
    assert_eq!(ids.len(), 1_000);
    assert_eq!(answers.iter().filter(|written| written[0].replayed).count(), 2_000);
    assert_eq!(whole(&site).await.records, 1_001);
}

fn without(chart: RecordId, code: &str) -> Condition {
    let pairs = [("code".to_owned(), code.to_owned())];
    let context = Context { base: "http://localhost/fhir", now: 0 };
    let query = Query::parse(Some("Observation"), &pairs, &context, Handling::Strict).unwrap();
    Condition { query: Arc::new(query), charts: Some(vec![chart]), expect: Vec::new() }
}

#[tokio::test(flavor = "multi_thread")]
async fn of_parallel_submissions_on_the_same_condition_one_is_done() {
    let consortium = Consortium::new();
    let site = consortium.site("a").await;
    let chart = site.patient().await.id;
    for round in 1..4 {
        let racing = (0..8).map(|n| {
            let code = if round == 3 { "http://loinc.org|718-7" } else { "http://example.org|none" };
            let conditions = vec![without(chart, code)];
            site.records
                .submit(Submission { conditions, ..submission(vec![create(observation(chart, &n.to_string()))]) })
        });
        let results = join_all(racing).await;
        let done = results.iter().filter(|result| result.is_ok()).count();
        // What is written fulfils no search for another code, and the first of the last round sees all written before.
        assert_eq!(done, if round == 3 { 0 } else { 8 });
        assert!(results.iter().all(|r| matches!(r, Ok(_) | Err(SubmitError::Raced { number: 0 }))), "{results:?}");
    }
    let chart = site.patient().await.id;
    let others =
        (0..16).map(|n| submission(vec![create(observation(site.charts.organization_chart().id, &n.to_string()))]));
    let racing = (0..8).map(|n| Submission {
        conditions: vec![without(chart, "718-7")],
        ..submission(vec![create(observation(chart, &n.to_string()))])
    });
    // Among others that rest on nothing.
    let results = join_all(others.take(8).zip(racing).flat_map(|(a, b)| [a, b]).map(|s| site.records.submit(s))).await;
    let raced = results.iter().filter(|result| matches!(result, Err(SubmitError::Raced { number: 0 }))).count();
    assert_eq!((raced, results.iter().filter(|result| result.is_ok()).count()), (7, 9));
    assert_eq!(site.records.list(&chart, Some("Observation")).unwrap().len(), 1);
    whole(&site).await;
}
