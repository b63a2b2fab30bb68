//! Arrows point one way: ARCHITECTURE.md says what each crate, and each module of the gateway, must not know, and here
//! it is checked.

use std::path::{Path, PathBuf};

use crate::{error::Result, tree};

/// Which crates of the workspace a crate may depend on. The binary may depend on all.
const CRATES: &[(&str, &[&str])] = &[
    ("abci-app/types", &[]),
    ("abci-app/core", &["vouchsafe-types"]),
    ("abci-app/node", &["vouchsafe-types", "vouchsafe-core"]),
    ("fhir-structure", &[]),
    ("fhir-search", &["vouchsafe-fhir-structure"]),
    (
        "fhir-gateway",
        &["vouchsafe-types", "vouchsafe-core", "vouchsafe-node", "vouchsafe-fhir-structure", "vouchsafe-fhir-search"],
    ),
    ("testnet", &["vouchsafe-types"]),
    ("xtask", &[]),
];

/// The modules that serve and that all know the gateway as a whole.
const UPPER: &[&str] = &["consents", "gateway", "peers", "sessions"];

/// What each lower module of the gateway must not name beside the upper ones.
const MODULES: &[(&str, &[&str])] = &[
    ("auth", &["fhir", "records", "audit", "blobs"]),
    ("policy", &["records", "audit", "ledger", "store", "blobs"]),
    ("records", &["auth", "http"]),
    ("audit", &["auth", "http", "policy", "records", "blobs"]),
    ("ledger", &["auth", "http", "policy", "records", "audit", "store", "blobs", "fhir"]),
    ("store", &["auth", "http", "policy", "records", "audit", "ledger", "blobs", "fhir"]),
    ("blobs", &["auth", "http", "policy", "records", "audit", "ledger", "store", "fhir"]),
    ("seal", &["auth", "http", "records", "audit", "ledger", "store", "fhir"]),
    ("fhir", &["auth", "http", "policy", "records", "audit", "ledger", "store", "blobs", "seal"]),
];

/// Every arrow that points the wrong way.
pub(super) fn check(root: &Path, files: &[PathBuf]) -> Result<Vec<String>> {
    let mut faults = Vec::new();
    for (dir, allowed) in CRATES {
        let manifest: toml::Table = tree::parse_toml(&root.join(dir).join("Cargo.toml"))?;
        faults.extend(foreign_crates(&manifest, allowed).map(|name| format!("{dir}: must not depend on {name}")));
    }
    let source = Path::new("fhir-gateway/src");
    for file in files.iter().filter(|f| f.starts_with(source) && f.extension().is_some_and(|e| e == "rs")) {
        let module = file.strip_prefix(source).ok().and_then(|f| f.iter().next()).and_then(|m| m.to_str());
        let module = module.unwrap_or_default().trim_end_matches(".rs");
        let Some((_, barred)) = MODULES.iter().find(|(name, _)| *name == module) else { continue };
        if file.iter().any(|part| part == "tests" || part == "tests.rs") {
            continue;
        }
        let named = names(&tree::must_text(&root.join(file))?);
        let wrong = named.iter().filter(|name| barred.iter().chain(UPPER).any(|b| b == *name));
        faults.extend(wrong.map(|name| format!("{}: must not know `{name}`", file.display())));
    }
    Ok(faults)
}

fn foreign_crates<'a>(manifest: &'a toml::Table, allowed: &[&str]) -> impl Iterator<Item = &'a String> {
    let dependencies = manifest.get("dependencies").and_then(toml::Value::as_table);
    let ours = dependencies.into_iter().flat_map(toml::Table::keys).filter(|name| name.starts_with("vouchsafe-"));
    ours.filter(move |name| !allowed.contains(&name.as_str()))
}

/// The modules of the crate that a file names outside its tests: what follows `crate::`, braces opened.
fn names(text: &str) -> Vec<String> {
    let text = text.split("#[cfg(test)]").next().unwrap_or_default();
    let mut found = Vec::new();
    for rest in text.split("crate::").skip(1) {
        match rest.strip_prefix('{') {
            None => found.push(identifier(rest)),
            Some(list) => found.extend(heads(list)),
        }
    }
    found.retain(|name| !name.is_empty());
    found.sort();
    found.dedup();
    found
}

/// The first identifier of each member of a list in braces; deeper braces are passed over.
fn heads(list: &str) -> Vec<String> {
    let mut found = vec![identifier(list.trim_start())];
    let mut depth = 0_usize;
    for (at, c) in list.char_indices() {
        match c {
            '{' => depth += 1,
            '}' if depth == 0 => break,
            '}' => depth -= 1,
            ',' if depth == 0 => found.push(identifier(list[at + 1..].trim_start())),
            _ => {}
        }
    }
    found
}

fn identifier(text: &str) -> String {
    text.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn modules_are_found_however_they_are_named() {
        let text = "use crate::{\n    seal::{DataKey, jwe},\n    store,\n};\nfn f(x: crate::http::Fault) {}\n";
        assert_eq!(names(text), ["http", "seal", "store"]);
        assert!(names("#[cfg(test)]\nmod tests { use crate::gateway::Gateway; }").is_empty());
    }

    #[test]
    fn a_crate_that_must_not_be_known_is_found() {
        let manifest = "[dependencies]\nvouchsafe-types.workspace = true\nserde = \"1\"\n".parse().unwrap();
        assert_eq!(foreign_crates(&manifest, &["vouchsafe-types"]).count(), 0);
        assert_eq!(foreign_crates(&manifest, &[]).collect::<Vec<_>>(), ["vouchsafe-types"]);
    }
}
