//! What may not be known of cannot be told from what is not there: by no count, page boundary, include, chain, sort order,
//! error text or status. The same searches are made before and after hidden records are added; nothing may change.

use serde_json::{Value, json};

use crate::support::{Client, Consortium, FOUNDERS, ids, observation, told_by};

fn reference(kind: &str, id: &str) -> Value {
    json!({ "reference": format!("{kind}/{id}") })
}

/// A patient with a visit and some results, beside another patient.
struct World {
    c: Consortium,
    patients: Client,
    mine: String,
    visit: String,
    other: String,
}

impl World {
    async fn start() -> Self {
        let c = Consortium::of(&FOUNDERS[..2]).await;
        let ehr = c.system("hospital-a");
        let (patient, mine) = c.patient("hospital-a", "Mine").await;
        let other = c.chart("hospital-a", "Hidden").await;
        let visit = json!({ "resourceType": "Encounter", "status": "finished", "class": { "code": "AMB" },
            "subject": reference("Patient", &mine) });
        let visit = ehr.post("Encounter", &visit).await.created();
        for n in 1..=4 {
            let mut body = observation(&mine, "4548-4", &format!("2026-01-0{n}"));
            body["encounter"] = reference("Encounter", &visit);
            ehr.post("Observation", &body).await.created();
        }
        let patients = c.person(&patient, "hospital-a");
        Self { c, patients, mine, visit, other }
    }

    /// Another patient's result that refers to everything that the patient has.
    async fn hide(&self) -> String {
        let mut body = observation(&self.other, "4548-4", "2026-01-02");
        body["encounter"] = reference("Encounter", &self.visit);
        body["performer"] = json!([reference("Patient", &self.mine)]);
        let first = self.c.system("hospital-a").post("Observation", &body).await.created();
        let mut second = observation(&self.other, "718-7", "2020-01-01");
        second["encounter"] = reference("Encounter", &self.visit);
        self.c.system("hospital-a").post("Observation", &second).await.created();
        first
    }

