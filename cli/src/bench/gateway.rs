//! `vouchsafe bench gateway`: how fast the gateway takes, gives and finds records, beside a plain store in the same run.

use std::{path::PathBuf, sync::Arc, time::Duration};

use super::{
    data::{self, FIRST_YEAR, Rng, YEARS},
    figure::{Figure, Report, Target},
    import,
    load::{self, Judge, Load, Measured, Request},
    population::{self, Population},
    server::{Server, Writer},
    session,
    wire::Connection,
};
use crate::exit::{Context, Failure, Kind, Outcome};

/// How a bench is run.
pub(crate) struct Setting {
    /// Seconds that each figure is measured.
    pub(crate) seconds: u64,
    pub(crate) seed: u64,
    /// What is measured; all when empty.
    pub(crate) only: Vec<String>,
    /// A directory of Synthea's output to import; Bundles are made from the seed without it.
    pub(crate) synthea: Option<PathBuf>,
    /// Where the bench keeps what it makes.
    pub(crate) scratch: PathBuf,
}

impl Setting {
    pub(crate) fn wants(&self, name: &str) -> bool {
        self.only.is_empty() || self.only.iter().any(|o| o == name)
    }
}

/// Patients that a server holds, and observations of each.
const PATIENTS: usize = 100;
const EACH: usize = 100;

/// What is asked of a server.
#[derive(Clone, Copy)]
enum Work {
    Create,
    Read,
    SearchPatientDate,
    /// Over all charts: how an EHR finds the patient in front of it.
    SearchIdentifier,
}

/// Name, work, connections, and what it should reach: those that HAPI and Helios reached on a machine of two cores, times
/// what the issue asks for.
const LOADS: [(&str, Work, u64, f64); 5] = [
    ("create_16", Work::Create, 16, 912.0),
    ("create_64", Work::Create, 64, 2000.0),
    ("read_8", Work::Read, 8, 1.5 * 4232.0),
    ("read_64", Work::Read, 64, 0.5 * 22_309.0),
    ("search_patient_date_8", Work::SearchPatientDate, 8, 5.0 * 586.0),
];

/// The names of the figures.
pub(crate) fn names() -> impl Iterator<Item = &'static str> {
    LOADS.iter().map(|l| l.0).chain([import::NAME, session::NAME])
}

/// Measures everything on every server; the first is ours, the others are the baselines.
pub(crate) async fn all(setting: &Setting, servers: &[Server], http: &reqwest::Client, report: &mut Report) -> Outcome {
    if setting.wants(import::NAME) {
        import::measure(setting, servers, http, report).await?;
    }
    loads(setting, servers, report).await?;
    if setting.wants(session::NAME) && servers[0].name == super::OURS {
        session::measure(setting.seed, &setting.scratch, &servers[1..], report).await?;
    }
    Ok(())
}

/// Measures every load on every server; the first is ours, the others are the baselines.
async fn loads(setting: &Setting, servers: &[Server], report: &mut Report) -> Outcome {
    if !LOADS.iter().any(|l| setting.wants(l.0)) {
        return Ok(());
    }
    let mut filled = Vec::new();
    for server in servers {
        super::progress(&format!("filling {} with {PATIENTS} patients", server.name));
        filled.push(Arc::new(population::fill(server, setting.seed, PATIENTS, EACH).await?));
    }
    for (name, work, connections, target) in LOADS {
        if !setting.wants(name) {
            continue;
        }
        let mut measured = Vec::new();
        for (server, population) in servers.iter().zip(&filled) {
            super::progress(&format!("{name}: {}", server.name));
            measured.push(measure(setting, server, population, work, connections).await?);
        }
        tell(name, target, servers, &measured, report);
    }
    Ok(())
}

/// Only puts the load on one server, and tells what came of it.
pub(crate) async fn alone(setting: &Setting, server: Server, report: &mut Report) -> Outcome {
    let http = http()?;
    all(setting, &[server], &http, report).await
}

/// The client that fills and imports; the loads have their own.
pub(crate) fn http() -> Outcome<reqwest::Client> {
    let http = reqwest::Client::builder().timeout(Duration::from_secs(120)).build();
    http.doing(Kind::Error, || "an HTTP client".into())
}

