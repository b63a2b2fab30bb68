//! The steps of a visit: a patient whose home is hospital A, a doctor of hospital B.

use std::time::Duration;

use serde_json::{Value, json};
use vouchsafe_gateway::{
    consents::SealedDetail,
    fhir::{date::instant, systems},
};
use vouchsafe_types::{AccountId, Count, RsaJwk};

use crate::support::{Answer, Client, Consortium, Person, observation, parameter};

pub(super) const ORGS: [(&str, vouchsafe_types::tx::Role); 3] = [
    ("authority", vouchsafe_types::tx::Role::Authority),
    ("hospital-a", vouchsafe_types::tx::Role::Hospital),
    ("hospital-b", vouchsafe_types::tx::Role::Hospital),
];

/// What a doctor asks for.
#[derive(Clone)]
pub(super) struct Wish {
    pub(super) categories: Vec<&'static str>,
    pub(super) period: Option<(&'static str, &'static str)>,
    pub(super) write: bool,
    pub(super) standing: bool,
    pub(super) session_ms: u64,
}

impl Default for Wish {
    fn default() -> Self {
        Self { categories: vec!["laboratory"], period: None, write: false, standing: false, session_ms: 600_000 }
    }
}

pub(super) struct Visit {
    pub(super) c: Consortium,
    pub(super) patient: Person,
    /// The patient's chart at hospital A, the home.
    pub(super) at_a: String,
    /// The patient's chart at hospital B, where the doctor is.
    pub(super) at_b: String,
    pub(super) doctor: Person,
}

impl Visit {
    pub(super) async fn start() -> Self {
        let c = Consortium::of(&ORGS).await;
        let (patient, at_a) = c.patient("hospital-a", "Musterfrau").await;
        let at_b = c.link(&patient, "hospital-b", "Musterfrau").await;
        let (doctor, _) = c.doctor("hospital-b").await;
        let visit = Self { c, patient, at_a, at_b, doctor };
        // Peers know each other by the ledger's events; a request is replicated to those that are known.
        for org in ["hospital-a", "hospital-b"] {
            let gateway = visit.c.gateway(org);
            until("peers are known", || async { gateway.peers.known().len() == 3 }).await;
        }
        visit
    }

    /// A laboratory Observation at hospital A; its id there.
    pub(super) async fn observed(&self, code: &str, date: &str) -> String {
        let body = observation(&self.at_a, code, date);
        self.c.system("hospital-a").post("Observation", &body).await.created()
    }

    pub(super) fn doctors(&self) -> Client {
        self.c.person(&self.doctor, "hospital-b")
    }

    pub(super) fn patients(&self) -> Client {
        self.c.person(&self.patient, "hospital-a")
    }

    /// The Consent by which this visit's doctor asks.
    pub(super) fn consent(&self, wish: &Wish) -> Value {
        consent(&format!("Patient/{}", self.at_b), self.doctor.account, wish, self.c.clock.now().0)
    }

    pub(super) async fn ask(&self, wish: &Wish) -> String {
        self.doctor.act(&self.doctors(), "Consent", &self.consent(wish)).await.created()
    }

    pub(super) async fn approve(&self, id: &str, narrower: Option<&Wish>) -> Answer {
        let narrower = narrower.map(|wish| {
            let mut consent =
                consent(&format!("Patient/{}", self.at_a), self.doctor.account, wish, self.c.clock.now().0);
            // The grant ends no later than the request asked.
            consent["provision"]["period"]["end"] =
                instant(vouchsafe_types::TimeMs(self.c.clock.now().0 + 3_600_000)).into();
            consent
        });
        let body = self.approval(narrower.as_ref());
        let prepared = self.patients().post(&format!("Consent/{id}/$approve/$prepare"), &body).await;
        if prepared.status != 200 {
            return prepared;
        }
        let prepared = prepared.json();
        let mut body = body;
        let parameters = body["parameter"].as_array_mut().unwrap();
        parameters.extend(sealed(&prepared).into_iter().map(|s| json!({ "name": "sealed", "valueString": s })));
        let tx = self.patient.sign(&prepared);
        self.patients().post_with(&format!("Consent/{id}/$approve"), &body, &[("vouchsafe-tx", &tx)]).await
    }

    /// The body of `$approve`: the patient's wallet knows hospital A as linked custodian (and B, the doctor's own).
    pub(super) fn approval(&self, narrower: Option<&Value>) -> Value {
        let custodian = |org: &str| json!({ "name": "custodian", "valueString": self.c.org(org).account });
        let mut parameter = vec![custodian("hospital-a"), custodian("hospital-b")];
        parameter.extend(narrower.map(|consent| json!({ "name": "consent", "resource": consent })));
        json!({ "resourceType": "Parameters", "parameter": parameter })
    }

    pub(super) async fn open(&self, id: &str) -> Answer {
        self.doctor.act(&self.doctors(), &format!("Consent/{id}/$open-session"), &nothing()).await
    }

    /// Asks, approves and opens; the Consent's and the session's ids.
    pub(super) async fn session(&self, wish: &Wish) -> (String, String) {
        let id = self.ask(wish).await;
        self.approve(&id, None).await.expect(200);
        let opened = self.open(&id).await;
        opened.expect(200);
        let session = opened.header("vouchsafe-session").to_owned();
        self.handed(&session).await;
        (id, session)
    }

