//! Imports into a server of a few lines that keeps R4's rules for transactions and can be made to fail.

use std::{
    collections::{HashMap, HashSet},
    fs,
    path::PathBuf,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use axum::{
    Json, Router,
    body::Bytes,
    extract::State,
    http::{HeaderMap, StatusCode},
    response::{IntoResponse, Response},
    routing::{get, post},
};
use serde_json::{Value, json};

use super::{Gateway, Import, Most, journal};

/// What the server holds and how it fails.
#[derive(Default)]
struct Server {
    /// `Type/id` → the resource.
    stored: Mutex<HashMap<String, Value>>,
    /// Idempotency-Key → the answer.
    answers: Mutex<HashMap<String, Value>>,
    /// Entries of each transaction that was done.
    done: Mutex<Vec<usize>>,
    /// So many transactions are answered 503 first.
    busy: AtomicUsize,
    /// So many are done, and their answers lost.
    unheard: AtomicUsize,
    /// After so many no transaction is ever answered.
    dies_after: Option<usize>,
}

type Shared = State<Arc<Server>>;

fn take(counter: &AtomicUsize) -> bool {
    counter.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |n| n.checked_sub(1)).is_ok()
}

async fn transaction(State(server): Shared, headers: HeaderMap, body: Bytes) -> Response {
    if take(&server.busy) {
        return (StatusCode::SERVICE_UNAVAILABLE, [("retry-after", "1")]).into_response();
    }
    if server.dies_after.is_some_and(|n| server.done.lock().unwrap().len() >= n) {
        std::future::pending::<()>().await;
    }
    let key = headers["idempotency-key"].to_str().unwrap().to_owned();
    if let Some(answer) = server.answers.lock().unwrap().get(&key) {
        return Json(answer.clone()).into_response();
    }
    let bundle: Value = serde_json::from_slice(&body).unwrap();
    match store(&server, &bundle) {
        Ok(answer) => {
            server.answers.lock().unwrap().insert(key, answer.clone());
            if take(&server.unheard) {
                return StatusCode::GATEWAY_TIMEOUT.into_response();
            }
            Json(answer).into_response()
        }
        Err((number, what)) => {
            let place = format!("Bundle.entry[{number}].resource.{what}");
            let issue = json!({ "severity": "error", "code": "invalid", "expression": [place],
                "details": { "text": "not of R4" } });
            let outcome = json!({ "resourceType": "OperationOutcome", "issue": [issue] });
            (StatusCode::UNPROCESSABLE_ENTITY, Json(outcome)).into_response()
        }
    }
}

/// All or nothing: an Observation needs a status, and a reference names an entry or something stored.
fn store(server: &Server, bundle: &Value) -> Result<Value, (usize, &'static str)> {
    let entries = bundle["entry"].as_array().unwrap();
    let mut stored = server.stored.lock().unwrap();
    let mut names = HashMap::new();
    for (n, entry) in entries.iter().enumerate() {
        let kind = entry["resource"]["resourceType"].as_str().unwrap();
        let id = format!("{kind}/new{}", stored.len() + n);
        names.insert(entry["fullUrl"].as_str().unwrap_or_default(), id);
    }
    let mut made = Vec::new();
    for (n, entry) in entries.iter().enumerate() {
        let mut resource = entry["resource"].clone();
        if resource["resourceType"] == "Observation" && resource["status"].is_null() {
            return Err((n, "status"));
        }
        let reference = resource["subject"]["reference"].as_str().unwrap_or_default().to_owned();
        let absolute = format!("https://import.invalid/fhir/{reference}");
        let target = names.get(reference.as_str()).or_else(|| names.get(absolute.as_str())).cloned();
        let target = target.or_else(|| stored.contains_key(&reference).then(|| reference.clone()));
        match target {
            _ if reference.is_empty() => {}
            Some(target) => resource["subject"]["reference"] = target.into(),
            None => return Err((n, "subject.reference")),
        }
        made.push((names[entry["fullUrl"].as_str().unwrap_or_default()].clone(), resource));
    }
    let responses: Vec<Value> = made
        .iter()
        .map(|(name, _)| json!({ "response": { "status": "201", "location": format!("{name}/_history/1") } }))
        .collect();
    server.done.lock().unwrap().push(made.len());
    stored.extend(made);
    Ok(json!({ "resourceType": "Bundle", "type": "transaction-response", "entry": responses }))
}

