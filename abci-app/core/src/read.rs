//! Typed reading of the state.

use vouchsafe_types::{
    AccountId, CredentialId, Handle, Kid, RequestId, SessionId, keys,
    state::{Account, Affiliation, AuditHead, Credential, Head, Key, NonceMinute, Params, Request, Session},
};

use crate::StateRead;

/// Reads values of their types. A row that does not parse was not written by this machine: going on would make this
/// node disagree with the others, so it stops.
pub(crate) trait Read: StateRead {
    fn value<T: Clone + 'static>(&self, key: &[u8], parse: fn(&[u8]) -> Option<T>) -> Option<T> {
        let read = || self.get(key).map(|bytes| parse(&bytes).expect("the state holds only what this machine wrote"));
        self.memo().map_or_else(read, |memo| memo.get_or(key, read))
    }

    fn account(&self, id: &AccountId) -> Option<Account> {
        self.value(&keys::account(id), Account::from_bytes)
    }

    fn key(&self, kid: &Kid) -> Option<Key> {
        self.value(&keys::key(kid), Key::from_bytes)
    }

    fn credential(&self, subject: &AccountId, id: &CredentialId) -> Option<Credential> {
        self.value(&keys::credential(subject, id), Credential::from_bytes)
    }

    fn affiliation(&self, doctor: &AccountId, organization: &AccountId) -> Option<Affiliation> {
        self.value(&keys::affiliation(doctor, organization), Affiliation::from_bytes)
    }

    fn request(&self, id: &RequestId) -> Option<Request> {
        self.value(&keys::request(id), Request::from_bytes)
    }

    fn session(&self, id: &SessionId) -> Option<Session> {
        self.value(&keys::session(id), Session::from_bytes)
    }

    fn head(&self, custodian: &AccountId, handle: &Handle) -> Option<Head> {
        self.value(&keys::head(custodian, handle), Head::from_bytes)
    }

    fn audit(&self, organization: &AccountId) -> Option<AuditHead> {
        self.value(&keys::audit(organization), AuditHead::from_bytes)
    }

    fn nonces(&self, minute: u64) -> Option<NonceMinute> {
        self.value(&keys::nonces(minute), NonceMinute::from_bytes)
    }

    fn params(&self) -> Params {
        self.value(keys::PARAMS, |bytes| serde_json::from_slice(bytes).ok()).expect("genesis wrote the parameters")
    }
}

impl<S: StateRead + ?Sized> Read for S {}
