//! The values that the ledger's state holds, as JSON; `keys` says under which key each lies.
//!
//! They are here, and not in the machine, because gateways, wallets and `verify` read them out of proofs.

use serde::{Deserialize, Serialize};

use crate::{
    ids::{AccountId, CredentialId, Handle, Hash32, RequestId, SessionId, Tag},
    jwk::{Kid, OkpJwk, RsaJwk},
    time::{Count, TimeMs},
    tx::{Role, Terms},
};

macro_rules! value {
    ($($(#[$doc:meta])* pub struct $name:ident { $($(#[$fdoc:meta])* $field:ident: $ty:ty,)* })*) => {
        $(
            $(#[$doc])*
            #[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
            #[serde(deny_unknown_fields)]
            pub struct $name { $($(#[$fdoc])* pub $field: $ty,)* }

            impl $name {
                /// The bytes that lie in the state.
                pub fn to_bytes(&self) -> Vec<u8> {
                    serde_json::to_vec(self).expect("a state value has no map with keys other than strings")
                }

                /// Reads the bytes that lie in the state; `None` when they are not of this type.
                pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
                    serde_json::from_slice(bytes).ok()
                }
            }
        )*
    };
}

value! {
    /// A party: an organisation, a doctor, a patient. Never a name.
    pub struct Account {
        /// What it may do.
        role: Role,
        /// Who sponsored it; itself for a founder. For a patient this is the home organisation.
        sponsor: AccountId,
        /// True for a patient without a device, whose keys its sponsor holds, openly.
        custodial: bool,
        /// Commitment to the sealed identity record.
        identity: Hash32,
        /// The credential that makes it a verified doctor or organisation.
        credential: Option<CredentialId>,
        /// Raised by whatever ends all sessions that rest on this account.
        generation: Count,
        /// Its live device (or organisation) keys, oldest first; agent keys are not among them.
        devices: Vec<Kid>,
        /// When it was registered.
        registered: TimeMs,
    }

    /// A signing key and what it may sign.
    pub struct Key {
        /// Whose acts it signs.
        account: AccountId,
        /// The key itself.
        ed25519: OkpJwk,
        /// What kind of key it is.
        role: KeyRole,
        /// The wrapping key of the same device; none for an agent.
        rsa: Option<RsaJwk>,
        /// When it was removed; a removed key stays so that its old signatures can be judged.
        ended: Option<TimeMs>,
    }

    /// A credential of a doctor or an organisation.
    pub struct Credential {
        /// Commitment to the sealed documents.
        commitment: Hash32,
        /// Where it stands.
        status: CredentialStatus,
        /// The authority that decided last.
        authority: Option<AccountId>,
        /// When a verification runs out.
        valid_until: Option<TimeMs>,
        /// Raised by every suspension and revocation: sessions that stored an older one are over.
        generation: Count,
    }

    /// That a doctor belongs to an organisation; signed by both.
    pub struct Affiliation {
        /// When both had signed.
        since: TimeMs,
        /// When either ended it.
        ended: Option<TimeMs>,
        /// Raised when it ends.
        generation: Count,
    }

    /// Where an organisation's gateway is and to which key things for it are wrapped.
    pub struct Endpoint {
        /// Base address, without a path, such as `https://gateway.example`.
        url: String,
        /// The organisation's wrapping key.
        rsa: RsaJwk,
    }

    /// A request for access and, once approved, the grant.
    pub struct Request {
        /// The doctor who asks.
        doctor: AccountId,
        /// For which organisation.
        organization: AccountId,
        /// The patient asked.
        patient: AccountId,
        /// The credential that the doctor acts under.
        credential: CredentialId,
        /// What is asked.
        asked: Terms,
        /// Until when the patient may answer.
        answer_by: TimeMs,
        /// When it was asked.
        at: TimeMs,
        /// The key that signed, and whether it was an agent.
        by: Signer,
        /// What the patient decided, if anything.
        decision: Option<Decision>,
    }

    /// A session under a grant.
    pub struct Session {
        /// The grant it was opened under.
        grant: RequestId,
        /// The doctor.
        doctor: AccountId,
        /// The doctor's organisation.
        organization: AccountId,
        /// The patient.
        patient: AccountId,
        /// When it was opened.
        opened: TimeMs,
        /// When it ends by itself.
        expires: TimeMs,
        /// May it write?
        write: bool,
        /// What it rests on, as it stood at the opening.
        rests_on: Generations,
        /// The gateway's RSA key for this session alone, to which grant keys are wrapped.
        recipient: RsaJwk,
        /// Who opened it.
        by: Signer,
        /// When it was ended by an act.
        ended: Option<TimeMs>,
    }

    /// The head of one chart at one custodian: the root of the map record → latest version.
    pub struct Head {
        /// How many times it was moved.
        seq: Count,
        /// The map's root.
        root: Hash32,
    }

    /// The head of an organisation's audit log: a Merkle tree hash over the leaves (RFC 6962 section 2.1).
    pub struct AuditHead {
        /// How many leaves the log has.
        count: Count,
        /// The tree hash over all of them.
        root: Hash32,
    }

    /// The leaf of all nonces that expire in one minute.
    pub struct NonceMinute {
        /// A running hash over the nonces in the order they were used.
        hash: Hash32,
        /// How many there are.
        count: Count,
    }
}

/// What a key may sign.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case", deny_unknown_fields)]
pub enum KeyRole {
    /// A person's own device, or the key of an organisation.
    Device,
    /// A key in a hospital's keystore that a doctor mandated.
    Agent {
        /// The organisation whose keystore holds it.
        organization: AccountId,
        /// When the mandate ends by itself.
        until: TimeMs,
    },
}

/// Which key signed an act of consent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Signer {
    /// The key.
    pub kid: Kid,
    /// True when it was an agent key under a mandate.
    pub agent: bool,
}

/// Where a credential stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum CredentialStatus {
    /// Added, not looked at.
    Pending,
    /// Verified, until `valid_until`.
    Verified,
    /// Taken back for a time.
    Suspended,
    /// Taken back for good.
    Revoked,
}

/// What the patient decided.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Decision {
    /// When.
    pub at: TimeMs,
    /// By which key.
    pub by: Signer,
    /// True when the custodial organisation signed for the patient.
    pub custodial: bool,
    /// The terms granted; none when denied.
    pub granted: Option<Terms>,
    /// Raised when the grant is spent or revoked.
    pub generation: Count,
    /// When it was revoked.
    pub revoked: Option<TimeMs>,
    /// The last session opened under it.
    pub session: Option<SessionId>,
    /// True when a visit's one session was opened.
    pub spent: bool,
}

/// The generations that a session stores at its opening; it is live while all still match.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Generations {
    /// Of the grant.
    pub grant: Count,
    /// Of the doctor's credential.
    pub credential: Count,
    /// Of the doctor's affiliation.
    pub affiliation: Count,
    /// Of the doctor's account.
    pub doctor: Count,
    /// Of the organisation's account.
    pub organization: Count,
    /// Of the patient's account.
    pub patient: Count,
}

/// The state that a request, a grant or a session is in at a time; derived, never stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ConsentState {
    /// Waits for the patient.
    Requested,
    /// Granted and not run out.
    Granted,
    /// Denied.
    Denied,
    /// Not answered in time.
    Lapsed,
    /// Granted, and its validity is over.
    Expired,
    /// Taken back by the patient.
    Revoked,
    /// A visit whose one session is over.
    Ended,
}

