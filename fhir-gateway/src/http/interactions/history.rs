//! history (<https://hl7.org/fhir/R4/http.html#history>) of one record, of a type, and of everything: what was committed, the
//! newest first, as far as the caller may read it.

use std::collections::BTreeMap;

use serde_json::{Value, json};
use vouchsafe_types::{AccountId, RecordId, TimeMs, b64};

use super::{may_read, own_row, unreadable};
use crate::{
    auth::Who,
    fhir::{audit::AuditKind, date},
    http::{
        Fault, Reply,
        call::Call,
        disclose::{self, Deed},
        ids, render,
    },
    records::{Chart, HistoryCursor, HistoryPart, RecordRow, Records, Scope},
};

/// So many versions are on a page when nothing is said, and at most.
const DEFAULT_COUNT: usize = 50;
const MOST: usize = 200;
/// What the text of a link is sealed for.
const PAGE: &str = "history-page";

/// `GET /{type}/{id}/_history`.
pub(crate) async fn of_instance(call: Call) -> Result<Reply, Fault> {
    call.id()?;
    // Whoever may not read the record is answered as if it were not there.
    let row = own_row(&call, None)?.ok_or_else(Fault::not_found)?;
    may_read(&call.gw, call.caller()?, &row)?;
    serve(&call, &[Scope::Record(row.id)], Some(&row)).await
}

/// `GET /{type}/_history`.
pub(crate) async fn of_type(call: Call) -> Result<Reply, Fault> {
    let scopes = match own_charts(&call)? {
        Some(charts) => charts,
        None => vec![Scope::Type(call.resource_type().to_owned())],
    };
    serve(&call, &scopes, None).await
}

/// `GET /_history`.
pub(crate) async fn of_system(call: Call) -> Result<Reply, Fault> {
    let scopes = own_charts(&call)?.unwrap_or_else(|| vec![Scope::All]);
    serve(&call, &scopes, None).await
}

/// A patient's own charts, which are all that a patient has a history of; none for the custodian's own clients and staff.
fn own_charts(call: &Call) -> Result<Option<Vec<Scope>>, Fault> {
    let Who::Patient { account } = &call.caller()?.who else { return Ok(None) };
    let mut charts: Vec<RecordId> = call.gw.charts.by_account(account).into_iter().map(|chart| chart.id).collect();
    charts.sort();
    Ok(Some(charts.into_iter().map(Scope::Chart).collect()))
}

/// What part of a history is asked for.
struct Asked {
    since: Option<TimeMs>,
    count: usize,
    from: From,
}

impl Asked {
    fn read(call: &Call) -> Result<Self, Fault> {
        let mut out = Self { since: None, count: DEFAULT_COUNT, from: (0, None) };
        for (name, value) in &call.query {
            match name.as_str() {
                "_since" => out.since = Some(since(value).ok_or_else(|| bad("_since", "an instant is expected"))?),
                "_count" => {
                    let count = value.parse::<usize>().ok().filter(|n| *n > 0);
                    out.count = count.ok_or_else(|| bad("_count", "a positive number is expected"))?.min(MOST);
                }
                "_page" => out.from = read_page(call, value)?,
                _ => {
                    let fault = Fault::new(400, "not-supported", "a history takes _since and _count");
                    return Err(fault.code("parameter-not-supported").at(format!("http.{}", short(name))));
                }
            }
        }
        Ok(out)
    }
}

fn short(name: &str) -> String {
    name.chars().take(64).collect()
}

fn bad(name: &str, what: &str) -> Fault {
    Fault::new(400, "invalid", what).code("parameter-invalid").at(format!("http.{name}"))
}

/// The beginning of what `_since` names.
fn since(text: &str) -> Option<TimeMs> {
    let range = date::DateRange::parse(text)?;
    u64::try_from(range.start.max(0)).ok().map(TimeMs)
}

/// The page's versions, and where the next page begins.
struct Page {
    rows: Vec<RecordRow>,
    next: Option<From>,
}

/// Which of the scopes a page begins in, and where.
type From = (usize, Option<HistoryCursor>);

fn page(call: &Call, scopes: &[Scope], asked: &Asked) -> Result<Page, Fault> {
    let of_type = (!call.param("type").is_empty()).then(|| call.resource_type());
    let mut rows = Vec::new();
    let (first, mut before) = asked.from;
    // A patient with several charts here has their histories one after the other; a client that needs one order has times.
    for (number, scope) in scopes.iter().enumerate().skip(first) {
        if rows.len() >= asked.count {
            return Ok(Page { rows, next: Some((number, None)) });
        }
        while rows.len() < asked.count {
            let part = HistoryPart { since: asked.since, before, count: asked.count - rows.len() };
            let found = call.gw.records.history(scope, &part).map_err(|e| unreadable(&e))?;
            let may = |row: &RecordRow| call.caller().is_ok_and(|c| may_read(&call.gw, c, row).is_ok());
            rows.extend(
                found.rows.into_iter().filter(|row| of_type.is_none_or(|name| row.resource_type == name) && may(row)),
            );
            before = found.next;
            if before.is_none() {
                break;
            }
        }
        if before.is_some() {
            return Ok(Page { rows, next: Some((number, before)) });
        }
    }
    Ok(Page { rows, next: None })
}

