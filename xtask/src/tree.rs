//! The checkout: where it is and which files belong to it.

use std::{
    fs,
    path::{Path, PathBuf},
};

use crate::error::{Error, Result};

/// The root of the workspace: the nearest directory upwards that has both Cargo.toml and xtask/.
pub(crate) fn root() -> Result<PathBuf> {
    let here = std::env::current_dir().map_err(Error::io("find", Path::new(".")))?;
    here.ancestors()
        .find(|dir| dir.join("Cargo.toml").is_file() && dir.join("xtask/Cargo.toml").is_file())
        .map(Path::to_path_buf)
        .ok_or_else(|| Error::failed("run this inside the repository"))
}

/// Every file of the checkout, relative to the root, sorted. Build output and git's own files are left out; of hidden
/// directories only those that we keep are walked. Git is not asked, so that an unpacked archive works as well.
pub(crate) fn files(root: &Path) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    let mut waiting = vec![PathBuf::new()];
    while let Some(dir) = waiting.pop() {
        let path = root.join(&dir);
        for entry in fs::read_dir(&path).map_err(Error::io("list", &path))? {
            let entry = entry.map_err(Error::io("list", &path))?;
            let kind = entry.file_type().map_err(Error::io("look at", &entry.path()))?;
            let name = entry.file_name();
            let relative = dir.join(&name);
            if kind.is_dir() {
                if kept(&name.to_string_lossy()) {
                    waiting.push(relative);
                }
            } else if kind.is_file() && name != ".git" {
                found.push(relative);
            }
        }
    }
    found.sort();
    Ok(found)
}

fn kept(dir: &str) -> bool {
    match dir {
        "target" | "node_modules" => false,
        ".ci" | ".cargo" | ".github" => true,
        _ => !dir.starts_with('.'),
    }
}

/// A file's text; `None` when it is not UTF-8, as compressed data is not.
pub(crate) fn text(path: &Path) -> Result<Option<String>> {
    let bytes = fs::read(path).map_err(Error::io("read", path))?;
    Ok(String::from_utf8(bytes).ok())
}

/// A file that must be text.
pub(crate) fn must_text(path: &Path) -> Result<String> {
    text(path)?.ok_or_else(|| Error::content(path, "is not UTF-8"))
}

/// The directory of each package of the workspace, by the package's name.
pub(crate) fn packages(root: &Path) -> Result<Vec<(String, PathBuf)>> {
    let manifest = root.join("Cargo.toml");
    let workspace: toml::Table = parse_toml(&manifest)?;
    let members = workspace.get("workspace").and_then(|w| w.get("members")).and_then(toml::Value::as_array);
    let members = members.ok_or_else(|| Error::content(&manifest, "has no workspace.members"))?;
    let mut packages = Vec::new();
    for member in members {
        let dir = PathBuf::from(member.as_str().ok_or_else(|| Error::content(&manifest, "a member is not a path"))?);
        let file = root.join(&dir).join("Cargo.toml");
        let package: toml::Table = parse_toml(&file)?;
        let name = package.get("package").and_then(|p| p.get("name")).and_then(toml::Value::as_str);
        packages.push((name.ok_or_else(|| Error::content(&file, "has no package.name"))?.to_owned(), dir));
    }
    Ok(packages)
}

/// Parses a TOML file into any type.
pub(crate) fn parse_toml<T: serde::de::DeserializeOwned>(path: &Path) -> Result<T> {
    toml::from_str(&must_text(path)?).map_err(|e| Error::content(path, e))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn build_output_and_hidden_directories_are_not_walked() {
        assert!(!kept("target") && !kept(".git") && !kept(".idea"));
        assert!(kept("docs") && kept(".ci"));
    }

    #[test]
    fn this_checkout_is_found_with_its_packages() {
        let root = root().unwrap();
        assert!(files(&root).unwrap().contains(&PathBuf::from("xtask/src/tree.rs")));
        assert!(packages(&root).unwrap().contains(&("xtask".to_owned(), PathBuf::from("xtask"))));
    }
}