impl Request {
    /// The state at `now`. `session` is the last one opened under it, when there is one.
    pub fn state_at(&self, now: TimeMs, session: Option<&Session>) -> ConsentState {
        let Some(decision) = &self.decision else {
            return if now >= self.answer_by { ConsentState::Lapsed } else { ConsentState::Requested };
        };
        let Some(terms) = &decision.granted else {
            return ConsentState::Denied;
        };
        if decision.revoked.is_some() {
            return ConsentState::Revoked;
        }
        if decision.spent && session.is_some_and(|s| s.ended.is_some() || now >= s.expires) {
            return ConsentState::Ended;
        }
        if now >= terms.valid_until { ConsentState::Expired } else { ConsentState::Granted }
    }
}

/// The sizes and times that the machine holds everyone to; set in genesis.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Params {
    /// Bytes of one transaction.
    pub max_tx_bytes: Count,
    /// Bytes of all transactions of a block.
    pub max_block_bytes: Count,
    /// Transactions of one person in one block.
    pub person_per_block: Count,
    /// Transactions of one organisation in one block.
    pub organization_per_block: Count,
    /// Accounts that one sponsor may register in one block.
    pub sponsored_per_block: Count,
    /// Leaves of one anchor.
    pub max_leaves: Count,
    /// Heads of one anchor.
    pub max_heads: Count,
    /// Milliseconds that a visit's session may last.
    pub max_session_ms: Count,
    /// Milliseconds that a grant may be valid.
    pub max_grant_ms: Count,
    /// Milliseconds that a mandate may last.
    pub max_mandate_ms: Count,
}

impl Default for Params {
    fn default() -> Self {
        const HOUR: u64 = 3_600_000;
        Self {
            max_tx_bytes: Count(128 * 1024),
            max_block_bytes: Count(1024 * 1024),
            person_per_block: Count(16),
            organization_per_block: Count(1000),
            sponsored_per_block: Count(200),
            max_leaves: Count(1000),
            max_heads: Count(64),
            max_session_ms: Count(24 * HOUR),
            max_grant_ms: Count(366 * 24 * HOUR),
            max_mandate_ms: Count(12 * HOUR),
        }
    }
}

/// How one head moves in an anchor: compare the old, set the new.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HeadMove {
    /// The chart.
    pub handle: Handle,
    /// The sequence number after the move; 1 for the first.
    pub seq: Count,
    /// The root before; none for the first.
    pub old: Option<Hash32>,
    /// The root after.
    pub new: Hash32,
}

/// Where a tag list is sorted and sixteen long.
pub const TAGS: usize = 16;

/// True when the tags are strictly ascending, hence distinct.
pub fn tags_ascend(tags: &[Tag]) -> bool {
    tags.windows(2).all(|w| w[0] < w[1])
}
