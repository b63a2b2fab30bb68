//! What an import has done, so that the next one goes on where it ended. It names files and entries by keyed hashes and
//! numbers, and records by the random ids that the gateway gave them: whoever reads it learns how many there are.

use std::{
    collections::HashMap,
    fs::{self, File, OpenOptions},
    io::Write,
    os::unix::fs::OpenOptionsExt,
    path::Path,
    sync::Mutex,
};

use aws_lc_rs::{digest, hmac};
use serde::{Deserialize, Serialize};
use vouchsafe_types::b64;

use crate::exit::{Context, Kind, Outcome};

/// The file's name within a home.
pub(super) const FILE: &str = "import.journal";

/// Makes names that nobody without the client's private key can relate to what they name.
#[derive(Clone)]
pub(super) struct Blind(hmac::Key);

/// A blinded hash of a file or of a request.
pub(super) type Name = [u8; 32];

impl Blind {
    /// Blinds with what only this client knows.
    pub(super) fn new(secret: &[u8]) -> Self {
        let key = digest::digest(&digest::SHA256, &[b"vouchsafe/import\0", secret].concat());
        Self(hmac::Key::new(hmac::HMAC_SHA256, key.as_ref()))
    }

    /// Names what is read from here to its end.
    pub(super) fn name_of(&self, mut from: impl std::io::Read) -> std::io::Result<Name> {
        let mut context = hmac::Context::with_key(&self.0);
        let mut buffer = vec![0; 256 << 10];
        loop {
            let read = from.read(&mut buffer)?;
            if read == 0 {
                break;
            }
            context.update(&buffer[..read]);
        }
        Ok(array(context.sign()))
    }

    /// Names a request: one of these bytes, for this file.
    pub(super) fn request(&self, file: &Name, body: &[u8]) -> String {
        let mut context = hmac::Context::with_key(&self.0);
        context.update(b"request\0");
        context.update(file);
        context.update(body);
        b64::encode(array(context.sign()))
    }
}

fn array(tag: hmac::Tag) -> Name {
    let mut out = [0; 32];
    out.copy_from_slice(tag.as_ref());
    out
}

/// One line.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Line {
    /// The file.
    file: String,
    /// The entries' numbers within it, and the ids they got.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    stored: Vec<(u32, String)>,
    /// Entries that were refused, so that a transaction is tried without them first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    refused: Vec<u32>,
    /// How many entries the file has, once all are stored.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    whole: Option<u32>,
}

/// What is known of one file.
#[derive(Clone, Debug, Default)]
pub(super) struct Known {
    /// Entry → the id it got.
    pub(super) stored: HashMap<u32, Box<str>>,
    /// Entries that were refused.
    pub(super) refused: Vec<u32>,
    /// All of so many entries are stored.
    pub(super) whole: Option<u32>,
}

/// The journal of a home.
pub(super) struct Journal {
    file: Option<Mutex<File>>,
    known: Mutex<HashMap<String, Known>>,
}

impl Journal {
    /// Reads the journal of a home, or begins one.
    pub(super) fn open(home: &Path) -> Outcome<Self> {
        let path = home.join(FILE);
        let doing = || path.display().to_string();
        let mut known: HashMap<String, Known> = HashMap::new();
        let text = if path.exists() { fs::read_to_string(&path).doing(Kind::Error, doing)? } else { String::new() };
        // The last line may be torn; what it said is asked of the gateway again, under the same key.
        for line in text.lines().filter_map(|l| serde_json::from_str::<Line>(l).ok()) {
            known.entry(line.file.clone()).or_default().learn(line);
        }
        let mut file =
            OpenOptions::new().create(true).append(true).mode(0o600).open(&path).doing(Kind::Error, doing)?;
        if !text.is_empty() && !text.ends_with('\n') {
            file.write_all(b"\n").doing(Kind::Error, doing)?;
        }
        Ok(Self { file: Some(Mutex::new(file)), known: Mutex::new(known) })
    }

    /// A journal that is forgotten at the end.
    pub(super) fn none() -> Self {
        Self { file: None, known: Mutex::default() }
    }

