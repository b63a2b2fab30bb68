//! From an aim to the act that the outbox does.

use std::{collections::HashSet, sync::Arc};

use vouchsafe_types::{AccountId, RecordId};

use super::{Aim, Aimed, Resource, What, aim::no_update_as_create};
use crate::{
    gateway::Gateway,
    http::{
        Fault,
        interactions::{chart_of_row, place::place},
    },
    records::{self, ActKind, RecordRow},
};

/// An act, and whose it is.
pub(crate) struct Doing {
    pub(crate) act: records::Act,
    /// The account that the chart is linked with.
    pub(crate) patient: Option<AccountId>,
    /// True when the record was deleted before.
    revived: bool,
}

impl Doing {
    /// The HTTP status when it is done.
    pub(crate) const fn status(&self) -> u16 {
        match self.act.kind {
            ActKind::Create => 201,
            ActKind::Update { .. } if self.revived => 201,
            ActKind::Update { .. } => 200,
            ActKind::Delete { .. } => 204,
        }
    }
}

/// Makes the act; none when there is nothing to be done. `opening` names the charts that the same submission opens.
///
/// # Errors
/// 400 and 405 about the id that the resource came with, 422 about its chart.
pub(crate) fn act(
    gw: &Gateway,
    resource_type: &str,
    what: &What,
    resource: Option<&Resource>,
    aimed: &Aimed,
    opening: &HashSet<RecordId>,
) -> Result<Option<Doing>, Fault> {
    let if_match = aimed.if_match;
    let Some(resource) = resource else {
        let Aim::Next(row) = &aimed.aim else { return Ok(None) };
        let act = records::Act::delete(row.id, row.resource_type.clone(), row.chart, if_match);
        return Ok(Some(Doing { act, patient: account_of(gw, row), revived: false }));
    };
    let (id, kind, before) = match &aimed.aim {
        Aim::Found(_) | Aim::Nothing => return Ok(None),
        Aim::New(id) => (*id, ActKind::Create, None),
        Aim::Next(row) => (row.id, ActKind::Update { if_match }, Some(row)),
    };
    may_have_id(resource_type, what, resource, before)?;
    let (chart, patient) = match (resource_type, before) {
        ("Patient", None) => (id, None),
        ("Patient", Some(row)) => (row.chart, account_of(gw, row)),
        (name, before) => place(gw, name, &resource.value, before, opening)?,
    };
    if before.is_some_and(|row| row.chart != chart) {
        return Err(Fault::invalid("a record does not move to another chart").code("another-chart"));
    }
    let act = records::Act {
        id,
        kind,
        resource_type: resource_type.to_owned(),
        chart,
        sealed_form: resource.sealed_form.clone(),
        value: Arc::clone(&resource.value),
    };
    Ok(Some(Doing { act, patient, revived: before.is_some_and(|row| row.tombstone) }))
}

/// Checks the id in the body of an update (<https://hl7.org/fhir/R4/http.html#update>): it is the address's. That of a
/// create is passed over.
///
/// # Errors
/// 400.
pub(super) fn same_id(resource_type: &str, what: &What, resource: Option<&Resource>) -> Result<(), Fault> {
    match (what, resource) {
        (What::Update { id, .. }, Some(resource)) if resource.id.as_ref() != Some(id) => {
            Err(Fault::malformed("the body's id must be the address's").at(format!("{resource_type}.id")))
        }
        _ => Ok(()),
    }
}

/// Checks the id in the body of a conditional update (<https://hl7.org/fhir/R4/http.html#cond-update>).
fn may_have_id(resource_type: &str, what: &What, resource: &Resource, before: Option<&RecordRow>) -> Result<(), Fault> {
    same_id(resource_type, what, Some(resource))?;
    let place = || format!("{resource_type}.id");
    match (what, before, resource.id.as_deref()) {
        (What::UpdateWhere { .. }, Some(row), Some(id)) if id != row.id.to_string() => {
            Err(Fault::malformed("the body's id is not that of the record that was found").at(place()))
        }
        (What::UpdateWhere { .. }, None, Some(_)) => Err(no_update_as_create().at(place())),
        _ => Ok(()),
    }
}

fn account_of(gw: &Gateway, row: &RecordRow) -> Option<AccountId> {
    chart_of_row(gw, row).and_then(|chart| chart.account)
}
