//! search (<https://hl7.org/fhir/R4/search.html>) over own records, and in a session over other custodians' of the one
//! patient. Totals and pages count only what this caller may read.

use std::{cmp::Reverse, collections::BTreeMap};

use futures::future::{BoxFuture, try_join_all};
use vouchsafe_types::{AccountId, RecordId};

use super::{local_patient, may_read, unreadable};
use crate::{
    auth::Who,
    fhir::{
        audit::AuditKind,
        date::DateRange,
        search::{DEFAULT_COUNT, Query},
        systems,
    },
    http::{
        Fault, Reply,
        call::Call,
        disclose::{self, Deed},
        render::{self, Entry},
    },
    policy::{self, Act},
    records::{Chart, Opened, RecordRow},
    sessions,
};

/// `GET /{type}`.
pub(crate) async fn search(call: Call) -> Result<Reply, Fault> {
    let gw = &call.gw;
    let named = super::read::named_session(&call).await?;
    let asked = Asked::read(&call)?;
    let scope = scope(&call, &asked)?;
    let mut own = own_matches(&call, &asked, &scope)?;
    let found = match &scope {
        Scope::Chart(chart) => foreign_matches(&call, &asked, chart, named.as_deref()).await?,
        _ => None,
    };
    own.sort_by_key(|row| (Reverse(row.last_updated), row.id));
    let (foreign, outcomes) = found.map_or_else(Default::default, |found| (found.resources, found.outcomes));
    let total = own.len() + foreign.len();
    let count = asked.query.count.unwrap_or(DEFAULT_COUNT);
    // Own records first, each kind the newest first: a page boundary never mixes what one request must open.
    let page: Vec<RecordRow> = own.iter().skip(asked.offset).take(count).cloned().collect();
    let rest = count - page.len();
    let mut entries = opened(&call, page).await?;
    let skipped = asked.offset.saturating_sub(own.len());
    entries.extend(foreign.into_iter().skip(skipped).take(rest).map(|one| Entry {
        full_url: format!("{}/{}/{}", gw.fhir_base(), one.resource_type, one.id),
        resource: one.bytes,
    }));
    let next = asked.offset + count;
    let next = (count > 0 && next < total).then(|| link(&call, Some(next)));
    let body = render::searchset(gw, &link(&call, None), next.as_deref(), total, &entries, &outcomes);
    Ok(Reply::bytes(200, body))
}

/// What a doctor's session gives of a patient. Where no session is named, the own part does not wait for a ledger that is
/// away: the answer says that sources are missing.
async fn foreign_matches(
    call: &Call,
    asked: &Asked,
    chart: &Chart,
    named: Option<&str>,
) -> Result<Option<sessions::Found>, Fault> {
    let (gw, caller) = (&call.gw, call.caller()?);
    let Some(patient) = chart.account.filter(|_| matches!(caller.who, Who::Practitioner { .. })) else {
        return Ok(None);
    };
    let found = async {
        let Some(live) = sessions::judge(gw, caller, named, Some(patient)).await? else { return Ok(None) };
        sessions::search(gw, caller, &live, call.resource_type(), &asked.parameters).await.map(Some)
    };
    match found.await {
        Err(fault) if fault.status == 503 && named.is_none() => {
            Ok(Some(sessions::Found { resources: Vec::new(), outcomes: sessions::nobody_asked() }))
        }
        other => other,
    }
}

/// What a search asks for.
struct Asked {
    query: Query,
    /// The parameters without those that only this file knows.
    parameters: Vec<(String, String)>,
    /// Accounts asked for by `identifier=https://vouchsafe.example/sid/account|X`.
    accounts: Vec<AccountId>,
    offset: usize,
}

impl Asked {
    fn read(call: &Call) -> Result<Self, Fault> {
        let (mut parameters, mut accounts, mut offset) = (Vec::new(), Vec::new(), 0);
        let by_account = format!("{}|", systems::ACCOUNT);
        for (name, value) in &call.query {
            if name == "_page" {
                offset = value.parse().map_err(|_| Fault::malformed("_page is none that a link gave").at("_page"))?;
            } else if let Some(account) = value.strip_prefix(&by_account).filter(|_| name == "identifier") {
                let account = account.parse().map_err(|_| Fault::malformed("no account's id").at("identifier"))?;
                accounts.push(account);
            } else {
                parameters.push((name.clone(), value.clone()));
            }
        }
        let query = Query::parse(call.resource_type(), &parameters)?;
        Ok(Self { query, parameters, accounts, offset })
    }
}

/// Which charts a search goes through.
enum Scope {
    /// One patient's.
    Chart(Chart),
    /// These charts: a patient's own.
    Charts(Vec<Chart>),
    /// All of this custodian's.
    All,
    /// A patient is named who has no chart here.
    Nowhere,
}

