//! The one table of routes below `/fhir`: it makes the router, the CapabilityStatement and the permissions, so that what is
//! served, declared and guarded cannot drift apart.

use super::{call::Route, interactions, later, operations};
use crate::fhir::capability::{Interaction, Method, Permission, RouteRow, TypeSet};

/// The types that are stored as records. The others are made by the gateway, or mean something only in a call.
pub(crate) const RECORDS: TypeSet = TypeSet::AllBut(&[
    "AuditEvent",
    "Bundle",
    "CapabilityStatement",
    "Consent",
    "OperationOutcome",
    "Parameters",
    "Provenance",
    "VerificationResult",
]);

macro_rules! table {
    ($($method:ident $path:literal $interaction:ident $types:expr, $operation:expr, $permission:ident, $doc:literal => $serve:path;)*) => {
        /// Every route. Rows with literal segments stand before those that take any type.
        pub(crate) const TABLE: &[Route] = &[$(
            Route {
                row: RouteRow {
                    method: Method::$method,
                    path: $path,
                    interaction: Interaction::$interaction,
                    types: $types,
                    operation: $operation,
                    permission: Permission::$permission,
                    doc: $doc,
                },
                serve: |call| Box::pin($serve(call)),
            },
        )*];
    };
}

const CONSENT: TypeSet = TypeSet::Only(&["Consent"]);
const AUDIT: TypeSet = TypeSet::Only(&["AuditEvent"]);
const PROVENANCE: TypeSet = TypeSet::Only(&["Provenance"]);
const PARTIES: TypeSet = TypeSet::Only(&["Organization", "Patient", "Practitioner"]);
const JUDGED: TypeSet = TypeSet::Only(&["Organization", "Practitioner"]);
const DOCTOR: TypeSet = TypeSet::Only(&["Practitioner"]);
const PATIENT: TypeSet = TypeSet::Only(&["Patient"]);

