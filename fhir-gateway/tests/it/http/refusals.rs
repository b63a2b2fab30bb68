//! Who is refused what: doctors without standing, patients at others' charts, and those who may not decide.

use serde_json::json;

use vouchsafe_gateway::seal::{DeviceKeys, RsaUnwrap};
use vouchsafe_types::{
    Nonce, Tx,
    jws::{self, Sign},
    tx::{Acceptance, AddDevice, EndKey, Payload},
};

use crate::support::{Consortium, FOUNDERS, Person, observation, parameter, random};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_doctor_acts_only_with_a_verified_credential() {
    let c = Consortium::of(&FOUNDERS[..2]).await;
    let (doctor, _) = c.unverified_doctor("hospital-a").await;
    let client = c.person(&doctor, "hospital-a");
    assert_eq!(client.get("Patient").await.refusal(), (403, "not-verified".into()));
    c.judge(doctor.account, "verify").await;
    assert_eq!(client.get("Patient").await.status, 200);
    // The token is the same; what it is worth is asked of the ledger each time.
    c.judge(doctor.account, "suspend").await;
    assert_eq!(client.get("Patient").await.refusal(), (403, "suspended".into()));
    c.judge(doctor.account, "reinstate").await;
    assert_eq!(client.get("Patient").await.status, 200);
    c.judge(doctor.account, "revoke").await;
    assert_eq!(client.get("Patient").await.refusal(), (403, "credential-revoked".into()));
    c.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_system_acts_for_a_doctor_only_under_a_mandate_of_its_own_organisation() {
    let c = Consortium::of(&FOUNDERS[..3]).await;
    let (doctor, _) = c.doctor("hospital-b").await;
    let mine = c.on_behalf(doctor.account, "hospital-b");
    assert_eq!(mine.get("Patient").await.refusal(), (403, "no-mandate".into()));
    c.mandate(&doctor, "hospital-b").await;
    mine.forget();
    assert_eq!(mine.get("Patient").await.status, 200);
    // A mandate is given by the doctor's own device, never by the agent key itself.
    let path = format!("Practitioner/{}/$mandate/$prepare", doctor.account);
    let parameters = json!({ "resourceType": "Parameters" });
    assert_eq!(mine.post(&path, &parameters).await.refusal(), (403, "device-key-needed".into()));
    let theirs = c.on_behalf(doctor.account, "hospital-a");
    assert_eq!(theirs.get("Patient").await.refusal(), (403, "not-affiliated".into()));
    c.advance(12 * 3_600_000).await;
    mine.forget();
    assert_eq!(mine.get("Patient").await.refusal(), (403, "no-mandate".into()));
    c.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_doctor_ends_a_mandate_and_nobody_elses() {
    let c = Consortium::of(&FOUNDERS[..2]).await;
    let (doctor, _) = c.doctor("hospital-a").await;
    let (other, _) = c.doctor("hospital-a").await;
    c.mandate(&doctor, "hospital-a").await;
    let agent = c.on_behalf(doctor.account, "hospital-a");
    assert_eq!(agent.get("Patient").await.status, 200);
    let parameters = json!({ "resourceType": "Parameters" });
    let path = format!("Practitioner/{}/$end-mandate", doctor.account);
    let theirs = c.person(&other, "hospital-a");
    assert_eq!(other.act(&theirs, &path, &parameters).await.refusal(), (403, "not-the-doctor".into()));
    // What is signed for one call is refused by another.
    let mine = c.person(&doctor, "hospital-a");
    let prepared = mine.post(&format!("{path}/$prepare"), &parameters).await.expect(200);
    let tx = doctor.sign(&prepared);
    let mandate = format!("Practitioner/{}/$mandate", doctor.account);
    assert_eq!(mine.post(&format!("{mandate}/$prepare"), &parameters).await.status, 200);
    let wrong = mine.post_with(&mandate, &parameters, &[("vouchsafe-tx", &tx)]).await;
    assert_eq!(wrong.refusal(), (422, "not-prepared".into()));
    mine.post_with(&path, &parameters, &[("vouchsafe-tx", &tx)]).await.expect(200);
    assert_eq!(agent.get("Patient").await.refusal(), (403, "no-mandate".into()));
    c.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn only_an_authority_decides_on_credentials() {
    let c = Consortium::of(&FOUNDERS[..2]).await;
    let (doctor, record) = c.unverified_doctor("hospital-a").await;
    let parameters = json!({ "resourceType": "Parameters" });
    let ehr = c.system("hospital-a");
    let path = format!("Practitioner/{record}/$verify");
    assert_eq!(ehr.post(&path, &parameters).await.refusal(), (403, "not-allowed".into()));
    // Signed by the doctor: the ledger refuses what is not an authority's.
    let prepared = ehr.post(&format!("{path}/$prepare"), &parameters).await.expect(200);
    let tx = doctor.sign(&prepared);
    let signed = ehr.post_with(&path, &parameters, &[("vouchsafe-tx", &tx)]).await;
    assert_eq!(signed.refusal(), (403, "not-allowed".into()));
    let client = c.person(&doctor, "hospital-a");
    assert_eq!(client.post(&path, &parameters).await.status, 403);
    let desk = c.desk("authority").post(&format!("Practitioner/{}/$verify", doctor.account), &parameters).await;
    assert_eq!(desk.refusal(), (403, "not-allowed".into()));
    let authority = c.system("authority");
    let unknown = authority.post("Practitioner/00000000000000000000000000000000/$verify", &parameters).await;
    assert_eq!(unknown.refusal().0, 404);
    let result = authority.post(&format!("Practitioner/{}/$verify", doctor.account), &parameters).await.expect(200);
    assert_eq!((&result["resourceType"], &result["status"]), (&json!("VerificationResult"), &json!("validated")));
    let again = authority.post(&format!("Practitioner/{}/$verify", doctor.account), &parameters).await;
    assert_eq!(again.refusal(), (409, "bad-transition".into()));
    c.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_patient_sees_the_own_chart_and_cannot_tell_what_else_there_is() {
    let c = Consortium::of(&FOUNDERS[..2]).await;
    let ehr = c.system("hospital-a");
    let (patient, mine) = c.patient("hospital-a", "Own").await;
    let other = c.chart("hospital-a", "Other").await;
    let ours = ehr.post("Observation", &observation(&mine, "4548-4", "2026-01-01")).await.created();
    let theirs = ehr.post("Observation", &observation(&other, "4548-4", "2026-01-01")).await.created();
    let client = c.person(&patient, "hospital-a");
    assert_eq!(client.get(&format!("Observation/{ours}")).await.status, 200);
    assert_eq!(client.get("Observation").await.expect(200)["total"].to_string(), "1");
    assert_eq!(client.get(&format!("Observation?patient={mine}")).await.expect(200)["total"].to_string(), "1");

    let hidden = client.get(&format!("Observation/{theirs}")).await;
    let absent = client.get("Observation/00000000000000000000000000000000").await;
    let nonsense = client.get("Observation/x").await;
    assert_eq!(hidden.refusal().0, 404);
    assert_eq!((hidden.body.clone(), &hidden.body), (absent.body.clone(), &nonsense.body));
    assert_eq!(client.get(&format!("Observation/{theirs}/_history/1")).await.body, hidden.body);
    assert_eq!(client.get(&format!("Observation/{theirs}/$proof")).await.body, hidden.body);
    assert_eq!(client.get(&format!("Patient/{other}")).await.body, hidden.body);

    let named = client.get(&format!("Observation?patient={other}")).await;
    let unknown = client.get("Observation?patient=00000000000000000000000000000000").await;
    assert_eq!(named.refusal(), (403, "not-the-patient".into()));
    assert_eq!(named.body, unknown.body);
    assert_eq!(client.get(&format!("Patient?_id={other}")).await.refusal().0, 403);
    assert_eq!(client.get(&format!("AuditEvent?patient={other}")).await.refusal().0, 403);
    assert_eq!(client.post("Observation", &observation(&mine, "1", "2026-01-01")).await.refusal().0, 403);
    assert_eq!(client.post(&format!("Patient/{other}/$register"), &json!({})).await.refusal().0, 403);
    let session = ("vouchsafe-session", "00000000000000000000000000000000");
    assert_eq!(client.get_with(&format!("Observation/{ours}"), &[session]).await.refusal().0, 403);
    c.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_enrolment_is_used_once_and_by_the_patients_own_word() {
    let c = Consortium::of(&FOUNDERS[..3]).await;
    let chart = c.chart("hospital-a", "Enrolled").await;
    let ehr = c.system("hospital-a");
    let parameters = json!({ "resourceType": "Parameters" });
    let path = format!("Patient/{chart}/$register");
    let registered = ehr.post(&path, &parameters).await.expect(201);
    let address = parameter(&registered, "enrolment").as_str().unwrap().to_owned();
    let code = address.strip_prefix(&ehr.base).unwrap().to_owned();
    let offer = ehr.plain(reqwest::Method::GET, &code, None, &[]).await.expect(200);
    let person = Person::new();
    let soon = c.clock.now().plus(60_000);
    let send = async |body: serde_json::Value| {
        let body = Some(body.to_string().into_bytes());
        ehr.plain(reqwest::Method::POST, &code, body, &[("content-type", "application/json")]).await
    };
    let mut wrong = offer.clone();
    wrong["nonce"] = json!("AAAAAAAAAAAAAAAAAAAAAA");
    assert_eq!(send(person.enrolment(&wrong, true, soon)).await.refusal(), (403, "bad-acceptance".into()));
    wrong["nonce"] = offer["nonce"].clone();
    wrong["sponsor"] = json!(c.org("hospital-b").account);
    assert_eq!(send(person.enrolment(&wrong, true, soon)).await.refusal(), (403, "bad-acceptance".into()));
    let past = c.clock.now();
    assert_eq!(send(person.enrolment(&offer, true, past)).await.refusal(), (403, "bad-acceptance".into()));
    // Somebody else's word for this person's key.
    let mut mixed = person.enrolment(&offer, true, soon);
    mixed["link"] = Person::new().enrolment(&offer, true, soon)["link"].clone();
    assert_eq!(send(mixed).await.refusal().0, 403);
    assert_eq!(send(json!({ "colour": 1 })).await.refusal().0, 400);
    assert_eq!(send(person.enrolment(&offer, false, soon)).await.refusal(), (403, "unknown-key".into()));
    send(person.enrolment(&offer, true, soon)).await.expect(201);
    assert_eq!(send(person.enrolment(&offer, true, soon)).await.refusal().0, 404);
    assert_eq!(ehr.post(&path, &parameters).await.refusal(), (409, "already-exists".into()));
    let found = ehr
        .get(&format!("Patient?identifier=https://vouchsafe.example/sid/account|{}", person.account))
        .await
        .expect(200);
    assert_eq!(found["entry"][0]["resource"]["id"], json!(chart));
    c.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_custodial_account_is_made_in_the_keystore_and_says_so() {
    let c = Consortium::of(&FOUNDERS[..2]).await;
    let chart = c.chart("hospital-a", "Custodial").await;
    let body = json!({ "resourceType": "Parameters", "parameter": [{ "name": "custodial", "valueBoolean": true }] });
    let answer = c.system("hospital-a").post(&format!("Patient/{chart}/$register"), &body).await.expect(201);
    assert_eq!(parameter(&answer, "custodial"), json!(true));
    let account = parameter(&answer, "account").as_str().unwrap().to_owned();
    let gateway = c.gateway("hospital-a");
    assert!(gateway.keystore.names().unwrap().contains(&format!("custodial/{account}")));
    let linked = gateway.charts.by_id(&chart.parse().unwrap()).unwrap();
    assert_eq!((linked.account.unwrap().to_string(), linked.custodial), (account, true));
    drop(gateway);
    c.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_address_signs_nobody_in_as_a_colleague() {
    let c = Consortium::of(&FOUNDERS[..2]).await;
    let (colleague, _) = c.doctor("hospital-a").await;
    let ehr = c.system("hospital-a");
    let body = json!({ "resourceType": "Practitioner", "active": true, "name": [{ "text": "Dr Other" }] });
    let record = ehr.post("Practitioner", &body).await.created();
    let parameters = json!({ "resourceType": "Parameters" });
    let registered = ehr.post(&format!("Practitioner/{record}/$register"), &parameters).await.expect(201);
    let address = parameter(&registered, "enrolment").as_str().unwrap().to_owned();
    let code = address.strip_prefix(&ehr.base).unwrap().to_owned();
    let offer = ehr.plain(reqwest::Method::GET, &code, None, &[]).await.expect(200);
    let send = async |body: &serde_json::Value| {
        let body = Some(body.to_string().into_bytes());
        ehr.plain(reqwest::Method::POST, &code, body, &[("content-type", "application/json")]).await
    };
    // The colleague's public keys, and a client key and signatures of one's own.
    let thief = Person::new();
    let soon = c.clock.now().plus(60_000);
    let mut taken = colleague.enrolment(&offer, true, soon);
    let own = thief.enrolment(&offer, true, soon);
    taken["client"] = own["client"].clone();
    taken["register"]["enrolment"] = own["register"]["enrolment"].clone();
    taken["link"] = own["link"].clone();
    assert_eq!(send(&taken).await.refusal().0, 403);
    taken.as_object_mut().unwrap().remove("link");
    assert_eq!(send(&taken).await.refusal().0, 400);
    let mut stranger = c.person(&thief, "hospital-a");
    stranger.client_id = colleague.account.to_string();
    assert_eq!(stranger.ask_token(&stranger.assertion(&stranger.claims())).await.status, 401);
    // A first enrolment still needs no link.
    let mut first = own;
    first.as_object_mut().unwrap().remove("link");
    send(&first).await.expect(201);
    c.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_device_that_ended_signs_nobody_in() {
    let c = Consortium::of(&FOUNDERS[..2]).await;
    let (patient, chart) = c.patient("hospital-a", "Stolen").await;
    let client = c.person(&patient, "hospital-a");
    assert_eq!(client.get(&format!("Patient/{chart}")).await.status, 200);
    let ledger = c.ledger();
    let other = DeviceKeys::generate().unwrap();
    let expires = c.clock.now().plus(60_000);
    let accepted = Acceptance { account: patient.account, act: AddDevice::TYP.into(), expires };
    let acceptance = jws::sign_statement(other.ed25519(), ledger.chain(), Acceptance::TYP, &accepted);
    let (ed25519, rsa) = (Sign::public(other.ed25519()), RsaUnwrap::public(other.rsa()));
    let add: Tx = AddDevice { nonce: Nonce(random()), expires, ed25519, rsa, acceptance }.into();
    ledger.submit(jws::sign_tx(patient.keys.ed25519(), ledger.chain(), &add)).await.unwrap();
    let kid = Sign::public(patient.keys.ed25519()).kid();
    let end: Tx = EndKey { nonce: Nonce(random()), expires, kid }.into();
    ledger.submit(jws::sign_tx(other.ed25519(), ledger.chain(), &end)).await.unwrap();
    // Neither by the token that is there nor by a new one.
    for _ in 0..2 {
        assert_eq!(client.get(&format!("Patient/{chart}")).await.refusal(), (403, "key-ended".into()));
        client.forget();
    }
    drop(ledger);
    c.end().await;
}
