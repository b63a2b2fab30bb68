//! A testnet that goes with the value, whatever the test does.

use std::{fs, os::unix::fs::FileTypeExt, path::Path, process::Output};

use serde_json::Value;
use vouchsafe_testnet::rpc::Rpc;

use crate::support::{code, stderr, vouchsafe};

pub(super) struct Consortium {
    /// In the system's directory for temporary files: a socket's path must be short.
    pub(super) home: tempfile::TempDir,
    /// What `up` printed.
    pub(super) told: Value,
}

impl Consortium {
    pub(super) fn up(args: &[&str]) -> Self {
        let mut net = Self { home: tempfile::tempdir().unwrap(), told: Value::Null };
        let up = net.run(&[&["up"], args].concat());
        assert_eq!(code(&up), 0, "{}", stderr(&up));
        net.told = serde_json::from_slice(&up.stdout).unwrap();
        net
    }

    /// Runs one of the commands of `testnet` on it.
    pub(super) fn run(&self, args: &[&str]) -> Output {
        let mut command = vouchsafe();
        command.arg("testnet").args(args).args(["--output", "json", "--home"]).arg(self.home.path());
        command.output().unwrap()
    }

    /// The validators' engines.
    pub(super) fn nodes(&self) -> Vec<Rpc> {
        let validators = self.told["validators"].as_array().unwrap();
        validators.iter().map(|v| Rpc::new(v["rpc"].as_str().unwrap())).collect()
    }

    pub(super) fn down_leaves_nothing(&self) {
        let before = ours(self.home.path());
        assert!(before.len() >= 12, "four validators of three processes each: {before:?}");
        let spaces = spaces(self.home.path());
        let down = self.run(&["down"]);
        assert_eq!(code(&down), 0, "{}", stderr(&down));
        assert_eq!(ours(self.home.path()), Vec::<String>::new(), "processes stay");
        assert_eq!(sockets(self.home.path()), 0, "sockets stay");
        let there = listed();
        assert!(!spaces.iter().any(|space| there.contains(space)), "namespaces stay: {spaces:?}");
    }
}

impl Drop for Consortium {
    fn drop(&mut self) {
        // Nothing is left to do when the test has done it.
        drop(self.run(&["down"]));
    }
}

/// True when `up` said that the validators have a network of their own.
pub(super) fn namespaces(told: &Value) -> bool {
    match told["network"].as_str().unwrap() {
        "namespaces" => true,
        "loopback" => false,
        other => panic!("{other}"),
    }
}

/// The command lines that name something in the home.
fn ours(home: &Path) -> Vec<String> {
    let mut found = Vec::new();
    for entry in fs::read_dir("/proc").unwrap().flatten() {
        let line = fs::read(entry.path().join("cmdline")).unwrap_or_default();
        let line = String::from_utf8_lossy(&line).replace('\0', " ");
        if line.contains(home.to_str().unwrap()) {
            found.push(line);
        }
    }
    found
}

fn sockets(dir: &Path) -> usize {
    let mut found = 0;
    for entry in fs::read_dir(dir).unwrap().flatten() {
        let kind = entry.file_type().unwrap();
        found += if kind.is_dir() { sockets(&entry.path()) } else { usize::from(kind.is_socket()) };
    }
    found
}

/// The names of the testnet's namespaces, as its state has them.
fn spaces(home: &Path) -> Vec<String> {
    let state: Value = serde_json::from_slice(&fs::read(home.join("testnet.json")).unwrap()).unwrap();
    let Some(name) = state["network"]["name"].as_str() else { return Vec::new() };
    let all: Vec<String> = listed().into_iter().filter(|space| space.starts_with(name)).collect();
    assert_eq!(all.len(), 5, "one for each validator and one for the bridges: {all:?}");
    all
}

/// The namespaces that have a name (`ip-netns(8)`).
fn listed() -> Vec<String> {
    let names = fs::read_dir("/run/netns").into_iter().flatten().flatten();
    names.map(|e| e.file_name().to_str().unwrap().to_owned()).collect()
}
