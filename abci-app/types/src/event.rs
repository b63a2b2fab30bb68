//! What a committed transaction, or a deadline that passed, tells those who listen.

use serde::{Deserialize, Serialize};

use crate::ids::{AccountId, CredentialId, Handle, RequestId, SessionId};
use crate::jwk::Kid;
use crate::tx::Verdict;

/// An event. Gateways act on those that name their organisation, or an account that one of their charts is linked to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "kebab-case", rename_all_fields = "camelCase")]
#[allow(missing_docs, reason = "the members are the parties, named by their types")]
pub enum Event {
    /// An account was registered.
    Registered { account: AccountId, sponsor: AccountId },
    /// A credential was added.
    CredentialAdded { subject: AccountId, credential: CredentialId },
    /// An authority decided on a credential.
    Verdict { subject: AccountId, credential: CredentialId, authority: AccountId, verdict: Verdict },
    /// A doctor joined an organisation.
    Affiliated { doctor: AccountId, organization: AccountId },
    /// A doctor left an organisation.
    AffiliationEnded { doctor: AccountId, organization: AccountId },
    /// A key was added: a device's, or an agent's under a mandate.
    KeyAdded { account: AccountId, kid: Kid },
    /// A key was removed, or a mandate ended.
    KeyEnded { account: AccountId, kid: Kid },
    /// An organisation's gateway moved or changed its wrapping key.
    EndpointSet { organization: AccountId },
    /// A doctor asks.
    Requested { request: RequestId, doctor: AccountId, organization: AccountId, patient: AccountId },
    /// The patient approved.
    Granted { request: RequestId, doctor: AccountId, organization: AccountId, patient: AccountId },
    /// The patient denied.
    Denied { request: RequestId, doctor: AccountId, organization: AccountId, patient: AccountId },
    /// Nobody answered in time.
    RequestLapsed { request: RequestId },
    /// A grant's validity is over.
    GrantExpired { request: RequestId },
    /// The patient took the grant back.
    Revoked { request: RequestId, doctor: AccountId, organization: AccountId, patient: AccountId },
    /// A session began.
    Opened { session: SessionId, grant: RequestId, doctor: AccountId, organization: AccountId, patient: AccountId },
    /// A session was ended by an act.
    Ended { session: SessionId, grant: RequestId, organization: AccountId, patient: AccountId },
    /// A session's time is over.
    SessionExpired { session: SessionId },
    /// Record versions were anchored.
    Anchored { custodian: AccountId, handles: Vec<Handle>, leaves: u32, session: Option<SessionId> },
    /// Audit entries were anchored.
    AuditAnchored { organization: AccountId, count: u64 },
}

impl Event {
    /// The name of its kind, which is also the ABCI event's type after `vouchsafe.`.
    pub fn kind(&self) -> String {
        let value = serde_json::to_value(self).expect("an event is plain data");
        value["type"].as_str().expect("the tag is a string").to_owned()
    }
}
