//! No health data lies in plaintext anywhere in a home.

use std::{fs, io::Read, path::Path};

use flate2::read::GzDecoder;
use serde_json::Value;

use crate::support::{holding, played, readable_forms};

/// The family names of every synthetic patient.
fn families() -> Vec<String> {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("../demo-data");
    let mut out = Vec::new();
    for file in fs::read_dir(dir).unwrap().flatten().filter(|f| f.path().extension().is_some_and(|e| e == "gz")) {
        let mut text = String::new();
        GzDecoder::new(fs::File::open(file.path()).unwrap()).read_to_string(&mut text).unwrap();
        let resources = text.lines().map(|l| serde_json::from_str::<Value>(l).unwrap());
        let patient = resources.into_iter().find(|r| r["resourceType"] == "Patient").unwrap();
        out.push(patient["name"][0]["family"].as_str().unwrap().to_owned());
    }
    out
}

#[test]
fn no_family_name_is_anywhere_in_the_home() {
    let families = families();
    assert!(families.len() >= 4, "{families:?}");
    for family in families {
        let found = holding(&played().home, &readable_forms(&family));
        assert!(found.is_empty(), "a family name is readable in {found:?}");
    }
}

#[test]
fn the_search_finds_what_is_there() {
    let played = played();
    let account = played.party("lindsey")["account"].as_str().unwrap().to_owned();
    let found = holding(&played.home, &readable_forms(&account));
    assert!(found.contains(&played.home.join("credentials.json")), "{found:?}");
    assert!(found.contains(&played.home.join("ledger/ledger.redb")), "{found:?}");
}

#[test]
fn the_search_finds_every_readable_form() {
    let dir = tempfile::tempdir().unwrap();
    let family = &families()[0];
    let base64 = |text: String| {
        use base64::{Engine, engine::general_purpose::STANDARD};
        STANDARD.encode(text).into_bytes()
    };
    let utf16 = family.encode_utf16().flat_map(u16::to_le_bytes).collect();
    let mut written = vec![format!("<{family}>").into_bytes(), utf16];
    written.extend(["", "a", "ab"].map(|before| base64(format!("{before}{family}, and more"))));
    for (index, bytes) in written.iter().enumerate() {
        fs::write(dir.path().join(index.to_string()), bytes).unwrap();
    }
    assert_eq!(holding(dir.path(), &readable_forms(family)).len(), written.len());
}
