//! The figure `session_open_2000`: a doctor opens a session on a patient of whom another hospital has two thousand records,
//! and gets the answer to the first search.

use std::{
    path::Path,
    time::{Duration, Instant},
};

use serde_json::{Value, json};
use vouchsafe_types::tx::Role;

use super::{
    data::{self, Rng},
    figure::{Figure, Report, Target},
    population,
    server::Server,
    wire::Connection,
};
use crate::{
    chain::Engine,
    consortium::{Doors, World},
    demo::{
        access::{session_of, within},
        consent::{Ask, ask, requested},
        register::{self, Player},
    },
    exit::{Context, Failure, Kind, Outcome},
    wallet::client::{Client, parameters},
};

pub(super) const NAME: &str = "session_open_2000";

/// Records of the patient at the other hospital.
const RECORDS: usize = 2000;
/// In one transaction.
const TOGETHER: usize = 500;
/// Seconds that the issue allows.
const TARGET: f64 = 0.3;
/// Sessions that are opened; the middle one counts.
const TIMES: usize = 3;
/// A doctor opens some time after the approval, when the custodians have prepared the grant.
const BETWEEN: Duration = Duration::from_secs(2);
/// After this a search that does not find everything never will.
const PATIENCE: Duration = Duration::from_secs(30);

const FOUNDERS: [(&str, Role); 3] =
    [("hospital-a", Role::Hospital), ("hospital-b", Role::Hospital), ("authority", Role::Authority)];

/// Measures the opening, beside the same search of as many records in the plain store.
pub(super) async fn measure(seed: u64, scratch: &Path, baselines: &[Server], report: &mut Report) -> Outcome {
    super::progress(&format!("{NAME}: two hospitals, {RECORDS} records"));
    let world = World::open(
        &scratch.join("session"),
        "bench",
        &FOUNDERS,
        Doors::Open(([127, 0, 0, 1], 0).into()),
        Engine::Embedded,
    )
    .await?;
    let figure = async {
        let scene = Scene::set(&world, seed).await?;
        let mut took = Vec::new();
        for _ in 0..TIMES {
            took.push(scene.open(&world).await?.as_secs_f64());
        }
        took.sort_by(f64::total_cmp);
        Outcome::Ok(Figure::new(NAME, took[TIMES / 2], "s").should(Target::AtMost(TARGET)))
    };
    let figure = figure.await;
    world.end().await?;
    let figure = figure?;
    if baselines.is_empty() {
        report.tell(figure.clone());
    }
    for server in baselines {
        report.tell(figure.clone().beside(&server.name, plainly(server, seed).await?));
    }
    Ok(())
}

/// Seconds for the first page of as many records without any consent.
async fn plainly(server: &Server, seed: u64) -> Outcome<f64> {
    let filled = population::fill(server, seed, 1, RECORDS).await?;
    let mut request = Vec::new();
    let path = format!("/Observation?patient={}&_count=10", filled.patients[0]);
    server.writer().await?.get(&mut request, &path);
    let began = Instant::now();
    let mut connection = Connection::new(server.addr);
    let answer = connection.exchange(&request).await.doing(Kind::Unavailable, || server.name.clone())?;
    if answer.status == 200 { Ok(began.elapsed().as_secs_f64()) } else { Err(super::load::unexpected(&answer)) }
}

/// A doctor of hospital B and a patient with records at hospital A.
struct Scene {
    doctor: Player,
    patient: Player,
    /// The patient's chart at hospital B.
    chart: String,
}

impl Scene {
    async fn set(world: &World, seed: u64) -> Outcome<Self> {
        let mut rng = Rng::new(seed);
        let (_, doctor) = register::doctor(world, "dr-bench", "hospital-b").await?;
        register::judge(world, "Practitioner", doctor.person.account, "verify").await?;
        let body: Value = serde_json::from_str(&data::patient(&mut rng)).doing(Kind::Error, || "a Patient".into())?;
        let (_, mut patient) = register::patient(world, "patient", &body).await?;
        let (_, chart) = register::link(world, &mut patient, "hospital-b", &body).await?;
        let ehr = world.system("hospital-a");
        for _ in 0..RECORDS / TOGETHER {
            load(&ehr, &patient.record, &mut rng).await?;
        }
        Ok(Self { doctor, patient, chart })
    }

    /// From the doctor's wish to open the session to the answer of the first search that finds all records.
    async fn open(&self, world: &World) -> Outcome<Duration> {
        let at_b = self.doctor.at(world, "hospital-b");
        let wish = Ask {
            patient: &self.chart,
            doctor: &self.doctor.record,
            categories: &["laboratory", "vital-signs"],
            write: false,
            standing: false,
            session_ms: 3_600_000,
        };
        let grant = requested(&ask(&self.doctor, &at_b, &wish).await?)?;
        let home = self.patient.at(world, "hospital-a");
        self.patient.person.approve(&home, &grant, None).await?.ok("$approve")?;
        tokio::time::sleep(BETWEEN).await;
        at_b.token().await?;
        let began = Instant::now();
        let path = format!("Consent/{grant}/$open-session");
        let (person, nothing) = (&self.doctor.person, parameters(Vec::new()));
        let opened = person.act(&at_b, &path, &nothing, register::of_type("vouchsafe/open")).await?;
        let opened = opened.ok("$open-session")?;
        let session = session_of(&opened).ok_or_else(|| Failure::new(Kind::Error, "no session was opened"))?;
        // Only with all of them counted is it known that the other hospital has answered.
        let path = format!("Observation?patient={}&_count=10&_total=accurate", self.chart);
        loop {
            let found = within(&at_b, &path, &session).await?.ok("the first search")?;
            if found["total"].as_u64() == u64::try_from(RECORDS).ok() {
                return Ok(began.elapsed());
            }
            if began.elapsed() > PATIENCE {
                return Err(Failure::new(Kind::Error, format!("{NAME}: {} of {RECORDS} were found", found["total"])));
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
}

async fn load(ehr: &Client, patient: &str, rng: &mut Rng) -> Outcome {
    let entry: Result<Vec<Value>, _> = (0..TOGETHER)
        .map(|_| {
            let resource: Value = serde_json::from_str(&data::observation(rng, patient))?;
            Ok(json!({ "resource": resource, "request": { "method": "POST", "url": "Observation" } }))
        })
        .collect();
    let entry = entry.map_err(|e: serde_json::Error| Failure::new(Kind::Error, e.to_string()))?;
    let bundle = json!({ "resourceType": "Bundle", "type": "transaction", "entry": entry });
    ehr.post("", &bundle).await?.ok("storing records")?;
    Ok(())
}