    /// Makes the searches, hides records, and makes them again.
    async fn compare(&self, searches: &[String]) -> Vec<String> {
        let before = told_by(&self.patients, searches, &[]).await;
        self.hide().await;
        assert_eq!(told_by(&self.patients, searches, &[]).await, before);
        before
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_count_and_no_page_tells_of_another_patients_record() {
    let w = World::start().await;
    let searches = [
        "Observation?_summary=count",
        "Observation?_count=0",
        "Observation?_total=accurate&_count=1",
        "Observation?code=4548-4&_total=accurate",
        "Observation?code=718-7&_total=accurate",
        "Observation?_count=2",
        "Observation?_count=2&_sort=-date",
        "Observation?_count=4",
        "?_type=Observation&_count=3",
        "?_type=Observation,Encounter,Patient&_total=accurate",
    ];
    let told = w.compare(&searches.map(str::to_owned)).await;
    assert!(told[0].contains("\"total\":4"), "{}", told[0]);
    w.c.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_that_comes_along_tells_of_another_patients_record() {
    let w = World::start().await;
    let (mine, visit) = (&w.mine, &w.visit);
    let told = w
        .compare(&[
            format!("Encounter?_id={visit}&_revinclude=Observation:encounter"),
            "Encounter?_revinclude=Observation:encounter&_include:iterate=Observation:subject".to_owned(),
            format!("Patient?_id={mine}&_revinclude=Observation:performer&_revinclude:iterate=Observation:has-member"),
            "Observation?_include=*".to_owned(),
            format!("Encounter/{visit}/Observation"),
            format!("Patient/{mine}/Observation"),
            format!("Patient/{mine}/*"),
        ])
        .await;
    assert!(told[0].contains("\"mode\":\"include\""), "the own results come along: {}", told[0]);

    // An own result that refers to a hidden one brings nothing along, whether it is there or not.
    let ehr = w.c.system("hospital-a");
    let hidden = w.hide().await;
    for target in [hidden.as_str(), "00000000000000000000000000000000"] {
        let mut body = observation(mine, "24331-1", "2026-02-01");
        body["hasMember"] = json!([reference("Observation", target)]);
        ehr.post("Observation", &body).await.created();
    }
    let found = w.patients.get("Observation?code=24331-1&_include=Observation:has-member").await.expect(200);
    assert_eq!((ids(&found, "match").len(), ids(&found, "include").len()), (2, 0), "{found}");
    w.c.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_chain_and_no_order_tells_of_another_patients_record() {
    let w = World::start().await;
    let mine = &w.mine;
    w.compare(&[
        "Patient?_has:Observation:performer:code=4548-4".to_owned(),
        "Encounter?_has:Observation:encounter:code=718-7".to_owned(),
        "Encounter?_has:Observation:encounter:date=2020-01-01".to_owned(),
        format!("Encounter?_has:Observation:encounter:performer=Patient/{mine}"),
        "Observation?subject.name=Hidden".to_owned(),
        "Observation?encounter.subject.family=Hidden".to_owned(),
        "Observation?_sort=date".to_owned(),
        "Observation?_sort=-code,date".to_owned(),
        "?_type=Encounter,Observation&_sort=_lastUpdated".to_owned(),
    ])
    .await;
    // A chain through an own result's reference to a hidden one.
    let hidden = w.hide().await;
    let mut body = observation(mine, "24331-1", "2026-02-01");
    body["hasMember"] = json!([reference("Observation", &hidden)]);
    w.c.system("hospital-a").post("Observation", &body).await.created();
    let chained = w.patients.get("Observation?has-member.code=4548-4").await.expect(200);
    assert!(ids(&chained, "match").is_empty(), "{chained}");
    // Whom it is not hidden from finds it so.
    let ehr = w.c.system("hospital-a");
    assert_eq!(ids(&ehr.get("Observation?has-member.code=4548-4").await.expect(200), "match").len(), 1);
    let has = ehr.get("Encounter?_has:Observation:encounter:code=718-7").await.expect(200);
    assert_eq!(ids(&has, "match").len(), 1);
    w.c.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_refusal_tells_of_another_patients_record() {
    let w = World::start().await;
    let (hidden, other) = (w.hide().await, &w.other);
    let nobody = "00000000000000000000000000000000";
    // Each spelling of somebody else's name, beside that of nobody's.
    for spelling in [
        "Observation?patient={}",
        "Observation?patient=Patient/{}",
        "Observation?subject:Patient={}",
        "Observation?subject={base}/Patient/{}",
        "Observation?performer=Patient/{}",
        "Observation?code=x&patient={mine},{}",
        "Patient?_id={}",
        "?_type=Patient&_id={}",
        "Patient/{}/Observation",
        "Patient/{}/*",
        "Encounter?_has:Observation:encounter:patient={}",
        "Observation?encounter.subject=Patient/{}",
        "Observation?subject._id={}",
    ] {
        let path = |id: &str| {
            let path = spelling.replace("{}", id).replace("{mine}", &w.mine);
            path.replace("{base}", &format!("{}/fhir", w.patients.base))
        };
        let (named, unknown) = (w.patients.get(&path(other)).await, w.patients.get(&path(nobody)).await);
        assert_eq!(named.refusal(), (403, "not-the-patient".into()), "{spelling}");
        assert_eq!(named.text(), unknown.text(), "{spelling}");
    }
    // A record's id is nobody's name: it finds nothing, like one that is not there.
    for spelling in ["Observation?_id={}", "Observation?has-member={}", "?_id={}", "Encounter/{}/Observation"] {
        let found = async |id: &str| {
            let answer = w.patients.get(&spelling.replace("{}", id)).await;
            (answer.status, answer.json()["total"].clone(), answer.json().get("entry").cloned())
        };
        assert_eq!(found(&hidden).await, found(nobody).await, "{spelling}");
    }
    // Faults come from the search alone.
    for fault in ["Observation?colour=red", "Observation?date=yesterday", "Observation?subject:Nobody.name=x"] {
        assert_eq!(w.patients.get(fault).await.refusal().0, 400, "{fault}");
    }
    w.c.end().await;
}
