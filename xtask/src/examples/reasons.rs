//! Why an example may be refused. Whatever is refused for no reason of this list is a fault.

use super::intake::Refusal;

/// Whose doing a refusal is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Whose {
    /// The example is against R4's own definitions.
    Example,
    /// The example is good R4; this gateway does not take it, and says why.
    Gateway,
}

/// A reason.
pub(super) struct Reason {
    pub(super) whose: Whose,
    /// A sentence for people.
    pub(super) words: &'static str,
    status: u16,
    types: &'static [&'static str],
    /// The element, its indices left out; empty where the whole resource is meant.
    element: &'static str,
}

const fn against(types: &'static [&'static str], element: &'static str, words: &'static str) -> Reason {
    Reason { whose: Whose::Example, words, status: 422, types, element }
}

const fn not_taken(status: u16, types: &'static [&'static str], words: &'static str) -> Reason {
    Reason { whose: Whose::Gateway, words, status, types, element: "" }
}

/// In the order in which they are shown.
pub(super) static REASONS: &[Reason] = &[
    against(
        &["SearchParameter"],
        "SearchParameter.base",
        "R4 demands at least one `SearchParameter.base`; these have none.",
    ),
    against(
        &["ImplementationGuide"],
        "ImplementationGuide.name",
        "R4 demands `ImplementationGuide.name`; these have none.",
    ),
    against(
        &["Questionnaire"],
        "Questionnaire.item.item.linkId",
        "R4 demands a `linkId` of every item of a Questionnaire; this one leaves it out.",
    ),
    not_taken(
        404,
        &["Bundle"],
        "A Bundle is a parcel of resources, not a record: whose chart would it lie in, and under which consent would it be read? Its \
         entries are records, and come in by a batch or transaction, or by `vouchsafe gateway import`.",
    ),
    not_taken(
        404,
        &["CapabilityStatement", "OperationOutcome", "VerificationResult"],
        "The gateway says these of itself, and takes nobody else's word for them.",
    ),
    not_taken(
        405,
        &["AuditEvent", "Provenance"],
        "The gateway makes these of its own audit log and of the ledger's anchors; one that somebody sent would prove nothing.",
    ),
    not_taken(
        403,
        &["Consent"],
        "A Consent is a request on the ledger: a doctor with a key asks for it and the patient decides; the EHR's system can do neither.",
    ),
];

/// The reason for a refusal.
pub(super) fn of(resource_type: &str, refusal: &Refusal) -> Option<&'static Reason> {
    let element = without_indices(&refusal.expression);
    let applies = |reason: &&Reason| {
        let about = reason.element.is_empty() || (reason.element == element && refusal.issue == "structure");
        reason.status == refusal.status && reason.types.contains(&resource_type) && about
    };
    REASONS.iter().find(applies)
}

/// `a[0].b[12]` is `a.b`.
fn without_indices(expression: &str) -> String {
    expression.split('[').map(|part| part.split_once(']').map_or(part, |(_, rest)| rest)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_reason_is_the_one_of_the_list() {
        // The page groups by reasons; a copy of the list would leave every group empty.
        let bundle = refusal(404, "not-found", "");
        let found = of("Bundle", &bundle).unwrap();
        assert_eq!(REASONS.iter().filter(|reason| std::ptr::eq(*reason, found)).count(), 1);
    }

    fn refusal(status: u16, issue: &str, expression: &str) -> Refusal {
        let (issue, expression) = (issue.to_owned(), expression.to_owned());
        Refusal { status, issue, code: String::new(), expression, diagnostics: String::new() }
    }

    #[test]
    fn a_reason_is_for_its_own_types_elements_and_status() {
        let link = refusal(422, "structure", "Questionnaire.item[0].item[12].linkId");
        assert!(of("Questionnaire", &link).is_some_and(|reason| reason.whose == Whose::Example));
        assert!(of("Observation", &link).is_none());
        assert!(of("Questionnaire", &refusal(422, "structure", "Questionnaire.item[0].type")).is_none());
        assert!(of("Questionnaire", &refusal(422, "invalid", "Questionnaire.item[0].item[0].linkId")).is_none());
        assert!(of("Bundle", &refusal(404, "not-found", "")).is_some());
        assert!(of("Bundle", &refusal(413, "too-long", "")).is_none());
        assert!(of("Patient", &refusal(404, "not-found", "")).is_none());
    }
}
