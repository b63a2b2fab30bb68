//! Which files are imported, and how each is to be read.

use std::{
    fs::{self, File},
    io::{BufReader, Read},
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
};

use flate2::read::MultiGzDecoder;
use serde::Deserialize;

use crate::exit::{Context, Failure, Kind, Outcome};

/// What a gzipped file may unpack to: it is unpacked in memory, because its parts cannot be read out of order.
const MAX_UNPACKED: u64 = 512 << 20;

/// How a file is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    /// A Bundle, whose entries refer to each other.
    Bundle,
    /// One resource a line.
    Lines,
    /// One resource.
    Resource,
}

/// One file.
#[derive(Clone, Debug)]
pub(super) struct Source {
    pub(super) path: PathBuf,
    pub(super) size: u64,
    pub(super) form: Form,
}

/// What there is to import.
#[derive(Debug, Default)]
pub(super) struct Found {
    /// Bundles that others refer to by identifiers, in this order: Synthea's hospitals and practitioners.
    pub(super) first: Vec<Source>,
    /// Every other Bundle.
    pub(super) bundles: Vec<Source>,
    /// Files of lines and of single resources, which may refer to each other.
    pub(super) loose: Vec<Source>,
    /// Files that are named like FHIR and are none, and where.
    pub(super) unreadable: Vec<(PathBuf, String)>,
}

/// What Synthea calls the files that its patients' Bundles refer to.
const FIRST: [&str; 2] = ["hospitalInformation", "practitionerInformation"];

/// Finds the files that are named and those in the directories that are named.
pub(super) fn find(paths: &[PathBuf]) -> Outcome<Found> {
    let mut files = Vec::new();
    for path in paths {
        let meta = fs::metadata(path).doing(Kind::NotFound, || path.display().to_string())?;
        if meta.is_dir() { walk(path, &mut files)? } else { files.push(path.clone()) }
    }
    let mut found = Found::default();
    for path in files {
        let size = fs::metadata(&path).doing(Kind::NotFound, || path.display().to_string())?.len();
        let form = match form(&path) {
            Ok(form) => form,
            Err(why) => {
                found.unreadable.push((path, why));
                continue;
            }
        };
        let source = Source { path, size, form };
        match source.form {
            Form::Bundle if rank(&source.path).is_some() => found.first.push(source),
            Form::Bundle => found.bundles.push(source),
            Form::Lines | Form::Resource => found.loose.push(source),
        }
    }
    found.first.sort_by_key(|s| rank(&s.path));
    Ok(found)
}

fn rank(path: &Path) -> Option<usize> {
    let name = path.file_name()?.to_str()?;
    FIRST.iter().position(|first| name.starts_with(first))
}

/// The files below a directory whose names are those of FHIR's JSON, in the order of their names.
fn walk(dir: &Path, out: &mut Vec<PathBuf>) -> Outcome {
    let doing = || dir.display().to_string();
    let mut entries: Vec<PathBuf> =
        fs::read_dir(dir).and_then(|d| d.map(|e| e.map(|e| e.path())).collect()).doing(Kind::NotFound, doing)?;
    entries.sort();
    for path in entries {
        if path.is_dir() {
            walk(&path, out)?;
        } else if extension(&path).is_some() {
            out.push(path);
        }
    }
    Ok(())
}

/// What a name says about a file's content, gzipped or not.
fn extension(path: &Path) -> Option<&'static str> {
    let name = path.file_name()?.to_str()?;
    let name = name.strip_suffix(".gz").unwrap_or(name);
    let known = [(".json", "json"), (".ndjson", "lines"), (".jsonl", "lines")];
    known.iter().find(|(suffix, _)| name.ends_with(suffix)).map(|(_, form)| *form)
}

fn is_gzipped(path: &Path) -> bool {
    path.extension().is_some_and(|e| e == "gz")
}

/// A file's bytes as they are meant, unpacked where it is gzipped.
fn reader(path: &Path) -> std::io::Result<Box<dyn Read>> {
    let file = BufReader::new(File::open(path)?);
    Ok(if is_gzipped(path) { Box::new(MultiGzDecoder::new(file)) } else { Box::new(file) })
}

#[derive(Deserialize)]
struct Head {
    #[serde(rename = "resourceType")]
    resource_type: String,
    #[serde(rename = "type", default)]
    kind: serde_json::Value,
}

/// How a file is to be read; the error says where it is not JSON.
fn form(path: &Path) -> Result<Form, String> {
    if extension(path) == Some("lines") {
        return Ok(Form::Lines);
    }
    let io = |e: std::io::Error| e.to_string();
    let mut start = Vec::new();
    reader(path).map_err(io)?.take(4096).read_to_end(&mut start).map_err(io)?;
    match first_type(&start) {
        Some(other) if other != "Bundle" => return Ok(Form::Resource),
        Some(_) | None => {}
    }
    // A document or a message is one record, whose entries are parts of it.
    let head: Head = serde_json::from_reader(BufReader::new(reader(path).map_err(io)?)).map_err(|e| place(&e))?;
    let whole = matches!(head.kind.as_str(), Some("document" | "message"));
    Ok(if head.resource_type == "Bundle" && !whole { Form::Bundle } else { Form::Resource })
}

