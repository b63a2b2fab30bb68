//! What must be refused, each with its status and code.

use reqwest::Method;
use serde_json::{Value, json};
use vouchsafe_types::RecordId;

use super::steps::{Visit, Wish, matches, nothing};
use crate::support::{Person, parameter};

fn forbidden(code: &str) -> (u16, String) {
    (403, code.to_owned())
}

/// The id under which hospital B shows a record of hospital A.
pub(super) fn shown_as(v: &Visit, record: &str) -> String {
    let record: RecordId = record.parse().unwrap();
    vouchsafe_gateway::sessions::local_id(&v.c.gateway("hospital-b"), &v.c.org("hospital-a").account, &record)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_doctor_not_verified_suspended_or_of_another_hospital_is_refused() {
    let v = Visit::start().await;
    v.observed("4548-4", "2024-05-01").await;
    let (fresh, _) = v.c.unverified_doctor("hospital-b").await;
    let now = v.c.clock.now().0;
    let patient = format!("Patient/{}", v.at_b);
    let asked = super::steps::consent(&patient, fresh.account, &Wish::default(), now);
    let client = v.c.person(&fresh, "hospital-b");
    assert_eq!(fresh.act(&client, "Consent", &asked).await.refusal(), forbidden("not-verified"));

    let mut elsewhere = v.consent(&Wish::default());
    elsewhere["organization"] = json!([{ "reference": format!("Organization/{}", v.c.org("hospital-a").account) }]);
    assert_eq!(v.doctor.act(&v.doctors(), "Consent", &elsewhere).await.refusal(), forbidden("not-affiliated"));

    // For another doctor than themselves.
    let other = super::steps::consent(&patient, fresh.account, &Wish::default(), now);
    assert_eq!(v.doctor.act(&v.doctors(), "Consent", &other).await.refusal(), forbidden("not-the-doctor"));

    // Suspended: nothing is asked, and the session that was live is over in that block.
    let (_, session) = v.session(&Wish::default()).await;
    let local = v.first(&session).await["id"].as_str().unwrap().to_owned();
    v.c.judge(v.doctor.account, "suspend").await;
    assert_eq!(
        v.doctor.act(&v.doctors(), "Consent", &v.consent(&Wish::default())).await.refusal(),
        forbidden("suspended")
    );
    assert_eq!(v.read(&session, &format!("Observation/{local}")).await.refusal(), forbidden("suspended"));
    v.c.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_doctor_without_a_mandate_does_not_act_by_the_hospitals_system() {
    let v = Visit::start().await;
    v.c.mandate(&v.doctor, "hospital-b").await;
    let agent = v.c.on_behalf(v.doctor.account, "hospital-b");
    agent.token().await;
    let path = format!("Practitioner/{}/$end-mandate", v.doctor.account);
    v.doctor.act(&v.doctors(), &path, &nothing()).await.expect(200);
    let (status, code) = agent.post("Consent", &v.consent(&Wish::default())).await.refusal();
    assert_eq!(status, 403, "{code}");
    assert!(["no-mandate", "key-ended"].contains(&code.as_str()), "{code}");
    v.c.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn only_the_patient_approves_and_never_more_than_was_asked() {
    let v = Visit::start().await;
    let id = v.ask(&Wish::default()).await;
    let approve = format!("Consent/{id}/$approve");
    let body = v.approval(None);
    // The doctor, another patient, and the hospital's system for a patient who is not custodial.
    assert_eq!(v.doctor.act(&v.doctors(), &approve, &body).await.refusal(), forbidden("not-the-patient"));
    let (stranger, _) = v.c.patient("hospital-a", "Fremde").await;
    let strangers = v.c.person(&stranger, "hospital-a");
    let prepared = strangers.post(&format!("{approve}/$prepare"), &body).await;
    assert_eq!(prepared.refusal(), forbidden("not-the-patient"), "not even prepared");
    assert_eq!(v.c.system("hospital-a").post(&approve, &body).await.refusal(), forbidden("not-the-patient"));
    // By the patient's token with another's key.
    let prepared = v.patients().post(&format!("{approve}/$prepare"), &body).await.expect(200);
    for other in [&stranger, &v.doctor] {
        let tx = other.sign(&prepared);
        let answer = v.patients().post_with(&approve, &body, &[("vouchsafe-tx", &tx)]).await;
        assert_eq!(answer.refusal(), forbidden("not-the-patient"));
    }

    // Wider: as a proposal it is invalid, as a grant it is refused.
    let wider = Wish { categories: vec!["laboratory", "imaging"], ..Wish::default() };
    assert_eq!(v.approve(&id, Some(&wider)).await.refusal(), (422, "wider-than-request".into()));
    let tx = longer(&v.patient, &prepared);
    let answer = v.patients().post_with(&approve, &body, &[("vouchsafe-tx", &tx)]).await;
    assert_eq!(answer.refusal(), forbidden("wider-than-request"));
    // Nothing of this has decided anything; and what is signed must be what the call asks for.
    let tx = v.patient.sign(&v.patients().post(&format!("Consent/{id}/$deny/$prepare"), &nothing()).await.expect(200));
    let answer = v.patients().post_with(&approve, &body, &[("vouchsafe-tx", &tx)]).await;
    assert_eq!(answer.refusal(), (422, "not-prepared".into()));
    v.approve(&id, None).await.expect(200);
    v.c.end().await;
}

/// The prepared decision, its grant made to last longer than was asked, signed.
fn longer(patient: &Person, prepared: &Value) -> String {
    let mut payload: Value = serde_json::from_str(parameter(prepared, "payload").as_str().unwrap()).unwrap();
    let until = payload["granted"]["validUntil"].as_u64().unwrap();
    payload["granted"]["validUntil"] = json!(until + 1);
    let mut prepared = prepared.clone();
    let all = prepared["parameter"].as_array_mut().unwrap();
    all.iter_mut().find(|p| p["name"] == "payload").unwrap()["valueString"] = payload.to_string().into();
    patient.sign(&prepared)
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_read_before_approval_before_opening_or_after_expiry_on_an_idle_chain() {
    let v = Visit::start().await;
    let record = v.observed("4548-4", "2024-05-01").await;
    let path = format!("Observation/{}", shown_as(&v, &record));
    let id = v.ask(&Wish { session_ms: 60_000, ..Wish::default() }).await;
    assert_eq!(v.open(&id).await.refusal(), forbidden("not-granted"));
    assert_eq!(v.doctors().get(&path).await.status, 404);
    assert_eq!(v.read(&"0".repeat(32), &path).await.refusal(), forbidden("session-not-live"));
    v.approve(&id, None).await.expect(200);
    assert_eq!(v.doctors().get(&path).await.status, 404);
    let search = format!("Observation?patient={}", v.at_b);
    assert!(matches(&v.doctors().get(&search).await.expect(200)).is_empty());
    let opened = v.open(&id).await;
    opened.expect(200);
    let session = opened.header("vouchsafe-session").to_owned();
    v.handed(&session).await;
    v.read(&session, &path).await.expect(200);
    // Nobody does anything; the heartbeat alone moves the ledger's time.
    v.c.advance(61_000).await;
    let doctors = v.doctors();
    let named = [("vouchsafe-session", session.as_str())];
    assert_eq!(doctors.get_with(&path, &named).await.refusal(), forbidden("session-not-live"));
    assert_eq!(doctors.get(&path).await.refusal(), forbidden("session-not-live"));
    assert_eq!(doctors.get_with(&search, &named).await.refusal(), forbidden("session-not-live"));
    // A visit allows one session.
    assert_eq!(v.open(&id).await.refusal(), forbidden("grant-spent"));
    v.c.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_revoked_standing_grant_gives_nothing_any_more() {
    let v = Visit::start().await;
    v.observed("4548-4", "2024-05-01").await;
    let (id, session) = v.session(&Wish { standing: true, ..Wish::default() }).await;
    let local = v.first(&session).await["id"].as_str().unwrap().to_owned();
    v.patient.act(&v.patients(), &format!("Consent/{id}/$revoke"), &nothing()).await.expect(200);
    assert_eq!(v.read(&session, &format!("Observation/{local}")).await.refusal(), forbidden("grant-revoked"));
    assert_eq!(v.open(&id).await.refusal(), forbidden("grant-revoked"));
    v.c.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn another_patient_another_category_and_another_time_stay_closed() {
    let v = Visit::start().await;
    v.observed("4548-4", "2024-05-01").await;
    let early = v.observed("718-7", "2019-05-01").await;
    let allergy = json!({
        "resourceType": "AllergyIntolerance", "patient": { "reference": format!("Patient/{}", v.at_a) },
        "code": { "text": "Penicillin" }, "onsetDateTime": "2024-05-01",
    });
    let allergy = v.c.system("hospital-a").post("AllergyIntolerance", &allergy).await.created();
    let (other, other_at_a) = v.c.patient("hospital-a", "Andere").await;
    let other_at_b = v.c.link(&other, "hospital-b", "Andere").await;
    let body = crate::support::observation(&other_at_a, "4548-4", "2024-05-01");
    let others = v.c.system("hospital-a").post("Observation", &body).await.created();

    let wish = Wish { period: Some(("2024-01-01", "2024-12-31")), ..Wish::default() };
    let (_, session) = v.session(&wish).await;
    assert_eq!(v.found(&session, &format!("Observation?patient={}", v.at_b)).await.len(), 1);
    assert!(v.found(&session, &format!("AllergyIntolerance?patient={}", v.at_b)).await.is_empty());
    let search = format!("Observation?patient={other_at_b}");
    assert_eq!(v.read(&session, &search).await.refusal(), forbidden("not-granted"));
    // An id that may not be known and one that is none are answered alike.
    let none = v.read(&session, &format!("Observation/f{}", "0".repeat(31))).await;
    assert_eq!(none.status, 404);
    for (kind, record) in [("Observation", early), ("AllergyIntolerance", allergy), ("Observation", others)] {
        let answer = v.read(&session, &format!("{kind}/{}", shown_as(&v, &record))).await;
        assert_eq!((answer.status, answer.text()), (404, none.text()));
    }
    // Another doctor of the same hospital has no part in the session.
    let (colleague, _) = v.c.doctor("hospital-b").await;
    let client = v.c.person(&colleague, "hospital-b");
    let path = format!("Observation?patient={}", v.at_b);
    let answer = client.call(Method::GET, &path, None, &[("vouchsafe-session", &session)]).await;
    assert_eq!(answer.refusal(), forbidden("not-the-doctor"));
    assert!(matches(&client.get(&path).await.expect(200)).is_empty());
    v.c.end().await;
}

/// By their type alone a Device and a Task are the organisation's; one that names a patient is the patient's.
#[tokio::test(flavor = "multi_thread")]
async fn what_an_admitted_record_refers_to_in_a_patients_chart_stays_closed() {
    let v = Visit::start().await;
    let system = v.c.system("hospital-a");
    let (_, other) = v.c.patient("hospital-a", "Andere").await;
    let device = |patient: Option<&str>| {
        let mut device = json!({ "resourceType": "Device", "status": "active" });
        if let Some(id) = patient {
            device["patient"] = json!({ "reference": format!("Patient/{id}") });
        }
        device
    };
    let analyser = system.post("Device", &device(None)).await.created();
    let implant = system.post("Device", &device(Some(&v.at_a))).await.created();
    let others = system.post("Device", &device(Some(&other))).await.created();
    for used in [&analyser, &implant, &others] {
        let mut body = crate::support::observation(&v.at_a, "4548-4", "2024-05-01");
        body["device"] = json!({ "reference": format!("Device/{used}") });
        system.post("Observation", &body).await.created();
    }
    let (_, session) = v.session(&Wish::default()).await;
    assert_eq!(v.found(&session, &format!("Observation?patient={}", v.at_b)).await.len(), 3);
    let shown = |record: &str| format!("Device/{}", shown_as(&v, record));
    v.read(&session, &shown(&analyser)).await.expect(200);
    for closed in [&implant, &others] {
        assert_eq!(v.read(&session, &shown(closed)).await.status, 404);
    }
    // Not even their keys left: the three results' and the analyser's did.
    let told = v.patients().get(&format!("AuditEvent?patient={}", v.at_a)).await.expect(200).to_string();
    assert!(told.contains("keys of 4 record versions"), "{told}");
    v.c.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_neither_asks_for_nor_opens_what_is_sensitive() {
    let v = Visit::start().await;
    v.c.mandate(&v.doctor, "hospital-b").await;
    let agent = v.c.on_behalf(v.doctor.account, "hospital-b");
    let wish = Wish { categories: vec!["laboratory", "hiv"], ..Wish::default() };
    for path in ["Consent", "Consent/$prepare"] {
        assert_eq!(agent.post(path, &v.consent(&wish)).await.refusal(), forbidden("device-key-needed"));
    }
    // What the doctor's own device asked for, it opens too.
    let id = v.ask(&wish).await;
    v.approve(&id, None).await.expect(200);
    let opened = agent.post(&format!("Consent/{id}/$open-session"), &nothing()).await;
    assert_eq!(opened.refusal(), forbidden("device-key-needed"));
    v.open(&id).await.expect(200);
    v.c.end().await;
}

/// What the call says and what was signed are the same in everything, or nothing is asked.
#[tokio::test(flavor = "multi_thread")]
async fn a_consent_other_than_the_one_signed_is_not_asked() {
    let v = Visit::start().await;
    let (_, other) = v.c.patient("hospital-b", "Andere").await;
    let now = v.c.clock.now().0;
    let of = |patient: &str, wish: &Wish, now: u64| {
        super::steps::consent(&format!("Patient/{patient}"), v.doctor.account, wish, now)
    };
    let asked = of(&v.at_b, &Wish::default(), now);
    let changed = [
        of(&other, &Wish::default(), now),
        of(&v.at_b, &Wish { standing: true, ..Wish::default() }, now),
        of(&v.at_b, &Wish { session_ms: 60_000, ..Wish::default() }, now),
        of(&v.at_b, &Wish::default(), now + 60_000),
    ];
    for body in changed {
        let prepared = v.doctors().post("Consent/$prepare", &asked).await.expect(200);
        let tx = v.doctor.sign(&prepared);
        let answer = v.doctors().post_with("Consent", &body, &[("vouchsafe-tx", &tx)]).await;
        assert_eq!(answer.refusal(), (422, "not-prepared".into()));
    }
    v.doctor.act(&v.doctors(), "Consent", &asked).await.created();
    v.c.end().await;
}