    /// Waits until every custodian has answered a session.
    pub(super) async fn handed(&self, session: &str) {
        let gateway = self.c.gateway("hospital-b");
        let id = session.parse().unwrap();
        until("all custodians have answered", || async {
            vouchsafe_gateway::sessions::missing(&gateway, &id) == Some(0)
        })
        .await;
    }

    /// Lets a session be unused until nothing of it is in memory.
    pub(super) async fn rested(&self, session: &str) {
        let gateway = self.c.gateway("hospital-b");
        let id = session.parse().unwrap();
        self.c.advance(301_000).await;
        until("nothing of the session is in memory", || async {
            vouchsafe_gateway::sessions::in_memory(&gateway, &id) == Some((0, 0))
        })
        .await;
    }

    /// The foreign resources that the doctor finds in a session.
    pub(super) async fn found(&self, session: &str, search: &str) -> Vec<Value> {
        let bundle = self.doctors().get_with(search, &[("vouchsafe-session", session)]).await.expect(200);
        matches(&bundle)
    }

    /// The one laboratory result of a session, as soon as it is there.
    pub(super) async fn first(&self, session: &str) -> Value {
        let search = format!("Observation?patient={}", self.at_b);
        self.found(session, &search).await.into_iter().next().unwrap()
    }

    pub(super) async fn read(&self, session: &str, path: &str) -> Answer {
        self.doctors().get_with(path, &[("vouchsafe-session", session)]).await
    }
}

pub(super) fn nothing() -> Value {
    json!({ "resourceType": "Parameters" })
}

pub(super) fn consent(patient: &str, doctor: AccountId, wish: &Wish, now: u64) -> Value {
    let at = |ms: u64| instant(vouchsafe_types::TimeMs(now + ms));
    let concept = |system: &str, code: &str| json!({ "coding": [{ "system": system, "code": code }] });
    let action = "http://terminology.hl7.org/CodeSystem/consentaction";
    let mut actions = vec![concept(action, "access")];
    if wish.write {
        actions.push(concept(action, "collect"));
    }
    let class: Vec<_> = wish.categories.iter().map(|c| json!({ "system": systems::CATEGORY, "code": c })).collect();
    let mut provision = json!({
        "type": "permit",
        "period": { "end": at(86_400_000) },
        "actor": [{
            "role": concept("http://terminology.hl7.org/CodeSystem/v3-ParticipationType", "IRCP"),
            "reference": { "reference": format!("Practitioner/{doctor}") },
        }],
        "action": actions,
        "purpose": [{ "system": "http://terminology.hl7.org/CodeSystem/v3-ActReason", "code": "TREAT" }],
        "class": class,
    });
    if let Some((start, end)) = wish.period {
        provision["dataPeriod"] = json!({ "start": start, "end": end });
    }
    json!({
        "resourceType": "Consent", "status": "proposed",
        "extension": [
            { "url": systems::ANSWER_BY, "valueDateTime": at(3_600_000) },
            { "url": systems::SESSION_DURATION, "valueDuration": {
                "value": wish.session_ms, "unit": "ms", "system": "http://unitsofmeasure.org", "code": "ms" } },
            { "url": systems::STANDING, "valueBoolean": wish.standing },
        ],
        "scope": concept("http://terminology.hl7.org/CodeSystem/consentscope", "patient-privacy"),
        "category": [concept("http://loinc.org", "59284-0")],
        "patient": { "reference": patient },
        "policyRule": concept("http://terminology.hl7.org/CodeSystem/v3-ActCode", "OPTIN"),
        "provision": provision,
    })
}

/// What the wallet seals: the detail to each custodian, and with their number to those who must know.
pub(super) fn sealed(prepared: &Value) -> Vec<String> {
    let detail: SealedDetail = serde_json::from_str(parameter(prepared, "detail").as_str().unwrap()).unwrap();
    let (mut custodians, mut others) = (Vec::new(), Vec::new());
    for one in prepared["parameter"].as_array().unwrap().iter().filter(|p| p["name"] == "recipient") {
        let part = |name: &str| {
            let part = one["part"].as_array().unwrap().iter().find(|p| p["name"] == name).unwrap();
            part["valueString"].as_str().unwrap().to_owned()
        };
        let jwk: RsaJwk = serde_json::from_str(&part("jwk")).unwrap();
        if part("role") == "custodian" { custodians.push(jwk) } else { others.push(jwk) }
    }
    let told = SealedDetail { custodians: Some(Count(custodians.len() as u64)), ..detail.clone() };
    vec![detail.seal(&custodians).unwrap(), told.seal(&others).unwrap()]
}

/// The matches of a searchset.
pub(super) fn matches(bundle: &Value) -> Vec<Value> {
    let all = bundle["entry"].as_array().into_iter().flatten();
    all.filter(|e| e["search"]["mode"] == "match").map(|e| e["resource"].clone()).collect()
}

/// Waits for a condition, and says which when it does not come.
pub(super) async fn until<F: Future<Output = bool>>(what: &str, mut condition: impl FnMut() -> F) {
    let waiting = async {
        while !condition().await {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    assert!(tokio::time::timeout(Duration::from_secs(60), waiting).await.is_ok(), "{what}");
}
