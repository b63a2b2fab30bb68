//! Rules of style that matter, as checks over the checkout's files. Each says what is wrong, where, and why.

mod layers;

use std::path::{Path, PathBuf};

use crate::{
    error::{Error, Result},
    markdown, tree,
};

/// More lines than this in one Rust file hide what belongs together.
const MAX_RUST_LINES: usize = 800;

/// Data larger than this is not looked through.
const MAX_TEXT: u64 = 2 * 1024 * 1024;

/// The parts of these words are joined here so that this file does not contain what it looks for.
const MACHINE_PATHS: [&str; 4] =
    [concat!("/ro", "ot/"), concat!("/tmp/", "bash_jobs"), concat!("/tmp/", "wt/"), concat!("/work/", "main")];
const UNFINISHED: [&str; 3] = [concat!("to", "do!"), concat!("unimpl", "emented!"), concat!("FIX", "ME")];
const IGNORE: &str = concat!("#[ig", "nore");

/// Checks every file.
pub(crate) fn check(root: &Path) -> Result<()> {
    let files = tree::files(root)?;
    let mut faults = Vec::new();
    for file in &files {
        let path = root.join(file);
        let size = path.metadata().map_err(Error::io("look at", &path))?.len();
        if size > MAX_TEXT {
            continue;
        }
        let Some(text) = tree::text(&path)? else { continue };
        faults.extend(machine_paths(file, &text));
        match file.extension().and_then(|e| e.to_str()) {
            Some("rs") => faults.extend(rust(file, &text)),
            Some("md") => faults.extend(dead_links(root, file, &text)?),
            _ => {}
        }
    }
    faults.extend(schemas(&files));
    faults.extend(unlisted_decisions(root, &files)?);
    faults.extend(layers::check(root, &files)?);
    if faults.is_empty() {
        println!("{} files", files.len());
        return Ok(());
    }
    Err(Error::failed(format!("{} faults of style:\n{}", faults.len(), faults.join("\n"))))
}

fn machine_paths(file: &Path, text: &str) -> Vec<String> {
    let lines = text.lines().enumerate();
    let bad = lines.filter(|(_, line)| MACHINE_PATHS.iter().any(|p| line.contains(p)));
    bad.map(|(n, _)| format!("{}:{}: names a path of one machine", file.display(), n + 1)).collect()
}

fn rust(file: &Path, text: &str) -> Vec<String> {
    let mut faults = Vec::new();
    let lines = text.lines().count();
    if lines > MAX_RUST_LINES {
        faults.push(format!("{}: has {lines} lines; split it below {MAX_RUST_LINES}", file.display()));
    }
    for (n, line) in text.lines().enumerate() {
        if let Some(word) = UNFINISHED.iter().find(|w| line.contains(*w)) {
            faults.push(format!("{}:{}: `{word}` is unfinished work", file.display(), n + 1));
        }
        if line.contains(IGNORE) && !may_be_ignored(line, text) {
            faults.push(format!("{}:{}: a test that does not run", file.display(), n + 1));
        }
    }
    faults
}

/// Two kinds of function stand among the tests and are none: a measurement, which asserts nothing and is run by hand, and
/// what a test of the same file runs in a process of its own. Any other ignored test is one that does not run.
fn may_be_ignored(line: &str, text: &str) -> bool {
    let Some(reason) = line.split('"').nth(1) else { return false };
    let runner = reason.strip_prefix("run by ");
    reason == "a measurement" || runner.is_some_and(|name| text.contains(&format!("fn {name}(")))
}

fn dead_links(root: &Path, file: &Path, text: &str) -> Result<Vec<String>> {
    let mut faults = Vec::new();
    for (line, link) in markdown::links(text) {
        if link.contains("://") || link.starts_with("mailto:") {
            continue;
        }
        let (target, anchor) = link.split_once('#').unwrap_or((&link, ""));
        let beside = file.parent().unwrap_or(Path::new(""));
        let target = if target.is_empty() { file.to_path_buf() } else { beside.join(target) };
        let path = root.join(&target);
        let at = format!("{}:{line}", file.display());
        if !path.exists() {
            faults.push(format!("{at}: links to {link}, which does not exist"));
        } else if !anchor.is_empty() && target.extension().is_some_and(|e| e == "md") {
            let headings = markdown::anchors(&tree::must_text(&path)?);
            if !headings.iter().any(|h| h == anchor) {
                faults.push(format!("{at}: links to {link}, and there is no such heading"));
            }
        }
    }
    Ok(faults)
}

