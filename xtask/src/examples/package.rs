//! HL7's package of the R4 examples, as npm gives it.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use serde_json::Value;

use crate::{
    error::{Error, Result},
    process,
};

const NAME: &str = "hl7.fhir.r4.examples";
const VERSION: &str = "4.0.1";
/// So many examples there are; fewer would mean that something is missing.
const COUNT: usize = 5306;
const PATIENCE: Duration = Duration::from_secs(300);

/// One example.
pub(crate) struct Example {
    /// The file's name.
    pub(crate) file: String,
    pub(crate) bytes: Vec<u8>,
    pub(crate) resource_type: String,
    /// `Type/id`, by which others refer to it.
    pub(crate) name: String,
}

/// Reads every example, in the order of their names; what is in `dir` already is not fetched again.
pub(crate) fn load(dir: &Path) -> Result<Vec<Example>> {
    let package = dir.join("node_modules").join(NAME);
    if !package.join("package.json").is_file() {
        fetch(dir)?;
    }
    check(&package)?;
    let mut examples = Vec::new();
    for path in files(&package)? {
        let bytes = fs::read(&path).map_err(Error::io("read", &path))?;
        let value: Value = serde_json::from_slice(&bytes).map_err(|e| Error::content(&path, e))?;
        let text = |name: &str| value.get(name).and_then(Value::as_str).map(str::to_owned);
        let resource_type = text("resourceType").ok_or_else(|| Error::content(&path, "has no resourceType"))?;
        let name = format!("{resource_type}/{}", text("id").unwrap_or_default());
        let file = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        examples.push(Example { file, bytes, resource_type, name });
    }
    if examples.len() != COUNT {
        return Err(Error::content(&package, format!("has {} examples, not {COUNT}", examples.len())));
    }
    Ok(examples)
}

/// npm checks the archive against the digest that the registry gives for it, and runs nothing of it.
fn fetch(dir: &Path) -> Result<()> {
    if !process::on_path("npm") {
        return Err(Error::failed(
            "`npm` is missing: HL7 publishes the examples there. On Debian: apt-get install npm",
        ));
    }
    fs::create_dir_all(dir).map_err(Error::io("make", dir))?;
    let mut command = Command::new("npm");
    command.args(["install", "--no-save", "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error"]);
    command.arg("--prefix").arg(dir).arg(format!("{NAME}@{VERSION}")).current_dir(dir);
    let done = process::capture(command, PATIENCE)?;
    if done.success() { Ok(()) } else { Err(Error::failed(format!("npm gives no {NAME}: {}", done.output))) }
}

fn check(package: &Path) -> Result<()> {
    let path = package.join("package.json");
    let bytes = fs::read(&path).map_err(Error::io("read", &path))?;
    let about: Value = serde_json::from_slice(&bytes).map_err(|e| Error::content(&path, e))?;
    if about.get("name").and_then(Value::as_str) == Some(NAME) && about["version"].as_str() == Some(VERSION) {
        return Ok(());
    }
    Err(Error::content(&path, format!("is not {NAME} {VERSION}")))
}

fn files(package: &Path) -> Result<Vec<PathBuf>> {
    let mut paths = Vec::new();
    for entry in fs::read_dir(package).map_err(Error::io("list", package))? {
        let path = entry.map_err(Error::io("list", package))?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if name.ends_with(".json") && name != "package.json" && !name.starts_with('.') {
            paths.push(path);
        }
    }
    paths.sort();
    Ok(paths)
}
