//! What each entry asks for.

use std::ops::Range;

use axum::http::HeaderMap;
use bytes::Bytes;
use serde_json::Value;

use crate::{
    fhir::{
        bundle::{self, Request, place},
        capability::{Interaction, Method},
    },
    gateway::Gateway,
    http::{
        Fault, Reply,
        call::Call,
        dispatch::{self, Inner, add, address},
        ids,
        interactions::version_named,
        router, routes,
        writing::{Criteria, Resource, What},
    },
};

/// An entry, understood.
pub(super) struct Entry {
    pub(super) number: usize,
    pub(super) full_url: Option<String>,
    /// Where its resource lies in the body.
    resource: Option<Range<usize>>,
    pub(super) task: Task,
    request: Request,
}

/// What is to be done with an entry.
pub(super) enum Task {
    /// An own record is written.
    Write { resource_type: String, what: What },
    /// Something is read.
    Get,
    /// Something else is done, which only a batch takes.
    Other,
}

impl Entry {
    /// Understands an entry.
    ///
    /// # Errors
    /// What is wrong with it, at its place in the Bundle.
    pub(super) fn read(gw: &Gateway, number: usize, entry: bundle::Entry) -> Result<Self, Fault> {
        let bundle::Entry { full_url, resource, request } = entry;
        let task = task(gw, &request).map_err(|fault| fault.within(&place(number)))?;
        let entry = Self { number, full_url, resource, task, request };
        let takes_resource = matches!(entry.request.method, Method::Post | Method::Put);
        if takes_resource && entry.resource.is_none() && matches!(entry.task, Task::Write { .. }) {
            return Err(Fault::malformed("a POST or PUT needs a resource").at(format!("{}.resource", place(number))));
        }
        Ok(entry)
    }

    /// True when it is a write that removes.
    pub(super) const fn deletes(&self) -> bool {
        matches!(&self.task, Task::Write { what: What::Delete { .. } | What::DeleteWhere { .. }, .. })
    }

    /// The bytes of its resource, as they stand in the body.
    pub(super) fn bytes<'a>(&self, body: &'a Bytes) -> Option<&'a [u8]> {
        if self.deletes() {
            return None;
        }
        self.resource.as_ref().map(|range| &body[range.clone()])
    }

    /// Says where in the Bundle a fault is whose expression begins with the resource's type.
    pub(super) fn placed(&self, fault: Fault) -> Fault {
        let expression = fault.outcome["issue"][0]["expression"][0].as_str().unwrap_or_default();
        let place = if expression.is_empty() { place(self.number) } else { bundle::within(self.number, expression) };
        fault.at(place)
    }

    /// Serves an entry that writes no own record.
    pub(super) async fn dispatch(&self, call: &Call) -> Result<Reply, Fault> {
        let mut headers = HeaderMap::new();
        add(&mut headers, "if-none-match", self.request.if_none_match.as_deref())?;
        add(&mut headers, "if-match", self.request.if_match.as_deref())?;
        add(&mut headers, "if-none-exist", self.request.if_none_exist.as_deref())?;
        add(&mut headers, "if-modified-since", self.modified_since().as_deref())?;
        add(&mut headers, "vouchsafe-session", call.header("vouchsafe-session")?)?;
        let body = self.resource.as_ref().map_or_else(Bytes::new, |range| call.body.slice(range.clone()));
        let (method, url) = (self.request.method, self.request.url.clone());
        let inner = Inner { method, url, headers, body, idempotency: None };
        dispatch::dispatch(&call.gw, call.caller()?, inner).await
    }

    /// In a Bundle it is an instant; in a header it is a date of HTTP.
    fn modified_since(&self) -> Option<String> {
        let range = crate::fhir::date::DateRange::parse(self.request.if_modified_since.as_deref()?)?;
        u64::try_from(range.start).ok().map(crate::http::render::http_date)
    }
}

fn task(gw: &Gateway, request: &Request) -> Result<Task, Fault> {
    let (path, query) = address(gw, &request.url)?;
    let found = router::find(routes::TABLE, Some(request.method), &path);
    let found = found.map_err(|(fault, _)| fault.at("request.url"))?;
    let row = &found.route.row;
    if dispatch::nests(row.interaction) {
        return Err(Fault::malformed("a Bundle holds no other Bundle").at("request.url"));
    }
    let param =
        |name: &str| found.params.iter().find(|(n, _)| *n == name).map(|(_, value)| value.clone()).unwrap_or_default();
    let resource_type = param("type");
    let if_match = || request.if_match.as_deref().map(version_named).transpose().map_err(|f| f.at("request.ifMatch"));
    let of_query = || {
        let pairs = ids::pairs(query)?;
        Criteria::of(gw, &resource_type, pairs).map_err(|fault| fault.within("request.url"))
    };
    let id = || ids::check(&param("id"), "request.url").map(str::to_owned);
    // A row with the type in its path is one for own records; the others are acts of their own.
    let what = match (row.interaction, row.path) {
        (Interaction::Create, "/{type}") => {
            let unless = request.if_none_exist.as_deref().map(|text| Criteria::read(gw, &resource_type, text));
            What::Create { unless: unless.transpose().map_err(|fault| fault.within("request.ifNoneExist"))? }
        }
        (Interaction::Update, "/{type}/{id}") => What::Update { id: id()?, if_match: if_match()? },
        (Interaction::Update, "/{type}") => What::UpdateWhere { criteria: of_query()?, if_match: if_match()? },
        (Interaction::Delete, "/{type}/{id}") => What::Delete { id: id()?, if_match: if_match()? },
        (Interaction::Delete, "/{type}") => What::DeleteWhere { criteria: of_query()? },
        _ if request.method == Method::Get => return Ok(Task::Get),
        _ => return Ok(Task::Other),
    };
    Ok(Task::Write { resource_type, what })
}

/// Parses a resource whose bytes were scanned as a part of the whole, and checks it.
pub(super) fn resource(expected: &str, bytes: &[u8]) -> Result<Resource, Fault> {
    let value: Value = serde_json::from_slice(bytes).map_err(|_| Fault::malformed("JSON that cannot be read"))?;
    Resource::read(expected, bytes, value)
}
