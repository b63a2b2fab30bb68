//! `cargo xtask synthea`: synthetic patients by Synthea (<https://github.com/synthetichealth/synthea>), whose output is free to
//! use, fetched as a Maven artifact and run.

use std::{fs, path::Path, process::Command};

use crate::{
    error::{Error, Result},
    process,
    test::Scratch,
};

/// What is needed, and how to get it.
const PROGRAMS: [(&str, &str); 2] =
    [("java", "apt-get install default-jre-headless"), ("mvn", "apt-get install maven")];

/// Names the one dependency whose class path is wanted.
const POM: &str = r#"<project xmlns="http://maven.apache.org/POM/4.0.0"><modelVersion>4.0.0</modelVersion>
<groupId>vouchsafe</groupId><artifactId>synthea</artifactId><version>1</version><dependencies><dependency>
<groupId>org.mitre.synthea</groupId><artifactId>synthea</artifactId><version>3.3.0</version></dependency></dependencies></project>
"#;

/// The day up to which the patients' lives are told; with the seed it determines them.
const TODAY: &str = "20261101";

/// Makes patients in a directory; the FHIR is in `fhir` below it.
pub(crate) fn chore(out: &Path, patients: u64, seed: u64) -> Result<()> {
    for (program, install) in PROGRAMS {
        if !process::on_path(program) {
            return Err(Error::failed(format!("`{program}` is missing: Synthea needs it. On Debian: {install}")));
        }
    }
    if out.join("fhir").exists() {
        return Err(Error::failed(format!("{} has FHIR in it already; name another directory", out.display())));
    }
    fs::create_dir_all(out).map_err(Error::io("make", out))?;
    let scratch = Scratch::new("synthea")?;
    fs::write(scratch.0.join("pom.xml"), POM).map_err(Error::io("write", &scratch.0))?;
    let path = scratch.0.join("class-path");
    let mut maven = Command::new("mvn");
    maven.args(["--quiet", "--batch-mode", "dependency:build-classpath"]);
    maven.arg(format!("-Dmdep.outputFile={}", path.display())).current_dir(&scratch.0);
    process::run(maven)?;
    let classes = fs::read_to_string(&path).map_err(Error::io("read", &path))?;
    let mut java = Command::new("java");
    let (seed, patients) = (seed.to_string(), patients.to_string());
    java.args(["-cp", classes.trim(), "App", "-s", &seed, "-cs", &seed, "-r", TODAY, "-p", &patients]);
    java.arg(format!("--exporter.baseDirectory={}/", out.display()));
    java.args(["--exporter.fhir.export=true", "--exporter.hospital.fhir.export=true"]);
    java.arg("--exporter.practitioner.fhir.export=true");
    let done = process::capture(java, std::time::Duration::from_secs(3600))?;
    if !done.success() {
        return Err(Error::failed(format!("Synthea failed:\n{}", done.output)));
    }
    println!("{}", out.join("fhir").display());
    Ok(())
}
