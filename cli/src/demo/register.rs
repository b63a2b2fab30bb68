//! A and B: everybody registers, authorities verify, hospitals bring their records in.

use serde_json::{Value, json};
use vouchsafe_types::{AccountId, Hash32, Tx};

use super::{
    load::Synthetic,
    story::{Story, must, wrong},
};
use crate::{
    consortium::World,
    credentials::Party,
    exit::Outcome,
    wallet::{
        client::{Answer, Client, parameter, parameters},
        person::{self, Person},
    },
};

/// The synthetic patients; demo-data/README.md says how they were made.
const PATIENTS: [&[u8]; 3] = [
    include_bytes!("../../../demo-data/lindsey.ndjson.gz"),
    include_bytes!("../../../demo-data/cedric.ndjson.gz"),
    include_bytes!("../../../demo-data/nicholas.ndjson.gz"),
];

/// How many of the first patient's records are brought into hospital A.
const RECORDS: usize = 120;

/// A person with keys of their own and the gateway they enrolled at.
pub(crate) struct Player {
    pub(crate) person: Person,
    /// The organisation, by its name in the demo.
    pub(super) home: &'static str,
    /// `Patient/…` or `Practitioner/…` there.
    pub(crate) record: String,
    role: &'static str,
}

impl Player {
    /// A client of a gateway that the person is known at.
    pub(crate) fn at(&self, world: &World, org: &str) -> Client {
        self.person.client(&world.org(org).base())
    }
}

/// Everybody who plays.
pub(super) struct Cast {
    /// Holds his own keys; charts at both hospitals and the laboratory.
    pub(super) lindsey: Player,
    /// Lindsey's chart at hospital B and at the laboratory.
    pub(super) lindsey_at_b: String,
    pub(super) lindsey_at_laboratory: String,
    /// Holds his own keys; denies.
    pub(super) nicholas: Player,
    pub(super) nicholas_at_b: String,
    /// An openly custodial account at hospital A.
    pub(super) cedric_account: AccountId,
    pub(super) cedric_record: String,
    /// Of hospital B, acts with her own device.
    pub(super) bauer: Player,
    /// Of hospital B, acts through the hospital's system under a mandate.
    pub(super) chen: Player,
    /// Of hospital A, whose credential is suspended.
    pub(super) diaz: Player,
    /// An insurer, which registers and is verified.
    pub(super) insurer: Player,
    synthetic: Vec<Synthetic>,
}

/// What hospital A holds of Lindsey.
pub(super) struct Records {
    /// How many records were loaded.
    pub(super) loaded: usize,
}

/// Registration of everybody.
pub(super) async fn everybody(story: &mut Story, world: &World) -> Outcome<Cast> {
    let synthetic = PATIENTS.iter().map(|p| Synthetic::unpack(p)).collect::<Outcome<Vec<_>>>()?;
    let insurer = story.step("A", "an insurer registers", insurer(world)).await?;
    let mut doctors = Vec::new();
    for (name, org) in [("dr-bauer", "hospital-b"), ("dr-chen", "hospital-b"), ("dr-diaz", "hospital-a")] {
        let what = format!("{name} of {org} registers with a credential");
        doctors.push(story.step("A", what, doctor(world, name, org)).await?);
    }
    let mut doctors = doctors.into_iter();
    let (Some(bauer), Some(chen), Some(diaz)) = (doctors.next(), doctors.next(), doctors.next()) else {
        return wrong("three doctors");
    };
    let mut lindsey = story
        .step("A", "lindsey registers with his own keys", patient(world, "lindsey", &synthetic[0].patient))
        .await?;
    let at_b = story
        .step(
            "A",
            "lindsey links his chart at hospital-b",
            link(world, &mut lindsey, "hospital-b", &synthetic[0].patient),
        )
        .await?;
    let at_laboratory = story
        .step(
            "A",
            "lindsey links his chart at the laboratory",
            link(world, &mut lindsey, "laboratory", &synthetic[0].patient),
        )
        .await?;
    let mut nicholas = story
        .step("A", "nicholas registers with his own keys", patient(world, "nicholas", &synthetic[2].patient))
        .await?;
    let nicholas_at_b = story
        .step(
            "A",
            "nicholas links his chart at hospital-b",
            link(world, &mut nicholas, "hospital-b", &synthetic[2].patient),
        )
        .await?;
    let (cedric_account, cedric_record) = story
        .step("A", "cedric, without a device, gets an openly custodial account", custodial(world, &synthetic[1]))
        .await?;
    Ok(Cast {
        lindsey,
        lindsey_at_b: at_b,
        lindsey_at_laboratory: at_laboratory,
        nicholas,
        nicholas_at_b,
        cedric_account,
        cedric_record,
        bauer,
        chen,
        diaz,
        insurer,
        synthetic,
    })
}

