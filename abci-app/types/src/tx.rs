//! The transactions. Each is the payload of a compact JWS whose `typ` names it; `jws` reads and checks the envelope.
//!
//! Every payload carries a nonce, which its signer never uses again, and an expiry at most ten minutes of block time
//! ahead, so that concurrent writers need no sequence and a replay is refused for good.

use serde::{Deserialize, Serialize};

use crate::{
    ids::{AccountId, CredentialId, Hash32, Nonce, RequestId, SessionId, Tag},
    jwk::{Kid, OkpJwk, RsaJwk},
    state::HeadMove,
    strict,
    time::{Count, TimeMs},
};

pub use crate::jws::{Unverified, VerifiedTx};

/// How far ahead of block time a transaction may expire.
pub const MAX_AHEAD_MS: u64 = 10 * 60_000;

/// What every payload has.
pub trait Payload: Serialize + for<'de> Deserialize<'de> {
    /// The JWS header's `typ`.
    const TYP: &'static str;
    /// The nonce, never used twice by one signer.
    fn nonce(&self) -> Nonce;
    /// The block time from which on it is refused.
    fn expires(&self) -> TimeMs;
}

macro_rules! transactions {
    ($($(#[$doc:meta])* $name:ident = $typ:literal { $($(#[$fdoc:meta])* $field:ident: $ty:ty,)* })*) => {
        $(
            $(#[$doc])*
            #[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
            #[serde(rename_all = "camelCase", deny_unknown_fields)]
            pub struct $name {
                /// Never used again by the signer.
                pub nonce: Nonce,
                /// The block time from which on it is refused.
                pub expires: TimeMs,
                $($(#[$fdoc])* pub $field: $ty,)*
            }

            impl Payload for $name {
                const TYP: &'static str = $typ;

                fn nonce(&self) -> Nonce {
                    self.nonce
                }

                fn expires(&self) -> TimeMs {
                    self.expires
                }
            }

            impl From<$name> for Tx {
                fn from(p: $name) -> Self {
                    Self::$name(p)
                }
            }
        )*

        /// Any transaction's payload.
        #[derive(Clone, Debug, PartialEq, Eq)]
        #[allow(missing_docs, reason = "each variant is the struct of its name")]
        pub enum Tx { $($name($name),)* }

        impl Tx {
            /// Every `typ`, in the order of docs/ledger-spec.md.
            pub const TYPS: &'static [&'static str] = &[$($typ,)*];

            /// The JWS header's `typ`.
            pub fn typ(&self) -> &'static str {
                match self { $(Self::$name(_) => $typ,)* }
            }

            /// The nonce.
            pub fn nonce(&self) -> Nonce {
                match self { $(Self::$name(p) => p.nonce,)* }
            }

            /// The block time from which on it is refused.
            pub fn expires(&self) -> TimeMs {
                match self { $(Self::$name(p) => p.expires,)* }
            }

            /// Parses the payload that a `typ` announces. Unknown and duplicate members are errors, and so are the other
            /// texts that serde takes for a struct or an enum.
            ///
            /// # Errors
            /// `None` for an unknown `typ`, else what serde says and where.
            pub(crate) fn parse(typ: &str, payload: &[u8]) -> Option<Result<Self, serde_json::Error>> {
                match typ {
                    $($typ => Some(strict::parse::<$name>(payload).map(Self::$name)),)*
                    _ => None,
                }
            }

            /// The payload's bytes, members in the order of the struct.
            pub fn payload_bytes(&self) -> Vec<u8> {
                match self { $(Self::$name(p) => serde_json::to_vec(p),)* }
                    .expect("a payload has no map with keys other than strings")
            }
        }
    };
}

transactions! {
    /// A sponsor organisation registers an account. The new key's own JWS (`Enrolment`) is embedded.
    Register = "vouchsafe/register" {
        /// Must be `AccountId::of_key` of the Ed25519 key.
        account: AccountId,
        /// What the account may do.
        role: Role,
        /// Its first signing key.
        ed25519: OkpJwk,
        /// Its first wrapping key.
        rsa: RsaJwk,
        /// True when the sponsor holds the keys, for a patient without a device.
        custodial: bool,
        /// Commitment to the sealed identity record.
        identity: Hash32,
        /// A doctor's or an organisation's first credential.
        credential: Option<NewCredential>,
        /// A compact JWS by the new key over an `Enrolment`.
        enrolment: String,
    }

    /// A doctor or an organisation adds a credential for an authority to look at.
    AddCredential = "vouchsafe/credential" {
        /// The credential.
        credential: NewCredential,
    }

    /// An authority verifies, suspends, reinstates or revokes a credential.
    Judge = "vouchsafe/verdict" {
        /// Whose credential.
        subject: AccountId,
        /// Which one.
        credential: CredentialId,
        /// What is decided.
        verdict: Verdict,
        /// When the verification runs out; only with `verify` and `reinstate`.
        valid_until: Option<TimeMs>,
    }

    /// An organisation takes a doctor in; the doctor's own JWS (`Acceptance`) is embedded.
    Affiliate = "vouchsafe/affiliation" {
        /// The doctor.
        doctor: AccountId,
        /// A compact JWS by the doctor's device key over an `Acceptance`.
        acceptance: String,
    }

    /// The doctor or the organisation ends an affiliation.
    EndAffiliation = "vouchsafe/affiliation-end" {
        /// The doctor.
        doctor: AccountId,
        /// The organisation.
        organization: AccountId,
    }

    /// An account adds a further device; the new key's own JWS (`Acceptance`) is embedded.
    AddDevice = "vouchsafe/device" {
        /// The new device's signing key.
        ed25519: OkpJwk,
        /// The new device's wrapping key.
        rsa: RsaJwk,
        /// A compact JWS by the new key over an `Acceptance`.
        acceptance: String,
    }

    /// An account removes a device, or a doctor ends a mandate. Removing a device raises the account's generation.
    EndKey = "vouchsafe/key-end" {
        /// The key.
        kid: Kid,
    }

    /// A doctor's device mandates an agent key in the keystore of an organisation the doctor belongs to.
    Mandate = "vouchsafe/mandate" {
        /// The agent key.
        agent: OkpJwk,
        /// The organisation whose keystore holds it.
        organization: AccountId,
        /// When the mandate ends by itself, at most 12 hours ahead.
        until: TimeMs,
    }

    /// An organisation says where its gateway is and to which key things for it are wrapped.
    SetEndpoint = "vouchsafe/endpoint" {
        /// Base address without a path.
        url: String,
        /// The wrapping key.
        rsa: RsaJwk,
    }

    /// A doctor asks a patient for access.
    Ask = "vouchsafe/request" {
        /// For which organisation.
        organization: AccountId,
        /// The patient.
        patient: AccountId,
        /// The verified credential that the doctor acts under.
        credential: CredentialId,
        /// What is asked; exactly sixteen tags.
        terms: Terms,
        /// Until when the patient may answer.
        answer_by: TimeMs,
    }

    /// The patient approves, perhaps less than was asked, or denies.
    Decide = "vouchsafe/decision" {
        /// The request.
        request: RequestId,
        /// What is granted; none denies.
        granted: Option<Terms>,
    }

    /// The doctor opens a session under a grant.
    Open = "vouchsafe/open" {
        /// The grant.
        grant: RequestId,
        /// The gateway's RSA key for this session alone.
        recipient: RsaJwk,
    }

    /// The doctor or the patient ends a session.
    End = "vouchsafe/end" {
        /// The session.
        session: SessionId,
    }

    /// The patient takes a grant back; every session under it ends.
    Revoke = "vouchsafe/revoke" {
        /// The grant.
        grant: RequestId,
    }

    /// A custodian anchors record versions and moves the heads of the charts touched.
    Anchor = "vouchsafe/anchor" {
        /// The commitments of the versions, at most 1,000.
        leaves: Vec<Hash32>,
        /// How each head touched moves; handles ascending.
        heads: Vec<HeadMove>,
        /// The session in which a doctor uploaded them; it must be live, allow writing and be of this organisation.
        session: Option<SessionId>,
    }

    /// An organisation anchors its audit log.
    AnchorAudit = "vouchsafe/audit" {
        /// The first new entry's index, which is the count that the ledger holds.
        first: Count,
        /// The last new entry's index.
        last: Count,
        /// The tree hash before; none for the first.
        old: Option<Hash32>,
        /// The tree hash after.
        new: Hash32,
    }
}

/// What an account may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Role {
    /// A government authority that verifies credentials.
    Authority,
    /// A hospital or practice.
    Hospital,
    /// A laboratory.
    Laboratory,
    /// An insurer.
    Insurer,
    /// A verified person who treats.
    Doctor,
    /// A person whose records these are.
    Patient,
}

impl Role {
    /// True for roles that organisations have.
    pub const fn is_organization(self) -> bool {
        matches!(self, Self::Authority | Self::Hospital | Self::Laboratory | Self::Insurer)
    }
}

/// An authority's decision on a credential.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Verdict {
    /// Pending becomes verified.
    Verify,
    /// Verified becomes suspended.
    Suspend,
    /// Suspended becomes verified again; nothing that ended comes back.
    Reinstate,
    /// Anything becomes revoked, for good.
    Revoke,
}

/// A credential to be looked at.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NewCredential {
    /// A random id.
    pub id: CredentialId,
    /// Commitment to the sealed documents.
    pub commitment: Hash32,
}