/// The type of a resource that begins by saying it, as nearly all do.
fn first_type(start: &[u8]) -> Option<&str> {
    let text = std::str::from_utf8(start).unwrap_or_else(|e| {
        // Only the last character can have been cut.
        std::str::from_utf8(&start[..e.valid_up_to()]).unwrap_or_default()
    });
    let rest = text.trim_start().strip_prefix('{')?.trim_start().strip_prefix("\"resourceType\"")?;
    let rest = rest.trim_start().strip_prefix(':')?.trim_start().strip_prefix('"')?;
    rest.split_once('"').map(|(name, _)| name)
}

/// Where JSON ends to be JSON; never what stands there, which is health data.
pub(super) fn place(error: &serde_json::Error) -> String {
    let what = match error.classify() {
        serde_json::error::Category::Io => "cannot be read",
        serde_json::error::Category::Syntax => "is not JSON",
        serde_json::error::Category::Data => "is not a FHIR resource",
        serde_json::error::Category::Eof => "ends too soon",
    };
    format!("{what}, line {}, column {}", error.line(), error.column())
}

/// The bytes of a file: in memory, or on the disk when they are read line by line.
pub(super) enum Content {
    Memory(Vec<u8>),
    Disk(File),
}

impl Content {
    /// Opens a file as its form needs it.
    pub(super) fn open(source: &Source) -> std::io::Result<Self> {
        if source.form == Form::Lines && !is_gzipped(&source.path) {
            return File::open(&source.path).map(Self::Disk);
        }
        let mut bytes = Vec::new();
        let most = if is_gzipped(&source.path) { MAX_UNPACKED } else { u64::MAX };
        reader(&source.path)?.take(most).read_to_end(&mut bytes)?;
        if u64::try_from(bytes.len()).is_ok_and(|n| n == MAX_UNPACKED && is_gzipped(&source.path)) {
            return Err(std::io::Error::other("more than 512 MiB when unpacked; unpack it first"));
        }
        Ok(Self::Memory(bytes))
    }

    /// All bytes from the first.
    pub(super) fn reader(&self) -> std::io::Result<Box<dyn Read + '_>> {
        Ok(match self {
            Self::Memory(bytes) => Box::new(bytes.as_slice()),
            Self::Disk(file) => Box::new(BufReader::with_capacity(256 << 10, file.try_clone()?)),
        })
    }

    /// Some of the bytes.
    pub(super) fn part(&self, at: u64, length: usize) -> Outcome<std::borrow::Cow<'_, [u8]>> {
        let gone = || Failure::new(Kind::Error, "a file changed while it was read");
        match self {
            Self::Memory(bytes) => {
                let at = usize::try_from(at).map_err(|_| gone())?;
                bytes.get(at..at + length).map(Into::into).ok_or_else(gone)
            }
            Self::Disk(file) => {
                let mut part = vec![0; length];
                file.read_exact_at(&mut part, at).map_err(|_| gone())?;
                Ok(part.into())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_found_by_name_and_read_by_what_they_are() {
        let dir = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| {
            let path = dir.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        };
        write("b/ann.json", r#"{"resourceType":"Bundle","type":"transaction"}"#);
        write("practitionerInformation1.json", r#" {"resourceType":"Bundle","type":"batch"}"#);
        write("hospitalInformation1.json", r#"{"resourceType" : "Bundle","type":"batch"}"#);
        write("patient.json", r#"{"id":"1","contained":[{"resourceType":"Bundle"}],"resourceType":"Patient"}"#);
        write("doc.json", r#"{"resourceType":"Bundle","type":"document"}"#);
        write("all.ndjson", "{}\n");
        write("torn.json", r#"{"resourceType":"Bundle","type":"#);
        write("readme.txt", "no FHIR");
        let found = find(&[dir.path().to_owned()]).unwrap();
        let names = |sources: &[Source]| -> Vec<String> {
            sources.iter().map(|s| s.path.strip_prefix(dir.path()).unwrap().display().to_string()).collect()
        };
        assert_eq!(names(&found.first), ["hospitalInformation1.json", "practitionerInformation1.json"]);
        assert_eq!(names(&found.bundles), ["b/ann.json"]);
        assert_eq!(names(&found.loose), ["all.ndjson", "doc.json", "patient.json"]);
        assert_eq!(found.unreadable.len(), 1);
        assert!(found.unreadable[0].1.contains("ends too soon, line 1"), "{}", found.unreadable[0].1);
        assert!(find(&[dir.path().join("missing")]).is_err());
    }

    #[test]
    fn gzipped_files_are_unpacked() {
        use std::io::Write;
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.ndjson.gz");
        let mut encoder = flate2::write::GzEncoder::new(File::create(&path).unwrap(), flate2::Compression::fast());
        encoder.write_all(b"{\"resourceType\":\"Patient\"}\n").unwrap();
        encoder.finish().unwrap();
        let found = find(&[path]).unwrap();
        let content = Content::open(&found.loose[0]).unwrap();
        assert_eq!(&*content.part(16, 9).unwrap(), b"\"Patient\"");
        assert!(content.part(20, 90).is_err());
    }
}
