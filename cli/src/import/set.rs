//! Entries that may refer to each other: those of one Bundle, or of all files of lines and single resources.

use std::{
    borrow::Cow,
    collections::{BTreeSet, HashMap},
    io::{BufRead, BufReader},
    sync::{
        Arc, Mutex, OnceLock, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
};

use aws_lc_rs::digest;
use serde::Deserialize;
use serde_json::value::RawValue;
use vouchsafe_gateway::fhir::json::{Found, Link, rewrite_links};

use super::{
    files::{Content, Form, Source, place},
    journal::{Blind, Known, Name},
    plan::{self, Edges},
};
use crate::exit::Outcome;

/// Where resources without a full URL are said to come from, so that relative references are relative to something
/// (RFC 2606 keeps the name free).
const NOWHERE: &str = "https://import.invalid/fhir";

/// One file of a set.
pub(super) struct File {
    /// As the user named it.
    pub(super) shown: String,
    pub(super) name: Name,
    pub(super) content: Content,
    form: Form,
}

/// One entry.
pub(super) struct Entry {
    pub(super) file: u32,
    /// Its number within the file.
    pub(super) number: u32,
    pub(super) kind: Arc<str>,
    at: u64,
    length: u32,
    url: Option<Box<str>>,
    /// What its Bundle asked for, as JSON.
    request: Option<Box<str>>,
}

impl Entry {
    /// Whether its Bundle asked for it to be created only when there is none like it.
    pub(super) fn asks_if_none_exist(&self) -> bool {
        self.request.as_deref().is_some_and(|r| r.contains("\"ifNoneExist\""))
    }
}

/// What became of an entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Fate {
    /// Not yet tried.
    Waiting,
    /// Stored under this id; none when it has none, as after a delete.
    Stored(Box<str>),
    /// Set aside because it is wrong, or because of what it refers to.
    Refused,
    /// Not for the gateway to store.
    LeftOut,
}

/// Entries that may refer to each other.
#[derive(Default)]
pub(super) struct Set {
    pub(super) files: Vec<File>,
    pub(super) entries: Vec<Entry>,
    names: HashMap<u128, u32>,
    /// Entries whose name another entry had already, and which.
    twins: Vec<(u32, u32)>,
    fates: Mutex<Vec<Fate>>,
    /// Whether any entry is stored, so that references may have to be rewritten.
    any_stored: AtomicBool,
    /// Whether any entry was refused, so that others may have to be.
    any_refused: AtomicBool,
    edges: OnceLock<Edges>,
    ranks: OnceLock<Vec<u32>>,
    kinds: BTreeSet<Arc<str>>,
}

/// Why something in a file is not even sent: where it is, and what.
pub(super) struct Unread {
    pub(super) place: String,
    pub(super) what: Reason,
}

/// Why an entry is not sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Reason {
    /// It is no resource.
    Unreadable(String),
    /// Nothing in it is to be stored.
    Nothing,
    /// The same resource is in the set already, byte for byte.
    Again,
    /// Another resource has its name, to which references would lead.
    Named,
}

#[derive(Deserialize)]
struct BundleHead<'a> {
    #[serde(rename = "type", default, borrow)]
    kind: Cow<'a, str>,
    #[serde(default, borrow)]
    entry: Vec<&'a RawValue>,
}

#[derive(Deserialize)]
struct EntryHead<'a> {
    #[serde(rename = "fullUrl", default, borrow)]
    url: Option<Cow<'a, str>>,
    #[serde(default, borrow)]
    resource: Option<&'a RawValue>,
    #[serde(default, borrow)]
    request: Option<&'a RawValue>,
    #[serde(default)]
    search: Option<SearchHead>,
}

#[derive(Deserialize)]
struct SearchHead {
    #[serde(default)]
    mode: String,
}

#[derive(Deserialize)]
struct RequestHead<'a> {
    #[serde(default, borrow)]
    method: Cow<'a, str>,
    #[serde(default, borrow)]
    url: Cow<'a, str>,
}

#[derive(Deserialize)]
struct ResourceHead<'a> {
    #[serde(rename = "resourceType", borrow)]
    kind: Cow<'a, str>,
    #[serde(default, borrow)]
    id: Option<Cow<'a, str>>,
}

