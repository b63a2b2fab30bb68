//! Who calls, as the bearer token says.

use serde::{Deserialize, Serialize};
use vouchsafe_types::{AccountId, Kid, RecordId};

/// The caller of one request, made from a bearer token that this gateway gave out.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Caller {
    /// The OAuth client; for a person it is the account's id.
    pub client_id: String,
    /// In which part it acts.
    pub who: Who,
    /// The purpose of use that the assertion named (HL7 `ActReason` code).
    pub purpose: Option<String>,
    /// The device by whose key a person signed in; when it is ended, so is what it signed in to.
    pub device: Option<Kid>,
}

/// The part in which a caller acts.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub enum Who {
    /// The organisation's own system, such as its EHR, by Backend Services.
    System,
    /// An authority's own system, at the authority's own gateway.
    Authority {
        /// The authority.
        account: AccountId,
    },
    /// A doctor of this organisation.
    Practitioner {
        /// The doctor.
        account: AccountId,
        /// The doctor's Practitioner resource here, when one is linked.
        record: Option<RecordId>,
        /// The agent key under a mandate, when the doctor acts by the organisation's system (`hl7-b2b`).
        agent: Option<Kid>,
    },
    /// A patient, by their own device.
    Patient {
        /// The patient.
        account: AccountId,
    },
}

impl Caller {
    /// By what name the caller is known here: a person's account, else the client.
    pub fn name(&self) -> String {
        self.account().map_or_else(|| self.client_id.clone(), |account| account.to_string())
    }

    /// The person's account, when a person calls.
    pub const fn account(&self) -> Option<AccountId> {
        match &self.who {
            Who::System => None,
            Who::Authority { account } | Who::Practitioner { account, .. } | Who::Patient { account } => Some(*account),
        }
    }
}