/// The authority verifies every credential.
pub(super) async fn verification(story: &mut Story, world: &World, cast: &Cast) -> Outcome {
    for (kind, player) in [
        ("Organization", &cast.insurer),
        ("Practitioner", &cast.bauer),
        ("Practitioner", &cast.chen),
        ("Practitioner", &cast.diaz),
    ] {
        let what = format!("the authority verifies {}", player.person.name);
        story.step("B", what, judge(world, kind, player.person.account, "verify")).await?;
    }
    Ok(())
}

/// One decision of the authority, through its own gateway.
pub(crate) async fn judge(world: &World, kind: &str, account: AccountId, verdict: &str) -> Outcome<(String, ())> {
    let until = vouchsafe_gateway::fhir::date::instant(person::now().plus(300 * 24 * 3_600_000));
    let body = match verdict {
        "verify" | "reinstate" => parameters(vec![json!({ "name": "validUntil", "valueInstant": until })]),
        _ => parameters(Vec::new()),
    };
    let answer = world.system("authority").post(&format!("{kind}/{account}/${verdict}"), &body).await?.ok(verdict)?;
    must(answer["resourceType"] == "VerificationResult", || format!("no VerificationResult: {answer}"))?;
    world.abreast().await?;
    Ok((format!("VerificationResult {}", answer["status"].as_str().unwrap_or_default()), ()))
}

/// Hospital A's and the laboratory's records of Lindsey.
pub(super) async fn records(story: &mut Story, world: &World, cast: &Cast) -> Outcome<Records> {
    let ehr = world.system("hospital-a");
    let began = std::time::Instant::now();
    let loaded = story
        .step("F", "hospital-a's EHR brings lindsey's records in, each sealed and anchored", async {
            let n = cast.synthetic[0].load(&ehr, &cast.lindsey.record, RECORDS).await?;
            Ok((format!("{n} resources"), n))
        })
        .await?;
    #[allow(clippy::cast_precision_loss, reason = "a rate for people")]
    story.figure("creates_per_second_16", loaded as f64 / began.elapsed().as_secs_f64(), "/s");
    story
        .step("F", "hospital-a notes what only lindsey may open", async {
            let sensitive = condition(&cast.lindsey.record, "http://snomed.info/sct", "370143000", "2026-05-02");
            let answer = ehr.post("Condition", &sensitive).await?.ok("creating a sensitive Condition")?;
            Ok((format!("Condition/{}, mental health", text(&answer, "id")), ()))
        })
        .await?;
    story
        .step("F", "the laboratory reports lindsey's HbA1c", async {
            let answer = world
                .system("laboratory")
                .post("Observation", &hba1c(&cast.lindsey_at_laboratory))
                .await?
                .ok("creating an Observation")?;
            let exact = answer["valueQuantity"]["value"].to_string();
            must(exact == "6.10", || format!("6.10 became {exact}"))?;
            Ok((format!("Observation/{}, value {exact}", text(&answer, "id")), ()))
        })
        .await?;
    Ok(Records { loaded })
}

/// A result as a laboratory sends it; the decimal's text matters.
fn hba1c(patient: &str) -> Value {
    let text = r#"{"resourceType":"Observation","status":"final",
        "category":[{"coding":[{"system":"http://terminology.hl7.org/CodeSystem/observation-category","code":"laboratory"}]}],
        "code":{"coding":[{"system":"http://loinc.org","code":"4548-4","display":"Hemoglobin A1c/Hemoglobin.total in Blood"}]},
        "effectiveDateTime":"2026-11-10T08:30:00Z",
        "valueQuantity":{"value":6.10,"unit":"%","system":"http://unitsofmeasure.org","code":"%"}}"#;
    let mut value: Value = serde_json::from_str(text).expect("the text above is JSON");
    value["subject"] = json!({ "reference": patient });
    value
}

fn condition(patient: &str, system: &str, code: &str, onset: &str) -> Value {
    json!({ "resourceType": "Condition", "subject": { "reference": patient },
        "clinicalStatus": { "coding": [{ "system": "http://terminology.hl7.org/CodeSystem/condition-clinical", "code": "active" }] },
        "code": { "coding": [{ "system": system, "code": code }] }, "onsetDateTime": onset })
}

async fn insurer(world: &World) -> Outcome<(String, Player)> {
    let authority = world.system("authority");
    let body = json!({ "resourceType": "Organization", "active": true, "name": "Demo Insurance" });
    let record = created(&authority.post("Organization", &body).await?, "Organization")?;
    let role = parameters(vec![json!({ "name": "role", "valueCode": "insurer" })]);
    let registered = authority.post(&format!("{record}/$register"), &role).await?.ok("$register")?;
    let address = person::enrolment_address(&registered)?;
    let dir = world.home.join("parties/insurer/insurer");
    let mut person = Person::create(&dir, "insurer", &world.http, world.trust()?)?;
    person.enrol(&address, Some(Hash32(person::random()?))).await?;
    Ok((format!("account {}", person.account), Player { person, home: "authority", record, role: "insurer" }))
}

