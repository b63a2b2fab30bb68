//! serde and the JSON Schemas agree on every vector.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
};

use serde_json::Value;
use vouchsafe_types::{
    Kid, Tx,
    jws::{Unverified, attach, signing_input},
};

use crate::{
    files::{self, schemas},
    samples,
};

fn short(typ: &str) -> &str {
    typ.strip_prefix("vouchsafe/").unwrap()
}

fn schema(name: &str) -> Value {
    let text = fs::read_to_string(schemas().join(format!("tx/{name}.schema.json"))).unwrap();
    serde_json::from_str(&text).unwrap()
}

/// Whether the codec takes a payload, as part of a whole transaction.
fn parses(name: &str, payload: &[u8]) -> bool {
    let input = signing_input(&Kid::of("any", &[]), &format!("vouchsafe/{name}"), "chain", payload);
    Unverified::parse(attach(&input, &[0; 64]).as_bytes(), "chain").is_ok()
}

fn pretty(value: &Value) -> String {
    format!("{}\n", serde_json::to_string_pretty(value).unwrap())
}

/// The vectors by folder, by file.
fn vectors() -> BTreeMap<String, BTreeMap<String, String>> {
    let mut all: BTreeMap<String, BTreeMap<String, String>> = BTreeMap::new();
    for (vector, tx) in samples::valid() {
        let name = short(tx.typ());
        let payload: Value = serde_json::from_slice(&tx.payload_bytes()).unwrap();
        if !all.contains_key(&format!("{name}/valid")) {
            let faults = samples::invalid(name, &payload);
            let files = faults.into_iter().map(|(fault, bad)| (format!("{fault}.json"), pretty(&bad)));
            all.insert(format!("{name}/invalid"), files.collect());
        }
        all.entry(format!("{name}/valid")).or_default().insert(format!("{vector}.json"), pretty(&payload));
    }
    all
}

#[test]
fn every_transaction_has_a_schema_and_its_vectors() {
    let vectors = vectors();
    for (folder, expected) in &vectors {
        files::same(&schemas().join("tx").join(folder), expected);
    }
    for typ in Tx::TYPS {
        let name = short(typ);
        assert!(!vectors[&format!("{name}/valid")].is_empty());
        assert!(vectors[&format!("{name}/invalid")].len() >= 3);
        assert_eq!(schema(name)["title"], **typ);
    }
    let listed: BTreeSet<String> = fs::read_dir(schemas().join("tx"))
        .unwrap()
        .filter_map(|e| e.unwrap().file_name().to_str().unwrap().strip_suffix(".schema.json").map(str::to_owned))
        .collect();
    let known: BTreeSet<String> = Tx::TYPS.iter().map(|typ| short(typ).to_owned()).collect();
    assert_eq!(listed, known, "no schema for a transaction that does not exist");
}

#[test]
fn serde_and_the_schemas_agree_on_every_vector() {
    for typ in Tx::TYPS {
        let name = short(typ);
        let schema = schema(name);
        jsonschema::meta::validate(&schema).unwrap();
        let validator = jsonschema::validator_for(&schema).unwrap();
        for (folder, expected) in [("valid", true), ("invalid", false)] {
            for (file, text) in files::read(&schemas().join("tx").join(name).join(folder)) {
                let value: Value = serde_json::from_str(&text).unwrap();
                assert_eq!(validator.is_valid(&value), expected, "the schema on {name}/{folder}/{file}");
                assert_eq!(parses(name, text.as_bytes()), expected, "serde on {name}/{folder}/{file}");
            }
        }
    }
}

#[test]
fn a_definition_is_the_same_in_every_schema() {
    let mut definitions: BTreeMap<String, Value> = BTreeMap::new();
    for typ in Tx::TYPS {
        for (name, definition) in schema(short(typ))["$defs"].as_object().unwrap() {
            let first = definitions.entry(name.clone()).or_insert_with(|| definition.clone());
            assert_eq!(first, definition, "{name} in {typ}");
        }
    }
}
