//! `verify` believes a proof only whole, only unaltered, and only under the genesis that its caller trusts.

use std::{fs, path::Path, process::Output};

use serde_json::{Value, json};
use vouchsafe_types::genesis::Genesis;

use crate::support::{code, json as read, played, stderr, vouchsafe};

/// The digest that the consortium tells everybody.
fn digest() -> String {
    let genesis: Genesis = read(&played().home.join("genesis.json"));
    genesis.body.digest().to_string()
}

fn verify(trust: &str, file: &Path) -> Output {
    vouchsafe().args(["verify", "--output", "json", "--trust", trust]).arg(file).output().unwrap()
}

fn report() -> Value {
    read(&played().home.join("proofs/report.json"))
}

/// What `verify` says to a proof, written to a file for it.
fn tried(proof: &Value) -> Output {
    let file = tempfile::NamedTempFile::new().unwrap();
    fs::write(file.path(), proof.to_string()).unwrap();
    verify(&digest(), file.path())
}

fn assert_refused(output: &Output, what: &str) {
    assert_eq!(code(output), 8, "{what}: {}", stderr(output));
    assert!(output.stdout.is_empty(), "{what}: something was said to be verified");
    assert!(!stderr(output).is_empty(), "{what}: no reason was given");
}

#[test]
fn the_demos_proof_holds() {
    let output = verify(&digest(), &played().home.join("proofs/report.json"));
    assert_eq!(code(&output), 0, "{}", stderr(&output));
    assert_eq!(
        fs::read_to_string(played().home.join("genesis.digest")).unwrap(),
        digest(),
        "the README's walk uses it"
    );
    let said: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert!(said.is_object(), "{said}");
    assert_eq!(code(&tried(&report())), 0, "written again, it is the same proof");
}

/// Another character of the same sort, so that what changes is the value and not its form.
const fn other(c: u8) -> u8 {
    match c {
        b'0'..=b'8' => c + 1,
        b'9' => b'0',
        b'a' => b'b',
        b'b'..=b'z' => b'a',
        b'A' => b'B',
        b'B'..=b'Z' => b'A',
        c => c,
    }
}

/// A text with one character changed, in its middle or just after.
fn altered_text(text: &str) -> String {
    let mut bytes = text.as_bytes().to_vec();
    let at = (bytes.len() / 2..bytes.len()).chain(0..bytes.len() / 2).find(|at| other(bytes[*at]) != bytes[*at]);
    let at = at.unwrap_or_else(|| panic!("{text:?} has nothing to change"));
    bytes[at] = other(bytes[at]);
    String::from_utf8(bytes).unwrap()
}

/// The JSON pointers of everything in a value that is not an object or a list with something in it.
fn leaves(value: &Value, at: &str) -> Vec<String> {
    match value {
        Value::Object(members) if !members.is_empty() => {
            members.iter().flat_map(|(k, v)| leaves(v, &format!("{at}/{}", k.replace('/', "~1")))).collect()
        }
        Value::Array(items) if !items.is_empty() => {
            items.iter().enumerate().flat_map(|(i, v)| leaves(v, &format!("{at}/{i}"))).collect()
        }
        _ => vec![at.to_owned()],
    }
}

/// Something else of the same kind.
fn altered(value: &Value) -> Value {
    match value {
        Value::String(text) if text.is_empty() => json!("0"),
        Value::String(text) => json!(altered_text(text)),
        Value::Number(n) => json!(n.as_u64().unwrap() + 1),
        Value::Bool(b) => json!(!b),
        Value::Null => json!("0"),
        Value::Array(_) => json!([{}]),
        Value::Object(_) => json!({ "more": true }),
    }
}

#[test]
fn no_parameter_can_be_left_out_or_come_twice() {
    let whole = report();
    for index in 0..whole["parameter"].as_array().unwrap().len() {
        let name = whole["parameter"][index]["name"].clone();
        let (mut without, mut twice) = (whole.clone(), whole.clone());
        without["parameter"].as_array_mut().unwrap().remove(index);
        assert_refused(&tried(&without), &format!("without {name}"));
        let again = whole["parameter"][index].clone();
        twice["parameter"].as_array_mut().unwrap().push(again);
        assert_refused(&tried(&twice), &format!("{name} twice"));
    }
}

/// What travels with a proof and is no part of what it claims. Whose turn it is to propose is no part of what validators
/// sign or of their set's hash. The ledger's commitment is over content, blob, version and predecessor, not over what the
/// custodian tells about them: when it wrote the version down, and the sealed metadata and the patient's wrapped key, which
/// fail to open by themselves when they are altered.
const NOT_CLAIMED: [&str; 5] =
    ["/proposer_priority", "splice/lastUpdated", "entry/suite", "entry/meta", "entry/patientWrap"];

/// Every way to change one thing in one parameter: a character of a text, anything within what travels as JSON.
fn alterations(name: &str, text: &str) -> Vec<(String, String)> {
    let structured = serde_json::from_str::<Value>(text).ok().filter(|v| v.is_object() || v.is_array());
    let Some(inner) = structured else { return vec![(name.to_owned(), altered_text(text))] };
    let mut out = Vec::new();
    for leaf in leaves(&inner, "") {
        let place = format!("{name}{leaf}");
        if NOT_CLAIMED.iter().any(|n| place.ends_with(n)) {
            continue;
        }
        let mut changed = inner.clone();
        let value = changed.pointer_mut(&leaf).unwrap();
        *value = altered(value);
        out.push((place, changed.to_string()));
    }
    out
}

#[test]
fn nothing_that_is_claimed_can_be_altered() {
    let whole = report();
    let count = whole["parameter"].as_array().unwrap().len();
    assert!(count >= 10, "{count}");
    let mut believed = Vec::new();
    for index in 0..count {
        let member = |m: &str| whole["parameter"][index][m].as_str().unwrap();
        let changes = alterations(member("name"), member("valueString"));
        assert!(!changes.is_empty(), "nothing of {} was altered", member("name"));
        for (place, changed) in changes {
            let mut proof = whole.clone();
            proof["parameter"][index]["valueString"] = json!(changed);
            if code(&tried(&proof)) != 8 {
                believed.push(place);
            }
        }
    }
    assert!(believed.is_empty(), "believed although altered: {believed:?}");
}

#[test]
fn another_genesis_is_not_trusted() {
    let output = verify(&altered_text(&digest()), &played().home.join("proofs/report.json"));
    assert_refused(&output, "another digest");
}

#[test]
fn what_cannot_be_read_has_codes_of_its_own() {
    let dir = tempfile::tempdir().unwrap();
    let missing = verify(&digest(), &dir.path().join("missing.json"));
    assert_eq!(code(&missing), 3, "{}", stderr(&missing));
    assert!(stderr(&missing).contains("missing.json"), "{}", stderr(&missing));
    for (name, text) in [("empty", ""), ("words", "not JSON"), ("half", "{\"resourceType\":")] {
        let file = dir.path().join(name);
        fs::write(&file, text).unwrap();
        let output = verify(&digest(), &file);
        assert_eq!(code(&output), 6, "{name}: {}", stderr(&output));
    }
    let no_digest = verify("short", &played().home.join("proofs/report.json"));
    assert_eq!(code(&no_digest), 2, "{}", stderr(&no_digest));
}
