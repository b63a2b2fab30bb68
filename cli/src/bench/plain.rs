//! The baseline of `bench gateway`: a plain store of FHIR shape on the same web framework and the same database, which
//! commits with an fsync for each group of writes and does nothing else: no sealing, no anchors, no audit, no consent, no
//! check of structure. What Vouchsafe's promises cost is the ratio to this.

use std::{
    collections::HashMap,
    net::SocketAddr,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use axum::{
    Router,
    body::Bytes,
    extract::{DefaultBodyLimit, Path as Segments, Query, State},
    http::{StatusCode, header},
    response::{IntoResponse, Response},
    routing::{get, post},
};
use redb::{Database, ReadableDatabase, TableDefinition};
use serde_json::{Value, json};
use tokio::{
    net::TcpListener,
    sync::{mpsc, oneshot},
};

use crate::exit::{Context, Kind, Outcome};

/// `Type/id` → the resource.
const RECORDS: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("records");
/// Type, patient, date and id, separated by a byte that none contains → nothing.
const FOUND_BY: TableDefinition<'_, &str, ()> = TableDefinition::new("by-date");

const FHIR_JSON: &str = "application/fhir+json; charset=utf-8";
/// Writes that wait at once; more wait at the sender.
const QUEUE: usize = 4096;

/// Serves until the process is ended.
pub(crate) async fn serve(home: &Path, listen: SocketAddr) -> Outcome {
    std::fs::create_dir_all(home).doing(Kind::Error, || home.display().to_string())?;
    let store = Store::open(&home.join("plain.redb"))?;
    let app = Router::new()
        .route("/fhir", post(transaction))
        .route("/fhir/{type}", post(create).get(search))
        .route("/fhir/{type}/{id}", get(read))
        .layer(DefaultBodyLimit::max(64 << 20))
        .with_state(store);
    let listener = TcpListener::bind(listen).await.doing(Kind::Unavailable, || listen.to_string())?;
    let addr = listener.local_addr().doing(Kind::Unavailable, || "an address".into())?;
    tell(addr);
    use axum::serve::ListenerExt;
    let listener = listener.tap_io(|io| {
        // Small answers must not wait for the acknowledgement of those before.
        let _ = io.set_nodelay(true);
    });
    axum::serve(listener, app).await.doing(Kind::Unavailable, || addr.to_string())
}

#[allow(clippy::print_stdout, reason = "the address is the data that this command prints")]
fn tell(addr: SocketAddr) {
    println!("{}", json!({ "base": format!("http://{addr}/fhir") }));
}

/// What is written in one group with others.
struct Job {
    rows: Vec<Row>,
    done: oneshot::Sender<bool>,
}

struct Row {
    name: String,
    bytes: Vec<u8>,
    /// Under which keys it is found.
    found_by: Vec<String>,
}

struct Store {
    db: Arc<Database>,
    jobs: mpsc::Sender<Job>,
    ids: AtomicU64,
}

type Shared = State<Arc<Store>>;

impl Store {
    fn open(file: &Path) -> Outcome<Arc<Self>> {
        let db = Database::builder().set_cache_size(64 << 20).create(file);
        let db = Arc::new(db.doing(Kind::Error, || file.display().to_string())?);
        let (jobs, receive) = mpsc::channel(QUEUE);
        let writer = Arc::clone(&db);
        std::thread::spawn(move || write(&writer, receive));
        let store = Self { db, jobs, ids: AtomicU64::new(1) };
        Ok(Arc::new(store))
    }

    fn new_id(&self) -> String {
        format!("{:016x}", self.ids.fetch_add(1, Ordering::Relaxed))
    }

    async fn put(&self, rows: Vec<Row>) -> bool {
        let (done, committed) = oneshot::channel();
        self.jobs.send(Job { rows, done }).await.is_ok() && committed.await.unwrap_or(false)
    }

    fn bytes(&self, name: &str) -> Option<Vec<u8>> {
        let table = self.db.begin_read().ok()?.open_table(RECORDS).ok()?;
        Some(table.get(name).ok()??.value().to_vec())
    }
}

/// One commit for all that waits.
fn write(db: &Database, mut jobs: mpsc::Receiver<Job>) {
    while let Some(first) = jobs.blocking_recv() {
        let mut group = vec![first];
        while let Ok(job) = jobs.try_recv() {
            group.push(job);
        }
        let committed = commit(db, &group).is_ok();
        for job in group {
            // Who waited may have gone.
            let _ = job.done.send(committed);
        }
    }
}

fn commit(db: &Database, group: &[Job]) -> Result<(), redb::Error> {
    let tx = db.begin_write()?;
    {
        let mut records = tx.open_table(RECORDS)?;
        let mut found_by = tx.open_table(FOUND_BY)?;
        for row in group.iter().flat_map(|j| &j.rows) {
            records.insert(row.name.as_str(), row.bytes.as_slice())?;
            for key in &row.found_by {
                found_by.insert(key.as_str(), ())?;
            }
        }
    }
    tx.commit()?;
    Ok(())
}

/// Gives a resource its id and version, and its place in the index.
fn row(id: &str, mut resource: Value) -> Option<Row> {
    let kind = resource["resourceType"].as_str()?.to_owned();
    let patient = ["subject", "patient"].iter().find_map(|m| resource[*m]["reference"].as_str());
    let date = ["effectiveDateTime", "onsetDateTime", "authoredOn", "date"].iter().find_map(|m| resource[*m].as_str());
    let date = date.or_else(|| resource["period"]["start"].as_str());
    let by_date = patient.zip(date).map(|(patient, date)| format!("{kind}\0{patient}\0{date}\0{id}"));
    let identifiers = resource["identifier"].as_array().into_iter().flatten();
    let by_identifier = identifiers.filter_map(|one| Some(format!("{kind}\0{}\0{id}", one["value"].as_str()?)));
    let found_by = by_identifier.chain(by_date).collect();
    resource["id"] = id.into();
    resource["meta"] = json!({ "versionId": "1", "lastUpdated": "2026-01-01T00:00:00Z" });
    Some(Row { name: format!("{kind}/{id}"), bytes: serde_json::to_vec(&resource).ok()?, found_by })
}

async fn create(State(store): Shared, Segments(kind): Segments<String>, body: Bytes) -> Response {
    let resource: Option<Value> = serde_json::from_slice(&body).ok();
    let resource = resource.filter(|r| r["resourceType"] == *kind);
    let Some(row) = resource.and_then(|r| row(&store.new_id(), r)) else {
        return StatusCode::BAD_REQUEST.into_response();
    };
    let (location, bytes) = (format!("{}/_history/1", row.name), row.bytes.clone());
    if !store.put(vec![row]).await {
        return StatusCode::SERVICE_UNAVAILABLE.into_response();
    }
    (StatusCode::CREATED, [(header::LOCATION, location), (header::CONTENT_TYPE, FHIR_JSON.to_owned())], bytes)
        .into_response()
}

async fn read(State(store): Shared, Segments((kind, id)): Segments<(String, String)>) -> Response {
    match store.bytes(&format!("{kind}/{id}")) {
        Some(bytes) => ([(header::CONTENT_TYPE, FHIR_JSON), (header::ETAG, "W/\"1\"")], bytes).into_response(),
        None => StatusCode::NOT_FOUND.into_response(),
    }
}

async fn search(
    State(store): Shared,
    Segments(kind): Segments<String>,
    Query(query): Query<Vec<(String, String)>>,
) -> Response {
    match page(&store, &kind, &query) {
        Some(bytes) => ([(header::CONTENT_TYPE, FHIR_JSON)], bytes).into_response(),
        None => StatusCode::BAD_REQUEST.into_response(),
    }
}

/// The first page of the resources of a type with an identifier, or of a patient's whose date lies within the bounds.
fn page(store: &Store, kind: &str, query: &[(String, String)]) -> Option<Vec<u8>> {
    let value = |name: &str| query.iter().find(|(n, _)| n == name).map(|(_, v)| v.as_str());
    let bound = |prefix: &str| query.iter().filter(|(n, _)| n == "date").find_map(|(_, v)| v.strip_prefix(prefix));
    let count: usize = value("_count").map_or(Some(50), |c| c.parse().ok())?;
    let (from, to) = match value("identifier") {
        Some(identifier) => {
            let value = identifier.rsplit('|').next()?;
            (format!("{kind}\0{value}\0"), format!("{kind}\0{value}\0\u{7f}"))
        }
        None => {
            let patient = value("patient")?;
            let patient = if patient.contains('/') { patient.to_owned() } else { format!("Patient/{patient}") };
            let from = format!("{kind}\0{patient}\0{}", bound("ge").unwrap_or_default());
            (from, format!("{kind}\0{patient}\0{}\u{7f}", bound("le").unwrap_or("\u{7f}")))
        }
    };
    let table = store.db.begin_read().ok()?.open_table(FOUND_BY).ok()?;
    let mut total = 0_usize;
    let mut entries = Vec::new();
    for key in table.range(from.as_str()..to.as_str()).ok()? {
        let key = key.ok()?;
        if total < count {
            let name = format!("{kind}/{}", key.0.value().rsplit('\0').next()?);
            if total > 0 {
                entries.push(b',');
            }
            entries.extend(format!(r#"{{"fullUrl":"{name}","resource":"#).bytes());
            entries.extend(store.bytes(&name)?);
            entries.extend(br#","search":{"mode":"match"}}"#);
        }
        total += 1;
    }
    let mut out = format!(r#"{{"resourceType":"Bundle","type":"searchset","total":{total},"entry":["#).into_bytes();
    out.extend(entries);
    out.extend(b"]}");
    Some(out)
}

/// A transaction Bundle of creates: entries refer to each other by fullUrl.
async fn transaction(State(store): Shared, body: Bytes) -> Response {
    let parsed: Option<Value> = serde_json::from_slice(&body).ok();
    let Some(rows) = parsed.and_then(|bundle| rows(&store, bundle)) else {
        return StatusCode::BAD_REQUEST.into_response();
    };
    let entry: Vec<Value> = rows
        .iter()
        .map(|row| json!({ "response": { "status": "201", "location": format!("{}/_history/1", row.name) } }))
        .collect();
    if !store.put(rows).await {
        return StatusCode::SERVICE_UNAVAILABLE.into_response();
    }
    let bundle = json!({ "resourceType": "Bundle", "type": "transaction-response", "entry": entry });
    ([(header::CONTENT_TYPE, FHIR_JSON)], bundle.to_string()).into_response()
}

fn rows(store: &Store, mut bundle: Value) -> Option<Vec<Row>> {
    let entries = bundle["entry"].as_array_mut()?;
    let mut names = HashMap::new();
    let mut resources = Vec::new();
    for entry in entries {
        let resource = entry["resource"].take();
        let id = store.new_id();
        if let Some(url) = entry["fullUrl"].as_str() {
            names.insert(url.to_owned(), format!("{}/{id}", resource["resourceType"].as_str()?));
        }
        resources.push((id, resource));
    }
    let resolved = resources.into_iter().map(|(id, mut resource)| {
        resolve(&mut resource, &names);
        row(&id, resource)
    });
    resolved.collect()
}

fn resolve(value: &mut Value, names: &HashMap<String, String>) {
    match value {
        Value::Object(members) => {
            for (key, member) in members.iter_mut() {
                match member {
                    Value::String(text) if key == "reference" => {
                        if let Some(name) = names.get(text.as_str()) {
                            text.clone_from(name);
                        }
                    }
                    other => resolve(other, names),
                }
            }
        }
        Value::Array(items) => items.iter_mut().for_each(|item| resolve(item, names)),
        _ => {}
    }
}
