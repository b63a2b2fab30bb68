//! search (<https://hl7.org/fhir/R4/search.html>) over own records, and in a session over other custodians' of the one
//! patient: by one engine, over one universe that holds only what the caller may know of. So what is not in it has no
//! effect on any count, page, include, order, error or time.

mod accounts;
mod answer;
mod asked;
mod engine;
mod pages;
mod part;
mod scope;
mod universe;

pub use pages::Pages;

pub(crate) use asked::pairs;

use vouchsafe_fhir_search::{Context, Place, Query, Total};

use self::{
    answer::Page,
    asked::Asked,
    pages::Rest,
    scope::{Scope, Which},
    universe::{Joined, Key},
};
use crate::{
    auth::Caller,
    gateway::Gateway,
    http::{Fault, Reply, call::Call, render, routes},
    sessions,
};

/// How many matches a page has when the caller does not say.
pub(crate) const DEFAULT_COUNT: usize = 50;
/// How many matches a page may have.
pub(crate) const MAX_COUNT: usize = Query::MAX_COUNT;

/// `GET /{type}`, `POST /{type}/_search`, `POST /_search`, and the same within a compartment.
pub(crate) async fn search(call: Call) -> Result<Reply, Fault> {
    let asked = Asked::read(&call)?;
    serve(&call, asked, None).await
}

/// `GET /`: a search through all types, or a further page of any search.
pub(crate) async fn system(call: Call) -> Result<Reply, Fault> {
    let page: Vec<&str> = call.query.iter().filter(|(n, _)| n == "_page").map(|(_, v)| v.as_str()).collect();
    match page.as_slice() {
        [] => search(call).await,
        [page] if call.query.len() == 1 => {
            let rest = call.gw.pages.read(call.caller()?, page, (call.gw.clock)())?;
            let token = (*page).to_owned();
            serve(&call, rest.asked.clone(), Some((rest, token))).await
        }
        _ => Err(Fault::malformed("a link to a page takes no other parameter").at_parameter("_page")),
    }
}

/// A search with what was read of it.
struct Search {
    asked: Asked,
    /// For each pair that was asked for, what the engine takes in its place.
    pairs: Vec<(String, String)>,
    query: Query,
}

async fn serve(call: &Call, asked: Asked, rest: Option<(Rest, String)>) -> Result<Reply, Fault> {
    let (gw, caller) = (&call.gw, call.caller()?);
    let which = match &rest {
        None => Which::Named(super::read::named_session(call).await?.and_then(|id| id.parse().ok())),
        Some((rest, _)) => Which::Same(rest.session),
    };
    let resolved = accounts::resolve(gw, &asked)?;
    let query = parse(gw, &asked, &resolved.pairs)?;
    let scope = scope::judge(gw, caller, &query, &resolved.patients, which).await?;
    let mut search = Search { asked, pairs: resolved.pairs, query };
    if let Some(pairs) = aliases(gw, &scope, &search.pairs) {
        search.query = parse(gw, &search.asked, &pairs)?;
        search.pairs = pairs;
    }
    let after = rest.as_ref().map(|(rest, _)| rest.after().ok_or_else(Fault::not_found)).transpose()?;
    let universe = Joined {
        own: gw.records.universe(scope.charts.clone()),
        foreign: scope.session.as_ref().map(|session| session.view.universe.clone()),
    };
    let hits = engine::find(gw, &universe, &search.query, after).await?;
    let total = match &rest {
        None => hits.total.filter(|_| search.query.total() != Total::None),
        Some((rest, _)) => rest.total,
    };
    let page = answer::page(call, &search, &scope, universe, hits).await?;
    Ok(bundle(gw, caller, search, &scope, total, page, rest.as_ref()))
}

/// Reads a search.
fn parse(gw: &Gateway, asked: &Asked, pairs: &[(String, String)]) -> Result<Query, Fault> {
    let now = i64::try_from((gw.clock)().0).unwrap_or(i64::MAX);
    let context = Context { base: &gw.fhir_base(), now };
    let query = Query::parse(asked.resource_type.as_deref(), pairs, &context, asked.handling());
    let query = match &asked.compartment {
        Some((compartment, id)) => query.and_then(|query| query.within(compartment, id)),
        None => query,
    };
    let query = query.map_err(|fault| Fault::from(&fault))?;
    // Asked for by name, what the gateway makes would seem to be none.
    let made = query.types().iter().find(|name| !routes::RECORDS.contains(name));
    match made.filter(|_| asked.pairs.iter().any(|(name, _)| name == "_type")) {
        Some(made) => {
            let text = format!("{made} is searched at its own address");
            Err(Fault::new(400, "not-supported", text).code("parameter-not-supported").at_parameter("_type"))
        }
        None => Ok(query),
    }
}

/// All charts of a session's patient here are one patient: who names one of them means what others have of the patient as
/// well, which is shown under the first. None when nothing changes.
fn aliases(gw: &Gateway, scope: &Scope, pairs: &[(String, String)]) -> Option<Vec<(String, String)>> {
    let session = scope.session.as_ref()?;
    let first = session.view.patient(gw)?;
    let charts: Vec<String> = gw.charts.by_account(&session.live.patient).iter().map(|c| c.id.to_string()).collect();
    if charts.len() < 2 {
        return None;
    }
    let is_other = |id: &str| id != first && charts.iter().any(|chart| chart == id);
    let mut changed = false;
    let pairs = pairs.iter().map(|(name, value)| {
        let other = |one: &str| is_other(one.rsplit('/').next().unwrap_or_default());
        // An id is of one resource; a reference to one chart is to the patient.
        if name.starts_with('_') || !value.split(',').any(other) {
            return (name.clone(), value.clone());
        }
        changed = true;
        (name.clone(), format!("{value},Patient/{first}"))
    });
    let pairs = pairs.collect();
    changed.then_some(pairs)
}

/// The searchset.
fn bundle(
    gw: &Gateway,
    caller: &Caller,
    search: Search,
    scope: &Scope,
    total: Option<usize>,
    page: Page,
    rest: Option<&(Rest, String)>,
) -> Reply {
    let base = gw.fhir_base();
    let own = match rest {
        Some((_, token)) => format!("{base}?_page={token}"),
        None => format!("{base}/{}", search.asked.address(applied(&search))),
    };
    let limited = scope.nobody_asked || rest.is_some_and(|(rest, _)| rest.limited);
    let mut outcomes: Vec<_> = search.query.ignored().iter().map(answer::ignored).collect();
    outcomes.extend(page.outcomes);
    if limited && scope.session.is_none() {
        outcomes.extend(sessions::nobody_asked());
    }
    let next = page.next.map(|place: Place<Key>| {
        let session = scope.session.as_ref().map(|session| session.live.id);
        let rest = Rest::new(search.asked, session, limited, total, &place);
        format!("{base}?_page={}", gw.pages.write(caller, rest, (gw.clock)()))
    });
    Reply::bytes(200, render::searchset(gw, &own, next.as_deref(), total, &page.entries, &outcomes))
}

/// The pairs that had an effect, as they were asked for.
fn applied(search: &Search) -> impl Iterator<Item = &(String, String)> {
    let both = search.asked.pairs.iter().zip(&search.pairs);
    both.filter(|(_, read)| search.query.applied().contains(read)).map(|(asked, _)| asked)
}
