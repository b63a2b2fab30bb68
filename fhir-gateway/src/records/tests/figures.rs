//! Figures, printed and not judged: `cargo test --release -p vouchsafe-gateway --lib measure -- --ignored --nocapture
//! --test-threads 1`. `VOUCHSAFE_MEASURE` says how many records there are to be in the end.

use std::{
    sync::atomic::{AtomicUsize, Ordering},
    time::Instant,
};

use futures::{StreamExt, future::join_all, stream};
use serde_json::json;
use vouchsafe_types::RecordId;

use super::submitting::{act, create, submission};
use crate::{
    policy::Permit,
    records::{Act, ActKind, Records, Submission},
    testing::{Consortium, Site, Write, observation, patient, write},
};

fn print(line: &str) {
    std::io::Write::write_all(&mut std::io::stderr(), format!("{line}\n").as_bytes()).unwrap();
}

/// Seconds of both cores that this process has used.
fn cpu() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap();
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap().split_whitespace().collect();
    (fields[11].parse::<f64>().unwrap() + fields[12].parse::<f64>().unwrap()) / 100.0
}

/// Megabytes that this process has in memory now.
fn memory() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() / 1024
}

struct Watch(Instant, f64);

impl Watch {
    fn start() -> Self {
        Self(Instant::now(), cpu())
    }

    fn say(&self, what: &str, count: usize) {
        let (seconds, cpu) = (self.0.elapsed().as_secs_f64(), cpu() - self.1);
        let count = f64::from(u32::try_from(count).unwrap());
        let (rate, each) = (count / seconds, cpu / count * 1e3);
        print(&format!("{what}: {rate:.0}/s, {each:.3} ms of CPU each, {} MB", memory()));
    }
}

/// An Observation of about 1 KB, as Synthea makes them.
fn typical(chart: RecordId, n: usize) -> Write {
    let code = ["8302-2", "29463-7", "39156-5", "8867-4", "9279-1", "2339-0", "6299-2", "38483-4"][n % 8];
    let value = json!({
        "resourceType": "Observation", "status": "final",
        "meta": { "profile": ["http://hl7.org/fhir/StructureDefinition/vitalsigns"] },
        "category": [{ "coding": [{
            "system": "http://terminology.hl7.org/CodeSystem/observation-category", "code": "vital-signs", "display": "Vital signs",
        }] }],
        "code": { "coding": [{ "system": "http://loinc.org", "code": code, "display": "Some vital sign" }], "text": "Some vital sign" },
        "subject": { "reference": format!("Patient/{chart}") },
        "encounter": { "reference": format!("Encounter/{:032x}", n / 9) },
        "effectiveDateTime": format!("20{:02}-0{}-1{}T08:00:00+00:00", n / 90 % 25, 1 + n % 9, n % 10),
        "issued": format!("20{:02}-0{}-1{}T08:00:00.123+00:00", n / 90 % 25, 1 + n % 9, n % 10),
        "valueQuantity": { "value": 20 + n % 180, "unit": "kg", "system": "http://unitsofmeasure.org", "code": "kg" },
        "note": [{ "text": format!("{n:0300}") }],
    });
    write("Observation", chart, &value)
}

async fn chart(site: &Site) -> RecordId {
    let id = Records::new_id();
    let opens = act(id, ActKind::Create, patient(id));
    site.records.submit(submission(vec![opens])).await.unwrap();
    id
}

fn wanted() -> usize {
    std::env::var("VOUCHSAFE_MEASURE").ok().map_or(10_000, |n| n.parse().unwrap())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "a measurement"]
async fn measure_single_creates() {
    let consortium = Consortium::new();
    let site = consortium.site("a").await;
    let charts: Vec<RecordId> = join_all((0..30).map(|_| chart(&site))).await;
    for (clients, count) in [(1, 200), (16, 3_000), (64, 6_000)] {
        let watch = Watch::start();
        let next = AtomicUsize::new(0);
        let client = async || loop {
            let n = next.fetch_add(1, Ordering::SeqCst);
            if n >= count {
                return;
            }
            let act = create(typical(charts[n * 7 % charts.len()], n));
            site.records.submit(submission(vec![act])).await.unwrap();
        };
        join_all((0..clients).map(|_| client())).await;
        watch.say(&format!("creates of one, {clients} clients"), count);
    }
}

/// As an import does it: a Patient with some hundred records in each transaction, two transactions at a time.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "a measurement"]
async fn measure_transactions() {
    let consortium = Consortium::new();
    let site = consortium.site("a").await;
    let transaction = |first: usize, patient_of: Option<RecordId>| -> Submission {
        let id = patient_of.unwrap_or_else(Records::new_id);
        let mut acts: Vec<Act> = (1..500).map(|n| create(typical(id, first + n))).collect();
        acts.push(match patient_of {
            None => act(id, ActKind::Create, patient(id)),
            Some(_) => create(typical(id, first)),
        });
        submission(acts)
    };
    let (wanted, mut done) = (wanted(), 0);
    while done < wanted {
        let watch = Watch::start();
        let part = (wanted / 10).max(2_000);
        // Three transactions a chart, made outside of what is measured: a client does that.
        let starts = stream::iter((done..done + part).step_by(1_500));
        let imported = starts.map(|first| {
            let (site, transaction) = (&site, &transaction);
            async move {
                let opens = transaction(first, None);
                let id = opens.acts.last().unwrap().id;
                site.records.submit(opens).await.unwrap();
                for n in 1..3 {
                    site.records.submit(transaction(first + n * 500, Some(id))).await.unwrap();
                }
            }
        });
        imported.buffer_unordered(2).collect::<Vec<()>>().await;
        let count = part.div_ceil(1_500) * 1_500;
        done += count;
        watch.say(&format!("transactions of 500, up to {done}"), count);
    }
    let watch = Watch::start();
    let next = AtomicUsize::new(0);
    let charts: Vec<RecordId> = site.charts_for_tests().into_iter().take(200).collect();
    let client = async || loop {
        let n = next.fetch_add(1, Ordering::SeqCst);
        if n >= 3_000 {
            return;
        }
        let act = create(typical(charts[n * 7 % charts.len()], n));
        site.records.submit(submission(vec![act])).await.unwrap();
    };
    join_all((0..64).map(|_| client())).await;
    watch.say("then creates of one, 64 clients", 3_000);
}

#[tokio::test(flavor = "multi_thread")]
async fn figures() {
    let consortium = Consortium::new();
    let site = consortium.site("a").await;
    let chart = site.patient().await.id;
    let mut rows = Vec::new();
    for (clients, count) in [(1, 20), (16, 200), (64, 1_000)] {
        let watch = Watch::start();
        let writes = stream::iter(0..count).map(|n| site.records.create(observation(chart, &format!("{n:01500}"))));
        let done: Vec<_> = writes.buffer_unordered(clients).collect().await;
        watch.say(&format!("create, {clients} clients"), count);
        rows.extend(done.into_iter().map(Result::unwrap));
    }
    let permit = Permit::for_tests();
    for clients in [1, 8] {
        let watch = Watch::start();
        let reads = stream::iter(&rows).map(|row| async {
            let slot = site.audit.reserve().await.unwrap();
            let row = site.records.row(&row.id, None).unwrap().unwrap();
            site.records.open(&permit, &row).await.unwrap();
            slot.release();
        });
        reads.buffer_unordered(clients).collect::<Vec<()>>().await;
        watch.say(&format!("read, {clients} clients"), rows.len());
    }
    let watch = Watch::start();
    let listed = site.records.list(&chart, Some("Observation")).unwrap().len();
    watch.say("rows listed", listed);
}
