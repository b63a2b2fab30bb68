//! `cargo xtask defences`: a defence is worth something when its test fails without it. Each entry of docs/defences.toml
//! names a line of an issue, a test, and a patch that takes the defence out. The patch is applied in a copy of the
//! checkout, never in the checkout itself.

mod copy;
mod run;

use std::path::{Path, PathBuf};

use serde::Deserialize;

pub(crate) use run::chore;

use crate::{
    error::{Error, Result},
    report::table,
    tree,
};

/// One defence.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Defence {
    /// A stable name.
    pub(crate) id: String,
    /// The issue and its words.
    pub(crate) issue: String,
    /// The command whose test must fail without the defence.
    pub(crate) test: String,
    /// The file patched.
    pub(crate) file: PathBuf,
    /// Its code, which stands in the file exactly once.
    pub(crate) find: String,
    /// The code without the defence, which compiles.
    pub(crate) replace: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    #[serde(default)]
    defence: Vec<Defence>,
}

/// Reads docs/defences.toml.
pub(crate) fn load(root: &Path) -> Result<Vec<Defence>> {
    Ok(tree::parse_toml::<File>(&root.join("docs/defences.toml"))?.defence)
}

/// Those named, or all.
pub(crate) fn choose(all: &[Defence], only: &[String]) -> Result<Vec<Defence>> {
    if let Some(unknown) = only.iter().find(|id| !all.iter().any(|d| d.id == **id)) {
        return Err(Error::usage(&format!("there is no defence `{unknown}`; `cargo xtask defences --list` shows all")));
    }
    Ok(all.iter().filter(|d| only.is_empty() || only.contains(&d.id)).cloned().collect())
}

/// Prints ids and issue lines.
pub(crate) fn print_list(defences: &[Defence]) {
    let rows: Vec<Vec<String>> = defences.iter().map(|d| vec![d.id.clone(), d.issue.clone()]).collect();
    table(&rows);
}

/// Checks that every entry can be applied and names a test that exists.
pub(crate) fn check(root: &Path) -> Result<()> {
    let all = load(root)?;
    let mut faults = Vec::new();
    for (n, defence) in all.iter().enumerate() {
        if all[..n].iter().any(|d| d.id == defence.id) {
            faults.push(format!("{}: the id is used twice", defence.id));
        }
        if let Err(why) = judge(root, defence) {
            faults.push(format!("{}: {why}", defence.id));
        }
    }
    if !faults.is_empty() {
        return Err(Error::failed(format!("{} faults in the list of defences:\n{}", faults.len(), faults.join("\n"))));
    }
    println!("{} defences", all.len());
    Ok(())
}

fn judge(root: &Path, defence: &Defence) -> Result<()> {
    let path = root.join(&defence.file);
    patched(&tree::must_text(&path)?, defence)?;
    if defence.issue.trim().is_empty() {
        return Err(Error::failed("names no line of an issue"));
    }
    crate::acceptance::command_exists(root, &defence.test)
}

/// The file's text without the defence.
fn patched(text: &str, defence: &Defence) -> Result<String> {
    if defence.find == defence.replace {
        return Err(Error::failed("the patch changes nothing"));
    }
    match text.matches(&defence.find).count() {
        1 => Ok(text.replacen(&defence.find, &defence.replace, 1)),
        n => Err(Error::failed(format!("`find` stands {n} times in {}; it must stand once", defence.file.display()))),
    }
}

#[cfg(test)]
mod unit {
    use super::*;

    fn defence(find: &str, replace: &str) -> Defence {
        Defence {
            id: "a".into(),
            issue: "3: a".into(),
            test: "cargo test -p xtask".into(),
            file: "a.rs".into(),
            find: find.into(),
            replace: replace.into(),
        }
    }

    #[test]
    fn a_patch_must_fit_once_and_change_something() {
        assert_eq!(patched("let a = 1;", &defence("1", "2")).unwrap(), "let a = 2;");
        assert!(patched("let a = 11;", &defence("1", "2")).is_err());
        assert!(patched("let a = 3;", &defence("1", "2")).is_err());
        assert!(patched("let a = 1;", &defence("1", "1")).is_err());
    }

    #[test]
    fn an_unknown_id_is_a_usage_error() {
        let all = [defence("1", "2")];
        assert_eq!(choose(&all, &[]).unwrap().len(), 1);
        assert_eq!(choose(&all, &["b".to_owned()]).unwrap_err().exit_code(), 2);
    }
}
