//! Running the binary, the one demo that many tests look at, and searching files for bytes.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
    process::{Command, Output},
    sync::OnceLock,
};

use base64::{Engine, engine::general_purpose::STANDARD_NO_PAD};
use serde_json::Value;

/// The binary, deaf to the settings of whoever runs the tests.
pub(crate) fn vouchsafe() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_vouchsafe"));
    for name in ["VOUCHSAFE_HOME", "VOUCHSAFE_LISTEN", "VOUCHSAFE_OUTPUT", "VOUCHSAFE_TRUST", "VOUCHSAFE_LOG"] {
        command.env_remove(name);
    }
    command
}

/// Runs the binary to its end.
pub(crate) fn run<S: AsRef<std::ffi::OsStr>>(args: impl IntoIterator<Item = S>) -> Output {
    vouchsafe().args(args).output().unwrap()
}

/// The exit code, which every ended process but a killed one has.
pub(crate) fn code(output: &Output) -> i32 {
    output.status.code().unwrap()
}

/// What a process wrote to stderr.
pub(crate) fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// A demo played to its end.
pub(crate) struct Played {
    /// Its home.
    pub(crate) home: PathBuf,
    /// How the process ended.
    pub(crate) output: Output,
}

impl Played {
    /// What it printed, as JSON.
    pub(crate) fn told(&self) -> Value {
        serde_json::from_slice(&self.output.stdout).unwrap()
    }

    /// Its `credentials.json`.
    pub(crate) fn parties(&self) -> Vec<Value> {
        json(&self.home.join("credentials.json"))
    }

    /// A party by its name.
    pub(crate) fn party(&self, name: &str) -> Value {
        party(&self.home, name)
    }
}

/// The party of that name in a home.
pub(crate) fn party(home: &Path, name: &str) -> Value {
    let parties: Vec<Value> = json(&home.join("credentials.json"));
    parties.into_iter().find(|p| p["name"] == name).unwrap()
}

/// A file, parsed.
pub(crate) fn json<T: serde::de::DeserializeOwned>(path: &Path) -> T {
    serde_json::from_slice(&fs::read(path).unwrap()).unwrap()
}

/// The demo, played once for all tests of this process.
pub(crate) fn played() -> &'static Played {
    static PLAYED: OnceLock<Played> = OnceLock::new();
    PLAYED.get_or_init(|| {
        let home = fresh_home();
        let mut demo = vouchsafe();
        demo.args(["demo", "--once", "--listen", "127.0.0.1:0", "--output", "json", "--home"]).arg(&home);
        let output = demo.output().unwrap();
        assert_eq!(code(&output), 0, "{}", stderr(&output));
        Played { home, output }
    })
}

/// A directory of this process; nothing drops what a static holds, so those of processes that ended go first.
fn fresh_home() -> PathBuf {
    let all = Path::new(env!("CARGO_TARGET_TMPDIR")).join("played");
    fs::create_dir_all(&all).unwrap();
    for old in fs::read_dir(&all).unwrap().flatten() {
        if !Path::new("/proc").join(old.file_name()).exists() {
            fs::remove_dir_all(old.path()).unwrap();
        }
    }
    all.join(std::process::id().to_string())
}

/// Every file below a directory.
pub(crate) fn files(dir: &Path) -> Vec<PathBuf> {
    let mut out = Vec::new();
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() { out.extend(files(&path)) } else { out.push(path) }
    }
    out
}

/// The files below a directory that hold any of these byte strings, in their content or their name.
pub(crate) fn holding(dir: &Path, needles: &[Vec<u8>]) -> BTreeSet<PathBuf> {
    let found = |hay: &[u8]| needles.iter().any(|n| contains(hay, n));
    let in_file = |path: &PathBuf| {
        let name = path.strip_prefix(dir).unwrap().to_string_lossy().into_owned();
        found(name.as_bytes()) || found(&fs::read(path).unwrap())
    };
    files(dir).into_iter().filter(in_file).collect()
}

fn contains(hay: &[u8], needle: &[u8]) -> bool {
    assert!(needle.len() >= 8, "a needle this short is found by chance");
    let first = needle[0];
    let mut from = 0;
    while let Some(at) = hay[from..].iter().position(|b| *b == first) {
        if hay[from + at..].starts_with(needle) {
            return true;
        }
        from += at + 1;
    }
    false
}

/// The forms in which a text would be readable: UTF-8, UTF-16LE, and within base64 at each of its three alignments.
pub(crate) fn readable_forms(text: &str) -> Vec<Vec<u8>> {
    let utf16 = text.encode_utf16().flat_map(u16::to_le_bytes).collect();
    let mut forms = vec![text.as_bytes().to_vec(), utf16];
    for before in 0..3 {
        let mut bytes = vec![0; before];
        bytes.extend_from_slice(text.as_bytes());
        let encoded = STANDARD_NO_PAD.encode(&bytes);
        // Only the characters that the text alone determines: whole six bits, not shared with its neighbours.
        let (from, to) = ((before * 8).div_ceil(6), bytes.len() * 8 / 6);
        forms.push(encoded[from..to].into());
    }
    forms
}
