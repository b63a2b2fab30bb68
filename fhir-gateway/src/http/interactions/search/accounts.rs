//! `identifier=https://vouchsafe.example/sid/account|X`: an account stands for the resources that are linked with it here.
//! The link is no part of any resource, so it is resolved before the engine reads the search.

use vouchsafe_types::AccountId;

use super::asked::Asked;
use crate::{fhir::systems, gateway::Gateway, http::Fault};

/// A search without accounts, as the engine takes it.
pub(super) struct Resolved {
    /// The parameters, as many as were asked for and in their order.
    pub(super) pairs: Vec<(String, String)>,
    /// The accounts of patients that were named.
    pub(super) patients: Vec<AccountId>,
}

/// No resource here has it, and none can.
const NOBODY: &str = "-";

/// Puts the ids of what is linked with an account in the place of the account.
///
/// # Errors
/// 400 for what is no account, and for a list of accounts and other identifiers; 503 when the database is away.
pub(super) fn resolve(gw: &Gateway, asked: &Asked) -> Result<Resolved, Fault> {
    let mut out = Resolved { pairs: Vec::with_capacity(asked.pairs.len()), patients: Vec::new() };
    for (name, value) in &asked.pairs {
        let target = target(name);
        let Some(target) = target.filter(|_| value.contains(systems::ACCOUNT)) else {
            out.pairs.push((name.clone(), value.clone()));
            continue;
        };
        let accounts = accounts(name, value)?;
        // Of a doctor or an organisation an account names no patient.
        if !matches!(asked.resource_type.as_deref(), Some("Practitioner" | "Organization")) {
            out.patients.extend(&accounts);
        }
        let mut linked = Vec::new();
        for account in accounts {
            linked.extend(gw.charts.by_account(&account).iter().map(|chart| ("Patient".to_owned(), chart.id)));
            linked.extend(gw.auth.parties.by_account(&account)?.map(|party| (party.resource_type, party.record)));
        }
        linked.sort_unstable();
        linked.dedup();
        let typed = target.rsplit_once(':').map(|(_, name)| name);
        let ids: Vec<String> = linked
            .iter()
            .filter(|(name, _)| typed.is_none_or(|typed| typed == name))
            .map(|(name, id)| if target == "_id" || typed.is_some() { id.to_string() } else { format!("{name}/{id}") })
            .collect();
        let none = if target == "_id" || typed.is_some() { NOBODY.to_owned() } else { format!("Basic/{NOBODY}") };
        out.pairs.push((target.to_owned(), if ids.is_empty() { none } else { ids.join(",") }));
    }
    Ok(out)
}

/// The parameter that takes ids in the place of one that takes identifiers: `_id`, or the reference of a chain.
fn target(name: &str) -> Option<&str> {
    if name == "identifier" {
        return Some("_id");
    }
    name.strip_suffix(".identifier").filter(|rest| !rest.starts_with("_has"))
}

fn accounts(name: &str, value: &str) -> Result<Vec<AccountId>, Fault> {
    let malformed = |text: &str| Fault::new(400, "invalid", text).code("parameter-invalid").at_parameter(name);
    let one = |one: &str| -> Result<AccountId, Fault> {
        let (system, id) = one.split_once('|').unwrap_or_default();
        if system != systems::ACCOUNT {
            return Err(malformed("accounts are not listed beside other identifiers"));
        }
        id.parse().map_err(|_| malformed("no account's id"))
    };
    value.split(',').map(one).collect()
}
