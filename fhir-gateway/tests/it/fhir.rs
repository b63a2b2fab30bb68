//! What is published in schemas/fhir and shipped in demo-data, against the code.

use std::{collections::HashSet, fs, io::Read, path::PathBuf};

use flate2::read::GzDecoder;
use serde_json::Value;
use vouchsafe_gateway::fhir::{
    category::{Category, Tier, categorize},
    compartment::{ResourceClass, class_of_resource, patient_of},
    date::clinical_date,
    json::{self, Splice},
    json_path,
};

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn published() -> Vec<(String, Value)> {
    let files = fs::read_dir(root().join("schemas/fhir")).unwrap().map(|f| f.unwrap().path());
    let resources = files.filter(|p| p.extension().is_some_and(|e| e == "json")).map(|path| {
        let value: Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
        (path.file_stem().unwrap().to_str().unwrap().to_owned(), value)
    });
    resources.filter(|(_, v)| v.get("resourceType").is_some()).collect()
}

fn codes(name: &str) -> Vec<String> {
    let all = published();
    let (_, system) = all.iter().find(|(n, _)| n == name).unwrap();
    json_path::texts(system, "concept.code").into_iter().map(str::to_owned).collect()
}

#[test]
fn every_published_definition_is_valid_r4_under_its_own_name() {
    let all = published();
    assert!(all.len() >= 19);
    for (name, value) in all {
        let kind = value["resourceType"].as_str().unwrap();
        vouchsafe_fhir_structure::check(kind, &serde_json::to_vec(&value).unwrap()).unwrap();
        let id = value["id"].as_str().unwrap();
        assert_eq!(name, format!("{kind}-{id}"));
        assert_eq!(value["url"], format!("https://vouchsafe.example/{kind}/{id}"));
    }
}

#[test]
fn the_code_systems_hold_what_the_code_has() {
    let categories: Vec<&str> = Category::all().iter().map(|c| c.code()).collect();
    assert_eq!(codes("CodeSystem-category"), categories);
    let rejections: Vec<&str> = vouchsafe_types::Code::ALL.iter().map(|c| c.name()).collect();
    assert_eq!(codes("CodeSystem-rejection"), rejections);
}

fn demo() -> Vec<(String, Vec<Vec<u8>>)> {
    let files = fs::read_dir(root().join("demo-data")).unwrap().map(|f| f.unwrap().path());
    let read = |path: PathBuf| {
        let mut text = String::new();
        GzDecoder::new(fs::File::open(&path).unwrap()).read_to_string(&mut text).unwrap();
        (path.display().to_string(), text.lines().map(|l| l.as_bytes().to_vec()).collect())
    };
    files.filter(|p| p.extension().is_some_and(|e| e == "gz")).map(read).collect()
}

#[test]
fn every_line_of_the_demo_data_is_valid_r4_and_refers_backwards() {
    let files = demo();
    assert!(files.len() >= 3);
    for (file, lines) in files {
        assert!((50..=150).contains(&lines.len()), "{file}");
        let mut seen = HashSet::new();
        for line in lines {
            let document = json::parse(&line).unwrap();
            let kind = document.resource_type().unwrap();
            vouchsafe_fhir_structure::check(kind, &line).unwrap();
            seen.insert(format!("{kind}/{}", document.id().unwrap()));
            json::rewrite_references(&line, &|reference| {
                assert!(reference.starts_with('#') || seen.contains(reference), "{file}: {reference}");
                None
            });
        }
    }
}

#[test]
fn the_demo_data_is_sealed_and_spliced_byte_for_byte() {
    let add =
        Splice { id: "x", version: "1", last_updated: "2026-11-22T21:00:00.000Z", labels: &["other"], source: None };
    for (file, lines) in demo() {
        for line in lines {
            let sealed = json::sealed_form(&line);
            assert!(sealed.len() < line.len(), "{file}");
            let read = json::splice(&sealed, &add);
            vouchsafe_fhir_structure::check(json::parse(&read).unwrap().resource_type().unwrap(), &read).unwrap();
            assert_eq!(json::sealed_form(&read), sealed);
        }
    }
}

#[test]
fn each_demo_patient_has_something_for_every_tier_and_one_chart() {
    for (file, lines) in demo() {
        let mut tiers = HashSet::new();
        let mut patients = HashSet::new();
        for line in lines {
            let document = json::parse(&line).unwrap();
            let (kind, value) = (document.resource_type().unwrap(), document.value());
            if class_of_resource(kind, value) == ResourceClass::Patient {
                tiers.insert(categorize(kind, value).tier());
                patients.insert(patient_of(kind, value).unwrap().text);
                assert!(
                    matches!(kind, "Patient" | "CareTeam" | "Device" | "ImagingStudy")
                        || clinical_date(kind, value).is_some(),
                    "{file}: {kind}"
                );
            }
        }
        assert_eq!(tiers, HashSet::from([Tier::Sensitive, Tier::Emergency, Tier::Clinical]), "{file}");
        assert_eq!(patients.len(), 1, "{file}");
    }
}
