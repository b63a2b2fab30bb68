//! Figures, printed and not judged:
//! `cargo test --release -p vouchsafe-gateway --lib index::tests::figures -- --ignored --nocapture`.

use std::time::{Duration, Instant};

use serde_json::{Value, json};
use vouchsafe_fhir_search::{Context, Facts, Handling, Limits, Query, extract, run};
use vouchsafe_types::{
    RecordId,
    merkle::{MapLeaf, RecordMap},
};

use super::{
    super::Scan,
    bed::{Act, Bed, id},
};
use crate::{records::RecordRow, seal::StoreKey};

const BASE: &str = "http://localhost/fhir";
const OF_A_CHART: usize = 1_333;
const TYPES: [&str; 10] = [
    "Observation",
    "Observation",
    "Observation",
    "Observation",
    "Observation",
    "Observation",
    "Condition",
    "Encounter",
    "Procedure",
    "Claim",
];

fn say(what: &str) {
    std::io::Write::write_all(&mut std::io::stderr(), format!("{what}\n").as_bytes()).unwrap();
}

/// A resource as Synthea makes them, as far as searches see it.
fn resource(chart: &RecordId, resource_type: &str, n: usize) -> Value {
    let day = format!("20{:02}-{:02}-{:02}T10:00:00Z", n % 24, n / 24 % 12 + 1, n % 28 + 1);
    let code = json!({ "coding": [{ "system": "http://loinc.org", "code": format!("{}-{}", n % 97, n % 7), "display": "A code" }], "text": "A code" });
    let patient = json!({ "reference": format!("Patient/{chart}") });
    let encounter = json!({ "reference": format!("Encounter/{}", id(9, u32::try_from(n / 12).unwrap())) });
    let category = json!([{ "coding": [{ "system": "http://terminology.hl7.org/CodeSystem/observation-category", "code": "laboratory" }] }]);
    match resource_type {
        "Observation" => json!({
            "resourceType": "Observation", "status": "final", "category": category, "code": code, "subject": patient,
            "encounter": encounter, "effectiveDateTime": day, "issued": day,
            "identifier": [{ "system": "urn:lab", "value": format!("{chart}-{n}") }],
            "valueQuantity": { "value": n % 1_000, "unit": "mg/dL", "system": "http://unitsofmeasure.org", "code": "mg/dL" },
        }),
        _ => json!({
            "resourceType": resource_type, "status": "finished", "code": code, "subject": patient, "patient": patient,
            "encounter": encounter, "recordedDate": day, "performedDateTime": day, "created": day,
            "period": { "start": day, "end": day }, "type": [code],
        }),
    }
}

fn acts(from: usize, count: usize) -> Vec<Act> {
    (from..from + count)
        .map(|n| {
            let chart = id(1, u32::try_from(n / OF_A_CHART).unwrap());
            let resource_type = TYPES[n % TYPES.len()];
            let value = Some(resource(&chart, resource_type, n));
            Act { id: id(2, u32::try_from(n).unwrap()), chart, resource_type, value }
        })
        .collect()
}

/// What writing took: the index's part, and the database's.
#[derive(Default)]
struct Spent {
    extract: Duration,
    index: Duration,
    commit: Duration,
}

async fn write(bed: &mut Bed, acts: &[Act], spent: &mut Spent) {
    bed.height += 1;
    let mut rows: Vec<(RecordRow, Facts)> = Vec::with_capacity(acts.len());
    for act in acts {
        let begin = Instant::now();
        let facts = extract(act.resource_type, act.value.as_ref().unwrap(), BASE);
        spent.extract += begin.elapsed();
        let row = bed.row(act);
        let map: &mut RecordMap = bed.maps.entry(act.chart).or_default();
        map.insert(MapLeaf { record: act.id, version: row.version, commitment: row.commitment, tombstone: false });
        rows.push((row, facts));
    }
    let (index, commit) = bed.commit(&rows).await;
    spent.index += index;
    spent.commit += commit;
}

fn query(bed: &Bed, charts: Option<&[RecordId]>, resource_type: &str, pairs: &[(&str, String)]) -> (usize, Duration) {
    let pairs: Vec<(String, String)> = pairs.iter().map(|(name, value)| ((*name).into(), value.clone())).collect();
    let context = Context { base: BASE, now: 0 };
    let query = Query::parse(Some(resource_type), &pairs, &context, Handling::Strict).unwrap();
    let catalog = |chart: &RecordId| bed.index.catalog(chart);
    let scan = Scan { index: &bed.index, charts, catalog: &catalog };
    let limits = Limits { scanned: usize::MAX, page: 50, included: 100 };
    let begin = Instant::now();
    let hits = run(&scan, &query, &limits, None).unwrap();
    (hits.matches.len(), begin.elapsed())
}

