//! References between the entries of a transaction (<https://hl7.org/fhir/R4/bundle.html#references>), and conditional
//! references (<https://hl7.org/fhir/R4/http.html#trules>), replaced in the exact bytes of a resource.

use std::collections::{HashMap, HashSet};

use vouchsafe_types::RecordId;

use super::entries::Entry;
use crate::{
    auth::Caller,
    fhir::{
        bundle::{Names, Target, within},
        json::{Found, Link, rewrite_links},
    },
    gateway::Gateway,
    http::{Fault, writing::Criteria},
    records::Condition,
};

/// What links become in one transaction.
pub(super) struct Links<'a> {
    pub(super) gw: &'a Gateway,
    pub(super) caller: &'a Caller,
    pub(super) names: Names,
    /// What is deleted first, and so is found no more.
    pub(super) gone: &'a HashSet<RecordId>,
    /// What searches found: the same question comes many times in one Bundle.
    found: HashMap<(String, String), String>,
    /// On what the answers rest.
    pub(super) conditions: Vec<Condition>,
}

impl<'a> Links<'a> {
    pub(super) fn new(gw: &'a Gateway, caller: &'a Caller, names: Names, gone: &'a HashSet<RecordId>) -> Self {
        Self { gw, caller, names, gone, found: HashMap::new(), conditions: Vec::new() }
    }

    /// The resource's bytes with its links replaced.
    ///
    /// # Errors
    /// 400 for a reference to an entry that is not there, 412 for a conditional one without exactly one match.
    pub(super) fn rewritten(&mut self, entry: &Entry, bytes: &[u8]) -> Result<Vec<u8>, Fault> {
        let mut failed: Option<Fault> = None;
        let rewritten = rewrite_links(bytes, &mut |link| {
            if failed.is_some() {
                return None;
            }
            match self.replacement(entry, link) {
                Ok(text) => text,
                Err(fault) => {
                    failed = Some(fault.at(within(entry.number, &link.expression())));
                    None
                }
            }
        });
        failed.map_or(Ok(rewritten), Err)
    }

    fn replacement(&mut self, entry: &Entry, link: &Found<'_>) -> Result<Option<String>, Fault> {
        if link.link != Link::Reference {
            return Ok(self.names.exactly(link.text));
        }
        match self.names.target(entry.full_url.as_deref(), link.text) {
            Target::Entry(becomes) => Ok(Some(becomes)),
            Target::Elsewhere => Ok(None),
            Target::Absent => Err(Fault::malformed("the Bundle has no entry of this name").code("no-such-entry")),
            Target::Search(resource_type, query) => self.search(resource_type, query).map(Some),
        }
    }

    fn search(&mut self, resource_type: String, query: String) -> Result<String, Fault> {
        let asked = (resource_type, query);
        if let Some(found) = self.found.get(&asked) {
            return Ok(found.clone());
        }
        let (one, condition) = Criteria::read(self.gw, &asked.0, &asked.1)?.one(self.gw, self.caller, self.gone)?;
        let none = || Fault::new(412, "not-found", "no record meets the condition of this reference").code("no-match");
        let becomes = format!("{}/{}", asked.0, one.ok_or_else(none)?.id);
        self.conditions.push(condition);
        self.found.insert(asked, becomes.clone());
        Ok(becomes)
    }
}