fn scope(call: &Call, asked: &Asked) -> Result<Scope, Fault> {
    let gw = &call.gw;
    let caller = call.caller()?;
    // A search for Patient resources by id names the patient as well.
    let by_id = asked.query.ids.iter().filter(|_| call.resource_type() == "Patient").flatten();
    let by_id: Vec<Option<RecordId>> = by_id.map(|id| id.parse().ok()).collect();
    let by_reference = asked.query.patients.iter().flatten().map(|r| local_patient(gw, r));
    let named: Vec<Option<RecordId>> = by_reference.chain(by_id).collect();
    if named.is_empty() {
        return Ok(match &caller.who {
            Who::Patient { account } => Scope::Charts(gw.charts.by_account(account)),
            _ => Scope::All,
        });
    }
    let mut charts: Vec<Chart> = Vec::new();
    for id in named {
        let chart = id.and_then(|id| gw.charts.by_id(&id));
        policy::decide(caller, &Act::NamePatient { patient: chart.as_ref().and_then(|c| c.account) })?;
        charts.extend(chart.filter(|c| charts.iter().all(|known| known.id != c.id)));
    }
    Ok(match charts.pop() {
        None => Scope::Nowhere,
        Some(one) if charts.is_empty() => Scope::Chart(one),
        Some(last) => {
            charts.push(last);
            Scope::Charts(charts)
        }
    })
}

/// The own records that match and that this caller may read.
fn own_matches(call: &Call, asked: &Asked, scope: &Scope) -> Result<Vec<RecordRow>, Fault> {
    let gw = &call.gw;
    let name = call.resource_type();
    let rows = match scope {
        Scope::Nowhere => Ok(Vec::new()),
        Scope::All => gw.records.list_type(name),
        Scope::Chart(chart) => gw.records.list(&chart.id, Some(name)),
        Scope::Charts(charts) => {
            charts.iter().map(|c| gw.records.list(&c.id, Some(name))).collect::<Result<Vec<_>, _>>().map(|r| r.concat())
        }
    };
    let mut found = Vec::new();
    for row in rows.map_err(|e| unreadable(&e))? {
        let at = i64::try_from(row.last_updated.0).unwrap_or(i64::MAX);
        let matches = !row.tombstone
            && asked.query.matches(&row.id.to_string(), &row.facts)
            && asked.query.matches_last_updated(&DateRange { start: at, end: at })
            && of_accounts(call, asked, &row)?;
        if matches && may_read(gw, call.caller()?, &row).is_ok() {
            found.push(row);
        }
    }
    Ok(found)
}

fn of_accounts(call: &Call, asked: &Asked, row: &RecordRow) -> Result<bool, Fault> {
    if asked.accounts.is_empty() {
        return Ok(true);
    }
    let account = if row.resource_type == "Patient" {
        call.gw.charts.by_id(&row.chart).and_then(|c| c.account)
    } else {
        call.gw.auth.parties.by_record(&row.id)?.map(|p| p.account)
    };
    Ok(asked.accounts.iter().all(|wanted| account == Some(*wanted)))
}

/// Opens a page's own records: one audited interaction for each chart.
async fn opened(call: &Call, page: Vec<RecordRow>) -> Result<Vec<Entry>, Fault> {
    let gw = &call.gw;
    let order: Vec<RecordId> = page.iter().map(|r| r.id).collect();
    let mut by_chart: BTreeMap<RecordId, Vec<RecordRow>> = BTreeMap::new();
    for row in page {
        by_chart.entry(row.chart).or_default().push(row);
    }
    // Each patient sees the query of the own chart's event; it must not name the others.
    let hidden: &[&str] = if by_chart.len() > 1 { &["patient", "subject", "_id", "identifier"] } else { &[] };
    let query = disclose::query_text_without(call, hidden);
    let mut each: Vec<BoxFuture<'_, Result<Vec<Opened>, Fault>>> = Vec::new();
    for (chart, rows) in by_chart {
        each.push(Box::pin(opened_of_chart(call, chart, rows, &query)));
    }
    let mut entries: BTreeMap<RecordId, Entry> = try_join_all(each)
        .await?
        .iter()
        .flatten()
        .map(|one| {
            let full_url = format!("{}/{}/{}", gw.fhir_base(), one.row.resource_type, one.row.id);
            (one.row.id, Entry { full_url, resource: render::bytes(one).to_vec() })
        })
        .collect();
    Ok(order.iter().filter_map(|id| entries.remove(id)).collect())
}

async fn opened_of_chart(
    call: &Call,
    chart: RecordId,
    rows: Vec<RecordRow>,
    query: &str,
) -> Result<Vec<Opened>, Fault> {
    let Some(first) = rows.first() else { return Ok(Vec::new()) };
    let caller = call.caller()?;
    let (permit, of) = may_read(&call.gw, caller, first)?;
    let deed = Deed {
        kind: Some(AuditKind::Query),
        chart: Some(chart),
        patient: of.and_then(|c| c.account),
        what: rows.iter().map(disclose::reference).collect(),
        query: Some(query.to_owned()),
        ..Deed::default()
    };
    disclose::open(&call.gw, caller, &permit, &rows, deed).await
}

/// The address of this search, or of its next page.
fn link(call: &Call, offset: Option<usize>) -> String {
    let encode = |text: &str| -> String {
        text.bytes()
            .map(|b| match b {
                b if b.is_ascii_alphanumeric() || b"-._~:/,|".contains(&b) => char::from(b).to_string(),
                b => format!("%{b:02X}"),
            })
            .collect()
    };
    let mut pairs: Vec<String> = call
        .query
        .iter()
        .filter(|(n, _)| offset.is_none() || n != "_page")
        .map(|(n, v)| format!("{}={}", encode(n), encode(v)))
        .collect();
    pairs.extend(offset.map(|n| format!("_page={n}")));
    let separator = if pairs.is_empty() { "" } else { "?" };
    format!("{}/{}{separator}{}", call.gw.fhir_base(), call.resource_type(), pairs.join("&"))
}