async fn metadata() -> Json<Value> {
    let resource: Vec<Value> = ["Patient", "Observation"]
        .iter()
        .map(|t| json!({ "type": t, "interaction": [{ "code": "create" }] }))
        .collect();
    Json(json!({ "resourceType": "CapabilityStatement", "rest": [{ "resource": resource }] }))
}

struct Site {
    server: Arc<Server>,
    base: String,
    dir: tempfile::TempDir,
}

impl Site {
    async fn new(server: Server) -> Self {
        let server = Arc::new(server);
        let app = Router::new().route("/fhir", post(transaction)).route("/fhir/metadata", get(metadata));
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let base = format!("http://{}/fhir", listener.local_addr().unwrap());
        let app = app.with_state(Arc::clone(&server));
        tokio::spawn(async move { axum::serve(listener, app).await.unwrap() });
        Self { server, base, dir: tempfile::tempdir().unwrap() }
    }

    fn write(&self, name: &str, text: &str) -> PathBuf {
        fs::create_dir_all(self.dir.path().join("data")).unwrap();
        let path = self.dir.path().join("data").join(name);
        fs::write(&path, text).unwrap();
        path
    }

    async fn import(&self, entries: usize) -> Import {
        let gateway = Gateway::new(&reqwest::Client::new(), &self.base, None);
        let most = Most { entries, bytes: 1 << 20 };
        Import::new(gateway, b"secret", Some(self.dir.path()), 3, most).await.unwrap()
    }

    /// Runs an import and gives what it tells.
    async fn run(&self, entries: usize) -> Value {
        let import = self.import(entries).await;
        import.run(&[self.dir.path().join("data")]).await.unwrap();
        import.tally.to_json()
    }

    fn stored(&self) -> usize {
        self.server.stored.lock().unwrap().len()
    }

    /// Each reference names something stored, and no value is stored twice.
    fn is_whole(&self) {
        let stored = self.server.stored.lock().unwrap();
        let mut values = HashSet::new();
        for resource in stored.values() {
            if let Some(reference) = resource["subject"]["reference"].as_str() {
                assert!(stored.contains_key(reference), "{reference} dangles");
            }
            assert!(values.insert(resource["identifier"][0]["value"].to_string()), "stored twice: {resource}");
        }
    }
}

fn observation(number: usize, subject: &str) -> Value {
    json!({ "resourceType": "Observation", "id": format!("o{number}"), "status": "final",
        "identifier": [{ "value": format!("o{number}") }], "subject": { "reference": subject } })
}

fn entry(number: usize, resource: &Value) -> Value {
    let kind = &resource["resourceType"];
    json!({ "fullUrl": format!("urn:uuid:{number}"), "resource": resource, "request": { "method": "POST", "url": kind } })
}

/// A Bundle of observations whose patient comes last, and a Provenance.
fn bundle(count: usize) -> Value {
    let mut entries: Vec<Value> = (0..count).map(|n| entry(n, &observation(n, "urn:uuid:1000"))).collect();
    let patient = json!({ "resourceType": "Patient", "identifier": [{ "value": "Zwiebelhofer" }] });
    entries.push(entry(1000, &patient));
    entries.push(entry(1001, &json!({ "resourceType": "Provenance" })));
    json!({ "resourceType": "Bundle", "type": "transaction", "entry": entries })
}