/// A doctor with a credential that nobody has verified yet.
pub(crate) async fn doctor(world: &World, name: &'static str, home: &'static str) -> Outcome<(String, Player)> {
    let ehr = world.system(home);
    let body = json!({ "resourceType": "Practitioner", "active": true, "name": [{ "text": name }],
        "qualification": [{ "code": { "text": "physician" } }] });
    let record = created(&ehr.post("Practitioner", &body).await?, "Practitioner")?;
    let registered = ehr.post(&format!("{record}/$register"), &parameters(Vec::new())).await?.ok("$register")?;
    let mut person = Person::create(&world.home.join("parties/doctor").join(name), name, &world.http, world.trust()?)?;
    // The documents stay with the doctor and the hospital; the ledger gets a commitment to them.
    let commitment = Hash32::of("vouchsafe/credential-documents", &[name.as_bytes(), &person::random::<32>()?]);
    person.enrol(&person::enrolment_address(&registered)?, Some(commitment)).await?;
    Ok((format!("account {}", person.account), Player { person, home, record, role: "doctor" }))
}

/// A patient with keys of their own, whose home is hospital A.
pub(crate) async fn patient(world: &World, name: &'static str, patient: &Value) -> Outcome<(String, Player)> {
    let (record, address) = chart(world, "hospital-a", patient).await?;
    let mut person = Person::create(&world.home.join("parties/patient").join(name), name, &world.http, world.trust()?)?;
    person.enrol(&address, None).await?;
    Ok((format!("account {}", person.account), Player { person, home: "hospital-a", record, role: "patient" }))
}

/// A further custodian makes a chart of its own, and the patient signs the link.
pub(crate) async fn link(world: &World, player: &mut Player, org: &str, patient: &Value) -> Outcome<(String, String)> {
    let (record, address) = chart(world, org, patient).await?;
    player.person.link(&address).await?;
    Ok((record.clone(), record))
}

/// An EHR creates a Patient and asks for an enrolment address, which the desk shows as a QR.
async fn chart(world: &World, org: &str, patient: &Value) -> Outcome<(String, String)> {
    let ehr = world.system(org);
    let record = created(&ehr.post("Patient", patient).await?, "Patient")?;
    let registered = ehr.post(&format!("{record}/$register"), &parameters(Vec::new())).await?.ok("$register")?;
    Ok((record, person::enrolment_address(&registered)?))
}

async fn custodial(world: &World, synthetic: &Synthetic) -> Outcome<(String, (AccountId, String))> {
    let ehr = world.system("hospital-a");
    let record = created(&ehr.post("Patient", &synthetic.patient).await?, "Patient")?;
    let body = parameters(vec![json!({ "name": "custodial", "valueBoolean": true })]);
    let registered = ehr.post(&format!("{record}/$register"), &body).await?.ok("$register")?;
    let account = parameter(&registered, "account").as_str().and_then(|a| a.parse().ok());
    let Some(account) = account else { return wrong(format!("no account in {registered}")) };
    Ok((format!("account {account}, its keys held by hospital-a"), (account, record)))
}

/// `Type/id` of what was created.
pub(super) fn created(answer: &Answer, kind: &str) -> Outcome<String> {
    let id = answer.id();
    must(answer.status.as_u16() == 201, || format!("creating a {kind}: {}", answer.outcome()))?;
    id.map_or_else(|| wrong(format!("a {kind} without an id")), |id| Ok(format!("{kind}/{id}")))
}

fn text<'a>(value: &'a Value, member: &str) -> &'a str {
    value[member].as_str().unwrap_or_default()
}

/// Nothing to object to in a payload: the act needs no more than that it is of this type.
pub(crate) fn of_type(typ: &'static str) -> impl FnOnce(&Tx) -> Outcome {
    move |tx| must(tx.typ() == typ, || format!("asked to sign a {}, expected a {typ}", tx.typ()))
}

impl Cast {
    /// Lindsey's family name, which only those whom he let in may ever see.
    pub(super) fn family(&self) -> String {
        self.synthetic[0].family()
    }

    /// Everybody's line of `credentials.json`.
    pub(super) fn credentials(&self, world: &World) -> Outcome<Vec<Party>> {
        let mut out = Vec::new();
        for org in &world.orgs {
            out.extend(org.parties()?);
        }
        for player in [&self.insurer, &self.bauer, &self.chen, &self.diaz, &self.lindsey, &self.nicholas] {
            out.push(Party {
                role: player.role.into(),
                name: player.person.name.clone(),
                organization: player.home.into(),
                account: Some(player.person.account.to_string()),
                fhir_user: Some(player.record.clone()),
                base: format!("{}/fhir", world.org(player.home).base()),
                client_id: Some(player.person.account.to_string()),
                jwks: player.person.jwks()?,
            });
        }
        out.push(Party {
            role: "patient".into(),
            name: "cedric".into(),
            organization: "hospital-a".into(),
            account: Some(self.cedric_account.to_string()),
            fhir_user: Some(self.cedric_record.clone()),
            base: format!("{}/fhir", world.org("hospital-a").base()),
            client_id: None,
            jwks: json!({ "keys": [] }),
        });
        Ok(out)
    }
}