/// What is asked for or granted. Names of categories, purpose and date range are not here: they travel sealed, and
/// `detail` commits to them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Terms {
    /// Salted tags of categories, ascending; sixteen in a request (dummies included), some of these in a grant.
    pub tags: Vec<Tag>,
    /// May records be written in its sessions?
    pub write: bool,
    /// Commitment to the sealed detail.
    pub detail: Hash32,
    /// When the grant runs out.
    pub valid_until: TimeMs,
    /// How long a session may last, in milliseconds.
    pub session_ms: Count,
    /// True for a grant that stays until revoked; false for a visit, whose one session spends it.
    pub standing: bool,
}

/// The new key's own word at registration. `typ` is `vouchsafe/enrolment`; the header's `kid` is the new key's.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Enrolment {
    /// The account founded.
    pub account: AccountId,
    /// Who sponsors it.
    pub sponsor: AccountId,
    /// What it will be.
    pub role: Role,
    /// The wrapping key's thumbprint.
    pub rsa: Kid,
    /// Whether the sponsor holds the keys.
    pub custodial: bool,
    /// A doctor's word that they join the sponsor.
    pub affiliate: bool,
    /// The block time from which on it is refused.
    pub expires: TimeMs,
}

impl Enrolment {
    /// The `typ` of its JWS.
    pub const TYP: &'static str = "vouchsafe/enrolment";
}

/// One party's word for an act that another party's transaction carries. `typ` is `vouchsafe/acceptance`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Acceptance {
    /// The account that the act is for: the organisation joined, or the account that gets the device.
    pub account: AccountId,
    /// The `typ` of the transaction it is for.
    pub act: String,
    /// The block time from which on it is refused.
    pub expires: TimeMs,
}

impl Acceptance {
    /// The `typ` of its JWS.
    pub const TYP: &'static str = "vouchsafe/acceptance";
}
