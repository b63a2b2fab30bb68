//! Where a resource that is written belongs: to a patient's chart, or to the organisation itself.

use std::collections::HashSet;

use serde_json::Value;
use vouchsafe_types::{AccountId, RecordId};

use super::{chart_of_row, local_patient, unreadable};
use crate::{
    fhir::compartment::{Belongs, Reference, ResourceClass, belongs, class_of, class_of_resource, patient_of},
    gateway::Gateway,
    http::Fault,
    records::RecordRow,
};

/// A chart, and the account that it is linked with.
pub(crate) type Place = (RecordId, Option<AccountId>);

/// The chart that a resource other than a Patient belongs to. `before` is the version that it follows, if it follows one, and
/// `opening` names the charts that the same submission opens.
///
/// # Errors
/// 422 when it is, or may be, a patient's whose chart is not here.
pub(crate) fn place(
    gw: &Gateway,
    resource_type: &str,
    value: &Value,
    before: Option<&RecordRow>,
    opening: &HashSet<RecordId>,
) -> Result<Place, Fault> {
    let own = || (gw.charts.organization_chart().id, None);
    if class_of_resource(resource_type, value) != ResourceClass::Patient {
        return Ok(own());
    }
    let said = belongs(resource_type, value);
    let by_compartment =
        class_of(resource_type) != ResourceClass::Patient || patient_of(resource_type, value).is_some();
    match (said, before) {
        (Belongs::Unclear(element), _) => {
            let what = "whom it is about must be a reference to a Patient who is here, or say a type that is nobody";
            Err(missing(resource_type, what).at(element))
        }
        // What names nobody in its compartment has no reason to leave the chart that it lies in.
        (_, Some(row)) if !by_compartment => Ok((row.chart, chart_of_row(gw, row).and_then(|chart| chart.account))),
        (Belongs::Organization, _) => Ok(own()),
        (Belongs::Related(reference), _) => related(gw, resource_type, &reference),
        (Belongs::Patient(reference), _) => {
            let id = local_patient(gw, &reference)
                .ok_or_else(|| missing(resource_type, "it refers to a Patient elsewhere"))?;
            if opening.contains(&id) {
                return Ok((id, None));
            }
            let chart = gw.charts.by_id(&id);
            let chart = chart.ok_or_else(|| missing(resource_type, "the Patient it refers to is not here"))?;
            Ok((chart.id, chart.account))
        }
    }
}

/// The chart that a RelatedPerson lies in.
fn related(gw: &Gateway, resource_type: &str, reference: &Reference) -> Result<Place, Fault> {
    let elsewhere = || missing(resource_type, "the RelatedPerson it refers to is not here");
    let id = local_patient(gw, reference).ok_or_else(elsewhere)?;
    let row = gw.records.row(&id, None).map_err(|e| unreadable(&e))?;
    let row = row.filter(|row| !row.tombstone && row.resource_type == "RelatedPerson").ok_or_else(elsewhere)?;
    Ok((row.chart, chart_of_row(gw, &row).and_then(|chart| chart.account)))
}

fn missing(resource_type: &str, what: &str) -> Fault {
    Fault::invalid(format!("a {resource_type} belongs to a patient's chart: {what}")).code("no-chart")
}
