//! The engines that a consortium runs. They are Go programs, so they are built from a Go module that pins every byte of
//! them; the module lies in this binary, and the build happens on first use, once per user and module.

use std::{
    ffi::OsString,
    fs, io,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use sha2::{Digest, Sha256};

/// The version of CometBFT that this ledger runs on.
pub const COMETBFT_VERSION: &str = "0.38.26";

const GO_MOD: &str = include_str!("../engines/go.mod");
const GO_SUM: &str = include_str!("../engines/go.sum");
const TOOLS: &str = include_str!("../engines/tools.go");

const COMETBFT: &str = "cometbft";
const COMETBFT_PACKAGE: &str = "github.com/cometbft/cometbft/cmd/cometbft";

/// Why there is no engine.
#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    /// There is no Go to build it with.
    #[error(
        "CometBFT {COMETBFT_VERSION} is built on first use, which needs Go {needed} or newer, and there is no `go` on \
         PATH: install it (https://go.dev/dl/), or name a CometBFT {COMETBFT_VERSION} by --cometbft or VOUCHSAFE_COMETBFT"
    )]
    NoGo {
        /// The oldest Go that will do.
        needed: String,
    },
    /// The Go that is there is too old.
    #[error("CometBFT {COMETBFT_VERSION} is built on first use, which needs Go {needed} or newer; `go` is {found}")]
    OldGo {
        /// The oldest Go that will do.
        needed: String,
        /// What `go` says of itself.
        found: String,
    },
    /// There is nowhere to keep it.
    #[error("neither XDG_CACHE_HOME nor HOME says where engines could be kept")]
    NoCache,
    /// Go could not build it.
    #[error("building CometBFT {COMETBFT_VERSION} failed ({status}):\n{output}")]
    Build {
        /// How the build ended.
        status: String,
        /// What it said.
        output: String,
    },
    /// A file or a program could not be used.
    #[error("{what}: {source}")]
    Io {
        /// What was being done.
        what: String,
        /// Why it failed.
        source: io::Error,
    },
}

/// Where CometBFT's binary lies, built when it is not there yet; that takes a minute, and processes that want it at the
/// same time wait for one build.
///
/// # Errors
/// `EngineError` with what to install, or with what the build said.
pub fn cometbft() -> Result<PathBuf, EngineError> {
    Workshop::of_user()?.cometbft()
}

/// Where engines are built and kept.
struct Workshop {
    /// One directory below it per module.
    cache: PathBuf,
    /// The Go that builds.
    go: OsString,
}

impl Workshop {
    /// Below the user's cache directory (XDG Base Directory Specification).
    fn of_user() -> Result<Self, EngineError> {
        let set = |name| std::env::var_os(name).map(PathBuf::from).filter(|dir| dir.is_absolute());
        let cache = set("XDG_CACHE_HOME").or_else(|| Some(set("HOME")?.join(".cache")));
        let cache = cache.ok_or(EngineError::NoCache)?.join("vouchsafe").join("engines");
        Ok(Self { cache, go: "go".into() })
    }

    fn cometbft(&self) -> Result<PathBuf, EngineError> {
        let dir = self.cache.join(module());
        let binary = dir.join(COMETBFT);
        if binary.is_file() {
            return Ok(binary);
        }
        fs::create_dir_all(&dir).map_err(io_at("cannot make", &dir))?;
        let path = dir.join("lock");
        let lock = fs::File::create(&path).map_err(io_at("cannot make", &path))?;
        lock.lock().map_err(io_at("cannot lock", &path))?;
        // Whoever had the lock before may have built it.
        if !binary.is_file() {
            self.build(&dir, &binary)?;
        }
        Ok(binary)
    }

    /// Builds in a directory of this process's own and renames, so that the binary's name never stands for half a file.
    fn build(&self, dir: &Path, binary: &Path) -> Result<(), EngineError> {
        let work = dir.join(format!("build-{}", std::process::id()));
        let built = self.build_in(&work);
        let done = built.and_then(|made| fs::rename(made, binary).map_err(io_at("cannot put in place", binary)));
        // What stays of the work is of no use to anybody, and nothing depends on its going.
        drop(fs::remove_dir_all(&work));
        done
    }

    fn build_in(&self, work: &Path) -> Result<PathBuf, EngineError> {
        fs::create_dir_all(work).map_err(io_at("cannot make", work))?;
        for (name, text) in [("go.mod", GO_MOD), ("go.sum", GO_SUM), ("tools.go", TOOLS)] {
            let path = work.join(name);
            fs::write(&path, text).map_err(io_at("cannot write", &path))?;
        }
        self.check_go(work)?;
        tracing::warn!("building CometBFT {COMETBFT_VERSION}, once; this takes a minute or two");
        let mut build = self.go(work);
        // Read only: a build that had to change go.sum would not be the one that is pinned.
        build.args(["build", "-mod=readonly", "-trimpath", "-o", COMETBFT, COMETBFT_PACKAGE]);
        let done = build.output().map_err(|e| self.not_run(e))?;
        if !done.status.success() {
            let output = [done.stdout, done.stderr].concat();
            let output = String::from_utf8_lossy(&output).trim_end().to_owned();
            return Err(EngineError::Build { status: done.status.to_string(), output });
        }
        Ok(work.join(COMETBFT))
    }