/// Every transaction's schema stands beside at least one valid and three invalid vectors.
fn schemas(files: &[PathBuf]) -> Vec<String> {
    let tx = Path::new("schemas/tx");
    let names = files.iter().filter(|f| f.parent() == Some(tx));
    let names = names.filter_map(|f| f.file_name()?.to_str()?.strip_suffix(".schema.json"));
    let vectors = |dir: &Path| files.iter().filter(|f| f.parent() == Some(dir)).count();
    let mut faults = Vec::new();
    for name in names {
        let (valid, invalid) = (vectors(&tx.join(name).join("valid")), vectors(&tx.join(name).join("invalid")));
        if valid < 1 || invalid < 3 {
            faults.push(format!("schemas/tx/{name}: has {valid} valid and {invalid} invalid vectors; needs 1 and 3"));
        }
    }
    faults
}

/// A decision that the list of decisions does not name is found by nobody.
fn unlisted_decisions(root: &Path, files: &[PathBuf]) -> Result<Vec<String>> {
    let list = Path::new("docs/adr/README.md");
    let text = tree::must_text(&root.join(list))?;
    let listed: Vec<String> = markdown::links(&text).into_iter().map(|(_, link)| link).collect();
    let pages = files.iter().filter(|f| f.parent() == list.parent() && f.as_path() != list);
    let missing = pages.filter(|f| !f.file_name().is_some_and(|n| listed.iter().any(|l| n == l.as_str())));
    Ok(missing.map(|f| format!("{}: is not in the list of {}", f.display(), list.display())).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unfinished_work_and_long_files_are_found() {
        let file = Path::new("a.rs");
        assert!(rust(file, "fn a() {}\n").is_empty());
        for word in UNFINISHED {
            assert_eq!(rust(file, &format!("fn a() {{\n    {word}\n")).len(), 1, "{word}");
        }
        assert_eq!(rust(file, &"\n".repeat(MAX_RUST_LINES + 1)).len(), 1);
    }

    #[test]
    fn an_ignored_test_is_found_unless_it_is_none() {
        let faults = |reason: &str, rest: &str| rust(Path::new("a.rs"), &format!("{IGNORE}{reason}]\n{rest}\n")).len();
        assert_eq!(faults("", ""), 1);
        assert_eq!(faults(" = \"slow\"", ""), 1);
        assert_eq!(faults(" = \"a measurement\"", ""), 0);
        assert_eq!(faults(" = \"run by killed\"", "fn killed() {}"), 0);
        assert_eq!(faults(" = \"run by killed\"", "fn kill() {}"), 1);
    }

    #[test]
    fn a_path_of_one_machine_is_found() {
        for path in MACHINE_PATHS {
            assert_eq!(
                machine_paths(Path::new("a.md"), &format!("see {path}x")),
                ["a.md:1: names a path of one machine"]
            );
        }
    }

    #[test]
    fn a_dead_link_and_a_dead_anchor_are_found() {
        let root = tree::root().unwrap();
        let page = "[ok](Cargo.toml) [no](missing.md)\n# Here\n[ok](https://example.org/x)\n";
        let faults = dead_links(&root, Path::new("page.md"), page).unwrap();
        assert_eq!(faults, ["page.md:1: links to missing.md, which does not exist"]);
        let faults = dead_links(&root, Path::new("page.md"), "[no](README.md#no-such-heading)").unwrap();
        assert_eq!(faults.len(), 1);
    }

    #[test]
    fn a_decision_that_is_not_listed_is_found() {
        let root = tree::root().unwrap();
        let files = ["README.md", "0001-transactions-are-jose.md", "9999-nobody-knows.md"]
            .map(|f| Path::new("docs/adr").join(f));
        let faults = unlisted_decisions(&root, &files).unwrap();
        assert_eq!(faults, ["docs/adr/9999-nobody-knows.md: is not in the list of docs/adr/README.md"]);
    }

    #[test]
    fn a_schema_without_vectors_is_found() {
        let mut files = vec![PathBuf::from("schemas/tx/open.schema.json")];
        assert_eq!(schemas(&files).len(), 1);
        files.push(PathBuf::from("schemas/tx/open/valid/plain.json"));
        files.extend(["a", "b", "c"].map(|n| PathBuf::from(format!("schemas/tx/open/invalid/{n}.json"))));
        assert!(schemas(&files).is_empty());
    }
}