fn tell(name: &str, target: f64, servers: &[Server], measured: &[Measured], report: &mut Report) {
    let Some((ours, others)) = measured.split_first() else { return };
    let figures = [
        (name.to_owned(), Measured::rate as fn(&Measured) -> f64, "1/s", Some(Target::AtLeast(target))),
        (format!("{name}_p50"), |m: &Measured| m.p50, "s", None),
        (format!("{name}_p95"), |m: &Measured| m.p95, "s", None),
    ];
    for (name, of, unit, target) in figures {
        let figure = Figure::new(name, of(ours), unit);
        let figure =
            if servers[0].name == super::OURS { target.map_or(figure.clone(), |t| figure.should(t)) } else { figure };
        if others.is_empty() {
            report.tell(figure.clone());
        }
        for (server, other) in servers.iter().skip(1).zip(others) {
            report.tell(figure.clone().beside(&server.name, of(other)));
        }
    }
}

/// The load of searches by patient and date, alone.
pub(super) async fn search_patient_date(
    setting: &Setting,
    server: &Server,
    population: &Arc<Population>,
) -> Outcome<Measured> {
    measure(setting, server, population, Work::SearchPatientDate, 8).await
}

/// Measures searches for a patient by an identifier.
pub(super) async fn search_identifier(
    setting: &Setting,
    server: &Server,
    population: &Arc<Population>,
) -> Outcome<Measured> {
    measure(setting, server, population, Work::SearchIdentifier, 8).await
}

async fn measure(
    setting: &Setting,
    server: &Server,
    population: &Arc<Population>,
    work: Work,
    connections: u64,
) -> Outcome<Measured> {
    let (request, judge) = requests(work, server.writer().await?, population);
    match work {
        // A hundred observations over ten years are ten a year.
        Work::SearchPatientDate => finds(server, &request, setting.seed, 5).await?,
        Work::SearchIdentifier => finds(server, &request, setting.seed, 1).await?,
        Work::Create | Work::Read => {}
    }
    let load = Load {
        connections,
        warm_up: Duration::from_secs(setting.seconds.div_ceil(4)),
        measured: Duration::from_secs(setting.seconds),
        seed: setting.seed,
        request,
        judge,
    };
    load::run(server, load).await
}

fn requests(work: Work, writer: Writer, population: &Arc<Population>) -> (Request, Judge) {
    let population = Arc::clone(population);
    match work {
        Work::Create => {
            let request = move |rng: &mut Rng, out: &mut Vec<u8>| {
                let patient = rng.one(&population.patients).clone();
                writer.post(out, "/Observation", &data::observation(rng, &patient));
            };
            (Arc::new(request), |answer| answer.status == 201)
        }
        Work::Read => {
            let request = move |rng: &mut Rng, out: &mut Vec<u8>| {
                writer.get(out, &format!("/{}", rng.one(&population.observations)));
            };
            (Arc::new(request), |answer| answer.status == 200 && !answer.body.is_empty())
        }
        Work::SearchPatientDate => {
            let request = move |rng: &mut Rng, out: &mut Vec<u8>| {
                let patient = rng.one(&population.patients).clone();
                let year = FIRST_YEAR + rng.below(YEARS);
                let dates = format!("date=ge{year}-01-01&date=le{year}-12-31");
                writer.get(out, &format!("/Observation?patient={patient}&{dates}&_count=10"));
            };
            (Arc::new(request), |answer| answer.status == 200 && !answer.body.is_empty())
        }
        Work::SearchIdentifier => {
            let request = move |rng: &mut Rng, out: &mut Vec<u8>| {
                let identifier = rng.one(&population.identifiers);
                writer.get(out, &format!("/Patient?identifier={}%7C{identifier}", data::SYSTEM));
            };
            (Arc::new(request), |answer| answer.status == 200 && !answer.body.is_empty())
        }
    }
}

/// A search that is measured must find something: a server that ignores a parameter, or finds nothing, is fast.
async fn finds(server: &Server, request: &Request, seed: u64, each: usize) -> Outcome {
    let mut connection = Connection::new(server.addr);
    let mut rng = Rng::new(seed);
    let mut found = 0;
    for _ in 0..20 {
        let mut bytes = Vec::new();
        request(&mut rng, &mut bytes);
        let answer = connection.exchange(&bytes).await.doing(Kind::Unavailable, || server.name.clone())?;
        let bundle: serde_json::Value = serde_json::from_slice(answer.body).unwrap_or_default();
        let entries = bundle["entry"].as_array().map_or(0, Vec::len);
        if answer.status != 200 || entries > 10 {
            return Err(load::unexpected(&answer));
        }
        found += entries;
    }
    if found < 20 * each {
        return Err(Failure::new(Kind::Error, format!("{}: 20 searches found {found} results", server.name)));
    }
    Ok(())
}
