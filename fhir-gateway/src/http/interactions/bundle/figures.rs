//! What taking a transaction apart costs, apart from the gateway's stores; printed, not asserted.

use std::{collections::HashMap, fs::File, io::Read, path::Path, time::Instant};

use flate2::read::GzDecoder;

use super::entries::resource;
use crate::fhir::{
    bundle::{self, Names, Target},
    json::{self, Link},
};

/// A transaction of a synthetic patient's records as an exporter makes it: every record is named by a `urn:uuid:`, and
/// refers to the others by it.
fn transaction(lines: &str) -> String {
    let mut names = HashMap::new();
    let mut entries = Vec::new();
    for line in lines.lines() {
        let document = json::parse(line.as_bytes()).unwrap();
        let (kind, id) = (document.resource_type().unwrap().to_owned(), document.id().unwrap().to_owned());
        let name = format!("urn:uuid:{id}");
        names.insert(format!("{kind}/{id}"), name.clone());
        let text = json::rewrite_references(line.as_bytes(), &|reference| names.get(reference).cloned());
        let text = String::from_utf8(text).unwrap();
        entries
            .push(format!(r#"{{"fullUrl":"{name}","resource":{text},"request":{{"method":"POST","url":"{kind}"}}}}"#));
    }
    format!(r#"{{"resourceType":"Bundle","type":"transaction","entry":[{}]}}"#, entries.join(","))
}

#[test]
#[ignore = "a measurement"]
#[allow(clippy::print_stdout, reason = "it is there to print")]
fn measure_taking_transactions_apart() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../demo-data");
    let mut bundles = Vec::new();
    for name in ["cedric", "lindsey", "nicholas", "weston"] {
        let mut text = String::new();
        let file = File::open(root.join(format!("{name}.ndjson.gz"))).unwrap();
        GzDecoder::new(file).read_to_string(&mut text).unwrap();
        bundles.push(transaction(&text));
    }
    let bytes: usize = bundles.iter().map(String::len).sum();
    let mut spent = [0.0_f64; 4];
    let mut resources = 0;
    for body in (0..20).flat_map(|_| &bundles) {
        let mut step = |at: usize, begun: Instant| spent[at] += begun.elapsed().as_secs_f64();
        let begun = Instant::now();
        json::check(body.as_bytes()).unwrap();
        step(0, begun);
        let begun = Instant::now();
        let read = bundle::read(body.as_bytes(), 1_000).unwrap();
        step(1, begun);
        let entries: Vec<_> = read.entries.into_iter().map(|entry| entry.ok().unwrap()).collect();
        let mut names = Names::default();
        for (n, entry) in entries.iter().enumerate() {
            let becomes = format!("{}/{n:032x}", entry.request.url);
            names.add(n, entry.full_url.as_deref().unwrap(), becomes).unwrap();
        }
        for entry in &entries {
            let begun = Instant::now();
            let text = &body.as_bytes()[entry.resource.clone().unwrap()];
            let rewritten = json::rewrite_links(text, &mut |found| {
                if found.link != Link::Reference {
                    return names.exactly(found.text);
                }
                match names.target(entry.full_url.as_deref(), found.text) {
                    Target::Entry(becomes) => Some(becomes),
                    _ => None,
                }
            });
            step(2, begun);
            let begun = Instant::now();
            resource(&entry.request.url, &rewritten).map_err(|fault| fault.to_string()).unwrap();
            step(3, begun);
            resources += 1;
        }
    }
    let all: f64 = spent.iter().sum();
    println!(
        "{:.0} resources/s of CPU, {:.0} bytes each; microseconds a resource: scan {:.1}, entries {:.1}, links {:.1}, parse and check {:.1}",
        f64::from(resources) / all,
        bytes as f64 * 20.0 / f64::from(resources),
        spent[0] * 1e6 / f64::from(resources),
        spent[1] * 1e6 / f64::from(resources),
        spent[2] * 1e6 / f64::from(resources),
        spent[3] * 1e6 / f64::from(resources),
    );
}
