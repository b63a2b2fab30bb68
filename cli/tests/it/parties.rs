//! The demo's parties are separate: no gateway's home holds another's keys, or a patient's but for the openly custodial.

use std::{collections::BTreeSet, fs, path::PathBuf};

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use serde_json::Value;
use vouchsafe_gateway::seal::keystore::{FileKeystore, Keystore, KeystoreError};

use crate::support::{files, holding, json, played};

const ORGS: [&str; 4] = ["hospital-a", "hospital-b", "laboratory", "authority"];

fn gateway(org: &str) -> PathBuf {
    played().home.join("gateways").join(org)
}

/// The sealed keys of a keystore with the names that they were sealed under.
fn sealed(org: &str) -> Vec<PathBuf> {
    let keys = files(&gateway(org).join("keystore"));
    let keys: Vec<PathBuf> = keys.into_iter().filter(|f| f.extension().is_some_and(|e| e == "key")).collect();
    assert!(!keys.is_empty(), "{org} has no keys");
    keys
}

/// Opens one kind of key; the kind that a name has is known only to who opens it.
type Try = fn(&FileKeystore, &str) -> Result<(), KeystoreError>;

const KINDS: [Try; 4] = [
    |s, n| s.ed25519(n).map(|_| ()),
    |s, n| s.rsa(n.trim_end_matches(".rsa")).map(|_| ()),
    |s, n| s.store_seal(n).map(|_| ()),
    |s, n| s.custody_root(n).map(|_| ()),
];

/// The names of `keys`' keys that open for whoever has the unlocking file of `unlock`.
fn opened(keys: &str, unlock: &str) -> BTreeSet<String> {
    // A keystore of the unlocking file's own, into which the others' sealed keys were copied under their names.
    let dir = tempfile::tempdir().unwrap();
    let store = dir.path().join("keystore");
    fs::create_dir(&store).unwrap();
    fs::copy(gateway(unlock).join("unlock.key"), dir.path().join("unlock.key")).unwrap();
    fs::copy(gateway(unlock).join("keystore/unlock.check"), store.join("unlock.check")).unwrap();
    for key in sealed(keys) {
        fs::copy(&key, store.join(key.file_name().unwrap())).unwrap();
    }
    let store = FileKeystore::open_or_create(&store, &dir.path().join("unlock.key")).unwrap();
    let mut open = BTreeSet::new();
    for name in store.names().unwrap() {
        for kind in KINDS {
            if kind(&store, &name).is_ok() {
                open.insert(name.clone());
            }
        }
    }
    open
}

#[test]
fn no_gateways_keys_open_for_another() {
    for keys in ORGS {
        for unlock in ORGS {
            let open = opened(keys, unlock);
            if keys == unlock {
                assert!(open.len() >= 3, "{keys} cannot open its own keys: {open:?}");
            } else {
                assert!(open.is_empty(), "{unlock} opens {open:?} of {keys}");
            }
        }
    }
}

#[test]
fn no_unlocking_file_is_copied_anywhere() {
    for org in ORGS {
        let secret = fs::read(gateway(org).join("unlock.key")).unwrap();
        let forms = [URL_SAFE_NO_PAD.encode(&secret).into_bytes(), secret];
        assert_eq!(holding(&played().home, &forms), [gateway(org).join("unlock.key")].into());
    }
}

/// The homes of people, each with a file of private keys.
fn people() -> Vec<PathBuf> {
    let mut out = files(&played().home.join("parties"));
    out.retain(|f| f.file_name().unwrap() == "device.jwks.json");
    assert!(out.len() >= 5, "{out:?}");
    out
}