table! {
    Get "/metadata" Capabilities TypeSet::System, None, Public,
        "what this server does" => interactions::metadata::metadata;
    Post "/" Bundle TypeSet::System, None, Reads,
        "entries of a Bundle: all or none, or each by itself" => interactions::bundle::serve;
    Get "/async/{id}" AsyncStatus TypeSet::System, None, Reads,
        "how far a request is that is answered later, or its answer" => later::status;
    Delete "/async/{id}" AsyncStatus TypeSet::System, None, Reads,
        "a request that waits is taken back, an answer forgotten" => later::cancel;
    Post "/Consent/$prepare" Operation CONSENT, Some("$prepare"), Practitioner,
        "what the caller's own key is to sign, before the same call with Vouchsafe-Tx" => interactions::consent::prepare;
    Post "/Consent" Create CONSENT, None, Practitioner,
        "asks a patient for access" => interactions::consent::create;
    Get "/Consent" SearchType CONSENT, None, ConsentParty,
        "requests and grants that the caller is a party of" => interactions::consent::search;
    Post "/Consent/_search" SearchType CONSENT, None, ConsentParty,
        "requests and grants that the caller is a party of, asked for by a form" => interactions::consent::search_by_form;
    Get "/Consent/{id}" Read CONSENT, None, ConsentParty,
        "one request or grant" => interactions::consent::read;
    Post "/Consent/{id}/$approve" Operation CONSENT, Some("$approve"), Patient,
        "the patient grants what was asked, or less" => operations::consent::approve;
    Post "/Consent/{id}/$approve/$prepare" Operation CONSENT, Some("$prepare"), Patient,
        "what the caller's own key is to sign, before the same call with Vouchsafe-Tx" => operations::consent::prepare_approve;
    Post "/Consent/{id}/$deny" Operation CONSENT, Some("$deny"), Patient,
        "the patient denies" => operations::consent::deny;
    Post "/Consent/{id}/$deny/$prepare" Operation CONSENT, Some("$prepare"), Patient,
        "what the caller's own key is to sign, before the same call with Vouchsafe-Tx" => operations::consent::prepare_deny;
    Post "/Consent/{id}/$open-session" Operation CONSENT, Some("$open-session"), Practitioner,
        "the doctor opens a session under the grant" => operations::consent::open_session;
    Post "/Consent/{id}/$open-session/$prepare" Operation CONSENT, Some("$prepare"), Practitioner,
        "what the caller's own key is to sign, before the same call with Vouchsafe-Tx" => operations::consent::prepare_open_session;
    Post "/Consent/{id}/$end-session" Operation CONSENT, Some("$end-session"), ConsentParty,
        "ends the session" => operations::consent::end_session;
    Post "/Consent/{id}/$end-session/$prepare" Operation CONSENT, Some("$prepare"), ConsentParty,
        "what the caller's own key is to sign, before the same call with Vouchsafe-Tx" => operations::consent::prepare_end_session;
    Post "/Consent/{id}/$revoke" Operation CONSENT, Some("$revoke"), Patient,
        "the patient takes the grant back" => operations::consent::revoke;
    Post "/Consent/{id}/$revoke/$prepare" Operation CONSENT, Some("$prepare"), Patient,
        "what the caller's own key is to sign, before the same call with Vouchsafe-Tx" => operations::consent::prepare_revoke;
    Get "/AuditEvent" SearchType AUDIT, None, Reads,
        "who saw and wrote what, with the receipts of other organisations" => interactions::audit_event::search;
    Post "/AuditEvent/_search" SearchType AUDIT, None, Reads,
        "who saw and wrote what, asked for by a form" => interactions::audit_event::search_by_form;
    Get "/AuditEvent/{id}" Read AUDIT, None, Reads,
        "one entry of the log" => interactions::audit_event::read;
    Get "/Provenance" SearchType PROVENANCE, None, Reads,
        "where the versions of a record come from" => interactions::provenance::search;
    Post "/Provenance/_search" SearchType PROVENANCE, None, Reads,
        "where the versions of a record come from, asked for by a form" => interactions::provenance::search_by_form;
    Get "/Provenance/{id}" Read PROVENANCE, None, Reads,
        "where one version comes from" => interactions::provenance::read;
    Post "/{type}/{id}/$register" Operation PARTIES, Some("$register"), Organization,
        "opens an account, or an address at which the person's own device does" => operations::register::register;
    Post "/{type}/{id}/$verify" Operation JUDGED, Some("$verify"), Authority,
        "an authority verifies a credential" => operations::verdict::verify;
    Post "/{type}/{id}/$verify/$prepare" Operation JUDGED, Some("$prepare"), Authority,
        "what the caller's own key is to sign, before the same call with Vouchsafe-Tx" => operations::verdict::prepare_verify;
    Post "/{type}/{id}/$suspend" Operation JUDGED, Some("$suspend"), Authority,
        "an authority takes a credential back for a time" => operations::verdict::suspend;
    Post "/{type}/{id}/$suspend/$prepare" Operation JUDGED, Some("$prepare"), Authority,
        "what the caller's own key is to sign, before the same call with Vouchsafe-Tx" => operations::verdict::prepare_suspend;
    Post "/{type}/{id}/$reinstate" Operation JUDGED, Some("$reinstate"), Authority,
        "an authority gives a suspended credential back" => operations::verdict::reinstate;
    Post "/{type}/{id}/$reinstate/$prepare" Operation JUDGED, Some("$prepare"), Authority,
        "what the caller's own key is to sign, before the same call with Vouchsafe-Tx" => operations::verdict::prepare_reinstate;
    Post "/{type}/{id}/$revoke" Operation JUDGED, Some("$revoke"), Authority,
        "an authority takes a credential back for good" => operations::verdict::revoke;
    Post "/{type}/{id}/$revoke/$prepare" Operation JUDGED, Some("$prepare"), Authority,
        "what the caller's own key is to sign, before the same call with Vouchsafe-Tx" => operations::verdict::prepare_revoke;
    Post "/Practitioner/{id}/$mandate" Operation DOCTOR, Some("$mandate"), Practitioner,
        "the doctor lets this organisation's agent key act for some hours" => operations::mandate::mandate;
    Post "/Practitioner/{id}/$mandate/$prepare" Operation DOCTOR, Some("$prepare"), Practitioner,
        "what the caller's own key is to sign, before the same call with Vouchsafe-Tx" => operations::mandate::prepare_mandate;
    Post "/Practitioner/{id}/$end-mandate" Operation DOCTOR, Some("$end-mandate"), Practitioner,
        "the doctor ends the mandate" => operations::mandate::end;
    Post "/Practitioner/{id}/$end-mandate/$prepare" Operation DOCTOR, Some("$prepare"), Practitioner,
        "what the caller's own key is to sign, before the same call with Vouchsafe-Tx" => operations::mandate::prepare_end;
    Get "/Patient/{id}/$directory" Operation PATIENT, Some("$directory"), Patient,
        "what the patient's wallet needs to open the chart's records itself" => operations::directory::directory;
    Get "/AuditEvent/{id}/$proof" Operation AUDIT, Some("$proof"), Reads,
        "what a third party needs to check an entry of the log against the ledger" => operations::proof::of_event;
    Get "/{type}/{id}/$proof" Operation RECORDS, Some("$proof"), Reads,
        "what a third party needs to check a version against the ledger" => operations::proof::proof;
    Get "/_history" HistorySystem TypeSet::System, None, Reads,
        "the versions of all records, the newest first" => interactions::history::of_system;
    Get "/{type}/_history" HistoryType RECORDS, None, Reads,
        "the versions of a type's records, the newest first" => interactions::history::of_type;
    Get "/{type}/{id}/_history" HistoryInstance RECORDS, None, Reads,
        "the versions of a record, the newest first" => interactions::history::of_instance;
    Get "/{type}/{id}/_history/{vid}" Vread RECORDS, None, Reads,
        "one version of a record" => interactions::read::vread;
    Get "/{type}/{id}" Read RECORDS, None, Reads,
        "the latest version of a record" => interactions::read::read;
    Put "/{type}/{id}" Update RECORDS, None, WritesOwn,
        "the next version of an own record" => interactions::update::update;
    Delete "/{type}/{id}" Delete RECORDS, None, WritesOwn,
        "an own record is deleted; its versions stay" => interactions::delete::delete;
    Get "/{compartment}/{id}/{type}" SearchType RECORDS, None, Reads,
        "what belongs to a patient, an encounter, a practitioner, a related person or a device" => interactions::search::search;
    Post "/{compartment}/{id}/{type}/_search" SearchType RECORDS, None, Reads,
        "the same, asked for by a form" => interactions::search::search;
    Get "/{compartment}/{id}/*" SearchSystem TypeSet::System, None, Reads,
        "all that belongs to a patient, an encounter, a practitioner, a related person or a device" => interactions::search::search;
    Post "/{compartment}/{id}/*/_search" SearchSystem TypeSet::System, None, Reads,
        "the same, asked for by a form" => interactions::search::search;
    Post "/{type}/_search" SearchType RECORDS, None, Reads,
        "own records, and in a session other organisations' of its patient, asked for by a form" => interactions::search::search;
    Get "/{type}" SearchType RECORDS, None, Reads,
        "own records, and in a session other organisations' of its patient" => interactions::search::search;
    Get "/" SearchSystem TypeSet::System, None, Reads,
        "records of any type, and the further pages of all searches" => interactions::search::system;
    Post "/_search" SearchSystem TypeSet::System, None, Reads,
        "records of any type, asked for by a form" => interactions::search::search;
    Put "/{type}" Update RECORDS, None, WritesOwn,
        "the next version of the one own record that is found, or a new one" => interactions::update::conditional;
    Delete "/{type}" Delete RECORDS, None, WritesOwn,
        "the one own record that is found is deleted" => interactions::delete::conditional;
    Post "/{type}" Create RECORDS, None, WritesOwn,
        "a new own record, acknowledged when its anchor is in a block" => interactions::create::create;
}

/// The rows alone, for the CapabilityStatement.
pub(crate) fn rows() -> Vec<RouteRow> {
    TABLE.iter().map(|route| route.row).collect()
}

#[cfg(test)]
mod tests;