#[tokio::test]
async fn a_bundle_is_split_and_its_references_hold() {
    let site = Site::new(Server::default()).await;
    site.write("a.json", &bundle(25).to_string());
    let told = site.run(10).await;
    assert_eq!((&told["stored"], &told["left_out"], &told["refused"]), (&json!(26), &json!(1), &json!(0)), "{told}");
    assert_eq!(*site.server.done.lock().unwrap().iter().max().unwrap(), 10);
    assert_eq!(site.server.done.lock().unwrap().len(), 3);
    site.is_whole();
    // What is whole is not even read again.
    let told = site.run(10).await;
    assert_eq!((&told["stored"], &told["already_there"]), (&json!(0), &json!(26)));
    assert_eq!(site.stored(), 26);
}

#[tokio::test]
async fn a_refused_entry_and_what_depends_on_it_are_set_aside_and_the_rest_goes_in() {
    let site = Site::new(Server::default()).await;
    let mut bundle = bundle(20);
    bundle["entry"][7]["resource"].as_object_mut().unwrap().remove("status");
    bundle["entry"][9]["resource"]["subject"]["reference"] = "urn:uuid:7".into();
    bundle["entry"][3]["resource"]["subject"]["reference"] = "urn:uuid:9".into();
    site.write("a.json", &bundle.to_string());
    for entries in [100, 6] {
        let told = site.run(entries).await;
        let stored = told["stored"].as_u64().unwrap() + told["already_there"].as_u64().unwrap();
        assert_eq!((stored, &told["refused"]), (18, &json!(3)), "{told}");
        let reasons = told["refused_reasons"].as_array().unwrap();
        let of = |reason: &str| reasons.iter().find(|r| r["reason"] == reason).unwrap();
        let place = of("422 invalid")["places"][0]["place"].as_str().unwrap();
        assert!(place.ends_with("a.json Bundle.entry[7].resource.status"), "{place}");
        assert_eq!(of("refers to an entry that was not stored")["count"], 2);
        site.is_whole();
        assert_eq!(site.stored(), 18, "the second import found everything there");
    }
}

#[tokio::test]
async fn many_wrong_entries_do_not_take_the_others_with_them() {
    let site = Site::new(Server::default()).await;
    let mut bundle = bundle(60);
    for n in (0..60).step_by(3) {
        bundle["entry"][n]["resource"].as_object_mut().unwrap().remove("status");
    }
    site.write("a.json", &bundle.to_string());
    let told = site.run(100).await;
    assert_eq!((&told["stored"], &told["refused"]), (&json!(41), &json!(20)), "{told}");
    site.is_whole();
}

