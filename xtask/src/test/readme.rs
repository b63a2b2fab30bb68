//! The stage `readme`: every `sh` block of README.md and of the other pages below that is marked with `<!-- run -->` is
//! executed, page by page, in order, in one bash that stops at the first command that fails, with a home directory of its own. What the blocks start in the
//! background they end themselves, by process id; what they leave over is ended with their process group.

use std::{
    ffi::{OsStr, OsString},
    fmt::Write as _,
    os::unix::process::CommandExt,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::Duration,
};

use super::{Scratch, binary};
use crate::{
    error::{Error, Result},
    markdown::{self, Block},
    process, tree,
};

const LIMIT: Duration = Duration::from_secs(300);

/// The pages.
const PAGES: [&str; 2] = ["README.md", "docs/testnet.md"];

/// Executes the blocks.
pub(crate) fn check(root: &Path) -> Result<()> {
    binary()?;
    PAGES.iter().try_for_each(|name| page(root, name))
}

fn page(root: &Path, name: &str) -> Result<()> {
    let page = root.join(name);
    let blocks: Vec<Block> = markdown::blocks(&tree::must_text(&page)?).into_iter().filter(|b| b.run).collect();
    if blocks.is_empty() {
        return Err(Error::content(&page, "has no block marked to be run"));
    }
    if let Some(block) = blocks.iter().find(|b| b.language != "sh") {
        return Err(Error::content(&page, format!("line {}: only `sh` blocks can be run", block.line)));
    }
    execute(root, &script(name, &blocks))
}

/// One script; before each block it says which one comes.
fn script(page: &str, blocks: &[Block]) -> String {
    let mut script = String::from("set -euo pipefail\n");
    for block in blocks {
        let _ = writeln!(script, "echo '-- {page}:{}' >&2\n{}", block.line, block.text);
    }
    script
}

fn execute(root: &Path, script: &str) -> Result<()> {
    let scratch = Scratch::new("readme")?;
    let mut command = Command::new("bash");
    command.args(["-c", script]).current_dir(root).stdin(Stdio::null()).process_group(0);
    command.env("HOME", &scratch.0);
    // The home is another one, the toolchains and what they have built are not.
    let kept = [("CARGO_HOME", ".cargo"), ("RUSTUP_HOME", ".rustup"), ("XDG_CACHE_HOME", ".cache"), ("GOPATH", "go")];
    for (variable, beneath) in kept {
        if let Some(value) = toolchain(variable, beneath) {
            command.env(variable, value);
        }
    }
    let path = std::env::var_os("PATH").unwrap_or_default();
    let stand_in = Scratch::new("curl")?;
    command.env("PATH", if process::on_path("curl") { path } else { with_curl(&stand_in, &path)? });
    let mut child = command.spawn().map_err(|source| Error::Io { what: "cannot start bash".to_owned(), source })?;
    let leader = child.id();
    let status = process::wait(&mut child, LIMIT, |_| ())?;
    process::end_group(leader);
    match status {
        None => Err(Error::failed("the page's blocks had not ended after five minutes")),
        Some(status) if !status.success() => Err(Error::failed(format!("the page's blocks ended with {status}"))),
        Some(_) => Ok(()),
    }
}

/// The search path with this program in front of it under the name of curl.
fn with_curl(dir: &Scratch, path: &OsStr) -> Result<OsString> {
    let here = std::env::current_exe().map_err(Error::io("find", Path::new("xtask")))?;
    let link = dir.0.join("curl");
    std::os::unix::fs::symlink(here, &link).map_err(Error::io("make", &link))?;
    let dirs = std::iter::once(dir.0.clone()).chain(std::env::split_paths(path));
    std::env::join_paths(dirs).map_err(|e| Error::failed(format!("PATH cannot be extended: {e}")))
}

fn toolchain(variable: &str, beneath: &str) -> Option<OsString> {
    let default = || Some(PathBuf::from(std::env::var_os("HOME")?).join(beneath).into_os_string());
    std::env::var_os(variable).or_else(default)
}

#[cfg(test)]
mod unit {
    use super::*;

    fn blocks(page: &str) -> String {
        script("page.md", &markdown::blocks(page))
    }

    #[test]
    fn blocks_share_one_shell_and_a_home_of_their_own() {
        let page = "```sh\nx=1\n```\n```sh\ntest \"$x\" = 1\ntest -z \"$(ls -A \"$HOME\")\"\n```\n";
        execute(Path::new("."), &blocks(page)).unwrap();
    }

    #[test]
    fn where_there_is_no_curl_this_program_stands_in_for_it() {
        let dir = Scratch::new("path").unwrap();
        let path = with_curl(&dir, OsStr::new("/usr/bin:/bin")).unwrap();
        assert_eq!(std::env::split_paths(&path).next().as_ref(), Some(&dir.0));
        assert!(dir.0.join("curl").canonicalize().unwrap() == std::env::current_exe().unwrap().canonicalize().unwrap());
    }

    #[test]
    fn a_failing_command_anywhere_fails_the_stage() {
        assert!(execute(Path::new("."), &blocks("```sh\nfalse\n```\n```sh\ntrue\n```\n")).is_err());
        assert!(execute(Path::new("."), &blocks("```sh\nfalse | true\n```\n")).is_err());
    }
}
