//! By what names the entries of a Bundle know each other (<https://hl7.org/fhir/R4/bundle.html#references>).

use std::collections::HashMap;

use super::place;
use crate::fhir::{Fault, compartment::is_id};

/// What the entries are called, and what they will be.
#[derive(Default)]
pub struct Names {
    /// fullUrl → `Type/id`, and the entry.
    by_url: HashMap<String, (String, usize)>,
}

/// What a reference points at.
#[derive(Debug, PartialEq, Eq)]
pub enum Target {
    /// An entry, which is this from now on.
    Entry(String),
    /// Whatever a search finds: a type and a query.
    Search(String, String),
    /// A name that only an entry could have, and none has.
    Absent,
    /// Something that needs no rewriting: a local or foreign resource, or one contained.
    Elsewhere,
}

impl Names {
    /// Gives an entry's name the resource that it stands for.
    ///
    /// # Errors
    /// 400 when another entry has the name.
    pub fn add(&mut self, number: usize, full_url: &str, becomes: String) -> Result<(), Fault> {
        if let Some((_, other)) = self.by_url.insert(full_url.to_owned(), (becomes, number)) {
            let what = format!("Entry {other} has the same fullUrl; a name stands for one resource.");
            return Err(Fault::malformed(format!("{}.fullUrl", place(number)), what));
        }
        Ok(())
    }

    /// What stands for exactly this name, with its fragment kept.
    pub fn exactly(&self, text: &str) -> Option<String> {
        if let Some((becomes, _)) = self.by_url.get(text) {
            return Some(becomes.clone());
        }
        let (url, fragment) = text.split_once('#')?;
        self.by_url.get(url).map(|(becomes, _)| format!("{becomes}#{fragment}"))
    }

    /// What a reference points at, in an entry of this name.
    pub fn target(&self, from: Option<&str>, text: &str) -> Target {
        if let Some(becomes) = self.exactly(text) {
            return Target::Entry(becomes);
        }
        if text.starts_with("urn:uuid:") || text.starts_with("urn:oid:") {
            return Target::Absent;
        }
        if let Some((name, query)) = text.split_once('?').filter(|(n, _)| vouchsafe_fhir_structure::is_resource_type(n))
        {
            return Target::Search(name.to_owned(), query.to_owned());
        }
        // A relative reference is relative to the server that the entry's own name is of.
        let absolute = from.and_then(base).filter(|_| !text.contains(':')).map(|base| format!("{base}/{text}"));
        match absolute.and_then(|url| self.exactly(&url)) {
            Some(becomes) => Target::Entry(becomes),
            None => Target::Elsewhere,
        }
    }
}

/// The server's address in a name such as `https://server/fhir/Patient/1`.
fn base(full_url: &str) -> Option<&str> {
    let (rest, id) = full_url.rsplit_once('/')?;
    let (base, name) = rest.rsplit_once('/')?;
    (is_id(id) && vouchsafe_fhir_structure::is_resource_type(name) && base.contains("://")).then_some(base)
}
