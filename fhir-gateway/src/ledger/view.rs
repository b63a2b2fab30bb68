//! The ledger's state, read as what it is.

use vouchsafe_types::{
    AccountId, CredentialId, Handle, Kid, RequestId, SessionId, keys,
    state::{Account, Affiliation, AuditHead, Credential, Endpoint, Head, Key, Params, Request, Session},
};

use super::{Ledger, LedgerError};

/// Typed reads of the newest committed state.
#[derive(Clone, Copy)]
pub struct View<'a>(pub &'a dyn Ledger);

macro_rules! reads {
    ($($(#[$doc:meta])* $name:ident($($arg:ident: $ty:ty),*) -> $value:ident = $key:expr;)*) => {
        impl View<'_> {$(
            $(#[$doc])*
            ///
            /// # Errors
            /// When the ledger cannot be read, or holds something else there.
            pub async fn $name(&self, $($arg: $ty),*) -> Result<Option<$value>, LedgerError> {
                let key: Vec<u8> = $key;
                let Some(bytes) = self.0.get(&key).await? else { return Ok(None) };
                serde_json::from_slice(&bytes).map(Some).map_err(|_| not_of_its_form(&key))
            }
        )*}
    };
}

reads! {
    /// An account.
    account(id: &AccountId) -> Account = keys::account(id);
    /// A signing key, live or ended.
    key(kid: &Kid) -> Key = keys::key(kid);
    /// A credential.
    credential(subject: &AccountId, id: &CredentialId) -> Credential = keys::credential(subject, id);
    /// An affiliation, live or ended.
    affiliation(doctor: &AccountId, organization: &AccountId) -> Affiliation = keys::affiliation(doctor, organization);
    /// Where an organisation's gateway is.
    endpoint(organization: &AccountId) -> Endpoint = keys::endpoint(organization);
    /// A request, or the grant it became.
    request(id: &RequestId) -> Request = keys::request(id);
    /// A session, live or not.
    session(id: &SessionId) -> Session = keys::session(id);
    /// The head of a chart.
    head(custodian: &AccountId, handle: &Handle) -> Head = keys::head(custodian, handle);
    /// The head of an organisation's audit log.
    audit(organization: &AccountId) -> AuditHead = keys::audit(organization);
    /// The parameters.
    params() -> Params = keys::PARAMS.to_vec();
}

impl View<'_> {
    /// An account's live device keys, oldest first; none when there is no such account.
    ///
    /// # Errors
    /// When the ledger cannot be read.
    pub async fn devices(&self, account: &AccountId) -> Result<Vec<(Kid, Key)>, LedgerError> {
        let mut live = Vec::new();
        for kid in self.account(account).await?.map(|a| a.devices).unwrap_or_default() {
            if let Some(key) = self.key(&kid).await?.filter(|key| key.ended.is_none()) {
                live.push((kid, key));
            }
        }
        Ok(live)
    }
}

fn not_of_its_form(key: &[u8]) -> LedgerError {
    LedgerError::Unavailable(format!("the value under {} is not of its form", String::from_utf8_lossy(key)))
}
