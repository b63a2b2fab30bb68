//! Why the machine refuses a transaction: a stable number, a stable name, and the facts of this case.

use std::fmt;

use serde::{Deserialize, Serialize};

macro_rules! codes {
    ($($(#[$doc:meta])* $name:ident = $number:literal, $text:literal;)*) => {
        /// A rejection's stable code. Numbers are never reused; `schemas/rejections.json` lists them for the outside.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(rename_all = "kebab-case")]
        #[repr(u32)]
        pub enum Code { $($(#[$doc])* $name = $number,)* }

        impl Code {
            /// Every code, in the order of the numbers.
            pub const ALL: &'static [Self] = &[$(Self::$name,)*];

            /// The stable name, as events and OperationOutcomes carry it.
            pub const fn name(self) -> &'static str {
                match self { $(Self::$name => $text,)* }
            }
        }
    };
}

codes! {
    /// Not a compact JWS of the form that the ledger takes, or a payload that is not of its type.
    Malformed = 1, "malformed";
    /// Signed for another chain.
    WrongChain = 2, "wrong-chain";
    /// The `kid` names no key that the ledger knows.
    UnknownKey = 3, "unknown-key";
    /// The signature does not verify (ZIP-215).
    BadSignature = 4, "bad-signature";
    /// Its time has passed.
    Expired = 5, "expired";
    /// It expires more than ten minutes ahead of block time.
    TooFarAhead = 6, "too-far-ahead";
    /// Its nonce was used before.
    Replayed = 7, "replayed";
    /// More bytes, leaves or entries than a transaction may have.
    TooLarge = 8, "too-large";
    /// The key was removed, or its mandate ran out.
    KeyEnded = 9, "key-ended";
    /// The signer has used up its share of this block, or its sponsor's.
    Quota = 10, "quota";
    /// The signer's role or key may not do this.
    NotAllowed = 11, "not-allowed";

    /// The account exists already, or the key belongs to one.
    AlreadyExists = 20, "already-exists";
    /// What the transaction names does not exist.
    NotFound = 21, "not-found";
    /// The organisation is not verified, or no longer.
    OrganizationNotVerified = 22, "organization-not-verified";
    /// The embedded signature of the other party is missing, wrong, expired or over something else.
    BadAcceptance = 23, "bad-acceptance";
    /// A credential cannot go from its status to the one asked for.
    BadTransition = 24, "bad-transition";
    /// The account was ended.
    AccountEnded = 25, "account-ended";

    /// The doctor's credential was never verified.
    NotVerified = 40, "not-verified";
    /// The doctor's credential is suspended.
    Suspended = 41, "suspended";
    /// The doctor's credential is revoked.
    CredentialRevoked = 42, "credential-revoked";
    /// The doctor's credential has run out.
    CredentialExpired = 43, "credential-expired";
    /// The doctor does not belong to the organisation named.
    NotAffiliated = 44, "not-affiliated";
    /// The agent key has no live mandate for this organisation.
    NoMandate = 45, "no-mandate";
    /// The act needs the actor's own device key.
    DeviceKeyNeeded = 46, "device-key-needed";

    /// The signer is not the patient whom the request names.
    NotThePatient = 60, "not-the-patient";
    /// The signer is not the doctor of the request, the grant or the session.
    NotTheDoctor = 61, "not-the-doctor";
    /// The request is not waiting for a decision.
    NotRequested = 62, "not-requested";
    /// The window to answer has passed.
    Lapsed = 63, "lapsed";
    /// The decision gives more than was asked for.
    WiderThanRequest = 64, "wider-than-request";
    /// A custodial organisation may not decide for its own doctors.
    OwnDoctor = 65, "own-doctor";
    /// Times that do not follow each other, or lie further ahead than the limits.
    BadTimes = 66, "bad-times";
    /// Tags that are not sixteen, sorted and distinct.
    BadTags = 67, "bad-tags";

    /// The grant was never given, or denied.
    NotGranted = 80, "not-granted";
    /// The grant's validity has passed.
    GrantExpired = 81, "grant-expired";
    /// The patient took the grant back.
    GrantRevoked = 82, "grant-revoked";
    /// The visit's one session was opened before.
    GrantSpent = 83, "grant-spent";
    /// The session is not live.
    SessionNotLive = 84, "session-not-live";
    /// The grant does not allow writing.
    ReadOnly = 85, "read-only";
    /// Something that the grant rests on fell since: a credential, an organisation, the patient's keys.
    GrantFallen = 86, "grant-fallen";

    /// The old root or sequence is not the one that the ledger holds.
    StaleHead = 100, "stale-head";
    /// An anchor without leaves or heads, or one head twice.
    BadAnchor = 101, "bad-anchor";
}

impl Code {
    /// The stable number; never 0, which means accepted.
    pub const fn number(self) -> u32 {
        self as u32
    }
}

/// A refused transaction. `facts` is for people: it goes into `log`, never into anything hashed, and never holds
/// health data because no transaction does.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rejection {
    /// The stable code.
    pub code: Code,
    /// What was expected and what was found.
    pub facts: String,
}

impl Rejection {
    /// A rejection with its facts.
    pub fn new(code: Code, facts: impl Into<String>) -> Self {
        Self { code, facts: facts.into() }
    }
}

impl fmt::Display for Rejection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({}): {}", self.code.name(), self.code.number(), self.facts)
    }
}

impl std::error::Error for Rejection {}

impl Code {
    /// Refuses with this code and these facts.
    ///
    /// # Errors
    /// Always.
    pub fn refuse<T>(self, facts: impl Into<String>) -> Result<T, Rejection> {
        Err(Rejection::new(self, facts))
    }
}
