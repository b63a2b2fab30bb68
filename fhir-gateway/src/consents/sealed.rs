//! The details of a request or a grant, which travel sealed: what the chain only has commitments and tags of.

use serde::{Deserialize, Serialize};
use vouchsafe_types::{Count, Hash32, RequestId, RsaJwk};

use crate::{
    fhir::consent::ConsentDetail,
    http::Fault,
    seal::{RsaUnwrap, jwe},
};

/// The `typ` of its JWE.
pub const TYP: &str = "vouchsafe/detail";

/// The most bytes that one sealed detail may have.
pub const MAX_JWE_BYTES: usize = 96 * 1024;

/// The most sealed details that are kept for one request: room for a wallet with many custodians, none for a flood.
pub(super) const MAX_PER_REQUEST: usize = 64;

/// The most of these that one other organisation may send.
pub(super) const MAX_PER_SENDER: u64 = 8;

/// What a JWE under a request's id holds.
#[derive(Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct SealedDetail {
    /// The request that it is for; a detail copied under another id is refused.
    pub request: RequestId,
    /// What is asked, or what is granted.
    pub detail: ConsentDetail,
    /// The salt of the commitment and of the category tags.
    pub salt: Hash32,
    /// To how many custodians the grant's detail went; told to the grantee alone, so that it knows what is missing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub custodians: Option<Count>,
}

impl std::fmt::Debug for SealedDetail {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "SealedDetail({})", self.request)
    }
}

impl SealedDetail {
    /// The commitment that the ledger must hold for it.
    pub fn commitment(&self) -> Hash32 {
        self.detail.commitment(&self.salt.0)
    }

    /// Seals it to several recipients, none of whom is named.
    ///
    /// # Errors
    /// When a recipient's key is none.
    pub fn seal(&self, recipients: &[RsaJwk]) -> Result<String, Fault> {
        let plain =
            zeroize::Zeroizing::new(serde_json::to_vec(self).map_err(|_| Fault::internal("a detail is plain"))?);
        jwe::encrypt(TYP, &plain, recipients).map_err(|_| Fault::invalid("a recipient's key is not usable"))
    }

    /// Tries to open a JWE; `None` when it is for others, altered, or not of this form.
    pub fn open(jwe_json: &str, with: &dyn RsaUnwrap) -> Option<Self> {
        if jwe_json.len() > MAX_JWE_BYTES {
            return None;
        }
        let plain = jwe::decrypt(TYP, jwe_json, with).ok()?;
        serde_json::from_slice(&plain).ok()
    }
}
