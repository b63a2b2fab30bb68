//! Typed writing into a delta.

use vouchsafe_types::{
    AccountId, CredentialId, Handle, Kid, RequestId, SessionId, keys,
    state::{Account, Affiliation, AuditHead, Credential, Endpoint, Head, Key, Request, Session},
};

use crate::{Delta, queues::Deadline};

impl Delta {
    pub(crate) fn put(&mut self, key: Vec<u8>, value: Vec<u8>) {
        self.merkle.insert(key, Some(value));
    }

    pub(crate) fn put_account(&mut self, id: &AccountId, value: &Account) {
        self.put(keys::account(id), value.to_bytes());
    }

    pub(crate) fn put_key(&mut self, kid: &Kid, value: &Key) {
        self.put(keys::key(kid), value.to_bytes());
    }

    pub(crate) fn put_credential(&mut self, subject: &AccountId, id: &CredentialId, value: &Credential) {
        self.put(keys::credential(subject, id), value.to_bytes());
    }

    pub(crate) fn put_affiliation(&mut self, doctor: &AccountId, organization: &AccountId, value: &Affiliation) {
        self.put(keys::affiliation(doctor, organization), value.to_bytes());
    }

    pub(crate) fn put_endpoint(&mut self, organization: &AccountId, value: &Endpoint) {
        self.put(keys::endpoint(organization), value.to_bytes());
    }

    pub(crate) fn put_request(&mut self, id: &RequestId, value: &Request) {
        self.put(keys::request(id), value.to_bytes());
    }

    pub(crate) fn put_session(&mut self, id: &SessionId, value: &Session) {
        self.put(keys::session(id), value.to_bytes());
    }

    pub(crate) fn put_head(&mut self, custodian: &AccountId, handle: &Handle, value: &Head) {
        self.put(keys::head(custodian, handle), value.to_bytes());
    }

    pub(crate) fn put_audit(&mut self, organization: &AccountId, value: &AuditHead) {
        self.put(keys::audit(organization), value.to_bytes());
    }

    pub(crate) fn queue(&mut self, deadline: Deadline) {
        self.flat.insert(deadline.row(), Some(Vec::new()));
    }

    pub(crate) fn unqueue(&mut self, deadline: Deadline) {
        self.flat.insert(deadline.row(), None);
    }
}
