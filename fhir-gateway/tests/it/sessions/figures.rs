//! How long a doctor waits from the opening of a session to the first answer. A measurement, not a test; run it alone:
//! `cargo test --release -p vouchsafe-gateway --test it sessions::figures -- --ignored --nocapture`.

#![allow(clippy::print_stdout, reason = "a measurement says what it measured")]

use std::time::{Duration, Instant};

use futures::{StreamExt, stream};
use serde_json::{Value, json};

use super::steps::{Visit, Wish, nothing, until};
use crate::support::observation;

/// The records of the patient at the other hospital; `RECORDS` in the environment sets another number.
fn records() -> usize {
    std::env::var("RECORDS").ok().and_then(|n| n.parse().ok()).unwrap_or(2_000)
}

/// A laboratory result of 1 to 2 KB, as an EHR writes one.
fn result(patient: &str, performer: &str, n: usize) -> Value {
    let mut body = observation(patient, "4548-4", &format!("20{:02}-{:02}-{:02}", n % 25, n % 12 + 1, n % 28 + 1));
    body["identifier"] = json!([{ "system": "https://lab.example/results", "value": format!("R-{n:08}") }]);
    body["performer"] = json!([{ "reference": format!("Practitioner/{performer}"), "display": "Labor Dr. Muster" }]);
    body["code"]["text"] = "Hämoglobin A1c/Hämoglobin.gesamt im Blut".into();
    body["valueQuantity"] = json!({ "value": 6.1, "unit": "%", "system": "http://unitsofmeasure.org", "code": "%" });
    body["interpretation"] = json!([{ "coding": [{
        "system": "http://terminology.hl7.org/CodeSystem/v3-ObservationInterpretation", "code": "H", "display": "High"
    }] }]);
    body["referenceRange"] = json!([{
        "low": { "value": 4.0, "unit": "%" }, "high": { "value": 5.6, "unit": "%" }, "text": "4,0 bis 5,6 %"
    }]);
    body["note"] = json!([{ "text": "Probe ohne Auffälligkeit angenommen. ".repeat(1 + n % 20) }]);
    body
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "a measurement"]
async fn opening_a_session_and_the_first_search() {
    for round in 1..=6 {
        // Everything anew each time: nothing is cached of a patient who was never seen.
        let v = Visit::start().await;
        measure(&v, round, round > 4).await;
        v.c.end().await;
    }
}

/// The time that all threads of this process had a core: both gateways, the ledger and the client. On a machine that others
/// use too it says more than the clock on the wall.
fn cpu() -> Duration {
    let tasks = std::fs::read_dir("/proc/self/task").unwrap().filter_map(Result::ok);
    let of = |task: std::fs::DirEntry| -> Option<u64> {
        std::fs::read_to_string(task.path().join("schedstat")).ok()?.split(' ').next()?.parse().ok()
    };
    Duration::from_nanos(tasks.filter_map(of).sum())
}

/// With `phases` it is watched when everything was handed over and when it was indexed, before anybody searches.
async fn measure(v: &Visit, round: usize, phases: bool) {
    let count = records();
    let a = v.c.system("hospital-a");
    let performer = a.post("Practitioner", &json!({ "resourceType": "Practitioner" })).await.created();
    let begun = Instant::now();
    let bodies = (0..count).map(|n| result(&v.at_a, &performer, n));
    let bytes: usize = bodies.clone().map(|b| b.to_string().len()).sum();
    stream::iter(bodies)
        .map(|body| {
            let a = &a;
            async move { a.post("Observation", &body).await.created() }
        })
        .buffer_unordered(64)
        .collect::<Vec<_>>()
        .await;
    println!("{count} records of {} bytes written in {:.1?}", bytes / count, begun.elapsed());
    let id = v.ask(&Wish::default()).await;
    v.approve(&id, None).await.expect(200);
    // The custodian prepares what it will hand over when the grant commits; a doctor needs longer for the next click.
    tokio::time::sleep(Duration::from_secs(3)).await;
    let path = format!("Consent/{id}/$open-session");
    let doctors = v.doctors();
    let prepared = doctors.post(&format!("{path}/$prepare"), &nothing()).await.expect(200);
    let tx = v.doctor.sign(&prepared);
    let (begun, work) = (Instant::now(), cpu());
    let opened = doctors.post_with(&path, &nothing(), &[("vouchsafe-tx", &tx)]).await;
    opened.expect(200);
    let opening = begun.elapsed();
    let session = opened.header("vouchsafe-session").to_owned();
    if phases {
        let (b, id) = (v.c.gateway("hospital-b"), session.parse().unwrap());
        let answered = || async { vouchsafe_gateway::sessions::missing(&b, &id) == Some(0) };
        until("all is handed over", answered).await;
        println!("handed over {:.1?}, cpu {:.1?}", begun.elapsed(), cpu() - work);
        let indexed = || async { vouchsafe_gateway::sessions::in_memory(&b, &id) == Some((1, count + 1)) };
        until("all is indexed", indexed).await;
        println!("indexed {:.1?}, cpu {:.1?}", begun.elapsed(), cpu() - work);
    }
    let search = format!("Observation?patient={}&date=ge2023&_count=20&_total=accurate", v.at_b);
    let matching = (0..count).filter(|n| n % 25 >= 23).count();
    let mut searches = 0;
    loop {
        searches += 1;
        let bundle = doctors.get_with(&search, &[("vouchsafe-session", &session)]).await.expect(200);
        if bundle["total"] == matching {
            break;
        }
        assert!(begun.elapsed() < Duration::from_secs(60), "the records do not come: {}", bundle["total"]);
    }
    let (whole, work) = (begun.elapsed(), cpu() - work);
    let begun = Instant::now();
    doctors.get_with(&search, &[("vouchsafe-session", &session)]).await.expect(200);
    let next = begun.elapsed();
    println!(
        "round {round}: opened {opening:.1?}, all found {whole:.1?} ({searches} searches, cpu {work:.1?}), next {next:.1?}"
    );
}
