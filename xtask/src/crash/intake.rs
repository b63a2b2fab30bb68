//! An import beside the other load: it goes through the gateway's crashes, is sometimes killed itself, and in the end has
//! brought in everything once.

use std::{
    fmt::Write as _,
    fs,
    path::{Path, PathBuf},
};

use super::field::Field;
use crate::{
    error::{Error, Result},
    gateway::{Gateway, Home},
    rng::Rng,
    wire::Wire,
};

const SYSTEM: &str = "urn:example:intake";
/// Bundles, and observations in each.
const BUNDLES: u64 = 12;
const EACH: u64 = 200;
/// Small transactions, so that crashes fall between them.
const TOGETHER: &str = "50";

/// An import that is under way.
pub(super) struct Intake {
    data: PathBuf,
    process: Option<Gateway>,
}

impl Intake {
    /// Makes the data and starts the import.
    pub(super) fn begin(home: &Home, data: &Path, rng: &mut Rng) -> Result<Self> {
        fs::create_dir_all(data).map_err(Error::io("make", data))?;
        for n in 0..BUNDLES {
            let path = data.join(format!("{n:02}.json"));
            fs::write(&path, bundle(n, rng)).map_err(Error::io("write", &path))?;
        }
        let mut intake = Self { data: data.to_owned(), process: None };
        intake.start(home)?;
        Ok(intake)
    }

    fn start(&mut self, home: &Home) -> Result<()> {
        let args = ["gateway", "import", "--transaction", TOGETHER, "--connections", "2"];
        self.process = Some(home.beside(&args, &[&self.data])?);
        Ok(())
    }

    /// A third of the crashes take the import with them; it is started again when the gateway is.
    pub(super) fn after_crash(&mut self, home: &Home, rng: &mut Rng) -> Result<()> {
        if rng.below(3) == 0 {
            self.process = None;
        }
        if self.process.is_none() { self.start(home) } else { Ok(()) }
    }

    /// Lets the import end, and counts: each patient once, each with all observations.
    pub(super) fn end(mut self, home: &Home, field: &Field) -> Result<String> {
        self.process = None;
        let args = ["gateway", "import", "--transaction", TOGETHER, "--output", "json"];
        for _ in 0..2 {
            let (code, said) = home.ask(&args, &[&self.data])?;
            if code != 0 {
                return Err(Error::failed(format!("the import ended with {code}: {said}")));
            }
        }
        let mut wire = Wire::new(field.addr);
        for n in 0..BUNDLES {
            let patients = found(&mut wire, field, &format!("/fhir/Patient?identifier={SYSTEM}%7C{n}"))?;
            let [patient] = patients.as_slice() else {
                return Err(Error::failed(format!("patient {n} of the import is there {} times", patients.len())));
            };
            let path = format!("/fhir/Observation?patient={patient}&_count=1000");
            let observations = u64::try_from(found(&mut wire, field, &path)?.len()).unwrap_or(u64::MAX);
            if observations != EACH {
                return Err(Error::failed(format!(
                    "patient {n} of the import has {observations} of {EACH} observations"
                )));
            }
        }
        Ok(format!("import: {BUNDLES} patients with {EACH} observations each, once"))
    }
}

/// The names of what a search finds on its first page.
fn found(wire: &mut Wire, field: &Field, path: &str) -> Result<Vec<String>> {
    let token = field.token().ok_or_else(|| Error::failed("the gateway is not up"))?;
    let answer = wire.call("GET", path, &[("Authorization", &token)], None);
    let answer = answer.map_err(|source| Error::Io { what: path.to_owned(), source })?;
    if answer.status != 200 {
        return Err(Error::failed(format!("{path} was answered by {}", answer.said())));
    }
    let body = answer.json();
    let entries = body["entry"].as_array().map_or(&[][..], Vec::as_slice);
    let matches = entries.iter().filter(|e| e["search"]["mode"].as_str().unwrap_or("match") == "match");
    let name = |e: &serde_json::Value| {
        let member = |m: &str| e["resource"][m].as_str().unwrap_or_default().to_owned();
        format!("{}/{}", member("resourceType"), member("id"))
    };
    Ok(matches.map(name).collect())
}

fn bundle(number: u64, rng: &mut Rng) -> String {
    let mut entries = format!(
        r#"{{"fullUrl":"urn:uuid:1","resource":{{"resourceType":"Patient","identifier":[{{"system":"{SYSTEM}","value":"{number}"}}]}},"request":{{"method":"POST","url":"Patient"}}}}"#
    );
    for n in 0..EACH {
        let _ = write!(
            entries,
            r#",{{"resource":{{"resourceType":"Observation","identifier":[{{"system":"{SYSTEM}","value":"{number}-{n}"}}],"status":"final","code":{{"text":"intake"}},"subject":{{"reference":"urn:uuid:1"}},"valueString":"{:016x}"}},"request":{{"method":"POST","url":"Observation"}}}}"#,
            rng.next()
        );
    }
    format!(r#"{{"resourceType":"Bundle","type":"transaction","entry":[{entries}]}}"#)
}
