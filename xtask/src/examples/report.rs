//! What came of the examples: on standard output, and as docs/examples.md.

use std::{fmt::Write, fs, path::Path, time::Duration};

use super::{
    intake::{How, Outcome, Refusal},
    package::Example,
    reasons::{self, REASONS, Whose},
};
use crate::{
    error::{Error, Result},
    report::{seconds, table},
    tree,
};

/// One example and what came of it.
pub(super) struct Line<'a> {
    pub(super) example: &'a Example,
    pub(super) outcome: &'a Outcome,
}

/// The counts, by how an example was stored.
fn counts(lines: &[Line<'_>]) -> Vec<(&'static str, usize)> {
    let stored = |how: How| lines.iter().filter(|l| *l.outcome == Outcome::Stored(how)).count();
    let refused = lines.iter().filter(|l| matches!(l.outcome, Outcome::Refused(_))).count();
    vec![
        ("examples", lines.len()),
        ("stored and read back as HL7 has them", stored(How::AsItIs)),
        ("stored and read back, references to their patients rewritten to the ids given here", stored(How::Rewritten)),
        ("stored and read back, a stand-in for a patient whom the package does not have", stored(How::StandIn)),
        ("refused", refused),
    ]
}

/// The refused ones under each reason, in the order of the reasons.
fn grouped<'a>(lines: &'a [Line<'a>]) -> Vec<(&'static reasons::Reason, Vec<(&'a Example, &'a Refusal)>)> {
    let of = |reason: &'static reasons::Reason| {
        let members = lines.iter().filter_map(|line| match line.outcome {
            Outcome::Refused(refusal) => {
                let why = reasons::of(&line.example.resource_type, refusal)?;
                std::ptr::eq(why, reason).then_some((line.example, refusal))
            }
            _ => None,
        });
        (reason, members.collect::<Vec<_>>())
    };
    REASONS.iter().map(of).filter(|(_, members)| !members.is_empty()).collect()
}

/// Prints counts and refusals.
pub(super) fn print(lines: &[Line<'_>], took: Duration) {
    let mut rows: Vec<Vec<String>> =
        counts(lines).iter().map(|(what, n)| vec![n.to_string(), (*what).into()]).collect();
    for (reason, members) in grouped(lines) {
        rows.push(vec![members.len().to_string(), format!("  refused: {}", reason.words)]);
    }
    table(&rows);
    #[allow(clippy::cast_precision_loss, reason = "a rate for people")]
    let rate = lines.len() as f64 / took.as_secs_f64();
    println!("sent and read back in {}, {rate:.0} examples/s", seconds(took));
}

/// Fails when one was altered, or refused for no listed reason.
pub(super) fn judge(lines: &[Line<'_>]) -> Result<()> {
    let mut faults = Vec::new();
    for line in lines {
        match line.outcome {
            Outcome::Altered(how) => faults.push(format!("{} is read back otherwise: {how}", line.example.file)),
            Outcome::Refused(refusal) if reasons::of(&line.example.resource_type, refusal).is_none() => {
                let Refusal { status, issue, code, expression, diagnostics } = refusal;
                faults.push(format!(
                    "{} is refused for no listed reason: {status} {issue} {code} {expression}: {diagnostics}",
                    line.example.file
                ));
            }
            _ => {}
        }
    }
    if faults.is_empty() { Ok(()) } else { Err(Error::failed(faults.join("\n"))) }
}

/// Writes the page; it is the same whenever the outcome is.
pub(super) fn write(file: &Path, lines: &[Line<'_>]) -> Result<()> {
    let text = page(lines);
    let before = fs::read_to_string(file).unwrap_or_default();
    if before != text {
        fs::write(file, &text).map_err(Error::io("write", file))?;
        eprintln!("docs/examples.md is written anew");
    }
    Ok(())
}

/// Compares a sample with the page of the last full run.
pub(super) fn compare(file: &Path, lines: &[Line<'_>]) -> Result<()> {
    let page = tree::must_text(file)?;
    let wrong = |line: &&Line<'_>| {
        let listed = page.contains(&format!("| {} |", line.example.file));
        listed != matches!(line.outcome, Outcome::Refused(_))
    };
    let wrong: Vec<&str> = lines.iter().filter(wrong).map(|l| l.example.file.as_str()).collect();
    if wrong.is_empty() {
        return Ok(());
    }
    Err(Error::content(file, format!("says otherwise of {}; run `cargo xtask examples`", wrong.join(", "))))
}

fn page(lines: &[Line<'_>]) -> String {
    let mut out = String::from(
        "# HL7's R4 examples\n\n\
         `cargo xtask examples` wrote this page. It sends every example of HL7's package `hl7.fhir.r4.examples` 4.0.1 to a gateway\n\
         and reads it back; whatever is stored comes back byte for byte, but for what a server says about a resource: `id`,\n\
         `meta.versionId`, `meta.lastUpdated` and the gateway's labels. A gateway gives its own ids, so the references by which an\n\
         example names its patient are rewritten to the Patient that is here; what that is, [ADR 0031](adr/0031-records-about-nobody.md) says.\n\n\
         | count | |\n|---:|---|\n",
    );
    for (what, n) in counts(lines) {
        let _ = writeln!(out, "| {n} | {what} |");
    }
    for whose in [Whose::Example, Whose::Gateway] {
        let groups: Vec<_> = grouped(lines).into_iter().filter(|(reason, _)| reason.whose == whose).collect();
        let total: usize = groups.iter().map(|(_, members)| members.len()).sum();
        if total == 0 {
            continue;
        }
        let _ = match whose {
            Whose::Example => write!(out, "\n## Against R4's own definitions: {total}\n"),
            Whose::Gateway => write!(out, "\n## Good R4 that this gateway does not take: {total}\n"),
        };
        for (reason, members) in groups {
            let _ = write!(
                out,
                "\n{} ({})\n\n| example | element | what the gateway says |\n|---|---|---|\n",
                reason.words,
                members.len()
            );
            for (example, refusal) in members {
                let _ = writeln!(
                    out,
                    "| {} | `{}` | {} |",
                    example.file,
                    refusal.expression,
                    refusal.diagnostics.replace('|', "\\|")
                );
            }
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_lists_each_refused_example_under_its_reason() {
        let example = |kind: &str| Example {
            file: format!("{kind}-x.json"),
            bytes: Vec::new(),
            resource_type: kind.to_owned(),
            name: format!("{kind}/x"),
        };
        let (kept, bundle) = (example("Basic"), example("Bundle"));
        let refusal = Refusal {
            status: 404,
            issue: "not-found".to_owned(),
            code: String::new(),
            expression: String::new(),
            diagnostics: "no such address".to_owned(),
        };
        let (stored, refused) = (Outcome::Stored(How::AsItIs), Outcome::Refused(refusal));
        let lines = [Line { example: &kept, outcome: &stored }, Line { example: &bundle, outcome: &refused }];
        let page = page(&lines);
        assert!(page.contains("| 1 | refused |") && page.contains("| Bundle-x.json |"), "{page}");
        assert!(judge(&lines).is_ok() && !page.contains("Basic-x.json"));
        let altered = Outcome::Altered("byte 7".to_owned());
        assert!(judge(&[Line { example: &kept, outcome: &altered }]).is_err());
        assert!(judge(&[Line { example: &kept, outcome: &refused }]).is_err());
    }
}