    /// What is known of a file.
    pub(super) fn of(&self, file: &Name) -> Known {
        let known = self.known.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        known.get(&b64::encode(file)).cloned().unwrap_or_default()
    }

    /// The entries of a file that were refused before.
    pub(super) fn refused_of(&self, file: &Name) -> Vec<u32> {
        let known = self.known.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        known.get(&b64::encode(file)).map(|k| k.refused.clone()).unwrap_or_default()
    }

    /// Notes that entries are stored.
    pub(super) fn stored(&self, file: &Name, entries: Vec<(u32, String)>) -> Outcome {
        self.write(&Line { file: b64::encode(file), stored: entries, refused: Vec::new(), whole: None })
    }

    /// Notes that entries were refused, before what is left of their transaction is tried.
    pub(super) fn refused(&self, file: &Name, entries: Vec<u32>) -> Outcome {
        self.write(&Line { file: b64::encode(file), stored: Vec::new(), refused: entries, whole: None })
    }

    /// Notes that all of a file is stored.
    pub(super) fn whole(&self, file: &Name, entries: u32) -> Outcome {
        self.write(&Line { file: b64::encode(file), stored: Vec::new(), refused: Vec::new(), whole: Some(entries) })
    }

    /// One write a line, so that lines of several workers do not mix. Nothing is synced: what a crash of the machine loses is
    /// asked of the gateway again.
    fn write(&self, line: &Line) -> Outcome {
        let Some(file) = &self.file else { return Ok(()) };
        let mut text = serde_json::to_vec(line).doing(Kind::Error, || FILE.into())?;
        text.push(b'\n');
        let mut file = file.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        file.write_all(&text).doing(Kind::Error, || FILE.into())
    }
}

impl Known {
    fn learn(&mut self, line: Line) {
        self.stored.extend(line.stored.into_iter().map(|(n, id)| (n, id.into_boxed_str())));
        self.refused.extend(line.refused);
        if line.whole.is_some() {
            // The ids are of no more use: nothing outside a file refers into it.
            *self = Self { whole: line.whole, ..Self::default() };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_noted_is_known_again_and_a_torn_line_is_not() {
        let home = tempfile::tempdir().unwrap();
        let blind = Blind::new(b"secret");
        let (a, b) = (blind.name_of(&b"a"[..]).unwrap(), blind.name_of(&b"b"[..]).unwrap());
        let journal = Journal::open(home.path()).unwrap();
        journal.stored(&a, vec![(0, "x".into()), (7, "y".into())]).unwrap();
        journal.refused(&a, vec![3]).unwrap();
        journal.stored(&b, vec![(0, "z".into())]).unwrap();
        journal.whole(&b, 1).unwrap();
        drop(journal);
        let path = home.path().join(FILE);
        let mut text = fs::read_to_string(&path).unwrap();
        text.push_str(r#"{"file":"AAAA","stored":[[0,"#);
        fs::write(&path, text).unwrap();

        let journal = Journal::open(home.path()).unwrap();
        let known = journal.of(&a);
        assert_eq!(known.stored.get(&7).map(|id| &**id), Some("y"));
        assert_eq!((known.refused, known.whole), (vec![3], None));
        assert_eq!((journal.of(&b).stored.len(), journal.of(&b).whole), (0, Some(1)));
        journal.stored(&a, vec![(8, "w".into())]).unwrap();
        drop(journal);
        assert_eq!(Journal::open(home.path()).unwrap().of(&a).stored.len(), 3, "written after the torn line");
    }

    #[test]
    fn names_are_of_the_content_and_of_the_client() {
        let name = |secret: &[u8], content: &[u8]| Blind::new(secret).name_of(content).unwrap();
        assert_eq!(name(b"s", b"content"), name(b"s", b"content"));
        assert_ne!(name(b"s", b"content"), name(b"s", b"other"));
        assert_ne!(name(b"s", b"content"), name(b"t", b"content"));
        let request = |body: &[u8]| Blind::new(b"s").request(&name(b"s", b"content"), body);
        assert_ne!(request(b"1"), request(b"2"));
    }
}
