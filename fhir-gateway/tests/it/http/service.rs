//! What a gateway says of itself, what it does when the ledger is away, and what stays after a restart.

use reqwest::Method;
use serde_json::json;

use crate::support::{Consortium, FOUNDERS, observation};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn it_says_what_it_is_and_how_it_does() {
    let c = Consortium::of(&FOUNDERS[..2]).await;
    let ehr = c.system("hospital-a");
    let get = async |path: &str| ehr.plain(Method::GET, path, None, &[]).await;
    let metadata = ehr.get("metadata").await;
    vouchsafe_fhir_structure::check("CapabilityStatement", &metadata.body).unwrap();
    assert_eq!(get("/healthz").await.expect(200)["status"], "ok");
    let ready = get("/readyz").await.expect(200);
    for dependency in ["ledger", "store", "blobs", "keystore"] {
        assert_eq!(ready["dependencies"][dependency]["ready"], true, "{ready}");
    }
    assert!(get("/").await.text().contains("one embedded node without fault tolerance"));
    let smart = get("/.well-known/smart-configuration").await.expect(200);
    assert_eq!(smart["token_endpoint"], json!(format!("{}/auth/token", ehr.base)));
    ehr.get("Patient").await.expect(200);
    let metrics = get("/metrics").await.text();
    assert!(metrics.contains("vouchsafe_calls_total{kind=\"search\",class=\"2xx\"} 1"), "{metrics}");
    assert!(metrics.contains("vouchsafe_tokens_total 1"), "{metrics}");
    assert_eq!(get("/nothing").await.refusal().0, 404);
    assert_eq!(get("/ipfs/nonsense?format=raw").await.refusal().0, 400);
    let post = ehr.plain(Method::POST, "/healthz", None, &[]).await;
    assert_eq!((post.refusal().0, post.header("allow")), (405, "GET"));
    c.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_the_ledger_writes_wait_and_the_own_chart_stays_open() {
    let c = Consortium::of(&FOUNDERS[..2]).await;
    let ehr = c.system("hospital-a");
    let patient = c.chart("hospital-a", "Away").await;
    let id = ehr.post("Observation", &observation(&patient, "4548-4", "2026-01-01")).await.created();
    c.chain.clone().stop().await;
    let refused = ehr.post("Observation", &observation(&patient, "4548-4", "2026-01-02")).await;
    assert_eq!(refused.refusal().0, 503);
    assert!(!refused.header("retry-after").is_empty());
    assert_eq!(ehr.get(&format!("Observation/{id}")).await.status, 200);
    assert_eq!(ehr.get("Observation").await.expect(200)["total"].to_string(), "1", "nothing was stored");
    c.advance_alone(11_000);
    let ready = ehr.plain(Method::GET, "/readyz", None, &[]).await;
    assert_eq!(ready.status, 503);
    assert_eq!(ready.json()["dependencies"]["ledger"]["ready"], false);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn records_and_sign_ins_stay_after_a_restart() {
    let mut c = Consortium::of(&FOUNDERS[..2]).await;
    let (patient, chart) = c.patient("hospital-a", "Stay").await;
    let id = c.system("hospital-a").post("Observation", &observation(&chart, "1", "2026-01-01")).await.created();
    c.stop("hospital-a").await;
    c.launch("hospital-a").await;
    let client = c.person(&patient, "hospital-a");
    assert_eq!(client.get(&format!("Observation/{id}")).await.status, 200);
    c.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_reads_is_in_the_audit_log_and_reading_the_log_too() {
    let c = Consortium::of(&FOUNDERS[..2]).await;
    let ehr = c.system("hospital-a");
    let (patient, chart) = c.patient("hospital-a", "Audited").await;
    let id = ehr.post("Observation", &observation(&chart, "4548-4", "2026-01-01")).await.created();
    let (doctor, _) = c.doctor("hospital-a").await;
    let reads = c.person(&doctor, "hospital-a");
    reads.get(&format!("Observation/{id}")).await.expect(200);
    let client = c.person(&patient, "hospital-a");
    let path = format!("AuditEvent?patient={chart}&_count=100");
    let events = client.get(&path).await;
    let bundle = events.expect(200);
    vouchsafe_fhir_structure::check("Bundle", &events.body).unwrap();
    let by_doctor = |text: &str| text.matches(&doctor.account.to_string()).count();
    assert!(by_doctor(&events.text()) >= 1, "{}", events.text());
    let before = bundle["total"].to_string().parse::<u64>().unwrap();
    let after = client.get(&path).await.expect(200)["total"].to_string().parse::<u64>().unwrap();
    assert_eq!(after, before + 1, "the first reading of the log is in the second");
    // The doctor sees the own acts only.
    let own = reads.get(&path).await.expect(200);
    assert!(own["entry"].as_array().unwrap().iter().all(|e| e.to_string().contains(&doctor.account.to_string())));
    let event = own["entry"][0]["resource"]["id"].as_str().unwrap().to_owned();
    reads.get(&format!("AuditEvent/{event}")).await.expect(200);

    let provenance = client.get(&format!("Provenance?target=Observation/{id}")).await;
    assert_eq!(provenance.expect(200)["total"].to_string(), "1");
    vouchsafe_fhir_structure::check("Bundle", &provenance.body).unwrap();
    client.get(&format!("Provenance/{id}.1")).await.expect(200);
    assert_eq!(client.get(&format!("Provenance/{id}.2")).await.refusal().0, 404);
    let proof = client.get(&format!("Observation/{id}/$proof")).await.expect(200);
    let (proof, genesis) = vouchsafe_gateway::proof::from_parameters(&proof).unwrap();
    let vouchsafe_gateway::proof::AnyProof::Record(proof) = proof else { panic!("not a record's proof") };
    let trust = vouchsafe_node::verify::Trust::new(&genesis, c.genesis.body.digest()).unwrap();
    proof.verify(&trust).unwrap();
    let directory = client.get(&format!("Patient/{chart}/$directory")).await.expect(200);
    assert!(directory.to_string().contains("\"entry\""), "{directory}");
    assert_eq!(reads.get(&format!("Patient/{chart}/$directory")).await.refusal().0, 403);
    c.end().await;
}