/// The members of a JWK that are private, as base64url and as raw bytes.
fn private_members(jwks: &Value) -> Vec<Vec<u8>> {
    let mut out = Vec::new();
    for key in jwks["keys"].as_array().unwrap() {
        for member in ["d", "p", "q", "dp", "dq", "qi"] {
            if let Some(text) = key[member].as_str() {
                out.push(text.into());
                out.push(URL_SAFE_NO_PAD.decode(text).unwrap());
            }
        }
    }
    assert_eq!(out.len(), 16, "ES384, Ed25519 and RSA have eight private members");
    out
}

fn below(dir: &str, needles: &[Vec<u8>]) -> BTreeSet<PathBuf> {
    holding(&played().home.join(dir), needles)
}

#[test]
fn nobodys_private_keys_are_at_a_gateway_or_in_the_ledger() {
    for file in people() {
        let secrets = private_members(&json(&file));
        for dir in ["gateways", "ledger", "proofs"] {
            let found = below(dir, &secrets);
            assert!(found.is_empty(), "keys of {} are in {found:?}", file.display());
        }
        assert_eq!(below("parties", &secrets), [file].into(), "each has a home of its own");
    }
}

#[test]
fn public_keys_are_found_where_they_must_be() {
    for file in people() {
        let jwks: Value = json(&file);
        let ed25519 = jwks["keys"].as_array().unwrap().iter().find(|k| k["kty"] == "OKP").unwrap();
        let text = ed25519["x"].as_str().unwrap();
        let found = below("ledger", &[text.into(), URL_SAFE_NO_PAD.decode(text).unwrap()]);
        assert!(!found.is_empty(), "the search does not find the public key of {}", file.display());
    }
}

#[test]
fn no_system_clients_private_key_is_at_a_gateway() {
    for party in played().parties().iter().filter(|p| p["role"] == "system") {
        let text = party["jwks"]["keys"][0]["d"].as_str().unwrap();
        let found = below("gateways", &[text.into(), URL_SAFE_NO_PAD.decode(text).unwrap()]);
        assert!(found.is_empty(), "the key of {} is in {found:?}", party["name"]);
    }
}

fn names(org: &str) -> Vec<String> {
    let home = gateway(org);
    FileKeystore::open_or_create(&home.join("keystore"), &home.join("unlock.key")).unwrap().names().unwrap()
}

#[test]
fn a_keystore_holds_a_patients_key_only_for_the_openly_custodial() {
    let cedric = played().party("cedric")["account"].as_str().unwrap().to_owned();
    // One name for the signing key and the RSA key.
    let custodial: BTreeSet<String> = [format!("custodial/{cedric}")].into();
    let patients: Vec<String> = played()
        .parties()
        .iter()
        .filter(|p| p["role"] == "patient")
        .map(|p| p["account"].as_str().unwrap().to_owned())
        .collect();
    assert!(patients.len() >= 3, "{patients:?}");
    for org in ORGS {
        let of_patients: BTreeSet<String> =
            names(org).into_iter().filter(|n| patients.iter().any(|a| n.contains(a.as_str()))).collect();
        let expected = if org == "hospital-a" { custodial.clone() } else { BTreeSet::new() };
        assert_eq!(of_patients, expected, "{org}");
    }
    let home = played().home.join("parties/patient/cedric");
    assert!(!home.exists(), "a custodial account has no home of its own");
}

#[test]
fn an_opened_keystore_has_no_persons_public_half() {
    let publics: Vec<String> = people()
        .iter()
        .flat_map(|f| json::<Value>(f)["keys"].as_array().unwrap().clone())
        .filter_map(|k| k["x"].as_str().map(str::to_owned))
        .collect();
    for org in ORGS {
        let home = gateway(org);
        let store = FileKeystore::open_or_create(&home.join("keystore"), &home.join("unlock.key")).unwrap();
        for name in store.names().unwrap() {
            if let Ok(key) = store.ed25519(&name) {
                let public = serde_json::to_value(key.public()).unwrap()["x"].as_str().unwrap().to_owned();
                assert!(!publics.contains(&public), "{org} signs as a person with {name}");
            }
        }
    }
}