async fn serve(call: &Call, scopes: &[Scope], instance: Option<&RecordRow>) -> Result<Reply, Fault> {
    let asked = Asked::read(call)?;
    let Page { rows, next } = page(call, scopes, &asked)?;
    let mut resources = opened(call, &rows).await?;
    let next = next.map(|from| write_page(call, from)).transpose()?;
    let mut links = vec![json!({ "relation": "self", "url": address(call, None) })];
    links.extend(next.map(|text| json!({ "relation": "next", "url": address(call, Some(&text)) })));
    let mut head = json!({
        "resourceType": "Bundle",
        "id": Records::new_id().to_string(),
        "meta": { "lastUpdated": date::instant((call.gw.clock)()) },
        "type": "history",
        "link": links,
    });
    // Of one record whose versions are all asked for, the number is known; of others it would have to be counted.
    if let Some(row) = instance.filter(|_| asked.since.is_none()) {
        head["total"] = json!(row.version.0);
    }
    let entries = rows.iter().map(|row| entry(call, row, resources.remove(&(row.id, row.version.0))));
    Ok(Reply::bytes(200, render::bundle(&head, entries)))
}

/// One version as R4 has it in a history: with the request that made it, and how that was answered.
fn entry(call: &Call, row: &RecordRow, resource: Option<Vec<u8>>) -> (Value, Option<Vec<u8>>) {
    let instance = format!("{}/{}", row.resource_type, row.id);
    let (method, url, status) = match (row.tombstone, row.version.0) {
        (true, _) => ("DELETE", instance.as_str(), "204"),
        (false, 1) => ("POST", row.resource_type.as_str(), "201"),
        _ => ("PUT", instance.as_str(), "200"),
    };
    let head = json!({
        "fullUrl": format!("{}/{instance}", call.gw.fhir_base()),
        "request": { "method": method, "url": url },
        "response": {
            "status": status,
            "etag": render::etag(row.version.0),
            "lastModified": date::instant(row.last_updated),
        },
    });
    (head, resource)
}

/// Opens what is on a page: one audited interaction with each chart.
async fn opened(call: &Call, rows: &[RecordRow]) -> Result<BTreeMap<(RecordId, u64), Vec<u8>>, Fault> {
    let caller = call.caller()?;
    let mut by_chart: BTreeMap<RecordId, Vec<RecordRow>> = BTreeMap::new();
    for row in rows {
        by_chart.entry(row.chart).or_default().push(row.clone());
    }
    let mut out = BTreeMap::new();
    for (chart, mut rows) in by_chart {
        let Some(first) = rows.first() else { continue };
        let (permit, of) = may_read(&call.gw, caller, first)?;
        let deed = Deed {
            kind: Some(AuditKind::History),
            chart: Some(chart),
            patient: account(of),
            // That a record was deleted is told as well.
            what: rows.iter().map(disclose::reference).collect(),
            ..Deed::default()
        };
        rows.retain(|row| !row.tombstone);
        for one in disclose::open(&call.gw, caller, &permit, &rows, deed).await? {
            out.insert((one.row.id, one.row.version.0), render::bytes(&one).to_vec());
        }
    }
    Ok(out)
}

fn account(chart: Option<Chart>) -> Option<AccountId> {
    chart.and_then(|chart| chart.account)
}

/// The address of this history, or of its next page.
fn address(call: &Call, page: Option<&str>) -> String {
    let path = call.row.path.replace("{type}", call.param("type")).replace("{id}", call.param("id"));
    let mut pairs: Vec<String> = call
        .query
        .iter()
        .filter(|(name, _)| page.is_none() || name != "_page")
        .map(|(name, value)| format!("{name}={}", ids::percent_encode(value)))
        .collect();
    pairs.extend(page.map(|text| format!("_page={text}")));
    let separator = if pairs.is_empty() { "" } else { "?" };
    format!("{}{path}{separator}{}", call.gw.fhir_base(), pairs.join("&"))
}

/// The text by which a link names where the next page begins. It is sealed, because a place in the order of all commits
/// tells how many there were of other people's; and for this caller and address, so that it means nothing elsewhere.
fn write_page(call: &Call, (number, cursor): From) -> Result<String, Fault> {
    let mut plain = (number as u64).to_be_bytes().to_vec();
    plain.extend(cursor.into_iter().flat_map(HistoryCursor::to_bytes));
    let seal = call.gw.keystore.store_seal(PAGE).map_err(|_| Fault::unavailable("the keystore is not readable"))?;
    Ok(b64::encode(seal.seal_value(PAGE, &holder(call)?, &plain)))
}

fn read_page(call: &Call, text: &str) -> Result<From, Fault> {
    let none = || bad("_page", "this is no page that a link gave");
    let seal = call.gw.keystore.store_seal(PAGE).map_err(|_| Fault::unavailable("the keystore is not readable"))?;
    let sealed = b64::decode(text).ok_or_else(none)?;
    let plain = seal.open_value(PAGE, &holder(call)?, &sealed).map_err(|_| none())?;
    let (number, cursor) = plain.split_first_chunk::<8>().ok_or_else(none)?;
    let number = usize::try_from(u64::from_be_bytes(*number)).map_err(|_| none())?;
    if cursor.is_empty() {
        return Ok((number, None));
    }
    let cursor: [u8; 12] = cursor.try_into().map_err(|_| none())?;
    Ok((number, Some(HistoryCursor::from_bytes(cursor))))
}

fn holder(call: &Call) -> Result<Vec<u8>, Fault> {
    Ok(format!("{}\n{}\n{}", call.caller()?.name(), call.param("type"), call.param("id")).into_bytes())
}
