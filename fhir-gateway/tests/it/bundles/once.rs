//! `Idempotency-Key`: what is sent again is done once.

use futures::future::join_all;
use serde_json::json;

use super::{bundle, count, delete, hospital, if_none, post, statuses, ward};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_request_that_is_sent_again_is_answered_as_before_and_does_nothing() {
    let (mut c, ehr) = hospital().await;
    let key = [("idempotency-key", "one")];
    let first = ehr.post_with("Location", &ward("1"), &key).await;
    let id = first.created();
    assert_eq!(first.header("idempotency-replayed"), "");
    for _ in 0..2 {
        let again = ehr.post_with("Location", &ward("1"), &key).await;
        assert_eq!(again.expect(201)["id"], json!(id));
        for name in ["location", "etag", "last-modified"] {
            assert_eq!(again.header(name), first.header(name));
        }
        assert_eq!(again.header("idempotency-replayed"), "true");
        // A restart forgets nothing of it.
        c.stop("hospital-a").await;
        c.launch("hospital-a").await;
        ehr.forget();
    }
    assert_eq!(count(&ehr, "Location").await, "1");
    // Another request under the same name: another body, address, method or condition.
    let reused = (422, "key-reused".to_owned());
    assert_eq!(ehr.post_with("Location", &ward("2"), &key).await.refusal(), reused);
    assert_eq!(ehr.post_with("Observation", &ward("1"), &key).await.status, 400);
    let conditional = [("idempotency-key", "one"), ("if-none-exist", "identifier=urn:test|1")];
    assert_eq!(ehr.post_with("Location", &ward("1"), &conditional).await.refusal(), reused);
    assert_eq!(delete(&ehr, &format!("Location/{id}"), &key).await.refusal(), reused);
    // The name is the client's own.
    assert_eq!(c.desk("hospital-a").post_with("Location", &ward("1"), &key).await.status, 201);
    let long = "k".repeat(256);
    for bad in ["", "a b", long.as_str()] {
        assert_eq!(ehr.post_with("Location", &ward("1"), &[("idempotency-key", bad)]).await.refusal().0, 400, "{bad}");
    }
    assert_eq!(ehr.post_with("Consent", &ward("1"), &key).await.status, 403);
    assert_eq!(count(&ehr, "Location").await, "2");
    c.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn updates_deletes_and_conditions_are_done_once() {
    let (c, ehr) = hospital().await;
    let id = ehr.post("Location", &ward("1")).await.created();
    let path = format!("Location/{id}");
    let mut body = ward("1");
    body["id"] = json!(id);
    for _ in 0..3 {
        let headers = [("idempotency-key", "put"), ("if-match", "W/\"1\"")];
        let updated = ehr.put(&path, &body, &headers).await;
        assert_eq!(updated.expect(200)["meta"]["versionId"], "2");
        let unless = if_none("1");
        let create = [("idempotency-key", "found"), ("if-none-exist", unless.as_str())];
        assert_eq!(ehr.post_with("Location", &ward("1"), &create).await.expect(200)["id"], json!(id));
    }
    for _ in 0..3 {
        let deleted = delete(&ehr, &path, &[("idempotency-key", "delete"), ("if-match", "W/\"2\"")]).await;
        assert_eq!((deleted.status, deleted.header("etag")), (204, "W/\"3\""));
    }
    // That there was one is what it was answered, though it is deleted now.
    let unless = if_none("1");
    let create = [("idempotency-key", "found"), ("if-none-exist", unless.as_str()), ("prefer", "return=minimal")];
    assert_eq!(ehr.post_with("Location", &ward("1"), &create).await.status, 200);
    assert_eq!(count(&ehr, "Location").await, "0");
    c.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn eight_at_once_under_one_name_make_one() {
    let (c, ehr) = hospital().await;
    let body = ward("1");
    let key = [("idempotency-key", "one")];
    let answers = join_all((0..8).map(|_| ehr.post_with("Location", &body, &key))).await;
    let ids: std::collections::BTreeSet<String> = answers.iter().map(|answer| answer.created()).collect();
    assert_eq!(ids.len(), 1);
    assert_eq!(answers.iter().filter(|answer| answer.header("idempotency-replayed") == "true").count(), 7);
    assert_eq!(count(&ehr, "Location").await, "1");
    c.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bundles_are_done_once() {
    let (c, ehr) = hospital().await;
    let mut unless = post(&ward("c"));
    unless["request"]["ifNoneExist"] = json!(if_none("c"));
    let entries = [
        post(&ward("1")),
        unless.clone(),
        unless,
        json!({ "request": { "method": "DELETE", "url": "Location/nobody" } }),
        json!({ "request": { "method": "GET", "url": "Location" } }),
    ];
    for kind in ["transaction", "batch"] {
        let body = bundle(kind, &entries);
        let key = [("idempotency-key", kind)];
        let first = ehr.post_with("", &body, &key).await.expect(200);
        let again = ehr.post_with("", &body, &key).await;
        assert_eq!(again.header("idempotency-replayed"), "true");
        let again = again.expect(200);
        assert_eq!(statuses(&first), statuses(&again), "{kind}");
        for n in 0..3 {
            assert_eq!(first["entry"][n]["response"], again["entry"][n]["response"], "{kind}");
        }
    }
    assert_eq!(count(&ehr, "Location").await, "3", "two of the first entry, one of the second");
    // What was refused in a batch is tried again; what was done is not.
    let mut broken = post(&ward("late"));
    broken["request"] = json!({ "method": "PUT", "url": "Location?identifier=urn:test|late", "ifMatch": "W/\"1\"" });
    let body = bundle("batch", &[post(&ward("2")), broken]);
    let key = [("idempotency-key", "partly")];
    assert_eq!(statuses(&ehr.post_with("", &body, &key).await.expect(200)), ["201", "412"]);
    ehr.post("Location", &ward("late")).await.created();
    assert_eq!(statuses(&ehr.post_with("", &body, &key).await.expect(200)), ["201", "200"]);
    assert_eq!(statuses(&ehr.post_with("", &body, &key).await.expect(200)), ["201", "200"]);
    assert_eq!(count(&ehr, "Location").await, "5");
    c.end().await;
}
