//! `credentials.json` has the shape that outside programs rely on, and only its owner reads private keys.

use std::{collections::BTreeSet, fs, os::unix::fs::PermissionsExt, path::Path};

use serde_json::Value;

use crate::support::{files, played};

const MEMBERS: [&str; 8] = ["role", "name", "organization", "account", "fhirUser", "base", "client_id", "jwks"];
const ROLES: [&str; 8] = ["authority", "hospital", "laboratory", "insurer", "system", "doctor", "patient", "operator"];

fn kinds(party: &Value) -> BTreeSet<&str> {
    let keys = party["jwks"]["keys"].as_array().unwrap().iter();
    keys.map(|k| k["crv"].as_str().unwrap_or_else(|| k["kty"].as_str().unwrap())).collect()
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o777
}

#[test]
fn every_party_has_the_promised_members() {
    let parties = played().parties();
    let mut names = BTreeSet::new();
    for party in &parties {
        let members: BTreeSet<&str> = party.as_object().unwrap().keys().map(String::as_str).collect();
        assert_eq!(members, MEMBERS.into(), "{}", party["name"]);
        let role = party["role"].as_str().unwrap();
        assert!(ROLES.contains(&role), "{role}");
        assert!(names.insert(party["name"].as_str().unwrap()), "{} comes twice", party["name"]);
        let base = party["base"].as_str().unwrap();
        assert!(base.starts_with("http://127.0.0.1:") && base.ends_with("/fhir"), "{base}");
        let hospital = party["organization"].as_str().unwrap();
        assert!(parties.iter().any(|p| p["name"] == hospital), "{hospital} is no party");
    }
    for role in &ROLES[..7] {
        assert!(parties.iter().any(|p| p["role"] == *role), "nobody is a {role}");
    }
}

#[test]
fn each_holds_the_keys_that_are_its_own() {
    for party in played().parties() {
        let (role, name) = (party["role"].as_str().unwrap(), party["name"].as_str().unwrap());
        let expected: &[&str] = match (role, name) {
            ("system", _) => &["P-384"],
            // The only openly custodial account: its keys are the hospital's to keep.
            (_, "cedric") => &[],
            ("doctor" | "patient" | "insurer", _) => &["P-384", "Ed25519", "RSA"],
            // An organisation's own keys never leave its keystore.
            _ => &[],
        };
        assert_eq!(kinds(&party), expected.iter().copied().collect(), "{name}");
        assert_eq!(party["account"].is_null(), role == "system", "{name}");
        assert_eq!(party["client_id"].is_null(), expected.is_empty(), "{name}");
        for key in party["jwks"]["keys"].as_array().unwrap() {
            assert!(key["d"].is_string(), "a key of {name} is not private");
        }
        if matches!(role, "doctor" | "patient") {
            let user = party["fhirUser"].as_str().unwrap();
            assert!(user.starts_with(if role == "doctor" { "Practitioner/" } else { "Patient/" }), "{user}");
        }
    }
}

#[test]
fn private_keys_are_their_owners_alone() {
    let home = &played().home;
    assert_eq!(mode(&home.join("credentials.json")), 0o600);
    let named = |name: &str| files(home).into_iter().filter(|f| f.file_name().unwrap() == name).collect::<Vec<_>>();
    for (name, at_least) in [("device.jwks.json", 5), ("unlock.key", 4), ("validator.key", 1)] {
        let found = named(name);
        assert!(found.len() >= at_least, "{name}: {found:?}");
        for path in found {
            assert_eq!(mode(&path), 0o600, "{}", path.display());
        }
    }
}