    /// Go 1.21 and newer fetch a newer toolchain by themselves where that is allowed, so the version asked for is that
    /// of the toolchain in the module's directory.
    fn check_go(&self, work: &Path) -> Result<(), EngineError> {
        let done = self.go(work).args(["env", "GOVERSION"]).output().map_err(|e| self.not_run(e))?;
        let found = String::from_utf8_lossy(&done.stdout).trim().to_owned();
        if done.status.success() && version(&found).is_some_and(|have| Some(have) >= version(needed())) {
            return Ok(());
        }
        let said = String::from_utf8_lossy(&done.stderr).trim().to_owned();
        Err(EngineError::OldGo { needed: needed().into(), found: if found.is_empty() { said } else { found } })
    }

    fn go(&self, work: &Path) -> Command {
        let mut go = Command::new(&self.go);
        // Without C, so that no compiler is needed and the binary runs anywhere; a workspace of the user's is not ours.
        go.current_dir(work).env("CGO_ENABLED", "0").env("GOWORK", "off").stdin(Stdio::null());
        go
    }

    fn not_run(&self, source: io::Error) -> EngineError {
        if source.kind() == io::ErrorKind::NotFound {
            return EngineError::NoGo { needed: needed().into() };
        }
        EngineError::Io { what: format!("cannot run {}", self.go.display()), source }
    }
}

/// The module's name in the cache: what it is made from.
fn module() -> String {
    let digest = Sha256::new().chain_update(GO_MOD).chain_update([0]).chain_update(GO_SUM).finalize();
    hex::encode(&digest[..16])
}

/// The oldest Go that go.mod allows.
fn needed() -> &'static str {
    GO_MOD.lines().find_map(|line| line.strip_prefix("go ")).unwrap_or_default()
}

/// `go1.26.8`, `1.23` or `go1.24rc1` as numbers that can be compared.
fn version(text: &str) -> Option<(u32, u32)> {
    let mut parts = text.trim_start_matches("go").split('.');
    let number = |part: &str| part.chars().take_while(char::is_ascii_digit).collect::<String>().parse().ok();
    Some((number(parts.next()?)?, number(parts.next()?)?))
}

fn io_at(what: &'static str, path: &Path) -> impl FnOnce(io::Error) -> EngineError {
    move |source| EngineError::Io { what: format!("{what} {}", path.display()), source }
}

#[cfg(test)]
mod tests {
    use std::{os::unix::fs::PermissionsExt, thread};

    use super::*;

    /// A `go` that says it is of a version and runs a script when it is asked to build.
    fn workshop(dir: &Path, version: &str, build: &str) -> Workshop {
        let go = dir.join("go");
        let script = format!("#!/bin/sh\nif [ \"$1\" = env ]; then echo {version}; exit 0; fi\n{build}\n");
        fs::write(&go, script).unwrap();
        fs::set_permissions(&go, fs::Permissions::from_mode(0o755)).unwrap();
        Workshop { cache: dir.join("cache"), go: go.into() }
    }

    #[test]
    fn the_module_pins_the_version_that_the_ledger_runs_on() {
        assert!(GO_MOD.contains(&format!("require github.com/cometbft/cometbft v{COMETBFT_VERSION}\n")));
        assert!(GO_SUM.contains(&format!("github.com/cometbft/cometbft v{COMETBFT_VERSION} h1:")));
        assert!(TOOLS.contains(COMETBFT_PACKAGE));
    }

    #[test]
    fn it_is_built_once_however_many_want_it_and_no_name_stands_for_half_a_file() {
        let dir = tempfile::tempdir().unwrap();
        let builds = dir.path().join("builds");
        let script =
            format!("echo x >> {}; printf half > cometbft; sleep 0.2; printf whole > cometbft", builds.display());
        let workshop = workshop(dir.path(), "go1.26.8", &script);
        thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| assert_eq!(fs::read_to_string(workshop.cometbft().unwrap()).unwrap(), "whole"));
            }
        });
        assert_eq!(fs::read_to_string(builds).unwrap(), "x\n");
        let kept = fs::read_dir(workshop.cache.join(module())).unwrap().map(|e| e.unwrap().file_name());
        let mut kept: Vec<_> = kept.collect();
        kept.sort();
        assert_eq!(kept, ["cometbft", "lock"]);
    }

    #[test]
    fn what_is_missing_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let none = Workshop { cache: dir.path().join("cache"), go: dir.path().join("no-go").into() };
        let said = none.cometbft().unwrap_err();
        assert!(matches!(said, EngineError::NoGo { .. }) && said.to_string().contains("Go 1.23 or newer"), "{said}");
        let said = workshop(dir.path(), "go1.19.8", "exit 1").cometbft().unwrap_err().to_string();
        assert!(said.contains("Go 1.23 or newer") && said.contains("go1.19.8"), "{said}");
    }

    #[test]
    fn a_failed_build_says_why_and_leaves_nothing_that_looks_built() {
        let dir = tempfile::tempdir().unwrap();
        let workshop = workshop(dir.path(), "go1.26.8", "printf half > cometbft; echo no such module >&2; exit 1");
        let said = workshop.cometbft().unwrap_err().to_string();
        assert!(said.contains("no such module"), "{said}");
        assert!(!workshop.cache.join(module()).join(COMETBFT).exists());
    }

    #[test]
    fn versions_are_compared_as_numbers() {
        assert!(version("go1.9.7") < version("1.23") && version("go1.24rc1") > version("1.23"));
        assert_eq!(version("devel"), None);
    }
}