fn spread(what: &str, mut times: Vec<Duration>) {
    times.sort_unstable();
    let at = |part: usize| times[(times.len() - 1) * part / 100];
    say(&format!("  {what}: p50 {:?}, p95 {:?}, most {:?}", at(50), at(95), at(100)));
}

fn searches(bed: &Bed, size: usize) {
    let charts = u32::try_from(size / OF_A_CHART).unwrap();
    let chosen: Vec<RecordId> = (0..200).map(|n| id(1, n * 7_919 % charts)).collect();
    for round in ["first", "again"] {
        let times = chosen.iter().map(|chart| {
            let pairs = [("patient", chart.to_string()), ("date", "ge2010".into())];
            let (hits, time) = query(bed, Some(&[*chart]), "Observation", &pairs);
            assert_ne!(hits, 0);
            time
        });
        spread(&format!("Observation?patient=&date=, one of {charts} charts, {round}"), times.collect());
    }
    for round in ["first", "again"] {
        let times = (0..200).map(|n| {
            let n = n * 104_729 % size / 10 * 10;
            let chart = id(1, u32::try_from(n / OF_A_CHART).unwrap());
            let (hits, time) = query(bed, None, "Observation", &[("identifier", format!("urn:lab|{chart}-{n}"))]);
            assert_eq!(hits, 1);
            time
        });
        spread(&format!("Observation?identifier=, all charts, {round}"), times.collect());
    }
    let times = (0..50).map(|n| query(bed, None, "Observation", &[("code", format!("{}-{}", n % 97, n % 7))]).1);
    spread("Observation?code=, all charts, a page", times.collect());
    let times = (0..20).map(|n| query(bed, None, "Observation", &[("identifier", format!("urn:lab|none-{n}"))]).1);
    spread("Observation?identifier=, all charts, none", times.collect());
}

#[tokio::test]
#[ignore = "a measurement"]
async fn figures() {
    for size in [10_000, 100_000, 1_000_000] {
        let home = tempfile::tempdir().unwrap();
        let key = StoreKey::generate();
        let mut bed = Bed::new(home.path(), &key);
        let mut spent = Spent::default();
        let mut quarters = Vec::new();
        for from in (0..size).step_by(500) {
            write(&mut bed, &acts(from, 500), &mut spent).await;
            if (from + 500) % (size / 4) == 0 {
                quarters.push(format!("{:?}", (spent.index + spent.commit) / u32::try_from(from + 500).unwrap()));
            }
        }
        let each = |time: Duration| time / u32::try_from(size).unwrap();
        let (extract, index, commit) = (each(spent.extract), each(spent.index), each(spent.commit));
        say(&format!("{size} records in groups of 500: extract {extract:?}, index {index:?}, commit {commit:?} each"));
        say(&format!("  index and commit, by quarters: {quarters:?}"));
        searches(&bed, size);
        let mut spent = Spent::default();
        for n in 0..64 {
            let mut acts: Vec<Act> = Vec::new();
            for k in 0..64 {
                let chart = (n * 64 + k) * 31 % (size / OF_A_CHART);
                let mut act = acts_of(chart, size + n * 64 + k);
                acts.append(&mut act);
            }
            write(&mut bed, &acts, &mut spent).await;
        }
        let each = |time: Duration| time / (64 * 64);
        say(&format!(
            "  groups of 64 over as many charts: index {:?}, commit {:?} each",
            each(spent.index),
            each(spent.commit)
        ));
        say(&format!(
            "  memory: cache {} B, summary {} B",
            bed.index.inner.cache.bytes(),
            bed.index.inner.summary.bytes()
        ));
        bed.db.close().await;
        let bytes = std::fs::metadata(home.path().join("index.redb")).unwrap().len();
        say(&format!("  on disk: {} B a record", bytes / size as u64));
        (bed.db, bed.index) = Bed::open(home.path(), &key);
        let begin = Instant::now();
        query(&bed, None, "Observation", &[("identifier", "urn:lab|none".into())]);
        say(&format!("  opened again, the first search over all charts: {:?}", begin.elapsed()));
        searches(&bed, size);
    }
}

fn acts_of(chart: usize, n: usize) -> Vec<Act> {
    let chart = id(1, u32::try_from(chart).unwrap());
    let value = Some(resource(&chart, "Observation", n));
    vec![Act { id: id(2, u32::try_from(n).unwrap()), chart, resource_type: "Observation", value }]
}