impl Set {
    /// Opens a file and names its content; nothing of it is looked at yet.
    pub(super) fn add_file(&mut self, source: &Source, blind: &Blind) -> std::io::Result<Name> {
        let content = Content::open(source)?;
        let name = blind.name_of(content.reader()?)?;
        // The name was made of all of it, so reading begins anew.
        let content = if matches!(content, Content::Disk(_)) { Content::open(source)? } else { content };
        self.files.push(File { shown: source.path.display().to_string(), name, content, form: source.form });
        Ok(name)
    }

    /// Reads the entries of the file that was added last.
    pub(super) fn read(&mut self) -> Vec<Unread> {
        let Some(file) = self.files.pop() else { return Vec::new() };
        let number = u32::try_from(self.files.len()).unwrap_or(u32::MAX);
        let mut unread = match (&file.content, file.form) {
            (Content::Memory(bytes), Form::Bundle) => self.read_bundle(number, bytes),
            (Content::Memory(bytes), Form::Resource) => self.read_resource(number, 0, 0, bytes).into_iter().collect(),
            (content, _) => self.read_lines(number, content),
        };
        self.files.push(file);
        for (entry, first) in std::mem::take(&mut self.twins) {
            let same = matches!((self.resource(entry), self.resource(first)), (Ok(a), Ok(b)) if a == b);
            let (fate, what) = if same { (Fate::LeftOut, Reason::Again) } else { (Fate::Refused, Reason::Named) };
            unread.push(Unread { place: self.within(entry), what });
            self.became(entry, fate);
        }
        unread
    }