#[tokio::test]
async fn an_import_that_was_interrupted_goes_on_and_stores_nothing_twice() {
    let site = Site::new(Server { dies_after: Some(4), ..Server::default() }).await;
    for name in ["a.json", "b.json"] {
        // Two patients whose bundles are not the same.
        site.write(name, &bundle(30).to_string().replace("\"o", &format!("\"{name}")).replace("Zwiebel", name));
    }
    let import = site.import(5).await;
    let data = [site.dir.path().join("data")];
    let four = async {
        while site.server.done.lock().unwrap().len() < 4 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::select! {
        done = import.run(&data) => panic!("it ended: {done:?}"),
        () = four => {}
    }
    drop(import);
    let before = site.stored();
    assert!(before > 0 && before < 62, "{before}");
    // The server comes back with what it had.
    let again = Server::default();
    *again.stored.lock().unwrap() = std::mem::take(&mut *site.server.stored.lock().unwrap());
    *again.answers.lock().unwrap() = std::mem::take(&mut *site.server.answers.lock().unwrap());
    let back = Site::new(again).await;
    let site = Site { dir: site.dir, ..back };
    let told = site.run(5).await;
    assert_eq!(told["refused"], 0, "{told}");
    assert_eq!(site.stored(), 62);
    site.is_whole();
}

#[tokio::test]
async fn a_lost_answer_and_a_busy_server_make_nothing_twice() {
    let (busy, unheard) = (AtomicUsize::new(1), AtomicUsize::new(2));
    let site = Site::new(Server { busy, unheard, ..Server::default() }).await;
    site.write("a.json", &bundle(25).to_string());
    let began = Instant::now();
    let told = site.run(10).await;
    assert!(began.elapsed() >= Duration::from_secs(1), "Retry-After was not waited for");
    assert_eq!((&told["stored"], site.stored()), (&json!(26), 26));
    site.is_whole();
}

#[tokio::test]
async fn lines_of_a_bulk_export_refer_across_files() {
    let site = Site::new(Server::default()).await;
    let lines =
        |from: usize| (from..from + 20).map(|n| observation(n, "Patient/p").to_string()).collect::<Vec<_>>().join("\n");
    // The file of the patient comes after one that refers to it, and one line is no JSON.
    site.write("a.ndjson", &format!("{}\n\n{{torn\n", lines(0)));
    site.write("b.ndjson", r#"{"resourceType":"Patient","id":"p","identifier":[{"value":"p"}]}"#);
    site.write("c.json", &observation(40, "Patient/p").to_string());
    for already in [0, 22] {
        let told = site.run(8).await;
        assert_eq!((&told["already_there"], &told["refused"]), (&json!(already), &json!(1)), "{told}");
        let place = told["refused_reasons"][0]["places"][0]["place"].as_str().unwrap();
        assert!(place.ends_with("a.ndjson line 22"), "{place}");
        assert_eq!(site.stored(), 22);
        site.is_whole();
    }
}

#[tokio::test]
async fn a_resource_that_several_files_have_is_stored_once() {
    let site = Site::new(Server::default()).await;
    let patient = r#"{"resourceType":"Patient","id":"p","identifier":[{"value":"p"}]}"#;
    site.write("a.ndjson", &format!("{patient}\n{}", observation(1, "Patient/p")));
    site.write("b.ndjson", &format!("{patient}\n{}", observation(2, "Patient/p")));
    site.write("c.ndjson", &patient.replace("\"value\":\"p\"", "\"value\":\"q\""));
    let told = site.run(10).await;
    assert_eq!((&told["stored"], &told["left_out"], &told["refused"]), (&json!(3), &json!(1), &json!(1)), "{told}");
    assert_eq!(told["refused_reasons"][0]["reason"], "another resource has its name");
    site.is_whole();
}

#[tokio::test]
async fn collections_and_searchsets_are_created() {
    let site = Site::new(Server::default()).await;
    let patient = json!({ "resourceType": "Patient", "id": "p", "identifier": [{ "value": "p" }] });
    let entries = json!([
        { "fullUrl": "https://a.example/fhir/Observation/o1", "resource": observation(1, "urn:uuid:2") },
        { "fullUrl": "urn:uuid:2", "resource": patient },
        { "resource": { "resourceType": "OperationOutcome" }, "search": { "mode": "outcome" } },
    ]);
    site.write("a.json", &json!({ "resourceType": "Bundle", "type": "searchset", "entry": entries }).to_string());
    let told = site.run(10).await;
    assert_eq!((&told["stored"], &told["refused"], &told["left_out"]), (&json!(2), &json!(0), &json!(1)), "{told}");
    site.is_whole();
}

#[tokio::test]
async fn the_journal_tells_nothing_of_what_was_imported() {
    let site = Site::new(Server::default()).await;
    site.write("zwiebelhofer.json", &bundle(25).to_string());
    site.run(10).await;
    let text = fs::read_to_string(site.dir.path().join(journal::FILE)).unwrap();
    assert!(!text.is_empty());
    for word in ["zwiebel", "Zwiebel", "Observation", "Patient", "urn:", "data"] {
        assert!(!text.contains(word), "{word} is in the journal");
    }
}
