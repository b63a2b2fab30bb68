//! Which HTTP status each of the ledger's rejections becomes.

use vouchsafe_types::Code;

/// The status and R4's issue-type code.
pub fn status_of(code: Code) -> (u16, &'static str) {
    use Code::*;
    match code {
        Malformed | WrongChain => (400, "structure"),
        UnknownKey
        | BadSignature
        | KeyEnded
        | NotAllowed
        | OrganizationNotVerified
        | AccountEnded
        | NotVerified
        | Suspended
        | CredentialRevoked
        | CredentialExpired
        | NotAffiliated
        | NoMandate
        | DeviceKeyNeeded
        | NotThePatient
        | NotTheDoctor
        | OwnDoctor
        | NotGranted
        | GrantExpired
        | GrantRevoked
        | GrantSpent
        | SessionNotLive
        | ReadOnly
        | GrantFallen => (403, "forbidden"),
        Replayed | AlreadyExists | NotRequested | Lapsed | StaleHead | BadTransition => (409, "conflict"),
        Quota => (429, "throttled"),
        NotFound => (404, "not-found"),
        Expired | TooFarAhead | BadAcceptance | WiderThanRequest | BadTimes | BadTags | BadAnchor => (422, "invalid"),
        TooLarge => (413, "too-long"),
    }
}
