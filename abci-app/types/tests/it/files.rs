//! The folder `schemas/`, read and compared.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
};

pub(crate) fn schemas() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../schemas")
}

/// The names of a folder's files; empty when there is none.
fn names(folder: &Path) -> BTreeSet<String> {
    let Ok(entries) = fs::read_dir(folder) else { return BTreeSet::new() };
    entries.map(|e| e.unwrap().file_name().into_string().unwrap()).collect()
}

/// Compares a folder with what it must hold, no file more and none less.
pub(crate) fn same(folder: &Path, expected: &BTreeMap<String, String>) {
    if std::env::var_os("VOUCHSAFE_WRITE_VECTORS").is_some() {
        fs::create_dir_all(folder).unwrap();
        for (name, text) in expected {
            fs::write(folder.join(name), text).unwrap();
        }
    }
    let wanted: BTreeSet<String> = expected.keys().cloned().collect();
    assert_eq!(names(folder), wanted, "the vectors of {}", folder.display());
    for (name, text) in expected {
        let found = fs::read_to_string(folder.join(name)).unwrap();
        assert!(found == *text, "{}/{name} is not what the generator makes", folder.display());
    }
}

/// Every file of a folder with its text.
pub(crate) fn read(folder: &Path) -> Vec<(String, String)> {
    names(folder).into_iter().map(|n| (n.clone(), fs::read_to_string(folder.join(&n)).unwrap())).collect()
}