    fn read_bundle(&mut self, file: u32, bytes: &[u8]) -> Vec<Unread> {
        let head: BundleHead<'_> = match serde_json::from_slice(bytes) {
            Ok(head) => head,
            Err(e) => return vec![Unread { place: String::new(), what: Reason::Unreadable(place(&e)) }],
        };
        let acts = matches!(head.kind.as_ref(), "transaction" | "batch");
        let mut unread = Vec::new();
        for (number, raw) in (0_u32..).zip(head.entry) {
            if let Err(what) = self.read_entry(file, number, bytes, raw.get(), acts) {
                unread.push(Unread { place: format!("Bundle.entry[{number}]"), what });
            }
        }
        unread
    }

    fn read_entry(&mut self, file: u32, number: u32, bytes: &[u8], raw: &str, acts: bool) -> Result<(), Reason> {
        let unreadable = |e: &serde_json::Error| Reason::Unreadable(place(e));
        let entry: EntryHead<'_> = serde_json::from_str(raw).map_err(|e| unreadable(&e))?;
        if entry.search.is_some_and(|s| s.mode == "outcome") {
            return Err(Reason::Nothing);
        }
        let request = entry.request.filter(|_| acts);
        let asked: Option<RequestHead<'_>> =
            request.map(|r| serde_json::from_str(r.get())).transpose().map_err(|e| unreadable(&e))?;
        if asked.as_ref().is_some_and(|a| matches!(a.method.as_ref(), "GET" | "HEAD")) {
            return Err(Reason::Nothing);
        }
        let (kind, id, at, length) = match entry.resource {
            Some(resource) => {
                let head: ResourceHead<'_> = serde_json::from_str(resource.get()).map_err(|e| unreadable(&e))?;
                // The entry's text lies within the file's.
                let at = resource.get().as_ptr() as usize - bytes.as_ptr() as usize;
                (head.kind.into_owned(), head.id, at, resource.get().len())
            }
            None => match asked {
                Some(asked) => (asked.url.split(['/', '?']).next().unwrap_or_default().to_owned(), None, 0, 0),
                None => return Err(Reason::Nothing),
            },
        };
        let url = entry.url.or_else(|| id.map(|id| format!("{NOWHERE}/{kind}/{id}").into()));
        let request = request.map(|r| r.get().into());
        self.push(file, number, &kind, (at, length), url.as_deref(), request);
        Ok(())
    }

    fn read_lines(&mut self, file: u32, content: &Content) -> Vec<Unread> {
        let mut unread = Vec::new();
        let reader = match content.reader() {
            Ok(reader) => reader,
            Err(e) => return vec![Unread { place: String::new(), what: Reason::Unreadable(e.to_string()) }],
        };
        let (mut reader, mut line, mut at) = (BufReader::new(reader), Vec::new(), 0);
        for number in 0_u32.. {
            line.clear();
            match reader.read_until(b'\n', &mut line) {
                Ok(0) => break,
                Ok(_) if line.trim_ascii().is_empty() => {}
                Ok(_) => {
                    let before = line.len() - line.trim_ascii_start().len();
                    let found = self.read_resource(file, number, at + before, line.trim_ascii());
                    unread.extend(found.map(|u| Unread { place: format!("line {}", number + 1), ..u }));
                }
                Err(e) => {
                    unread.push(Unread { place: String::new(), what: Reason::Unreadable(e.to_string()) });
                    break;
                }
            }
            at += line.len();
        }
        unread
    }

    fn read_resource(&mut self, file: u32, number: u32, at: usize, bytes: &[u8]) -> Option<Unread> {
        let bytes = bytes.trim_ascii_end();
        match serde_json::from_slice::<ResourceHead<'_>>(bytes) {
            Ok(head) => {
                let url = head.id.map(|id| format!("{NOWHERE}/{}/{id}", head.kind));
                self.push(file, number, &head.kind, (at, bytes.len()), url.as_deref(), None);
                None
            }
            Err(e) => Some(Unread { place: String::new(), what: Reason::Unreadable(place(&e)) }),
        }
    }

    fn push(
        &mut self,
        file: u32,
        number: u32,
        kind: &str,
        (at, length): (usize, usize),
        url: Option<&str>,
        request: Option<Box<str>>,
    ) {
        let entry = u32::try_from(self.entries.len()).unwrap_or(u32::MAX);
        let kind = self.kinds.get(kind).cloned().unwrap_or_else(|| Arc::from(kind));
        self.kinds.insert(Arc::clone(&kind));
        if let Some(first) = url.map(|url| *self.names.entry(hash(url)).or_insert(entry)).filter(|e| *e != entry) {
            self.twins.push((entry, first));
        }
        let (at, length) = (at as u64, u32::try_from(length).unwrap_or(u32::MAX));
        self.entries.push(Entry { file, number, kind, at, length, url: url.map(Into::into), request });
        self.fates_mut().push(Fate::Waiting);
    }

    fn fates_mut(&mut self) -> &mut Vec<Fate> {
        self.fates.get_mut().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes over what an earlier import did with the file that was added last.
    pub(super) fn recall(&mut self, known: &Known) -> u64 {
        let file = u32::try_from(self.files.len() - 1).unwrap_or(u32::MAX);
        let mut recalled = 0;
        let fates = self.fates.get_mut().unwrap_or_else(PoisonError::into_inner);
        for (entry, fate) in self.entries.iter().zip(fates).filter(|(e, _)| e.file == file) {
            if let Some(id) = known.stored.get(&entry.number) {
                *fate = Fate::Stored(id.clone());
                recalled += 1;
                *self.any_stored.get_mut() = true;
            }
        }
        recalled
    }

    /// What became of an entry.
    pub(super) fn fate(&self, entry: u32) -> Fate {
        self.fates.lock().unwrap_or_else(PoisonError::into_inner)[entry as usize].clone()
    }

    /// Says what became of an entry.
    pub(super) fn became(&self, entry: u32, fate: Fate) {
        match fate {
            Fate::Stored(_) => self.any_stored.store(true, Ordering::Release),
            Fate::Refused => self.any_refused.store(true, Ordering::Release),
            Fate::Waiting | Fate::LeftOut => {}
        }
        self.fates.lock().unwrap_or_else(PoisonError::into_inner)[entry as usize] = fate;
    }

    fn resource(&self, entry: u32) -> Outcome<Cow<'_, [u8]>> {
        self.bytes_of(&self.entries[entry as usize])
    }

    fn bytes_of(&self, entry: &Entry) -> Outcome<Cow<'_, [u8]>> {
        self.files[entry.file as usize].content.part(entry.at, entry.length as usize)
    }

    /// How many bytes an entry's resource has.
    pub(super) fn bytes(&self, entry: u32) -> usize {
        self.entries[entry as usize].length as usize
    }

    /// What refers to what.
    pub(super) fn edges(&self) -> &Edges {
        self.edges.get_or_init(|| {
            let mut edges = Edges::default();
            for entry in &self.entries {
                let mut targets = Vec::new();
                // What cannot be read now cannot be read when it is written, which then fails.
                if let Ok(bytes) = self.bytes_of(entry) {
                    rewrite_links(&bytes, &mut |found| {
                        targets.extend(self.target(entry, found).map(|(target, _)| target));
                        None
                    });
                }
                targets.sort_unstable();
                targets.dedup();
                edges.push(targets);
            }
            edges
        })
    }

    /// The place of each entry in an order in which it comes after what it refers to; those of a circle have the same.
    pub(super) fn ranks(&self) -> &[u32] {
        self.ranks.get_or_init(|| plan::ranks(self.edges()))
    }

    /// Whether any entry was refused.
    pub(super) fn any_refused(&self) -> bool {
        self.any_refused.load(Ordering::Acquire)
    }

    /// The entry that a link points at, and the fragment that follows its name.
    fn target<'a>(&self, from: &Entry, found: &Found<'a>) -> Option<(u32, &'a str)> {
        let (name, fragment) = found.text.split_at(found.text.find('#').unwrap_or(found.text.len()));
        let exactly = |name: &str| self.names.get(&hash(name)).copied();
        let relative = || {
            let may = found.link == Link::Reference && !name.is_empty() && !name.contains([':', '?']);
            let base = from.url.as_deref().filter(|_| may)?.rsplitn(3, '/').nth(2)?;
            exactly(&format!("{base}/{name}"))
        };
        Some((exactly(name).or_else(relative)?, fragment))
    }

    /// One entry of a transaction. References to entries that are stored already become their ids.
    pub(super) fn write(&self, entry: u32, out: &mut Vec<u8>) -> Outcome {
        let at = &self.entries[entry as usize];
        out.push(b'{');
        if let Some(url) = &at.url {
            out.extend(format!("\"fullUrl\":{},", serde_json::Value::from(&**url)).bytes());
        }
        if at.length > 0 {
            let bytes = self.bytes_of(at)?;
            out.extend(b"\"resource\":");
            if self.any_stored.load(Ordering::Acquire) {
                out.extend(rewrite_links(&bytes, &mut |found| {
                    let (target, fragment) = self.target(at, found)?;
                    match self.fate(target) {
                        Fate::Stored(id) if !id.is_empty() => {
                            Some(format!("{}/{id}{fragment}", self.entries[target as usize].kind))
                        }
                        _ => None,
                    }
                }));
            } else {
                out.extend(&*bytes);
            }
            out.push(b',');
        }
        match &at.request {
            Some(request) => out.extend(format!("\"request\":{request}}}").bytes()),
            None => out.extend(format!(r#""request":{{"method":"POST","url":"{}"}}}}"#, at.kind).bytes()),
        }
        Ok(())
    }

    /// Where an entry is, for a person.
    pub(super) fn place(&self, entry: u32) -> String {
        let file = &self.files[self.entries[entry as usize].file as usize].shown;
        format!("{file} {}", self.within(entry)).trim_end().to_owned()
    }

    /// Where an entry is in its file.
    fn within(&self, entry: u32) -> String {
        let entry = &self.entries[entry as usize];
        match self.files[entry.file as usize].form {
            Form::Bundle => format!("Bundle.entry[{}]", entry.number),
            Form::Lines => format!("line {}", entry.number + 1),
            Form::Resource => String::new(),
        }
    }
}

/// A name, short enough to keep a million of.
fn hash(name: &str) -> u128 {
    let digest = digest::digest(&digest::SHA256, name.as_bytes());
    let mut short = [0; 16];
    short.copy_from_slice(&digest.as_ref()[..16]);
    u128::from_le_bytes(short)
}
